//! What each level of durability keeps, when the process dies and when the power fails.

use std::sync::Arc;
use std::time::Duration;

use aries::config::Durability;
use aries::disk::{SimDisk, Survivors};
use aries::{Db, Table};

use super::{check, contents};
use crate::common::{open, options};

fn open_with(disk: &SimDisk, durability: Durability) -> (Db, Table) {
    let db = options().durability(durability).open_on(Arc::new(disk.clone())).unwrap();
    let table = db.table("t").unwrap();
    (db, table)
}

fn commit(db: &Db, table: &Table, key: &[u8]) {
    let mut txn = db.begin().unwrap();
    txn.put(table, key, b"value").unwrap();
    txn.commit().unwrap();
}

/// The keys that are there after a crash.
fn left(disk: &SimDisk, survivors: &Survivors) -> Vec<Vec<u8>> {
    let db = open(&disk.crash(survivors));
    let table = db.table("t").unwrap();
    check(&db);
    contents(&db, &table).into_iter().map(|(key, _)| key).collect()
}

#[test]
fn a_buffered_commit_survives_the_process_and_a_force_the_power() {
    let disk = SimDisk::new();
    let (db, table) = open_with(&disk, Durability::Buffered);
    commit(&db, &table, b"a");
    assert_eq!(left(&disk, &Survivors::All), [b"a"], "the operating system has it");
    assert!(left(&disk, &Survivors::None).is_empty(), "the disk has not");
    while db.step().unwrap() {}
    assert!(left(&disk, &Survivors::None).is_empty(), "no step forces it");
    db.checkpoint().unwrap();
    commit(&db, &table, b"b");
    assert_eq!(left(&disk, &Survivors::None), [b"a"]);
    db.close().unwrap();
    assert_eq!(left(&disk, &Survivors::None), [b"a", b"b"], "closing forces all");
}

#[test]
fn an_interval_s_commit_is_durable_once_the_interval_is_over() {
    let disk = SimDisk::new();
    let (db, table) = open_with(&disk, Durability::Interval(Duration::from_secs(3600)));
    commit(&db, &table, b"a");
    while db.step().unwrap() {}
    assert!(left(&disk, &Survivors::All).is_empty(), "not even handed to the operating system");
    db.close().unwrap();
    let (db, table) = open_with(&disk, Durability::Interval(Duration::ZERO));
    commit(&db, &table, b"b");
    assert_eq!(left(&disk, &Survivors::None), [b"a"]);
    db.step().unwrap();
    assert_eq!(left(&disk, &Survivors::None), [b"a", b"b"]);
}

/// Whatever is lost are the last commits; and a ticket that is waited for, and a transaction that is prepared, are durable
/// with all that came before.
#[test]
fn what_is_waited_for_is_durable_under_each_level() {
    for durability in [Durability::Buffered, Durability::Interval(Duration::from_secs(3600))] {
        let disk = SimDisk::new();
        let (db, table) = open_with(&disk, durability);
        commit(&db, &table, b"a");
        let mut txn = db.begin().unwrap();
        txn.put(&table, b"b", b"value").unwrap();
        txn.commit_deferred().unwrap().wait().unwrap();
        assert_eq!(left(&disk, &Survivors::None), [b"a", b"b"]);
        commit(&db, &table, b"c");
        let mut txn = db.begin().unwrap();
        txn.put(&table, b"d", b"value").unwrap();
        txn.prepare(b"order").unwrap();
        let disk = disk.crash(&Survivors::None);
        let db = open(&disk);
        db.commit_prepared(b"order").unwrap();
        drop(db);
        assert_eq!(left(&disk, &Survivors::None), [b"a", b"b", b"c", b"d"]);
    }
}

/// Nobody waits for the disk where commits do not: neither do readers.
#[test]
fn readers_wait_only_where_writers_do() {
    let disk = SimDisk::new();
    let (db, table) = open_with(&disk, Durability::Buffered);
    commit(&db, &table, b"a");
    let flushed = db.stats().flushed_lsn;
    assert_eq!(contents(&db, &table).len(), 1);
    assert_eq!(db.stats().flushed_lsn, flushed);
}
