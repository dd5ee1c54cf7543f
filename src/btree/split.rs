//! Splits: half of a node's cells move to a new page, and the parent learns of it, all in one record.
//!
//! ```text
//!   a node that is not the root                          the root
//!
//!        parent: … X …         parent: … X k N …          R: a b c d          R: A k B
//!                |                     |   |        →                   →        |   |
//!        X: a b c d            X: a b  N: c d                                 A: a b  B: c d
//! ```
//!
//! `k` is the shortest key that tells the halves of a leaf apart; of an inner node it is the key in the middle, which moves
//! up. The page of a root stays what everybody knows the tree by: its cells go to two new pages.

use super::structure::latch_new;
use super::{Node, TreeAccess, node_of, not_a_node, sound, tree};
use crate::buffer::{BufferPool, PageWrite};
use crate::error::Result;
use crate::ids::{PageId, SlotId};
use crate::page::tree::inner_cell;
use crate::page::{PageOp, PageState, SLOT_SIZE};

/// How a node will be divided.
struct Division {
    /// The first slot that moves to the right half. (Of an inner node: behind the key that moves up.)
    right_from: u16,
    /// What tells the halves apart.
    separator: Vec<u8>,
    left: Node,
    right: Node,
}

/// Puts a page number into slot 0 of a node.
pub(super) fn link_op<'a>(offset: u16, number: &'a [u8; 8]) -> PageOp<'a> {
    PageOp::Patch { slot: SlotId(0), offset, bytes: number }
}

/// Where to divide cells of these sizes, slots included, so that a new one of `needed` bytes fits before `at`: the
/// index of the first that moves; as evenly as can be, unless the new one comes behind all and keys seem to ascend.
fn divide(sizes: &[usize], at: usize, needed: usize, ascending: bool) -> usize {
    let (most, total) = (sizes.len() - 1, sizes.iter().sum::<usize>());
    if ascending && at == sizes.len() {
        return most.max(1);
    }
    let mut best = (usize::MAX, 1);
    let mut left = 0;
    for (nth, size) in sizes.iter().enumerate().take(most) {
        left += size;
        let right = total - left;
        let (left, right) = if at <= nth { (left + needed, right) } else { (left, right + needed) };
        best = best.min((left.max(right), nth + 1));
    }
    best.1
}

impl TreeAccess<'_> {
    /// Splits the leaf at the end of the way. The parent has room, and the structure is this thread's.
    pub(super) fn split_leaf(
        &mut self,
        way: &[(PageId, u16)],
        leaf: PageId,
        key: &[u8],
        needed: usize,
    ) -> Result<()> {
        match way.last() {
            None => self.split_root(Some((key, needed))),
            Some((parent, slot)) => self.split_below(*parent, *slot, leaf, Some((key, needed))),
        }
    }

    /// Splits the inner node at the end of the way.
    pub(super) fn split_inner(&mut self, way: &[(PageId, u16)]) -> Result<()> {
        match way {
            [] | [_] => self.split_root(None),
            [.., (parent, slot), (page, _)] => self.split_below(*parent, *slot, *page, None),
        }
    }

    fn division(
        &self,
        pool: &BufferPool,
        guard: &PageWrite<'_>,
        (left, right): (PageId, PageId),
        wanted: Option<(&[u8], usize)>,
    ) -> Result<Division> {
        let (page, bytes) = (guard.page(), guard.bytes());
        let node = node_of(pool, page, bytes)?;
        let sizes: Vec<usize> =
            tree::cells(bytes).map(|(cell, _)| cell.len() + SLOT_SIZE).collect();
        let Node::Leaf { previous, next } = node else {
            return inner_division(pool, guard, node, &sizes);
        };
        if sizes.len() < 2 {
            return Err(not_a_node(pool, page, "a leaf with more cells"));
        }
        let (key, needed) = wanted.unwrap_or((&[], 0));
        let at = sound(pool, page, tree::find(bytes, key))?.slot() - tree::FIRST_CELL;
        let first = divide(&sizes, at.into(), needed, next.is_none());
        let right_from = tree::FIRST_CELL + u16::try_from(first).expect("fewer than slots");
        let key_of = |slot| sound(pool, page, tree::leaf(bytes, slot).map(|cell| cell.key));
        let separator = tree::separator(key_of(right_from - 1)?, key_of(right_from)?).to_vec();
        Ok(Division {
            right_from,
            separator,
            left: Node::Leaf { previous, next: Some(right) },
            right: Node::Leaf { previous: Some(left), next },
        })
    }

    /// Splits the root downwards.
    fn split_root(&mut self, wanted: Option<(&[u8], usize)>) -> Result<()> {
        loop {
            let (pool, page_size) = (self.pool(), self.page_size());
            let new = self.find_pages(2)?;
            let mut root = pool.fix_write(self.tree.root())?;
            let mut guards = latch_new(pool, &new)?;
            let Some(mut maps) = self.latch_maps(&new, PageState::Used)? else { continue };
            let (left, right) = (new[0], new[1]);
            let division = self.division(pool, &root, (left, right), wanted)?;
            let (left_page, right_page) = halves(page_size, &root, &division);
            let level = division.left.level() + 1;
            let above = Node::Inner { level, first_child: left };
            let cell = inner_cell(&division.separator, right);
            let root_page = tree::build(page_size, above, [(&cell[..], false)]);
            let [left_guard, right_guard] = &mut guards[..] else {
                unreachable!("two pages were found")
            };
            let mut changes = vec![
                (&mut root, PageOp::image_of(&root_page)),
                (left_guard, PageOp::image_of(&left_page)),
                (right_guard, PageOp::image_of(&right_page)),
            ];
            changes.extend(maps.changes());
            self.txn.change_structure(&mut changes)?;
            self.space.changed(&new, PageState::Used);
            return Ok(());
        }
    }

    /// Splits a node into its parent, in which it stands in `slot`.
    fn split_below(
        &mut self,
        parent: PageId,
        slot: u16,
        page: PageId,
        wanted: Option<(&[u8], usize)>,
    ) -> Result<()> {
        loop {
            let (pool, page_size) = (self.pool(), self.page_size());
            let new = self.find_pages(1)?;
            let mut above = pool.fix_write(parent)?;
            let mut guard = pool.fix_write(page)?;
            let division = self.division(pool, &guard, (page, new[0]), wanted)?;
            let mut beside = match division.right {
                Node::Leaf { next: Some(next), .. } => Some(pool.fix_write(next)?),
                _ => None,
            };
            let mut guards = latch_new(pool, &new)?;
            let Some(mut maps) = self.latch_maps(&new, PageState::Used)? else { continue };
            let (_, right_page) = halves(page_size, &guard, &division);
            let own = division.left.to_stored();
            let shorter = PageOp::several(&[
                PageOp::TruncateAt { slot: SlotId(left_to(&division)) },
                PageOp::Patch { slot: SlotId(0), offset: 0, bytes: &own },
            ]);
            let cell = inner_cell(&division.separator, new[0]);
            let number = new[0].0.to_le_bytes();
            let mut changes = vec![
                (&mut above, PageOp::InsertAt { slot: SlotId(slot + 1), bytes: &cell }),
                (&mut guard, PageOp::Several { ops: &shorter }),
            ];
            changes.extend(guards.iter_mut().map(|new| (new, PageOp::image_of(&right_page))));
            changes.extend(
                beside.iter_mut().map(|beside| (beside, link_op(tree::FIRST_LINK, &number))),
            );
            changes.extend(maps.changes());
            self.txn.change_structure(&mut changes)?;
            self.space.changed(&new, PageState::Used);
            return Ok(());
        }
    }
}

