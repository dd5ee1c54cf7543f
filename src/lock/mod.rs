//! Logical locks: which transaction may read or change which record, until it ends.
//!
//! A *lock* is logical and long: a transaction takes it before it touches a record and keeps it to
//! its end, across any number of calls, whatever frame the page is in (strict two-phase locking). A
//! *latch* is physical and short: a thread holds it while it looks at the bytes of a page, and it
//! lives with the buffer pool. The paper keeps the two apart in section 1.2 of Mohan et al.,
//! "ARIES", TODS 17(1), 1992, and explains in section 1.3 why locks are on records and not on pages.
//! Restart and rollback take no locks at all: a loser still holds, or nobody yet contests, what it
//! changed, and so undo can never be the victim of a deadlock.
//!
//! # What it guarantees
//!
//! - Two transactions hold one lock at the same time only in modes that are compatible ([`Mode`]).
//! - **First come, first served.** A request waits behind those that wait already, even where it
//!   would be compatible with the holders: a stream of readers cannot starve a writer. The one
//!   exception is the *conversion*: a holder asks for more than it holds, and is to hold the supremum of
//!   both. Conversions go before all other waiters, who may be waiting for that very holder; and each
//!   goes on as soon as no *other holder* is in its way, whichever conversions wait. While one waits
//!   nobody becomes a holder, and a holder can ask for more three times at most: it cannot starve either.
//! - **A deadlock is found at once**, when the request that would close it is made, and that request
//!   fails with [`Error::Deadlock`] instead of waiting. It leaves no
//!   trace. What its transaction already holds it keeps until [`LockManager::release_all`], so that
//!   rollback works under its protection. Nobody is refused without need.
//! - **Nobody waits in vain.** Whoever waits has been granted the lock by the time it is woken, and
//!   is granted it as soon as nothing stands in its way. There is no polling.
//! - **Nobody waits longer than is allowed.** With a [timeout](LockManager::with_timeout) a request that waited
//!   so long is taken out of the queue and fails with [`Error::LockTimeout`]. Those behind it may go on.
//!
//! What is read of a table as a range is entered beside the locks ([`Part`], `lock/ranges.rs`): one entry instead of locks on all keys.
//! Whoever is in its way waits for a name like any other.
//!
//! Waiting for a lock while holding a latch would stop threads that no waits-for graph knows of.
//! Under a latch ask with [`LockManager::try_lock`], which never waits, or, if the lock is to be had for
//! an instant only, [`LockManager::could_lock`]; if it says no, unlatch, wait with [`LockManager::lock`],
//! latch again, and look again.
//!
//! # The table
//!
//! ```text
//!   name      holders                     waiters, the next one first
//!   P3        T1 S  T2 S  T7 S            -
//!   P3.0      T1 X                        T2 S, T4 X
//!   table P5  T1 IS  T2 S  T3 IS          T1 IX (conversion), T3 X (conversion), T5 IX, T6 IS
//! ```
//!
//! Invariants, true whenever the mutex of the table is free:
//!
//! 1. A lock is in the table exactly as long as someone holds it; its holders are compatible.
//! 2. Nobody waits who could go on: each conversion conflicts with a holder other than itself; and if
//!    no conversion waits, the first waiter conflicts with a holder.
//! 3. Conversions stand before all others. Whoever both holds a lock and waits for it is one, and waits
//!    for a mode that includes what it holds.
//! 4. A transaction waits for one lock at most (it is used by one thread at a time).
//! 5. The list of what a transaction holds, and the holders of each lock, say the same.
//! 6. The waits-for graph has no cycle.
//!
//! # Why looking once is enough
//!
//! The waits-for graph has an arrow from each waiter to every one without whom it cannot go on:
//!
//! - from a conversion to each other holder whose mode conflicts with what it is to hold;
//! - from any other waiter to each holder it conflicts with, *and* to every waiter before it.
//!
//! Each arrow is a true wait. A holder never comes to hold less but by a release; and a waiter stands in
//! the way of those behind it until it is granted or taken out. So in a cycle nobody ever goes on by itself,
//! and nobody is refused without need. On the other hand whoever waits in the table has an arrow, by 2, and
//! whoever has none is granted its lock at once, by [`LockManager::release_all`] and the others that take
//! arrows away. So without a cycle somebody can go on: that is all that there is to find.
//!
//! A cycle is searched only when a request is about to wait, and only from there. It must be shown that
//! nothing else can close one, though arrows come and go in other ways too. A cycle leads through
//! waiting transactions only, since no arrow starts at others, and a new one needs a new arrow:
//!
//! - **A request that enters a queue.** The new arrows start at its transaction; if it is a
//!   conversion, others lead to it, from the waiters before whom it is put. They may be new paths: a waiter
//!   need not have conflicted with what the holder had so far. But all of them have an end at this one
//!   transaction, and a new cycle leads through it. The search starts there, with the request in its place
//!   in the queue, and follows every arrow (`lock/deadlock.rs`).
//! - **A grant**, at once or to a waiter. The transaction holds more: arrows to it may be new, from
//!   conversions too that stand *before* it in the queue. But it waits for nothing now, so it is in no
//!   cycle. Should it wait later, the search starts from it then, and finds these arrows.
//! - **A release**, of all or of some, **a refusal, a timeout**: they only take arrows away, and make grants.
//!
//! So whenever a transaction enters a queue, one search from it finds all, and there is no other time to look.

