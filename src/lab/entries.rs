//! The log of a store as a student reads it: one entry for each change of a key that is there to stay.
//!
//! An entry is a [`KeyChange`] of a transaction that committed, and that was not undone before: undo of a transaction, or back to a
//! savepoint, says by its compensation records how far back it went (`undo_next_lsn`), and takes the entries behind that with it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

use super::reading::each_record;
use super::told::json_of;
use crate::db::Outside;
use crate::error::Result;
use crate::ids::{Lsn, TxnId};
use crate::record::{KeyChange, LogRecord, ToldValue};

/// The table of a store.
pub const TABLE: &str = "items";

/// One change of a key.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Entry {
    /// Its log sequence number.
    pub sequence: u64,
    /// The transaction that made it.
    pub transaction: String,
    /// `SET` or `DELETE`.
    pub operation: &'static str,
    /// The key.
    pub key: String,
    /// The value after; null for a delete.
    pub value: Value,
    /// The value before; null if there was none.
    pub old_value: Value,
    /// When, in UTC.
    pub timestamp: String,
}

impl Entry {
    fn of(lsn: Lsn, change: &KeyChange<'_>) -> Self {
        let value = |told: Option<ToldValue<'_>>| match told {
            None => Value::Null,
            Some(told) if told.bytes.len() < told.length as usize => {
                format!("{}… ({} bytes)", String::from_utf8_lossy(told.bytes), told.length).into()
            }
            Some(told) => json_of(told.bytes),
        };
        let time = UNIX_EPOCH + Duration::from_micros(change.wall_time_micros);
        Self {
            sequence: lsn.get(),
            transaction: change.link.txn.to_string(),
            operation: if change.new.is_some() { "SET" } else { "DELETE" },
            key: String::from_utf8_lossy(change.key).into_owned(),
            value: value(change.new),
            old_value: value(change.old),
            timestamp: humantime::format_rfc3339_micros(time).to_string(),
        }
    }
}

/// What was read: entries of transactions that have not ended yet, and of those that committed.
#[derive(Default)]
struct Read {
    open: BTreeMap<TxnId, Vec<Entry>>,
    committed: Vec<Entry>,
}

impl Read {
    fn take_in(&mut self, lsn: Lsn, record: &LogRecord<'_>) {
        match record {
            // Those of the catalog are of no interest here.
            LogRecord::KeyChange(change) if change.table == TABLE.as_bytes() => {
                self.open.entry(change.link.txn).or_default().push(Entry::of(lsn, change));
            }
            LogRecord::Compensation(clr) => {
                if let Some(entries) = self.open.get_mut(&clr.link.txn) {
                    let kept = clr.undo_next_lsn.map_or(0, Lsn::get);
                    entries.retain(|entry| entry.sequence <= kept);
                }
            }
            LogRecord::Commit(commit) => {
                self.committed.extend(self.open.remove(&commit.link.txn).unwrap_or_default());
            }
            _ => {}
        }
    }
}

/// The entries from this LSN on, up to `end`, of a database that is open elsewhere or here.
///
/// # Errors
/// [`crate::Error::Corrupt`] when the log is damaged; those of the disk.
pub fn read(directory: &Path, from: Lsn, end: Lsn) -> Result<Vec<Entry>> {
    let take_in = |read: &mut Read, lsn, _, record: &LogRecord<'_>| {
        read.take_in(lsn, record);
        ControlFlow::Continue(())
    };
    let read: Read = each_record(directory, Some(from), end, take_in)?;
    let mut committed = read.committed;
    committed.sort_by_key(|entry| entry.sequence);
    Ok(committed)
}

/// What a restart of a database that is not open will have to bring back: from which LSN on, and how many entries. `None` if it was
/// closed cleanly.
///
/// # Errors
/// As [`read`].
pub fn to_redo(directory: &Path) -> Result<Option<(Lsn, u64)>> {
    let database = Outside::open(directory)?;
    let analysis = database.analyse()?;
    let (begin, end) = (analysis.report().from, analysis.report().end);
    let pages = analysis.into_pages();
    if pages.clean {
        return Ok(None);
    }
    let from = pages.dirty_pages.redo_lsn().unwrap_or(begin).min(begin);
    Ok(Some((from, read(directory, from, end)?.len() as u64)))
}
