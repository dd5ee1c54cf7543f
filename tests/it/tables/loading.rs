//! Loading: all is there, or nothing, wherever it was interrupted; and what was loaded is a table like any other.

use std::sync::{Arc, Mutex};

use aries::config::FillFactor;
use aries::disk::{SimDisk, Survivors};
use aries::{Db, Error};

use super::{check, contents, key, value};
use crate::common::{open, options, watched_disk};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Some of them so long that they have pages of their own.
fn pairs(count: u32) -> Pairs {
    let length = |number: u32| if number % 70 == 9 { 900 } else { (number % 40) as usize };
    (0..count).map(|number| (key(number), value(number, length(number)))).collect()
}

fn load(db: &Db, pairs: &Pairs) -> Result<u64, Error> {
    db.load(&db.table("loaded").unwrap(), pairs.iter().cloned())
}

#[test]
fn what_was_loaded_is_a_table_like_any_other() {
    for count in [0, 1, 2, 10, 30, 100, 1000, 3000] {
        let (disk, pairs) = (SimDisk::new(), pairs(count));
        let db = open(&disk);
        assert_eq!(load(&db, &pairs).unwrap(), u64::from(count));
        let table = db.table("loaded").unwrap();
        assert_eq!(contents(&db, &table), pairs);
        check(&db);
        drop(db);
        let db = open(&disk.crash(&Survivors::None));
        let table = db.table("loaded").unwrap();
        assert_eq!(contents(&db, &table), pairs, "it was durable");
        let mut txn = db.begin().unwrap();
        for number in 0..count {
            let between = [key(number), b" and a half".to_vec()].concat();
            txn.put(&table, &between, b"new").unwrap();
            assert!(txn.delete(&table, &key(number)).unwrap());
        }
        txn.commit().unwrap();
        while db.step().unwrap() {}
        assert_eq!(contents(&db, &table).len(), count as usize);
        check(&db);
    }
}

#[test]
fn pages_are_filled_as_far_as_was_asked() {
    let pairs: Pairs = (0..2000).map(|number| (key(number), value(number, 20))).collect();
    let leaves = |hundredths| {
        let db = open(&SimDisk::new());
        let table = db.table("loaded").unwrap();
        let fill_factor = FillFactor::new(hundredths).unwrap();
        assert_eq!(db.load_filled(&table, fill_factor, pairs.iter().cloned()).unwrap(), 2000);
        assert_eq!(contents(&db, &table), pairs);
        check(&db);
        db.verify_tables().unwrap().tables["loaded"].leaves
    };
    let (full, usual, half, sparse) = (leaves(100), leaves(90), leaves(50), leaves(10));
    assert!(full < usual && usual < half && half < sparse, "{full} {usual} {half} {sparse}");
    assert!(half >= 2 * full - 1 && sparse >= 8 * full, "{full} {half} {sparse}");
    assert_eq!((FillFactor::new(9), FillFactor::new(101)), (None, None));
}

#[test]
fn only_an_empty_table_is_loaded_and_only_in_order() {
    let db = open(&SimDisk::new());
    let table = db.table("loaded").unwrap();
    let mut refused = pairs(1000);
    refused.push((key(999), Vec::new()));
    let pages = || db.verify_tables().unwrap();
    for bad in [key(999), key(5), Vec::new(), vec![b'z'; 400]] {
        refused.last_mut().unwrap().0 = bad;
        let loaded = load(&db, &refused);
        assert!(matches!(loaded, Err(Error::InvalidInput(_))), "{loaded:?}");
        assert_eq!(contents(&db, &table), []);
        assert!(pages().is_sound(), "{:#?}", pages());
    }
    assert_eq!(load(&db, &pairs(10)).unwrap(), 10);
    assert!(matches!(load(&db, &pairs(10)), Err(Error::InvalidInput(_))), "it is not empty");
    let mut txn = db.begin().unwrap();
    for number in 0..10 {
        txn.delete(&table, &key(number)).unwrap();
    }
    txn.commit().unwrap();
    assert_eq!(load(&db, &pairs(1000)).unwrap(), 1000, "only ghosts were there");
    assert_eq!(contents(&db, &table), pairs(1000));
    check(&db);
}

#[test]
fn a_crash_while_loading_leaves_all_or_nothing() {
    let (disk, pairs) = (SimDisk::new(), pairs(400));
    let crashed = Arc::new(Mutex::new(Vec::new()));
    let watched = {
        let (disk, crashed) = (disk.clone(), Arc::clone(&crashed));
        let inner = disk.clone();
        watched_disk(&inner, move |_| {
            let mut crashed = crashed.lock().unwrap();
            let all = crashed.len() % 2 == 0;
            crashed.push(disk.crash(if all { &Survivors::All } else { &Survivors::None }));
            Ok(())
        })
    };
    let db = options().open_on(watched).unwrap();
    db.table("loaded").unwrap();
    crashed.lock().unwrap().clear();
    load(&db, &pairs).unwrap();
    crashed.lock().unwrap().push(disk.crash(&Survivors::None));
    drop(db);
    let (mut empty, mut full, mut undone) = (0, 0, 0);
    for left in crashed.lock().unwrap().iter() {
        let db = open(left);
        let table = db.table("loaded").unwrap();
        match contents(&db, &table) {
            none if none.is_empty() => empty += 1,
            all => {
                assert_eq!(all, pairs);
                full += 1;
            }
        }
        undone += db.restart_report().undo.losers;
        check(&db);
    }
    assert!(empty > 10 && full > 0 && undone > 10, "{empty} {full} {undone}");
}
