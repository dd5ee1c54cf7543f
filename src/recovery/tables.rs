//! The tables as analysis rebuilds them, record by record. Pure.
//!
//! A checkpoint's copies of the tables were taken at some moment between its begin and its end
//! records. So when an end record comes up, what was read since the begin record is newer or as
//! new, but for what lies before the begin record: that only the checkpoint knows.

use std::collections::BTreeSet;

use crate::config::{Broken, Sabotage};
use crate::event::{Event, Observers};
use crate::ids::{Lsn, PageId, TxnId};
use crate::record::{ChangeOutline, EndCheckpoint, LogRecord, TransactionLink};
use crate::tables::{DirtyPageTable, TransactionEntry, TransactionState, TransactionTable};

/// Pages with higher numbers have no bit in [`MetPages`], which so takes 16 MiB at most.
const MOST_MET_PAGES: u64 = 1 << 27;

/// What is wrong with a record that contradicts what was read before.
pub type Contradiction = &'static str;

/// Pages that a record was met for, one bit each: nearly every record is of such a page, and the table
/// of dirty pages is too large for the processor's caches.
#[derive(Default)]
struct MetPages(Vec<u64>);

impl MetPages {
    /// Whether the page was not met before; pages with high numbers are always met for the first time.
    fn is_first(&mut self, page: PageId) -> bool {
        if page.0 >= MOST_MET_PAGES {
            return true;
        }
        let (word, bit) = ((page.0 / 64) as usize, 1 << (page.0 % 64));
        if word >= self.0.len() {
            self.0.resize((word + 1).next_power_of_two(), 0);
        }
        let first = self.0[word] & bit == 0;
        self.0[word] |= bit;
        first
    }
}

/// The tables while analysis reads.
pub struct Rebuilt {
    /// The checkpoint that analysis began at.
    begin_lsn: Lsn,
    /// Pages that may be older on disk.
    pub dirty_pages: DirtyPageTable,
    met: MetPages,
    /// Transactions without an end record.
    pub transactions: TransactionTable,
    /// Transactions that ended before the checkpoint was complete: its copy of the table may still
    /// have them.
    ended: BTreeSet<TxnId>,
    /// No transaction so far has this number or a higher one.
    pub next_txn: TxnId,
    /// Parts of the checkpoint read, of how many.
    parts: (u32, u32),
    broken: Broken,
    observers: Observers,
}

/// The state that a record takes its transaction to, if it does.
fn state_after(record: &LogRecord<'_>) -> Option<TransactionState> {
    match record {
        LogRecord::Commit(_) => Some(TransactionState::Committing),
        LogRecord::Rollback(_) => Some(TransactionState::RollingBack),
        LogRecord::Prepare(prepare) if prepare.is_last() => Some(TransactionState::Prepared),
        _ => None,
    }
}

impl Rebuilt {
    /// Empty tables, before the begin record at `begin_lsn` is read.
    pub fn new(begin_lsn: Lsn, broken: Broken, observers: Observers) -> Self {
        Self {
            begin_lsn,
            dirty_pages: DirtyPageTable::default(),
            met: MetPages::default(),
            transactions: TransactionTable::default(),
            ended: BTreeSet::new(),
            next_txn: TxnId::FIRST,
            parts: (0, u32::MAX),
            broken,
            observers,
        }
    }

    /// Whether all end records of the checkpoint were read.
    pub fn is_complete(&self) -> bool {
        self.parts.0 == self.parts.1
    }

    /// Takes in a record that changes a page.
    pub fn read_change(&mut self, lsn: Lsn, change: &ChangeOutline) -> Result<(), Contradiction> {
        if let Some(link) = change.link {
            self.read_link(lsn, link, Some(change.undo_next_lsn), None)?;
        }
        self.dirtied(change.page, lsn);
        Ok(())
    }

