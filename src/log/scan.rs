//! Reading the log: forward from a known record, or one record at a known LSN.
//!
//! A scan of unknown length ends at the first byte that no valid record begins at: the *hole*. A
//! hole is the normal end of a log that was not closed: its tail, never acknowledged, may be
//! missing, torn, or hold valid records behind the hole, because sectors reach the disk in any
//! order. It is damage when something later bears witness that the bytes had been durable: then
//! [`LogScan::witness_of_damage`] finds it.
//!
//! ```text
//!   … record | record | hole ……… record with durable_lsn > hole   → damage, open refuses
//!                      ^ end     record with durable_lsn <= hole   → torn tail, cut here
//! ```
//!
//! Invariants:
//! - a run that could not, or, with padded blocks, must not begin at the hole itself begins at the next
//!   multiple of 512 or of 4096 after it, or first in the next segment; its restart record's
//!   `durable_lsn` is the hole that it stands behind;
//! - nothing read is trusted before its checksum, which covers LSN and epoch, was right;
//! - the epoch changes only at a restart record, and only upwards;
//! - every pointer in a record that is handed out points backwards.

use super::epochs::Epochs;
use super::loaded::{Loaded, ScanEnd};
use super::segment::Segments;
use crate::config::{LARGE_LOG_BLOCK, SMALL_LOG_BLOCK};
use crate::error::{Error, Result};
use crate::ids::Lsn;
use crate::record::{
    self, ALIGNMENT, ChangeOutline, EpochStart, LogRecord, RecordFault, Restart, max_record_bytes,
    padded, peek_length,
};

/// Bytes read at once for a single record: most records are shorter.
const SINGLE_READ_BYTES: usize = 512;

/// Zeros are looked for in pieces of so many bytes.
const ZEROS: [u8; 512] = [0; 512];

/// A forward scan.
pub struct LogScan<'s> {
    segments: &'s Segments,
    max_record: usize,
    at: u64,
    epochs: Epochs,
    end: ScanEnd,
    loaded: Loaded<'s>,
    watermark: Option<Lsn>,
    /// The restart record that was found behind the latest hole.
    behind_hole: Option<Lsn>,
    records: u64,
    bytes: u64,
}

/// A record as analysis reads it.
pub enum Outlined<'a> {
    /// One that changes a page.
    Change(ChangeOutline),
    /// Any other.
    Other(LogRecord<'a>),
}

impl<'s> LogScan<'s> {
    /// A scan from the record at `start`, whose epoch `epochs` must know.
    #[must_use]
    pub fn new(
        segments: &'s Segments,
        page_size: usize,
        start: Lsn,
        epochs: Epochs,
        end: ScanEnd,
    ) -> Self {
        Self {
            segments,
            max_record: max_record_bytes(page_size),
            at: start.get(),
            epochs,
            end,
            loaded: Loaded::new(segments, end),
            watermark: None,
            behind_hole: None,
            records: 0,
            bytes: 0,
        }
    }

    /// Records handed out so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of the records handed out so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The highest `durable_lsn` of the records handed out.
    #[must_use]
    pub fn watermark(&self) -> Option<Lsn> {
        self.watermark
    }

    /// The byte after the last record handed out.
    ///
    /// # Panics
    /// Never: a scan starts behind a segment header.
    #[must_use]
    pub fn position(&self) -> Lsn {
        Lsn::new(self.at).expect("a scan starts behind a header")
    }

    /// The runs the scan has seen, and those it was given.
    #[must_use]
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a hole before a known end, and for a record that is intact but says
    /// what no record can say; those of the disk.
    pub fn next_record(&mut self) -> Result<Option<(Lsn, LogRecord<'_>)>> {
        Ok(self.next_sized()?.map(|(lsn, _, record)| (lsn, record)))
    }

    /// The same, with the bytes that the record takes.
    ///
    /// # Errors
    /// As [`LogScan::next_record`].
    pub fn next_sized(&mut self) -> Result<Option<(Lsn, usize, LogRecord<'_>)>> {
        match self.take_next()? {
            Some((lsn, length)) => Ok(Some((lsn, padded(length), self.decode(lsn, length)?))),
            None => Ok(None),
        }
    }

