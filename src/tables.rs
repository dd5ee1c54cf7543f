//! The two tables of the paper, as plain values: what a checkpoint records and analysis rebuilds.
//!
//! - The **dirty page table** tells for each page that may differ from its copy on disk the
//!   `rec_lsn`: no record before it needs to be redone on that page.
//! - The **transaction table** tells for each transaction without an end record its state, its
//!   last record, and where undo has to go on.
//!
//! Invariants, asserted at each change:
//! - `first_lsn <= last_lsn`, and `undo_next_lsn <= last_lsn`;
//! - `last_lsn` of a transaction only grows.
//!
//! Source: ARIES, sections 4.3 (transaction table), 4.4 (dirty page table).

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::ids::{BuildNumberHasher, Lsn, PageId, TxnId};

/// Pages that may be newer in memory than on disk, each with its `rec_lsn`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DirtyPageTable {
    /// Looked up for each log record that restart reads: so no ordered map.
    pages: HashMap<PageId, Lsn, BuildNumberHasher>,
}

impl DirtyPageTable {
    /// Enters a page dirtied at `rec_lsn`; an earlier entry stands.
    pub fn dirtied(&mut self, page: PageId, rec_lsn: Lsn) {
        self.pages.entry(page).or_insert(rec_lsn);
    }

    /// Sets the `rec_lsn` of a page, whatever it was: what a checkpoint saw replaces what analysis
    /// inferred.
    pub fn replace(&mut self, page: PageId, rec_lsn: Lsn) {
        self.pages.insert(page, rec_lsn);
    }

    /// The page's `rec_lsn`, or `None` for a page that is not dirty.
    #[must_use]
    pub fn rec_lsn(&self, page: PageId) -> Option<Lsn> {
        self.pages.get(&page).copied()
    }

    /// The smallest `rec_lsn`: where redo begins.
    #[must_use]
    pub fn redo_lsn(&self) -> Option<Lsn> {
        self.pages.values().min().copied()
    }

    /// All pages in order of their number.
    pub fn iter(&self) -> impl Iterator<Item = (PageId, Lsn)> + '_ {
        let mut pages: Vec<(PageId, Lsn)> =
            self.pages.iter().map(|(page, lsn)| (*page, *lsn)).collect();
        pages.sort_unstable();
        pages.into_iter()
    }

    /// The table in `parts` tables, each with the pages that [`part_of`] says.
    ///
    /// # Panics
    /// If there is to be no part.
    #[must_use]
    pub fn split(&self, parts: usize) -> Vec<Self> {
        let mut tables = vec![Self::default(); parts];
        for (page, rec_lsn) in &self.pages {
            tables[part_of(*page, parts)].pages.insert(*page, *rec_lsn);
        }
        tables
    }

    /// How many pages are dirty.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether no page is dirty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
}

/// Which of `parts` parts of all pages a page belongs to.
#[must_use]
#[allow(clippy::cast_possible_truncation)] // a remainder of a usize
pub fn part_of(page: PageId, parts: usize) -> usize {
    (page.0 % parts as u64) as usize
}

/// Where a transaction stands. The order is that of its life: it never goes back to a lesser state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TransactionState {
    /// It may still do anything.
    Active,
    /// Its prepare record is in the log: it can commit or be rolled back, as others decide.
    Prepared,
    /// It is being rolled back, by itself or by restart.
    RollingBack,
    /// Its commit record is in the log, its end record is not.
    Committing,
}

impl TransactionState {
    /// Whether a transaction that a crash found so is to be undone.
    #[must_use]
    pub fn is_loser(self) -> bool {
        matches!(self, Self::Active | Self::RollingBack)
    }
}

impl TransactionState {
    /// Its name, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Prepared => "prepared",
            Self::RollingBack => "rolling_back",
            Self::Committing => "committing",
        }
    }
}

impl fmt::Display for TransactionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Prepared => "in doubt",
            Self::RollingBack => "rolling back",
            Self::Committing => "committing",
        })
    }
}

