//! What an engine's calls to its disk pass: shut, it makes a crash real. For whoever wants to know it counts the calls.
//!
//! ```text
//!   engine ── call ──> Gate ──> disk                   0 list of the directory
//!                       │  └──> Calls                  1 create creating
//!                     shut: nothing passes             2 write creating 0..33      power may fail before any of them
//! ```
//!
//! - Each call has a number: how many were made before it, in all the time of a session, whatever crashes and restarts there were. The
//!   same script makes the same calls.
//! - Behind the call before which power fails nothing passes, until the power is back: that is, on another gate.
//! - What an engine does behind a shut gate has not happened: nobody is told of it.
//! - What somebody only looks at ([`Session::look`](super::Session::look)) is no call of the script. It passes a gate that is shut, too.

use crate::buffer::{DOUBLE_WRITE_FILE, PAGES_FILE, pages_of_batch};
use crate::disk::{Call, Watcher};
use crate::error::{Error, Result};
use crate::ids::PageId;
use crate::sync::{Arc, Mutex};

/// A call of the engine to its disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Io {
    /// What was called.
    pub call: Call,
    /// How many bytes were written, up to the last one that is not zero.
    pub filled: usize,
    /// The pages of the batch, where one is written to the double-write file.
    pub batch: Vec<PageId>,
}

impl Io {
    fn of(call: &Call, bytes: &[u8]) -> Self {
        let batch = match call.name == DOUBLE_WRITE_FILE {
            true => pages_of_batch(bytes),
            false => Vec::new(),
        };
        Self { call: call.clone(), filled: filled(bytes), batch }
    }
}

/// How many bytes there are up to the last one that is not zero.
pub(super) fn filled(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// The calls of a session that is watched.
#[derive(Default)]
pub(super) struct Calls {
    pub(super) made: Vec<Io>,
    /// The number of the call before which power is to fail.
    pub(super) power_fails_before: Option<usize>,
    /// The call before which it failed.
    pub(super) not_made: Option<Io>,
    /// Whether somebody only looks.
    pub(super) is_looking: bool,
}

impl Calls {
    /// Counts a call, unless power fails before it; gives whether it is made.
    fn count(&mut self, io: Io) -> bool {
        if self.power_fails_before == Some(self.made.len()) {
            self.power_fails_before = None;
            self.not_made = Some(io);
            return false;
        }
        self.made.push(io);
        true
    }
}

/// What an engine's calls to its disk pass, until it is shut.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    calls: Option<Arc<Mutex<Calls>>>,
}

#[derive(Default)]
struct State {
    is_shut: bool,
    /// It shuts when the file of pages is to be synced.
    shuts_before_pages_are_synced: bool,
}

impl Gate {
    /// One that counts what passes, if somebody wants to know.
    pub(super) fn new(calls: Option<Arc<Mutex<Calls>>>) -> Self {
        Self { state: Mutex::default(), calls }
    }

    pub(super) fn shut(&self) {
        self.state.lock().is_shut = true;
    }

    pub(super) fn is_shut(&self) -> bool {
        self.state.lock().is_shut
    }

    pub(super) fn shut_before_pages_are_synced(&self) {
        self.state.lock().shuts_before_pages_are_synced = true;
    }
}

impl Watcher for Gate {
    fn before(&self, call: &Call, bytes: &[u8]) -> Result<()> {
        let mut state = self.state.lock();
        let mut calls = self.calls.as_ref().map(|calls| calls.lock());
        if calls.as_ref().is_some_and(|calls| calls.is_looking) {
            return Ok(());
        }
        let is_sync_of_pages = call.operation == "sync" && call.name == PAGES_FILE;
        state.is_shut |= state.shuts_before_pages_are_synced && is_sync_of_pages;
        if let Some(calls) = calls.as_mut().filter(|_| !state.is_shut) {
            state.is_shut = !calls.count(Io::of(call, bytes));
        }
        if state.is_shut {
            let reason = std::io::Error::other("the process is gone");
            return Err(Error::from_io(call.operation, &call.name, reason));
        }
        Ok(())
    }
}
