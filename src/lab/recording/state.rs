//! How things stand after an event: what follows from all events so far.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::buffer::Image;
use crate::event::{Event, SkipReason};
use crate::ids::{Lsn, PageId, TxnId};
use crate::page;
use crate::record::{LogRecord, padded};
use crate::tables::{TransactionEntry, TransactionState};

/// What a record that was appended says, as far as the tables change by it.
#[derive(Clone)]
pub struct Appended {
    lsn: Lsn,
    end: u64,
    txn: Option<TxnId>,
    pages: Vec<PageId>,
    /// Where undo goes on, if the record says so; an update is undone next itself.
    undo_next: UndoNext,
    state: Option<TransactionState>,
    ends: bool,
}

#[derive(Clone, Copy)]
enum UndoNext {
    This,
    At(Option<Lsn>),
    Unchanged,
}

impl Appended {
    /// Of a record of so many bytes.
    pub fn of(lsn: Lsn, bytes: usize, record: &LogRecord<'_>) -> Self {
        let undo_next = match record {
            LogRecord::Update(_) | LogRecord::StructureChange(_) => UndoNext::This,
            LogRecord::Compensation(clr) => UndoNext::At(clr.undo_next_lsn),
            LogRecord::NestedTopActionEnd(end) => UndoNext::At(end.undo_next_lsn),
            _ => UndoNext::Unchanged,
        };
        let state = match record {
            LogRecord::Commit(_) => Some(TransactionState::Committing),
            LogRecord::Rollback(_) => Some(TransactionState::RollingBack),
            LogRecord::Prepare(prepare) if prepare.part + 1 == prepare.parts => {
                Some(TransactionState::Prepared)
            }
            _ => None,
        };
        Self {
            lsn,
            end: lsn.get() + padded(bytes) as u64,
            txn: record.link().map(|link| link.txn),
            pages: record.page_changes().map(|change| change.page).collect(),
            undo_next,
            state,
            ends: matches!(record, LogRecord::End(_)),
        }
    }
}

/// A page, in memory and on disk.
#[derive(Clone, Copy, Default)]
struct PageAt {
    in_pool: bool,
    memory: Option<Lsn>,
    disk: Option<Lsn>,
    /// Whether what is on the disk is no sound page: it is torn, say.
    damaged: bool,
}

/// The state of things.
#[derive(Default)]
pub struct State {
    flushed: Option<Lsn>,
    end: Option<u64>,
    master: Option<Lsn>,
    redo: Option<Lsn>,
    pages: BTreeMap<PageId, PageAt>,
    pub(super) dirty_pages: BTreeMap<PageId, Lsn>,
    pub(super) transactions: BTreeMap<TxnId, TransactionEntry>,
    is_down: bool,
    /// The pageLSNs in the double-write file when the database went down.
    batch: BTreeMap<PageId, Option<Lsn>>,
}

impl State {
    /// Whether there is no process.
    pub fn is_down(&self) -> bool {
        self.is_down
    }

    /// The process is gone, and with it what was in memory.
    pub fn go_down(&mut self) {
        self.is_down = true;
        self.dirty_pages.clear();
        self.transactions.clear();
        for page in self.pages.values_mut() {
            (page.in_pool, page.memory) = (false, None);
        }
    }

    /// What a crash left: the file of pages, and the batch in the double-write file.
    pub fn look_at_disk(&mut self, pages_file: &[u8], page_size: usize, batch: &[Image]) {
        for (page, at) in &mut self.pages {
            let number = usize::try_from(page.0).ok();
            let bytes = number.and_then(|number| pages_file.chunks_exact(page_size).nth(number));
            at.damaged = bytes.is_some_and(|bytes| page::verify(bytes, *page).is_err());
            at.disk = bytes.filter(|_| !at.damaged).and_then(page::page_lsn);
        }
        let lsn_of = |image: &Image| (image.page, page::page_lsn(&image.bytes));
        self.batch = batch.iter().map(lsn_of).collect();
    }

    /// Takes in an event, and the record that was appended, if one was.
    pub fn take_in(&mut self, event: &Event, appended: Option<&Appended>) {
        match event {
            Event::Appended { .. } => {
                if let Some(appended) = appended {
                    self.appended(appended);
                }
            }
            Event::Forced { durable_lsn } => self.flushed = Some(*durable_lsn),
            Event::CheckpointEnded { begin_lsn, redo_lsn, .. } => {
                (self.master, self.redo) = (Some(*begin_lsn), Some(*redo_lsn));
            }
            Event::AnalysisBegan { .. } => {
                self.go_down();
                self.is_down = false;
            }
            Event::Opened => self.is_down = false,
            Event::LogEndFound { end, .. } => {
                (self.end, self.flushed) = (Some(end.get()), Some(*end));
            }
            Event::TransactionNoted { txn, state, last_lsn, undo_next_lsn, .. } => {
                let entry = self.transactions.entry(*txn).or_default();
                entry.state = *state;
                (entry.last_lsn, entry.undo_next_lsn) = (*last_lsn, *undo_next_lsn);
            }
            Event::TransactionAdvanced { txn, last_lsn, undo_next_lsn } => {
                let entry = self.transactions.entry(*txn).or_default();
                (entry.last_lsn, entry.undo_next_lsn) = (Some(*last_lsn), *undo_next_lsn);
            }
            Event::TransactionGone { txn, .. } | Event::TransactionEnded { txn } => {
                self.transactions.remove(txn);
            }
            other => self.of_pages(other),
        }
    }

