//! Log records written by hand, for histories that no call of the engine brings about at will.

use std::collections::{BTreeMap, BTreeSet};

use aries::disk::{SimDisk, Survivors};
use aries::ids::{Lsn, PageId, SlotId, TxnId};
use aries::lock::{LockName, Mode};
use aries::log::{ControlFile, MasterRecord};
use aries::page::{self, PageOp, PageState};
use aries::record::{
    BeginCheckpoint, Commit, EncodedRecord, End, EndCheckpoint, LogRecord, Prepare, Rollback,
    TransactionLink, Undo, Update,
};
use aries::tables::{DirtyPageTable, TransactionState, TransactionTable};

use super::Story;
use super::story::VALUE_BYTES;

const PAGE_SIZE: usize = 512;
const PAGES_FILE: &str = "pages";
const FIRST_SEGMENT: &str = "log/0000000000000001.seg";

/// Copies of both tables at one moment.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub dirty_pages: DirtyPageTable,
    pub transactions: TransactionTable,
}

/// Goes on with a fresh [`Story`] by writing its log and master record through the engine's own
/// codecs, keeping pages and tables as the engine would; no page reaches the disk.
pub struct Forge {
    story: Story,
    disk: SimDisk,
    log: Vec<u8>,
    /// LSNs of the records so far.
    lsns: Vec<Lsn>,
    pages: BTreeMap<u64, Vec<u8>>,
    tables: Snapshot,
    /// Transactions that free pages.
    freeing: BTreeSet<u64>,
    master: MasterRecord,
    restart_lsn: Lsn,
    value: u8,
}

impl Forge {
    /// The beginning of a story.
    pub fn new() -> Self {
        let story = Story::new();
        let disk = story.disk.crash(&Survivors::None);
        Self {
            log: Vec::new(),
            lsns: Vec::new(),
            pages: BTreeMap::new(),
            tables: Snapshot::default(),
            freeing: BTreeSet::new(),
            master: story.db.master_record(),
            restart_lsn: story.db.restart_report().undo.restart_lsn,
            value: 100,
            story,
            disk,
        }
    }

    fn txn(&self, number: u64) -> TxnId {
        TxnId::new(self.story.base + number).unwrap()
    }

    fn link(&self, number: u64) -> TransactionLink {
        let txn = self.txn(number);
        let entry = self.tables.transactions.get(txn);
        TransactionLink { txn, prev_lsn: entry.and_then(|entry| entry.last_lsn) }
    }

    /// Where the next record will stand.
    pub fn next_lsn(&self) -> Lsn {
        self.story.start.checked_add(self.log.len() as u64).unwrap()
    }

    /// Up to where records say that the log was durable: where the story begins.
    fn durable_lsn(&self) -> Lsn {
        self.story.start
    }

    fn append(&mut self, record: &LogRecord<'_>) -> usize {
        let lsn = self.next_lsn();
        EncodedRecord::new(record).append_to(lsn, self.master.epoch, &mut self.log);
        self.lsns.push(lsn);
        self.lsns.len() - 1
    }

    /// Notes a transaction's record in the transaction table.
    fn logged(&mut self, number: u64, undo_next_lsn: Option<Lsn>, state: TransactionState) {
        let (txn, lsn) = (self.txn(number), *self.lsns.last().unwrap());
        let entry = self.tables.transactions.entry(txn);
        entry.logged(lsn, undo_next_lsn);
        entry.state = state;
    }

    fn undo_next_lsn(&self, number: u64) -> Option<Lsn> {
        self.tables.transactions.get(self.txn(number)).and_then(|entry| entry.undo_next_lsn)
    }

    fn page(&mut self, page: u64) -> &mut Vec<u8> {
        let disk = &self.disk;
        self.pages.entry(page).or_insert_with(|| {
            let at = usize::try_from(page).unwrap() * PAGE_SIZE;
            disk.read_file(PAGES_FILE).unwrap()[at..at + PAGE_SIZE].to_vec()
        })
    }

    /// Applies an operation to the page, as the record just appended says.
    fn apply(&mut self, page: u64, op: &PageOp<'_>) {
        let lsn = *self.lsns.last().unwrap();
        let bytes = self.page(page);
        op.apply(bytes).unwrap();
        page::set_page_lsn(bytes, lsn);
        self.tables.dirty_pages.dirtied(PageId(page), lsn);
    }

    /// The transaction begins: it has a line in the table, and no record.
    pub fn begin(&mut self, number: u64) {
        let txn = self.txn(number);
        self.tables.transactions.entry(txn);
    }

    /// `U(T,P)`. Gives the record's number.
    pub fn update(&mut self, number: u64, page: u64) -> usize {
        let slot = self.story.slot_of(self.txn(number));
        let link = self.link(number);
        let before: [u8; VALUE_BYTES] =
            page::record(self.page(page), slot).unwrap().try_into().unwrap();
        self.value += 1;
        let after = [self.value; VALUE_BYTES];
        let op = patch(slot, &after);
        let undo = Undo::Physical(patch(slot, &before));
        let index = self.append_update(link, page, op, undo);
        self.logged(number, Some(self.lsns[index]), TransactionState::Active);
        index
    }

