//! Damage in the log: refused where anything bears witness that the bytes had been durable, cut
//! silently where nothing can.

use std::sync::{Arc, Mutex};

use aries::disk::{SimDisk, Survivors};
use aries::error::Place;
use aries::event::Event;
use aries::ids::Lsn;
use aries::{Db, Error};

use super::open_twice;
use crate::common::{Image, SEGMENT_BYTES, Work, image, options, try_open, value};

/// Where in a record a bit is flipped: length, checksum, kind, transaction, `prev_lsn`, body.
const OFFSETS: [u64; 7] = [0, 2, 5, 8, 12, 21, 30];

/// The LSN of every record appended, as an observer sees them.
#[derive(Default)]
struct Collected(Mutex<Vec<Lsn>>);

impl Collected {
    fn see(&self, event: &Event) {
        if let Event::Appended { lsn, .. } = event {
            self.0.lock().unwrap().push(*lsn);
        }
    }

    fn lsns(&self) -> Vec<Lsn> {
        self.0.lock().unwrap().clone()
    }
}

/// A database whose observer collects the LSNs of its records.
fn observed(disk: &SimDisk) -> (Db, Arc<Collected>) {
    let collected = Arc::new(Collected::default());
    let observer = Arc::clone(&collected);
    let observer = Arc::new(move |event: &Event| observer.see(event));
    (options().observer(observer).open_on(Arc::new(disk.clone())).unwrap(), collected)
}

fn segment_name(lsn: Lsn) -> String {
    format!("log/{:016}.seg", lsn.get() / SEGMENT_BYTES + 1)
}

fn flipped(image: &Image, lsn: Lsn, offset: u64) -> Image {
    let mut image = image.clone();
    let at = (lsn.get() % SEGMENT_BYTES + offset) as usize;
    image.get_mut(&segment_name(lsn)).unwrap()[at] ^= 1 << (at % 8);
    image
}

/// Damage of the record at `lsn` is reported there, and changes nothing.
fn assert_refused(image: &Image, work: &Work, lsn: Lsn, offset: u64) {
    let Err(error) = open_twice(&flipped(image, lsn, offset), work) else {
        panic!("damage of record {lsn} at byte {offset} was not noticed");
    };
    let Error::Corrupt { place: Place::Log { segment, lsn: at }, .. } = &error else {
        panic!("damage of record {lsn} at byte {offset}: {error}");
    };
    assert_eq!(*at, lsn, "{error}");
    assert!(segment.to_string_lossy().ends_with(&segment_name(lsn)), "{error}");
    assert!(error.to_string().contains(&segment_name(lsn)), "{error}");
    assert!(error.to_string().contains(&lsn.to_string()), "{error}");
}

#[test]
fn damage_that_a_later_force_bears_witness_to_is_refused() {
    let disk = SimDisk::new();
    let (db, collected) = observed(&disk);
    let mut work = Work::default();
    for number in 0..8 {
        work.commit_one(&db, &value(number, 30)).unwrap();
    }
    let durable = db.stats().flushed_lsn;
    work.commit_one(&db, &value(9, 30)).unwrap(); // Its commit record says so.
    let image = image(&disk);
    let needed = db.master_record().checkpoint_lsn;
    let lsns = collected.lsns().into_iter().filter(|lsn| (needed..durable).contains(lsn));
    for (index, lsn) in lsns.enumerate() {
        assert!(index < 60, "a short history");
        OFFSETS.iter().for_each(|offset| assert_refused(&image, &work, lsn, *offset));
    }
}

#[test]
fn damage_before_the_checkpoint_is_refused_where_restart_needs_the_log() {
    let disk = SimDisk::new();
    let (db, collected) = observed(&disk);
    let mut work = Work::default();
    work.commit_one(&db, &value(0, 30)).unwrap();
    db.flush_pages().unwrap();
    db.checkpoint().unwrap();
    let mut loser = db.begin().unwrap();
    let page = loser.allocate_page().unwrap();
    loser.insert_record(page, b"never committed").unwrap();
    let first = loser.entry().first_lsn.unwrap();
    for number in 1..4 {
        work.commit_one(&db, &value(number, 30)).unwrap();
    }
    db.checkpoint().unwrap();
    let image = image(&disk);
    let end = db.stats().end_lsn;
    let lsns = collected.lsns().into_iter().filter(|lsn| (first..end).contains(lsn));
    for lsn in lsns {
        OFFSETS.iter().for_each(|offset| assert_refused(&image, &work, lsn, *offset));
    }
}

#[test]
fn damage_after_a_clean_close_is_always_refused() {
    let disk = SimDisk::new();
    let (db, collected) = observed(&disk);
    let mut work = Work::default();
    work.commit_one(&db, &value(0, 30)).unwrap();
    db.close().unwrap();
    let image = image(&disk);
    let lsns = collected.lsns();
    for lsn in &lsns[lsns.len() - 2..] {
        OFFSETS.iter().for_each(|offset| assert_refused(&image, &work, *lsn, *offset));
    }
}

