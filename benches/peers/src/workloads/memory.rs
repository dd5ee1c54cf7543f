//! What needs no waiting for the disk, by one thread: loading a million sorted pairs into an empty store, until they are durable; then, with
//! all pages in memory, reading single keys and scanning 100 pairs from a random one on.
//!
//! A hundred single reads are one transaction, and so is each scan. The loaded stores are closed and opened before, and read once from
//! one end to the other: what is there is compared with what was loaded, and it is in memory then.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::bench::{Bench, Opened, Place, Step, remove, run_threads};
use crate::report::{Better, Comparison, Goal, LMDB};
use crate::store::{Pair, ReadTxn, key, value, verify};

const NAME: &str = "memory";
const READS_AT_ONCE: u64 = 100;
const SCANNED: usize = 100;

pub fn run(bench: &Bench) -> Result<Vec<Comparison>> {
    let pairs: Vec<Pair> = (0..bench.pairs)
        .map(|number| Pair { key: key(b'k', number), value: value(number, 0) })
        .collect();
    let loaded = load(bench, &pairs)?;
    let mut stores = Vec::new();
    for opened in bench.open_all(NAME)? {
        let name = opened.kind.name();
        bench.progress.tell(&format!("{NAME}: reading back {name}"));
        verify(opened.store.as_ref(), pairs.iter().copied())
            .with_context(|| format!("reading back {name}"))?;
        stores.push(opened);
    }
    let count = pairs.len() as u64;
    let reads = timed(bench, &stores, "reads of one key", 0.7, READS_AT_ONCE, &|_| reads(count))?;
    let scans = timed(bench, &stores, "scans of 100 pairs", 0.5, 1, &|_| scans(count))?;
    stores.into_iter().try_for_each(Opened::remove)?;
    Ok(vec![reads, scans, loaded])
}

/// Loads each store in each round; those of the last round stay.
fn load(bench: &Bench, pairs: &[Pair]) -> Result<Comparison> {
    let what = format!("loading {} sorted pairs", pairs.len());
    let goal = Some(Goal { times: 1.0, peer: None });
    let mut comparison = bench.compare(NAME, &what, ("pairs a second", Better::More), goal);
    bench.rounds(&what, |Place { store: at, is_last, .. }| {
        let kind = bench.stores[at];
        let dir = bench.dir.join(format!("{NAME}-{}", kind.name()));
        let store = kind.open(&dir, bench.setup)?;
        let mut session = store.session()?;
        let began = Instant::now();
        session.load(pairs)?;
        let seconds = began.elapsed().as_secs_f64();
        drop(session);
        comparison.push(kind.name(), pairs.len() as f64 / seconds);
        store.close()?;
        if is_last { Ok(()) } else { remove(&dir) }
    })?;
    Ok(comparison.finish())
}

fn timed(
    bench: &Bench,
    stores: &[Opened],
    what: &str,
    times: f64,
    per_step: u64,
    step: &(dyn Fn(usize) -> Step<'static> + Sync),
) -> Result<Comparison> {
    let goal = Some(Goal { times, peer: Some(LMDB) });
    let mut comparison = bench.compare(NAME, what, ("a second", Better::More), goal);
    bench.rounds(what, |Place { store: at, .. }| {
        let store = stores[at].store.as_ref();
        let turn = run_threads(store, 1, bench.time, per_step, step)?;
        comparison.push(stores[at].kind.name(), turn.value);
        Ok(())
    })?;
    Ok(comparison.finish())
}

fn reads(count: u64) -> Step<'static> {
    let mut random = fastrand::Rng::new();
    Box::new(move |session| {
        session
            .read(&mut |txn| (0..READS_AT_ONCE).try_for_each(|_| read(txn, random.u64(..count))))?;
        Ok(0)
    })
}

fn read(txn: &mut dyn ReadTxn, number: u64) -> Result<()> {
    let mut bytes = 0;
    txn.get(&key(b'k', number), &mut |value| bytes = std::hint::black_box(value).len())?;
    ensure!(bytes == size_of::<crate::store::Value>(), "key {number} was not found");
    Ok(())
}

fn scans(count: u64) -> Step<'static> {
    let mut random = fastrand::Rng::new();
    Box::new(move |session| {
        let from = key(b'k', random.u64(..count - SCANNED as u64));
        let (mut seen, mut bytes) = (0, 0);
        session.read(&mut |txn| {
            bytes = 0;
            seen = txn.scan(&from, SCANNED, &mut |key, value| {
                bytes += std::hint::black_box(key).len() + std::hint::black_box(value).len();
            })?;
            Ok(())
        })?;
        ensure!(seen == SCANNED && bytes == SCANNED * size_of::<Pair>(), "a scan came back short");
        Ok(0)
    })
}
