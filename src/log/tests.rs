#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::thread;

use super::*;
use crate::config::LogBlock;
use crate::disk::{Disk, Fault, FaultKind, SimDisk, Survivors};
use crate::ids::TxnId;
use crate::record::{End, EpochStart, HEADER_BYTES, LogRecord, TransactionLink};
use crate::sync::Arc;

const SEGMENT: u64 = 65_536;

fn lsn(at: u64) -> Lsn {
    Lsn::new(at).unwrap()
}

fn config() -> Config {
    Config::new(512, SEGMENT, 16)
}

fn segments(disk: &SimDisk) -> Segments {
    let geometry = Geometry { segment_bytes: SEGMENT };
    Segments::open(Arc::new(disk.clone()), geometry, 7).unwrap()
}

/// A log of two segments on a new disk, whose first run is epoch 1.
fn log_on(disk: &SimDisk) -> Log {
    log_padded_on(disk, LogBlock::Rewritten)
}

fn log_padded_on(disk: &SimDisk, log_block: LogBlock) -> Log {
    log_complete_from(disk, log_block, None)
}

fn log_complete_from(disk: &SimDisk, log_block: LogBlock, complete_from: Option<Lsn>) -> Log {
    disk.create_directory(LOG_DIRECTORY).unwrap();
    disk.sync_directory("").unwrap();
    let segments = segments(disk);
    segments.prepare(1).unwrap();
    segments.prepare(2).unwrap();
    let start = lsn(SEGMENT_HEADER_BYTES);
    let position = LogPosition { end: start, durable: start, epoch: 1, complete_from };
    let config = Config { log_block, ..config() };
    let log = Log::new(segments, &config, Epochs::default(), position, Observers::default());
    log.began(start, start);
    log
}

/// A record that differs from others by its transaction.
fn record(number: u64) -> EncodedRecord {
    let link = TransactionLink { txn: TxnId::new(number).unwrap(), prev_lsn: None };
    EncodedRecord::new(&LogRecord::End(End { link, durable_lsn: lsn(1) }))
}

fn append(log: &Log, number: u64) -> Lsn {
    log.append(&record(number), 0, |_| {}).unwrap()
}

fn number_at(log: &Log, at: Lsn) -> u64 {
    log.read(at).unwrap().record().link().unwrap().txn.get()
}

/// The numbers of all records that a reader finds on the disk.
fn scan(disk: &SimDisk, epoch: u64) -> Vec<u64> {
    let segments = segments(disk);
    let mut epochs = Epochs::default();
    let start = lsn(SEGMENT_HEADER_BYTES);
    epochs.push_back(EpochStart { lsn: start, epoch }, start);
    let mut scan = LogScan::new(&segments, 512, start, epochs, ScanEnd::FirstHole);
    let mut numbers = Vec::new();
    while let Some((_, record)) = scan.next_record().unwrap() {
        numbers.push(record.link().unwrap().txn.get());
    }
    numbers
}

#[test]
fn what_is_forced_survives_and_what_is_not_does_not() {
    let disk = SimDisk::new();
    let log = log_on(&disk);
    append(&log, 1);
    let second = append(&log, 2);
    let third = append(&log, 3);
    let durable = log.force(second).unwrap();
    assert!(durable.covers(Some(third)), "a force takes along what is appended");
    append(&log, 4);
    assert_eq!(scan(&disk.crash(&Survivors::None), 1), [1, 2, 3]);
}

#[test]
fn a_forced_record_is_not_forced_again() {
    let disk = SimDisk::new();
    let log = log_on(&disk);
    let first = append(&log, 1);
    log.force(first).unwrap();
    let before = disk.io_count();
    log.force(first).unwrap();
    log.force_all().unwrap();
    assert_eq!(disk.io_count(), before);
}

#[test]
fn records_are_read_from_memory_and_from_disk_alike_over_segments() {
    let disk = SimDisk::new();
    let log = log_on(&disk);
    let count = 3 * SEGMENT / 40;
    let lsns: Vec<Lsn> = (1..=count).map(|number| append(&log, number)).collect();
    assert!(lsns.last().unwrap().get() > 2 * SEGMENT, "three segments are used");
    let check =
        || (1..).zip(&lsns).for_each(|(number, at)| assert_eq!(number_at(&log, *at), number));
    check();
    log.force_all().unwrap();
    check();
    assert_eq!(scan(&disk.crash(&Survivors::None), 1), (1..=count).collect::<Vec<_>>());
}

