//! Log records: what each kind holds, and how it stands in bytes.
//!
//! A record is *physiological*: it names one page physically and says what to do there logically
//! (a [`PageOp`]). It is found by its LSN and trusted only if its checksum holds, which covers the
//! record's bytes **and** its LSN **and** the epoch of the run that wrote it: a record left over
//! from an earlier use of the same bytes is never believed.
//!
//! ```text
//!  0        4        8     9        12            20            28
//!  +--------+--------+-----+--------+-------------+-------------+------------------ … --+
//!  | length | CRC-32 |kind | zeros  | transaction | prev_lsn    | body of the kind      |
//!  +--------+--------+-----+--------+-------------+-------------+------------------ … --+
//! ```
//!
//! Invariants:
//! - a record of length `n` takes `n` rounded up to 8 bytes; it never crosses a segment;
//! - the checksum is the CRC-32 of all that follows it, combined with the LSN and the epoch: it is right
//!   at no other place, and in no other run;
//! - a compensation log record has no undo, so it cannot be undone; it always says where undo goes
//!   on (`undo_next_lsn`, 0 for nil);
//! - commit, end, prepare, checkpoint and restart records carry `durable_lsn`, up to where the log was
//!   durable when they were appended: later they bear witness that bytes below it had been durable;
//! - decoding arbitrary bytes gives a record or a fault, never a panic;
//! - there is one encoding of each record: what decodes encodes to the same bytes, but for what filler
//!   holds, which nobody reads.
//!
//! Source: ARIES, section 4.1 (log records), 5.2 (compensation records), 5.4 (checkpoints), 6.1 (prepare
//! records), 9 (nested top actions).

mod decode;
mod encode;
mod layout;
mod outline;
mod prepare;
#[cfg(test)]
mod tests;
mod words;

pub use decode::{
    RecordFault, bears_witness, decode, peek_kind, peek_length, stated_length, verify,
};
pub use encode::EncodedRecord;
pub use layout::{
    ALIGNMENT, COMPENSATION_FIELDS_BYTES, FILLER, HEADER_BYTES, KEY_CHANGE_FIELDS_BYTES,
    MOST_CHANGES, PAGE_IMAGE_FIELDS_BYTES, RESTART_BYTES, checkpoint_bytes, max_record_bytes,
    padded, structure_change_bytes,
};
pub use outline::{ChangeAt, ChangeOutline, change, changes_at, outline};
pub use prepare::{MAX_GLOBAL_ID_BYTES, Prepare, prepare_bytes, prepare_parts};
pub use words::{Names, PlainNames, page_op_words, what_it_does};

use std::fmt;

use crate::ids::{Lsn, PageId, TxnId};
use crate::page::PageOp;
use crate::tables::TransactionEntry;

/// What ties a record to its transaction: whose it is, and that transaction's record before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransactionLink {
    /// The transaction.
    pub txn: TxnId,
    /// The transaction's record before this one; nil for its first.
    pub prev_lsn: Option<Lsn>,
}

/// How an update is undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undo<'a> {
    /// It is not: the change stays even if the transaction rolls back (a redo-only record).
    RedoOnly,
    /// By this operation on the same page.
    Physical(PageOp<'a>),
    /// By key, in whatever page of the tree that is by then (a logical undo).
    Key(KeyUndo<'a>),
}

/// A change of one page by a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Update<'a> {
    /// Whose, and its record before.
    pub link: TransactionLink,
    /// The page.
    pub page: PageId,
    /// The page's LSN before the change: redo asserts it.
    pub prev_page_lsn: Option<Lsn>,
    /// The change.
    pub op: PageOp<'a>,
    /// How to undo it.
    pub undo: Undo<'a>,
}

/// The undo of a change of a tree's cell. The page that was changed need not hold the cell any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyUndo<'a> {
    /// The tree: the page of its root.
    pub tree: PageId,
    /// The key of the cell.
    pub key: &'a [u8],
    /// What is to be done to it.
    pub action: KeyAction<'a>,
}

