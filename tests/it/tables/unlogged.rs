//! Databases without a log: what is there after a crash is what the last flush left.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aries::config::{Durability, LogBlock};
use aries::db::{Outside, verify_outside};
use aries::disk::{Disk, OverlayDisk, PowerFailure, SimDisk, Survivors, Torn};
use aries::{Db, Error, Options, Table};

use super::{check, contents, key, value};
use crate::common::{PAGE_SIZE, open, options, watched_disk};

fn without_log() -> Options {
    options().durability(Durability::Off)
}

fn open_without_log(disk: &SimDisk) -> (Db, Table) {
    let db = without_log().open_on(Arc::new(disk.clone())).unwrap();
    let table = db.table("t").unwrap();
    (db, table)
}

/// Puts keys, one of them with a value of several pages.
fn put(db: &Db, table: &Table, keys: std::ops::Range<u32>, round: u32) {
    let mut txn = db.begin().unwrap();
    for number in keys {
        let length = if number % 40 == 7 { 1500 } else { 20 };
        txn.put(table, &key(number), &value(round * 1000 + number, length)).unwrap();
    }
    txn.commit().unwrap();
}

/// What an ordinary open finds; the trees are sound.
fn found(disk: &SimDisk) -> Vec<(Vec<u8>, Vec<u8>)> {
    let db = open(disk);
    let table = db.table("t").unwrap();
    check(&db);
    let found = contents(&db, &table);
    db.close().unwrap();
    found
}

/// The disks that a failure of power may leave at each call of `work`.
fn every_crash(disk: &SimDisk, work: impl FnOnce(Arc<dyn Disk>)) -> Vec<SimDisk> {
    let left = Arc::new(Mutex::new(Vec::new()));
    let (seen, inner) = (Arc::clone(&left), disk.clone());
    let watched = watched_disk(disk, move |_| {
        let mut seen = seen.lock().unwrap();
        let seeds = seen.len() as u64..seen.len() as u64 + 2; // Others at each call.
        let random = seeds.map(|seed| Survivors::Random { seed });
        let survivors = [Survivors::None, Survivors::All].into_iter().chain(random);
        seen.extend(survivors.map(|survivors| inner.crash(&survivors)));
        Ok(())
    });
    work(watched);
    std::mem::take(&mut *left.lock().unwrap())
}

#[test]
fn nothing_is_written_between_flushes_and_pages_beyond_the_pool_stay_in_memory() {
    let disk = SimDisk::new();
    let writes = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&writes);
    let watched = watched_disk(&disk, move |call| {
        *counted.lock().unwrap() += u32::from(call.operation == "write");
        Ok(())
    });
    let db = without_log().open_on(watched).unwrap();
    let table = db.table("t").unwrap();
    let before = disk.fingerprint_with_pending();
    put(&db, &table, 0..600, 1); // far more than 16 frames
    let mut txn = db.begin().unwrap();
    txn.put(&table, &key(3), b"undone").unwrap();
    txn.rollback().unwrap();
    while db.step().unwrap() {}
    assert_eq!(contents(&db, &table).len(), 600);
    assert_eq!(disk.fingerprint_with_pending(), before, "not a byte");
    assert!(found(&disk.crash(&Survivors::All)).is_empty());
    db.flush().unwrap();
    let flushed = contents(&db, &table);
    assert_eq!(found(&disk.crash(&Survivors::None)), flushed);
    let written = *writes.lock().unwrap();
    db.flush().unwrap();
    assert_eq!(*writes.lock().unwrap(), written, "what is flushed is not written again");
    put(&db, &table, 100..300, 2);
    assert_eq!(found(&disk.crash(&Survivors::All)), flushed);
    check(&db);
    let last = contents(&db, &table);
    db.close().unwrap();
    assert_eq!(found(&disk.crash(&Survivors::None)), last, "closing flushes");
}

/// Crashes at each call of a second flush, and at each call of the open after some of these.
#[test]
fn a_crash_leaves_the_last_flush_or_the_one_before() {
    crash_everywhere(Torn::PrefixOrSuffix, LogBlock::Rewritten);
    crash_everywhere(Torn::Garbage, LogBlock::Padded(512));
}

