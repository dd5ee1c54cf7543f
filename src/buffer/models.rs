//! Models of the pool: no change is lost while its page is written or its frame wanted, and no
//! page reaches the disk before its log.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use super::*;
use crate::config::Config;
use crate::disk::ModelDisk;
use crate::ids::{Lsn, TxnId};
use crate::log::MasterRecord;
use crate::log::models::{assert_durable, config, log_on};
use crate::page::{PageKind, PageOp};
use crate::record::{EncodedRecord, LogRecord, TransactionLink, Undo, Update};
use crate::sync::model::{check, spawn};

const PAGE_SIZE: usize = 512;

/// A pool of `frames` frames over a new file of pages, and the control file.
pub(crate) fn pool_on(
    disk: &ModelDisk,
    log: &Arc<Log>,
    frames: usize,
) -> (BufferPool, Arc<Mutex<ControlFile>>) {
    let file = PagesFile::create(disk, PAGE_SIZE).unwrap();
    let double_write = DoubleWrite::create(disk, PAGE_SIZE).unwrap();
    let start = log.end_lsn();
    let master = MasterRecord {
        database_id: 7,
        page_size: PAGE_SIZE as u32,
        segment_bytes: config().segment_bytes,
        sequence: 0,
        epoch: 1,
        checkpoint_lsn: start,
        checkpoint_epoch: 1,
        oldest_required_lsn: start,
        clean_end_lsn: None,
        in_place_only: false,
        pages: file.pages(),
        complete_from_lsn: None,
    };
    let control = Arc::new(Mutex::new(ControlFile::create(disk, master).unwrap()));
    let log = Arc::clone(log);
    let counted = Arc::clone(&control);
    let config = Config { frames, ..config() };
    (BufferPool::new(&config, file, double_write, counted, log, Observers::default()), control)
}

/// The pageLSN that a power failure now would leave in the file of pages.
pub(crate) fn durable_page_lsn(disk: &ModelDisk, page: PageId) -> Option<Lsn> {
    page::page_lsn(&disk.durable(PAGES_FILE, page.0 * PAGE_SIZE as u64, PAGE_SIZE))
}

/// Asserts that the change that was logged at `lsn` would be redone, or need not be.
pub(crate) fn assert_not_lost(disk: &ModelDisk, pool: &BufferPool, page: PageId, lsn: Lsn) {
    // In this order: a page that has left the table is durable by then.
    let listed = pool.dirty_page_table().rec_lsn(page);
    if listed.is_none_or(|rec_lsn| rec_lsn > lsn) {
        let durable = durable_page_lsn(disk, page);
        assert!(durable >= Some(lsn), "the change at {lsn} is lost: on disk {page} is {durable:?}");
    }
}

struct World {
    disk: ModelDisk,
    log: Arc<Log>,
    pool: BufferPool,
}

fn world(frames: usize) -> Arc<World> {
    let disk = ModelDisk::default();
    let log = Arc::new(log_on(&disk));
    let (pool, _) = pool_on(&disk, &log, frames);
    Arc::new(World { disk, log, pool })
}

const OP: PageOp<'static> = PageOp::Format { kind: PageKind::Slotted };

fn record(page: PageId, prev_page_lsn: Option<Lsn>) -> EncodedRecord {
    let link = TransactionLink { txn: TxnId::FIRST, prev_lsn: None };
    let update = Update { link, page, prev_page_lsn, op: OP, undo: Undo::RedoOnly };
    EncodedRecord::new(&LogRecord::Update(update))
}

impl World {
    /// Changes a page as a transaction does, and gives the record and its LSN.
    fn change(&self, page: PageId) -> (Lsn, EncodedRecord) {
        let mut page = self.pool.fix_write(page).unwrap();
        let record = record(page.page(), page.page_lsn());
        page.publish_rec_lsn(self.log.end_lsn());
        let lsn = self.log.append(&record, 0, |_| {}).unwrap();
        page.redo(&OP, lsn).unwrap();
        (lsn, record)
    }

    fn assert_not_lost(&self, page: PageId, lsn: Lsn) {
        assert_not_lost(&self.disk, &self.pool, page, lsn);
    }

