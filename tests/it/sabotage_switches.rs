//! Rules broken on purpose, each with a script of what it takes to see that: the sound engine keeps everything,
//! the broken one loses something, or finds itself wrong.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aries::config::{Sabotage, TornPageProtection};
use aries::disk::{
    Disk, Fault, FaultKind, Metadata, Part, PendingKind, PowerFailure, SectorSize, SimDisk,
    Survivors, Torn,
};
use aries::ids::{PageId, SlotId};
use aries::{Db, Error, Options};

use crate::common::{SEGMENT_BYTES, Work, forget_log, options, value, watched_disk};

/// A rule, what to do, and words of what comes of it when the rule is broken.
type Script = (Sabotage, fn(&Options), &'static str);

const SCRIPTS: [Script; 12] = [
    (Sabotage::DoubleWriteReusedEarly, two_pages_in_a_batch, "a whole page"),
    (Sabotage::TailNotRewritten, the_log_was_only_in_the_cache, "a log record"),
    (Sabotage::PagesNotSynced, pages_were_only_in_the_cache, "record P1.0"),
    (Sabotage::DirectoryNotSynced, a_log_of_many_segments, "log segment"),
    (Sabotage::GrowthNotSynced, a_file_that_grows, "pages of 512 bytes"),
    (Sabotage::NestedTopActionUndone, a_nested_top_action, "record P2.0"),
    (Sabotage::PreparedRolledBack, a_transaction_in_doubt, "in doubt"),
    (Sabotage::NoPageImage, a_page_with_an_image, "a whole page"),
    (Sabotage::SpaceMapUndoneByBytes, two_allocations, "is not allocated"),
    (Sabotage::FreedPageReusedEarly, a_page_that_is_freed, "record P1.0"),
    (Sabotage::FailedSyncRetried, a_commit_whose_sync_fails, "record P1.0"),
    (Sabotage::ShortWriteIgnored, a_log_written_in_parts, "record P1.0"),
];

#[test]
fn each_script_fails_when_its_rule_is_broken_and_else_passes() {
    for (rule, script, words) in SCRIPTS {
        script(&options());
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let broken = panic::catch_unwind(AssertUnwindSafe(|| script(&options().sabotage(rule))));
        panic::set_hook(hook);
        let panic = broken.expect_err(rule.name());
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        assert!(said.contains(words), "{}: {said}", rule.name());
    }
}

fn open(options: &Options, disk: &SimDisk) -> Db {
    options.open_on(Arc::new(disk.clone())).unwrap_or_else(|error| panic!("{error}"))
}

/// After a power failure that only what was durable survives.
fn open_durable(options: &Options, disk: &SimDisk) -> Db {
    open(options, &disk.crash(&Survivors::None))
}

/// A disk for a process that dies, once that is asked for, when it is about to sync a file whose name ends so: `how`
/// says what becomes of that sync.
fn dying(
    disk: &SimDisk,
    end_of_name: &'static str,
    how: fn(&SimDisk) -> aries::Result<()>,
) -> (Arc<dyn Disk>, Arc<AtomicBool>) {
    let (armed, dead) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    let (armed_there, inner) = (Arc::clone(&armed), disk.clone());
    let watched = watched_disk(disk, move |call| {
        if dead.load(Ordering::Relaxed) {
            return killed(&inner);
        }
        let hit = call.operation == "sync" && call.name.ends_with(end_of_name);
        if !hit || !armed_there.load(Ordering::Relaxed) {
            return Ok(());
        }
        dead.store(true, Ordering::Relaxed);
        how(&inner)
    });
    (watched, armed)
}

fn killed(_: &SimDisk) -> aries::Result<()> {
    Err(Error::Closed)
}

fn sync_fails(disk: &SimDisk) -> aries::Result<()> {
    let (at, kind) = (disk.io_count(), FaultKind::InputOutputError);
    disk.inject(Fault { at, kind, forever: false });
    Ok(())
}

/// A database with so many pages of a record each, all durable in place, and nothing of them in the log.
fn made(disk: &SimDisk, pages: u64) -> Work {
    let (db, mut work) = (open(&options(), disk), Work::default());
    for number in 0..pages {
        work.commit_one(&db, &value(number, 50)).unwrap();
    }
    db.flush_pages().unwrap();
    forget_log(&db);
    db.close().unwrap();
    work
}

/// Overwrites the record of this page, and commits.
fn overwrite(db: &Db, work: &mut Work, page: u64, number: u64) -> aries::Result<()> {
    let (at, bytes) = ((PageId(page), SlotId(0)), value(number, 50));
    let mut txn = db.begin()?;
    txn.write_record(at.0, at.1, 0, &bytes)?;
    txn.commit()?;
    work.records.insert(at, bytes);
    Ok(())
}

/// Two pages, which are in one double-write batch.
fn two_pages_in_a_batch(options: &Options) {
    torn_page(options, &[1, 2]);
}

/// One page, which the log has whole.
fn a_page_with_an_image(options: &Options) {
    torn_page(&options.clone().torn_page_protection(TornPageProtection::PageImages), &[1]);
}

/// These pages are written, and the power fails before they are synced: P1 is torn.
fn torn_page(options: &Options, pages: &[u64]) {
    let torn = Torn::PrefixOrSuffix;
    let power = PowerFailure { torn, metadata: Metadata::Ordered, sector: SectorSize::Bytes512 };
    let disk = SimDisk::with_power_failure(power);
    let mut work = made(&disk, 2);
    let (watched, armed) = dying(&disk, "pages", killed);
    let db = options.open_on(watched).unwrap();
    for page in pages {
        overwrite(&db, &mut work, *page, 10 + page).unwrap();
    }
    armed.store(true, Ordering::Relaxed);
    assert!(db.flush_pages().is_err());
    let first = PendingKind::Sector { offset: 512, length: 512 };
    let first = disk.pending().into_iter().find(|pending| pending.kind == first).unwrap();
    let torn = disk.crash(&Survivors::Parts([(first.id, Part::Prefix(40))].into()));
    work.check(&open(options, &torn)).unwrap();
}

/// A sync of the log fails, and the process dies before it can say so. The next one reads the log from the cache:
/// what it makes of it stays.
fn the_log_was_only_in_the_cache(options: &Options) {
    let disk = SimDisk::new();
    let mut work = made(&disk, 1);
    let (watched, armed) = dying(&disk, ".seg", sync_fails);
    let db = options.open_on(watched).unwrap();
    armed.store(true, Ordering::Relaxed);
    assert!(overwrite(&db, &mut work, 1, 11).is_err());
    work.records.insert((PageId(1), SlotId(0)), value(11, 50));
    work.check(&open(options, &disk)).unwrap();
    work.check(&open_durable(options, &disk)).unwrap();
}

/// Pages are written, and the process is killed before they are synced. The next one reads them from the cache, and
/// writes another page; the power fails before that is synced.
fn pages_were_only_in_the_cache(options: &Options) {
    let disk = SimDisk::new();
    let mut work = made(&disk, 2);
    for page in [1, 2] {
        let (watched, armed) = dying(&disk, "pages", killed);
        let db = options.open_on(watched).unwrap();
        overwrite(&db, &mut work, page, 10 + page).unwrap();
        armed.store(true, Ordering::Relaxed);
        assert!(db.flush_pages().is_err());
    }
    work.check(&open_durable(options, &disk)).unwrap();
}

/// The log goes on to segments that were not there when the database was made.
fn a_log_of_many_segments(options: &Options) {
    let disk = SimDisk::new();
    let mut work = made(&disk, 1);
    let db = open(options, &disk);
    let end = db.stats().end_lsn.get() + 8 * SEGMENT_BYTES;
    while db.stats().end_lsn.get() < end {
        overwrite(&db, &mut work, 1, db.stats().end_lsn.get()).unwrap();
    }
    work.check(&open_durable(options, &disk)).unwrap();
}

/// The file of pages grows.
fn a_file_that_grows(options: &Options) {
    let disk = SimDisk::new();
    let mut work = made(&disk, 1);
    let db = open(options, &disk);
    let pages = db.stats().pages;
    while db.stats().pages == pages {
        work.commit_one(&db, &value(7, 50)).unwrap();
    }
    work.check(&open_durable(options, &disk)).unwrap();
}

/// A nested top action ends, and its transaction is rolled back.
fn a_nested_top_action(options: &Options) {
    let disk = SimDisk::new();
    let mut work = made(&disk, 2);
    let db = open(options, &disk);
    let mut txn = db.begin().unwrap();
    txn.write_record(PageId(1), SlotId(0), 0, b"undone").unwrap();
    let mut nested = txn.nested_top_action().unwrap();
    nested.write_record(PageId(2), SlotId(0), 0, b"stays").unwrap();
    nested.end().unwrap();
    txn.rollback().unwrap();
    work.records.get_mut(&(PageId(2), SlotId(0))).unwrap()[..5].copy_from_slice(b"stays");
    work.check(&db).unwrap();
}

/// A transaction is prepared, and the power fails.
fn a_transaction_in_doubt(options: &Options) {
    let disk = SimDisk::new();
    let mut work = made(&disk, 1);
    let db = open(options, &disk);
    let mut txn = db.begin().unwrap();
    txn.write_record(PageId(1), SlotId(0), 0, b"promised").unwrap();
    txn.prepare(b"transfer").unwrap();
    let db = open_durable(options, &disk);
    db.commit_prepared(b"transfer").unwrap_or_else(|error| panic!("{error}"));
    work.records.get_mut(&(PageId(1), SlotId(0))).unwrap()[..8].copy_from_slice(b"promised");
    work.check(&db).unwrap();
}

/// Two transactions allocate neighbouring pages; the first one is rolled back when the second has committed.
fn two_allocations(options: &Options) {
    let disk = SimDisk::new();
    let mut work = made(&disk, 1);
    let db = open(options, &disk);
    let mut first = db.begin().unwrap();
    first.allocate_page().unwrap();
    let mut second = db.begin().unwrap();
    let page = second.allocate_page().unwrap();
    let slot = second.insert_record(page, b"stays").unwrap();
    second.commit().unwrap();
    first.rollback().unwrap();
    work.records.insert((page, slot), b"stays".to_vec());
    work.check(&db).unwrap_or_else(|error| panic!("{error}"));
}

/// A transaction frees a page and is rolled back, when others have allocated all pages that there are.
fn a_page_that_is_freed(options: &Options) {
    let disk = SimDisk::new();
    let work = made(&disk, 1);
    let db = open(options, &disk);
    let mut freeing = db.begin().unwrap();
    freeing.free_page(PageId(1)).unwrap();
    let mut other = db.begin().unwrap();
    let pages = db.stats().pages;
    while db.stats().pages == pages && other.allocate_page().unwrap() != PageId(1) {}
    other.commit().unwrap();
    freeing.rollback().unwrap();
    work.check(&db).unwrap();
}

/// The sync of a commit fails, and the power fails later.
fn a_commit_whose_sync_fails(options: &Options) {
    let disk = SimDisk::new();
    let mut work = made(&disk, 1);
    let db = open(options, &disk);
    work.check(&db).unwrap(); // Reads the pages.
    let at = disk.io_count() + 1; // Behind the write of the log.
    disk.inject(Fault { at, kind: FaultKind::InputOutputError, forever: false });
    let _ = overwrite(&db, &mut work, 1, 11); // Where it is not acknowledged, it is not part of the work.
    work.check(&open_durable(options, &disk)).unwrap();
}

/// The kernel writes only half of what it is asked to, once.
fn a_log_written_in_parts(options: &Options) {
    let disk = SimDisk::new();
    let mut work = made(&disk, 1);
    let db = open(options, &disk);
    work.check(&db).unwrap(); // Reads the pages.
    let at = disk.io_count(); // The write of the log.
    disk.inject(Fault { at, kind: FaultKind::ShortWrite, forever: false });
    overwrite(&db, &mut work, 1, 11).unwrap();
    work.check(&open_durable(options, &disk)).unwrap();
}
