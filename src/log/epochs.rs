//! Which epoch each part of the retained log was written in.
//!
//! A record's checksum covers the epoch of its run, so a reader has to know it before it can
//! believe the record. Each restart record names the run before it; following that chain from the
//! newest run gives the epoch of every LSN that is still in the log.

use crate::ids::Lsn;
use crate::record::EpochStart;

/// Runs of the database in ascending order of where their records begin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Epochs {
    starts: Vec<EpochStart>,
}

impl Epochs {
    /// Adds a run before all others: the chain is followed backwards.
    ///
    /// # Panics
    /// If it is not before them.
    pub fn push_front(&mut self, start: EpochStart) {
        let first = self.starts.first();
        assert!(first.is_none_or(|first| start.lsn < first.lsn && start.epoch < first.epoch));
        self.starts.insert(0, start);
    }

    /// Adds a run after all others.
    ///
    /// # Panics
    /// If it is not after them.
    pub fn push_back(&mut self, start: EpochStart) {
        let last = self.starts.last();
        assert!(last.is_none_or(|last| start.lsn > last.lsn && start.epoch > last.epoch));
        self.starts.push(start);
    }

    /// The epoch of the record at `lsn`, if it is known.
    #[must_use]
    pub fn at(&self, lsn: Lsn) -> Option<u64> {
        let after = self.starts.partition_point(|start| start.lsn <= lsn);
        Some(self.starts.get(after.checked_sub(1)?)?.epoch)
    }

    /// The earliest run known.
    #[must_use]
    pub fn first(&self) -> Option<EpochStart> {
        self.starts.first().copied()
    }

    /// The latest run.
    #[must_use]
    pub fn last(&self) -> Option<EpochStart> {
        self.starts.last().copied()
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
        epochs.push_back(EpochStart { lsn: lsn(100), epoch: 4 });
        epochs.push_back(EpochStart { lsn: lsn(200), epoch: 7 });
        epochs.push_front(EpochStart { lsn: lsn(64), epoch: 1 });
        assert_eq!(epochs.at(lsn(63)), None);
        assert_eq!(epochs.at(lsn(64)), Some(1));
        assert_eq!(epochs.at(lsn(199)), Some(4));
        assert_eq!(epochs.at(lsn(200)), Some(7));
    }
}
