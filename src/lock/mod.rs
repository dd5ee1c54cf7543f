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
//! - Two transactions hold one lock at the same time only if both hold it [`Mode::Shared`].
//! - **First come, first served.** A request waits behind those that wait already, even where it
//!   would be compatible with the holders: a stream of readers cannot starve a writer. The one
//!   exception is the upgrade, [`Mode::Shared`] to [`Mode::Exclusive`] by a holder, which goes before
//!   all other waiters: they wait for its shared lock anyway.
//! - **A deadlock is found at once**, when the request that would close it is made, and that request
//!   fails with [`Error::Deadlock`] instead of waiting. It leaves no
//!   trace. What its transaction already holds it keeps until [`LockManager::release_all`], so that
//!   rollback works under its protection.
//! - **Nobody waits in vain.** Whoever waits has been granted the lock by the time it is woken, and
//!   is granted it as soon as it stands first in the queue and conflicts with no holder. There are
//!   neither timeouts nor polling.
//!
//! Waiting for a lock while holding a latch would stop threads that no waits-for graph knows of.
//! Under a latch ask with [`LockManager::try_lock`], which never waits; if it says no, unlatch, wait
//! with [`LockManager::lock`], latch again, and look again.
//!
//! # The table
//!
//! ```text
//!   name    mode       holders      waiters, the next one first
//!   P3      Shared     T1 T2 T7     -
//!   P3.0    Exclusive  T1           T2 Shared, T4 Exclusive
//!   P3.2    Shared     T1 T2        T2 Exclusive (upgrade), T5 Exclusive, T6 Shared
//! ```
//!
//! Invariants, true whenever the mutex of the table is free:
//!
//! 1. A lock is in the table exactly as long as someone holds it; an exclusive one has one holder.
//! 2. The first waiter conflicts with some holder other than itself: nobody waits who could go on.
//! 3. An upgrade stands first in its queue, and there is at most one: a second upgrader and the first
//!    would wait for each other's shared lock, so the second one is refused. Nobody else both holds
//!    a lock and waits for it.
//! 4. A transaction waits for one lock at most (it is used by one thread at a time).
//! 5. The list of what a transaction holds, and the holders of each lock, say the same.
//! 6. The waits-for graph has no cycle.
//!
//! # Why looking once is enough
//!
//! In the waits-for graph a waiter points at each holder it conflicts with and at every waiter before
//! it in the queue. A cycle is searched only when a request is about to wait, and only from there. So
//! it must be shown that nothing else can close one, though queues change in other ways too:
//!
//! - **Every waiter reaches every other holder.** By 2 and 3 the first waiter conflicts with *all*
//!   holders but itself: if it asks for exclusive use anything conflicts; if it asks for shared use
//!   the lock must be held exclusively, by one. The others point at the first. This is also why the
//!   search may step from a waiting transaction straight to the holders of the lock it waits for,
//!   without walking the queue.
//! - **A grant** makes a waiter a holder. Those behind it pointed at it before and may still do; its
//!   own arrows vanish. Nothing becomes reachable that was not.
//! - **An upgrade in the queue** goes before waiters that never pointed at it as a waiter. But it is a
//!   holder, so each of them reached it already. The new arrows add no path, and the upgrade's own
//!   arrows are those the search starts from.
//! - **An upgrade or a second shared request granted at once** makes a running transaction hold more.
//!   A transaction that waits for nothing is in no cycle; should it wait later, it is searched then.
//! - **A release**, of all or of some, only takes arrows away, and a refused request never entered the queue.
//!
//! The other way round, each arrow is a true wait (the queue is strict), so nobody is refused without
//! need.

#[cfg(test)]
mod invariants;
#[cfg(all(test, loom))]
mod models;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::error::{Error, Result};
use crate::ids::{PageId, SlotId, TxnId};
use crate::sync::Mutex;
use table::{Reply, Table};

/// What a lock is on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LockName {
    /// That a page is allocated: shared for whoever works on its records, exclusive for whoever
    /// allocates or frees it.
    PageExistence(PageId),
    /// One record of a page.
    Record(PageId, SlotId),
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageExistence(page) => write!(f, "{page}"),
            Self::Record(page, slot) => write!(f, "{page}.{slot}"),
        }
    }
}

/// What a lock allows its holder; the greater mode includes the lesser.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mode {
    /// To read, together with others that read.
    Shared,
    /// To change, alone.
    Exclusive,
}

impl Mode {
    /// Whether two transactions can hold one lock in these modes at the same time.
    #[must_use]
    pub fn is_compatible_with(self, other: Self) -> bool {
        self == Self::Shared && other == Self::Shared
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
            Self::Exclusive => "exclusive",
        })
    }
}

/// What a granted request changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acquired {
    /// The transaction did not hold the lock before.
    New,
    /// The transaction held the lock shared, and now holds it exclusively.
    Upgraded,
    /// The transaction held the lock in this mode or a greater one; nothing changed.
    AlreadyHeld,
}

/// One lock, as tools show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockSnapshot {
    /// What the lock is on.
    pub name: LockName,
    /// Who holds it, in the order in which they were granted it.
    pub holders: Vec<(TxnId, Mode)>,
    /// Who waits for it, and for which mode; the next one first.
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
    /// A manager of no locks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the lock for `txn`, waiting until it can be had. Never call this under a latch.
    ///
    /// # Errors
    /// [`Error::Deadlock`] if `txn` would wait for itself. It then
    /// still holds what it held: roll it back, which ends in [`release_all`](Self::release_all).
    pub fn lock(&self, txn: TxnId, name: LockName, mode: Mode) -> Result<Acquired> {
        let mut table = self.table.lock();
        match table.request(txn, name, mode)? {
            Reply::Granted(acquired) => Ok(acquired),
            Reply::Wait(acquired, granted) => {
                while table.is_waiting(txn) {
                    if let Some(reason) = table.stopped() {
                        table.withdraw(txn);
                        return Err(Error::Poisoned { reason });
                    }
                    granted.wait(&mut table);
                }
                Ok(acquired)
            }
        }
    }

    /// Takes the lock for `txn` if it can be had at once, and says whether it was (or was held
    /// already). Never waits, so it can be called under a latch.
    #[must_use]
    pub fn try_lock(&self, txn: TxnId, name: LockName, mode: Mode) -> bool {
        self.table.lock().try_acquire(txn, name, mode).is_some()
    }

    /// Whether `txn` holds the lock, and in that mode.
    #[must_use]
    pub fn holds(&self, txn: TxnId, name: LockName, mode: Mode) -> bool {
        self.table.lock().holds(txn, name, mode)
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

    /// Releases those locks of `txn` for which `released` says so, and wakes whoever can go on. To be
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
