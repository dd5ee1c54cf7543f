//! What is done with a directory, whatever it holds: opened it is, or refused with an error; what opens is
//! read, verified, worked on, closed, and opened again.

use std::sync::Arc;

use aries::config::{Durability, LogBlock, RestartMode, TornPageProtection};
use aries::db::verify_closed;
use aries::disk::{SimDisk, Survivors};
use aries::ids::{Lsn, PageId, SlotId};
use aries::log::ControlFile;
use aries::{Db, Error, Options, Result, Table};

use crate::databases;
use crate::images::image;

/// Pages looked at, at most.
const MOST_PAGES: u64 = 80;
/// Pairs read of a table in one direction, at most.
const MOST_PAIRS: usize = 100;
const RECORD: &[u8] = b"committed after it was opened";

/// One of the ways in which a database can be opened.
pub fn options(how: u8) -> Options {
    let options = databases::options()
        .restart(if how & 1 == 0 { RestartMode::Serial } else { RestartMode::Parallel(2) })
        .torn_page_protection(match how >> 1 & 3 {
            2 => TornPageProtection::PageImages,
            3 => TornPageProtection::None,
            _ => TornPageProtection::DoubleWrite,
        });
    let options = match how >> 5 & 1 {
        1 => options.durability(Durability::Off),
        _ => options,
    };
    match how >> 3 & 3 {
        2 => options.log_block(LogBlock::Padded(512)),
        3 => options.log_block(LogBlock::Padded(4096)),
        _ => options,
    }
}

fn open(disk: &SimDisk, how: u8) -> Result<Db> {
    options(how).open_on(Arc::new(disk.clone()))
}

/// Opens what the disk holds, and works on it. Gives whether it opened.
///
/// # Panics
/// If the engine does, or if what it says is not so.
pub fn survive(disk: &SimDisk, how: u8) -> bool {
    let before = image(disk);
    let report = verify_closed(Arc::new(disk.clone()), &mut |_, _| {});
    assert!(image(disk) == before, "verifying changed something");
    let db = match open(disk, how) {
        Ok(db) => db,
        Err(error) => {
            assert!(
                !matches!(
                    error,
                    Error::Deadlock { .. } | Error::LockTimeout { .. } | Error::Closed
                ),
                "{error}"
            );
            // A refusal leaves something that can be opened, or is refused again.
            drop(open(disk, how));
            return false;
        }
    };
    assert!(report.is_ok(), "it opens, but cannot be verified: {report:?}");
    assert!(db.restart_report().analysis.end <= db.stats().end_lsn);
    // All that restart did, it does again.
    let crashed = disk.crash(&Survivors::None);
    let again = open(&crashed, how);
    if !again.as_ref().is_err_and(|error| is_of_a_run_to_come(error, db.stats().end_lsn)) {
        drop(unless_used_up(again, "opened once, and refused after a crash"));
    }
    if let Ok((page, slot)) = work(&db) {
        if unless_used_up(db.close(), "nothing failed before").is_none() {
            return true;
        }
        let closed_at = ControlFile::open(disk).expect("just closed").master().clean_end_lsn;
        let opened = open(disk, how >> 1);
        let end = closed_at.expect("closing says where the log ends");
        if opened.as_ref().is_err_and(|error| is_of_a_run_to_come(error, end)) {
            return true;
        }
        let Some(db) = unless_used_up(opened, "a database that was closed opens") else {
            return true;
        };
        let mut txn = db.begin().expect("just opened");
        let found = txn.read_record(page, slot).expect("just committed");
        assert_eq!(found.as_deref(), Some(RECORD));
        txn.commit().expect("nothing to write");
    } else {
        drop(db);
        drop(open(disk, how));
    }
    true
}

/// Whether the log is refused for a record behind its end, which so nobody wrote: the input holds records of the
/// run that opening it began. (An engine writes none before both slots of the control file know of the run.)
fn is_of_a_run_to_come(error: &Error, end: Lsn) -> bool {
    let message = error.to_string();
    let witness =
        message.split("(the record at ").nth(1).and_then(|rest| rest.get(..12)?.parse().ok());
    witness.is_some_and(|witness: u64| witness >= end.get())
}

/// What must have worked, unless a counter of the control file has gone as far as counters may, at this
/// very open: then there is no next one.
fn unless_used_up<T>(result: Result<T>, must: &str) -> Option<T> {
    match result {
        Err(error) if error.to_string().contains("counters that can go up by one") => None,
        result => Some(result.unwrap_or_else(|error| panic!("{must}: {error}"))),
    }
}

/// Reads, changes, undoes, and commits a record; tells where. The first error ends it, but for those
/// that a damaged page may give.
fn work(db: &Db) -> Result<(PageId, SlotId)> {
    // Their locks would be waited for.
    for (number, prepared) in db.prepared().iter().enumerate() {
        match number % 2 {
            0 => drop(db.commit_prepared(&prepared.global_id)?),
            _ => db.rollback_prepared(&prepared.global_id)?,
        }
    }
    let pages = db.stats().pages.min(MOST_PAGES);
    let report = db.verify()?;
    assert_eq!(report.pages, db.stats().pages);
    for page in (0..pages).map(PageId) {
        let _ = (db.fix_page(page).map(drop), db.page_state(page));
    }
    let mut txn = db.begin()?;
    for page in (0..pages).map(PageId) {
        for slot in txn.slots(page).unwrap_or_default() {
            let _ = txn.read_record(page, slot);
            let _ = (txn.write_record(page, slot, 0, b"w"), txn.delete_record(page, slot));
        }
        let _ = (txn.insert_record(page, b"new"), txn.free_page(page));
    }
    txn.rollback()?;
    for name in db.tables().unwrap_or_default() {
        if let Ok(table) = db.table(&name) {
            work_on_table(db, &table)?;
        }
    }
    db.step()?;
    db.checkpoint()?;
    let mut txn = db.begin()?;
    let page = txn.allocate_page()?;
    let slot = txn.insert_record(page, RECORD)?;
    txn.commit()?;
    db.repair()?;
    db.flush_pages()?;
    Ok((page, slot))
}

/// Reads a table in both directions, changes it, splits its leaves, and undoes all that. What a damaged tree refuses is passed over.
fn work_on_table(db: &Db, table: &Table) -> Result<()> {
    let mut txn = db.begin()?;
    let forwards: Vec<_> = txn.scan(table, ..)?.take(MOST_PAIRS).collect();
    txn.scan(table, ..)?.rev().take(MOST_PAIRS).for_each(drop);
    for (key, value) in forwards.into_iter().flatten() {
        let _ = (txn.put(table, &key, &[&value[..], b" longer"].concat()), txn.get(table, &key));
        let _ = txn.delete(table, &key);
    }
    for number in 0..8 {
        let _ = txn.put(table, &[number; 70], &[number; 40]);
    }
    let _ = (txn.put(table, b"long", &[7; 1200]), txn.delete(table, b"long"));
    txn.rollback()
}
