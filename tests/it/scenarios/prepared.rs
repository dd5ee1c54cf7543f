//! Transactions in doubt: scenario 35.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use aries::disk::{Fault, FaultKind, Survivors};
use aries::event::Event;
use aries::ids::{PageId, SlotId};
use aries::lock::Mode;
use aries::page::PageState;
use aries::tables::TransactionState;
use aries::{Error, Transaction};

use crate::common::{Story, read_page_records};

/// All locks: `P1.0 exclusive`.
fn locks(story: &Story) -> Vec<String> {
    let one = |(name, mode): (String, Mode)| format!("{name} {mode}");
    let all = story.db.locks().into_iter().flat_map(|lock| {
        let name = lock.name.to_string();
        lock.holders.into_iter().map(move |(_, mode)| (name.clone(), mode))
    });
    all.map(one).collect()
}

fn decide(story: &Story, commit: bool) {
    match commit {
        true => drop(story.db.commit_prepared(b"order 7").unwrap()),
        false => story.db.rollback_prepared(b"order 7").unwrap(),
    }
}

/// T1 reads a record of P3, changes its own on P1 and P2, and is prepared.
fn one_in_doubt() -> Story {
    let story = Story::new();
    let mut t1 = story.begin();
    assert!(t1.read_record(PageId(3), SlotId(5)).unwrap().is_some());
    story.update(&mut t1, 1);
    story.update(&mut t1, 2);
    let lsn = t1.prepare(b"order 7").unwrap();
    assert_eq!(lsn, story.lsn(2));
    story
}

/// Scenario 35, prepared_in_doubt (ARIES 4.3, 6.1, 6.3): T1 is durably prepared on return, and keeps
/// the locks that matter. A crash leaves it in doubt with these locks; nothing is written for it, its
/// changes are there. However often.
#[test]
fn prepared_in_doubt() {
    let mut story = one_in_doubt();
    for crashes in 0..3 {
        let table = story.db.transaction_table();
        let (txn, entry) = table.iter().next().unwrap();
        assert_eq!((table.len(), txn.get()), (1, story.base + 1));
        assert_eq!(entry.state, TransactionState::Prepared);
        assert_eq!(entry.first_lsn, Some(story.lsn(0)));
        assert_eq!(entry.last_lsn, Some(story.lsn(2)));
        let expected = ["P1 shared", "P2 shared", "P3 shared", "P1.0 exclusive", "P2.0 exclusive"];
        assert_eq!(locks(&story), expected, "after {crashes} crashes");
        let prepared = story.db.prepared();
        assert_eq!(prepared.len(), 1);
        assert_eq!((prepared[0].txn, prepared[0].locks), (txn, 5));
        assert_eq!(prepared[0].global_id, b"order 7");
        assert_eq!(prepared[0].prepare_lsn, story.lsn(2));
        assert_eq!(prepared[0].first_lsn, story.lsn(0));
        assert_eq!((story.db.stats().transactions, story.db.stats().prepared), (1, 1));
        assert_ne!(story.value(1, SlotId(0)).unwrap(), b"....");

        // Nothing was forced since: what `prepare` said is durable is there.
        story = story.resume_on(&story.disk.crash(&Survivors::None));
        assert_eq!(story.log()[..3], ["U(T1,P1)", "U(T1,P2)", "Prepare T1"]);
        assert_eq!((story.losers(), story.in_doubt()), (vec![], vec!["T1".to_owned()]));
        assert_eq!(story.appended_by_restart(), [""; 0]);
        let told = |event: &Event| matches!(event, Event::InDoubt { locks: 5, .. });
        assert_eq!(story.trace.events().iter().filter(|event| told(event)).count(), 1);
    }
}

/// Scenario 35, the decision in the run that prepared.
#[test]
fn decided_at_once() {
    let history = ["U(T1,P1)", "U(T1,P2)", "Prepare T1"];
    let decisions: [(bool, &[&str]); 2] = [
        (true, &["Commit T1", "End T1"]),
        (false, &["Rollback T1", "CLR(1)->0", "CLR(0)->nil", "End T1"]),
    ];
    for (commit, expected) in decisions {
        let story = one_in_doubt();
        decide(&story, commit);
        assert_eq!(story.log()[..3], history);
        assert_eq!(story.log()[3..], *expected);
        let stats = story.db.stats();
        let decided = if commit { story.lsn(4) } else { stats.end_lsn };
        assert!(stats.flushed_lsn >= decided, "the decision is durable on return");
        assert!(story.db.transaction_table().is_empty() && story.db.locks().is_empty());
        assert_eq!(story.value(1, SlotId(0)).unwrap() == b"....", !commit);
    }
}

