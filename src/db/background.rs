//! The background threads: they only call the steps that anybody may call.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Shared;
use crate::error::Result;
use crate::sync::{Arc, Condvar, Mutex};

/// Between two rounds in which nothing was to do.
const PAUSE: Duration = Duration::from_millis(10);
/// After a step that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// One round of work; gives whether there was any.
type Step = fn(&Shared) -> Result<bool>;

#[derive(Default)]
struct Stop {
    stopped: Mutex<bool>,
    wake: Condvar,
}

impl Stop {
    /// Waits; gives whether to stop.
    fn wait(&self, pause: Duration) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.wake.wait_for(&mut stopped, pause);
        }
        *stopped
    }
}

/// The threads of one database; they end when this is dropped.
pub struct Background {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts one thread for the log, one for the pages, and one for trees: writing pages may take long, and the log must
    /// not wait for it; nor must pages for a tree that is changing.
    pub fn start(shared: &Arc<Shared>) -> Self {
        let stop = Arc::new(Stop::default());
        let steps: [(&str, Step); 3] = [
            ("aries-log", Shared::log_step),
            ("aries-pages", Shared::page_step),
            ("aries-trees", Shared::reclaim_step),
        ];
        let threads = steps
            .into_iter()
            .filter_map(|(name, step)| {
                let (stop, shared) = (Arc::clone(&stop), Arc::downgrade(shared));
                let body = move || {
                    let mut pause = Duration::ZERO;
                    while !stop.wait(pause) {
                        let Some(shared) = shared.upgrade() else { return };
                        pause = match step(&shared) {
                            Ok(true) => Duration::ZERO,
                            Ok(false) => PAUSE,
                            // The engine has stopped: its callers are told.
                            Err(_) if shared.check_open().is_err() => return,
                            // A full disk, no frame, a damaged tree: it may be otherwise later.
                            Err(_) => PAUSE_AFTER_FAILURE,
                        };
                    }
                };
                thread::Builder::new().name(name.into()).spawn(body).ok()
            })
            .collect();
        Self { stop, threads }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        *self.stop.stopped.lock() = true;
        self.stop.wake.notify_all();
        for thread in self.threads.drain(..) {
            // The last handle may be dropped by one of the threads themselves.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
