//! aries and its peers at the same work: SQLite, redb, fjall, LMDB and, with `--features rocksdb`, RocksDB.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- [commits | transfers | memory | reopen] [--quick] [--json]
//! ```
//!
//! - [`workloads`]: what is done; one file each, which tells what is measured and how it is made sure that it was done.
//! - [`stores`]: who does it; one file each, which tells how the store is made durable, and what it caches in.
//! - [`store`]: what the workloads ask of a store.
//! - [`mod@bench`]: rounds and threads. [`report`]: ratios, goals, tables.
//!
//! What holds:
//! - Every store is durable: when `write` returns, the transaction is on the disk. The directory is on a real disk, not in memory.
//! - Every store gets the same cache, as far as it lets one say so.
//! - All stores have a turn in each round; what counts is the ratio within a round. No time is asserted.
//! - The machine should be quiet; the program says if it is not.
//! - A store that loses or invents anything ends the program with an error.
//!
//! The figures are read as told in `docs/performance.md`.

mod bench;
mod report;
mod store;
mod stores;
mod workloads;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use bench::{Bench, Progress};
use report::Comparison;
use store::Setup;
use stores::Kind;
use workloads::{commits, memory, reopen, transfers};

/// With a higher load than this the machine is not quiet.
const BUSY: f64 = 0.5;

/// Does the same work on aries and on its peers, and prints how they compare.
#[derive(Parser)]
struct Cli {
    /// All of them, if none is named.
    #[command(subcommand)]
    workload: Option<Workload>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Workload {
    /// Durable transactions of one put each.
    Commits,
    /// Transactions like those of TPC-B.
    Transfers,
    /// Loading, reading and scanning in memory.
    Memory,
    /// Opening after a crash; bytes of data and log.
    Reopen,
    /// Makes updates and waits to be killed: what `reopen` runs.
    #[command(name = reopen::CHILD, hide = true)]
    UpdatesUntilKilled(reopen::Updates),
}

#[derive(Args)]
struct Options {
    /// Few rounds of short turns on small tables: whether it works, not how fast.
    #[arg(long, global = true)]
    quick: bool,
    /// Print one JSON document instead of tables.
    #[arg(long, global = true)]
    json: bool,
    /// Only these stores.
    #[arg(long, global = true, value_delimiter = ',', value_name = "STORES")]
    only: Vec<Kind>,
    /// Only these numbers of threads; 1, 8 and 64 by default.
    #[arg(long, global = true, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1000))]
    threads: Vec<u16>,
    /// Rounds; 7 by default, 3 with `--quick`.
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// How long a turn lasts, in milliseconds; 500 by default, 200 with `--quick`.
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(1..))]
    millis: Option<u64>,
    /// Pairs of the large table, and updates before the crash; a million by default, 50,000 with `--quick`.
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(1000..))]
    pairs: Option<u64>,
    /// Cache of each store, in MiB.
    #[arg(long, global = true, default_value_t = 512, value_parser = clap::value_parser!(u16).range(16..))]
    cache_mib: u16,
    /// Where a directory for the stores is made, and removed in the end; beside the target folder by default.
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'r> {
    /// How many threads of other programs ran or wanted to, in the minute before.
    load_before: f64,
    rounds: usize,
    turn_millis: u128,
    pairs: u64,
    cache_bytes: usize,
    comparisons: &'r [Comparison],
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if let Some(Workload::UpdatesUntilKilled(updates)) = &cli.workload {
        return reopen::update_until_killed(updates);
    }
    let within = cli.options.dir.clone().map_or_else(beside_target, Ok)?;
    on_a_real_disk(&within)?;
    let load_before = load()?;
    if load_before > BUSY {
        eprintln!("other programs are busy (load {load_before}): this will spoil the ratios");
    }
    let dir = tempfile::Builder::new().prefix("aries-peers-").tempdir_in(&within);
    let dir = dir.with_context(|| format!("making a directory in {}", within.display()))?;
    let done = run(&cli, &cli.options.bench(dir.path()), load_before);
    dir.close().context("removing what was written")?;
    done
}

fn run(cli: &Cli, bench: &Bench, load_before: f64) -> Result<()> {
    type Run = fn(&Bench) -> Result<Vec<Comparison>>;
    let runs: &[Run] = match &cli.workload {
        Some(Workload::Commits) => &[commits::run],
        Some(Workload::Transfers) => &[transfers::run],
        Some(Workload::Memory) => &[memory::run],
        Some(Workload::Reopen) => &[reopen::run],
        Some(Workload::UpdatesUntilKilled(_)) | None => {
            &[commits::run, transfers::run, memory::run, reopen::run]
        }
    };
    let mut comparisons = Vec::new();
    for run in runs {
        let done = run(bench)?;
        if !cli.options.json {
            done.iter().for_each(|comparison| bench.progress.print(&comparison.table()));
        }
        comparisons.extend(done);
    }
    bench.progress.clear();
    if cli.options.json {
        let report = Report {
            load_before,
            rounds: bench.rounds,
            turn_millis: bench.time.as_millis(),
            pairs: bench.pairs,
            cache_bytes: bench.setup.cache_bytes,
            comparisons: &comparisons,
        };
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(())
}

impl Options {
    fn bench(&self, dir: &Path) -> Bench {
        let quick = |quickly, otherwise| if self.quick { quickly } else { otherwise };
        let cache_bytes = usize::from(self.cache_mib) << 20;
        let or_all = |only: &[Kind]| match only {
            [] => Kind::value_variants().to_vec(),
            only => only.to_vec(),
        };
        let threads = if self.threads.is_empty() { &[1, 8, 64] } else { &self.threads[..] };
        Bench {
            dir: dir.to_owned(),
            stores: or_all(&self.only),
            setup: Setup { cache_bytes, whole_log: false },
            rounds: self.rounds.map_or(quick(3, 7), usize::from),
            time: Duration::from_millis(self.millis.unwrap_or(if self.quick { 200 } else { 500 })),
            threads: threads.iter().copied().map(usize::from).collect(),
            pairs: self.pairs.unwrap_or(if self.quick { 50_000 } else { 1_000_000 }),
            progress: Progress::new(),
        }
    }
}

/// The folder in which the target folder is: this program is `target/release/peers`.
fn beside_target() -> Result<PathBuf> {
    let program = std::env::current_exe().context("where is this program?")?;
    let folder = program.ancestors().nth(3).context("this program is in no target folder")?;
    Ok(folder.to_owned())
}

/// The load of the last minute.
fn load() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("reading /proc/loadavg")?;
    let load = text.split_whitespace().next().context("/proc/loadavg is empty")?;
    load.parse().context("reading /proc/loadavg")
}

/// What is in memory only is durable without waiting, and compares nothing.
fn on_a_real_disk(dir: &Path) -> Result<()> {
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    const RAMFS: rustix::fs::FsWord = 0x8584_58f6;
    let found = rustix::fs::statfs(dir).with_context(|| format!("looking at {}", dir.display()))?;
    let in_memory = [TMPFS, RAMFS].contains(&found.f_type);
    ensure!(!in_memory, "{} is in memory: say `--dir` of a folder on a disk", dir.display());
    Ok(())
}
