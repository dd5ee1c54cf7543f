//! Redo by several threads leaves each page as redo by one does, byte for byte.
//!
//! The random histories ask it at each crash ([`every_number_of_threads_agrees`]); here it is asked where
//! the pool is larger than the data, so that pages are held from record to record.

use std::collections::BTreeMap;
use std::sync::Arc;

use aries::buffer::BufferPool;
use aries::config::{Config, RestartMode};
use aries::disk::{Disk, SimDisk, Survivors};
use aries::event::{Observers, SkipReason};
use aries::ids::PageId;
use aries::log::{ControlFile, MasterRecord};
use aries::page;
use aries::recovery::{Analysis, RedoReport};
use aries::{Options, Result};

/// What redo left: all pages, and how many records and bytes it read, redid, and skipped for which reason.
struct Redone {
    pages: Vec<Vec<u8>>,
    report: (u64, u64, u64, BTreeMap<SkipReason, u64>),
}

/// Analysis and redo of a copy of `disk`, up to where undo would begin: every page then.
fn pages_after_redo(disk: &SimDisk, frames: usize, restart: RestartMode) -> Result<Redone> {
    let copy: Arc<dyn Disk> = Arc::new(disk.crash(&Survivors::All));
    let control = ControlFile::open(copy.as_ref())?;
    let MasterRecord { page_size, segment_bytes, .. } = control.master();
    let config = Config { restart, ..Config::new(page_size as usize, segment_bytes, frames) };
    let redo = Analysis::run(copy, control, &config, &Observers::default())?.make_durable()?;
    let undo = redo.run(std::sync::Arc::new(aries::btree::FindCells))?;
    let pool: &BufferPool = undo.pool();
    let sealed = |page| {
        let mut bytes = pool.fix_read(PageId(page))?.bytes().to_vec();
        // In memory the checksum is that of the last write or read, which is another where frames are few.
        page::seal(&mut bytes);
        Ok(bytes)
    };
    let pages = (0..pool.pages()).map(sealed).collect::<Result<_>>()?;
    let RedoReport { records, bytes, redone, skipped, .. } = undo.redo_report().clone();
    Ok(Redone { pages, report: (records, bytes, redone, skipped) })
}

/// Asserts that redo by 2, 3 and 5 threads gives what redo by one gives, or fails where it fails.
pub fn every_number_of_threads_agrees(disk: &SimDisk, frames: usize) {
    let serial = pages_after_redo(disk, frames, RestartMode::Serial);
    for threads in [2, 3, 5] {
        let parallel = pages_after_redo(disk, frames, RestartMode::Parallel(threads));
        match (&serial, parallel) {
            (Ok(serial), Ok(parallel)) => assert_same(serial, &parallel, threads),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(error)) => panic!("only {threads} threads failed: {error}"),
            (Err(error), Ok(_)) => panic!("{threads} threads did not see that {error}"),
        }
    }
}

fn assert_same(serial: &Redone, parallel: &Redone, threads: usize) {
    assert_eq!(serial.report, parallel.report, "the report of {threads} threads");
    assert_eq!(serial.pages.len(), parallel.pages.len());
    for (page, (serial, parallel)) in serial.pages.iter().zip(&parallel.pages).enumerate() {
        assert!(serial == parallel, "page {page} differs after redo by {threads} threads");
    }
}

/// A log of updates, inserts, deletes and rollbacks on a few dozen pages, none of which was written.
fn long_log() -> SimDisk {
    let disk = SimDisk::new();
    let db = Options::new()
        .page_size(1024)
        .segment_bytes(64 * 1024)
        .buffer_pool_bytes(256 * 1024)
        .background(false)
        .open_on(Arc::new(disk.clone()))
        .unwrap();
    let mut txn = db.begin().unwrap();
    let pages: Vec<PageId> = (0..40).map(|_| txn.allocate_page().unwrap()).collect();
    txn.commit().unwrap();
    for round in 0..600_usize {
        let mut txn = db.begin().unwrap();
        let page = pages[round * 7 % pages.len()];
        let bytes = vec![round.to_le_bytes()[0]; 20 + round % 50];
        if let Ok(slot) = txn.insert_record(page, &bytes) {
            txn.write_record(page, slot, 3, b"patched").unwrap();
        }
        let other = pages[round * 11 % pages.len()];
        let slots = txn.slots(other).unwrap();
        if let Some(slot) = slots.get(round % 5).filter(|_| round % 3 > 0) {
            txn.delete_record(other, *slot).unwrap();
        }
        match round % 4 {
            0 => txn.rollback().unwrap(),
            _ => drop(txn.commit_deferred().unwrap()),
        }
    }
    db.force_log().unwrap();
    disk
}

#[test]
fn many_threads_leave_the_pages_of_a_long_log_as_one_does() {
    let disk = long_log();
    for frames in [16, 40, 256] {
        every_number_of_threads_agrees(&disk, frames);
    }
    // More threads than frames: no more than the pool can serve.
    let serial = pages_after_redo(&disk, 16, RestartMode::Serial).unwrap();
    let parallel = pages_after_redo(&disk, 16, RestartMode::Parallel(100)).unwrap();
    assert_same(&serial, &parallel, 100);
}

#[test]
fn many_threads_make_of_a_damaged_page_what_one_does() {
    let disk = long_log().crash(&Survivors::All);
    disk.flip_bit("pages", 7 * 1024 + 100, 3).unwrap();
    every_number_of_threads_agrees(&disk, 40);
}
