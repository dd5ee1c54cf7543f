//! Small databases as the engine leaves them, byte for byte the same each time: where the seeds come
//! from, and what the target `restart_mutated` spoils.

use std::sync::Arc;

use aries::config::{Durability, LogBlock, TornPageProtection};
use aries::disk::{Fault, FaultKind, SimDisk, Survivors};
use aries::ids::{PageId, SlotId};
use aries::log::SEGMENT_HEADER_BYTES;
use aries::{Db, Options, Result, Transaction, record};

use crate::images::{Image, SEGMENT_BYTES, Work, image, value};

/// More runs than any of the databases has seen.
const MOST_EPOCHS: u64 = 16;

/// Small pages, segments and pools; no threads, no clock.
pub fn options() -> Options {
    Options::new()
        .buffer_pool_bytes(32 * 1024)
        .background(false)
        .database_id(0xA51E5)
        .wall_clock(|| 0)
}

fn small() -> Options {
    options().page_size(512).segment_bytes(SEGMENT_BYTES)
}

fn open(disk: &SimDisk, options: &Options) -> Db {
    options.open_on(Arc::new(disk.clone())).unwrap()
}

/// All of them, with names.
pub fn all() -> Vec<(&'static str, Image)> {
    let all = [
        ("closed", closed as fn() -> SimDisk),
        ("crashed", crashed),
        ("losers", losers),
        ("in_doubt", in_doubt),
        ("second_run", second_run),
        ("padded", padded),
        ("page_images", page_images),
        ("torn", torn),
        ("long_log", long_log),
        ("unfinished", unfinished),
        ("distrusted", distrusted),
        ("tables", tables),
        ("flushing", flushing),
    ];
    all.map(|(name, make)| (name, image(&make()))).to_vec()
}

fn commits(db: &Db, numbers: std::ops::Range<u64>) -> Work {
    let mut work = Work::default();
    for number in numbers {
        work.commit_one(db, &value(number, 30)).unwrap();
        if number == 3 {
            db.flush_pages().unwrap();
        }
    }
    work
}

fn closed() -> SimDisk {
    let disk = SimDisk::new();
    let db = open(&disk, &small());
    commits(&db, 0..8);
    db.close().unwrap();
    disk
}

fn crashed() -> SimDisk {
    let disk = SimDisk::new();
    let db = open(&disk, &small());
    commits(&db, 0..8);
    disk
}

/// What a transaction does that has a bit of everything in it.
fn work_of_all_kinds(txn: &mut Transaction, old: PageId) -> Result<()> {
    let page = txn.allocate_page()?;
    let slot = txn.insert_record(page, &value(1, 40))?;
    txn.write_record(page, slot, 3, b"changed")?;
    let here = txn.savepoint()?;
    txn.insert_record(page, &value(2, 50))?;
    txn.write_record(old, SlotId(0), 0, b"undone")?;
    txn.rollback_to(here)?;
    let nested = txn.nested_top_action()?;
    nested.end()?;
    txn.delete_record(old, SlotId(0))?;
    txn.free_page(old)
}

/// Transactions in all states of ending, and checkpoints among them.
fn losers() -> SimDisk {
    let disk = SimDisk::new();
    let db = open(&disk, &small());
    commits(&db, 0..8);
    let begin = || db.begin().unwrap();
    let (mut first, mut second, mut third, mut fourth) = (begin(), begin(), begin(), begin());
    work_of_all_kinds(&mut first, PageId(2)).unwrap();
    work_of_all_kinds(&mut second, PageId(3)).unwrap();
    work_of_all_kinds(&mut third, PageId(4)).unwrap();
    let checkpoint = db.begin_checkpoint().unwrap();
    work_of_all_kinds(&mut fourth, PageId(5)).unwrap();
    db.complete_checkpoint(checkpoint).unwrap();
    second.rollback().unwrap();
    drop(third.commit_deferred().unwrap());
    let mut nested = first.nested_top_action().unwrap();
    nested.write_record(PageId(6), SlotId(0), 0, b"nested").unwrap();
    nested.end().unwrap();
    db.force_log().unwrap();
    let left = disk.crash(&Survivors::None);
    drop((first, fourth));
    left
}

