//! What a database should hold, kept the plain way: maps in memory, and a list of what happened.
//!
//! Each [`Event`] carries the LSN of the last log record that it wrote. Whatever a crash leaves of
//! the log is a prefix, so [`Model::after_crash`] replays the events of that prefix and undoes the
//! transactions that it leaves without an end, but for those in doubt. No page, no frame, no pageLSN is known here.

use std::collections::BTreeMap;

use aries::ids::{Lsn, PageId, SlotId, TxnId};
use aries::lock::{LockName, Mode};

/// The pages in use.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    pub pages: BTreeMap<PageId, Page>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Who is freeing it.
    pub freed_by: Option<TxnId>,
    pub records: BTreeMap<SlotId, Record>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub bytes: Vec<u8>,
    /// Its deleter may still want it back, or has ended.
    pub deleted: bool,
}

impl Page {
    /// The records that readers see.
    pub fn live(&self) -> impl Iterator<Item = (SlotId, &[u8])> {
        let live = self.records.iter().filter(|(_, record)| !record.deleted);
        live.map(|(slot, record)| (*slot, record.bytes.as_slice()))
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    Allocate(PageId),
    Free(PageId),
    Insert(PageId, SlotId, Vec<u8>),
    /// Bytes from an offset on, of which only those that differ count.
    Write(PageId, SlotId, usize, Vec<u8>),
    Delete(PageId, SlotId),
}

#[derive(Clone)]
enum Inverse {
    Unallocate(PageId),
    Unfree(PageId),
    Remove(PageId, SlotId),
    Restore(PageId, SlotId, usize, Vec<u8>),
    Undelete(PageId, SlotId),
}

impl Inverse {
    fn page(&self) -> PageId {
        match self {
            Self::Unallocate(page)
            | Self::Unfree(page)
            | Self::Remove(page, _)
            | Self::Restore(page, ..)
            | Self::Undelete(page, _) => *page,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    Change(Change),
    /// Undoes what the transaction changed after this LSN.
    RollbackTo(Option<Lsn>),
    /// What the transaction changed after this LSN is not undone any more.
    NestedEnd(Option<Lsn>),
    /// The transaction is in doubt.
    Prepare(InDoubt),
    Commit,
    /// From here on, a crash rolls back what was in doubt.
    RollbackBegan,
    Rollback,
}

/// A transaction in doubt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InDoubt {
    pub first_lsn: Lsn,
    pub prepare_lsn: Lsn,
    /// What it still holds.
    pub locks: Vec<(LockName, Mode)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub lsn: Lsn,
    pub txn: TxnId,
    pub deed: Deed,
}

/// A state with what its open transactions would undo.
#[derive(Clone, Default)]
pub struct Running {
    pub state: State,
    pub in_doubt: BTreeMap<TxnId, InDoubt>,
    undo: BTreeMap<TxnId, Vec<(Lsn, Inverse)>>,
}

impl Running {
    fn apply(&mut self, event: &Event) {
        let txn = event.txn;
        match &event.deed {
            Deed::Change(change) => {
                let inverse = self.change(txn, change);
                self.undo.entry(txn).or_default().push((event.lsn, inverse));
            }
            Deed::RollbackTo(savepoint) => self.undo_after(txn, *savepoint),
            Deed::NestedEnd(start) => self.nested_end(txn, *start),
            Deed::Prepare(in_doubt) => drop(self.in_doubt.insert(txn, in_doubt.clone())),
            Deed::RollbackBegan => drop(self.in_doubt.remove(&txn)),
            Deed::Commit => self.ended(txn),
            Deed::Rollback => self.roll_back(txn),
        }
    }

    fn change(&mut self, txn: TxnId, change: &Change) -> Inverse {
        match change.clone() {
            Change::Allocate(page) => {
                let before = self.state.pages.insert(page, Page::default());
                assert!(before.is_none(), "{page} was allocated while in use");
                Inverse::Unallocate(page)
            }
            Change::Free(page) => {
                self.page(page).freed_by = Some(txn);
                Inverse::Unfree(page)
            }
            Change::Insert(page, slot, bytes) => {
                let record = Record { bytes, deleted: false };
                let before = self.page(page).records.insert(slot, record);
                assert!(before.is_none_or(|old| old.deleted), "{page}.{slot} was overwritten");
                Inverse::Remove(page, slot)
            }
            Change::Write(page, slot, offset, bytes) => {
                let (skip, bytes) = difference(&self.record(page, slot).bytes[offset..], &bytes);
                let old = self.overwrite(page, slot, offset + skip, bytes);
                Inverse::Restore(page, slot, offset + skip, old)
            }
            Change::Delete(page, slot) => {
                self.record(page, slot).deleted = true;
                Inverse::Undelete(page, slot)
            }
        }
    }

