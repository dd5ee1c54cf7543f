//! Durable commits a second, against the raw disk, in one run.
//!
//! `cargo bench --bench commit` (options after `--`: `--rounds 7`, `--millis 400`, `--dir DIR`).
//!
//! Each round measures, one after the other and for the same time: the raw disk (one thread,
//! `pwrite` of 4 KiB and `fdatasync`, over and over, through a file that was filled with zeros and
//! synced: what a log does that writes a block for each commit), then commits of a 100-byte update
//! by 1, 4, 16 and 64 threads, then one thread that keeps 64 deferred commits outstanding. What
//! counts is the ratio to the raw disk within a round; printed is the median of the rounds, with
//! the smallest and the largest.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aries::ids::{PageId, SlotId};
use aries::{Db, Options};

const RECORD_BYTES: usize = 100;
const RAW_BLOCK: usize = 4096;
const RAW_FILE_BYTES: u64 = 16 * 1024 * 1024;
const THREADS: [usize; 4] = [1, 4, 16, 64];
const OUTSTANDING: usize = 64;

struct Arguments {
    rounds: usize,
    time: Duration,
    dir: PathBuf,
}

fn arguments() -> Arguments {
    let mut arguments =
        Arguments { rounds: 7, time: Duration::from_millis(400), dir: std::env::temp_dir() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rounds" => arguments.rounds = words.next().unwrap().parse().unwrap(),
            "--millis" => {
                arguments.time = Duration::from_millis(words.next().unwrap().parse().unwrap());
            }
            "--dir" => arguments.dir = words.next().unwrap().into(),
            _ => {} // Cargo passes words of its own.
        }
    }
    arguments
}

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

fn median(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}

fn main() {
    let arguments = arguments();
    let dir = tempfile::tempdir_in(&arguments.dir).unwrap();
    let db = Options::new().open(dir.path().join("db")).unwrap();
    let records = make_records(&db, 64);
    let names: Vec<String> = THREADS
        .iter()
        .map(|threads| format!("{threads} threads"))
        .chain([format!("1 thread, {OUTSTANDING} deferred")])
        .collect();
    let mut ratios = vec![Vec::new(); names.len()];
    let mut rates = vec![Vec::new(); names.len()];
    let mut raws = Vec::new();
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        for (index, ratios) in ratios.iter_mut().enumerate() {
            // The raw disk anew before each: the machine's speed drifts.
            let raw = raw_rate(dir.path(), arguments.time);
            let rate = match THREADS.get(index) {
                Some(&threads) => commit_rate(&db, &records[..threads], arguments.time),
                None => deferred_rate(&db, records[0], arguments.time),
            };
            raws.push(raw);
            rates[index].push(rate);
            ratios.push(rate / raw);
        }
    }
    let (least, middle, most) = median(&mut raws);
    println!("raw disk, 4 KiB pwrite + fdatasync: {middle:.0} a second ({least:.0} to {most:.0})");
    println!("{:<24}{:>14}{:>12}{:>20}", "durable commits", "a second", "× raw", "(least to most)");
    for ((name, rates), ratios) in names.iter().zip(&mut rates).zip(&mut ratios) {
        let (_, rate, _) = median(rates);
        let (least, middle, most) = median(ratios);
        println!(
            "{name:<24}{rate:>14.0}{middle:>12.2}{:>20}",
            format!("({least:.2} to {most:.2})")
        );
    }
    db.close().unwrap();
}