/// One line of the transaction table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransactionEntry {
    /// Where it stands.
    pub state: TransactionState,
    /// Its first record: the log is kept from there on as long as it lives.
    pub first_lsn: Option<Lsn>,
    /// Its latest record.
    pub last_lsn: Option<Lsn>,
    /// The next record to undo, nil when nothing is left to undo.
    pub undo_next_lsn: Option<Lsn>,
}

impl TransactionEntry {
    /// A transaction that has logged nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: TransactionState::Active,
            first_lsn: None,
            last_lsn: None,
            undo_next_lsn: None,
        }
    }

    /// Notes that the transaction's record at `lsn` was appended, and where undo goes on from now.
    pub fn logged(&mut self, lsn: Lsn, undo_next_lsn: Option<Lsn>) {
        assert!(self.last_lsn < Some(lsn), "a transaction's records ascend");
        assert!(undo_next_lsn <= Some(lsn), "undo goes backwards");
        self.first_lsn.get_or_insert(lsn);
        self.last_lsn = Some(lsn);
        self.undo_next_lsn = undo_next_lsn;
    }
}

impl Default for TransactionEntry {
    fn default() -> Self {
        Self::new()
    }
}

/// Transactions that have no end record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TransactionTable {
    transactions: BTreeMap<TxnId, TransactionEntry>,
}

impl TransactionTable {
    /// The transaction's line, a new one when it has none.
    pub fn entry(&mut self, txn: TxnId) -> &mut TransactionEntry {
        self.transactions.entry(txn).or_default()
    }

    /// The transaction's line.
    #[must_use]
    pub fn get(&self, txn: TxnId) -> Option<&TransactionEntry> {
        self.transactions.get(&txn)
    }

    /// Sets a transaction's line.
    pub fn insert(&mut self, txn: TxnId, entry: TransactionEntry) {
        self.transactions.insert(txn, entry);
    }

    /// Takes an ended transaction out.
    pub fn remove(&mut self, txn: TxnId) -> Option<TransactionEntry> {
        self.transactions.remove(&txn)
    }

    /// All transactions in order of their number.
    pub fn iter(&self) -> impl Iterator<Item = (TxnId, &TransactionEntry)> + '_ {
        self.transactions.iter().map(|(txn, entry)| (*txn, entry))
    }

    /// The earliest first record: the log is kept from there on.
    #[must_use]
    pub fn first_lsn(&self) -> Option<Lsn> {
        self.transactions.values().filter_map(|entry| entry.first_lsn).min()
    }

    /// How many transactions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lsn(at: u64) -> Lsn {
        Lsn::new(at).unwrap()
    }

    #[test]
    fn the_first_dirtying_counts_until_a_checkpoint_replaces_it() {
        let mut table = DirtyPageTable::default();
        table.dirtied(PageId(3), lsn(10));
        table.dirtied(PageId(3), lsn(20));
        table.dirtied(PageId(4), lsn(15));
        assert_eq!(table.rec_lsn(PageId(3)), Some(lsn(10)));
        assert_eq!(table.redo_lsn(), Some(lsn(10)));
        table.replace(PageId(3), lsn(30));
        assert_eq!(table.redo_lsn(), Some(lsn(15)));
    }

    #[test]
    #[should_panic(expected = "records ascend")]
    fn a_transaction_never_logs_backwards() {
        let mut entry = TransactionEntry::new();
        entry.logged(lsn(10), Some(lsn(10)));
        entry.logged(lsn(9), None);
    }

    #[test]
    fn the_oldest_transaction_keeps_the_log() {
        let mut table = TransactionTable::default();
        table.entry(TxnId::new(2).unwrap()).logged(lsn(50), Some(lsn(50)));
        table.entry(TxnId::new(1).unwrap()).logged(lsn(70), None);
        assert_eq!(table.first_lsn(), Some(lsn(50)));
    }
}
