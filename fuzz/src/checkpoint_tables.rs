//! Tables that contradict themselves: end-checkpoint and prepare records, and whatever transactions log
//! before and behind them, with right checksums and, where the bytes say nothing else, right links.
//! Analysis refuses them, or restart brings them to an end.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use arbitrary::Unstructured;
use aries::ids::{Lsn, PageId, SlotId, TxnId};
use aries::lock::{GapName, KeyName, LockName, Mode};
use aries::log::{MasterRecord, SlotState, read_slot};
use aries::page::{self, PageOp, PageState};
use aries::record::{
    BeginCheckpoint, Commit, CompensationLogRecord, EncodedRecord, End, EndCheckpoint, LogRecord,
    NestedTopActionEnd, Prepare, Rollback, TransactionLink, Undo, Update,
    max_record_bytes,
};
use aries::tables::{DirtyPageTable, TransactionEntry, TransactionState, TransactionTable};

use crate::databases;
use crate::images::{Image, PAGE_SIZE, disk_of};
use crate::mend;
use crate::opened::survive;
use crate::spoil::Random;

const SEGMENT: &str = "log/0000000000000001.seg";
/// Transactions have numbers above those of the database that the log goes on with.
const BASE: u64 = 100;
/// Pages with a record in slot 0.
const PAGES: u64 = 7;
const MOST_STEPS: usize = 60;
/// Every so many drawn bytes say that something is to be odd.
const ODD: u8 = 240;

type Bytes<'a, 'b> = &'b mut Unstructured<'a>;
type Drawn<T> = arbitrary::Result<T>;

fn base() -> &'static (Image, MasterRecord, u64) {
    static BASE: OnceLock<(Image, MasterRecord, u64)> = OnceLock::new();
    BASE.get_or_init(|| {
        let (_, image) = databases::all().remove(0);
        let SlotState::Valid(master) = read_slot(&image["control"]) else { panic!("valid") };
        let last = databases::records(&image).pop().unwrap();
        let end = (last.lsn + last.range.len() as u64).next_multiple_of(8);
        (image, master, end)
    })
}

/// Writes the log on, keeping the tables as the engine would.
struct Forge {
    start: u64,
    log: Vec<u8>,
    lsns: Vec<Lsn>,
    epoch: u64,
    page_lsns: BTreeMap<u64, Option<Lsn>>,
    dirty_pages: DirtyPageTable,
    transactions: TransactionTable,
    begin_lsn: Lsn,
}

impl Forge {
    fn next_lsn(&self) -> Lsn {
        Lsn::new(self.start + self.log.len() as u64).unwrap()
    }

    fn append(&mut self, record: &LogRecord<'_>) -> Lsn {
        let lsn = self.next_lsn();
        let encoded = EncodedRecord::new(record);
        if encoded.len() <= max_record_bytes(PAGE_SIZE) {
            encoded.append_to(lsn, self.epoch, &mut self.log);
            self.lsns.push(lsn);
        }
        lsn
    }

    /// An LSN that is right, or now and then any other.
    fn lsn(&self, u: Bytes<'_, '_>, right: Option<Lsn>) -> Drawn<Option<Lsn>> {
        Ok(match u.arbitrary::<u8>()? {
            0..ODD => right,
            ODD..245 => None,
            245 => Lsn::new(u.arbitrary()?),
            _ => self.lsns.get(usize::from(u.arbitrary::<u8>()?) % self.lsns.len()).copied(),
        })
    }

    fn link(&self, u: Bytes<'_, '_>) -> Drawn<TransactionLink> {
        let txn = TxnId::new(match u.arbitrary::<u8>()? {
            // Larger ones cannot be stored as the owner of a page that is being freed.
            255 => (u.arbitrary::<u64>()? >> 2) + 1,
            number => BASE + u64::from(number % 6),
        });
        let txn = txn.unwrap();
        let last_lsn = self.transactions.get(txn).and_then(|entry| entry.last_lsn);
        Ok(TransactionLink { txn, prev_lsn: self.lsn(u, last_lsn)? })
    }

