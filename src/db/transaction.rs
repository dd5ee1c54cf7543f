//! A transaction on pages: allocating and freeing them, and inserting, reading, writing and
//! deleting records in their slots.

use std::collections::HashSet;
use std::ops::{Deref, DerefMut};

use super::Shared;
use super::tables::{Table, TableLocks};
use super::unlogged::Admission;
use crate::error::{Error, Result};
use crate::ids::{Lsn, PageId, SlotId, TxnId};
use crate::lock::{LockName, Mode};
use crate::page::{self, OpFault, PageKind, PageOp, SlotState};
use crate::space::PendingFrees;
use crate::sync::Arc;
use crate::tables::TransactionEntry;
use crate::txn::{self, CommitTicket, Savepoint, Undoing};

/// Payload of an operation that names only a slot (bytes).
const SLOT_OP_BYTES: usize = 16;

/// A transaction. Dropped without an end, it is rolled back.
///
/// Each record that it reads or changes is locked, shared or exclusive, until it ends; who cannot
/// get a lock waits, and the one whose waiting would close a circle gets [`Error::Deadlock`]: it
/// should roll back and try again. So should who waited longer than
/// [`Options::lock_timeout`](super::Options::lock_timeout) allows, and gets [`Error::LockTimeout`].
pub struct Transaction {
    pub(super) shared: Arc<Shared>,
    pub(super) txn: txn::Transaction,
    /// Pages it freed, for the commit. Some may have been un-freed by a partial rollback.
    pub(super) freed: Vec<PageId>,
    /// Pages that it saw allocated, and that are since.
    seen: HashSet<PageId>,
    pub(super) table_locks: TableLocks,
    /// Leaves that hold nothing but ghosts, by a key that belongs into each: to be taken out of their trees later.
    pub(super) emptied: Vec<(Table, Vec<u8>)>,
    /// The last to be dropped: the transaction has ended by then.
    _admission: Option<Admission>,
}

impl Transaction {
    pub(super) fn new(
        shared: Arc<Shared>,
        txn: txn::Transaction,
        admission: Option<Admission>,
    ) -> Self {
        let (freed, seen) = (Vec::new(), HashSet::new());
        let (table_locks, emptied) = (TableLocks::default(), Vec::new());
        Self { shared, txn, freed, seen, table_locks, emptied, _admission: admission }
    }

    /// Tells of the leaves that it emptied.
    fn tell_emptied(shared: &Shared, emptied: Vec<(Table, Vec<u8>)>) {
        emptied.into_iter().for_each(|(table, key)| shared.note_emptied(&table, key));
    }

