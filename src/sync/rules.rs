//! The rules that the models watch over, by name.

/// Lists the rules, each with the model that must fail when it is broken, and with words of that
/// failure.
macro_rules! rules {
    ($($(#[$doc:meta])+ $rule:ident: $model:literal, $failure:literal;)+) => {
        /// A rule of the engine that a model can break.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Rule {
            $($(#[$doc])+ $rule,)+
        }

        #[cfg(all(test, loom))]
        impl Rule {
            /// All rules, each with its model and with words of its failure.
            pub(super) const ALL: &[(Self, &str, &str)] =
                &[$((Self::$rule, $model, $failure)),+];
        }
    };
}

rules! {
    /// `flushed_lsn` moves when the log is synced, not when it is written.
    FlushedAfterSync: "log::models::a_forced_record_is_durable", "is not durable";
    /// A leader that is done wakes those who wait for it.
    NotifyAfterForce: "log::models::nobody_waits_for_ever", "deadlock";
    /// A record that begins at `flushed_lsn` is not durable.
    FlushedIsExclusive: "log::models::a_ticket_is_waited_for_by_another_thread",
        "a force covers what it was asked for";
    /// A page is clean when its write is synced, not when it is written.
    CleanAfterSync: "buffer::models::a_change_during_the_write_is_not_lost", "is lost";
    /// What changed while a page was written keeps it dirty.
    NextRecLsnCounts: "buffer::models::a_change_during_the_write_is_not_lost", "is lost";
    /// A frame with a dirty page is not given to another page.
    DirtyFramesStay: "buffer::models::a_change_is_not_lost_when_its_frame_is_wanted",
        "comes back as it was changed";
    /// A page that is not in the page table is entered before the table is unlocked.
    LookedUpAndEnteredAtOnce: "buffer::models::a_page_is_read_into_one_frame", "the page is read once";
    /// A page is fixed before the page table, which says where it is, is unlocked.
    FixedUnderTable: "buffer::models::a_page_that_is_wanted_stays",
        "a page that is not fixed is not latched";
    /// A transaction's state changes inside the append of its record.
    StateInsideAppend: "checkpoint::models::a_commit_is_not_missed",
        "a committed transaction is active";
    /// A transaction leaves the table inside the append of its end record.
    EndInsideAppend: "checkpoint::models::a_commit_is_not_missed",
        "a transaction that ended comes back";
    /// A page enters the dirty page table before its change is logged.
    RecLsnBeforeAppend: "checkpoint::models::a_change_is_not_missed", "misses the page";
    /// Who reads what a deferred commit wrote knows what to wait for.
    DeferredBeforeRelease: "txn::models::what_was_read_is_durable_when_the_reader_commits",
        "what was read is not durable";
    /// A lock that is granted wakes the one who waited for it.
    GrantWakes: "lock::models::a_queue_of_three", "deadlock";
    /// A holder that asks for more gets it only when it conflicts with no other holder.
    ConversionsMeetHolders: "lock::models::intentions_and_conversions", "hold a lock in modes that conflict";
    /// Where a request is taken out of a queue, those behind it are looked at.
    WithdrawalLooksAgain: "lock::models::who_gives_up_lets_others_go_on", "deadlock";
    /// Who stands behind others in a queue waits for them, too.
    SearchWalksQueues: "lock::models::a_circle_through_a_queue_has_one_victim", "deadlock";
    /// Who would wait for itself is refused.
    CirclesAreRefused: "lock::models::a_circle_has_one_victim", "deadlock";
    /// Who goes down a tree latches the child before the parent is let go.
    ChildBeforeParentIsLeft: "btree::models::a_split_is_seen_whole", "the leaf has the key";
    /// Whoever latches a root again, to write it, looks again whether it is a leaf.
    RootLookedAtAgain: "btree::models::a_root_that_splits_is_noticed", "the leaf can be latched";
    /// Leaves are latched from left to right.
    LeavesFromTheLeft: "btree::models::leaves_are_latched_from_left_to_right", "deadlock";
}

/// Whether the model that is running breaks `rule`.
#[cfg(not(all(test, loom)))]
#[inline]
pub(crate) const fn broken(_: Rule) -> bool {
    false
}

/// Whether the model that is running breaks `rule`.
#[cfg(all(test, loom))]
pub(crate) fn broken(rule: Rule) -> bool {
    super::model::broken_rule() == Some(rule)
}
