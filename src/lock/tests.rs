#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::Mode::{Exclusive, Shared};
use super::table::{Reply, Table};
use super::*;
use crate::error::Error;
use crate::sync::{Arc, AtomicU64, Ordering};

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
fn names_are_shown_as_people_write_them() {
    assert_eq!(LockName::PageExistence(PageId(3)).to_string(), "P3");
    assert_eq!(record(2).to_string(), "P3.2");
}

#[test]
fn only_shared_goes_with_shared() {
    for (held, asked, compatible) in [
        (Shared, Shared, true),
        (Shared, Exclusive, false),
        (Exclusive, Shared, false),
        (Exclusive, Exclusive, false),
    ] {
        let locks = LockManager::new();
        assert!(locks.try_lock(t(1), record(0), held));
        assert_eq!(locks.try_lock(t(2), record(0), asked), compatible, "{held} {asked}");
        assert!(locks.try_lock(t(2), record(1), asked), "another record is another lock");
        assert!(locks.try_lock(t(2), LockName::PageExistence(PageId(3)), asked));
        locks.assert_consistent();
    }
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

/// Waits for the end of a thread, but not for ever.
fn join<R>(thread: JoinHandle<R>) -> R {
    // Long enough that only a lost wake-up takes longer.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !thread.is_finished() {
        assert!(Instant::now() < deadline, "a thread hangs");
        thread::sleep(Duration::from_millis(1));
    }
    thread.join().expect("the thread came to its end")
}

fn until_waiting(locks: &LockManager, txn: u64) {
    while !locks.table.lock().is_waiting(t(txn)) {
        thread::yield_now();
    }
}

#[test]
fn a_thread_sleeps_until_the_holder_releases() {
    let locks = Arc::new(LockManager::new());
    locks.lock(t(1), record(0), Exclusive).unwrap();
    let theirs = locks.clone();
    let reader = thread::spawn(move || theirs.lock(t(2), record(0), Shared));
    until_waiting(&locks, 2);
    assert!(!reader.is_finished());
    locks.release_all(t(1));
    assert_eq!(join(reader).unwrap(), Acquired::New);
    assert_eq!(locks.held(t(2)), [(record(0), Shared)]);
}

