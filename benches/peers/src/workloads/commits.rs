//! Durable transactions of one put each, over 100,000 keys of which each thread has its own share, so that nobody waits for
//! another's lock; then a stream of puts by one thread with 64 of them outstanding. Beside them the raw disk.
//!
//! Afterwards each store is closed and opened, and must hold exactly what was acknowledged last for each key.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bench::{Bench, Opened, Place, Step, raw_rate, run_threads};
use crate::report::{Better, Comparison, Goal};
use crate::store::{Pair, key, put, value, verify};

const NAME: &str = "commits";
const KEYS: u64 = 100_000;
const OUTSTANDING: usize = 64;
const RAW: &str = "raw disk, 1 thread";

/// How often each key was written.
struct Stamps(Vec<AtomicU64>);

impl Stamps {
    /// The next pair for this key; it counts as written from now on, for an error ends everything.
    fn next(&self, number: u64) -> Pair {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let before = self.0.get(index).map_or(0, |stamp| stamp.fetch_add(1, Ordering::Relaxed));
        pair(number, before + 1)
    }

    fn pairs(&self) -> impl Iterator<Item = Pair> {
        (0..).zip(&self.0).map(|(number, stamp)| pair(number, stamp.load(Ordering::Relaxed)))
    }
}

fn pair(number: u64, stamp: u64) -> Pair {
    Pair { key: key(b'k', number), value: value(number, stamp) }
}

pub fn run(bench: &Bench) -> Result<Vec<Comparison>> {
    let stamps: Vec<Stamps> = bench
        .stores
        .iter()
        .map(|_| Stamps((0..KEYS).map(|_| AtomicU64::new(0)).collect()))
        .collect();
    let mut stores = bench.open_all(NAME)?;
    for (opened, stamps) in stores.iter().zip(&stamps) {
        bench.progress.tell(&format!("{NAME}: filling {}", opened.kind.name()));
        opened.store.session()?.load(&stamps.pairs().collect::<Vec<Pair>>())?;
    }
    let mut comparisons = Vec::new();
    for &threads in &bench.threads {
        comparisons.push(by_threads(bench, &stores, &stamps, threads)?);
    }
    comparisons.push(stream(bench, &stores, &stamps)?);
    for (opened, stamps) in stores.drain(..).zip(&stamps) {
        let name = opened.kind.name();
        bench.progress.tell(&format!("{NAME}: reading back {name}"));
        let opened = opened.reopen(bench.setup)?;
        verify(opened.store.as_ref(), stamps.pairs())
            .with_context(|| format!("reading back {name}"))?;
        opened.remove()?;
    }
    Ok(comparisons)
}

fn by_threads(
    bench: &Bench,
    stores: &[Opened],
    stamps: &[Stamps],
    threads: usize,
) -> Result<Comparison> {
    let times = if threads == 1 { 1.0 } else { 1.5 };
    let what = format!("durable puts, threads: {threads}");
    let goal = Some(Goal { times, peer: None });
    let mut comparison = bench.compare(NAME, &what, ("a second", Better::More), goal);
    bench.rounds(&what, |Place { store: at, begins, .. }| {
        if begins {
            comparison.push_beside(RAW, raw_rate(&bench.dir, bench.time)?);
        }
        let step = |thread| steps(&stamps[at], thread, threads);
        let store = stores[at].store.as_ref();
        let turn = run_threads(store, threads, bench.time, 1, &step)?;
        comparison.push_turn(stores[at].kind.name(), turn)
    })?;
    Ok(comparison.finish())
}

/// Puts to one key of the thread's share after the other.
fn steps(stamps: &Stamps, thread: usize, threads: usize) -> Step<'_> {
    let (thread, threads) = (thread as u64, threads as u64);
    let mut random = fastrand::Rng::new();
    Box::new(move |session| {
        let number = random.u64(..KEYS / threads) * threads + thread;
        put(session, &stamps.next(number))
    })
}

fn stream(bench: &Bench, stores: &[Opened], stamps: &[Stamps]) -> Result<Comparison> {
    let what = format!("durable puts, 1 thread with {OUTSTANDING} outstanding");
    let goal = Some(Goal { times: 1.5, peer: None });
    let mut comparison = bench.compare(NAME, &what, ("a second", Better::More), goal);
    bench.rounds(&what, |Place { store: at, begins, .. }| {
        if begins {
            comparison.push_beside(RAW, raw_rate(&bench.dir, bench.time)?);
        }
        let rate = stream_rate(&stores[at], &stamps[at], bench.time)?;
        comparison.push(stores[at].kind.name(), rate);
        Ok(())
    })?;
    Ok(comparison.finish())
}

fn stream_rate(opened: &Opened, stamps: &Stamps, time: Duration) -> Result<f64> {
    let mut session = opened.store.session()?;
    let (began, mut puts, mut random) = (Instant::now(), 0_u64, fastrand::Rng::new());
    let mut pairs = std::iter::from_fn(|| {
        (began.elapsed() < time).then(|| {
            puts += 1;
            stamps.next(random.u64(..KEYS))
        })
    });
    session.put_stream(&mut pairs, OUTSTANDING)?;
    Ok(puts as f64 / began.elapsed().as_secs_f64())
}
