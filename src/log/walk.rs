//! Walking over log that was scanned before: redo does, once in each of its threads.
//!
//! A [`LogScan`](super::LogScan) has found each record valid, so where the log ends, and where its runs
//! begin, is known. Each record is checked again, also one that is passed over: the disk may give other
//! bytes the second time, and then they must not decide that a record is not wanted.
//!
//! Invariants:
//! - the walk goes exactly where the scan went: over filler, over the ends of segments, and from the hole
//!   in which a run ended to the restart record of the next one, as the epochs say;
//! - nothing in the bytes is trusted: a length that leads nowhere is damage.

use super::epochs::Epochs;
use super::loaded::{Loaded, ScanEnd};
use super::scan::{ill_formed, is_filler, no_record};
use super::segment::Segments;
use crate::error::Result;
use crate::ids::{Lsn, PageId};
use crate::record::{self, ChangeAt, PageChange, padded, peek_length};

/// A walk to a known end.
pub struct LogWalk<'s> {
    segments: &'s Segments,
    loaded: Loaded<'s>,
    epochs: Epochs,
    at: u64,
    end: Lsn,
    /// The next hole, and where the log goes on behind it.
    hole: Option<(Lsn, Lsn)>,
    records: u64,
    bytes: u64,
}

/// A change of a page, not looked into yet.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Where its record begins.
    pub lsn: Lsn,
    /// The page, as its bytes say.
    pub page: PageId,
    length: usize,
    at: ChangeAt,
}

impl<'s> LogWalk<'s> {
    /// A walk from the record at `start` to `end`.
    #[must_use]
    pub fn new(segments: &'s Segments, epochs: Epochs, start: Lsn, end: Lsn) -> Self {
        Self {
            segments,
            loaded: Loaded::new(segments, ScanEnd::Known(end)),
            hole: epochs.next_hole(start),
            epochs,
            at: start.get(),
            end,
            records: 0,
            bytes: 0,
        }
    }

    /// Records passed so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Finds the next changes of `wanted` pages, of so many or of a few more (all those of a record), all
    /// in one segment. Gives whether there may be more.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] where no record can be; those of the disk.
    pub fn find(
        &mut self,
        enough: usize,
        wanted: impl Fn(PageId) -> bool,
        found: &mut Vec<Found>,
    ) -> Result<bool> {
        found.clear();
        while found.len() < enough {
            let Some(lsn) = self.next_position()? else { return Ok(false) };
            let number = self.segments.geometry().segment_of(lsn.get());
            if !found.is_empty() && self.loaded.number() != Some(number) {
                break;
            }
            if !self.loaded.load(number)? {
                return Err(no_record(self.segments, lsn));
            }
            let rest = self.loaded.from(lsn.get());
            let length = peek_length(rest).ok_or_else(|| no_record(self.segments, lsn))?;
            let epoch = self.epochs.at(lsn);
            if !epoch.is_some_and(|epoch| self.segments.verify(&rest[..length], lsn, epoch)) {
                return Err(no_record(self.segments, lsn));
            }
            self.at = lsn.get() + padded(length) as u64;
            if is_filler(rest) {
                continue;
            }
            self.records += 1;
            self.bytes += padded(length) as u64;
            record::changes_at(&rest[..length], |at| {
                if wanted(at.page) {
                    found.push(Found { lsn, page: at.page, length, at });
                }
            });
        }
        Ok(true)
    }

    /// Where the next record, or filler, begins; `None` at the end.
    fn next_position(&mut self) -> Result<Option<Lsn>> {
        loop {
            self.at = self.segments.geometry().record_position(self.at);
            let Some(lsn) = Lsn::new(self.at).filter(|lsn| *lsn < self.end) else {
                return Ok(None);
            };
            let Some((hole, behind)) = self.hole.filter(|(hole, _)| *hole <= lsn) else {
                return Ok(Some(lsn));
            };
            if hole < lsn {
                return Err(no_record(self.segments, hole)); // A record reaches over it.
            }
            self.hole = behind.checked_add(1).and_then(|after| self.epochs.next_hole(after));
            self.at = behind.get();
        }
    }

    /// What one of the changes found last is.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] when it says what no record can.
    pub fn change(&self, found: &Found) -> Result<PageChange<'_>> {
        let bytes = &self.loaded.from(found.lsn.get())[..found.length];
        record::change(bytes, found.at)
            .map_err(|fault| ill_formed(self.segments, found.lsn, &fault))
    }
}
