//! What is to be explored, what was covered, and what went wrong.

use super::harm::{Harm, Struck, number_of};
use super::history::{Bounds, History};
use super::probe::Counts;
use super::setting::Setting;
use super::violation::Violation;
use crate::disk::{FaultKind, Survivors};

/// In which way histories are explored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// All histories, each crash in the last step.
    Crashes,
    /// All histories, each fault of the disk in the last step, and in the recovery afterwards.
    Faults,
    /// Random histories of all steps there are, eight times as long, each crash in each step.
    Long,
}

/// How much longer random histories are.
const LONGER: usize = 8;

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Crashes, Self::Faults, Self::Long];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crashes => "crashes",
            Self::Faults => "faults",
            Self::Long => "long",
        }
    }

    /// How many steps histories have that are of this length.
    #[must_use]
    pub const fn steps(self, length: usize) -> usize {
        match self {
            Self::Crashes | Self::Faults => length,
            Self::Long => length * LONGER,
        }
    }
}

/// What is to be explored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// How the database is opened, and what power failures do.
    pub setting: Setting,
    /// Which histories.
    pub bounds: Bounds,
    /// In which way.
    pub kind: Kind,
    /// How many crashes inside recovery follow one upon the other.
    pub depth: usize,
    /// Whether the process may also die alone, while the power stays (as long as a crash inside recovery may follow).
    pub kills: bool,
    /// The part of all histories: this one …
    pub shard: u64,
    /// … of so many.
    pub shards: u64,
    /// How many threads explore.
    pub threads: usize,
}

impl Plan {
    /// Whether processes die: what one leaves is checked by what crashes inside its restart leave.
    #[must_use]
    pub const fn processes_die(&self) -> bool {
        self.kills && self.depth > 0
    }
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
    /// Of those checked, how many a process left that died while the power stayed.
    pub killed: u64,
    /// Recoveries that differ in what they durably left, or in what was there then: after each, recovery was
    /// repeated and work went on.
    pub recovered: u64,
    /// Faults of the disk that were tried, each kind as in `FaultKind::ALL`.
    pub struck: [Struck; FaultKind::ALL.len()],
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
        self.killed += other.killed;
        self.recovered += other.recovered;
        for (mine, others) in self.struck.iter_mut().zip(&other.struck) {
            mine.add(others);
        }
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
            killed: self.killed - before.killed,
            recovered: self.recovered - before.recovered,
            struck: std::array::from_fn(|at| self.struck[at].since(&before.struck[at])),
            finished: self.finished,
        }
    }

    /// Whether every history within the bounds was run, with every subset at every point.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.finished && self.sampled_points == 0
    }

    pub(super) fn strike(&mut self, kind: FaultKind, came: &Struck) {
        self.struck[number_of(kind)].add(came);
    }

    pub(super) fn count(&mut self, counts: Counts) {
        self.points += counts.points;
        self.sampled_points += counts.sampled_points;
        self.ways += counts.ways;
    }
}

/// A crash: when, and what survived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crash {
    /// The I/O before which the power failed, or the process died, counted from the moment at which the database was opened.
    pub io: u64,
    /// What survived of what was not durable; `None` if only the process died: the kernel keeps all, and may lose it
    /// when the power fails later.
    pub survivors: Option<Survivors>,
}

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// How the database was opened.
    pub setting: Setting,
    /// The stage, and what was possible on it.
    pub bounds: Bounds,
    /// What was done.
    pub history: History,
    /// The fault of the disk, if there was one.
    pub harm: Option<Harm>,
    /// The crash in it, and those in the recoveries after it.
    pub crashes: Vec<Crash>,
    /// What is wrong then.
    pub violation: Violation,
}