mod deadlock;
#[cfg(test)]
mod invariants;
#[cfg(all(test, loom))]
mod models;
mod queue;
mod ranges;
mod table;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
pub use crate::ids::locks::{GapName, KeyName, LockName, Mode};
use crate::ids::{PageId, TxnId};
use crate::sync::{Condvar, Mutex, MutexGuard};
pub use ranges::{Cut, Part, Reading, Side};
use table::{Reply, Table};

/// What a granted request changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acquired {
    /// The transaction did not hold the lock before.
    New,
    /// The transaction held the lock in a lesser mode, and now holds it in the supremum of both.
    Upgraded,
    /// The transaction held the lock in a mode that includes this one; nothing changed.
    AlreadyHeld,
}

/// One lock, as tools show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockSnapshot {
    /// What the lock is on.
    pub name: LockName,
    /// Who holds it, in the order in which they were granted it.
    pub holders: Vec<(TxnId, Mode)>,
    /// Who waits for it, and in which mode it is to hold it; the next one first.
    pub waiters: Vec<(TxnId, Mode)>,
}

/// All locks of a database; see the [module](self) for what it guarantees.
///
/// A transaction must not make two calls at the same time.
#[derive(Default)]
pub struct LockManager {
    table: Mutex<Table>,
}

impl LockManager {
    /// A manager of no locks. Requests wait for ever.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A manager of no locks, where a request waits so long at most; `None` is for ever.
    #[must_use]
    pub fn with_timeout(timeout: Option<Duration>) -> Self {
        let locks = Self::new();
        locks.set_timeout(timeout);
        locks
    }

    /// From now on a request waits so long at most; `None` is for ever. Who waits already is not concerned.
    pub fn set_timeout(&self, timeout: Option<Duration>) {
        self.table.lock().timeout = timeout;
    }

    /// Takes the lock for `txn`, waiting until it can be had. Never call this under a latch.
    ///
    /// # Errors
    /// [`Error::Deadlock`] if `txn` would wait for itself. It then
    /// still holds what it held: roll it back, which ends in [`release_all`](Self::release_all).
    /// [`Error::LockTimeout`] if it waited as long as it may; it, too, holds what it held.
    /// [`Error::Poisoned`] if it would have to wait and the engine has stopped.
    pub fn lock(&self, txn: TxnId, name: LockName, mode: Mode) -> Result<Acquired> {
        let mut table = self.table.lock();
        match table.request(txn, name, mode)? {
            Reply::Granted(acquired) => Ok(acquired),
            Reply::Wait(acquired, granted) => wait(table, txn, &granted).map(|()| acquired),
        }
    }

