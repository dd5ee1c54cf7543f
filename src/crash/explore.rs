//! The explorer: every history, every crash point, every state of the disk, and crashes inside recovery.
//!
//! ```text
//!   histories (a tree, cut into shards) ──► run on a watched disk ──► states left at each point
//!                                                                          │ recover, check
//!                                                 states left inside ◄─────┤ depth 1, on a watched disk
//!                                                 that recovery            │
//!                                                      │ recover: the very state of the undisturbed recovery
//!                                                      └──► depth 2, …
//! ```
//!
//! Invariants:
//! - a state is checked once for what must be there and for each depth to which its recovery is crashed; it counts
//!   as distinct by its bytes alone;
//! - a crash inside a recovery must lead to the state that this recovery leads to when nothing disturbs it; but if it
//!   recovers from the death of a process, only once it has ended: what is in the cache only may be lost before;
//! - the count says what was covered: complete where every history, every point and every subset was tried.

use std::ops::RangeInclusive;

use super::history::{History, all, random};
use super::model::Expected;
use super::monitor::{Begin, Monitor};
use super::numbers::{Numbers, of};
use super::plan::{Coverage, Failure, Kind, Plan};
use super::probe::Probe;
use super::stage::Stage;
use super::violation::{Clause, Violation, fine, guarded};
use crate::disk::SimDisk;
use crate::error::Result;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};

/// Random histories of each length.
const RANDOM: u64 = 10;

/// An exploration under way.
pub struct Explorer {
    pub(super) plan: Plan,
    pub(super) stage: Stage,
    /// What the stage's disk holds; none where nobody watches the order of writes.
    pub(super) begin: Option<Begin>,
    /// States by their bytes, what must be there, and how deep the crashes inside their recovery go.
    pub(super) checked: Numbers,
    /// States by their bytes alone.
    pub(super) states: Numbers,
    /// What recoveries durably left, and what was there then.
    pub(super) recovered: Numbers,
    coverage: Mutex<Coverage>,
    stop: AtomicBool,
    /// Grows with each state that is checked.
    checks: AtomicU64,
    /// The histories that are explored now.
    under_way: Mutex<Vec<History>>,
    next: AtomicU64,
    failure: Mutex<Option<Failure>>,
}

impl Explorer {
    /// Makes ready.
    ///
    /// # Errors
    /// None but those of a broken engine.
    pub fn new(plan: Plan) -> Result<Self> {
        let stage = Stage::set(plan.setting, plan.bounds)?;
        Ok(Self {
            begin: Some(Begin::of(&stage.disk())?),
            stage,
            plan,
            states: Numbers::new(),
            checked: Numbers::new(),
            recovered: Numbers::new(),
            coverage: Mutex::new(Coverage { finished: true, ..Coverage::default() }),
            stop: AtomicBool::new(false),
            checks: AtomicU64::new(0),
            under_way: Mutex::default(),
            next: AtomicU64::new(0),
            failure: Mutex::new(None),
        })
    }

    /// The same, but that nobody watches the order of writes: only what a crash shows is found.
    #[must_use]
    pub fn without_monitor(self) -> Self {
        Self { begin: None, ..self }
    }

