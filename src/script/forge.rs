//! Log records written by hand, for histories that no call of the engine brings about at will.
//!
//! They are written through the engine's own codec, behind the end of the log of a crashed database on a simulated
//! disk, and pages and tables are kept as the engine would keep them; but nothing reaches a page on the disk.
//! Restart then finds what a crash would have left.

use std::collections::{BTreeMap, BTreeSet};

use super::forged::{Forged, ForgedEntry};
use super::session::{Session, refused};
use crate::buffer::PAGES_FILE;
use crate::disk::SimDisk;
use crate::error::{Error, Result};
use crate::ids::{Lsn, PageId, SlotId, TxnId};
use crate::log::{ControlFile, Geometry, MasterRecord};
use crate::page::{self, PageOp, PageState, space_map};
use crate::record::{
    BeginCheckpoint, Commit, CompensationLogRecord, EncodedRecord, End, EndCheckpoint, LogRecord,
    Rollback, TransactionLink, Undo, Update, padded,
};
use crate::tables::{TransactionEntry, TransactionState, TransactionTable};

/// An update by hand that can be compensated.
#[derive(Clone)]
struct Done {
    lsn: Lsn,
    prev_lsn: Option<Lsn>,
    page: PageId,
    slot: SlotId,
    before: Vec<u8>,
}

/// What a crash left of the log, as the engine knew it.
#[derive(Clone)]
pub struct CrashedLog {
    /// Where it was durable: the next record's LSN.
    pub end: Lsn,
    /// The restart record of the run that crashed.
    pub restart_lsn: Lsn,
    /// The transactions under way.
    pub transactions: TransactionTable,
}

impl CrashedLog {
    /// Takes out transactions that have no record left; gives those that have lost some of theirs.
    fn forget_what_was_lost(&mut self) -> BTreeSet<TxnId> {
        let lost = Some(self.end);
        let logged = self.transactions.iter().filter(|(_, entry)| entry.last_lsn >= lost);
        let (gone, torn_off): (Vec<_>, Vec<_>) = logged
            .map(|(txn, entry)| (txn, entry.first_lsn))
            .partition(|(_, first_lsn)| *first_lsn >= lost);
        for (txn, _) in gone {
            self.transactions.remove(txn);
        }
        torn_off.into_iter().map(|(txn, _)| txn).collect()
    }
}

/// What has been written by hand so far.
pub struct Forge {
    disk: SimDisk,
    master: MasterRecord,
    crashed: CrashedLog,
    /// Transactions of which the crash took the latest records, and left earlier ones.
    torn_off: BTreeSet<TxnId>,
    end: Lsn,
    pages: BTreeMap<PageId, Vec<u8>>,
    /// Updates that are not compensated, of each transaction.
    undoable: BTreeMap<TxnId, Vec<Done>>,
    /// Transactions that free pages.
    freeing: BTreeSet<TxnId>,
    value: u8,
}

impl Forge {
    /// Goes on behind the log that a crash left.
    fn begin(disk: &SimDisk, crashed: &CrashedLog) -> Result<Self> {
        let master = ControlFile::open(disk)?.master();
        let mut crashed = crashed.clone();
        let torn_off = crashed.forget_what_was_lost();
        Ok(Self {
            disk: disk.clone(),
            master,
            end: crashed.end,
            crashed,
            torn_off,
            pages: BTreeMap::new(),
            undoable: BTreeMap::new(),
            freeing: BTreeSet::new(),
            value: b'A',
        })
    }

    fn link(&self, txn: TxnId) -> Result<TransactionLink> {
        if self.torn_off.contains(&txn) {
            return refused(format!(
                "nothing goes on behind {txn}: the crash took its latest records (`force` comes before)"
            ));
        }
        let entry = self.crashed.transactions.get(txn);
        Ok(TransactionLink { txn, prev_lsn: entry.and_then(|entry| entry.last_lsn) })
    }

