//! A key-value store, as the lab's HTTP speaks to it: strings with any JSON, in one table.
//!
//! With the log a change is durable when the call returns; without one it is in memory until [`Store::flush`]. So that a student
//! can read it, the log tells each change of a key in full ([`Options::log_key_changes`]).
//!
//! ```text
//!   log:  … ────────┬──────────────┬── entry ── entry ── entry ──>
//!                   oldest         `since`: the latest checkpoint, with which all pages were written
//!                   required       what is behind it would have to be redone: those are the *entries*
//! ```
//!
//! Invariants:
//! - a checkpoint here writes all pages first, so nothing before it is redone; one comes by itself after
//!   [`StoreOptions::checkpoint_every`] entries, within the call that made the last of them;
//! - `clear` and checkpoints keep everybody else out, so that an entry is either before a checkpoint, whole, or behind it; all other calls go on
//!   beside each other;
//! - what is answered is bounded: [`MOST_ANSWER_BYTES`] of values, and a value may take twenty times as much memory as it has bytes.

use std::ops::Bound;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::entries::{self, Entry, TABLE};
use super::told::json_of;
use super::{Refusal, Telemetry};
use crate::config::Durability;
use crate::db::{Db, Options, Table, Transaction};
use crate::disk::{FileDisk, WatchedDisk};
use crate::error::Error;
use crate::ids::Lsn;
use crate::log::CONTROL_FILE;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, RwLock};
use crate::tables::DirtyPageTable;

/// A value may be as long, in bytes of JSON.
pub const MOST_VALUE_BYTES: usize = 1024 * 1024;
/// The values of an answer may be as long together.
const MOST_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// How long a transaction waits for a lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The directory of its database.
    pub directory: PathBuf,
    /// Whether it keeps a log.
    pub with_log: bool,
    /// A checkpoint comes by itself after so many entries.
    pub checkpoint_every: u64,
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub enum Operation {
    /// Puts a value.
    Set {
        /// The key.
        key: String,
        /// Its value.
        value: Value,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: String,
    },
    /// Reads a key.
    Get {
        /// The key.
        key: String,
    },
}

/// Where the entries begin.
struct Since {
    lsn: Lsn,
    /// How many there are: kept, so that nobody has to read the log to know.
    entries: u64,
}

/// Keys with their values, and how many there are.
pub struct Listed {
    /// As many of the keys as were asked for, in order.
    pub items: Vec<(String, Value)>,
    /// All keys of the store.
    pub count: u64,
    /// Where to go on, if there is more.
    pub next: Option<String>,
}

/// An open store.
pub struct Store {
    db: Db,
    table: RwLock<Table>,
    options: StoreOptions,
    since: Mutex<Since>,
    recovered_entries: u64,
    /// Changes since this process began.
    changes: AtomicU64,
    began: Instant,
    /// Whether there was none before.
    is_new: bool,
    telemetry: Arc<Telemetry>,
}

impl Store {
    /// Opens the store, recovering it first if need be.
    ///
    /// # Errors
    /// Those of opening a database.
    pub fn open(options: StoreOptions) -> Result<Self, Error> {
        let is_new = !options.directory.join(CONTROL_FILE).exists();
        let to_redo = match options.with_log && !is_new {
            // What cannot be read is what opening will tell of, or, if it was being made when the process died, make anew.
            true => entries::to_redo(&options.directory).unwrap_or(None),
            false => None,
        };
        let telemetry = Telemetry::new(options.with_log);
        let disk = Arc::new(FileDisk::create(&options.directory)?);
        let disk = WatchedDisk::watched_by(disk, Arc::clone(&telemetry) as _);
        let durability = if options.with_log { Durability::Commit } else { Durability::Off };
        let restart = tracing::info_span!("restart", log = options.with_log).entered();
        let db = Options::new()
            .durability(durability)
            .log_key_changes(options.with_log)
            .lock_timeout(Some(PATIENCE))
            .observer(Arc::clone(&telemetry) as _)
            .open_on(disk)?;
        drop(restart);
        let table = RwLock::new(db.table(TABLE)?);
        // With all pages as they had to be, analysis has only looked.
        let to_redo = to_redo.filter(|_| db.restart_report().redo.redone > 0);
        let recovered_entries = to_redo.as_ref().map_or(0, |(_, entries)| *entries);
        let lsn = to_redo.map_or(db.stats().end_lsn, |(lsn, _)| lsn);
        let since = Mutex::new(Since { lsn, entries: recovered_entries });
        let (changes, began) = (AtomicU64::new(0), Instant::now());
        Ok(Self { db, table, options, since, recovered_entries, changes, began, is_new, telemetry })
    }

