//! Whoever has read a range keeps others from changing it, and waits for who has changed it before: whichever way it is read, and
//! however many ranges one transaction reads.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use aries::disk::SimDisk;
use aries::{Db, Error, Result, Table, Transaction};

use super::{check, key, value};
use crate::common::options;

/// Every tenth number up to this is there.
const NUMBERS: u32 = 2000;
/// More ranges than are kept as such.
const MANY: u32 = 100;

fn database() -> (Db, Table) {
    let options = options().buffer_pool_bytes(256 * 512);
    let options = options.lock_timeout(Some(Duration::from_millis(1)));
    let db = options.open_on(Arc::new(SimDisk::new())).unwrap();
    let table = db.table("numbers").unwrap();
    let mut txn = db.begin().unwrap();
    for number in (0..NUMBERS).step_by(10) {
        txn.put(&table, &key(number), &value(number, 20)).unwrap();
    }
    txn.commit().unwrap();
    (db, table)
}

fn read(txn: &mut Transaction, table: &Table, range: (u32, u32), back: bool) -> Result<Vec<u32>> {
    let number = |key: Vec<u8>| std::str::from_utf8(&key[4..]).unwrap().parse::<u32>().unwrap();
    let scan = txn.scan(table, key(range.0)..key(range.1))?;
    let mut read = match back {
        true => scan.rev().map(|pair| Ok(number(pair?.0))).collect::<Result<Vec<_>>>()?,
        false => scan.map(|pair| Ok(number(pair?.0))).collect::<Result<Vec<_>>>()?,
    };
    if back {
        read.reverse();
    }
    Ok(read)
}

/// What somebody else may want to do with a number: insert, change or delete it.
fn change(txn: &mut Transaction, table: &Table, number: u32) -> Result<()> {
    match number % 20 {
        0 => txn.delete(table, &key(number)).map(drop),
        10 => txn.put(table, &key(number), b"changed"),
        _ => txn.put(table, &key(number), b"new"),
    }
}

fn must_wait<T>(result: Result<T>, what: &str) {
    assert!(matches!(result, Err(Error::LockTimeout { .. })), "{what} does not wait");
}

/// The ranges that are read; each but the last is far from the others.
fn ranges(many: bool) -> Vec<(u32, u32)> {
    let few = if many { MANY } else { 0 };
    let mut ranges: Vec<_> = (0..few).map(|n| (1000 + 10 * n - 5, 1000 + 10 * n - 1)).collect();
    ranges.push((205, 615));
    ranges
}

#[test]
fn what_was_read_in_a_range_stays_as_it_is_and_nothing_comes_between() {
    for (back, many) in [(false, false), (true, false), (false, true), (true, true)] {
        let (db, table) = database();
        let mut reader = db.begin().unwrap();
        for (from, to) in ranges(many) {
            let expected: Vec<u32> = (from..to).filter(|number| number % 10 == 0).collect();
            assert_eq!(read(&mut reader, &table, (from, to), back).unwrap(), expected);
        }
        for number in [205, 206, 210, 220, 221, 399, 400, 410, 609, 610, 611, 614] {
            let mut other = db.begin().unwrap();
            let what = format!("{number}, back {back}, many {many}:");
            must_wait(change(&mut other, &table, number), &what);
            other.rollback().unwrap();
        }
        let mut other = db.begin().unwrap();
        must_wait(other.get_for_update(&table, &key(400)), "who is about to change");
        assert_eq!(other.get(&table, &key(410)).unwrap(), Some(value(410, 20)));
        for number in [0, 10, 190, 630, 640, 800] {
            change(&mut other, &table, number).unwrap();
        }
        let read_too = read(&mut other, &table, (205, 615), !back).unwrap();
        assert_eq!(read_too.len(), 41, "others may read");
        other.commit().unwrap();
        reader.commit().unwrap();
        let mut other = db.begin().unwrap();
        for number in [206, 210, 220, 614] {
            change(&mut other, &table, number).unwrap();
        }
        other.commit().unwrap();
        check(&db);
    }
}

#[test]
fn what_others_have_changed_in_a_range_is_waited_for() {
    for (back, many) in [(false, false), (true, false), (false, true), (true, true)] {
        for number in [205, 206, 210, 220, 400, 614] {
            let (db, table) = database();
            let mut other = db.begin().unwrap();
            change(&mut other, &table, number).unwrap();
            let mut reader = db.begin().unwrap();
            let (last, before) = (*ranges(many).last().unwrap(), ranges(many).len() - 1);
            for range in &ranges(many)[..before] {
                read(&mut reader, &table, *range, back).unwrap();
            }
            must_wait(read(&mut reader, &table, last, back), "a reader");
            other.commit().unwrap();
            let read = read(&mut reader, &table, last, back).unwrap();
            assert_eq!(read.contains(&number), number % 20 != 0, "{number}");
        }
    }
}

#[test]
fn only_what_was_read_is_kept_and_both_ends_meet() {
    let (db, table) = database();
    let mut reader = db.begin().unwrap();
    let mut scan = reader.scan(&table, key(0)..).unwrap();
    assert!(scan.next_ref().unwrap().is_some());
    assert!(scan.next_back_ref().unwrap().is_some());
    drop(scan);
    let mut other = db.begin().unwrap();
    change(&mut other, &table, NUMBERS / 2).unwrap();
    must_wait(change(&mut other, &table, NUMBERS + 1), "an insertion at the end");
    other.rollback().unwrap();
    let all = (Bound::Unbounded, Bound::Excluded(key(NUMBERS)));
    let mut scan = reader.scan(&table, all).unwrap();
    let (mut first, mut last) = (0, NUMBERS);
    while let Some((found, bytes)) = scan.next_ref().unwrap() {
        assert_eq!((found, bytes), (&key(first)[..], &value(first, 20)[..]));
        first += 10;
        let Some((found, _)) = scan.next_back_ref().unwrap() else { break };
        last -= 10;
        assert_eq!(found, key(last));
    }
    assert_eq!(first, last);
}
