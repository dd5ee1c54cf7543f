//! Does what a transaction is told, and compares what comes of it with the model.

use aries::ids::{Lsn, PageId, SlotId, TxnId};
use aries::lock::{LockName, Mode};
use aries::page::SLOT_SIZE;
use aries::txn::Savepoint;
use aries::{Error, Result, Transaction};

use super::locks::Locks;
use super::model::{Change, Deed, Model};
use super::steps::Work;

/// Savepoints of a transaction, with the LSN of its last record then.
pub type Savepoints = Vec<(Savepoint, Option<Lsn>)>;

#[derive(Clone, Default)]
pub struct Oracle {
    pub model: Model,
    pub locks: Locks,
}

fn pick<T>(mut choices: Vec<T>, number: usize) -> Option<T> {
    let count = choices.len().max(1);
    (!choices.is_empty()).then(|| choices.swap_remove(number % count))
}

/// Bytes that differ from place to place.
fn bytes(length: usize, fill: u8) -> Vec<u8> {
    (0..length).map(|at| fill.wrapping_add((at / 7) as u8)).collect()
}

impl Oracle {
    /// A page that the transaction could lock in this mode.
    fn page(&self, txn: TxnId, mode: Mode, number: u8) -> Option<PageId> {
        let pages = self.model.state().pages.iter().filter(|(page, content)| {
            let name = LockName::PageExistence(**page);
            content.freed_by.is_none() && self.locks.admit(txn, name, mode)
        });
        pick(pages.map(|(page, _)| *page).collect(), number.into())
    }

    /// A record, deleted ones included if it is only to be read, that the transaction could lock.
    fn record(&self, txn: TxnId, mode: Mode, number: u16) -> Option<(PageId, SlotId)> {
        let mut choices = Vec::new();
        for (page, content) in &self.model.state().pages {
            let existence = LockName::PageExistence(*page);
            if content.freed_by.is_some() || !self.locks.admit(txn, existence, Mode::Shared) {
                continue;
            }
            for (slot, record) in &content.records {
                let wanted = mode == Mode::Shared || !record.deleted;
                if wanted && self.locks.admit(txn, LockName::Record(*page, *slot), mode) {
                    choices.push((*page, *slot));
                }
            }
        }
        pick(choices, number.into())
    }

    fn lock_record(&mut self, txn: TxnId, page: PageId, slot: SlotId, mode: Mode) {
        self.locks.take(txn, LockName::PageExistence(page), Mode::Shared);
        self.locks.take(txn, LockName::Record(page, slot), mode);
    }

    fn changed(&mut self, txn: &Transaction, change: Change) {
        let lsn = txn.entry().last_lsn.expect("a change is logged");
        self.model.happened(lsn, txn.id(), Deed::Change(change));
    }

    pub fn work(
        &mut self,
        txn: &mut Transaction,
        savepoints: &mut Savepoints,
        work: &Work,
    ) -> Result<()> {
        let id = txn.id();
        match *work {
            Work::Allocate => self.allocate(txn),
            Work::Free { page } => match self.page(id, Mode::Exclusive, page) {
                Some(page) => self.free(txn, page),
                None => Ok(()),
            },
            Work::Insert { page, length, fill } => match self.page(id, Mode::Shared, page) {
                Some(page) => self.insert(txn, page, bytes(length.into(), fill)),
                None => Ok(()),
            },
            Work::Scan { page } => match self.page(id, Mode::Shared, page) {
                Some(page) => self.scan(txn, page),
                None => Ok(()),
            },
            Work::Read { record } => match self.record(id, Mode::Shared, record) {
                Some((page, slot)) => self.read(txn, page, slot),
                None => Ok(()),
            },
            Work::Write { record, .. } | Work::Rewrite { record, .. } | Work::Delete { record } => {
                match self.record(id, Mode::Exclusive, record) {
                    Some((page, slot)) => self.change_record(txn, page, slot, work),
                    None => Ok(()),
                }
            }
            Work::Savepoint => {
                savepoints.push((txn.savepoint().unwrap(), txn.entry().last_lsn));
                Ok(())
            }
            Work::RollbackTo { savepoint } => match pick(savepoints.clone(), savepoint.into()) {
                Some(savepoint) => self.roll_back_to(txn, savepoints, savepoint),
                None => Ok(()),
            },
        }
    }

    fn allocate(&mut self, txn: &mut Transaction) -> Result<()> {
        let page = txn.allocate_page()?;
        self.locks.take(txn.id(), LockName::PageExistence(page), Mode::Exclusive);
        self.changed(txn, Change::Allocate(page));
        Ok(())
    }

    fn free(&mut self, txn: &mut Transaction, page: PageId) -> Result<()> {
        txn.free_page(page)?;
        self.locks.take(txn.id(), LockName::PageExistence(page), Mode::Exclusive);
        self.changed(txn, Change::Free(page));
        Ok(())
    }