    /// Writes a record behind the log, on the disk at once.
    fn append(&mut self, record: &LogRecord<'_>) -> Result<Lsn> {
        let (lsn, encoded) = (self.end, EncodedRecord::new(record));
        let geometry = Geometry { segment_bytes: self.master.segment_bytes };
        if padded(encoded.len()) as u64 >= geometry.left_in_segment(lsn.get()) {
            return refused("the log segment is full: records by hand go into one segment");
        }
        let name = geometry.name(geometry.segment_of(lsn.get()));
        let missing = || Error::InvalidInput(format!("{name} is missing"));
        let mut bytes = self.disk.read_file(&name).ok_or_else(missing)?;
        let mut written = Vec::new();
        encoded.append_to(lsn, self.master.epoch, &mut written);
        let at = usize::try_from(geometry.offset(lsn.get())).unwrap_or(usize::MAX);
        let room = bytes.get_mut(at..at.saturating_add(written.len())).ok_or_else(missing)?;
        room.copy_from_slice(&written);
        self.disk.write_file(&name, &bytes);
        let next = lsn.checked_add(written.len() as u64);
        self.end = next.ok_or_else(|| Error::InvalidInput("the log is full".into()))?;
        Ok(lsn)
    }

    /// Notes a transaction's record in the transaction table.
    fn logged(&mut self, txn: TxnId, lsn: Lsn, undo_next: Option<Lsn>, state: TransactionState) {
        let entry = self.crashed.transactions.entry(txn);
        entry.logged(lsn, undo_next);
        entry.state = state;
    }

    fn undo_next(&self, txn: TxnId) -> Option<Lsn> {
        self.crashed.transactions.get(txn).and_then(|entry| entry.undo_next_lsn)
    }

    /// The page as the records by hand have left it.
    fn page(&mut self, page: PageId) -> Result<&mut Vec<u8>> {
        if !self.pages.contains_key(&page) {
            let size = self.master.page_size as usize;
            let begin = usize::try_from(page.0).ok().and_then(|number| number.checked_mul(size));
            let file = self.disk.read_file(PAGES_FILE).unwrap_or_default();
            let bytes = begin.and_then(|begin| file.get(begin..begin.checked_add(size)?));
            let bytes = bytes.ok_or(Error::NoSuchPage { page })?;
            self.pages.insert(page, bytes.to_vec());
        }
        self.pages.get_mut(&page).ok_or(Error::NoSuchPage { page })
    }

    fn apply(&mut self, page: PageId, op: &PageOp<'_>, lsn: Lsn) -> Result<()> {
        let bytes = self.page(page)?;
        op.apply(bytes).map_err(|fault| Error::InvalidInput(fault.to_string()))?;
        page::set_page_lsn(bytes, lsn);
        Ok(())
    }

    fn update(&mut self, txn: TxnId, page: PageId, op: PageOp<'_>, undo: Undo<'_>) -> Result<Lsn> {
        op.check(self.page(page)?).map_err(|fault| Error::InvalidInput(fault.to_string()))?;
        let prev_page_lsn = page::page_lsn(self.page(page)?);
        let record = Update { link: self.link(txn)?, page, prev_page_lsn, op, undo };
        let lsn = self.append(&LogRecord::Update(record))?;
        self.apply(page, &op, lsn)?;
        Ok(lsn)
    }

    /// The transaction changes its own record on the page.
    fn write(&mut self, txn: TxnId, page: PageId, slot: SlotId) -> Result<Lsn> {
        let bytes = self.page(page)?;
        let before = page::record(bytes, slot).ok_or(Error::NoSuchRecord { page, slot })?.to_vec();
        let after = vec![self.value; before.len()];
        self.value = self.value.checked_add(1).unwrap_or(b'A');
        let patch = |bytes| PageOp::Patch { slot, offset: 0, bytes };
        let prev_lsn = self.link(txn)?.prev_lsn;
        let undo = Undo::Physical(patch(&before));
        let lsn = self.update(txn, page, patch(&after), undo)?;
        self.logged(txn, lsn, Some(lsn), TransactionState::Active);
        let done = Done { lsn, prev_lsn, page, slot, before };
        self.undoable.entry(txn).or_default().push(done);
        Ok(lsn)
    }

