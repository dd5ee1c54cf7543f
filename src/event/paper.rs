//! Where the paper tells of an event, in which phase of restart it belongs, and why it is done.

use std::fmt;

use super::{Event, SkipReason};

/// A phase of restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Before analysis: only what the page cache shows may have to be dropped.
    Opening,
    /// What was going on when the log ends.
    Analysis,
    /// What was read is made durable; history is repeated.
    Redo,
    /// Losers are undone; a checkpoint follows.
    Undo,
}

impl Phase {
    /// Its name, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Analysis => "analysis",
            Self::Redo => "redo",
            Self::Undo => "undo",
        }
    }

    /// What it does, in one line.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Opening => "makes certain that the disk has what the page cache shows",
            Self::Analysis => "reads the log from the last checkpoint: what was going on?",
            Self::Redo => "repeats history: every change that a page lacks, the losers' too",
            Self::Undo => "takes back, latest first, what transactions did that never committed",
        }
    }

    /// The section of the paper that tells of it.
    #[must_use]
    pub const fn paper_section(self) -> Option<&'static str> {
        match self {
            Self::Opening => None,
            Self::Analysis => Some("6.1"),
            Self::Redo => Some("6.2"),
            Self::Undo => Some("6.3"),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Event {
    /// The phase of restart that this belongs to, or begins. `None` for what happens at any time: in a
    /// restart it belongs to the phase that the events before it say.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        match self {
            Self::CacheDropped { .. } => Some(Phase::Opening),
            Self::AnalysisBegan { .. }
            | Self::LogEndFound { .. }
            | Self::PageDirty { .. }
            | Self::AnalysisEnded { .. } => Some(Phase::Analysis),
            Self::TailRewritten { .. }
            | Self::PageRestored { .. }
            | Self::RedoBegan { .. }
            | Self::Redone { .. }
            | Self::RedoSkipped { .. }
            | Self::RedoEnded { .. } => Some(Phase::Redo),
            // The run that undoes begins with its restart record.
            Self::Appended { kind: "Restart", .. }
            | Self::UndoBegan { .. }
            | Self::InDoubt { .. }
            | Self::Opened => Some(Phase::Undo),
            Self::Appended { .. }
            | Self::Forced { .. }
            | Self::SegmentPrepared { .. }
            | Self::LogTruncated { .. }
            | Self::PageRead { .. }
            | Self::PageWritten { .. }
            | Self::PageEvicted { .. }
            | Self::PagesGrown { .. }
            | Self::PageRepaired { .. }
            | Self::CheckpointBegan { .. }
            | Self::CheckpointEnded { .. }
            | Self::Undone { .. }
            | Self::TransactionEnded { .. }
            | Self::Prepared { .. } => None,
        }
    }

    /// The section of the ARIES paper that tells of it; `None` for what the paper leaves to others.
    #[must_use]
    pub const fn paper_section(&self) -> Option<&'static str> {
        match self {
            Self::Appended { .. } => Some("4.1"),
            Self::Forced { .. } | Self::PageWritten { .. } => Some("1.4"),
            Self::CheckpointBegan { .. } | Self::CheckpointEnded { .. } => Some("5.4"),
            Self::LogEndFound { .. }
            | Self::AnalysisBegan { .. }
            | Self::PageDirty { .. }
            | Self::AnalysisEnded { .. }
            | Self::InDoubt { .. } => Some("6.1"),
            Self::RedoBegan { .. }
            | Self::Redone { .. }
            | Self::RedoSkipped { .. }
            | Self::RedoEnded { .. } => Some("6.2"),
            Self::UndoBegan { .. } => Some("6.3"),
            Self::Undone { .. } => Some("5.2"),
            Self::TransactionEnded { .. } | Self::Prepared { .. } => Some("5.3"),
            Self::PageRepaired { .. } => Some("8"),
            Self::SegmentPrepared { .. }
            | Self::LogTruncated { .. }
            | Self::PageRead { .. }
            | Self::PageEvicted { .. }
            | Self::PagesGrown { .. }
            | Self::CacheDropped { .. }
            | Self::TailRewritten { .. }
            | Self::PageRestored { .. }
            | Self::Opened => None,
        }
    }

    /// Why it is done, or why so: for whoever reads along for the first time. `None` where the words
    /// say enough.
    #[must_use]
    pub const fn why(&self) -> Option<&'static str> {
        Some(match self {
            Self::Forced { .. } => {
                "No page may reach the disk, and no commit be acknowledged, before its log has."
            }
            Self::LogTruncated { .. } => {
                "Neither redo of a dirty page nor undo of a living transaction needs what is older."
            }
            Self::CacheDropped { .. } => {
                "After a failed sync the kernel may show bytes that a power failure would take away."
            }
            Self::TailRewritten { .. } => {
                "Restart decides by what it read; a kill may have left that in the page cache only."
            }
            Self::PageRestored { .. } => {
                "The last writes in place may be torn or not durable; the batch has them whole."
            }
            Self::PageRepaired { .. } => {
                "A record that makes the page anew, and all its later records, say all that is in it."
            }
            Self::CheckpointEnded { .. } => {
                "The next restart begins to read here. It stopped nobody, and wrote no page."
            }
            other => return other.why_in_restart(),
        })
    }

    const fn why_in_restart(&self) -> Option<&'static str> {
        Some(match self {
            Self::AnalysisBegan { .. } => {
                "The checkpoint has both tables as they were; records after it bring them up to date."
            }
            Self::LogEndFound { clean: false, .. } => {
                "Here no valid record begins; nothing behind it bears witness that one had been durable."
            }
            Self::PageDirty { from_checkpoint: true, .. } => {
                "No record before its rec_lsn needs to be redone on it: those changes are on disk."
            }
            Self::PageDirty { from_checkpoint: false, .. } => {
                "It may have been written since: only its pageLSN, read in redo, will tell."
            }
            Self::AnalysisEnded { .. } => {
                "Losers have neither a commit nor an end record: what they did must be undone."
            }
            Self::RedoBegan { .. } => "Every change before it is on disk.",
            Self::Redone { .. } => {
                "Its pageLSN is below the record's LSN, so it was not written after this change."
            }
            Self::RedoSkipped { reason, .. } => match reason {
                SkipReason::PageNotDirty => {
                    "It was written after its last change: no need even to read the page."
                }
                SkipReason::BelowRecLsn => {
                    "It was written after this change, before it became dirty again: not even read."
                }
                SkipReason::PageLsnNotBelow => {
                    "Its pageLSN is not below the record's LSN: it was written after this change."
                }
                SkipReason::PageDamaged => "No single change can be applied to a damaged page.",
            },
            Self::UndoBegan { losers: 1.. } => {
                "One sweep backwards over all losers: always the latest record that is not undone yet."
            }
            Self::Undone { .. } => {
                "The CLR is redone like an update and never undone; it says where undo goes on."
            }
            Self::TransactionEnded { .. } => "A later restart need not look at it again.",
            Self::InDoubt { .. } => {
                "It promised to be able to commit: only its coordinator may decide, and nobody may pass."
            }
            _ => return None,
        })
    }
}
