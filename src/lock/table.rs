//! The lock table as a plain value: all locks, what each transaction holds, and every change of them.
//!
//! Nothing here blocks. A request that must wait is entered in the queue and handed the condition
//! variable on which its thread sleeps, outside. The invariants stand in the essay of the
//! [parent module](super).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use super::deadlock::would_wait_for_itself;
use super::queue::{Answer, Lock, Waiter};
use super::ranges::Ranges;
use super::{Acquired, LockName, LockSnapshot, Mode};
use crate::error::{Error, Result};
use crate::ids::{BuildNumberHasher, PageId, TxnId};
use crate::sync::{Arc, Condvar, Rule, broken};

/// All locks, and what each transaction holds.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Table {
    pub(super) locks: HashMap<LockName, Lock, BuildNumberHasher>,
    pub(super) transactions: HashMap<TxnId, Holdings, BuildNumberHasher>,
    /// What is read of tables in ranges, by their roots.
    pub(super) ranges: HashMap<PageId, Ranges, BuildNumberHasher>,
    /// How long a request waits at most.
    pub(super) timeout: Option<Duration>,
    /// Why nobody shall wait any more.
    stopped: Option<String>,
}

/// What one transaction holds and waits for.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Holdings {
    /// In the order in which it was granted.
    pub(super) held: Vec<LockName>,
    pub(super) waits_for: Option<LockName>,
    /// Tables of which it has read ranges, or waits for those who have.
    pub(super) ranges_of: Vec<PageId>,
}

/// The answer to a request that was not refused.
pub(super) enum Reply {
    /// The lock is held.
    Granted(Acquired),
    /// Sleep on this until [`Table::is_waiting`] says no; the lock is then held.
    Wait(Acquired, Arc<Condvar>),
}

impl Table {
    /// Grants the request, or enters it in the queue.
    ///
    /// # Errors
    /// [`Error::Deadlock`] if waiting would close a cycle; the table is then as it was.
    pub(super) fn request(&mut self, txn: TxnId, name: LockName, mode: Mode) -> Result<Reply> {
        debug_assert!(!self.is_waiting(txn), "{txn} makes two requests at the same time");
        let mode = match self.acquire(txn, name, mode) {
            Ok(acquired) => return Ok(Reply::Granted(acquired)),
            Err(later) => later,
        };
        if would_wait_for_itself(self, txn, name, mode) && !broken(Rule::CirclesAreRefused) {
            return Err(Error::Deadlock { txn, what: format!("{name} ({mode})") });
        }
        Ok(self.enqueue(txn, name, mode))
    }

    /// Grants the request if it need not wait; else gives the mode to wait for.
    fn acquire(&mut self, txn: TxnId, name: LockName, mode: Mode) -> Result<Acquired, Mode> {
        let acquired = match self.locks.entry(name) {
            Entry::Vacant(free) => {
                free.insert(Lock::held_by(txn, mode));
                Acquired::New
            }
            Entry::Occupied(mut lock) => match lock.get().answer(txn, mode) {
                Answer::Held => Acquired::AlreadyHeld,
                Answer::Now(mode) => lock.get_mut().grant(txn, mode),
                Answer::Later(mode) => return Err(mode),
            },
        };
        if acquired == Acquired::New {
            self.transactions.entry(txn).or_default().held.push(name);
        }
        Ok(acquired)
    }

    /// Grants the request if it need not wait.
    pub(super) fn try_acquire(
        &mut self,
        txn: TxnId,
        name: LockName,
        mode: Mode,
    ) -> Option<Acquired> {
        self.acquire(txn, name, mode).ok()
    }

    /// Whether the request would be granted at once.
    pub(super) fn could_acquire(&self, txn: TxnId, name: LockName, mode: Mode) -> bool {
        let later = |lock: &Lock| matches!(lock.answer(txn, mode), Answer::Later(_));
        !self.locks.get(&name).is_some_and(later)
    }

    pub(super) fn enqueue(&mut self, txn: TxnId, name: LockName, mode: Mode) -> Reply {
        let lock = self.locks.get_mut(&name).expect("a lock that nobody holds is granted at once");
        let is_conversion = lock.mode_of(txn).is_some();
        let granted = Arc::new(Condvar::new());
        lock.enqueue(Waiter { txn, mode, is_conversion, granted: Arc::clone(&granted) });
        self.transactions.entry(txn).or_default().waits_for = Some(name);
        Reply::Wait(if is_conversion { Acquired::Upgraded } else { Acquired::New }, granted)
    }

