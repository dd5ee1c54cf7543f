//! What must hold of a database at any time, and of one that was just opened.

use aries::disk::SimDisk;
use aries::ids::{PageId, TxnId};
use aries::page::{self, PageKind, PageState, SlotState, space_map};
use aries::tables::TransactionEntry;
use aries::{Db, Result};

use super::model::State;

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

/// Nothing is left of what was under way before.
pub fn open_database(db: &Db, expected: &State) -> Result<()> {
    assert!(db.transaction_table().is_empty() && db.locks().is_empty());
    state(db, expected)
}

/// Both tables are as they should be, given the transactions under way.
pub fn tables(db: &Db, open: impl Iterator<Item = (TxnId, TransactionEntry)>) {
    let stats = db.stats();
    let transactions = db.transaction_table();
    let mut open: Vec<_> = open.collect();
    open.sort_by_key(|(id, _)| *id);
    let found: Vec<_> = transactions.iter().map(|(id, entry)| (id, *entry)).collect();
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