    /// Compensates the transaction's latest update that is not compensated.
    fn compensate(&mut self, txn: TxnId, page: PageId, undo_next: Option<Lsn>) -> Result<Lsn> {
        let latest = self.undoable.get(&txn).and_then(|done| done.last());
        let Some(done) = latest.filter(|done| done.page == page).cloned() else {
            return refused(format!("the latest update by hand to compensate is none of {page}"));
        };
        if undo_next != done.prev_lsn {
            let lsn = done.prev_lsn.map_or_else(|| "nil".to_owned(), |lsn| lsn.to_string());
            return refused(format!("undo of {} goes on at {lsn}, not there", done.lsn));
        }
        let op = PageOp::Patch { slot: done.slot, offset: 0, bytes: &done.before };
        let prev_page_lsn = page::page_lsn(self.page(page)?);
        let lsn = self.append(&LogRecord::Compensation(CompensationLogRecord {
            link: self.link(txn)?,
            page,
            prev_page_lsn,
            op,
            undo_next_lsn: undo_next,
        }))?;
        self.apply(page, &op, lsn)?;
        self.undoable.entry(txn).or_default().pop();
        let state = self.crashed.transactions.entry(txn).state;
        self.logged(txn, lsn, undo_next, state);
        Ok(lsn)
    }

    /// The transaction frees a page, or, after its commit record, makes it free for good.
    fn set_state(&mut self, txn: TxnId, of: PageId, at_last: bool) -> Result<Lsn> {
        let (map, entry) = space_map::locate(of, self.master.page_size as usize);
        let set = |state| PageOp::SetState { entry, state };
        if at_last {
            let lsn = self.update(txn, map, set(PageState::Free), Undo::RedoOnly)?;
            self.logged(txn, lsn, self.undo_next(txn), TransactionState::Committing);
            return Ok(lsn);
        }
        let undo = Undo::Physical(set(PageState::Used));
        let lsn = self.update(txn, map, set(PageState::FreePending(txn)), undo)?;
        self.logged(txn, lsn, Some(lsn), TransactionState::Active);
        self.freeing.insert(txn);
        Ok(lsn)
    }

    fn commit(&mut self, txn: TxnId) -> Result<Lsn> {
        let lsn = self.append(&LogRecord::Commit(Commit {
            link: self.link(txn)?,
            durable_lsn: self.crashed.end,
            wall_time_micros: 0,
            frees_pages: self.freeing.contains(&txn),
        }))?;
        self.logged(txn, lsn, self.undo_next(txn), TransactionState::Committing);
        Ok(lsn)
    }

    fn roll_back(&mut self, txn: TxnId) -> Result<Lsn> {
        let lsn = self.append(&LogRecord::Rollback(Rollback { link: self.link(txn)? }))?;
        self.logged(txn, lsn, self.undo_next(txn), TransactionState::RollingBack);
        Ok(lsn)
    }

    fn end(&mut self, txn: TxnId) -> Result<Lsn> {
        let record = End { link: self.link(txn)?, durable_lsn: self.crashed.end };
        let lsn = self.append(&LogRecord::End(record))?;
        self.crashed.transactions.remove(txn);
        Ok(lsn)
    }

    fn begin_checkpoint(&mut self) -> Result<Lsn> {
        let (durable_lsn, restart_lsn) = (self.crashed.end, self.crashed.restart_lsn);
        self.append(&LogRecord::BeginCheckpoint(BeginCheckpoint { durable_lsn, restart_lsn }))
    }

    /// After it the master record points at the checkpoint.
    fn end_checkpoint(
        &mut self,
        begin_lsn: Lsn,
        next_txn: TxnId,
        dirty_pages: Vec<(PageId, Lsn)>,
        transactions: Vec<(TxnId, TransactionEntry)>,
    ) -> Result<Lsn> {
        let lsn = self.append(&LogRecord::EndCheckpoint(EndCheckpoint {
            durable_lsn: self.crashed.end,
            begin_lsn,
            next_txn,
            part: 0,
            parts: 1,
            dirty_pages,
            transactions,
        }))?;
        ControlFile::open(&self.disk)?.update_both(|master| {
            master.checkpoint_lsn = begin_lsn;
            master.checkpoint_epoch = master.epoch;
        })?;
        Ok(lsn)
    }
}