/// Scenario 35, the decision in a later run, with a crash after each of its records: it counts once
/// its first record is durable; half a rollback is finished by restart.
#[test]
fn decided_later_across_another_crash() {
    let decisions: [(bool, &[&str]); 2] = [
        (true, &["Commit T1", "End T1"]),
        (false, &["Rollback T1", "CLR(1)->0", "CLR(0)->nil", "End T1"]),
    ];
    for (commit, records) in decisions {
        let story = one_in_doubt();
        let later = story.resume_on(&story.disk.crash(&Survivors::None));
        let before = later.log().len();
        decide(&later, commit);
        assert_eq!(later.log()[before..], *records);
        for durable in 0..=records.len() {
            let place = format!("commit: {commit}, {durable} records durable");
            let last = later.resume_on(&later.crash_after(before + durable - 1));
            if durable == 0 {
                assert_eq!(last.in_doubt(), ["T1"], "{place}");
                assert_eq!(last.appended_by_restart(), [""; 0], "{place}");
                decide(&last, commit);
            } else {
                assert_eq!(last.in_doubt(), [""; 0], "{place}");
                assert_eq!(last.appended_by_restart(), records[durable..], "{place}");
            }
            assert_eq!(last.contents(), later.contents(), "{place}");
            assert!(last.db.prepared().is_empty() && last.db.locks().is_empty(), "{place}");
            assert!(last.db.transaction_table().is_empty(), "{place}");
        }
    }
}

/// Scenario 35: closing is no decision. The database opens cleanly, with T1 in doubt.
#[test]
fn in_doubt_across_a_clean_close() {
    for commit in [true, false] {
        let mut story = one_in_doubt();
        for _ in 0..2 {
            story.db.clone().close().unwrap();
            assert!(matches!(story.db.commit_prepared(b"order 7"), Err(Error::Closed)));
            story = story.resume_on(&story.disk.crash(&Survivors::None));
            let report = story.db.restart_report();
            assert!(report.clean && report.redo.from.is_none() && report.tail_rewritten == 0);
            assert_eq!(story.in_doubt(), ["T1"]);
            assert_eq!(locks(&story).len(), 5);
        }
        decide(&story, commit);
        assert_eq!(story.value(2, SlotId(0)).unwrap() == b"....", !commit);
        story.db.clone().close().unwrap();
    }
}

/// Scenario 35 with partial rollbacks and a nested top action before: what was undone is not undone
/// again, what was to stay stays.
#[test]
fn savepoints_and_nested_top_actions_before_prepare() {
    let story = Story::new();
    let mut t1 = story.begin();
    story.update(&mut t1, 1);
    let savepoint = t1.savepoint().unwrap();
    story.update(&mut t1, 2);
    t1.rollback_to(savepoint).unwrap();
    let mut action = t1.nested_top_action().unwrap();
    story.update(&mut action, 3);
    action.end().unwrap();
    story.update(&mut t1, 4);
    let kept = story.value(3, SlotId(0));
    t1.prepare(b"order 7").unwrap();
    let story = story.restart();
    let before = story.log().len();
    assert_eq!(story.log()[3..7], ["U(T1,P3)", "EndNested T1->0", "U(T1,P4)", "Prepare T1"]);

    story.db.rollback_prepared(b"order 7").unwrap();
    assert_eq!(story.log()[before..], ["Rollback T1", "CLR(5)->4", "CLR(0)->nil", "End T1"]);
    let mut expected = Story::new().contents();
    expected[2][0] = kept.unwrap();
    assert_eq!(story.contents(), expected);
}

/// Scenario 35 with scenario 43: pages that T1 freed stay pending, those it allocated stay in use, and
/// records it deleted stay where they are, until the decision; across crashes before and after it.
#[test]
fn pages_and_ghosts_of_a_transaction_in_doubt() {
    for (commit, crash) in [(true, false), (true, true), (false, false), (false, true)] {
        let story = Story::new();
        let mut t1 = story.begin();
        let (txn, freed, deleted) = (t1.id(), PageId(5), PageId(6));
        t1.free_page(freed).unwrap();
        let new = t1.allocate_page().unwrap();
        t1.insert_record(new, b"new").unwrap();
        t1.delete_record(deleted, SlotId(3)).unwrap();
        t1.prepare(b"order 7").unwrap();
        let mut story = if crash { story.restart() } else { story };
        assert_eq!(story.db.page_state(freed).unwrap(), Some(PageState::FreePending(txn)));
        assert_eq!(story.db.page_state(new).unwrap(), Some(PageState::Used));
        let mut t2 = story.begin();
        for _ in 0..40 {
            let page = t2.allocate_page().unwrap();
            assert!(page != freed && page != new);
        }
        let taken = t2.insert_record(deleted, b"more").unwrap();
        assert_ne!(taken, SlotId(3), "the deleted record's slot");
        t2.rollback().unwrap();

        let before = story.log().len();
        decide(&story, commit);
        if commit {
            assert_eq!(story.log()[before..], ["Commit T1", "U(T1,S)", "End T1"]);
        }
        if crash {
            story = story.restart();
        }
        let state = |page| story.db.page_state(page).unwrap().unwrap();
        let (of_freed, of_new, records) = if commit {
            (PageState::Free, PageState::Used, 8)
        } else {
            (PageState::Used, PageState::Free, 9)
        };
        assert_eq!((state(freed), state(new)), (of_freed, of_new));
        assert_eq!(read_page_records(&story.db, deleted).len(), records);
        assert!(story.db.locks().is_empty());
    }
}

