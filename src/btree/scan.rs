//! Ranges of keys, from either end.
//!
//! ```text
//!   forwards:    leaf            leaf -> leaf           the next leaf is latched, and read, before this one is let go
//!   backwards:   leaf    leaf <- (let go)    leaf -> leaf: still neighbours, nothing new between? else from the root again
//! ```
//!
//! Cells are fetched in portions, each from one leaf or a few: of each leaf all that is wanted at once. Under its latch, and that of the
//! leaf that the search came from, the part that is read is entered among the ranges of the transaction
//! ([`crate::lock`]); or, where these are too many, its keys and gaps are locked one by one. Between portions nothing is
//! latched: where to go on is a key.
//!
//! Invariants:
//! - a part is entered whole under the latches of all leaves into which a key of it could be inserted. Two are enough: a leaf
//!   that is not a root has cells, so only the first of a walk can have none in the range;
//! - what was fetched lies in parts that were entered.

mod portion;

use std::ops::{Bound, Range};

use super::descend::{Leaf, Target, read_leaf};
use super::overflow::Stored;
use super::{Node, TreeAccess, node_of, not_a_node, sound, tree};
use crate::buffer::{BufferPool, PageRead};
use crate::error::Result;
use crate::ids::PageId;
use crate::lock::{Cut, KeyName, LockName, Mode, Part, Reading, Side};
use crate::page::page_lsn;
use crate::page::tree::{Cells, Place};
use portion::{FetchedCell, FetchedValue, Portion};

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

/// A key and its value, in memory of the range that they were read in.
pub type ScannedRef<'s> = (&'s [u8], &'s [u8]);

/// A range, as far as it was not read yet.
pub struct Scan {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    /// Fetched from the front, in order.
    front: Portion,
    /// Fetched from the back, in reverse order.
    back: Portion,
    portion: usize,
    done: bool,
    /// The cell taken last, and from which of the two.
    taken: Option<(Direction, FetchedCell)>,
    /// Its value, if that is long.
    long: Vec<u8>,
}

/// How fetching a portion went.
enum Fetched {
    /// It is fetched, as far as there was something.
    Portion,
    /// The lock must be waited for.
    Wait(LockName),
}

/// What is read of one leaf.
struct Taking<'l, 'p> {
    leaf: &'l Leaf<PageRead<'p>>,
    /// The leaf on its right, where that was latched, too.
    beside: Option<&'l Leaf<PageRead<'p>>>,
    /// The slots.
    slots: Range<u16>,
    /// Whether the part goes on beyond the cells on its far side: there is no more in the range, or nothing on this side of the leaf.
    is_open: bool,
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// The key behind or before which the range goes on.
fn move_on(bound: &mut Bound<Vec<u8>>, to: &[u8]) {
    *bound = match std::mem::replace(bound, Bound::Unbounded) {
        Bound::Included(mut key) | Bound::Excluded(mut key) => {
            key.clear();
            key.extend_from_slice(to);
            Bound::Excluded(key)
        }
        Bound::Unbounded => Bound::Excluded(to.to_vec()),
    };
}

impl Scan {
    /// The range. One that is upside down is empty.
    #[must_use]
    pub fn new(from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Self {
        let mut scan = Self {
            from,
            to,
            front: Portion::default(),
            back: Portion::default(),
            portion: FIRST_PORTION,
            done: false,
            taken: None,
            long: Vec::new(),
        };
        scan.done = scan.is_empty();
        scan
    }

    /// Whether no key at all is in what is left of the range.
    fn is_empty(&self) -> bool {
        let (from, to) = self.part();
        from >= to
    }

    fn part(&self) -> Part<'_> {
        (Cut::from(as_slice(&self.from)), Cut::to(as_slice(&self.to)))
    }

    /// How many cells are to be fetched from this end.
    fn next_portion(&mut self, direction: Direction) -> usize {
        match direction {
            Direction::Forwards => self.front.make_room(),
            Direction::Backwards => self.back.make_room(),
        }
        let portion = self.portion;
        self.portion = (2 * portion).min(MOST_PORTION);
        portion
    }

