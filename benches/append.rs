//! How fast log records are appended, against the least that must be done: copying the same bytes and
//! computing their checksums.
//!
//! `cargo bench --bench append` (options after `--`: `--rounds 7`, `--mib 256`, `--dir DIR`).
//!
//! Appended are update records of a 100-byte patch and its inverse, by one thread: encoding the record,
//! its checksum, the log's mutex, the copy. Every 2 MiB the log is forced; that is not timed. The plain loop
//! takes the same records encoded before, computes the CRC-32 of what each one's checksum covers, and copies it to the end of a buffer,
//! which it empties every 2 MiB.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aries::config::Config;
use aries::disk::FileDisk;
use aries::event::Observers;
use aries::ids::{Lsn, PageId, SlotId, TxnId};
use aries::log::{Epochs, Geometry, LOG_DIRECTORY, Log, LogPosition, Segments};
use aries::page::PageOp;
use aries::record::{EncodedRecord, LogRecord, TransactionLink, Undo, Update, padded};

use common::{Arguments, Sample};

const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Less than what an appender would write by itself.
const BATCH_BYTES: u64 = 2 * 1024 * 1024;
const RECORD_BYTES: usize = 100;

fn main() {
    let arguments = Arguments::read();
    let dir = tempfile::tempdir_in(arguments.dir()).unwrap();
    let bytes = arguments.get("mib", 256_u64) << 20;
    let log = new_log(dir.path(), bytes);
    let (mut appends, mut plains, mut ratios) =
        (Sample::default(), Sample::default(), Sample::default());
    let rounds = arguments.get("rounds", 7_u64);
    for _ in 0..rounds {
        let (plain, append) = (plain(bytes / rounds), append(&log, bytes / rounds));
        plains.push(plain / 1e6);
        appends.push(append / 1e6);
        ratios.push(append / plain);
    }
    println!("{:<40}{}", "copy and checksum, million records/s", plains.show(2));
    println!("{:<40}{}", "append, million records/s", appends.show(2));
    println!("{:<40}{}  ≥ 0.5", "  append / copy and checksum", ratios.show(2));
}

/// A log with room for so many bytes, and as much again.
fn new_log(dir: &std::path::Path, bytes: u64) -> Log {
    let config = Config { checkpoint_log_bytes: bytes, ..Config::new(4096, SEGMENT_BYTES, 16) };
    let disk: Arc<dyn aries::disk::Disk> = Arc::new(FileDisk::open(dir).unwrap());
    disk.create_directory(LOG_DIRECTORY).unwrap();
    let geometry = Geometry { segment_bytes: SEGMENT_BYTES };
    let segments = Segments::new(disk, geometry, 1);
    for number in 1..=2 * bytes / SEGMENT_BYTES + 2 {
        segments.prepare(number).unwrap();
    }
    let start = Lsn::new(geometry.first_record(1)).unwrap();
    let position = LogPosition { end: start, durable: start, epoch: 1, complete_from: None };
    Log::new(segments, &config, Epochs::default(), position, Observers::default())
}

fn update<'b>(number: u64, old: &'b [u8], new: &'b [u8]) -> LogRecord<'b> {
    let slot = SlotId((number % 8) as u16);
    LogRecord::Update(Update {
        link: TransactionLink { txn: TxnId::FIRST, prev_lsn: Lsn::new(number + 1) },
        page: PageId(number % 1000),
        prev_page_lsn: Lsn::new(number),
        op: PageOp::Patch { slot, offset: 0, bytes: new },
        undo: Undo::Physical(PageOp::Patch { slot, offset: 0, bytes: old }),
    })
}

/// Records appended a second.
fn append(log: &Log, bytes: u64) -> f64 {
    let (old, new) = ([1; RECORD_BYTES], [2; RECORD_BYTES]);
    let (mut number, mut time, mut done) = (0, Duration::ZERO, 0);
    let mut encoded = EncodedRecord::default();
    while done < bytes {
        let began = Instant::now();
        let mut batch = 0;
        while batch < BATCH_BYTES {
            number += 1;
            encoded.set(&update(black_box(number), &old, &new));
            black_box(log.append(&encoded, 0, |_| {}).unwrap());
            batch += padded(encoded.len()) as u64;
        }
        time += began.elapsed();
        done += batch;
        log.force_all().unwrap();
    }
    number as f64 / time.as_secs_f64()
}

/// Records copied, and their checksums computed, a second.
fn plain(bytes: u64) -> f64 {
    let (old, new) = ([1; RECORD_BYTES], [2; RECORD_BYTES]);
    let (mut record, encoded) = (Vec::new(), EncodedRecord::new(&update(1, &old, &new)));
    encoded.append_to(Lsn::new(64).unwrap(), 1, &mut record);
    let mut buffer = Vec::with_capacity(BATCH_BYTES as usize + record.len());
    let (mut number, mut done) = (0_u64, 0);
    let began = Instant::now();
    while done < bytes {
        buffer.clear();
        while (buffer.len() as u64) < BATCH_BYTES {
            number += 1;
            // What the record's own checksum covers: neither itself nor the padding.
            black_box(crc32fast::hash(black_box(&record[4..encoded.len()])));
            buffer.extend_from_slice(black_box(&record));
        }
        done += buffer.len() as u64;
    }
    number as f64 / began.elapsed().as_secs_f64()
}
