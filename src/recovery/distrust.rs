//! Distrust of the page cache: what it shows may not be on the disk.
//!
//! After a failed sync the kernel may mark the pages clean whose write failed: readers see the new
//! bytes, and a second sync says "done" without writing them. Whoever opens the database next, while
//! the cache lives, would decide by bytes that a power failure takes away.
//!
//! ```text
//!   write or sync fails → file `distrust`, durable where that still works
//!   next open: `distrust` is there → everything synced, cache dropped → restart → mark removed
//! ```
//!
//! Invariants:
//! - the mark is looked for before anything else is read, and removed only when the checkpoint
//!   that ends the restart is complete;
//! - nothing depends on it: where it could not be left, restart still writes again what it builds
//!   upon (log tail, double-write batch and its pages, names), as after a kill.
//!
//! Where the log's blocks are never written again ([`LogBlock::Padded`]), its tail cannot be made
//! durable by writing it anew; where the run before wrote pages past the double-write file (the control
//! file says so), nothing says which. Then the cache is dropped after every unclean end, mark or no mark.

use crate::config::{Config, LogBlock};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::event::{Event, Observers};
use crate::log::{ControlFile, Poison};
use crate::sync::Arc;

/// Name of the mark.
pub const DISTRUST_FILE: &str = "distrust";
/// What stands in it, for people.
pub const DISTRUST_MARK: &[u8] =
    b"a write or sync failed here: the page cache may show what is not on the disk\n";

/// Whether the run before left the mark. Its write may have failed too: zeros may stand for what is
/// missing of it. A file that holds anything else is somebody else's.
///
/// # Errors
/// Those of the disk.
pub fn is_marked(disk: &dyn Disk) -> Result<bool> {
    let mut found = [0; DISTRUST_MARK.len() + 1];
    let read = match disk.open(DISTRUST_FILE) {
        Ok(file) => file.read_at(0, &mut found)?,
        Err(error) if error.is_not_found() => return Ok(false),
        Err(error) => return Err(error),
    };
    let is_ours = |(found, mark): (&u8, &u8)| *found == 0 || found == mark;
    Ok(read <= DISTRUST_MARK.len() && found[..read].iter().zip(DISTRUST_MARK).all(is_ours))
}

/// Makes reads show what the device has.
///
/// # Errors
/// Those of the disk.
pub fn distrust_cache(disk: &dyn Disk, marked: bool, observers: &Observers) -> Result<()> {
    disk.drop_cache()?;
    observers.emit(|| Event::CacheDropped { marked });
    Ok(())
}

/// Whether restart cannot make durable all that it reads by writing it again, and so must reread it.
#[must_use]
pub fn must_reread(control: &ControlFile, config: &Config) -> bool {
    let rewrites = config.log_block == LogBlock::Rewritten && !control.master().in_place_only;
    !rewrites && !control.ended_cleanly()
}

/// Leaves the mark when the engine stops because of a failure that gives cause for it.
pub fn watch(disk: &Arc<dyn Disk>, poison: &Poison) {
    let disk = Arc::clone(disk);
    poison.on_stop(Arc::new(move |error| failed(disk.as_ref(), error)));
}

/// Leaves the mark, if the failure gives cause for it.
pub fn failed(disk: &dyn Disk, error: &Error) {
    if gives_cause(error) {
        leave_mark(disk);
    }
}

/// Whether an error means that the cache may show what is not on the disk.
fn gives_cause(error: &Error) -> bool {
    match error {
        Error::Io { operation, .. } | Error::DiskFull { operation, .. } => {
            ["write", "sync", "set the length of", "drop the cache of"].contains(operation)
        }
        Error::Poisoned { .. } => true,
        _ => false,
    }
}

/// Leaves the mark, if that works: the disk has just failed. What is there already stays as it is, a mark or
/// somebody else's file.
fn leave_mark(disk: &dyn Disk) {
    if let Ok(file) = disk.create(DISTRUST_FILE) {
        // The name alone is a mark too.
        let _ = file.write_at(0, DISTRUST_MARK).and_then(|()| file.sync_data());
        let _ = disk.sync_directory("");
    }
}

/// Removes the mark, durably.
///
/// # Errors
/// Those of the disk; should the mark come back, the cache is dropped once more.
pub fn remove_mark(disk: &dyn Disk) -> Result<()> {
    disk.remove(DISTRUST_FILE)?;
    disk.sync_directory("")
}
