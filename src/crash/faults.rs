//! Faults that somebody is told of: each call of a history's last step, and of the recovery after it, fails once,
//! or for ever after; or the kernel does only a part of it.
//!
//! ```text
//!   history ── the call fails ── the rest of the history, if it goes on ── another commit ── power fails, or process dies
//!                  └ an error that tells of it                               └ refused, if a sync failed
//! ```
//!
//! Whatever was acknowledged, before the fault and after it, must be there after recovery.

use super::explore::Explorer;
use super::harm::{Harm, Struck, faults_at, tells_of};
use super::history::History;
use super::model::{Expected, Promise, State};
use super::oracle::recover;
use super::plan::{Coverage, Crash, Failure};
use super::probe::{Left, Probe};
use super::stage::Stage;
use super::survivors::nothing;
use super::violation::{Checked, Clause, Violation, fine, guarded, violated};
use super::watch::Watch;
use crate::db::Options;
use crate::disk::{Call, Disk, Fault, FaultKind, SimDisk, WatchedDisk, Watcher};
use crate::error::{Error, Result};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

/// A call of the disk.
#[derive(Clone)]
pub struct Called {
    pub io: u64,
    pub operation: &'static str,
    pub name: String,
    /// The bytes that were written.
    pub range: std::ops::Range<u64>,
    /// The first of them that changes something.
    pub changes_from: u64,
}

/// Notes the calls of a disk, and what must be there in the end.
pub struct Calls {
    disk: SimDisk,
    noting: AtomicBool,
    calls: Mutex<Vec<Called>>,
    expected: Mutex<Option<Expected>>,
}

impl Calls {
    pub fn new(disk: &SimDisk) -> Arc<Self> {
        let (noting, calls) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self { disk: disk.clone(), noting, calls, expected: Mutex::default() })
    }

    pub fn watched(self: &Arc<Self>) -> Arc<dyn Disk> {
        let watcher = Arc::clone(self) as Arc<dyn Watcher>;
        WatchedDisk::watched_by(Arc::new(self.disk.clone()), watcher)
    }

    pub fn note(&self, noting: bool) {
        self.noting.store(noting, Ordering::Relaxed);
    }

    pub fn take(&self) -> Vec<Called> {
        std::mem::take(&mut self.calls.lock())
    }
}

impl Watcher for Calls {
    fn before(&self, call: &Call, bytes: &[u8]) -> Result<()> {
        if !self.noting.load(Ordering::Relaxed) {
            return Ok(());
        }
        let io = self.disk.io_count();
        let old = if bytes.is_empty() { None } else { self.disk.read_file(&call.name) };
        let start = usize::try_from(call.range.start).unwrap_or(usize::MAX);
        let old = old.as_deref().and_then(|old| old.get(start..)).unwrap_or_default();
        let same = bytes.iter().zip(old).take_while(|(new, old)| new == old).count();
        let changes_from = call.range.start + same as u64;
        let Call { operation, name, range } = call.clone();
        self.calls.lock().push(Called { io, operation, name, range, changes_from });
        Ok(())
    }
}

impl Watch for Calls {
    fn expect(&self, expected: Expected) {
        *self.expected.lock() = Some(expected);
        self.note(true);
    }

    fn end(&self) {
        self.note(false);
    }
}

/// Notes whether a sync has failed.
#[derive(Default)]
struct FailedSync(AtomicBool);

