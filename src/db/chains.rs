//! Whether each record of the log leads to the record before: that of its transaction (`prev_lsn`), and that
//! of its page (`prev_page_lsn`); and whether each page carries the LSN of the last record that changes it.
//!
//! Undo follows the one chain and redo the other, so a broken one would be found in the middle of a restart.
//! Here it is found while nothing hangs on it. Memory: a position for each page and transaction met.

use std::collections::HashMap;

use crate::ids::{BuildNumberHasher, Lsn, PageId, TxnId};
use crate::record::LogRecord;

/// More faults are counted, not told.
const MOST_TOLD: usize = 100;

/// The ends of all chains, as far as the log was read.
#[derive(Default)]
pub struct Chains {
    /// Where reading began: what lies before is not kept.
    start: Option<Lsn>,
    transactions: HashMap<TxnId, Lsn, BuildNumberHasher>,
    pages: HashMap<PageId, Lsn, BuildNumberHasher>,
    faults: Vec<String>,
    untold: usize,
}

impl Chains {
    /// Takes in the next record.
    pub fn read(&mut self, lsn: Lsn, record: &LogRecord<'_>) {
        let start = *self.start.get_or_insert(lsn);
        if let Some(link) = record.link() {
            let before = match record {
                LogRecord::End(_) => self.transactions.remove(&link.txn),
                _ => self.transactions.insert(link.txn, lsn),
            };
            self.check(start, (lsn, "prev_lsn", &link.txn), link.prev_lsn, before);
        }
        if let Some(change) = record.page_change() {
            let before = self.pages.insert(change.page, lsn);
            let what = (lsn, "prev_page_lsn", &change.page as &dyn std::fmt::Display);
            self.check(start, what, change.prev_page_lsn, before);
        }
    }

    fn check(
        &mut self,
        start: Lsn,
        (lsn, pointer, of): (Lsn, &str, &dyn std::fmt::Display),
        found: Option<Lsn>,
        before: Option<Lsn>,
    ) {
        let told = |lsn: Option<Lsn>| lsn.map_or_else(|| "nil".to_owned(), |lsn| lsn.to_string());
        let expected = match before {
            Some(_) if found == before => return,
            Some(before) => before.to_string(),
            None if found < Some(start) => return,
            None => format!("nil or one before {start}"),
        };
        let found = told(found);
        self.fault(format!("record {lsn} of {of}: expected {pointer} {expected}, found {found}"));
    }

    /// What is wrong with the LSN that a page carries, all of the log having been read.
    #[must_use]
    pub fn fault_of(&self, page: PageId, page_lsn: Option<Lsn>) -> Option<String> {
        let found = page_lsn.map_or_else(|| "nil".to_owned(), |lsn| lsn.to_string());
        let expected = match (self.pages.get(&page), self.start) {
            (Some(last), _) if page_lsn == Some(*last) => return None,
            (Some(last), _) => format!("{last}, that of its last record in the log"),
            (None, Some(start)) if page_lsn >= Some(start) => {
                format!("one before {start}, for the log has no record of it")
            }
            (None, _) => return None,
        };
        Some(format!("expected pageLSN {expected}, found {found}"))
    }

    fn fault(&mut self, fault: String) {
        match self.faults.len() {
            0..MOST_TOLD => self.faults.push(fault),
            _ => self.untold += 1,
        }
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.faults.clone();
        if self.untold > 0 {
            faults.push(format!("and {} more", self.untold));
        }
        faults
    }
}