    /// Takes the lock for `txn` if it can be had at once, and says whether it was (or was held
    /// already). Never waits, so it can be called under a latch.
    #[must_use]
    pub fn try_lock(&self, txn: TxnId, name: LockName, mode: Mode) -> bool {
        self.table.lock().try_acquire(txn, name, mode).is_some()
    }

    /// Whether [`try_lock`](Self::try_lock) would say yes now; takes nothing, and can be called under a
    /// latch. For locks of instant duration: whoever only has to see that nobody is in the way.
    #[must_use]
    pub fn could_lock(&self, txn: TxnId, name: LockName, mode: Mode) -> bool {
        self.table.lock().could_acquire(txn, name, mode)
    }

    /// Whether `txn` holds the lock in that mode, or in one that includes it.
    #[must_use]
    pub fn holds(&self, txn: TxnId, name: LockName, mode: Mode) -> bool {
        self.table.lock().holds(txn, name, mode)
    }

    /// Enters, for `txn`, a part of a table that it reads, so that nobody changes anything there until it ends.
    /// `keys` are those of all cells in the part, deleted ones too. Takes no wait, and is to be called
    /// under the latches of all leaves that the part touches.
    #[must_use]
    pub fn read_part(
        &self,
        txn: TxnId,
        root: PageId,
        part: Part<'_>,
        keys: impl Iterator<Item = KeyName>,
    ) -> Reading {
        self.table.lock().read_part(txn, root, part, keys)
    }

    /// What must be waited for, intention-exclusive, before `txn` may change or insert this key, which it has locked: the
    /// ranges of another that has read it. To be called under the latch of the key's leaf.
    #[must_use]
    pub fn reader_of(&self, txn: TxnId, root: PageId, key: &[u8]) -> Option<LockName> {
        self.table.lock().reader_of(txn, root, key)
    }

    /// Says that `txn`, which has locked this key, is about to wait for [those who have read it](Self::reader_of): until it ends
    /// nobody else reads a range with the key.
    pub fn want(&self, txn: TxnId, root: PageId, key: &[u8]) {
        self.table.lock().want(txn, root, key);
    }

    /// Whether any transaction holds the lock.
    #[must_use]
    pub fn is_locked(&self, name: LockName) -> bool {
        self.table.lock().is_locked(name)
    }

    /// Releases all that `txn` holds, and wakes whoever can go on. To be called once its `Commit` or
    /// `End` record allows it, and not before.
    pub fn release_all(&self, txn: TxnId) {
        self.table.lock().release_all(txn);
    }

    /// Releases those locks of `txn` for which `released` says so, and all ranges that it has read, and wakes whoever can go on. To be
    /// called once `txn` asks for no further lock: only then does it stay two-phase.
    pub fn release_some(&self, txn: TxnId, released: impl Fn(LockName, Mode) -> bool) {
        self.table.lock().release_some(txn, released);
    }

    /// Wakes all who wait, for ever: the engine has stopped, and nobody may ever release anything.
    /// Their requests fail with [`Error::Poisoned`].
    pub fn stop(&self, reason: &str) {
        self.table.lock().stop(reason);
    }

    /// What `txn` holds, in the order in which it was granted.
    #[must_use]
    pub fn held(&self, txn: TxnId) -> Vec<(LockName, Mode)> {
        self.table.lock().held(txn)
    }

    /// Every lock that is held, by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<LockSnapshot> {
        self.table.lock().snapshot()
    }
}

/// Sleeps until the transaction does not wait any more.
fn wait(mut table: MutexGuard<'_, Table>, txn: TxnId, granted: &Condvar) -> Result<()> {
    let (timeout, began) = (table.timeout, Instant::now());
    while table.is_waiting(txn) {
        if let Some(reason) = table.stopped() {
            table.withdraw(txn);
            return Err(Error::Poisoned { reason });
        }
        let Some(timeout) = timeout else {
            granted.wait(&mut table);
            continue;
        };
        let waited = began.elapsed();
        if waited >= timeout {
            let what = table.awaited(txn).unwrap_or_default();
            table.withdraw(txn);
            return Err(Error::LockTimeout { txn, what, waited });
        }
        granted.wait_for(&mut table, timeout - waited);
    }
    Ok(())
}
