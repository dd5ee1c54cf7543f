//! Everything that a person may want to see the engine do, told once.
//!
//! Whoever performs an action emits its [`Event`]; whoever wants to know implements [`Observer`].
//! Without an observer an event costs one test of a pointer, and is not even built.

use std::fmt;

use crate::ids::{Lsn, PageId, TxnId};
use crate::sync::Arc;

/// Why redo left a page as it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SkipReason {
    /// The page is not in the dirty page table: it was on disk before the checkpoint.
    PageNotDirty,
    /// The record is older than the page's `rec_lsn`: its effect is on disk.
    BelowRecLsn,
    /// The page on disk carries this record's LSN or a later one: its effect is there.
    PageLsnNotBelow,
    /// The page is damaged on disk, or a write of it was lost: it is rebuilt from the log as a whole.
    PageDamaged,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PageNotDirty => "the page is not in the dirty page table",
            Self::BelowRecLsn => "the record is older than the page's rec_lsn",
            Self::PageLsnNotBelow => "the page on disk has this change already",
            Self::PageDamaged => "the page is damaged and will be rebuilt as a whole",
        })
    }
}

/// Something the engine did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A log record was appended.
    Appended {
        /// Its LSN.
        lsn: Lsn,
        /// Whose; `None` for checkpoints and restarts.
        txn: Option<TxnId>,
        /// The kind of record.
        kind: &'static str,
        /// The page it changes, if it does.
        page: Option<PageId>,
    },
    /// The log was made durable up to here.
    Forced {
        /// The first byte that is not durable.
        durable_lsn: Lsn,
    },
    /// A log segment is ready to be used.
    SegmentPrepared {
        /// Its number.
        number: u64,
        /// The segment it was before, if it was recycled.
        recycled_from: Option<u64>,
    },
    /// The log before this is not kept any more.
    LogTruncated {
        /// The oldest LSN that somebody may need.
        oldest_required: Lsn,
    },
    /// A page was read from disk into a frame.
    PageRead {
        /// The page.
        page: PageId,
    },
    /// A page was written in place; it is durable.
    PageWritten {
        /// The page.
        page: PageId,
        /// Its LSN as it was written.
        page_lsn: Option<Lsn>,
    },
    /// A page left the pool.
    PageEvicted {
        /// The page.
        page: PageId,
    },
    /// The file `pages` grew.
    PagesGrown {
        /// Pages in the file now.
        pages: u64,
    },
    /// A checkpoint began.
    CheckpointBegan {
        /// Its begin record.
        begin_lsn: Lsn,
    },
    /// A checkpoint is complete, and the master record points at it.
    CheckpointEnded {
        /// Its begin record.
        begin_lsn: Lsn,
        /// Dirty pages in it.
        dirty_pages: usize,
        /// Transactions in it.
        transactions: usize,
        /// Where redo would begin.
        redo_lsn: Lsn,
    },
    /// Restart found the end of the log.
    LogEndFound {
        /// The end.
        end: Lsn,
        /// Whether the database had been closed cleanly.
        clean: bool,
    },
    /// What the page cache shows was not believed: everything was synced, and the cache dropped.
    CacheDropped {
        /// Whether a run before had stopped after a failed write or sync, and left its mark.
        marked: bool,
    },
    /// The tail of the log was written again and synced, because the page cache may have shown
    /// bytes that were not on the disk.
    TailRewritten {
        /// From here.
        from: Lsn,
        /// To here.
        to: Lsn,
    },
    /// A page of the newest double-write batch was written in place again.
    PageRestored {
        /// The page.
        page: PageId,
        /// Whether its copy in place was torn or lost.
        torn: bool,
    },
    /// A page that was damaged on disk was rebuilt from the log; it is durable in place.
    PageRepaired {
        /// The page.
        page: PageId,
        /// The record that it begins with.
        from: Lsn,
        /// Its LSN now.
        page_lsn: Option<Lsn>,
    },
    /// Analysis begins.
    AnalysisBegan {
        /// At the begin record of the last complete checkpoint.
        from: Lsn,
    },
    /// Analysis put a page into the dirty page table.
    PageDirty {
        /// The page.
        page: PageId,
        /// Its `rec_lsn`.
        rec_lsn: Lsn,
        /// Whether a checkpoint said so, or a record dirtied it.
        from_checkpoint: bool,
    },
    /// Analysis is done.
    AnalysisEnded {
        /// Pages in the dirty page table.
        dirty_pages: usize,
        /// Transactions that must be undone.
        losers: Vec<TxnId>,
        /// Transactions that committed but have no end record.
        committed: Vec<TxnId>,
        /// Transactions that are prepared and neither committed nor rolled back.
        in_doubt: Vec<TxnId>,
    },
    /// Redo begins.
    RedoBegan {
        /// At the smallest `rec_lsn`.
        from: Lsn,
    },
    /// A record was applied to its page again.
    Redone {
        /// The record.
        lsn: Lsn,
        /// The page.
        page: PageId,
    },
    /// A record was not applied.
    RedoSkipped {
        /// The record.
        lsn: Lsn,
        /// The page.
        page: PageId,
        /// Why.
        reason: SkipReason,
    },
    /// Redo is done: history is repeated.
    RedoEnded {
        /// Records applied.
        redone: u64,
    },
    /// Undo begins.
    UndoBegan {
        /// Transactions to undo.
        losers: usize,
    },
    /// An update was undone.
    Undone {
        /// Whose.
        txn: TxnId,
        /// The update.
        lsn: Lsn,
        /// The compensation log record.
        clr_lsn: Lsn,
        /// The page.
        page: PageId,
        /// The next record to undo.
        undo_next_lsn: Option<Lsn>,
    },
    /// A transaction's end record was written: nothing is left to do for it.
    TransactionEnded {
        /// The transaction.
        txn: TxnId,
    },
    /// A transaction is prepared, durably: from now on it is in doubt.
    Prepared {
        /// The transaction.
        txn: TxnId,
        /// By what name it will be decided upon.
        global_id: Vec<u8>,
        /// The prepare record, or its last part.
        prepare_lsn: Lsn,
    },
    /// Restart found a transaction in doubt, and holds its locks again.
    InDoubt {
        /// The transaction.
        txn: TxnId,
        /// By what name it will be decided upon.
        global_id: Vec<u8>,
        /// The prepare record, or its last part.
        prepare_lsn: Lsn,
        /// How many locks it holds.
        locks: usize,
    },
    /// Restart is done; the database is open.
    Opened,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appended { .. }
            | Self::Forced { .. }
            | Self::SegmentPrepared { .. }
            | Self::LogTruncated { .. } => self.fmt_log(f),
            Self::PageRead { .. }
            | Self::PageWritten { .. }
            | Self::PageEvicted { .. }
            | Self::PagesGrown { .. }
            | Self::PageRepaired { .. }
            | Self::PageRestored { .. } => self.fmt_page(f),
            Self::Undone { .. }
            | Self::TransactionEnded { .. }
            | Self::Prepared { .. }
            | Self::InDoubt { .. } => self.fmt_transaction(f),
            _ => self.fmt_restart(f),
        }
    }
}

