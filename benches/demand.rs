//! Pages on demand: a table ten times as large as the buffer pool, read and changed at random, against the raw disk. And how
//! much memory that takes.
//!
//! `cargo bench --bench demand` (options after `--`: `--rounds 5`, `--pool-mib 16`, `--times 10`, `--dir DIR`).
//!
//! - Reads: single gets of random keys, the page cache dropped before; per page that the pool had to read, against `pread` of
//!   random pages of the same file, the cache dropped as well.
//! - Changes: transactions that put a hundred random keys anew, until every page of the pool was replaced; per page written,
//!   against a plain loop that writes batches of 64 pages to one file, syncs, writes them in place in another, syncs: what the
//!   double-write file asks for at least.
//! - Memory: the most that was resident at any time (`VmHWM`). More than the pool and 64 MiB is an error.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

mod common;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use aries::disk::{Disk, FileDisk};
use aries::{Db, Options, Table};

use common::{Arguments, Sample};

const MIB: u64 = 1024 * 1024;
const PAGE: u64 = 4096;
const BATCH: u64 = 64;
const ROW_BYTES: u64 = 128;
const READS: u64 = 20_000;
/// What the program may have beside the pool.
const MOST_BESIDE: u64 = 64 * MIB;

fn main() {
    let arguments = Arguments::read();
    let dir = tempfile::tempdir_in(arguments.dir()).unwrap();
    let pool_bytes = arguments.get("pool-mib", 16_u64) * MIB;
    let rows = arguments.get("times", 10_u64) * pool_bytes / ROW_BYTES;
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::create(dir.path()).unwrap());
    let options = Options::new().buffer_pool_bytes(pool_bytes as usize);
    let db = options.open_on(Arc::clone(&disk)).unwrap();
    let table = db.table("rows").unwrap();
    load(&db, &table, rows);
    let pages = db.stats().pages;
    println!(
        "{:<44}{:.1}",
        "pages of the database / of the pool",
        (pages * PAGE) as f64 / pool_bytes as f64
    );
    let mut seed = 1;
    let (mut reads, mut writes) = (Sample::default(), Sample::default());
    for _ in 0..arguments.get("rounds", 5) {
        disk.drop_cache().unwrap();
        let raw = raw_reads(&dir.path().join("pages"), pages, &mut seed);
        disk.drop_cache().unwrap();
        reads.push(random_gets(&db, &table, rows, &mut seed) / raw);
        let raw = raw_writes(dir.path(), pool_bytes / PAGE, pages, &mut seed);
        writes.push(random_puts(&db, &table, (rows, pool_bytes / PAGE), &mut seed) / raw);
    }
    println!("{:<44}{}", "pages read on demand / raw pread", reads.show(2));
    println!("{:<44}{}", "pages written / raw double write", writes.show(2));
    db.close().unwrap();
    let resident = resident_at_most();
    println!("{:<44}{}", "pool, MiB", pool_bytes / MIB);
    println!("{:<44}{}", "most resident memory, MiB", resident / MIB);
    assert!(resident <= pool_bytes + MOST_BESIDE, "more than the pool and 64 MiB");
}

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

fn value(number: u64, seed: u64) -> [u8; 100] {
    let mut value = [number as u8; 100];
    value[..8].copy_from_slice(&seed.to_le_bytes());
    value
}

fn random(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}

fn load(db: &Db, table: &Table, rows: u64) {
    let numbers: Vec<u64> = (0..rows).collect();
    for portion in numbers.chunks(1000) {
        let mut txn = db.begin().unwrap();
        for number in portion {
            txn.put(table, &key(*number), &value(*number, 0)).unwrap();
        }
        let _ = txn.commit_deferred().unwrap();
    }
    db.flush().unwrap();
}

/// Pages a second that random gets have the pool read.
fn random_gets(db: &Db, table: &Table, rows: u64, seed: &mut u64) -> f64 {
    let (before, began) = (db.stats().pool.misses, Instant::now());
    for _ in 0..READS / 100 {
        let mut txn = db.begin().unwrap();
        for _ in 0..100 {
            let number = random(seed, rows);
            let found = txn.get(table, &key(number)).unwrap().unwrap();
            assert!(found[8..] == value(number, 0)[8..]);
        }
        txn.commit().unwrap();
    }
    (db.stats().pool.misses - before) as f64 / began.elapsed().as_secs_f64()
}

fn raw_reads(file: &Path, pages: u64, seed: &mut u64) -> f64 {
    let file = File::open(file).unwrap();
    let (mut page, began) = ([0; PAGE as usize], Instant::now());
    for _ in 0..READS {
        file.read_exact_at(&mut page, random(seed, pages) * PAGE).unwrap();
        std::hint::black_box(crc32fast::hash(&page));
    }
    READS as f64 / began.elapsed().as_secs_f64()
}

/// Pages a second that random puts have the pool write, until it has written as many as it holds.
fn random_puts(db: &Db, table: &Table, (rows, frames): (u64, u64), seed: &mut u64) -> f64 {
    let (before, began) = (db.stats().pool.written, Instant::now());
    while db.stats().pool.written - before < frames {
        let mut txn = db.begin().unwrap();
        for _ in 0..100 {
            let number = random(seed, rows);
            txn.put(table, &key(number), &value(number, *seed)).unwrap();
        }
        txn.commit().unwrap();
    }
    (db.stats().pool.written - before) as f64 / began.elapsed().as_secs_f64()
}

fn raw_writes(dir: &Path, count: u64, pages: u64, seed: &mut u64) -> f64 {
    let open = |name| {
        let path = dir.join(name);
        OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap()
    };
    let (twice, in_place) = (open("raw-twice"), open("raw-in-place"));
    twice.write_all_at(&vec![0; (BATCH * PAGE) as usize], 0).unwrap();
    (0..pages / 256).for_each(|at| in_place.write_all_at(&[0; 1024 * 1024], at * MIB).unwrap());
    in_place.sync_data().unwrap();
    let (batch, began) = (vec![7; (BATCH * PAGE) as usize], Instant::now());
    for _ in 0..count / BATCH {
        twice.write_all_at(&batch, 0).unwrap();
        twice.sync_data().unwrap();
        for page in batch.chunks(PAGE as usize) {
            in_place.write_all_at(page, random(seed, pages / 256 * 256) * PAGE).unwrap();
        }
        in_place.sync_data().unwrap();
    }
    count as f64 / began.elapsed().as_secs_f64()
}

/// Bytes.
fn resident_at_most() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
