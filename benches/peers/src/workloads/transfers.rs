//! Transactions like those of TPC-B: a random amount is added to the balances of an account, of a teller and of his branch,
//! and a line is added to the history. Few branches, and one of them gets a quarter of all transactions, so that many threads want the same record.
//! Stores run transactions again that lost against others; this is counted.
//!
//! Afterwards the sums of all four must be the same, and the history must have a line for each transaction that was acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

use crate::bench::{Bench, Opened, Place, Step, run_threads};
use crate::report::{Better, Comparison, Goal};
use crate::store::{Key, Pair, Session, WriteTxn, key, scan_all, value};

const NAME: &str = "transfers";
const BRANCHES: u64 = 16;
const TELLERS_PER_BRANCH: u64 = 10;
const ACCOUNTS: u64 = 100_000;
/// Kinds of keys, in their order.
const KINDS: [(u8, u64); 3] =
    [(b'a', ACCOUNTS), (b'b', BRANCHES), (b't', BRANCHES * TELLERS_PER_BRANCH)];
const HISTORY: u8 = b'h';
/// A balance or an amount stands in front of its value.
const AMOUNT_BYTES: usize = 8;
const HISTORY_BYTES: usize = 50;
const LARGEST_AMOUNT: i64 = 100_000;

pub fn run(bench: &Bench) -> Result<Vec<Comparison>> {
    let histories: Vec<AtomicU64> = bench.stores.iter().map(|_| AtomicU64::new(0)).collect();
    let mut stores = bench.open_all(NAME)?;
    let beginning: Vec<Pair> = beginning().collect();
    for opened in &stores {
        bench.progress.tell(&format!("{NAME}: filling {}", opened.kind.name()));
        opened.store.session()?.load(&beginning)?;
    }
    let mut comparisons = Vec::new();
    for &threads in &bench.threads {
        comparisons.push(by_threads(bench, &stores, &histories, threads)?);
    }
    for (opened, history) in stores.drain(..).zip(histories) {
        let name = opened.kind.name();
        bench.progress.tell(&format!("{NAME}: reading back {name}"));
        let opened = opened.reopen(bench.setup)?;
        balance(opened.store.session()?.as_mut(), history.into_inner())
            .with_context(|| format!("reading back {name}"))?;
        opened.remove()?;
    }
    Ok(comparisons)
}

/// All balances are zero.
fn beginning() -> impl Iterator<Item = Pair> {
    KINDS.into_iter().flat_map(|(kind, count)| (0..count).map(move |number| (kind, number))).map(
        |(kind, number)| {
            let mut value = value(number, kind.into());
            value[..AMOUNT_BYTES].fill(0);
            Pair { key: key(kind, number), value }
        },
    )
}

fn by_threads(
    bench: &Bench,
    stores: &[Opened],
    histories: &[AtomicU64],
    threads: usize,
) -> Result<Comparison> {
    let what = format!("transfers, threads: {threads}");
    let goal = Some(Goal { times: 1.5, peer: None });
    let mut comparison = bench.compare(NAME, &what, ("a second", Better::More), goal);
    bench.rounds(&what, |Place { store: at, .. }| {
        let step = |_| steps(&histories[at]);
        let store = stores[at].store.as_ref();
        let turn = run_threads(store, threads, bench.time, 1, &step)?;
        comparison.push_turn(stores[at].kind.name(), turn)
    })?;
    Ok(comparison.finish())
}

/// Transfers, one after the other. A line of the history has the next number.
fn steps(history: &AtomicU64) -> Step<'_> {
    let mut random = fastrand::Rng::new();
    Box::new(move |session| {
        // Squared, a number between 0 and 1 is below a sixteenth a quarter of the time.
        let teller = random.f64().powi(2) * (BRANCHES * TELLERS_PER_BRANCH) as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is small")]
        let teller = teller as u64;
        let account = random.u64(..ACCOUNTS);
        let amount = random.i64(-LARGEST_AMOUNT..=LARGEST_AMOUNT);
        let line = key(HISTORY, history.fetch_add(1, Ordering::Relaxed));
        transfer(session, account, teller, amount, line)
    })
}

/// How many runs were in vain.
fn transfer(
    session: &mut dyn Session,
    account: u64,
    teller: u64,
    amount: i64,
    line: Key,
) -> Result<u64> {
    let mut runs = 0;
    let changed = [
        key(b'a', account),
        key(b't', teller),
        // Last, for whoever locks it keeps others waiting.
        key(b'b', teller / TELLERS_PER_BRANCH),
    ];
    let mut text = [b'.'; HISTORY_BYTES];
    text[..AMOUNT_BYTES].copy_from_slice(&amount.to_be_bytes());
    session.write(&mut |txn| {
        runs += 1;
        changed.iter().try_for_each(|key| add(txn, key, amount))?;
        txn.put(&line, &text)
    })?;
    Ok(runs - 1)
}

fn add(txn: &mut dyn WriteTxn, key: &Key, amount: i64) -> Result<()> {
    let mut value = Vec::new();
    txn.get_for_update(key, &mut |found| value.extend_from_slice(found))?;
    let balance = amount_in(&value)?;
    value[..AMOUNT_BYTES].copy_from_slice(&(balance + amount).to_be_bytes());
    txn.put(key, &value)
}

fn amount_in(value: &[u8]) -> Result<i64> {
    let bytes = value.first_chunk::<AMOUNT_BYTES>().context("there is no such balance")?;
    Ok(i64::from_be_bytes(*bytes))
}

/// Fails unless the sums agree, nothing is missing and the history has `lines` lines.
fn balance(session: &mut dyn Session, lines: u64) -> Result<()> {
    let mut found: BTreeMap<u8, (u64, i64)> = BTreeMap::new();
    scan_all(session, |key, value| {
        let (count, sum) = found.entry(key[0]).or_default();
        *count += 1;
        *sum += amount_in(value)?;
        Ok(())
    })?;
    let history = found.remove(&HISTORY).unwrap_or_default();
    ensure!(history.0 == lines, "{} lines of history for {lines} transfers", history.0);
    for (kind, count) in KINDS {
        let (there, sum) = found.remove(&kind).unwrap_or_default();
        let kind = char::from(kind);
        ensure!(there == count, "{there} balances of kind {kind}, not {count}");
        ensure!(sum == history.1, "the sum of {kind} is {sum}, that of the history {}", history.1);
    }
    ensure!(found.is_empty(), "there is more than was put");
    Ok(())
}
