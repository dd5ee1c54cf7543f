//! SQLite, bundled with rusqlite.
//!
//! - Durable: `journal_mode=WAL`, `synchronous=FULL`, so each commit syncs the log. It is built as rusqlite bundles it, which calls `fsync`;
//!   built with `LIBSQLITE3_FLAGS=-DHAVE_FDATASYNC` it calls `fdatasync`.
//! - Cache: `cache_size`, for each connection.
//! - One connection writes, behind a mutex of the program: threads that wait for SQLite's own lock sleep for milliseconds and
//!   leave the disk idle meanwhile. Each thread that reads has a connection of its own.
//! - One table, `WITHOUT ROWID`, its key a blob; statements are prepared once.
//! - Loading: one transaction.
//! - The whole log: `wal_autocheckpoint=0`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use rusqlite::{Connection, params};

use crate::store::{
    Pair, ReadTxn, ReadWork, Session, Setup, Store, WriteTxn, WriteWork, log_file_bytes,
};

const MAKE: &str =
    "CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID";
const GET: &str = "SELECT value FROM pairs WHERE key = ?1";
const PUT: &str = "REPLACE INTO pairs (key, value) VALUES (?1, ?2)";
const SCAN: &str = "SELECT key, value FROM pairs WHERE key >= ?1 ORDER BY key LIMIT ?2";

struct Sqlite {
    dir: PathBuf,
    setup: Setup,
    writer: Mutex<Connection>,
}

pub fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Store>> {
    let writer = connect(dir, setup)?;
    writer.execute(MAKE, [])?;
    Ok(Box::new(Sqlite { dir: dir.to_owned(), setup, writer: Mutex::new(writer) }))
}

fn connect(dir: &Path, setup: Setup) -> Result<Connection> {
    let connection = Connection::open(dir.join("db"))?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    ensure!(mode == "wal", "journal_mode is {mode}");
    connection.pragma_update(None, "synchronous", "FULL")?;
    let kibibytes = i64::try_from(setup.cache_bytes / 1024)?;
    connection.pragma_update(None, "cache_size", -kibibytes)?;
    if setup.whole_log {
        connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    }
    Ok(connection)
}

impl Sqlite {
    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Sqlite {
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(SqliteSession { store: self, reader: None }))
    }

    fn checkpoint(&self) -> Result<()> {
        let busy: i64 =
            self.writer().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        ensure!(busy == 0, "the checkpoint could not be finished");
        Ok(())
    }

    fn log_bytes(&self) -> Result<Option<u64>> {
        Ok(Some(log_file_bytes(&self.dir, "-wal")?))
    }

    fn close(self: Box<Self>) -> Result<()> {
        let writer = self.writer.into_inner().unwrap_or_else(PoisonError::into_inner);
        writer.close().map_err(|(_, error)| error.into())
    }
}

struct SqliteSession<'s> {
    store: &'s Sqlite,
    /// Made when it is first needed.
    reader: Option<Connection>,
}

/// Runs `work` between `begin` and a commit; takes back what it did if it fails.
fn transact(
    connection: &Connection,
    begin: &str,
    work: impl FnOnce(&mut SqliteTxn<'_>) -> Result<()>,
) -> Result<()> {
    connection.prepare_cached(begin)?.execute([])?;
    let done = work(&mut SqliteTxn(connection))
        .and_then(|()| Ok(connection.prepare_cached("COMMIT")?.execute([])?));
    if done.is_err() && !connection.is_autocommit() {
        connection.execute("ROLLBACK", [])?;
    }
    done.map(drop)
}

impl Session for SqliteSession<'_> {
    fn write(&mut self, work: &mut WriteWork<'_>) -> Result<()> {
        transact(&self.store.writer(), "BEGIN IMMEDIATE", |txn| work(txn))
    }

    fn read(&mut self, work: &mut ReadWork<'_>) -> Result<()> {
        if self.reader.is_none() {
            self.reader = Some(connect(&self.store.dir, self.store.setup)?);
        }
        match &self.reader {
            Some(reader) => transact(reader, "BEGIN", |txn| work(txn)),
            None => Ok(()),
        }
    }

    fn load(&mut self, pairs: &[Pair]) -> Result<()> {
        self.write(&mut |txn| pairs.iter().try_for_each(|pair| txn.put(&pair.key, &pair.value)))
    }
}

struct SqliteTxn<'c>(&'c Connection);

impl ReadTxn for SqliteTxn<'_> {
    fn get(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let mut statement = self.0.prepare_cached(GET)?;
        let mut rows = statement.query([key])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        see(row.get_ref(0)?.as_blob()?);
        Ok(true)
    }

    fn scan(
        &mut self,
        from: &[u8],
        count: usize,
        see: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        let mut statement = self.0.prepare_cached(SCAN)?;
        let mut rows = statement.query(params![from, i64::try_from(count)?])?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            see(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
            seen += 1;
        }
        Ok(seen)
    }
}

impl WriteTxn for SqliteTxn<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.prepare_cached(PUT)?.execute([key, value])?;
        Ok(())
    }
}
