//! Transactions: the one path on which pages are changed, and the one on which changes are undone.
//!
//! ```text
//!            update, savepoint, rollback to savepoint
//!              +----+
//!   begin      v    |    Commit appended        forced, End appended
//!  --------> active ----> committing ------------------------------> gone
//!              |  |           ^
//!              |  | Prepare   | Commit appended
//!              |  +------> in doubt (in this run, or in a later one)
//!              |              |
//!              |              v Rollback appended
//!              +--------> rolling back ----------------------------> gone
//!      Rollback appended             undo_next_lsn nil, End appended
//! ```
//!
//! A transaction in doubt belongs to the engine, and to no handle; see `txn/prepare.rs`.
//!
//! A change is made by [`Transaction::update`], in this order and nowhere else: the page enters the
//! dirty page table; the record is appended; the bytes change; the page is stamped with the record's
//! LSN. (Where page images protect from torn pages, a record with the whole page comes before.)
//! Undoing follows `undo_next_lsn` backwards and writes a compensation log record for each update, on the
//! same path; a compensation record is never undone, so undoing anew after a crash goes
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
mod key_change;
mod manager;
#[cfg(all(test, loom))]
pub(crate) mod models;
mod prepare;
mod structure;
mod undo;

pub use commit::{AfterCommit, CommitTicket};
pub use key_change::Told;
pub use manager::TransactionManager;
pub use prepare::{Deciding, PreparedTransaction};
pub use undo::{LogicalUndo, Savepoint};

use manager::TransactionKey;
use undo::{NestedStart, Passed};

use crate::buffer::PageWrite;
use crate::config::Sabotage;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::ids::{Lsn, PageId, SlotId, TxnId};
use crate::log::Log;
use crate::page::{OpFault, PageOp};
use crate::record::{
    COMPENSATION_FIELDS_BYTES, CompensationLogRecord, EncodedRecord, HEADER_BYTES, KeyUndo,
    LogRecord, PAGE_IMAGE_FIELDS_BYTES, PageImage, PlainNames, TransactionLink, Undo, Update,
    page_op_words,
};
use crate::sync::{Arc, Rule, broken};
use crate::tables::{TransactionEntry, TransactionState};

/// Bytes of an update record beside the bytes of its operation and of its undo, at most.
const UPDATE_FIELDS: usize = HEADER_BYTES + 64;
/// Records that a transaction needs to end, whichever way: rollback or commit, and end.
const ENDING_RECORDS: u64 = 2;
/// Bytes of each of them, at most.
const ENDING_RECORD_BYTES: usize = 96;
/// Bytes of the record that ends a nested top action, at most.
const NESTED_END_BYTES: usize = 64;

