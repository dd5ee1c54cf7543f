//! Damaged and misplaced pages: rebuilt where the log reaches back far enough, else reported with page
//! and file; never served.

use aries::Error;
use aries::disk::{SimDisk, Survivors};
use aries::error::Place;
use aries::ids::PageId;
use aries::page;

use super::{closed, closed_long_after, crashed, crashed_long_after};
use crate::common::{Image, PAGE_SIZE, Work, disk_of, forget_log, try_open};

/// Asserts that the error is damage of `page`, and says so.
fn assert_page_named(error: &Error, page: PageId) {
    let Error::Corrupt { place: Place::Page { file, page: at }, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(*at, page, "{error}");
    assert!(file.ends_with("pages") || file.ends_with("sim:pages"), "{error}");
    assert!(error.to_string().contains(&format!("pages page {page}")), "{error}");
}

/// Every record of the damaged page gives an error that names it; the others are served.
fn assert_only_that_page_is_refused(disk: &SimDisk, work: &Work, damaged: PageId) {
    let db = try_open(disk).unwrap();
    let mut txn = db.begin().unwrap();
    for ((page, slot), bytes) in &work.records {
        match txn.read_record(*page, *slot) {
            Ok(found) => {
                assert_ne!(*page, damaged, "a damaged page was served");
                assert_eq!(found.as_ref(), Some(bytes));
            }
            Err(error) => {
                assert_eq!(*page, damaged, "{error}");
                assert_page_named(&error, damaged);
                assert_page_named(&db.fix_page(damaged).map(drop).unwrap_err(), damaged);
            }
        }
    }
    txn.commit().unwrap();
}

/// A sound page with a change that the log does not have shows that log was lost. It is not rebuilt, though the
/// log holds it from its beginning: that would lose the change, too, and nobody would know.
#[test]
fn a_page_with_a_change_that_the_log_lacks_is_refused_by_redo() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut txn = db.begin().unwrap();
    let page = txn.allocate_page().unwrap();
    let slot = txn.insert_record(page, b"aaaa").unwrap();
    db.flush_pages().unwrap();
    txn.write_record(page, slot, 0, b"bbbb").unwrap();
    let first = txn.entry().last_lsn.unwrap();
    txn.write_record(page, slot, 0, b"cccc").unwrap();
    txn.commit().unwrap();
    let disk = disk.crash(&Survivors::None);
    let (mut file, at) = (disk.read_file("pages").unwrap(), page.0 as usize * PAGE_SIZE);
    let bytes = &mut file[at..at + PAGE_SIZE];
    page::set_page_lsn(bytes, first.checked_add(8).unwrap());
    page::seal(bytes);
    disk.write_file("pages", &file);
    let error = try_open(&disk).map(drop).unwrap_err();
    assert_page_named(&error, page);
    assert!(error.to_string().contains("the log has lost that change"), "{error}");
}

#[test]
fn a_flipped_bit_anywhere_in_a_page_is_reported() {
    let (image, work) = closed_long_after();
    let (page, _) = *work.records.last_key_value().unwrap().0;
    for byte in 0..PAGE_SIZE as u64 {
        let disk = disk_of(&image);
        disk.flip_bit("pages", page.0 * PAGE_SIZE as u64 + byte, (byte % 8) as u8).unwrap();
        assert_only_that_page_is_refused(&disk, &work, page);
    }
}

#[test]
fn a_page_at_the_wrong_place_is_reported_with_both_numbers() {
    let (image, work) = closed_long_after();
    let pages: Vec<PageId> = work.records.keys().map(|(page, _)| *page).collect();
    for (from, to) in pages.iter().zip(&pages[1..]) {
        let disk = disk_of(&image);
        let at = |page: PageId| page.0 * PAGE_SIZE as u64;
        disk.copy_range("pages", at(*from), at(*to), PAGE_SIZE).unwrap();
        assert_only_that_page_is_refused(&disk, &work, *to);
        let disk = disk_of(&image);
        disk.copy_range("pages", at(*from), at(*to), PAGE_SIZE).unwrap();
        let db = try_open(&disk).unwrap();
        let message = db.fix_page(*to).map(drop).unwrap_err().to_string();
        assert!(message.contains(&from.to_string()), "{message}");
        assert!(message.contains(&to.to_string()), "{message}");
    }
}

#[test]
fn a_page_of_zeros_is_damage_too() {
    let (mut image, work) = closed_long_after();
    let (page, _) = *work.records.last_key_value().unwrap().0;
    let at = page.0 as usize * PAGE_SIZE;
    image.get_mut("pages").unwrap()[at..at + PAGE_SIZE].fill(0);
    assert_only_that_page_is_refused(&disk_of(&image), &work, page);
}

