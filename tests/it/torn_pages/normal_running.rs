//! Damage that is found in normal running.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aries::config::TornPageProtection;
use aries::disk::{Fault, FaultKind, SimDisk, Survivors};
use aries::event::Event;
use aries::ids::{Lsn, PageId, SlotId};
use aries::log::SEGMENT_HEADER_BYTES;
use aries::{Db, Error, page};

use super::{ALL, assert_names_page};
use crate::common::{Story, Trace, forget_log, options, watched_disk};

/// Makes sure that page 9 is not in the pool.
fn evict_nine(db: &Db) {
    (10..=24).chain([0, 10]).for_each(|page| drop(db.fix_page(PageId(page)).unwrap()));
}

fn flip_nine(disk: &SimDisk) {
    disk.flip_bit("pages", 9 * 512 + 300, 3).unwrap();
}

fn read_nine(db: &Db) -> Result<Vec<u8>, Error> {
    let guard = db.fix_page(PageId(9))?;
    Ok(page::record(guard.bytes(), SlotId(0)).unwrap().to_vec())
}

/// The page is whole again when it is served, and durably so: also after a crash at that moment. Under each
/// protection.
#[test]
fn a_damaged_page_is_rebuilt_durably_and_that_is_told() {
    for protection in ALL {
        let story = Story::new();
        drop(story.db.clone().close());
        let trace = Trace::default();
        let options = options().torn_page_protection(protection);
        let disk = story.disk.crash(&Survivors::All);
        let db = trace.open_with(options, Arc::new(disk.clone())).unwrap();
        let whole = disk.read_file("pages").unwrap();
        flip_nine(&disk);
        assert_eq!(read_nine(&db).unwrap(), b"....");
        assert!(disk.crash(&Survivors::None).read_file("pages").unwrap() == whole);
        let told = |event: &Event| match event {
            Event::PageRepaired { page, from, page_lsn } => Some((*page, *from, *page_lsn)),
            _ => None,
        };
        let told: Vec<_> = trace.events().iter().filter_map(told).collect();
        let [(PageId(9), from, page_lsn)] = told[..] else { panic!("{told:?}") };
        assert!(Some(from) < page_lsn);
        assert_eq!(page_lsn, db.fix_page(PageId(9)).unwrap().page_lsn());
        assert!(db.dirty_page_table().rec_lsn(PageId(9)).is_none(), "it is clean");
    }
}

/// All frames but one are fixed, and all their pages dirty.
#[test]
fn a_page_is_rebuilt_with_a_full_pool() {
    let story = Story::new();
    evict_nine(&story.db);
    let mut txn = story.begin();
    for page in 10..=20 {
        story.update(&mut txn, page);
    }
    let fixed: Vec<_> = (10..=24).map(|page| story.db.fix_page(PageId(page)).unwrap()).collect();
    assert_eq!(fixed.len(), 15);
    flip_nine(&story.disk);
    assert_eq!(read_nine(&story.db).unwrap(), b"....");
}

/// The device fails: that is no damage, and the page is not rebuilt over it.
#[test]
fn an_input_output_error_stays_one() {
    let story = Story::new();
    evict_nine(&story.db);
    flip_nine(&story.disk);
    let damaged = story.disk.read_file("pages").unwrap();
    let (at, kind) = (story.disk.io_count(), FaultKind::InputOutputError);
    story.disk.inject(Fault { at, kind, forever: false });
    assert!(matches!(read_nine(&story.db), Err(Error::Io { .. })));
    assert!(story.disk.read_file("pages").unwrap() == damaged);
    assert_eq!(read_nine(&story.db).unwrap(), b"....");
}

/// The log itself is damaged, or cannot be read: the page's own error comes, or the device's; nothing is
/// served.
#[test]
fn a_log_that_cannot_be_read_is_of_no_help() {
    let story = Story::new();
    evict_nine(&story.db);
    flip_nine(&story.disk);
    let in_log = SEGMENT_HEADER_BYTES + 436;
    story.disk.flip_bit("log/0000000000000001.seg", in_log, 1).unwrap();
    assert_names_page(&read_nine(&story.db).unwrap_err());
    story.disk.flip_bit("log/0000000000000001.seg", in_log, 1).unwrap();
    let (at, kind) = (story.disk.io_count() + 1, FaultKind::InputOutputError);
    story.disk.inject(Fault { at, kind, forever: false });
    assert!(matches!(read_nine(&story.db), Err(Error::Io { .. })));
    assert_eq!(read_nine(&story.db).unwrap(), b"....");
}

/// A page that cannot be rebuilt costs one search of the log, not one at every read.
#[test]
fn the_log_is_searched_in_vain_once() {
    let story = Story::new();
    forget_log(&story.db);
    evict_nine(&story.db);
    flip_nine(&story.disk);
    let read = || {
        let before = story.disk.io_count();
        assert_names_page(&read_nine(&story.db).unwrap_err());
        story.disk.io_count() - before
    };
    let (first, second) = (read(), read());
    assert!(first > second, "{first} and {second} I/Os");
    assert_eq!(second, 1, "the page itself");
    flip_nine(&story.disk);
    assert_eq!(read_nine(&story.db).unwrap(), b"....", "whole again, it is served");
}

