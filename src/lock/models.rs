//! Models of the lock queue: nobody sleeps for ever, nobody shares what is exclusive, and a circle
//! of waiting transactions has one victim.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use super::Mode::{Exclusive, Shared};
use super::*;
use crate::sync::model::{check, spawn};
use crate::sync::{Arc, AtomicU64, Ordering};

fn t(id: u64) -> TxnId {
    TxnId::new(id).unwrap()
}

fn record(slot: u16) -> LockName {
    LockName::Record(PageId(3), SlotId(slot))
}

/// Who is inside a lock: 1 for each reader, 100 for a writer.
#[derive(Default)]
struct Inside(AtomicU64);

impl Inside {
    fn pass(&self, mode: Mode) {
        let weight = if mode == Exclusive { 100 } else { 1 };
        let before = self.0.fetch_add(weight, Ordering::Relaxed);
        assert!(before < 100 && (before == 0 || mode == Shared), "two hold {mode}");
        self.0.fetch_sub(weight, Ordering::Relaxed);
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
fn take_both(locks: &LockManager, txn: u64, (first, first_mode): (u16, Mode), second: u16) -> bool {
    locks.lock(t(txn), record(first), first_mode).unwrap();
    let refused = match locks.lock(t(txn), record(second), Exclusive) {
        Ok(_) => {
            assert!(locks.holds(t(txn), record(second), Exclusive));
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
            spawn(move || take_both(&locks, txn, (first, Exclusive), second))
        });
        let refused = take_both(&locks, 3, (3, Exclusive), 1);
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
            spawn(move || take_both(&locks, 1, (0, Shared), 0))
        };
        let writer = {
            let (locks, inside) = (Arc::clone(&locks), Arc::clone(&inside));
            spawn(move || lock_pass_release(&locks, &inside, 3, Exclusive))
        };
        let second = take_both(&locks, 2, (0, Shared), 0);
        let first = upgrade.join().unwrap();
        writer.join().unwrap();
        assert!(!(first && second), "one of them goes on");
        assert!(locks.snapshot().is_empty(), "all is released");
    });
}
