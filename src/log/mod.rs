//! The log: an endless sequence of records, cut into segments, of which a prefix is durable.
//!
//! ```text
//!   oldest required          durable          written           end
//!   |  retained segments …   |  in the kernel |  in memory      |  prepared, zero-filled …
//!   +------------------------+----------------+-----------------+--------------------------
//!                            ^ flushed_lsn                      ^ the next record's LSN
//! ```
//!
//! **Append** reserves the LSN and copies the bytes under one short mutex, and lets the caller
//! change what goes with the record (the state of its transaction) inside it: so whoever takes a
//! snapshot after appending a record of its own sees the effect of every record before.
//!
//! **Force** makes the log durable up to a record. Whoever needs it first becomes the leader,
//! writes everything appended so far, and syncs; the others wait for the leader, and most find
//! their records durable with it (group commit). There is no timer and no spinning, and a lone
//! client never hands over to another thread.
//!
//! **The write-ahead rule is a type.** [`DurableLsn`] says up to where the log is durable; only this
//! module can make one, and nothing can write a page without it.
//!
//! Invariants:
//! - `flushed_lsn <= end`, and both only grow;
//! - bytes below `flushed_lsn` are never changed again; where the log is padded to blocks, no block
//!   that was written is written again;
//! - a record is appended only where its segment is prepared;
//! - after one failed write or sync nothing is appended, forced or acknowledged any more.
//!
//! Source: ARIES, section 4.1; group commit: DeWitt et al., "Implementation techniques for main memory
//! database systems", SIGMOD 1984.

mod append;
mod control;
mod epochs;
mod force;
mod loaded;
#[cfg(all(test, loom))]
pub(crate) mod models;
mod padding;
mod poison;
mod retained;
mod scan;
mod segment;
mod space;
#[cfg(test)]
mod tests;
mod walk;

pub use append::Chunk;
pub use control::{
    CONTROL_BLOCK, CONTROL_FILE, ControlFile, FORMAT_VERSION, MasterRecord, SlotState, newest_slot,
    read_slot, read_slots,
};
pub use epochs::Epochs;
pub use force::DurableLsn;
pub use loaded::ScanEnd;
pub use poison::Poison;
pub use scan::{LogScan, Outlined, RecordBytes, read_record};
pub use segment::{
    Geometry, LOG_DIRECTORY, SEGMENT_HEADER_BYTES, Segments, is_segment_name,
    number_of as segment_number,
};
pub use walk::{Found, LogWalk};

use append::Appender;
use force::Forcing;
use padding::Padding;
use space::LogSpace;

use crate::config::{Broken, Config, Durability, Sabotage, WallClock};
use crate::error::{Error, Result};
use crate::event::{Event, Observers};
use crate::ids::Lsn;
use crate::record::{EncodedRecord, checkpoint_bytes, max_record_bytes};
use crate::sync::{AtomicU64, Condvar, Mutex, Ordering};

/// Transactions that a checkpoint is sure to have room for on a full disk.
const CHECKPOINT_TRANSACTIONS: usize = 256;
/// Paddings of a restart beside those behind full records of its checkpoint: where the run begins,
/// and behind the restart record, the checkpoint's begin record and its last end record.
const RESTART_PADDINGS: u64 = 4;
/// Log that is appended but not written before an appender writes it itself.
const MOST_BUFFERED_BYTES: usize = 4 * 1024 * 1024;

/// Where an open log goes on.
#[derive(Clone, Copy, Debug)]
pub struct LogPosition {
    /// The next record's LSN.
    pub end: Lsn,
    /// Bytes before this are certainly durable.
    pub durable: Lsn,
    /// The epoch of the run.
    pub epoch: u64,
    /// Where the records begin that tell all changes of pages; `None` if all do.
    pub complete_from: Option<Lsn>,
}

/// The log of an open database.
pub struct Log {
    segments: Segments,
    page_size: usize,
    epoch: u64,
    padding: Padding,
    /// Epochs of the log that is there; the current run is added when it begins.
    epochs: Mutex<Epochs>,
    append: Mutex<Appender>,
    /// Copy of the appender's end, to be read without its mutex.
    end: AtomicU64,
    flushed: AtomicU64,
    forcing: Mutex<Forcing>,
    force_done: Condvar,
    /// Records before this do not tell all changes of pages.
    complete_from: Option<Lsn>,
    /// Held while segments are prepared, recycled or removed, and while the retained log is read.
    preparing: Mutex<()>,
    /// Segments to have ready beyond the current one.
    segments_ahead: u64,
    poison: Poison,
    durability: Durability,
    wall_clock: WallClock,
    broken: Broken,
    observers: Observers,
}

