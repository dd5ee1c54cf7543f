//! Walking over log that was scanned before: redo does, once in each of its threads.
//!
//! A [`LogScan`](super::LogScan) has found each record valid, so where one begins and ends is known,
//! and a checksum is needed only for what is used: whoever wants a record asks [`Walked::record`],
//! which checks it again, because the disk may give other bytes the second time.
//!
//! Invariants:
//! - the walk goes exactly where the scan went: over filler, over the ends of segments, and from the hole
//!   in which a run ended to the restart record of the next one, as the epochs say;
//! - nothing in the bytes is trusted: a length that leads nowhere is damage.

use super::epochs::Epochs;
use super::loaded::Loaded;
use super::scan::{ScanEnd, decode_at, is_filler, no_record};
use super::segment::Segments;
use crate::error::Result;
use crate::ids::{Lsn, PageId};
use crate::record::{self, LogRecord, padded, peek_length};

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

/// A record that the walk came upon, not looked into yet.
pub struct Walked<'w> {
    /// Where it begins.
    pub lsn: Lsn,
    bytes: &'w [u8],
    segments: &'w Segments,
    epochs: &'w Epochs,
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

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] where none can be; those of the disk.
    pub fn next_record(&mut self) -> Result<Option<Walked<'_>>> {
        let geometry = self.segments.geometry();
        loop {
            self.at = geometry.record_position(self.at);
            let Some(lsn) = Lsn::new(self.at).filter(|lsn| *lsn < self.end) else {
                return Ok(None);
            };
            if let Some((hole, behind)) = self.hole.filter(|(hole, _)| *hole <= lsn) {
                if hole < lsn {
                    return Err(no_record(self.segments, hole)); // A record reaches over it.
                }
                self.hole = behind.checked_add(1).and_then(|after| self.epochs.next_hole(after));
                self.at = behind.get();
                continue;
            }
            if !self.loaded.load(geometry.segment_of(self.at))? {
                return Err(no_record(self.segments, lsn));
            }
            let rest = self.loaded.from(self.at);
            let Some(length) = peek_length(rest) else {
                return Err(no_record(self.segments, lsn));
            };
            self.at += padded(length) as u64;
            if !is_filler(rest) {
                self.records += 1;
                self.bytes += padded(length) as u64;
                let bytes = &self.loaded.from(lsn.get())[..length];
                let (segments, epochs) = (self.segments, &self.epochs);
                return Ok(Some(Walked { lsn, bytes, segments, epochs }));
            }
        }
    }
}

impl<'w> Walked<'w> {
    /// The page that the record changes, as its bytes say, if it is of a kind that changes one.
    #[must_use]
    pub fn page(&self) -> Option<PageId> {
        record::peek_page(self.bytes)
    }

    /// The record, checked.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] when its bytes are not what they were.
    pub fn record(&self) -> Result<LogRecord<'w>> {
        let epoch = self.epochs.at(self.lsn);
        if !epoch.is_some_and(|epoch| record::verify(self.bytes, self.lsn, epoch)) {
            return Err(no_record(self.segments, self.lsn));
        }
        decode_at(self.segments, self.lsn, self.bytes)
    }
}
