//! How fast restart is, against a plain walk over the same bytes, in one run.
//!
//! `cargo bench --bench restart` (options after `--`: `--log-mib 1024`, `--pages 200000`,
//! `--rounds 5`, `--dir DIR`; `--keep DIR` makes the database in DIR and leaves it there, and uses the
//! one it finds there; `--only walk` or any other name below measures that alone, in this process, for
//! a profiler).
//!
//! A database is filled: one 100-byte record on each page; then, with no checkpoint between, updates
//! of all 100 bytes of records chosen at random, a hundred to a commit, until the log has grown by
//! `--log-mib`. Then it is dropped, as a crash would. Each round measures, one after the other:
//!
//! - `walk`: each log file read in portions of a segment, each record's checksum computed;
//! - `analysis` of the same log;
//! - `pages`: the walk, then each page read, in order of their numbers, into memory of its own; and `buffer`: all
//!   of them into the same few bytes, which touches no memory;
//! - `redo` and `redo2`: redo by one thread and by two;
//! - `memory` and `memory2` (warm only): the same, with all pages in the pool before the clock starts;
//!
//! *warm*, that is with the files in the page cache, and *cold*, with the files dropped from it before.
//! Each is measured in a process of its own, so that none finds memory that another has touched.
//! Analysis and redo are the engine's own first two phases; undo and the last checkpoint are not run,
//! so that every round finds the same log. What counts is the ratio within a round. After each redo the
//! checksums of all pages must be the same.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use aries::config::{Config, RestartMode};
use aries::disk::{Disk, FileDisk};
use aries::event::Observers;
use aries::ids::{PageId, SlotId};
use aries::log::{ControlFile, Geometry, SEGMENT_HEADER_BYTES};
use aries::recovery::Analysis;
use aries::{Db, Options};

use common::{Arguments, Sample};

const PAGE_SIZE: usize = 4096;
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
const RECORD_BYTES: usize = 100;
const UPDATES_PER_COMMIT: u64 = 100;
const PAGES_PER_COMMIT: usize = 1000;
/// Frames beside one for each page: for space map pages, and so that nothing is evicted.
const SPARE_FRAMES: usize = 1024;
/// What is measured, in this order.
const WARM: [&str; 8] =
    ["walk", "analysis", "pages", "buffer", "redo", "redo2", "memory", "memory2"];
const COLD: [&str; 6] = ["walk", "analysis", "pages", "buffer", "redo", "redo2"];

struct Bench {
    dir: PathBuf,
    pages: usize,
    log_bytes: u64,
    config: Config,
}

/// What a process of its own measured.
#[derive(Clone, Copy, Default)]
struct Outcome {
    seconds: f64,
    /// On the processor, in the thread that measured.
    busy: f64,
    /// Records redone, anonymous memory of the process in bytes, and a checksum of all pages.
    redone: u64,
    rss_anon: u64,
    checksum: u64,
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
    let only = arguments.get("only", String::new());
    if !only.is_empty() {
        return bench.measure(&only, arguments.get("warm", true)).print();
    }
    let rounds = arguments.get("rounds", 5);
    bench.compare(true, &WARM, rounds);
    bench.compare(false, &COLD, rounds);
}

