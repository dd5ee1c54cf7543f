//! Transactions: the one path on which pages are changed, and the one on which changes are undone.
//!
//! ```text
//!            update, savepoint, rollback to savepoint
//!              +----+
//!   begin      v    |    Commit appended        forced, End appended
//!  --------> active ----> committing ------------------------------> gone
//!              |
//!              | Rollback appended             undo_next_lsn nil, End appended
//!              +--------> rolling back ----------------------------> gone
//! ```
//!
//! A change is made by [`Transaction::update`], in this order and nowhere else: the page enters the
//! dirty page table; the record is appended; the bytes change; the page is stamped with the record's
//! LSN. Undoing follows `undo_next_lsn` backwards and writes a compensation log record for each
//! update, on the same path; a compensation record is never undone, so undoing anew after a crash goes
//! on where it stopped.
//!
//! Invariants:
//! - a transaction's `last_lsn`, `undo_next_lsn` and state change inside the mutex of its record's append: a
//!   checkpoint that began later sees them;
//! - room in the log for undoing is reserved before the update it would undo, without a latch held;
//! - locks are held to the end (strict two-phase): released when the commit is durable, or, for a deferred
//!   commit, when its record is appended; a read-only commit then waits until the commits it may
//!   have read from are durable;
//! - undo takes no locks: it changes only what the transaction has locked;
//! - rolling back over what is compensated already writes nothing.
//!
//! Source: ARIES, sections 4.3, 5.1 (updates), 5.2 (rollback, savepoints), 5.3 (termination), 9 (nested top
//! actions).

mod commit;
mod manager;
#[cfg(all(test, loom))]
mod models;
mod undo;

pub use commit::{AfterCommit, CommitTicket};
pub use manager::TransactionManager;
pub use undo::Savepoint;

use manager::TransactionKey;
use undo::NestedStart;

use crate::buffer::PageWrite;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::ids::{Lsn, PageId, TxnId};
use crate::page::{OpFault, PageOp};
use crate::record::{
    COMPENSATION_FIELDS_BYTES, CompensationLogRecord, EncodedRecord, HEADER_BYTES, LogRecord,
    TransactionLink, Undo, Update, padded,
};
use crate::sync::{Arc, Rule, broken};
use crate::tables::{TransactionEntry, TransactionState};

/// Bytes of an update record beside the bytes of its operation and of its undo, at most.
const UPDATE_FIELDS: usize = HEADER_BYTES + 64;
/// Log that a transaction needs to end, whichever way: rollback, commit and end records.
const END_BYTES: u64 = 192;
/// Log that the end of a nested top action needs.
const NESTED_END_BYTES: u64 = 64;

/// Whether an update is to be undone when its transaction rolls back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undoing {
    /// By the inverse of its operation.
    Inverse,
    /// Not at all.
    RedoOnly,
}

/// What a record does to its transaction's `undo_next_lsn`.
#[derive(Clone, Copy)]
enum UndoNext {
    /// The record itself is the next to undo.
    ThisRecord,
    /// It goes on there.
    At(Option<Lsn>),
    /// It stays where it is.
    Unchanged,
}

/// A transaction under way. Dropped without an end, it is rolled back.
pub struct Transaction {
    manager: Arc<TransactionManager>,
    key: TransactionKey,
    id: TxnId,
    /// Copy of the line in the transaction table; only this transaction changes it.
    entry: TransactionEntry,
    /// Log reserved and not used up yet (bytes).
    reserved: u64,
    /// Of it, what rolling back or committing will certainly need.
    owed: u64,
    /// Nested top actions under way, the innermost last.
    nested: Vec<NestedStart>,
    encoded: EncodedRecord,
    ended: bool,
}

