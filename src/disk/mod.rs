//! The disk: files of one directory, and nothing that goes around it.
//!
//! All I/O of the engine passes through [`Disk`] and [`DiskFile`], so that a crash lab can stand
//! in for the kernel. The contract is the kernel's, and no stronger:
//!
//! - a write may be kept back until the file is synced; until then any part of it, in units of a
//!   sector, may or may not survive a power failure, in any order;
//! - creating, renaming and removing a file is durable only once its directory was synced;
//! - a write is seen by every later read of the same running system, synced or not;
//! - after a failed sync the bytes may be shown to readers without being durable, and trying the
//!   sync again may say "done" without writing them.
//!
//! Names are relative to the database's directory and use `/`: `control`, `log/0000000000000001.seg`.
//! At most one directory stands before the file; the name `LOCK` is the disk's own.
//!
//! These disks keep the contract:
//!
//! ```text
//!                 write_at          sync_data           lost by SIGKILL     lost by power failure
//! FileDisk        kernel's cache    the device          nothing             what was not synced
//! HeldBackDisk    own memory        an inner disk       what was not synced what was not synced
//! SimDisk         own memory        own memory          (simulated: crash() loses any chosen part)
//! OverlayDisk     own memory        nowhere             all of it: what lies under it never changes
//! ```

mod carry_on;
mod cover;
mod file;
mod held;
#[cfg(all(test, loom))]
mod model;
mod overlay;
mod sim;
mod watched;

use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

pub use file::FileDisk;
pub use held::HeldBackDisk;
#[cfg(all(test, loom))]
pub(crate) use model::ModelDisk;
pub use overlay::OverlayDisk;
pub(crate) use sim::split_mix;
pub use sim::{
    Fault, FaultKind, Metadata, Part, Pending, PendingKind, PowerFailure, SectorSize, SimDisk,
    Survivors, Torn,
};
pub use watched::{Call, WatchedDisk, Watcher};

use crate::error::{Error, Result};
use crate::sync::Arc;

/// The longest file there can be, in bytes: the kernel's offsets are signed.
const MAX_LENGTH: u64 = i64::MAX as u64;

/// Bytes of a block of a file kept in memory.
pub(crate) const BLOCK: usize = 4096;

/// The name of the lock file, which belongs to [`FileDisk`].
const LOCK: &str = "LOCK";

/// One directory with files, and one level of sub-directories.
///
/// Every error names the operation and the path ([`crate::Error::from_io`]).
pub trait Disk: Send + Sync + 'static {
    /// Where the directory is, for messages.
    fn location(&self) -> PathBuf;

    /// Opens an existing file. [`crate::Error::is_not_found`] when there is none.
    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>>;

    /// Creates an empty file; an error when the name is taken.
    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>>;

    /// Creates a sub-directory; nothing happens when it is there already.
    fn create_directory(&self, name: &str) -> Result<()>;

    /// Renames a file, replacing the target. Open handles stay valid.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a file. Open handles stay valid.
    fn remove(&self, name: &str) -> Result<()>;

    /// Names in `directory` (`""` is the root), sorted, without the directory's own name.
    /// Sub-directories are listed too.
    fn list(&self, directory: &str) -> Result<Vec<String>>;

    /// Makes created, renamed and removed names of `directory` durable.
    fn sync_directory(&self, directory: &str) -> Result<()>;

    /// Syncs every file and directory, then lets the cache forget the files: what is read afterwards
    /// is what the device has. After an error nothing is certain, and the call may be repeated.
    ///
    /// This is how bytes are unmasked that a failed sync left in the cache, where they look as if
    /// they were durable. See each disk for what it can promise.
    fn drop_cache(&self) -> Result<()>;

    /// From now on a write of which only a part was done is taken for whole, on a simulated disk.
    #[cfg(feature = "sabotage")]
    fn ignore_short_writes(&self) {}
}

