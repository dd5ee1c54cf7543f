//! Ranges of tables that transactions have read: one entry each, however many keys are in it.
//!
//! ```text
//!   T1 reads a range:   its name "ranges that T1 read of P5" locked shared, and beside it:  [c ......... m)
//!   T2 changes key f:   f locked exclusive; a range of another has it: T2 waits for that name, intention-exclusive
//! ```
//!
//! A range keeps others from changing its keys and from inserting new ones, exactly as locks on all its keys and gaps would.
//! Whoever waits, waits for a *name* like any other: so circles are found, and it is granted when the reader ends.
//!
//! # Why nobody slips through
//!
//! Callers hold the latch of the leaf where a key is, or would be: shared to enter a part of a range, exclusive to change or insert
//! the key. So of a reader and a writer one comes first at the leaf.
//!
//! - *The reader*: the writer meets the range.
//! - *The writer*: its cell is in the leaf, as a ghost if it has deleted it, and it holds the key exclusively to its end. The reader
//!   looks at the locks of all cells of its part. (It need not where nobody else holds the table in a mode
//!   that allows changes: who is to lock a key so has locked the table first.)
//!
//! Invariants:
//! - a transaction has ranges of a table only while it holds the name of its ranges there, shared; nobody else ever asks for more
//!   than intention-exclusive of that;
//! - a writer that waits for a range says which key it *wants*, once it has locked it. Ranges with a key that another wants are
//!   not entered: the reader waits for the key, behind the writer. So readers do not starve writers;
//! - a transaction has at most [`MOST_RANGES`] ranges of a table, so that a writer looks at few. Whoever reads more locks
//!   keys and gaps one by one.

use std::ops::Bound;

use super::table::Table;
use super::{KeyName, LockName, Mode};
use crate::ids::{PageId, TxnId};

/// Ranges of one transaction in one table, at most.
const MOST_RANGES: usize = 64;

/// A place between neighbouring keys, of all that there could be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cut<K> {
    /// Before all keys.
    Lowest,
    /// Just before this key, or just behind it.
    At(K, Side),
    /// Behind all keys.
    Highest,
}

/// On which side of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    /// Before it.
    Before,
    /// Behind it.
    Behind,
}

impl<'k> Cut<&'k [u8]> {
    /// Where a range begins.
    #[must_use]
    pub fn from(bound: Bound<&'k [u8]>) -> Self {
        match bound {
            Bound::Unbounded => Self::Lowest,
            Bound::Included(key) => Self::At(key, Side::Before),
            Bound::Excluded(key) => Self::At(key, Side::Behind),
        }
    }

    /// Where a range ends.
    #[must_use]
    pub fn to(bound: Bound<&'k [u8]>) -> Self {
        match bound {
            Bound::Unbounded => Self::Highest,
            Bound::Included(key) => Self::At(key, Side::Behind),
            Bound::Excluded(key) => Self::At(key, Side::Before),
        }
    }
}

/// A part of a table's keys: from here to there.
pub type Part<'k> = (Cut<&'k [u8]>, Cut<&'k [u8]>);

/// What became of a reader's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// It has read the part: nobody changes anything there until it ends.
    Entered,
    /// This must be waited for, in shared mode, with no latch held; then everything is to be looked at again.
    Wait(LockName),
    /// It has too many ranges: keys and gaps are to be locked.
    KeyByKey,
}

/// What one transaction has read.
#[cfg_attr(test, derive(Clone))]
struct Range {
    txn: TxnId,
    from: Cut<Vec<u8>>,
    to: Cut<Vec<u8>>,
}

fn slice(cut: &Cut<Vec<u8>>) -> Cut<&[u8]> {
    match cut {
        Cut::Lowest => Cut::Lowest,
        Cut::At(key, side) => Cut::At(key, *side),
        Cut::Highest => Cut::Highest,
    }
}

/// Makes `cut` the same as `new`, keeping its memory.
fn set(cut: &mut Cut<Vec<u8>>, new: Cut<&[u8]>) {
    *cut = match (std::mem::replace(cut, Cut::Lowest), new) {
        (_, Cut::Lowest) => Cut::Lowest,
        (_, Cut::Highest) => Cut::Highest,
        (Cut::At(mut key, _), Cut::At(new, side)) => {
            key.clear();
            key.extend_from_slice(new);
            Cut::At(key, side)
        }
        (_, Cut::At(new, side)) => Cut::At(new.to_vec(), side),
    };
}

fn has(part: Part<'_>, key: &[u8]) -> bool {
    part.0 <= Cut::At(key, Side::Before) && Cut::At(key, Side::Behind) <= part.1
}

