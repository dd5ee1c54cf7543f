//! Fuzzy checkpoints and truncation of the log.
//!
//! ```text
//!   BeginCheckpoint … others go on … snapshot of both tables … EndCheckpoint (one or more parts)
//!        ^                                                          | forced
//!        |                                                          v
//!        +------------------------------- master record: one slot of the control file, synced
//!                                                                   | durable
//!                                                                   v
//!                                   log truncated below what both slots need
//! ```
//!
//! A checkpoint stops nobody and writes no page. It only says from where restart must read.
//!
//! Invariants:
//! - the tables are copied after the begin record is appended: every record before it is in the copies, and
//!   analysis reads every record after it;
//! - the master record points at the begin record, and only once the end records are durable;
//! - the log is kept from the smallest of: `rec_lsn` of the dirty pages, first record of the
//!   transactions, and the begin record itself, as the *durable* master records say;
//! - a checkpoint's records take no log space that transactions were promised for rolling back;
//! - a checkpoint without all its end records is ignored.
//!
//! Source: ARIES, section 5.4.

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

use crate::buffer::BufferPool;
use crate::config::Sabotage;
use crate::error::{Error, Result};
use crate::event::{Event, Observers};
use crate::ids::{Lsn, PageId, TxnId};
use crate::log::{ControlFile, Log, MasterRecord};
use crate::record::{
    BeginCheckpoint, EncodedRecord, EndCheckpoint, LogRecord, checkpoint_bytes, max_record_bytes,
};
use crate::sync::{Arc, Mutex};
use crate::tables::{DirtyPageTable, TransactionEntry, TransactionTable};
use crate::txn::TransactionManager;

/// A checkpoint whose begin record is appended. It can be completed once, by whom it was begun.
#[must_use = "a checkpoint that is not completed is ignored"]
pub struct Begun {
    begin_lsn: Lsn,
    /// The tables, if they were copied already.
    copied: Option<(TransactionTable, DirtyPageTable)>,
    log: Arc<Log>,
}

impl Begun {
    /// The begin record.
    #[must_use]
    pub fn begin_lsn(&self) -> Lsn {
        self.begin_lsn
    }
}

/// Whose log space a checkpoint uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Room {
    /// What nobody else was promised.
    Reserved,
    /// What is kept for restart.
    Kept,
}

/// What a checkpoint recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The begin record: where analysis would start.
    pub begin_lsn: Lsn,
    /// Where redo would start.
    pub redo_lsn: Lsn,
    /// The log before this is not needed by this checkpoint.
    pub oldest_required_lsn: Lsn,
    /// The dirty page table.
    pub dirty_pages: DirtyPageTable,
    /// The transaction table.
    pub transactions: TransactionTable,
}

/// Takes checkpoints, and moves the master record.
pub struct Checkpointer {
    log: Arc<Log>,
    pool: Arc<BufferPool>,
    transactions: Arc<TransactionManager>,
    control: Arc<Mutex<ControlFile>>,
    page_size: usize,
    observers: Observers,
}

impl Checkpointer {
    /// Takes over the control file of a database that is being opened.
    #[must_use]
    pub fn new(
        log: Arc<Log>,
        transactions: Arc<TransactionManager>,
        control: Arc<Mutex<ControlFile>>,
        observers: Observers,
    ) -> Self {
        let pool = Arc::clone(transactions.pool());
        let page_size = pool.page_size();
        Self { log, pool, transactions, control, page_size, observers }
    }

    /// The master record that counts.
    #[must_use]
    pub fn master(&self) -> MasterRecord {
        self.control.lock().master()
    }

