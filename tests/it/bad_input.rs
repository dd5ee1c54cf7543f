//! Calls that make no sense, and calls that ask for more than there is: an error that says so,
//! nothing happened, and the engine goes on.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use aries::disk::{Disk, SimDisk, Survivors};
use aries::ids::{PageId, SlotId};
use aries::{Db, Error, Options, Result};

use crate::common::{PAGE_SIZE, Work, image, options, try_open, value};

fn refused(options: &Options) -> String {
    let disk = SimDisk::new();
    match options.open_on(Arc::new(disk.clone())).map(drop) {
        Err(Error::InvalidInput(message)) => {
            assert!(image(&disk).is_empty(), "{message}: but something was made");
            message
        }
        Err(error) => panic!("{error}"),
        Ok(()) => panic!("options out of range were taken"),
    }
}

/// A database with one committed record.
fn database() -> (SimDisk, Db, PageId, SlotId) {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    work.commit_one(&db, b"ten bytes.").unwrap();
    let (page, slot) = *work.records.first_key_value().unwrap().0;
    (disk, db, page, slot)
}

/// Asserts that the call was refused as making no sense, in these words.
fn assert_invalid<T>(result: Result<T>, words: &str) {
    match result {
        Err(Error::InvalidInput(message)) => assert!(message.contains(words), "{message}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("not refused: {words}"),
    }
}

#[test]
fn page_sizes_out_of_range_are_refused() {
    for size in [0, 1, 256, 511, 513, 1000, 131_072, usize::MAX] {
        let message = refused(&Options::new().page_size(size));
        assert!(message.contains(&format!("page size {size}")), "{message}");
        assert!(message.contains("512 to 65536"), "{message}");
    }
}

#[test]
fn segment_sizes_out_of_range_are_refused() {
    for size in [0, 1, 32_768, 65_537, 100_000, 128 * 1024 * 1024, u64::MAX] {
        let message = refused(&options().segment_bytes(size));
        assert!(message.contains(&format!("segment size {size}")), "{message}");
    }
    let message = refused(&options().page_size(65_536).buffer_pool_bytes(1 << 24));
    assert!(message.contains("from 524288"), "{message}");
}

#[test]
fn pools_that_are_too_small_are_refused() {
    for bytes in [0, PAGE_SIZE, 15 * PAGE_SIZE] {
        assert!(refused(&options().buffer_pool_bytes(bytes)).contains("at least 16"));
    }
}

/// Asking for more memory than there is may end the process: so it is done in another one.
#[test]
fn a_pool_larger_than_any_memory_is_refused() {
    let child = child("bad_input::opens_with_an_absurd_pool");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 800000; exec timeout 4 \"$0\" \"$@\""]);
    limited.arg(child.get_program()).args(child.get_args());
    let output = limited.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the process ended: {message}");
}

#[test]
#[ignore = "run by a_pool_larger_than_any_memory_is_refused, in a process of its own"]
fn opens_with_an_absurd_pool() {
    for bytes in [usize::MAX, usize::MAX / 2, 1 << 48] {
        refused(&options().buffer_pool_bytes(bytes));
    }
}

/// This program again, running one ignored test, quietly.
pub fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn checkpoints_after_hardly_any_log_do_not_keep_background_work_busy_for_ever() {
    for bytes in [0, 1, 100] {
        let disk = SimDisk::new();
        let opened = options().checkpoint_log_bytes(bytes).open_on(Arc::new(disk));
        let Ok(db) = opened else { continue }; // Refusing is as good.
        let rounds = (0..50).take_while(|_| db.step().unwrap()).count();
        assert!(rounds < 50, "checkpoint_log_bytes({bytes}): a checkpoint in every step, for ever");
    }
}

#[test]
fn a_missing_database_is_not_made_when_that_was_forbidden() {
    let disk = SimDisk::new();
    let error = options().create_if_missing(false).open_on(Arc::new(disk.clone())).map(drop);
    assert!(matches!(error, Err(Error::NotADatabase { .. })), "{error:?}");
    assert!(image(&disk).is_empty());
}

#[test]
fn an_empty_record_is_refused() {
    let (_disk, db, page, _) = database();
    let mut txn = db.begin().unwrap();
    assert_invalid(txn.insert_record(page, b""), "at least one byte");
    txn.commit().unwrap();
}

