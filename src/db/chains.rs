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
        for change in record.page_changes() {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ids::SlotId;
    use crate::page::PageOp;
    use crate::record::{End, TransactionLink, Undo, Update};

    fn lsn(at: u64) -> Option<Lsn> {
        Lsn::new(at)
    }

    fn update(txn: u64, prev: u64, page: u64, prev_page: u64) -> LogRecord<'static> {
        LogRecord::Update(Update {
            link: TransactionLink { txn: TxnId::new(txn).unwrap(), prev_lsn: lsn(prev) },
            page: PageId(page),
            prev_page_lsn: lsn(prev_page),
            op: PageOp::MarkGhost { slot: SlotId(0) },
            undo: Undo::RedoOnly,
        })
    }

    fn end(txn: u64, prev: u64) -> LogRecord<'static> {
        let link = TransactionLink { txn: TxnId::new(txn).unwrap(), prev_lsn: lsn(prev) };
        LogRecord::End(End { link, durable_lsn: lsn(1).unwrap() })
    }

    fn faults(records: &[(u64, LogRecord<'_>)]) -> Vec<String> {
        let mut chains = Chains::default();
        records.iter().for_each(|(at, record)| chains.read(lsn(*at).unwrap(), record));
        chains.faults()
    }

    #[test]
    fn chains_that_hold_may_begin_before_what_is_kept() {
        let sound = [
            (100, update(1, 40, 3, 60)),
            (110, update(2, 0, 3, 100)),
            (120, update(1, 100, 4, 0)),
            (130, end(1, 120)),
            (140, update(2, 110, 4, 120)),
        ];
        assert_eq!(faults(&sound), [""; 0]);
    }

    #[test]
    fn each_pointer_that_leads_elsewhere_is_told() {
        let wrong_prev = faults(&[(100, update(1, 0, 3, 0)), (110, update(1, 90, 4, 0))]);
        assert_eq!(
            wrong_prev,
            ["record 000000000110 of T1: expected prev_lsn 000000000100, found 000000000090"]
        );
        let wrong_page = faults(&[(100, update(1, 0, 3, 0)), (110, update(1, 100, 3, 0))]);
        assert_eq!(
            wrong_page,
            ["record 000000000110 of P3: expected prev_page_lsn 000000000100, found nil"]
        );
        let nobodys = faults(&[(100, update(1, 0, 3, 0)), (110, end(2, 104))]);
        assert_eq!(
            nobodys,
            ["record 000000000110 of T2: expected prev_lsn nil or one before 000000000100, found \
              000000000104"]
        );
    }

    #[test]
    fn a_page_carries_the_lsn_of_its_last_record() {
        let mut chains = Chains::default();
        chains.read(lsn(100).unwrap(), &update(1, 0, 3, 0));
        let fault = |page, at| chains.fault_of(PageId(page), lsn(at));
        assert_eq!(fault(3, 100), None);
        assert!(fault(3, 90).is_some() && fault(3, 0).is_some() && fault(3, 110).is_some());
        assert!(fault(4, 0).is_none() && fault(4, 99).is_none());
        assert!(fault(4, 100).is_some() && fault(4, 110).is_some());
    }

    #[test]
    fn what_is_wrong_everywhere_is_not_told_for_ever() {
        let mut chains = Chains::default();
        for at in 1..500 {
            chains.read(lsn(at * 8).unwrap(), &update(1, 1, 3, 1));
        }
        let told = chains.faults();
        assert_eq!(told.len(), MOST_TOLD + 1);
        assert_eq!(told[MOST_TOLD], format!("and {} more", 2 * 498 - MOST_TOLD));
    }
}
