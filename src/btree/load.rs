//! Loading: an empty tree is built from sorted pairs, leaf by leaf from the left, and linked in the end.
//!
//! ```text
//!   root (empty)         leaf -> leaf -> leaf -> …     pages allocated, written whole (redo-only), part of no tree yet
//!
//!   last, one update:    the root becomes what leads to them      undo: the root is empty, as it was
//! ```
//!
//! The transaction has locked the whole table, so nobody else changes the tree, or reads it, until it ends. If it does not commit, what
//! it did is undone like anything else: first the root is put back as it was, byte by byte, then
//! the pages are free again. What is in them is not undone: a free page has no contents. That is right only because nothing but
//! loading happens in the transaction: no split, which would not be undone, builds on the new root.
//!
//! Invariants:
//! - a page is allocated by the transaction before it is written;
//! - until the last update no page of the tree but its own root is reached from there;
//! - nodes are filled as far as the [`FillFactor`] says, so that a few keys may come between before they are split.
//!
//! Source: a B+tree is built bottom-up from sorted keys in most engines (PostgreSQL's `nbtsort.c`); ARIES, section 10.3, for
//! pages that are allocated and freed by ordinary undoable updates.

use super::{Node, TreeAccess, node_of, tree};
use crate::config::FillFactor;
use crate::error::{Error, Result};
use crate::ids::PageId;
use crate::page::tree::{capacity, inner_cell, leaf_cell, separator};
use crate::page::{PageOp, SLOT_SIZE};
use crate::txn::Undoing;

/// The rightmost node of a level, as far as it is built.
#[derive(Default)]
struct Open {
    /// Its page: it gets one as soon as it is not the only node of its level.
    page: Option<PageId>,
    /// Of a leaf, the one before; of an inner node its first child.
    first: Option<PageId>,
    cells: Vec<Vec<u8>>,
    /// Bytes that the cells take, with their slots.
    bytes: usize,
}

impl Open {
    fn push(&mut self, cell: Vec<u8>) {
        self.bytes += cell.len() + SLOT_SIZE;
        self.cells.push(cell);
    }
}

/// The nodes that are being built: a leaf, and above it one of each level.
struct Loader<'a, 't> {
    access: &'a mut TreeAccess<'t>,
    levels: Vec<Open>,
    last_key: Vec<u8>,
    /// Bytes of a node that are filled.
    filled: usize,
}

impl TreeAccess<'_> {
    /// Loads pairs, whose keys ascend, into the tree, which is empty; gives how many. The transaction has locked the table for
    /// itself and does nothing else.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the tree is not empty, keys do not ascend, or no cell can have one; those of
    /// [`TreeAccess::put`]. The caller rolls back.
    pub fn load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        fill_factor: FillFactor,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<u64> {
        if !self.is_empty()? {
            return Err(Error::InvalidInput("only an empty table is loaded".into()));
        }
        let mut count = 0;
        let filled = fill_factor.of(capacity(self.page_size()));
        let levels = vec![Open::default()];
        let mut loader = Loader { access: self, levels, last_key: vec![], filled };
        for (key, value) in pairs {
            loader.add(key.as_ref(), value.as_ref())?;
            count += 1;
        }
        if count > 0 {
            loader.finish()?;
        }
        Ok(count)
    }

    /// Whether no key is there. (Ghosts may be: who has locked the table for itself knows that nobody wants them back.)
    fn is_empty(&self) -> Result<bool> {
        let (pool, root) = (self.pool(), self.tree.root());
        let guard = pool.fix_read(root)?;
        let is_leaf = node_of(pool, root, guard.bytes())?.level() == 0;
        Ok(is_leaf && tree::cells(guard.bytes()).all(|(_, is_ghost)| is_ghost))
    }
}

impl Loader<'_, '_> {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.access.check_key(key)?;
        if key <= &self.last_key[..] {
            let (key, last) = (key.escape_ascii(), self.last_key.escape_ascii());
            let message = format!("the key \"{key}\" behind \"{last}\": keys must ascend");
            return Err(Error::InvalidInput(message));
        }
        let stored = self.access.store(key, value)?;
        let cell = leaf_cell(key, &stored.value(), 0);
        if self.is_full(0, cell.len()) {
            let between = separator(&self.last_key, key).to_vec();
            self.next_leaf(between)?;
        }
        self.levels[0].push(cell);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    /// Whether the node of this level has no room for another cell, as full as it is to be.
    fn is_full(&self, level: usize, cell: usize) -> bool {
        let open = &self.levels[level];
        !open.cells.is_empty() && open.bytes + cell + SLOT_SIZE > self.filled
    }

    fn page_of(&mut self, level: usize) -> Result<PageId> {
        if let Some(page) = self.levels[level].page {
            return Ok(page);
        }
        let page = self.access.space.allocate(self.access.txn)?;
        self.levels[level].page = Some(page);
        Ok(page)
    }

    /// Writes the leaf; a new one begins, with keys from this one on.
    fn next_leaf(&mut self, key: Vec<u8>) -> Result<()> {
        let page = self.page_of(0)?;
        let new = self.access.space.allocate(self.access.txn)?;
        self.write(0, page, Some(new))?;
        self.levels[0] = Open { page: Some(new), first: Some(page), ..Open::default() };
        self.add_child(1, page, key, new)
    }

    /// A node of this level gets another child, behind the one that was its last.
    fn add_child(&mut self, level: usize, last: PageId, key: Vec<u8>, child: PageId) -> Result<()> {
        if level == self.levels.len() {
            self.levels.push(Open { first: Some(last), ..Open::default() });
        }
        let cell = inner_cell(&key, child);
        if !self.is_full(level, cell.len()) {
            self.levels[level].push(cell);
            return Ok(());
        }
        // The key moves up: the child is the first of the next node.
        let page = self.page_of(level)?;
        let new = self.access.space.allocate(self.access.txn)?;
        self.write(level, page, None)?;
        self.levels[level] = Open { page: Some(new), first: Some(child), ..Open::default() };
        self.add_child(level + 1, page, key, new)
    }

    fn node(&self, level: usize, next: Option<PageId>) -> Vec<u8> {
        let open = &self.levels[level];
        let node = match (open.first, u8::try_from(level).expect("few levels")) {
            (previous, 0) => Node::Leaf { previous, next },
            (first, level) => Node::Inner { level, first_child: first.expect("its first child") },
        };
        let cells = open.cells.iter().map(|cell| (&cell[..], false));
        tree::build(self.access.page_size(), node, cells)
    }

    fn write(&mut self, level: usize, page: PageId, next: Option<PageId>) -> Result<()> {
        let bytes = self.node(level, next);
        let access = &mut *self.access;
        access.txn.prepare_update(bytes.len())?;
        let mut guard = access.pool().fix_write(page)?;
        access.txn.update(&mut guard, PageOp::image_of(&bytes), Undoing::RedoOnly)?;
        Ok(())
    }

    /// Writes what is open yet; the topmost node becomes the root.
    fn finish(mut self) -> Result<()> {
        let top = self.levels.len() - 1;
        for level in 0..top {
            let page = self.page_of(level)?;
            self.write(level, page, None)?;
        }
        let (root, bytes) = (self.access.tree.root(), self.node(top, None));
        let access = self.access;
        access.txn.prepare_update(bytes.len())?;
        let tree = access.tree;
        let _structure = tree.structure.lock();
        let mut guard = access.pool().fix_write(root)?;
        access.txn.update(&mut guard, PageOp::image_of(&bytes), Undoing::Whole)?;
        Ok(())
    }
}
