//! The protection is an option of each open: any order of them is safe.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use aries::buffer::read_batch;
use aries::config::TornPageProtection;
use aries::disk::{SimDisk, Survivors};
use aries::ids::{PageId, SlotId};

use super::{ALL, Bank, Committed, Count, assert_names_page, check, recover, watched, work, write};

/// A run under `first` is torn in the middle of a write; the next run, under `second`, works on, and is torn in
/// turn. With pages of one sector, which no crash tears, under every pair; with larger ones where
/// neither run goes without protection.
#[test]
fn a_run_under_another_protection_goes_on_from_any_crash() {
    for (first, second) in ALL.into_iter().flat_map(|first| ALL.map(|second| (first, second))) {
        let unprotected = [first, second].contains(&TornPageProtection::None);
        let page_size = if unprotected { 512 } else { 1024 };
        let torn_twice = two_runs(first, second, page_size);
        assert!(torn_twice > 100, "{first:?}, then {second:?}: only {torn_twice}");
    }
}

fn two_runs(first: TornPageProtection, second: TornPageProtection, page_size: usize) -> usize {
    let bank = Bank::new(page_size);
    let committed = Arc::new(Mutex::new(bank.committed.clone()));
    let (twice, once) = (Count::default(), Count::default());
    let (options, third, count) =
        (bank.options(second), bank.options(TornPageProtection::default()), twice.clone());
    let (db, armed) = bank
        .open_watched(first, &committed, move |crashed, committed| {
            once.one_more();
            if once.get() % 41 != 0 {
                return;
            }
            let (third, count) = (third.clone(), count.clone());
            let committed = Arc::new(Mutex::new(committed.clone()));
            let disk =
                watched(crashed, &Arc::new(true.into()), &committed, move |again, committed| {
                    recover(&third, again, committed).unwrap();
                    count.one_more();
                });
            let db = options.open_on(disk).unwrap();
            work(&db, &committed, 4).unwrap();
        })
        .unwrap();
    armed.store(true, Ordering::Relaxed);
    work(&db, &committed, 10).unwrap();
    twice.get()
}

/// Flips a bit in the middle of a page in place.
fn rot(disk: &SimDisk, page: PageId, page_size: u64) {
    disk.flip_bit("pages", page.0 * page_size + page_size / 2, 3).unwrap();
}

/// A batch holds a page; then the page is changed and written in place only, by a run without the
/// double-write file, and rots. The batch must not bring its old version back.
#[test]
fn an_old_batch_never_restores_what_was_written_without_it() {
    for second in [TornPageProtection::None, TornPageProtection::PageImages] {
        let mut bank = Bank::new(1024);
        let (page, slot) = (PageId(5), SlotId(0));
        let change = |committed: &mut Committed, protection, value| {
            let db = bank.options(protection).open_on(Arc::new(bank.disk.clone())).unwrap();
            let mut txn = db.begin().unwrap();
            write(&mut txn, committed, page, slot, value).unwrap();
            txn.commit().unwrap();
            db.flush_page(page).unwrap();
            db.checkpoint().unwrap();
            db.checkpoint().unwrap();
        };
        let mut committed = bank.committed.clone();
        change(&mut committed, TornPageProtection::DoubleWrite, 1);
        assert!(batch_of(&bank.disk).contains(&page));
        change(&mut committed, second, 2);
        bank.disk = bank.disk.crash(&Survivors::None);
        rot(&bank.disk, page, 1024);
        for third in ALL {
            match recover(&bank.options(third), &bank.disk.crash(&Survivors::None), &committed) {
                Ok(()) => {
                    assert_eq!(second, TornPageProtection::PageImages, "its image is in the log")
                }
                Err(error) => assert_names_page(&error),
            }
        }
        assert!(batch_of(&bank.disk).is_empty(), "{second:?}");
    }
}

fn batch_of(disk: &SimDisk) -> Vec<PageId> {
    let batch = read_batch(&disk.read_file("doublewrite").unwrap(), 1024).unwrap_or_default();
    batch.1.iter().map(|image| image.page).collect()
}

/// Page images, but the page has none: what restart undoes is not logged whole. It is written through
/// the double-write file, which is empty again afterwards; then the page is changed, logged whole, written
/// in place only, and rots.
#[test]
fn a_page_without_an_image_goes_through_the_double_write_file() {
    let bank = Bank::new(1024);
    let (page, slot) = (PageId(5), SlotId(0));
    let options = bank.options(TornPageProtection::PageImages);
    let db = options.open_on(Arc::new(bank.disk.clone())).unwrap();
    let mut loser = db.begin().unwrap();
    write(&mut loser, &mut Committed::new(), page, slot, 9).unwrap();
    db.flush_page(page).unwrap();
    std::mem::forget(loser);
    let disk = bank.disk.crash(&Survivors::None);
    drop(db);

    let (committed, batches) = (Arc::new(Mutex::new(bank.committed.clone())), Count::default());
    let (count, again) = (batches.clone(), options.clone());
    let watched = watched(&disk, &Arc::new(true.into()), &committed, move |crashed, committed| {
        if batch_of(crashed).contains(&page) {
            count.one_more();
        }
        recover(&again, crashed, committed).unwrap();
    });
    let db = options.open_on(watched).unwrap();
    assert_eq!(db.restart_report().undo.compensations, 2);
    db.flush_page(page).unwrap();
    assert!(batches.get() > 0, "the compensations were written through the double-write file");
    let mut txn = db.begin().unwrap();
    write(&mut txn, &mut committed.lock().unwrap(), page, slot, 10).unwrap();
    txn.commit().unwrap();
    db.flush_page(page).unwrap();
    let crashed = disk.crash(&Survivors::None);
    rot(&crashed, page, 1024);
    let db = options.open_on(Arc::new(crashed)).unwrap();
    check(&db, &committed.lock().unwrap()).unwrap();
    assert!(
        batch_of(&disk).is_empty(),
        "the compensations are not in the double-write file any more"
    );
}
