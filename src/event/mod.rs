//! Everything that a person may want to see the engine do, told once.
//!
//! Whoever performs an action emits its [`Event`]; whoever wants to know implements [`Observer`].
//! Without an observer an event costs one test of a pointer, and is not even built.
//!
//! Each event is told in three ways, and no program has words of its own for it:
//!
//! ```text
//!   for people      Display, Event::words        "record 000000004160 is redone on P3, …"
//!   for students    Event::paper_section, why    "6.2", and the reason for doing so
//!   for programs    Event::name, fields          "redone" { lsn: 4160, page: 3 }
//! ```
//!
//! Invariants:
//! - a name, and the names of the fields, never change their meaning: programs read them;
//! - an event has all its fields, also those that are nil.

mod fields;
#[cfg(feature = "cli")]
mod json;
mod paper;
#[cfg(test)]
mod tests;
mod words;

pub use fields::Field;
pub use paper::Phase;

use crate::ids::{Lsn, PageId, TxnId};
use crate::sync::Arc;
use crate::tables::TransactionState;

/// Why redo left a page as it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SkipReason {
    /// The page is not in the dirty page table: it was on disk before the checkpoint.
    PageNotDirty,
    /// The record is before the page's `rec_lsn`: its effect is on disk.
    BelowRecLsn,
    /// The page on disk carries this record's LSN or a later one: its effect is there.
    PageLsnNotBelow,
    /// The page is damaged on disk, or a write of it was lost: it is rebuilt from the log as a whole.
    PageDamaged,
}

impl SkipReason {
    /// All reasons, in their order.
    pub const ALL: [Self; 4] =
        [Self::PageNotDirty, Self::BelowRecLsn, Self::PageLsnNotBelow, Self::PageDamaged];

    /// Its name, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PageNotDirty => "page_not_dirty",
            Self::BelowRecLsn => "below_rec_lsn",
            Self::PageLsnNotBelow => "page_lsn_not_below",
            Self::PageDamaged => "page_damaged",
        }
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
    /// Analysis put a page into the dirty page table, or changed its line there.
    PageDirty {
        /// The page.
        page: PageId,
        /// Its `rec_lsn`.
        rec_lsn: Lsn,
        /// Whether a checkpoint said so, or a record dirtied it.
        from_checkpoint: bool,
        /// The `rec_lsn` that stood there before.
        replaced: Option<Lsn>,
    },
    /// Analysis put a transaction into the transaction table, or changed its state there.
    TransactionNoted {
        /// The transaction.
        txn: TxnId,
        /// Where it stands.
        state: TransactionState,
        /// Its latest record so far.
        last_lsn: Option<Lsn>,
        /// The next record to undo, so far.
        undo_next_lsn: Option<Lsn>,
        /// Whether a checkpoint said so, or its own record.
        from_checkpoint: bool,
    },
    /// Analysis read another record of a transaction in the table, whose state it does not change.
    TransactionAdvanced {
        /// The transaction.
        txn: TxnId,
        /// That record, its latest so far.
        last_lsn: Lsn,
        /// The next record to undo, so far.
        undo_next_lsn: Option<Lsn>,
    },
    /// Analysis took a transaction out of the transaction table.
    TransactionGone {
        /// The transaction.
        txn: TxnId,
        /// Its end record.
        lsn: Lsn,
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
    /// Redo found that a page has more on disk than its `rec_lsn` says, and raised that.
    RecLsnRaised {
        /// The page.
        page: PageId,
        /// Its pageLSN: nothing up to there needs to be redone.
        page_lsn: Lsn,
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
    /// Undo came to a record that it does not undo.
    UndoPassed {
        /// Whose.
        txn: TxnId,
        /// The record.
        lsn: Lsn,
        /// The kind of record.
        kind: &'static str,
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
