//! A crash with a million updates in the log, and how long it takes until the store is there again.
//!
//! A child, this program itself, loads a million pairs, brings them into their place, and updates a million times, a hundred
//! to a transaction, each of them durable, each key at random. Then it says that it is done and is killed by SIGKILL. What it left is copied
//! for each round, and the copy synced; then the time is taken from opening it until a key was read, and until another was put
//! durably. Afterwards every key must hold its last update.
//!
//! The kernel survives, so the files are in its page cache: what is measured is the work of the restart, not the disk's reading.
//! How many bytes the crash left, and how many the updates wrote, comes from the same child.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::bench::{Bench, Place, remove};
use crate::report::{Better, Comparison, Goal};
use crate::store::{Pair, Setup, file_bytes, holds, key, put, room, value, verify};
use crate::stores::Kind;

const NAME: &str = "reopen";
/// The hidden command by which the program runs itself.
pub const CHILD: &str = "updates-until-killed";
const UPDATES_PER_COMMIT: u64 = 100;
const SEED: u64 = 1;

/// What the child is to do.
#[derive(clap::Args, Clone)]
pub struct Updates {
    #[arg(long)]
    store: Kind,
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    cache_bytes: usize,
    #[arg(long)]
    pairs: u64,
}

/// What the child says when it is done.
#[derive(Serialize, Deserialize, Clone, Copy)]
struct Done {
    updates: u64,
    /// What the updates added to the log.
    log_bytes: Option<u64>,
    /// What was handed to the kernel while they were made.
    written_bytes: u64,
}

/// The numbers of the keys that are updated, in order. The first update has the stamp 1.
fn updated(pairs: u64) -> impl Iterator<Item = u64> {
    let mut random = fastrand::Rng::with_seed(SEED);
    (0..pairs).map(move |_| random.u64(..pairs))
}

fn pair(number: u64, stamp: u64) -> Pair {
    Pair { key: key(b'k', number), value: value(number, stamp) }
}

/// What must be there after all updates.
fn expected(pairs: u64) -> Result<Vec<Pair>> {
    let mut expected: Vec<Pair> = (0..pairs).map(|number| pair(number, 0)).collect();
    for (number, stamp) in updated(pairs).zip(1..) {
        expected[usize::try_from(number)?] = pair(number, stamp);
    }
    Ok(expected)
}

pub fn run(bench: &Bench) -> Result<Vec<Comparison>> {
    let setup = Setup { whole_log: true, ..bench.setup };
    let mut bytes = Bytes::new(bench);
    for &kind in &bench.stores {
        let name = kind.name();
        bench.progress.tell(&format!("{NAME}: {name} makes {} updates", bench.pairs));
        let crashed = bench.dir.join(format!("{NAME}-{name}"));
        let done = crash(bench, kind, &crashed).with_context(|| format!("crashing {name}"))?;
        bytes.push(kind, done, file_bytes(&crashed, &|_, file| room(file))?);
    }
    let goal = Some(Goal { times: 1.0, peer: None });
    let compare = |what| bench.compare(NAME, what, ("milliseconds", Better::Less), goal);
    let mut read = compare("from opening after a crash to the first read");
    let mut put = compare("from opening after a crash to the first durable put");
    let expected = expected(bench.pairs)?;
    bench.rounds(NAME, |Place { store: at, .. }| {
        let kind = bench.stores[at];
        let crashed = bench.dir.join(format!("{NAME}-{}", kind.name()));
        let copy = bench.dir.join(format!("{NAME}-{}-copy", kind.name()));
        copy_durably(&crashed, &copy)?;
        let (until_read, until_put) = reopen(kind, &copy, setup, &expected)?;
        read.push(kind.name(), until_read);
        put.push(kind.name(), until_put);
        remove(&copy)
    })?;
    for kind in &bench.stores {
        remove(&bench.dir.join(format!("{NAME}-{}", kind.name())))?;
    }
    let [left, log, written] = bytes.0;
    Ok(vec![read.finish(), put.finish(), left.finish(), log.finish(), written.finish()])
}

/// Bytes left after the crash, of the log for each update, and written for each.
struct Bytes([Comparison; 3]);

impl Bytes {
    fn new(bench: &Bench) -> Self {
        let left = format!("on disk after {} updates, data and log", bench.pairs);
        let compare = |what: &str, unit| bench.compare(NAME, what, (unit, Better::Less), None);
        Self([
            compare(&left, "MiB"),
            compare("log for an update of 100 bytes", "bytes"),
            compare("written in all, for an update of 100 bytes", "bytes"),
        ])
    }

