//! From the root to a leaf, with one latch taken before the other is let go.

use super::{Node, node_of, not_a_node, place_of, sound, tree};
use crate::buffer::{BufferPool, PageRead, PageWrite};
use crate::error::{Error, Result};
use crate::ids::{PageId, SlotId};
use crate::page::tree::{Cells, Place};
use crate::sync::{Rule, broken};
use crate::txn::LogicalUndo;

/// Which leaf is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target<'k> {
    /// The one where this key is, or would be.
    Key(&'k [u8]),
    /// The one where keys just below this one are, or would be.
    Below(&'k [u8]),
    /// The first.
    First,
    /// The last.
    Last,
}

impl Target<'_> {
    /// The slot of an inner node that leads there, and the child; slot 0 is the first child.
    pub fn child(self, cells: Cells<'_>) -> Option<(u16, PageId)> {
        let Node::Inner { first_child, .. } = cells.node() else { return None };
        let slot = match self {
            Self::First => 0,
            Self::Last => cells.slot_count().checked_sub(1)?,
            Self::Key(key) => match cells.find(key)? {
                Place::At(slot) => slot,
                Place::Before(slot) => slot - 1,
            },
            Self::Below(key) => cells.find(key)?.slot() - 1,
        };
        if slot < tree::FIRST_CELL {
            return Some((0, first_child));
        }
        Some((slot, cells.inner(slot)?.1))
    }
}

/// A page on the way down: read, or, if it is a leaf, as it is wanted.
enum Latched<'p> {
    Read(PageRead<'p>),
    Write(PageWrite<'p>),
}

impl Latched<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Read(page) => page.bytes(),
            Self::Write(page) => page.bytes(),
        }
    }
}

/// A leaf, with its number.
pub(super) struct Leaf<G> {
    pub page: PageId,
    pub guard: G,
}

/// Goes down. What is visited above the leaf is told: the page, and the slot that leads on.
fn descend<'p>(
    pool: &'p BufferPool,
    root: PageId,
    target: Target<'_>,
    write: bool,
    mut visit: impl FnMut(PageId, u16),
) -> Result<(PageId, Latched<'p>)> {
    let mut page = root;
    let mut guard = Latched::Read(pool.fix_read(root)?);
    let mut level = node_of(pool, root, guard.bytes())?.level();
    if level == 0 && write {
        drop(guard);
        guard = Latched::Write(pool.fix_write(root)?);
        if !broken(Rule::RootLookedAtAgain) {
            level = node_of(pool, root, guard.bytes())?.level();
        }
    }
    // (A root that was a leaf may have become an inner node meanwhile: it is latched too strictly then, no more.)
    loop {
        let cells = Cells::of(guard.bytes()).filter(|cells| cells.node().level() == level);
        let Some(cells) = cells else {
            return Err(not_a_node(pool, page, &format!("a node of level {level}")));
        };
        if level == 0 {
            return Ok((page, guard));
        }
        let (slot, child) = sound(pool, page, target.child(cells))?;
        visit(page, slot);
        if broken(Rule::ChildBeforeParentIsLeft) {
            drop(guard);
        }
        level -= 1;
        let below = match level == 0 && write {
            true => Latched::Write(pool.fix_write(child)?),
            false => Latched::Read(pool.fix_read(child)?),
        };
        (page, guard) = (child, below);
    }
}

/// The leaf, latched shared.
pub(super) fn read_leaf<'p>(
    pool: &'p BufferPool,
    root: PageId,
    target: Target<'_>,
) -> Result<Leaf<PageRead<'p>>> {
    match descend(pool, root, target, false, |_, _| {})? {
        (page, Latched::Read(guard)) => Ok(Leaf { page, guard }),
        (_, Latched::Write(_)) => unreachable!("nothing was to be written"),
    }
}

/// The leaf, latched exclusively.
pub(super) fn write_leaf<'p>(
    pool: &'p BufferPool,
    root: PageId,
    target: Target<'_>,
) -> Result<Leaf<PageWrite<'p>>> {
    match descend(pool, root, target, true, |_, _| {})? {
        (page, Latched::Write(guard)) => Ok(Leaf { page, guard }),
        (_, Latched::Read(_)) => unreachable!("a leaf is latched to be written"),
    }
}

/// The page of the leaf where a key is, or would be.
///
/// # Errors
/// Those of the pool.
pub fn leaf_of(pool: &BufferPool, root: PageId, key: &[u8]) -> Result<PageId> {
    Ok(read_leaf(pool, root, Target::Key(key))?.page)
}

/// The way to a leaf: each inner node with the slot that leads on, the root first; and the leaf. It stays so as long as
/// whoever asked keeps others from changing the structure.
pub(super) fn path(
    pool: &BufferPool,
    root: PageId,
    target: Target<'_>,
) -> Result<(Vec<(PageId, u16)>, PageId)> {
    let mut path = Vec::new();
    let (leaf, _) = descend(pool, root, target, false, |page, slot| path.push((page, slot)))?;
    Ok((path, leaf))
}

/// Finds cells for undo.
pub struct FindCells;

impl LogicalUndo for FindCells {
    fn find<'p>(
        &self,
        pool: &'p BufferPool,
        tree: PageId,
        key: &[u8],
    ) -> Result<(PageWrite<'p>, SlotId)> {
        let Leaf { page, guard } = write_leaf(pool, tree, Target::Key(key))?;
        match place_of(pool, page, guard.bytes(), key)? {
            Place::At(slot) => Ok((guard, SlotId(slot))),
            Place::Before(_) => {
                let expected = format!("the cell with the key \"{}\"", key.escape_ascii());
                Err(Error::corrupt(pool.place(page), expected, "none"))
            }
        }
    }
}
