//! Wrong use of tables: a typed error each, and nothing is lost.

use std::thread;

use aries::disk::{Fault, FaultKind, SimDisk, Survivors};
use aries::{Db, Error, Table};

use super::{check, contents};
use crate::common::open;

fn with_a_table() -> (Db, Table) {
    let db = open(&SimDisk::new());
    let table = db.table("t").unwrap();
    let mut txn = db.begin().unwrap();
    txn.put(&table, b"a", b"1").unwrap();
    txn.commit().unwrap();
    (db, table)
}

fn is_invalid<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::InvalidInput(_))), "{result:?}");
}

#[test]
fn keys_and_values_have_limits_and_the_transaction_goes_on() {
    let (db, table) = with_a_table();
    let mut txn = db.begin().unwrap();
    txn.put(&table, b"b", b"2").unwrap();
    for key in [&[][..], &[7; 129]] {
        is_invalid(txn.put(&table, key, b"x"));
        is_invalid(txn.get(&table, key));
        is_invalid(txn.delete(&table, key));
        is_invalid(txn.put_batch(&table, &[(b"c", b"3"), (key, b"x")]));
    }
    is_invalid(txn.put(&table, b"c", &vec![0; 16 * 1024 * 1024 + 1]));
    txn.put(&table, &[7; 128], b"the longest").unwrap();
    txn.commit().unwrap();
    let keys: Vec<_> = contents(&db, &table).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [vec![7; 128], b"a".to_vec(), b"b".to_vec()]);
    check(&db);
}

#[test]
fn names_of_tables_are_any_text_up_to_a_quarter_page() {
    let (db, _) = with_a_table();
    is_invalid(db.table(""));
    is_invalid(db.table(&"x".repeat(129)));
    let odd = ["\0", "täble", " ", "a/b", &"x".repeat(128)];
    for name in odd {
        assert_eq!(db.table(name).unwrap().name(), name);
    }
    let mut expected: Vec<&str> = odd.into_iter().chain(["t"]).collect();
    expected.sort_unstable();
    assert_eq!(db.tables().unwrap(), expected);
    assert!(db.open_table("none").unwrap().is_none());
    assert!(db.open_table("").unwrap().is_none());
    assert!(matches!(db.drop_table("none"), Err(Error::NoSuchTable { .. })));
    check(&db);
}

#[test]
fn ranges_that_are_empty_or_upside_down_have_nothing() {
    use std::ops::Bound::{Excluded, Included};
    let (db, table) = with_a_table();
    let key = |byte: u8| vec![byte];
    let mut txn = db.begin().unwrap();
    for range in [
        (Included(key(b'b')), Included(key(b'a'))),
        (Excluded(key(b'a')), Excluded(key(b'a'))),
        (Included(key(b'a')), Excluded(key(b'a'))),
        (Excluded(key(b'a')), Included(key(b'a'))),
        (Included(Vec::new()), Excluded(Vec::new())),
        (Included(key(b'b')), Included(vec![b'z'; 1000])),
    ] {
        assert_eq!(txn.scan(&table, range.clone()).unwrap().count(), 0, "{range:?}");
        assert_eq!(txn.scan(&table, range).unwrap().rev().count(), 0);
    }
    let all = (Included(Vec::new()), Included(vec![b'z'; 1000]));
    assert_eq!(txn.scan(&table, all).unwrap().count(), 1);
}

#[test]
fn a_table_belongs_to_its_database() {
    let ((db, _), (_other, foreign)) = (with_a_table(), with_a_table());
    let mut txn = db.begin().unwrap();
    is_invalid(txn.get(&foreign, b"a"));
    is_invalid(txn.put(&foreign, b"a", b"x"));
    is_invalid(txn.scan(&foreign, ..).map(drop));
}

