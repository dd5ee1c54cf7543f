//! B+trees: keys and values in the order of the keys.
//!
//! A tree is known by the page of its root, which never changes. Its leaves hold the cells and are linked both ways; inner
//! nodes say where which keys are ([`crate::page::tree`] has the bytes). Values too long for a leaf are in overflow pages.
//!
//! ```text
//!                        root  (splits downwards: its contents move to two new pages)
//!                  ┌───────┴────────┐
//!               inner             inner
//!             ┌───┴───┐         ┌───┴───┐
//!           leaf <-> leaf <-> leaf <-> leaf        a leaf is never empty, but for a root
//! ```
//!
//! # Who changes what
//!
//! - **Cells** are changed in their leaf, by ordinary updates whose undo is *by key*: until it rolls back, others may have
//!   moved the cell to another page ([`FindCells`] finds it again).
//! - **Structure changes** (a split, a new root, a leaf that is taken out) are each *one redo-only record* with every
//!   byte that they move and the pages that they allocate or free. They are never half done and never undone. One at a time in each tree.
//!
//! # Undo never fails for want of room
//!
//! A deleted cell stays as a *ghost*, and a cell whose value became shorter keeps its length, until nobody holds a lock
//! on its key: so what undo puts back has its place. Undoing an insert leaves a ghost, too. Ghosts are *purged* when their leaf is full,
//! or with their leaf when that holds nothing else.
//!
//! # Locks (logical, to the end of the transaction)
//!
//! Serialisable by strict two-phase locking: a shared lock on each key that is read, be it there or not, an exclusive one on each
//! that is written. What is read as a range is entered, leaf by leaf, as a *range* of the transaction ([`crate::lock`]): whoever
//! changes or inserts a key looks, under its leaf's latch, whether a range of another has it. A transaction with too many
//! ranges locks their keys, and keeps them from growing by shared locks on the *gaps* before the keys, and on the one
//! behind the last: whoever inserts asks for an intention lock on the gap that the key falls into.
//! A ghost is purged only when nobody has a lock on its key or on the gap before it, which then becomes part of the next.
//!
//! # Latches (physical, short)
//!
//! Descents couple: a child is latched before its parent is let go. Who walks along the leaves does so from left to right.
//! So at most two latches are held, but by structure changes, which hold those of all pages they change: from above
//! to below, then from left to right, then new pages, then the space map. No lock is waited for under a latch: it is tried,
//! and else waited for outside, and then everything is looked at again.
//!
//! Source: ARIES, section 10.3 (logical undo), 9 (nested top actions); C. Mohan and F. Levine, "ARIES/IM", SIGMOD 1992 (data-only
//! locks, structure changes); C. Mohan, "ARIES/KVL", VLDB 1990 (key-value locks).

mod cells;
mod check;
mod descend;
mod load;
mod locks;
#[cfg(all(test, loom))]
mod models;
mod overflow;
mod reclaim;
mod room;
mod scan;
mod split;
mod structure;

pub use check::{TreeReport, check_tree, each_cell, each_value};
pub use descend::{FindCells, leaf_of};
pub use locks::Locking;
pub use overflow::MAX_VALUE_BYTES;
pub use scan::{Direction, Scan, ScannedRef};

use crate::buffer::BufferPool;
use crate::error::{Error, Result};
use crate::ids::PageId;
use crate::page::tree::{self, Node, Place};
use crate::page::{PageOp, PageState};
use crate::space::SpaceMap;
use crate::sync::{Arc, Mutex};
use crate::txn::{Transaction, Undoing};

/// A tree of an open database. There must be one of these for each root.
pub struct Tree {
    root: PageId,
    /// Held by whoever changes the structure. Taken with no latch held.
    structure: Mutex<()>,
}

impl Tree {
    /// The tree with this root.
    #[must_use]
    pub fn new(root: PageId) -> Self {
        Self { root, structure: Mutex::default() }
    }