/// The key of the cell that an operation puts into a leaf, if it does: as it stands in a cell, behind its length. (Of other records
/// in other pages it means nothing; encoder and decoder only have to agree.)
fn own_key<'a>(op: &PageOp<'a>) -> Option<&'a [u8]> {
    let (PageOp::InsertAt { bytes, .. } | PageOp::ReplaceAt { bytes, .. }) = *op else {
        return None;
    };
    let (length, rest) = bytes.split_first_chunk()?;
    rest.get(..u16::from_le_bytes(*length).into())
}

/// What the undo of a change of a cell does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyAction<'a> {
    /// Makes it a ghost: it was inserted.
    Remove,
    /// Makes it live again: it was deleted.
    Revive,
    /// Puts bytes back into it.
    Patch {
        /// Where in the cell, in bytes from its start.
        offset: u16,
        /// The bytes.
        bytes: &'a [u8],
    },
}

/// Changes of several pages that are made together or not at all: a tree's pages are split, or taken out of it. It is
/// redo-only, and the paper's nested top action (section 9) in a single record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StructureChange<'a> {
    /// Whose, and its record before.
    pub link: TransactionLink,
    /// One change for each page, by ascending page numbers; at least one, at most [`MOST_CHANGES`].
    pub changes: Vec<PageChange<'a>>,
}

/// The undoing of one update: redone like an update, never undone itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompensationLogRecord<'a> {
    /// Whose, and its record before.
    pub link: TransactionLink,
    /// The page.
    pub page: PageId,
    /// The page's LSN before the change.
    pub prev_page_lsn: Option<Lsn>,
    /// The change that undoes.
    pub op: PageOp<'a>,
    /// The next record of the transaction to undo: the `prev_lsn` of the one undone here.
    pub undo_next_lsn: Option<Lsn>,
}

/// The transaction is committed once this record is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commit {
    /// Whose, and its record before.
    pub link: TransactionLink,
    /// Up to where the log was durable when this was appended.
    pub durable_lsn: Lsn,
    /// Wall-clock time of the commit, in microseconds since 1970.
    pub wall_time_micros: u64,
    /// Whether pages the transaction freed are still to be made free.
    pub frees_pages: bool,
}

/// The transaction began to roll back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rollback {
    /// Whose, and its record before.
    pub link: TransactionLink,
}

/// Nothing is left to do for the transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// Whose, and its record before.
    pub link: TransactionLink,
    /// Up to where the log was durable when this was appended.
    pub durable_lsn: Lsn,
}

/// The end of a nested top action (the paper's dummy CLR): what stands between it and
/// `undo_next_lsn` is not undone any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NestedTopActionEnd {
    /// Whose, and its record before.
    pub link: TransactionLink,
    /// The next record of the transaction to undo: the last one before the action.
    pub undo_next_lsn: Option<Lsn>,
}

/// A fuzzy checkpoint begins; analysis starts here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BeginCheckpoint {
    /// Up to where the log was durable when this was appended.
    pub durable_lsn: Lsn,
    /// The restart record of the run that took the checkpoint.
    pub restart_lsn: Lsn,
}

/// A part of the tables as they were at some moment after the checkpoint began.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndCheckpoint {
    /// Up to where the log was durable when this was appended.
    pub durable_lsn: Lsn,
    /// The checkpoint's begin record.
    pub begin_lsn: Lsn,
    /// No transaction with a record before the checkpoint has this number or a higher one.
    pub next_txn: TxnId,
    /// Which part this is, from 0.
    pub part: u32,
    /// How many parts there are; the checkpoint is complete with the last.
    pub parts: u32,
    /// Pages of the dirty page table with their `rec_lsn`.
    pub dirty_pages: Vec<(PageId, Lsn)>,
    /// Lines of the transaction table.
    pub transactions: Vec<(TxnId, TransactionEntry)>,
}

/// Where a run's records begin in the log, and the epoch they carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochStart {
    /// The run's restart record.
    pub lsn: Lsn,
    /// Its epoch.
    pub epoch: u64,
}

/// A new run of the database begins: all records from here on carry its epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Restart {
    /// Up to where the log was durable when this was appended: its end as the restart found it.
    pub durable_lsn: Lsn,
    /// The epoch: higher than any before.
    pub epoch: u64,
    /// The run before this one; `None` for the first.
    pub previous: Option<EpochStart>,
    /// No transaction so far has this number or a higher one.
    pub next_txn: TxnId,
}

