//! The log and the buffer pool of a running store, as the engine has them.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use serde_json::{Value, json};

use super::reading::each_record;
use super::told::{hex, record_json};
use super::{Refusal, Store};
use crate::db::Outside;
use crate::error::Result;
use crate::ids::Lsn;
use crate::page;
use crate::record::padded;

/// The latest `most` durable records, or the first of those from an LSN on; and where the log's marks stand.
///
/// # Errors
/// A [`Refusal`] where there is no log; those of reading.
pub fn latest(store: &Store, from: Option<Lsn>, most: usize) -> Result<Value, Refusal> {
    store.needs_log("the tape")?;
    let stats = store.db().stats();
    let directory = &store.options().directory;
    let end = stats.flushed_lsn;
    let mut records =
        each_record(directory, from, end, |part: &mut VecDeque<Value>, lsn, bytes, record| {
            part.push_back(record_json(lsn, bytes, record));
            match (part.len() > most, from) {
                // The first ones, and one more: where to go on.
                (true, Some(_)) => return ControlFlow::Break(()),
                // The latest.
                (true, None) => drop(part.pop_front()),
                (false, _) => {}
            }
            ControlFlow::Continue(())
        })?;
    let next = if records.len() > most { records.pop_back() } else { None };
    Ok(json!({
        "records": records,
        "next": next.map(|record| record["lsn"].clone()),
        "markers": {
            "flushed_lsn": stats.flushed_lsn.get(),
            "checkpoint_lsn": store.db().master_record().checkpoint_lsn.get(),
            "redo_lsn": store.redo_lsn().map(Lsn::get),
            "oldest_required_lsn": stats.oldest_required_lsn.get(),
            "end_lsn": stats.end_lsn.get(),
        },
    }))
}

/// One record, with its bytes.
///
/// # Errors
/// A [`Refusal`] where none begins there.
pub fn one(store: &Store, lsn: Lsn) -> Result<Value, Refusal> {
    store.needs_log("a record")?;
    let durable = store.db().stats().flushed_lsn;
    if lsn >= durable {
        let message = format!("the log is durable up to {durable}: no record to show at {lsn}");
        return Err(Refusal::new(axum::http::StatusCode::NOT_FOUND, message));
    }
    let Ok(read) = store.db().read_log(lsn) else {
        let message = format!("no record begins at {lsn}, or it is kept no longer");
        return Err(Refusal::new(axum::http::StatusCode::NOT_FOUND, message));
    };
    let bytes = read.bytes();
    let record = record_json(lsn, padded(bytes.len()), &read.record());
    Ok(json!({ "record": record, "hex": hex(bytes) }))
}

/// The pages in the pool, beside what is on disk; the dirty page table and the transaction table.
///
/// # Errors
/// Those of reading pages.
pub fn pool(store: &Store) -> Result<Value, Refusal> {
    let db = store.db();
    let on_disk = Outside::open_in_use(&store.options().directory)?;
    let pages = db.resident_pages()?.into_iter().map(|resident| {
        let disk = on_disk.read_page(resident.page).ok();
        let disk_lsn = disk.and_then(|bytes| page::page_lsn(&bytes));
        json!({
            "page": resident.page.0,
            "page_lsn": resident.page_lsn.map(Lsn::get),
            "disk_page_lsn": disk_lsn.map(Lsn::get),
            "rec_lsn": resident.rec_lsn.map(Lsn::get),
            "dirty": resident.rec_lsn.is_some(),
            "fixed": resident.fixes,
        })
    });
    let pages: Vec<Value> = pages.collect();
    let table = db.transaction_table();
    let transactions = table.iter().map(|(txn, entry)| {
        json!({
            "txn": txn.to_string(),
            "state": entry.state.to_string(),
            "first_lsn": entry.first_lsn.map(Lsn::get),
            "last_lsn": entry.last_lsn.map(Lsn::get),
            "undo_next_lsn": entry.undo_next_lsn.map(Lsn::get),
        })
    });
    let transactions: Vec<Value> = transactions.collect();
    Ok(json!({ "frames": db.frames(), "pages": pages, "transaction_table": transactions }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lab::StoreOptions;

    /// The words for a state are those of a recording, and of the documents.
    #[test]
    fn a_transaction_under_way_is_active() {
        let directory = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            directory: directory.path().join("store"),
            with_log: true,
            checkpoint_every: 0,
        };
        let store = Store::open(options).unwrap();
        let table = store.db().table("accounts").unwrap();
        let mut txn = store.db().begin().unwrap();
        txn.put(&table, b"alice", b"100").unwrap();
        let told = pool(&store).unwrap();
        assert_eq!(told["transaction_table"][0]["state"], "active", "{told}");
        txn.rollback().unwrap();
    }
}
