//! The page cache is not believed after a failed write or sync: what it shows may not be on the disk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aries::config::TornPageProtection;
use aries::disk::{Disk, Fault, FaultKind, FileDisk, SimDisk, Survivors};
use aries::event::Event;
use aries::log::Poison;
use aries::recovery::distrust;
use aries::{Db, Error};

use crate::common::{Trace, Work, forget_log, options, value, watched_disk};

const MARK: &str = "distrust";

/// A disk on which, when that is asked for, the next sync of a file whose name ends so fails.
fn with_failing_sync(
    disk: &SimDisk,
    end_of_name: &'static str,
) -> (Arc<dyn Disk>, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let (watching, failing) = (Arc::clone(&armed), disk.clone());
    let watched = watched_disk(disk, move |call| {
        let hit = call.operation == "sync" && call.name.ends_with(end_of_name);
        if hit && watching.swap(false, Ordering::Relaxed) {
            let (at, kind) = (failing.io_count(), FaultKind::InputOutputError);
            failing.inject(Fault { at, kind, forever: false });
        }
        Ok(())
    });
    (watched, armed)
}

/// A commit whose sync of the log fails.
fn stopped_by_a_failed_sync() -> (SimDisk, Work) {
    let (disk, mut work) = (SimDisk::new(), Work::default());
    let (watched, armed) = with_failing_sync(&disk, ".seg");
    let db = options().open_on(watched).unwrap();
    work.commit_one(&db, &value(1, 50)).unwrap();
    armed.store(true, Ordering::Relaxed);
    assert!(work.commit_one(&db, &value(2, 50)).is_err());
    (disk, work)
}

#[test]
fn the_mark_is_left_believed_once_and_removed_durably() {
    let (disk, work) = stopped_by_a_failed_sync();
    assert!(disk.read_file(MARK).unwrap().starts_with(b"a write or sync failed here"));
    let trace = Trace::default();
    let db = trace.open_on(Arc::new(disk.clone())).unwrap();
    work.check(&db).unwrap();
    let dropped = |event: &Event| matches!(event, Event::CacheDropped { marked: true });
    let first = trace.events().iter().position(dropped).expect("the cache is dropped");
    assert_eq!(first, 0, "before anything else is read");
    assert!(disk.read_file(MARK).is_none());
    let after = disk.crash(&Survivors::None);
    assert!(after.read_file(MARK).is_none(), "its removal is durable");
    let trace = Trace::default();
    trace.open_on(Arc::new(after)).unwrap();
    assert!(!trace.events().iter().any(dropped), "once");
}

/// Until the restart that it causes is complete, the mark stays: it may fail, too.
#[test]
fn the_mark_outlives_a_restart_that_fails() {
    let (disk, work) = stopped_by_a_failed_sync();
    let image = disk.crash(&Survivors::None);
    let opened = image.crash(&Survivors::All);
    options().open_on(Arc::new(opened.clone())).unwrap();
    let mut unmarked = 0;
    for at in 0..opened.io_count() {
        let disk = image.crash(&Survivors::All);
        disk.inject(Fault { at, kind: FaultKind::InputOutputError, forever: false });
        if options().open_on(Arc::new(disk.clone())).is_err() {
            unmarked += u64::from(disk.read_file(MARK).is_none());
        }
        work.check(&options().open_on(Arc::new(disk.clone())).unwrap()).unwrap();
        work.check(&options().open_on(Arc::new(disk.crash(&Survivors::None))).unwrap()).unwrap();
    }
    assert!(unmarked <= 1, "without a mark only where its removal could not be made durable");
}

/// Nothing is dropped where nothing asks for it: that would cost every restart its warm cache.
#[test]
fn the_cache_is_not_dropped_without_a_cause() {
    let dropped = |trace: &Trace| {
        let events = trace.events();
        events.iter().any(|event| matches!(event, Event::CacheDropped { .. }))
    };
    let images = || options().torn_page_protection(TornPageProtection::PageImages);
    let disk = SimDisk::new();
    let mut work = Work::default();
    let db = images().open_on(Arc::new(disk.clone())).unwrap();
    work.commit_one(&db, &value(1, 50)).unwrap();
    let killed = disk.crash(&Survivors::All);
    db.close().unwrap();
    let (after_close, after_kill, with_images) = <(Trace, Trace, Trace)>::default();
    after_close.open_with(images(), Arc::new(disk.crash(&Survivors::All))).unwrap();
    let twice = Arc::new(disk.crash(&Survivors::All));
    drop(options().open_on(Arc::clone(&twice) as Arc<dyn Disk>).unwrap());
    after_kill.open_with(images(), twice).unwrap();
    with_images.open_with(options(), Arc::new(killed)).unwrap();
    assert!(!dropped(&after_close), "a clean close leaves nothing that is not durable");
    assert!(!dropped(&after_kill), "restart writes again what it builds upon");
    assert!(dropped(&with_images), "nothing tells which pages were written last");
}

#[test]
fn a_mark_may_be_cut_short_or_zeros_but_not_longer() {
    let whole = distrust::DISTRUST_MARK;
    let longer = [whole, b"!"].concat();
    let cases = [(whole, true), (&whole[..7], true), (&[0; 30], true), (&longer, false)];
    for (content, ours) in cases {
        let disk = SimDisk::new();
        disk.create(MARK).unwrap().write_at(0, content).unwrap();
        assert_eq!(distrust::is_marked(&disk).unwrap(), ours, "{content:?}");
    }
}

