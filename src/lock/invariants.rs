//! The invariants of the lock table, checked the slow and obvious way (for tests).

use std::collections::{BTreeMap, BTreeSet};

use super::table::{Lock, Table};
use super::{LockManager, LockName, Mode};
use crate::ids::TxnId;

/// Who waits for whom: every conflicting holder, and every waiter ahead in the queue.
pub(super) type WaitsFor = BTreeMap<TxnId, BTreeSet<TxnId>>;

impl LockManager {
    /// Panics unless every invariant of the table holds.
    pub(crate) fn assert_consistent(&self) {
        self.table.lock().assert_consistent();
    }
}

impl Table {
    /// Panics unless every invariant in the essay of the module holds.
    pub(super) fn assert_consistent(&self) {
        for (name, lock) in &self.locks {
            assert_lock_is_sound(*name, lock);
        }
        self.assert_transactions_agree_with_locks();
        let graph = self.waits_for_graph();
        for txn in graph.keys() {
            assert!(!reaches(&graph, *txn, *txn), "{txn} waits for itself: {graph:?}");
        }
    }

    /// Invariants 4 and 5.
    fn assert_transactions_agree_with_locks(&self) {
        let mut held = BTreeSet::new();
        let mut waiting = BTreeSet::new();
        for (name, lock) in &self.locks {
            held.extend(lock.holders.iter().map(|txn| (*txn, *name)));
            for waiter in &lock.waiters {
                assert!(waiting.insert((waiter.txn, *name)), "{} waits twice", waiter.txn);
            }
        }
        let mut listed_held = BTreeSet::new();
        let mut listed_waiting = BTreeSet::new();
        for (txn, holdings) in &self.transactions {
            for name in &holdings.held {
                assert!(listed_held.insert((*txn, *name)), "{txn} lists {name} twice");
            }
            listed_waiting.extend(holdings.waits_for.map(|name| (*txn, name)));
            assert!(
                !holdings.held.is_empty() || holdings.waits_for.is_some(),
                "{txn} is listed for nothing"
            );
        }
        assert_eq!(held, listed_held);
        assert_eq!(waiting, listed_waiting);
    }

    /// The whole graph, with each arrow that the essay names.
    pub(super) fn waits_for_graph(&self) -> WaitsFor {
        let mut graph = WaitsFor::new();
        for lock in self.locks.values() {
            for (place, waiter) in lock.waiters.iter().enumerate() {
                let arrows = graph.entry(waiter.txn).or_default();
                arrows.extend(lock.waiters.iter().take(place).map(|ahead| ahead.txn));
                arrows.extend(conflicting_holders(lock, waiter.txn, waiter.mode));
            }
        }
        graph
    }

    /// Whether the request, entered in the queue, would be part of a cycle.
    pub(super) fn would_close_a_cycle(&self, txn: TxnId, name: LockName, mode: Mode) -> bool {
        let lock = &self.locks[&name];
        let mut graph = self.waits_for_graph();
        let mut arrows: BTreeSet<TxnId> = conflicting_holders(lock, txn, mode).collect();
        if lock.holders.contains(&txn) {
            for waiter in &lock.waiters {
                graph.entry(waiter.txn).or_default().insert(txn);
            }
        } else {
            arrows.extend(lock.waiters.iter().map(|waiter| waiter.txn));
        }
        graph.insert(txn, arrows);
        reaches(&graph, txn, txn)
    }
}

fn conflicting_holders(lock: &Lock, txn: TxnId, mode: Mode) -> impl Iterator<Item = TxnId> {
    let conflicts = !lock.mode.is_compatible_with(mode);
    lock.holders.iter().copied().filter(move |holder| conflicts && *holder != txn)
}

/// Whether a path of at least one arrow leads from `from` to `to`.
pub(super) fn reaches(graph: &WaitsFor, from: TxnId, to: TxnId) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(txn) = next.pop() {
        for &blocker in graph.get(&txn).into_iter().flatten() {
            if blocker == to {
                return true;
            }
            if seen.insert(blocker) {
                next.push(blocker);
            }
        }
    }
    false
}

/// Invariants 1 to 3.
fn assert_lock_is_sound(name: LockName, lock: &Lock) {
    assert!(!lock.holders.is_empty(), "{name} is in the table, but nobody holds it");
    if lock.mode == Mode::Exclusive {
        assert_eq!(lock.holders.len(), 1, "{name} is exclusive, but held by several");
    }
    if let Some(first) = lock.waiters.front() {
        let mut conflicts = conflicting_holders(lock, first.txn, first.mode);
        assert!(conflicts.next().is_some(), "{} waits for {name} in vain", first.txn);
    }
    for (place, waiter) in lock.waiters.iter().enumerate() {
        let holds = lock.holders.contains(&waiter.txn);
        assert_eq!(waiter.is_upgrade, holds, "{} on {name}: upgrade or not", waiter.txn);
        assert!(!waiter.is_upgrade || place == 0, "the upgrade on {name} is not first");
    }
}
