//! Failure is final: the first failed write or sync stops the engine.
//!
//! After a failed sync the kernel may show bytes that never reach the disk, and trying again may
//! succeed without writing them. So nothing is retried; every later call is refused, and restart,
//! which believes only what it reads anew, recovers what was acknowledged.

use crate::error::{Error, Result};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

/// Whether, and why, the engine stopped.
#[derive(Default)]
pub struct Poison {
    stopped: AtomicBool,
    reason: Mutex<Option<String>>,
    /// Who must be told at once.
    listeners: Mutex<Vec<Listener>>,
}

/// Called with each failure: several threads may meet one at the same time.
type Listener = Arc<dyn Fn(&Error) + Send + Sync>;

impl Poison {
    /// Stops the engine because of `error`; the first reason stands. Gives the error back.
    pub fn stop(&self, error: Error) -> Error {
        self.refuse(&error);
        // No lock is held meanwhile: whoever asks is refused at once, however long they take.
        let listeners = self.listeners.lock().clone();
        listeners.iter().for_each(|listener| listener(&error));
        error
    }

    /// The first half of [`Poison::stop`], for a caller who must let others go before it tells the
    /// listeners: everything is refused from now on.
    pub fn refuse(&self, error: &Error) {
        self.reason.lock().get_or_insert_with(|| error.to_string());
        self.stopped.store(true, Ordering::Release);
    }

    /// Lets `listener` know of each failure that stops the engine, also of those that come after the first;
    /// they are told in the order in which they asked.
    pub fn on_stop(&self, listener: Arc<dyn Fn(&Error) + Send + Sync>) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::sync::AtomicU64;

    /// A listener may take long: it writes to a disk that has just failed.
    #[test]
    fn nobody_waits_for_the_listeners_to_be_refused_and_they_are_told_of_each_failure() {
        let poison = Arc::new(Poison::default());
        let told = Arc::new(AtomicU64::new(0));
        let (asked, counted) = (Arc::clone(&poison), Arc::clone(&told));
        poison.on_stop(Arc::new(move |_| {
            let poison = Arc::clone(&asked);
            let refused = thread::spawn(move || poison.check().is_err());
            counted.fetch_add(u64::from(refused.join().unwrap()), Ordering::AcqRel);
        }));
        let stopper = thread::spawn(move || [(); 2].map(|()| poison.stop(Error::Closed)));
        for _ in 0..2_000 {
            if stopper.is_finished() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        assert!(stopper.is_finished(), "a listener was waited for");
        assert_eq!(told.load(Ordering::Acquire), 2);
    }
}