/// A file of that name which the engine did not write means nothing to it, and stays as it is.
#[test]
fn somebody_else_s_file_of_that_name_is_left_alone() {
    let disk = SimDisk::new();
    let theirs = b"we do not trust each other";
    let open = || options().open_on(Arc::new(disk.clone()));
    disk.create(MARK).unwrap().write_at(0, theirs).unwrap();
    assert!(matches!(open(), Err(Error::NotADatabase { .. })), "a directory with their file");
    disk.remove_file(MARK);
    drop(open().unwrap());
    disk.create(MARK).unwrap().write_at(0, theirs).unwrap();
    let at = disk.io_count() + 3;
    disk.inject(Fault { at, kind: FaultKind::InputOutputError, forever: false });
    assert!(open().is_err());
    drop(open().unwrap());
    assert_eq!(disk.read_file(MARK).unwrap(), theirs);
}

/// Pages that are written in place only: what the cache shows of them after a failed sync may be newer
/// than the disk, and nothing else says which pages these are. So it is dropped after every unclean end of
/// a run that wrote so, also where no mark could be left, however the next run protects its pages.
#[test]
fn pages_that_only_the_cache_has_are_not_built_upon() {
    use TornPageProtection::{DoubleWrite, None, PageImages};
    for (before, next) in
        [(PageImages, PageImages), (None, None), (PageImages, DoubleWrite), (None, DoubleWrite)]
    {
        let (disk, mut work) = (SimDisk::new(), Work::default());
        let (watched, armed) = with_failing_sync(&disk, "pages");
        let db = options().torn_page_protection(before).open_on(watched).unwrap();
        work.commit_one(&db, &value(1, 50)).unwrap();
        armed.store(true, Ordering::Relaxed);
        assert!(db.flush_pages().is_err());
        drop(db);
        disk.remove_file(MARK);
        let options = || options().torn_page_protection(next);
        let db = options().open_on(Arc::new(disk.clone())).unwrap();
        work.check(&db).unwrap();
        db.flush_pages().unwrap();
        forget_log(&db);
        let after = disk.crash(&Survivors::None);
        let db = options().open_on(Arc::new(after)).unwrap();
        work.check(&db).unwrap();
    }
}

/// The first failure may be one that gives no cause for distrust; one that does may come after it.
#[test]
fn a_sync_that_fails_after_the_engine_stopped_leaves_the_mark_too() {
    let (disk, mut work) = (SimDisk::new(), Work::default());
    let db = options().open_on(Arc::new(disk.clone())).unwrap();
    work.commit_one(&db, &value(1, 50)).unwrap();
    let poison = Poison::default();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    distrust::watch(&shared, &poison);
    let failed =
        |operation| Error::from_io(operation, "pages", std::io::Error::from_raw_os_error(5));
    poison.stop(failed("read"));
    assert!(disk.read_file(MARK).is_none(), "what cannot be read is not written");
    poison.stop(failed("sync"));
    assert!(disk.read_file(MARK).is_some());
}

/// Growing the file of pages syncs it. If that fails for want of space it is an ordinary error: so it must
/// not be the sync that another's page writes wait for.
#[test]
fn growing_never_takes_the_failure_of_a_page_write() {
    let (disk, mut work) = (SimDisk::new(), Work::default());
    let (armed, growing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let shared: Arc<Mutex<Option<Db>>> = Arc::default();
    let grower: Arc<Mutex<Option<JoinHandle<()>>>> = Arc::default();
    let (armed_there, failing) = (Arc::clone(&armed), disk.clone());
    let (db_there, grower_there) = (Arc::clone(&shared), Arc::clone(&grower));
    let watched = watched_disk(&disk, move |call| {
        if (call.operation, call.name.as_str()) != ("sync", "pages") {
            return Ok(());
        }
        if armed_there.swap(false, Ordering::SeqCst) {
            growing.store(true, Ordering::SeqCst);
            let db = db_there.lock().unwrap().take().unwrap();
            *grower_there.lock().unwrap() = Some(thread::spawn(move || grow(&db)));
            thread::sleep(Duration::from_millis(200)); // Long enough to get in between.
        } else if growing.swap(false, Ordering::SeqCst) {
            let (at, kind) = (failing.io_count(), FaultKind::DiskFull);
            failing.inject(Fault { at, kind, forever: false });
        }
        Ok(())
    });
    let db = options().buffer_pool_bytes(512 * 256).open_on(watched).unwrap();
    for number in 0..4 {
        work.commit_one(&db, &value(number, 50)).unwrap();
    }
    *shared.lock().unwrap() = Some(db.clone());
    armed.store(true, Ordering::SeqCst);
    db.flush_pages().unwrap();
    grower.lock().unwrap().take().unwrap().join().unwrap();
    forget_log(&db);
    let db = options().open_on(Arc::new(disk.crash(&Survivors::None))).unwrap();
    work.check(&db).unwrap();
}

/// Allocates until the disk is full.
fn grow(db: &Db) {
    let mut txn = db.begin().unwrap();
    let error = (0..200).find_map(|_| txn.allocate_page().err());
    assert!(error.unwrap().is_disk_full());
    txn.rollback().unwrap();
}

#[test]
fn on_files_dropping_the_cache_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut work = Work::default();
    let db = options().open(dir.path()).unwrap();
    for number in 0..20 {
        work.commit_one(&db, &value(number, 100)).unwrap();
    }
    db.flush_pages().unwrap();
    drop(db);
    std::fs::write(dir.path().join(MARK), "").unwrap();
    FileDisk::open(dir.path()).unwrap().drop_cache().unwrap();
    let db = options().open(dir.path()).unwrap();
    work.check(&db).unwrap();
    assert!(!dir.path().join(MARK).exists(), "an empty mark is a mark, and was removed");
}