    /// Takes a checkpoint, then truncates the log.
    ///
    /// # Errors
    /// [`crate::Error::DiskFull`] when the log has no room for it; final errors.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let begun = self.begin()?;
        self.complete(begun)
    }

    /// Takes the checkpoint that ends a restart, in the log space that is kept for it.
    ///
    /// # Errors
    /// As [`Checkpointer::checkpoint`].
    pub fn checkpoint_after_restart(&self) -> Result<Checkpoint> {
        let begin_lsn = self.append_begin(Room::Kept)?;
        self.complete_from(begin_lsn, None, Room::Kept)
    }

    /// The first half: appends the begin record.
    ///
    /// # Errors
    /// As [`Checkpointer::checkpoint`].
    pub fn begin(&self) -> Result<Begun> {
        let begin_lsn = self.append_begin(Room::Reserved)?;
        // A transaction can end while a copy is on its way to the log; alone, only if that takes long.
        let early =
            self.log.breaks(Sabotage::CopiesAtBegin) || self.log.breaks(Sabotage::EndedResurrected);
        let copied = early.then(|| self.copy_tables());
        Ok(Begun { begin_lsn, copied, log: Arc::clone(&self.log) })
    }

    fn append_begin(&self, room: Room) -> Result<Lsn> {
        let restart = self.log.epochs().last().expect("a run begins with its restart record");
        let record = LogRecord::BeginCheckpoint(BeginCheckpoint {
            durable_lsn: self.log.flushed_lsn(),
            restart_lsn: restart.lsn,
        });
        let begin_lsn = self.append_all(&[record], room)?;
        self.observers.emit(|| Event::CheckpointBegan { begin_lsn });
        Ok(begin_lsn)
    }

    /// The second half: records the tables, forces the log, moves the master record, truncates.
    ///
    /// # Errors
    /// As [`Checkpointer::checkpoint`]; [`Error::InvalidInput`] for another database's checkpoint.
    /// The checkpoint is given up then.
    pub fn complete(&self, begun: Begun) -> Result<Checkpoint> {
        if !Arc::ptr_eq(&begun.log, &self.log) {
            return Err(Error::InvalidInput("a checkpoint of another database".into()));
        }
        self.complete_from(begun.begin_lsn, begun.copied, Room::Reserved)
    }

    fn copy_tables(&self) -> (TransactionTable, DirtyPageTable) {
        (self.transactions.logged(), self.pool.dirty_page_table())
    }

    fn complete_from(
        &self,
        begin_lsn: Lsn,
        copied: Option<(TransactionTable, DirtyPageTable)>,
        room: Room,
    ) -> Result<Checkpoint> {
        if self.log.breaks(Sabotage::FlushesAtCheckpoint) {
            self.pool.flush_all()?;
        }
        if self.log.breaks(Sabotage::IncompleteCheckpointUsed) {
            self.log.force_all()?;
            self.point_at(begin_lsn, self.master().oldest_required_lsn)?;
        }
        let (transactions, dirty_pages) = copied.unwrap_or_else(|| self.copy_tables());
        let records = self.end_records(begin_lsn, &dirty_pages, &transactions);
        let last = self.append_all(&records, room)?;
        if !self.log.breaks(Sabotage::MasterBeforeForce) {
            self.log.force(last)?;
        }
        let redo_lsn = dirty_pages.redo_lsn().unwrap_or(begin_lsn).min(begin_lsn);
        let first_lsn = transactions.first_lsn().unwrap_or(begin_lsn);
        let oldest_required_lsn = match self.log.breaks(Sabotage::LogTruncatedEarly) {
            true => begin_lsn,
            false => redo_lsn.min(first_lsn),
        };
        let pointed_at = if self.log.breaks(Sabotage::MasterAtEnd) { last } else { begin_lsn };
        self.point_at(pointed_at, oldest_required_lsn)?;
        self.observers.emit(|| Event::CheckpointEnded {
            begin_lsn,
            dirty_pages: dirty_pages.len(),
            transactions: transactions.len(),
            redo_lsn,
        });
        Ok(Checkpoint { begin_lsn, redo_lsn, oldest_required_lsn, dirty_pages, transactions })
    }

    /// Appends records, all or, if the log has no room, none; gives the last one's LSN.
    fn append_all(&self, records: &[LogRecord<'_>], room: Room) -> Result<Lsn> {
        let encoded: Vec<EncodedRecord> = records.iter().map(EncodedRecord::new).collect();
        let price = |record: &EncodedRecord| self.log.price(record.len());
        if room == Room::Reserved {
            self.log.reserve(encoded.iter().map(price).sum())?;
        }
        let mut last = self.log.end_lsn();
        for (record, encoded) in records.iter().zip(&encoded) {
            let spend = if room == Room::Reserved { price(encoded) } else { 0 };
            last = self.log.append(encoded, spend, |_| {})?;
            let (lsn, kind) = (last, record.name());
            self.observers.emit(|| Event::Appended { lsn, txn: None, kind, page: None });
        }
        Ok(last)
    }

    fn end_records(
        &self,
        begin_lsn: Lsn,
        dirty_pages: &DirtyPageTable,
        transactions: &TransactionTable,
    ) -> Vec<LogRecord<'static>> {
        let durable_lsn = self.log.flushed_lsn();
        // Read after the begin record is appended: above every number in the log before it.
        let next_txn = self.transactions.next_txn();
        let (no_pages, no_transactions) = (DirtyPageTable::default(), TransactionTable::default());
        let missing = |rule| self.log.breaks(rule);
        let lines = split(
            self.page_size,
            if missing(Sabotage::DirtyPageTableMissing) { &no_pages } else { dirty_pages },
            if missing(Sabotage::TransactionTableMissing) {
                &no_transactions
            } else {
                transactions
            },
        );
        let parts = u32::try_from(lines.len()).expect("far fewer than 2^32 parts");
        let record = |(part, (dirty_pages, transactions)): (u32, Lines)| {
            LogRecord::EndCheckpoint(EndCheckpoint {
                durable_lsn,
                begin_lsn,
                next_txn,
                part,
                parts,
                dirty_pages,
                transactions,
            })
        };
        (0..).zip(lines).map(record).collect()
    }

    /// Points the master record at a durable checkpoint, then truncates the log.
    fn point_at(&self, begin_lsn: Lsn, oldest_required_lsn: Lsn) -> Result<()> {
        let mut control = self.control.lock();
        self.log.poison().check()?;
        if control.master().checkpoint_lsn >= begin_lsn {
            return Ok(()); // Another checkpoint, begun later, is complete already.
        }
        let epoch = self.log.epoch();
        let updated = control.update(|master| {
            master.checkpoint_lsn = begin_lsn;
            master.checkpoint_epoch = epoch;
            master.oldest_required_lsn = oldest_required_lsn;
        });
        updated.map_err(|error| self.log.poison().stop(error))?;
        self.log.truncate(control.oldest_required_lsn())
    }

    /// Notes in the control file, durably in both slots, that only records from the last checkpoint on tell all changes
    /// of pages: from now on pages are changed without a log.
    ///
    /// # Errors
    /// Final ones.
    pub fn log_is_complete_from_here(&self) -> Result<()> {
        let mut control = self.control.lock();
        let updated =
            control.update_both(|master| master.complete_from_lsn = Some(master.checkpoint_lsn));
        updated.map_err(|error| self.log.poison().stop(error))
    }

    /// Notes in the control file that the log ends here and nothing is to be recovered.
    ///
    /// # Errors
    /// Final ones.
    pub fn closed_at(&self, end: Lsn) -> Result<()> {
        let mut control = self.control.lock();
        let updated = control.update(|master| master.clean_end_lsn = Some(end));
        updated.map_err(|error| self.log.poison().stop(error))
    }
}

type Lines = (Vec<(PageId, Lsn)>, Vec<(TxnId, TransactionEntry)>);

/// Cuts the tables into parts, each of which fits into one record. There is at least one part.
fn split(
    page_size: usize,
    dirty_pages: &DirtyPageTable,
    transactions: &TransactionTable,
) -> Vec<Lines> {
    let most = max_record_bytes(page_size);
    let mut parts = vec![Lines::default()];
    for line in dirty_pages.iter() {
        if checkpoint_bytes(last(&mut parts).0.len() + 1, 0) > most {
            parts.push(Lines::default());
        }
        last(&mut parts).0.push(line);
    }
    for (txn, entry) in transactions.iter() {
        let (pages, txns) = last(&mut parts);
        if checkpoint_bytes(pages.len(), txns.len() + 1) > most {
            parts.push(Lines::default());
        }
        last(&mut parts).1.push((txn, *entry));
    }
    parts
}

fn last(parts: &mut [Lines]) -> &mut Lines {
    parts.last_mut().expect("there is at least one part")
}
