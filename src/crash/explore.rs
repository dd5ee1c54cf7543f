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
//! - a crash inside a recovery must lead to the state that this recovery leads to when nothing disturbs it;
//! - the count says what was covered: complete where every history, every point and every subset was tried.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hash};
use std::ops::RangeInclusive;

use super::history::{Bounds, History, all};
use super::monitor::{Begin, Monitor};
use super::oracle::{Checked, Clause, Violation, fine, go_on, guarded, recover};
use super::probe::{Counts, Left, Probe};
use super::world::{Expected, Setting, Stage};
use crate::disk::{SimDisk, Survivors};
use crate::error::Result;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};

/// What is to be explored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// How the database is opened, and what power failures do.
    pub setting: Setting,
    /// Which histories.
    pub bounds: Bounds,
    /// How many crashes inside recovery follow one upon the other.
    pub depth: usize,
    /// The part of all histories: this one …
    pub shard: u64,
    /// … of so many.
    pub shards: u64,
    /// How many threads explore.
    pub threads: usize,
}

/// What was covered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    /// Histories that were run.
    pub histories: u64,
    /// Moments at which the power might have failed, inside recoveries included.
    pub points: u64,
    /// Of them, those with too many changes to try every subset.
    pub sampled_points: u64,
    /// Ways to survive that were tried.
    pub ways: u64,
    /// States recovered and checked: distinct by their bytes, by what must be there, and by how deep the crashes
    /// inside their recovery go.
    pub checked: u64,
    /// Of them, those distinct by their bytes alone.
    pub states: u64,
    /// Of those checked, how many lie inside a recovery.
    pub nested: u64,
    /// Recoveries that differ in what they durably left, or in what was there then: after each, recovery was
    /// repeated and work went on.
    pub recovered: u64,
    /// Whether all histories of the shard were run, rather than stopped.
    pub finished: bool,
}

impl Coverage {
    /// Of two parts.
    pub fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.points += other.points;
        self.sampled_points += other.sampled_points;
        self.ways += other.ways;
        self.checked += other.checked;
        self.states += other.states;
        self.nested += other.nested;
        self.recovered += other.recovered;
        self.finished &= other.finished;
    }

    /// What came after `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            histories: self.histories - before.histories,
            points: self.points - before.points,
            sampled_points: self.sampled_points - before.sampled_points,
            ways: self.ways - before.ways,
            checked: self.checked - before.checked,
            states: self.states - before.states,
            nested: self.nested - before.nested,
            recovered: self.recovered - before.recovered,
            finished: self.finished,
        }
    }

    /// Whether every history within the bounds was run, with every subset at every point.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.finished && self.sampled_points == 0
    }

    fn count(&mut self, counts: Counts) {
        self.points += counts.points;
        self.sampled_points += counts.sampled_points;
        self.ways += counts.ways;
    }
}

/// A crash: when, and what survived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crash {
    /// The I/O before which the power failed, counted from the moment at which the database was opened.
    pub io: u64,
    /// What survived of what was not durable.
    pub survivors: Survivors,
}

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// How the database was opened.
    pub setting: Setting,
    /// Pages of the stage.
    pub pages: usize,
    /// What was done.
    pub history: History,
    /// The crash in it, and those in the recoveries after it.
    pub crashes: Vec<Crash>,
    /// What is wrong then.
    pub violation: Violation,
}

/// A set of numbers that are as good as random already.
struct Numbers(Vec<Mutex<HashSet<u128>>>);

/// Threads wait for each other less often when the set is cut into so many parts.
const PARTS: u64 = 64;

impl Numbers {
    fn new() -> Self {
        Self((0..PARTS).map(|_| Mutex::default()).collect())
    }

    /// Whether it was not there yet.
    fn insert(&self, number: u128) -> bool {
        let part = usize::try_from((number >> 64) % u128::from(PARTS)).unwrap_or(0);
        self.0[part].lock().insert(number)
    }
}

/// An exploration under way.
pub struct Explorer {
    plan: Plan,
    stage: Stage,
    /// What the stage's disk holds; none where nobody watches the order of writes.
    begin: Option<Begin>,
    /// States by their bytes.
    states: Numbers,
    /// States by their bytes, what must be there, and how deep the crashes inside their recovery go.
    checked: Numbers,
    recovered: Numbers,
    coverage: Mutex<Coverage>,
    stop: AtomicBool,
    next: AtomicU64,
    failure: Mutex<Option<Failure>>,
}

