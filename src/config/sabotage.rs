//! Rules of ARIES and of storage that can be broken on purpose, each in one place of the engine: to see which crash
//! exposes it, and that the crash lab finds it.
//!
//! Only with the feature `sabotage`, only when the options ask for it, and never on real files. Without the feature
//! the question whether a rule is broken is a constant, and compiled away.

macro_rules! sabotages {
    ($($sabotage:ident $name:literal $section:literal $rule:literal;)+) => {
        /// A rule, broken.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        pub enum Sabotage {
            $(#[doc = concat!("Broken: ", $rule)] $sabotage,)+
        }

        impl Sabotage {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$sabotage),+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$sabotage => $name,)+ }
            }

            /// The rule that is broken.
            #[must_use]
            pub const fn rule(self) -> &'static str {
                match self { $(Self::$sabotage => $rule,)+ }
            }

            /// The section of the ARIES paper that has the rule; `None` for rules of storage, and for what breaks
            /// none.
            #[must_use]
            pub const fn paper_section(self) -> Option<&'static str> {
                let section = match self { $(Self::$sabotage => $section,)+ };
                if section.is_empty() { None } else { Some(section) }
            }
        }
    };
}

sabotages! {
    PageBeforeLog "page-before-log" "1.1"
        "no page reaches the disk before the log up to its pageLSN is durable";
    CommitBeforeForce "commit-before-force" "5.3"
        "no commit is acknowledged before its record is durable";
    NoCompensation "no-clr" "5.2"
        "what is undone is logged, by a compensation log record";
    ClrPointsAtItsUpdate "wrong-undo-next" "5.2"
        "a compensation record leads undo to the record before the one that it undoes";
    PageLsnNotStamped "page-lsn-not-stamped" "5.1"
        "a changed page carries the LSN of the record that changed it";
    RecLsnOverwritten "rec-lsn-overwritten" "4.4"
        "a page's rec_lsn is the first change since it was clean, not the latest";
    RedoFromCheckpoint "redo-from-checkpoint" "6.2"
        "redo begins at the smallest rec_lsn, however far before the checkpoint";
    MasterAtEnd "master-at-end" "5.4"
        "the master record points at the begin record of the checkpoint";
    MasterBeforeForce "master-before-force" "5.4"
        "the master record points at a checkpoint only once that is durable";
    CommittedUndone "committed-undone" "6.3"
        "only losers are undone";
    LosersLeft "losers-left" "6.3"
        "whatever did not commit is undone";
    UndoForwards "undo-forwards" "6.3"
        "what was done last is undone first";
    EndMissing "end-missing" "6.3"
        "what is undone to its end gets an end record, and leaves the transaction table";
    RedoWithoutPageLsn "redo-without-page-lsn" "6.2"
        "redo applies a record only to a page whose pageLSN says that it lacks it";
    WinnersOnlyRedone "winners-only-redone" "6.2"
        "redo repeats history: the changes of losers, too";
    RedoSkipsCompensations "redo-skips-clrs" "6.2"
        "redo repeats history: compensation records, too";
    EndedResurrected "ended-resurrected" "6.1"
        "what ended before the checkpoint was complete does not come back from its copy of the table";
    IncompleteCheckpointUsed "incomplete-checkpoint-used" "5.4"
        "a checkpoint without its end records is not used";
    DirtyPageTableMissing "dirty-page-table-missing" "5.4"
        "a checkpoint has the dirty page table";
    TransactionTableMissing "transaction-table-missing" "5.4"
        "a checkpoint has the transaction table";
    LogTruncatedEarly "segment-recycled-early" "5.4"
        "the log is kept from the smallest rec_lsn and from each transaction's first record, not from the checkpoint";
    NoDoubleWrite "no-double-write" ""
        "a page that is written in place is whole elsewhere until that is durable";
    CleanBeforeSync "clean-before-sync" ""
        "a page leaves the dirty page table when its write is synced, not when it is written";
    PageChecksumIgnored "no-page-checksum" ""
        "a page with a wrong checksum is not believed";
    NestedTopActionUndone "nested-top-action-undone" "9"
        "undo passes over a nested top action that has ended";
    PreparedRolledBack "prepared-rolled-back" "6.3"
        "restart leaves a transaction in doubt to whoever decides upon it";
    NoPageImage "no-page-image" ""
        "under page images, a page is logged whole before its first change since it was clean";
    SpaceMapUndoneByBytes "space-map-undone-by-bytes" ""
        "undo of an allocation changes its entry of the space map, and no other";
    FreedPageReusedEarly "freed-page-reused-early" ""
        "a page that is freed is not allocated again before its transaction has committed";
    FailedSyncRetried "failed-sync-retried" ""
        "a sync that failed is not tried again: it would say that it is done";
    ShortWriteIgnored "short-write-ignored" ""
        "a write of which the kernel did only a part is carried on";
    DoubleWriteReusedEarly "double-write-reused-early" ""
        "a page leaves the double-write file only when it is durable in place";
    RecordChecksumIgnored "no-record-checksum" ""
        "a log record with a wrong checksum is not believed";
    ChecksumWithoutEpoch "checksum-without-epoch" ""
        "a log record of an earlier run is not believed where a later one has written";
    EpochNotRaised "epoch-not-raised" ""
        "a run has an epoch that no run before it had";
    TailNotRewritten "tail-not-rewritten" ""
        "restart makes the log durable that it has read before it builds upon it";
    PagesNotSynced "pages-not-synced" ""
        "restart makes the pages durable before redo believes their pageLSNs";
    DirectoryNotSynced "directory-not-synced" ""
        "the name of a log segment is durable before records stand in it";
    GrowthNotSynced "growth-not-synced" ""
        "the file of pages has grown durably before a record names a new page";
    UndoBySlot "undo-by-slot" "10.3"
        "a change of a tree is undone by its key, wherever that is by then";
    SplitInTwoRecords "split-in-two-records" "9"
        "a structure change is one record: all of it is in the log, or nothing";
    AllocationOutsideSplit "allocation-outside-split" "9"
        "the pages that a structure change takes are allocated by its own record";
    GhostPurgedEarly "ghost-purged-early" ""
        "a deleted key keeps its place until nobody has a lock on it";
    GapsNotLocked "next-key-not-locked" ""
        "whoever reads a range locks the gaps between its keys";
    ReadersDoNotWait "lock-released-early" "5.3"
        "a read-only commit waits until what it has read is durable, if that was unlocked before";
    ForcesAllAtEachCommit "neutral-force-all" ""
        "none: each commit forces all of the log that there is, rather than up to its record";
    FlushesAtCheckpoint "neutral-flush" ""
        "none: a checkpoint writes all dirty pages first, as no fuzzy one need";
    RollbackInTwoSteps "neutral-force-at-rollback" ""
        "none: each rollback forces the log when it is done";
    UndoneOneByOne "neutral-undo-one-by-one" ""
        "none: restart undoes one loser after the other, rather than all in one sweep over the log";
    CopiesAtBegin "neutral-copy-at-begin" ""
        "none: a checkpoint copies the tables right behind its begin record, and completes later";
}

impl Sabotage {
    /// Whether it breaks nothing: no crash exposes it.
    #[must_use]
    pub fn is_neutral(self) -> bool {
        self.name().starts_with("neutral-")
    }
}

/// The rule that is broken, if one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Broken(#[cfg(feature = "sabotage")] Option<Sabotage>);

impl Broken {
    /// That one.
    #[cfg(feature = "sabotage")]
    #[must_use]
    pub const fn rule(sabotage: Sabotage) -> Self {
        Self(Some(sabotage))
    }

    /// Whether it is this one.
    #[must_use]
    #[inline]
    pub fn is(self, sabotage: Sabotage) -> bool {
        #[cfg(feature = "sabotage")]
        return self.0 == Some(sabotage);
        #[cfg(not(feature = "sabotage"))]
        {
            let _ = sabotage;
            false
        }
    }

    /// Whether any is.
    #[must_use]
    pub fn is_any(self) -> bool {
        self != Self::default()
    }
}
