//! redb.
//!
//! - Durable: `Durability::Immediate`, the default, in one phase: a commit writes the new pages and the new root, and syncs once.
//! - Cache: `set_cache_size`.
//! - One transaction writes at a time; others wait for it.
//! - Loading: one transaction.
//! - It keeps no log: pages are never overwritten. After a crash the default is to read all of the database;
//!   `set_quick_repair`, which saves that and costs each commit more, is left as it is, off.

use std::path::Path;

use anyhow::Result;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition};

use crate::store::{Pair, ReadTxn, ReadWork, Session, Setup, Store, WriteTxn, WriteWork};

const PAIRS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pairs");

struct Redb(Database);

pub fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Store>> {
    let database =
        Database::builder().set_cache_size(setup.cache_bytes).create(dir.join("db.redb"))?;
    Ok(Box::new(Redb(database)))
}

impl Store for Redb {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(RedbSession(&self.0)))
    }

    fn log_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.close()?)
    }
}

struct RedbSession<'s>(&'s Database);

impl Session for RedbSession<'_> {
    fn write(&mut self, work: &mut WriteWork<'_>) -> Result<()> {
        let txn = self.0.begin_write()?;
        work(&mut View(txn.open_table(PAIRS)?))?;
        Ok(txn.commit()?)
    }

    fn read(&mut self, work: &mut ReadWork<'_>) -> Result<()> {
        let txn = self.0.begin_read()?;
        work(&mut View(txn.open_table(PAIRS)?))
    }

    fn load(&mut self, pairs: &[Pair]) -> Result<()> {
        self.write(&mut |txn| pairs.iter().try_for_each(|pair| txn.put(&pair.key, &pair.value)))
    }
}

struct View<T>(T);

impl<T: ReadableTable<&'static [u8], &'static [u8]>> ReadTxn for View<T> {
    fn get(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some(value) = self.0.get(key)? else { return Ok(false) };
        see(value.value());
        Ok(true)
    }

    fn scan(
        &mut self,
        from: &[u8],
        count: usize,
        see: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        let mut seen = 0;
        for pair in self.0.range(from..)?.take(count) {
            let (key, value) = pair?;
            see(key.value(), value.value());
            seen += 1;
        }
        Ok(seen)
    }
}

impl WriteTxn for View<Table<'_, &'static [u8], &'static [u8]>> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.insert(key, value)?;
        Ok(())
    }
}
