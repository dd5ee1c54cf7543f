//! RocksDB.
//!
//! - Durable: each transaction is committed with `sync`, so it syncs the log; threads that commit at once share a sync.
//! - Cache: the block cache; memtables, of 64 MiB by default, come on top.
//! - Serialisable: `TransactionDB`, which locks what is written and what is read for update. A transaction that
//!   waits too long for a lock is run again.
//! - Loading: batches without the log, then the memtables are flushed.
//! - The whole log: memtables and log as large as it takes.

use std::path::{Path, PathBuf};

use anyhow::{Error, Result};
use rocksdb::{
    BlockBasedOptions, Cache, DBAccess, DBRawIteratorWithThreadMode, ErrorKind, Options,
    SingleThreaded, Transaction, TransactionDB, TransactionDBOptions, TransactionOptions,
    WriteBatchWithTransaction, WriteOptions,
};

use crate::store::{
    Pair, ReadTxn, ReadWork, Session, Setup, Store, WriteTxn, WriteWork, log_file_bytes,
};

/// More than any workload writes.
const WHOLE_LOG_BYTES: u32 = 3 << 30;
const LOADED_AT_ONCE: usize = 1000;
const BLOOM_BITS: f64 = 10.0;

type Database = TransactionDB<SingleThreaded>;

struct Rocksdb {
    dir: PathBuf,
    database: Database,
}

pub fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Store>> {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(setup.cache_bytes));
    table.set_bloom_filter(BLOOM_BITS, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    if setup.whole_log {
        options.set_write_buffer_size(usize::try_from(WHOLE_LOG_BYTES)?);
        options.set_max_total_wal_size(WHOLE_LOG_BYTES.into());
    }
    let database = Database::open(&options, &TransactionDBOptions::default(), dir)?;
    Ok(Box::new(Rocksdb { dir: dir.to_owned(), database }))
}

impl Store for Rocksdb {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(RocksdbSession(self)))
    }

    fn checkpoint(&self) -> Result<()> {
        Ok(self.database.flush()?)
    }

    fn log_bytes(&self) -> Result<Option<u64>> {
        Ok(Some(log_file_bytes(&self.dir, ".log")?))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.database.flush_wal(true)?)
    }
}

struct RocksdbSession<'s>(&'s Rocksdb);

/// Whether the transaction has to be run again.
fn is_conflict(error: &Error) -> bool {
    let kind = error.downcast_ref::<rocksdb::Error>().map(rocksdb::Error::kind);
    matches!(kind, Some(ErrorKind::Busy | ErrorKind::TimedOut | ErrorKind::TryAgain))
}

impl Session for RocksdbSession<'_> {
    fn write(&mut self, work: &mut WriteWork<'_>) -> Result<()> {
        let mut durable = WriteOptions::default();
        durable.set_sync(true);
        loop {
            let txn = self.0.database.transaction_opt(&durable, &TransactionOptions::default());
            let mut writing = Writing(txn);
            match work(&mut writing).and_then(|()| Ok(writing.0.commit()?)) {
                Err(error) if is_conflict(&error) => {}
                done => return done,
            }
        }
    }

    fn read(&mut self, work: &mut ReadWork<'_>) -> Result<()> {
        work(&mut Reading(&self.0.database))
    }

    fn load(&mut self, pairs: &[Pair]) -> Result<()> {
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        for chunk in pairs.chunks(LOADED_AT_ONCE) {
            let mut batch = WriteBatchWithTransaction::<true>::default();
            chunk.iter().for_each(|pair| batch.put(pair.key, pair.value));
            self.0.database.write_opt(batch, &unlogged)?;
        }
        Ok(self.0.database.flush()?)
    }
}

fn scan<D: DBAccess>(
    mut iterator: DBRawIteratorWithThreadMode<'_, D>,
    from: &[u8],
    count: usize,
    see: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<usize> {
    iterator.seek(from);
    let mut seen = 0;
    while seen < count
        && let Some((key, value)) = iterator.item()
    {
        see(key, value);
        seen += 1;
        iterator.next();
    }
    iterator.status()?;
    Ok(seen)
}

struct Reading<'s>(&'s Database);

impl ReadTxn for Reading<'_> {
    fn get(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some(value) = self.0.get_pinned(key)? else { return Ok(false) };
        see(&value);
        Ok(true)
    }

    fn scan(
        &mut self,
        from: &[u8],
        count: usize,
        see: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        scan(self.0.raw_iterator(), from, count, see)
    }
}

struct Writing<'s>(Transaction<'s, Database>);

impl ReadTxn for Writing<'_> {
    fn get(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some(value) = self.0.get_pinned(key)? else { return Ok(false) };
        see(&value);
        Ok(true)
    }

    fn scan(
        &mut self,
        from: &[u8],
        count: usize,
        see: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        scan(self.0.raw_iterator(), from, count, see)
    }
}

impl WriteTxn for Writing<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.0.put(key, value)?)
    }

    fn get_for_update(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some(value) = self.0.get_pinned_for_update(key, true)? else { return Ok(false) };
        see(&value);
        Ok(true)
    }
}