#[test]
fn damage_that_nothing_bears_witness_to_cuts_the_tail_and_nothing_before() {
    let disk = SimDisk::new();
    let (db, collected) = observed(&disk);
    let mut work = Work::default();
    for number in 0..4 {
        work.commit_one(&db, &value(number, 30)).unwrap();
    }
    let durable = db.stats().flushed_lsn;
    let (place, record) = work.records.first_key_value().unwrap();
    let (place, mut record) = (*place, record.clone());
    // All that follows reaches the disk in one force, the last one.
    let mut versions = vec![(durable, work.clone())];
    for number in 0..5 {
        let mut txn = db.begin().unwrap();
        record[..7].copy_from_slice(&value(100 + number, 20)[3..10]);
        record[20..22].copy_from_slice(&[b'a' + number as u8; 2]);
        txn.write_record(place.0, place.1, 0, &record).unwrap();
        let lsn = txn.commit_deferred().unwrap().lsn();
        work.records.insert(place, record.clone());
        versions.push((lsn, work.clone()));
    }
    db.force_log().unwrap();
    let image = image(&disk);
    let lsns = collected.lsns();
    for lsn in lsns.into_iter().filter(|lsn| *lsn >= durable) {
        let kept = versions.iter().rev().find(|(commit, _)| *commit < lsn);
        let kept = kept.map_or(&versions[0].1, |(_, work)| work);
        for offset in OFFSETS {
            open_twice(&flipped(&image, lsn, offset), kept).unwrap();
        }
    }
}

#[test]
fn a_damaged_header_of_a_segment_that_holds_records_is_refused() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    while db.stats().end_lsn.get() < SEGMENT_BYTES + 7000 {
        work.commit_one(&db, &value(db.stats().end_lsn.get(), 300)).unwrap();
    }
    let image = image(&disk);
    for number in 1..=2 {
        let name = format!("log/{number:016}.seg");
        for byte in 0..64 {
            let mut damaged = image.clone();
            damaged.get_mut(&name).unwrap()[byte] ^= 0x40;
            let error = open_twice(&damaged, &work).unwrap_err();
            super::assert_names(&error, &name);
        }
    }
}

#[test]
fn a_lost_end_of_the_log_is_refused_where_pages_bear_witness() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    work.commit_one(&db, &value(0, 30)).unwrap();
    let lost_from = db.stats().flushed_lsn;
    work.commit_one(&db, &value(1, 30)).unwrap();
    db.flush_pages().unwrap();
    let mut damaged = image(&disk);
    let log = damaged.get_mut(&segment_name(lost_from)).unwrap();
    log[(lost_from.get() % SEGMENT_BYTES) as usize..].fill(0);
    let error = open_twice(&damaged, &work).unwrap_err();
    assert!(matches!(error, Error::Corrupt { place: Place::Page { .. }, .. }), "{error}");
    assert!(error.to_string().contains(&lost_from.to_string()), "{error}");
}

#[test]
fn segments_missing_at_the_end_of_the_log_are_refused() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    while db.stats().end_lsn.get() < SEGMENT_BYTES + 7000 {
        work.commit_one(&db, &value(db.stats().end_lsn.get(), 300)).unwrap();
    }
    // A log always has a prepared segment ahead: one that ends with its last segment was cut.
    let mut damaged = image(&disk);
    damaged.retain(|name, _| !name.starts_with("log/") || name.ends_with("01.seg"));
    let error = open_twice(&damaged, &work).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

/// The disk gives other bytes the second time: in those by which redo would pass a record over, its page or its
/// kind. Nothing follows on the page, so no chain would tell.
#[test]
fn a_record_that_reads_differently_after_analysis_is_refused() {
    for (byte, bit) in [(28, 6), (33, 3), (8, 3), (40, 0)] {
        let disk = SimDisk::new();
        let mut work = Work::default();
        let db = try_open(&disk).unwrap();
        (0..3).for_each(|number| work.commit_one(&db, &value(number, 50)).unwrap());
        let mut txn = db.begin().unwrap();
        let (page, slot) = *work.records.keys().nth(1).unwrap();
        txn.write_record(page, slot, 0, b"NEW VALUE").unwrap();
        let lsn = txn.entry().last_lsn.unwrap();
        txn.commit().unwrap();
        drop(db);
        let disk = disk.crash(&Survivors::None);
        let changing = disk.clone();
        let observer = move |event: &Event| {
            if matches!(event, Event::RedoBegan { .. }) {
                changing.flip_bit(&segment_name(lsn), lsn.get() + byte, bit).unwrap();
            }
        };
        let opened = options().observer(Arc::new(observer)).open_on(Arc::new(disk));
        assert!(matches!(opened.err(), Some(Error::Corrupt { .. })), "byte {byte}, bit {bit}");
    }
}
