//! A full disk is an ordinary error: rolling back and reading work, and work goes on once there is
//! space. A read-only one is named and left alone.

use aries::disk::{SimDisk, Survivors};
use aries::{Db, Error};

use super::{assert_names, closed, file_of};
use crate::common::{Work, disk_of, image, try_open, value};

/// Bytes that the files of the disk take.
fn used(disk: &SimDisk) -> u64 {
    image(disk).values().map(|bytes| bytes.len().next_multiple_of(4096) as u64).sum()
}

fn assert_full(error: &Error) {
    assert!(error.is_disk_full(), "{error}");
    let file = file_of(error).display().to_string();
    assert!(error.to_string().contains(&file), "{error}");
}

#[test]
fn a_disk_full_while_the_database_is_made_is_survived() {
    let whole = {
        let disk = SimDisk::new();
        drop(try_open(&disk).unwrap());
        used(&disk)
    };
    for capacity in (0..whole).step_by(8192) {
        let disk = SimDisk::new();
        disk.set_capacity(Some(capacity));
        assert_full(&try_open(&disk).map(drop).unwrap_err());
        assert_full(&try_open(&disk).map(drop).unwrap_err());
        disk.set_capacity(None);
        let mut work = Work::default();
        let db = try_open(&disk).unwrap();
        work.commit_one(&db, &value(1, 30)).unwrap();
        work.check(&db).unwrap();
    }
}

/// Works until the disk is full; then rolls back, reads, commits, and goes on with more space.
fn fill_up_and_go_on(disk: &SimDisk, db: &Db, work: &mut Work, bytes: usize) {
    let error = loop {
        if let Err(error) = work.commit_one(db, &value(work.records.len() as u64, bytes)) {
            break error;
        }
    };
    assert_full(&error);
    work.check(db).unwrap();
    let mut txn = db.begin().unwrap();
    let failed = txn.allocate_page().and_then(|page| txn.insert_record(page, &value(1, bytes)));
    failed.map(drop).unwrap_or_else(|error| assert_full(&error));
    txn.rollback().unwrap();
    disk.set_capacity(None);
    for number in 0..10 {
        work.commit_one(db, &value(number, bytes)).unwrap();
    }
    work.check(db).unwrap();
}

#[test]
fn a_disk_that_fills_up_while_the_database_grows_is_an_ordinary_error() {
    for blocks in 0..24 {
        let disk = SimDisk::new();
        let db = try_open(&disk).unwrap();
        disk.set_capacity(Some(used(&disk) + blocks * 4096));
        let mut work = Work::default();
        fill_up_and_go_on(&disk, &db, &mut work, 40);
        let after = disk.crash(&Survivors::None);
        work.check(&try_open(&after).unwrap()).unwrap();
        db.close().unwrap();
        work.check(&try_open(&disk).unwrap()).unwrap();
    }
}

/// Updates one record until the log has no more room.
fn fill_the_log(db: &Db, work: &mut Work) -> Error {
    let place = *work.records.first_key_value().unwrap().0;
    for number in 0.. {
        let bytes = value(number, 300);
        let mut txn = db.begin().unwrap();
        if let Err(error) = txn.write_record(place.0, place.1, 0, &bytes) {
            return error;
        }
        txn.commit().unwrap();
        work.records.insert(place, bytes);
    }
    unreachable!("the log is full some day")
}

#[test]
fn a_log_that_cannot_grow_is_an_ordinary_error_and_a_checkpoint_frees_it() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    work.commit_one(&db, &value(0, 300)).unwrap();
    disk.set_capacity(Some(used(&disk)));
    for _ in 0..4 {
        let error = fill_the_log(&db, &mut work);
        assert_full(&error);
        assert!(error.to_string().contains("log/"), "{error}");
        work.check(&db).unwrap();
        db.flush_pages().unwrap();
        db.checkpoint().unwrap();
    }
    db.close().unwrap();
    work.check(&try_open(&disk).unwrap()).unwrap();
}

#[test]
fn a_large_transaction_can_be_rolled_back_when_the_log_is_full() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    work.commit_one(&db, &value(0, 300)).unwrap();
    let place = *work.records.first_key_value().unwrap().0;
    disk.set_capacity(Some(used(&disk)));
    let mut txn = db.begin().unwrap();
    let error = (0..)
        .find_map(|number| txn.write_record(place.0, place.1, 0, &value(number, 300)).err())
        .unwrap();
    assert_full(&error);
    txn.rollback().unwrap();
    work.check(&db).unwrap();
    db.close().unwrap();
    work.check(&try_open(&disk).unwrap()).unwrap();
}

#[test]
fn a_restart_on_a_full_disk_works_however_often_it_is_repeated() {
    for survivors in [Survivors::All, Survivors::None, Survivors::Random { seed: 5 }] {
        let mut disk = SimDisk::new();
        let db = try_open(&disk).unwrap();
        let mut work = Work::default();
        work.commit_one(&db, &value(0, 300)).unwrap();
        disk.set_capacity(Some(used(&disk)));
        fill_the_log(&db, &mut work);
        let mut loser = db.begin().unwrap();
        let place = *work.records.first_key_value().unwrap().0;
        let _ = loser.write_record(place.0, place.1, 0, b"no");
        db.force_log().unwrap();
        for _ in 0..20 {
            disk = disk.crash(&survivors);
            work.check(&try_open(&disk).unwrap()).unwrap();
        }
    }
}

#[test]
fn many_small_transactions_at_once_on_a_full_log_all_roll_back() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    for number in 0..40 {
        work.commit_one(&db, &value(number, 100)).unwrap();
    }
    disk.set_capacity(Some(used(&disk)));
    fill_the_log(
        &db,
        &mut Work {
            records: [work.records.first_key_value().unwrap()]
                .map(|(place, bytes)| (*place, bytes.clone()))
                .into(),
        },
    );
    let mut open_ones = Vec::new();
    for (page, slot) in work.records.keys().skip(1) {
        let mut txn = db.begin().unwrap();
        let _ = txn.write_record(*page, *slot, 0, b"changed");
        open_ones.push(txn);
    }
    db.force_log().unwrap();
    open_ones.into_iter().for_each(|txn| txn.rollback().unwrap());
    work.records.pop_first();
    work.check(&db).unwrap();
    db.close().unwrap();
}

#[test]
fn a_read_only_disk_is_named_and_left_alone() {
    let (before, work) = closed();
    let disk = disk_of(&before);
    disk.set_read_only(true);
    let error = try_open(&disk).map(drop).unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
    assert_names(&error, "control");
    assert!(image(&disk) == before);
    disk.set_read_only(false);
    work.check(&try_open(&disk).unwrap()).unwrap();

    let empty = SimDisk::new();
    empty.set_read_only(true);
    let error = try_open(&empty).map(drop).unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
}

#[test]
fn a_disk_that_turns_read_only_stops_the_engine_and_loses_nothing() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    work.commit_one(&db, &value(0, 30)).unwrap();
    let mut txn = db.begin().unwrap();
    txn.allocate_page().unwrap();
    disk.set_read_only(true);
    let error = txn.commit().unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    assert!(matches!(db.begin().map(drop), Err(Error::Poisoned { .. })));
    disk.set_read_only(false);
    assert!(matches!(db.begin().map(drop), Err(Error::Poisoned { .. })));
    drop(db);
    work.check(&try_open(&disk).unwrap()).unwrap();
}
