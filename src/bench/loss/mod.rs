//! What a killed process loses: with a log and without, flushed by hand and not.
//!
//! ```text
//!   parent (this process)                       child (the same program, hidden subcommand)
//!   ---------------------------------------     -------------------------------------------------
//!   makes the database and an empty table,
//!   closes it
//!   starts the child -------------------------> opens it, and puts keys 1, 2, 3, … in turn:
//!   counts what is acknowledged <--- pipe -----   begin, put, commit, then, and only then: "put 17"
//!                                                 half-way: Db::flush, then: "flushed 500"
//!   has heard enough: SIGKILL ----------------> X
//!   reads the pipe to its end
//!   opens the database, which restarts it
//!   counts what is there, and compares
//! ```
//!
//! What must be there, for a child that had put `a` keys, told of each, and flushed after `f` of them:
//!
//! | log | there afterwards |
//! |---|---|
//! | on | the first `a`, and perhaps one more: put, and killed before it could say so |
//! | off | the first `f`: exactly the last flush, and nothing if there was none |
//!
//! Anything else is a fault: a key that is missing, one that was never put, a value that belongs to another key, a tree that
//! is not sound ([`Left`], [`judge`]).
//!
//! [`Experiment::Timed`] is the same with many puts: the child tells only of every thousandth, and how long all took, and
//! is killed after the last. Flushes come as late as they may: before the put that would make it one too many. So the
//! kill strikes at the worst moment, when as many puts are not flushed as ever.
//!
//! What is shown, and what is not: SIGKILL takes the process and leaves the page cache. What was handed to the operating system
//! survives, forced or not; so a kill cannot tell `Durability::Buffered` from `Durability::Commit`. What a failure of the power
//! may do is shown by `aries demo` (a disk that drops what is not synced) and `aries crash` (every state of the disk).
//!
//! Invariants:
//! - "put" leaves the child only after `commit()` returned, "flushed" only after `Db::flush` did;
//! - the parent hears all that left the child: it reads the pipe to its end;
//! - the database is looked at only after the child is gone.

mod child;
mod count;
mod worker;

use std::path::Path;
use std::time::Duration;

pub use child::serve;
pub use count::{Left, count, judge};
pub use worker::Heard;

use super::{Error, Place};
use crate::config::Durability;
use crate::db::Options;

/// In the timed experiment, and where there is no need to know exactly, the child tells of one put in so many.
const SELDOM: u64 = 1000;
/// The table that is put to.
const TABLE: &str = "puts";
/// Bytes of a value: its key, over and over.
const VALUE_BYTES: usize = 100;

/// What is kept of what is put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Log {
    /// Each commit waits until its log is durable.
    Forced,
    /// Each commit hands its log to the operating system.
    Buffered,
    /// There is none.
    Off,
}

impl Log {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Forced, Self::Buffered, Self::Off];

    /// In one word: as the durability of the database is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Forced => "commit",
            Self::Buffered => "buffered",
            Self::Off => "off",
        }
    }

    fn durability(self) -> Durability {
        match self {
            Self::Forced => Durability::Commit,
            Self::Buffered => Durability::Buffered,
            Self::Off => Durability::Off,
        }
    }
}

/// When the child calls `Db::flush`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// Never.
    Never,
    /// Once, after so many puts.
    After(u64),
    /// Whenever so many puts are not flushed, before the next.
    Every(u64),
}

/// What the child does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Work {
    /// What is kept.
    pub log: Log,
    /// When it is flushed.
    pub flush: Flush,
    /// It tells of one put in so many.
    pub tell_every: u64,
    /// It stops after so many puts and waits to be killed; otherwise it goes on until then.
    pub last: Option<u64>,
}

/// Which experiment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Experiment {
    /// The child is killed while it puts, once it has told of so many.
    InFlight {
        /// So many.
        puts: u64,
    },
    /// The child is killed after the last of so many, and tells how long they took.
    Timed {
        /// So many.
        puts: u64,
    },
}