/// Scenario 35 with scenario 43: power fails between the decision to commit and the end: restart makes
/// the pages free that T1, in doubt before, had freed.
#[test]
fn restart_frees_what_a_decided_transaction_freed() {
    let story = Story::new();
    let mut t1 = story.begin();
    t1.free_page(PageId(5)).unwrap();
    t1.prepare(b"order 7").unwrap();
    let story = story.restart();
    let before = story.log().len();
    story.db.commit_prepared(b"order 7").unwrap();
    let after = story.resume_on(&story.crash_after(before));
    assert_eq!(after.appended_by_restart(), ["U(T1,S)", "End T1"]);
    assert_eq!(after.db.page_state(PageId(5)).unwrap(), Some(PageState::Free));
}

/// A transaction that changed nothing can be prepared, too: the coordinator need not know.
#[test]
fn a_reader_in_doubt() {
    for commit in [true, false] {
        let story = Story::new();
        let mut t1 = story.begin();
        t1.read_record(PageId(3), SlotId(5)).unwrap();
        t1.prepare(b"order 7").unwrap();
        let story = story.restart();
        assert_eq!(locks(&story), ["P3 shared"]);
        let before = story.log().len();
        decide(&story, commit);
        let first = if commit { "Commit T1" } else { "Rollback T1" };
        assert_eq!(story.log()[before..], [first, "End T1"]);
        assert_eq!(story.restart().in_doubt(), [""; 0]);
    }
}

/// Runs `work` in a thread, and sees as many waiting for locks.
fn waiting<T: Send + 'static>(
    story: &Story,
    waiters: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> mpsc::Receiver<T> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || drop(done.send(work())));
    let all = || story.db.locks().iter().map(|lock| lock.waiters.len()).sum::<usize>();
    for _ in 0..10_000 {
        if all() < waiters {
            thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(all(), waiters, "how many wait");
    result
}

fn read(mut txn: Transaction, page: u64) -> Result<Option<Vec<u8>>, Error> {
    txn.read_record(PageId(page), SlotId(0))
}

/// Scenario 35: who wants what a transaction in doubt has locked waits, also after a restart, until it
/// is decided upon; who waits for the one that waits, waits too: that is no deadlock.
#[test]
fn conflicting_transactions_wait_for_the_decision() {
    for (commit, crash) in [(true, false), (true, true), (false, false), (false, true)] {
        let story = one_in_doubt();
        let story = if crash { story.restart() } else { story };
        let in_doubt = story.value(1, SlotId(0));
        let (mut t2, mut t3) = (story.begin(), story.begin());
        story.update(&mut t2, 9);
        let t2s_slot = story.slot_of(t2.id());
        let first = waiting(&story, 1, move || read(t2, 1));
        let second = waiting(&story, 2, move || t3.read_record(PageId(9), t2s_slot).unwrap());
        // A record that it has only read it does not keep.
        let mut t4 = story.begin();
        let free = waiting(&story, 2, move || t4.write_record(PageId(3), SlotId(5), 0, b"free"));
        free.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
        decide(&story, commit);
        let found = first.recv().unwrap().unwrap();
        assert_eq!(found, if commit { in_doubt } else { Some(b"....".to_vec()) });
        assert_eq!(second.recv().unwrap().unwrap(), b"....", "T2 was dropped");
    }
}

/// Scenario 35 with scenario 36: a failed sync wakes those who wait for a decision.
#[test]
fn a_stopped_engine_wakes_who_waits_for_a_decision() {
    let story = one_in_doubt().restart();
    let t2 = story.begin();
    let waiter = waiting(&story, 1, move || read(t2, 1));
    // A record that cannot be read stops nobody: the transaction is in doubt as before.
    let at = story.disk.io_count();
    story.disk.inject(Fault { at, kind: FaultKind::InputOutputError, forever: false });
    let failed = story.db.commit_prepared(b"order 7");
    assert!(matches!(failed, Err(Error::Io { operation: "read", .. })), "{failed:?}");
    assert_eq!(story.db.prepared().len(), 1);
    let at = story.disk.io_count() + 1;
    story.disk.inject(Fault { at, kind: FaultKind::InputOutputError, forever: true });
    let failed = story.db.commit_prepared(b"order 7");
    assert!(matches!(failed, Err(Error::OutcomeUnknown { .. })), "{failed:?}");
    assert!(matches!(waiter.recv().unwrap(), Err(Error::Poisoned { .. })));
    assert!(story.db.rollback_prepared(b"order 7").is_err());
}