/// The slot behind the last cell of the left half.
fn left_to(division: &Division) -> u16 {
    match division.left {
        Node::Leaf { .. } => division.right_from,
        Node::Inner { .. } => division.right_from - 1,
    }
}

fn inner_division(
    pool: &BufferPool,
    guard: &PageWrite<'_>,
    node: Node,
    sizes: &[usize],
) -> Result<Division> {
    let page = guard.page();
    let Node::Inner { level, .. } = node else { return Err(not_a_node(pool, page, "a node")) };
    if sizes.len() < 3 {
        return Err(not_a_node(pool, page, "a node with more children"));
    }
    // The key in the middle moves up: neither half is without one.
    let middle = divide(sizes, 0, 0, false).clamp(1, sizes.len() - 2);
    let slot = tree::FIRST_CELL + u16::try_from(middle).expect("fewer than slots");
    let (separator, child) = sound(pool, page, tree::inner(guard.bytes(), slot))?;
    Ok(Division {
        right_from: slot + 1,
        separator: separator.to_vec(),
        left: node,
        right: Node::Inner { level, first_child: child },
    })
}

/// The two pages that a node becomes.
fn halves(page_size: usize, guard: &PageWrite<'_>, division: &Division) -> (Vec<u8>, Vec<u8>) {
    let cells: Vec<(&[u8], bool)> = tree::cells(guard.bytes()).collect();
    let index = |slot: u16| usize::from(slot - tree::FIRST_CELL);
    let left = cells[..index(left_to(division))].iter().copied();
    let right = cells[index(division.right_from)..].iter().copied();
    (tree::build(page_size, division.left, left), tree::build(page_size, division.right, right))
}

#[cfg(test)]
mod tests {
    use super::divide;

    #[test]
    fn cells_are_divided_so_that_the_new_one_fits() {
        assert_eq!(divide(&[10, 10, 10, 10], 0, 10, false), 1);
        assert_eq!(divide(&[10, 10, 10, 10], 4, 10, false), 2);
        assert_eq!(divide(&[10, 10], 1, 10, false), 1);
        assert_eq!(divide(&[100, 10, 10], 3, 50, false), 1);
        assert_eq!(divide(&[10, 10, 100], 0, 50, false), 2);
        assert_eq!(divide(&[10, 10, 10, 10], 4, 10, true), 3, "keys ascend: little moves");
        assert_eq!(divide(&[10, 10], 2, 10, true), 1);
    }
}
