//! The settings that the parts of the engine share, checked once.

mod sabotage;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use sabotage::{Broken, Sabotage};

use crate::error::{Error, Result};

/// Smallest page, in bytes.
pub const MIN_PAGE_SIZE: usize = 512;
/// Largest page, in bytes.
pub const MAX_PAGE_SIZE: usize = 65_536;
/// Smallest log segment, in bytes.
pub const MIN_SEGMENT_BYTES: u64 = 64 * 1024;
/// Largest log segment, in bytes.
pub const MAX_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Fewest frames a buffer pool can have.
pub const MIN_FRAMES: usize = 16;
/// Most frames a buffer pool can have: with pages of 4 KiB, 64 GiB.
pub const MAX_FRAMES: usize = 1 << 24;
/// Most threads that redo can use.
pub const MAX_REDO_THREADS: usize = 64;
/// A segment holds at least this many pages' worth of log, so that any record fits.
const MIN_PAGES_PER_SEGMENT: u64 = 8;

/// How a page torn by a crash in the middle of its write is made whole again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum TornPageProtection {
    /// Every page is written twice: first, with its batch, to the file `doublewrite`, then in place.
    /// Costs a second, sequential write of each page, and one sync more for each batch.
    #[default]
    DoubleWrite,
    /// The first change of a page since it was last written logs the whole page, so that restart can
    /// rebuild it from the log alone; it is written once, in place. Costs log: up to a page more for
    /// each page that becomes dirty, and forced by the commit. A page for whose image the log has no
    /// room is written through the file `doublewrite`.
    PageImages,
    /// Pages are written once, and nothing is logged in addition: for disks and file systems that write
    /// a page whole or not at all. Elsewhere a crash may tear pages; those that the log still holds
    /// from their beginning are rebuilt, the others are lost, and reported; one that restart needs
    /// keeps the database from opening.
    None,
}

impl TornPageProtection {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::DoubleWrite, Self::PageImages, Self::None];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DoubleWrite => "double-write",
            Self::PageImages => "page-images",
            Self::None => "none",
        }
    }
}

/// What a commit that has returned survives.
///
/// ```text
///                     the process is killed    power fails         what may be lost
///   Commit            everything               everything          nothing that was acknowledged
///   Interval          what was forced          what was forced     the commits since the last force
///   Buffered          everything               what was forced     the commits since then, if power fails
///   Off               the last flush           the last flush      all since the last Db::flush
/// ```
///
/// Whatever is lost, it is the last commits: what is there afterwards is what some of the first of them made, all of each. A
/// [checkpoint](crate::Db::checkpoint), [`Db::close`](crate::Db::close), and a page that is written all force the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Durability {
    /// It returns when its record is durable.
    #[default]
    Commit,
    /// It returns at once; the log is forced in the background, this long after the last time at most.
    Interval(Duration),
    /// It returns when its record is handed to the operating system, which writes it when it likes.
    Buffered,
    /// It returns at once, and nothing of it reaches the disk: no log is written, no page. [`Db::flush`](crate::Db::flush)
    /// writes all pages that changed, as one atomic batch: after a crash the state is exactly that of the last flush.
    /// What changed since then takes memory: its pages beyond the buffer pool, and the log that rollback needs.
    Off,
}

/// How full the pages of a table are made when it is [loaded](crate::Db::load_filled), in hundredths: 90 where nothing else is said. What is left
/// free takes later keys without a split; a table that is only read is best made full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FillFactor(u8);

impl FillFactor {
    /// The least, in hundredths.
    pub const LEAST: u8 = 10;
    /// The most.
    pub const MOST: u8 = 100;

    /// So many hundredths, 10 to 100; others are none.
    #[must_use]
    pub const fn new(hundredths: u8) -> Option<Self> {
        match hundredths {
            Self::LEAST..=Self::MOST => Some(Self(hundredths)),
            _ => None,
        }
    }

    /// Of so many bytes, those to be filled.
    pub(crate) fn of(self, bytes: usize) -> usize {
        bytes * usize::from(self.0) / 100
    }
}

impl Default for FillFactor {
    fn default() -> Self {
        Self(90)
    }
}

/// How redo repeats history.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum RestartMode {
    /// By the thread that opens the database, in the order of the log.
    #[default]
    Serial,
    /// By so many threads, each in the order of the log, each for its part of the pages. Each page
    /// becomes what it would have become otherwise, byte for byte.
    Parallel(usize),
}

impl RestartMode {
    /// How many threads redo.
    #[must_use]
    pub const fn threads(self) -> usize {
        match self {
            Self::Serial => 1,
            Self::Parallel(threads) => threads,
        }
    }
}

