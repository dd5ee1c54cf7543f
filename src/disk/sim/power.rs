//! What a power failure may do to a simulated disk, and what one did.

use std::collections::{BTreeMap, BTreeSet};

use super::split_mix;
use super::state::{Entry, Fate};

/// What a power failure may do to what was not synced: what this disk, and the file system on it, do *not*
/// promise. Declared when the disk is made; a [`SimDisk::crash`](super::SimDisk::crash) that does more is
/// refused.
///
/// From the most that real machines promise to nothing at all:
///
/// ```text
/// torn             metadata
/// Never            Ordered       a disk that keeps its word, under ext4 or XFS
/// PrefixOrSuffix   Ordered       persistent memory, or a disk that is a file of the host's, under the same
/// Garbage          Ordered       flash whose programming was cut off, under the same
/// Never            Independent   ext2, FAT, or nothing known of the file system: the default
/// Garbage          Independent   all of it
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PowerFailure {
    /// The unit in which written bytes survive.
    pub sector: SectorSize,
    /// Whether a sector survives in part.
    pub torn: Torn,
    /// In which order lengths and names survive.
    pub metadata: Metadata,
}

/// Bytes of a sector, the unit in which written bytes survive, each independently of all others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SectorSize {
    /// 512 bytes: disks with such sectors, and those that only pretend to have them (512e).
    #[default]
    Bytes512,
    /// 4096 bytes: disks with such sectors (4Kn, most NVMe ones can be formatted so).
    Bytes4096,
}

impl SectorSize {
    /// The number of bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Bytes512 => 512,
            Self::Bytes4096 => 4096,
        }
    }
}

/// What becomes of the sector that is being written when the power fails.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Torn {
    /// It is there wholly or not at all: what NVMe demands of a logical block, and what disks with some
    /// charge left keep to.
    #[default]
    Never,
    /// Also only its first or only its last bytes may be new, cut at any byte, and the others as they were:
    /// persistent memory, and disks that are a file of somebody else's.
    PrefixOrSuffix,
    /// Also none of its bytes may be old or new: flash cells that were being programmed (Zheng et al.,
    /// "Understanding the robustness of SSDs under power fault", FAST 2013).
    Garbage,
}

/// In which order lengths, and names created, renamed and removed, survive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Metadata {
    /// In the order of time: if one survives, all earlier ones do, and a sync that makes one durable makes
    /// all earlier ones durable, of whatever file. So do file systems with a journal: ext4, XFS. Bytes keep no
    /// order with it: a file can have its new length, with zeros where bytes were lost. A write beyond the
    /// end of a file is such a change of length, and then bytes. No failed sync abandons metadata: it stays
    /// in the journal, and a later sync makes it durable.
    Ordered,
    /// Each on its own until the directory (for a length: the file) is synced, which is all that POSIX
    /// promises: ext2, FAT. (Pillai et al., "All file systems are not created equal", OSDI 2014, tell what
    /// programs wrongly rely upon.) Bytes that survive beyond the end bring the length with them.
    #[default]
    Independent,
}

/// Which pending changes reach the disk before the power is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Survivors {
    /// All of them.
    All,
    /// None of them.
    None,
    /// Each one with probability 1/2; the same for the same seed. Where sectors may be torn, three of eight
    /// that survive are, as far as the disk is capable of it. Where metadata keeps its order, as much of it
    /// survives as the seed says, every number being as likely.
    Random {
        /// Where the generator begins.
        seed: u64,
    },
    /// Those with these ids, whole.
    Chosen(BTreeSet<u64>),
    /// Those with these ids, as far as it is said.
    Parts(BTreeMap<u64, Part>),
}

/// How much of a change survives. Only a sector survives in part. One that makes the file longer does so
/// whatever part of it survives; what is missing of it then is zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Part {
    /// All of it.
    Whole,
    /// So many of the sector's first bytes.
    Prefix(usize),
    /// The sector's bytes from this one on, counted from the sector's begin.
    Suffix(usize),
    /// None of its bytes: each differs from what was there and from what was written.
    Garbage {
        /// Where the generator begins.
        seed: u64,
    },
}

impl PowerFailure {
    /// Whether metadata keeps its order.
    pub(super) fn is_ordered(self) -> bool {
        self.metadata == Metadata::Ordered
    }

    /// Whether a sector may survive so.
    #[must_use]
    pub fn allows(self, part: Part) -> bool {
        match part {
            Part::Whole => true,
            Part::Prefix(cut) | Part::Suffix(cut) => {
                self.torn >= Torn::PrefixOrSuffix && cut <= self.sector.bytes()
            }
            Part::Garbage { .. } => self.torn >= Torn::Garbage,
        }
    }

    /// A way to survive, or none; the same for the same number.
    fn part(self, random: u64) -> Option<Part> {
        if random & 1 == 0 {
            return None;
        }
        let cut = usize::try_from(random >> 32).unwrap_or(0) % self.sector.bytes();
        let part = match (random >> 1) & 7 {
            0 => Part::Prefix(cut),
            1 => Part::Suffix(cut),
            2 => Part::Garbage { seed: random },
            _ => Part::Whole,
        };
        Some(if self.allows(part) { part } else { Part::Whole })
    }
}

impl Survivors {
    /// A function that tells, asked in the order of time, how much of a change survives.
    ///
    /// # Panics
    /// The function does, when it is more than the disk is capable of.
    pub(super) fn chooser(
        &self,
        power: PowerFailure,
        entries: &[Entry],
    ) -> impl FnMut(&Entry) -> Option<Part> {
        let mut seed = if let Self::Random { seed } = self { *seed } else { 0 };
        let mut metadata_left = match self {
            Self::Random { .. } if power.is_ordered() => {
                let pending = entries.iter().filter(|entry| entry.fate != Fate::Synced);
                let metadata = pending.filter(|entry| entry.change.is_metadata()).count() as u64;
                split_mix(&mut seed) % (metadata + 1)
            }
            _ => 0,
        };
        let mut metadata_was_lost = false;
        move |entry| {
            let is_metadata = entry.change.is_metadata();
            let part = match self {
                Self::All => Some(Part::Whole),
                Self::None => None,
                Self::Random { .. } if is_metadata && power.is_ordered() => {
                    let survives = metadata_left > 0;
                    metadata_left = metadata_left.saturating_sub(1);
                    survives.then_some(Part::Whole)
                }
                Self::Random { .. } => {
                    let part = power.part(split_mix(&mut seed));
                    part.map(|part| if is_metadata { Part::Whole } else { part })
                }
                Self::Chosen(ids) => ids.contains(&entry.id).then_some(Part::Whole),
                Self::Parts(parts) => parts.get(&entry.id).copied(),
            };
            if is_metadata {
                metadata_was_lost |= part.is_none();
                assert!(part.is_none_or(|part| part == Part::Whole), "only sectors have parts");
                let kept = part.is_none() || !metadata_was_lost;
                assert!(kept || !power.is_ordered(), "metadata survives in the order of time");
            }
            assert!(part.is_none_or(|part| power.allows(part)), "{part:?} of a sector: {power:?}");
            part
        }
    }
}
