//! Events for programs: a stable name and typed fields.

use super::Event;
use crate::ids::{Lsn, PageId, TxnId};

/// The value of a field of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Field<'a> {
    /// A log position, or nil.
    Lsn(Option<Lsn>),
    /// A page, if there is one.
    Page(Option<PageId>),
    /// A transaction, if there is one.
    Txn(Option<TxnId>),
    /// Transactions.
    Txns(&'a [TxnId]),
    /// A count, or a number of something that has no type of its own; or none.
    Number(Option<u64>),
    /// Whether something is so.
    Flag(bool),
    /// One of a closed set of words.
    Word(&'static str),
    /// Bytes that a user chose.
    Bytes(&'a [u8]),
}

impl From<Lsn> for Field<'_> {
    fn from(lsn: Lsn) -> Self {
        Self::Lsn(Some(lsn))
    }
}

impl From<PageId> for Field<'_> {
    fn from(page: PageId) -> Self {
        Self::Page(Some(page))
    }
}

impl From<TxnId> for Field<'_> {
    fn from(txn: TxnId) -> Self {
        Self::Txn(Some(txn))
    }
}

impl From<u64> for Field<'_> {
    fn from(number: u64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<usize> for Field<'_> {
    fn from(number: usize) -> Self {
        Self::Number(Some(number as u64))
    }
}

/// A name and a value.
type Named<'a> = (&'static str, Field<'a>);

