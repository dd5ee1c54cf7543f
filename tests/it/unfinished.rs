//! The file `creating`: it starts a database over, but never anything else.

use std::sync::Arc;

use aries::disk::{Fault, FaultKind, SimDisk, Survivors};
use aries::ids::{PageId, SlotId};
use aries::{Db, Error, Options};

const MARK: &[u8] = b"aries is making a database here\n";

fn try_open(disk: &SimDisk) -> Result<Db, Error> {
    Options::new()
        .page_size(512)
        .segment_bytes(65_536)
        .buffer_pool_bytes(16 * 512)
        .background(false)
        .open_on(Arc::new(disk.clone()))
}

/// A database with a record, and the mark that its creation had left, as if its removal were lost.
fn used_with_mark() -> (SimDisk, PageId, SlotId) {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut txn = db.begin().unwrap();
    let page = txn.allocate_page().unwrap();
    let slot = txn.insert_record(page, b"acknowledged").unwrap();
    txn.commit().unwrap();
    db.close().unwrap();
    disk.write_file("creating", MARK);
    (disk, page, slot)
}

fn check(disk: &SimDisk, page: PageId, slot: SlotId) {
    let mut txn = try_open(disk).unwrap().begin().unwrap();
    assert_eq!(txn.read_record(page, slot).unwrap().unwrap(), b"acknowledged");
}

#[test]
fn a_mark_that_came_back_is_removed_and_the_database_opens() {
    let (disk, page, slot) = used_with_mark();
    check(&disk, page, slot);
    assert!(disk.crash(&Survivors::None).read_file("creating").is_none());
    check(&disk.crash(&Survivors::None), page, slot);
}

#[test]
fn a_failing_read_beside_a_mark_wipes_nothing() {
    for at in 0..20 {
        let (disk, page, slot) = used_with_mark();
        let at = disk.io_count() + at;
        disk.inject(Fault { at, kind: FaultKind::InputOutputError, forever: false });
        let _ = try_open(&disk);
        check(&disk, page, slot);
    }
}

#[test]
fn a_mark_among_other_files_removes_none_of_them() {
    let strange: [(&str, &[u8]); 3] =
        [("letters", MARK), ("pages", b"not our mark"), ("log/important.txt", MARK)];
    for (name, mark) in strange {
        let disk = SimDisk::new();
        if name.starts_with("log/") {
            aries::disk::Disk::create_directory(&disk, "log").unwrap();
            aries::disk::Disk::sync_directory(&disk, "").unwrap();
        }
        disk.write_file(name, b"somebody's work");
        disk.write_file("creating", mark);
        let error = try_open(&disk).err().unwrap();
        assert!(matches!(error, Error::NotADatabase { .. }), "{name}: {error}");
        assert_eq!(disk.read_file(name).unwrap(), b"somebody's work");
    }
}

#[test]
fn an_interrupted_creation_is_started_over_at_every_io() {
    for at in 0.. {
        let disk = SimDisk::new();
        disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
        if try_open(&disk).is_ok() {
            break;
        }
        for survivors in [Survivors::All, Survivors::None, Survivors::Random { seed: at }] {
            let disk = disk.crash(&survivors);
            try_open(&disk).unwrap_or_else(|error| panic!("{at}, {survivors:?}: {error}"));
        }
    }
}