    /// The transaction's number.
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.txn.id()
    }

    /// Its line in the transaction table.
    #[must_use]
    pub fn entry(&self) -> &TransactionEntry {
        self.txn.entry()
    }

    pub(super) fn lock(&self, name: LockName, mode: Mode) -> Result<()> {
        self.shared.check_open()?;
        let manager = self.txn.manager();
        manager.log().poison().check()?;
        manager.locks().lock(self.id(), name, mode)?;
        manager.log().poison().check()
    }

    /// Keeps the page from being freed or allocated by others, and sees that it is allocated.
    fn use_page(&mut self, page: PageId) -> Result<()> {
        self.lock(LockName::PageExistence(page), Mode::Shared)?;
        if !self.seen.contains(&page) {
            self.shared.engine.space.require_used(page)?;
            self.shared.refuse_tables(page)?;
            self.seen.insert(page);
        }
        Ok(())
    }

    /// Allocates a page for records.
    ///
    /// # Errors
    /// [`Error::DiskFull`] is an ordinary error: the transaction can go on, commit or roll back.
    pub fn allocate_page(&mut self) -> Result<PageId> {
        self.shared.check_open()?;
        let page = self.shared.engine.space.allocate(&mut self.txn)?;
        self.seen.insert(page);
        Ok(page)
    }

    /// Frees a page: others may allocate it once this transaction has committed. Its records are
    /// gone with it.
    ///
    /// # Errors
    /// [`Error::NoSuchPage`], [`Error::Deadlock`].
    pub fn free_page(&mut self, page: PageId) -> Result<()> {
        self.use_page(page)?;
        self.lock(LockName::PageExistence(page), Mode::Exclusive)?;
        self.shared.engine.space.free(&mut self.txn, page)?;
        self.seen.remove(&page);
        self.freed.push(page);
        Ok(())
    }

    /// Inserts a record into some slot of the page.
    ///
    /// # Errors
    /// [`Error::PageFull`], [`Error::NoSuchPage`], [`Error::InvalidInput`] for an empty record,
    /// [`Error::DiskFull`].
    pub fn insert_record(&mut self, page: PageId, bytes: &[u8]) -> Result<SlotId> {
        if bytes.is_empty() {
            return Err(Error::InvalidInput("a record has at least one byte".into()));
        }
        self.use_page(page)?;
        self.check_room(page, bytes.len())?;
        loop {
            self.txn.prepare_updates(2, bytes.len())?;
            match self.try_insert(page, bytes)? {
                Inserted::At(slot) => return Ok(slot),
                // Waited for without the latch; then all is looked at anew.
                Inserted::Wait(slot) => self.lock(LockName::Record(page, slot), Mode::Exclusive)?,
            }
        }
    }

    /// Inserts into the first slot that can be locked at once.
    fn try_insert(&mut self, page: PageId, bytes: &[u8]) -> Result<Inserted> {
        let shared = Arc::clone(&self.shared);
        let mut guard = shared.engine.transactions.pool().fix_write(page)?;
        if page::kind(guard.bytes()) == Some(PageKind::Unformatted) {
            let op = PageOp::Format { kind: PageKind::Slotted };
            self.txn.update(&mut guard, op, Undoing::RedoOnly)?;
        }
        let new = page::slots(guard.bytes()).count();
        let new = u16::try_from(new).ok().map(SlotId);
        let mut full = Error::PageFull { page, needed: bytes.len(), available: 0 };
        let mut wait = None;
        let slots: Vec<SlotId> = page::free_slots(guard.bytes()).chain(new).collect();
        for slot in slots {
            let op = PageOp::InsertSlot { slot, bytes };
            if let Err(OpFault::NoRoom { needed, available }) = op.check(guard.bytes()) {
                full = Error::PageFull { page, needed, available };
                continue;
            }
            let name = LockName::Record(page, slot);
            if shared.engine.transactions.locks().try_lock(self.id(), name, Mode::Exclusive) {
                self.txn.update(&mut guard, op, Undoing::Inverse)?;
                return Ok(Inserted::At(slot));
            }
            wait = Some(slot);
        }
        wait.map(Inserted::Wait).ok_or(full)
    }

    /// Sees that a record of `length` bytes may fit, purging ghosts if it does not.
    fn check_room(&mut self, page: PageId, length: usize) -> Result<()> {
        let ghosts = {
            let guard = self.shared.engine.transactions.pool().fix_read(page)?;
            let page_bytes = guard.bytes().len();
            if length >= page_bytes {
                let available = page_bytes - page::HEADER_SIZE - page::SLOT_SIZE;
                return Err(Error::PageFull { page, needed: length, available });
            }
            let unformatted = page::kind(guard.bytes()) == Some(PageKind::Unformatted);
            // In a new slot: one that is free may be locked, and is not worth waiting for.
            if unformatted || page::room_for(guard.bytes(), length + page::SLOT_SIZE) {
                return Ok(());
            }
            page::slots(guard.bytes()).filter(|(_, state, _)| *state == SlotState::Ghost).count()
        };
        self.purge_ghosts(page, ghosts)
    }

    /// Removes up to `most` records whose deleters have ended: nobody holds a lock on them.
    fn purge_ghosts(&mut self, page: PageId, most: usize) -> Result<()> {
        self.txn.prepare_updates(most, SLOT_OP_BYTES)?;
        let shared = Arc::clone(&self.shared);
        let mut guard = shared.engine.transactions.pool().fix_write(page)?;
        let locks = shared.engine.transactions.locks();
        let purgeable: Vec<SlotId> = page::slots(guard.bytes())
            .filter(|(slot, state, _)| {
                *state == SlotState::Ghost && !locks.is_locked(LockName::Record(page, *slot))
            })
            .map(|(slot, _, _)| slot)
            .take(most)
            .collect();
        for slot in purgeable {
            self.txn.update(&mut guard, PageOp::RemoveSlot { slot }, Undoing::RedoOnly)?;
        }
        Ok(())
    }

    /// Reads a record; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::NoSuchPage`], [`Error::Deadlock`], [`Error::Corrupt`].
    pub fn read_record(&mut self, page: PageId, slot: SlotId) -> Result<Option<Vec<u8>>> {
        self.use_page(page)?;
        self.lock(LockName::Record(page, slot), Mode::Shared)?;
        let guard = self.shared.engine.transactions.pool().fix_read(page)?;
        Ok(page::record(guard.bytes(), slot).map(<[u8]>::to_vec))
    }

    /// Overwrites bytes of a record, from byte `offset` of it on. Only what differs is logged. A
    /// record keeps its length.
    ///
    /// # Errors
    /// [`Error::NoSuchRecord`], [`Error::InvalidInput`] when the bytes reach beyond the record,
    /// [`Error::NoSuchPage`], [`Error::Deadlock`], [`Error::DiskFull`].
    pub fn write_record(
        &mut self,
        page: PageId,
        slot: SlotId,
        offset: usize,
        bytes: &[u8],
    ) -> Result<()> {
        self.use_page(page)?;
        self.lock(LockName::Record(page, slot), Mode::Exclusive)?;
        let page_size = self.shared.engine.transactions.pool().page_size();
        if bytes.len() > page_size {
            let message = format!("{} bytes reach beyond any record of a page", bytes.len());
            return Err(Error::InvalidInput(message));
        }
        self.txn.prepare_update(bytes.len())?;
        let shared = Arc::clone(&self.shared);
        let mut guard = shared.engine.transactions.pool().fix_write(page)?;
        let record = page::record(guard.bytes(), slot).ok_or(Error::NoSuchRecord { page, slot })?;
        let end = offset.saturating_add(bytes.len());
        let old = record.get(offset..end).ok_or_else(|| {
            let length = record.len();
            Error::InvalidInput(format!(
                "bytes {offset}..{end} reach beyond record {page}.{slot} of {length} bytes"
            ))
        })?;
        let Some(range) = page::difference(old, bytes) else { return Ok(()) };
        let offset = u16::try_from(offset + range.start).expect("within a page");
        let changed = &bytes[range];
        self.txn.update(
            &mut guard,
            PageOp::Patch { slot, offset, bytes: changed },
            Undoing::Inverse,
        )?;
        Ok(())
    }

    /// Deletes a record. Its room can be used once this transaction has ended.
    ///
    /// # Errors
    /// [`Error::NoSuchRecord`], [`Error::NoSuchPage`], [`Error::Deadlock`], [`Error::DiskFull`].
    pub fn delete_record(&mut self, page: PageId, slot: SlotId) -> Result<()> {
        self.use_page(page)?;
        self.lock(LockName::Record(page, slot), Mode::Exclusive)?;
        self.txn.prepare_update(SLOT_OP_BYTES)?;
        let shared = Arc::clone(&self.shared);
        let mut guard = shared.engine.transactions.pool().fix_write(page)?;
        if page::record(guard.bytes(), slot).is_none() {
            return Err(Error::NoSuchRecord { page, slot });
        }
        self.txn.update(&mut guard, PageOp::MarkGhost { slot }, Undoing::Inverse)?;
        Ok(())
    }

    /// The slots of the page that hold records now. Not locked: others may add and remove some.
    ///
    /// # Errors
    /// [`Error::NoSuchPage`], [`Error::Corrupt`].
    pub fn slots(&mut self, page: PageId) -> Result<Vec<SlotId>> {
        self.use_page(page)?;
        let guard = self.shared.engine.transactions.pool().fix_read(page)?;
        let live = page::slots(guard.bytes()).filter(|(_, state, _)| *state == SlotState::Live);
        Ok(live.map(|(slot, _, _)| slot).collect())
    }

    /// Marks this moment: [`Transaction::rollback_to`] comes back to it, any number of times.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn savepoint(&self) -> Result<Savepoint> {
        self.shared.check_open()?;
        Ok(self.txn.savepoint())
    }

    /// Undoes everything since the savepoint. Locks stay.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for another transaction's savepoint; final errors.
    pub fn rollback_to(&mut self, savepoint: Savepoint) -> Result<()> {
        self.shared.check_open()?;
        self.seen.clear(); // Allocations may be undone.
        self.txn.rollback_to(savepoint)
    }

    /// Begins a nested top action: what is done through the guard stays once
    /// [`NestedTopAction::end`] was called, even if the transaction rolls back. It may change pages and records, no
    /// tables.
    ///
    /// # Errors
    /// [`Error::DiskFull`].
    pub fn nested_top_action(&mut self) -> Result<NestedTopAction<'_>> {
        self.shared.check_open()?;
        self.txn.begin_nested()?;
        let freed_before = self.freed.len();
        Ok(NestedTopAction { txn: self, freed_before, ended: false })
    }

    /// Commits; returns, with the commit record's LSN, when it is durable.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the log could not be forced; [`Error::Poisoned`] if the engine
    /// stopped before.
    pub fn commit(self) -> Result<Lsn> {
        self.shared.check_open()?;
        let Self { shared, txn, freed, emptied, .. } = self;
        let committed = txn.commit(&PendingFrees::new(&shared.engine.space, &freed));
        Self::tell_emptied(&shared, emptied);
        committed
    }

    /// Commits without waiting: the ticket tells when the commit is durable. Others see what was
    /// changed at once; should power fail now, they are lost together with this transaction.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    pub fn commit_deferred(self) -> Result<CommitTicket> {
        self.shared.check_open()?;
        let Self { shared, txn, freed, emptied, .. } = self;
        let committed = txn.commit_deferred(&PendingFrees::new(&shared.engine.space, &freed));
        Self::tell_emptied(&shared, emptied);
        committed
    }

    /// Promises that the transaction can commit, and can still be rolled back: the first phase of
    /// two-phase commit. Durable on return; gives the LSN of the prepare record.
    ///
    /// From then on the transaction is *in doubt*, across crashes and restarts, until somebody calls
    /// [`Db::commit_prepared`](super::Db::commit_prepared) or
    /// [`Db::rollback_prepared`](super::Db::rollback_prepared) with `global_id` (1 to 200 bytes, of the
    /// coordinator's choice, and of no other transaction in doubt). Until then it keeps its exclusive
    /// locks, so others may have to wait, and all log since its first record.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a global id of a wrong length or in use, and without a log
    /// ([`Durability::Off`](crate::config::Durability::Off)); [`Error::DiskFull`]: the transaction is rolled back then, as when it is dropped. [`Error::OutcomeUnknown`] if the log could
    /// not be forced: after reopening it is in doubt, or rolled back.
    pub fn prepare(self, global_id: &[u8]) -> Result<Lsn> {
        self.shared.check_open()?;
        if self.shared.unlogged.is_some() {
            let message =
                "what nothing is logged of cannot be prepared: it would not survive a crash";
            return Err(Error::InvalidInput(message.into()));
        }
        let Self { txn, freed, .. } = self;
        txn.prepare(global_id, !freed.is_empty())
    }

    /// Undoes everything and ends the transaction.
    ///
    /// # Errors
    /// Final ones: restart finishes the rollback then.
    pub fn rollback(self) -> Result<()> {
        self.shared.check_open()?;
        self.txn.rollback()
    }
}

