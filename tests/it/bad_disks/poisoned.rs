//! After one failed write or sync the engine has stopped: every call says so, none hangs, and
//! whoever waited is woken.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aries::disk::{Fault, FaultKind, SimDisk, Survivors};
use aries::ids::{PageId, SlotId};
use aries::{Db, Error, Result, Transaction};

use crate::common::{Work, options, try_open, value, watched_disk};

/// Long enough for a thread to come to where it waits; longer only makes tests slow.
const MOMENT: Duration = Duration::from_millis(50);
/// Whoever does not answer within this hangs.
const LONG: Duration = Duration::from_secs(5);

fn break_device(disk: &SimDisk) {
    let at = disk.io_count();
    disk.inject(Fault { at, kind: FaultKind::InputOutputError, forever: true });
}

/// An engine whose log could not be forced, with one commit before that.
fn stopped() -> (SimDisk, Db, Work, Transaction) {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    work.commit_one(&db, &value(0, 30)).unwrap();
    let mut under_way = db.begin().unwrap();
    under_way.allocate_page().unwrap();
    let mut unlucky = db.begin().unwrap();
    unlucky.allocate_page().unwrap();
    break_device(&disk);
    let error = unlucky.commit().unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    assert!(error.to_string().contains("sim:log/0000000000000001.seg"), "{error}");
    (disk, db, work, under_way)
}

fn assert_poisoned<T>(what: &str, result: Result<T>) {
    match result {
        Err(Error::Poisoned { reason }) => assert!(reason.contains("sim:log/"), "{reason}"),
        Err(error) => panic!("{what}: {error}"),
        Ok(_) => panic!("{what}: done by an engine that has stopped"),
    }
}

#[test]
fn every_call_that_changes_something_is_refused_after_a_failure() {
    let (disk, db, work, mut txn) = stopped();
    let ((page, slot), _) = work.records.first_key_value().unwrap();
    let (page, slot) = (*page, *slot);
    assert_poisoned("begin", db.begin().map(drop));
    assert_poisoned("checkpoint", db.checkpoint());
    assert_poisoned("begin_checkpoint", db.begin_checkpoint());
    assert_poisoned("step", db.step());
    assert_poisoned("flush_page", db.flush_page(page));
    assert_poisoned("flush_pages", db.flush_pages());
    assert_poisoned("force_log", db.force_log());
    assert_poisoned("allocate_page", txn.allocate_page());
    assert_poisoned("free_page", txn.free_page(page));
    assert_poisoned("insert_record", txn.insert_record(page, b"x"));
    assert_poisoned("read_record", txn.read_record(page, slot));
    assert_poisoned("write_record", txn.write_record(page, slot, 0, b"x"));
    assert_poisoned("delete_record", txn.delete_record(page, slot));
    assert_poisoned("slots", txn.slots(page));
    assert_poisoned("commit", txn.commit());
    let after = disk.crash(&Survivors::None);
    work.check(&try_open(&after).unwrap()).unwrap();
}

#[test]
fn every_way_to_end_a_transaction_is_refused_after_a_failure() {
    let (_disk, _db, _work, txn) = stopped();
    assert_poisoned("rollback", txn.rollback());
    let (_disk, _db, _work, txn) = stopped();
    assert_poisoned("commit_deferred", txn.commit_deferred().map(drop));
    let (_disk, _db, _work, mut txn) = stopped();
    assert_poisoned("savepoint", txn.savepoint());
    assert_poisoned("nested_top_action", txn.nested_top_action().map(drop));
    drop(txn);
}

#[test]
fn what_is_in_memory_can_still_be_looked_at_after_a_failure() {
    let (_disk, db, work, txn) = stopped();
    let ((page, slot), bytes) = work.records.first_key_value().unwrap();
    let guard = db.fix_page(*page).unwrap();
    assert_eq!(aries::page::record(guard.bytes(), *slot), Some(&bytes[..]));
    drop(guard);
    let unread = PageId(db.stats().pages - 1);
    let error = db.fix_page(unread).map(drop).unwrap_err();
    assert!(error.to_string().contains("sim:pages"), "{error}");
    drop(txn);
}