/// Smallest block that the log can be padded to, in bytes: a sector.
pub const SMALL_LOG_BLOCK: u64 = 512;
/// Largest block that the log can be padded to, in bytes.
pub const LARGE_LOG_BLOCK: u64 = 4096;

/// Whether a block of the log that is durable may be written again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum LogBlock {
    /// It may: a force writes the part-filled last block again, with the old bytes in their place.
    /// If power fails in the middle, the disk must leave bytes alone that are written again
    /// unchanged.
    #[default]
    Rewritten,
    /// Never: before each write the log is filled up to a boundary of blocks of so many bytes (512 or
    /// 4096). For disks that may turn a block into garbage when power fails while it is written.
    Padded(u64),
}

/// Checked settings of an open database.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of a page: a power of two.
    pub page_size: usize,
    /// Bytes of a log segment: a power of two.
    pub segment_bytes: u64,
    /// Frames of the buffer pool.
    pub frames: usize,
    /// A checkpoint is taken after this many bytes of log.
    pub checkpoint_log_bytes: u64,
    /// Whether background threads run. Without them the same calls give the same I/O.
    pub background: bool,
    /// What a commit waits for.
    pub durability: Durability,
    /// How redo repeats history.
    pub restart: RestartMode,
    /// How torn pages are made whole.
    pub torn_page_protection: TornPageProtection,
    /// Whether a durable block of the log may be written again.
    pub log_block: LogBlock,
    /// How long a transaction waits for a lock; `None` is for ever.
    pub lock_timeout: Option<Duration>,
    /// Whether the log tells what is done to keys, beside what restart needs.
    pub log_key_changes: bool,
    /// What commit records say of the time.
    pub wall_clock: WallClock,
    /// The rule that is broken on purpose, if one is.
    pub broken: Broken,
}

/// A clock: microseconds since 1970 (UTC). Nothing depends on it but what commit records say.
pub type WallClock = fn() -> u64;

/// The clock of the operating system.
#[must_use]
pub fn system_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl Config {
    /// For a pool of so many frames, everything else as it is by default: a checkpoint for each segment,
    /// no background threads.
    #[must_use]
    pub fn new(page_size: usize, segment_bytes: u64, frames: usize) -> Self {
        Self {
            page_size,
            segment_bytes,
            frames,
            checkpoint_log_bytes: segment_bytes,
            background: false,
            durability: Durability::default(),
            restart: RestartMode::default(),
            torn_page_protection: TornPageProtection::default(),
            log_block: LogBlock::default(),
            lock_timeout: None,
            log_key_changes: false,
            wall_clock: system_clock,
            broken: Broken::default(),
        }
    }

    /// Checks what cannot be checked by types.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] naming the setting and its limits.
    pub fn check(&self) -> Result<()> {
        let page = self.page_size;
        if !page.is_power_of_two() || !(MIN_PAGE_SIZE..=MAX_PAGE_SIZE).contains(&page) {
            return Err(Error::InvalidInput(format!(
                "page size {page} is no power of two from {MIN_PAGE_SIZE} to {MAX_PAGE_SIZE}"
            )));
        }
        let segment = self.segment_bytes;
        let least = MIN_SEGMENT_BYTES.max(MIN_PAGES_PER_SEGMENT * page as u64);
        if !segment.is_power_of_two() || !(least..=MAX_SEGMENT_BYTES).contains(&segment) {
            return Err(Error::InvalidInput(format!(
                "segment size {segment} is no power of two from {least} to {MAX_SEGMENT_BYTES} \
                 (for pages of {page} bytes)"
            )));
        }
        if self.checkpoint_log_bytes == 0 {
            let message = "a checkpoint after every 0 bytes of log would never end";
            return Err(Error::InvalidInput(message.into()));
        }
        if let LogBlock::Padded(bytes) = self.log_block
            && ![SMALL_LOG_BLOCK, LARGE_LOG_BLOCK].contains(&bytes)
        {
            return Err(Error::InvalidInput(format!(
                "a log padded to blocks of {bytes} bytes: only {SMALL_LOG_BLOCK} and \
                 {LARGE_LOG_BLOCK} can be had"
            )));
        }
        if self.frames < MIN_FRAMES {
            return Err(Error::InvalidInput(format!(
                "a buffer pool of {} frames is too small: at least {MIN_FRAMES} are needed",
                self.frames
            )));
        }
        if self.frames > MAX_FRAMES {
            return Err(Error::InvalidInput(format!(
                "a buffer pool of {} frames is too large: at most {MAX_FRAMES} can be had",
                self.frames
            )));
        }
        let threads = self.restart.threads();
        if !(1..=MAX_REDO_THREADS).contains(&threads) {
            return Err(Error::InvalidInput(format!(
                "redo by {threads} threads: from 1 to {MAX_REDO_THREADS} can be had"
            )));
        }
        Ok(())
    }
}