/// How an insert went.
enum Inserted {
    /// The record is in this slot.
    At(SlotId),
    /// Every slot that would do is locked by others, this one last: whoever emptied it may not have
    /// ended.
    Wait(SlotId),
}

/// A nested top action under way. Dropped without [`NestedTopAction::end`], its work is an ordinary
/// part of the transaction.
#[must_use = "a nested top action counts only when it is ended"]
pub struct NestedTopAction<'t> {
    txn: &'t mut Transaction,
    /// Pages that the transaction had freed before the action.
    freed_before: usize,
    ended: bool,
}

impl NestedTopAction<'_> {
    /// Ends the action: what it did is not undone any more when the transaction rolls back. It is
    /// durable with the next force of the log, not before. Pages it freed are free when the
    /// transaction has ended, whichever way.
    ///
    /// # Errors
    /// [`Error::DiskFull`]: the action is not ended then, but an ordinary part of the transaction.
    /// Final ones.
    pub fn end(mut self) -> Result<()> {
        let Transaction { shared, txn, freed, .. } = &mut *self.txn;
        for page in &freed[self.freed_before..] {
            shared.engine.space.free_at_once(txn, *page)?;
        }
        self.ended = true;
        txn.end_nested()
    }
}

impl Drop for NestedTopAction<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.txn.txn.abandon_nested();
        }
    }
}

impl Deref for NestedTopAction<'_> {
    type Target = Transaction;

    fn deref(&self) -> &Transaction {
        self.txn
    }
}

impl DerefMut for NestedTopAction<'_> {
    fn deref_mut(&mut self) -> &mut Transaction {
        self.txn
    }
}

#[cfg(test)]
mod tests {
    /// The part of `new` that differs, and how many bytes come before it.
    fn difference<'n>(old: &[u8], new: &'n [u8]) -> Option<(usize, &'n [u8])> {
        crate::page::difference(old, new).map(|range| (range.start, &new[range]))
    }

    #[test]
    fn only_what_differs_is_logged() {
        assert_eq!(difference(b"abcdef", b"abXYef"), Some((2, &b"XY"[..])));
        assert_eq!(difference(b"abcdef", b"abcdef"), None);
        assert_eq!(difference(b"aaaa", b"aaba"), Some((2, &b"b"[..])));
        assert_eq!(difference(b"a", b"b"), Some((0, &b"b"[..])));
    }
}
