//! What transactions share: log, pool, locks, and the table of those under way.

use std::collections::BTreeMap;

use slotmap::SlotMap;

use super::Transaction;
use super::prepare::{InDoubt, PreparedTransaction};
use super::undo::LogicalUndo;
use crate::buffer::{BufferPool, PageWrite};
use crate::error::{Error, Result};
use crate::event::Observers;
use crate::ids::{Lsn, SlotId, TxnId};
use crate::lock::LockManager;
use crate::log::Log;
use crate::record::{EncodedRecord, KeyUndo};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use crate::tables::{TransactionEntry, TransactionTable};

slotmap::new_key_type! {
    /// Finds a transaction's line at once; a line that is gone is never mistaken for a new one.
    pub(super) struct TransactionKey;
}

/// The transactions of an open database.
pub struct TransactionManager {
    log: Arc<Log>,
    pool: Arc<BufferPool>,
    locks: Arc<LockManager>,
    cells: Arc<dyn LogicalUndo>,
    observers: Observers,
    /// Changed inside the log's append (its mutex is taken first, this one second).
    active: Mutex<SlotMap<TransactionKey, (TxnId, TransactionEntry)>>,
    /// Transactions in doubt by their global ids; `None` while somebody prepares or decides upon one.
    prepared: Mutex<BTreeMap<Vec<u8>, Option<InDoubt>>>,
    next: AtomicU64,
    /// The latest commit record whose locks were released before it was durable, or 0.
    latest_deferred: AtomicU64,
}

impl TransactionManager {
    /// No transaction is under way; the next gets the number `next`. Undo finds the cells of trees with `cells`.
    #[must_use]
    pub fn new(
        log: Arc<Log>,
        pool: Arc<BufferPool>,
        next: TxnId,
        cells: Arc<dyn LogicalUndo>,
        observers: Observers,
    ) -> Self {
        let locks = Arc::new(LockManager::new());
        let waiting = Arc::clone(&locks);
        log.poison().on_stop(Arc::new(move |error| waiting.stop(&error.to_string())));
        Self {
            log,
            pool,
            locks,
            cells,
            observers,
            active: Mutex::default(),
            prepared: Mutex::default(),
            next: AtomicU64::new(next.get()),
            latest_deferred: AtomicU64::new(0),
        }
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The buffer pool.
    #[must_use]
    pub fn pool(&self) -> &Arc<BufferPool> {
        &self.pool
    }

    /// The locks.
    #[must_use]
    pub fn locks(&self) -> &LockManager {
        &self.locks
    }

    pub(super) fn find_cell(&self, undo: &KeyUndo<'_>) -> Result<(PageWrite<'_>, SlotId)> {
        self.cells.find(&self.pool, undo.tree, undo.key)
    }

    /// Who wants to see what happens.
    #[must_use]
    pub fn observers(&self) -> &Observers {
        &self.observers
    }

    /// No transaction so far has this number or a higher one.
    ///
    /// # Panics
    /// After 2^64 transactions.
    #[must_use]
    pub fn next_txn(&self) -> TxnId {
        TxnId::new(self.next.load(Ordering::Acquire)).expect("transaction numbers do not run out")
    }

    /// Begins a transaction. Nothing is logged before it changes something.
    ///
    /// # Errors
    /// [`Error::Poisoned`]; [`Error::InvalidInput`] after 2^63 transactions.
    pub fn begin(self: &Arc<Self>) -> Result<Transaction> {
        self.log.poison().check()?;
        let after = |next| (next < TxnId::LIMIT).then_some(next + 1);
        let given = self.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, after);
        match given.ok().and_then(TxnId::new) {
            Some(id) => Ok(self.adopt(id, TransactionEntry::new())),
            None => Err(Error::InvalidInput("there is no transaction number left".into())),
        }
    }

    /// Takes over a transaction that restart found without an end record.
    pub fn adopt(self: &Arc<Self>, id: TxnId, entry: TransactionEntry) -> Transaction {
        Transaction {
            manager: Arc::clone(self),
            key: self.insert(id, entry),
            id,
            entry,
            reserved: 0,
            owed: 0,
            nested: Vec::new(),
            passed: Vec::new(),
            encoded: EncodedRecord::default(),
            ended: false,
        }
    }

