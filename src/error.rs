//! The one error type of the engine, named after what a caller can do about it.
//!
//! Bad input and bad disks give one of these, never a panic. A mistake of the engine itself
//! asserts instead: it must not be mistaken for a fault of the disk.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::ids::{Lsn, PageId, SlotId, TxnId};

/// Result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a file.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried: "read", "write", "sync", …
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The disk is full. While segments are prepared or `pages` grows this is an ordinary error:
    /// the transaction can be rolled back, and work goes on once there is space.
    #[error("no space left: cannot {operation} {}", path.display())]
    DiskFull {
        /// What was tried.
        operation: &'static str,
        /// The file that could not grow.
        path: PathBuf,
    },
    /// The directory or its file system cannot be written.
    #[error("{} is read-only: {source}", path.display())]
    ReadOnly {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process, or another handle of this one, has the database open.
    #[error("{} is open elsewhere: its LOCK file is held", path.display())]
    AlreadyOpen {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds no database.
    #[error("{} is no aries database: {reason}", path.display())]
    NotADatabase {
        /// The directory.
        path: PathBuf,
        /// What is missing or strange.
        reason: String,
    },
    /// The database was made with something this program or these options do not fit.
    #[error("{}: {what} is {found}, but {expected} is expected", path.display())]
    Mismatch {
        /// The file that says so.
        path: PathBuf,
        /// What differs: "format version", "page size", "segment size".
        what: &'static str,
        /// What the file says.
        found: u64,
        /// What this program or the options say.
        expected: u64,
    },
    /// Bytes that had been durable are not what they were. Nothing was changed.
    #[error("damage in {place}: expected {expected}, found {found}")]
    Corrupt {
        /// Where.
        place: Place,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// This transaction would wait for itself: roll it back and try again.
    #[error("deadlock: {txn} waiting for {what} would close a circle of waiting transactions")]
    Deadlock {
        /// The victim.
        txn: TxnId,
        /// The lock it asked for.
        what: String,
    },
    /// This transaction waited for a lock as long as it may. It keeps what it holds: roll it back, so
    /// that others can go on, and try again; or ask for the lock once more.
    #[error(
        "lock timeout: {txn} waited {waited:.1?} for {what}; roll it back and try again, or allow longer waits"
    )]
    LockTimeout {
        /// The transaction.
        txn: TxnId,
        /// The lock it asked for, and who holds that.
        what: String,
        /// How long it waited.
        waited: Duration,
    },
    /// Every frame of the buffer pool is fixed: use a larger pool, or fix fewer pages at a time.
    #[error("all {frames} frames of the buffer pool are fixed")]
    OutOfFrames {
        /// Frames in the pool.
        frames: usize,
    },
    /// The record does not fit into the page: use another page.
    #[error("page {page} is full: {needed} bytes needed, {available} available")]
    PageFull {
        /// The page.
        page: PageId,
        /// Bytes the record needs, its slot entry included.
        needed: usize,
        /// Bytes that can be had.
        available: usize,
    },
    /// There is no such record.
    #[error("no record {page}.{slot}")]
    NoSuchRecord {
        /// The page.
        page: PageId,
        /// The slot.
        slot: SlotId,
    },
    /// There is no such table, or it was dropped.
    #[error("no table {name:?}")]
    NoSuchTable {
        /// Its name.
        name: String,
    },
    /// A transaction is under way that has used the table: end it first.
    #[error("the table {name:?} is in use: a transaction that has used it is under way")]
    TableInUse {
        /// Its name.
        name: String,
    },
    /// No transaction is in doubt under this global id, or somebody just decides upon it.
    #[error("no transaction with the global id \"{}\" is in doubt", global_id.escape_ascii())]
    NoSuchPrepared {
        /// The global id.
        global_id: Vec<u8>,
    },
    /// The page is not allocated (or is being freed by this transaction).
    #[error("page {page} is not allocated")]
    NoSuchPage {
        /// The page.
        page: PageId,
    },
    /// An earlier write or sync failed, so nothing more is believed or acknowledged. Open the
    /// database anew: restart recovers every acknowledged commit.
    #[error("the engine stopped after a failure ({reason}); reopen the database to recover")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// The record of a commit, or of a transaction that was being prepared, may or may not have
    /// become durable before a failure. After reopening, look whether the work is there, or whether
    /// the transaction is in doubt.
    #[error("what became of {txn} is unknown ({reason}); reopen the database and look")]
    OutcomeUnknown {
        /// The transaction.
        txn: TxnId,
        /// The failure.
        reason: String,
    },
    /// The call makes no sense as it was made; nothing happened.
    #[error("{0}")]
    InvalidInput(String),
    /// The database was closed.
    #[error("the database is closed")]
    Closed,
}

impl Error {
    /// Sorts what the operating system said into the variant a caller can act upon.
    #[must_use]
    pub fn from_io(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::DiskFull { operation, path },
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { path, source }
            }
            _ => Self::Io { operation, path, source },
        }
    }

    /// Whether a file or directory was not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether another directory, not another disk, is what helps.
    #[must_use]
    pub fn is_wrong_usage(&self) -> bool {
        self.is_not_found() || matches!(self, Self::NotADatabase { .. })
    }

    /// Whether the disk was full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }

    /// A [`Error::Corrupt`] about `place`.
    #[must_use]
    pub fn corrupt(place: Place, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Corrupt { place, expected: expected.into(), found: found.into() }
    }
}

/// Where damage was found.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Place {
    /// A file as a whole, or a fixed part of it.
    File(PathBuf),
    /// A log record.
    Log {
        /// The segment file.
        segment: PathBuf,
        /// Where the record begins.
        lsn: Lsn,
    },
    /// A page.
    Page {
        /// The file that holds it.
        file: PathBuf,
        /// The page.
        page: PageId,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Log { segment, lsn } => write!(f, "{} at LSN {lsn}", segment.display()),
            Self::Page { file, page } => write!(f, "{} page {page}", file.display()),
        }
    }
}