impl Explorer {
    /// Makes ready.
    ///
    /// # Errors
    /// None but those of a broken engine.
    pub fn new(plan: Plan) -> Result<Self> {
        let stage = Stage::set(plan.setting, plan.bounds.pages)?;
        Ok(Self {
            begin: Some(Begin::of(&stage.disk())?),
            stage,
            plan,
            states: Numbers::new(),
            checked: Numbers::new(),
            recovered: Numbers::new(),
            coverage: Mutex::new(Coverage { finished: true, ..Coverage::default() }),
            stop: AtomicBool::new(false),
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

    /// Ends [`Explorer::run`] early.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn is_mine(&self, number: u64) -> bool {
        number % self.plan.shards.max(1) == self.plan.shard
    }

    /// The histories of so many steps that are the shard's.
    fn histories(&self, lengths: RangeInclusive<usize>) -> impl Iterator<Item = History> + '_ {
        let numbered = all(self.plan.bounds, lengths).zip(0..);
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
            if self.stop.load(Ordering::Relaxed) {
                self.coverage.lock().finished = false;
                return;
            }
            if let Err(failure) = self.explore(&history) {
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

    fn explore(&self, history: &History) -> std::result::Result<(), Box<Failure>> {
        let disk = self.stage.disk();
        let probe = Probe::new(&disk);
        let options = self.plan.setting.options();
        let begin = self.begin.as_ref();
        let monitor = begin.map(|begin| Monitor::new(&disk, &self.plan.setting, begin.clone()));
        let watched = probe.watched(monitor.clone());
        let ran = guarded(|| {
            let watch = (Arc::clone(&probe), monitor.clone());
            let ran = self.stage.run(history, &options, watched, &watch);
            ran.map_err(|error| Violation { clause: Clause::Runs, found: error.to_string() })
        });
        let (left, counts) = probe.take();
        let mut coverage = Coverage { histories: 1, finished: true, ..Coverage::default() };
        coverage.count(counts);
        let failed = |violation| {
            let (setting, history) = (self.plan.setting, history.clone());
            let pages = self.plan.bounds.pages;
            Box::new(Failure { setting, pages, history, crashes: Vec::new(), violation })
        };
        ran.and_then(|()| monitor.map_or(Ok(()), |monitor| monitor.check())).map_err(failed)?;
        for left in left {
            let mut crashes = Vec::new();
            if let Err(violation) = self.check(left, self.plan.depth, &mut coverage, &mut crashes) {
                crashes.reverse();
                return Err(Box::new(Failure { crashes, ..*failed(violation) }));
            }
        }
        self.coverage.lock().add(&coverage);
        Ok(())
    }

    /// Recovers a state and checks it, and those left inside its recovery down to `depth`. On failure `crashes` is
    /// the way to it, the last crash first.
    fn check(
        &self,
        left: Left<Expected>,
        depth: usize,
        coverage: &mut Coverage,
        crashes: &mut Vec<Crash>,
    ) -> std::result::Result<(), Violation> {
        // What was checked without crashing its recovery is no reason not to crash that now.
        if !self.checked.insert(left.fingerprint ^ of((depth, &left.expected))) {
            return Ok(());
        }
        coverage.checked += 1;
        coverage.nested += u64::from(depth < self.plan.depth);
        coverage.states += u64::from(self.states.insert(left.fingerprint));
        let setting = &self.plan.setting;
        let crash = |crashes: &mut Vec<Crash>, violation| {
            crashes.push(Crash { io: left.io, survivors: left.survivors.clone() });
            violation
        };
        let disk = left.disk.crash(&Survivors::All);
        let options = setting.options();
        let state = recover(&options, Arc::new(disk.clone()), &left.expected)
            .map_err(|violation| crash(crashes, violation))?;
        let durable = disk.crash(&Survivors::None);
        if self.recovered.insert(durable.fingerprint() ^ of(&state)) {
            coverage.recovered += 1;
            go_on(setting, &durable, &state).map_err(|violation| crash(crashes, violation))?;
        }
        if depth == 0 {
            return Ok(());
        }
        let expected: Expected = Arc::from([state]);
        let inside = self.inside(&left.disk, &expected, coverage);
        for inner in inside.map_err(|violation| crash(crashes, violation))? {
            self.check(inner, depth - 1, coverage, crashes)
                .map_err(|violation| crash(crashes, violation))?;
        }
        Ok(())
    }

    /// The states that crashes inside the recovery of `disk` leave; fails if it breaks a rule of order.
    fn inside(
        &self,
        disk: &SimDisk,
        expected: &Expected,
        coverage: &mut Coverage,
    ) -> Checked<Vec<Left<Expected>>> {
        let disk = disk.crash(&Survivors::All);
        let probe = Probe::new(&disk);
        probe.expect(Arc::clone(expected));
        let begin = self.begin.as_ref().map(|_| Begin::of(&disk)).transpose();
        let monitor =
            fine(Clause::Order, begin)?.map(|begin| Monitor::new(&disk, &self.plan.setting, begin));
        let watched = probe.watched(monitor.clone());
        // It has been recovered before, without anybody watching.
        let recovered = recover(&self.plan.setting.options(), watched, expected);
        assert!(recovered.is_ok(), "the same disk gives the same recovery: {recovered:?}");
        monitor.map_or(Ok(()), |monitor| monitor.check())?;
        probe.look();
        let (left, counts) = probe.take();
        coverage.count(counts);
        Ok(left)
    }
}

/// A number for it.
fn of(value: impl Hash) -> u128 {
    let lane = |seed: u64| {
        BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one((seed, &value))
    };
    u128::from(lane(1)) << 64 | u128::from(lane(2))
}
