//! Committing: at once, or deferred with a ticket.

use super::{Transaction, UndoNext};
use crate::config::{Durability, Sabotage};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::ids::{Lsn, TxnId};
use crate::log::Log;
use crate::record::{Commit, End, LogRecord};
use crate::sync::{Arc, Rule, broken};
use crate::tables::TransactionState;

/// What happens to a commit between its record and its end: pages that it freed become free.
pub trait AfterCommit {
    /// Whether there is anything to do.
    fn is_needed(&self) -> bool;

    /// Log to reserve for it, at most (bytes).
    fn log_price(&self, log: &Log) -> u64;

    /// Does it, with redo-only updates of the committed transaction.
    ///
    /// # Errors
    /// Those of the pages it touches.
    fn finish(&self, txn: &mut Transaction) -> Result<()>;
}

/// Nothing happens.
impl AfterCommit for () {
    fn is_needed(&self) -> bool {
        false
    }

    fn log_price(&self, _: &Log) -> u64 {
        0
    }

    fn finish(&self, _: &mut Transaction) -> Result<()> {
        Ok(())
    }
}

/// A commit that is not durable yet. It becomes so by itself; whoever must know waits.
#[must_use = "the commit is acknowledged by `wait`"]
pub struct CommitTicket {
    log: Arc<Log>,
    txn: TxnId,
    lsn: Lsn,
}

