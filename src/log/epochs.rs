//! Which epoch each part of the retained log was written in.
//!
//! A record's checksum covers the epoch of its run, so a reader has to know it before it can
//! believe the record. Each restart record names the run before it; following that chain from the
//! newest run gives the epoch of every LSN that is still in the log.

use crate::ids::Lsn;
use crate::record::EpochStart;

/// A run of the database, as far as its records are in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    start: EpochStart,
    /// Where the log of the runs before ended, if that is known. Between there and the run's first
    /// record stands nothing, or what was cut.
    hole: Option<Lsn>,
}

/// Runs of the database in ascending order of where their records begin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Epochs {
    runs: Vec<Run>,
}

impl Epochs {
    /// Adds a run before all others: the chain is followed backwards. The log of the runs before
    /// it ended at `hole`, if that is known.
    ///
    /// # Panics
    /// If it is not before them.
    pub fn push_front(&mut self, start: EpochStart, hole: Option<Lsn>) {
        let first = self.first();
        assert!(first.is_none_or(|first| start.lsn < first.lsn && start.epoch < first.epoch));
        self.runs.insert(0, Run { start, hole });
    }

    /// Adds a run after all others. The log of the runs before it ended at `hole`.
    ///
    /// # Panics
    /// If it is not after them.
    pub fn push_back(&mut self, start: EpochStart, hole: Lsn) {
        let last = self.last();
        assert!(last.is_none_or(|last| start.lsn > last.lsn && start.epoch > last.epoch));
        self.runs.push(Run { start, hole: Some(hole) });
    }

    /// The first hole at or after `lsn`, and where the log goes on behind it.
    #[must_use]
    pub fn next_hole(&self, lsn: Lsn) -> Option<(Lsn, Lsn)> {
        let holes = self.runs.iter().filter_map(|run| Some((run.hole?, run.start.lsn)));
        holes.into_iter().find(|(hole, _)| *hole >= lsn)
    }

    /// The epoch of the record at `lsn`, if it is known.
    #[must_use]
    pub fn at(&self, lsn: Lsn) -> Option<u64> {
        let after = self.runs.partition_point(|run| run.start.lsn <= lsn);
        Some(self.runs.get(after.checked_sub(1)?)?.start.epoch)
    }

    /// The earliest run known.
    #[must_use]
    pub fn first(&self) -> Option<EpochStart> {
        self.runs.first().map(|run| run.start)
    }

    /// The latest run.
    #[must_use]
    pub fn last(&self) -> Option<EpochStart> {
        self.runs.last().map(|run| run.start)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_record_belongs_to_the_latest_run_that_began_at_or_before_it() {
        let lsn = |at| Lsn::new(at).unwrap();
        let mut epochs = Epochs::default();
        epochs.push_back(EpochStart { lsn: lsn(100), epoch: 4 }, lsn(96));
        epochs.push_back(EpochStart { lsn: lsn(200), epoch: 7 }, lsn(200));
        epochs.push_front(EpochStart { lsn: lsn(64), epoch: 1 }, None);
        assert_eq!(epochs.at(lsn(63)), None);
        assert_eq!(epochs.at(lsn(64)), Some(1));
        assert_eq!(epochs.at(lsn(199)), Some(4));
        assert_eq!(epochs.at(lsn(200)), Some(7));
        assert_eq!(epochs.next_hole(lsn(64)), Some((lsn(96), lsn(100))));
        assert_eq!(epochs.next_hole(lsn(97)), Some((lsn(200), lsn(200))));
        assert_eq!(epochs.next_hole(lsn(201)), None);
    }
}