impl Log {
    /// The log as it goes on at `position`. Nothing is read or written.
    ///
    /// # Panics
    /// If there is no segment at all.
    #[must_use]
    pub fn new(
        segments: Segments,
        config: &Config,
        epochs: Epochs,
        position: LogPosition,
        observers: Observers,
    ) -> Self {
        let geometry = segments.geometry();
        let last = *segments.numbers().expect("a log has segments").end();
        let max_record = max_record_bytes(config.page_size);
        // A checkpoint's records do not cross segments either: twice its bytes is ample.
        let checkpoint = checkpoint_bytes(config.frames, CHECKPOINT_TRANSACTIONS) as u64;
        let padding = Padding::new(geometry, config.log_block);
        let paddings = 2 * (checkpoint / max_record as u64 + RESTART_PADDINGS);
        let kept = geometry.segment_bytes + 2 * checkpoint + paddings * padding.most();
        let end = geometry.end(last);
        let space = LogSpace::new(geometry, max_record, end, kept, padding.most());
        let at = position.end.get();
        Self {
            page_size: config.page_size,
            epoch: position.epoch,
            padding,
            epochs: Mutex::new(epochs),
            append: Mutex::new(Appender::new(position, geometry, space, padding)),
            end: AtomicU64::new(at),
            flushed: AtomicU64::new(position.durable.get()),
            forcing: Mutex::new(Forcing::default()),
            force_done: Condvar::new(),
            complete_from: position.complete_from,
            preparing: Mutex::new(()),
            segments_ahead: config.checkpoint_log_bytes / geometry.segment_bytes + 2,
            poison: Poison::default(),
            durability: config.durability,
            wall_clock: config.wall_clock,
            broken: config.broken,
            segments,
            observers,
        }
    }

    /// What a commit waits for.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Microseconds since 1970 (UTC), for a commit record.
    #[must_use]
    pub fn wall_time_micros(&self) -> u64 {
        (self.wall_clock)()
    }

    /// Whether this rule is broken on purpose.
    #[must_use]
    pub fn breaks(&self, rule: Sabotage) -> bool {
        self.broken.is(rule)
    }

    /// What stopped the engine, if anything did.
    #[must_use]
    pub fn poison(&self) -> &Poison {
        &self.poison
    }

    /// The segment files.
    #[must_use]
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The epoch of this run.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The epochs of the retained log.
    #[must_use]
    pub fn epochs(&self) -> Epochs {
        self.epochs.lock().clone()
    }

    /// Notes where this run's records begin; those of the runs before ended at `hole`.
    pub fn began(&self, restart_lsn: Lsn, hole: Lsn) {
        if self.breaks(Sabotage::EpochNotRaised) {
            return; // By its epoch it is the run before.
        }
        let start = crate::record::EpochStart { lsn: restart_lsn, epoch: self.epoch };
        self.epochs.lock().push_back(start, hole);
    }

    /// A lower bound of the LSN of every record appended from now on.
    ///
    /// # Panics
    /// Never: the log begins behind a header.
    #[must_use]
    pub fn end_lsn(&self) -> Lsn {
        Lsn::new(self.end.load(Ordering::Acquire)).expect("the log begins behind a header")
    }

    /// The log is durable up to here.
    ///
    /// # Panics
    /// Never: the log begins behind a header.
    #[must_use]
    pub fn flushed_lsn(&self) -> Lsn {
        Lsn::new(self.flushed.load(Ordering::Acquire)).expect("the log begins behind a header")
    }

    /// Appends a record and gives its LSN. `publish` is called with it inside the append's mutex.
    /// `spend` bytes of what the caller reserved are used up with it.
    ///
    /// # Errors
    /// [`Error::Poisoned`]; [`Error::DiskFull`] when the record was not reserved for and no segment
    /// can be prepared. Nothing was appended, `publish` was not called.
    pub fn append(
        &self,
        record: &EncodedRecord,
        spend: u64,
        publish: impl FnOnce(Lsn),
    ) -> Result<Lsn> {
        self.poison.check()?;
        let mut publish = Some(publish);
        loop {
            let mut appender = self.append.lock();
            if let Some(lsn) = appender.append(record, spend) {
                self.end.store(appender.end(), Ordering::Release);
                (publish.take().expect("called once"))(lsn);
                let buffered = appender.buffered_bytes();
                drop(appender);
                if buffered > MOST_BUFFERED_BYTES {
                    // The record is appended, whatever comes of this: a failure stops the engine,
                    // and the next force tells.
                    let _ = self.write_out();
                }
                return Ok(lsn);
            }
            drop(appender);
            self.prepare_one()?;
        }
    }

    /// Log to reserve for a record of `length` bytes, and to spend when it is appended: the room it
    /// takes, with the padding that may have to follow it.
    pub fn price(&self, length: usize) -> u64 {
        self.padding.price(length)
    }

