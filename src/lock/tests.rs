#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod histories;
mod ranges;
mod threads;

use super::Mode::{
    Exclusive, IntentionExclusive, IntentionShared, Shared, SharedIntentionExclusive,
};
use super::table::{Reply, Table};
use super::*;
use crate::ids::{PageId, SlotId};

fn t(id: u64) -> TxnId {
    TxnId::new(id).unwrap()
}

fn record(slot: u16) -> LockName {
    LockName::Record(PageId(3), SlotId(slot))
}

fn granted(table: &mut Table, txn: u64, slot: u16, mode: Mode) -> Acquired {
    let reply = table.request(t(txn), record(slot), mode).unwrap();
    table.assert_consistent();
    match reply {
        Reply::Granted(acquired) => acquired,
        Reply::Wait(..) => panic!("T{txn} has to wait for {}", record(slot)),
    }
}

fn waits(table: &mut Table, txn: u64, slot: u16, mode: Mode) {
    let reply = table.request(t(txn), record(slot), mode).unwrap();
    table.assert_consistent();
    assert!(matches!(reply, Reply::Wait(..)), "T{txn} was granted {}", record(slot));
    assert!(table.is_waiting(t(txn)));
}

fn refused(table: &mut Table, txn: u64, slot: u16, mode: Mode) {
    let before = table.snapshot();
    let Err(error) = table.request(t(txn), record(slot), mode) else {
        panic!("T{txn} was not refused {}", record(slot))
    };
    assert!(matches!(error, Error::Deadlock { txn: victim, .. } if victim == t(txn)), "{error}");
    assert_eq!(table.snapshot(), before, "a refused request leaves no trace");
    table.assert_consistent();
}

fn release(table: &mut Table, txn: u64) {
    table.release_all(t(txn));
    table.assert_consistent();
}

/// `T1 shared`, … of the waiters of a slot.
fn queue(table: &Table, slot: u16) -> Vec<String> {
    let lock = table.snapshot().into_iter().find(|lock| lock.name == record(slot)).unwrap();
    lock.waiters.iter().map(|(txn, mode)| format!("{txn} {mode}")).collect()
}

#[test]
fn what_is_given_back_is_granted_to_others_and_the_rest_is_kept() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Shared);
    granted(&mut table, 1, 1, Exclusive);
    granted(&mut table, 1, 2, Shared);
    waits(&mut table, 2, 0, Exclusive);
    waits(&mut table, 3, 1, Shared);
    table.release_some(t(1), |_, mode| mode == Shared);
    table.assert_consistent();
    assert!(table.holds(t(2), record(0), Exclusive), "T2 waited for what was given back");
    assert!(table.is_waiting(t(3)), "T3 waits for what is kept");
    assert_eq!(table.held(t(1)), [(record(1), Exclusive)]);
    release(&mut table, 1);
    assert!(table.holds(t(3), record(1), Shared));
    table.release_some(t(3), |_, _| true);
    table.assert_consistent();
    assert_eq!(table.held(t(3)), []);
    assert!(!table.is_locked(record(1)));
}

#[test]
fn only_compatible_modes_are_held_together() {
    for held in Mode::ALL {
        for asked in Mode::ALL {
            let locks = LockManager::new();
            assert!(locks.try_lock(t(1), record(0), held));
            let compatible = held.is_compatible_with(asked);
            assert_eq!(locks.could_lock(t(2), record(0), asked), compatible, "{held} {asked}");
            assert_eq!(locks.held(t(2)), [], "asking takes nothing");
            assert_eq!(locks.try_lock(t(2), record(0), asked), compatible, "{held} {asked}");
            assert!(locks.try_lock(t(2), record(1), asked), "another record is another lock");
            locks.assert_consistent();
        }
    }
}

/// Each name is a lock of its own, and the same key has the same name every time.
#[test]
fn every_name_is_a_lock_of_its_own() {
    let key = |key: &[u8]| LockName::Key(PageId(3), KeyName::of(key));
    let before = |key: &[u8]| LockName::Gap(PageId(3), GapName::Before(KeyName::of(key)));
    let names = || {
        [
            LockName::PageExistence(PageId(3)),
            record(0),
            LockName::Table(PageId(3)),
            key(b"alice"),
            key(b"alice in wonderland"),
            key(b"alice in chains"),
            LockName::Key(PageId(4), KeyName::of(b"alice")),
            before(b"alice"),
            before(b"bob"),
            LockName::Gap(PageId(3), GapName::End),
        ]
    };
    let locks = LockManager::new();
    assert!(names().iter().all(|name| locks.try_lock(t(1), *name, Exclusive)));
    assert!(!names().iter().any(|name| locks.could_lock(t(2), *name, IntentionShared)));
    assert_eq!(locks.snapshot().len(), names().len());
}

