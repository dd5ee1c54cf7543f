//! Every write of pages, to either file, torn at every sector.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use aries::config::TornPageProtection;

use super::{Bank, Count, assert_names_page, recover, watched, work};

const ROUNDS: u8 = 14;

/// Runs the work over pages of this size; gives how many crashes were recovered from and how many times
/// an error named a page.
fn tear_every_write(protection: TornPageProtection, page_size: usize) -> (usize, usize) {
    let bank = Bank::new(page_size);
    let committed = Arc::new(Mutex::new(bank.committed.clone()));
    let (recovered, refused) = (Count::default(), Count::default());
    let (options, counts) = (bank.options(protection), (recovered.clone(), refused.clone()));
    let (db, armed) = bank
        .open_watched(protection, &committed, move |crashed, committed| {
            match recover(&options, crashed, committed) {
                Ok(()) => counts.0.one_more(),
                Err(error) => {
                    assert_names_page(&error);
                    counts.1.one_more();
                }
            }
        })
        .unwrap();
    armed.store(true, Ordering::Relaxed);
    work(&db, &committed, ROUNDS).unwrap();
    db.flush_pages().unwrap();
    (recovered.get(), refused.get())
}

#[test]
fn the_double_write_file_mends_every_torn_page() {
    let (recovered, refused) = tear_every_write(TornPageProtection::DoubleWrite, 2048);
    assert_eq!(refused, 0);
    assert!(recovered > 1000, "only {recovered} crashes");
}

#[test]
fn page_images_mend_every_torn_page() {
    let (recovered, refused) = tear_every_write(TornPageProtection::PageImages, 2048);
    assert_eq!(refused, 0);
    assert!(recovered > 500, "only {recovered} crashes");
}

#[test]
fn pages_of_one_sector_need_no_protection() {
    let (recovered, refused) = tear_every_write(TornPageProtection::None, 512);
    assert_eq!(refused, 0);
    assert!(recovered > 100, "only {recovered} crashes");
}

#[test]
fn without_protection_a_torn_page_is_reported_and_never_served() {
    let (recovered, refused) = tear_every_write(TornPageProtection::None, 2048);
    assert!(recovered > 10 && refused > 100, "{recovered} recovered, {refused} refused");
}

/// The restart after a torn write writes pages itself: it restores, repairs, undoes and steals. Torn once
/// more there, everything is still recovered from.
#[test]
fn a_restart_torn_in_its_own_writes_is_recovered_from() {
    for protection in [TornPageProtection::DoubleWrite, TornPageProtection::PageImages] {
        let bank = Bank::new(1024);
        let committed = Arc::new(Mutex::new(bank.committed.clone()));
        let (nested, crashes) = (Count::default(), Count::default());
        let (options, count) = (bank.options(protection), nested.clone());
        let (db, armed) = bank
            .open_watched(protection, &committed, move |crashed, committed| {
                crashes.one_more();
                if crashes.get() % 29 != 0 {
                    return;
                }
                let (inner, counted) = (options.clone(), count.clone());
                let committed = Arc::new(Mutex::new(committed.clone()));
                let disk = watched(
                    crashed,
                    &Arc::new(true.into()),
                    &committed,
                    move |again, committed| {
                        recover(&inner, again, committed).unwrap();
                        counted.one_more();
                    },
                );
                let db = options.open_on(disk).unwrap();
                db.flush_pages().unwrap();
            })
            .unwrap();
        armed.store(true, Ordering::Relaxed);
        work(&db, &committed, ROUNDS).unwrap();
        assert!(nested.get() > 200, "{protection:?}: only {} crashes in restarts", nested.get());
    }
}