    /// These cells were read, and the part they are in was entered: the range goes on behind them.
    fn took(
        &mut self,
        direction: Direction,
        page: PageId,
        pool: &BufferPool,
        cells: Cells<'_>,
        slots: Range<u16>,
    ) -> Result<usize> {
        let mut count = 0;
        let mut take = |fetched: &mut Portion, slot| -> Result<()> {
            let cell = sound(pool, page, cells.leaf(slot))?;
            if !cell.is_ghost {
                fetched.push(&cell);
                count += 1;
            }
            Ok(())
        };
        let last = match direction {
            Direction::Forwards => {
                slots.clone().try_for_each(|slot| take(&mut self.front, slot))?;
                slots.end.saturating_sub(1)
            }
            Direction::Backwards => {
                slots.clone().rev().try_for_each(|slot| take(&mut self.back, slot))?;
                slots.start
            }
        };
        if !slots.is_empty() {
            let key = sound(pool, page, cells.leaf(last))?.key;
            match direction {
                Direction::Forwards => move_on(&mut self.from, key),
                Direction::Backwards => move_on(&mut self.to, key),
            }
        }
        Ok(count)
    }

    /// Takes the next cell from this end that was fetched; gives whether there was one.
    fn take(&mut self, direction: Direction) -> bool {
        let (near, far, other) = match direction {
            Direction::Forwards => (&mut self.front, &mut self.back, Direction::Backwards),
            Direction::Backwards => (&mut self.back, &mut self.front, Direction::Forwards),
        };
        self.taken = near.pop_first().map(|cell| (direction, cell));
        if self.taken.is_none() && self.done {
            self.taken = far.pop_last().map(|cell| (other, cell));
        }
        self.taken.is_some()
    }

    /// The pair that was read last.
    #[must_use]
    pub fn pair(&self) -> Option<ScannedRef<'_>> {
        let (from, cell) = self.taken?;
        let portion = match from {
            Direction::Forwards => &self.front,
            Direction::Backwards => &self.back,
        };
        let value = match cell.value {
            FetchedValue::Here(bytes) => portion.value(cell, bytes),
            FetchedValue::Elsewhere(..) => &self.long,
        };
        Some((portion.key(cell), value))
    }
}