    /// Promises room for `bytes` of records, by their [`Log::price`], to a transaction, preparing
    /// segments where needed. To be called without any latch held.
    ///
    /// # Errors
    /// [`Error::DiskFull`]; nothing is reserved then.
    pub fn reserve(&self, bytes: u64) -> Result<()> {
        self.poison.check()?;
        while !self.try_reserve(bytes) {
            self.prepare_one()?;
        }
        Ok(())
    }

    /// Promises room for `bytes` if it is there already.
    pub fn try_reserve(&self, bytes: u64) -> bool {
        self.append.lock().try_reserve(bytes)
    }

    /// Whether the log has less room than it should keep for a restart.
    pub fn is_short_of_room(&self) -> bool {
        self.append.lock().is_short(0)
    }

    /// Gives back what a transaction reserved and did not need.
    pub fn release(&self, bytes: u64) {
        if bytes > 0 {
            self.append.lock().release(bytes);
        }
    }

    /// Background step: prepares one segment if fewer than should be are ready. Gives whether it
    /// did.
    ///
    /// # Errors
    /// [`Error::DiskFull`], and final ones.
    pub fn prepare_step(&self) -> Result<bool> {
        self.poison.check()?;
        let ahead = self.segments.geometry().segment_bytes;
        if !self.append.lock().is_short(ahead) {
            return Ok(false);
        }
        self.prepare_one()?;
        Ok(true)
    }

    fn prepare_one(&self) -> Result<()> {
        let seen = self.append.lock().prepared_end();
        let preparing = self.preparing.lock();
        self.poison.check()?; // Whoever held it may have failed.
        if self.append.lock().prepared_end() > seen {
            return Ok(()); // Somebody else just did.
        }
        let geometry = self.segments.geometry();
        let number = geometry.segment_of(seen);
        match self.segments.prepare(number) {
            Ok(()) => {
                self.append.lock().prepared(geometry.end(number));
                drop(preparing);
                self.observers.emit(|| Event::SegmentPrepared { number, recycled_from: None });
                Ok(())
            }
            Err(error) if error.is_disk_full() => Err(error),
            Err(error) => Err(self.poison.stop(error)),
        }
    }

    /// Truncates the log below `oldest_required`: segments that hold nothing from there on are
    /// recycled, or removed when enough are ready.
    ///
    /// # Errors
    /// Final ones.
    pub fn truncate(&self, oldest_required: Lsn) -> Result<()> {
        assert!(oldest_required <= self.flushed_lsn(), "what is not durable is not truncated");
        let _preparing = self.preparing.lock();
        self.poison.check()?;
        let geometry = self.segments.geometry();
        let keep = geometry.segment_of(oldest_required.get());
        for number in self.segments.numbers_in(..keep) {
            self.recycle(number).map_err(|error| self.poison.stop(error))?;
        }
        self.observers.emit(|| Event::LogTruncated { oldest_required });
        Ok(())
    }

    fn recycle(&self, number: u64) -> Result<()> {
        let geometry = self.segments.geometry();
        let appender = self.append.lock();
        let current = geometry.segment_of(appender.end());
        let next = geometry.segment_of(appender.prepared_end());
        drop(appender);
        if next - current > self.segments_ahead {
            return self.segments.remove(number);
        }
        self.segments.recycle(number, next)?;
        self.append.lock().prepared(geometry.end(next));
        self.observers
            .emit(|| Event::SegmentPrepared { number: next, recycled_from: Some(number) });
        Ok(())
    }

    /// Reads the record at `lsn`, from memory or from its segment.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when no valid record stands there; those of the disk.
    pub fn read(&self, lsn: Lsn) -> Result<RecordBytes> {
        let epoch = self.epochs.lock().at(lsn).unwrap_or(self.epoch);
        let in_memory = self.append.lock().read(lsn);
        match in_memory {
            Some(bytes) => RecordBytes::check(&self.segments, lsn, epoch, bytes),
            None => read_record(&self.segments, self.page_size, lsn, epoch),
        }
    }

    /// Refuses a page that claims a record the log does not have.
    ///
    /// # Errors
    /// [`Error::Corrupt`] about the page.
    pub fn check_page_lsn(
        &self,
        page_lsn: Option<Lsn>,
        place: impl FnOnce() -> crate::error::Place,
    ) -> Result<()> {
        let end = self.end_lsn();
        match page_lsn {
            Some(lsn) if lsn >= end => Err(Error::corrupt(
                place(),
                format!("a pageLSN below the end of the log, {end}"),
                lsn.to_string(),
            )),
            _ => Ok(()),
        }
    }
}
