//! A log that also tells what is done to keys.

use std::sync::Arc;

use aries::Options;
use aries::db::Outside;
use aries::disk::{SimDisk, Survivors};
use aries::ids::TxnId;
use aries::record::{KeyChange, LogRecord, ToldValue};

use super::{check, contents};
use crate::common::{open, options};

fn telling() -> Options {
    options().log_key_changes(true).wall_clock(|| 77)
}

/// What the log tells of tables: whose, table, key, the values.
fn told(disk: &SimDisk) -> Vec<(TxnId, String)> {
    let outside = Outside::on(Arc::new(disk.clone())).unwrap();
    let log = outside.log().unwrap();
    let mut scan = log.scan(log.start());
    let mut found = Vec::new();
    while let Some((_, record)) = scan.next_record().unwrap() {
        if let LogRecord::KeyChange(KeyChange { link, wall_time_micros, table, key, old, new }) =
            record
        {
            assert_eq!(wall_time_micros, 77);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let value = |value: Option<ToldValue<'_>>| match value {
                Some(value) if value.length as usize > value.bytes.len() => {
                    format!("{}…{}", value.bytes.len(), value.length)
                }
                Some(value) => text(value.bytes),
                None => "-".into(),
            };
            found.push((
                link.txn,
                format!("{} {} {} {}", text(table), text(key), value(old), value(new)),
            ));
        }
    }
    found
}

#[test]
fn the_log_tells_each_change_whole() {
    let disk = SimDisk::new();
    let db = telling().open_on(Arc::new(disk.clone())).unwrap();
    let table = db.table("t").unwrap();
    let before = told(&disk).len();
    let mut txn = db.begin().unwrap();
    let own = txn.id();
    txn.put(&table, b"a", b"one").unwrap();
    txn.put_batch(&table, &[(b"b", b"two"), (b"a", b"onf")]).unwrap();
    assert!(txn.delete(&table, b"b").unwrap());
    assert!(!txn.delete(&table, b"never").unwrap());
    txn.put(&table, b"c", &[b'x'; 700]).unwrap();
    assert!(txn.put(&table, b"", b"refused").is_err());
    txn.commit().unwrap();
    let changes = ["t a - one", "t b - two", "t a one onf", "t b two -", "t c - 256…700"];
    let expected = changes.map(|change| (own, change.to_owned()));
    assert_eq!(told(&disk)[before..], expected);
}

#[test]
fn a_log_that_tells_nothing_is_the_default() {
    let disk = SimDisk::new();
    let db = open(&disk);
    let table = db.table("t").unwrap();
    db.transact(|txn| txn.put(&table, b"a", b"1")).unwrap();
    assert!(told(&disk).is_empty());
}

/// What is told stands among what is undone, and changes nothing of it.
#[test]
fn undo_passes_over_what_is_told() {
    let disk = SimDisk::new();
    let db = telling().open_on(Arc::new(disk.clone())).unwrap();
    let table = db.table("t").unwrap();
    db.transact(|txn| txn.put(&table, b"kept", b"1")).unwrap();
    let kept = contents(&db, &table);
    let mut txn = db.begin().unwrap();
    txn.put(&table, b"kept", b"2").unwrap();
    let here = txn.savepoint().unwrap();
    for number in 0..40_u8 {
        txn.put(&table, &[b'k', number], &[number; 30]).unwrap();
    }
    txn.rollback_to(here).unwrap();
    assert_eq!(txn.get(&table, b"kept").unwrap().as_deref(), Some(&b"2"[..]));
    txn.put(&table, b"last", b"3").unwrap();
    db.force_log().unwrap();
    let left = disk.crash(&Survivors::None);
    txn.rollback().unwrap();
    assert_eq!(contents(&db, &table), kept);
    for db in [db, open(&left)] {
        assert_eq!(contents(&db, &db.table("t").unwrap()), kept);
        check(&db);
        assert!(db.verify().unwrap().is_sound());
    }
    let db = telling().open_on(Arc::new(disk.clone())).unwrap();
    let table = db.table("t").unwrap();
    let mut txn = db.begin().unwrap();
    txn.put(&table, b"doubtful", b"4").unwrap();
    txn.delete(&table, b"kept").unwrap();
    txn.prepare(b"g").unwrap();
    let left = disk.crash(&Survivors::None);
    drop(db);
    let db = open(&left);
    db.rollback_prepared(b"g").unwrap();
    assert_eq!(contents(&db, &db.table("t").unwrap()), kept);
    check(&db);
}
