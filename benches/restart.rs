//! How fast restart is, against a plain walk over the same bytes, in one run.
//!
//! `cargo bench --bench restart` (options after `--`: `--log-mib 1024`, `--pages 200000`,
//! `--rounds 3`, `--dir DIR`; `--keep DIR` makes the database in DIR and leaves it there, and uses the
//! one it finds there; `--only walk`, `analysis`, `redo` or `two` does nothing else, for a profiler).
//!
//! A database is filled: one 100-byte record on each page; then, with no checkpoint between, updates
//! of all 100 bytes of records chosen at random, a hundred to a commit, until the log has grown by
//! `--log-mib`. Then it is dropped, as a crash would. Each round measures, one after the other:
//!
//! - the walk: each log file read in portions of a segment, each record's checksum computed;
//! - analysis of the same log;
//! - the walk, and then each page read, in order of their numbers;
//! - redo, by one thread and by two;
//!
//! *warm*, that is with the files in the page cache, and *cold*, with the files dropped from it before.
//! Analysis and redo are the engine's own first two phases; undo and the last checkpoint are not run,
//! so that every round finds the same log. What counts is the ratio within a round.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

mod common;

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use aries::config::{Config, RestartMode};
use aries::disk::{Disk, FileDisk};
use aries::event::Observers;
use aries::ids::{PageId, SlotId};
use aries::log::{ControlFile, Geometry, SEGMENT_HEADER_BYTES};
use aries::recovery::{Analysis, RedoReport};
use aries::{Db, Options};

use common::{Arguments, Sample};

const PAGE_SIZE: usize = 4096;
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
const RECORD_BYTES: usize = 100;
const UPDATES_PER_COMMIT: u64 = 100;
const PAGES_PER_COMMIT: usize = 1000;
/// Frames beside one for each page: for space map pages, and so that nothing is evicted.
const SPARE_FRAMES: usize = 1024;

struct Bench {
    dir: PathBuf,
    pages: usize,
    log_bytes: u64,
    config: Config,
}

fn main() {
    let arguments = Arguments::read();
    let dir = tempfile::tempdir_in(arguments.dir()).unwrap();
    let pages = arguments.get("pages", 200_000_usize);
    let kept = arguments.get("keep", PathBuf::new());
    let bench = Bench {
        dir: if kept.as_os_str().is_empty() { dir.path().join("db") } else { kept },
        pages,
        log_bytes: arguments.get("log-mib", 1024_u64) << 20,
        config: Config {
            checkpoint_log_bytes: 1 << 40,
            background: true,
            ..Config::new(PAGE_SIZE, SEGMENT_BYTES, pages + SPARE_FRAMES)
        },
    };
    if !bench.dir.exists() {
        bench.fill();
    }
    let rounds = arguments.get("rounds", 3);
    let only = arguments.get("only", String::new());
    if !only.is_empty() {
        return (0..rounds).for_each(|_| bench.run_only(&only));
    }
    for warm in [true, false] {
        bench.measure(rounds, warm);
    }
}

/// Seconds that each thing took, by round.
#[derive(Default)]
struct Measured {
    walk: Sample,
    analysis: Sample,
    walk_and_pages: Sample,
    serial: Sample,
    parallel: Sample,
    analysis_ratio: Sample,
    redo_ratio: Sample,
    speed_up: Sample,
    per_second: Sample,
}

impl Bench {
    fn options(&self) -> Options {
        Options::new()
            .page_size(PAGE_SIZE)
            .segment_bytes(SEGMENT_BYTES)
            .buffer_pool_bytes(self.config.frames * PAGE_SIZE)
            .checkpoint_log_bytes(self.config.checkpoint_log_bytes)
            .background(false)
    }

