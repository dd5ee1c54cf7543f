//! Ranges of keys, from either end.
//!
//! ```text
//!   forwards:   lock the gap before the next key, then the key; the leaf with the key before is latched until then
//!   backwards:  lock the gap above, then the key below it: nothing can come between any more, so latches are let go
//! ```
//!
//! Cells are fetched in portions, each from one leaf or a few. Between portions nothing is latched: what was read is
//! locked, and where to go on is a key.

use std::collections::VecDeque;
use std::ops::Bound;

use super::descend::{Leaf, Target, read_leaf};
use super::overflow::Stored;
use super::{Node, TreeAccess, node_of, not_a_node, place_of, sound, tree};
use crate::buffer::{BufferPool, PageRead};
use crate::error::Result;
use crate::ids::PageId;
use crate::lock::{LockName, Mode};
use crate::page::tree::{LeafCell, Place};

/// Cells fetched in the first portion, and in later ones at most.
const FIRST_PORTION: usize = 16;
const MOST_PORTION: usize = 128;

/// From which end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the smallest key on.
    Forwards,
    /// From the largest key on.
    Backwards,
}

/// A key and its value.
pub type Scanned = (Vec<u8>, Vec<u8>);

/// A range, as far as it was not read yet.
pub struct Scan {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    /// Fetched from the front, in order.
    front: VecDeque<(Vec<u8>, Stored)>,
    /// Fetched from the back, in reverse order.
    back: VecDeque<(Vec<u8>, Stored)>,
    portion: usize,
    done: bool,
}

/// How fetching a portion went.
enum Fetched {
    /// It is fetched, as far as there was something.
    Portion,
    /// The lock must be waited for.
    Wait(LockName),
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

impl Scan {
    /// The range. One that is upside down is empty.
    #[must_use]
    pub fn new(from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Self {
        let (front, back) = (VecDeque::new(), VecDeque::new());
        let mut scan = Self { from, to, front, back, portion: FIRST_PORTION, done: false };
        scan.done = scan.is_empty();
        scan
    }

    /// Whether no key at all is in what is left of the range.
    fn is_empty(&self) -> bool {
        match (as_slice(&self.from), as_slice(&self.to)) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
            | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        }
    }

    fn is_behind(&self, key: &[u8]) -> bool {
        match as_slice(&self.to) {
            Bound::Included(to) => key > to,
            Bound::Excluded(to) => key >= to,
            Bound::Unbounded => false,
        }
    }

    fn is_before(&self, key: &[u8]) -> bool {
        match as_slice(&self.from) {
            Bound::Included(from) => key < from,
            Bound::Excluded(from) => key <= from,
            Bound::Unbounded => false,
        }
    }

    /// The next cell from this end was read: the range goes on behind it.
    fn took(&mut self, direction: Direction, cell: &LeafCell<'_>) {
        let (near, far, fetched) = match direction {
            Direction::Forwards => (&mut self.from, &self.to, &mut self.front),
            Direction::Backwards => (&mut self.to, &self.from, &mut self.back),
        };
        self.done = ends_with(far, cell.key);
        *near = Bound::Excluded(cell.key.to_vec());
        if !cell.is_ghost {
            fetched.push_back((cell.key.to_vec(), Stored::of(&cell.value)));
        }
    }

    fn take(&mut self, direction: Direction) -> Option<(Vec<u8>, Stored)> {
        match direction {
            Direction::Forwards => self
                .front
                .pop_front()
                .or_else(|| if self.done { self.back.pop_back() } else { None }),
            Direction::Backwards => self
                .back
                .pop_front()
                .or_else(|| if self.done { self.front.pop_back() } else { None }),
        }
    }
}

impl TreeAccess<'_> {
    /// The next cell of the range from one end; `None` when there is none.
    ///
    /// # Errors
    /// [`crate::Error::Deadlock`], [`crate::Error::LockTimeout`]; those of the pool.
    pub fn scan(&mut self, scan: &mut Scan, direction: Direction) -> Result<Option<Scanned>> {
        loop {
            if let Some((key, stored)) = scan.take(direction) {
                let value = stored.read(self.pool())?;
                return Ok(Some((key, value)));
            }
            if scan.done {
                return Ok(None);
            }
            let fetched = match direction {
                Direction::Forwards => self.fetch_forwards(scan)?,
                Direction::Backwards => self.fetch_backwards(scan)?,
            };
            if let Fetched::Wait(name) = fetched {
                self.lock(name, Mode::Shared)?;
            }
        }
    }