    /// Releases all that `txn` holds, and grants what others can have now.
    pub(super) fn release_all(&mut self, txn: TxnId) {
        let Some(holdings) = self.transactions.remove(&txn) else { return };
        assert!(holdings.waits_for.is_none(), "{txn} ends while it waits for a lock");
        self.forget_ranges(txn, &holdings.ranges_of);
        for name in holdings.held {
            self.release(txn, name);
        }
    }

    /// Releases what `released` picks of what `txn` holds, the names of its ranges in any case, and grants what
    /// others can have now.
    pub(super) fn release_some(&mut self, txn: TxnId, released: impl Fn(LockName, Mode) -> bool) {
        let Some(mut holdings) = self.transactions.remove(&txn) else { return };
        assert!(holdings.waits_for.is_none(), "{txn} is prepared while it waits for a lock");
        self.forget_ranges(txn, &std::mem::take(&mut holdings.ranges_of));
        let (given_back, kept): (Vec<_>, Vec<_>) = holdings.held.into_iter().partition(|name| {
            matches!(name, LockName::Ranges(..)) || released(*name, self.mode_of(txn, *name))
        });
        if !kept.is_empty() {
            holdings.held = kept;
            self.transactions.insert(txn, holdings);
        }
        for name in given_back {
            self.release(txn, name);
        }
    }

    fn release(&mut self, txn: TxnId, name: LockName) {
        self.change(name, |lock| lock.holders.retain(|holder| holder.txn != txn));
    }

    /// Takes a request out of the queue, if it still waits.
    pub(super) fn withdraw(&mut self, txn: TxnId) {
        let Some(holdings) = self.transactions.get_mut(&txn) else { return };
        let Some(name) = holdings.waits_for.take() else { return };
        if holdings.held.is_empty() {
            self.transactions.remove(&txn);
        }
        let take_out = |lock: &mut Lock| lock.waiters.retain(|waiter| waiter.txn != txn);
        match broken(Rule::WithdrawalLooksAgain) {
            true => self.locks.get_mut(&name).map_or((), take_out),
            false => self.change(name, take_out),
        }
    }

    /// Changes a lock in favour of those who wait for it, and grants what they can have now.
    fn change(&mut self, name: LockName, change: impl FnOnce(&mut Lock)) {
        let Entry::Occupied(mut entry) = self.locks.entry(name) else {
            unreachable!("whoever holds a lock, or waits for one, does so in the table")
        };
        let lock = entry.get_mut();
        change(lock);
        while let Some(waiter) = lock.grant_next() {
            let holdings = self.transactions.entry(waiter.txn).or_default();
            holdings.waits_for = None;
            if !waiter.is_conversion {
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

    /// Nobody shall wait any more.
    pub(super) fn stop(&mut self, reason: &str) {
        self.stopped.get_or_insert_with(|| reason.to_owned());
        for waiter in self.locks.values().flat_map(|lock| &lock.waiters) {
            waiter.granted.notify_one();
        }
    }

    pub(super) fn stopped(&self) -> Option<String> {
        self.stopped.clone()
    }

    /// A lock that someone holds.
    pub(super) fn lock(&self, name: LockName) -> &Lock {
        &self.locks[&name]
    }

    fn mode_of(&self, txn: TxnId, name: LockName) -> Mode {
        self.lock(name).mode_of(txn).expect("what a transaction lists, it holds")
    }

    pub(super) fn waits_for(&self, txn: TxnId) -> Option<LockName> {
        self.transactions.get(&txn)?.waits_for
    }

    pub(super) fn is_waiting(&self, txn: TxnId) -> bool {
        self.waits_for(txn).is_some()
    }

    /// What `txn` waits for, in words.
    pub(super) fn awaited(&self, txn: TxnId) -> Option<String> {
        let name = self.waits_for(txn)?;
        Some(format!("{name} {}", self.lock(name).told(txn)?))
    }

    pub(super) fn holds(&self, txn: TxnId, name: LockName, mode: Mode) -> bool {
        let held = |lock: &Lock| lock.mode_of(txn);
        self.locks.get(&name).and_then(held).is_some_and(|held| held.includes(mode))
    }

    pub(super) fn is_locked(&self, name: LockName) -> bool {
        self.locks.contains_key(&name)
    }

    pub(super) fn held(&self, txn: TxnId) -> Vec<(LockName, Mode)> {
        let held = self.transactions.get(&txn).map_or(&[][..], |holdings| &holdings.held);
        held.iter().map(|&name| (name, self.mode_of(txn, name))).collect()
    }

    pub(super) fn snapshot(&self) -> Vec<LockSnapshot> {
        let mut all: Vec<_> = self.locks.iter().map(|(&name, lock)| lock.snapshot(name)).collect();
        all.sort_unstable_by_key(|lock| lock.name);
        all
    }
}
