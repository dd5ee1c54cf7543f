//! Where the paper tells of an event, in which phase of restart it belongs, and why it is done.

use std::fmt;

use super::{Event, SkipReason};
use crate::tables::TransactionState;

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
    /// All phases, in their order.
    pub const ALL: [Self; 4] = [Self::Opening, Self::Analysis, Self::Redo, Self::Undo];

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
    /// Whether it only goes on with what another event began: who tells of a restart in words leaves it out, or there would be a line for
    /// every record.
    #[must_use]
    pub const fn is_detail(&self) -> bool {
        matches!(self, Self::TransactionAdvanced { .. })
    }

    /// The phase of restart that this belongs to, or begins. `None` for what happens at any time: in a
    /// restart it belongs to the phase that the events before it say.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        match self {
            Self::CacheDropped { .. } => Some(Phase::Opening),
            Self::AnalysisBegan { .. }
            | Self::LogEndFound { .. }
            | Self::PageDirty { .. }
            | Self::TransactionNoted { .. }
            | Self::TransactionAdvanced { .. }
            | Self::TransactionGone { .. }
            | Self::AnalysisEnded { .. } => Some(Phase::Analysis),
            Self::TailRewritten { .. }
            | Self::PageRestored { .. }
            | Self::RedoBegan { .. }
            | Self::RecLsnRaised { .. }
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
            | Self::UndoPassed { .. }
            | Self::TransactionEnded { .. }
            | Self::Prepared { .. } => None,
        }
    }

    /// The section of the ARIES paper that tells of it, when it happens in this phase of a restart, or in none;
    /// `None` for what the paper leaves to others.
    #[must_use]
    pub fn paper_section(&self, phase: Option<Phase>) -> Option<&'static str> {
        match self {
            Self::Appended { kind: "Restart", .. } => None,
            Self::Appended { .. } => Some("4.1"),
            Self::UndoPassed { kind: "NestedTopActionEnd", .. } => Some("9"),
            Self::Undone { .. } | Self::UndoPassed { .. } if phase == Some(Phase::Undo) => {
                Some("6.3")
            }
            Self::TransactionEnded { .. } if phase == Some(Phase::Undo) => Some("6.3"),
            Self::Forced { .. } | Self::PageWritten { .. } => Some("1.4"),
            Self::CheckpointBegan { .. } | Self::CheckpointEnded { .. } => Some("5.4"),
            Self::LogEndFound { .. }
            | Self::AnalysisBegan { .. }
            | Self::PageDirty { .. }
            | Self::TransactionNoted { .. }
            | Self::TransactionAdvanced { .. }
            | Self::TransactionGone { .. }
            | Self::AnalysisEnded { .. }
            | Self::InDoubt { .. } => Some("6.1"),
            Self::RedoBegan { .. }
            | Self::RecLsnRaised { .. }
            | Self::Redone { .. }
            | Self::RedoSkipped { .. }
            | Self::RedoEnded { .. } => Some("6.2"),
            Self::UndoBegan { .. } => Some("6.3"),
            Self::Undone { .. } | Self::UndoPassed { .. } => Some("5.2"),
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
    pub fn why(&self) -> Option<&'static str> {
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

    fn why_in_restart(&self) -> Option<&'static str> {
        Some(match self {
            Self::AnalysisBegan { .. } => {
                "The checkpoint has both tables as they were; records after it bring them up to date."
            }
            Self::LogEndFound { clean: false, .. } => {
                "Here no valid record begins; nothing behind it bears witness that one had been durable."
            }
            Self::PageDirty { replaced: Some(old), rec_lsn, .. } if old != rec_lsn => {
                "The checkpoint knew better: changes before its begin record may not be on disk either."
            }
            Self::TransactionNoted { state: TransactionState::Committing, .. } => {
                "Its commit record is in the log: it has won, and only its end record is missing."
            }
            Self::TransactionNoted { from_checkpoint: true, .. } => {
                "It had written records before the checkpoint began: they may have to be undone."
            }
            Self::TransactionGone { .. } => {
                "Nothing is left to do for a transaction that has ended."
            }
            Self::RecLsnRaised { .. } => {
                "The page was written after its rec_lsn was noted: its pageLSN is the better bound."
            }
            Self::PageDirty { from_checkpoint: true, .. } => {
                "No record before its rec_lsn needs to be redone on it: those changes are on disk."
            }
            Self::PageDirty { from_checkpoint: false, .. } => {
                "It may have been written since: only its pageLSN, read in redo, will tell."
            }
            Self::AnalysisEnded { .. } => {
                "Losers have no commit, prepare or end record: what they did must be undone."
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
                    "The page on disk has all changes before its rec_lsn: there is nothing to look at."
                }
                SkipReason::PageLsnNotBelow => {
                    "Its pageLSN is not below the record's LSN: it was written after this change."
                }
                SkipReason::PageDamaged => "No single change can be applied to a damaged page.",
            },
            other => return other.why_in_undo(),
        })
    }

    fn why_in_undo(&self) -> Option<&'static str> {
        Some(match self {
            Self::UndoBegan { losers: 1.. } => {
                "One sweep backwards over all losers: always the latest record that is not undone yet."
            }
            Self::Undone { .. } => {
                "The CLR is redone like an update and never undone; it says where undo goes on."
            }
            Self::UndoPassed { kind: "Compensation", .. } => {
                "What it compensated is undone, and a CLR never is: it leads on to what is not undone yet."
            }
            Self::UndoPassed { kind: "NestedTopActionEnd", .. } => {
                "What was done in the nested top action stays: its dummy CLR leads around it."
            }
            Self::UndoPassed { .. } => "There is nothing in it that a rollback would take back.",
            Self::TransactionEnded { .. } => "A later restart need not look at it again.",
            Self::InDoubt { .. } => {
                "It promised to be able to commit: only its coordinator may decide, and nobody may pass."
            }
            _ => return None,
        })
    }
}