impl Range {
    fn part(&self) -> Part<'_> {
        (slice(&self.from), slice(&self.to))
    }

    /// Takes the part in, if it is in the range already or goes on where that ends, on either side.
    fn takes_in(&mut self, (from, to): Part<'_>) -> bool {
        let own = self.part();
        if own.0 <= from && to <= own.1 {
            return true;
        }
        if own.1 == from && own.1 <= to {
            set(&mut self.to, to);
            return true;
        }
        let goes_before = own.0 == to && from <= own.0;
        if goes_before {
            set(&mut self.from, from);
        }
        goes_before
    }
}

/// What is read of one table, and what is wanted.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Ranges {
    read: Vec<Range>,
    /// Keys for whose sake somebody waits for a reader.
    wanted: Vec<(TxnId, Vec<u8>)>,
}

impl Ranges {
    fn enter(&mut self, txn: TxnId, part: Part<'_>) -> bool {
        let mut own = self.read.iter_mut().rev().filter(|range| range.txn == txn);
        if own.any(|range| range.takes_in(part)) {
            return true;
        }
        if self.read.iter().filter(|range| range.txn == txn).count() == MOST_RANGES {
            return false;
        }
        let mut range = Range { txn, from: Cut::Lowest, to: Cut::Lowest };
        set(&mut range.from, part.0);
        set(&mut range.to, part.1);
        self.read.push(range);
        true
    }

    fn forget(&mut self, txn: TxnId) {
        self.read.retain(|range| range.txn != txn);
        self.wanted.retain(|(who, _)| *who != txn);
    }

    fn is_empty(&self) -> bool {
        self.read.is_empty() && self.wanted.is_empty()
    }
}

impl Table {
    /// Enters what `txn` is about to read of a table; `keys` are those of all cells in the part.
    pub(super) fn read_part(
        &mut self,
        txn: TxnId,
        root: PageId,
        part: Part<'_>,
        mut keys: impl Iterator<Item = KeyName>,
    ) -> Reading {
        let others = self.ranges.get(&root).map_or(&[][..], |ranges| &ranges.wanted);
        if let Some((_, key)) = others.iter().find(|(who, key)| *who != txn && has(part, key)) {
            return Reading::Wait(LockName::Key(root, KeyName::of(key)));
        }
        if self.others_may_change(txn, root) {
            let mut names = keys.by_ref().map(|key| LockName::Key(root, key));
            if let Some(name) = names.find(|name| !self.could_acquire(txn, *name, Mode::Shared)) {
                return Reading::Wait(name);
            }
        }
        if self.try_acquire(txn, LockName::Ranges(root, txn), Mode::Shared).is_none() {
            return Reading::KeyByKey;
        }
        self.note_ranges(txn, root);
        match self.ranges.entry(root).or_default().enter(txn, part) {
            true => Reading::Entered,
            false => Reading::KeyByKey,
        }
    }

    /// Whether another transaction may have locked keys of the table exclusively.
    fn others_may_change(&self, txn: TxnId, root: PageId) -> bool {
        let table = self.locks.get(&LockName::Table(root));
        table.is_some_and(|lock| lock.holders.iter().any(|h| h.txn != txn && h.mode.changes()))
    }

    /// The name of the ranges of another transaction which has read this key, be it there or not.
    pub(super) fn reader_of(&self, txn: TxnId, root: PageId, key: &[u8]) -> Option<LockName> {
        let mut read = self.ranges.get(&root)?.read.iter();
        let range = read.find(|range| range.txn != txn && has(range.part(), key))?;
        Some(LockName::Ranges(root, range.txn))
    }

    /// The transaction, which has locked the key, is about to wait for its readers.
    pub(super) fn want(&mut self, txn: TxnId, root: PageId, key: &[u8]) {
        let wanted = &mut self.ranges.entry(root).or_default().wanted;
        if !wanted.iter().any(|(who, what)| *who == txn && what == key) {
            wanted.push((txn, key.to_vec()));
        }
        self.note_ranges(txn, root);
    }

    fn note_ranges(&mut self, txn: TxnId, root: PageId) {
        let roots = &mut self.transactions.entry(txn).or_default().ranges_of;
        if !roots.contains(&root) {
            roots.push(root);
        }
    }

    /// Forgets what the transaction has read of these tables, and wanted.
    pub(super) fn forget_ranges(&mut self, txn: TxnId, roots: &[PageId]) {
        for root in roots {
            let Some(ranges) = self.ranges.get_mut(root) else { continue };
            ranges.forget(txn);
            if ranges.is_empty() {
                self.ranges.remove(root);
            }
        }
    }

    /// Who has read ranges of which table, for those who check the invariants.
    #[cfg(test)]
    pub(super) fn readers(&self) -> impl Iterator<Item = (PageId, TxnId)> {
        let all = self.ranges.iter();
        all.flat_map(|(root, ranges)| ranges.read.iter().map(|range| (*root, range.txn)))
    }
}