#[test]
fn a_holder_is_told_what_changed() {
    let mut table = Table::default();
    assert_eq!(granted(&mut table, 1, 0, Shared), Acquired::New);
    assert_eq!(granted(&mut table, 1, 0, Shared), Acquired::AlreadyHeld);
    assert_eq!(granted(&mut table, 1, 0, Exclusive), Acquired::Upgraded);
    assert_eq!(granted(&mut table, 1, 0, Shared), Acquired::AlreadyHeld);
    assert_eq!(granted(&mut table, 1, 1, Shared), Acquired::New);
    assert_eq!(table.held(t(1)), [(record(0), Exclusive), (record(1), Shared)]);
    assert_eq!(granted(&mut table, 1, 1, IntentionExclusive), Acquired::Upgraded);
    assert_eq!(table.held(t(1))[1], (record(1), SharedIntentionExclusive));
    for mode in Mode::ALL {
        assert_eq!(table.holds(t(1), record(1), mode), mode != Exclusive, "{mode}");
    }
    assert!(table.is_locked(record(0)));
    release(&mut table, 1);
    assert!(table.held(t(1)).is_empty() && !table.is_locked(record(0)));
    assert!(table.locks.is_empty() && table.transactions.is_empty());
}

#[test]
fn readers_do_not_overtake_a_waiting_writer() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Shared);
    waits(&mut table, 2, 0, Exclusive);
    waits(&mut table, 3, 0, Shared);
    assert!(table.try_acquire(t(4), record(0), Shared).is_none(), "nor does try_lock");
    waits(&mut table, 5, 0, Shared);
    release(&mut table, 1);
    assert!(!table.is_waiting(t(2)));
    assert_eq!(queue(&table, 0), ["T3 shared", "T5 shared"]);
    release(&mut table, 2);
    assert!(!table.is_waiting(t(3)) && !table.is_waiting(t(5)), "readers go on together");
}

#[test]
fn an_upgrade_goes_before_other_waiters() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Shared);
    granted(&mut table, 2, 0, Shared);
    waits(&mut table, 3, 0, Exclusive);
    waits(&mut table, 4, 0, Shared);
    waits(&mut table, 1, 0, Exclusive);
    assert_eq!(queue(&table, 0), ["T1 exclusive", "T3 exclusive", "T4 shared"]);
    release(&mut table, 2);
    assert_eq!(table.held(t(1)), [(record(0), Exclusive)]);
    assert_eq!(queue(&table, 0), ["T3 exclusive", "T4 shared"]);
}

#[test]
fn the_only_holder_upgrades_at_once_past_the_queue() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Shared);
    waits(&mut table, 2, 0, Exclusive);
    waits(&mut table, 3, 0, Shared);
    assert_eq!(granted(&mut table, 1, 0, Exclusive), Acquired::Upgraded);
    release(&mut table, 1);
    assert_eq!(table.held(t(2)), [(record(0), Exclusive)]);
}

#[test]
fn two_upgrades_of_one_lock_are_a_deadlock() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Shared);
    granted(&mut table, 2, 0, Shared);
    waits(&mut table, 1, 0, Exclusive);
    refused(&mut table, 2, 0, Exclusive);
    assert_eq!(table.held(t(2)), [(record(0), Shared)], "the victim keeps what it held");
    release(&mut table, 2);
    assert_eq!(table.held(t(1)), [(record(0), Exclusive)]);
}

/// Those who intend to change parts, and one who has read all: nobody is in the other's way until then.
#[test]
fn several_conversions_wait_and_each_goes_on_when_it_can() {
    let mut table = Table::default();
    for txn in 1..=3 {
        granted(&mut table, txn, 0, IntentionShared);
    }
    granted(&mut table, 4, 0, Shared);
    granted(&mut table, 5, 0, IntentionShared);
    waits(&mut table, 6, 0, Exclusive);
    waits(&mut table, 1, 0, IntentionExclusive);
    waits(&mut table, 2, 0, IntentionExclusive);
    waits(&mut table, 3, 0, SharedIntentionExclusive);
    assert_eq!(
        queue(&table, 0),
        [
            "T1 intention-exclusive",
            "T2 intention-exclusive",
            "T3 shared-intention-exclusive",
            "T6 exclusive"
        ]
    );
    // Not in the way of the conversions, which conflict with T4 only.
    assert_eq!(granted(&mut table, 5, 0, Shared), Acquired::Upgraded);
    release(&mut table, 5);
    release(&mut table, 4);
    assert!(!table.is_waiting(t(1)) && !table.is_waiting(t(2)));
    assert!(table.is_waiting(t(3)), "the first two intend to change what T3 wants to read");
    release(&mut table, 1);
    release(&mut table, 2);
    assert!(table.holds(t(3), record(0), SharedIntentionExclusive));
    release(&mut table, 3);
    assert!(table.holds(t(6), record(0), Exclusive));
}

