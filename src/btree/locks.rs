//! Which locks are taken on keys and gaps, and how.

use super::TreeAccess;
use crate::config::Sabotage;
use crate::error::Result;
use crate::lock::{Acquired, GapName, KeyName, LockName, Mode, Part, Reading};

/// What a transaction locks of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Locking {
    /// Keys and gaps, one by one.
    Keys,
    /// Nothing: it has locked the whole table as it needs.
    Table,
}

impl TreeAccess<'_> {
    pub(super) fn key_name(&self, key: &[u8]) -> LockName {
        LockName::Key(self.tree.root(), KeyName::of(key))
    }

    /// The gap before a key, or the one behind the last.
    pub(super) fn gap_name(&self, key: Option<&[u8]>) -> LockName {
        let gap = key.map_or(GapName::End, |key| GapName::Before(KeyName::of(key)));
        LockName::Gap(self.tree.root(), gap)
    }

    fn breaks(&self, rule: Sabotage) -> bool {
        self.txn.manager().log().breaks(rule)
    }

    /// Takes a lock, waiting if need be. With no latch held.
    pub(super) fn lock(&self, name: LockName, mode: Mode) -> Result<Acquired> {
        if self.locking == Locking::Table {
            return Ok(Acquired::AlreadyHeld);
        }
        let manager = self.txn.manager();
        let acquired = manager.locks().lock(self.txn.id(), name, mode)?;
        manager.log().poison().check()?;
        Ok(acquired)
    }

    /// Takes a lock that can be had at once.
    pub(super) fn try_lock(&self, name: LockName, mode: Mode) -> bool {
        self.locking == Locking::Table
            || self.txn.manager().locks().try_lock(self.txn.id(), name, mode)
    }

    /// Enters a part of a range that is read, with these keys in it. Under the latches of all leaves that it touches.
    pub(super) fn read_part(&self, part: Part<'_>, keys: impl Iterator<Item = KeyName>) -> Reading {
        if self.locking == Locking::Table {
            return Reading::Entered;
        }
        self.txn.manager().locks().read_part(self.txn.id(), self.tree.root(), part, keys)
    }

    /// The ranges of another that has read this key, which this transaction has locked. Under the latch of its leaf.
    pub(super) fn reader_of(&self, key: &[u8]) -> Option<LockName> {
        if self.locking == Locking::Table || self.breaks(Sabotage::GapsNotLocked) {
            return None;
        }
        self.txn.manager().locks().reader_of(self.txn.id(), self.tree.root(), key)
    }

    /// Waits for what stands in the way of a change of this key. With no latch held.
    pub(super) fn wait_to_change(&self, key: &[u8], name: LockName) -> Result<()> {
        if let LockName::Ranges(root, _) = name {
            self.txn.manager().locks().want(self.txn.id(), root, key);
        }
        self.lock(name, Mode::IntentionExclusive).map(drop)
    }

    /// Whether nobody else keeps keys out of this gap.
    pub(super) fn may_insert(&self, gap: LockName) -> bool {
        let locks = self.txn.manager().locks();
        self.locking == Locking::Table
            || self.breaks(Sabotage::GapsNotLocked)
            || locks.could_lock(self.txn.id(), gap, Mode::IntentionExclusive)
    }

    /// Whether no transaction under way can have made the cell of this key what it is.
    pub(super) fn is_settled(&self, key: &[u8]) -> bool {
        let locks = self.txn.manager().locks();
        self.locking == Locking::Keys && !locks.is_locked(self.key_name(key))
    }

    /// Whether nobody, not even this transaction, may want the cell of this key as it was, or relies on the gap before
    /// it. (Who has locked the whole table has no locks on keys to tell.)
    pub(super) fn is_forgotten(&self, key: &[u8]) -> bool {
        let locks = self.txn.manager().locks();
        let is_locked =
            locks.is_locked(self.key_name(key)) || locks.is_locked(self.gap_name(Some(key)));
        self.breaks(Sabotage::GhostPurgedEarly) || self.locking == Locking::Keys && !is_locked
    }
}