fn crash_everywhere(torn: Torn, log_block: LogBlock) {
    let disk = SimDisk::with_power_failure(PowerFailure { torn, ..PowerFailure::default() });
    let options = |durability| options().durability(durability).log_block(log_block);
    let db = options(Durability::Off).open_on(Arc::new(disk.clone())).unwrap();
    let table = db.table("t").unwrap();
    put(&db, &table, 0..60, 1);
    let first = contents(&db, &table);
    db.close().unwrap();
    let mut second = Vec::new();
    let left = every_crash(&disk, |disk| {
        let db = options(Durability::Off).open_on(disk).unwrap();
        let table = db.table("t").unwrap();
        put(&db, &table, 30..150, 2);
        second = contents(&db, &table);
        db.flush().unwrap();
    });
    assert_eq!(found(&disk), second);
    let (mut before, mut after) = (0, 0);
    for (number, left) in left.into_iter().enumerate() {
        let inside = match number % 29 {
            0 => every_crash(&left, |disk| {
                drop(options(Durability::Commit).open_on(disk).unwrap());
            }),
            _ => Vec::new(),
        };
        for left in [left].iter().chain(&inside) {
            match found(left) {
                found if found == first => before += 1,
                found if found == second => after += 1,
                found => panic!("crash {number}: {} pairs, of no flush", found.len()),
            }
        }
    }
    assert!(before > 20 && after > 20, "{before} before, {after} after");
}

/// The process dies within a flush, and the power fails within the open after it.
#[test]
fn a_flush_that_is_only_in_the_page_cache_is_made_durable_first() {
    let disk = SimDisk::new();
    let (db, table) = open_without_log(&disk);
    put(&db, &table, 0..60, 1);
    let first = contents(&db, &table);
    db.close().unwrap();
    let killed = Arc::new(Mutex::new(Vec::new()));
    let (seen, inner) = (Arc::clone(&killed), disk.clone());
    let watched = watched_disk(&disk, move |_| {
        seen.lock().unwrap().push(inner.kill());
        Ok(())
    });
    let db = without_log().open_on(watched).unwrap();
    let table = db.table("t").unwrap();
    put(&db, &table, 30..90, 2);
    let second = contents(&db, &table);
    db.flush().unwrap();
    let killed = std::mem::take(&mut *killed.lock().unwrap());
    for (number, killed) in killed.into_iter().enumerate() {
        let left = every_crash(&killed, |disk| drop(options().open_on(disk).unwrap()));
        for left in left.iter().step_by(3).chain([&killed]) {
            let found = found(left);
            assert!(found == first || found == second, "killed at {number}: {}", found.len());
        }
    }
}