impl Event {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Appended { .. } => "appended",
            Self::Forced { .. } => "forced",
            Self::SegmentPrepared { .. } => "segment_prepared",
            Self::LogTruncated { .. } => "log_truncated",
            Self::PageRead { .. } => "page_read",
            Self::PageWritten { .. } => "page_written",
            Self::PageEvicted { .. } => "page_evicted",
            Self::PagesGrown { .. } => "pages_grown",
            Self::CheckpointBegan { .. } => "checkpoint_began",
            Self::CheckpointEnded { .. } => "checkpoint_ended",
            Self::LogEndFound { .. } => "log_end_found",
            Self::CacheDropped { .. } => "cache_dropped",
            Self::TailRewritten { .. } => "tail_rewritten",
            Self::PageRestored { .. } => "page_restored",
            Self::PageRepaired { .. } => "page_repaired",
            Self::AnalysisBegan { .. } => "analysis_began",
            Self::PageDirty { .. } => "page_dirty",
            Self::TransactionNoted { .. } => "transaction_noted",
            Self::TransactionAdvanced { .. } => "transaction_advanced",
            Self::TransactionGone { .. } => "transaction_gone",
            Self::RecLsnRaised { .. } => "rec_lsn_raised",
            Self::UndoPassed { .. } => "undo_passed",
            Self::AnalysisEnded { .. } => "analysis_ended",
            Self::RedoBegan { .. } => "redo_began",
            Self::Redone { .. } => "redone",
            Self::RedoSkipped { .. } => "redo_skipped",
            Self::RedoEnded { .. } => "redo_ended",
            Self::UndoBegan { .. } => "undo_began",
            Self::Undone { .. } => "undone",
            Self::TransactionEnded { .. } => "transaction_ended",
            Self::Prepared { .. } => "prepared",
            Self::InDoubt { .. } => "in_doubt",
            Self::Opened => "opened",
        }
    }

    /// Its fields, in a fixed order; they are called as in the variants of [`Event`].
    #[must_use]
    pub fn fields(&self) -> Vec<Named<'_>> {
        match *self {
            Self::Appended { lsn, txn, kind, page } => vec![
                ("lsn", lsn.into()),
                ("txn", Field::Txn(txn)),
                ("kind", Field::Word(kind)),
                ("page", Field::Page(page)),
            ],
            Self::Forced { durable_lsn } => vec![("durable_lsn", durable_lsn.into())],
            Self::SegmentPrepared { number, recycled_from } => {
                vec![("number", number.into()), ("recycled_from", Field::Number(recycled_from))]
            }
            Self::LogTruncated { oldest_required } => {
                vec![("oldest_required", oldest_required.into())]
            }
            Self::CheckpointBegan { begin_lsn } => vec![("begin_lsn", begin_lsn.into())],
            Self::CheckpointEnded { begin_lsn, dirty_pages, transactions, redo_lsn } => vec![
                ("begin_lsn", begin_lsn.into()),
                ("dirty_pages", dirty_pages.into()),
                ("transactions", transactions.into()),
                ("redo_lsn", redo_lsn.into()),
            ],
            _ => self.fields_of_transactions(),
        }
    }

    fn fields_of_transactions(&self) -> Vec<Named<'_>> {
        match *self {
            Self::TransactionEnded { txn } => vec![("txn", txn.into())],
            Self::Undone { txn, lsn, clr_lsn, page, undo_next_lsn } => vec![
                ("txn", txn.into()),
                ("lsn", lsn.into()),
                ("clr_lsn", clr_lsn.into()),
                ("page", page.into()),
                ("undo_next_lsn", Field::Lsn(undo_next_lsn)),
            ],
            Self::UndoPassed { txn, lsn, kind, undo_next_lsn } => vec![
                ("txn", txn.into()),
                ("lsn", lsn.into()),
                ("kind", Field::Word(kind)),
                ("undo_next_lsn", Field::Lsn(undo_next_lsn)),
            ],
            Self::TransactionNoted { txn, state, last_lsn, undo_next_lsn, from_checkpoint } => {
                vec![
                    ("txn", txn.into()),
                    ("state", Field::Word(state.name())),
                    ("last_lsn", Field::Lsn(last_lsn)),
                    ("undo_next_lsn", Field::Lsn(undo_next_lsn)),
                    ("from_checkpoint", Field::Flag(from_checkpoint)),
                ]
            }
            Self::TransactionAdvanced { txn, last_lsn, undo_next_lsn } => vec![
                ("txn", txn.into()),
                ("last_lsn", last_lsn.into()),
                ("undo_next_lsn", Field::Lsn(undo_next_lsn)),
            ],
            Self::TransactionGone { txn, lsn } => vec![("txn", txn.into()), ("lsn", lsn.into())],
            Self::Prepared { txn, ref global_id, prepare_lsn } => vec![
                ("txn", txn.into()),
                ("global_id", Field::Bytes(global_id)),
                ("prepare_lsn", prepare_lsn.into()),
            ],
            Self::InDoubt { txn, ref global_id, prepare_lsn, locks } => vec![
                ("txn", txn.into()),
                ("global_id", Field::Bytes(global_id)),
                ("prepare_lsn", prepare_lsn.into()),
                ("locks", locks.into()),
            ],
            _ => self.fields_of_pages_and_restart(),
        }
    }

    fn fields_of_pages_and_restart(&self) -> Vec<Named<'_>> {
        match *self {
            Self::PageRead { page } | Self::PageEvicted { page } => vec![("page", page.into())],
            Self::PageWritten { page, page_lsn } => {
                vec![("page", page.into()), ("page_lsn", Field::Lsn(page_lsn))]
            }
            Self::PagesGrown { pages } => vec![("pages", pages.into())],
            Self::PageRestored { page, torn } => {
                vec![("page", page.into()), ("torn", Field::Flag(torn))]
            }
            Self::PageRepaired { page, from, page_lsn } => vec![
                ("page", page.into()),
                ("from", from.into()),
                ("page_lsn", Field::Lsn(page_lsn)),
            ],
            Self::PageDirty { page, rec_lsn, from_checkpoint, replaced } => vec![
                ("page", page.into()),
                ("rec_lsn", rec_lsn.into()),
                ("from_checkpoint", Field::Flag(from_checkpoint)),
                ("replaced", Field::Lsn(replaced)),
            ],
            Self::RecLsnRaised { page, page_lsn } => {
                vec![("page", page.into()), ("page_lsn", page_lsn.into())]
            }
            Self::LogEndFound { end, clean } => {
                vec![("end", end.into()), ("clean", Field::Flag(clean))]
            }
            Self::CacheDropped { marked } => vec![("marked", Field::Flag(marked))],
            Self::TailRewritten { from, to } => vec![("from", from.into()), ("to", to.into())],
            Self::AnalysisBegan { from } | Self::RedoBegan { from } => vec![("from", from.into())],
            Self::AnalysisEnded { dirty_pages, ref losers, ref committed, ref in_doubt } => vec![
                ("dirty_pages", dirty_pages.into()),
                ("losers", Field::Txns(losers)),
                ("committed", Field::Txns(committed)),
                ("in_doubt", Field::Txns(in_doubt)),
            ],
            Self::Redone { lsn, page } => vec![("lsn", lsn.into()), ("page", page.into())],
            Self::RedoSkipped { lsn, page, reason } => vec![
                ("lsn", lsn.into()),
                ("page", page.into()),
                ("reason", Field::Word(reason.name())),
            ],
            Self::RedoEnded { redone } => vec![("redone", redone.into())],
            Self::UndoBegan { losers } => vec![("losers", losers.into())],
            _ => Vec::new(),
        }
    }
}