impl CommitTicket {
    /// The commit record's LSN.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Whether the commit is durable already.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.log.flushed_lsn() > self.lsn
    }

    /// Returns when the commit is durable, with its record's LSN. (Under [`Durability::Off`], in memory: only
    /// [`Db::flush`](crate::Db::flush) makes anything durable there.)
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`].
    pub fn wait(self) -> Result<Lsn> {
        force_commit(&self.log, self.txn, self.lsn)?;
        Ok(self.lsn)
    }
}

pub(super) fn force_commit(log: &Log, txn: TxnId, lsn: Lsn) -> Result<()> {
    if log.breaks(Sabotage::CommitBeforeForce) {
        return Ok(());
    }
    let forced = match log.breaks(Sabotage::ForcesAllAtEachCommit) {
        true => log.force_all(),
        false => log.force(lsn),
    };
    match forced {
        Ok(_) => Ok(()),
        Err(error) => Err(unknown(txn, &error)),
    }
}

/// The commit record may or may not have become durable.
fn unknown(txn: TxnId, error: &Error) -> Error {
    Error::OutcomeUnknown { txn, reason: error.to_string() }
}

impl Transaction {
    /// Commits; returns, with the commit record's LSN, when it is durable. A transaction that
    /// changed nothing writes nothing; it waits until what it may have read is durable.
    ///
    /// # Errors
    /// [`Error::Poisoned`] before the commit record is appended (the transaction is lost then),
    /// [`Error::OutcomeUnknown`] after.
    pub fn commit(mut self, after: &impl AfterCommit) -> Result<Lsn> {
        if self.entry.last_lsn.is_none() {
            return self.commit_read_only();
        }
        if self.manager.log().durability() != Durability::Commit {
            return self.commit_without_force(after);
        }
        let lsn = self.append_commit(after)?;
        let forced = force_commit(self.manager.log(), self.id, lsn);
        // The end record first: so whoever waits for a lock writes behind it, and the same calls give the
        // same log. It forces nothing; only freed pages may have a map page read.
        if forced.is_ok() {
            self.finish_commit(after);
        }
        self.manager.locks().release_all(self.id);
        self.ended = true;
        forced.map(|()| lsn)
    }

    /// Commits without waiting: locks are released at once, the ticket tells when it is durable.
    ///
    /// # Errors
    /// [`Error::Poisoned`]; the transaction is lost then.
    pub fn commit_deferred(mut self, after: &impl AfterCommit) -> Result<CommitTicket> {
        let (log, txn) = (Arc::clone(self.manager.log()), self.id);
        if self.entry.last_lsn.is_none() {
            let lsn = self.commit_read_only()?;
            return Ok(CommitTicket { log, txn, lsn });
        }
        let lsn = self.append_commit(after)?;
        if broken(Rule::DeferredBeforeRelease) {
            self.manager.locks().release_all(self.id);
        }
        self.manager.deferred(lsn);
        // Whatever comes after the commit record in the log is durable only if that is: so pages
        // it freed may be used again before it is.
        self.finish_commit(after);
        self.manager.locks().release_all(self.id);
        self.ended = true;
        Ok(CommitTicket { log, txn, lsn })
    }

    /// Commits without waiting for the disk, as this database's [`Durability`] says.
    fn commit_without_force(self, after: &impl AfterCommit) -> Result<Lsn> {
        let log = Arc::clone(self.manager.log());
        let ticket = self.commit_deferred(after)?;
        if log.durability() == Durability::Buffered {
            log.write_out().map_err(|error| unknown(ticket.txn, &error))?;
        }
        Ok(ticket.lsn)
    }

    fn commit_read_only(&mut self) -> Result<Lsn> {
        let log = Arc::clone(self.manager.log());
        log.poison().check()?;
        // Where commits do not wait for the disk, readers of them do not either.
        if let Some(read) = self.manager.latest_deferred()
            && log.durability() == Durability::Commit
            && !log.breaks(Sabotage::ReadersDoNotWait)
        {
            log.force(read)?;
        }
        self.manager.remove(self.key);
        self.finished();
        Ok(Lsn::new(log.flushed_lsn().get() - 1).expect("the log begins behind a header"))
    }

    fn append_commit(&mut self, after: &impl AfterCommit) -> Result<Lsn> {
        let record = Commit {
            link: self.link(),
            durable_lsn: self.manager.log().flushed_lsn(),
            wall_time_micros: self.manager.log().wall_time_micros(),
            frees_pages: after.is_needed(),
        };
        self.encoded.set(&LogRecord::Commit(record));
        let lsn = self.append(UndoNext::Unchanged, Some(TransactionState::Committing))?;
        self.told(lsn, "Commit", None);
        Ok(lsn)
    }

    /// What follows a commit. It cannot fail the commit any more: a failure stops the engine, and
    /// restart does the rest.
    fn finish_commit(&mut self, after: &impl AfterCommit) {
        let finished = match after.is_needed() {
            true => after.finish(self),
            false => Ok(()),
        };
        if let Err(error) = finished.and_then(|()| self.end_in_place()) {
            let _ = self.manager.log().poison().stop(error);
        }
    }

    /// Finishes a commit that restart found without an end record.
    ///
    /// # Errors
    /// Any failure is final.
    pub fn finish_restarted(mut self, after: &impl AfterCommit) -> Result<()> {
        assert!(self.entry.state == TransactionState::Committing, "it has a commit record");
        self.finish_commit(after);
        self.ended = true;
        self.manager.log().poison().check()
    }

    /// Appends the end record; inside the append the transaction leaves the table.
    pub(super) fn end_in_place(&mut self) -> Result<()> {
        let undone = self.entry.state != TransactionState::Committing;
        if undone && self.manager.log().breaks(Sabotage::EndMissing) {
            self.finished();
            return Ok(());
        }
        let durable_lsn = self.manager.log().flushed_lsn();
        self.encoded.set(&LogRecord::End(End { link: self.link(), durable_lsn }));
        let price = self.price();
        let spend = if self.reserved >= price { price } else { 0 };
        let (manager, key) = (Arc::clone(&self.manager), self.key);
        let leave = || manager.remove(key);
        let late = broken(Rule::EndInsideAppend);
        let lsn = manager.log().append(&self.encoded, spend, |_| {
            if !late {
                leave()
            }
        })?;
        if late {
            leave();
        }
        self.reserved -= spend;
        self.told(lsn, "End", None);
        self.finished();
        let txn = self.id;
        self.manager.observers().emit(|| Event::TransactionEnded { txn });
        Ok(())
    }
}
