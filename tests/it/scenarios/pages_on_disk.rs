//! Pages as the disk may leave them: scenarios 24, 25, 26 and 40.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aries::buffer::read_batch;
use aries::config::TornPageProtection;
use aries::disk::{Fault, FaultKind, Pending, PendingKind, SimDisk, Survivors};
use aries::error::Place;
use aries::ids::{Lsn, PageId, SlotId};
use aries::{Db, Error, Options, Result, page, record};

use crate::common::{Story, forget_log, options, read_page_records, try_open, watched_disk};

const LARGE_PAGE: usize = 2048;
const RECORD: usize = 1500;
const PAGE: PageId = PageId(1);

/// Pages of four sectors.
fn large_pages() -> Options {
    options().page_size(LARGE_PAGE).buffer_pool_bytes(16 * LARGE_PAGE)
}

fn open(disk: &SimDisk) -> Db {
    large_pages().open_on(Arc::new(disk.clone())).unwrap()
}

/// A page of 'a's is durable; it was changed to 'b's and committed; the power fails in the sync of
/// `file` while the page is written. Gives the disk. The log reaches back to the page's beginning, or
/// the change came long after.
fn power_off_in_sync_of(
    file: &'static str,
    protection: TornPageProtection,
    long_after: bool,
) -> SimDisk {
    let disk = SimDisk::new();
    let armed = Arc::new(AtomicBool::new(false));
    let (trap, inner) = (Arc::clone(&armed), disk.clone());
    let watched = watched_disk(&disk, move |call| {
        if trap.load(Ordering::Relaxed) && call.operation == "sync" && call.name == file {
            let at = inner.io_count();
            inner.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
        }
        Ok(())
    });
    let db = large_pages().torn_page_protection(protection).open_on(watched).unwrap();
    let mut txn = db.begin().unwrap();
    assert_eq!(txn.allocate_page().unwrap(), PAGE);
    txn.insert_record(PAGE, &[b'a'; RECORD]).unwrap();
    txn.commit().unwrap();
    db.flush_pages().unwrap();
    if long_after {
        forget_log(&db);
    }
    let mut txn = db.begin().unwrap();
    txn.write_record(PAGE, SlotId(0), 0, &[b'b'; RECORD]).unwrap();
    txn.commit().unwrap();
    armed.store(true, Ordering::Relaxed);
    assert!(db.flush_page(PAGE).is_err());
    disk
}

/// The sectors of `file` that are not durable.
fn sectors_of(disk: &SimDisk, file: &str) -> Vec<u64> {
    let is_sector = |pending: &Pending| matches!(pending.kind, PendingKind::Sector { .. });
    let pending = disk.pending().into_iter().filter(|p| p.name == file && is_sector(p));
    pending.map(|pending| pending.id).collect()
}

/// Every choice of some of `ids`.
fn subsets(ids: &[u64]) -> impl Iterator<Item = Vec<u64>> {
    (0..1_u32 << ids.len()).map(|choice| {
        let chosen = ids.iter().enumerate().filter(|(index, _)| choice >> index & 1 == 1);
        chosen.map(|(_, id)| *id).collect()
    })
}

/// Scenario 24, torn_page, page images: no copy was written, and the log does not reach back to the
/// page's beginning; but it holds the page as it was before the change that was being written.
#[test]
fn torn_page_with_an_image() {
    let disk = power_off_in_sync_of("pages", TornPageProtection::PageImages, true);
    for chosen in subsets(&sectors_of(&disk, "pages")) {
        let torn = (1..4).contains(&chosen.len());
        let image = disk.crash(&Survivors::Chosen(chosen.into_iter().collect()));
        assert!(read_batch(&image.read_file("doublewrite").unwrap(), LARGE_PAGE).is_none());
        let after = large_pages().open_on(Arc::new(image)).unwrap();
        assert_eq!(after.restart_report().redo.pages_repaired, u64::from(torn));
        assert_eq!(read_page_records(&after, PAGE), [[b'b'; RECORD]]);
    }
}