    /// What was done after `start` stays; pages freed then are free.
    fn nested_end(&mut self, txn: TxnId, start: Option<Lsn>) {
        let undo = self.undo.entry(txn).or_default();
        let kept = undo.partition_point(|(lsn, _)| Some(*lsn) <= start);
        for (_, inverse) in undo.split_off(kept) {
            if let Inverse::Unfree(page) = inverse {
                self.state.pages.remove(&page);
            }
        }
    }

    fn undo_after(&mut self, txn: TxnId, savepoint: Option<Lsn>) {
        while let Some((lsn, _)) = self.undo.entry(txn).or_default().last()
            && Some(*lsn) > savepoint
        {
            let (_, inverse) = self.undo.get_mut(&txn).and_then(Vec::pop).expect("just seen");
            self.undo(inverse);
        }
    }

    fn undo(&mut self, inverse: Inverse) {
        if !self.state.pages.contains_key(&inverse.page()) {
            return; // A nested top action has freed it for good.
        }
        match inverse {
            Inverse::Unallocate(page) => drop(self.state.pages.remove(&page)),
            Inverse::Unfree(page) => self.page(page).freed_by = None,
            Inverse::Remove(page, slot) => drop(self.page(page).records.remove(&slot)),
            Inverse::Restore(page, slot, offset, old) => {
                self.overwrite(page, slot, offset, &old);
            }
            Inverse::Undelete(page, slot) => self.record(page, slot).deleted = false,
        }
    }

    fn roll_back(&mut self, txn: TxnId) {
        self.undo_after(txn, None);
        self.ended(txn);
    }

    /// What it was freeing is free.
    fn ended(&mut self, txn: TxnId) {
        self.undo.remove(&txn);
        self.in_doubt.remove(&txn);
        self.state.pages.retain(|_, page| page.freed_by != Some(txn));
    }

    fn page(&mut self, page: PageId) -> &mut Page {
        self.state.pages.get_mut(&page).expect("a page in use")
    }

    fn record(&mut self, page: PageId, slot: SlotId) -> &mut Record {
        self.page(page).records.get_mut(&slot).expect("a record that is there")
    }

    fn overwrite(&mut self, page: PageId, slot: SlotId, offset: usize, new: &[u8]) -> Vec<u8> {
        let target = &mut self.record(page, slot).bytes[offset..offset + new.len()];
        let old = target.to_vec();
        target.copy_from_slice(new);
        old
    }
}

/// The part of `new` that differs from what `old` begins with, and how many bytes come before it.
fn difference<'n>(old: &[u8], new: &'n [u8]) -> (usize, &'n [u8]) {
    let differs = |at: &usize| old[*at] != new[*at];
    match ((0..new.len()).find(differs), (0..new.len()).rfind(differs)) {
        (Some(first), Some(last)) => (first, &new[first..=last]),
        _ => (0, &[]),
    }
}

/// What happened since the database was opened, and what it should hold now.
#[derive(Clone, Default)]
pub struct Model {
    opened: Running,
    events: Vec<Event>,
    running: Running,
}

impl Model {
    /// What the running database shows.
    pub fn state(&self) -> &State {
        &self.running.state
    }

    /// The transactions in doubt.
    pub fn in_doubt(&self) -> &BTreeMap<TxnId, InDoubt> {
        &self.running.in_doubt
    }

    /// All that is known of this moment.
    pub fn running(&self) -> &Running {
        &self.running
    }

    pub fn happened(&mut self, lsn: Lsn, txn: TxnId, deed: Deed) {
        let event = Event { lsn, txn, deed };
        self.running.apply(&event);
        self.events.push(event);
    }

    /// The commit records since the database was opened.
    pub fn commits(&self) -> impl Iterator<Item = Lsn> {
        self.events.iter().filter(|event| event.deed == Deed::Commit).map(|event| event.lsn)
    }

    /// What a restart must come to that finds the log up to `end`.
    pub fn after_crash(&self, end: Lsn) -> Running {
        let mut running = self.opened.clone();
        for event in self.events.iter().filter(|event| event.lsn < end) {
            running.apply(event);
        }
        let losers = running.undo.keys().filter(|txn| !running.in_doubt.contains_key(txn));
        for loser in losers.copied().collect::<Vec<TxnId>>() {
            running.roll_back(loser);
        }
        running
    }

    /// A restart has seen the log up to `end`, and no further: the rest is lost for good.
    pub fn cut(&mut self, end: Lsn) {
        self.events.retain(|event| event.lsn < end);
    }

    /// The database was opened with this in it.
    pub fn opened(&mut self, running: Running) {
        *self = Self { opened: running.clone(), events: Vec::new(), running };
    }
}