#[test]
fn what_does_not_fit_leaves_filler_that_readers_step_over() {
    let disk = SimDisk::new();
    let log = log_on(&disk);
    for number in 1.. {
        append(&log, number);
        let left = SEGMENT - log.end_lsn().get() % SEGMENT;
        if left < 2 * 40 && left > HEADER_BYTES as u64 {
            break;
        }
    }
    let before = log.end_lsn().get();
    let large = EncodedRecord::filler(1_000); // Any bytes that do not fit.
    let at = log.append(&large, 0, |_| {}).unwrap();
    assert_eq!(at.get(), SEGMENT + SEGMENT_HEADER_BYTES);
    assert!(before < SEGMENT);
}

#[test]
fn no_record_is_written_into_the_block_of_a_segment_s_header() {
    let disk = SimDisk::new();
    let log = log_on(&disk);
    while log.end_lsn().get() < SEGMENT + SEGMENT_HEADER_BYTES + 400 {
        append(&log, 1);
    }
    log.force_all().unwrap();
    let geometry = log.segments().geometry();
    for number in 1..=2 {
        let segment = disk.read_file(&geometry.name(number)).unwrap();
        assert!(segment[64..4_096].iter().all(|byte| *byte == 0), "segment {number}");
        assert!(segment[4_096..4_136].iter().any(|byte| *byte != 0), "segment {number}");
    }
}

/// A log may end exactly where a segment does, or so close that no record fits any more.
#[test]
fn a_scan_to_a_known_end_ends_at_the_boundary_of_a_segment() {
    for skip in 0..5 {
        let disk = SimDisk::new();
        let log = log_on(&disk);
        log.append(&EncodedRecord::filler(40 + 8 * skip), 0, |_| {}).unwrap();
        while SEGMENT - log.end_lsn().get() % SEGMENT >= 40 && log.end_lsn().get() < SEGMENT {
            append(&log, 1);
        }
        log.force_all().unwrap();
        let segments = segments(&disk);
        let end = lsn(segments.geometry().record_position(log.end_lsn().get()));
        let start = lsn(SEGMENT_HEADER_BYTES + 40 + 8 * skip as u64);
        let known = ScanEnd::Known(end);
        let mut scan = LogScan::new(&segments, 512, start, log.epochs(), known);
        while scan.next_record().unwrap().is_some() {}
        assert_eq!(scan.position(), end);
    }
}

#[test]
fn another_epoch_s_records_are_not_believed() {
    let disk = SimDisk::new();
    let log = log_on(&disk);
    append(&log, 1);
    log.force_all().unwrap();
    assert_eq!(scan(&disk, 1), [1]);
    assert_eq!(scan(&disk, 2), [0_u64; 0]);
}

#[test]
fn after_a_failed_sync_nothing_is_appended_or_forced() {
    let disk = SimDisk::new();
    let log = log_on(&disk);
    let first = append(&log, 1);
    let fault =
        Fault { at: disk.io_count() + 1, kind: FaultKind::InputOutputError, forever: false };
    disk.inject(fault);
    assert!(matches!(log.force(first), Err(Error::Io { operation: "sync", .. })));
    assert!(matches!(log.force(first), Err(Error::Poisoned { .. })));
    assert!(matches!(log.append(&record(2), 0, |_| {}), Err(Error::Poisoned { .. })));
    assert!(log.flushed_lsn() <= first);
}

#[test]
fn every_thread_finds_its_records_durable() {
    let disk = SimDisk::new();
    let log = log_on(&disk);
    thread::scope(|scope| {
        for thread in 0..8 {
            let (log, disk) = (&log, &disk);
            scope.spawn(move || {
                for round in 0..50 {
                    let number = thread * 1_000 + round + 1;
                    let at = append(log, number);
                    log.force(at).unwrap();
                    if round % 10 == 0 {
                        assert!(scan(&disk.crash(&Survivors::None), 1).contains(&number));
                    }
                }
            });
        }
    });
    assert_eq!(scan(&disk.crash(&Survivors::None), 1).len(), 8 * 50);
}