    /// The same, but that of a record which changes a page only the outline is read.
    ///
    /// # Errors
    /// As [`LogScan::next_record`].
    pub fn next_outline(&mut self) -> Result<Option<(Lsn, Outlined<'_>)>> {
        let Some((lsn, length)) = self.take_next()? else { return Ok(None) };
        let outlined = match record::outline(&self.loaded.from(lsn.get())[..length], lsn) {
            Some(change) => Outlined::Change(change),
            None => Outlined::Other(self.decode(lsn, length)?),
        };
        Ok(Some((lsn, outlined)))
    }

    /// Goes on behind the next record; gives where it begins, and its length.
    fn take_next(&mut self) -> Result<Option<(Lsn, usize)>> {
        let found = self.find_next()?;
        if let Some((lsn, length)) = found {
            self.at = lsn.get() + padded(length) as u64;
            self.records += 1;
            self.bytes += padded(length) as u64;
        }
        Ok(found)
    }

    /// Decodes the record taken last, and notes what it says of the log.
    fn decode(&mut self, lsn: Lsn, length: usize) -> Result<LogRecord<'_>> {
        let record = decode_at(self.segments, lsn, &self.loaded.from(lsn.get())[..length])?;
        self.watermark = self.watermark.max(record.durable_lsn());
        if let LogRecord::Restart(restart) = &record
            && (!self.begins_where_it_says(lsn, restart) || !self.epochs.restarted(lsn, restart))
        {
            let expected =
                "a restart record of a higher epoch than the run before, where that ended";
            let found = restart_in_words(restart);
            return Err(Error::corrupt(self.segments.place(lsn), expected, found));
        }
        Ok(record)
    }

    /// Whether the log of the run before ended where a restart record at `lsn` says, if that is not known
    /// already.
    fn begins_where_it_says(&self, lsn: Lsn, restart: &Restart) -> bool {
        let geometry = self.segments.geometry();
        self.behind_hole == Some(lsn)
            || self.epochs.last().is_some_and(|last| last.lsn >= lsn)
            || geometry.record_position(restart.durable_lsn.get()) == lsn.get()
    }

    /// Finds the next record that is no filler, with its length; `None` at the end.
    fn find_next(&mut self) -> Result<Option<(Lsn, usize)>> {
        loop {
            self.at = self.segments.geometry().record_position(self.at);
            if let ScanEnd::Known(end) = self.end
                && self.at >= end.get()
            {
                return Ok(None);
            }
            let Some(length) = self.valid_at(self.at)? else {
                match self.run_behind(self.position())? {
                    Some(restart) => {
                        self.behind_hole = Some(restart);
                        self.at = restart.get();
                    }
                    None => return self.hole(),
                }
                continue;
            };
            if !is_filler(self.loaded.from(self.at)) {
                return Ok(Lsn::new(self.at).map(|lsn| (lsn, length)));
            }
            self.at += padded(length) as u64;
        }
    }

    fn hole(&self) -> Result<Option<(Lsn, usize)>> {
        match self.end {
            ScanEnd::FirstHole => Ok(None),
            ScanEnd::Known(end) => Err(Error::corrupt(
                self.segments.place(self.position()),
                format!("a log record (the log reaches to {end})"),
                "bytes that are none",
            )),
        }
    }

    /// The length of the valid record at `at`, if there is one, in its epoch or, for a restart
    /// record, in the higher one that it declares.
    fn valid_at(&mut self, at: u64) -> Result<Option<usize>> {
        if !self.loaded.load(self.segments.geometry().segment_of(at))? {
            return Ok(None);
        }
        let Some(lsn) = Lsn::new(at) else { return Ok(None) };
        let Some(epoch) = self.epochs.at(lsn) else { return Ok(None) };
        let rest = self.loaded.from(at);
        let Some(length) = peek_length(rest) else { return Ok(None) };
        if is_filler(rest) {
            return Ok(self.segments.verify(&rest[..length], lsn, epoch).then_some(length));
        }
        if length > self.max_record {
            return Ok(None);
        }
        let bytes = &rest[..length];
        let valid = self.segments.verify(bytes, lsn, epoch)
            || restart_epoch(bytes).is_some_and(|declared| {
                declared > epoch && self.segments.verify(bytes, lsn, declared)
            });
        Ok(valid.then_some(length))
    }

    /// The run that began behind the hole because it could not, or must not, begin at it: with a
    /// restart record that says itself that the log ended there. Should two say so, the later run
    /// counts.
    fn run_behind(&mut self, hole: Lsn) -> Result<Option<Lsn>> {
        let geometry = self.segments.geometry();
        let mut latest: Option<EpochStart> = None;
        for block in [SMALL_LOG_BLOCK, LARGE_LOG_BLOCK] {
            // The end of a segment is such a boundary too: then the next one's front is meant.
            let at = geometry.record_position(hole.get().next_multiple_of(block));
            if let Some(run) = self.run_at(at, hole)?
                && latest.is_none_or(|latest| latest.epoch < run.epoch)
            {
                latest = Some(run);
            }
        }
        Ok(latest.map(|run| run.lsn))
    }

    /// The run whose restart record stands at `at` and says that the log ended at `hole`.
    fn run_at(&mut self, at: u64, hole: Lsn) -> Result<Option<EpochStart>> {
        let geometry = self.segments.geometry();
        if at <= hole.get() || !self.loaded.load(geometry.segment_of(at))? {
            return Ok(None);
        }
        let Some(lsn) = Lsn::new(at) else { return Ok(None) };
        let before = self.epochs.at(hole);
        let bytes = self.loaded.from(at);
        let bytes = &bytes[..peek_length(bytes).unwrap_or(0)];
        let Ok(LogRecord::Restart(restart)) = record::decode(bytes) else { return Ok(None) };
        let began = Some(restart.epoch) > before
            && restart.durable_lsn == hole
            && self.segments.verify(bytes, lsn, restart.epoch);
        Ok(began.then_some(EpochStart { lsn, epoch: restart.epoch }))
    }

    /// Searches behind the hole for a valid record that proves the hole had been durable. Gives
    /// the record's LSN and its `durable_lsn`.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn witness_of_damage(&mut self) -> Result<Option<(Lsn, Lsn)>> {
        let hole = self.position();
        let geometry = self.segments.geometry();
        for number in self.segments.numbers_in(geometry.segment_of(hole.get())..) {
            if !self.loaded.load(number)? {
                continue;
            }
            let from = geometry.first_record(number).max(hole.get());
            if let Some(witness) = self.witness_in(number, from, hole) {
                return Ok(Some(witness));
            }
        }
        Ok(None)
    }

    fn witness_in(&self, number: u64, from: u64, hole: Lsn) -> Option<(Lsn, Lsn)> {
        let end = self.segments.geometry().end(number);
        let epoch = self.epochs.at(hole)?;
        let mut at = from;
        while at < end {
            let rest = self.loaded.from(at);
            if rest.starts_with(&ZEROS) {
                at += ZEROS.len() as u64; // No record begins with a zero, and most of it was never written.
                continue;
            }
            let witness = self.witness_at(at, rest, hole, epoch);
            if witness.is_some() {
                return witness;
            }
            at += ALIGNMENT as u64;
        }
        None
    }

    fn witness_at(&self, at: u64, rest: &[u8], hole: Lsn, epoch: u64) -> Option<(Lsn, Lsn)> {
        let bytes = &rest[..witness_length(rest, self.max_record)?];
        let lsn = Lsn::new(at)?;
        // First what costs little: users' bytes in old records may look like any number of records.
        let record = record::decode(bytes).ok()?;
        let durable = record.durable_lsn().filter(|durable| *durable > hole)?;
        let epoch = match record {
            LogRecord::Restart(restart) if restart.epoch > epoch => restart.epoch,
            _ => epoch,
        };
        self.segments.verify(bytes, lsn, epoch).then_some((lsn, durable))
    }
}

