//! Prepared transactions: the first phase of two-phase commit, and the decision that ends it.
//!
//! A transaction that spans several databases, or a database and something else, must commit in all
//! or in none. Its coordinator first has each of them *prepare*: promise that the transaction can
//! commit, whatever happens, and can still be rolled back. Then it decides, and tells them. Between
//! its promise and the decision a transaction is *in doubt*. It belongs to no thread and to no handle;
//! only its global id leads to it, and no crash ends it.
//!
//! ```text
//!   … updates … | Prepare 1/2 | Prepare 2/2 | … in doubt … | Commit | (pages made free) | End
//!                                                          | Rollback | compensations … | End
//!               active         ^ forced: the promise        ^ forced: the decision
//! ```
//!
//! Invariants:
//! - the prepare record's last part is the last record of a transaction in doubt;
//! - of the locks, those that undo or a waiting commit need are in the prepare record, and are held until
//!   the end, across restarts: all that are to change something, exclusively or by intention, and those on
//!   the existence of pages. What it has locked to read, shared or by intention, is released: the
//!   transaction asks for no further lock, so it stays two-phase, and whatever is decided does not
//!   depend on it;
//! - a global id leads to one transaction at most; it is free again once the decision is appended;
//! - log for either decision stays reserved; only after a restart on a full disk may it be missing.
//!   Then deciding asks for it first, and leaves the transaction in doubt if there is none.
//!
//! Source: ARIES, sections 4.3, 6.1 and 6.3 (transactions in doubt); C. Mohan, B. Lindsay, R. Obermarck,
//! "Transaction management in the R* distributed database management system", TODS 11(4), 1986.

use super::commit::{AfterCommit, force_commit};
use super::manager::{TransactionKey, TransactionManager};
use super::{Transaction, UndoNext, compensation_price, ending_price};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::ids::{Lsn, TxnId};
use crate::lock::{LockName, Mode};
use crate::log::Log;
use crate::record::{
    EncodedRecord, LogRecord, MAX_GLOBAL_ID_BYTES, Prepare, max_record_bytes, prepare_bytes,
    prepare_parts,
};
use crate::sync::Arc;
use crate::tables::{TransactionEntry, TransactionState};

/// A transaction in doubt, as tools show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PreparedTransaction {
    /// The transaction.
    pub txn: TxnId,
    /// By what name it is decided upon.
    pub global_id: Vec<u8>,
    /// The prepare record, or its last part.
    pub prepare_lsn: Lsn,
    /// Its first record: the log is kept from there on until it is decided upon.
    pub first_lsn: Lsn,
    /// How many locks it holds.
    pub locks: usize,
}

/// What the engine keeps of a transaction in doubt.
pub(super) struct InDoubt {
    key: TransactionKey,
    txn: TxnId,
    entry: TransactionEntry,
    /// Log reserved for the decision (bytes); 0 after a restart that found no room for it.
    reserved: u64,
}

impl InDoubt {
    pub(super) fn told(&self, global_id: &[u8], locks: usize) -> PreparedTransaction {
        let lsn = "a transaction in doubt has a prepare record";
        PreparedTransaction {
            txn: self.txn,
            global_id: global_id.to_vec(),
            prepare_lsn: self.entry.last_lsn.expect(lsn),
            first_lsn: self.entry.first_lsn.expect(lsn),
            locks,
        }
    }

    pub(super) fn txn(&self) -> TxnId {
        self.txn
    }
}

/// Whether a transaction in doubt keeps this lock.
fn is_kept(name: LockName, mode: Mode) -> bool {
    match name {
        // Their readers have ended.
        LockName::Ranges(..) => false,
        LockName::PageExistence(_) => true,
        _ => mode.changes(),
    }
}

fn check_global_id(global_id: &[u8]) -> Result<()> {
    if (1..=MAX_GLOBAL_ID_BYTES).contains(&global_id.len()) {
        return Ok(());
    }
    let length = global_id.len();
    let message = format!("a global id of {length} bytes: 1 to {MAX_GLOBAL_ID_BYTES} are possible");
    Err(Error::InvalidInput(message))
}