    fn fill(&self) {
        let began = Instant::now();
        let db = self.options().open(&self.dir).unwrap();
        let records = self.make_records(&db);
        db.flush_pages().unwrap();
        db.checkpoint().unwrap();
        let start = db.stats().end_lsn.get();
        let (mut updates, mut seed, mut end) = (0_u64, 1_u64, start);
        while end - start < self.log_bytes {
            let mut txn = db.begin().unwrap();
            for _ in 0..UPDATES_PER_COMMIT {
                updates += 1;
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (page, slot) = records[(seed >> 33) as usize % records.len()];
                let value = [updates as u8 | 1; RECORD_BYTES];
                let value = if updates % 2 == 0 { value.map(|byte| !byte) } else { value };
                txn.write_record(page, slot, 0, &value).unwrap();
            }
            end = txn.commit_deferred().unwrap().lsn().get();
        }
        db.force_log().unwrap();
        eprintln!(
            "{updates} updates on {} pages, {} MiB of log, made in {:.0} s",
            records.len(),
            (end - start) >> 20,
            began.elapsed().as_secs_f64()
        );
    }

    fn make_records(&self, db: &Db) -> Vec<(PageId, SlotId)> {
        let mut records = Vec::with_capacity(self.pages);
        while records.len() < self.pages {
            let mut txn = db.begin().unwrap();
            for _ in 0..PAGES_PER_COMMIT.min(self.pages - records.len()) {
                let page = txn.allocate_page().unwrap();
                records.push((page, txn.insert_record(page, &[0; RECORD_BYTES]).unwrap()));
            }
            txn.commit().unwrap();
        }
        records
    }

    fn run_only(&self, what: &str) {
        match what {
            "walk" => _ = self.timed(true, || self.walk()),
            "analysis" => _ = self.timed(true, || self.analyse()),
            "redo" => _ = self.redo(true, RestartMode::Serial),
            "two" => _ = self.redo(true, RestartMode::Parallel(2)),
            other => panic!("--only {other}: walk, analysis, redo or two"),
        }
    }

    fn measure(&self, rounds: usize, warm: bool) {
        let mut all = Measured::default();
        let mut last = None;
        for round in 0..rounds {
            eprintln!("{} round {} of {rounds}", name(warm), round + 1);
            let walk = self.timed(warm, || self.walk());
            let analysis = self.timed(warm, || black_box(self.analyse()).report().end);
            let walk_and_pages = self.timed(warm, || (self.walk(), self.read_pages()));
            let (serial, report, pages) = self.redo(warm, RestartMode::Serial);
            let (parallel, _, others) = self.redo(warm, RestartMode::Parallel(2));
            assert!(pages == others, "two threads leave each page as one does");
            all.walk.push(walk);
            all.analysis.push(analysis);
            all.walk_and_pages.push(walk_and_pages);
            all.serial.push(serial);
            all.parallel.push(parallel);
            all.analysis_ratio.push(walk / analysis);
            all.redo_ratio.push(walk_and_pages / serial);
            all.speed_up.push(serial / parallel);
            all.per_second.push(report.redone as f64 / serial / 1e6);
            last = Some(report);
        }
        self.print(warm, &all, &last.unwrap());
    }

    fn print(&self, warm: bool, all: &Measured, report: &RedoReport) {
        let line = |what: &str, sample: &Sample, note: &str| {
            println!("{what:<38}{:>26}  {note}", sample.show(2).to_string());
        };
        println!("\n{}: {} records redone, {} read", name(warm), report.redone, report.records);
        line("walk over the log, seconds", &all.walk, "");
        line("analysis, seconds", &all.analysis, "");
        line("  the walk / analysis", &all.analysis_ratio, if warm { "≥ 0.4" } else { "≥ 0.7" });
        line("walk and reading the pages, seconds", &all.walk_and_pages, "");
        line("redo, one thread, seconds", &all.serial, "");
        line("  walk and pages / redo", &all.redo_ratio, "≥ 0.4");
        line("  million records a second", &all.per_second, if warm { "≥ 2.5" } else { "" });
        line("redo, two threads, seconds", &all.parallel, "");
        line("  one thread / two", &all.speed_up, if warm { "1.4" } else { "" });
    }

    /// Seconds that `what` takes with the files in, or dropped from, the page cache.
    fn timed<T>(&self, warm: bool, what: impl FnOnce() -> T) -> f64 {
        self.prepare_cache(warm);
        let (began, cpu) = (Instant::now(), cpu_seconds());
        black_box(what());
        eprintln!(
            "  on the processor {:.3} of {:.3} s",
            cpu_seconds() - cpu,
            began.elapsed().as_secs_f64()
        );
        began.elapsed().as_secs_f64()
    }

