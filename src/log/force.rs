//! Forcing the log: one leader writes and syncs for all who wait.
//!
//! ```text
//!   idle --force, nobody leads--> leading --written, synced, flushed_lsn moved--> idle
//!     ^                             |  others wait; woken, most find their records durable;
//!     +-----------------------------+  one of the rest leads next
//! ```

use std::collections::BTreeSet;
use std::mem;

use super::Log;
use crate::config::Sabotage;
use crate::error::Result;
use crate::event::Event;
use crate::ids::Lsn;
use crate::sync::{MutexGuard, Ordering, Rule, broken};

/// Proof that the log is durable up to, not including, an LSN. Only a force makes one; whoever
/// writes a page needs one: that is the write-ahead rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DurableLsn(Lsn);

impl DurableLsn {
    /// The first byte that is not known to be durable.
    #[must_use]
    pub fn end(self) -> Lsn {
        self.0
    }

    /// Whether the record at `lsn` is durable (nil always is).
    #[must_use]
    pub fn covers(self, lsn: Option<Lsn>) -> bool {
        lsn < Some(self.0)
    }
}

/// Who writes the log at the moment, and what is written but not synced.
#[derive(Default)]
pub struct Forcing {
    leader: bool,
    waiting: usize,
    /// Segments written since their last sync.
    unsynced: BTreeSet<u64>,
}

impl Log {
    /// Returns when the record at `lsn`, and all before it, are durable.
    ///
    /// # Errors
    /// [`crate::Error::Poisoned`], or the failure that poisons the engine.
    pub fn force(&self, lsn: Lsn) -> Result<DurableLsn> {
        let flushed = self.flushed_lsn();
        if flushed > lsn || broken(Rule::FlushedIsExclusive) && flushed == lsn {
            return Ok(DurableLsn(flushed));
        }
        assert!(lsn < self.end_lsn(), "only what was appended can be forced");
        let mut forcing = self.forcing.lock();
        loop {
            if self.flushed_lsn() > lsn {
                return Ok(DurableLsn(self.flushed_lsn()));
            }
            self.poison.check()?;
            if !forcing.leader {
                break;
            }
            forcing.waiting += 1;
            self.force_done.wait(&mut forcing);
            forcing.waiting -= 1;
        }
        self.lead(forcing, true)?;
        Ok(DurableLsn(self.flushed_lsn()))
    }

    /// What a page of that LSN needs before it is written: the write-ahead rule.
    ///
    /// # Errors
    /// As [`Log::force`].
    pub fn force_for_page(&self, page_lsn: Lsn) -> Result<DurableLsn> {
        if self.breaks(Sabotage::PageBeforeLog) {
            return Ok(DurableLsn(self.end_lsn()));
        }
        self.force(page_lsn)
    }

    /// Forces everything appended so far.
    ///
    /// # Errors
    /// As [`Log::force`].
    pub fn force_all(&self) -> Result<DurableLsn> {
        self.poison.check()?;
        let end = self.end_lsn();
        if self.flushed_lsn() >= end {
            return Ok(DurableLsn(self.flushed_lsn()));
        }
        self.force(Lsn::new(end.get() - 1).unwrap_or(end))
    }

    /// Hands what is appended to the operating system, without syncing.
    ///
    /// # Errors
    /// As [`Log::force`].
    pub fn write_out(&self) -> Result<()> {
        let mut forcing = self.forcing.lock();
        while forcing.leader {
            forcing.waiting += 1;
            self.force_done.wait(&mut forcing);
            forcing.waiting -= 1;
        }
        self.poison.check()?;
        // Whoever led meanwhile may have done it.
        if self.append.lock().buffered_bytes() == 0 {
            return Ok(());
        }
        self.lead(forcing, false)
    }

    /// Writes all that is appended, and syncs it if `sync`, on behalf of all who wait.
    fn lead(&self, mut forcing: MutexGuard<'_, Forcing>, sync: bool) -> Result<()> {
        assert!(!forcing.leader, "one leader at a time");
        forcing.leader = true;
        let mut unsynced = mem::take(&mut forcing.unsynced);
        drop(forcing);
        let done = self.write_batch(&mut unsynced, sync);
        if let Err(error) = &done {
            self.poison.refuse(error);
        }
        let mut forcing = self.forcing.lock();
        forcing.leader = false;
        forcing.unsynced = unsynced;
        if let Ok(end) = &done
            && sync
        {
            self.flushed.store(*end, Ordering::Release);
        }
        if forcing.waiting > 0 && !broken(Rule::NotifyAfterForce) {
            self.force_done.notify_all();
        }
        drop(forcing);
        // Only now: whoever waited is refused already, and need not wait for who listens.
        let end = done.map_err(|error| self.poison.stop(error))?;
        if sync && let Some(durable_lsn) = Lsn::new(end) {
            self.observers.emit(|| Event::Forced { durable_lsn });
        }
        Ok(())
    }

    fn write_batch(&self, unsynced: &mut BTreeSet<u64>, sync: bool) -> Result<u64> {
        let mut appender = self.append.lock();
        let (batch, end) = appender.take_batch();
        self.end.store(end, Ordering::Release);
        drop(appender);
        let geometry = self.segments.geometry();
        for chunk in batch.iter() {
            let number = geometry.segment_of(chunk.start);
            unsynced.insert(number);
            let file = self.segments.file(number).expect("records go into prepared segments");
            file.write_at(geometry.offset(chunk.start), &chunk.bytes)?;
        }
        self.append.lock().batch_written(batch);
        if broken(Rule::FlushedAfterSync) {
            self.flushed.store(end, Ordering::Release);
        }
        if sync {
            for number in unsynced.iter() {
                let file = self.segments.file(*number).expect("not truncated before it is durable");
                file.sync_data().or_else(|error| {
                    match self.breaks(Sabotage::FailedSyncRetried) {
                        true => file.sync_data(),
                        false => Err(error),
                    }
                })?;
            }
            unsynced.clear();
        }
        Ok(end)
    }
}