impl Transaction {
    /// Promises that the transaction can commit, and hands it over to the engine: from now on it is
    /// in doubt, until [`TransactionManager::decide`] finds it by its global id. Durable on return; gives
    /// the LSN of the prepare record. `frees_pages` says whether its commit has pages to make free.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a global id of a wrong length, or of another transaction in doubt;
    /// [`Error::DiskFull`] when the log has no room. The transaction is rolled back then, as when it is
    /// dropped. [`Error::OutcomeUnknown`] when the log could not be forced.
    pub fn prepare(mut self, global_id: &[u8], frees_pages: bool) -> Result<Lsn> {
        check_global_id(global_id)?;
        let manager = Arc::clone(&self.manager);
        manager.claim(global_id)?;
        let appended = self.append_prepare(global_id, frees_pages);
        if appended.is_err() {
            manager.give_up_claim(global_id);
        }
        let lsn = appended?;
        let forced = force_commit(manager.log(), self.id, lsn);
        manager.locks().release_some(self.id, |name, mode| !is_kept(name, mode));
        manager.now_in_doubt(global_id, self.detach());
        forced?;
        let (txn, global_id) = (self.id, global_id.to_vec());
        manager.observers().emit(|| Event::Prepared { txn, prepare_lsn: lsn, global_id });
        Ok(lsn)
    }

    /// Appends the prepare record, in as many parts as the locks need; all or nothing.
    fn append_prepare(&mut self, global_id: &[u8], frees_pages: bool) -> Result<Lsn> {
        let mut locks = self.manager.locks().held(self.id);
        locks.retain(|(name, mode)| is_kept(*name, *mode));
        let most = max_record_bytes(self.manager.pool().page_size());
        let shares = prepare_parts(global_id.len(), &locks, most);
        let log = Arc::clone(self.manager.log());
        let price = |share: &&[(LockName, Mode)]| log.price(prepare_bytes(global_id.len(), share));
        self.reserve(shares.iter().map(price).sum())?;
        let parts = u32::try_from(shares.len()).expect("far fewer than 2^32 parts");
        let mut last = None;
        for (part, share) in (0..parts).zip(shares) {
            let record = Prepare {
                link: self.link(),
                durable_lsn: self.manager.log().flushed_lsn(),
                part,
                parts,
                global_id,
                frees_pages,
                locks: share.to_vec(),
            };
            let state = record.is_last().then_some(TransactionState::Prepared);
            self.encoded.set(&LogRecord::Prepare(record));
            let lsn = self.append(UndoNext::Unchanged, state)?;
            self.told(lsn, "Prepare", None);
            last = Some(lsn);
        }
        Ok(last.expect("there is at least one part"))
    }

    /// Leaves locks, line in the table, and the room that either decision needs to the engine.
    fn detach(&mut self) -> InDoubt {
        self.ended = true;
        let excess = self.reserved.saturating_sub(self.owed);
        self.manager.log().release(excess);
        let reserved = self.reserved - excess;
        InDoubt { key: self.key, txn: self.id, entry: self.entry, reserved }
    }
}

impl TransactionManager {
    /// Takes over a transaction that restart found in doubt: its locks are held again.
    ///
    /// # Panics
    /// If another holds one of its locks, or goes by its global id: restart has looked before.
    pub fn adopt_prepared(
        &self,
        txn: TxnId,
        entry: TransactionEntry,
        global_id: &[u8],
        locks: &[(LockName, Mode)],
    ) {
        for (name, mode) in locks {
            assert!(self.locks().try_lock(txn, *name, *mode), "nobody else has {name}");
        }
        self.claim(global_id).expect("no other transaction goes by this global id");
        let in_doubt = InDoubt { key: self.insert(txn, entry), txn, entry, reserved: 0 };
        let told = in_doubt.told(global_id, locks.len());
        self.now_in_doubt(global_id, in_doubt);
        self.observers().emit(|| Event::InDoubt {
            txn,
            global_id: told.global_id,
            prepare_lsn: told.prepare_lsn,
            locks: told.locks,
        });
    }

    /// Takes a transaction in doubt, for the caller to decide upon. Of several callers one gets it.
    ///
    /// # Errors
    /// [`Error::NoSuchPrepared`].
    pub fn decide(self: &Arc<Self>, global_id: &[u8]) -> Result<Deciding> {
        let in_doubt = self.take_in_doubt(global_id);
        let in_doubt =
            in_doubt.ok_or_else(|| Error::NoSuchPrepared { global_id: global_id.to_vec() })?;
        let manager = Arc::clone(self);
        Ok(Deciding { manager, global_id: global_id.to_vec(), in_doubt: Some(in_doubt) })
    }
}

