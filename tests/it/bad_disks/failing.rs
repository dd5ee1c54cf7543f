//! An I/O that fails, at every place of a short history: no panic, only the errors that say so,
//! and the next open finds all acknowledged work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aries::disk::{Disk, Fault, FaultKind, SimDisk, Survivors};
use aries::{Db, Error, Result};

use crate::common::{Call, Image, Work, disk_of, image, options, try_open, value, watched_disk};

/// What a history acknowledged, and what it would have with the commit that was under way.
#[derive(Clone, Default)]
struct Acknowledged {
    work: Work,
    unknown: Option<Work>,
}

impl Acknowledged {
    fn commit(&mut self, db: &Db, number: u64) -> Result<()> {
        let mut next = self.work.clone();
        let mut txn = db.begin()?;
        let bytes = value(number, 40);
        match self.work.records.first_key_value() {
            Some((&(page, slot), _)) if !number.is_multiple_of(3) => {
                txn.write_record(page, slot, 0, &bytes)?;
                next.records.insert((page, slot), bytes);
            }
            _ => {
                let page = txn.allocate_page()?;
                let slot = txn.insert_record(page, &bytes)?;
                next.records.insert((page, slot), bytes);
            }
        }
        match txn.commit() {
            Ok(_) => self.work = next,
            Err(error) => {
                self.unknown = Some(next);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whatever was acknowledged is there; the commit under way is there whole or not at all.
    fn check(&mut self, db: &Db) {
        let Some(unknown) = self.unknown.take() else { return self.work.check(db).unwrap() };
        let mut txn = db.begin().unwrap();
        let committed = unknown.records.iter().all(|((page, slot), bytes)| {
            txn.read_record(*page, *slot).ok().flatten().as_ref() == Some(bytes)
        });
        txn.commit().unwrap();
        if committed {
            self.work = unknown;
        }
        self.work.check(db).unwrap();
    }
}

/// Creates, commits, rolls back, checkpoints, writes pages, grows, closes, opens.
fn history(disk: Arc<dyn Disk>, done: &mut Acknowledged) -> Result<()> {
    let db = options().open_on(Arc::clone(&disk))?;
    for number in 0..24 {
        done.commit(&db, number)?;
        match number % 6 {
            2 => db.checkpoint().map(drop)?,
            4 => db.flush_pages()?,
            5 => roll_back_one(&db)?,
            _ if number == 13 => fill_a_segment(&db, done)?,
            _ => {}
        }
    }
    db.close()?;
    let db = options().open_on(disk)?;
    done.commit(&db, 24)?;
    while db.step()? {}
    Ok(())
}

/// One large transaction; the pages are written, so that the checkpoint recycles its segment.
fn fill_a_segment(db: &Db, done: &mut Acknowledged) -> Result<()> {
    let mut next = done.work.clone();
    let mut txn = db.begin()?;
    let page = txn.allocate_page()?;
    let slot = txn.insert_record(page, &value(0, 300))?;
    for number in 1..110 {
        txn.write_record(page, slot, 0, &value(number, 300))?;
    }
    next.records.insert((page, slot), value(109, 300));
    match txn.commit() {
        Ok(_) => done.work = next,
        Err(error) => {
            done.unknown = Some(next);
            return Err(error);
        }
    }
    db.flush_pages()?;
    db.checkpoint().map(drop)
}

fn roll_back_one(db: &Db) -> Result<()> {
    let mut txn = db.begin()?;
    let page = txn.allocate_page()?;
    txn.insert_record(page, b"taken back")?;
    txn.rollback()
}

/// The I/Os of the history, one by one.
fn calls_of_history() -> Vec<Call> {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&calls);
    let watched = watched_disk(&SimDisk::new(), move |call| {
        told.lock().unwrap().push(call.clone());
        Ok(())
    });
    history(watched, &mut Acknowledged::default()).unwrap();
    let calls = calls.lock().unwrap().clone();
    assert!(calls.iter().any(|call| call.operation == "rename"), "a segment is recycled");
    calls
}

fn ios_of_history() -> u64 {
    calls_of_history().len() as u64
}

/// Numbers of the I/Os that are syncs of a directory, or of those that are not.
fn directory_syncs(wanted: bool) -> Vec<u64> {
    let is_one = |call: &Call| call.operation == "sync" && ["", "log"].contains(&&*call.name);
    let calls = calls_of_history().into_iter().zip(0..);
    calls.filter(|(call, _)| is_one(call) == wanted).map(|(_, number)| number).collect()
}

fn fail_at(at: u64, kind: FaultKind, forever: bool) -> (SimDisk, Acknowledged) {
    let disk = SimDisk::new();
    disk.inject(Fault { at, kind, forever });
    let mut done = Acknowledged::default();
    if let Err(error) = history(Arc::new(disk.clone()), &mut done) {
        let typed = matches!(
            error,
            Error::Io { .. }
                | Error::DiskFull { .. }
                | Error::Poisoned { .. }
                | Error::OutcomeUnknown { .. }
        );
        assert!(typed, "I/O {at}: {error}");
        assert!(error.to_string().contains("sim:"), "I/O {at} names no file: {error}");
    }
    (disk, done)
}

#[test]
fn an_io_that_fails_for_ever_loses_nothing_acknowledged() {
    for at in 0..ios_of_history() {
        let (disk, done) = fail_at(at, FaultKind::InputOutputError, true);
        for survivors in [Survivors::All, Survivors::None, Survivors::Random { seed: at }] {
            let after = disk.crash(&survivors);
            let mut done = done.clone();
            done.check(&try_open(&after).unwrap());
        }
    }
}

/// Enough work to use every segment and page that was prepared ahead.
fn a_lot_more(db: &Db, work: &mut Work) -> Result<()> {
    for number in 0..70 {
        work.commit_one(db, &value(number, 250))?;
    }
    for number in 0..250 {
        let mut txn = db.begin()?;
        let (&(page, slot), record) = work.records.last_key_value().unwrap();
        let record = value(number, record.len());
        txn.write_record(page, slot, 0, &record)?;
        txn.commit()?;
        work.records.insert((page, slot), record);
    }
    Ok(())
}

/// A new process on the same kernel finds what was acknowledged and builds a lot upon it; then the
/// power fails, and what the kernel only showed is gone.
fn go_on_then_lose_power(disk: &SimDisk, done: &mut Acknowledged) -> Result<()> {
    let db = try_open(disk)?;
    done.check(&db);
    a_lot_more(&db, &mut done.work)?;
    drop(db);
    let db = try_open(&disk.crash(&Survivors::None))?;
    done.work.check(&db)?;
    a_lot_more(&db, &mut done.work)
}

/// The I/Os of `numbers` after whose one failure something acknowledged is missing, and what.
fn lost_after_one_failure(numbers: Vec<u64>, kind: FaultKind, marked: bool) -> Vec<String> {
    let lost = numbers.into_iter().filter_map(|at| {
        let (disk, mut done) = fail_at(at, kind, false);
        if !marked {
            disk.remove_file("distrust");
        }
        let error = go_on_then_lose_power(&disk, &mut done).err()?;
        Some(format!("after I/O {at} failed: {error}"))
    });
    lost.collect()
}

#[test]
fn what_a_failed_io_left_in_the_page_cache_is_not_built_upon() {
    for kind in [FaultKind::InputOutputError, FaultKind::DiskFull] {
        let lost = lost_after_one_failure(directory_syncs(false), kind, false);
        assert!(lost.is_empty(), "{lost:#?}");
    }
}

/// Where no mark of distrust could be left, all but the sync of the name `log` itself: see `docs/design.md`.
#[test]
fn a_name_that_could_not_be_made_durable_is_not_built_upon() {
    let mut syncs = directory_syncs(true);
    let kind = FaultKind::InputOutputError;
    let lost = lost_after_one_failure(syncs.clone(), kind, true);
    assert!(lost.is_empty(), "{lost:#?}");
    syncs.remove(1);
    let lost = lost_after_one_failure(syncs, kind, false);
    assert!(lost.is_empty(), "{lost:#?}");
}

/// The history up to the I/O `at`: there its process is killed. The kernel keeps what it wrote.
fn killed_at(at: u64) -> (SimDisk, Acknowledged) {
    let disk = SimDisk::new();
    let calls = AtomicU64::new(0);
    let watched = watched_disk(&disk, move |call| {
        if calls.fetch_add(1, Ordering::Relaxed) < at {
            return Ok(());
        }
        Err(Error::from_io(call.operation, &call.name, std::io::ErrorKind::Other.into()))
    });
    let mut done = Acknowledged::default();
    let _ = history(watched, &mut done);
    (disk, done)
}

#[test]
fn what_a_killed_process_left_unsynced_is_not_built_upon() {
    let lost: Vec<String> = (0..ios_of_history())
        .filter_map(|at| {
            let (disk, mut done) = killed_at(at);
            let error = go_on_then_lose_power(&disk, &mut done).err()?;
            Some(format!("killed at I/O {at}: {error}"))
        })
        .collect();
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn a_crash_while_the_file_of_pages_grows_leaves_a_database_that_can_grow() {
    let (image, work) = about_to_grow_by_a_map_page();
    for seed in 0..150 {
        let disk = disk_of(&image);
        let db = try_open(&disk).unwrap();
        let at = disk.io_count() + seed % 12;
        disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: false });
        let mut txn = db.begin().unwrap();
        let _ = txn.allocate_page();
        drop(txn);
        let after = disk.crash(&Survivors::Random { seed });
        let db = try_open(&after).unwrap();
        work.check(&db).unwrap();
        for number in 0..60 {
            let mut txn = db.begin().unwrap();
            let page = txn.allocate_page().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            txn.insert_record(page, &value(number, 30)).unwrap();
            txn.commit().unwrap();
        }
        work.check(&db).unwrap();
    }
}

/// A closed database whose next page makes the file grow across page 59, its second map page.
fn about_to_grow_by_a_map_page() -> (Image, Work) {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    while db.stats().pages < 48 || work.records.len() < 47 {
        work.commit_one(&db, &value(1, 30)).unwrap();
    }
    assert_eq!(db.stats().pages, 48);
    db.close().unwrap();
    (image(&disk), work)
}
