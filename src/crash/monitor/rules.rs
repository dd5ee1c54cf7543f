//! The rules of order, and how it is told that one was broken.

use std::fmt;

macro_rules! rules {
    ($($rule:ident $name:literal $section:literal $words:literal;)+) => {
        /// A rule about what must be durable before what is written.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        pub enum OrderRule {
            $(#[doc = concat!("The rule: ", $words, ".")] $rule,)+
        }

        impl OrderRule {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$rule),+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$rule => $name,)+ }
            }

            /// The rule, in words.
            #[must_use]
            pub const fn rule(self) -> &'static str {
                match self { $(Self::$rule => $words,)+ }
            }

            /// The section of the ARIES paper that has it; `None` for rules of storage.
            #[must_use]
            pub const fn paper_section(self) -> Option<&'static str> {
                let section = match self { $(Self::$rule => $section,)+ };
                if section.is_empty() { None } else { Some(section) }
            }
        }
    };
}

rules! {
    LogBeforePage "log-before-page" "1.1"
        "no page reaches the disk before the log up to its pageLSN is durable";
    ForceAtCommit "force-at-commit" "5.3"
        "nothing is acknowledged before its log record, and all log before that, is durable";
    MasterAfterCheckpoint "master-after-checkpoint" "5.4"
        "the master record points at a checkpoint only once its begin and end records are durable";
    OlderMaster "older-master" ""
        "a change of the master record leaves the newest one that is durable alone";
    LogKept "log-kept" "5.4"
        "the log is kept from where the checkpoints of both durable master records need it";
    LogOnlyGrows "log-only-grows" ""
        "log that was written is not written again, or exactly as it was; padded blocks never are";
    WholeElsewhere "whole-elsewhere" ""
        "a page that is written in place is whole elsewhere, and durable there";
    BatchKept "batch-kept" ""
        "a double-write batch stays until its pages are durable in place";
    CleanWhenDurable "clean-when-durable" ""
        "a page counts as written once it is durable in place";
}

/// A rule of order, broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutOfOrder {
    /// Which rule.
    pub rule: OrderRule,
    /// What was seen.
    pub found: String,
    /// Before which I/O of the disk.
    pub io: u64,
}

impl fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, found, io } = self;
        write!(f, "{}", rule.rule())?;
        if let Some(section) = rule.paper_section() {
            write!(f, " (ARIES {section})")?;
        }
        write!(f, "; but before I/O {io}: {found}")
    }
}
