//! Room in a full leaf: what nobody wants any more is purged; if that is not enough, pages are split.
//!
//! ```text
//!   purge:   ghost, cell with slack, cell   →   cell (shorter), cell       one redo-only record of the leaf
//!   split:   from the root down, each node on the way that a separator would not fit into; the leaf last
//! ```
//!
//! A node is split into a parent that has room for the separator: so no split needs another, and each is a record of its own that
//! leaves a sound tree.

use super::descend::{Target, path};
use super::{TreeAccess, node_of, not_a_node, sound, tree};
use crate::error::Result;
use crate::ids::{PageId, SlotId};
use crate::page::tree::leaf_cell;
use crate::page::{PageOp, SLOT_SIZE, free_bytes};
use crate::txn::Undoing;

impl TreeAccess<'_> {
    /// Makes room for a cell with this key, of so many bytes with its slot, in whatever leaf it belongs to. Others may take it
    /// again: then this is called once more. With no latch held.
    pub(super) fn make_room(&mut self, key: &[u8], needed: usize) -> Result<()> {
        let tree = self.tree;
        let _structure = tree.structure.lock();
        loop {
            self.txn.prepare_structure_change()?;
            let pool = self.pool();
            let (way, leaf) = path(pool, tree.root(), Target::Key(key))?;
            if self.purge(leaf)? >= needed {
                return Ok(());
            }
            // The first node on the way that may be too full for a separator is split; then the way is another.
            let most = tree::max_inner_bytes(self.page_size());
            let mut full = None;
            for (nth, (page, _)) in way.iter().enumerate() {
                let guard = pool.fix_read(*page)?;
                if room_in(guard.bytes()) < most {
                    full = Some(nth);
                    break;
                }
            }
            match full {
                Some(nth) => self.split_inner(&way[..=nth])?,
                None => {
                    self.split_leaf(&way, leaf, key, needed)?;
                    return Ok(());
                }
            }
        }
    }

    /// Removes ghosts that nobody wants back, and slack, from a leaf, but leaves a cell in it. Gives how many bytes are free then, for a
    /// cell and its slot.
    fn purge(&mut self, leaf: PageId) -> Result<usize> {
        let pool = self.pool();
        let mut guard = pool.fix_write(leaf)?;
        if node_of(pool, leaf, guard.bytes())?.level() > 0 {
            return Err(not_a_node(pool, leaf, "a leaf"));
        }
        let mut ops = Vec::new();
        let mut left = tree::slot_count(guard.bytes()) - tree::FIRST_CELL;
        // From the last on, so that slots stay as they are until it is their turn.
        for slot in (tree::FIRST_CELL..tree::slot_count(guard.bytes())).rev() {
            let cell = sound(pool, leaf, tree::leaf(guard.bytes(), slot))?;
            let slot = SlotId(slot);
            if cell.is_ghost && left > 1 && self.is_forgotten(cell.key) {
                ops.extend(PageOp::several(&[PageOp::RemoveAt { slot }]));
                left -= 1;
            } else if cell.bytes.len() > cell.needed()
                && !cell.is_ghost
                && self.is_settled(cell.key)
            {
                let bytes = leaf_cell(cell.key, &cell.value, 0);
                ops.extend(PageOp::several(&[PageOp::ReplaceAt { slot, bytes: &bytes }]));
            }
        }
        if !ops.is_empty() {
            self.txn.update(&mut guard, PageOp::Several { ops: &ops }, Undoing::RedoOnly)?;
        }
        Ok(room_in(guard.bytes()))
    }
}

/// Bytes for a cell and its slot that are free in a node.
pub(super) fn room_in(page: &[u8]) -> usize {
    // (None of its slots is free: a cell needs a new one.)
    match free_bytes(page) {
        0 => 0,
        bytes => bytes + SLOT_SIZE,
    }
}
