//! Verifying and repairing a database, open or not.

use std::sync::Arc;

use aries::db::{Verdict, VerifyReport, verify_closed};
use aries::disk::{SimDisk, Survivors};
use aries::ids::{Lsn, PageId, SlotId};
use aries::{Db, Error, page};

use crate::common::{Image, PAGE_SIZE, Story, disk_of, forget_log, image, options, try_open};

/// A closed database of a few pages, whose beginnings the log still has or not.
fn closed(long_after: bool) -> Image {
    let story = Story::new();
    if long_after {
        forget_log(&story.db);
    }
    let disk = story.disk.clone();
    story.db.close().unwrap();
    image(&disk)
}

fn flip(disk: &SimDisk, page: u64) {
    disk.flip_bit("pages", page * PAGE_SIZE as u64 + 300, 1).unwrap();
}

/// Changes a page on the disk and seals it: its checksum is right.
fn forge(disk: &SimDisk, page: u64, change: impl FnOnce(&mut [u8])) {
    let mut pages = disk.read_file("pages").unwrap();
    let at = page as usize * PAGE_SIZE;
    change(&mut pages[at..at + PAGE_SIZE]);
    page::seal(&mut pages[at..at + PAGE_SIZE]);
    disk.write_file("pages", &pages);
}

fn look(disk: &SimDisk) -> VerifyReport {
    let before = image(disk);
    let mut calls = 0;
    let report = verify_closed(Arc::new(disk.clone()), &mut |_, _| calls += 1).unwrap();
    assert!(image(disk) == before, "verifying changed the disk");
    assert_eq!(calls, report.pages);
    report
}

fn verdicts(report: &VerifyReport) -> Vec<(u64, Verdict)> {
    report.findings.iter().map(|found| (found.page.0, found.verdict)).collect()
}

#[test]
fn a_sound_database_is_said_to_be_sound() {
    let disk = disk_of(&closed(false));
    let report = look(&disk);
    assert!(report.is_sound() && report.is_settled && report.not_judged.is_empty(), "{report:?}");
    assert_eq!(report.pages, disk.read_file("pages").unwrap().len() as u64 / PAGE_SIZE as u64);
    let db = try_open(&disk).unwrap();
    assert!(db.verify().unwrap().is_sound());
    assert!(db.repair().unwrap().findings.is_empty());
}

/// Each way in which a page can be bad is found, in the file and by the open database alike.
#[test]
fn every_fault_is_found_and_named() {
    type Damage = fn(&SimDisk);
    let faults: [(u64, &str, Damage); 6] = [
        (7, "checksum", |disk| flip(disk, 7)),
        (9, "P7", |disk| disk.copy_range("pages", 7 * 512, 9 * 512, 512).unwrap()),
        (8, "pageLSN", |disk| forge(disk, 8, |page| page::set_page_lsn(page, far_away()))),
        (6, "zeros", |disk| forge(disk, 6, |page| page[200] = 1)),
        (0, "space map", |disk| forge(disk, 0, |page| page.copy_from_slice(&slotted(0)))),
        (5, "space map", |disk| forge(disk, 5, |page| page.copy_from_slice(&map(5)))),
    ];
    for (page, word, damage) in faults {
        let disk = disk_of(&closed(true));
        damage(&disk);
        let report = look(&disk);
        assert_eq!(verdicts(&report), [(page, Verdict::Damaged)], "{report:?}");
        assert!(report.findings[0].fault.contains(word), "{report:?}");
        assert!(!report.is_sound());
        if page > 0 {
            let db = try_open(&disk).unwrap();
            assert_eq!(verdicts(&db.verify().unwrap()), [(page, Verdict::Damaged)], "{word}");
            assert_eq!(verdicts(&db.repair().unwrap()), [(page, Verdict::Damaged)], "{word}");
        }
    }
}

fn far_away() -> Lsn {
    Lsn::new(1 << 40).unwrap()
}

fn slotted(id: u64) -> Vec<u8> {
    let mut bytes = page::initial(PageId(id), PAGE_SIZE);
    page::PageOp::Format { kind: page::PageKind::Slotted }.apply(&mut bytes).unwrap();
    bytes
}

fn map(id: u64) -> Vec<u8> {
    let mut bytes = page::initial(PageId(id), PAGE_SIZE);
    page::PageOp::Format { kind: page::PageKind::SpaceMap }.apply(&mut bytes).unwrap();
    bytes
}

