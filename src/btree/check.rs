//! Whether a tree is sound, and what it takes.
//!
//! From the root down, each node is looked at with the keys that its parent lets it have. What must hold:
//!
//! - each node is a level below its parent, and nothing is below the leaves;
//! - keys ascend, and lie between the separators above;
//! - a leaf knows the leaves beside it, and no leaf but a root is empty;
//! - a value elsewhere is as long as its cell says;
//! - no page is met twice.
//!
//! Whoever checks holds the structure, so nodes stay where they are; cells may change meanwhile, and each leaf is looked
//! at as a whole.

use std::collections::HashSet;

use super::descend::{Target, read_leaf};
use super::overflow::{Stored, walk};
use super::{Node, Tree, TreeAccess, node_of, not_a_node, sound, tree};
use crate::buffer::BufferPool;
use crate::error::{Error, Result};
use crate::ids::{BuildNumberHasher, PageId};
use crate::page::tree::Value;
use crate::page::{self, SLOT_SIZE};

/// More faults are counted, not told.
const MOST_TOLD: usize = 100;

/// What a tree takes, and what is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TreeReport {
    /// Levels, that of the leaves included.
    pub height: u8,
    /// Leaves.
    pub leaves: u64,
    /// Inner nodes.
    pub inner: u64,
    /// Overflow pages.
    pub overflow: u64,
    /// Cells that are live.
    pub cells: u64,
    /// Cells that are deleted and not purged.
    pub ghosts: u64,
    /// Bytes of leaves that cells take, their slots included.
    pub used_bytes: u64,
    /// Bytes of leaves that cells could take.
    pub leaf_bytes: u64,
    /// What is wrong, each with its page.
    pub faults: Vec<(PageId, String)>,
    /// How many more faults there are.
    pub untold: u64,
}

impl TreeReport {
    fn fault(&mut self, page: PageId, what: impl Into<String>) {
        match self.faults.len() {
            0..MOST_TOLD => self.faults.push((page, what.into())),
            _ => self.untold += 1,
        }
    }
}

/// Looks at all of a tree; `visit` is told each page of it.
///
/// # Errors
/// Those of reading, but for damage, which is in the report.
pub fn check_tree(
    pool: &BufferPool,
    tree: &Tree,
    visit: &mut dyn FnMut(PageId),
) -> Result<TreeReport> {
    let _structure = tree.structure.lock();
    let report = TreeReport::default();
    let mut check = Check { pool, report, visit, met: HashSet::default(), leaf: None };
    check.descend(tree.root(), None, (None, None))?;
    if let Some((page, Some(next))) = check.leaf {
        check.report.fault(page, format!("the last leaf leads to {next}"));
    }
    Ok(check.report)
}

type Keys<'k> = (Option<&'k [u8]>, Option<&'k [u8]>);

struct Check<'c> {
    pool: &'c BufferPool,
    report: TreeReport,
    visit: &'c mut dyn FnMut(PageId),
    met: HashSet<PageId, BuildNumberHasher>,
    /// The leaf met last, and the one that it says is next.
    leaf: Option<(PageId, Option<PageId>)>,
}