#[test]
fn a_damaged_space_map_refuses_every_use_of_its_pages() {
    let (image, work) = closed_long_after();
    let map = PageId(0);
    let disk = disk_of(&image);
    disk.flip_bit("pages", 100, 3).unwrap();
    let db = try_open(&disk).unwrap();
    assert_page_named(&work.check(&db).unwrap_err(), map);
    let mut txn = db.begin().unwrap();
    assert_page_named(&txn.allocate_page().unwrap_err(), map);
    let (page, _) = *work.records.first_key_value().unwrap().0;
    assert_page_named(&txn.free_page(page).unwrap_err(), map);
    txn.rollback().unwrap();
    assert_page_named(&db.page_state(page).unwrap_err(), map);
    db.close().unwrap();
}

#[test]
fn restart_refuses_or_mends_a_damaged_page_and_never_serves_it() {
    let (image, work) = crashed_long_after();
    let pages = image["pages"].len() / PAGE_SIZE;
    let mut refused = 0;
    for page in 0..pages {
        let disk = disk_of(&image);
        disk.flip_bit("pages", (page * PAGE_SIZE + 77) as u64, 1).unwrap();
        let read_all = || try_open(&disk).and_then(|db| work.check(&db));
        match read_all() {
            Ok(()) => {}
            Err(error) => {
                refused += 1;
                assert_page_named(&error, PageId(page as u64));
                let again = read_all().unwrap_err();
                assert_eq!(error.to_string(), again.to_string());
            }
        }
    }
    assert!(refused > 0, "pages that neither batch nor log hold cannot be mended");
}

#[test]
fn restart_mends_any_page_that_the_log_holds_from_its_beginning() {
    let (image, work) = crashed();
    for page in 0..image["pages"].len() / PAGE_SIZE {
        let disk = disk_of(&image);
        disk.flip_bit("pages", (page * PAGE_SIZE + 77) as u64, 1).unwrap();
        work.check(&try_open(&disk).unwrap()).unwrap();
    }
}

#[test]
fn the_same_damage_is_mended_as_long_as_the_log_reaches_back() {
    let (image, work) = closed();
    for (page, _) in work.records.keys() {
        let at = page.0 * PAGE_SIZE as u64;
        let flipped = disk_of(&image);
        flipped.flip_bit("pages", at + 300, 2).unwrap();
        let misplaced = disk_of(&image);
        misplaced.copy_range("pages", (at + 512) % 1024, at, PAGE_SIZE).unwrap();
        let zeros = disk_of(&image);
        let mut pages = image["pages"].clone();
        pages[at as usize..at as usize + PAGE_SIZE].fill(0);
        zeros.write_file("pages", &pages);
        for disk in [flipped, misplaced, zeros] {
            work.check(&try_open(&disk).unwrap()).unwrap();
            let healed = disk.read_file("pages").unwrap();
            assert!(healed == image["pages"], "page {page} is on disk what it was before");
        }
    }
}

#[test]
fn a_lost_write_of_a_page_is_reported_by_redo() {
    let (image, page, _) = lost_write(true);
    let error = try_open(&disk_of(&image)).map(drop).unwrap_err();
    assert_page_named(&error, page);
    assert!(error.to_string().contains("a write was lost"), "{error}");
}

#[test]
fn a_lost_write_of_a_page_is_mended_as_long_as_the_log_reaches_back() {
    let (image, _, work) = lost_write(false);
    let disk = disk_of(&image);
    let db = try_open(&disk).unwrap();
    assert_eq!(db.restart_report().redo.pages_repaired, 1);
    work.check(&db).unwrap();
    drop(db);
    work.check(&try_open(&disk).unwrap()).unwrap();
}

/// A page was written in place, and then changed once more; but the write was lost. Whether the log
/// reaches back to the page's beginning is the question.
fn lost_write(long_after: bool) -> (Image, PageId, Work) {
    let (before, mut after, work) = before_and_after(long_after);
    let (page, _) = *work.records.first_key_value().unwrap().0;
    let at = page.0 as usize * PAGE_SIZE;
    let old = before["pages"][at..at + PAGE_SIZE].to_vec();
    after.get_mut("pages").unwrap()[at..at + PAGE_SIZE].copy_from_slice(&old);
    (after, page, work)
}

/// Images before and after a page was written in place, and then changed once more.
fn before_and_after(long_after: bool) -> (Image, Image, Work) {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    let write = |work: &mut Work, number| {
        work.commit_one(&db, &crate::common::value(number, 30)).unwrap();
        db.flush_pages().unwrap();
        db.checkpoint().unwrap();
    };
    write(&mut work, 0);
    if long_after {
        forget_log(&db);
    }
    let before = crate::common::image(&disk);
    write(&mut work, 1);
    work.commit_one(&db, &crate::common::value(2, 30)).unwrap();
    // The batch of another page replaces that of the lost write.
    let mut txn = db.begin().unwrap();
    let page = txn.allocate_page().unwrap();
    txn.insert_record(page, b"another").unwrap();
    txn.commit().unwrap();
    db.flush_page(page).unwrap();
    (before, crate::common::image(&disk), work)
}