    fn insert(&mut self, txn: &mut Transaction, page: PageId, bytes: Vec<u8>) -> Result<()> {
        let content = &self.model.state().pages[&page];
        let records = content.records.values();
        let taken: usize = records.map(|record| record.bytes.len() + SLOT_SIZE).sum();
        let is_tight = taken + bytes.len() > 300;
        if is_tight && self.locks.on_free_slots(txn.id(), page, content) {
            return Ok(()); // It might wait for one of them.
        }
        match txn.insert_record(page, &bytes) {
            Ok(slot) => {
                self.lock_record(txn.id(), page, slot, Mode::Exclusive);
                self.changed(txn, Change::Insert(page, slot, bytes));
            }
            Err(Error::PageFull { .. }) => {
                self.locks.take(txn.id(), LockName::PageExistence(page), Mode::Shared);
                assert!(is_tight, "{page} has room: only {taken} bytes are taken");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn scan(&mut self, txn: &mut Transaction, page: PageId) -> Result<()> {
        let slots = txn.slots(page)?;
        self.locks.take(txn.id(), LockName::PageExistence(page), Mode::Shared);
        let live = self.model.state().pages[&page].live();
        assert_eq!(slots, live.map(|(slot, _)| slot).collect::<Vec<_>>(), "slots of {page}");
        Ok(())
    }

    fn read(&mut self, txn: &mut Transaction, page: PageId, slot: SlotId) -> Result<()> {
        let found = txn.read_record(page, slot)?;
        self.lock_record(txn.id(), page, slot, Mode::Shared);
        let record = &self.model.state().pages[&page].records[&slot];
        let expected = (!record.deleted).then_some(&record.bytes);
        assert_eq!(found.as_ref(), expected, "record {page}.{slot}");
        Ok(())
    }

    fn change_record(
        &mut self,
        txn: &mut Transaction,
        page: PageId,
        slot: SlotId,
        work: &Work,
    ) -> Result<()> {
        let size = self.model.state().pages[&page].records[&slot].bytes.len();
        match *work {
            Work::Delete { .. } => {
                txn.delete_record(page, slot)?;
                self.lock_record(txn.id(), page, slot, Mode::Exclusive);
                self.changed(txn, Change::Delete(page, slot));
            }
            Work::Rewrite { times, .. } => {
                for fill in 0..times {
                    self.write(txn, page, slot, 0, bytes(size, fill))?;
                }
            }
            Work::Write { offset, length, fill, .. } => {
                let offset = usize::from(offset) % size;
                let length = 1 + usize::from(length) % (size - offset);
                self.write(txn, page, slot, offset, bytes(length, fill))?;
            }
            _ => unreachable!("{work:?} changes no record"),
        }
        Ok(())
    }

    fn write(
        &mut self,
        txn: &mut Transaction,
        page: PageId,
        slot: SlotId,
        offset: usize,
        bytes: Vec<u8>,
    ) -> Result<()> {
        let before = txn.entry().last_lsn;
        txn.write_record(page, slot, offset, &bytes)?;
        self.lock_record(txn.id(), page, slot, Mode::Exclusive);
        if txn.entry().last_lsn != before {
            self.changed(txn, Change::Write(page, slot, offset, bytes));
        }
        Ok(())
    }

    /// Savepoints that are rolled back themselves are forgotten.
    fn roll_back_to(
        &mut self,
        txn: &mut Transaction,
        savepoints: &mut Savepoints,
        (savepoint, at): (Savepoint, Option<Lsn>),
    ) -> Result<()> {
        let before = txn.entry().last_lsn;
        txn.rollback_to(savepoint)?;
        if let Some(lsn) = txn.entry().last_lsn.filter(|lsn| Some(*lsn) != before) {
            self.model.happened(lsn, txn.id(), Deed::RollbackTo(at));
            savepoints.retain(|(_, taken_at)| *taken_at <= at);
        }
        Ok(())
    }

    /// A nested top action in which savepoints from before it are out of reach; its own are gone once it has ended.
    pub fn nested(
        &mut self,
        txn: &mut Transaction,
        savepoints: &mut Savepoints,
        inside: &[Work],
        end: bool,
    ) -> Result<()> {
        let start = txn.entry().last_lsn;
        let mut action = txn.nested_top_action()?;
        let mut own_savepoints = Savepoints::new();
        for work in inside {
            self.work(&mut action, &mut own_savepoints, work)?;
        }
        if !end {
            drop(action);
            savepoints.append(&mut own_savepoints);
            return Ok(());
        }
        action.end()?;
        if let Some(lsn) = txn.entry().last_lsn.filter(|lsn| Some(*lsn) != start) {
            self.model.happened(lsn, txn.id(), Deed::NestedEnd(start));
        }
        Ok(())
    }
}