/// A conversion does not wait for one before it in the queue that waits for its own transaction.
#[test]
fn a_conversion_overtakes_one_that_waits_for_it() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, IntentionShared);
    granted(&mut table, 2, 0, IntentionShared);
    waits(&mut table, 1, 0, Exclusive);
    assert_eq!(granted(&mut table, 2, 0, IntentionExclusive), Acquired::Upgraded);
    assert_eq!(granted(&mut table, 2, 0, Shared), Acquired::Upgraded);
    refused(&mut table, 2, 0, Exclusive);
    release(&mut table, 2);
    assert!(table.holds(t(1), record(0), Exclusive));
}

/// What is granted may be in the way of a conversion that was not in its way.
#[test]
fn a_conversion_waits_for_what_was_granted_past_it() {
    let mut table = Table::default();
    for txn in 1..=3 {
        granted(&mut table, txn, 0, IntentionShared);
    }
    granted(&mut table, 4, 0, IntentionExclusive);
    granted(&mut table, 1, 1, Exclusive);
    // T1 waits for T4; then T2 becomes another one in its way, and would wait for it in turn.
    waits(&mut table, 1, 0, Shared);
    granted(&mut table, 2, 0, IntentionExclusive);
    refused(&mut table, 2, 1, Shared);
    release(&mut table, 4);
    assert!(table.is_waiting(t(1)));
    release(&mut table, 2);
    assert!(table.holds(t(1), record(0), Shared));
}

/// A waiter is put behind a conversion with which it does not conflict, and so waits for it.
#[test]
fn a_conversion_that_enters_a_queue_closes_no_circle_unseen() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, IntentionShared);
    granted(&mut table, 2, 0, Shared);
    granted(&mut table, 3, 1, Exclusive);
    waits(&mut table, 2, 1, Shared);
    waits(&mut table, 4, 0, IntentionExclusive);
    // T1 would wait for T2, that for T3: no circle, although T4 waits for T1 now.
    waits(&mut table, 1, 0, IntentionExclusive);
    refused(&mut table, 3, 0, Shared);
    release(&mut table, 3);
    release(&mut table, 2);
    assert!(table.holds(t(1), record(0), IntentionExclusive));
    assert!(table.holds(t(4), record(0), IntentionExclusive));
}

/// The only arrow back to T1 is that of a waiter before whom its conversion would be put.
#[test]
fn a_conversion_that_is_put_before_a_waiter_closes_a_circle() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, IntentionShared);
    granted(&mut table, 2, 0, IntentionShared);
    granted(&mut table, 3, 0, IntentionExclusive);
    granted(&mut table, 4, 1, Exclusive);
    // T4 waits for T3 alone, and T2 for T4.
    waits(&mut table, 4, 0, Shared);
    waits(&mut table, 2, 1, Shared);
    refused(&mut table, 1, 0, Exclusive);
    release(&mut table, 3);
    assert!(table.holds(t(4), record(0), Shared));
}

/// T1 would wait for two that stand in one queue, whichever of them the search comes to first.
#[test]
fn each_waiter_of_a_queue_is_looked_at() {
    for (first, second) in [(2, 3), (3, 2)] {
        let mut table = Table::default();
        granted(&mut table, 1, 0, IntentionShared);
        granted(&mut table, 4, 0, IntentionExclusive);
        granted(&mut table, first, 1, Shared);
        granted(&mut table, second, 1, Shared);
        waits(&mut table, 2, 0, Shared);
        waits(&mut table, 3, 0, Exclusive);
        refused(&mut table, 1, 1, Exclusive);
    }
}

/// A waiter does not wait for holders that it goes along with: nobody is refused for them.
#[test]
fn a_compatible_holder_is_not_waited_for() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, IntentionShared);
    granted(&mut table, 2, 0, Shared);
    granted(&mut table, 3, 1, Exclusive);
    waits(&mut table, 3, 0, IntentionExclusive);
    // T3 waits for T2 only, so T1 may wait for T3.
    waits(&mut table, 1, 1, Shared);
    refused(&mut table, 2, 1, Shared);
    release(&mut table, 2);
    assert!(table.holds(t(3), record(0), IntentionExclusive));
    release(&mut table, 3);
    assert!(table.holds(t(1), record(1), Shared));
}

