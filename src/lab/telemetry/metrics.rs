//! The numbers of a store, as Prometheus reads them: `GET /metrics`.
//!
//! Names and units are conventional: counters end in `_total` and begin at 0 with the process, times are in seconds, sizes in bytes.
//! Each family has its HELP text, in [`FAMILIES`], and stands there from the beginning, unless it has labels.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::metrics::{
    Counter, Gauge, Histogram, Label, counter, describe_counter, describe_gauge,
    describe_histogram, gauge, histogram, with_local_recorder,
};
use axum::http::StatusCode;
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::db::{Db, Statistics};
use crate::event::Phase;
use crate::ids::Lsn;

/// What a family of series is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

use Kind::{Counter as C, Gauge as G, Histogram as H};

/// All families without labels: what they are, their names, and what they tell.
const FAMILIES: &[(Kind, &str, &str)] = &[
    (C, "aries_commits_total", "Transactions that committed."),
    (C, "aries_rollbacks_total", "Transactions that began to roll back."),
    (C, "aries_log_bytes_total", "Bytes appended to the log."),
    (
        H,
        "aries_log_force_duration_seconds",
        "Time that the disk took to sync a log segment: at each force, and when a segment is made ready.",
    ),
    (C, "aries_checkpoints_total", "Checkpoints that were completed."),
    (C, "aries_buffer_hits_total", "Pages that were wanted and found in the buffer pool."),
    (C, "aries_buffer_misses_total", "Pages that were wanted and had to be read."),
    (C, "aries_pages_read_total", "Pages read from disk."),
    (C, "aries_pages_written_total", "Pages written in place."),
    (G, "aries_dirty_pages", "Pages in the dirty page table."),
    (G, "aries_active_transactions", "Transactions that have not ended."),
    (
        G,
        "aries_recovery_window_bytes",
        "Log that a restart may have to read: its end minus the oldest required LSN.",
    ),
    (G, "aries_data_bytes", "Size of the file of pages."),
    (G, "aries_healthy", "1 while the engine works, 0 once a failed write or sync has stopped it."),
    (
        G,
        "aries_recovered_entries",
        "Changes of keys that the restart of this process brought back.",
    ),
    (G, "process_start_time_seconds", "When this process began, in seconds since 1970."),
];

/// The families with labels.
const LABELLED: &[(Kind, &str, &str)] = &[
    (C, "aries_log_records_total", "Log records appended, by kind."),
    (
        G,
        "aries_restart_phase_duration_seconds",
        "How long each phase of the restart of this process took.",
    ),
    (C, "aries_http_requests_total", "Requests answered, by method, route and status."),
    (H, "aries_http_request_duration_seconds", "Time to answer a request, by method and route."),
];

/// Upper ends of the buckets of all histograms, in seconds.
const BUCKETS: &[f64] = &[
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5,
    1.0,
];