    /// The transaction frees a page: an update of the space map page.
    pub fn free_page(&mut self, number: u64, page: u64) -> usize {
        let link = self.link(number);
        let entry = u16::try_from(page).unwrap();
        let op = PageOp::SetState { entry, state: PageState::FreePending(link.txn) };
        let undo = Undo::Physical(PageOp::SetState { entry, state: PageState::Used });
        self.freeing.insert(number);
        let index = self.append_update(link, 0, op, undo);
        self.logged(number, Some(self.lsns[index]), TransactionState::Active);
        index
    }

    /// After its commit record the transaction makes the page free, never to be undone.
    pub fn finish_free(&mut self, number: u64, page: u64) -> usize {
        let op = PageOp::SetState { entry: u16::try_from(page).unwrap(), state: PageState::Free };
        let index = self.append_update(self.link(number), 0, op, Undo::RedoOnly);
        self.logged(number, Some(self.lsns[index]), TransactionState::Committing);
        index
    }

    fn append_update(
        &mut self,
        link: TransactionLink,
        page: u64,
        op: PageOp<'_>,
        undo: Undo<'_>,
    ) -> usize {
        let prev_page_lsn = page::page_lsn(self.page(page));
        let record = Update { link, page: PageId(page), prev_page_lsn, op, undo };
        let index = self.append(&LogRecord::Update(record));
        self.apply(page, &op);
        index
    }

    /// The transaction's commit record.
    pub fn commit(&mut self, number: u64) -> usize {
        let record = Commit {
            link: self.link(number),
            durable_lsn: self.durable_lsn(),
            wall_time_micros: 0,
            frees_pages: self.freeing.contains(&number),
        };
        let index = self.append(&LogRecord::Commit(record));
        self.logged(number, self.undo_next_lsn(number), TransactionState::Committing);
        index
    }

    /// The transaction's prepare record, with its number for a global id, and no locks.
    pub fn prepare(&mut self, number: u64) -> usize {
        self.prepare_part(number, (0, 1), &[b'0' + u8::try_from(number).unwrap()], Vec::new())
    }

    /// One part, of so many, of the transaction's prepare record.
    pub fn prepare_part(
        &mut self,
        number: u64,
        (part, parts): (u32, u32),
        global_id: &[u8],
        locks: Vec<(LockName, Mode)>,
    ) -> usize {
        let record = Prepare {
            link: self.link(number),
            durable_lsn: self.durable_lsn(),
            part,
            parts,
            global_id,
            frees_pages: self.freeing.contains(&number),
            locks,
        };
        let is_last = record.is_last();
        let index = self.append(&LogRecord::Prepare(record));
        let state = if is_last { TransactionState::Prepared } else { TransactionState::Active };
        self.logged(number, self.undo_next_lsn(number), state);
        index
    }

    /// The transaction's rollback record.
    pub fn rollback(&mut self, number: u64) -> usize {
        let record = Rollback { link: self.link(number) };
        let index = self.append(&LogRecord::Rollback(record));
        self.logged(number, self.undo_next_lsn(number), TransactionState::RollingBack);
        index
    }

    /// The transaction's end record.
    pub fn end(&mut self, number: u64) -> usize {
        let record = End { link: self.link(number), durable_lsn: self.durable_lsn() };
        let index = self.append(&LogRecord::End(record));
        let txn = self.txn(number);
        self.tables.transactions.remove(txn);
        index
    }

    /// A checkpoint's begin record.
    pub fn begin_checkpoint(&mut self) -> usize {
        self.append(&LogRecord::BeginCheckpoint(BeginCheckpoint {
            durable_lsn: self.durable_lsn(),
            restart_lsn: self.restart_lsn,
        }))
    }

    /// The tables at this moment.
    pub fn snapshot(&self) -> Snapshot {
        self.tables.clone()
    }

    /// A checkpoint's end record, after which the master record points at the checkpoint.
    pub fn end_checkpoint(&mut self, begin: usize, tables: &Snapshot) -> usize {
        let begin_lsn = self.lsns[begin];
        let transactions = tables.transactions.iter().map(|(txn, entry)| (txn, *entry));
        let index = self.append(&LogRecord::EndCheckpoint(EndCheckpoint {
            durable_lsn: self.durable_lsn(),
            begin_lsn,
            part: 0,
            parts: 1,
            dirty_pages: tables.dirty_pages.iter().collect(),
            transactions: transactions.collect(),
            next_txn: self.txn(9),
        }));
        let mut control = ControlFile::open(&self.disk).unwrap();
        let moved = control.update_both(|master| {
            master.checkpoint_lsn = begin_lsn;
            master.checkpoint_epoch = master.epoch;
        });
        moved.unwrap();
        index
    }

    /// The disk after a crash: log and master record as they were made.
    pub fn crash(&self) -> SimDisk {
        let mut segment = self.disk.read_file(FIRST_SEGMENT).unwrap();
        let at = usize::try_from(self.story.start.get()).unwrap();
        segment[at..at + self.log.len()].copy_from_slice(&self.log);
        let disk = self.disk.crash(&Survivors::All);
        disk.write_file(FIRST_SEGMENT, &segment);
        disk
    }

    /// [`Forge::crash`], and a restart.
    pub fn restart(&self) -> Story {
        self.story.resume_on(&self.crash())
    }
}

fn patch(slot: SlotId, bytes: &[u8]) -> PageOp<'_> {
    PageOp::Patch { slot, offset: 0, bytes }
}
