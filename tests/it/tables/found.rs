//! What somebody who had not seen the tables found wrong with them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aries::config::Durability;
use aries::disk::SimDisk;
use aries::ids::PageId;
use aries::{Db, Error, Table};

use super::{check, contents, key, value};
use crate::common::{open, options, watched_disk};

/// What a nested top action does stays, and what its transaction did before is undone: of one key both cannot be. So it changes
/// no tables, and rolls back whatever else it did.
#[test]
fn a_nested_top_action_changes_no_tables() {
    let db = open(&SimDisk::new());
    let table = db.table("t").unwrap();
    db.transact(|txn| txn.put(&table, b"there", b"before")).unwrap();
    let mut txn = db.begin().unwrap();
    txn.put(&table, b"new", b"1").unwrap();
    assert!(txn.delete(&table, b"there").unwrap());
    let mut action = txn.nested_top_action().unwrap();
    let refused = |result: Result<(), Error>| matches!(result, Err(Error::InvalidInput(_)));
    assert!(refused(action.delete(&table, b"new").map(drop)));
    assert!(refused(action.put(&table, b"there", b"2")));
    assert!(refused(action.put_batch(&table, &[(b"other", b"3")])));
    assert_eq!(action.get(&table, b"new").unwrap().as_deref(), Some(&b"1"[..]));
    action.end().unwrap();
    txn.rollback().unwrap();
    assert_eq!(contents(&db, &table), [(b"there".to_vec(), b"before".to_vec())]);
    check(&db);
}

/// Two threads drop and make a table of the same name.
#[test]
fn a_table_is_made_beside_one_who_drops_it() {
    let db = open(&SimDisk::new());
    let stop = AtomicBool::new(false);
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..1500 {
                    match db.drop_table("t") {
                        Ok(()) | Err(Error::TableInUse { .. } | Error::NoSuchTable { .. }) => {}
                        Err(error) => failed.lock().unwrap().push(format!("drop: {error}")),
                    }
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match db.table("t") {
                        Ok(_) => {}
                        Err(error) => failed.lock().unwrap().push(format!("table(): {error}")),
                    }
                }
            });
        }
    });
    check(&db);
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} failures, {:?}", failed.len(), failed.first());
}