impl TreeAccess<'_> {
    /// Reads the next cell of the range from one end; gives whether there was one. [`Scan::pair`] has it.
    ///
    /// # Errors
    /// [`crate::Error::Deadlock`], [`crate::Error::LockTimeout`]; those of the pool.
    pub fn scan(&mut self, scan: &mut Scan, direction: Direction) -> Result<bool> {
        while !scan.take(direction) {
            if scan.done {
                return Ok(false);
            }
            let fetched = match direction {
                Direction::Forwards => self.fetch_forwards(scan)?,
                Direction::Backwards => self.fetch_backwards(scan)?,
            };
            if let Fetched::Wait(name) = fetched {
                self.lock(name, Mode::Shared)?;
            }
        }
        if let Some((_, FetchedCell { value: FetchedValue::Elsewhere(length, first), .. })) =
            scan.taken
        {
            scan.long = Stored::Elsewhere(length, first).read(self.pool())?;
        }
        Ok(true)
    }

    fn fetch_forwards(&mut self, scan: &mut Scan) -> Result<Fetched> {
        let pool = self.pool();
        let target = match as_slice(&scan.from) {
            Bound::Unbounded => Target::First,
            Bound::Included(key) | Bound::Excluded(key) => Target::Key(key),
        };
        let mut leaf = read_leaf(pool, self.tree.root(), target)?;
        // The leaf that the search came from stays latched until what lies between is entered.
        let mut came_from = None;
        let mut missing = scan.next_portion(Direction::Forwards);
        loop {
            let cells = sound(pool, leaf.page, Cells::of(leaf.guard.bytes()))?;
            let begin = first_slot(pool, leaf.page, cells, as_slice(&scan.from))?;
            let end = last_slot(pool, leaf.page, cells, as_slice(&scan.to))? + 1;
            let most = u16::try_from(missing).unwrap_or(u16::MAX);
            let stop = end.min(begin.saturating_add(most)).max(begin);
            let (_, next) = links(pool, &leaf)?;
            let is_last = end < cells.slot_count() || next.is_none();
            let is_open = is_last && stop >= end;
            let slots = begin..stop;
            if slots.is_empty() && !is_open && came_from.is_some() {
                return Err(not_a_node(pool, leaf.page, "a leaf with keys behind those before it"));
            }
            if is_open || !slots.is_empty() {
                let far = match is_open {
                    true => scan.part().1,
                    false => Cut::At(key_in(pool, &leaf, cells, stop - 1)?, Side::Behind),
                };
                let part = (scan.part().0, far);
                let is_done = is_open || part.1 >= scan.part().1;
                let taking = Taking { leaf: &leaf, beside: None, slots: slots.clone(), is_open };
                if let Some(name) = self.enter(scan, &taking, part, cells)? {
                    return Ok(Fetched::Wait(name));
                }
                missing -= scan.took(Direction::Forwards, leaf.page, pool, cells, slots)?;
                scan.done = is_done;
            }
            drop(came_from.take());
            if scan.done || stop < end || missing == 0 {
                return Ok(Fetched::Portion);
            }
            let Some(next) = self.next_leaf(pool, &leaf)? else { return Ok(Fetched::Portion) };
            came_from = Some(std::mem::replace(&mut leaf, next));
        }
    }

    /// Enters what is read of a leaf; gives what must be waited for first, if something must.
    fn enter(
        &self,
        scan: &Scan,
        taking: &Taking<'_, '_>,
        part: Part<'_>,
        cells: Cells<'_>,
    ) -> Result<Option<LockName>> {
        let keys = taking.slots.clone().filter_map(|slot| cells.leaf(slot));
        match self.read_part(part, keys.map(|cell| KeyName::of(cell.key))) {
            Reading::Entered => Ok(None),
            Reading::Wait(name) => Ok(Some(name)),
            Reading::KeyByKey => self.enter_key_by_key(scan, taking, cells),
        }
    }

    /// The same by locks on keys and on the gaps between: the first that cannot be had at once.
    fn enter_key_by_key(
        &self,
        scan: &Scan,
        taking: &Taking<'_, '_>,
        cells: Cells<'_>,
    ) -> Result<Option<LockName>> {
        let (pool, slots) = (self.pool(), taking.slots.clone());
        let taken = |name: &LockName| !self.try_lock(*name, Mode::Shared);
        for slot in slots.clone() {
            let key = key_in(pool, taking.leaf, cells, slot)?;
            // Where the range begins with this key, what is before it is of no interest.
            let gap = (!ends_with(&scan.from, key)).then(|| self.gap_name(Some(key)));
            if let Some(name) = gap.into_iter().chain([self.key_name(key)]).find(taken) {
                return Ok(Some(name));
            }
        }
        let last = slots.end.checked_sub(1).filter(|_| !slots.is_empty());
        let last = last.and_then(|slot| cells.leaf(slot));
        if last.is_some_and(|cell| ends_with(&scan.to, cell.key)) {
            return Ok(None);
        }
        // Backwards always, for the part ends above; forwards only where it goes on behind its last cell.
        let behind = match taking.beside {
            _ if !taking.is_open => return Ok(None),
            Some(beside) if slots.end >= cells.slot_count() => {
                let cell = tree::leaf(beside.guard.bytes(), tree::FIRST_CELL);
                self.gap_name(Some(sound(pool, beside.page, cell)?.key))
            }
            _ => self.gap_at(pool, taking.leaf.page, taking.leaf.guard.bytes(), slots.end)?,
        };
        Ok(Some(behind).filter(taken))
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
        let mut beside: Option<Leaf<PageRead<'_>>> = None;
        let mut missing = scan.next_portion(Direction::Backwards);
        loop {
            let cells = sound(pool, leaf.page, Cells::of(leaf.guard.bytes()))?;
            let begin = first_slot(pool, leaf.page, cells, as_slice(&scan.from))?;
            let end = (last_slot(pool, leaf.page, cells, as_slice(&scan.to))? + 1).max(begin);
            let most = u16::try_from(missing).unwrap_or(u16::MAX);
            let start = begin.max(end.saturating_sub(most));
            let (previous, _) = links(pool, &leaf)?;
            let is_first = begin > tree::FIRST_CELL || previous.is_none();
            let is_last = is_first && start == begin;
            let slots = start..end;
            if slots.is_empty() && !is_last && beside.is_some() {
                return Err(not_a_node(pool, leaf.page, "a leaf with keys before those behind it"));
            }
            if is_last || !slots.is_empty() {
                let near = match is_last {
                    true => scan.part().0,
                    false => Cut::At(key_in(pool, &leaf, cells, start)?, Side::Before),
                };
                let part = (near, scan.part().1);
                let is_done = is_last || part.0 <= scan.part().0;
                let beside = beside.as_ref();
                let taking = Taking { leaf: &leaf, beside, slots: slots.clone(), is_open: true };
                if let Some(name) = self.enter(scan, &taking, part, cells)? {
                    return Ok(Fetched::Wait(name));
                }
                missing -= scan.took(Direction::Backwards, leaf.page, pool, cells, slots)?;
                scan.done = is_done;
            }
            if scan.done || start > begin || missing == 0 {
                return Ok(Fetched::Portion);
            }
            let Some(page) = previous else { return Ok(Fetched::Portion) };
            match neighbours(pool, leaf, beside, page, scan)? {
                Some((before, behind)) => (leaf, beside) = (before, Some(behind)),
                None => return Ok(Fetched::Portion),
            }
        }
    }
}