impl Epochs {
    /// Notes a restart record that a scan came upon; those known already are passed over. Gives
    /// whether its epoch can be, and the run that it names as the one before is.
    fn restarted(&mut self, lsn: Lsn, restart: &Restart) -> bool {
        let epoch = restart.epoch;
        match self.last() {
            Some(last) if last.lsn >= lsn => self.at(lsn) == Some(epoch),
            Some(last) if last.epoch >= epoch || restart.previous != Some(last) => false,
            _ => {
                self.push_back(EpochStart { lsn, epoch }, restart.durable_lsn);
                true
            }
        }
    }
}

fn restart_in_words(restart: &Restart) -> String {
    let previous = restart.previous.map_or_else(|| "none".into(), |run| run.lsn.to_string());
    let Restart { epoch, durable_lsn, .. } = restart;
    format!("epoch {epoch}, behind {durable_lsn}, the run before: {previous}")
}

pub(super) fn is_filler(bytes: &[u8]) -> bool {
    record::peek_kind(bytes) == Some(record::FILLER)
}

/// The epoch that a restart record declares for itself; `None` for other records.
fn restart_epoch(bytes: &[u8]) -> Option<u64> {
    match record::decode(bytes) {
        Ok(LogRecord::Restart(restart)) => Some(restart.epoch),
        _ => None,
    }
}