/// A whole page as it stood when this was appended: from here on the log alone can rebuild it. It
/// belongs to no transaction, and is redone like an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageImage<'a> {
    /// The page.
    pub page: PageId,
    /// The page's LSN before.
    pub prev_page_lsn: Option<Lsn>,
    /// The image, a [`PageOp::Image`].
    pub op: PageOp<'a>,
}

/// What a record does to a page: the part of it that redo needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageChange<'a> {
    /// The page.
    pub page: PageId,
    /// The page's LSN before the change.
    pub prev_page_lsn: Option<Lsn>,
    /// The change.
    pub op: PageOp<'a>,
}

/// What a transaction has done to a key of a table, in full: for people and programs that read the log. It changes nothing; restart reads past it.
/// The changes of pages that it stands for precede it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyChange<'a> {
    /// Whose, and its record before.
    pub link: TransactionLink,
    /// Wall-clock time of the change, in microseconds since 1970.
    pub wall_time_micros: u64,
    /// The table's name.
    pub table: &'a [u8],
    /// The key.
    pub key: &'a [u8],
    /// Its value before; `None` if it had none.
    pub old: Option<ToldValue<'a>>,
    /// Its value after; `None` if it was deleted.
    pub new: Option<ToldValue<'a>>,
}

/// A value as a [`KeyChange`] tells it: its beginning, if it is long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ToldValue<'a> {
    /// How long it is, in bytes.
    pub length: u32,
    /// As many of these bytes as are told.
    pub bytes: &'a [u8],
}