    /// The first of these locks that cannot be had at once.
    fn lock_in_turn(&self, names: &[LockName]) -> Option<LockName> {
        names.iter().copied().find(|name| !self.try_lock(*name, Mode::Shared))
    }

    fn fetch_forwards(&mut self, scan: &mut Scan) -> Result<Fetched> {
        let pool = self.pool();
        let target = match as_slice(&scan.from) {
            Bound::Unbounded => Target::First,
            Bound::Included(key) | Bound::Excluded(key) => Target::Key(key),
        };
        let mut leaf = read_leaf(pool, self.tree.root(), target)?;
        let mut slot = first_slot(pool, &leaf, as_slice(&scan.from))?;
        let wanted = scan.front.len() + scan.portion;
        scan.portion = (2 * scan.portion).min(MOST_PORTION);
        while scan.front.len() < wanted {
            // The leaf that the search came from stays latched until the gap behind its last key is locked.
            let mut came_from = None;
            if slot >= tree::slot_count(leaf.guard.bytes()) {
                let Some(next) = self.next_leaf(pool, &leaf)? else {
                    return Ok(match self.lock_in_turn(&[self.gap_name(None)]) {
                        Some(name) => Fetched::Wait(name),
                        None => {
                            scan.done = true;
                            Fetched::Portion
                        }
                    });
                };
                came_from = Some(std::mem::replace(&mut leaf, next));
                slot = tree::FIRST_CELL;
            }
            let cell = sound(pool, leaf.page, tree::leaf(leaf.guard.bytes(), slot))?;
            let (gap, key) = (self.gap_name(Some(cell.key)), self.key_name(cell.key));
            let is_behind = scan.is_behind(cell.key);
            let all = [gap, key];
            let names = match is_behind {
                true => &all[..1],
                // The range begins with this key: what is before it is of no interest.
                false if ends_with(&scan.from, cell.key) => &all[1..],
                false => &all[..],
            };
            if let Some(name) = self.lock_in_turn(names) {
                return Ok(Fetched::Wait(name));
            }
            drop(came_from);
            if is_behind {
                scan.done = true;
                return Ok(Fetched::Portion);
            }
            scan.took(Direction::Forwards, &cell);
            if scan.done {
                return Ok(Fetched::Portion);
            }
            slot += 1;
        }
        Ok(Fetched::Portion)
    }

