//! Transactions in doubt, and the decision upon them: the second phase of two-phase commit.

use super::Db;
use crate::error::Result;
use crate::ids::Lsn;
use crate::space::{PendingFrees, pending_frees};
use crate::txn::{Deciding, PreparedTransaction};

impl Db {
    /// The transactions in doubt, of this run or an earlier one, in the order of their global ids.
    /// Those upon which somebody just decides are not among them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let db = aries::Db::open(dir.path().join("mydb"))?;
    /// let mut txn = db.begin()?;
    /// txn.allocate_page()?;
    /// txn.prepare(b"order 7")?; // a promise, durable on return
    ///
    /// // Perhaps after a crash, and as often as one likes:
    /// for in_doubt in db.prepared() {
    ///     println!("{} waits for its decision", in_doubt.global_id.escape_ascii());
    /// }
    /// db.commit_prepared(b"order 7")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn prepared(&self) -> Vec<PreparedTransaction> {
        self.shared.engine.transactions.prepared()
    }

    /// Commits a transaction in doubt; returns, with the commit record's LSN, when it is durable.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchPrepared`] when none is in doubt under this global id, or another thread is
    /// deciding upon it; [`crate::Error::DiskFull`] when the log has no room, which it can only lack after
    /// a restart on a full disk; [`crate::Error::Closed`]; those of the disk when it cannot read the
    /// transaction's records. It is in doubt as before then.
    /// [`crate::Error::OutcomeUnknown`] if the log could not be forced: after reopening it has committed,
    /// or is in doubt again. Final ones.
    pub fn commit_prepared(&self, global_id: &[u8]) -> Result<Lsn> {
        let deciding = self.decide(global_id)?;
        let engine = &self.shared.engine;
        let pages = pending_frees(engine.transactions.log(), deciding.prepare_lsn())?;
        deciding.commit(&PendingFrees::new(&engine.space, &pages))
    }

    /// Rolls a transaction in doubt back; returns when that is durable, so whoever decided may forget
    /// it.
    ///
    /// # Errors
    /// As [`Db::commit_prepared`]. After final errors and reopening it is rolled back, or in doubt
    /// again.
    pub fn rollback_prepared(&self, global_id: &[u8]) -> Result<()> {
        self.decide(global_id)?.roll_back()
    }

    fn decide(&self, global_id: &[u8]) -> Result<Deciding> {
        self.shared.check_open()?;
        let deciding = self.shared.engine.transactions.decide(global_id)?;
        // Whoever closes counts those upon which nobody decides: so once more.
        self.shared.check_open()?;
        Ok(deciding)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Options;
    use crate::disk::{SimDisk, Survivors};
    use crate::ids::PageId;
    use crate::lock::{GapName, KeyName, LockName, Mode};
    use crate::sync::Arc;

    /// Of the locks on tables and their keys, those that are to change something are kept: until the
    /// decision, and across a crash.
    #[test]
    fn what_is_to_change_something_stays_locked() {
        let options = Options::new().background(false).segment_bytes(64 * 1024);
        let disk = SimDisk::new();
        let db = options.open_on(Arc::new(disk.clone())).expect("a new database");
        let (root, alice) = (PageId(5), KeyName::of(b"alice"));
        let held = [
            (LockName::Table(PageId(5)), Mode::IntentionExclusive),
            (LockName::Table(PageId(6)), Mode::IntentionShared),
            (LockName::Table(PageId(7)), Mode::Shared),
            (LockName::Table(PageId(8)), Mode::SharedIntentionExclusive),
            (LockName::Table(PageId(9)), Mode::Exclusive),
            (LockName::Key(root, alice), Mode::Exclusive),
            (LockName::Key(root, KeyName::of(b"bob")), Mode::Shared),
            (LockName::Gap(root, GapName::Before(alice)), Mode::Exclusive),
            (LockName::Gap(root, GapName::End), Mode::Shared),
        ];
        let txn = db.begin().expect("a transaction");
        let locks = db.shared.engine.transactions.locks();
        assert!(held.iter().all(|(name, mode)| locks.try_lock(txn.id(), *name, *mode)));
        let id = txn.id();
        txn.prepare(b"7").expect("it can be prepared");
        let kept: Vec<_> = held.into_iter().filter(|(_, mode)| mode.changes()).collect();
        assert_eq!((kept.len(), locks.held(id)), (5, kept.clone()));
        let disk = disk.crash(&Survivors::None);
        let after = options.open_on(Arc::new(disk)).expect("it can be opened");
        assert_eq!(after.shared.engine.transactions.locks().held(id), kept);
        after.rollback_prepared(b"7").expect("it is in doubt");
        assert!(after.locks().is_empty());
    }
}
