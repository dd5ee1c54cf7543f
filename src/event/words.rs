//! Events in words that somebody can follow who knows what a log is.

use std::fmt;

use super::{Event, SkipReason};
use crate::ids::TxnId;
use crate::record::{Names, PlainNames};

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PageNotDirty => "the page is not in the dirty page table",
            Self::BelowRecLsn => "the record is before the page's rec_lsn",
            Self::PageLsnNotBelow => "the page on disk has this change already",
            Self::PageDamaged => "the page is damaged and will be rebuilt as a whole",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words(&PlainNames))
    }
}

fn listed(txns: &[TxnId], names: &dyn Names) -> String {
    match txns {
        [] => "none".into(),
        _ => txns.iter().map(|txn| names.txn(*txn)).collect::<Vec<_>>().join(" "),
    }
}

/// Why undo does not undo a record of this kind.
fn passed(kind: &str) -> &'static str {
    match kind {
        "Compensation" => "a CLR",
        "NestedTopActionEnd" => "the end of a nested top action",
        "Update" => "an update that is redone only",
        _ => "which changed nothing",
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl Event {
    /// What happened, in words, with log positions and transactions called by these names.
    #[must_use]
    pub fn words(&self, names: &dyn Names) -> String {
        match self {
            Self::Appended { .. }
            | Self::Forced { .. }
            | Self::SegmentPrepared { .. }
            | Self::LogTruncated { .. }
            | Self::LogEndFound { .. }
            | Self::TailRewritten { .. } => self.log_words(names),
            Self::PageRead { .. }
            | Self::PageWritten { .. }
            | Self::PageEvicted { .. }
            | Self::PagesGrown { .. }
            | Self::PageRepaired { .. }
            | Self::PageRestored { .. }
            | Self::PageDirty { .. }
            | Self::RecLsnRaised { .. } => self.page_words(names),
            Self::Undone { .. }
            | Self::UndoPassed { .. }
            | Self::TransactionNoted { .. }
            | Self::TransactionAdvanced { .. }
            | Self::TransactionGone { .. }
            | Self::TransactionEnded { .. }
            | Self::Prepared { .. }
            | Self::InDoubt { .. } => self.transaction_words(names),
            _ => self.restart_words(names),
        }
    }

    fn log_words(&self, names: &dyn Names) -> String {
        match self {
            Self::Appended { lsn, txn, kind, page } => {
                let whose = txn.map(|txn| format!(" of {}", names.txn(txn))).unwrap_or_default();
                let page = page.map(|page| format!(", on {page}")).unwrap_or_default();
                format!("record {} is appended: {kind}{whose}{page}", names.lsn(*lsn))
            }
            Self::Forced { durable_lsn } => {
                format!("the log is forced: durable up to {}", names.lsn(*durable_lsn))
            }
            Self::SegmentPrepared { number, recycled_from: None } => {
                format!("log segment {number} is prepared")
            }
            Self::SegmentPrepared { number, recycled_from: Some(old) } => {
                format!("log segment {old} is recycled as {number}")
            }
            Self::LogTruncated { oldest_required } => {
                format!("the log is truncated: kept from {} on", names.lsn(*oldest_required))
            }
            Self::LogEndFound { end, clean: true } => {
                format!("the log ends at {}, where it was closed", names.lsn(*end))
            }
            Self::LogEndFound { end, clean: false } => {
                format!("the log ends at {}; it was not closed", names.lsn(*end))
            }
            Self::TailRewritten { from, to } => format!(
                "the tail of the log from {} to {} is written again and synced",
                names.lsn(*from),
                names.lsn(*to)
            ),
            _ => String::new(),
        }
    }

    fn page_words(&self, names: &dyn Names) -> String {
        match self {
            Self::PageRead { page } => format!("{page} is read from disk"),
            Self::PageWritten { page, page_lsn } => {
                format!("{page} is written in place, pageLSN {}", names.lsn_or_nil(*page_lsn))
            }
            Self::PageEvicted { page } => format!("{page} leaves the pool"),
            Self::PagesGrown { pages } => format!("the file of pages grows to {pages} pages"),
            Self::PageRepaired { page, from, page_lsn } => format!(
                "{page} was damaged: rebuilt from the log, from record {} to pageLSN {}",
                names.lsn(*from),
                names.lsn_or_nil(*page_lsn)
            ),
            Self::PageRestored { page, torn: true } => {
                format!("{page} was torn: restored from the double-write file")
            }
            Self::PageRestored { page, torn: false } => {
                format!("{page} is written again from the double-write file")
            }
            Self::PageDirty { page, rec_lsn, from_checkpoint, replaced } => {
                let why = match from_checkpoint {
                    true => ", as the checkpoint says",
                    false => ": that record changes it",
                };
                let rec_lsn = names.lsn(*rec_lsn);
                match replaced {
                    None => {
                        format!("{page} enters the dirty page table with rec_lsn {rec_lsn}{why}")
                    }
                    Some(same) if names.lsn(*same) == rec_lsn => {
                        format!("{page} has rec_lsn {rec_lsn} in the dirty page table{why}, too")
                    }
                    Some(old) => format!(
                        "{page} has rec_lsn {rec_lsn} in the dirty page table{why}; {} stood there",
                        names.lsn(*old)
                    ),
                }
            }
            Self::RecLsnRaised { page, page_lsn } => format!(
                "{page} on disk has all up to record {}: its rec_lsn is raised to behind it",
                names.lsn(*page_lsn)
            ),
            _ => String::new(),
        }
    }

    fn transaction_words(&self, names: &dyn Names) -> String {
        match self {
            Self::Undone { txn, lsn, clr_lsn, page, undo_next_lsn } => format!(
                "record {} of {} is undone on {page} by CLR {}, undo next {}",
                names.lsn(*lsn),
                names.txn(*txn),
                names.lsn(*clr_lsn),
                names.lsn_or_nil(*undo_next_lsn)
            ),
            Self::UndoPassed { txn, lsn, kind, undo_next_lsn } => format!(
                "record {} of {} is passed over, {}; undo next {}",
                names.lsn(*lsn),
                names.txn(*txn),
                passed(kind),
                names.lsn_or_nil(*undo_next_lsn)
            ),
            Self::TransactionNoted { txn, state, last_lsn, undo_next_lsn, from_checkpoint } => {
                format!(
                    "{} is {state} in the transaction table{}: last record {}, undo next {}",
                    names.txn(*txn),
                    if *from_checkpoint { ", as the checkpoint says" } else { "" },
                    names.lsn_or_nil(*last_lsn),
                    names.lsn_or_nil(*undo_next_lsn)
                )
            }
            Self::TransactionAdvanced { txn, last_lsn, undo_next_lsn } => format!(
                "{} has another record, {}; undo next {}",
                names.txn(*txn),
                names.lsn(*last_lsn),
                names.lsn_or_nil(*undo_next_lsn)
            ),
            Self::TransactionGone { txn, lsn } => format!(
                "{} leaves the transaction table: record {} is its end",
                names.txn(*txn),
                names.lsn(*lsn)
            ),
            Self::TransactionEnded { txn } => {
                format!("{} ends: nothing is left to do for it", names.txn(*txn))
            }
            Self::Prepared { txn, global_id, prepare_lsn } => format!(
                "{} is prepared as \"{}\" by record {}: in doubt until it is decided upon",
                names.txn(*txn),
                global_id.escape_ascii(),
                names.lsn(*prepare_lsn)
            ),
            Self::InDoubt { txn, global_id, prepare_lsn, locks } => format!(
                "{} is in doubt, prepared as \"{}\" by record {}: it holds its {} again",
                names.txn(*txn),
                global_id.escape_ascii(),
                names.lsn(*prepare_lsn),
                counted(*locks, "lock")
            ),
            _ => String::new(),
        }
    }

    fn restart_words(&self, names: &dyn Names) -> String {
        match self {
            Self::CheckpointBegan { begin_lsn } => {
                format!("a checkpoint begins at {}", names.lsn(*begin_lsn))
            }
            Self::CheckpointEnded { begin_lsn, dirty_pages, transactions, redo_lsn } => format!(
                "the checkpoint from {} is complete: {}, {}; redo would begin at {}",
                names.lsn(*begin_lsn),
                counted(*dirty_pages, "dirty page"),
                counted(*transactions, "transaction"),
                names.lsn(*redo_lsn)
            ),
            Self::CacheDropped { marked: true } => {
                "a write or sync had failed: files are synced, the page cache is dropped".into()
            }
            Self::CacheDropped { marked: false } => {
                "the page cache may show what is not durable: files are synced, the cache is dropped"
                    .into()
            }
            Self::AnalysisBegan { from } => {
                format!("analysis begins, at the last checkpoint, {}", names.lsn(*from))
            }
            Self::AnalysisEnded { dirty_pages, losers, committed, in_doubt } => format!(
                "analysis ends: {}; losers: {}; committed without an end record: {}; in doubt: {}",
                counted(*dirty_pages, "dirty page"),
                listed(losers, names),
                listed(committed, names),
                listed(in_doubt, names)
            ),
            Self::RedoBegan { from } => {
                format!("redo begins, at the smallest rec_lsn, {}", names.lsn(*from))
            }
            Self::Redone { lsn, page } => {
                format!("record {} is redone on {page}, which lacked it", names.lsn(*lsn))
            }
            Self::RedoSkipped { lsn, page, reason } => {
                format!("record {} is not redone on {page}: {reason}", names.lsn(*lsn))
            }
            Self::RedoEnded { redone } => format!("redo ends: records applied again: {redone}"),
            Self::UndoBegan { losers: 0 } => "undo has nothing to do: no losers".into(),
            Self::UndoBegan { losers } => format!("undo begins: {}", counted(*losers, "loser")),
            Self::Opened => "restart is done; the database is open".into(),
            _ => String::new(),
        }
    }
}