/// The numbers of one store.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    commits: Counter,
    rollbacks: Counter,
    forces: Histogram,
    checkpoints: Counter,
    pages_read: Counter,
    pages_written: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    ///
    /// # Panics
    /// Never: there are buckets.
    #[must_use]
    pub fn new() -> Self {
        let times = Matcher::Suffix("_duration_seconds".to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(times, BUCKETS);
        let recorder = builder.expect("there are buckets").build_recorder();
        let handle = recorder.handle();
        with_local_recorder(&recorder, || {
            FAMILIES.iter().chain(LABELLED).for_each(describe);
            FAMILIES.iter().for_each(begin);
            for phase in [Phase::Analysis, Phase::Redo, Phase::Undo] {
                phase_gauge(phase).set(0.0);
            }
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            gauge!("process_start_time_seconds").set(since.as_secs_f64());
        });
        let named = |name: &'static str| with_local_recorder(&recorder, || counter!(name));
        Self {
            commits: named("aries_commits_total"),
            rollbacks: named("aries_rollbacks_total"),
            forces: with_local_recorder(&recorder, || {
                histogram!("aries_log_force_duration_seconds")
            }),
            checkpoints: named("aries_checkpoints_total"),
            pages_read: named("aries_pages_read_total"),
            pages_written: named("aries_pages_written_total"),
            recorder,
            handle,
        }
    }

    pub(super) fn appended(&self, kind: &'static str) {
        match kind {
            "Commit" => self.commits.increment(1),
            "Rollback" => self.rollbacks.increment(1),
            _ => {}
        }
        self.with(|| counter!("aries_log_records_total", "kind" => kind).increment(1));
    }

    pub(super) fn forced(&self, took: Duration) {
        self.forces.record(took);
    }

    pub(super) fn checkpoint(&self) {
        self.checkpoints.increment(1);
    }

    pub(super) fn page_read(&self) {
        self.pages_read.increment(1);
    }

    pub(super) fn page_written(&self) {
        self.pages_written.increment(1);
    }

    pub(super) fn restart_phase(&self, phase: Phase, took: Duration) {
        self.with(|| phase_gauge(phase).set(took.as_secs_f64()));
    }

    pub(super) fn request(
        &self,
        method: &'static str,
        route: String,
        status: StatusCode,
        took: Duration,
    ) {
        let labels = vec![Label::new("method", method), Label::new("route", route)];
        let mut with_status = labels.clone();
        with_status.push(Label::new("status", status.as_str().to_owned()));
        self.with(|| {
            counter!("aries_http_requests_total", with_status).increment(1);
            histogram!("aries_http_request_duration_seconds", labels).record(took);
        });
    }

    /// All of it as Prometheus reads it.
    #[must_use]
    pub fn render(&self, db: &Db, recovered_entries: u64) -> String {
        // What restart itself appended counts, too.
        self.look_at(&db.stats(), db.restart_report().analysis.end);
        self.with(|| {
            gauge!("aries_healthy").set(if db.is_healthy() { 1.0 } else { 0.0 });
            gauge!("aries_recovered_entries").set(recovered_entries as f64);
        });
        self.handle.render()
    }

    fn look_at(&self, stats: &Statistics, began: Lsn) {
        let bytes_from = |lsn: Lsn| stats.end_lsn.get().saturating_sub(lsn.get());
        self.with(|| {
            counter!("aries_log_bytes_total").absolute(bytes_from(began));
            counter!("aries_buffer_hits_total").absolute(stats.pool.hits);
            counter!("aries_buffer_misses_total").absolute(stats.pool.misses);
            gauge!("aries_dirty_pages").set(stats.dirty_pages as f64);
            gauge!("aries_active_transactions").set(stats.transactions as f64);
            gauge!("aries_recovery_window_bytes").set(bytes_from(stats.oldest_required_lsn) as f64);
            gauge!("aries_data_bytes").set((stats.pages * stats.page_size as u64) as f64);
        });
    }

    /// Sorts what was measured into its buckets: to be called now and then, or it takes room until somebody asks.
    pub fn tidy_up(&self) {
        self.handle.run_upkeep();
    }

    fn with(&self, record: impl FnOnce()) {
        with_local_recorder(&self.recorder, record);
    }
}

fn phase_gauge(phase: Phase) -> Gauge {
    gauge!("aries_restart_phase_duration_seconds", "phase" => phase.name())
}

fn describe((kind, name, help): &(Kind, &'static str, &'static str)) {
    match kind {
        Kind::Counter => describe_counter!(*name, *help),
        Kind::Gauge => describe_gauge!(*name, *help),
        Kind::Histogram => describe_histogram!(*name, *help),
    }
}

/// Makes a series that has nothing to tell yet.
fn begin((kind, name, _): &(Kind, &'static str, &'static str)) {
    match kind {
        Kind::Counter => counter!(*name).absolute(0),
        Kind::Gauge => gauge!(*name).set(0.0),
        Kind::Histogram => drop(histogram!(*name)),
    }
}