/// One open file.
#[allow(clippy::len_without_is_empty)]
pub trait DiskFile: Send + Sync {
    /// Fills `buffer` from byte `offset` on; returns how many bytes there were before the end of
    /// the file (fewer than asked only there). Interrupted and short reads are carried on.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Writes all of `bytes` at byte `offset`, growing the file where needed.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Length in bytes.
    fn len(&self) -> Result<u64>;

    /// Cuts or grows (with zeros) to `length` bytes.
    fn set_len(&self, length: u64) -> Result<()>;

    /// Returns once all that was written, and the length, is durable (fdatasync).
    fn sync_data(&self) -> Result<()>;

    /// Says that `length` bytes from `offset` will be read soon. Only advice: nothing need happen, and
    /// nothing can fail.
    fn read_ahead(&self, _offset: u64, _length: u64) {}

    /// `length` bytes from `offset`, mapped where that is safe and possible. The caller promises
    /// that nobody writes, cuts or recycles the range while the result lives. An error when the
    /// file is shorter.
    fn map(&self, offset: u64, length: usize) -> Result<LogBytes>;
}

/// Bytes of the log: mapped from the page cache, or read into memory.
pub enum LogBytes {
    /// Mapped read-only; only ever a full segment that cannot be recycled meanwhile.
    Mapped(memmap2::Mmap),
    /// Read into memory.
    Owned(Vec<u8>),
}

impl Deref for LogBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// Whether `name` is one that the engine may use: `file` or `directory/file`.
fn is_plain(name: &str) -> bool {
    name != LOCK
        && name.split('/').count() <= 2
        && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// The directory a name stands in (`""` is the root) and the rest.
fn split_name(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or(("", name))
}

/// How many of `wanted` bytes from `offset` lie before `end`.
fn bytes_before(end: u64, offset: u64, wanted: usize) -> usize {
    usize::try_from(end.saturating_sub(offset)).map_or(wanted, |available| available.min(wanted))
}

/// The end of `length` bytes from `offset`, or the kernel's "file too large".
fn end_of(offset: u64, length: usize) -> io::Result<u64> {
    let end = u64::try_from(length).ok().and_then(|length| offset.checked_add(length));
    end.filter(|end| *end <= MAX_LENGTH).ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}

/// What [`DiskFile::map`] says when the file ends before the range does.
fn too_short(path: &Path) -> Error {
    let reason = io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before the range");
    Error::from_io("map", path, reason)
}

/// Reads the range into memory. The length is checked before memory is taken: it may come from a
/// damaged file.
fn read_range(file: &dyn DiskFile, path: &Path, offset: u64, length: usize) -> Result<LogBytes> {
    if bytes_before(file.len()?, offset, length) < length {
        return Err(too_short(path));
    }
    let mut bytes = vec![0; length];
    if file.read_at(offset, &mut bytes)? < length {
        return Err(too_short(path));
    }
    Ok(LogBytes::Owned(bytes))
}

/// The part of a range of bytes that falls into one block.
struct Piece {
    /// Offset of the block's first byte in the file.
    block: u64,
    /// Where the part begins and ends in the range.
    start: usize,
    end: usize,
    /// Where it begins in the block.
    skip: usize,
}

impl Piece {
    /// The block's number, counted from the begin of the file.
    fn number(&self) -> u64 {
        self.block / BLOCK as u64
    }

    /// Whether it is all of its block.
    fn is_whole(&self) -> bool {
        self.end - self.start == BLOCK
    }

    /// Where it stands in the block.
    fn within(&self) -> std::ops::Range<usize> {
        self.skip..self.skip + (self.end - self.start)
    }
}

/// Cuts `length` bytes from `offset` at the borders of blocks.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = Piece> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let position = offset + start as u64;
        let block = position - position % BLOCK as u64;
        let skip = bytes_before(position, block, BLOCK); // from the block's begin to here
        let end = length.min(start + (BLOCK - skip));
        let piece = Piece { block, start, end, skip };
        start = end;
        (piece.start < piece.end).then_some(piece)
    })
}
