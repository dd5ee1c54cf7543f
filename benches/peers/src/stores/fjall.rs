//! fjall.
//!
//! - Durable: each transaction is committed with `PersistMode::SyncData`, so it syncs the journal.
//! - Cache: `cache_size`; memtables, of 64 MiB by default, come on top.
//! - Serialisable: `OptimisticTxDatabase`. Commits are checked and synced one after the other; one that meets a conflict
//!   is run again.
//! - Loading: `start_ingestion`, which writes sorted tables and no journal.
//! - The whole log: memtables and journals as large as it takes.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fjall::{
    KeyspaceCreateOptions, OptimisticTxDatabase, OptimisticTxKeyspace, OptimisticWriteTx,
    PersistMode, Readable,
};

use crate::store::{
    Pair, ReadTxn, ReadWork, Session, Setup, Store, WriteTxn, WriteWork, log_file_bytes,
};

/// More than any workload writes.
const WHOLE_LOG_BYTES: u64 = 16 << 30;

struct Fjall {
    dir: PathBuf,
    database: OptimisticTxDatabase,
    pairs: OptimisticTxKeyspace,
}

pub fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Store>> {
    let mut builder = OptimisticTxDatabase::builder(dir).cache_size(setup.cache_bytes as u64);
    if setup.whole_log {
        builder = builder.max_journaling_size(WHOLE_LOG_BYTES);
    }
    let database = builder.open()?;
    let pairs = database.keyspace("pairs", || match setup.whole_log {
        true => KeyspaceCreateOptions::default().max_memtable_size(WHOLE_LOG_BYTES),
        false => KeyspaceCreateOptions::default(),
    })?;
    Ok(Box::new(Fjall { dir: dir.to_owned(), database, pairs }))
}

impl Store for Fjall {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(FjallSession(self)))
    }

    fn log_bytes(&self) -> Result<Option<u64>> {
        Ok(Some(log_file_bytes(&self.dir, ".jnl")?))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

struct FjallSession<'s>(&'s Fjall);

impl Session for FjallSession<'_> {
    fn write(&mut self, work: &mut WriteWork<'_>) -> Result<()> {
        loop {
            let txn = self.0.database.write_tx()?.durability(Some(PersistMode::SyncData));
            let mut txn = View { txn, pairs: &self.0.pairs };
            work(&mut txn)?;
            if txn.txn.commit()?.is_ok() {
                return Ok(());
            }
        }
    }

    fn read(&mut self, work: &mut ReadWork<'_>) -> Result<()> {
        work(&mut View { txn: self.0.database.read_tx(), pairs: &self.0.pairs })
    }

    fn load(&mut self, pairs: &[Pair]) -> Result<()> {
        let mut ingestion = self.0.pairs.inner().start_ingestion()?;
        pairs.iter().try_for_each(|pair| ingestion.write(pair.key, pair.value))?;
        Ok(ingestion.finish()?)
    }
}

struct View<'s, T> {
    txn: T,
    pairs: &'s OptimisticTxKeyspace,
}

impl<T: Readable> ReadTxn for View<'_, T> {
    fn get(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some(value) = self.txn.get(self.pairs, key)? else { return Ok(false) };
        see(&value);
        Ok(true)
    }

    fn scan(
        &mut self,
        from: &[u8],
        count: usize,
        see: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        let mut seen = 0;
        for pair in self.txn.range(self.pairs, from..).take(count) {
            let (key, value) = pair.into_inner()?;
            see(&key, &value);
            seen += 1;
        }
        Ok(seen)
    }
}

impl WriteTxn for View<'_, OptimisticWriteTx> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.txn.insert(self.pairs, key, value);
        Ok(())
    }
}