/// Scenario 24, torn_page, no protection: reported with file and page, or, as long as the log reaches back
/// to the page's beginning, rebuilt.
#[test]
fn torn_page_without_protection() {
    for long_after in [false, true] {
        let disk = power_off_in_sync_of("pages", TornPageProtection::None, long_after);
        for chosen in subsets(&sectors_of(&disk, "pages")) {
            let torn = (1..4).contains(&chosen.len());
            let image = disk.crash(&Survivors::Chosen(chosen.into_iter().collect()));
            match large_pages().open_on(Arc::new(image)) {
                Ok(after) => {
                    assert!(!torn || !long_after);
                    assert_eq!(read_page_records(&after, PAGE), [[b'b'; RECORD]]);
                }
                Err(error) => {
                    assert!(torn && long_after, "{error}");
                    assert_names_page(&error, PAGE);
                }
            }
        }
    }
}

/// Scenario 24, torn_page, double-write: of the page's sectors any may have reached the disk. Torn, it
/// is restored from the double-write file; then redo does the rest.
#[test]
fn torn_page() {
    let disk = power_off_in_sync_of("pages", TornPageProtection::DoubleWrite, false);
    let sectors = sectors_of(&disk, "pages");
    assert_eq!(sectors.len(), 4);
    for chosen in subsets(&sectors) {
        let written = chosen.len();
        let after = open(&disk.crash(&Survivors::Chosen(chosen.into_iter().collect())));
        let torn = usize::from((1..4).contains(&written));
        assert_eq!(after.restart_report().pages_torn, torn, "{written} sectors written");
        assert_eq!(after.restart_report().pages_rewritten, 1);
        assert_eq!(read_page_records(&after, PAGE), [[b'b'; RECORD]]);
    }
}

/// Scenario 24, the double-write file itself torn: then the page in place was not touched yet, and
/// is rebuilt from the log.
#[test]
fn torn_double_write() {
    let disk = power_off_in_sync_of("doublewrite", TornPageProtection::DoubleWrite, false);
    let sectors = sectors_of(&disk, "doublewrite");
    let all = Survivors::All;
    let each_lost = sectors.iter().map(|lost| {
        Survivors::Chosen(sectors.iter().copied().filter(|sector| sector != lost).collect())
    });
    let each_kept = sectors.iter().map(|kept| Survivors::Chosen([*kept].into()));
    for survivors in each_lost.chain(each_kept).chain([all]) {
        let after = open(&disk.crash(&survivors));
        assert_eq!(after.restart_report().pages_torn, 0, "{survivors:?}");
        assert_eq!(read_page_records(&after, PAGE), [[b'b'; RECORD]], "{survivors:?}");
    }
}

/// Scenario 24, without a copy to restore it from: a torn page is rebuilt from the log; where that does
/// not reach back far enough it is reported, with file and page, and never served.
#[test]
fn torn_page_without_a_copy_is_rebuilt_or_reported() {
    let disk = power_off_in_sync_of("pages", TornPageProtection::DoubleWrite, false);
    for chosen in subsets(&sectors_of(&disk, "pages")) {
        let torn = (1..4).contains(&chosen.len());
        let image = disk.crash(&Survivors::Chosen(chosen.into_iter().collect()));
        forget_double_write(&image);
        let after = large_pages().open_on(Arc::new(image)).unwrap();
        assert_eq!(after.restart_report().redo.pages_repaired, u64::from(torn));
        assert_eq!(read_page_records(&after, PAGE), [[b'b'; RECORD]]);
    }
    let disk = power_off_in_sync_of("pages", TornPageProtection::DoubleWrite, true);
    for chosen in subsets(&sectors_of(&disk, "pages")) {
        let torn = (1..4).contains(&chosen.len());
        let image = disk.crash(&Survivors::Chosen(chosen.into_iter().collect()));
        forget_double_write(&image);
        match large_pages().open_on(Arc::new(image)) {
            Ok(after) => {
                assert!(!torn);
                assert_eq!(read_page_records(&after, PAGE), [[b'b'; RECORD]]);
            }
            Err(error) => {
                assert!(torn);
                assert_names_page(&error, PAGE);
            }
        }
    }
}

