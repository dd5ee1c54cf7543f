//! Models of the lock queue: nobody sleeps for ever, nobody holds what conflicts with another's, and a
//! circle of waiting transactions has one victim.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use super::Mode::{Exclusive, IntentionExclusive, IntentionShared, Shared};
use super::*;
use crate::ids::{PageId, SlotId};
use crate::sync::model::{check, spawn};
use crate::sync::{Arc, AtomicU64, Ordering};

fn t(id: u64) -> TxnId {
    TxnId::new(id).unwrap()
}

fn record(slot: u16) -> LockName {
    LockName::Record(PageId(3), SlotId(slot))
}

/// Who is inside a lock: how many in each mode, a byte each.
#[derive(Default)]
struct Inside(AtomicU64);

impl Inside {
    fn pass(&self, mode: Mode) {
        let one = 1 << (8 * mode as u64);
        let before = self.0.fetch_add(one, Ordering::Relaxed).to_le_bytes();
        for (other, count) in Mode::ALL.into_iter().zip(before) {
            assert!(count == 0 || mode.is_compatible_with(other), "two hold {mode} and {other}");
        }
        self.0.fetch_sub(one, Ordering::Relaxed);
    }
}

fn lock_pass_release(locks: &LockManager, inside: &Inside, txn: u64, mode: Mode) {
    locks.lock(t(txn), record(0), mode).unwrap();
    locks.assert_consistent();
    inside.pass(mode);
    locks.release_all(t(txn));
    locks.assert_consistent();
}

/// A writer, a reader and another writer want one lock. Bound: 4 preemptions.
#[test]
fn a_queue_of_three() {
    check(4, || {
        let locks = Arc::new(LockManager::new());
        let inside = Arc::new(Inside::default());
        let others = [(1, Exclusive), (2, Shared)].map(|(txn, mode)| {
            let (locks, inside) = (Arc::clone(&locks), Arc::clone(&inside));
            spawn(move || lock_pass_release(&locks, &inside, txn, mode))
        });
        lock_pass_release(&locks, &inside, 3, Exclusive);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(locks.snapshot().is_empty(), "all is released");
    });
}

/// Takes two locks, or is refused the second one and gives up. Gives whether it was refused.
fn take_both(
    locks: &LockManager,
    txn: u64,
    first: (u16, Mode),
    (second, mode): (u16, Mode),
) -> bool {
    locks.lock(t(txn), record(first.0), first.1).unwrap();
    let refused = match locks.lock(t(txn), record(second), mode) {
        Ok(_) => {
            assert!(locks.holds(t(txn), record(second), mode));
            false
        }
        Err(error) => {
            assert!(matches!(error, Error::Deadlock { txn: victim, .. } if victim == t(txn)));
            true
        }
    };
    locks.assert_consistent();
    locks.release_all(t(txn));
    refused
}

/// Three transactions take three locks round a circle. Bound: 4 preemptions.
#[test]
fn a_circle_has_one_victim() {
    check(4, || {
        let locks = Arc::new(LockManager::new());
        let others = [1, 2].map(|txn| {
            let locks = Arc::clone(&locks);
            let (first, second) = (txn as u16, txn as u16 + 1);
            spawn(move || take_both(&locks, txn, (first, Exclusive), (second, Exclusive)))
        });
        let refused = take_both(&locks, 3, (3, Exclusive), (1, Exclusive));
        let refused = others.map(|other| other.join().unwrap()).into_iter().chain([refused]);
        assert!(refused.filter(|refused| *refused).count() <= 1, "a circle has one victim");
        assert!(locks.snapshot().is_empty(), "all is released");
    });
}

/// Two readers of one lock want to write it, and a third transaction too. Bound: 4 preemptions.
#[test]
fn two_upgrades_have_one_victim() {
    check(4, || {
        let locks = Arc::new(LockManager::new());
        let inside = Arc::new(Inside::default());
        let upgrade = {
            let locks = Arc::clone(&locks);
            spawn(move || take_both(&locks, 1, (0, Shared), (0, Exclusive)))
        };
        let writer = {
            let (locks, inside) = (Arc::clone(&locks), Arc::clone(&inside));
            spawn(move || lock_pass_release(&locks, &inside, 3, Exclusive))
        };
        let second = take_both(&locks, 2, (0, Shared), (0, Exclusive));
        let first = upgrade.join().unwrap();
        writer.join().unwrap();
        assert!(!(first && second), "one of them goes on");
        assert!(locks.snapshot().is_empty(), "all is released");
    });
}