impl Check<'_> {
    /// Looks at a node of this level, or of any if it is the root, and at what is below it.
    fn descend(&mut self, page: PageId, level: Option<u8>, keys: Keys<'_>) -> Result<()> {
        if !self.meet(page) {
            return Ok(());
        }
        let guard = match self.pool.fix_read(page) {
            Ok(guard) => guard,
            Err(Error::Corrupt { expected, found, .. }) => {
                self.report.fault(page, format!("expected {expected}, found {found}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let bytes = guard.bytes();
        let node = tree::node(bytes).filter(|_| page::check_structure(bytes).is_ok());
        let Some(node) = node.filter(|node| level.is_none_or(|level| level == node.level())) else {
            self.report.fault(page, "no node of the level that belongs there");
            return Ok(());
        };
        self.report.height = self.report.height.max(node.level().saturating_add(1));
        if node.level() == 0 {
            return self.leaf(page, bytes, keys, level.is_none());
        }
        self.report.inner += 1;
        let Some(children) = self.children(page, node, bytes, keys) else { return Ok(()) };
        drop(guard);
        for (nth, (child, low)) in children.iter().enumerate() {
            let high = children.get(nth + 1).map(|(_, key)| &key[..]).or(keys.1);
            let low = if nth == 0 { keys.0 } else { Some(&low[..]) };
            self.descend(*child, Some(node.level() - 1), (low, high))?;
        }
        Ok(())
    }

    /// Notes a page as one of the tree's; gives whether it was not met before.
    fn meet(&mut self, page: PageId) -> bool {
        let is_new = self.met.insert(page);
        match is_new {
            true => (self.visit)(page),
            false => self.report.fault(page, "it is in the tree twice"),
        }
        is_new
    }

    /// The children of an inner node, each with its separator, the first with none.
    fn children(
        &mut self,
        page: PageId,
        node: Node,
        bytes: &[u8],
        keys: Keys<'_>,
    ) -> Option<Vec<(PageId, Vec<u8>)>> {
        let Node::Inner { first_child, .. } = node else { return None };
        let mut children = vec![(first_child, Vec::new())];
        for slot in tree::FIRST_CELL..tree::slot_count(bytes) {
            let Some((key, child)) = tree::inner(bytes, slot) else {
                self.report.fault(page, format!("slot {slot} is no cell of an inner node"));
                return None;
            };
            let before = if slot == tree::FIRST_CELL { keys.0 } else { None };
            let above = children.last().filter(|_| slot > tree::FIRST_CELL);
            if before.is_some_and(|before| key < before)
                || above.is_some_and(|(_, above)| key <= &above[..])
                || keys.1.is_some_and(|high| key >= high)
            {
                self.report.fault(page, format!("the key of slot {slot} is not in order"));
            }
            children.push((child, key.to_vec()));
        }
        Some(children)
    }

    fn leaf(&mut self, page: PageId, bytes: &[u8], keys: Keys<'_>, is_root: bool) -> Result<()> {
        let Some(Node::Leaf { previous, next }) = tree::node(bytes) else { return Ok(()) };
        let (before, led_to) =
            self.leaf.map_or((None, Some(page)), |(page, next)| (Some(page), next));
        if previous != before || led_to != Some(page) {
            self.report.fault(page, "the leaves beside it are others than it says");
        }
        self.leaf = Some((page, next));
        self.report.leaves += 1;
        self.report.leaf_bytes += tree::capacity(bytes.len()) as u64;
        let mut last: Option<&[u8]> = None;
        for slot in tree::FIRST_CELL..tree::slot_count(bytes) {
            let Some(cell) = tree::leaf(bytes, slot) else {
                self.report.fault(page, format!("slot {slot} is no cell of a leaf"));
                continue;
            };
            if last.is_some_and(|last| cell.key <= last)
                || keys.0.is_some_and(|low| cell.key < low)
                || keys.1.is_some_and(|high| cell.key >= high)
            {
                self.report.fault(page, format!("the key of slot {slot} is not in order"));
            }
            last = Some(cell.key);
            self.report.used_bytes += (cell.bytes.len() + SLOT_SIZE) as u64;
            match cell.is_ghost {
                true => self.report.ghosts += 1,
                false => {
                    self.report.cells += 1;
                    self.value(page, slot, &cell.value)?;
                }
            }
        }
        if last.is_none() && !is_root {
            self.report.fault(page, "a leaf without cells");
        }
        Ok(())
    }

    fn value(&mut self, page: PageId, slot: u16, value: &Value<'_>) -> Result<()> {
        let Value::Elsewhere { length, first } = *value else { return Ok(()) };
        let mut parts = Vec::new();
        match walk(self.pool, length as usize, first, |part, _| parts.push(part)) {
            Ok(()) => {}
            Err(Error::Corrupt { .. }) => {
                self.report.fault(page, format!("the value of slot {slot} is not whole"));
            }
            Err(error) => return Err(error),
        }
        self.report.overflow += parts.len() as u64;
        for part in parts {
            self.meet(part);
        }
        Ok(())
    }
}

/// Visits the live cells whose value stands in the leaf, as they are at this moment.
///
/// # Errors
/// Those of reading.
pub fn each_cell(
    pool: &BufferPool,
    tree: &Tree,
    visit: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<()> {
    each_stored(pool, tree, &mut |key, value| {
        if let Value::Here(value) = value {
            visit(key, value);
        }
        Ok(())
    })
}

/// Visits the live cells with their values, wherever those are.
///
/// # Errors
/// Those of reading.
pub fn each_value(
    pool: &BufferPool,
    tree: &Tree,
    visit: &mut dyn FnMut(&[u8], Vec<u8>),
) -> Result<()> {
    each_stored(pool, tree, &mut |key, value| {
        visit(key, Stored::of(value).read(pool)?);
        Ok(())
    })
}

fn each_stored(
    pool: &BufferPool,
    tree: &Tree,
    visit: &mut dyn FnMut(&[u8], &Value<'_>) -> Result<()>,
) -> Result<()> {
    let _structure = tree.structure.lock();
    let mut next = Some(read_leaf(pool, tree.root(), Target::First)?.page);
    while let Some(page) = next {
        let guard = pool.fix_read(page)?;
        for slot in tree::FIRST_CELL..tree::slot_count(guard.bytes()) {
            let cell = sound(pool, page, tree::leaf(guard.bytes(), slot))?;
            if !cell.is_ghost {
                visit(cell.key, &cell.value)?;
            }
        }
        next = match node_of(pool, page, guard.bytes())? {
            Node::Leaf { next, .. } => next,
            Node::Inner { .. } => return Err(not_a_node(pool, page, "a leaf")),
        };
    }
    Ok(())
}

impl TreeAccess<'_> {
    /// Frees all pages of the tree, once the transaction commits. It has locked the table for itself.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the tree is not sound: nothing is freed then. [`Error::DiskFull`].
    pub fn free_all(&mut self) -> Result<()> {
        let mut pages = Vec::new();
        let report = check_tree(self.pool(), self.tree, &mut |page| pages.push(page))?;
        if let Some((page, fault)) = report.faults.first() {
            return Err(Error::corrupt(self.pool().place(*page), "a sound tree", fault.clone()));
        }
        self.free_pages(&pages)
    }
}