#[test]
fn the_rollback_of_a_victim_lets_the_others_go_on() {
    let locks = Arc::new(LockManager::new());
    locks.lock(t(1), record(0), Shared).unwrap();
    locks.lock(t(2), record(0), Shared).unwrap();
    let theirs = locks.clone();
    let upgrade = thread::spawn(move || theirs.lock(t(1), record(0), Exclusive));
    until_waiting(&locks, 1);
    let error = locks.lock(t(2), record(0), Exclusive).unwrap_err();
    assert_eq!(
        error.to_string(),
        "deadlock: T2 waiting for P3.0 (exclusive) would close a circle of waiting transactions"
    );
    locks.release_all(t(2));
    assert_eq!(join(upgrade).unwrap(), Acquired::Upgraded);
    locks.assert_consistent();
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

/// A repeatable stream of numbers below `below`.
fn draw(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

const THREADS: u64 = 8;
const TRANSACTIONS: u64 = 2_000;
const SLOTS: u64 = 4;

/// Runs one transaction of a few random locks, each followed by a look at, or a change of, the
/// counter it protects. Returns whether it came to its end.
fn one_transaction(
    locks: &LockManager,
    counters: &[AtomicU64],
    txn: TxnId,
    random: &mut u64,
    added: &mut [u64],
) -> bool {
    for _ in 0..=draw(random, 3) {
        let slot = draw(random, SLOTS);
        let mode = if draw(random, 2) == 0 { Shared } else { Exclusive };
        if locks.lock(txn, record(slot as u16), mode).is_err() {
            return false;
        }
        let counter = &counters[slot as usize];
        let seen = counter.load(Ordering::Relaxed);
        if draw(random, 8) == 0 {
            thread::yield_now();
        }
        assert_eq!(counter.load(Ordering::Relaxed), seen, "someone changed what {txn} has locked");
        if mode == Exclusive {
            // Not one atomic step: only the lock keeps additions from getting lost.
            counter.store(seen + 1, Ordering::Relaxed);
            added[slot as usize] += 1;
        }
    }
    true
}

#[test]
fn many_threads_lose_no_addition_and_no_wake_up() {
    let locks = Arc::new(LockManager::new());
    let counters = Arc::new([0; SLOTS as usize].map(AtomicU64::new));
    let workers: Vec<_> = (0..THREADS)
        .map(|worker| {
            let (locks, counters) = (locks.clone(), counters.clone());
            thread::spawn(move || {
                let mut random = worker + 1;
                let mut added = [0; SLOTS as usize];
                let mut victims = 0;
                for n in 0..TRANSACTIONS {
                    let txn = t(1 + worker + n * THREADS);
                    let ended = one_transaction(&locks, &*counters, txn, &mut random, &mut added);
                    victims += u64::from(!ended);
                    locks.release_all(txn);
                }
                (added, victims)
            })
        })
        .collect();
    let mut expected = [0; SLOTS as usize];
    let mut victims = 0;
    for worker in workers {
        let (added, lost) = join(worker);
        expected.iter_mut().zip(added).for_each(|(sum, more)| *sum += more);
        victims += lost;
    }
    let counted: Vec<u64> = counters.iter().map(|c| c.load(Ordering::Relaxed)).collect();
    assert_eq!(counted, expected);
    assert!(victims < THREADS * TRANSACTIONS, "somebody got through");
    locks.assert_consistent();
    assert!(locks.snapshot().is_empty());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Lock(u64, u16, Mode),
    TryLock(u64, u16, Mode),
    ReleaseAll(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![Just(Shared), Just(Exclusive)];
    let request = (1..=6_u64, 0..4_u16, mode);
    prop_oneof![
        6 => request.clone().prop_map(|(txn, slot, mode)| Step::Lock(txn, slot, mode)),
        3 => request.prop_map(|(txn, slot, mode)| Step::TryLock(txn, slot, mode)),
        1 => (1..=6_u64).prop_map(Step::ReleaseAll),
    ]
}

/// Takes one step, unless the transaction is waiting and so cannot.
fn take(table: &mut Table, step: Step) {
    let (Step::Lock(txn, ..) | Step::TryLock(txn, ..) | Step::ReleaseAll(txn)) = step;
    if table.is_waiting(t(txn)) {
        return;
    }
    match step {
        Step::Lock(_, slot, mode) => {
            if table.request(t(txn), record(slot), mode).is_err() {
                let needed = table.would_close_a_cycle(t(txn), record(slot), mode);
                assert!(needed, "{step:?} was refused without need");
            }
        }
        Step::TryLock(_, slot, mode) => {
            let granted = table.try_acquire(t(txn), record(slot), mode).is_some();
            let holds = table
                .held(t(txn))
                .iter()
                .any(|(name, held)| *name == record(slot) && *held >= mode);
            assert_eq!(granted, holds);
        }
        Step::ReleaseAll(_) => table.release_all(t(txn)),
    }
    table.assert_consistent();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// The checker looks for cycles after every step, so a deadlock that arises without a new
    /// request would be seen; and in the end everybody gets through.
    #[test]
    fn every_history_keeps_the_table_sound(steps in prop::collection::vec(step(), 1..80)) {
        let mut table = Table::default();
        for step in steps {
            take(&mut table, step);
        }
        while !table.transactions.is_empty() {
            let running = table.transactions.keys().copied().find(|txn| !table.is_waiting(*txn));
            table.release_all(running.expect("somebody can always go on"));
            table.assert_consistent();
        }
        prop_assert!(table.locks.is_empty());
    }
}
