//! Reading, putting and deleting single cells.
//!
//! ```text
//!                 put: InsertAt          delete: MarkGhost
//!   no cell  ----------------->  live  --------------------->  ghost
//!      ^       undo: Remove       |  ^   undo: Revive             |
//!      |                          +--+                            |
//!      |                   put: Patch, ReplaceAt                  |
//!      |                   undo: Patch, in place                  |
//!      +----- purged, once nobody has a lock on its key ----------+
//! ```

use super::descend::{Leaf, Target, read_leaf, write_leaf};
use super::overflow::Stored;
use super::{TreeAccess, node_of, not_a_node, place_of, sound, tree};
use crate::buffer::{BufferPool, PageRead, PageWrite};
use crate::error::{Error, Result};
use crate::ids::{PageId, SlotId};
use crate::lock::{Acquired, LockName, Mode};
use crate::page::tree::{Cells, LeafCell, Place, Value, leaf_cell};
use crate::page::{self, OpFault, PageOp};
use crate::record::{KeyAction, KeyUndo};
use crate::txn::Undoing;

/// Log for more than the bytes of a cell: the fields of operations and undo.
const OP_FIELDS: usize = 64;

/// How a change of a leaf went.
enum Put {
    /// It is done; this value is not wanted any more.
    Done(Option<Stored>),
    /// The lock must be waited for, in this mode.
    Wait(LockName, Mode),
    /// The cell that is there is longer than the log reserved allows for.
    Reserve {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The leaf is too full.
    Full {
        /// Bytes that the cell needs, with its slot.
        needed: usize,
    },
}

impl TreeAccess<'_> {
    /// Refuses keys that no cell can have.
    pub(super) fn check_key(&self, key: &[u8]) -> Result<()> {
        let most = tree::max_key_bytes(self.page_size());
        if (1..=most).contains(&key.len()) {
            return Ok(());
        }
        let message = format!("a key of {} bytes: 1 to {most} are possible", key.len());
        Err(Error::InvalidInput(message))
    }

    /// The value of a key, which is locked in this mode.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a key that no cell can have; [`Error::Deadlock`], [`Error::LockTimeout`]; those of the pool.
    pub fn get(&mut self, key: &[u8], mode: Mode) -> Result<Option<Vec<u8>>> {
        self.check_key(key)?;
        self.lock(self.key_name(key), mode)?;
        let pool = self.pool();
        let leaf = loop {
            let leaf = read_leaf(pool, self.tree.root(), Target::Key(key))?;
            // Who is about to change the key waits for its readers now, and not, with them, for each other later.
            let readers = (mode == Mode::Exclusive).then(|| self.reader_of(key)).flatten();
            let Some(readers) = readers else { break leaf };
            drop(leaf);
            self.wait_to_change(key, readers)?;
        };
        let stored = match live_cell(pool, &leaf, key)? {
            None => return Ok(None),
            Some(cell) => Stored::of(&cell.value),
        };
        drop(leaf);
        stored.read(pool).map(Some)
    }

