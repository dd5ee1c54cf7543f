//! The invariants of the lock table, checked the slow and obvious way (for tests).

use std::collections::{BTreeMap, BTreeSet};

use super::queue::Lock;
use super::table::Table;
use super::{LockManager, LockName, Mode};
use crate::ids::TxnId;

/// Who waits for whom: every conflicting holder, and every waiter ahead in the queue. Made from the queues
/// alone, and without the engine's own search.
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
            held.extend(lock.holders.iter().map(|holder| (holder.txn, *name)));
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
        for (root, txn) in self.readers() {
            assert!(held.contains(&(txn, LockName::Ranges(root, txn))), "{txn}: ranges of {root}");
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
                arrows.extend(conflicting_holders(lock, waiter.txn, waiter.mode));
                if conversion(lock, waiter.txn).is_none() {
                    arrows.extend(lock.waiters.iter().take(place).map(|ahead| ahead.txn));
                }
            }
        }
        graph
    }

    /// The graph as it would be if the request were entered in the queue.
    pub(super) fn graph_with(&self, txn: TxnId, name: LockName, mode: Mode) -> WaitsFor {
        let lock = &self.locks[&name];
        let mut graph = self.waits_for_graph();
        let held = conversion(lock, txn);
        let mode = held.map_or(mode, |held| held.supremum(mode));
        let mut arrows: BTreeSet<TxnId> = conflicting_holders(lock, txn, mode).collect();
        for waiter in &lock.waiters {
            match (held, conversion(lock, waiter.txn)) {
                (None, _) => drop(arrows.insert(waiter.txn)),
                (Some(_), None) => drop(graph.entry(waiter.txn).or_default().insert(txn)),
                (Some(_), Some(_)) => {}
            }
        }
        graph.insert(txn, arrows);
        graph
    }

    /// Lets everybody who does not wait end, again and again: gives who waits for ever.
    pub(super) fn wait_for_ever(&self) -> BTreeSet<TxnId> {
        let mut table = self.clone();
        while let Some(txn) = table.transactions.keys().copied().find(|txn| !table.is_waiting(*txn))
        {
            table.release_all(txn);
        }
        table.transactions.into_keys().collect()
    }
}

/// What the transaction holds of the lock already.
fn conversion(lock: &Lock, txn: TxnId) -> Option<Mode> {
    lock.holders.iter().find(|holder| holder.txn == txn).map(|holder| holder.mode)
}

fn conflicting_holders(lock: &Lock, txn: TxnId, mode: Mode) -> impl Iterator<Item = TxnId> {
    let conflicting = lock.holders.iter().filter(move |h| !mode.is_compatible_with(h.mode));
    conflicting.map(|holder| holder.txn).filter(move |holder| *holder != txn)
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
    for holder in &lock.holders {
        let conflict = conflicting_holders(lock, holder.txn, holder.mode).next();
        assert_eq!(conflict, None, "hold a lock in modes that conflict: {:?}", lock.holders);
        let same = lock.holders.iter().filter(|other| other.txn == holder.txn);
        assert_eq!(same.count(), 1, "{} holds {name} twice", holder.txn);
    }
    let mut only_conversions = true;
    for (place, waiter) in lock.waiters.iter().enumerate() {
        let held = conversion(lock, waiter.txn);
        assert_eq!(waiter.is_conversion, held.is_some(), "{} on {name}", waiter.txn);
        assert!(only_conversions || held.is_none(), "a conversion on {name} is not in front");
        only_conversions = held.is_some();
        assert!(held.is_none_or(|held| waiter.mode.includes(held) && waiter.mode != held));
        if only_conversions || place == 0 {
            let conflict = conflicting_holders(lock, waiter.txn, waiter.mode).next();
            assert!(conflict.is_some(), "{} waits for {name} in vain", waiter.txn);
        }
    }
}
