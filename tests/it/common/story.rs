//! A history of a few transactions on prepared pages, told with short names.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use aries::disk::{Disk, SimDisk, Survivors};
use aries::event::{Event, SkipReason};
use aries::ids::{Lsn, PageId, SlotId, TxnId};
use aries::log::SEGMENT_HEADER_BYTES;
use aries::page;
use aries::record::LogRecord;
use aries::{Db, Result, Transaction};

use super::{Trace, end_of_record};

/// Pages P1 to P24 hold records; P0 is the space map page, S.
pub const PAGES: u64 = 24;
/// Each page has a record for each of so many transactions.
pub const SLOTS: u16 = 9;
/// Bytes of each record.
pub const VALUE_BYTES: usize = 4;
const FIRST_SEGMENT: &str = "log/0000000000000001.seg";

/// A database in which pages P1 to P24 hold a record for each of transactions T1 to T9, so that all
/// may change one page. When the story begins no page is dirty, the last complete checkpoint is
/// empty, and the next record is number 0.
pub struct Story {
    pub disk: SimDisk,
    pub db: Db,
    pub trace: Trace,
    /// LSN of record 0.
    pub start: Lsn,
    /// Number of the transaction before T1.
    pub base: u64,
    value: Cell<u8>,
}

/// A record of the log, as the story tells it.
struct Told {
    lsn: Lsn,
    text: String,
}

impl Story {
    /// The beginning of a story.
    pub fn new() -> Self {
        let disk = SimDisk::new();
        Self::on(&disk, Arc::new(disk.clone()))
    }

    /// The same, with the engine using `engine_disk` to reach `disk`.
    pub fn on(disk: &SimDisk, engine_disk: Arc<dyn Disk>) -> Self {
        let trace = Trace::default();
        let db = trace.open_on(engine_disk).unwrap();
        let mut txn = db.begin().unwrap();
        for number in 1..=PAGES {
            assert_eq!(txn.allocate_page().unwrap(), PageId(number));
            for slot in 0..SLOTS {
                let inserted = txn.insert_record(PageId(number), &[b'.'; VALUE_BYTES]).unwrap();
                assert_eq!(inserted, SlotId(slot));
            }
        }
        let base = txn.id().get();
        txn.commit().unwrap();
        db.flush_pages().unwrap();
        db.checkpoint().unwrap();
        assert!(db.dirty_page_table().is_empty() && db.transaction_table().is_empty());
        let start = db.stats().end_lsn;
        assert_eq!(db.stats().flushed_lsn, start);
        trace.clear();
        Self { disk: disk.clone(), db, trace, start, base, value: Cell::new(100) }
    }

    /// Goes on with this story on another disk, after a restart there.
    pub fn resume_on(&self, disk: &SimDisk) -> Self {
        let trace = Trace::default();
        let db = trace.open_on(Arc::new(disk.clone())).unwrap();
        let value = self.value.clone();
        Self { disk: disk.clone(), db, trace, start: self.start, base: self.base, value }
    }

    /// The log is forced, the power fails and nothing else survives.
    pub fn crash(&self) -> SimDisk {
        self.db.force_log().unwrap();
        self.disk.crash(&Survivors::None)
    }

    /// The same, but the log was forced only up to and including record `last`.
    pub fn crash_after(&self, last: usize) -> SimDisk {
        let disk = self.crash();
        cut_log(&disk, end_of_record(&self.db, self.lsn(last)));
        disk
    }

