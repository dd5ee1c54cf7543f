//! The stores that are tested: started for that, or those of a lab that runs.

use std::net::SocketAddr;

use anyhow::{Context, anyhow, bail};
use axum::http::Method;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::connection::Connection;
use crate::lab::supervisor::{Happened, Lab, keep_all};
use crate::sync::Arc;

/// Which stores are tested.
#[derive(Clone, Debug)]
pub enum Stores {
    /// These: started for the test, kept running meanwhile, stopped in the end.
    Own(Lab),
    /// Those of a lab that runs.
    Running {
        /// Where its page is.
        page: SocketAddr,
        /// What their admin calls need.
        token: Option<String>,
    },
}

/// One store.
#[derive(Clone, Debug)]
pub struct Target {
    pub with_log: bool,
    pub address: SocketAddr,
    pub token: Option<Arc<str>>,
}

/// The stores, for as long as the test takes.
pub struct Held {
    pub targets: Vec<Target>,
    supervisor: Option<Supervisor>,
}

struct Supervisor {
    ended: JoinHandle<anyhow::Result<()>>,
    stop: oneshot::Sender<()>,
}

impl Held {
    /// Finds them, or starts them and waits until they answer: the one with the log first.
    ///
    /// # Errors
    /// If they cannot be found, or do not start.
    pub async fn of(stores: Stores) -> anyhow::Result<Self> {
        let mut held = match stores {
            Stores::Own(lab) => started(lab).await?,
            Stores::Running { page, token } => {
                let found = running(page, token.map(Arc::from)).await;
                let targets =
                    found.map_err(|error| anyhow!("looking for a lab at {page}: {error}"))?;
                Self { targets, supervisor: None }
            }
        };
        held.targets.sort_by_key(|target| !target.with_log);
        Ok(held)
    }

    /// Comes to an end only if they cannot be kept running.
    pub async fn failed(&mut self) -> anyhow::Error {
        let Some(supervisor) = &mut self.supervisor else { return std::future::pending().await };
        let ended = (&mut supervisor.ended).await;
        self.supervisor = None;
        let failed = ended.map_err(anyhow::Error::from).and_then(|ended| ended);
        failed.err().unwrap_or_else(|| anyhow!("the stores have stopped"))
    }

    /// Stops those that were started.
    ///
    /// # Errors
    /// If they do not stop.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Some(Supervisor { ended, stop }) = self.supervisor else { return Ok(()) };
        drop(stop);
        ended.await?
    }
}

async fn started(lab: Lab) -> anyhow::Result<Held> {
    let (told, mut ready) = mpsc::unbounded_channel();
    let tell = move |happened: &Happened| {
        if let Happened::Ready(store, _) = happened {
            let _ = told.send(store.clone()); // Who crashes it later sees for himself when it is back.
        }
    };
    let (stop, stopped) = oneshot::channel();
    let (count, token) = (lab.stores.len(), lab.token.clone().map(Arc::from));
    let stopped = async {
        let _: Result<(), _> = stopped.await; // It is never sent, only dropped.
    };
    let ended = tokio::spawn(keep_all(lab, Arc::new(tell), stopped));
    let mut targets: Vec<Target> = Vec::new();
    while targets.len() < count {
        let Some(store) = ready.recv().await else {
            ended.await??;
            bail!("the stores have stopped");
        };
        if targets.iter().all(|target| target.address != store.address) {
            let (with_log, address) = (store.with_log, store.address);
            targets.push(Target { with_log, address, token: Option::clone(&token) });
        }
    }
    Ok(Held { targets, supervisor: Some(Supervisor { ended, stop }) })
}

/// Asks the page's server which stores there are.
async fn running(page: SocketAddr, token: Option<Arc<str>>) -> anyhow::Result<Vec<Target>> {
    let config = Connection::at_once(page).ask(Method::GET, "/lab/config", None).await?;
    let config = config.context("the connection broke")?.json()?;
    let target = |store: &Value| {
        let address = store["url"].as_str()?.strip_prefix("http://")?.parse().ok()?;
        Some(Target { with_log: store["log"].as_bool()?, address, token: token.clone() })
    };
    let stores = config["stores"].as_array().map(Vec::as_slice).unwrap_or_default();
    let targets: Option<Vec<Target>> = stores.iter().map(target).collect();
    let targets = targets.filter(|targets| !targets.is_empty());
    targets.context("somebody else answers: this is no lab's page")
}
