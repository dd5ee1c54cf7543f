//! Taking leaves out of the tree that hold nothing but ghosts which nobody wants back.
//!
//! ```text
//!            parent: … a X b Y c Z …                   parent: … a X c Z …
//!                      |   |   |              →                  |   |
//!               X <-> Y <-> Z                             X <-------> Z      Y is free
//! ```
//!
//! With the leaf go the inner nodes above it that lead to nothing else. A root that leads to one node only takes that
//! node's place. All of it is one record each.

use super::descend::{Target, path};
use super::split::link_op;
use super::{EMPTY, Node, TreeAccess, node_of, not_a_node, sound, tree};
use crate::buffer::{BufferPool, PageWrite};
use crate::error::Result;
use crate::ids::{PageId, SlotId};
use crate::page::{PageKind, PageOp, PageState};
use crate::sync::{Rule, broken};

const UNFORMATTED: PageOp<'static> = PageOp::Format { kind: PageKind::Unformatted };

fn stored(page: Option<PageId>) -> [u8; 8] {
    page.map_or(0, |page| page.0).to_le_bytes()
}

impl TreeAccess<'_> {
    /// Takes the leaf out where `key` belongs, if nobody wants anything of it. Gives whether it did.
    ///
    /// # Errors
    /// [`crate::Error::DiskFull`] when the log has no room; those of the pool.
    pub fn reclaim(&mut self, key: &[u8]) -> Result<bool> {
        let tree = self.tree;
        let _structure = tree.structure.lock();
        self.txn.prepare_structure_change()?;
        let (way, leaf) = path(self.pool(), tree.root(), Target::Key(key))?;
        let removed = !way.is_empty() && self.remove_leaf(&way, leaf)?;
        while removed && self.collapse_root()? {}
        Ok(removed)
    }

    /// Whether all cells are ghosts that nobody wants back.
    fn is_deserted(&self, pool: &BufferPool, guard: &PageWrite<'_>) -> Result<bool> {
        for slot in tree::FIRST_CELL..tree::slot_count(guard.bytes()) {
            let cell = sound(pool, guard.page(), tree::leaf(guard.bytes(), slot))?;
            if !cell.is_ghost || !self.is_forgotten(cell.key) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn remove_leaf(&mut self, way: &[(PageId, u16)], leaf: PageId) -> Result<bool> {
        let pool = self.pool();
        let Node::Leaf { previous, .. } = node_of(pool, leaf, pool.fix_read(leaf)?.bytes())? else {
            return Err(not_a_node(pool, leaf, "a leaf"));
        };
        // The lowest node on the way that leads elsewhere, too; or the root.
        let mut top = way.len() - 1;
        while top > 0 && tree::slot_count(pool.fix_read(way[top].0)?.bytes()) == tree::FIRST_CELL {
            top -= 1;
        }
        let mut above = pool.fix_write(way[top].0)?;
        let mut between = way[top + 1..]
            .iter()
            .map(|(page, _)| pool.fix_write(*page))
            .collect::<Result<Vec<_>>>()?;
        let backwards =
            broken(Rule::LeavesFromTheLeft).then(|| pool.fix_write(leaf)).transpose()?;
        let mut before = previous.map(|page| pool.fix_write(page)).transpose()?;
        let mut guard = backwards.map_or_else(|| pool.fix_write(leaf), Ok)?;
        let Node::Leaf { previous, next } = node_of(pool, leaf, guard.bytes())? else {
            return Err(not_a_node(pool, leaf, "a leaf"));
        };
        let mut behind = next.map(|page| pool.fix_write(page)).transpose()?;
        if !self.is_deserted(pool, &guard)? {
            return Ok(false);
        }
        let mut freed: Vec<PageId> = way[top + 1..].iter().map(|(page, _)| *page).collect();
        freed.push(leaf);
        freed.sort_unstable();
        let Some(mut maps) = self.latch_maps(&freed, PageState::Free)? else { return Ok(false) };
        let root = tree::build(self.page_size(), EMPTY, []);
        let ops = without_child(pool, &above, way[top].1)?;
        let op =
            ops.as_ref().map_or_else(|| PageOp::image_of(&root), |ops| PageOp::Several { ops });
        let (previous, next) = (stored(previous), stored(next));
        let mut changes = vec![(&mut above, op), (&mut guard, UNFORMATTED)];
        changes.extend(between.iter_mut().map(|page| (page, UNFORMATTED)));
        changes.extend(before.iter_mut().map(|page| (page, link_op(tree::NEXT_LINK, &next))));
        changes.extend(behind.iter_mut().map(|page| (page, link_op(tree::FIRST_LINK, &previous))));
        changes.extend(maps.changes());
        self.txn.change_structure(&mut changes)?;
        self.space.changed(&freed, PageState::Free);
        Ok(true)
    }

    /// Lets the only child of the root take its place. Gives whether it did.
    fn collapse_root(&mut self) -> Result<bool> {
        self.txn.prepare_structure_change()?;
        let pool = self.pool();
        let mut root = pool.fix_write(self.tree.root())?;
        let only = tree::slot_count(root.bytes()) == tree::FIRST_CELL;
        let node = node_of(pool, root.page(), root.bytes())?;
        let Some(child) = only_child(node).filter(|_| only) else { return Ok(false) };
        let mut guard = pool.fix_write(child)?;
        let Some(mut maps) = self.latch_maps(&[child], PageState::Free)? else { return Ok(false) };
        let image = guard.bytes().to_vec();
        let mut changes = vec![(&mut root, PageOp::image_of(&image)), (&mut guard, UNFORMATTED)];
        changes.extend(maps.changes());
        self.txn.change_structure(&mut changes)?;
        self.space.changed(&[child], PageState::Free);
        Ok(true)
    }
}

fn only_child(node: Node) -> Option<PageId> {
    match node {
        Node::Leaf { .. } => None,
        Node::Inner { first_child, .. } => Some(first_child),
    }
}

/// What takes the child in `slot` out of an inner node; `None` if it is the only one.
fn without_child(pool: &BufferPool, above: &PageWrite<'_>, slot: u16) -> Result<Option<Vec<u8>>> {
    let bytes = above.bytes();
    if tree::slot_count(bytes) == tree::FIRST_CELL {
        return Ok(None);
    }
    if slot >= tree::FIRST_CELL {
        return Ok(Some(PageOp::several(&[PageOp::RemoveAt { slot: SlotId(slot) }])));
    }
    let (_, second) = sound(pool, above.page(), tree::inner(bytes, tree::FIRST_CELL))?;
    let number = second.0.to_le_bytes();
    let ops =
        [link_op(tree::FIRST_LINK, &number), PageOp::RemoveAt { slot: SlotId(tree::FIRST_CELL) }];
    Ok(Some(PageOp::several(&ops)))
}