#[test]
fn repairing_rebuilds_what_the_log_holds_from_its_beginning() {
    let sound = closed(false);
    let disk = disk_of(&sound);
    [0, 3, 7, 24].iter().for_each(|page| flip(&disk, *page));
    let db = try_open(&disk).unwrap();
    assert_eq!(verdicts(&db.verify().unwrap()).len(), 4, "verifying repairs nothing");
    let report = db.repair().unwrap();
    assert_eq!(verdicts(&report), [0, 3, 7, 24].map(|page| (page, Verdict::Repaired)));
    assert!(report.is_sound());
    assert!(disk.read_file("pages").unwrap() == sound["pages"]);
    assert!(db.verify().unwrap().findings.is_empty());
}

/// What is in the pool is written again, also where the log could not rebuild it.
#[test]
fn repairing_writes_what_is_in_memory() {
    let disk = disk_of(&closed(true));
    let db = try_open(&disk).unwrap();
    drop(db.fix_page(PageId(7)).unwrap());
    flip(&disk, 7);
    assert_eq!(verdicts(&db.verify().unwrap()), [(7, Verdict::Damaged)]);
    assert_eq!(verdicts(&db.repair().unwrap()), [(7, Verdict::Repaired)]);
    assert!(look(&disk.crash(&Survivors::None)).findings.is_empty());
    update(&db, 7);
    flip(&disk, 7);
    let report = db.verify().unwrap();
    assert_eq!(verdicts(&report), [(7, Verdict::NewerInMemory)]);
    assert!(report.is_sound() && report.dirty > 0);
}

fn update(db: &Db, page: u64) {
    let mut txn = db.begin().unwrap();
    txn.write_record(PageId(page), SlotId(0), 0, b"new!").unwrap();
    txn.commit().unwrap();
}

/// A database that was not closed: a bad page that the batch has is restored by restart; one with changes in
/// the log is left to it; any other is damaged.
#[test]
fn what_was_not_closed_is_judged_as_far_as_possible() {
    let disk = disk_of(&closed(false));
    let db = try_open(&disk).unwrap();
    [7, 8].iter().for_each(|page| update(&db, *page));
    db.flush_page(PageId(7)).unwrap();
    db.force_log().unwrap();
    let crashed = disk.crash(&Survivors::None);
    assert!(look(&crashed).is_sound());
    [7, 8, 9].iter().for_each(|page| flip(&crashed, *page));
    let report = look(&crashed);
    let expected = [Verdict::RestoredByRestart, Verdict::LeftToRestart, Verdict::Damaged];
    assert_eq!(report.findings.iter().map(|found| found.verdict).collect::<Vec<_>>(), expected);
    assert!(!report.is_settled && !report.is_sound() && report.not_judged.len() == 1);
    let db = try_open(&crashed).unwrap();
    assert_eq!(db.restart_report().pages_torn, 1);
    assert_eq!(db.restart_report().redo.pages_repaired, 1);
    assert_eq!(verdicts(&db.repair().unwrap()), [(9, Verdict::Repaired)]);
}

#[test]
fn a_damaged_log_is_reported_and_the_pages_are_read_all_the_same() {
    let disk = disk_of(&closed(false));
    flip(&disk, 7);
    disk.flip_bit("log/0000000000000001.seg", 10, 1).unwrap();
    let report = look(&disk);
    assert!(report.log_fault.as_ref().is_some_and(|fault| fault.contains(".seg")), "{report:?}");
    assert_eq!(report.findings.len(), 1);
    assert!(!report.is_sound());
}

#[test]
fn a_directory_without_a_database_is_refused() {
    let disk = SimDisk::new();
    let error = verify_closed(Arc::new(disk.clone()), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, Error::NotADatabase { .. }), "{error}");
    assert!(image(&disk).is_empty());
}

/// Others change pages and write them meanwhile: a page that is read in the middle of its write is no
/// fault.
#[test]
fn a_working_database_is_sound_while_it_works() {
    let disk = disk_of(&closed(false));
    let db = options().open_on(Arc::new(disk)).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..200 {
                update(&db, 1 + round % 24);
                db.flush_pages().unwrap();
            }
        });
        while !writer.is_finished() {
            let report = db.verify().unwrap();
            assert!(report.findings.is_empty(), "{report:?}");
        }
    });
}