#[test]
fn a_table_in_use_is_not_dropped_and_one_that_was_is_refused() {
    let (db, table) = with_a_table();
    let mut txn = db.begin().unwrap();
    assert!(txn.get(&table, b"a").unwrap().is_some());
    assert!(matches!(db.drop_table("t"), Err(Error::TableInUse { .. })));
    assert!(txn.get(&table, b"a").unwrap().is_some(), "it is still there");
    txn.commit().unwrap();
    db.drop_table("t").unwrap();
    let again = db.table("t").unwrap();
    let mut txn = db.begin().unwrap();
    assert!(matches!(txn.get(&table, b"a"), Err(Error::NoSuchTable { .. })));
    assert_eq!(txn.get(&again, b"a").unwrap(), None, "another table of that name");
    txn.commit().unwrap();
    check(&db);
}

/// A page of a table is none of those whose records are reached by slots.
#[test]
fn pages_of_tables_are_not_for_records() {
    let (db, table) = with_a_table();
    let mut txn = db.begin().unwrap();
    is_invalid(txn.insert_record(table.root(), b"x"));
    is_invalid(txn.free_page(table.root()));
    is_invalid(txn.slots(table.root()));
    txn.commit().unwrap();
    assert_eq!(contents(&db, &table).len(), 1);
}

/// Of two transactions that wait for each other one is refused; its statement has done nothing, and it rolls back.
#[test]
fn the_victim_of_a_deadlock_can_be_run_again() {
    let (db, table) = with_a_table();
    let before = db.transact(|txn| {
        let before = txn.get_for_update(&table, b"a")?;
        txn.put(&table, b"a", b"2")?;
        Ok(before)
    });
    assert_eq!(before.unwrap().as_deref(), Some(&b"1"[..]));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let raised = db.transact(|txn| {
                        let value = txn.get(&table, b"a")?.unwrap_or_default();
                        let number: u64 = String::from_utf8_lossy(&value).parse().unwrap();
                        txn.put(&table, b"a", (number + 1).to_string().as_bytes())
                    });
                    raised.unwrap();
                }
            });
        }
    });
    assert_eq!(contents(&db, &table), [(b"a".to_vec(), b"202".to_vec())], "no update is lost");
}

/// After a failed sync nobody knows what is durable: whoever was waiting is told so, whoever comes later that the engine has stopped.
#[test]
fn two_threads_that_commit_after_a_failed_sync_are_told_and_lose_nothing() {
    let disk = SimDisk::new();
    let db = open(&disk);
    let table = db.table("t").unwrap();
    db.transact(|txn| txn.put(&table, b"before", b"1")).unwrap();
    let put = |thread: u8, number: u8| -> Result<(), Error> {
        let mut txn = db.begin()?;
        txn.put(&table, &[thread, number], b"v")?;
        txn.commit().map(drop)
    };
    let at = disk.io_count() + 25;
    disk.inject(Fault { at, kind: FaultKind::InputOutputError, forever: false });
    let told: Vec<Vec<Result<(), Error>>> = thread::scope(|scope| {
        let threads = [0, 1]
            .map(|thread| scope.spawn(move || (0..40).map(move |n| put(thread, n)).collect()));
        threads.map(|thread| thread.join().unwrap()).into()
    });
    let left = disk.crash(&Survivors::None);
    drop(db);
    let after = open(&left);
    let found = contents(&after, &after.table("t").unwrap());
    assert!(found.contains(&(b"before".to_vec(), b"1".to_vec())));
    for (thread, told) in (0..).zip(&told) {
        let done = told.iter().take_while(|told| told.is_ok()).count();
        assert!(done < 40, "thread {thread} did not meet it");
        for (number, told) in (0..).zip(told) {
            let is_there = found.contains(&(vec![thread, number], b"v".to_vec()));
            match told {
                Ok(()) => assert!(is_there && usize::from(number) < done, "{thread} {number}"),
                Err(Error::OutcomeUnknown { .. }) => assert_eq!(usize::from(number), done),
                Err(Error::Poisoned { .. }) => assert!(!is_there, "{thread} {number}"),
                Err(other) => panic!("{other}"),
            }
        }
    }
}