#[test]
fn bytes_beyond_a_record_are_refused() {
    let (_disk, db, page, slot) = database();
    let mut txn = db.begin().unwrap();
    let before = txn.read_record(page, slot).unwrap();
    let places = [(10, 1), (11, 0), (0, 11), (9, 2), (usize::MAX, 1), (usize::MAX, 0)];
    for (offset, length) in places {
        let written = txn.write_record(page, slot, offset, &vec![1; length]);
        assert_invalid(written, &format!("beyond record {page}.{slot} of 10 bytes"));
    }
    assert_invalid(txn.write_record(page, slot, 0, &[1; 600]), "600 bytes reach beyond");
    txn.write_record(page, slot, 10, b"").unwrap();
    assert_eq!(txn.read_record(page, slot).unwrap(), before);
    txn.commit().unwrap();
}

#[test]
fn bytes_far_beyond_a_record_take_no_log() {
    let (disk, db, page, slot) = database();
    let before = disk.list("log").unwrap();
    let mut txn = db.begin().unwrap();
    assert_invalid(txn.write_record(page, slot, 0, &vec![1; 1_000_000]), "bytes reach beyond");
    txn.rollback().unwrap();
    assert_eq!(disk.list("log").unwrap(), before, "log was prepared for what was refused");
}

#[test]
fn a_record_larger_than_any_page_is_refused() {
    let (disk, db, page, _) = database();
    let before = disk.list("log").unwrap();
    let mut txn = db.begin().unwrap();
    for length in [PAGE_SIZE - 45, PAGE_SIZE - 40, PAGE_SIZE, PAGE_SIZE + 1, 1_000_000] {
        let error = txn.insert_record(page, &vec![1; length]).unwrap_err();
        assert!(matches!(error, Error::PageFull { .. } | Error::InvalidInput(_)), "{error}");
        assert!(error.to_string().contains("available"), "{error}");
    }
    let empty = txn.allocate_page().unwrap();
    txn.insert_record(empty, &vec![1; PAGE_SIZE - 46]).unwrap();
    txn.commit().unwrap();
    assert_eq!(disk.list("log").unwrap(), before);
}

#[test]
fn a_full_page_says_how_much_it_has() {
    let (_disk, db, page, _) = database();
    let mut txn = db.begin().unwrap();
    let error = loop {
        if let Err(error) = txn.insert_record(page, &[7; 100]) {
            break error;
        }
    };
    let Error::PageFull { page: full, needed, available } = error else { panic!("{error}") };
    assert_eq!(full, page);
    assert!(needed == 106 && available < 106, "{needed} {available}");
    txn.commit().unwrap();
}

#[test]
fn a_savepoint_of_another_transaction_is_refused() {
    let (_disk, db, ..) = database();
    let other = db.begin().unwrap();
    let foreign = other.savepoint().unwrap();
    let mut txn = db.begin().unwrap();
    assert_invalid(txn.rollback_to(foreign), &other.id().to_string());
    txn.commit().unwrap();
    other.commit().unwrap();
}

#[test]
fn pages_that_are_not_for_records_are_refused_in_every_call() {
    let (_disk, db, page, slot) = database();
    let pages = db.stats().pages;
    let mut txn = db.begin().unwrap();
    let others = [0, page.0 + 1, pages, pages + 1, 59, 1 << 40, u64::MAX - 1, u64::MAX];
    for other in others.map(PageId) {
        let refusals = [
            txn.insert_record(other, b"x").map(drop),
            txn.read_record(other, slot).map(drop),
            txn.write_record(other, slot, 0, b"x"),
            txn.delete_record(other, slot),
            txn.slots(other).map(drop),
            txn.free_page(other),
        ];
        for refusal in refusals {
            let error = refusal.unwrap_err();
            assert!(matches!(error, Error::NoSuchPage { page } if page == other), "{error}");
            assert!(error.to_string().contains(&other.to_string()), "{error}");
        }
    }
    txn.free_page(page).unwrap();
    let error = txn.free_page(page).unwrap_err();
    assert!(matches!(error, Error::NoSuchPage { .. }), "{error}");
    txn.rollback().unwrap();
}