    fn durable(&self, u: Bytes<'_, '_>) -> Drawn<Lsn> {
        Ok(self.lsn(u, Lsn::new(self.start))?.unwrap_or(self.begin_lsn))
    }

    fn logged(&mut self, link: TransactionLink, lsn: Lsn, next: Option<Lsn>, state: TransactionState) {
        let entry = self.transactions.entry(link.txn);
        if entry.last_lsn.is_none_or(|last| last < lsn) {
            entry.logged(lsn, next.filter(|next| *next <= lsn));
            entry.state = state;
        }
    }

    fn undo_next(&self, txn: TxnId) -> Option<Lsn> {
        self.transactions.get(txn).and_then(|entry| entry.undo_next_lsn)
    }

    fn change(&mut self, u: Bytes<'_, '_>) -> Drawn<()> {
        let link = self.link(u)?;
        let (page, op, back) = self.op(u, link.txn)?;
        let prev_page_lsn = self.lsn(u, self.page_lsns.get(&page.0).copied().flatten())?;
        let lsn = if u.ratio(1, 6)? {
            let undo_next_lsn = self.lsn(u, self.undo_next(link.txn))?;
            let record = CompensationLogRecord { link, page, prev_page_lsn, op, undo_next_lsn };
            let lsn = self.append(&LogRecord::Compensation(record));
            self.logged(link, lsn, undo_next_lsn, TransactionState::RollingBack);
            lsn
        } else {
            let undo = if u.ratio(1, 8)? { Undo::RedoOnly } else { Undo::Physical(back) };
            let record = Update { link, page, prev_page_lsn, op, undo };
            let lsn = self.append(&LogRecord::Update(record));
            self.logged(link, lsn, Some(lsn), TransactionState::Active);
            lsn
        };
        self.page_lsns.insert(page.0, Some(lsn));
        self.dirty_pages.dirtied(page, lsn);
        Ok(())
    }

    /// A change of a page, and how to undo it.
    fn op(&self, u: Bytes<'_, '_>, txn: TxnId) -> Drawn<(PageId, PageOp<'static>, PageOp<'static>)> {
        let number = u.arbitrary::<u8>()?;
        let slot = SlotId((u.arbitrary::<u8>()? / ODD).into());
        let page = PageId(if number == 255 { u.arbitrary()? } else { 1 + u64::from(number) % PAGES });
        let patch = |bytes| PageOp::Patch { slot, offset: 3, bytes };
        Ok(match u.arbitrary::<u8>()? % 8 {
            0 => (page, PageOp::MarkGhost { slot }, PageOp::ClearGhost { slot }),
            1 => (page, PageOp::ClearGhost { slot }, PageOp::MarkGhost { slot }),
            2 => {
                let set = |state| PageOp::SetState { entry: number.into(), state };
                (PageId(0), set(PageState::FreePending(txn)), set(PageState::Used))
            }
            _ => (page, patch(b"new"), patch(b"old")),
        })
    }

    fn checkpoint(&mut self, u: Bytes<'_, '_>) -> Drawn<()> {
        let pages = self.dirty_pages.iter().map(|(page, lsn)| Ok((page, self.lsn(u, Some(lsn))?)));
        let pages: Drawn<Vec<_>> = pages.collect();
        let mut transactions = Vec::new();
        for (txn, entry) in self.transactions.iter() {
            transactions.push((txn, self.entry(u, entry)?));
        }
        let parts = 1 + u32::from(u.arbitrary::<u8>()? / 100);
        let (durable_lsn, begin_lsn) = (self.durable(u)?, self.lsn(u, Some(self.begin_lsn))?);
        let next_txn = BASE + if u.ratio(1, 30)? { u.arbitrary::<u64>()? >> 1 } else { 10 };
        for part in 0..parts {
            let odd = u32::from(u.arbitrary::<u8>()? > 250);
            let mine = |index: &usize| *index as u32 % parts == part;
            let lines = transactions.iter().enumerate().filter(|(index, _)| mine(index));
            let dirty_pages = pages.as_ref().map_err(|error| *error)?.iter().enumerate();
            let dirty_pages = dirty_pages.filter(|(index, _)| mine(index));
            let record = LogRecord::EndCheckpoint(EndCheckpoint {
                durable_lsn,
                begin_lsn: begin_lsn.unwrap_or(durable_lsn),
                next_txn: TxnId::new(next_txn).unwrap_or(TxnId::FIRST),
                part: (part + odd).min(parts - 1),
                parts,
                dirty_pages: dirty_pages.filter_map(|(_, (page, lsn))| Some((*page, (*lsn)?))).collect(),
                transactions: lines.map(|(_, line)| *line).collect(),
            });
            self.append(&record);
        }
        Ok(())
    }