    /// Asserts that the page is durable with this change or an older one, or the log before it is.
    fn assert_log_before_page(&self, page: PageId, (lsn, record): &(Lsn, EncodedRecord)) {
        if durable_page_lsn(&self.disk, page) == Some(*lsn) {
            assert_durable(&self.disk, &self.log, *lsn, record);
        }
    }

    /// Asserts that the page table and the frames say the same.
    fn assert_one_frame_per_page(&self) {
        let table = self.pool.table.lock();
        for (index, frame) in self.pool.frames.iter().enumerate() {
            assert_eq!(frame.fixes(), 0, "all is unfixed");
            if let Some(page) = frame.latch.read().page {
                assert_eq!(table.frames.get(&page), Some(&index), "{page} is in two frames");
            }
        }
    }
}

/// A page is written while it is changed again. Bound: 4 preemptions.
#[test]
fn a_change_during_the_write_is_not_lost() {
    check(4, || {
        let (world, page) = (world(4), PageId(1));
        let before = world.change(page);
        let writing = {
            let world = Arc::clone(&world);
            spawn(move || world.pool.clean_step(world.log.end_lsn()).unwrap())
        };
        let during = world.change(page);
        world.assert_not_lost(page, during.0);
        world.assert_log_before_page(page, &during);
        world.assert_not_lost(page, before.0);
        writing.join().unwrap();
        world.assert_not_lost(page, during.0);
        world.assert_one_frame_per_page();
    });
}

/// All pages are to be written, and a change made before is durable then, though another thread
/// goes on changing its page. Bound: 3 preemptions.
#[test]
fn what_is_flushed_is_durable() {
    check(3, || {
        let (world, page) = (world(4), PageId(1));
        let before = world.change(page);
        let changing = {
            let world = Arc::clone(&world);
            spawn(move || world.assert_not_lost(page, world.change(page).0))
        };
        world.pool.flush_all().unwrap();
        assert!(durable_page_lsn(&world.disk, page) >= Some(before.0), "a flushed page is durable");
        changing.join().unwrap();
        world.assert_one_frame_per_page();
    });
}

/// Two dirty pages fill the pool. A thread reads a third page, which needs one of the frames, while
/// another changes one of the pages again. Bound: 3 preemptions.
#[test]
fn a_change_is_not_lost_when_its_frame_is_wanted() {
    check(3, || {
        let (world, page) = (world(2), PageId(1));
        world.change(page);
        world.change(PageId(2));
        let reading = {
            let world = Arc::clone(&world);
            spawn(move || drop(world.pool.fix_read(PageId(3)).unwrap()))
        };
        let change = world.change(page);
        world.assert_not_lost(page, change.0);
        world.assert_log_before_page(page, &change);
        let found = world.pool.fix_read(page).unwrap().page_lsn();
        assert_eq!(found, Some(change.0), "{page} comes back as it was changed");
        reading.join().unwrap();
        world.assert_one_frame_per_page();
    });
}

/// Two threads want the same page, which is in no frame yet; it is read once. Bound: 4 preemptions.
#[test]
fn a_page_is_read_into_one_frame() {
    check(4, || {
        let (world, page) = (world(2), PageId(3));
        let other = {
            let world = Arc::clone(&world);
            spawn(move || world.change(page).0)
        };
        let ours = world.change(page).0;
        let theirs = other.join().unwrap();
        let found = world.pool.fix_read(page).unwrap().page_lsn();
        assert_eq!(world.pool.statistics().misses, 1, "the page is read once");
        assert_eq!(found, Some(ours.max(theirs)), "no change goes to another frame");
        world.assert_one_frame_per_page();
    });
}

/// A thread reads a page that is in the pool, while another reads pages that want its frame.
/// Bound: 4 preemptions.
#[test]
fn a_page_that_is_wanted_stays() {
    check(4, || {
        let world = world(2);
        let read = |world: &World, page| {
            let read = world.pool.fix_read(page).unwrap();
            assert_eq!(page::page_id(read.bytes()), page, "the page that was asked for");
        };
        read(&world, PageId(1));
        let other = {
            let world = Arc::clone(&world);
            spawn(move || read(&world, PageId(1)))
        };
        for page in 2..=4 {
            read(&world, PageId(page));
        }
        other.join().unwrap();
        world.assert_one_frame_per_page();
    });
}
