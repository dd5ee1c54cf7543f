//! Loading a table: sorted pairs into an empty one, in a transaction of their own.

use super::Db;
use super::tables::Table;
use crate::config::FillFactor;
use crate::error::Result;
use crate::page::tree;

impl Db {
    /// The longest key that a table can have, in bytes.
    #[must_use]
    pub fn max_key_bytes(&self) -> usize {
        tree::max_key_bytes(self.shared.engine.transactions.pool().page_size())
    }

    /// Loads pairs, whose keys ascend, into an empty table, and commits; gives how many. Several times as fast as putting them, and with
    /// less log: pages are built and logged whole. All of them are in, durably, when this returns, or none is. Others who use the
    /// table wait meanwhile, and all log since the beginning is kept.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let db = aries::Db::open(dir.path().join("mydb"))?;
    /// let squares = db.table("squares")?;
    /// let pairs = (0..1000_u64).map(|n| (n.to_be_bytes(), (n * n).to_be_bytes()));
    /// assert_eq!(db.load(&squares, pairs)?, 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidInput`](crate::Error::InvalidInput) when the table is not empty or a key is not above the one before it; those of
    /// [`Transaction::put`](super::Transaction::put) and [`Transaction::commit`](super::Transaction::commit).
    pub fn load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        table: &Table,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<u64> {
        self.load_filled(table, FillFactor::default(), pairs)
    }

    /// The same, with pages as full as one likes.
    ///
    /// # Errors
    /// As [`Db::load`].
    pub fn load_filled<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        table: &Table,
        fill_factor: FillFactor,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<u64> {
        let mut txn = self.begin()?;
        match txn.load(table, fill_factor, pairs) {
            Ok(count) => {
                txn.commit()?;
                Ok(count)
            }
            Err(error) => {
                // If this fails as well the engine has stopped, and says so next time.
                let _ = txn.rollback();
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::db::Options;
    use crate::disk::{SimDisk, Survivors};
    use crate::sync::Arc;

    fn open(disk: &SimDisk) -> Db {
        let options = Options::new().page_size(512).segment_bytes(65536).background(false);
        options.buffer_pool_bytes(16 * 512).open_on(Arc::new(disk.clone())).unwrap()
    }

    fn is_as_it_was(db: &Db) {
        let table = db.table("t").unwrap();
        let mut txn = db.begin().unwrap();
        assert_eq!(txn.scan(&table, ..).unwrap().count(), 0);
        txn.commit().unwrap();
        let report = db.verify_tables().unwrap();
        assert!(report.is_sound(), "{report:#?}");
        assert_eq!(report.tables["t"].leaves, 1);
    }

    /// Linked already, and not committed.
    #[test]
    fn a_loaded_tree_is_undone_whole() {
        let pairs = || (0..500_u32).map(|n| (n.to_be_bytes(), [7; 30]));
        let disk = SimDisk::new();
        let db = open(&disk);
        let table = db.table("t").unwrap();
        let mut txn = db.begin().unwrap();
        assert_eq!(txn.load(&table, FillFactor::default(), pairs()).unwrap(), 500);
        txn.rollback().unwrap();
        is_as_it_was(&db);
        let mut txn = db.begin().unwrap();
        txn.load(&table, FillFactor::default(), pairs()).unwrap();
        db.flush_pages().unwrap();
        let after = open(&disk.crash(&Survivors::None));
        assert_eq!(after.restart_report().undo.losers, 1);
        is_as_it_was(&after);
        txn.commit().unwrap();
        drop(db);
        let db = open(&disk.crash(&Survivors::None));
        let mut txn = db.begin().unwrap();
        assert_eq!(txn.scan(&db.table("t").unwrap(), ..).unwrap().count(), 500);
    }
}
