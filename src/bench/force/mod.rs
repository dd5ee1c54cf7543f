//! What a force costs here, and what the engine makes of it.
//!
//! ```text
//!   raw      pwrite + fsync        the block, and all that the file system knows of the file
//!            pwrite + fdatasync    the block, and what is needed to find it again: what the engine does
//!            O_DSYNC pwrite        the same in one call
//!
//!   engine   transactions of one put each, by what a commit waits for:
//!            commit, 1 client      one after the other, each with a force of its own
//!            commit, 4, 16, 64     whoever waits for the disk shares the next force with all who wait
//!            100 at a time         the commits of a hundred are deferred, then one is waited for
//!            64 outstanding        the oldest of 64 deferred commits is waited for: the disk is never idle
//!            interval, buffered    a commit waits for no disk at all
//! ```
//!
//! How it is measured:
//! - there are [`ROUNDS`] rounds; in each round every [`Way`] has a turn, all of them equally long. A ratio is one to the
//!   turn of `fdatasync` in the same round; what is told is the median of the rounds. So a disk that gets slower
//!   meanwhile, or a neighbour that comes and goes, spoils a rate, but hardly a ratio;
//! - raw writes go round and round through a file that was filled and synced before, as the log goes through segments that were
//!   prepared;
//! - all turns of the engine use one database, which is closed in between: each begins with nothing to be forced, and
//!   leaves nothing to the next. What closing takes is not measured;
//! - a client puts values into keys of its own, which are there before: nobody waits for anybody's lock;
//! - the time of a transaction is that from its begin until it may be acknowledged. For a deferred commit
//!   this is when its ticket was waited for.
//!
//! Whoever comes back from the disk needs a processor: on a machine that is busy otherwise a force takes as long as the scheduler
//! lets it wait, and forces come out slower than the disk is ([`Report::load_before`]).
//!
//! In the background the engine forces deferred commits too, as it does for everybody who uses it with the
//! options it has by default.

mod engine;
mod raw;

use std::path::Path;
use std::time::{Duration, Instant};

pub use engine::Strategy;
pub use raw::Raw;

use super::{Error, Place};
use crate::times::Times;

/// So many turns has each way.
pub const ROUNDS: usize = 3;
/// Bytes that each raw write makes durable.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes of a value that is put.
pub const VALUE_BYTES: usize = 100;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// The disk alone.
    Raw(Raw),
    /// The engine.
    Engine(Strategy),
}

impl Way {
    /// All of them, in the order of their turns.
    pub fn all() -> impl Iterator<Item = Self> {
        Raw::ALL.into_iter().map(Self::Raw).chain(Strategy::ALL.into_iter().map(Self::Engine))
    }

    /// In one word, for JSON.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Raw(raw) => raw.name().to_owned(),
            Self::Engine(strategy) => strategy.name(),
        }
    }
}

/// A turn: what was done in how much time.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// How long each one took.
    pub times: Times,
    /// How long all of them took.
    pub elapsed: Duration,
}

impl Turn {
    /// So many were done in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.times.count() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// All turns of one way.
#[derive(Clone, Debug)]
pub struct Line {
    /// What was measured.
    pub way: Way,
    /// How many a second, in each round.
    pub rates: Vec<f64>,
    /// How long each took, all rounds together.
    pub times: Times,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether the directory was in memory, where a force does nothing.
    pub in_memory: bool,
    /// How many threads of other programs ran or wanted to, in the minute before; if the system tells.
    pub load_before: Option<f64>,
    /// How long each way was measured, in all rounds together.
    pub time: Duration,
    /// One for each [`Way`].
    pub lines: Vec<Line>,
}

impl Line {
    /// The median of the rounds.
    #[must_use]
    pub fn rate(&self) -> f64 {
        median(self.rates.clone())
    }
}

impl Report {
    /// How many times as many as raw `fdatasync` this way does: the median of the ratios within each round.
    #[must_use]
    pub fn ratio(&self, line: &Line) -> f64 {
        let is_yardstick = |line: &&Line| line.way == Way::Raw(Raw::Fdatasync);
        let yardstick = self.lines.iter().find(is_yardstick).map_or(&[][..], |line| &line.rates);
        median(line.rates.iter().zip(yardstick).map(|(rate, raw)| rate / raw).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures each way for so long, in a new directory within `within`; `told` hears of each turn that is over.
///
/// # Errors
/// [`Error::Unusable`] for a directory in which nothing can be made; those of the disk and of the engine.
pub fn run(
    within: Option<&Path>,
    time: Duration,
    told: &mut dyn FnMut(usize, &Line),
) -> Result<Report, Error> {
    let place = Place::make(within)?;
    let load_before = load();
    let rounds = u32::try_from(ROUNDS).expect("a few");
    let lines = measure(place.path(), time / rounds, told)?;
    let report = Report { in_memory: place.is_in_memory(), load_before, time, lines };
    place.remove()?;
    Ok(report)
}

/// The load of the last minute.
fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn measure(
    directory: &Path,
    turn: Duration,
    told: &mut dyn FnMut(usize, &Line),
) -> Result<Vec<Line>, Error> {
    let file = raw::prepare(directory)?;
    let database = directory.join("db");
    engine::prepare(&database)?;
    let new = |way| Line { way, rates: Vec::new(), times: Times::default() };
    let mut lines: Vec<Line> = Way::all().map(new).collect();
    for round in 1..=ROUNDS {
        for line in &mut lines {
            let done = match line.way {
                Way::Raw(raw) => raw.turn(&file, turn)?,
                Way::Engine(strategy) => strategy.turn(&database, turn)?,
            };
            line.rates.push(done.rate());
            line.times.add(&done.times);
            told(round, line);
        }
    }
    Ok(lines)
}

/// Does one thing after the other until the time is over; at least one.
fn over_and_over<E>(time: Duration, mut once: impl FnMut() -> Result<(), E>) -> Result<Turn, E> {
    let began = Instant::now();
    let mut turn = Turn::default();
    let mut now = began;
    while turn.times.count() == 0 || now - began < time {
        once()?;
        let after = Instant::now();
        turn.times.record(after - now);
        now = after;
    }
    turn.elapsed = now - began;
    Ok(turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_within_a_round() {
        let line =
            |way, rates: [f64; 3]| Line { way, rates: rates.into(), times: Times::default() };
        let lines = vec![
            line(Way::Raw(Raw::Fdatasync), [100.0, 10.0, 1000.0]),
            line(Way::Engine(Strategy::Buffered), [200.0, 20.0, 9000.0]),
        ];
        let report = Report { in_memory: false, load_before: None, time: Duration::ZERO, lines };
        let [raw, buffered] = &report.lines[..] else { panic!("two") };
        assert_eq!((buffered.rate(), report.ratio(buffered)), (200.0, 2.0));
        assert_eq!((raw.rate(), report.ratio(raw)), (100.0, 1.0));
    }

    #[test]
    fn ways_have_names_of_their_own() {
        let names: std::collections::BTreeSet<String> = Way::all().map(Way::name).collect();
        assert_eq!(names.len(), Way::all().count());
    }

    #[test]
    fn a_turn_does_something_however_short_it_is() {
        let turn = over_and_over(Duration::ZERO, || Ok::<(), ()>(())).expect("it cannot fail");
        assert_eq!(turn.times.count(), 1);
        assert!(turn.rate() > 0.0);
    }
}