    /// Takes in any other record.
    pub fn read(&mut self, lsn: Lsn, record: &LogRecord<'_>) -> Result<(), Contradiction> {
        let several = matches!(record, LogRecord::StructureChange(_));
        if record.changes_pages() && !several {
            return Err("a change without an outline");
        }
        if let Some(link) = record.link() {
            let undo_next_lsn = match record {
                LogRecord::StructureChange(_) => Some(Some(lsn)),
                LogRecord::NestedTopActionEnd(record) => Some(record.undo_next_lsn),
                // These change nothing; undo finds its way from the record before.
                _ => None,
            };
            self.read_link(lsn, link, undo_next_lsn, state_after(record))?;
        }
        record.page_changes().for_each(|change| self.dirtied(change.page, lsn));
        match record {
            LogRecord::End(end) => {
                self.transactions.remove(end.link.txn);
                self.observers.emit(|| Event::TransactionGone { txn: end.link.txn, lsn });
                if !self.is_complete() {
                    self.ended.insert(end.link.txn);
                }
            }
            LogRecord::Restart(restart) => self.none_from(restart.next_txn)?,
            LogRecord::EndCheckpoint(end) if end.begin_lsn == self.begin_lsn => {
                self.read_end_checkpoint(lsn, end)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// No transaction so far has the number `next` or a higher one, says a record.
    fn none_from(&mut self, next: TxnId) -> Result<(), Contradiction> {
        if next.get() > TxnId::LIMIT {
            return Err("a transaction number that leaves none for others");
        }
        self.next_txn = self.next_txn.max(next);
        Ok(())
    }

    /// There was a transaction with this number.
    fn seen(&mut self, txn: TxnId) -> Result<(), Contradiction> {
        self.none_from(TxnId::new(txn.get().saturating_add(1)).unwrap_or(txn))
    }

    fn dirtied(&mut self, page: PageId, lsn: Lsn) {
        if self.met.is_first(page) && self.dirty_pages.rec_lsn(page).is_none() {
            self.dirty_pages.dirtied(page, lsn);
            self.observers.emit(|| Event::PageDirty {
                page,
                rec_lsn: lsn,
                from_checkpoint: false,
                replaced: None,
            });
        }
    }

    fn read_link(
        &mut self,
        lsn: Lsn,
        link: TransactionLink,
        undo_next_lsn: Option<Option<Lsn>>,
        state: Option<TransactionState>,
    ) -> Result<(), Contradiction> {
        if self.ended.contains(&link.txn) {
            return Err("a record of a transaction that has ended");
        }
        let complete = self.is_complete();
        self.seen(link.txn)?;
        let entry = self.transactions.entry(link.txn);
        let known = entry.last_lsn.is_some();
        if known && entry.last_lsn != link.prev_lsn {
            return Err("a prev_lsn that is not the transaction's record before");
        }
        if complete && !known && link.prev_lsn.is_some() {
            return Err("a record of a transaction that has ended, or that the checkpoint lacks");
        }
        let as_before = if known { entry.undo_next_lsn } else { link.prev_lsn };
        entry.logged(lsn, undo_next_lsn.unwrap_or(as_before));
        let state = state.unwrap_or(entry.state);
        if state < entry.state {
            return Err("a record of a transaction that is ending already");
        }
        if (state, entry.state) == (TransactionState::Prepared, TransactionState::Prepared) {
            return Err("a record of a transaction in doubt, which does not decide upon it");
        }
        // Undo will not go back the way it came: a CLR, the end of a nested top action, …
        let leads_elsewhere = undo_next_lsn.is_some_and(|next| next != Some(lsn));
        let is_news = !known || state != entry.state || leads_elsewhere;
        entry.state = state;
        let entry = *entry;
        if is_news {
            self.noted(link.txn, &entry, false);
        } else {
            let (txn, undo_next_lsn) = (link.txn, entry.undo_next_lsn);
            self.observers.emit(|| Event::TransactionAdvanced {
                txn,
                last_lsn: lsn,
                undo_next_lsn,
            });
        }
        Ok(())
    }

    fn noted(&self, txn: TxnId, entry: &TransactionEntry, from_checkpoint: bool) {
        let TransactionEntry { state, last_lsn, undo_next_lsn, .. } = *entry;
        self.observers.emit(|| Event::TransactionNoted {
            txn,
            state,
            last_lsn,
            undo_next_lsn,
            from_checkpoint,
        });
    }

    fn read_end_checkpoint(&mut self, lsn: Lsn, end: &EndCheckpoint) -> Result<(), Contradiction> {
        if end.part != self.parts.0 {
            return Err("a part of the checkpoint that is not the next one");
        }
        self.parts = (end.part + 1, end.parts);
        self.none_from(end.next_txn)?;
        for (page, rec_lsn) in &end.dirty_pages {
            if *rec_lsn > lsn {
                return Err("a rec_lsn from the future");
            }
            let (page, rec_lsn) = (*page, *rec_lsn);
            let replaced = self.dirty_pages.rec_lsn(page);
            self.dirty_pages.replace(page, rec_lsn);
            let from_checkpoint = true;
            self.observers.emit(|| Event::PageDirty { page, rec_lsn, from_checkpoint, replaced });
        }
        for (txn, copy) in &end.transactions {
            self.merge(lsn, *txn, copy)?;
        }
        Ok(())
    }

    fn merge(
        &mut self,
        lsn: Lsn,
        txn: TxnId,
        copy: &TransactionEntry,
    ) -> Result<(), Contradiction> {
        if copy.last_lsn >= Some(lsn) {
            return Err("a last_lsn from the future");
        }
        if self.ended.contains(&txn) && !self.broken.is(Sabotage::EndedResurrected) {
            return Ok(()); // It ended after the copy was taken: it is not raised again.
        }
        self.seen(txn)?;
        match self.transactions.get(txn) {
            None => {
                self.transactions.insert(txn, *copy);
                self.noted(txn, copy, true);
            }
            Some(read) if read.last_lsn < copy.last_lsn => {
                return Err("a last_lsn that is not in the log");
            }
            Some(read) => {
                // Its commit may stand before the begin record, and only a page freed after it.
                let state = read.state.max(copy.state);
                let first_lsn = copy.first_lsn.or(read.first_lsn);
                self.transactions.insert(txn, TransactionEntry { state, first_lsn, ..*read });
            }
        }
        Ok(())
    }
}
