//! Segments: the files that the endless log is cut into.
//!
//! Segment `n` (from 1) is the file `log/<n, 16 digits>.seg` and holds the bytes
//! `(n - 1) * segment_bytes .. n * segment_bytes` of the log, the first 4096 of them a header:
//!
//! ```text
//!  0          8         12       16            32       40              48        4096
//!  +----------+---------+--------+-------------+--------+---------------+---------+---- records …
//!  | ARIESLOG | version | CRC-32 | database id | number | segment_bytes | zeros   |
//!  +----------+---------+--------+-------------+--------+---------------+---------+----
//! ```
//!
//! Invariants:
//! - a segment is *prepared* before any record is put into it: its space is written (zeros, synced),
//!   then its header (synced), then its name (directory synced). A valid header therefore means that
//!   no write into the segment can fail for want of space;
//! - the header has a block of its own: no record is ever written into it;
//! - a recycled segment gets its new header before its new name; the old records in it never
//!   validate, because the checksum of a record covers its LSN;
//! - numbers on disk are contiguous from the oldest required to the segment in which the log ends, and
//!   there is at least one prepared segment beyond that.

use std::collections::BTreeMap;
use std::ops::{RangeBounds, RangeInclusive};
use std::path::PathBuf;

use zerocopy::byteorder::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::config::{Broken, Sabotage};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Place, Result};
use crate::ids::Lsn;
use crate::record::{self, HEADER_BYTES};
use crate::sync::{Arc, Mutex};

/// Name of the directory that holds the segments.
pub const LOG_DIRECTORY: &str = "log";
/// Bytes at the front of each segment that hold no records: the header and zeros, a whole block, so
/// that writing records never writes the header again.
pub const SEGMENT_HEADER_BYTES: u64 = HEADER_BLOCK as u64;

/// No honest log comes near: beyond it, adding to an LSN could overflow.
const MOST_LOG_BYTES: u64 = u64::MAX / 2;
const MAGIC: [u8; 8] = *b"ARIESLOG";
const VERSION: u32 = 1;
const HEADER_BLOCK: usize = 4096;
const ZERO_FILL_CHUNK: usize = 256 * 1024;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct SegmentHeader {
    magic: [u8; 8],
    version: U32,
    crc: U32,
    database_id: U128,
    number: U64,
    segment_bytes: U64,
    reserved: [u8; 16],
}

const _: () = assert!(size_of::<SegmentHeader>() == 64);

impl SegmentHeader {
    fn new(database_id: u128, number: u64, segment_bytes: u64) -> Self {
        let mut header = Self {
            magic: MAGIC,
            version: U32::new(VERSION),
            crc: U32::ZERO,
            database_id: U128::new(database_id),
            number: U64::new(number),
            segment_bytes: U64::new(segment_bytes),
            reserved: [0; 16],
        };
        header.crc = U32::new(crc32fast::hash(header.as_bytes()));
        header
    }
}

/// How LSNs map to segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Bytes of a segment.
    pub segment_bytes: u64,
}

impl Geometry {
    /// The number of the segment that holds byte `at` of the log.
    #[must_use]
    pub const fn segment_of(self, at: u64) -> u64 {
        at / self.segment_bytes + 1
    }

    /// The first byte of segment `number`, its header.
    #[must_use]
    pub const fn start(self, number: u64) -> u64 {
        (number - 1).saturating_mul(self.segment_bytes)
    }

    /// The byte after segment `number`.
    #[must_use]
    pub const fn end(self, number: u64) -> u64 {
        number.saturating_mul(self.segment_bytes)
    }

    /// Where the first record of segment `number` begins.
    #[must_use]
    pub const fn first_record(self, number: u64) -> u64 {
        self.start(number).saturating_add(SEGMENT_HEADER_BYTES)
    }

    /// The offset of byte `at` of the log within its segment.
    #[must_use]
    pub const fn offset(self, at: u64) -> u64 {
        at % self.segment_bytes
    }

    /// Bytes left in its segment from `at` on (a whole segment at a boundary).
    #[must_use]
    pub const fn left_in_segment(self, at: u64) -> u64 {
        self.segment_bytes - self.offset(at)
    }

    /// Where the next record stands if the log ends at `at`: behind what is too small to hold a
    /// record, and behind a segment's header.
    #[must_use]
    pub const fn record_position(self, at: u64) -> u64 {
        let mut at = at;
        if self.left_in_segment(at) < HEADER_BYTES as u64 {
            at = self.end(self.segment_of(at));
        }
        if self.offset(at) == 0 { self.first_record(self.segment_of(at)) } else { at }
    }

    /// Name of segment `number` within the database's directory.
    #[must_use]
    pub fn name(self, number: u64) -> String {
        format!("{LOG_DIRECTORY}/{number:016}.seg")
    }
}

/// The segment files of one database.
pub struct Segments {
    disk: Arc<dyn Disk>,
    geometry: Geometry,
    database_id: u128,
    broken: Broken,
    files: Mutex<BTreeMap<u64, Arc<dyn DiskFile>>>,
}

