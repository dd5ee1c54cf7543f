//! How a database is opened for the crash lab, and what the power may do to its disk.

use crate::config::{Broken, LogBlock, TornPageProtection};
use crate::db::Options;
use crate::disk::{Metadata, PowerFailure, SectorSize, Torn};

/// Bytes of a log segment: the smallest there are.
pub const SEGMENT_BYTES: u64 = 65_536;
/// Frames of the buffer pool: the fewest there may be.
const FRAMES: usize = 16;

/// What disks and file systems may do when the power fails, from little to much. Each level is explored on its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// Sectors reach the disk in any order, each whole; names and lengths in the order of a journal.
    L0,
    /// A sector may also be torn: only its first or only its last bytes are new.
    L1,
    /// A torn sector may also be garbage. The log is padded, as it is made for such disks.
    L2,
    /// Sectors are whole; names and lengths survive each on their own until they are synced.
    L3,
}

impl Level {
    /// All levels.
    pub const ALL: [Self; 4] = [Self::L0, Self::L1, Self::L2, Self::L3];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L0 => "L0",
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
        }
    }

    /// What a power failure may do.
    #[must_use]
    pub fn power(self, sector: SectorSize) -> PowerFailure {
        let torn = match self {
            Self::L0 | Self::L3 => Torn::Never,
            Self::L1 => Torn::PrefixOrSuffix,
            Self::L2 => Torn::Garbage,
        };
        let metadata = if self == Self::L3 { Metadata::Independent } else { Metadata::Ordered };
        PowerFailure { sector, torn, metadata }
    }

    /// The setting for a database on such a disk.
    #[must_use]
    pub fn setting(self, protection: TornPageProtection, sector: SectorSize) -> Setting {
        let log_block = match self {
            Self::L2 => LogBlock::Padded(sector.bytes() as u64),
            _ => LogBlock::Rewritten,
        };
        Setting { protection, log_block, power: self.power(sector), broken: Broken::default() }
    }
}

/// How the database is opened, and what the power may do to its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Setting {
    /// How torn pages are made whole.
    pub protection: TornPageProtection,
    /// Whether a durable block of the log may be written again.
    pub log_block: LogBlock,
    /// What a power failure may do.
    pub power: PowerFailure,
    /// The rule that is broken on purpose, if one is.
    pub broken: Broken,
}

impl Setting {
    /// Bytes of a page: a sector. On a disk that tears sectors smaller pages would be torn together with their
    /// neighbours, which nothing protects.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.power.sector.bytes()
    }

    /// Options to open the database with: no threads, no clock, so that the same steps make the same I/Os and
    /// leave the same bytes.
    pub fn options(&self) -> Options {
        let page_size = self.page_size();
        Options::new()
            .page_size(page_size)
            .segment_bytes(SEGMENT_BYTES)
            .buffer_pool_bytes(FRAMES * page_size)
            .background(false)
            .database_id(1)
            .wall_clock(|| 0)
            .torn_page_protection(self.protection)
            .log_block(self.log_block)
            .broken_by(self.broken)
    }
}
