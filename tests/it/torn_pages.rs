//! Pages torn by crashes, under each protection and when it is changed from open to open.

mod batch_again;
mod every_write;
mod normal_running;
mod switched;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aries::config::TornPageProtection;
use aries::disk::{Disk, Pending, PendingKind, SimDisk, Survivors};
use aries::error::Place;
use aries::ids::{PageId, SlotId};
use aries::{Db, Error, Options, Result, Transaction};

use crate::common::{forget_log, options, watched_disk};

pub const ALL: [TornPageProtection; 3] =
    [TornPageProtection::DoubleWrite, TornPageProtection::PageImages, TornPageProtection::None];

/// Pages with records; more than the pool has frames.
const PAGES: u64 = 20;

/// What is committed: the bytes of every record.
pub type Committed = BTreeMap<(PageId, SlotId), Vec<u8>>;

/// A database with records whose beginnings the log does not have any more.
pub struct Bank {
    pub disk: SimDisk,
    pub committed: Committed,
    page_size: usize,
}

impl Bank {
    /// Each of the pages has two records, which together fill it.
    pub fn new(page_size: usize) -> Self {
        let disk = SimDisk::new();
        let length = page_size / 2 - 60;
        let db = sized(page_size).open_on(Arc::new(disk.clone())).unwrap();
        let mut txn = db.begin().unwrap();
        let mut committed = Committed::new();
        for _ in 0..PAGES {
            let page = txn.allocate_page().unwrap();
            for _ in 0..2 {
                let slot = txn.insert_record(page, &vec![0; length]).unwrap();
                committed.insert((page, slot), vec![0; length]);
            }
        }
        txn.commit().unwrap();
        db.flush_pages().unwrap();
        forget_log(&db);
        db.close().unwrap();
        Self { disk, committed, page_size }
    }

    /// The options to open it with.
    pub fn options(&self, protection: TornPageProtection) -> Options {
        sized(self.page_size).torn_page_protection(protection)
    }

    /// Opens it; `each` is called with each disk that a crash in the middle of a write may leave, from when
    /// the flag given back is set, and with what is committed by then.
    pub fn open_watched(
        &self,
        protection: TornPageProtection,
        committed: &Arc<Mutex<Committed>>,
        each: impl Fn(&SimDisk, &Committed) + Send + Sync + 'static,
    ) -> Result<(Db, Arc<AtomicBool>)> {
        let armed = Arc::new(AtomicBool::new(false));
        let watched = watched(&self.disk, &armed, committed, each);
        Ok((self.options(protection).open_on(watched)?, armed))
    }
}

fn sized(page_size: usize) -> Options {
    options().page_size(page_size).buffer_pool_bytes(16 * page_size)
}

/// A disk that calls `each` with what crashes may leave of each batch of written pages.
pub fn watched(
    disk: &SimDisk,
    armed: &Arc<AtomicBool>,
    committed: &Arc<Mutex<Committed>>,
    each: impl Fn(&SimDisk, &Committed) + Send + Sync + 'static,
) -> Arc<dyn Disk> {
    let (inner, armed, committed) = (disk.clone(), Arc::clone(armed), Arc::clone(committed));
    watched_disk(disk, move |call| {
        let writes_pages =
            call.operation == "sync" && ["pages", "doublewrite"].contains(&&*call.name);
        if writes_pages && armed.load(Ordering::Relaxed) {
            let committed = committed.lock().unwrap().clone();
            for survivors in torn(&inner, &call.name) {
                each(&inner.crash(&survivors), &committed);
            }
        }
        Ok(())
    })
}

/// Of the sectors of `file` that wait for a sync: each one lost, each one alone, and each prefix.
fn torn(disk: &SimDisk, file: &str) -> Vec<Survivors> {
    let is_sector = |pending: &Pending| {
        pending.name == file && matches!(pending.kind, PendingKind::Sector { .. })
    };
    let pending = disk.pending().into_iter().filter(is_sector);
    let sectors: Vec<u64> = pending.map(|pending| pending.id).collect();
    let mut choices = Vec::new();
    for (index, sector) in sectors.iter().enumerate() {
        choices.push(sectors.iter().copied().filter(|other| other != sector).collect());
        choices.push([*sector].into());
        choices.push(sectors[..=index].iter().copied().collect());
    }
    choices.push([].into());
    choices.into_iter().map(Survivors::Chosen).collect()
}

/// Transactions that commit, one that rolls back, and a long one that does so at the end, all stolen from;
/// pages written on request, and checkpoints between. What is committed is kept book of.
pub fn work(db: &Db, committed: &Mutex<Committed>, rounds: u8) -> Result<()> {
    let mut long = db.begin()?;
    for round in 1..=rounds {
        let mut txn = db.begin()?;
        let mut next = committed.lock().unwrap().clone();
        for step in 0..6 {
            let page = PageId(1 + (u64::from(round) * 7 + step * 3) % PAGES);
            write(&mut txn, &mut next, page, SlotId(0), round)?;
            write(&mut long, &mut Committed::new(), page, SlotId(1), round)?;
        }
        match round % 3 {
            2 => txn.rollback()?,
            _ => {
                txn.commit()?;
                *committed.lock().unwrap() = next;
            }
        }
        match round % 4 {
            1 => db.flush_page(PageId(1 + u64::from(round) % PAGES))?,
            3 => drop(db.checkpoint()?),
            _ => {}
        }
    }
    long.rollback()
}

fn write(
    txn: &mut Transaction,
    records: &mut Committed,
    page: PageId,
    slot: SlotId,
    value: u8,
) -> Result<()> {
    let length = txn.read_record(page, slot)?.unwrap().len();
    // Beginning and end: the record spans several sectors of a large page.
    txn.write_record(page, slot, 0, &[value; 8])?;
    txn.write_record(page, slot, length - 8, &[value; 8])?;
    if let Some(record) = records.get_mut(&(page, slot)) {
        record[..8].fill(value);
        record[length - 8..].fill(value);
    }
    Ok(())
}

/// Reads every record: exactly what is committed is there, or an error names a page.
pub fn check(db: &Db, committed: &Committed) -> Result<()> {
    let mut txn = db.begin()?;
    for ((page, slot), expected) in committed {
        let found = txn.read_record(*page, *slot)?;
        assert!(found.as_ref() == Some(expected), "record {page}.{slot} is not what it must be");
    }
    txn.commit().map(drop)
}

/// Opens what a crash left, and reads it.
pub fn recover(options: &Options, disk: &SimDisk, committed: &Committed) -> Result<()> {
    check(&options.open_on(Arc::new(disk.clone()))?, committed)
}

/// Asserts that the error is about a page of the file of pages.
pub fn assert_names_page(error: &Error) {
    let Error::Corrupt { place: Place::Page { file, .. }, .. } = error else { panic!("{error}") };
    assert!(file.ends_with("pages"), "{error}");
}

/// How often something was seen.
#[derive(Clone, Default)]
pub struct Count(Arc<AtomicUsize>);

impl Count {
    pub fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