/// One reads all, two intend to change parts: one of them intended to read them first, and the other reads all
/// then. Bound: 4 preemptions.
#[test]
fn intentions_and_conversions() {
    fn convert(locks: &LockManager, inside: &Inside, txn: u64, modes: [Mode; 2]) {
        for mode in modes {
            locks.lock(t(txn), record(0), mode).unwrap();
            locks.assert_consistent();
            inside.pass(mode);
        }
        locks.release_all(t(txn));
    }
    check(4, || {
        let locks = Arc::new(LockManager::new());
        let inside = Arc::new(Inside::default());
        let converting =
            [(1, [IntentionShared, IntentionExclusive]), (2, [IntentionExclusive, Shared])];
        let others = converting.map(|(txn, modes)| {
            let (locks, inside) = (Arc::clone(&locks), Arc::clone(&inside));
            spawn(move || convert(&locks, &inside, txn, modes))
        });
        lock_pass_release(&locks, &inside, 3, Shared);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(locks.snapshot().is_empty(), "all is released");
    });
}

/// One waits for a reader behind a writer, which waits for another reader, which waits for the first. Bound:
/// 4 preemptions.
#[test]
fn a_circle_through_a_queue_has_one_victim() {
    check(4, || {
        let locks = Arc::new(LockManager::new());
        let reader = {
            let locks = Arc::clone(&locks);
            spawn(move || take_both(&locks, 1, (1, Exclusive), (0, Shared)))
        };
        let writer = {
            let locks = Arc::clone(&locks);
            spawn(move || {
                locks.lock(t(3), record(0), Exclusive).unwrap();
                locks.release_all(t(3));
            })
        };
        let second = take_both(&locks, 2, (0, Shared), (1, Exclusive));
        let first = reader.join().unwrap();
        writer.join().unwrap();
        assert!(!(first && second), "a circle has one victim");
        assert!(locks.snapshot().is_empty(), "all is released");
    });
}

/// What a request does that times out, between any two steps of others. Gives whether it was granted before.
fn lock_or_give_up(locks: &LockManager, txn: u64, mode: Mode) -> bool {
    drop(locks.table.lock().request(t(txn), record(0), mode).unwrap());
    let mut table = locks.table.lock();
    table.withdraw(t(txn));
    table.holds(t(txn), record(0), mode)
}

/// A writer gives up, behind which a reader may stand: that goes on while another reads. Bound: 5 preemptions.
#[test]
fn who_gives_up_lets_others_go_on() {
    check(5, || {
        let locks = Arc::new(LockManager::new());
        locks.lock(t(1), record(0), Shared).unwrap();
        let writer = {
            let locks = Arc::clone(&locks);
            spawn(move || lock_or_give_up(&locks, 2, Exclusive))
        };
        locks.lock(t(3), record(0), Shared).unwrap();
        assert!(!writer.join().unwrap(), "T1 has not released it");
        assert!(locks.holds(t(1), record(0), Shared) && locks.holds(t(3), record(0), Shared));
    });
}

/// A lock is released while one who waits for it gives up, and another waits behind. Bound: 5 preemptions.
#[test]
fn a_grant_meets_one_who_gives_up() {
    check(5, || {
        let locks = Arc::new(LockManager::new());
        let inside = Arc::new(Inside::default());
        locks.lock(t(1), record(0), Exclusive).unwrap();
        let impatient = {
            let (locks, inside) = (Arc::clone(&locks), Arc::clone(&inside));
            spawn(move || {
                if lock_or_give_up(&locks, 2, Shared) {
                    inside.pass(Shared);
                }
                locks.release_all(t(2));
            })
        };
        let patient = {
            let (locks, inside) = (Arc::clone(&locks), Arc::clone(&inside));
            spawn(move || lock_pass_release(&locks, &inside, 3, Exclusive))
        };
        inside.pass(Exclusive);
        locks.release_all(t(1));
        impatient.join().unwrap();
        patient.join().unwrap();
        assert!(locks.snapshot().is_empty(), "all is released");
    });
}