/// Transactions in doubt, one with too many locks for one record, some before and some behind a
/// checkpoint.
fn in_doubt() -> SimDisk {
    let disk = SimDisk::new();
    let db = open(&disk, &small());
    commits(&db, 0..12);
    let mut many = db.begin().unwrap();
    for _ in 0..5 {
        let page = many.allocate_page().unwrap();
        for number in 0..20 {
            many.insert_record(page, &value(number, 8)).unwrap();
        }
    }
    many.prepare(b"many locks").unwrap();
    let mut freeing = db.begin().unwrap();
    freeing.free_page(PageId(9)).unwrap();
    freeing.prepare(b"freeing").unwrap();
    db.checkpoint().unwrap();
    let mut one = db.begin().unwrap();
    one.write_record(PageId(7), SlotId(0), 0, b"in doubt").unwrap();
    one.prepare(b"one").unwrap();
    db.force_log().unwrap();
    disk.crash(&Survivors::None)
}

/// A crash in the middle of the restart after a crash.
fn second_run() -> SimDisk {
    let disk = losers();
    drop(open(&disk, &small()));
    let db = open(&disk, &small());
    commits(&db, 0..3);
    let mut loser = db.begin().unwrap();
    loser.write_record(PageId(7), SlotId(0), 0, b"lost").unwrap();
    db.force_log().unwrap();
    let left = disk.crash(&Survivors::None);
    loser.rollback().unwrap();
    // The next restart gets as far as its restart record, and not to a checkpoint.
    let ios = left.io_count();
    let again = left.crash(&Survivors::All);
    drop(open(&again, &small()));
    let last = again.io_count() - ios;
    let fault = |at| Fault { at, kind: FaultKind::PowerOff, forever: true };
    left.inject(fault(ios + last.saturating_sub(8)));
    assert!(small().open_on(Arc::new(left.clone())).is_err());
    left.crash(&Survivors::All)
}

fn padded() -> SimDisk {
    let disk = SimDisk::new();
    let options = small().log_block(LogBlock::Padded(512));
    let db = open(&disk, &options);
    commits(&db, 0..4);
    drop(db);
    let db = open(&disk, &small().log_block(LogBlock::Padded(4096)));
    commits(&db, 0..2);
    drop(db);
    drop(open(&disk, &options));
    disk
}

fn page_images() -> SimDisk {
    let disk = SimDisk::new();
    let db = open(&disk, &small().torn_page_protection(TornPageProtection::PageImages));
    commits(&db, 0..5);
    db.flush_pages().unwrap();
    commits(&db, 0..5);
    db.checkpoint().unwrap();
    commits(&db, 0..2);
    disk
}

/// A batch of pages that was written to the double-write file, and only in part in place.
fn torn() -> SimDisk {
    let disk = SimDisk::new();
    let db = open(&disk, &small());
    commits(&db, 0..8);
    let before = disk.read_file("pages").unwrap();
    db.flush_pages().unwrap();
    let mut after = disk.read_file("pages").unwrap();
    for torn in (0..before.len()).step_by(1024) {
        after[torn + 200..torn + 512].copy_from_slice(&before[torn + 200..torn + 512]);
    }
    disk.write_file("pages", &after);
    disk
}

/// More log than one segment, some of it recycled.
fn long_log() -> SimDisk {
    let disk = SimDisk::new();
    let db = open(&disk, &small());
    let mut txn = db.begin().unwrap();
    let page = txn.allocate_page().unwrap();
    let slot = txn.insert_record(page, &[0; 400]).unwrap();
    txn.commit().unwrap();
    let mut loser = db.begin().unwrap();
    for number in 1..=250_u8 {
        let mut txn = db.begin().unwrap();
        txn.write_record(page, slot, 0, &[number; 400]).unwrap();
        txn.commit().unwrap();
        if number == 150 {
            db.flush_pages().unwrap();
            db.checkpoint().unwrap();
            db.checkpoint().unwrap();
            loser.allocate_page().unwrap();
        }
    }
    db.force_log().unwrap();
    let left = disk.crash(&Survivors::None);
    drop(loser);
    left
}

/// The making of a database was interrupted.
fn unfinished() -> SimDisk {
    let disk = SimDisk::new();
    drop(open(&disk, &small()));
    let ios = disk.io_count();
    let disk = SimDisk::new();
    disk.inject(Fault { at: ios / 3, kind: FaultKind::PowerOff, forever: true });
    assert!(small().open_on(Arc::new(disk.clone())).is_err());
    disk.crash(&Survivors::All)
}

/// A run that a failed sync stopped.
fn distrusted() -> SimDisk {
    let disk = SimDisk::new();
    let db = open(&disk, &small());
    commits(&db, 0..3);
    let mut txn = db.begin().unwrap();
    txn.allocate_page().unwrap();
    disk.inject(Fault {
        at: disk.io_count() + 1,
        kind: FaultKind::InputOutputError,
        forever: false,
    });
    assert!(txn.commit().is_err());
    disk
}