fn assert_names_page(error: &Error, expected: PageId) {
    let Error::Corrupt { place: Place::Page { file, page }, .. } = error else {
        panic!("not about a page: {error}");
    };
    assert!(file.ends_with("pages") && *page == expected, "{error}");
}

/// Writes page 7's bytes over page 9.
fn misdirect(disk: &SimDisk) {
    disk.copy_range("pages", 7 * 512, 9 * 512, 512).unwrap();
}

/// A story whose pages the log does not hold from their beginnings any more.
fn story_long_after() -> Story {
    let story = Story::new();
    forget_log(&story.db);
    story
}

/// Page 9 as somebody reads it who found page 7 in its place, in three ways: in normal running, after a
/// clean close, and by redo. Page 7 itself is as good as ever.
fn read_misdirected(story: impl Fn() -> Story) -> Vec<Result<Vec<u8>>> {
    let read = |db: &Db| {
        let guard = db.fix_page(PageId(9))?;
        Ok(page::record(guard.bytes(), SlotId(0)).unwrap().to_vec())
    };
    let running = story();
    (10..=24).chain([0, 10]).for_each(|page| drop(running.db.fix_page(PageId(page)).unwrap()));
    misdirect(&running.disk);
    let in_running = read(&running.db);
    assert_eq!(running.value(7, SlotId(0)).unwrap(), b"....");

    let closed = story();
    let disk = closed.disk.clone();
    closed.db.close().unwrap();
    misdirect(&disk);
    let again = try_open(&disk).unwrap();
    let after_close = read(&again);
    let seven = again.fix_page(PageId(7)).unwrap();
    assert_eq!(page::record(seven.bytes(), SlotId(0)).unwrap(), b"....");
    drop(seven);

    let crashed = story();
    let mut t1 = crashed.begin();
    t1.write_record(PageId(9), SlotId(0), 0, b"....").unwrap();
    t1.commit().unwrap();
    let disk = crashed.crash();
    forget_double_write(&disk);
    misdirect(&disk);
    vec![in_running, after_close, try_open(&disk).and_then(|db| read(&db))]
}

/// Scenario 25, misdirected_page: page 7's bytes at page 9's place are never served as page 9. As long as
/// the log reaches back, page 9 is rebuilt; else it is reported.
#[test]
fn misdirected_page() {
    for read in read_misdirected(Story::new) {
        assert_eq!(read.unwrap(), b"....");
    }
    for read in read_misdirected(story_long_after) {
        assert_names_page(&read.unwrap_err(), PageId(9));
    }
}

/// Scenario 25, repaired: where the double-write file has the page, it is restored.
#[test]
fn misdirected_page_is_restored() {
    let story = Story::new();
    let mut t1 = story.begin();
    story.update(&mut t1, 9);
    t1.commit().unwrap();
    story.db.flush_page(PageId(9)).unwrap();
    let disk = story.crash();
    misdirect(&disk);
    let after = story.resume_on(&disk);
    assert_eq!(after.db.restart_report().pages_torn, 1);
    assert_eq!(after.contents(), story.contents());
}