    /// Enters a line into the table.
    pub(super) fn insert(&self, id: TxnId, entry: TransactionEntry) -> TransactionKey {
        assert!(id < self.next_txn(), "numbers are given out in order");
        self.active.lock().insert((id, entry))
    }

    /// Keeps others from preparing under this global id.
    pub(super) fn claim(&self, global_id: &[u8]) -> Result<()> {
        let mut prepared = self.prepared.lock();
        if prepared.contains_key(global_id) {
            let id = global_id.escape_ascii();
            let message = format!("a transaction with the global id \"{id}\" is in doubt already");
            return Err(Error::InvalidInput(message));
        }
        prepared.insert(global_id.to_vec(), None);
        Ok(())
    }

    /// The transaction is decided upon, or was not prepared after all.
    pub(super) fn give_up_claim(&self, global_id: &[u8]) {
        self.prepared.lock().remove(global_id);
    }

    /// The transaction can be decided upon.
    pub(super) fn now_in_doubt(&self, global_id: &[u8], in_doubt: InDoubt) {
        let mut prepared = self.prepared.lock();
        *prepared.get_mut(global_id).expect("claimed before") = Some(in_doubt);
    }

    pub(super) fn take_in_doubt(&self, global_id: &[u8]) -> Option<InDoubt> {
        self.prepared.lock().get_mut(global_id)?.take()
    }

    /// The transactions in doubt that nobody decides upon at this moment, in the order of their
    /// global ids.
    #[must_use]
    pub fn prepared(&self) -> Vec<PreparedTransaction> {
        let prepared = self.prepared.lock();
        let in_doubt = prepared.iter().filter_map(|(id, entry)| Some((id, entry.as_ref()?)));
        in_doubt.map(|(id, entry)| entry.told(id, self.locks.held(entry.txn()).len())).collect()
    }

    pub(super) fn set_entry(&self, key: TransactionKey, entry: TransactionEntry) {
        self.active.lock()[key].1 = entry;
    }

    pub(super) fn remove(&self, key: TransactionKey) {
        self.active.lock().remove(key).expect("a transaction ends once");
    }

    /// Commits up to here may have been read before they were durable.
    pub(super) fn latest_deferred(&self) -> Option<Lsn> {
        Lsn::new(self.latest_deferred.load(Ordering::Acquire))
    }

    pub(super) fn deferred(&self, commit_lsn: Lsn) {
        self.latest_deferred.fetch_max(commit_lsn.get(), Ordering::AcqRel);
    }

    /// Background step: makes deferred commits durable that nobody waits for. Gives whether there
    /// were any.
    ///
    /// # Errors
    /// Final ones.
    pub fn force_deferred(&self) -> Result<bool> {
        match self.latest_deferred() {
            Some(lsn) if lsn >= self.log.flushed_lsn() => self.log.force(lsn).map(|_| true),
            _ => Ok(false),
        }
    }

    /// The transaction table at this moment.
    #[must_use]
    pub fn transaction_table(&self) -> TransactionTable {
        let mut table = TransactionTable::default();
        for (id, entry) in self.active.lock().values() {
            table.insert(*id, *entry);
        }
        table
    }

    /// Of the transaction table, those who have logged something: the others have nothing to lose.
    #[must_use]
    pub fn logged(&self) -> TransactionTable {
        let mut table = TransactionTable::default();
        for (id, entry) in self.active.lock().values() {
            if entry.last_lsn.is_some() {
                table.insert(*id, *entry);
            }
        }
        table
    }

    /// How many transactions have not ended, those in doubt among them.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.lock().len()
    }

    /// How many of them somebody still works on: all but those in doubt.
    #[must_use]
    pub fn under_way(&self) -> usize {
        let prepared = self.prepared.lock();
        self.active() - prepared.values().flatten().count()
    }
}
