//! Short forms of histories that were found at random, or by thinking about them, to go wrong.

use std::sync::Arc;
use std::thread;

use aries::disk::{SimDisk, Survivors};
use aries::ids::{PageId, SlotId};
use aries::page::{HEADER_SIZE, PageState, SLOT_SIZE};
use aries::{Db, Error};

use super::world::options;

fn open(disk: &SimDisk) -> Db {
    options().open_on(Arc::new(disk.clone())).unwrap()
}

/// A database with some pages in use, each with a record.
fn with_pages<const N: usize>() -> (SimDisk, Db, [PageId; N]) {
    let disk = SimDisk::new();
    let db = open(&disk);
    let mut txn = db.begin().unwrap();
    let pages = std::array::from_fn(|_| {
        let page = txn.allocate_page().unwrap();
        txn.insert_record(page, &[1; 40]).unwrap();
        page
    });
    txn.commit().unwrap();
    (disk, db, pages)
}

/// What a nested top action freed stays freed when its transaction rolls back, and nobody can want
/// the page back: it must not be pending for ever.
#[test]
fn a_page_freed_in_a_nested_top_action_is_free_after_rollback() {
    let (_, db, [page]) = with_pages();
    let mut txn = db.begin().unwrap();
    let mut action = txn.nested_top_action().unwrap();
    action.free_page(page).unwrap();
    action.end().unwrap();
    txn.rollback().unwrap();
    assert_eq!(db.page_state(page).unwrap(), Some(PageState::Free));
}

/// The same when restart rolls back, also when undo had got past the action before the crash.
#[test]
fn a_page_freed_in_a_nested_top_action_is_free_after_restart() {
    let (disk, db, [page, other]) = with_pages();
    let mut txn = db.begin().unwrap();
    let start = txn.savepoint().unwrap();
    txn.insert_record(other, &[2; 10]).unwrap();
    let mut action = txn.nested_top_action().unwrap();
    action.free_page(page).unwrap();
    action.end().unwrap();
    db.force_log().unwrap();
    let before = disk.crash(&Survivors::None);
    txn.rollback_to(start).unwrap();
    db.force_log().unwrap();
    let behind = disk.crash(&Survivors::None);
    for disk in [before, behind] {
        assert_eq!(open(&disk).page_state(page).unwrap(), Some(PageState::Free));
    }
}

/// A page that a nested top action freed is not handed out again, not even to its own transaction,
/// as long as that may still have to undo what it did there before.
#[test]
fn a_page_freed_in_a_nested_top_action_is_not_reused_before_the_end() {
    let (_, db, [page]) = with_pages();
    let mut txn = db.begin().unwrap();
    txn.insert_record(page, &[2; 10]).unwrap();
    let mut action = txn.nested_top_action().unwrap();
    action.free_page(page).unwrap();
    action.end().unwrap();
    let next = txn.allocate_page().unwrap();
    txn.insert_record(next, &[3; 10]).unwrap();
    txn.rollback().unwrap();
    assert_eq!(db.page_state(page).unwrap(), Some(PageState::Free));
    db.begin().unwrap().commit().unwrap();
}

/// Rolling back, inside a nested top action, to before the action began: refused, or done right. What
/// was undone must not be undone again.
#[test]
fn rolling_back_beyond_the_start_of_a_nested_top_action_undoes_nothing_twice() {
    let (_, db, [page]) = with_pages();
    let mut txn = db.begin().unwrap();
    let start = txn.savepoint().unwrap();
    txn.insert_record(page, &[2; 10]).unwrap();
    let mut action = txn.nested_top_action().unwrap();
    match action.rollback_to(start) {
        Ok(()) | Err(Error::InvalidInput(_)) => {}
        Err(error) => panic!("{error}"),
    }
    action.insert_record(page, &[3; 10]).unwrap();
    action.end().unwrap();
    txn.rollback().unwrap();
    let mut txn = db.begin().unwrap();
    assert_eq!(txn.slots(page).unwrap().len(), 2, "the first record and the action's");
}

/// An insert that finds no room leaves nothing behind that would keep others from the page.
#[test]
fn an_insert_that_does_not_fit_keeps_nobody_from_the_page() {
    let (_, db, [page]) = with_pages();
    let mut first = db.begin().unwrap();
    let refused = first.insert_record(page, &[2; 940]);
    assert!(matches!(refused, Err(Error::PageFull { .. })));
    let mut second = db.begin().unwrap();
    second.insert_record(page, &[3; 20]).unwrap();
}

/// A slot that is free, but for a lock of whoever gave it up, is not waited for where a ghost's bytes make
/// room for another slot.
#[test]
fn an_insert_purges_ghosts_rather_than_wait_for_a_free_slot() {
    let (_, db, [page, other]) = with_pages();
    let room = 1024 - HEADER_SIZE - 3 * SLOT_SIZE - 40;
    let mut deleter = db.begin().unwrap();
    let ghost = deleter.insert_record(page, &vec![2; room - 60]).unwrap();
    deleter.delete_record(page, ghost).unwrap();
    deleter.commit().unwrap();
    let mut first = db.begin().unwrap();
    let start = first.savepoint().unwrap();
    let freed = first.insert_record(page, &[3; 10]).unwrap();
    first.rollback_to(start).unwrap();
    let mut second = db.begin().unwrap();
    second.read_record(other, SlotId(0)).unwrap();
    thread::scope(|scope| {
        // Had the second to wait for the first, one of them would be told of a deadlock.
        let waiting = scope.spawn(|| {
            let deleted = first.delete_record(other, SlotId(0));
            first.rollback().unwrap();
            deleted
        });
        while db.locks().iter().all(|lock| lock.waiters.is_empty()) {
            thread::yield_now();
        }
        assert_ne!(second.insert_record(page, &[4; 60]).unwrap(), freed);
        second.commit().unwrap();
        waiting.join().unwrap().unwrap();
    });
}

/// A checkpoint names transactions that have begun; one without a record has nothing to lose.
#[test]
fn a_transaction_without_a_record_is_no_loser() {
    let (disk, db, []) = with_pages();
    let _idle = db.begin().unwrap();
    db.checkpoint().unwrap();
    let db = open(&disk.crash(&Survivors::None));
    assert_eq!(db.restart_report().analysis.losers, []);
}