impl Watcher for FailedSync {
    fn before(&self, _call: &Call, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    fn after(&self, call: &Call, succeeded: bool) {
        if call.operation == "sync" && !succeeded {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// What came of a history on a disk with a fault.
pub struct Ran {
    /// What must be there now.
    pub expected: Expected,
    /// Whether an error told of the fault.
    pub noticed: bool,
}

/// Runs a history on a disk with a fault, as far as it goes, and then tries another commit.
///
/// # Errors
/// What is wrong: errors that tell of something else, and what is acknowledged after a sync has failed.
pub fn perform(
    stage: &Stage,
    history: &History,
    options: &Options,
    disk: Arc<dyn Disk>,
    watch: &dyn Watch,
    kind: FaultKind,
) -> Checked<Ran> {
    guarded(|| {
        let failed_sync = Arc::new(FailedSync::default());
        let disk = WatchedDisk::watched_by(disk, Arc::clone(&failed_sync) as Arc<dyn Watcher>);
        watch.expect(stage.model().expected());
        let mut told = Told { kind, noticed: false, is_final: false };
        let world = told.note(stage.open(options, disk))?;
        let expected = match world {
            None => stage.model().expected(),
            Some(mut world) => {
                for step in &history.0 {
                    watch.step(*step);
                    if told.note(world.take(*step, &|expected| watch.expect(expected)))?.is_none() {
                        break;
                    }
                }
                let is_final = told.is_final || failed_sync.0.load(Ordering::Relaxed);
                let carried_on = told.note(world.carry_on(&|expected| watch.expect(expected)))?;
                if is_final && carried_on.is_some() && must_stop_at(kind) {
                    return violated(Clause::Final, "another commit was acknowledged");
                }
                world.expected()
            }
        };
        watch.end();
        Ok(Ran { expected, noticed: told.noticed })
    })
}

/// What errors have told of a fault.
struct Told {
    kind: FaultKind,
    /// Whether one has.
    noticed: bool,
    /// Whether one says that nothing more is acknowledged.
    is_final: bool,
}

impl Told {
    /// What was done, if it was; that an error tells of something else is wrong.
    fn note<T>(&mut self, result: Result<T>) -> Checked<Option<T>> {
        match result {
            Ok(done) => Ok(Some(done)),
            Err(error) if tells_of(self.kind, &error) => {
                self.noticed = true;
                self.is_final |=
                    matches!(error, Error::Poisoned { .. } | Error::OutcomeUnknown { .. });
                Ok(None)
            }
            Err(error) => violated(Clause::Tells, error.to_string()),
        }
    }
}

/// Whether a fault is one that the engine must stop at when it strikes a sync.
fn must_stop_at(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::InputOutputError | FaultKind::DiskFull)
}

impl Explorer {
    /// Tries each fault in the last step of a history, and in the recovery after it.
    pub(super) fn strike(&self, history: &History) -> std::result::Result<(), Box<Failure>> {
        let mut coverage = Coverage { histories: 1, finished: true, ..Coverage::default() };
        let disk = self.stage.disk();
        let calls = Calls::new(&disk);
        let options = self.plan.setting.options();
        let ran = guarded(|| {
            let ran = self.stage.run(history, &options, calls.watched(), calls.as_ref(), false);
            fine(Clause::Runs, ran)
        });
        ran.map_err(|violation| self.failed(history, violation))?;
        let page = self.plan.setting.page_size();
        for call in calls.take() {
            for fault in faults_at(call.io, call.operation, false, page) {
                self.in_history(history, fault, &mut coverage)?;
            }
        }
        let expected = calls.expected.lock().take();
        let expected = expected.expect("a history that has run has said what must be there");
        self.in_recovery(history, &disk, &expected, &mut coverage)?;
        self.strike_silently(history, &mut coverage)?;
        self.add(&coverage);
        Ok(())
    }

    fn in_history(
        &self,
        history: &History,
        fault: Fault,
        coverage: &mut Coverage,
    ) -> std::result::Result<(), Box<Failure>> {
        let harm = Harm::InHistory(fault);
        let disk = self.stage.disk();
        disk.inject(fault);
        let (options, probe) = (self.plan.setting.options(), Probe::new(&disk, false));
        let on = Arc::new(disk.clone());
        let failed = |violation, crashes| {
            let failure = self.failed(history, violation);
            Box::new(Failure { harm: Some(harm.clone()), crashes, ..*failure })
        };
        let ran = perform(&self.stage, history, &options, on, &Nobody, fault.kind)
            .map_err(|violation| failed(violation, Vec::new()))?;
        coverage.strike(fault.kind, &noticed(ran.noticed));
        self.check_after(&disk, &probe, ran.expected, fault, coverage)
            .map_err(|(violation, crashes)| failed(violation, crashes))
    }

    /// Checks all that may be left of a disk on which there was a fault.
    fn check_after(
        &self,
        disk: &SimDisk,
        probe: &Arc<Probe<Expected>>,
        expected: Expected,
        fault: Fault,
        coverage: &mut Coverage,
    ) -> std::result::Result<(), (Violation, Vec<Crash>)> {
        probe.expect(Arc::clone(&expected));
        probe.look();
        let (mut left, counts) = probe.take();
        coverage.count(counts);
        let (killed, io) = (disk.kill(), disk.io_count());
        let fingerprint = killed.fingerprint_with_pending();
        left.push(Left { disk: killed, fingerprint, io, survivors: None, expected });
        for left in left {
            let mut crashes = Vec::new();
            // A device that refuses everything takes no mark either that its cache is not to be believed: what only
            // the cache has is lost with the power then, although the recovery has shown it.
            let depth = usize::from(left.survivors.is_none() && !fault.forever);
            self.check(left, depth, coverage, &mut crashes).map_err(|violation| {
                crashes.reverse();
                (violation, crashes)
            })?;
        }
        Ok(())
    }

    /// Tries each fault in the recovery after the history, of what is durable, and of what is in the cache.
    fn in_recovery(
        &self,
        history: &History,
        disk: &SimDisk,
        expected: &Expected,
        coverage: &mut Coverage,
    ) -> std::result::Result<(), Box<Failure>> {
        let io = disk.io_count();
        for survivors in [Some(nothing()), None] {
            let left = survivors.as_ref().map_or_else(|| disk.kill(), |kept| disk.crash(kept));
            if !self.first_recovery_of(&left, expected) {
                continue;
            }
            let calls = Calls::new(&left.kill());
            calls.note(true);
            let crash = Crash { io, survivors };
            let failed = |violation, harm, mut crashes: Vec<Crash>| {
                let failure = self.failed(history, violation);
                crashes.insert(0, crash.clone());
                Box::new(Failure { harm, crashes, ..*failure })
            };
            let promise = recover(&self.plan.setting.options(), calls.watched(), expected)
                .map_err(|violation| failed(violation, None, Vec::new()))?;
            // What is only in the cache may be lost until the recovery has ended.
            let after = match crash.survivors {
                Some(_) => Arc::from([promise]),
                None => Arc::clone(expected),
            };
            let page = self.plan.setting.page_size();
            for call in calls.take() {
                for fault in faults_at(call.io, call.operation, false, page) {
                    let harm = Harm::InRecovery(fault);
                    self.recover_struck(&left, expected, &after, fault, coverage)
                        .map_err(|(violation, crashes)| failed(violation, Some(harm), crashes))?;
                }
            }
        }
        Ok(())
    }

    fn recover_struck(
        &self,
        left: &SimDisk,
        expected: &Expected,
        after: &Expected,
        fault: Fault,
        coverage: &mut Coverage,
    ) -> std::result::Result<(), (Violation, Vec<Crash>)> {
        let disk = left.kill();
        disk.inject(fault);
        let probe = Probe::new(&disk, false);
        let options = self.plan.setting.options();
        let recovered = guarded(|| recover_or_refuse(&options, &disk, expected, fault.kind));
        let recovered = recovered.map_err(|violation| (violation, Vec::new()))?;
        coverage.strike(fault.kind, &noticed(recovered.is_none()));
        let after = recovered.map_or_else(|| Arc::clone(after), |promise| Arc::from([promise]));
        self.check_after(&disk, &probe, after, fault, coverage)
    }
}

/// Opens a disk with a fault: what is there then, or `None` if an error tells of the fault.
pub fn open_or_refuse(
    options: &Options,
    disk: &SimDisk,
    kind: FaultKind,
) -> Checked<Option<State>> {
    let mut told = Told { kind, noticed: false, is_final: false };
    told.note(options.open_on(Arc::new(disk.clone())).and_then(|db| State::of(&db)))
}

/// The same; what is there must be one of what is expected.
pub fn recover_or_refuse(
    options: &Options,
    disk: &SimDisk,
    expected: &Expected,
    kind: FaultKind,
) -> Checked<Option<Promise>> {
    let Some(state) = open_or_refuse(options, disk, kind)? else { return Ok(None) };
    match expected.iter().find(|promise| promise.state == state) {
        Some(promise) => Ok(Some(promise.clone())),
        None => violated(Clause::State, state.to_string()),
    }
}

fn noticed(noticed: bool) -> Struck {
    let (harmless, noticed) = (u64::from(!noticed), u64::from(noticed));
    Struck { runs: 1, harmless, noticed, limits: 0 }
}

/// Nobody watches.
pub struct Nobody;

impl Watch for Nobody {
    fn expect(&self, _expected: Expected) {}

    fn end(&self) {}
}