/// Scenario 40, image_at_every_rec_lsn: an image, the page written, changed, a checkpoint that holds it with
/// that change's `rec_lsn`; its next write is torn. It is rebuilt: an image stands at the `rec_lsn`.
#[test]
fn image_at_every_rec_lsn() {
    let disk = power_off_in_sync_of("pages", TornPageProtection::PageImages, true);
    let images = large_pages().torn_page_protection(TornPageProtection::PageImages);
    let disk = disk.crash(&Survivors::All);
    let db = images.open_on(Arc::new(disk.clone())).unwrap();
    db.flush_pages().unwrap();
    let mut txn = db.begin().unwrap();
    txn.write_record(PAGE, SlotId(0), 0, &[b'c'; RECORD]).unwrap();
    txn.commit().unwrap();
    let rec_lsn = db.checkpoint().unwrap().dirty_pages.rec_lsn(PAGE).unwrap();
    assert_eq!(db.read_log(rec_lsn).unwrap().record().name(), "PageImage");
    let crashed = disk.crash(&Survivors::None);
    crashed.flip_bit("pages", LARGE_PAGE as u64 + 1000, 1).unwrap();
    let after = images.open_on(Arc::new(crashed)).unwrap();
    assert_eq!(after.restart_report().redo.pages_repaired, 1);
    assert_eq!(read_page_records(&after, PAGE), [[b'c'; RECORD]]);
}

fn forget_double_write(disk: &SimDisk) {
    let length = disk.read_file("doublewrite").unwrap().len();
    disk.write_file("doublewrite", &vec![0; length]);
}

/// A long transaction and three short ones change all pages, more than the pool has frames; some
/// pages are written on request, and a checkpoint is taken.
fn steal(story: &Story) -> Result<()> {
    let mut long = story.begin();
    let mut short = story.db.begin()?;
    for page in 1..=24 {
        story.try_update(&mut long, page)?;
        story.try_update(&mut short, page)?;
        if page % 8 == 0 {
            short.commit()?;
            short = story.db.begin()?;
            story.try_update(&mut long, page)?;
            story.db.flush_page(PageId(page))?;
        }
        if page == 12 {
            story.db.checkpoint()?;
        }
    }
    long.rollback()
}

/// Where the log on the disk ends that begins at `start`.
fn durable_end(disk: &SimDisk, start: Lsn, epoch: u64) -> Lsn {
    let bytes = disk.read_file("log/0000000000000001.seg").unwrap();
    let mut at = start;
    while let Some(rest) = bytes.get(at.get() as usize..)
        && let Some(length) = record::peek_length(rest)
        && record::verify(&rest[..length], at, epoch)
    {
        at = at.checked_add(record::padded(length) as u64).unwrap();
    }
    at
}

/// Scenario 26, write_ahead_order (ARIES 1.1): pages of transactions under way are stolen, and the
/// power fails at every I/O, whatever survives: no page on the disk, in place or in the
/// double-write file, is above the durable log.
#[test]
fn write_ahead_order() {
    let mut stolen = 0;
    for io in 0.. {
        let story = Story::new();
        let epoch = story.db.restart_report().epoch;
        let at = story.disk.io_count() + io;
        story.disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
        let done = steal(&story);
        let random = (0..8).map(|seed| Survivors::Random { seed });
        for survivors in [Survivors::None, Survivors::All].into_iter().chain(random) {
            let disk = story.disk.crash(&survivors);
            let end = durable_end(&disk, story.start, epoch);
            let pages = disk.read_file("pages").unwrap();
            let in_place = pages.chunks_exact(512).map(page::page_lsn);
            let batch = read_batch(&disk.read_file("doublewrite").unwrap(), 512);
            let images = batch.unwrap_or_default().1;
            let twice = images.iter().map(|image| page::page_lsn(&image.bytes));
            for page_lsn in in_place.chain(twice) {
                assert!(page_lsn < Some(end), "I/O {io}, {survivors:?}: {page_lsn:?}, log {end}");
                stolen += usize::from(page_lsn > Some(story.start));
            }
            drop(story.resume_on(&disk));
        }
        if done.is_ok() {
            assert!(io > 20, "pages were written");
            break;
        }
    }
    assert!(stolen > 1000, "pages that the long transaction had changed were on the disk");
}