#[test]
fn a_request_that_is_withdrawn_lets_others_go_on() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Shared);
    granted(&mut table, 2, 0, IntentionShared);
    waits(&mut table, 2, 0, IntentionExclusive);
    waits(&mut table, 3, 0, Exclusive);
    waits(&mut table, 4, 0, Shared);
    table.withdraw(t(2));
    table.assert_consistent();
    assert_eq!(table.held(t(2)), [(record(0), IntentionShared)], "what it held it holds");
    assert_eq!(queue(&table, 0), ["T3 exclusive", "T4 shared"]);
    table.withdraw(t(3));
    table.assert_consistent();
    assert!(table.holds(t(4), record(0), Shared));
    assert!(!table.transactions.contains_key(&t(3)), "it leaves no trace");
    table.withdraw(t(4));
    assert!(table.holds(t(4), record(0), Shared), "who waits no more is left alone");
}

#[test]
fn what_is_waited_for_is_told() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Shared);
    waits(&mut table, 3, 0, Exclusive);
    waits(&mut table, 4, 0, Shared);
    assert_eq!(table.awaited(t(3)).unwrap(), "P3.0 (exclusive), which T1 holds");
    assert_eq!(table.awaited(t(4)).unwrap(), "P3.0 (shared), behind T3, which waits for it, too");
    for txn in 5..=7 {
        granted(&mut table, txn, 1, Shared);
    }
    waits(&mut table, 8, 1, IntentionExclusive);
    let told = "P3.1 (intention-exclusive), which T5 and 2 more hold";
    assert_eq!(table.awaited(t(8)).unwrap(), told);
    assert_eq!(table.awaited(t(1)), None);
}

#[test]
fn a_circle_of_three_is_found() {
    let mut table = Table::default();
    for txn in 1..=3 {
        granted(&mut table, txn, txn as u16, Exclusive);
    }
    waits(&mut table, 1, 2, Shared);
    waits(&mut table, 2, 3, Exclusive);
    refused(&mut table, 3, 1, Shared);
    release(&mut table, 3);
    assert!(!table.is_waiting(t(2)) && table.is_waiting(t(1)));
    release(&mut table, 2);
    assert!(!table.is_waiting(t(1)));
}

#[test]
fn a_deadlock_through_the_order_of_a_queue_is_found() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Shared);
    granted(&mut table, 3, 1, Exclusive);
    waits(&mut table, 2, 0, Exclusive);
    // T3 conflicts with no holder of slot 0, but waits behind T2, which waits for T1.
    waits(&mut table, 3, 0, Shared);
    refused(&mut table, 1, 1, Shared);
}

#[test]
fn a_waiter_overtaken_by_an_upgrade_closes_no_circle_unseen() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Shared);
    granted(&mut table, 2, 0, Shared);
    granted(&mut table, 3, 1, Exclusive);
    waits(&mut table, 4, 0, Exclusive);
    waits(&mut table, 3, 0, Shared);
    // Now T3 waits for T2 also where T2 stands in the queue; and T1, for whom T2 waits, for T3.
    waits(&mut table, 2, 0, Exclusive);
    refused(&mut table, 1, 1, Shared);
    release(&mut table, 1);
    assert_eq!(table.held(t(2)), [(record(0), Exclusive)]);
}

#[test]
fn waiting_for_a_waiter_without_a_circle_is_allowed() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Exclusive);
    granted(&mut table, 2, 1, Exclusive);
    waits(&mut table, 2, 0, Exclusive);
    waits(&mut table, 3, 1, Exclusive);
    waits(&mut table, 4, 0, Shared);
    for txn in 1..=4 {
        assert!(!table.is_waiting(t(txn)));
        release(&mut table, txn);
    }
    assert!(table.locks.is_empty() && table.transactions.is_empty());
}

#[test]
fn the_snapshot_shows_holders_and_waiters_in_order() {
    let mut table = Table::default();
    granted(&mut table, 2, 1, Shared);
    granted(&mut table, 1, 1, Shared);
    waits(&mut table, 4, 1, Exclusive);
    waits(&mut table, 3, 1, Shared);
    granted(&mut table, 1, 0, Exclusive);
    let first = LockSnapshot { name: record(0), holders: vec![(t(1), Exclusive)], waiters: vec![] };
    let second = LockSnapshot {
        name: record(1),
        holders: vec![(t(2), Shared), (t(1), Shared)],
        waiters: vec![(t(4), Exclusive), (t(3), Shared)],
    };
    assert_eq!(table.snapshot(), [first, second]);
}