    fn prepare_cache(&self, warm: bool) {
        for path in self.files() {
            let file = File::open(&path).unwrap();
            if warm {
                let mut buffer = vec![0; 1 << 20];
                let mut at = 0;
                while let Ok(read @ 1..) = file.read_at(&mut buffer, at) {
                    at += read as u64;
                }
            } else {
                file.sync_all().unwrap();
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            }
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = self.segment_files();
        files.push(self.dir.join("pages"));
        files
    }

    fn segment_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.join("log")).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    /// Reads every segment from the checkpoint's on; computes each record's checksum.
    fn walk(&self) -> u64 {
        let disk = FileDisk::open(&self.dir).unwrap();
        let from = ControlFile::open(&disk).unwrap().master().checkpoint_lsn.get();
        let geometry = Geometry { segment_bytes: SEGMENT_BYTES };
        let first = (geometry.segment_of(from) - self.first_segment()) as usize;
        let mut buffer = vec![0; SEGMENT_BYTES as usize];
        let (mut at, mut sum) = (geometry.offset(from) as usize, 0_u64);
        for path in &self.segment_files()[first..] {
            File::open(path).unwrap().read_exact_at(&mut buffer, 0).unwrap();
            let Some(checksums) = walk_segment(&buffer[at..]) else { break };
            sum = sum.wrapping_add(checksums);
            at = SEGMENT_HEADER_BYTES as usize;
        }
        sum
    }

    fn first_segment(&self) -> u64 {
        let name = self.segment_files()[0].file_stem().unwrap().to_str().unwrap().to_owned();
        name.parse().unwrap()
    }

    /// Reads every page into one buffer.
    fn read_pages(&self) -> u64 {
        let file = File::open(self.dir.join("pages")).unwrap();
        let mut page = [0; PAGE_SIZE];
        let pages = 0..self.pages as u64;
        pages
            .map(|n| {
                file.read_exact_at(&mut page, n * PAGE_SIZE as u64).unwrap();
                u64::from(page[16])
            })
            .sum()
    }

    fn analyse(&self) -> Analysis {
        self.analyse_with(&self.config)
    }

    fn analyse_with(&self, config: &Config) -> Analysis {
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(&self.dir).unwrap());
        let control = ControlFile::open(disk.as_ref()).unwrap();
        Analysis::run(disk, control, config, &Observers::default()).unwrap()
    }

    /// Seconds of redo alone, what it did, and the checksum of each page then.
    fn redo(&self, warm: bool, restart: RestartMode) -> (f64, RedoReport, Vec<u32>) {
        let config = Config { restart, ..self.config.clone() };
        let redo = self.analyse_with(&config).make_durable().unwrap();
        self.prepare_cache(warm);
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let undo = redo.run().unwrap();
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("  redo: on the processor {:.3} of {:.3} s", cpu_seconds() - cpu, seconds);
        let pool = (self.config.frames * PAGE_SIZE) as u64;
        eprintln!("  RssAnon is {} MiB, the pool {} MiB", rss_anon() >> 20, pool >> 20);
        let checksum = |page| crc32fast::hash(undo.pool().fix_read(PageId(page)).unwrap().bytes());
        let checksums = (0..undo.pool().pages()).map(checksum).collect();
        (seconds, undo.redo_report().clone(), checksums)
    }
}

/// The sum of the checksums of the records that `bytes` begin with; `None` if there is none.
fn walk_segment(bytes: &[u8]) -> Option<u64> {
    let (mut at, mut sum) = (0, None);
    while let Some(header) = bytes.get(at..at + 8) {
        let length = u32::from_le_bytes(header[4..].try_into().unwrap()) as usize;
        let Some(record) = bytes.get(at..at + length).filter(|_| length > 8) else { break };
        sum = Some(sum.unwrap_or(0) + u64::from(crc32fast::hash(&record[4..])));
        at += length.next_multiple_of(8);
    }
    sum
}

/// Seconds that this thread has been on a processor.
fn cpu_seconds() -> f64 {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    statistics.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Anonymous memory of this process, in bytes.
fn rss_anon() -> u64 {
    let status = fs::read_to_string(Path::new("/proc/self/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn name(warm: bool) -> &'static str {
    if warm { "warm" } else { "cold" }
}