/// Records from before the log was turned off do not tell what a page holds since.
#[test]
fn a_page_is_not_rebuilt_from_records_before_the_log_was_off() {
    let disk = SimDisk::new();
    let db = open(&disk);
    let table = db.table("t").unwrap();
    put(&db, &table, 0..2, 1);
    db.close().unwrap();
    let rotten = |disk: &SimDisk| {
        let pages = disk.read_file("pages").unwrap();
        let at = pages.windows(9).position(|bytes| bytes == b"key 00001").unwrap();
        let disk = disk.crash(&Survivors::All);
        disk.flip_bit("pages", at as u64, 0).unwrap();
        disk
    };
    let mended = found(&rotten(&disk));
    assert_eq!(mended[1].1, value(1001, 20), "the log rebuilds the page");
    let (db, table) = open_without_log(&disk);
    put(&db, &table, 0..2, 2);
    db.close().unwrap();
    let db = open(&rotten(&disk));
    let refused = db.table("t").and_then(|table| db.transact(|txn| txn.get(&table, &key(1))));
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    drop(db);
    // Once the log tells of the page again, what is wrong with it is seen, and no old version comes back.
    let db = open(&disk);
    let table = db.table("t").unwrap();
    put(&db, &table, 0..1, 3);
    drop(db);
    let outside = Outside::on(Arc::new(OverlayDisk::new(Arc::new(disk.clone())))).unwrap();
    let report = verify_outside(&outside, &mut |_, _| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn a_flush_waits_for_transactions_and_new_ones_for_it() {
    let disk = SimDisk::new();
    let options = without_log().lock_timeout(Some(Duration::from_millis(20)));
    let db = options.open_on(Arc::new(disk.clone())).unwrap();
    let table = db.table("t").unwrap();
    let mut txn = db.begin().unwrap();
    txn.put(&table, b"a", b"1").unwrap();
    let refused = db.flush();
    assert!(matches!(&refused, Err(Error::InvalidInput(why)) if why.contains("1 transactions")));
    // The flush waits for this thread's first transaction, which waits for its second.
    let other = {
        let db = db.clone();
        thread::spawn(move || db.flush())
    };
    put(&db, &table, 0..3, 1);
    txn.commit().unwrap();
    let flushed = other.join().unwrap();
    db.flush().unwrap();
    assert!(flushed.is_ok() || matches!(flushed, Err(Error::InvalidInput(_))));
    assert_eq!(found(&disk.crash(&Survivors::None)).len(), 4);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (db, table) = (db.clone(), table.clone());
            thread::spawn(move || {
                (0..50).for_each(|round| put(&db, &table, writer * 10..writer * 10 + 9, round))
            })
        })
        .collect();
    while !writers.iter().all(thread::JoinHandle::is_finished) {
        match db.flush() {
            Ok(()) => drop(found(&disk.crash(&Survivors::None))),
            Err(Error::InvalidInput(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

#[test]
fn what_would_need_the_log_is_refused() {
    let disk = SimDisk::new();
    let (db, table) = open_without_log(&disk);
    let mut txn = db.begin().unwrap();
    txn.put(&table, b"a", b"1").unwrap();
    assert!(matches!(txn.prepare(b"order"), Err(Error::InvalidInput(_))));
    assert!(contents(&db, &table).is_empty(), "it was rolled back");
    db.close().unwrap();
    let db = open(&disk);
    let table = db.table("t").unwrap();
    let mut txn = db.begin().unwrap();
    txn.put(&table, b"a", b"1").unwrap();
    txn.prepare(b"order").unwrap();
    drop(db);
    let refused = without_log().open_on(Arc::new(disk.clone()));
    assert!(matches!(&refused, Err(Error::InvalidInput(why)) if why.contains("in doubt")));
    drop(refused);
    let db = open(&disk);
    db.commit_prepared(b"order").unwrap();
    drop(db);
    assert_eq!(found(&disk).len(), 1);
}

#[test]
fn a_full_disk_refuses_the_flush_and_loses_nothing() {
    let disk = SimDisk::new();
    let (db, table) = open_without_log(&disk);
    put(&db, &table, 0..10, 1);
    db.flush().unwrap();
    let first = contents(&db, &table);
    put(&db, &table, 0..400, 2);
    disk.set_capacity(Some(0));
    assert!(matches!(db.flush(), Err(error) if error.is_disk_full()));
    assert_eq!(
        found(&{
            let left = disk.crash(&Survivors::All);
            left.set_capacity(None);
            left
        }),
        first
    );
    put(&db, &table, 400..410, 2);
    disk.set_capacity(None);
    db.flush().unwrap();
    assert_eq!(found(&disk.crash(&Survivors::None)), contents(&db, &table));
}

/// A batch whose header says that it is complete, and which is not, is damage: nobody may take the pages in place for a
/// state that ever was.
#[test]
fn a_damaged_batch_is_refused() {
    let disk = SimDisk::new();
    let (db, table) = open_without_log(&disk);
    put(&db, &table, 0..60, 1);
    drop((db, table));
    let left = every_crash(&disk, |disk| {
        let db = without_log().open_on(disk).unwrap();
        let table = db.table("t").unwrap();
        put(&db, &table, 0..60, 2);
        db.flush().unwrap();
    });
    let complete =
        |disk: &&SimDisk| disk.read_file("doublewrite").unwrap().starts_with(b"ARIESALL");
    let disk = left.iter().find(complete).unwrap();
    let batch = disk.read_file("doublewrite").unwrap();
    let images = u64::from_le_bytes(batch[16..24].try_into().unwrap());
    for at in (8192..8192 + images * 512).step_by(512) {
        let damaged = disk.crash(&Survivors::All);
        damaged.flip_bit("doublewrite", at, 0).unwrap();
        let refused = options().open_on(Arc::new(damaged));
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "byte {at}");
    }
}

/// Pages of 512 bytes lie eight to a block of the memory that stands over the disk; a flush writes those that it changed.
#[test]
fn a_damaged_page_beside_does_not_hinder_a_flush() {
    let disk = SimDisk::new();
    let (db, table) = open_without_log(&disk);
    let beside = db.table("beside").unwrap();
    db.transact(|txn| txn.put(&beside, b"a", b"1")).unwrap();
    put(&db, &table, 0..60, 1);
    let damaged = db.leaf_of(&beside, b"a").unwrap();
    db.close().unwrap();
    disk.flip_bit("pages", damaged.0 * PAGE_SIZE as u64 + 300, 1).unwrap();
    let before = disk.read_file("pages").unwrap();
    let (db, table) = open_without_log(&disk);
    put(&db, &table, 0..60, 2);
    let expected = contents(&db, &table);
    db.flush().unwrap();
    drop(db);
    let db = open(&disk.crash(&Survivors::None));
    assert_eq!(contents(&db, &db.table("t").unwrap()), expected);
    let after = disk.read_file("pages").unwrap();
    let at = damaged.0 as usize * PAGE_SIZE;
    assert_eq!(before[at..at + PAGE_SIZE], after[at..at + PAGE_SIZE], "as it was");
}
