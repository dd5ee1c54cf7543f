//! Identifiers: the numbers that tie log, pages and transactions together.
//!
//! Each is a type of its own, so that a page number can never be passed where a log position is
//! meant. Nil (the paper's "undefined" LSN) is `Option<Lsn>::None`; there is no magic zero in
//! memory. On disk nil is stored as 0, which is never the LSN of a record because the log begins
//! with a segment header.
//!
//! What locks are on, and their modes, stand here too ([`locks`]): log records name them.
//!
//! Source: Mohan et al., "ARIES", TODS 17(1), 1992, section 4 (data structures).

mod hasher;
mod key_name;
pub mod locks;

use std::fmt;
use std::num::NonZeroU64;

pub use hasher::{BuildNumberHasher, NumberHasher};

/// Log sequence number: the byte offset of a log record in the endless log (bytes, never 0).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(NonZeroU64);

impl Lsn {
    /// The LSN at byte `offset`, or `None` for 0, which no record can have.
    #[must_use]
    pub const fn new(offset: u64) -> Option<Self> {
        match NonZeroU64::new(offset) {
            Some(offset) => Some(Self(offset)),
            None => None,
        }
    }

    /// The byte offset in the endless log.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The LSN `bytes` further on, or `None` if that overflows.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Nil is stored as 0.
    #[must_use]
    pub fn to_stored(lsn: Option<Self>) -> u64 {
        lsn.map_or(0, Self::get)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lsn({})", self.0)
    }
}

/// Number of a page in the file `pages`; page `n` stands at byte `n * page_size`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageId(pub u64);

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{}", self.0)
    }
}

/// Number of a transaction: given out in ascending order, never reused (never 0).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(NonZeroU64);

impl TxnId {
    /// The first transaction of a new database.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// No record says that this number or a higher one was given out. No honest number comes near; of a
    /// record that goes beyond, readers say that it is damaged.
    pub const LIMIT: u64 = u64::MAX / 2;

    /// The transaction numbered `id`, or `None` for 0.
    #[must_use]
    pub const fn new(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}", self.0)
    }
}

impl fmt::Debug for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}", self.0)
    }
}

/// Number of a slot (record) within a page, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SlotId(pub u16);

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
