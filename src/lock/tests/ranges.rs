//! Ranges: who meets them, and who need not.

use std::ops::Bound::{Excluded, Included, Unbounded};

use super::*;
use crate::lock::ranges::{Cut, Part, Reading};

const ROOT: PageId = PageId(5);

fn part<'k>(from: std::ops::Bound<&'k [u8]>, to: std::ops::Bound<&'k [u8]>) -> Part<'k> {
    (Cut::from(from), Cut::to(to))
}

/// From this letter to before that one.
fn letters<'k>(from: &'k str, to: &'k str) -> Part<'k> {
    part(Included(from.as_bytes()), Excluded(to.as_bytes()))
}

fn key(key: &str) -> LockName {
    LockName::Key(ROOT, KeyName::of(key.as_bytes()))
}

fn reads(table: &mut Table, txn: u64, part: Part<'_>, keys: &[&str]) -> Reading {
    let names = keys.iter().map(|key| KeyName::of(key.as_bytes()));
    let reading = table.read_part(t(txn), ROOT, part, names);
    table.assert_consistent();
    reading
}

fn reader_of(table: &Table, txn: u64, key: &str) -> Option<LockName> {
    table.reader_of(t(txn), ROOT, key.as_bytes())
}

fn takes(table: &mut Table, txn: u64, name: LockName, mode: Mode) {
    assert!(table.try_acquire(t(txn), name, mode).is_some());
}

fn of(txn: u64) -> Option<LockName> {
    Some(LockName::Ranges(ROOT, t(txn)))
}

#[test]
fn whoever_changes_a_key_meets_the_ranges_of_others_that_have_it() {
    let mut table = Table::default();
    assert_eq!(reads(&mut table, 1, letters("c", "m"), &["d"]), Reading::Entered);
    for (txn, key, met) in [
        (2, "c", of(1)),
        (2, "f", of(1)),
        (2, "lzz", of(1)),
        (2, "m", None),
        (2, "b", None),
        (1, "f", None),
    ] {
        assert_eq!(reader_of(&table, txn, key), met, "T{txn} {key}");
    }
    let elsewhere = table.reader_of(t(2), PageId(6), b"f");
    assert_eq!(elsewhere, None, "another table");
    let reply = table.request(t(2), of(1).unwrap(), IntentionExclusive).unwrap();
    assert!(matches!(reply, Reply::Wait(..)));
    release(&mut table, 1);
    assert!(!table.is_waiting(t(2)), "the reader has ended");
    assert_eq!(reader_of(&table, 2, "f"), None);
    release(&mut table, 2);
    assert!(table.ranges.is_empty() && table.locks.is_empty());
}

#[test]
fn ends_count_or_not_as_they_are_asked_for() {
    for (from, to, has) in [
        (Included(&b"b"[..]), Included(&b"d"[..]), [false, true, true, true, false]),
        (Excluded(b"b"), Excluded(b"d"), [false, false, true, false, false]),
        (Unbounded, Excluded(b"c"), [true, true, false, false, false]),
        (Excluded(b"c"), Unbounded, [false, false, false, true, true]),
    ] {
        let mut table = Table::default();
        assert_eq!(reads(&mut table, 1, part(from, to), &[]), Reading::Entered);
        let met = ["a", "b", "c", "d", "e"].map(|key| reader_of(&table, 2, key).is_some());
        assert_eq!(met, has, "{from:?} {to:?}");
    }
}

#[test]
fn a_reader_waits_for_keys_that_others_have_changed() {
    let mut table = Table::default();
    takes(&mut table, 1, LockName::Table(ROOT), IntentionExclusive);
    takes(&mut table, 1, key("f"), Exclusive);
    let all = letters("a", "z");
    assert_eq!(reads(&mut table, 2, all, &["c", "f"]), Reading::Wait(key("f")));
    assert_eq!(reader_of(&table, 1, "c"), None, "nothing of the part was entered");
    assert_eq!(reads(&mut table, 2, letters("a", "d"), &["c"]), Reading::Entered);
    assert_eq!(reads(&mut table, 1, all, &["c", "f"]), Reading::Entered, "its own change");
    release(&mut table, 1);
    assert_eq!(reads(&mut table, 2, all, &["c", "f"]), Reading::Entered);
}

/// Else readers, one after the other, could keep somebody from inserting a key for ever.
#[test]
fn a_reader_waits_for_who_waits_to_insert() {
    let mut table = Table::default();
    assert_eq!(reads(&mut table, 1, letters("c", "m"), &[]), Reading::Entered);
    takes(&mut table, 2, LockName::Table(ROOT), IntentionExclusive);
    takes(&mut table, 2, key("f"), Exclusive);
    table.want(t(2), ROOT, b"f");
    assert_eq!(reads(&mut table, 3, letters("e", "g"), &[]), Reading::Wait(key("f")));
    assert_eq!(reads(&mut table, 3, letters("g", "z"), &[]), Reading::Entered);
    release(&mut table, 2);
    assert_eq!(reads(&mut table, 3, letters("e", "g"), &[]), Reading::Entered);
}

#[test]
fn a_range_that_goes_on_is_one_and_too_many_are_locked_key_by_key() {
    let mut table = Table::default();
    let keys: Vec<String> = (0..1000).map(|n| format!("{n:04}")).collect();
    for pair in keys.windows(2).chain(keys.windows(2).rev()) {
        assert_eq!(reads(&mut table, 1, letters(&pair[0], &pair[1]), &[]), Reading::Entered);
    }
    assert_eq!(table.readers().count(), 1);
    for pair in keys.windows(2).rev() {
        assert_eq!(reads(&mut table, 2, letters(&pair[0], &pair[1]), &[]), Reading::Entered);
    }
    assert_eq!(table.readers().count(), 2);
    let apart = keys.chunks(2).map(|pair| reads(&mut table, 3, letters(&pair[0], &pair[1]), &[]));
    let apart: Vec<_> = apart.collect();
    assert!(apart[..64].iter().all(|reading| *reading == Reading::Entered));
    assert!(apart[64..].iter().all(|reading| *reading == Reading::KeyByKey));
}

#[test]
fn a_transaction_in_doubt_has_read_nothing() {
    let mut table = Table::default();
    takes(&mut table, 1, LockName::Table(ROOT), IntentionExclusive);
    assert_eq!(reads(&mut table, 1, letters("c", "m"), &[]), Reading::Entered);
    table.release_some(t(1), |_, mode| !mode.changes());
    table.assert_consistent();
    assert_eq!(reader_of(&table, 2, "f"), None);
    assert_eq!(table.held(t(1)), [(LockName::Table(ROOT), IntentionExclusive)]);
}