/// A log record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogRecord<'a> {
    /// See [`Update`].
    Update(Update<'a>),
    /// See [`CompensationLogRecord`].
    Compensation(CompensationLogRecord<'a>),
    /// See [`Commit`].
    Commit(Commit),
    /// See [`Rollback`].
    Rollback(Rollback),
    /// See [`End`].
    End(End),
    /// See [`NestedTopActionEnd`].
    NestedTopActionEnd(NestedTopActionEnd),
    /// See [`Prepare`].
    Prepare(Prepare<'a>),
    /// See [`BeginCheckpoint`].
    BeginCheckpoint(BeginCheckpoint),
    /// See [`EndCheckpoint`].
    EndCheckpoint(EndCheckpoint),
    /// See [`Restart`].
    Restart(Restart),
    /// Fills the rest of a segment into which the next record did not fit.
    Filler,
    /// See [`PageImage`].
    PageImage(PageImage<'a>),
    /// See [`StructureChange`].
    StructureChange(StructureChange<'a>),
    /// See [`KeyChange`].
    KeyChange(KeyChange<'a>),
}

/// The names of all kinds of log record, as [`LogRecord::name`] gives them.
pub const KIND_NAMES: [&str; 14] = [
    "Update",
    "Compensation",
    "Commit",
    "Rollback",
    "End",
    "NestedTopActionEnd",
    "Prepare",
    "BeginCheckpoint",
    "EndCheckpoint",
    "Restart",
    "Filler",
    "PageImage",
    "StructureChange",
    "KeyChange",
];

impl<'a> LogRecord<'a> {
    /// What it does to pages, if it changes any: each of them once.
    pub fn page_changes(&self) -> impl Iterator<Item = PageChange<'a>> {
        let several = match self {
            Self::StructureChange(record) => &record.changes[..],
            _ => &[],
        };
        self.one_page_change().into_iter().chain(several.iter().copied())
    }

    const fn one_page_change(&self) -> Option<PageChange<'a>> {
        let (page, prev_page_lsn, op) = match self {
            Self::Update(record) => (record.page, record.prev_page_lsn, record.op),
            Self::Compensation(record) => (record.page, record.prev_page_lsn, record.op),
            Self::PageImage(record) => (record.page, record.prev_page_lsn, record.op),
            _ => return None,
        };
        Some(PageChange { page, prev_page_lsn, op })
    }

    /// What it does to this page, if it changes it.
    #[must_use]
    pub fn change_of(&self, page: PageId) -> Option<PageChange<'a>> {
        self.page_changes().find(|change| change.page == page)
    }

    /// Whether it changes a page.
    #[must_use]
    pub fn changes_pages(&self) -> bool {
        self.page_changes().next().is_some()
    }

    /// Whose record it is; `None` for checkpoints, restarts, filler and page images.
    #[must_use]
    pub fn link(&self) -> Option<TransactionLink> {
        match self {
            Self::Update(record) => Some(record.link),
            Self::Compensation(record) => Some(record.link),
            Self::Commit(record) => Some(record.link),
            Self::Rollback(record) => Some(record.link),
            Self::End(record) => Some(record.link),
            Self::NestedTopActionEnd(record) => Some(record.link),
            Self::Prepare(record) => Some(record.link),
            Self::StructureChange(record) => Some(record.link),
            Self::KeyChange(record) => Some(record.link),
            Self::BeginCheckpoint(_)
            | Self::EndCheckpoint(_)
            | Self::Restart(_)
            | Self::Filler
            | Self::PageImage(_) => None,
        }
    }

    /// Where undo goes on, if the record has a field that says so: a compensation log record, and the dummy one that ends
    /// a nested top action.
    #[must_use]
    pub fn undo_next_lsn(&self) -> Option<Lsn> {
        match self {
            Self::Compensation(record) => record.undo_next_lsn,
            Self::NestedTopActionEnd(record) => record.undo_next_lsn,
            _ => None,
        }
    }

    /// Where undo goes on, once it is done with this record.
    #[must_use]
    pub fn undo_goes_on_at(&self) -> Option<Lsn> {
        match self {
            Self::Compensation(_) | Self::NestedTopActionEnd(_) => self.undo_next_lsn(),
            other => other.link().and_then(|link| link.prev_lsn),
        }
    }

    /// Up to where the log was durable when the record was appended, if it bears witness to that.
    #[must_use]
    pub fn durable_lsn(&self) -> Option<Lsn> {
        match self {
            Self::Commit(record) => Some(record.durable_lsn),
            Self::End(record) => Some(record.durable_lsn),
            Self::Prepare(record) => Some(record.durable_lsn),
            Self::BeginCheckpoint(record) => Some(record.durable_lsn),
            Self::EndCheckpoint(record) => Some(record.durable_lsn),
            Self::Restart(record) => Some(record.durable_lsn),
            _ => None,
        }
    }

    /// Whether everything the record points to lies before it, as it must at `lsn`: so that
    /// following pointers always ends.
    #[must_use]
    pub fn points_back(&self, lsn: Lsn) -> bool {
        let before = |target: Option<Lsn>| target < Some(lsn);
        let own = match self {
            Self::Update(record) => before(record.prev_page_lsn),
            Self::Compensation(record) => {
                before(record.prev_page_lsn) && before(record.undo_next_lsn)
            }
            Self::PageImage(record) => before(record.prev_page_lsn),
            Self::StructureChange(record) => {
                record.changes.iter().all(|change| before(change.prev_page_lsn))
            }
            Self::NestedTopActionEnd(record) => before(record.undo_next_lsn),
            Self::BeginCheckpoint(record) => before(Some(record.restart_lsn)),
            Self::EndCheckpoint(record) => before(Some(record.begin_lsn)),
            Self::Restart(record) => before(record.previous.map(|run| run.lsn)),
            _ => true,
        };
        own && self.durable_lsn() <= Some(lsn) && before(self.link().and_then(|link| link.prev_lsn))
    }

    /// The kind's name, as tools print it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Update(_) => "Update",
            Self::Compensation(_) => "Compensation",
            Self::Commit(_) => "Commit",
            Self::Rollback(_) => "Rollback",
            Self::End(_) => "End",
            Self::NestedTopActionEnd(_) => "NestedTopActionEnd",
            Self::Prepare(_) => "Prepare",
            Self::BeginCheckpoint(_) => "BeginCheckpoint",
            Self::EndCheckpoint(_) => "EndCheckpoint",
            Self::Restart(_) => "Restart",
            Self::Filler => "Filler",
            Self::PageImage(_) => "PageImage",
            Self::StructureChange(_) => "StructureChange",
            Self::KeyChange(_) => "KeyChange",
        }
    }
}

impl fmt::Display for LogRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(link) = self.link() {
            write!(f, "{} ", link.txn)?;
        }
        write!(f, "{}: {}", self.name(), what_it_does(self, &PlainNames))
    }
}