impl Segments {
    /// Segments of a database that has none yet.
    pub fn new(disk: Arc<dyn Disk>, geometry: Geometry, database_id: u128) -> Self {
        let (broken, files) = (Broken::default(), Mutex::default());
        Self { disk, geometry, database_id, broken, files }
    }

    /// The same, with a rule broken, if one of theirs is.
    #[must_use]
    pub fn broken_by(mut self, broken: Broken) -> Self {
        self.broken = broken;
        self
    }

    /// Opens the segments that are there and belong to the database, without changing any. Files
    /// whose header says something else, or whose number no log reaches, are left out; [`Segments::remove_strangers`] removes them.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a segment was cut; those of the disk.
    pub fn open(disk: Arc<dyn Disk>, geometry: Geometry, database_id: u128) -> Result<Self> {
        let segments = Self::new(disk, geometry, database_id);
        let numbers = segments.numbers_on_disk()?;
        // A killed process may have left names in the page cache only.
        segments.disk.sync_directory(LOG_DIRECTORY)?;
        for number in numbers {
            let file = segments.disk.open(&geometry.name(number))?;
            if segments.header_is_valid(number, file.as_ref())? {
                segments.files.lock().insert(number, file);
            }
        }
        Ok(segments)
    }

    fn numbers_on_disk(&self) -> Result<Vec<u64>> {
        let names = match self.disk.list(LOG_DIRECTORY) {
            Err(error) if error.is_not_found() => {
                let place = Place::File(self.disk.location().join(LOG_DIRECTORY));
                return Err(Error::corrupt(place, "the directory of log segments", "none"));
            }
            names => names?,
        };
        let numbers = names.iter().filter_map(|name| number_of(name));
        Ok(numbers.filter(|number| self.geometry.end(*number) <= MOST_LOG_BYTES).collect())
    }

    fn header_is_valid(&self, number: u64, file: &dyn DiskFile) -> Result<bool> {
        let mut bytes = [0; size_of::<SegmentHeader>()];
        let read = file.read_at(0, &mut bytes)?;
        let wanted = SegmentHeader::new(self.database_id, number, self.geometry.segment_bytes);
        if read < bytes.len() || bytes != wanted.as_bytes() {
            return Ok(false);
        }
        // The header came last, so the file has been whole.
        let (expected, found) = (self.geometry.segment_bytes, file.len()?);
        if found != expected {
            let place = Place::File(self.path(number));
            let found = format!("{found} bytes");
            return Err(Error::corrupt(place, format!("a segment of {expected} bytes"), found));
        }
        Ok(true)
    }

    /// How LSNs map to these segments.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The numbers of all segments, or `None` when there are none.
    #[must_use]
    pub fn numbers(&self) -> Option<RangeInclusive<u64>> {
        let files = self.files.lock();
        let (first, last) = (files.first_key_value()?, files.last_key_value()?);
        Some(*first.0..=*last.0)
    }

    /// The numbers of all segments in a range, ascending. (Between them may be any number of gaps, so nobody
    /// counts from one to the next.)
    #[must_use]
    pub fn numbers_in(&self, range: impl RangeBounds<u64>) -> Vec<u64> {
        self.files.lock().range(range).map(|(number, _)| *number).collect()
    }

    /// Where segment `number` is, for messages.
    #[must_use]
    pub fn path(&self, number: u64) -> PathBuf {
        self.disk.location().join(self.geometry.name(number))
    }

    /// The place of the record at `lsn`, for messages.
    #[must_use]
    pub fn place(&self, lsn: Lsn) -> Place {
        let segment = self.path(self.geometry.segment_of(lsn.get()));
        Place::Log { segment, lsn }
    }

    /// Whether `bytes` are the record that a run of this epoch has put at `lsn`.
    #[must_use]
    pub fn verify(&self, bytes: &[u8], lsn: Lsn, epoch: u64) -> bool {
        if self.broken.is(Sabotage::ChecksumWithoutEpoch) {
            return (1..=epoch).any(|epoch| record::verify(bytes, lsn, epoch));
        }
        record::verify(bytes, lsn, epoch) || self.broken.is(Sabotage::RecordChecksumIgnored)
    }

    /// The file of segment `number`, if it is there.
    #[must_use]
    pub fn file(&self, number: u64) -> Option<Arc<dyn DiskFile>> {
        self.files.lock().get(&number).cloned()
    }

    /// The file that holds the record at `lsn`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is missing.
    pub fn file_of(&self, lsn: Lsn) -> Result<Arc<dyn DiskFile>> {
        let number = self.geometry.segment_of(lsn.get());
        self.file(number).ok_or_else(|| {
            Error::corrupt(self.place(lsn), "a log segment", "no file with a valid header")
        })
    }

    /// Refuses a log from which a segment of `from..=to` is missing.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the segment.
    pub fn check_contiguous(&self, from: Lsn, to: Lsn) -> Result<()> {
        let first = self.geometry.segment_of(from.get());
        for number in first..=self.geometry.segment_of(to.get()) {
            let start = Lsn::new(self.geometry.first_record(number)).unwrap_or(from);
            self.file_of(from.max(start))?;
        }
        Ok(())
    }

