//! Failure is final: the first failed write or sync stops the engine.
//!
//! After a failed sync the kernel may show bytes that never reach the disk, and trying again may
//! succeed without writing them. So nothing is retried; every later call is refused, and restart,
//! which believes only what it reads anew, recovers what was acknowledged.

use crate::error::{Error, Result};
use crate::sync::{AtomicBool, Mutex, Ordering};

/// Whether, and why, the engine stopped.
#[derive(Default)]
pub struct Poison {
    stopped: AtomicBool,
    reason: Mutex<Option<String>>,
    /// Who must be told at once.
    listeners: Mutex<Vec<Listener>>,
}

/// Called once, with the reason.
type Listener = Box<dyn Fn(&str) + Send + Sync>;

impl Poison {
    /// Stops the engine because of `error`; the first reason stands. Gives the error back.
    pub fn stop(&self, error: Error) -> Error {
        let mut reason = self.reason.lock();
        let first = reason.is_none();
        let reason = reason.get_or_insert_with(|| error.to_string()).clone();
        self.stopped.store(true, Ordering::Release);
        if first {
            self.listeners.lock().iter().for_each(|listener| listener(&reason));
        }
        error
    }

    /// Lets `listener` know when the engine stops.
    pub fn on_stop(&self, listener: Box<dyn Fn(&str) + Send + Sync>) {
        self.listeners.lock().push(listener);
    }

    /// Refuses to go on once the engine was stopped.
    ///
    /// # Errors
    /// [`Error::Poisoned`] with the first reason.
    pub fn check(&self) -> Result<()> {
        if !self.stopped.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::Poisoned { reason: self.reason.lock().clone().unwrap_or_default() })
    }
}
