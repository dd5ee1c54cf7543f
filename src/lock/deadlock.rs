//! The search for deadlocks: whether a transaction that is about to wait would wait for itself.
//!
//! It follows the arrows of the waits-for graph, which the essay of the [parent module](super) names,
//! from the request on. The graph is nowhere kept: its arrows are read off the queues. Of each lock that
//! the search comes to it looks at each waiter once, and at the holders once for each mode that is
//! waited for, however many wait there.

use std::collections::{HashMap, HashSet};

use super::queue::Lock;
use super::table::Table;
use super::{LockName, Mode};
use crate::ids::{BuildNumberHasher, TxnId};
use crate::sync::{Rule, broken};

struct Search<'t> {
    table: &'t Table,
    /// Who asks.
    txn: TxnId,
    /// For what. Its request is not in the queue yet.
    name: LockName,
    /// Who is waited for, directly or indirectly, and was not looked at yet.
    reached: Vec<TxnId>,
    seen: HashSet<TxnId, BuildNumberHasher>,
    locks: HashMap<LockName, Visited, BuildNumberHasher>,
}

/// What the search has seen of a lock.
#[derive(Default)]
struct Visited {
    /// So many of its waiters, from the first on.
    waiters: usize,
    /// Whom these modes, each by its number, conflict with.
    modes: [bool; Mode::ALL.len()],
}

/// Whether `txn`, were it to wait for `name` until it holds it in `mode`, would wait for itself.
pub(super) fn would_wait_for_itself(table: &Table, txn: TxnId, name: LockName, mode: Mode) -> bool {
    let lock = table.lock(name);
    let mut search = Search {
        table,
        txn,
        name,
        reached: lock.in_the_way(txn, mode).collect(),
        seen: HashSet::default(),
        locks: HashMap::default(),
    };
    let is_conversion = lock.mode_of(txn).is_some();
    if !is_conversion {
        search.walk_queue(name, lock, None);
    }
    search.comes_back(is_conversion)
}

impl Search<'_> {
    fn comes_back(&mut self, is_conversion: bool) -> bool {
        while let Some(blocker) = self.reached.pop() {
            if blocker == self.txn {
                return true;
            }
            let Some(name) = self.table.waits_for(blocker) else { continue };
            if !self.seen.insert(blocker) {
                continue;
            }
            let lock = self.table.lock(name);
            if let Some(mode) = lock.conversion_of(blocker) {
                self.look_at_holders(name, lock, mode);
            } else if is_conversion && name == self.name {
                // The conversion would stand before it.
                return true;
            } else {
                self.walk_queue(name, lock, Some(blocker));
            }
        }
        false
    }

    /// Whom the waiters up to `last` wait for, or all of them. Whoever stands there waits for all that stand
    /// before, so they are looked at on the way.
    fn walk_queue(&mut self, name: LockName, lock: &Lock, last: Option<TxnId>) {
        let mut walked = self.locks.entry(name).or_default().waiters;
        for waiter in lock.waiters.range(walked..) {
            walked += 1;
            self.seen.insert(waiter.txn);
            let is_last = Some(waiter.txn) == last;
            if is_last || !broken(Rule::SearchWalksQueues) {
                self.look_at_holders(name, lock, waiter.mode);
            }
            if is_last {
                break;
            }
        }
        self.locks.entry(name).or_default().waiters = walked;
    }

    /// Whom a waiter with this mode waits for; a conversion among others for itself, which has been seen.
    fn look_at_holders(&mut self, name: LockName, lock: &Lock, mode: Mode) {
        let visited = self.locks.entry(name).or_default();
        if !std::mem::replace(&mut visited.modes[mode as usize], true) {
            let conflicting = lock.holders.iter().filter(|h| !h.mode.is_compatible_with(mode));
            self.reached.extend(conflicting.map(|holder| holder.txn));
        }
    }
}
