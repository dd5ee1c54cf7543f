//! What a restart found and did.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::SkipReason;
use crate::ids::{Lsn, TxnId};

/// What analysis found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnalysisReport {
    /// Where it began: the begin record of the last complete checkpoint.
    pub from: Lsn,
    /// Where the log ends.
    pub end: Lsn,
    /// Log records read.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Pages in the dirty page table.
    pub dirty_pages: usize,
    /// Transactions to undo.
    pub losers: Vec<TxnId>,
    /// Transactions that committed but had no end record.
    pub committed: Vec<TxnId>,
    /// Transactions in doubt: prepared, and neither committed nor rolled back. They still are.
    pub in_doubt: Vec<TxnId>,
    /// How long it took.
    pub duration: Duration,
}

/// What redo did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RedoReport {
    /// Where it began: the smallest `rec_lsn`; `None` if no page was dirty.
    pub from: Option<Lsn>,
    /// Log records read.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Records applied.
    pub redone: u64,
    /// Records not applied, by reason.
    pub skipped: BTreeMap<SkipReason, u64>,
    /// Pages read from disk.
    pub pages_read: u64,
    /// Pages that were damaged, or a write of which was lost, and that were rebuilt as a whole.
    pub pages_repaired: u64,
    /// How long it took.
    pub duration: Duration,
}

/// What undo did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UndoReport {
    /// The restart record: the first of this run.
    pub restart_lsn: Lsn,
    /// Transactions undone.
    pub losers: usize,
    /// Compensation log records written.
    pub compensations: u64,
    /// End records written.
    pub ended: usize,
    /// The earliest record that was looked at; `None` if nothing was to undo.
    pub back_to: Option<Lsn>,
    /// How long it took.
    pub duration: Duration,
}

/// What a restart found and did, phase by phase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestartReport {
    /// Whether the database had been closed cleanly.
    pub clean: bool,
    /// The epoch of the run that this restart began.
    pub epoch: u64,
    /// Bytes of the log's tail that were written again.
    pub tail_rewritten: u64,
    /// Pages written again from the newest double-write batch.
    pub pages_rewritten: usize,
    /// Of them, those that were torn in place.
    pub pages_torn: usize,
    /// The first phase.
    pub analysis: AnalysisReport,
    /// The second phase.
    pub redo: RedoReport,
    /// The third phase.
    pub undo: UndoReport,
    /// The checkpoint at the end.
    pub checkpoint_lsn: Lsn,
    /// How long it took in all.
    pub duration: Duration,
}