impl Outcome {
    fn print(&self) {
        let Self { seconds, busy, redone, rss_anon, checksum } = self;
        println!("{seconds} {busy} {redone} {rss_anon} {checksum}");
    }

    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let seconds = |at: usize| words[at].parse::<f64>().unwrap();
        let (redone, rss_anon, checksum) = (number(2), number(3), number(4));
        Self { seconds: seconds(0), busy: seconds(1), redone, rss_anon, checksum }
    }
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

    /// Rounds of all of `what`, each in a process of its own; prints medians.
    fn compare(&self, warm: bool, what: &[&'static str], rounds: usize) {
        let mut all: BTreeMap<&str, Vec<Outcome>> = BTreeMap::new();
        for round in 0..rounds {
            eprintln!("{} round {} of {rounds}", name(warm), round + 1);
            for what in what {
                all.entry(what).or_default().push(self.in_process(what, warm));
            }
        }
        let redos =
            all.iter().filter(|(what, _)| what.starts_with("redo") || what.starts_with("mem"));
        let mut checksums: Vec<u64> =
            redos.flat_map(|(_, all)| all).map(|one| one.checksum).collect();
        checksums.dedup();
        assert_eq!(checksums.len(), 1, "every redo leaves the same pages");
        self.print(warm, &all);
    }

    fn in_process(&self, what: &str, warm: bool) -> Outcome {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--keep").arg(&self.dir).args(["--only", what]);
        command.args(["--pages", &self.pages.to_string(), "--warm", &warm.to_string()]);
        let output = command.stderr(std::process::Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{what} failed");
        Outcome::parse(&String::from_utf8(output.stdout).unwrap())
    }

    fn print(&self, warm: bool, all: &BTreeMap<&str, Vec<Outcome>>) {
        let of = |what: &str, value: &dyn Fn(&Outcome) -> f64| {
            let mut sample = Sample::default();
            all[what].iter().for_each(|outcome| sample.push(value(outcome)));
            sample
        };
        let line = |what: &str, sample: &Sample, note: &str| {
            println!("{what:<40}{:>26}  {note}", sample.show(2).to_string());
        };
        let seconds = |what: &str| of(what, &|outcome| outcome.seconds);
        let ratio = |over: &str, under: &str| {
            let mut sample = Sample::default();
            let pairs = all[over].iter().zip(&all[under]);
            pairs.for_each(|(over, under)| sample.push(over.seconds / under.seconds));
            sample
        };
        let redone = all["redo"][0].redone;
        println!("\n{}: {redone} records to redo on {} pages", name(warm), self.pages);
        line("walk over the log, seconds", &seconds("walk"), "");
        line("analysis, seconds", &seconds("analysis"), "");
        let target = if warm { "≥ 0.4" } else { "≥ 0.7" };
        line("  walk / analysis", &ratio("walk", "analysis"), target);
        line("walk and reading the pages, seconds", &seconds("pages"), "");
        line("redo, one thread, seconds", &seconds("redo"), "");
        line("  walk and pages / redo", &ratio("pages", "redo"), "≥ 0.4");
        line("  the same through one buffer / redo", &ratio("buffer", "redo"), "");
        line("redo, two threads, seconds", &seconds("redo2"), "");
        line("  one thread / two", &ratio("redo", "redo2"), if warm { "1.4" } else { "" });
        if warm {
            let millions = |what| of(what, &|one: &Outcome| one.redone as f64 / one.seconds / 1e6);
            line("pages in memory: million records a second", &millions("memory"), "≥ 2.5");
            line("  by two threads", &millions("memory2"), "");
        }
        let above = |one: &Outcome| (one.rss_anon as f64 - self.pool_bytes()) / f64::from(1 << 20);
        line("RssAnon above the pool, MiB", &of("redo", &above), "≤ 200");
        line("  with two threads", &of("redo2", &above), "≤ 200");
    }

    fn pool_bytes(&self) -> f64 {
        (self.config.frames * PAGE_SIZE) as f64
    }

    fn measure(&self, what: &str, warm: bool) -> Outcome {
        match what {
            "walk" => self.timed(warm, || self.walk()),
            "analysis" => self.timed(warm, || self.analyse(&self.config).report().end),
            "pages" => self.timed(warm, || (self.walk(), self.read_pages())),
            "buffer" => self.timed(warm, || (self.walk(), self.read_through_buffer())),
            "redo" => self.redo(warm, false, RestartMode::Serial),
            "redo2" => self.redo(warm, false, RestartMode::Parallel(2)),
            "memory" => self.redo(warm, true, RestartMode::Serial),
            "memory2" => self.redo(warm, true, RestartMode::Parallel(2)),
            other => panic!("--only {other}: one of {WARM:?}"),
        }
    }

    /// Seconds that `what` takes with the files in, or dropped from, the page cache.
    fn timed<T>(&self, warm: bool, what: impl FnOnce() -> T) -> Outcome {
        self.prepare_cache(warm);
        let (began, cpu) = (Instant::now(), cpu_seconds());
        black_box(what());
        let (seconds, busy) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        Outcome { seconds, busy, ..Outcome::default() }
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

    /// Reads every page, each into memory of its own.
    fn read_pages(&self) -> Vec<u8> {
        let file = File::open(self.dir.join("pages")).unwrap();
        let mut pages = vec![0; self.pages * PAGE_SIZE];
        for (number, page) in pages.chunks_mut(PAGE_SIZE).enumerate() {
            file.read_exact_at(page, (number * PAGE_SIZE) as u64).unwrap();
        }
        pages
    }

    /// Reads every page into the same memory.
    fn read_through_buffer(&self) -> u64 {
        let file = File::open(self.dir.join("pages")).unwrap();
        let mut page = [0; PAGE_SIZE];
        let pages = 0..self.pages as u64;
        pages
            .map(|number| {
                file.read_exact_at(&mut page, number * PAGE_SIZE as u64).unwrap();
                u64::from(page[16])
            })
            .sum()
    }

    fn analyse(&self, config: &Config) -> Analysis {
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(&self.dir).unwrap());
        let control = ControlFile::open(disk.as_ref()).unwrap();
        Analysis::run(disk, control, config, &Observers::default()).unwrap()
    }

    /// Redo alone, of a log that was analysed before, and what it left.
    fn redo(&self, warm: bool, in_memory: bool, restart: RestartMode) -> Outcome {
        let config = Config { restart, ..self.config.clone() };
        let redo = self.analyse(&config).make_durable().unwrap();
        if in_memory {
            let pages = redo.pool().pages();
            (0..pages).for_each(|page| drop(redo.pool().fix_read(PageId(page)).unwrap()));
        }
        let mut undo = None;
        let cells = std::sync::Arc::new(aries::btree::FindCells);
        let outcome = self.timed(warm, || undo = Some(redo.run(cells).unwrap()));
        let undo = undo.unwrap();
        let rss_anon = rss_anon();
        let checksum = |page| crc32fast::hash(undo.pool().fix_read(PageId(page)).unwrap().bytes());
        let sum = |sum: u64, page| sum.rotate_left(1).wrapping_add(u64::from(checksum(page)));
        let checksum = (0..undo.pool().pages()).fold(0, sum);
        Outcome { redone: undo.redo_report().redone, rss_anon, checksum, ..outcome }
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
