//! The manager under many threads: they sleep, wake, time out, and lose nothing.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::*;
use crate::error::Error;
use crate::sync::{Arc, AtomicU64, Ordering};

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

/// Long enough for whoever must not time out.
const LONG: Option<Duration> = Some(Duration::from_secs(60));

#[test]
fn a_request_waits_so_long_at_most() {
    let timeout = Duration::from_millis(50);
    let locks = Arc::new(LockManager::with_timeout(Some(timeout)));
    locks.lock(t(1), record(0), Shared).unwrap();
    locks.lock(t(2), record(1), Exclusive).unwrap();
    let began = Instant::now();
    let error = locks.lock(t(2), record(0), Exclusive).unwrap_err();
    let elapsed = began.elapsed();
    let words = error.to_string();
    let Error::LockTimeout { txn, what, waited } = error else { panic!("{error}") };
    assert_eq!((txn, what.as_str()), (t(2), "P3.0 (exclusive), which T1 holds"));
    assert!((timeout..=elapsed).contains(&waited), "{waited:?} of {elapsed:?}");
    assert!(words.starts_with("lock timeout: T2 waited ") && words.contains("roll it back"));
    assert_eq!(locks.held(t(2)), [(record(1), Exclusive)], "it keeps what it holds");
    locks.assert_consistent();
    locks.release_all(t(1));
    assert_eq!(locks.lock(t(2), record(0), Exclusive).unwrap(), Acquired::New);
}

/// The request of T2 stands before that of T3, and times out.
#[test]
fn those_behind_a_request_that_times_out_go_on() {
    let locks = Arc::new(LockManager::with_timeout(Some(Duration::from_millis(200))));
    locks.lock(t(1), record(0), Shared).unwrap();
    let theirs = locks.clone();
    let writer = thread::spawn(move || theirs.lock(t(2), record(0), Exclusive));
    until_waiting(&locks, 2);
    locks.set_timeout(LONG);
    let theirs = locks.clone();
    let reader = thread::spawn(move || theirs.lock(t(3), record(0), Shared));
    assert!(matches!(join(writer), Err(Error::LockTimeout { .. })));
    assert_eq!(join(reader).unwrap(), Acquired::New);
    locks.assert_consistent();
}

#[test]
fn whoever_is_granted_in_time_does_not_time_out() {
    let locks = Arc::new(LockManager::with_timeout(LONG));
    locks.lock(t(1), record(0), Exclusive).unwrap();
    let theirs = locks.clone();
    let reader = thread::spawn(move || theirs.lock(t(2), record(0), Shared));
    until_waiting(&locks, 2);
    locks.release_all(t(1));
    assert_eq!(join(reader).unwrap(), Acquired::New);
    let forever = LockManager::with_timeout(Some(Duration::MAX));
    forever.lock(t(1), record(0), Exclusive).unwrap();
    assert!(matches!(
        {
            forever.stop("stopped");
            forever.lock(t(2), record(0), Shared)
        },
        Err(Error::Poisoned { .. })
    ));
}

/// Many wait briefly, some time out: nobody sleeps for ever, and at the end nothing is left.
#[test]
fn timeouts_and_grants_at_the_same_time_leave_nothing_behind() {
    let locks = Arc::new(LockManager::with_timeout(Some(Duration::from_micros(50))));
    let workers: Vec<_> = (0..THREADS)
        .map(|worker| {
            let locks = locks.clone();
            thread::spawn(move || {
                let mut random = worker + 1;
                let mut given_up = 0_u64;
                for n in 0..TRANSACTIONS / 4 {
                    let txn = t(1 + worker + n * THREADS);
                    for _ in 0..3 {
                        let name = record(draw(&mut random, 2) as u16);
                        let mode = Mode::ALL[draw(&mut random, 5) as usize];
                        given_up += u64::from(locks.lock(txn, name, mode).is_err());
                        thread::yield_now();
                    }
                    locks.release_all(txn);
                }
                given_up
            })
        })
        .collect();
    let given_up: u64 = workers.into_iter().map(join).sum();
    assert!(given_up > 0, "some had to give up");
    locks.assert_consistent();
    assert!(locks.snapshot().is_empty());
}
