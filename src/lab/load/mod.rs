//! A load test of the stores: how long requests of many clients take, with a log and without, and whether crashes lose what was acknowledged.
//!
//! ```text
//!             prepare        measure                          check          remove
//!   client 0  puts its keys  put get put put ──╳── check get …  reads all its  its keys
//!   client 1  puts its keys  get put put ──────╳── check put …  reads all its  its keys
//!   …                                          │
//!   crasher                  sleeps ───────────┴ until it answers again, sleeps …
//! ```
//!
//! - `history`: what one key must hold; `client`: who puts and gets; `connection`: as much of HTTP as that takes;
//! - `crasher`: crashes the store at random moments; `stores`: where the stores come from.
//!
//! Invariants:
//! - a key has one client, and that has one request under way: so it knows at each moment what its keys must hold;
//! - a value tells its key and its number, one above that of the write before: whatever is found, it is known which write put it there;
//! - a write whose answer did not come is *in doubt*, and then the client asks the process that comes after for all its keys before it writes
//!   again. The process that may have done it is dead: what is not there then will never be;
//! - each store is given the same requests: they follow from the seed. How many of them are done in the time is what is measured;
//! - the time of a request is that from when it is sent until its answer is read; to connect is no part of it, and a request that was not answered
//!   has none;
//! - a request that is refused ends the test: its figures would be those of something else.

mod client;
mod connection;
mod crasher;
mod history;
mod stores;

use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::http::stopped;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use crate::times::Times;

use client::Client;
pub use history::Tally;
pub use stores::Stores;
use stores::{Held, Target};

/// So many times it is told how far the test of one store is.
pub const STEPS: u32 = 10;

/// What is done at each store.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many clients there are; each waits for its answer before it asks again.
    pub clients: usize,
    /// For how long.
    pub duration: Duration,
    /// So many of a hundred requests are puts; the others are gets.
    pub puts_per_cent: u32,
    /// Keys in all, as many for each client, or one more.
    pub keys: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// How often the store is crashed meanwhile.
    pub crashes: u32,
    /// What keys are put and got, and when crashes come, follows from it.
    pub seed: u64,
}

/// How far the test of a store is.
#[derive(Clone, Copy, Debug)]
pub struct SoFar {
    /// Whether this store keeps a log.
    pub with_log: bool,
    /// For how long the clients have asked.
    pub elapsed: Duration,
    /// Requests that were answered.
    pub requests: u64,
    /// How often it was crashed.
    pub crashes: u64,
}

/// What was found at one store.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Whether it keeps a log.
    pub with_log: bool,
    /// How long the clients asked.
    pub elapsed: Duration,
    /// How long it was away after each crash.
    pub away: Vec<Duration>,
    /// How long puts took.
    pub puts: Times,
    /// How long gets took.
    pub gets: Times,
    /// What became of the writes.
    pub writes: Tally,
}

impl Measured {
    /// Requests that were answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.puts.count() + self.gets.count()
    }

    /// So many of them in a second in which the store was there.
    #[must_use]
    pub fn rate_of(&self, requests: u64) -> f64 {
        let away: Duration = self.away.iter().sum();
        let there = self.elapsed.saturating_sub(away).as_secs_f64();
        requests as f64 / there.max(f64::MIN_POSITIVE)
    }

    /// Whether all is there that has to be: with a log whatever was acknowledged. Nowhere may anything be that was never put.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.writes.strange == 0 && (self.writes.lost == 0 || !self.with_log)
    }
}

/// What the clients and the crasher of one test share.
struct Shared {
    all_are_ready: Barrier,
    is_over: AtomicBool,
    requests: AtomicU64,
    crashes: AtomicU64,
}

/// Tests one store after the other. `tell` is called [`STEPS`] times for each.
///
/// # Errors
/// When a store cannot be had, refuses a request or does not answer any more, or when the process is told to stop.
pub fn measure(
    plan: &Plan,
    stores: Stores,
    tell: &mut dyn FnMut(SoFar),
) -> anyhow::Result<Vec<Measured>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stopped = stopped(false)?;
        let mut held = Held::of(stores).await?;
        let targets = held.targets.clone();
        let each = async {
            let mut measured = Vec::new();
            for target in &targets {
                measured.push(measure_one(plan, target, tell).await?);
            }
            Ok(measured)
        };
        let measured = tokio::select! {
            measured = each => measured,
            failed = held.failed() => Err(failed),
            () = stopped => Err(anyhow!("interrupted: there are no figures")),
        };
        let stopped = held.stop().await;
        measured.and_then(|measured| stopped.map(|()| measured))
    })
}

async fn measure_one(
    plan: &Plan,
    target: &Target,
    tell: &mut dyn FnMut(SoFar),
) -> anyhow::Result<Measured> {
    let shared = Arc::new(Shared {
        all_are_ready: Barrier::new(plan.clients + 1),
        is_over: AtomicBool::new(false),
        requests: AtomicU64::new(0),
        crashes: AtomicU64::new(0),
    });
    let mut clients = JoinSet::new();
    for number in 0..plan.clients {
        clients.spawn(Client::new(plan, target, number).live(Arc::clone(&shared)));
    }
    unless_one_fails(&mut clients, shared.all_are_ready.wait()).await?;
    let began = Instant::now();
    let all_the_time = async {
        tokio::try_join!(
            crasher::crash(plan, target, &shared),
            tell_now_and_then(plan, target, &shared, tell)
        )
    };
    let (away, ()) = unless_one_fails(&mut clients, all_the_time).await??;
    shared.is_over.store(true, Ordering::Relaxed);
    let mut measured = Measured {
        with_log: target.with_log,
        elapsed: began.elapsed(),
        away,
        puts: Times::default(),
        gets: Times::default(),
        writes: Tally::default(),
    };
    while let Some(client) = clients.join_next().await {
        client??.add_to(&mut measured);
    }
    Ok(measured)
}

/// Waits for it, unless a client ends before, which then has failed.
async fn unless_one_fails<T>(
    clients: &mut JoinSet<anyhow::Result<Client>>,
    waited_for: impl Future<Output = T>,
) -> anyhow::Result<T> {
    tokio::select! {
        done = waited_for => Ok(done),
        Some(ended) = clients.join_next() => match ended? {
            Err(error) => Err(error),
            Ok(_) => Err(anyhow!("a client has ended before its time")),
        },
    }
}

/// Tells how far it is until the time is over.
async fn tell_now_and_then(
    plan: &Plan,
    target: &Target,
    shared: &Shared,
    tell: &mut dyn FnMut(SoFar),
) -> anyhow::Result<()> {
    let began = Instant::now();
    for step in 1..=STEPS {
        sleep_until(began + plan.duration * step / STEPS).await;
        tell(SoFar {
            with_log: target.with_log,
            elapsed: began.elapsed(),
            requests: shared.requests.load(Ordering::Relaxed),
            crashes: shared.crashes.load(Ordering::Relaxed),
        });
    }
    Ok(())
}
