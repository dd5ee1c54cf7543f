//! LMDB, through heed.
//!
//! - Durable: without flags, as by default: a commit writes new pages, syncs, and writes the new root durably.
//! - Cache: LMDB has none and reads its file through the kernel's page cache, which nothing bounds here.
//! - One transaction writes at a time; others wait for it.
//! - Loading: one transaction, each pair appended (`MDB_APPEND`).
//! - It keeps no log: pages are never overwritten, and there is nothing to do after a crash.

#![expect(unsafe_code, reason = "heed maps the file, and opening it is unsafe for that")]

use std::ops::Bound;
use std::path::Path;

use anyhow::Result;
use heed::types::Bytes;
use heed::{Database, Env, EnvOpenOptions, PutFlags, RoTxn, RwTxn};

use crate::store::{Pair, ReadTxn, ReadWork, Session, Setup, Store, WriteTxn, WriteWork};

/// Address space for the file, which never becomes so large.
const MAP_BYTES: usize = 64 << 30;
const READERS: u32 = 256;

struct Lmdb {
    env: Env,
    pairs: Database<Bytes, Bytes>,
}

pub fn open(dir: &Path, _: Setup) -> Result<Box<dyn Store>> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_readers(READERS);
    // SAFETY: the files below this program's own directory are changed by LMDB only, on a local disk, and by one
    // process at a time.
    let env = unsafe { options.open(dir) }?;
    let mut txn = env.write_txn()?;
    let pairs = env.create_database(&mut txn, None)?;
    txn.commit()?;
    Ok(Box::new(Lmdb { env, pairs }))
}

impl Store for Lmdb {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(LmdbSession(self)))
    }

    fn log_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

struct LmdbSession<'s>(&'s Lmdb);

impl Session for LmdbSession<'_> {
    fn write(&mut self, work: &mut WriteWork<'_>) -> Result<()> {
        let mut txn = Writing { txn: self.0.env.write_txn()?, pairs: self.0.pairs };
        work(&mut txn)?;
        Ok(txn.txn.commit()?)
    }

    fn read(&mut self, work: &mut ReadWork<'_>) -> Result<()> {
        work(&mut Reading { txn: &*self.0.env.read_txn()?, pairs: self.0.pairs })
    }

    fn load(&mut self, pairs: &[Pair]) -> Result<()> {
        let mut txn = self.0.env.write_txn()?;
        for pair in pairs {
            self.0.pairs.put_with_flags(&mut txn, PutFlags::APPEND, &pair.key, &pair.value)?;
        }
        Ok(txn.commit()?)
    }
}

struct Reading<'t> {
    txn: &'t RoTxn<'t>,
    pairs: Database<Bytes, Bytes>,
}

impl ReadTxn for Reading<'_> {
    fn get(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some(value) = self.pairs.get(self.txn, key)? else { return Ok(false) };
        see(value);
        Ok(true)
    }

    fn scan(
        &mut self,
        from: &[u8],
        count: usize,
        see: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        let mut seen = 0;
        // LMDB looks for no empty key.
        let from = if from.is_empty() { &[0][..] } else { from };
        let range = (Bound::Included(from), Bound::Unbounded);
        for pair in self.pairs.range(self.txn, &range)?.take(count) {
            let (key, value) = pair?;
            see(key, value);
            seen += 1;
        }
        Ok(seen)
    }
}

struct Writing<'s> {
    txn: RwTxn<'s>,
    pairs: Database<Bytes, Bytes>,
}

impl ReadTxn for Writing<'_> {
    fn get(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Reading { txn: &self.txn, pairs: self.pairs }.get(key, see)
    }

    fn scan(
        &mut self,
        from: &[u8],
        count: usize,
        see: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        Reading { txn: &self.txn, pairs: self.pairs }.scan(from, count, see)
    }
}

impl WriteTxn for Writing<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.pairs.put(&mut self.txn, key, value)?)
    }
}