impl Experiment {
    /// What the children do, one after the other.
    #[must_use]
    pub fn works(self) -> Vec<Work> {
        match self {
            Self::InFlight { puts } => [Log::Off, Log::Forced]
                .into_iter()
                .flat_map(|log| [(log, Flush::Never), (log, Flush::After(puts / 2))])
                .map(|(log, flush)| Work { log, flush, tell_every: 1, last: None })
                .collect(),
            Self::Timed { puts } => [
                (Log::Off, Flush::Never),
                (Log::Off, Flush::Every(10_000)),
                (Log::Off, Flush::Every(1_000)),
                (Log::Buffered, Flush::Never),
                (Log::Forced, Flush::Never),
            ]
            .map(|(log, flush)| Work { log, flush, tell_every: SELDOM, last: Some(puts) })
            .into(),
        }
    }

    /// So many puts are acknowledged when the child is killed, at least.
    #[must_use]
    pub fn puts(self) -> u64 {
        match self {
            Self::InFlight { puts } | Self::Timed { puts } => puts,
        }
    }
}

/// A child that was killed, and what it left.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it did.
    pub work: Work,
    /// What it told.
    pub heard: Heard,
    /// What was there.
    pub left: Left,
    /// What is not as it must be, in words.
    pub faults: Vec<String>,
}

impl Run {
    /// Puts that were acknowledged and are gone.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.heard.put.saturating_sub(self.left.found)
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which experiment it was.
    pub experiment: Experiment,
    /// Whether the directory was in memory.
    pub in_memory: bool,
    /// One for each of [`Experiment::works`].
    pub runs: Vec<Run>,
}

impl Report {
    /// Whether everything was as it must be.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.runs.iter().all(|run| run.faults.is_empty())
    }

    /// How many times as long as without a log and without a flush it took.
    #[must_use]
    pub fn ratio(&self, run: &Run) -> Option<f64> {
        let is_plain = |run: &&Run| (run.work.log, run.work.flush) == (Log::Off, Flush::Never);
        let plain = self.runs.iter().find(is_plain)?.heard.took?;
        Some(run.heard.took?.as_secs_f64() / plain.as_secs_f64().max(f64::MIN_POSITIVE))
    }
}

/// Does the experiment in a new directory within `within`, with `program` as the child; `told` hears of what the child
/// has put so far.
///
/// # Errors
/// [`Error::Unusable`] for a directory in which nothing can be made; [`Error::Child`] for a child that cannot be
/// killed because it has ended; those of the engine.
pub fn run(
    within: Option<&Path>,
    experiment: Experiment,
    program: &Path,
    told: &mut dyn FnMut(&Work, u64),
) -> Result<Report, Error> {
    let place = Place::make(within)?;
    let mut runs = Vec::new();
    for (number, work) in experiment.works().into_iter().enumerate() {
        let directory = place.path().join(format!("db{number}"));
        prepare(&directory)?;
        let heard =
            worker::run_and_kill(program, &directory, &work, experiment.puts(), &mut |put| {
                told(&work, put);
            })?;
        let left = count(&directory)?;
        let faults = judge(&work, &heard, &left);
        runs.push(Run { work, heard, left, faults });
    }
    let report = Report { experiment, in_memory: place.is_in_memory(), runs };
    place.remove()?;
    Ok(report)
}

/// Makes the database, with an empty table.
fn prepare(directory: &Path) -> Result<(), Error> {
    let db = Options::new().open(directory)?;
    db.table(TABLE)?;
    Ok(db.close()?)
}

/// The key that is put as the how-manyeth, from 1.
#[must_use]
pub fn key_of(number: u64) -> Vec<u8> {
    format!("{number:010}").into_bytes()
}

/// The value that stands for it.
#[must_use]
pub fn value_of(number: u64) -> Vec<u8> {
    key_of(number).into_iter().cycle().take(VALUE_BYTES).collect()
}

/// What somebody waits for longer than this does not come.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);
