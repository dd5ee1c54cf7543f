//! Keeps the stores running: each is a process of its own, and when it dies it is started again, at the same address.
//!
//! ```text
//!   start ── announces its address ── runs ── dies ──┐
//!     ^                                              │ a moment later
//!     └──────────────────────────────────────────────┘
//! ```
//!
//! A store that dies before it could ever answer will not do better the next time: after a few such starts the supervisor gives up, and the store has
//! said why. One that had answered is started again and again, after longer and longer pauses: its port or its disk may come back. A store's standard input is a pipe that the supervisor holds: when that ends the store stops, however the supervisor ended.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::guard::Guard;
use super::http::{allow_many_files, listen, stopped};
use super::site::{self, Shown};
use crate::sync::Arc;

/// A store that died is started again after so long.
const PAUSE: Duration = Duration::from_millis(100);
/// After starts in vain it waits longer and longer, but no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// So many starts in vain, one after the other, and the supervisor gives up.
const MOST_STARTS_IN_VAIN: u32 = 3;
/// So long a store may take to stop.
const STOPPING: Duration = Duration::from_secs(30);

/// The variable of the environment in which a store finds its token.
pub const TOKEN_VARIABLE: &str = "ARIES_LAB_TOKEN";

/// One store to be kept running.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Whether it keeps a log.
    pub with_log: bool,
    /// Where it listens; port 0 is any that is free, and the same one ever after.
    pub address: SocketAddr,
    /// The directory of its database.
    pub directory: PathBuf,
}

/// Who is told what happens.
pub(super) type Tell = Arc<dyn Fn(&Happened) + Send + Sync>;

/// What is kept running, and how.
#[derive(Clone, Debug)]
pub struct Lab {
    /// This program.
    pub program: PathBuf,
    /// Arguments that all stores are started with.
    pub arguments: Vec<String>,
    /// What their admin calls need.
    pub token: Option<String>,
    /// Where the page is, if there is to be one; port 0 is any.
    pub page: Option<SocketAddr>,
    /// The stores.
    pub stores: Vec<Kept>,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Happened {
    /// The page is there.
    PageServed(SocketAddr),
    /// A store answers requests. With the words in which it says what it found.
    Ready(Kept, String),
    /// A store died, so.
    Died(Kept, ExitStatus),
}

/// Serves the page, and keeps all stores running until the process is told to stop; then stops them.
///
/// # Errors
/// When a store cannot be started, or dies again and again before it answers anything.
pub fn supervise(lab: Lab, tell: fn(&Happened)) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    allow_many_files();
    let ended = runtime.block_on(async { keep_all(lab, Arc::new(tell), stopped(false)?).await });
    runtime.shutdown_background(); // A script that is being run is not waited for.
    ended
}

/// The same until `stopped` is done.
///
/// # Errors
/// Those of [`supervise`].
pub(super) async fn keep_all(
    mut lab: Lab,
    tell: Tell,
    stopped: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    for store in &mut lab.stores {
        store.address = with_port(store.address)?;
    }
    let page = match lab.page {
        Some(address) => tokio::spawn(page(&lab, address, &tell).await?),
        None => tokio::spawn(pending()),
    };
    let lab = Arc::new(lab);
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut kept = JoinSet::new();
    for store in lab.stores.clone() {
        kept.spawn(keep(Arc::clone(&lab), store, Arc::clone(&tell), stopping.clone()));
    }
    let all = async {
        while let Some(ended) = kept.join_next().await {
            ended??; // The first that fails: the others are killed.
        }
        Ok(())
    };
    tokio::pin!(stopped, all);
    tokio::select! {
        () = &mut stopped => {
            let _ = stop.send(true); // Nobody listens if all have stopped by themselves.
            all.await
        }
        ended = &mut all => ended,
        ended = page => Ok(ended??),
    }
}

/// Listens for the page; gives what serves it.
async fn page(
    lab: &Lab,
    address: SocketAddr,
    tell: &Tell,
) -> anyhow::Result<impl Future<Output = io::Result<()>> + use<>> {
    let guard = Guard::new(address, lab.token.as_deref())?;
    let listener = listen(address).await?;
    tell(&Happened::PageServed(listener.local_addr()?));
    let shown = |store: &Kept| {
        let mut address = store.address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Shown { with_log: store.with_log, url: format!("http://{address}") }
    };
    let shown: Vec<Shown> = lab.stores.iter().map(shown).collect();
    Ok(axum::serve(listener, site::router(&shown, guard)).into_future())
}

/// The address with a port: one that is free now, if it has none.
fn with_port(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    match address.port() {
        0 => Ok(std::net::TcpListener::bind(address)?.local_addr()?),
        _ => Ok(address),
    }
}

/// Keeps one store running until it is to stop.
async fn keep(
    lab: Arc<Lab>,
    store: Kept,
    tell: Tell,
    mut stopping: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let (mut in_vain, mut was_ready) = (0, false);
    loop {
        let mut child = match start(&lab, &store) {
            Err(_) if was_ready => {
                in_vain += 1;
                sleep(pause(in_vain)).await;
                continue;
            }
            started => started?,
        };
        let input = child.stdin.take(); // Waiting for a child would close it.
        let ready = tokio::select! {
            ready = announced(&mut child) => ready,
            _ = stopping.changed() => return stop(child, input).await,
        };
        if let Some(words) = ready {
            (in_vain, was_ready) = (0, true);
            tell(&Happened::Ready(store.clone(), words));
        } else {
            in_vain += 1;
        }
        let status = tokio::select! {
            status = child.wait() => status?,
            _ = stopping.changed() => return stop(child, input).await,
        };
        if in_vain == MOST_STARTS_IN_VAIN && !was_ready {
            bail!("the store at {} does not start: {status}", store.address);
        }
        tell(&Happened::Died(store.clone(), status));
        tokio::select! {
            () = sleep(pause(in_vain)) => {}
            _ = stopping.changed() => return Ok(()),
        }
    }
}

/// How long to wait before the next start, after so many in vain.
fn pause(in_vain: u32) -> Duration {
    (PAUSE * 2_u32.saturating_pow(in_vain)).min(LONGEST_PAUSE)
}

fn start(lab: &Lab, store: &Kept) -> anyhow::Result<Child> {
    let mut command = Command::new(&lab.program);
    command.arg("lab-store").arg(&store.directory).arg(store.address.to_string());
    if !store.with_log {
        command.arg("--no-log");
    }
    command.args(&lab.arguments).kill_on_drop(true);
    // Not among the arguments, which every user of the machine can read.
    command.envs(lab.token.iter().map(|token| (TOKEN_VARIABLE, token)));
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().with_context(|| format!("starting {}", lab.program.display()))
}

/// What a store says when it answers requests. `None` if it ends before.
async fn announced(child: &mut Child) -> Option<String> {
    let output = child.stdout.take()?;
    BufReader::new(output).lines().next_line().await.ok()?
}

async fn stop(mut child: Child, input: Option<ChildStdin>) -> anyhow::Result<()> {
    drop(input);
    let Ok(status) = timeout(STOPPING, child.wait()).await else {
        bail!("a store did not stop within {STOPPING:?}, and was killed");
    };
    match status?.success() {
        true => Ok(()),
        false => bail!("a store did not stop cleanly"),
    }
}
