//! Tables: what they hold, after whatever was done to them and wherever it crashed.

mod bad_input;
mod damaged;
mod durability;
mod found;
mod key_changes;
mod killed;
mod loading;
mod model;
mod ranges;
pub mod serialisable;
mod unlogged;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use aries::disk::{SimDisk, Survivors};
use aries::{Db, Error, Table};

use crate::common::{open, options};

/// All that a table holds.
pub fn contents(db: &Db, table: &Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut txn = db.begin().unwrap();
    let found: Result<Vec<_>, Error> = txn.scan(table, ..).unwrap().collect();
    txn.commit().unwrap();
    found.unwrap()
}

/// That every tree is sound, and no page is lost.
pub fn check(db: &Db) {
    let report = db.verify_tables().unwrap();
    assert!(report.is_sound(), "{report:#?}");
}

/// Leaves that hold nothing leave their trees without anybody calling for it.
#[test]
fn the_background_takes_empty_leaves_out() {
    let db = options().background(true).open_on(Arc::new(SimDisk::new())).unwrap();
    let table = db.table("t").unwrap();
    for round in 0..2 {
        db.transact(|txn| {
            (0..300).try_for_each(|number| match round {
                0 => txn.put(&table, &key(number), &value(number, 30)),
                _ => txn.delete(&table, &key(number)).map(drop),
            })
        })
        .unwrap();
    }
    let leaves = || db.verify_tables().unwrap().tables["t"].leaves;
    let tries = (0..10_000).take_while(|_| {
        thread::sleep(Duration::from_millis(5));
        leaves() > 1
    });
    assert!(tries.count() < 10_000, "{} leaves are left", leaves());
    db.close().unwrap();
}

fn key(number: u32) -> Vec<u8> {
    format!("key {number:05}").into_bytes()
}

fn value(number: u32, length: usize) -> Vec<u8> {
    number.to_string().bytes().cycle().take(length).collect()
}

#[test]
fn what_is_put_is_got_scanned_and_there_after_a_crash() {
    let disk = SimDisk::new();
    let db = open(&disk);
    let table = db.table("accounts").unwrap();
    assert_eq!(db.tables().unwrap(), ["accounts"]);
    let mut txn = db.begin().unwrap();
    for number in (0..500).map(|number| number * 7 % 500) {
        let length = if number % 50 == 0 { 3000 } else { (number % 60) as usize };
        txn.put(&table, &key(number), &value(number, length)).unwrap();
    }
    txn.commit().unwrap();
    check(&db);
    let expected: Vec<_> = (0..500)
        .map(|n| (key(n), value(n, if n % 50 == 0 { 3000 } else { (n % 60) as usize })))
        .collect();
    assert_eq!(contents(&db, &table), expected);
    let mut txn = db.begin().unwrap();
    let mut backwards: Vec<_> =
        txn.scan(&table, ..).unwrap().rev().collect::<Result<_, _>>().unwrap();
    backwards.reverse();
    assert_eq!(backwards, expected);
    drop(txn);
    drop(db);
    let db = open(&disk.crash(&Survivors::None));
    let table = db.table("accounts").unwrap();
    assert_eq!(contents(&db, &table), expected);
    check(&db);
    let mut txn = db.begin().unwrap();
    for number in 0..500 {
        assert!(txn.delete(&table, &key(number)).unwrap());
    }
    txn.rollback().unwrap();
    assert_eq!(contents(&db, &table), expected);
    let mut txn = db.begin().unwrap();
    for number in 0..500 {
        assert!(txn.delete(&table, &key(number)).unwrap());
    }
    txn.commit().unwrap();
    assert_eq!(contents(&db, &table), []);
    while db.step().unwrap() {}
    let report = db.verify_tables().unwrap();
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!((report.tables["accounts"].leaves, report.tables["accounts"].height), (1, 1));
    db.drop_table("accounts").unwrap();
    assert_eq!(db.tables().unwrap(), [""; 0]);
    let mut txn = db.begin().unwrap();
    let gone = txn.get(&table, b"x");
    assert!(matches!(gone, Err(Error::NoSuchTable { .. })), "{gone:?}");
    drop(txn);
    check(&db);
    db.close().unwrap();
}