    /// A line of the transaction table, right or odd.
    fn entry(&self, u: Bytes<'_, '_>, right: &TransactionEntry) -> Drawn<TransactionEntry> {
        let mut entry = *right;
        entry.first_lsn = self.lsn(u, right.first_lsn)?;
        entry.last_lsn = self.lsn(u, right.last_lsn)?;
        entry.undo_next_lsn = self.lsn(u, right.undo_next_lsn)?;
        entry.state = match u.arbitrary::<u8>()? {
            255 => TransactionState::Prepared,
            254 => TransactionState::Committing,
            253 => TransactionState::RollingBack,
            252 => TransactionState::Active,
            _ => right.state,
        };
        Ok(entry)
    }

    fn prepare(&mut self, u: Bytes<'_, '_>) -> Drawn<()> {
        let mut link = self.link(u)?;
        let parts = 1 + u32::from(u.arbitrary::<u8>()? / 100);
        let name = [b'a' + (link.txn.get() % 16) as u8];
        for part in 0..parts {
            let mut locks = Vec::new();
            for number in 0..u.arbitrary::<u8>()? % 5 {
                let odd = u.arbitrary::<u8>()?;
                // No two transactions lock the same, unless it is to be odd.
                let page = PageId(if odd >= ODD { 1 } else { link.txn.get() % 64 * 8 + u64::from(number) });
                let mode = if odd % 3 > 0 { Mode::Exclusive } else { Mode::Shared };
                let key = KeyName::of(&[odd; 12][..usize::from(odd % 13)]);
                let (name, mode) = match odd % 16 {
                    15 => (LockName::Table(page), Mode::IntentionExclusive),
                    14 => (LockName::Table(page), Mode::SharedIntentionExclusive),
                    13 => (LockName::Key(page, key), mode),
                    12 => (LockName::Gap(page, GapName::Before(key)), mode),
                    11 => (LockName::Gap(page, GapName::End), mode),
                    even if even % 2 == 0 => (LockName::Record(page, SlotId(part as u16)), mode),
                    _ => (LockName::PageExistence(page), mode),
                };
                locks.push((name, mode));
            }
            let odd = u.arbitrary::<u8>()?;
            let record = LogRecord::Prepare(Prepare {
                link,
                durable_lsn: self.durable(u)?,
                part: (part + u32::from(odd % 16 == 15)).min(parts - 1),
                parts,
                global_id: if odd % 16 > 13 { b"other" } else { &name },
                frees_pages: odd % 2 == 0,
                locks,
            });
            let lsn = self.append(&record);
            let last = part + 1 == parts;
            let state = if last { TransactionState::Prepared } else { TransactionState::Active };
            self.logged(link, lsn, self.undo_next(link.txn), state);
            link.prev_lsn = self.lsn(u, Some(lsn))?;
        }
        Ok(())
    }

    fn ending(&mut self, u: Bytes<'_, '_>) -> Drawn<()> {
        let link = self.link(u)?;
        let (durable_lsn, next) = (self.durable(u)?, self.undo_next(link.txn));
        let (record, state) = match u.arbitrary::<u8>()? % 4 {
            0 => {
                let frees_pages = u.arbitrary()?;
                let commit = Commit { link, durable_lsn, wall_time_micros: 0, frees_pages };
                (LogRecord::Commit(commit), TransactionState::Committing)
            }
            1 => (LogRecord::Rollback(Rollback { link }), TransactionState::RollingBack),
            2 => {
                let end = NestedTopActionEnd { link, undo_next_lsn: self.lsn(u, next)? };
                (LogRecord::NestedTopActionEnd(end), TransactionState::Active)
            }
            _ => {
                self.append(&LogRecord::End(End { link, durable_lsn }));
                self.transactions.remove(link.txn);
                return Ok(());
            }
        };
        let lsn = self.append(&record);
        self.logged(link, lsn, next, state);
        Ok(())
    }