    fn push(&mut self, kind: Kind, done: Done, bytes: u64) {
        let [left, log, written] = &mut self.0;
        let each = |bytes: u64| bytes as f64 / done.updates as f64;
        left.push(kind.name(), bytes as f64 / f64::from(1 << 20));
        if let Some(bytes) = done.log_bytes {
            log.push(kind.name(), each(bytes));
        }
        written.push(kind.name(), each(done.written_bytes));
    }
}

/// A child that does not outlive this.
struct Killed(Child);

impl Killed {
    /// SIGKILL, unless it has ended by itself.
    fn kill(&mut self) -> Result<()> {
        self.0.kill().context("killing the child")?;
        self.0.wait().context("waiting for the child")?;
        Ok(())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}

/// Lets a child update, and kills it.
fn crash(bench: &Bench, kind: Kind, dir: &Path) -> Result<Done> {
    let store = kind.to_possible_value().context("the store has no name")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args([CHILD, "--store", store.get_name(), "--data"]).arg(dir);
    command.args(["--cache-bytes", &bench.setup.cache_bytes.to_string()]);
    command.args(["--pairs", &bench.pairs.to_string()]);
    let mut child = Killed(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    let output = child.0.stdout.take().context("the child has no output")?;
    BufReader::new(output).read_line(&mut line)?;
    child.kill()?;
    ensure!(!line.is_empty(), "the child ended before it was done");
    let done: Done = serde_json::from_str(&line)?;
    ensure!(done.updates == bench.pairs, "the child made {} updates", done.updates);
    Ok(done)
}

/// What the child does: it says that it is done, and waits to be killed.
pub fn update_until_killed(updates: &Updates) -> Result<()> {
    let setup = Setup { cache_bytes: updates.cache_bytes, whole_log: true };
    let store = updates.store.open(&updates.data, setup)?;
    let mut session = store.session()?;
    let pairs: Vec<Pair> = (0..updates.pairs).map(|number| pair(number, 0)).collect();
    session.load(&pairs)?;
    drop(pairs);
    store.checkpoint()?;
    let (log_before, written_before) = (store.log_bytes()?, written_bytes()?);
    let mut next = updated(updates.pairs).zip(1..).map(|(number, stamp)| pair(number, stamp));
    let mut made = 0;
    loop {
        let batch: Vec<Pair> = next.by_ref().take(usize::try_from(UPDATES_PER_COMMIT)?).collect();
        if batch.is_empty() {
            break;
        }
        session
            .write(&mut |txn| batch.iter().try_for_each(|pair| txn.put(&pair.key, &pair.value)))?;
        made += batch.len() as u64;
    }
    let log_bytes = store.log_bytes()?.zip(log_before).map(|(now, before)| now - before);
    let done = Done { updates: made, log_bytes, written_bytes: written_bytes()? - written_before };
    println!("{}", serde_json::to_string(&done)?);
    io::stdout().flush()?;
    // Whoever started it kills it now. Should that one be gone, its input ends.
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// Bytes that this process has handed to the kernel so far.
fn written_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io").context("reading /proc/self/io")?;
    let count = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(count.context("/proc/self/io has no `wchar`")?.parse()?)
}

/// Copies a directory, and syncs the copies: writing them back must not disturb what is measured.
fn copy_durably(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("making {}", to.display()))?;
    for entry in from.read_dir().with_context(|| format!("reading {}", from.display()))? {
        let (entry, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if entry.is_dir() {
            copy_durably(&entry, &target)?;
        } else {
            fs::copy(&entry, &target).with_context(|| format!("copying {}", entry.display()))?;
            File::open(&target)?.sync_all()?;
        }
    }
    Ok(())
}

/// Milliseconds until a key was read, and until another was put. Then everything is compared with what must be there.
fn reopen(kind: Kind, dir: &Path, setup: Setup, expected: &[Pair]) -> Result<(f64, f64)> {
    let [first, .., last] = expected else { bail!("too few pairs") };
    let new = Pair { value: [0; 100], ..*last };
    let began = Instant::now();
    let store = kind.open(dir, setup)?;
    let mut session = store.session()?;
    ensure!(holds(session.as_mut(), first)?, "the first key has lost its last update");
    let until_read = began.elapsed().as_secs_f64() * 1000.0;
    put(session.as_mut(), &new)?;
    let until_put = began.elapsed().as_secs_f64() * 1000.0;
    drop(session);
    let there = expected[..expected.len() - 1].iter().chain([&new]);
    verify(store.as_ref(), there.copied())?;
    store.close()?;
    Ok((until_read, until_put))
}
