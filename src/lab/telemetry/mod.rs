//! What a store lets be seen from outside: numbers for Prometheus ([`Metrics`]), and spans for whoever traces ([`tracing`]).
//!
//! ```text
//!   request ── transaction ──┬── log append              told by the engine: Observer
//!    (http)     (store)      ├── log force               seen at the disk: Watcher
//!                            └── page write, page sync
//!   restart ── analysis, redo, undo                      told by the engine: Observer
//! ```
//!
//! A span has as its parent what its thread was doing: a force that serves many transactions (group commit) is seen in the one whose
//! thread led it. A background thread's page writes have no parent.
//!
//! Invariants:
//! - the engine knows nothing of this: it has an observer and a disk, as always;
//! - a call that the disk refused counts for nothing.

mod metrics;
mod spans;

use std::cell::Cell;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, debug_span, info_span};

pub use metrics::Metrics;
pub use spans::{Tracing, trace};

use crate::buffer::PAGES_FILE;
use crate::disk::{Call, Watcher};
use crate::error::Result;
use crate::event::{Event, Observer, Phase};
use crate::log::LOG_DIRECTORY;
use crate::sync::{Arc, Mutex};

/// Looks on while a store works.
pub struct Telemetry {
    metrics: Metrics,
    with_log: bool,
    /// The phase of restart that is under way.
    phase: Mutex<Option<OpenPhase>>,
}

struct OpenPhase {
    phase: Phase,
    began: Instant,
    /// It ends when this is dropped.
    _span: Span,
}

/// A call to the disk that is under way.
struct OpenCall {
    is_force: bool,
    began: Instant,
    /// It ends when this is dropped.
    _span: Span,
}

thread_local! {
    /// What this thread just asks of the disk, if it is of interest: one call at a time.
    static CALL: Cell<Option<OpenCall>> = const { Cell::new(None) };
}

impl Telemetry {
    /// Nothing is seen yet of the store with the log, or of that without.
    pub fn new(with_log: bool) -> Arc<Self> {
        Arc::new(Self { metrics: Metrics::new(), with_log, phase: Mutex::new(None) })
    }

    /// The numbers.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The phase that was under way has ended; another may begin.
    fn phase_begins(&self, next: Option<Phase>) {
        let next = next.map(|phase| OpenPhase {
            phase,
            began: Instant::now(),
            _span: match phase {
                Phase::Opening => Span::none(),
                Phase::Analysis => info_span!("analysis"),
                Phase::Redo => info_span!("redo"),
                Phase::Undo => info_span!("undo"),
            },
        });
        let ended = std::mem::replace(&mut *self.phase.lock(), next);
        if let Some(ended) = ended {
            self.metrics.restart_phase(ended.phase, ended.began.elapsed());
        }
    }
}

impl Observer for Telemetry {
    fn event(&self, event: &Event) {
        match event {
            Event::Appended { lsn, kind, page, .. } => {
                let _at_once = debug_span!(
                    "log append",
                    lsn = lsn.get(),
                    kind,
                    page = page.map(|page| page.0)
                );
                self.metrics.appended(kind);
            }
            Event::PageRead { .. } => self.metrics.page_read(),
            Event::PageWritten { .. } => self.metrics.page_written(),
            Event::CheckpointEnded { .. } => self.metrics.checkpoint(),
            Event::AnalysisBegan { .. } => self.phase_begins(Some(Phase::Analysis)),
            Event::RedoBegan { .. } => self.phase_begins(Some(Phase::Redo)),
            Event::UndoBegan { .. } => self.phase_begins(Some(Phase::Undo)),
            Event::AnalysisEnded { .. } | Event::RedoEnded { .. } | Event::Opened => {
                self.phase_begins(None)
            }
            _ => {}
        }
    }
}

impl Watcher for Telemetry {
    fn before(&self, call: &Call, bytes: &[u8]) -> Result<()> {
        CALL.set(opened(call, bytes.len()));
        Ok(())
    }

    fn after(&self, _call: &Call, succeeded: bool) {
        if let Some(call) = CALL.take()
            && call.is_force
            && succeeded
        {
            self.metrics.forced(call.began.elapsed());
        }
    }
}

fn opened(call: &Call, bytes: usize) -> Option<OpenCall> {
    let of_log = call.name.strip_prefix(LOG_DIRECTORY).is_some_and(|rest| rest.starts_with('/'));
    let of_pages = call.name == PAGES_FILE;
    let (is_force, span) = match call.operation {
        "sync" if of_log => (true, debug_span!("log force", segment = call.name)),
        "sync" if of_pages => (false, debug_span!("page sync")),
        "write" if of_pages => (false, debug_span!("page write", offset = call.range.start, bytes)),
        _ => return None,
    };
    Some(OpenCall { is_force, began: Instant::now(), _span: span })
}

/// Counts a request, and puts a span around it.
pub async fn observed(
    State(telemetry): State<Arc<Telemetry>>,
    request: Request,
    next: Next,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("none", |path| path.as_str()).to_owned();
    let method = known(request.method());
    let span = info_span!("request", log = telemetry.with_log, method, route, status = Empty);
    let began = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    span.record("status", response.status().as_u16());
    telemetry.metrics.request(method, route, response.status(), began.elapsed());
    response
}

/// A method by its name; those that nobody knows have one together, or a client could make as many series as it likes.
fn known(method: &Method) -> &'static str {
    let known =
        [Method::GET, Method::POST, Method::DELETE, Method::PUT, Method::OPTIONS, Method::HEAD];
    let names = ["GET", "POST", "DELETE", "PUT", "OPTIONS", "HEAD"];
    let at = known.iter().position(|one| one == method);
    at.map_or("other", |at| names[at])
}