    /// The leaf behind, latched while this one is.
    fn next_leaf<'p>(
        &mut self,
        pool: &'p BufferPool,
        leaf: &Leaf<PageRead<'p>>,
    ) -> Result<Option<Leaf<PageRead<'p>>>> {
        let bytes = leaf.guard.bytes();
        let mut cells = tree::cells(bytes).peekable();
        if cells.peek().is_some() && cells.all(|(_, is_ghost)| is_ghost) {
            let cell = sound(pool, leaf.page, tree::leaf(bytes, tree::FIRST_CELL))?;
            self.emptied.push(cell.key.to_vec());
        }
        let (_, next) = links(pool, leaf)?;
        let Some(page) = next else { return Ok(None) };
        let next = Leaf { page, guard: pool.fix_read(page)? };
        links(pool, &next)?;
        Ok(Some(next))
    }

    fn fetch_backwards(&mut self, scan: &mut Scan) -> Result<Fetched> {
        let pool = self.pool();
        let target = match as_slice(&scan.to) {
            Bound::Unbounded => Target::Last,
            Bound::Included(key) => Target::Key(key),
            Bound::Excluded(key) => Target::Below(key),
        };
        let mut leaf = read_leaf(pool, self.tree.root(), target)?;
        let mut slot = last_slot(pool, &leaf, as_slice(&scan.to))?;
        let wanted = scan.back.len() + scan.portion;
        scan.portion = (2 * scan.portion).min(MOST_PORTION);
        while scan.back.len() < wanted {
            let last = tree::leaf(leaf.guard.bytes(), slot).map(|cell| cell.key);
            if !last.is_some_and(|last| ends_with(&scan.to, last)) {
                let gap = self.gap_at(pool, leaf.page, leaf.guard.bytes(), slot + 1)?;
                if let Some(name) = self.lock_in_turn(&[gap]) {
                    return Ok(Fetched::Wait(name));
                }
            }
            if slot < tree::FIRST_CELL {
                let (previous, _) = links(pool, &leaf)?;
                let Some(page) = previous else {
                    scan.done = true;
                    return Ok(Fetched::Portion);
                };
                // Whoever walks to the right would wait for this thread: so it lets go first, and looks whether
                // the leaves are still neighbours. No key can have come between them.
                let behind = leaf.page;
                drop(leaf);
                leaf = Leaf { page, guard: pool.fix_read(page)? };
                let is_neighbour = matches!(tree::node(leaf.guard.bytes()),
                    Some(Node::Leaf { next, .. }) if next == Some(behind));
                if !is_neighbour {
                    return Ok(Fetched::Portion);
                }
                slot = tree::slot_count(leaf.guard.bytes()) - 1;
            }
            let cell = sound(pool, leaf.page, tree::leaf(leaf.guard.bytes(), slot))?;
            if scan.is_before(cell.key) {
                scan.done = true;
                return Ok(Fetched::Portion);
            }
            if let Some(name) = self.lock_in_turn(&[self.key_name(cell.key)]) {
                return Ok(Fetched::Wait(name));
            }
            scan.took(Direction::Backwards, &cell);
            if scan.done {
                return Ok(Fetched::Portion);
            }
            slot -= 1;
        }
        Ok(Fetched::Portion)
    }
}

/// Whether the range has this key, and nothing beyond it on this side: then what lies there needs no lock.
fn ends_with(bound: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    matches!(bound, Bound::Included(end) if end == key)
}

fn links(pool: &BufferPool, leaf: &Leaf<PageRead<'_>>) -> Result<(Option<PageId>, Option<PageId>)> {
    match node_of(pool, leaf.page, leaf.guard.bytes())? {
        Node::Leaf { previous, next } => Ok((previous, next)),
        Node::Inner { .. } => Err(not_a_node(pool, leaf.page, "a leaf")),
    }
}

fn place(pool: &BufferPool, leaf: &Leaf<PageRead<'_>>, key: &[u8]) -> Result<Place> {
    place_of(pool, leaf.page, leaf.guard.bytes(), key)
}

/// The first slot of the leaf that is in the range.
fn first_slot(pool: &BufferPool, leaf: &Leaf<PageRead<'_>>, from: Bound<&[u8]>) -> Result<u16> {
    Ok(match from {
        Bound::Unbounded => tree::FIRST_CELL,
        Bound::Included(key) => place(pool, leaf, key)?.slot(),
        Bound::Excluded(key) => match place(pool, leaf, key)? {
            Place::At(slot) => slot + 1,
            Place::Before(slot) => slot,
        },
    })
}

/// The last slot of the leaf that is in the range, or 0.
fn last_slot(pool: &BufferPool, leaf: &Leaf<PageRead<'_>>, to: Bound<&[u8]>) -> Result<u16> {
    Ok(match to {
        Bound::Unbounded => tree::slot_count(leaf.guard.bytes()).saturating_sub(1),
        Bound::Excluded(key) => place(pool, leaf, key)?.slot() - 1,
        Bound::Included(key) => match place(pool, leaf, key)? {
            Place::At(slot) => slot,
            Place::Before(slot) => slot - 1,
        },
    })
}