/// The leaf before this one and this one, latched from left to right: whoever walks so would else wait for this thread. So it lets
/// go first; `None` if they are not neighbours any more, or something of the range has come into this one. (Both links change
/// in one step, under both latches: if this leaf is as it was, and the one before leads elsewhere, they never were.)
fn neighbours<'p>(
    pool: &'p BufferPool,
    leaf: Leaf<PageRead<'p>>,
    beside: Option<Leaf<PageRead<'p>>>,
    before: PageId,
    scan: &Scan,
) -> Result<Option<(Leaf<PageRead<'p>>, Leaf<PageRead<'p>>)>> {
    let (page, lsn) = (leaf.page, page_lsn(leaf.guard.bytes()));
    drop((leaf, beside));
    let before = Leaf { page: before, guard: pool.fix_read(before)? };
    let node = tree::node(before.guard.bytes());
    if !matches!(node, Some(Node::Leaf { next, .. }) if next == Some(page)) {
        let other = before.page;
        drop(before); // Who knows on which side of this one it stands.
        if page_lsn(pool.fix_read(page)?.bytes()) == lsn {
            return Err(not_a_node(pool, other, "the leaf before the one that leads to it"));
        }
        return Ok(None);
    }
    let behind = Leaf { page, guard: pool.fix_read(page)? };
    let cells = sound(pool, page, Cells::of(behind.guard.bytes()))?;
    let is_new = last_slot(pool, page, cells, as_slice(&scan.to))? >= tree::FIRST_CELL;
    Ok((!is_new).then_some((before, behind)))
}

fn key_in<'l>(
    pool: &BufferPool,
    leaf: &Leaf<PageRead<'_>>,
    cells: Cells<'l>,
    slot: u16,
) -> Result<&'l [u8]> {
    Ok(sound(pool, leaf.page, cells.leaf(slot))?.key)
}

/// Whether the range has this key, and nothing beyond it on this side: then what lies there needs no lock.
fn ends_with(bound: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    matches!(bound, Bound::Included(end) if end == key)
}

fn links(pool: &BufferPool, leaf: &Leaf<PageRead<'_>>) -> Result<(Option<PageId>, Option<PageId>)> {
    match node_of(pool, leaf.page, leaf.guard.bytes())? {
        // Nobody may latch a page twice: one who waits for it in between would stop both.
        Node::Leaf { previous, next } if [previous, next].contains(&Some(leaf.page)) => {
            Err(not_a_node(pool, leaf.page, "a leaf that does not lead to itself"))
        }
        Node::Leaf { previous, next } => Ok((previous, next)),
        Node::Inner { .. } => Err(not_a_node(pool, leaf.page, "a leaf")),
    }
}

/// The first slot of the leaf that is in the range.
fn first_slot(
    pool: &BufferPool,
    page: PageId,
    cells: Cells<'_>,
    from: Bound<&[u8]>,
) -> Result<u16> {
    Ok(match from {
        Bound::Unbounded => tree::FIRST_CELL,
        Bound::Included(key) => sound(pool, page, cells.find(key))?.slot(),
        Bound::Excluded(key) => match sound(pool, page, cells.find(key))? {
            Place::At(slot) => slot + 1,
            Place::Before(slot) => slot,
        },
    })
}

/// The last slot of the leaf that is in the range, or 0.
fn last_slot(pool: &BufferPool, page: PageId, cells: Cells<'_>, to: Bound<&[u8]>) -> Result<u16> {
    Ok(match to {
        Bound::Unbounded => cells.slot_count().saturating_sub(1),
        Bound::Excluded(key) => sound(pool, page, cells.find(key))?.slot() - 1,
        Bound::Included(key) => match sound(pool, page, cells.find(key))? {
            Place::At(slot) => slot,
            Place::Before(slot) => slot - 1,
        },
    })
}