/// Whether an update is to be undone when its transaction rolls back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undoing<'u> {
    /// By the inverse of its operation, in the same page.
    Inverse,
    /// By key, wherever the cell is by then.
    Key(KeyUndo<'u>),
    /// By putting the whole page back as it was: nobody else may change it until the transaction ends.
    Whole,
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
    /// Where no savepoint of its own is of use any more: disjoint, ascending.
    passed: Vec<Passed>,
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
        let log = self.manager.log();
        let most = log.price(UPDATE_FIELDS + 2 * op_bytes) + log.price(UPDATE_FIELDS + op_bytes);
        self.reserve(count as u64 * most)
    }

    /// Reserves log for one update of `op_bytes` bytes of payload that follows the commit record.
    ///
    /// # Errors
    /// [`Error::DiskFull`], as [`Transaction::prepare_update`].
    pub fn prepare_for_commit(&mut self, op_bytes: usize) -> Result<()> {
        let most = redo_only_price(self.manager.log(), op_bytes);
        self.reserve(most)?;
        self.owed += most;
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> Result<()> {
        let first = if self.owed == 0 { ending_price(self.manager.log()) } else { 0 };
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
        undoing: Undoing<'_>,
    ) -> Result<Lsn> {
        self.check_op(page, &op)?;
        self.log_image(page, &op)?;
        let undo = match undoing {
            Undoing::RedoOnly => Undo::RedoOnly,
            Undoing::Key(undo) => Undo::Key(undo),
            Undoing::Whole => Undo::Physical(PageOp::image_of(page.bytes())),
            Undoing::Inverse
                if matches!(op, PageOp::SetState { .. })
                    && self.manager.log().breaks(Sabotage::SpaceMapUndoneByBytes) =>
            {
                Undo::Physical(PageOp::image_of(page.bytes()))
            }
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
        let owed = compensation_price(self.manager.log(), &undo);
        let next = UndoNext::ThisRecord;
        if !broken(Rule::RecLsnBeforeAppend) {
            page.publish_rec_lsn(self.manager.log().end_lsn());
        }
        let lsn = self.append(next, None)?;
        self.owed += owed;
        page.redo(&op, lsn).expect("checked before it was logged");
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
        self.log_image(page, &op)?;
        let record = LogRecord::Compensation(CompensationLogRecord {
            link: self.link(),
            page: page.page(),
            prev_page_lsn: page.page_lsn(),
            op,
            undo_next_lsn: match self.manager.log().breaks(Sabotage::ClrPointsAtItsUpdate) {
                true => self.entry.undo_next_lsn,
                false => undo_next_lsn,
            },
        });
        self.encoded.set(&record);
        page.publish_rec_lsn(self.manager.log().end_lsn());
        let lsn = self.append(UndoNext::At(undo_next_lsn), None)?;
        self.owed = self.owed.saturating_sub(self.price());
        page.redo(&op, lsn).expect("checked before it was logged");
        self.told(lsn, "Compensation", Some(page.page()));
        Ok(lsn)
    }

    /// Logs the page whole just before it is changed by `op`, if the protection from torn pages asks for it.
    /// That is never a must: without an image the page is written through the double-write file. So an
    /// image takes only log that nobody was promised, and none where promises are not kept
    /// book of: when restart undoes.
    fn log_image(&mut self, page: &mut PageWrite<'_>, op: &PageOp<'_>) -> Result<()> {
        if op.starts_anew() || self.reserved == 0 || !page.needs_image() {
            return Ok(());
        }
        let log = self.manager.log();
        if log.breaks(Sabotage::NoPageImage) {
            return Ok(());
        }
        let image = PageOp::image_of(page.bytes());
        let price = log.price(PAGE_IMAGE_FIELDS_BYTES + image.encoded_len());
        if !log.try_reserve(price) {
            return Ok(());
        }
        let (number, prev_page_lsn) = (page.page(), page.page_lsn());
        let record = PageImage { page: number, prev_page_lsn, op: image };
        self.encoded.set(&LogRecord::PageImage(record));
        page.publish_rec_lsn(log.end_lsn());
        let lsn = log.append(&self.encoded, price, |_| {})?;
        page.imaged(lsn);
        let (txn, kind, page) = (None, "PageImage", Some(number));
        self.manager.observers().emit(|| Event::Appended { lsn, txn, kind, page });
        Ok(())
    }

    fn check_op(&self, page: &PageWrite<'_>, op: &PageOp<'_>) -> Result<()> {
        op.check(page.bytes()).map_err(|fault| self.op_error(page.page(), op, &fault))
    }

    fn op_error(&self, page: PageId, op: &PageOp<'_>, fault: &OpFault) -> Error {
        let place = self.manager.pool().place(page);
        let op = page_op_words(op, page, &PlainNames);
        Error::corrupt(place, format!("a page that admits: {op}"), fault.to_string())
    }

    fn link(&self) -> TransactionLink {
        TransactionLink { txn: self.id, prev_lsn: self.entry.last_lsn }
    }

    /// What the encoded record costs of what was reserved.
    fn price(&self) -> u64 {
        self.manager.log().price(self.encoded.len())
    }

    /// Appends what is encoded; the line in the transaction table changes inside the append.
    fn append(&mut self, next: UndoNext, state: Option<TransactionState>) -> Result<Lsn> {
        let price = self.price();
        let spend = if self.reserved >= price { price } else { 0 };
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

/// Log to reserve for a redo-only update with an operation of `op_bytes` bytes of payload, at most.
#[must_use]
pub fn redo_only_price(log: &Log, op_bytes: usize) -> u64 {
    log.price(UPDATE_FIELDS + op_bytes)
}

/// Log that the compensation record takes which undoes an update so, if one does.
fn compensation_price(log: &Log, undo: &Undo<'_>) -> u64 {
    let op_bytes = match undo {
        Undo::RedoOnly => return 0,
        Undo::Physical(op) => op.encoded_len(),
        Undo::Key(undo) => undo::key_op(SlotId(0), &undo.action).encoded_len(),
    };
    log.price(COMPENSATION_FIELDS_BYTES + op_bytes)
}

/// Log that ending a transaction takes, whichever way.
fn ending_price(log: &Log) -> u64 {
    ENDING_RECORDS * log.price(ENDING_RECORD_BYTES)
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