impl Transaction {
    /// The transaction's number.
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.id
    }

    /// Its line in the transaction table.
    #[must_use]
    pub fn entry(&self) -> &TransactionEntry {
        &self.entry
    }

    /// The engine's parts that transactions share.
    #[must_use]
    pub fn manager(&self) -> &Arc<TransactionManager> {
        &self.manager
    }

    /// Reserves log for one update of `op_bytes` bytes of payload, and for undoing it. Without a
    /// latch held: it may prepare log segments.
    ///
    /// # Errors
    /// [`Error::DiskFull`]; the transaction can go on, commit, or roll back.
    pub fn prepare_update(&mut self, op_bytes: usize) -> Result<()> {
        self.prepare_updates(1, op_bytes)
    }

    /// The same for `count` updates of `op_bytes` bytes each.
    ///
    /// # Errors
    /// As [`Transaction::prepare_update`].
    pub fn prepare_updates(&mut self, count: usize, op_bytes: usize) -> Result<()> {
        let most = padded(UPDATE_FIELDS + 2 * op_bytes) + padded(UPDATE_FIELDS + op_bytes);
        self.prepare((count * most) as u64)
    }

    /// Reserves log for one update of `op_bytes` bytes of payload that follows the commit record.
    ///
    /// # Errors
    /// [`Error::DiskFull`], as [`Transaction::prepare_update`].
    pub fn prepare_for_commit(&mut self, op_bytes: usize) -> Result<()> {
        let most = padded(UPDATE_FIELDS + op_bytes) as u64;
        self.prepare(most)?;
        self.owed += most;
        Ok(())
    }

    fn prepare(&mut self, bytes: u64) -> Result<()> {
        let first = if self.owed == 0 { END_BYTES } else { 0 };
        let needed = self.owed + first + bytes;
        if needed > self.reserved {
            self.manager.log().reserve(needed - self.reserved)?;
            self.reserved = needed;
        }
        self.owed += first;
        Ok(())
    }

    /// Changes a page: logs the operation and applies it. [`Transaction::prepare_update`] comes
    /// first, before the page is latched.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the page does not admit the operation (callers check what their
    /// users can get wrong before); final errors. Nothing is changed then.
    pub fn update(
        &mut self,
        page: &mut PageWrite<'_>,
        op: PageOp<'_>,
        undoing: Undoing,
    ) -> Result<Lsn> {
        self.check_op(page, &op)?;
        let undo = match undoing {
            Undoing::RedoOnly => Undo::RedoOnly,
            Undoing::Inverse => {
                Undo::Physical(op.inverse(page.bytes()).expect("an operation that can be undone"))
            }
        };
        let record = LogRecord::Update(Update {
            link: self.link(),
            page: page.page(),
            prev_page_lsn: page.page_lsn(),
            op,
            undo,
        });
        self.encoded.set(&record);
        let owed = match undo {
            Undo::RedoOnly => 0,
            Undo::Physical(op) => compensation_bytes(&op),
        };
        let next = UndoNext::ThisRecord;
        if !broken(Rule::RecLsnBeforeAppend) {
            page.publish_rec_lsn(self.manager.log().end_lsn());
        }
        let lsn = self.append(next, None)?;
        self.owed += owed;
        page.redo(&op, lsn);
        self.told(lsn, "Update", Some(page.page()));
        Ok(lsn)
    }

    /// Undoes a change of a page: logs the compensation and applies it.
    fn compensate(
        &mut self,
        page: &mut PageWrite<'_>,
        op: PageOp<'_>,
        undo_next_lsn: Option<Lsn>,
    ) -> Result<Lsn> {
        self.check_op(page, &op)?;
        let record = LogRecord::Compensation(CompensationLogRecord {
            link: self.link(),
            page: page.page(),
            prev_page_lsn: page.page_lsn(),
            op,
            undo_next_lsn,
        });
        self.encoded.set(&record);
        page.publish_rec_lsn(self.manager.log().end_lsn());
        let lsn = self.append(UndoNext::At(undo_next_lsn), None)?;
        self.owed = self.owed.saturating_sub(padded(self.encoded.len()) as u64);
        page.redo(&op, lsn);
        self.told(lsn, "Compensation", Some(page.page()));
        Ok(lsn)
    }

    fn check_op(&self, page: &PageWrite<'_>, op: &PageOp<'_>) -> Result<()> {
        op.check(page.bytes()).map_err(|fault| self.op_error(page.page(), op, &fault))
    }

    fn op_error(&self, page: PageId, op: &PageOp<'_>, fault: &OpFault) -> Error {
        let place = self.manager.pool().place(page);
        Error::corrupt(place, format!("a page that admits: {op}"), fault.to_string())
    }

    fn link(&self) -> TransactionLink {
        TransactionLink { txn: self.id, prev_lsn: self.entry.last_lsn }
    }

    /// Appends what is encoded; the line in the transaction table changes inside the append.
    fn append(&mut self, next: UndoNext, state: Option<TransactionState>) -> Result<Lsn> {
        let length = padded(self.encoded.len()) as u64;
        let spend = if self.reserved >= length { length } else { 0 };
        let mut entry = self.entry;
        let lsn = self.manager.log().append(&self.encoded, spend, |lsn| {
            let next = match next {
                UndoNext::ThisRecord => Some(lsn),
                UndoNext::At(next) => next,
                UndoNext::Unchanged => entry.undo_next_lsn,
            };
            entry.logged(lsn, next);
            entry.state = state.unwrap_or(entry.state);
            if !broken(Rule::StateInsideAppend) {
                self.manager.set_entry(self.key, entry);
            }
        })?;
        if broken(Rule::StateInsideAppend) {
            self.manager.set_entry(self.key, entry);
        }
        self.entry = entry;
        self.reserved -= spend;
        Ok(lsn)
    }

    fn told(&self, lsn: Lsn, kind: &'static str, page: Option<PageId>) {
        let txn = Some(self.id);
        self.manager.observers().emit(|| Event::Appended { lsn, txn, kind, page });
    }

    /// Releases what is left to release; the transaction is out of every table.
    fn finished(&mut self) {
        assert!(!self.ended, "a transaction ends once");
        self.ended = true;
        self.manager.log().release(self.reserved);
        self.reserved = 0;
        self.manager.locks().release_all(self.id);
    }
}

/// Bytes of the compensation record that undoes an update by `op`.
fn compensation_bytes(op: &PageOp<'_>) -> u64 {
    padded(COMPENSATION_FIELDS_BYTES + op.encoded_len()) as u64
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // A failure here has stopped the engine already; whoever calls it next is told.
        if self.roll_back().is_err() {
            self.manager.locks().release_all(self.id);
        }
    }
}