    /// Removes files that are no segments, or stand behind a gap beyond `current`: what a crash left
    /// of a preparation.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn remove_strangers(&self, current: u64) -> Result<()> {
        let mut files = self.files.lock();
        let gap = (current..).find(|number| !files.contains_key(number)).unwrap_or(current);
        files.split_off(&gap);
        let known: Vec<String> = files.keys().map(|number| self.geometry.name(*number)).collect();
        drop(files);
        let mut removed = false;
        for name in self.disk.list(LOG_DIRECTORY)? {
            let name = format!("{LOG_DIRECTORY}/{name}");
            if is_segment_name(&name) && !known.contains(&name) {
                self.disk.remove(&name)?;
                removed = true;
            }
        }
        if removed { self.disk.sync_directory(LOG_DIRECTORY) } else { Ok(()) }
    }

    /// Writes the headers of all segments from `from` on again, and syncs them: a killed process may
    /// have left them in the page cache only.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn make_headers_durable(&self, from: u64) -> Result<()> {
        let files = self.files.lock().clone();
        files.range(from..).try_for_each(|(number, file)| self.write_header(*number, file.as_ref()))
    }

    /// Gives all segments beyond `current`, which hold nothing yet, their names anew, and syncs
    /// the directory: a sync of it may have failed, and would then say "done" for the old names.
    /// Should a crash come between, a segment that holds nothing is lost.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn make_names_durable(&self, current: u64) -> Result<()> {
        for number in self.numbers_in(current + 1..) {
            let name = self.geometry.name(number);
            let aside = format!("{name}.renamed");
            self.disk.rename(&name, &aside)?;
            self.disk.rename(&aside, &name)?;
        }
        self.sync_names()
    }

    fn sync_names(&self) -> Result<()> {
        match self.broken.is(Sabotage::DirectoryNotSynced) {
            true => Ok(()),
            false => self.disk.sync_directory(LOG_DIRECTORY),
        }
    }

    /// Prepares segment `number`: space, header, name, each durable before the next.
    ///
    /// # Errors
    /// [`Error::DiskFull`] leaves nothing behind; others are final.
    pub fn prepare(&self, number: u64) -> Result<()> {
        let name = self.geometry.name(number);
        let file = self.disk.create(&name)?;
        let filled = self.fill(number, file.as_ref());
        if let Err(error) = filled.and_then(|()| self.sync_names()) {
            if error.is_disk_full() {
                self.disk.remove(&name)?;
            }
            return Err(error);
        }
        self.files.lock().insert(number, file);
        Ok(())
    }

    fn fill(&self, number: u64, file: &dyn DiskFile) -> Result<()> {
        let zeros = vec![0; ZERO_FILL_CHUNK];
        let mut at = 0;
        while at < self.geometry.segment_bytes {
            let left = self.geometry.segment_bytes - at;
            let chunk = left.min(zeros.len() as u64);
            #[allow(clippy::cast_possible_truncation)] // at most ZERO_FILL_CHUNK
            file.write_at(at, &zeros[..chunk as usize])?;
            at += chunk;
        }
        file.sync_data()?;
        self.write_header(number, file)
    }

    fn write_header(&self, number: u64, file: &dyn DiskFile) -> Result<()> {
        let header = SegmentHeader::new(self.database_id, number, self.geometry.segment_bytes);
        let mut block = [0; HEADER_BLOCK];
        block[..size_of::<SegmentHeader>()].copy_from_slice(header.as_bytes());
        file.write_at(0, &block)?;
        file.sync_data()
    }

    /// Makes segment `old`, which nobody needs any more, segment `new`.
    ///
    /// # Errors
    /// Those of the disk.
    ///
    /// # Panics
    /// If `old` is not there.
    pub fn recycle(&self, old: u64, new: u64) -> Result<()> {
        let file = self.files.lock().remove(&old).expect("a segment to recycle exists");
        self.write_header(new, file.as_ref())?;
        self.disk.rename(&self.geometry.name(old), &self.geometry.name(new))?;
        self.sync_names()?;
        self.files.lock().insert(new, file);
        Ok(())
    }

    /// Removes segment `number`, which nobody needs any more. Not synced: a removal that is lost is
    /// made again.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn remove(&self, number: u64) -> Result<()> {
        self.files.lock().remove(&number);
        self.disk.remove(&self.geometry.name(number))
    }
}

/// Whether a file of that name in the log's directory is, or was to become, a segment.
#[must_use]
pub fn is_segment_name(name: &str) -> bool {
    name.ends_with(".seg") || name.ends_with(".seg.renamed")
}

/// The number of the segment that a file of that name in the log's directory is.
#[must_use]
pub fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    if digits.len() != 16 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|number| *number > 0)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::number_of;

    #[test]
    fn segments_have_numbers_from_1_on_and_16_digits() {
        assert_eq!(number_of("0000000000000001.seg"), Some(1));
        for name in ["0000000000000000.seg", "1.seg", "+000000000000001.seg", "0000000000000001"] {
            assert_eq!(number_of(name), None, "{name}");
        }
    }
}