#[test]
fn looking_at_a_page_beyond_the_file_is_no_damage() {
    let (_disk, db, ..) = database();
    for page in [db.stats().pages, 1 << 50, u64::MAX].map(PageId) {
        assert_eq!(db.page_state(page).unwrap(), None);
        db.flush_page(page).unwrap();
        let error = db.fix_page(page).map(drop).unwrap_err();
        assert!(matches!(error, Error::NoSuchPage { .. } | Error::InvalidInput(_)), "{error}");
    }
}

#[test]
fn records_that_are_not_there_are_refused_by_name() {
    let (_disk, db, page, slot) = database();
    let mut txn = db.begin().unwrap();
    for other in [slot.0 + 1, 1000, u16::MAX].map(SlotId) {
        assert_eq!(txn.read_record(page, other).unwrap(), None);
        for refusal in [txn.write_record(page, other, 0, b"x"), txn.delete_record(page, other)] {
            let error = refusal.unwrap_err();
            assert!(matches!(error, Error::NoSuchRecord { .. }), "{error}");
            assert!(error.to_string().contains(&format!("{page}.{other}")), "{error}");
        }
    }
    txn.delete_record(page, slot).unwrap();
    assert!(matches!(txn.delete_record(page, slot), Err(Error::NoSuchRecord { .. })));
    assert!(matches!(txn.write_record(page, slot, 0, b""), Err(Error::NoSuchRecord { .. })));
    txn.rollback().unwrap();
}

#[test]
fn log_that_is_not_there_is_no_record() {
    let (_disk, db, ..) = database();
    let end = db.stats().end_lsn.get();
    for at in [1, 63, 65, end, end + 8, 1 << 40, u64::MAX] {
        let error = db.read_log(aries::ids::Lsn::new(at).unwrap()).map(drop).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. } | Error::InvalidInput(_)), "{error}");
        assert!(error.to_string().contains(&format!("{at:012}")), "{error}");
    }
}

#[test]
fn closing_with_transactions_under_way_is_refused_and_closes_nothing() {
    let (disk, db, page, slot) = database();
    let mut txn = db.begin().unwrap();
    txn.write_record(page, slot, 0, b"later").unwrap();
    assert_invalid(db.clone().close(), "1 transactions are under way");
    txn.commit().unwrap();
    db.close().unwrap();
    let db = try_open(&disk).unwrap();
    assert!(db.restart_report().clean);
    let mut txn = db.begin().unwrap();
    assert_eq!(txn.read_record(page, slot).unwrap().as_deref(), Some(&b"laterytes."[..]));
}

#[test]
fn every_call_after_close_says_that_the_database_is_closed() {
    let (disk, db, page, _) = database();
    let handle = db.clone();
    db.close().unwrap();
    let before = image(&disk);
    let refusals = [
        handle.begin().map(drop),
        handle.checkpoint().map(drop),
        handle.begin_checkpoint().map(drop),
        handle.step().map(drop),
        handle.flush_page(page),
        handle.flush_pages(),
        handle.force_log().map(drop),
        handle.fix_page(page).map(drop),
        handle.page_state(page).map(drop),
        handle.clone().close(),
    ];
    for refusal in refusals {
        let error = refusal.unwrap_err();
        assert!(matches!(error, Error::Closed), "{error}");
    }
    drop(handle);
    assert!(image(&disk) == before);
}

#[test]
fn when_every_frame_is_fixed_that_is_said_and_passes() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    for number in 0..30 {
        work.commit_one(&db, &value(number, 30)).unwrap();
    }
    db.flush_pages().unwrap();
    let pages: Vec<PageId> = work.records.keys().map(|(page, _)| *page).collect();
    let guards: Vec<_> = pages[..16].iter().map(|page| db.fix_page(*page).unwrap()).collect();
    let error = db.fix_page(pages[20]).map(drop).unwrap_err();
    assert!(matches!(error, Error::OutOfFrames { frames: 16 }), "{error}");
    let mut txn = db.begin().unwrap();
    let error = txn.read_record(pages[20], SlotId(0)).unwrap_err();
    assert!(matches!(error, Error::OutOfFrames { .. }), "{error}");
    drop(guards);
    txn.read_record(pages[20], SlotId(0)).unwrap().unwrap();
    txn.commit().unwrap();
    work.check(&db).unwrap();
    db.close().unwrap();
}

