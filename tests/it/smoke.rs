//! The first steps: a commit survives, what was not committed does not, and a small pool serves many pages.

use aries::disk::{SimDisk, Survivors};
use aries::{Db, Options};
use std::sync::Arc;

pub fn options() -> Options {
    Options::new().page_size(512).segment_bytes(65536).buffer_pool_bytes(16 * 512).background(false)
}

fn open(disk: &SimDisk) -> Db {
    options().open_on(Arc::new(disk.clone())).unwrap()
}

#[test]
fn committed_work_survives_and_uncommitted_does_not() {
    let disk = SimDisk::new();
    let db = open(&disk);
    let mut txn = db.begin().unwrap();
    let page = txn.allocate_page().unwrap();
    let slot = txn.insert_record(page, b"alice 100").unwrap();
    txn.commit().unwrap();
    let mut loser = db.begin().unwrap();
    loser.write_record(page, slot, 6, b"999").unwrap();
    db.force_log().unwrap();
    let disk2 = disk.crash(&Survivors::None);
    let db2 = open(&disk2);
    let mut txn = db2.begin().unwrap();
    assert_eq!(txn.read_record(page, slot).unwrap().unwrap(), b"alice 100");
    txn.commit().unwrap();
    db2.close().unwrap();
    let db3 = open(&disk2);
    assert!(db3.restart_report().clean);
}

#[test]
fn a_pool_of_16_frames_over_10_000_pages_works() {
    let disk = SimDisk::new();
    let db = open(&disk);
    let mut places = Vec::new();
    for i in 0..10_000u32 {
        let mut txn = db.begin().unwrap();
        let page = txn.allocate_page().unwrap();
        let slot = txn.insert_record(page, &i.to_le_bytes()).unwrap();
        txn.commit().unwrap();
        places.push((page, slot));
        if i % 100 == 0 {
            while db.step().unwrap() {}
        }
    }
    for (i, (page, slot)) in places.iter().enumerate() {
        let mut txn = db.begin().unwrap();
        assert_eq!(txn.read_record(*page, *slot).unwrap().unwrap(), (i as u32).to_le_bytes());
        txn.commit().unwrap();
    }
}

/// A deferred commit that nobody waits for is made durable by the next round of background work.
#[test]
fn a_step_makes_deferred_commits_durable() {
    let disk = SimDisk::new();
    let db = open(&disk);
    let mut txn = db.begin().unwrap();
    let page = txn.allocate_page().unwrap();
    let slot = txn.insert_record(page, b"deferred").unwrap();
    let ticket = txn.commit_deferred().unwrap();
    assert!(!ticket.is_durable());
    assert!(db.step().unwrap() && ticket.is_durable());
    let db = open(&disk.crash(&Survivors::None));
    let found = db.begin().unwrap().read_record(page, slot).unwrap();
    assert_eq!(found.as_deref(), Some(&b"deferred"[..]));
}