    /// The page of the root.
    #[must_use]
    pub fn root(&self) -> PageId {
        self.root
    }

    /// Makes an empty tree; if the transaction rolls back it is gone.
    ///
    /// # Errors
    /// Those of [`SpaceMap::allocate`].
    pub fn create(txn: &mut Transaction, space: &SpaceMap) -> Result<Self> {
        let root = space.allocate(txn)?;
        let manager = Arc::clone(txn.manager());
        let page_size = manager.pool().page_size();
        txn.prepare_update(page_size)?;
        let empty = tree::build(page_size, EMPTY, []);
        let mut page = manager.pool().fix_write(root)?;
        txn.update(&mut page, PageOp::image_of(&empty), Undoing::RedoOnly)?;
        Ok(Self::new(root))
    }
}

impl Tree {
    /// Makes the catalog: an empty tree that page 0 knows. That is never undone. Gives its root.
    ///
    /// # Errors
    /// [`Error::DiskFull`]; those of the pool.
    pub fn create_catalog(txn: &mut Transaction, space: &SpaceMap) -> Result<PageId> {
        txn.prepare_structure_change()?;
        loop {
            let manager = Arc::clone(txn.manager());
            let new = space.find_free(manager.locks(), 1)?;
            let mut page = space.pool().fix_write(new[0])?;
            let Some(mut maps) = space.latch_maps(manager.locks(), &new, PageState::Used)? else {
                continue;
            };
            let known = PageOp::SetState { entry: 0, state: PageState::Catalog(new[0]) };
            let known = PageOp::several(&[known]);
            match maps.iter_mut().find(|(map, _)| map.page() == PageId(0)) {
                Some((_, ops)) => ops.extend(known),
                None => maps.push((space.pool().fix_write(PageId(0))?, known)),
            }
            let empty = tree::build(space.pool().page_size(), EMPTY, []);
            let mut changes = vec![(&mut page, PageOp::image_of(&empty))];
            changes.extend(maps.iter_mut().map(|(map, ops)| (map, PageOp::Several { ops })));
            txn.change_structure(&mut changes)?;
            space.changed(&new, PageState::Used);
            return Ok(new[0]);
        }
    }
}

/// The root of a tree without cells.
const EMPTY: Node = Node::Leaf { previous: None, next: None };

/// A tree in the hands of a transaction.
pub struct TreeAccess<'t> {
    /// The tree.
    pub tree: &'t Tree,
    /// The transaction.
    pub txn: &'t mut Transaction,
    /// Where pages come from.
    pub space: &'t SpaceMap,
    /// What is locked.
    pub locking: Locking,
    /// Overflow pages that become free when the transaction commits.
    pub freed: &'t mut Vec<PageId>,
    /// Keys whose leaves hold nothing but ghosts, as far as was seen.
    pub emptied: &'t mut Vec<Vec<u8>>,
}

impl<'t> TreeAccess<'t> {
    fn pool(&self) -> &'t BufferPool {
        self.space.pool()
    }

    fn page_size(&self) -> usize {
        self.pool().page_size()
    }
}

/// A page that is no node of a tree, or not the one that belongs there.
fn not_a_node(pool: &BufferPool, page: PageId, expected: &str) -> Error {
    Error::corrupt(pool.place(page), expected, "something else")
}

fn node_of(pool: &BufferPool, page: PageId, bytes: &[u8]) -> Result<Node> {
    tree::node(bytes).ok_or_else(|| not_a_node(pool, page, "a node of a tree"))
}

/// Where a key stands in a node, or would.
fn place_of(pool: &BufferPool, page: PageId, bytes: &[u8], key: &[u8]) -> Result<Place> {
    sound(pool, page, tree::find(bytes, key))
}

/// Something that a page of a tree must hold.
fn sound<T>(pool: &BufferPool, page: PageId, held: Option<T>) -> Result<T> {
    held.ok_or_else(|| not_a_node(pool, page, "sound cells of a tree"))
}
