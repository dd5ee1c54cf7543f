//! A sync fails, the process ends, the page cache stays; then power fails inside the next restart and
//! pages are torn. The double-write batch must have been made durable again before they were written.

use std::sync::Arc;

use aries::disk::{Fault, FaultKind, SimDisk, Survivors};
use aries::ids::{PageId, SlotId};
use aries::{Db, Error, Options};

fn try_open(disk: &SimDisk) -> Result<Db, Error> {
    Options::new()
        .page_size(1024) // Two sectors: a page can be torn.
        .segment_bytes(65_536)
        .buffer_pool_bytes(16 * 1024)
        .background(false)
        .open_on(Arc::new(disk.clone()))
}

/// Acknowledged work, flushed once; then changed and flushed with the I/O `fails_at` failing.
fn stopped(fails_at: u64) -> Option<(SimDisk, PageId, SlotId)> {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut txn = db.begin().unwrap();
    let page = txn.allocate_page().unwrap();
    let slot = txn.insert_record(page, &[1; 900]).unwrap();
    txn.commit().unwrap();
    db.flush_pages().unwrap();
    db.checkpoint().unwrap();
    let mut txn = db.begin().unwrap();
    txn.write_record(page, slot, 0, &[2; 900]).unwrap();
    txn.commit().unwrap();
    let at = disk.io_count() + fails_at;
    disk.inject(Fault { at, kind: FaultKind::InputOutputError, forever: false });
    db.flush_pages().is_err().then_some((disk, page, slot))
}

#[test]
fn a_page_torn_inside_the_restart_after_a_failed_sync_is_restored() {
    let mut states = 0;
    for fails_at in 0..4 {
        for off in 0..80 {
            for seed in 0..12 {
                let Some((disk, page, slot)) = stopped(fails_at) else { continue };
                let at = disk.io_count() + off;
                disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
                let _ = try_open(&disk);
                let db = try_open(&disk.crash(&Survivors::Random { seed }))
                    .unwrap_or_else(|error| panic!("I/O {fails_at}, off {off}, {seed}: {error}"));
                let mut txn = db.begin().unwrap();
                assert_eq!(txn.read_record(page, slot).unwrap().unwrap(), [2; 900]);
                states += 1;
            }
        }
    }
    assert!(states > 1_000, "only {states} states");
}