    /// The engine.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Who looks on.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// Whether it was made when it was opened.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// What `/metrics` tells.
    pub fn metrics(&self) -> String {
        self.telemetry.metrics().render(&self.db, self.recovered_entries)
    }

    /// One transaction.
    fn transact<T>(
        &self,
        work: impl FnMut(&mut Transaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _span = tracing::info_span!("transaction").entered();
        self.db.transact(work)
    }

    /// How it was opened.
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// Entries that the restart at the beginning brought back.
    pub fn recovered_entries(&self) -> u64 {
        self.recovered_entries
    }

    /// Does all of it in one transaction, or nothing. Gives what each operation found: the value it read, or whether a key was there.
    ///
    /// # Errors
    /// A [`Refusal`]: nothing was done then, unless it says that nobody knows.
    pub fn apply(&self, operations: &[Operation]) -> Result<Vec<Value>, Refusal> {
        let table = self.table.read();
        let (found, changes) = self.transact(|txn| {
            let (mut changes, mut room) = (0, MOST_ANSWER_BYTES);
            let each = operations.iter().map(|operation| {
                let (found, is_change) = apply_one(txn, &table, operation, &mut room)?;
                changes += u64::from(is_change);
                Ok(found)
            });
            let found: Result<Vec<_>, Error> = each.collect();
            Ok((found?, changes))
        })?;
        self.changes.fetch_add(changes, Ordering::Relaxed);
        let is_due = changes > 0 && self.options.with_log && self.count(changes);
        drop(table);
        if is_due && let Err(error) = self.checkpoint_if_due() {
            // What was asked for is done, and durable: that the engine has stopped meanwhile is told to whoever asks next.
            tracing::error!("a checkpoint failed: {error}");
        }
        Ok(found)
    }

    /// Counts entries; gives whether a checkpoint is due.
    fn count(&self, changes: u64) -> bool {
        let mut since = self.since.lock();
        since.entries += changes;
        since.entries >= self.options.checkpoint_every
    }

    fn checkpoint_if_due(&self) -> Result<(), Error> {
        let _nobody_else = self.table.write();
        let mut since = self.since.lock();
        match since.entries >= self.options.checkpoint_every {
            true => self.checkpoint_since(&mut since),
            false => Ok(()), // Somebody else has taken it.
        }
    }

    /// Nobody else is at work.
    fn checkpoint_since(&self, since: &mut Since) -> Result<(), Error> {
        self.db.flush_pages()?;
        let checkpoint = self.db.checkpoint()?;
        *since = Since { lsn: checkpoint.begin_lsn, entries: 0 };
        Ok(())
    }

    /// Writes all pages, then takes a checkpoint: nothing would have to be replayed.
    ///
    /// # Errors
    /// A [`Refusal`] where there is no log.
    pub fn checkpoint(&self) -> Result<(), Refusal> {
        self.needs_log("a checkpoint")?;
        let _nobody_else = self.table.write();
        Ok(self.checkpoint_since(&mut self.since.lock())?)
    }

    /// Writes all pages of a store without a log: after a crash it is as it is now.
    ///
    /// # Errors
    /// A [`Refusal`] where there is a log.
    pub fn flush(&self) -> Result<(), Refusal> {
        if self.options.with_log {
            let message = "this store keeps a log: every change is durable already";
            return Err(Refusal::new(axum::http::StatusCode::CONFLICT, message));
        }
        Ok(self.db.flush()?)
    }

    /// Removes all keys.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn clear(&self) -> Result<(), Refusal> {
        let mut table = self.table.write();
        self.db.drop_table(TABLE)?;
        *table = self.db.table(TABLE)?;
        match self.options.with_log {
            true => Ok(self.checkpoint_since(&mut self.since.lock())?),
            false => Ok(()),
        }
    }