    fn begin(&mut self, u: Bytes<'_, '_>, restart_lsn: Lsn) -> Drawn<()> {
        let durable_lsn = self.durable(u)?;
        let begin = BeginCheckpoint { durable_lsn, restart_lsn };
        self.begin_lsn = self.append(&LogRecord::BeginCheckpoint(begin));
        Ok(())
    }
}

fn begun(image: &Image, start: u64, epoch: u64) -> Forge {
    let page_lsn = |number: u64| {
        let at = number as usize * PAGE_SIZE;
        (number, page::page_lsn(&image["pages"][at..at + PAGE_SIZE]))
    };
    let begin_lsn = Lsn::new(start).unwrap();
    Forge {
        start,
        log: Vec::new(),
        lsns: vec![begin_lsn],
        epoch,
        page_lsns: (0..=PAGES).map(page_lsn).collect(),
        dirty_pages: DirtyPageTable::default(),
        transactions: TransactionTable::default(),
        begin_lsn,
    }
}

pub fn run(bytes: &[u8]) {
    let (image, master, start) = base();
    let mut u = Unstructured::new(bytes);
    let (how, behind) = (u.arbitrary().unwrap_or(0), u.arbitrary().unwrap_or(0_u8));
    let mut forge = begun(image, *start, master.checkpoint_epoch);
    let restart_lsn = databases::records(image).first().unwrap().lsn;
    let mut steps = 0;
    let mut master_lsn = None;
    while (!u.is_empty() || master_lsn.is_none()) && steps < MOST_STEPS {
        // The checkpoint that counts begins after a few records.
        if master_lsn.is_none() && (u.is_empty() || steps >= usize::from(behind % 16)) {
            let _ = forge.begin(&mut u, Lsn::new(restart_lsn).unwrap());
            master_lsn = Some(forge.begin_lsn);
        }
        let _ = step(&mut forge, &mut u);
        steps += 1;
    }
    let image = finished(&forge, master_lsn.unwrap_or(forge.begin_lsn));
    survive(&disk_of(&image), how);
}

fn step(forge: &mut Forge, u: Bytes<'_, '_>) -> Drawn<()> {
    match u.arbitrary::<u8>()? % 12 {
        0..6 => forge.change(u),
        6 | 7 => forge.prepare(u),
        8 | 9 => forge.checkpoint(u),
        _ => forge.ending(u),
    }
}

/// The database with that log, and a master record that points to the checkpoint.
fn finished(forge: &Forge, checkpoint: Lsn) -> Image {
    let (image, ..) = base();
    let mut image = image.clone();
    let segment = image.get_mut(SEGMENT).unwrap();
    let at = forge.start as usize;
    let room = (segment.len() - at).min(forge.log.len());
    segment[at..at + room].copy_from_slice(&forge.log[..room]);
    for slot in image.get_mut("control").unwrap().chunks_mut(4096) {
        slot[64..72].copy_from_slice(&checkpoint.get().to_le_bytes());
        slot[72..80].copy_from_slice(&forge.epoch.to_le_bytes());
        slot[88..96].fill(0);
        mend::control_slot(slot);
    }
    image
}

/// Histories that are mostly right, some of them with much in doubt.
pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |number: u64| {
        let mut random = Random::new(number);
        let length = 20 + random.below(400);
        let mut seed = random.bytes(length);
        match number % 4 {
            0 => {}
            1 => seed.iter_mut().filter(|byte| **byte % 3 == 0).for_each(|byte| *byte = 6),
            // Nothing odd.
            _ => seed.iter_mut().for_each(|byte| *byte %= ODD),
        }
        seed
    };
    (0..800).map(seed).collect()
}