    /// Puts a value in place of the key's value, if it has one.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a key or a value that is too long; [`Error::Deadlock`], [`Error::LockTimeout`],
    /// [`Error::DiskFull`]; those of the pool. The caller rolls back to where the statement began.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.check_key(key)?;
        let acquired = self.lock(self.key_name(key), Mode::Exclusive)?;
        let may_be_own = acquired == Acquired::AlreadyHeld;
        let stored = self.store(key, value)?;
        let value = stored.value();
        let cell = leaf_cell(key, &value, 0);
        let mut reserved_for = cell.len();
        loop {
            self.txn.prepare_updates(2, reserved_for + OP_FIELDS)?;
            match self.try_put(key, &value, may_be_own, reserved_for)? {
                Put::Reserve { bytes } => reserved_for = bytes,
                Put::Done(replaced) => return replaced.map_or(Ok(()), |stored| self.free(&stored)),
                Put::Wait(name, Mode::Shared) => drop(self.lock(name, Mode::Shared)?),
                Put::Wait(name, _) => self.wait_to_change(key, name)?,
                Put::Full { needed } => self.make_room(key, needed)?,
            }
        }
    }

    fn try_put(
        &mut self,
        key: &[u8],
        value: &Value<'_>,
        may_be_own: bool,
        reserved_for: usize,
    ) -> Result<Put> {
        let pool = self.pool();
        let mut leaf = write_leaf(pool, self.tree.root(), Target::Key(key))?;
        if let Some(readers) = self.reader_of(key) {
            return Ok(Put::Wait(readers, Mode::IntentionExclusive));
        }
        match place_of(pool, leaf.page, leaf.guard.bytes(), key)? {
            Place::Before(slot) => self.insert(pool, &mut leaf, slot, (key, value)),
            Place::At(slot) => {
                let cell = sound(pool, leaf.page, tree::leaf(leaf.guard.bytes(), slot))?;
                match cell.is_ghost {
                    _ if cell.bytes.len() > reserved_for => {
                        Ok(Put::Reserve { bytes: cell.bytes.len() })
                    }
                    false => self.replace(&mut leaf.guard, slot, (key, value)),
                    true => self.bring_back(&mut leaf.guard, slot, (key, value), may_be_own),
                }
            }
        }
    }

    /// Inserts a cell before `slot`, where there is none with its key.
    fn insert(
        &mut self,
        pool: &BufferPool,
        leaf: &mut Leaf<PageWrite<'_>>,
        slot: u16,
        (key, value): (&[u8], &Value<'_>),
    ) -> Result<Put> {
        let gap = self.gap_at(pool, leaf.page, leaf.guard.bytes(), slot)?;
        if !self.may_insert(gap) {
            return Ok(Put::Wait(gap, Mode::IntentionExclusive));
        }
        let bytes = leaf_cell(key, value, 0);
        let op = PageOp::InsertAt { slot: SlotId(slot), bytes: &bytes };
        if let Some(full) = is_full(&op, &leaf.guard, bytes.len()) {
            return Ok(full);
        }
        // Of the gap that the key divides, this transaction may rely on both parts.
        let locks = self.txn.manager().locks();
        let own = self.gap_name(Some(key));
        if locks.holds(self.txn.id(), gap, Mode::Shared) && !self.try_lock(own, Mode::Shared) {
            return Ok(Put::Wait(own, Mode::Shared));
        }
        self.txn.update(&mut leaf.guard, op, self.undo(key, KeyAction::Remove))?;
        Ok(Put::Done(None))
    }

    /// The gap before `slot`, which may be that before the first cell of the next leaf.
    pub(super) fn gap_at(
        &self,
        pool: &BufferPool,
        page: PageId,
        bytes: &[u8],
        slot: u16,
    ) -> Result<LockName> {
        if slot < tree::slot_count(bytes) {
            let cell = sound(pool, page, tree::leaf(bytes, slot))?;
            return Ok(self.gap_name(Some(cell.key)));
        }
        let tree::Node::Leaf { next, .. } = node_of(pool, page, bytes)? else {
            return Err(not_a_node(pool, page, "a leaf"));
        };
        let Some(next) = next else { return Ok(self.gap_name(None)) };
        let beside = pool.fix_read(next)?;
        let cell = sound(pool, next, tree::leaf(beside.bytes(), tree::FIRST_CELL))?;
        Ok(self.gap_name(Some(cell.key)))
    }

    fn undo<'u>(&self, key: &'u [u8], action: KeyAction<'u>) -> Undoing<'u> {
        Undoing::Key(KeyUndo { tree: self.tree.root(), key, action })
    }

    /// Puts a value in place of a live cell's.
    fn replace(
        &mut self,
        guard: &mut PageWrite<'_>,
        slot: u16,
        (key, value): (&[u8], &Value<'_>),
    ) -> Result<Put> {
        let cell = tree::leaf(guard.bytes(), slot).expect("looked at before");
        let replaced = Stored::elsewhere(&cell.value);
        let (before, value_at) = (cell.bytes.to_vec(), cell.value_at);
        let after = leaf_cell(key, value, before.len());
        let slot = SlotId(slot);
        if after.len() > before.len() {
            let op = PageOp::ReplaceAt { slot, bytes: &after };
            if let Some(full) = is_full(&op, guard, after.len()) {
                return Ok(full);
            }
            let offset = u16::try_from(value_at).expect("within a page");
            let action = KeyAction::Patch { offset, bytes: &before[value_at..] };
            self.txn.update(guard, op, self.undo(key, action))?;
        } else if let Some(range) = page::difference(&before, &after) {
            let offset = u16::try_from(range.start).expect("within a page");
            let op = PageOp::Patch { slot, offset, bytes: &after[range.clone()] };
            let action = KeyAction::Patch { offset, bytes: &before[range] };
            self.txn.update(guard, op, self.undo(key, action))?;
        }
        Ok(Put::Done(replaced))
    }

    /// Makes a ghost a live cell with this value. If the transaction may have deleted it itself, its bytes are still
    /// wanted by the undo of that.
    fn bring_back(
        &mut self,
        guard: &mut PageWrite<'_>,
        slot: u16,
        (key, value): (&[u8], &Value<'_>),
        may_be_own: bool,
    ) -> Result<Put> {
        let ghost = tree::leaf(guard.bytes(), slot).expect("looked at before");
        let bytes = leaf_cell(key, value, if may_be_own { ghost.bytes.len() } else { 0 });
        let slot_id = SlotId(slot);
        let op = PageOp::ReplaceAt { slot: slot_id, bytes: &bytes };
        if let Some(full) = is_full(&op, guard, bytes.len()) {
            return Ok(full);
        }
        if !may_be_own {
            self.txn.update(guard, op, self.undo(key, KeyAction::Remove))?;
            return Ok(Put::Done(None));
        }
        let live = PageOp::ClearGhost { slot: slot_id };
        self.txn.update(guard, live, self.undo(key, KeyAction::Remove))?;
        self.replace(guard, slot, (key, value))?;
        // What the ghost's value was is freed by the delete, or was never this transaction's.
        Ok(Put::Done(None))
    }

    /// Deletes a key; gives whether it was there.
    ///
    /// # Errors
    /// As [`TreeAccess::put`].
    pub fn delete(&mut self, key: &[u8]) -> Result<bool> {
        self.check_key(key)?;
        self.lock(self.key_name(key), Mode::Exclusive)?;
        self.txn.prepare_updates(1, key.len() + OP_FIELDS)?;
        let pool = self.pool();
        let (mut leaf, slot) = loop {
            let leaf = write_leaf(pool, self.tree.root(), Target::Key(key))?;
            let place = place_of(pool, leaf.page, leaf.guard.bytes(), key)?;
            let Place::At(slot) = place else { return Ok(false) };
            match self.reader_of(key) {
                None => break (leaf, slot),
                Some(readers) => {
                    drop(leaf);
                    self.wait_to_change(key, readers)?;
                }
            }
        };
        let cell = sound(pool, leaf.page, tree::leaf(leaf.guard.bytes(), slot))?;
        if cell.is_ghost {
            return Ok(false);
        }
        let stored = Stored::elsewhere(&cell.value);
        let op = PageOp::MarkGhost { slot: SlotId(slot) };
        self.txn.update(&mut leaf.guard, op, self.undo(key, KeyAction::Revive))?;
        if tree::cells(leaf.guard.bytes()).all(|(_, is_ghost)| is_ghost) {
            self.emptied.push(key.to_vec());
        }
        drop(leaf);
        stored.map_or(Ok(()), |stored| self.free(&stored))?;
        Ok(true)
    }
}

/// The live cell with this key, if the leaf has it.
fn live_cell<'l>(
    pool: &BufferPool,
    leaf: &'l Leaf<PageRead<'_>>,
    key: &[u8],
) -> Result<Option<LeafCell<'l>>> {
    let cells = sound(pool, leaf.page, Cells::of(leaf.guard.bytes()))?;
    match sound(pool, leaf.page, cells.find(key))? {
        Place::Before(_) => Ok(None),
        Place::At(slot) => {
            let cell = sound(pool, leaf.page, cells.leaf(slot))?;
            Ok((!cell.is_ghost).then_some(cell))
        }
    }
}

/// Whether the page has no room for what the operation puts there.
fn is_full(op: &PageOp<'_>, guard: &PageWrite<'_>, bytes: usize) -> Option<Put> {
    let no_room = matches!(op.check(guard.bytes()), Err(OpFault::NoRoom { .. }));
    no_room.then_some(Put::Full { needed: bytes + page::SLOT_SIZE })
}