fn nil(lsn: Option<Lsn>) -> String {
    lsn.map_or_else(|| "nil".into(), |lsn| lsn.to_string())
}

fn names(txns: &[TxnId]) -> String {
    match txns {
        [] => "none".into(),
        _ => txns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}

impl Event {
    fn fmt_log(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appended { lsn, txn, kind, page } => {
                write!(f, "log {lsn}: ")?;
                if let Some(txn) = txn {
                    write!(f, "{txn} ")?;
                }
                f.write_str(kind)?;
                page.map_or(Ok(()), |page| write!(f, " of {page}"))
            }
            Self::Forced { durable_lsn } => write!(f, "log forced: durable up to {durable_lsn}"),
            Self::SegmentPrepared { number, recycled_from: None } => {
                write!(f, "log segment {number} prepared")
            }
            Self::SegmentPrepared { number, recycled_from: Some(old) } => {
                write!(f, "log segment {old} recycled as {number}")
            }
            Self::LogTruncated { oldest_required } => {
                write!(f, "log truncated: kept from {oldest_required} on")
            }
            _ => Ok(()),
        }
    }

    fn fmt_page(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageRead { page } => write!(f, "{page} read"),
            Self::PageWritten { page, page_lsn } => {
                write!(f, "{page} written, pageLSN {}", nil(*page_lsn))
            }
            Self::PageEvicted { page } => write!(f, "{page} evicted"),
            Self::PagesGrown { pages } => write!(f, "the file of pages grew to {pages} pages"),
            Self::PageRepaired { page, from, page_lsn } => write!(
                f,
                "{page} was damaged: rebuilt from the log, from record {from} to pageLSN {}",
                nil(*page_lsn)
            ),
            Self::PageRestored { page, torn: true } => {
                write!(f, "{page} was torn: restored from the double-write file")
            }
            Self::PageRestored { page, torn: false } => {
                write!(f, "{page} written again from the double-write file")
            }
            _ => Ok(()),
        }
    }

    fn fmt_transaction(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undone { txn, lsn, clr_lsn, page, undo_next_lsn } => write!(
                f,
                "{txn}: {lsn} undone on {page} by compensation record {clr_lsn}, undo next {}",
                nil(*undo_next_lsn)
            ),
            Self::TransactionEnded { txn } => write!(f, "{txn} ended"),
            Self::Prepared { txn, global_id, prepare_lsn } => write!(
                f,
                "{txn} is prepared as \"{}\" by record {prepare_lsn}: in doubt until it is decided upon",
                global_id.escape_ascii()
            ),
            Self::InDoubt { txn, global_id, prepare_lsn, locks } => write!(
                f,
                "{txn} is in doubt, prepared as \"{}\" by record {prepare_lsn}; it holds its {locks} \
                 locks again",
                global_id.escape_ascii()
            ),
            _ => Ok(()),
        }
    }

    fn fmt_restart(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CheckpointBegan { begin_lsn } => write!(f, "checkpoint begins at {begin_lsn}"),
            Self::CheckpointEnded { begin_lsn, dirty_pages, transactions, redo_lsn } => write!(
                f,
                "checkpoint {begin_lsn} complete: {dirty_pages} dirty pages, {transactions} \
                 transactions, redo would begin at {redo_lsn}"
            ),
            Self::LogEndFound { end, clean: true } => {
                write!(f, "the log ends at {end}, as it was closed")
            }
            Self::LogEndFound { end, clean: false } => {
                write!(f, "the log ends at {end}; it was not closed")
            }
            Self::CacheDropped { marked: true } => {
                f.write_str("a write or sync had failed: files synced, page cache dropped")
            }
            Self::CacheDropped { marked: false } => f.write_str(
                "what the page cache shows may not be durable: files synced, cache dropped",
            ),
            Self::TailRewritten { from, to } => {
                write!(f, "log tail from {from} to {to} written again and synced")
            }
            Self::AnalysisBegan { from } => write!(f, "analysis begins at checkpoint {from}"),
            Self::PageDirty { page, rec_lsn, from_checkpoint: true } => {
                write!(f, "{page} was dirty since {rec_lsn}, says the checkpoint")
            }
            Self::PageDirty { page, rec_lsn, from_checkpoint: false } => {
                write!(f, "{page} was dirtied by record {rec_lsn}")
            }
            Self::AnalysisEnded { dirty_pages, losers, committed, in_doubt } => write!(
                f,
                "analysis ends: {dirty_pages} dirty pages; losers: {}; committed without an end \
                 record: {}; in doubt: {}",
                names(losers),
                names(committed),
                names(in_doubt)
            ),
            Self::RedoBegan { from } => write!(f, "redo begins at {from}"),
            Self::Redone { lsn, page } => write!(f, "redone {lsn} on {page}"),
            Self::RedoSkipped { lsn, page, reason } => {
                write!(f, "skipped {lsn} on {page}: {reason}")
            }
            Self::RedoEnded { redone } => write!(f, "redo ends: {redone} records applied"),
            Self::UndoBegan { losers } => write!(f, "undo begins: {losers} losers"),
            Self::Opened => f.write_str("restart is done; the database is open"),
            _ => Ok(()),
        }
    }
}

/// Somebody who wants to see what the engine does. Called by the thread that does it, sometimes
/// with a page latched: it must not call the engine, and should be quick.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}

/// The observer of a database, if it has one.
#[derive(Clone, Default)]
pub struct Observers(Option<Arc<dyn Observer>>);

impl Observers {
    /// With this observer.
    #[must_use]
    pub fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        Self(observer)
    }

    /// Tells the observer; the event is not even built when there is none.
    #[inline]
    pub fn emit(&self, event: impl FnOnce() -> Event) {
        if let Some(observer) = &self.0 {
            observer.event(&event());
        }
    }
}