/// A page with a right checksum, stamped beyond the end of the log, bears witness that log was lost: to
/// rebuild it from the log that is left would hide that.
#[test]
fn a_page_beyond_the_log_is_never_rebuilt() {
    let story = Story::new();
    evict_nine(&story.db);
    let mut pages = story.disk.read_file("pages").unwrap();
    let nine = &mut pages[9 * 512..10 * 512];
    page::set_page_lsn(nine, Lsn::new(1 << 40).unwrap());
    page::seal(nine);
    story.disk.write_file("pages", &pages);
    assert_names_page(&read_nine(&story.db).unwrap_err());
    assert_names_page(&story.db.fix_page(PageId(9)).map(drop).unwrap_err());
    let mut txn = story.begin();
    story.update(&mut txn, 8);
    drop(txn);
    let disk = story.crash();
    disk.write_file("pages", &pages);
    let after = crate::common::open(&disk);
    assert_names_page(&read_nine(&after).unwrap_err());
}

/// The log is truncated while pages are rebuilt from it: each is rebuilt, or reported, never served damaged;
/// and nobody waits for ever.
#[test]
fn pages_are_rebuilt_while_the_log_is_truncated() {
    let story = Story::new();
    let done = AtomicBool::new(false);
    evict_nine(&story.db);
    flip_nine(&story.disk);
    assert_eq!(read_nine(&story.db).unwrap(), b"....", "the log reaches back");
    let mut reported = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            forget_log(&story.db);
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) || reported == 0 {
            evict_nine(&story.db);
            flip_nine(&story.disk);
            match read_nine(&story.db) {
                Ok(record) => {
                    assert_eq!(record, b"....");
                    heal_nine(&story.disk);
                }
                Err(error) => {
                    assert_names_page(&error);
                    reported += 1;
                    flip_nine(&story.disk); // Whole again.
                }
            }
        }
    });
}

/// Undoes the flip if the page was not read from the disk, and so not rebuilt there.
fn heal_nine(disk: &SimDisk) {
    let pages = disk.read_file("pages").unwrap();
    if page::verify(&pages[9 * 512..10 * 512], PageId(9)).is_err() {
        flip_nine(disk);
    }
}

/// On a full disk restart has just the log that the losers were promised. Images are none of that: each
/// protection leaves enough for undo, however large the pages.
#[test]
fn images_never_take_the_log_that_undo_needs() {
    let sized = || options().page_size(8192).buffer_pool_bytes(16 * 8192);
    let disk = SimDisk::new();
    let images = sized().torn_page_protection(TornPageProtection::PageImages);
    let db = images.open_on(Arc::new(disk.clone())).unwrap();
    let mut txn = db.begin().unwrap();
    let mut pages: Vec<PageId> = (0..31).map(|_| txn.allocate_page().unwrap()).collect();
    for page in &pages {
        txn.insert_record(*page, &[1; 7000]).unwrap();
    }
    txn.commit().unwrap();
    db.flush_pages().unwrap();
    db.checkpoint().unwrap();
    let another = pages.pop().unwrap();
    let mut loser = db.begin().unwrap();
    pages.iter().for_each(|page| loser.write_record(*page, SlotId(0), 0, &[2; 7000]).unwrap());
    disk.set_capacity(Some(0));
    let mut filler = db.begin().unwrap();
    let full =
        (0..10_000).find_map(|_| filler.write_record(another, SlotId(0), 0, &[3; 7000]).err());
    assert!(full.is_some_and(|error| error.is_disk_full()));
    db.flush_pages().unwrap();
    db.force_log().unwrap();
    let crashed = disk.crash(&Survivors::None);
    crashed.set_capacity(Some(0));
    let after = images.open_on(Arc::new(crashed)).unwrap();
    assert!(after.restart_report().undo.compensations >= 30);
    for page in &pages {
        let guard = after.fix_page(*page).unwrap();
        assert_eq!(page::record(guard.bytes(), SlotId(0)).unwrap(), [1; 7000]);
    }
}

/// Page images: the page is changed again, and logged whole again, between the copy for its write and the
/// sync: scenarios 39 and 40 in one.
#[test]
fn a_page_changed_while_it_is_written_is_logged_whole_again() {
    let story = Story::new();
    let disk = story.disk.crash(&Survivors::All);
    drop(story.db);
    forget_log(&options().open_on(Arc::new(disk.clone())).unwrap());
    let changed = Arc::new(std::sync::Mutex::new(None::<Db>));
    let (hook, crashed) = (Arc::clone(&changed), Arc::new(std::sync::Mutex::new(None)));
    let watched = watched_disk(&disk, move |call| {
        if call.operation == "sync" && call.name == "pages" {
            // The copy is on its way: now the page changes.
            if let Some(db) = hook.lock().unwrap().take() {
                change_nine(&db, b"new!");
            }
        }
        Ok(())
    });
    let images = options().torn_page_protection(TornPageProtection::PageImages);
    let trace = Trace::default();
    let db = trace.open_with(images.clone(), watched).unwrap();
    change_nine(&db, b"old!");
    *changed.lock().unwrap() = Some(db.clone());
    db.flush_page(PageId(9)).unwrap();
    let rec_lsn = db.dirty_page_table().rec_lsn(PageId(9)).unwrap();
    assert_eq!(db.read_log(rec_lsn).unwrap().record().name(), "PageImage", "at the new rec_lsn");
    db.checkpoint().unwrap();
    db.checkpoint().unwrap();
    *crashed.lock().unwrap() = Some(disk.crash(&Survivors::None));
    let crashed = crashed.lock().unwrap().take().unwrap();
    flip_nine(&crashed);
    let after = images.open_on(Arc::new(crashed)).unwrap();
    assert_eq!(read_nine(&after).unwrap(), b"new!");
}

fn change_nine(db: &Db, value: &[u8]) {
    let mut txn = db.begin().unwrap();
    txn.write_record(PageId(9), SlotId(0), 0, value).unwrap();
    txn.commit().unwrap();
}