    /// Keys from this one on, `most` of them, and how many there are in all.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn list(&self, from: Option<&str>, most: usize) -> Result<Listed, Refusal> {
        let table = self.table.read();
        Ok(self.transact(|txn| {
            let count = count(txn, &table)?;
            let from =
                from.map_or(Bound::Unbounded, |key| Bound::Included(key.as_bytes().to_vec()));
            let mut pairs = txn.scan(&table, (from, Bound::Unbounded))?;
            let (mut items, mut room) = (Vec::new(), MOST_ANSWER_BYTES);
            let mut next = None;
            for pair in &mut pairs {
                let (key, value) = pair?;
                let key = text(&key);
                if items.len() == most || (value.len() > room && !items.is_empty()) {
                    next = Some(key);
                    break;
                }
                room = room.saturating_sub(value.len());
                items.push((key, json_of(&value)));
            }
            Ok(Listed { items, count, next })
        })?)
    }

    /// The entries: what a restart would have to bring back, oldest first.
    ///
    /// # Errors
    /// Those of reading the log.
    pub fn entries(&self) -> Result<Vec<Entry>, Refusal> {
        if !self.options.with_log {
            return Ok(Vec::new());
        }
        let since = self.since.lock();
        let end = self.db.stats().flushed_lsn;
        Ok(entries::read(&self.options.directory, since.lsn, end)?)
    }

    /// Refuses what only a log makes possible.
    ///
    /// # Errors
    /// A [`Refusal`] where there is no log.
    pub fn needs_log(&self, what: &str) -> Result<(), Refusal> {
        if self.options.with_log {
            return Ok(());
        }
        let message = format!(
            "this store keeps no log, which {what} needs; POST /admin/flush writes its pages"
        );
        Err(Refusal::new(axum::http::StatusCode::CONFLICT, message))
    }

    /// Where redo of a restart would begin now, if it had anything to do.
    pub fn redo_lsn(&self) -> Option<Lsn> {
        DirtyPageTable::redo_lsn(&self.db.dirty_page_table())
    }

    /// What `/admin/stats` tells.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn stats(&self) -> Result<Value, Refusal> {
        let table = self.table.read();
        let items = self.transact(|txn| count(txn, &table))?;
        drop(table);
        let (stats, since) = (self.db.stats(), self.since.lock());
        let with_log = self.options.with_log;
        let fixes = stats.pool.hits + stats.pool.misses;
        let hit_rate = (fixes > 0).then(|| stats.pool.hits as f64 / fixes as f64);
        Ok(json!({
            "log": with_log,
            "items": items,
            "recovered_entries": self.recovered_entries,
            "entries_since_checkpoint": since.entries,
            "checkpoint_every": with_log.then_some(self.options.checkpoint_every),
            "wal_size_bytes": if with_log { stats.end_lsn.get() - since.lsn.get() } else { 0 },
            "changes": self.changes.load(Ordering::Relaxed),
            "flushed_lsn": with_log.then(|| stats.flushed_lsn.get()),
            "end_lsn": stats.end_lsn.get(),
            "checkpoint_lsn": self.db.master_record().checkpoint_lsn.get(),
            "oldest_required_lsn": stats.oldest_required_lsn.get(),
            "dirty_pages": stats.dirty_pages,
            "pages": stats.pages,
            "page_size": stats.page_size,
            "hit_rate": hit_rate,
            "uptime_seconds": self.began.elapsed().as_secs_f64(),
            "restart": restart_json(self.db.restart_report()),
        }))
    }
}

fn restart_json(report: &crate::recovery::RestartReport) -> Value {
    let (analysis, redo, undo) = (&report.analysis, &report.redo, &report.undo);
    json!({
        "clean": report.clean,
        "seconds": report.duration.as_secs_f64(),
        "analysis": {
            "from": analysis.from.get(), "end": analysis.end.get(), "records": analysis.records,
            "dirty_pages": analysis.dirty_pages, "losers": analysis.losers.len(),
        },
        "redo": {
            "from": redo.from.map(Lsn::get), "records": redo.records, "redone": redo.redone,
            "pages_read": redo.pages_read,
        },
        "undo": { "losers": undo.losers, "compensations": undo.compensations },
    })
}

/// Gives what was found, and whether something changed.
fn apply_one(
    txn: &mut Transaction,
    table: &Table,
    operation: &Operation,
    room: &mut usize,
) -> Result<(Value, bool), Error> {
    match operation {
        Operation::Set { key, value } => {
            let bytes = value.to_string().into_bytes();
            if bytes.len() > MOST_VALUE_BYTES {
                let message =
                    format!("a value of {} bytes: {MOST_VALUE_BYTES} at most", bytes.len());
                return Err(Error::InvalidInput(message));
            }
            txn.put(table, key.as_bytes(), &bytes)?;
            Ok((json!({ "key": key, "set": true }), true))
        }
        Operation::Delete { key } => {
            let was_there = txn.delete(table, key.as_bytes())?;
            Ok((json!({ "key": key, "deleted": was_there }), was_there))
        }
        Operation::Get { key } => {
            let value = txn.get(table, key.as_bytes())?;
            let Some(left) = room.checked_sub(value.as_ref().map_or(0, Vec::len)) else {
                let message =
                    format!("the values of an answer have {MOST_ANSWER_BYTES} bytes at most");
                return Err(Error::InvalidInput(message));
            };
            *room = left;
            let found = json!({ "key": key, "found": value.is_some(), "value": value.as_deref().map(json_of) });
            Ok((found, false))
        }
    }
}

fn count(txn: &mut Transaction, table: &Table) -> Result<u64, Error> {
    let mut pairs = txn.scan(table, ..)?;
    let mut count = 0;
    while pairs.next_ref()?.is_some() {
        count += 1;
    }
    Ok(count)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