impl Session {
    pub(super) fn log_by_hand(&mut self, forged: &Forged) -> Result<()> {
        if self.running.is_some() {
            return refused("records are written by hand after a crash: `crash` comes before");
        }
        let mut forge = match self.forge.take() {
            Some(forge) => forge,
            None => match &self.crashed {
                Some(crashed) => {
                    self.names.cut(crashed.end);
                    Forge::begin(self.sim_disk()?, crashed)?
                }
                None => return refused("records are written by hand after a crash"),
            },
        };
        let written = self.write_by_hand(&mut forge, forged);
        if let Ok(lsn) = written {
            self.names.number_next(lsn, forge.end);
        }
        self.forge = Some(forge);
        // The forge knows no names.
        let told = |error: Error| Error::InvalidInput(self.names.translate(&error.to_string()));
        written.map(drop).map_err(told)
    }

    fn write_by_hand(&mut self, forge: &mut Forge, forged: &Forged) -> Result<Lsn> {
        match forged {
            Forged::Update(name, page) => {
                let (txn, slot) = (self.txn_by_hand(name)?, self.slot_of(name)?);
                forge.write(txn, *page, slot)
            }
            Forged::Compensation(name, page, undo_next) => {
                let undo_next = undo_next.map(|number| self.record_by_hand(number)).transpose()?;
                forge.compensate(self.txn_by_hand(name)?, *page, undo_next)
            }
            Forged::Free(name, page) => forge.set_state(self.txn_by_hand(name)?, *page, false),
            Forged::Freed(name, page) => forge.set_state(self.txn_by_hand(name)?, *page, true),
            Forged::Commit(name) => forge.commit(self.txn_by_hand(name)?),
            Forged::Rollback(name) => forge.roll_back(self.txn_by_hand(name)?),
            Forged::End(name) => forge.end(self.txn_by_hand(name)?),
            Forged::BeginCheckpoint => forge.begin_checkpoint(),
            Forged::EndCheckpoint { begin, dirty, txns } => {
                let begin_lsn = self.record_by_hand(*begin)?;
                let dirty = dirty.iter();
                let dirty = dirty.map(|(page, lsn)| Ok((*page, self.record_by_hand(*lsn)?)));
                let dirty = dirty.collect::<Result<_>>()?;
                let lines = txns.iter().map(|line| self.entry_by_hand(forge, line));
                let lines = lines.collect::<Result<_>>()?;
                let next_txn = TxnId::new(self.highest_txn + 1).unwrap_or(TxnId::FIRST);
                forge.end_checkpoint(begin_lsn, next_txn, dirty, lines)
            }
        }
    }

    /// The transaction of this name; a new one if there is none.
    fn txn_by_hand(&mut self, name: &str) -> Result<TxnId> {
        if let Some(txn) = self.names.id(name) {
            return Ok(txn);
        }
        self.highest_txn += 1;
        let txn = TxnId::new(self.highest_txn);
        let txn = txn.ok_or_else(|| Error::InvalidInput("no number is left".into()))?;
        self.names.call(txn, name);
        Ok(txn)
    }

    fn record_by_hand(&self, number: usize) -> Result<Lsn> {
        let missing = || Error::InvalidInput(format!("there is no record #{number}"));
        self.names.record(number).ok_or_else(missing)
    }

    fn entry_by_hand(
        &mut self,
        forge: &Forge,
        line: &ForgedEntry,
    ) -> Result<(TxnId, TransactionEntry)> {
        let txn = self.txn_by_hand(&line.txn)?;
        let lsn =
            |number: Option<usize>| number.map(|number| self.record_by_hand(number)).transpose();
        let (last_lsn, undo_next_lsn) = (lsn(line.last)?, lsn(line.undo_next)?);
        let known = forge.crashed.transactions.get(txn).and_then(|entry| entry.first_lsn);
        let first_lsn = last_lsn.and(known.or(undo_next_lsn).or(last_lsn));
        Ok((txn, TransactionEntry { state: line.state, first_lsn, last_lsn, undo_next_lsn }))
    }
}