/// The key of a number: some are long, so that trees are deep.
fn key(number: u64) -> Vec<u8> {
    value(number, if number % 5 == 0 { 60 } else { 8 })
}

/// Trees of some height, with ghosts, overflow pages and freed leaves, part of it in place; and a loser that changed them. The log tells
/// the changes of keys.
fn tables() -> SimDisk {
    let disk = SimDisk::new();
    let db = open(&disk, &small().log_key_changes(true));
    let (first, second) = (db.table("first").unwrap(), db.table("second").unwrap());
    let mut txn = db.begin().unwrap();
    for number in 0..40 {
        let length = if number % 16 == 3 { 700 } else { 12 };
        txn.put(&first, &key(number), &value(number, length)).unwrap();
    }
    txn.put(&second, b"alone", b"").unwrap();
    txn.commit().unwrap();
    let mut txn = db.begin().unwrap();
    for number in 10..18 {
        txn.delete(&first, &key(number)).unwrap();
    }
    txn.commit().unwrap();
    while db.step().unwrap() {}
    db.flush_pages().unwrap();
    db.checkpoint().unwrap();
    let mut loser = db.begin().unwrap();
    for number in 30..46 {
        loser.put(&first, &key(number), &value(number + 1, 30)).unwrap();
    }
    loser.delete(&first, &key(3)).unwrap();
    loser.put(&second, b"alone", &value(9, 900)).unwrap();
    db.force_log().unwrap();
    let left = disk.crash(&Survivors::None);
    drop(loser);
    left
}

/// A run without a log, which the power left when all its pages stood in a batch, and none in place.
fn flushing() -> SimDisk {
    let mut interrupted = (1..).map(flush_interrupted);
    let has_batch =
        |disk: &SimDisk| disk.read_file("doublewrite").unwrap().starts_with(b"ARIESALL");
    interrupted.find(has_batch).expect("a flush writes its batch")
}

/// What the disk holds if the power fails so many calls after a flush began.
fn flush_interrupted(calls: u64) -> SimDisk {
    let disk = SimDisk::new();
    let db = open(&disk, &small());
    let table = db.table("t").unwrap();
    let mut txn = db.begin().unwrap();
    txn.put(&table, b"logged", b"and in place").unwrap();
    txn.commit().unwrap();
    db.close().unwrap();
    let db = open(&disk, &small().durability(Durability::Off));
    let table = db.table("t").unwrap();
    let mut txn = db.begin().unwrap();
    for number in 0..30 {
        txn.put(&table, &key(number), &value(number, 20)).unwrap();
    }
    txn.commit().unwrap();
    let at = disk.io_count() + calls;
    disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
    assert!(db.flush().is_err(), "the power fails in the middle");
    disk.crash(&Survivors::All)
}

/// A record of a log, where it lies.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The segment's name.
    pub segment: String,
    /// Where in the segment.
    pub range: std::ops::Range<usize>,
    /// Its LSN.
    pub lsn: u64,
    /// The epoch that it was written in.
    pub epoch: u64,
}

/// The valid records of all segments, in the order of their LSNs.
pub fn records(image: &Image) -> Vec<Placed> {
    let mut all = Vec::new();
    for (name, segment) in image.iter().filter(|(name, _)| name.starts_with("log/")) {
        let Some(number) = name[4..].split('.').next().and_then(|n| n.parse::<u64>().ok()) else {
            continue;
        };
        // Where a run ended, the next one may begin behind a hole.
        let mut at = SEGMENT_HEADER_BYTES as usize;
        while at + 8 <= segment.len() {
            let lsn = (number - 1) * segment.len() as u64 + at as u64;
            match valid(&segment[at..], lsn) {
                Some((length, epoch)) => {
                    let range = at..at + length;
                    all.push(Placed { segment: name.clone(), range, lsn, epoch });
                    at += record::padded(length);
                }
                None => at += record::ALIGNMENT,
            }
        }
    }
    all
}

/// Length and epoch of the record at the front of `bytes`.
fn valid(bytes: &[u8], lsn: u64) -> Option<(usize, u64)> {
    let length = record::peek_length(bytes)?;
    let lsn = aries::ids::Lsn::new(lsn)?;
    let epoch = (0..MOST_EPOCHS).find(|epoch| record::verify(&bytes[..length], lsn, *epoch))?;
    Some((length, epoch))
}