/// The length of what looks like a record that can bear witness.
fn witness_length(bytes: &[u8], max_record: usize) -> Option<usize> {
    let kind = record::peek_kind(bytes)?;
    if !record::bears_witness(kind) {
        return None;
    }
    peek_length(bytes).filter(|length| *length <= max_record)
}

/// Decodes a record whose checksum was right.
pub(super) fn decode_at<'a>(
    segments: &Segments,
    lsn: Lsn,
    bytes: &'a [u8],
) -> Result<LogRecord<'a>> {
    let record = record::decode(bytes).map_err(|fault| ill_formed(segments, lsn, &fault))?;
    if !record.points_back(lsn) {
        return Err(Error::corrupt(
            segments.place(lsn),
            "a record that points backwards",
            "one that points at itself or forwards",
        ));
    }
    Ok(record)
}

/// The record at `lsn` says what no record can.
pub(super) fn ill_formed(segments: &Segments, lsn: Lsn, fault: &RecordFault) -> Error {
    Error::corrupt(segments.place(lsn), "a well-formed log record", fault.to_string())
}

/// The bytes of one record, checked.
pub struct RecordBytes(Vec<u8>);

impl RecordBytes {
    /// The record's bytes, padding not counted.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Checks that `bytes` are the record at `lsn`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when they are not.
    pub fn check(segments: &Segments, lsn: Lsn, epoch: u64, bytes: Vec<u8>) -> Result<Self> {
        if !segments.verify(&bytes, lsn, epoch) {
            return Err(no_record(segments, lsn));
        }
        decode_at(segments, lsn, &bytes)?;
        Ok(Self(bytes))
    }

    /// The record.
    ///
    /// # Panics
    /// Never: it was decoded before.
    #[must_use]
    pub fn record(&self) -> LogRecord<'_> {
        record::decode(&self.0).expect("decoded when it was checked")
    }
}

pub(super) fn no_record(segments: &Segments, lsn: Lsn) -> Error {
    Error::corrupt(segments.place(lsn), "a log record", "bytes that are none")
}

/// Reads the record at `lsn` from its file.
///
/// # Errors
/// [`Error::Corrupt`] when no valid record of that epoch stands there; those of the disk.
pub fn read_record(
    segments: &Segments,
    page_size: usize,
    lsn: Lsn,
    epoch: u64,
) -> Result<RecordBytes> {
    let file = segments.file_of(lsn)?;
    let geometry = segments.geometry();
    let offset = geometry.offset(lsn.get());
    let left = usize::try_from(geometry.left_in_segment(lsn.get())).unwrap_or(usize::MAX);
    let most = max_record_bytes(page_size).min(left);
    let mut bytes = vec![0; SINGLE_READ_BYTES.min(most)];
    let read = file.read_at(offset, &mut bytes)?;
    bytes.truncate(read);
    let length = record::stated_length(&bytes).filter(|length| *length <= most);
    let Some(length) = length else { return Err(no_record(segments, lsn)) };
    if length > bytes.len() {
        bytes.resize(length, 0);
        let read = file.read_at(offset, &mut bytes)?;
        bytes.truncate(read);
    }
    bytes.truncate(length);
    RecordBytes::check(segments, lsn, epoch, bytes)
}