    fn of_pages(&mut self, event: &Event) {
        match event {
            Event::PageRead { page } => {
                let page = self.pages.entry(*page).or_default();
                (page.in_pool, page.memory) = (true, page.disk);
            }
            Event::PageEvicted { page } => {
                let page = self.pages.entry(*page).or_default();
                (page.in_pool, page.memory) = (false, None);
            }
            Event::PageWritten { page, page_lsn } => self.written(*page, *page_lsn),
            Event::PageRepaired { page, page_lsn, .. } => self.written(*page, *page_lsn),
            Event::PageRestored { page, .. } => {
                let page_lsn = self.batch.get(page).copied().flatten();
                let at = self.pages.entry(*page).or_default();
                (at.disk, at.damaged) = (page_lsn, false);
            }
            Event::PageDirty { page, rec_lsn, .. } => {
                self.dirty_pages.insert(*page, *rec_lsn);
            }
            Event::RecLsnRaised { page, page_lsn } => {
                // All that the table asked for up to there is on disk; what comes behind, redo will tell.
                self.dirty_pages.remove(page);
                let page = self.pages.entry(*page).or_default();
                (page.memory, page.disk) = (Some(*page_lsn), Some(*page_lsn));
            }
            Event::RedoSkipped { page, reason: SkipReason::PageLsnNotBelow, .. } => {
                self.dirty_pages.remove(page); // Unless a later record is redone.
            }
            Event::Redone { lsn, page } => {
                self.dirty_pages.entry(*page).or_insert(*lsn);
                let page = self.pages.entry(*page).or_default();
                (page.in_pool, page.memory) = (true, Some(*lsn));
            }
            _ => {}
        }
    }

    fn written(&mut self, page: PageId, page_lsn: Option<Lsn>) {
        let at = self.pages.entry(page).or_default();
        (at.disk, at.damaged) = (page_lsn, false);
        if at.memory <= page_lsn {
            self.dirty_pages.remove(&page);
        }
    }

    fn appended(&mut self, record: &Appended) {
        self.end = Some(record.end);
        for page in &record.pages {
            let at = self.pages.entry(*page).or_default();
            (at.in_pool, at.memory) = (true, Some(record.lsn));
            self.dirty_pages.entry(*page).or_insert(record.lsn);
        }
        let Some(txn) = record.txn else { return };
        if record.ends {
            self.transactions.remove(&txn);
            return;
        }
        let entry = self.transactions.entry(txn).or_default();
        entry.first_lsn = entry.first_lsn.or(Some(record.lsn));
        entry.last_lsn = Some(record.lsn);
        match record.undo_next {
            UndoNext::This => entry.undo_next_lsn = Some(record.lsn),
            UndoNext::At(next) => entry.undo_next_lsn = next,
            UndoNext::Unchanged => {}
        }
        entry.state = record.state.unwrap_or(entry.state);
    }

    /// Lines of its tables.
    pub fn lines(&self) -> usize {
        1 + self.pages.len() + self.dirty_pages.len() + self.transactions.len()
    }

    /// All of it, for the page.
    pub fn to_json(&self) -> Value {
        let lsn = |lsn: Option<Lsn>| lsn.map(Lsn::get);
        let pages = self.pages.iter().map(|(page, at)| {
            json!({
                "page": page.0, "in_pool": at.in_pool, "memory": lsn(at.memory), "disk": lsn(at.disk),
                "rec_lsn": lsn(self.dirty_pages.get(page).copied()), "damaged": at.damaged,
            })
        });
        let transactions = self.transactions.iter().map(|(txn, entry)| {
            json!({
                "txn": txn.to_string(), "state": entry.state.to_string(),
                "last_lsn": lsn(entry.last_lsn), "undo_next_lsn": lsn(entry.undo_next_lsn),
            })
        });
        let dirty = self.dirty_pages.iter().map(|(page, rec_lsn)| json!([page.0, rec_lsn.get()]));
        json!({
            "flushed_lsn": lsn(self.flushed),
            "end_lsn": self.end,
            "master_lsn": lsn(self.master),
            "redo_lsn": lsn(self.redo),
            "pages": pages.collect::<Vec<_>>(),
            "dirty_page_table": dirty.collect::<Vec<_>>(),
            "transaction_table": transactions.collect::<Vec<_>>(),
            "crashed": self.is_down,
        })
    }
}