    /// What is covered so far.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        *self.coverage.lock()
    }

    /// A number that grows as long as something is checked: an engine that hangs keeps it from growing.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.checks.load(Ordering::Relaxed)
    }

    /// Notes that something is checked.
    pub(super) fn tick(&self) {
        self.checks.fetch_add(1, Ordering::Relaxed);
    }

    /// The histories that are explored now.
    #[must_use]
    pub fn under_way(&self) -> Vec<History> {
        self.under_way.lock().clone()
    }

    /// Ends [`Explorer::run`] early.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it is to end; what is left out for it is not called complete.
    pub(super) fn is_stopped(&self) -> bool {
        let stopped = self.stop.load(Ordering::Relaxed);
        if stopped {
            self.coverage.lock().finished = false;
        }
        stopped
    }

    fn is_mine(&self, number: u64) -> bool {
        number % self.plan.shards.max(1) == self.plan.shard
    }

    /// The histories of so many steps that are the shard's.
    fn histories(&self, lengths: RangeInclusive<usize>) -> impl Iterator<Item = History> + '_ {
        let bounds = self.plan.bounds;
        let all: Box<dyn Iterator<Item = History>> = match self.plan.kind {
            Kind::Crashes | Kind::Faults => Box::new(all(bounds, lengths)),
            Kind::Long => Box::new(lengths.flat_map(move |length| {
                let seeds = (0..RANDOM).map(move |seed| seed << 8 | length as u64);
                seeds.map(move |seed| random(bounds, Kind::Long.steps(length), seed))
            })),
        };
        let numbered = all.zip(0..);
        numbered.filter(|(_, number)| self.is_mine(*number)).map(|(history, _)| history)
    }

    /// Explores the histories of so many steps, until all is done, or something is wrong, or somebody calls
    /// [`Explorer::stop`]. Of several failures one of a shortest history is given. May be called again for other
    /// lengths: states that were checked are not checked again.
    pub fn run(&self, lengths: RangeInclusive<usize>) -> Option<Failure> {
        self.next.store(0, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for _ in 0..self.plan.threads.max(1) {
                scope.spawn(|| self.work(lengths.clone()));
            }
        });
        self.failure.lock().take()
    }

    /// Takes one history after the other.
    fn work(&self, lengths: RangeInclusive<usize>) {
        let mut histories = self.histories(lengths);
        let mut at = 0;
        loop {
            let wanted = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(history) = histories.nth(usize::try_from(wanted - at).unwrap_or(0)) else {
                return;
            };
            at = wanted + 1;
            if self.is_stopped() {
                return;
            }
            self.under_way.lock().push(history.clone());
            let explored = match self.plan.kind {
                Kind::Crashes | Kind::Long => self.explore(&history),
                Kind::Faults => self.strike(&history),
            };
            self.under_way.lock().retain(|other| *other != history);
            if let Err(failure) = explored {
                // Not all of that history was tried.
                self.coverage.lock().finished = false;
                self.note(*failure);
                self.stop();
            }
        }
    }

    /// Keeps the failure with the shorter history, and the shorter path.
    fn note(&self, failure: Failure) {
        let size = |failure: &Failure| (failure.history.0.len(), failure.crashes.len());
        let mut kept = self.failure.lock();
        if kept.as_ref().is_none_or(|kept| size(&failure) < size(kept)) {
            *kept = Some(failure);
        }
    }

    /// Tries each crash of a history: of its last step, or, if it is a long one, of all.
    pub(super) fn explore(&self, history: &History) -> std::result::Result<(), Box<Failure>> {
        let disk = self.stage.disk();
        let probe = Probe::new(&disk, self.plan.processes_die());
        let options = self.plan.setting.options();
        let begin = self.begin.as_ref();
        let monitor = begin.map(|begin| Monitor::new(&disk, &self.plan.setting, begin.clone()));
        let watched = probe.watched(monitor.clone());
        let ran = guarded(|| {
            let whole = self.plan.kind == Kind::Long;
            let watch = (Arc::clone(&probe), monitor.clone());
            fine(Clause::Runs, self.stage.run(history, &options, watched, &watch, whole))
        });
        let (left, counts) = probe.take();
        let mut coverage = Coverage { histories: 1, finished: true, ..Coverage::default() };
        coverage.count(counts);
        let failed = |violation| self.failed(history, violation);
        ran.and_then(|()| monitor.map_or(Ok(()), |monitor| monitor.check())).map_err(failed)?;
        let checked = left.into_iter().try_for_each(|left| {
            let mut crashes = Vec::new();
            let checked = self.check(left, self.plan.depth, &mut coverage, &mut crashes);
            checked.map_err(|violation| {
                crashes.reverse();
                Box::new(Failure { crashes, ..*failed(violation) })
            })
        });
        self.add(&coverage);
        checked
    }

    pub(super) fn add(&self, coverage: &Coverage) {
        self.coverage.lock().add(coverage);
    }

    /// A failure before any crash.
    pub(super) fn failed(&self, history: &History, violation: Violation) -> Box<Failure> {
        let Plan { setting, bounds, .. } = self.plan;
        let history = history.clone();
        Box::new(Failure { setting, bounds, history, harm: None, crashes: Vec::new(), violation })
    }

    /// Whether the recovery of a disk is seen for the first time.
    pub(super) fn first_recovery_of(&self, disk: &SimDisk, expected: &Expected) -> bool {
        self.checked.insert(disk.fingerprint_with_pending() ^ of(("struck", expected)))
    }
}
