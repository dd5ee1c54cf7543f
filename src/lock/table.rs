//! The lock table as a plain value: who holds and who waits, and every decision.
//!
//! Nothing here blocks. A request that must wait is entered in the queue and handed the condition
//! variable on which its thread sleeps, outside. The invariants stand in the essay of the
//! [parent module](super).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use super::{Acquired, LockName, LockSnapshot, Mode};
use crate::error::{Error, Result};
use crate::ids::{BuildNumberHasher, TxnId};
use crate::sync::{Arc, Condvar, Rule, broken};

/// All locks, and what each transaction holds.
#[derive(Default)]
pub(super) struct Table {
    pub(super) locks: HashMap<LockName, Lock, BuildNumberHasher>,
    pub(super) transactions: HashMap<TxnId, Holdings, BuildNumberHasher>,
    /// Why nobody shall wait any more.
    stopped: Option<String>,
}

/// One lock that someone holds.
pub(super) struct Lock {
    /// The mode in which all the holders hold it.
    pub(super) mode: Mode,
    pub(super) holders: Vec<TxnId>,
    /// The next one to be granted first.
    pub(super) waiters: VecDeque<Waiter>,
}

/// One request that must wait.
pub(super) struct Waiter {
    pub(super) txn: TxnId,
    pub(super) mode: Mode,
    /// The transaction is also a holder, in shared mode.
    pub(super) is_upgrade: bool,
    /// Where its thread sleeps.
    granted: Arc<Condvar>,
}

/// What one transaction holds and waits for.
#[derive(Default)]
pub(super) struct Holdings {
    pub(super) held: Vec<LockName>,
    pub(super) waits_for: Option<LockName>,
}

/// The answer to a request that was not refused.
pub(super) enum Reply {
    /// The lock is held.
    Granted(Acquired),
    /// Sleep on this until [`Table::is_waiting`] says no; the lock is then held.
    Wait(Acquired, Arc<Condvar>),
}

impl Lock {
    /// A lock just taken by its first holder.
    fn held_by(txn: TxnId, mode: Mode) -> Self {
        Self { mode, holders: vec![txn], waiters: VecDeque::new() }
    }

    /// Grants a request if it need not wait.
    fn try_acquire(&mut self, txn: TxnId, mode: Mode) -> Option<Acquired> {
        if self.holders.contains(&txn) {
            if mode <= self.mode {
                return Some(Acquired::AlreadyHeld);
            }
            return self.try_upgrade();
        }
        if !self.waiters.is_empty() || !self.mode.is_compatible_with(mode) {
            return None;
        }
        self.holders.push(txn);
        Some(Acquired::New)
    }

    /// Makes the lock exclusive if the upgrader, a holder, is the only one.
    fn try_upgrade(&mut self) -> Option<Acquired> {
        if self.holders.len() > 1 {
            return None;
        }
        self.mode = Mode::Exclusive;
        Some(Acquired::Upgraded)
    }

    /// Makes the first waiter a holder if nothing stands in its way any more.
    fn grant_next(&mut self) -> Option<Waiter> {
        let next = self.waiters.front()?;
        if next.is_upgrade {
            self.try_upgrade()?;
        } else {
            if !self.holders.is_empty() && !self.mode.is_compatible_with(next.mode) {
                return None;
            }
            self.mode = next.mode;
            self.holders.push(next.txn);
        }
        self.waiters.pop_front()
    }

    fn snapshot(&self, name: LockName) -> LockSnapshot {
        LockSnapshot {
            name,
            holders: self.holders.iter().map(|&txn| (txn, self.mode)).collect(),
            waiters: self.waiters.iter().map(|waiter| (waiter.txn, waiter.mode)).collect(),
        }
    }
}

impl Table {
    /// Grants the request, or enters it in the queue.
    ///
    /// # Errors
    /// [`Error::Deadlock`] if waiting would close a cycle; the table is then as it was.
    pub(super) fn request(&mut self, txn: TxnId, name: LockName, mode: Mode) -> Result<Reply> {
        debug_assert!(!self.is_waiting(txn), "{txn} makes two requests at the same time");
        if let Some(acquired) = self.try_acquire(txn, name, mode) {
            return Ok(Reply::Granted(acquired));
        }
        if self.would_wait_for_itself(txn, name) && !broken(Rule::CirclesAreRefused) {
            return Err(Error::Deadlock { txn, what: format!("{name} ({mode})") });
        }
        Ok(self.enqueue(txn, name, mode))
    }

    /// Grants the request if it need not wait.
    pub(super) fn try_acquire(
        &mut self,
        txn: TxnId,
        name: LockName,
        mode: Mode,
    ) -> Option<Acquired> {
        let acquired = match self.locks.entry(name) {
            Entry::Occupied(mut lock) => lock.get_mut().try_acquire(txn, mode)?,
            Entry::Vacant(free) => {
                free.insert(Lock::held_by(txn, mode));
                Acquired::New
            }
        };
        if acquired == Acquired::New {
            self.transactions.entry(txn).or_default().held.push(name);
        }
        Some(acquired)
    }