#[test]
fn forcing_a_log_that_is_durable_is_refused_after_pages_could_not_be_written() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    work.commit_one(&db, &value(0, 30)).unwrap();
    db.force_log().unwrap();
    break_device(&disk);
    let error = db.flush_pages().unwrap_err();
    assert!(error.to_string().contains("sim:doublewrite"), "{error}");
    assert!(matches!(db.flush_pages(), Err(Error::Poisoned { .. })));
    assert!(matches!(db.force_log(), Err(Error::Poisoned { .. })), "force_log");
}

#[test]
fn closing_after_a_failure_says_that_the_engine_has_stopped() {
    let (_disk, db, _work, txn) = stopped();
    drop(txn);
    assert_poisoned("close", db.close());
}

/// Reads a record in a thread of its own; the answer comes through the channel.
fn read_elsewhere(db: &Db, page: PageId, slot: SlotId) -> Receiver<Result<Option<Vec<u8>>>> {
    let (answer, answers) = channel();
    let mut txn = db.begin().unwrap();
    thread::spawn(move || {
        let _ = answer.send(txn.read_record(page, slot));
    });
    thread::sleep(MOMENT);
    answers
}

#[test]
fn whoever_waits_for_a_lock_is_woken_when_its_holder_fails() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    work.commit_one(&db, &value(0, 30)).unwrap();
    let (page, slot) = *work.records.first_key_value().unwrap().0;
    let mut holder = db.begin().unwrap();
    holder.write_record(page, slot, 0, b"locked").unwrap();
    let waiting = read_elsewhere(&db, page, slot);
    break_device(&disk);
    assert!(matches!(holder.commit(), Err(Error::OutcomeUnknown { .. })));
    assert_poisoned("the waiting read", waiting.recv_timeout(LONG).expect("it hangs"));
}

#[test]
fn whoever_waits_for_a_lock_is_woken_when_the_engine_stops() {
    let (waiting, holder) = {
        let disk = SimDisk::new();
        let db = try_open(&disk).unwrap();
        let mut work = Work::default();
        work.commit_one(&db, &value(0, 30)).unwrap();
        let (page, slot) = *work.records.first_key_value().unwrap().0;
        let mut holder = db.begin().unwrap();
        holder.write_record(page, slot, 0, b"locked").unwrap();
        let waiting = read_elsewhere(&db, page, slot);
        break_device(&disk);
        db.force_log().unwrap_err();
        (waiting, holder)
    };
    // The holder does nothing: it may be waiting for its own user.
    let answer = waiting.recv_timeout(Duration::from_secs(1));
    drop(holder);
    assert_poisoned("the waiting read", answer.expect("it hangs until the holder ends"));
}

#[test]
fn all_who_wait_for_one_force_are_told_that_it_failed() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut transactions: Vec<_> = (0..8).map(|_| db.begin().unwrap()).collect();
    for txn in &mut transactions {
        txn.allocate_page().unwrap();
    }
    break_device(&disk);
    let commits: Vec<_> =
        transactions.into_iter().map(|txn| thread::spawn(move || txn.commit())).collect();
    for commit in commits {
        let error = commit.join().expect("no panic").unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. } | Error::Poisoned { .. }), "{error}");
    }
}

#[test]
fn whoever_waits_to_write_pages_is_told_that_the_write_before_failed() {
    let (open_gate, gate) = channel::<()>();
    let gate = Mutex::new(Some(gate));
    let armed = Arc::new(AtomicBool::new(false));
    let is_armed = Arc::clone(&armed);
    let disk = watched_disk(&SimDisk::new(), move |call| {
        let fails = call.operation == "sync" && call.name == "pages";
        if !fails || !is_armed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let gate = gate.lock().unwrap().take();
        gate.map_or(Ok(()), |gate| {
            let _ = gate.recv();
            Err(Error::from_io("sync", "sim:pages", ErrorKind::Other.into()))
        })
    });
    let db = options().open_on(disk).unwrap();
    Work::default().commit_one(&db, &value(0, 30)).unwrap();
    armed.store(true, Ordering::Relaxed);
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let db = db.clone();
            let writer = thread::spawn(move || db.flush_pages());
            thread::sleep(MOMENT);
            writer
        })
        .collect();
    open_gate.send(()).unwrap();
    for writer in writers {
        let result = writer.join().expect("a writer panicked");
        assert!(matches!(result, Err(Error::Io { .. } | Error::Poisoned { .. })), "{result:?}");
    }
}
