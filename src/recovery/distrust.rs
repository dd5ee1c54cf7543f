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
//! durable by writing it anew. Then the cache is dropped after every unclean end, mark or no mark.

use crate::config::{Config, LogBlock};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::event::{Event, Observers};
use crate::log::ControlFile;

/// Name of the mark.
pub const DISTRUST_FILE: &str = "distrust";
/// What stands in it, for people.
pub const DISTRUST_MARK: &[u8] =
    b"a write or sync failed here: the page cache may show what is not on the disk\n";

/// Whether the run before left the mark.
///
/// # Errors
/// Those of the disk.
pub fn is_marked(disk: &dyn Disk) -> Result<bool> {
    Ok(disk.list("")?.iter().any(|name| name == DISTRUST_FILE))
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

/// Whether restart cannot make durable what it reads by writing it again, and so must reread it.
#[must_use]
pub fn must_reread(control: &ControlFile, config: &Config) -> bool {
    config.log_block != LogBlock::Rewritten && !control.ended_cleanly()
}

/// Whether an error means that the cache may show what is not on the disk.
#[must_use]
pub fn gives_cause(error: &Error) -> bool {
    match error {
        Error::Io { operation, .. } | Error::DiskFull { operation, .. } => {
            ["write", "sync", "set the length of", "drop the cache of"].contains(operation)
        }
        Error::Poisoned { .. } => true,
        _ => false,
    }
}

/// Leaves the mark, if that works: the disk has just failed.
pub fn leave_mark(disk: &dyn Disk) {
    let file = match disk.open(DISTRUST_FILE) {
        Err(error) if error.is_not_found() => disk.create(DISTRUST_FILE),
        opened => opened,
    };
    if let Ok(file) = file {
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