    /// Whether `txn`, were it to wait for `name`, would wait for itself.
    ///
    /// From each transaction that waits the search steps to all holders of the lock it waits for;
    /// the essay of the module shows why this finds cycles through the queue too. Each lock is
    /// looked at once.
    fn would_wait_for_itself(&self, txn: TxnId, name: LockName) -> bool {
        let mut seen: HashSet<LockName, BuildNumberHasher> = HashSet::default();
        // Whoever upgrades is a holder itself, and does not wait for that.
        let mut reached: Vec<TxnId> =
            self.holders(name).iter().copied().filter(|&holder| holder != txn).collect();
        while let Some(blocker) = reached.pop() {
            if blocker == txn {
                return true;
            }
            if let Some(next) = self.waits_for(blocker)
                && seen.insert(next)
            {
                reached.extend_from_slice(self.holders(next));
            }
        }
        false
    }

    fn enqueue(&mut self, txn: TxnId, name: LockName, mode: Mode) -> Reply {
        let lock = self.locks.get_mut(&name).expect("a lock that nobody holds is granted at once");
        let is_upgrade = lock.holders.contains(&txn);
        let granted = Arc::new(Condvar::new());
        let waiter = Waiter { txn, mode, is_upgrade, granted: Arc::clone(&granted) };
        if is_upgrade {
            lock.waiters.push_front(waiter);
        } else {
            lock.waiters.push_back(waiter);
        }
        self.transactions.entry(txn).or_default().waits_for = Some(name);
        Reply::Wait(if is_upgrade { Acquired::Upgraded } else { Acquired::New }, granted)
    }

    /// Releases all that `txn` holds, and grants what others can have now.
    pub(super) fn release_all(&mut self, txn: TxnId) {
        let Some(holdings) = self.transactions.remove(&txn) else { return };
        assert!(holdings.waits_for.is_none(), "{txn} ends while it waits for a lock");
        for name in holdings.held {
            self.release(txn, name);
        }
    }

    /// Releases what `released` picks of what `txn` holds, and grants what others can have now.
    pub(super) fn release_some(&mut self, txn: TxnId, released: impl Fn(LockName, Mode) -> bool) {
        let Some(mut holdings) = self.transactions.remove(&txn) else { return };
        assert!(holdings.waits_for.is_none(), "{txn} is prepared while it waits for a lock");
        let (given_back, kept): (Vec<_>, Vec<_>) =
            holdings.held.into_iter().partition(|name| released(*name, self.locks[name].mode));
        if !kept.is_empty() {
            holdings.held = kept;
            self.transactions.insert(txn, holdings);
        }
        for name in given_back {
            self.release(txn, name);
        }
    }

    fn release(&mut self, txn: TxnId, name: LockName) {
        let Entry::Occupied(mut entry) = self.locks.entry(name) else {
            unreachable!("a held lock is in the table")
        };
        let lock = entry.get_mut();
        lock.holders.retain(|&holder| holder != txn);
        while let Some(waiter) = lock.grant_next() {
            let holdings = self.transactions.entry(waiter.txn).or_default();
            holdings.waits_for = None;
            if !waiter.is_upgrade {
                holdings.held.push(name);
            }
            if !broken(Rule::GrantWakes) {
                waiter.granted.notify_one();
            }
        }
        if lock.holders.is_empty() {
            entry.remove();
        }
    }

    fn holders(&self, name: LockName) -> &[TxnId] {
        self.locks.get(&name).map_or(&[], |lock| &lock.holders)
    }

    fn waits_for(&self, txn: TxnId) -> Option<LockName> {
        self.transactions.get(&txn)?.waits_for
    }

    /// Nobody shall wait any more.
    pub(super) fn stop(&mut self, reason: &str) {
        self.stopped.get_or_insert_with(|| reason.to_owned());
        for waiter in self.locks.values().flat_map(|lock| &lock.waiters) {
            waiter.granted.notify_one();
        }
    }

    /// Takes a request back; only once nobody is granted anything any more.
    pub(super) fn withdraw(&mut self, txn: TxnId) {
        assert!(self.stopped.is_some(), "requests are taken back only when all has stopped");
        let Some(holdings) = self.transactions.get_mut(&txn) else { return };
        if let Some(lock) = holdings.waits_for.take().and_then(|name| self.locks.get_mut(&name)) {
            lock.waiters.retain(|waiter| waiter.txn != txn);
        }
    }

    pub(super) fn holds(&self, txn: TxnId, name: LockName, mode: Mode) -> bool {
        let held = |lock: &Lock| lock.mode == mode && lock.holders.contains(&txn);
        self.locks.get(&name).is_some_and(held)
    }

    pub(super) fn stopped(&self) -> Option<String> {
        self.stopped.clone()
    }

    pub(super) fn is_waiting(&self, txn: TxnId) -> bool {
        self.waits_for(txn).is_some()
    }

    pub(super) fn is_locked(&self, name: LockName) -> bool {
        self.locks.contains_key(&name)
    }

    pub(super) fn held(&self, txn: TxnId) -> Vec<(LockName, Mode)> {
        let held = self.transactions.get(&txn).map_or(&[][..], |holdings| &holdings.held);
        held.iter().map(|&name| (name, self.locks[&name].mode)).collect()
    }

    pub(super) fn snapshot(&self) -> Vec<LockSnapshot> {
        let mut all: Vec<_> = self.locks.iter().map(|(&name, lock)| lock.snapshot(name)).collect();
        all.sort_unstable_by_key(|lock| lock.name);
        all
    }
}
