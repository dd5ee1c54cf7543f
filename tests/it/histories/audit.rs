//! What must hold of a database at any time, and of one that was just opened.

use std::collections::BTreeMap;

use aries::disk::SimDisk;
use aries::ids::{PageId, TxnId};
use aries::page::{self, PageKind, PageState, SlotState, space_map};
use aries::tables::{TransactionEntry, TransactionState};
use aries::{Db, PreparedTransaction, Result};

use super::locks::Locks;
use super::model::{InDoubt, Running, State};

/// The database holds this and nothing else: every record of every page, every page's state.
pub fn state(db: &Db, expected: &State) -> Result<()> {
    let stats = db.stats();
    for number in 0..stats.pages {
        let page = PageId(number);
        let content = expected.pages.get(&page);
        let wanted = match content {
            _ if space_map::is_map_page(page, stats.page_size) => PageState::Used,
            Some(content) => content.freed_by.map_or(PageState::Used, PageState::FreePending),
            None => PageState::Free,
        };
        assert_eq!(db.page_state(page)?, Some(wanted), "state of {page}");
        let Some(content) = content else { continue };
        let guard = db.fix_page(page)?;
        if page::kind(guard.bytes()) == Some(PageKind::Slotted) {
            page::check_structure(guard.bytes()).unwrap();
        }
        let live = page::slots(guard.bytes()).filter(|(_, state, _)| *state == SlotState::Live);
        let live: Vec<_> = live.map(|(slot, _, bytes)| (slot, bytes)).collect();
        assert_eq!(live, content.live().collect::<Vec<_>>(), "records of {page}");
    }
    assert!(expected.pages.keys().all(|page| page.0 < stats.pages), "the file was cut");
    Ok(())
}

/// By what name a transaction is prepared.
pub fn global_id(txn: TxnId) -> Vec<u8> {
    format!("history {txn}").into_bytes()
}

/// Nothing is left of what was under way before, but for what is in doubt.
pub fn open_database(db: &Db, expected: &Running) -> Result<()> {
    tables(db, std::iter::empty(), &expected.in_doubt);
    in_doubt(db, &expected.in_doubt);
    locks(&expected.in_doubt).check(db);
    state(db, &expected.state)
}

/// The locks of transactions in doubt.
pub fn locks(in_doubt: &BTreeMap<TxnId, InDoubt>) -> Locks {
    let mut all = Locks::default();
    for (txn, entry) in in_doubt {
        entry.locks.iter().for_each(|(name, mode)| all.take(*txn, *name, *mode));
    }
    all
}

/// The engine tells of these transactions in doubt, and of no others.
pub fn in_doubt(db: &Db, expected: &BTreeMap<TxnId, InDoubt>) {
    let told = expected.iter().map(|(txn, in_doubt)| PreparedTransaction {
        txn: *txn,
        global_id: global_id(*txn),
        prepare_lsn: in_doubt.prepare_lsn,
        first_lsn: in_doubt.first_lsn,
        locks: in_doubt.locks.len(),
    });
    let mut told: Vec<_> = told.collect();
    told.sort_by(|one, other| one.global_id.cmp(&other.global_id));
    assert_eq!(db.prepared(), told, "the transactions in doubt");
}

/// The line of a transaction in doubt, [`comparable`].
fn line(in_doubt: &InDoubt) -> TransactionEntry {
    TransactionEntry {
        state: TransactionState::Prepared,
        first_lsn: Some(in_doubt.first_lsn),
        last_lsn: Some(in_doubt.prepare_lsn),
        undo_next_lsn: None,
    }
}

/// Where undo of a transaction in doubt would go on may be told in several ways after a restart: by
/// the record before, or by where that leads.
fn comparable(entry: TransactionEntry) -> TransactionEntry {
    match entry.state {
        TransactionState::Prepared => TransactionEntry { undo_next_lsn: None, ..entry },
        _ => entry,
    }
}

/// Both tables are as they should be, given the transactions under way.
pub fn tables(
    db: &Db,
    open: impl Iterator<Item = (TxnId, TransactionEntry)>,
    in_doubt: &BTreeMap<TxnId, InDoubt>,
) {
    let stats = db.stats();
    let transactions = db.transaction_table();
    let mut open: Vec<_> = open.collect();
    open.extend(in_doubt.iter().map(|(txn, in_doubt)| (*txn, line(in_doubt))));
    open.sort_by_key(|(id, _)| *id);
    let found: Vec<_> = transactions.iter().map(|(id, entry)| (id, comparable(*entry))).collect();
    assert_eq!(found, open, "the transaction table");
    let oldest = stats.oldest_required_lsn;
    assert!(transactions.first_lsn().is_none_or(|lsn| lsn >= oldest), "undo needs lost log");
    for (page, rec_lsn) in db.dirty_page_table().iter() {
        let needed = oldest..stats.end_lsn;
        assert!(needed.contains(&rec_lsn), "rec_lsn {rec_lsn} of {page}: {needed:?}");
    }
    assert!(stats.flushed_lsn <= stats.end_lsn);
}

/// A page that is not dirty is on the disk as it is in memory; one that is dirty has changed since
/// its `rec_lsn`.
pub fn clean_pages(db: &Db, disk: &SimDisk) -> Result<()> {
    let size = db.stats().page_size;
    for number in 0..db.stats().pages {
        let page = PageId(number);
        let page_lsn = db.fix_page(page)?.page_lsn();
        let file = disk.read_file(aries::buffer::PAGES_FILE).expect("the file of pages");
        let image = &file[number as usize * size..][..size];
        page::verify(image, page).unwrap();
        match db.dirty_page_table().rec_lsn(page) {
            Some(rec_lsn) => assert!(page_lsn >= Some(rec_lsn), "{page} is dirty"),
            None => assert_eq!(page::page_lsn(image), page_lsn, "{page} is clean"),
        }
    }
    Ok(())
}
