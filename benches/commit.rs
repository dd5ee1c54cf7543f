//! Durable commits a second, against the raw disk, in one run.
//!
//! `cargo bench --bench commit` (options after `--`: `--rounds 7`, `--millis 400`, `--dir DIR`,
//! `--hogs 0`: so many threads that do nothing but use a processor, all the while).
//!
//! Each round measures, one after the other and for the same time: the raw disk (one thread,
//! `pwrite` of 4 KiB and `fdatasync`, over and over, through a file that was filled with zeros and
//! synced: what a log does that writes a block for each commit), then commits of a 100-byte update
//! by 1, 4, 16 and 64 threads, then one thread that keeps 64 deferred commits outstanding. What
//! counts is the ratio to the raw disk within a round; printed is the median of the rounds, with
//! the smallest and the largest.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

mod common;

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aries::ids::{PageId, SlotId};
use aries::{Db, Options};

use common::{Arguments, Sample};

const RECORD_BYTES: usize = 100;
const RAW_BLOCK: usize = 4096;
const RAW_FILE_BYTES: u64 = 16 * 1024 * 1024;
const THREADS: [usize; 4] = [1, 4, 16, 64];
const OUTSTANDING: usize = 64;

/// Writes a second of 4 KiB each, every one synced, by one thread.
fn raw_rate(dir: &Path, time: Duration) -> f64 {
    let path = dir.join("raw");
    let file = File::options().create(true).truncate(true).write(true).open(&path).unwrap();
    file.write_all_at(&vec![0; RAW_FILE_BYTES as usize], 0).unwrap();
    file.sync_all().unwrap();
    let block = [7; RAW_BLOCK];
    let began = Instant::now();
    let mut writes = 0;
    while began.elapsed() < time {
        file.write_all_at(&block, writes * RAW_BLOCK as u64 % RAW_FILE_BYTES).unwrap();
        file.sync_data().unwrap();
        writes += 1;
    }
    let rate = writes as f64 / began.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    rate
}

/// One record for each thread, each on a page of its own.
fn make_records(db: &Db, count: usize) -> Vec<(PageId, SlotId)> {
    let mut txn = db.begin().unwrap();
    let make = |_| {
        let page = txn.allocate_page().unwrap();
        (page, txn.insert_record(page, &[0; RECORD_BYTES]).unwrap())
    };
    let records = (0..count).map(make).collect();
    txn.commit().unwrap();
    records
}

fn commit_rate(db: &Db, records: &[(PageId, SlotId)], time: Duration) -> f64 {
    let (commits, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let start = Barrier::new(records.len() + 1);
    let mut elapsed = Duration::ZERO;
    thread::scope(|scope| {
        for &(page, slot) in records {
            let (commits, stop, start) = (&commits, &stop, &start);
            scope.spawn(move || {
                start.wait();
                let mut value = 0_u8;
                while !stop.load(Ordering::Relaxed) {
                    value = value.wrapping_add(1);
                    let mut txn = db.begin().unwrap();
                    txn.write_record(page, slot, 0, &[value; RECORD_BYTES]).unwrap();
                    txn.commit().unwrap();
                    commits.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        start.wait();
        let began = Instant::now();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        elapsed = began.elapsed();
    });
    commits.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64()
}

fn deferred_rate(db: &Db, (page, slot): (PageId, SlotId), time: Duration) -> f64 {
    let began = Instant::now();
    let (mut tickets, mut durable, mut value) = (VecDeque::new(), 0_u64, 0_u8);
    while began.elapsed() < time {
        while tickets.len() < OUTSTANDING {
            value = value.wrapping_add(1);
            let mut txn = db.begin().unwrap();
            txn.write_record(page, slot, 0, &[value; RECORD_BYTES]).unwrap();
            tickets.push_back(txn.commit_deferred().unwrap());
        }
        while tickets.len() == OUTSTANDING || tickets.front().is_some_and(|t| t.is_durable()) {
            tickets.pop_front().unwrap().wait().unwrap();
            durable += 1;
        }
    }
    durable as f64 / began.elapsed().as_secs_f64()
}

fn main() {
    let arguments = Arguments::read();
    let (rounds, time) =
        (arguments.get("rounds", 7), Duration::from_millis(arguments.get("millis", 400)));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..arguments.get("hogs", 0) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::black_box(())
                }
            });
        }
        measure(&arguments.dir(), rounds, time);
        stop.store(true, Ordering::Relaxed);
    });
}

fn measure(dir: &Path, rounds: usize, time: Duration) {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let db = Options::new().open(dir.path().join("db")).unwrap();
    let records = make_records(&db, 64);
    let names: Vec<String> = THREADS
        .iter()
        .map(|threads| format!("{threads} threads"))
        .chain([format!("1 thread, {OUTSTANDING} deferred")])
        .collect();
    let mut ratios = vec![Sample::default(); names.len()];
    let mut rates = ratios.clone();
    let mut raws = Sample::default();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for (index, ratios) in ratios.iter_mut().enumerate() {
            // The raw disk anew before each: the machine's speed drifts.
            let raw = raw_rate(dir.path(), time);
            let rate = match THREADS.get(index) {
                Some(&threads) => commit_rate(&db, &records[..threads], time),
                None => deferred_rate(&db, records[0], time),
            };
            raws.push(raw);
            rates[index].push(rate);
            ratios.push(rate / raw);
        }
    }
    println!("raw disk, 4 KiB pwrite + fdatasync: {} a second", raws.show(0));
    println!("{:<24}{:>14}    × raw (least to most)", "durable commits", "a second");
    for ((name, rates), ratios) in names.iter().zip(&rates).zip(&ratios) {
        println!("{name:<24}{:>14.0}    {}", rates.median(), ratios.show(2));
    }
    db.close().unwrap();
}