#[test]
fn rolling_back_while_every_frame_is_fixed_does_not_stop_the_engine() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    for number in 0..30 {
        work.commit_one(&db, &value(number, 30)).unwrap();
    }
    let pages: Vec<PageId> = work.records.keys().map(|(page, _)| *page).collect();
    let mut txn = db.begin().unwrap();
    txn.write_record(pages[29], SlotId(0), 0, b"taken back").unwrap();
    db.flush_pages().unwrap();
    let guards: Vec<_> = pages[..16].iter().map(|page| db.fix_page(*page).unwrap()).collect();
    let rolling_back = thread::spawn(move || txn.rollback());
    thread::sleep(Duration::from_millis(800));
    drop(guards);
    rolling_back.join().unwrap().unwrap();
    work.check(&db).unwrap();
    db.close().unwrap();
}

#[test]
fn who_waits_too_long_for_a_lock_is_told_and_can_try_again() {
    let disk = SimDisk::new();
    let timeout = Duration::from_millis(30);
    let db = options().lock_timeout(Some(timeout)).open_on(Arc::new(disk.clone())).unwrap();
    let mut work = Work::default();
    work.commit_one(&db, b"first").unwrap();
    let (&(page, slot), _) = work.records.iter().next().unwrap();
    let mut holder = db.begin().unwrap();
    holder.write_record(page, slot, 0, b"OTHER").unwrap();
    let mut txn = db.begin().unwrap();
    let (id, holder_id) = (txn.id(), holder.id());
    let own = txn.insert_record(page, b"own").unwrap();
    let (done, outcome) = channel();
    thread::spawn(move || {
        let errors = [(); 2].map(|()| txn.read_record(page, slot).unwrap_err());
        done.send((txn, errors)).unwrap();
    });
    let in_time = outcome.recv_timeout(Duration::from_secs(10));
    let (mut txn, errors) = in_time.expect("it waits for ever");
    for error in errors {
        let words = error.to_string();
        let told = format!("{page}.{slot} (shared), which {holder_id} holds");
        assert!(words.contains(&told), "{words}");
        match error {
            Error::LockTimeout { txn, waited, .. } => assert!(txn == id && waited >= timeout),
            other => panic!("{other}"),
        }
    }
    assert!(db.locks().iter().all(|lock| lock.waiters.is_empty()), "nobody waits any more");
    holder.rollback().unwrap();
    assert_eq!(txn.read_record(page, slot).unwrap().as_deref(), Some(&b"first"[..]));
    txn.commit().unwrap();
    let mut after = try_open(&disk.crash(&Survivors::All)).unwrap().begin().unwrap();
    assert_eq!(after.read_record(page, own).unwrap().as_deref(), Some(&b"own"[..]));
}

#[test]
fn of_two_transactions_that_wait_for_each_other_one_gets_deadlock() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    work.commit_one(&db, b"first").unwrap();
    work.commit_one(&db, b"other").unwrap();
    let places: Vec<_> = work.records.keys().copied().collect();
    let mut here = db.begin().unwrap();
    let mut there = db.begin().unwrap();
    here.write_record(places[0].0, places[0].1, 0, b"HERE!").unwrap();
    there.write_record(places[1].0, places[1].1, 0, b"THERE").unwrap();
    let (done, outcome) = channel();
    let (first, here_id) = (places[0], here.id());
    thread::spawn(move || {
        let result = there.write_record(first.0, first.1, 0, b"THERE");
        let ended = if result.is_ok() { there.commit().map(drop) } else { there.rollback() };
        done.send((result, ended)).unwrap();
    });
    while db.locks().iter().all(|lock| lock.waiters.is_empty()) {
        thread::sleep(Duration::from_millis(1));
    }
    let error = here.write_record(places[1].0, places[1].1, 0, b"HERE!").unwrap_err();
    assert!(matches!(error, Error::Deadlock { txn, .. } if txn == here_id), "{error}");
    let (page, slot) = places[1];
    assert!(error.to_string().contains(&format!("{page}.{slot}")), "{error}");
    here.rollback().unwrap();
    let (result, ended) = outcome.recv_timeout(Duration::from_secs(5)).expect("it hangs");
    result.and(ended).unwrap();
    assert!(db.locks().is_empty());
    let mut txn = db.begin().unwrap();
    for (page, slot) in places {
        assert_eq!(txn.read_record(page, slot).unwrap().as_deref(), Some(&b"THERE"[..]));
    }
    txn.commit().unwrap();
}