/// Runs something when a transaction has ended.
#[derive(Default)]
struct AtAnEnd(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl aries::event::Observer for AtAnEnd {
    fn event(&self, event: &aries::event::Event) {
        if matches!(event, aries::event::Event::TransactionEnded { .. }) {
            let work = self.0.lock().unwrap().take();
            if let Some(work) = work {
                work();
            }
        }
    }
}

/// A table is dropped; as soon as that is committed another thread makes one of the same name. Its handle works.
#[test]
fn the_handle_of_a_table_made_while_another_is_dropped_works() {
    let hook = Arc::new(AtAnEnd::default());
    let db =
        options().observer(Arc::<AtAnEnd>::clone(&hook)).open_on(Arc::new(SimDisk::new())).unwrap();
    drop(db.table("t").unwrap());
    let made: Arc<Mutex<Option<Table>>> = Arc::default();
    let (other, slot) = (db.clone(), Arc::clone(&made));
    *hook.0.lock().unwrap() = Some(Box::new(move || {
        let made = thread::spawn(move || other.table("t").unwrap());
        *slot.lock().unwrap() = Some(made.join().unwrap());
    }));
    db.drop_table("t").unwrap();
    let table = made.lock().unwrap().take().expect("it was made");
    assert_eq!(db.tables().unwrap(), ["t"]);
    let put = db.transact(|txn| txn.put(&table, b"a", b"1"));
    assert!(put.is_ok(), "{put:?}");
}

/// The same, and both threads go on: there is one tree for each root.
#[test]
fn there_is_one_tree_for_each_root() {
    (0..20).for_each(|_| two_trees_of_one_root());
}

fn two_trees_of_one_root() {
    let hook = Arc::new(AtAnEnd::default());
    let db = options()
        .buffer_pool_bytes(2000 * 512)
        .observer(Arc::<AtAnEnd>::clone(&hook))
        .open_on(Arc::new(SimDisk::new()))
        .unwrap();
    drop(db.table("t").unwrap());
    let made: Arc<Mutex<Option<Table>>> = Arc::default();
    let (other, slot) = (db.clone(), Arc::clone(&made));
    *hook.0.lock().unwrap() = Some(Box::new(move || {
        let made = thread::spawn(move || {
            // Made, dropped and made again while the first drop has not returned.
            let filler = other.table("filler").unwrap();
            let second = other.table("t").unwrap();
            let _ = (filler.root(), second.root());
            other.drop_table("filler").unwrap();
            let _ = other.drop_table("t");
            other.table("t").unwrap()
        });
        *slot.lock().unwrap() = Some(made.join().unwrap());
    }));
    db.drop_table("t").unwrap();
    let one = made.lock().unwrap().take().expect("it was made");
    let two = db.table("t").unwrap();
    assert_eq!(one.root(), two.root());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (nth, table) in [one, two].into_iter().enumerate() {
            let (db, failed) = (&db, &failed);
            scope.spawn(move || {
                for n in 0..400 {
                    if let Err(error) = put_and_delete(db, &table, n, n * 2 + nth as u32) {
                        failed.lock().unwrap().push(error.to_string());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed.first());
    check(&db);
    let found = contents(&db, &db.table("t").unwrap());
    assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(found.len(), 800);
}

fn put_and_delete(db: &Db, table: &Table, n: u32, number: u32) -> Result<(), Error> {
    let put = || db.transact(|txn| txn.put(table, &key(number), &value(n, 60)));
    put()?;
    db.transact(|txn| txn.delete(table, &key(number)))?;
    put()?;
    db.step().map(drop)
}

/// Nothing is wrong; so nothing may be found, whoever makes and drops tables meanwhile.
#[test]
fn nothing_is_found_beside_one_who_drops_tables() {
    let db = options().buffer_pool_bytes(400 * 512).open_on(Arc::new(SimDisk::new())).unwrap();
    let stop = AtomicBool::new(false);
    let bad = Mutex::new(Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..150 {
                let name = format!("t{}", round % 3);
                let table = db.table(&name).unwrap();
                db.transact(|txn| {
                    (0..80).try_for_each(|n| {
                        txn.put(&table, &key(n), &value(n, 40 + n as usize % 7 * 60))
                    })
                })
                .unwrap();
                // Who verifies it uses it.
                while let Err(error) = db.drop_table(&name) {
                    assert!(matches!(error, Error::TableInUse { .. }), "{error}");
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                match db.verify_tables() {
                    Ok(report) if report.is_sound() => {}
                    Ok(report) => bad.lock().unwrap().push(format!(
                        "{:?} {:?} {:?}",
                        report.tables.values().map(|t| &t.faults).collect::<Vec<_>>(),
                        report.misplaced,
                        report.orphans
                    )),
                    Err(error) => bad.lock().unwrap().push(error.to_string()),
                }
            }
        });
    });
    check(&db);
    let bad = bad.into_inner().unwrap();
    assert!(bad.is_empty(), "{} reports, {:.300}", bad.len(), bad[0]);
}

/// A table is verified while somebody splits its nodes; nobody has opened it before that.
fn verify_while_it_splits(opened_before: bool) {
    let disk = SimDisk::new();
    {
        let db = options().open_on(Arc::new(disk.clone())).unwrap();
        let table = db.table("t").unwrap();
        db.transact(|txn| (0..1000).try_for_each(|n| txn.put(&table, &key(n * 10), &value(n, 40))))
            .unwrap();
        db.close().unwrap();
    }
    let (armed, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (seen, told) = (Arc::clone(&armed), Arc::clone(&go));
    let reads = Mutex::new(0);
    let watched = watched_disk(&disk, move |call| {
        if seen.load(Ordering::SeqCst) && call.operation == "read" && call.name == "pages" {
            let mut reads = reads.lock().unwrap();
            *reads += 1;
            if *reads == 12 {
                drop(reads);
                told.store(true, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(700));
            }
        }
        Ok(())
    });
    let db = options().buffer_pool_bytes(60 * 512).open_on(watched).unwrap();
    let known = opened_before.then(|| db.table("t").unwrap());
    let report = thread::scope(|scope| {
        armed.store(true, Ordering::SeqCst);
        let verify = scope.spawn(|| db.verify_tables());
        while !go.load(Ordering::SeqCst) && !verify.is_finished() {
            thread::yield_now();
        }
        let table = known.unwrap_or_else(|| db.table("t").unwrap());
        let db = &db;
        scope.spawn(move || {
            let _ = db.transact(|txn| {
                (0..1000).rev().try_for_each(|n| txn.put(&table, &key(n * 10 + 5), &value(n, 90)))
            });
        });
        verify.join().unwrap()
    });
    check(&db);
    let report = report.unwrap();
    assert!(report.is_sound(), "{:.500}", format!("{report:?}"));
}

#[test]
fn nothing_is_found_beside_splits_of_a_table_that_nobody_has_opened() {
    verify_while_it_splits(false);
}

#[test]
fn nothing_is_found_beside_splits_of_a_table_that_is_open() {
    verify_while_it_splits(true);
}

#[test]
fn closing_without_a_log_on_a_full_disk_loses_nothing() {
    let disk = SimDisk::new();
    let db = options().durability(Durability::Off).open_on(Arc::new(disk.clone())).unwrap();
    let table = db.table("t").unwrap();
    db.flush().unwrap();
    db.transact(|txn| (0..400).try_for_each(|n| txn.put(&table, &key(n), &value(n, 50)))).unwrap();
    disk.set_capacity(Some(0));
    let other = db.clone();
    let refused = db.close();
    assert!(matches!(&refused, Err(error) if error.is_disk_full()), "{refused:?}");
    disk.set_capacity(None);
    let again = other.flush();
    drop(other);
    let db = open(&disk);
    let table = db.table("t").unwrap();
    assert!(
        again.is_ok(),
        "flush again: {again:?}; {} of 400 are left",
        contents(&db, &table).len()
    );
}

/// Somebody keeps every frame for a second: the background goes on afterwards.
#[test]
fn the_background_goes_on_after_frames_were_short() {
    let db = options().background(true).open_on(Arc::new(SimDisk::new())).unwrap();
    let table = db.table("t").unwrap();
    let fill = |from: u32| {
        db.transact(|txn| {
            (from..from + 300).try_for_each(|n| txn.put(&table, &key(n), &value(n, 30)))
        })
        .unwrap();
    };
    let empty = |from: u32| {
        db.transact(|txn| {
            (from..from + 300).try_for_each(|n| txn.delete(&table, &key(n)).map(drop))
        })
        .unwrap();
    };
    let leaves = || db.verify_tables().unwrap().tables["t"].leaves;
    fill(0);
    // Works before.
    empty(0);
    for _ in 0..400 {
        if leaves() == 1 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(leaves(), 1, "before");
    fill(1000);
    empty(1000);
    let other = db.clone();
    let hog = thread::spawn(move || {
        let mut kept = Vec::new();
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            for page in 0..40 {
                if let Ok(guard) = other.fix_page(PageId(page)) {
                    kept.push(guard);
                }
            }
        }
        kept.len()
    });
    assert!(hog.join().unwrap() > 0);
    fill(2000);
    empty(2000);
    for _ in 0..400 {
        if leaves() <= 20 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let left = leaves();
    let steps = (0..).take_while(|_| db.step().unwrap()).count();
    assert!(left <= 20, "{left} leaves stay; {steps} steps by hand leave {}", leaves());
}

/// With a timeout for locks, whoever waits for a transaction in doubt is told.
#[test]
fn a_timeout_is_not_tried_again_for_ever() {
    let options = options().lock_timeout(Some(Duration::from_millis(10)));
    let db = options.open_on(Arc::new(SimDisk::new())).unwrap();
    let table = db.table("t").unwrap();
    let mut txn = db.begin().unwrap();
    txn.put(&table, b"a", b"1").unwrap();
    txn.prepare(b"g").unwrap();
    let told = db.transact(|txn| txn.get(&table, b"a"));
    assert!(matches!(told, Err(Error::LockTimeout { .. })), "{told:?}");
    db.commit_prepared(b"g").unwrap();
    assert!(db.transact(|txn| txn.get(&table, b"a")).unwrap().is_some());
}