#[test]
fn truncated_segments_are_recycled_and_their_records_never_come_back() {
    let disk = SimDisk::new();
    let log = log_on(&disk);
    let mut numbers = 1..;
    while log.end_lsn().get() < 3 * SEGMENT {
        append(&log, numbers.next().unwrap());
    }
    log.force_all().unwrap();
    let last = *log.segments().numbers().unwrap().end();
    log.truncate(log.flushed_lsn()).unwrap();
    let now = log.segments().numbers().unwrap();
    assert_eq!(*now.start(), 4, "what is before the end's segment is gone");
    assert!(*now.end() > last, "and comes back as segments to be used");
    let crashed = disk.crash(&Survivors::None);
    assert_eq!(segments(&crashed).numbers(), Some(now), "durably");
}

#[test]
fn what_is_reserved_can_be_appended_on_a_full_disk() {
    let disk = SimDisk::new();
    let log = log_on(&disk);
    let (mut reserved, one) = (0, padded_len());
    disk.set_capacity(Some(0));
    while log.try_reserve(one) {
        reserved += 1;
    }
    assert!(matches!(log.reserve(one), Err(Error::DiskFull { .. })));
    for number in 1..=reserved {
        log.append(&record(number), one, |_| {}).unwrap();
    }
    log.force_all().unwrap();
    disk.set_capacity(None);
    log.reserve(one).unwrap();
}

fn padded_len() -> u64 {
    crate::record::padded(record(1).len()) as u64
}

/// Readers step over filler by its length, wherever it stands.
#[test]
fn each_force_of_a_padded_log_ends_at_a_block_and_readers_find_every_record() {
    for block in [512, 4_096] {
        let disk = SimDisk::new();
        let log = log_padded_on(&disk, LogBlock::Padded(block));
        let mut numbers = 1..;
        while log.end_lsn().get() < 3 * SEGMENT {
            // One to nine records in a force: all kinds of room are left in the block.
            for _ in 0..=log.end_lsn().get() / block % 9 {
                append(&log, numbers.next().unwrap());
            }
            let end = log.force_all().unwrap().end().get();
            let full = SEGMENT - end % SEGMENT < HEADER_BYTES as u64;
            assert!(end.is_multiple_of(block) || full, "{end}");
            let before = disk.io_count();
            log.force_all().unwrap();
            assert_eq!(disk.io_count(), before, "what is padded is not padded again");
        }
        let found = scan(&disk.crash(&Survivors::None), 1);
        assert_eq!(found, (1..numbers.next().unwrap()).collect::<Vec<_>>());
    }
}

/// What looks like a log that ends with its last segment has therefore lost one.
#[test]
fn a_prepared_segment_is_always_left_beyond_the_end() {
    let blocks = [LogBlock::Rewritten, LogBlock::Padded(512), LogBlock::Padded(4_096)];
    for (size, block) in (40..=200).step_by(8).flat_map(|size| blocks.map(|block| (size, block))) {
        let disk = SimDisk::new();
        let log = log_padded_on(&disk, block);
        disk.set_capacity(Some(0));
        let bytes = EncodedRecord::filler(size);
        while log.append(&bytes, 0, |_| {}).is_ok() {
            if log.end_lsn().get().is_multiple_of(3) {
                log.force_all().unwrap();
            }
        }
        log.force_all().unwrap();
        let segments = log.segments();
        let next = segments.geometry().record_position(log.end_lsn().get());
        let number = segments.geometry().segment_of(next);
        assert!(segments.file(number).is_some(), "records of {size} bytes");
    }
}

/// Records from before the log was off for a while do not tell what pages hold since.
#[test]
fn the_retained_log_begins_where_it_is_complete() {
    let retained = |log: &Log| {
        let mut numbers = Vec::new();
        let visit = |_, record: &LogRecord<'_>| numbers.push(record.link().unwrap().txn.get());
        log.scan_retained(visit).unwrap();
        numbers
    };
    let log = log_on(&SimDisk::new());
    let lsns: Vec<Lsn> = (1..=3).map(|number| append(&log, number)).collect();
    log.force_all().unwrap();
    assert_eq!(retained(&log), [1, 2, 3]);
    let log = log_complete_from(&SimDisk::new(), LogBlock::Rewritten, Some(lsns[1]));
    for number in 1..=3 {
        append(&log, number);
    }
    log.force_all().unwrap();
    assert_eq!(retained(&log), [2, 3]);
}