/// A transaction in doubt, in the hands of whoever decides upon it. Dropped before that, it is in
/// doubt as it was.
pub struct Deciding {
    manager: Arc<TransactionManager>,
    global_id: Vec<u8>,
    /// Until it is decided.
    in_doubt: Option<InDoubt>,
}

impl Deciding {
    fn in_doubt(&mut self) -> &mut InDoubt {
        self.in_doubt.as_mut().expect("not decided yet")
    }

    /// The prepare record, or its last part.
    #[must_use]
    pub fn prepare_lsn(&self) -> Option<Lsn> {
        self.in_doubt.as_ref().and_then(|in_doubt| in_doubt.entry.last_lsn)
    }

    /// Reserves log for either decision, as it was before a crash.
    ///
    /// # Errors
    /// [`Error::DiskFull`]: nothing is reserved then. [`Error::Corrupt`].
    pub fn reserve(&mut self, after: &impl AfterCommit) -> Result<()> {
        let log = Arc::clone(self.manager.log());
        let undo = bytes_to_undo(&log, self.in_doubt().entry.undo_next_lsn)?;
        self.reserve_log(ending_price(&log) + undo + after.log_price(&log))
    }

    fn reserve_log(&mut self, bytes: u64) -> Result<()> {
        if self.in_doubt().reserved == 0 {
            self.manager.log().reserve(bytes)?;
            self.in_doubt().reserved = bytes;
        }
        Ok(())
    }

    /// Commits; returns, with the commit record's LSN, when that is durable.
    ///
    /// # Errors
    /// [`Error::DiskFull`] when the log has no room: the transaction is in doubt as before.
    /// [`Error::Poisoned`] and [`Error::OutcomeUnknown`] as for any commit; after a restart it has
    /// committed, or is in doubt again.
    pub fn commit(mut self, after: &impl AfterCommit) -> Result<Lsn> {
        let log = Arc::clone(self.manager.log());
        self.reserve_log(ending_price(&log) + after.log_price(&log))?;
        let committed = self.attach().commit(after);
        self.manager.give_up_claim(&self.global_id);
        committed
    }

    /// Rolls back; returns when that is durable, so that the coordinator may forget the transaction.
    ///
    /// # Errors
    /// [`Error::DiskFull`] when the log has no room: the transaction is in doubt as before. Others are
    /// final: after a restart it is rolled back, or in doubt again.
    pub fn roll_back(mut self) -> Result<()> {
        let log = Arc::clone(self.manager.log());
        if self.in_doubt().reserved == 0 {
            let undo = bytes_to_undo(&log, self.in_doubt().entry.undo_next_lsn)?;
            self.reserve_log(ending_price(&log) + undo)?;
        }
        let rolled_back = self.attach().rollback();
        self.manager.give_up_claim(&self.global_id);
        rolled_back?;
        log.force_all().map(drop)
    }

    /// The transaction as one that somebody holds: it must be ended.
    fn attach(&mut self) -> Transaction {
        let InDoubt { key, txn, entry, reserved } = self.in_doubt.take().expect("decided once");
        Transaction {
            manager: Arc::clone(&self.manager),
            key,
            id: txn,
            entry,
            reserved,
            owed: reserved,
            nested: Vec::new(),
            passed: Vec::new(),
            encoded: EncodedRecord::default(),
            ended: false,
        }
    }
}

impl Drop for Deciding {
    fn drop(&mut self) {
        if let Some(in_doubt) = self.in_doubt.take() {
            self.manager.now_in_doubt(&self.global_id, in_doubt);
        }
    }
}

/// Bytes of the compensation records that rolling back from `undo_next_lsn` on would write.
fn bytes_to_undo(log: &Log, undo_next_lsn: Option<Lsn>) -> Result<u64> {
    let (mut bytes, mut next) = (0, undo_next_lsn);
    while let Some(lsn) = next {
        let read = log.read(lsn)?;
        let record = read.record();
        next = record.undo_goes_on_at();
        if let LogRecord::Update(update) = record {
            bytes += compensation_price(log, &update.undo);
        }
    }
    Ok(bytes)
}
