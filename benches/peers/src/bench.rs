//! What all workloads share: the options, rounds, threads that work for a while, and the raw disk.
//!
//! In each round every store has a turn, one after the other, and each round begins with another store. So all see the same
//! machine, however it drifts, and none always works behind the same neighbour's background threads.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;

use crate::report::{Better, Comparison, Goal, Turn};
use crate::store::{Session, Setup, Store};
use crate::stores::Kind;

const RAW_BYTES: usize = 128;
const RAW_FILE_BYTES: usize = 16 << 20;
/// Decimal digits of a latency that are kept.
const LATENCY_DIGITS: u8 = 3;

/// What is measured, and on what.
pub struct Bench {
    pub dir: PathBuf,
    pub stores: Vec<Kind>,
    pub setup: Setup,
    pub rounds: usize,
    /// How long a turn lasts.
    pub time: Duration,
    pub threads: Vec<usize>,
    /// Pairs of the large table, and updates of it before the crash.
    pub pairs: u64,
    pub progress: Progress,
}

/// A store on which the workload works, and its directory.
pub struct Opened {
    pub kind: Kind,
    pub dir: PathBuf,
    pub store: Box<dyn Store>,
}

impl Bench {
    /// Opens all stores in new directories.
    pub fn open_all(&self, workload: &str) -> Result<Vec<Opened>> {
        let open = |&kind: &Kind| {
            let dir = self.dir.join(format!("{workload}-{}", kind.name()));
            Ok(Opened { kind, store: kind.open(&dir, self.setup)?, dir })
        };
        self.stores.iter().map(open).collect()
    }

    /// A comparison of all stores.
    pub fn compare(
        &self,
        workload: &'static str,
        what: &str,
        unit: (&'static str, Better),
        goal: Option<Goal>,
    ) -> Comparison {
        let names = self.stores.iter().map(|kind| kind.name());
        Comparison::new(workload, what, unit, goal, names)
    }

    /// Gives each store its turn in each round.
    pub fn rounds(&self, what: &str, mut turn: impl FnMut(Place) -> Result<()>) -> Result<()> {
        let count = self.stores.len();
        for round in 1..=self.rounds {
            for nth in 0..count {
                let store = (nth + round - 1) % count;
                let name = self.stores[store].name();
                self.progress.tell(&format!("{what}, round {round} of {}: {name}", self.rounds));
                let place = Place { store, begins: nth == 0, is_last: round == self.rounds };
                turn(place).with_context(|| format!("{what}, {name}"))?;
            }
        }
        Ok(())
    }
}

/// Whose turn it is.
pub struct Place {
    /// Index of the store.
    pub store: usize,
    /// Whether this is the first turn of a round.
    pub begins: bool,
    /// Whether this is the last round.
    pub is_last: bool,
}

impl Opened {
    /// Closes the store and opens it again.
    pub fn reopen(self, setup: Setup) -> Result<Self> {
        let Self { kind, dir, store } = self;
        store.close().with_context(|| format!("closing {}", kind.name()))?;
        Ok(Self { kind, store: kind.open(&dir, setup)?, dir })
    }

    /// Closes the store and removes its files.
    pub fn remove(self) -> Result<()> {
        self.store.close().with_context(|| format!("closing {}", self.kind.name()))?;
        remove(&self.dir)
    }
}

pub fn remove(dir: &Path) -> Result<()> {
    std::fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))
}

/// What one thread does over and over; each time it says how many runs were in vain.
pub type Step<'s> = Box<dyn FnMut(&mut dyn Session) -> Result<u64> + 's>;

/// So many threads that each take steps until the time is up. `per_step` operations are one step.
pub fn run_threads<'s>(
    store: &dyn Store,
    threads: usize,
    time: Duration,
    per_step: u64,
    step: &(dyn Fn(usize) -> Step<'s> + Sync),
) -> Result<Turn> {
    let (start, stop) = (Barrier::new(threads + 1), AtomicBool::new(false));
    let begin_together = || {
        start.wait();
    };
    let run = |thread| {
        let session = store.session();
        begin_together();
        let turn = session.and_then(|mut session| work(session.as_mut(), step(thread), &stop));
        if turn.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        turn
    };
    let run = &run;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        begin_together();
        let began = Instant::now();
        while began.elapsed() < time && !stop.load(Ordering::Relaxed) {
            thread::sleep(time.saturating_sub(began.elapsed()).min(Duration::from_millis(50)));
        }
        stop.store(true, Ordering::Relaxed);
        let mut all = Turn { value: 0.0, latency: latencies()?, done: 0, repeated: 0 };
        for worker in workers {
            let one = worker.join().map_err(|_| anyhow!("a thread panicked"))??;
            all.latency.add(one.latency)?;
            all.done += one.done;
            all.repeated += one.repeated;
        }
        all.value = (all.done * per_step) as f64 / began.elapsed().as_secs_f64();
        Ok(all)
    })
}

fn latencies() -> Result<Histogram<u64>> {
    Ok(Histogram::new(LATENCY_DIGITS)?)
}

fn work(session: &mut dyn Session, mut step: Step<'_>, stop: &AtomicBool) -> Result<Turn> {
    let mut turn = Turn { value: 0.0, latency: latencies()?, done: 0, repeated: 0 };
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        turn.repeated += step(session)?;
        turn.latency.record(u64::try_from(began.elapsed().as_nanos())?)?;
        turn.done += 1;
    }
    Ok(turn)
}

/// Appends of 128 bytes a second, each synced, by one thread, into a file that was filled with zeros and synced.
pub fn raw_rate(dir: &Path, time: Duration) -> Result<f64> {
    let path = dir.join("raw");
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    file.write_all_at(&vec![0; RAW_FILE_BYTES], 0)?;
    file.sync_all()?;
    let (began, mut writes) = (Instant::now(), 0_u64);
    let mut places = (0..RAW_FILE_BYTES as u64).step_by(RAW_BYTES).cycle();
    while began.elapsed() < time {
        file.write_all_at(&[7; RAW_BYTES], places.next().unwrap_or(0))?;
        file.sync_data()?;
        writes += 1;
    }
    let rate = writes as f64 / began.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// What is being done, on standard error: one line that changes on a terminal, plain lines elsewhere.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    pub fn new() -> Self {
        Self(io::stderr().is_terminal().then(ProgressBar::new_spinner))
    }

    pub fn tell(&self, message: &str) {
        match &self.0 {
            Some(bar) => {
                bar.set_message(message.to_owned());
                bar.tick();
            }
            None => eprintln!("{message}"),
        }
    }

    /// Prints `text` on standard output, out of the line's way.
    pub fn print(&self, text: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    pub fn clear(&self) {
        self.0.iter().for_each(ProgressBar::finish_and_clear);
    }
}
