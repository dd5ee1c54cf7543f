//! Why a page cannot be believed, and why an operation does not fit a page.

use super::header::PageKind;
use super::slotted::SlotState;
use crate::ids::{SlotId, TxnId};

/// Bytes that are not what a page must hold; the two halves of [`crate::error::Error::Corrupt`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct PageFault {
    /// What should stand there.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

impl PageFault {
    pub(super) fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into() }
    }

    /// `Ok` if `holds`; else the fault with these two halves.
    #[inline]
    pub(super) fn unless(
        holds: bool,
        expected: impl FnOnce() -> String,
        found: impl FnOnce() -> String,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(expected(), found())) }
    }
}

/// Why an operation cannot be applied to a page. The page is unchanged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpFault {
    /// The operation is for pages of another kind.
    #[error("the page is {found}, not {expected}")]
    WrongKind {
        /// The kind that the operation needs.
        expected: PageKind,
        /// The kind of the page.
        found: PageKind,
    },
    /// The slot holds no record; or, for an insert, it lies beyond the first slot not yet in the
    /// directory.
    #[error("there is no slot {slot}")]
    NoSuchSlot {
        /// The slot.
        slot: SlotId,
    },
    /// The record is a ghost where a live one is needed, or the other way round.
    #[error("slot {slot} is {found}")]
    WrongState {
        /// The slot.
        slot: SlotId,
        /// Its state.
        found: SlotState,
    },
    /// An insert into a slot that holds a record or a ghost.
    #[error("slot {slot} is taken")]
    SlotTaken {
        /// The slot.
        slot: SlotId,
    },
    /// A record has at least one byte.
    #[error("a record cannot be empty")]
    EmptyRecord,
    /// The page is too full.
    #[error("{needed} bytes needed, {available} available")]
    NoRoom {
        /// Bytes of the record and, if it is new, of its slot entry.
        needed: usize,
        /// Bytes that can be had, those between records included.
        available: usize,
    },
    /// A patch that reaches beyond the end of the record.
    #[error("bytes up to {end} of slot {slot}, which has only {length}")]
    OutOfRange {
        /// The slot.
        slot: SlotId,
        /// Where the patch ends, in bytes from the start of the record.
        end: usize,
        /// Bytes of the record.
        length: usize,
    },
    /// The space map page has fewer entries.
    #[error("there is no entry {entry}: the page has {entries}")]
    NoSuchEntry {
        /// The entry.
        entry: u16,
        /// Entries of the page.
        entries: u16,
    },
    /// Entry 0 of a space map page stands for that page itself, and only that of page 0 says where the catalog is.
    #[error("entry 0 stands for the space map page itself and stays used")]
    OwnEntry,
    /// The number of the transaction is too large for an entry of the space map.
    #[error("{0} is too large a number for an entry of the space map")]
    TxnIdTooLarge(TxnId),
    /// Bytes that should be several operations are not.
    #[error("no sequence of plain operations")]
    NotSeveral,
    /// The page is not what a page must be.
    #[error("the page is damaged: {0}")]
    Damaged(#[from] PageFault),
}
