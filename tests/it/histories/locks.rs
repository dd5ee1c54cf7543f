//! Who holds which lock: so that nobody here ever waits for one, and to hold it against what the
//! engine says.

use std::collections::BTreeMap;

use aries::Db;
use aries::ids::{PageId, TxnId};
use aries::lock::{LockName, Mode};

use super::model::Page;

#[derive(Clone, Default)]
pub struct Locks(BTreeMap<LockName, BTreeMap<TxnId, Mode>>);

impl Locks {
    /// Whether the transaction would get the lock at once.
    pub fn admit(&self, txn: TxnId, name: LockName, mode: Mode) -> bool {
        let holders = self.0.get(&name).into_iter().flatten();
        holders.filter(|(holder, _)| **holder != txn).all(|(_, held)| held.is_compatible_with(mode))
    }

    pub fn take(&mut self, txn: TxnId, name: LockName, mode: Mode) {
        assert!(self.admit(txn, name, mode), "{txn} got {name}, which others hold");
        let held = self.0.entry(name).or_default().entry(txn).or_insert(mode);
        *held = mode.supremum(*held);
    }

    pub fn release_all(&mut self, txn: TxnId) {
        for holders in self.0.values_mut() {
            holders.remove(&txn);
        }
        self.0.retain(|_, holders| !holders.is_empty());
    }

    /// What a transaction in doubt needs no more is released; gives what it keeps.
    pub fn prepared(&mut self, txn: TxnId) -> Vec<(LockName, Mode)> {
        let mut kept = Vec::new();
        for (name, holders) in &mut self.0 {
            match (name, holders.get(&txn)) {
                (LockName::Record(..), Some(Mode::Shared)) => drop(holders.remove(&txn)),
                (_, Some(mode)) => kept.push((*name, *mode)),
                (_, None) => {}
            }
        }
        self.0.retain(|_, holders| !holders.is_empty());
        kept
    }

    /// Whether others hold locks on slots of the page that hold no record, or a deleted one, which may be
    /// purged: an insert may want one of them, and wait.
    pub fn on_free_slots(&self, txn: TxnId, page: PageId, content: &Page) -> bool {
        self.0.iter().any(|(name, holders)| match name {
            LockName::Record(on, slot) if *on == page => {
                let is_live = content.records.get(slot).is_some_and(|record| !record.deleted);
                !is_live && holders.keys().any(|holder| *holder != txn)
            }
            _ => false,
        })
    }

    /// The engine holds these locks, and no others.
    pub fn check(&self, db: &Db) {
        let snapshot = db.locks();
        assert!(snapshot.iter().all(|lock| lock.waiters.is_empty()));
        let held: BTreeMap<_, BTreeMap<TxnId, Mode>> = snapshot
            .into_iter()
            .map(|lock| (lock.name, lock.holders.into_iter().collect()))
            .collect();
        assert_eq!(held, self.0, "the locks held");
    }
}
