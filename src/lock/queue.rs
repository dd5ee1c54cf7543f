//! One lock: its holders, its queue, and who of them may go on.
//!
//! The queue is in two parts, conversions first, each part first come, first served. See the essay of
//! the [parent module](super).

use std::collections::VecDeque;

use smallvec::{SmallVec, smallvec};

use super::{Acquired, LockName, LockSnapshot, Mode};
use crate::ids::TxnId;
use crate::sync::{Arc, Condvar, Rule, broken};

/// One lock that someone holds.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Lock {
    /// In the order in which they were granted it. Most locks have one.
    pub(super) holders: SmallVec<[Holder; 1]>,
    /// The next one to be granted first.
    pub(super) waiters: VecDeque<Waiter>,
}

/// Who holds a lock, and in which mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Holder {
    pub(super) txn: TxnId,
    pub(super) mode: Mode,
}

/// One request that must wait.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Waiter {
    pub(super) txn: TxnId,
    /// What it is to hold then: more than it asked for, if it holds something already.
    pub(super) mode: Mode,
    /// The transaction is also a holder, in a lesser mode.
    pub(super) is_conversion: bool,
    /// Where its thread sleeps.
    pub(super) granted: Arc<Condvar>,
}

/// What becomes of a request.
pub(super) enum Answer {
    /// What the transaction holds includes it.
    Held,
    /// It can hold this at once.
    Now(Mode),
    /// It can hold this later.
    Later(Mode),
}

impl Lock {
    /// A lock just taken by its first holder.
    pub(super) fn held_by(txn: TxnId, mode: Mode) -> Self {
        Self { holders: smallvec![Holder { txn, mode }], waiters: VecDeque::new() }
    }

    /// In which mode the transaction holds it.
    pub(super) fn mode_of(&self, txn: TxnId) -> Option<Mode> {
        self.holders.iter().find(|holder| holder.txn == txn).map(|holder| holder.mode)
    }

    /// The holders that keep the transaction from holding it in that mode.
    pub(super) fn in_the_way(&self, txn: TxnId, mode: Mode) -> impl Iterator<Item = TxnId> {
        let conflicts =
            move |holder: &&Holder| holder.txn != txn && !holder.mode.is_compatible_with(mode);
        self.holders.iter().filter(conflicts).map(|holder| holder.txn)
    }

    fn is_free_for(&self, txn: TxnId, mode: Mode) -> bool {
        self.in_the_way(txn, mode).next().is_none()
    }

    /// What would become of the request. A new one stands behind those who wait; a conversion waits
    /// for other holders only.
    pub(super) fn answer(&self, txn: TxnId, mode: Mode) -> Answer {
        let (at_once, mode) = match self.mode_of(txn) {
            Some(held) if held.includes(mode) => return Answer::Held,
            Some(_) if broken(Rule::ConversionsMeetHolders) => return Answer::Now(mode),
            Some(held) => (true, held.supremum(mode)),
            None => (self.waiters.is_empty(), mode),
        };
        match at_once && self.is_free_for(txn, mode) {
            true => Answer::Now(mode),
            false => Answer::Later(mode),
        }
    }

    /// Makes the transaction a holder in this mode, whatever it held before.
    pub(super) fn grant(&mut self, txn: TxnId, mode: Mode) -> Acquired {
        if let Some(holder) = self.holders.iter_mut().find(|holder| holder.txn == txn) {
            holder.mode = mode;
            return Acquired::Upgraded;
        }
        self.holders.push(Holder { txn, mode });
        Acquired::New
    }

    pub(super) fn enqueue(&mut self, waiter: Waiter) {
        let place = match waiter.is_conversion {
            true => self.conversions(),
            false => self.waiters.len(),
        };
        self.waiters.insert(place, waiter);
    }

    /// What the transaction is to hold, if it waits for a conversion.
    pub(super) fn conversion_of(&self, txn: TxnId) -> Option<Mode> {
        let mut conversions = self.waiters.iter().take_while(|waiter| waiter.is_conversion);
        conversions.find(|waiter| waiter.txn == txn).map(|waiter| waiter.mode)
    }

    /// How many conversions wait.
    fn conversions(&self) -> usize {
        self.waiters.iter().take_while(|waiter| waiter.is_conversion).count()
    }

    /// Makes the next waiter a holder that nothing stands in the way of any more: any conversion; of
    /// the others only the first, and only if no conversion waits.
    pub(super) fn grant_next(&mut self) -> Option<Waiter> {
        let candidates = self.conversions().max(1);
        let is_free = |waiter: &Waiter| self.is_free_for(waiter.txn, waiter.mode);
        let next = self.waiters.iter().take(candidates).position(is_free)?;
        let waiter = self.waiters.remove(next)?;
        self.grant(waiter.txn, waiter.mode);
        Some(waiter)
    }

    /// What the transaction waits for, in words.
    pub(super) fn told(&self, txn: TxnId) -> Option<String> {
        let place = self.waiters.iter().position(|waiter| waiter.txn == txn)?;
        let mode = self.waiters[place].mode;
        let mut holders = self.in_the_way(txn, mode);
        Some(match (holders.next(), holders.count()) {
            (Some(holder), 0) => format!("({mode}), which {holder} holds"),
            (Some(holder), more) => format!("({mode}), which {holder} and {more} more hold"),
            (None, _) => {
                let ahead = self.waiters.get(place.checked_sub(1)?)?;
                format!("({mode}), behind {}, which waits for it, too", ahead.txn)
            }
        })
    }

    pub(super) fn snapshot(&self, name: LockName) -> LockSnapshot {
        LockSnapshot {
            name,
            holders: self.holders.iter().map(|holder| (holder.txn, holder.mode)).collect(),
            waiters: self.waiters.iter().map(|waiter| (waiter.txn, waiter.mode)).collect(),
        }
    }
}