    /// [`Story::crash`], and a restart.
    pub fn restart(&self) -> Self {
        self.resume_on(&self.crash())
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Transaction {
        self.db.begin().unwrap()
    }

    /// `U(T,P)`: changes the transaction's own record on the page. Gives the record's LSN.
    pub fn update(&self, txn: &mut Transaction, page: u64) -> Lsn {
        self.try_update(txn, page).unwrap()
    }

    /// The same, where it may fail.
    pub fn try_update(&self, txn: &mut Transaction, page: u64) -> Result<Lsn> {
        let slot = self.slot_of(txn.id());
        txn.write_record(PageId(page), slot, 0, &self.next_value())?;
        Ok(txn.entry().last_lsn.unwrap())
    }

    /// The slot that a transaction changes on every page.
    pub fn slot_of(&self, txn: TxnId) -> SlotId {
        SlotId(u16::try_from(txn.get() - self.base - 1).unwrap() % SLOTS)
    }

    fn next_value(&self) -> [u8; VALUE_BYTES] {
        self.value.set(self.value.get().checked_add(1).unwrap_or(100));
        [self.value.get(); VALUE_BYTES]
    }

    /// LSN of record number `index`.
    pub fn lsn(&self, index: usize) -> Lsn {
        self.told()[index].lsn
    }

    /// The log from record 0 on, durable or not.
    pub fn log(&self) -> Vec<String> {
        self.told().into_iter().map(|told| told.text).collect()
    }

    /// What the latest restart appended, without its restart record and its checkpoint.
    pub fn appended_by_restart(&self) -> Vec<String> {
        let log = self.log();
        let begin = log.iter().rposition(|text| text == "Restart").unwrap();
        let end = begin + log[begin..].iter().position(|text| text == "Begin").unwrap();
        assert_eq!(log[end + 1], "EndCheckpoint", "the checkpoint at the end of restart");
        log[begin + 1..end].to_vec()
    }

    /// LSN and length of each record from record 0 on.
    pub fn record_ends(&self) -> Vec<(Lsn, Lsn)> {
        let begins = self.told().into_iter().map(|told| told.lsn);
        begins.map(|lsn| (lsn, end_of_record(&self.db, lsn))).collect()
    }

    fn told(&self) -> Vec<Told> {
        let mut told: Vec<Told> = Vec::new();
        let mut updates: BTreeMap<(u64, Option<Lsn>), usize> = BTreeMap::new();
        let mut at = self.start;
        while at < self.db.stats().end_lsn {
            let bytes = self.db.read_log(at).unwrap();
            let record = bytes.record();
            if let LogRecord::Update(update) = &record {
                updates.insert((update.link.txn.get(), update.link.prev_lsn), told.len());
            }
            let index = |lsn: Option<Lsn>| {
                let found = told.iter().position(|told| Some(told.lsn) == lsn);
                found.map_or_else(|| lsn.map_or("nil".into(), |l| l.to_string()), |n| n.to_string())
            };
            let text = match &record {
                LogRecord::Compensation(clr) => {
                    // A compensation leads to the record before the one that it undoes.
                    let undone = updates[&(clr.link.txn.get(), clr.undo_next_lsn)];
                    format!("CLR({undone})->{}", index(clr.undo_next_lsn))
                }
                LogRecord::NestedTopActionEnd(end) => {
                    format!(
                        "EndNested {}->{}",
                        self.txn_name(end.link.txn),
                        index(end.undo_next_lsn)
                    )
                }
                other => self.plain(other),
            };
            told.push(Told { lsn: at, text });
            at = end_of_record(&self.db, at);
        }
        told
    }

    fn plain(&self, record: &LogRecord<'_>) -> String {
        let txn = || self.txn_name(record.link().unwrap().txn);
        match record {
            LogRecord::Update(update) => format!("U({},{})", txn(), page_name(update.page)),
            LogRecord::Commit(_) => format!("Commit {}", txn()),
            LogRecord::Rollback(_) => format!("Rollback {}", txn()),
            LogRecord::End(_) => format!("End {}", txn()),
            LogRecord::Prepare(record) if record.parts == 1 => format!("Prepare {}", txn()),
            LogRecord::Prepare(record) => {
                format!("Prepare {} {}/{}", txn(), record.part + 1, record.parts)
            }
            LogRecord::BeginCheckpoint(_) => "Begin".into(),
            other => other.name().into(),
        }
    }

    fn txn_name(&self, txn: TxnId) -> String {
        format!("T{}", txn.get() - self.base)
    }

    /// `rec_lsn` by the number of the record, or its offset where no record begins.
    fn dirty_line(&self, told: &[Told], page: PageId, rec_lsn: Lsn) -> String {
        let index = told.iter().position(|told| told.lsn == rec_lsn);
        let index = index.map_or_else(|| rec_lsn.to_string(), |index| index.to_string());
        format!("{}:{index}", page_name(page))
    }

    /// The dirty page table at this moment: `P1:0` is page 1, dirty since record 0.
    pub fn dirty(&self) -> Vec<String> {
        let told = self.told();
        let table = self.db.dirty_page_table();
        table.iter().map(|(page, rec_lsn)| self.dirty_line(&told, page, rec_lsn)).collect()
    }

    /// The dirty page table as the latest restart's analysis left it.
    pub fn dirty_after_analysis(&self) -> Vec<String> {
        let mut table = BTreeMap::new();
        for event in self.trace.events() {
            if let Event::PageDirty { page, rec_lsn, .. } = event {
                table.insert(page, rec_lsn);
            }
        }
        let told = self.told();
        table.into_iter().map(|(page, lsn)| self.dirty_line(&told, page, lsn)).collect()
    }

    /// The transactions that the latest restart undid.
    pub fn losers(&self) -> Vec<String> {
        let losers = &self.db.restart_report().analysis.losers;
        losers.iter().map(|txn| self.txn_name(*txn)).collect()
    }

    /// The transactions that the latest restart left in doubt.
    pub fn in_doubt(&self) -> Vec<String> {
        let in_doubt = &self.db.restart_report().analysis.in_doubt;
        in_doubt.iter().map(|txn| self.txn_name(*txn)).collect()
    }

    /// What the latest restart's redo did with each record that changes a page.
    pub fn redo_decisions(&self) -> Vec<String> {
        let told = self.told();
        let index = |lsn: Lsn| told.iter().position(|told| told.lsn == lsn).unwrap();
        let decisions = self.trace.events().into_iter().filter_map(|event| match event {
            Event::Redone { lsn, .. } => Some(format!("redone {}", index(lsn))),
            Event::RedoSkipped { lsn, reason, .. } => {
                let why = match reason {
                    SkipReason::PageNotDirty => "page not dirty",
                    SkipReason::BelowRecLsn => "below rec_lsn",
                    SkipReason::PageLsnNotBelow => "page_lsn not below",
                    SkipReason::PageDamaged => "page damaged",
                };
                Some(format!("skipped {}: {why}", index(lsn)))
            }
            _ => None,
        });
        decisions.collect()
    }

    /// Bytes of a record as the page in the pool has them.
    pub fn value(&self, page: u64, slot: SlotId) -> Option<Vec<u8>> {
        let guard = self.db.fix_page(PageId(page)).unwrap();
        page::record(guard.bytes(), slot).map(<[u8]>::to_vec)
    }

    /// The pageLSN of a page in the pool.
    pub fn page_lsn(&self, page: u64) -> Option<Lsn> {
        self.db.fix_page(PageId(page)).unwrap().page_lsn()
    }

    /// All records of P1 to P24.
    pub fn contents(&self) -> Vec<Vec<Vec<u8>>> {
        (1..=PAGES).map(|page| read_page_records(&self.db, PageId(page))).collect()
    }
}

/// The live records of a page, in slot order.
pub fn read_page_records(db: &Db, page: PageId) -> Vec<Vec<u8>> {
    let guard = db.fix_page(page).unwrap();
    let slots = page::slots(guard.bytes()).filter(|(_, state, _)| *state == page::SlotState::Live);
    slots.map(|(_, _, bytes)| bytes.to_vec()).collect()
}

fn page_name(page: PageId) -> String {
    if page.0 == 0 { "S".into() } else { page.to_string() }
}

/// Zeroes the log from `end` on, as if nothing from there had reached the disk. The log must not
/// have left its first segment.
pub fn cut_log(disk: &SimDisk, end: Lsn) {
    let mut bytes = disk.read_file(FIRST_SEGMENT).unwrap();
    let end = usize::try_from(end.get()).unwrap();
    assert!(end as u64 > SEGMENT_HEADER_BYTES && end < bytes.len(), "within the first segment");
    bytes[end..].fill(0);
    disk.write_file(FIRST_SEGMENT, &bytes);
}
