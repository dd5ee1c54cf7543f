//! aries, by its public face.
//!
//! - Durable: by default; `commit` returns when the log is synced.
//! - Cache: `buffer_pool_bytes`.
//! - A transaction that is the victim of a deadlock is run again, by `Db::transact`.
//! - A stream of puts: `commit_deferred`, one transaction for each put.
//! - Loading: `Db::load`, one transaction.
//! - The whole log: `checkpoint_log_bytes`, more than is written.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::{Error, Result};
use aries::{Db, Options, Table, Transaction};

use crate::store::{Pair, ReadTxn, ReadWork, Session, Setup, Store, WriteTxn, WriteWork};

/// More than any workload writes.
const WHOLE_LOG_BYTES: u64 = 1 << 40;

struct Aries {
    db: Db,
    pairs: Table,
}

pub fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Store>> {
    let mut options = Options::new().buffer_pool_bytes(setup.cache_bytes);
    if setup.whole_log {
        options = options.checkpoint_log_bytes(WHOLE_LOG_BYTES);
    }
    let db = options.open(dir)?;
    let pairs = db.table("pairs")?;
    Ok(Box::new(Aries { db, pairs }))
}

impl Store for Aries {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(AriesSession(self)))
    }

    fn checkpoint(&self) -> Result<()> {
        self.db.flush_pages()?;
        self.db.checkpoint()?;
        Ok(())
    }

    fn log_bytes(&self) -> Result<Option<u64>> {
        Ok(Some(self.db.stats().end_lsn.get()))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.close()?)
    }
}

struct AriesSession<'s>(&'s Aries);

/// The engine's own error, so that it can run the transaction again; any other is kept in `kept` and stops it.
fn engine_error(error: Error, kept: &mut Option<Error>) -> aries::Error {
    error.downcast::<aries::Error>().unwrap_or_else(|other| {
        *kept = Some(other);
        aries::Error::InvalidInput("the work failed".to_owned())
    })
}

impl Session for AriesSession<'_> {
    fn write(&mut self, work: &mut WriteWork<'_>) -> Result<()> {
        let mut kept = None;
        let done = self.0.db.transact(|txn| {
            work(&mut View { txn, pairs: &self.0.pairs })
                .map_err(|error| engine_error(error, &mut kept))
        });
        match kept {
            Some(error) => Err(error),
            None => Ok(done.map(drop)?),
        }
    }

    fn read(&mut self, work: &mut ReadWork<'_>) -> Result<()> {
        self.write(&mut |txn| work(txn))
    }

    fn put_stream(
        &mut self,
        pairs: &mut dyn Iterator<Item = Pair>,
        outstanding: usize,
    ) -> Result<()> {
        let mut tickets = VecDeque::with_capacity(outstanding);
        for pair in pairs {
            let mut txn = self.0.db.begin()?;
            txn.put(&self.0.pairs, &pair.key, &pair.value)?;
            tickets.push_back(txn.commit_deferred()?);
            if tickets.len() == outstanding
                && let Some(ticket) = tickets.pop_front()
            {
                ticket.wait()?;
            }
        }
        for ticket in tickets {
            ticket.wait()?;
        }
        Ok(())
    }

    fn load(&mut self, pairs: &[Pair]) -> Result<()> {
        self.0.db.load(&self.0.pairs, pairs.iter().map(|pair| (&pair.key, &pair.value)))?;
        Ok(())
    }
}

struct View<'t> {
    txn: &'t mut Transaction,
    pairs: &'t Table,
}

impl ReadTxn for View<'_> {
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
        let (mut seen, mut pairs) = (0, self.txn.scan(self.pairs, from.to_vec()..)?);
        while seen < count
            && let Some((key, value)) = pairs.next_ref()?
        {
            see(key, value);
            seen += 1;
        }
        Ok(seen)
    }
}

impl WriteTxn for View<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.txn.put(self.pairs, key, value)?)
    }

    fn get_for_update(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some(value) = self.txn.get_for_update(self.pairs, key)? else { return Ok(false) };
        see(&value);
        Ok(true)
    }
}
