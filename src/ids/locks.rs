//! What a lock is on, and in which modes it can be held: plain values, of which the lock table and the
//! prepare records of the log both speak.
//!
//! The modes, and which of them two transactions can hold at the same time, are those of J. Gray, R. Lorie,
//! G. Putzolu, I. Traiger, "Granularity of Locks and Degrees of Consistency in a Shared Data Base", 1976.

use std::fmt;

pub use super::key_name::KeyName;
use super::{PageId, SlotId, TxnId};

/// What a lock is on. A table is known by the page id of its root, which never changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LockName {
    /// That a page is allocated: shared for whoever works on its records, exclusive for whoever
    /// allocates or frees it.
    PageExistence(PageId),
    /// One record of a page.
    Record(PageId, SlotId),
    /// A whole table.
    Table(PageId),
    /// One key of a table, whether or not it is there.
    Key(PageId, KeyName),
    /// What lies between two neighbouring keys of a table: that there is nothing.
    Gap(PageId, GapName),
    /// All ranges that this transaction has read of a table: shared for itself, intention-exclusive for whoever
    /// changes something there, and waits until it ends. Never kept by a transaction in doubt.
    Ranges(PageId, TxnId),
}

// Every lock held takes that twice: in the lock table, and in the list of its transaction.
const _: () = assert!(size_of::<LockName>() == 32);

/// Which gap of a table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GapName {
    /// The one before this key, which is there.
    Before(KeyName),
    /// The one behind the last key, or all of a table that has none.
    End,
}

/// `P3`, `P3.2`, `table P5`, `P5/alice`, `gap before P5/alice`, `gap at the end of P5`, `ranges that T3 read of P5`.
impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageExistence(page) => write!(f, "{page}"),
            Self::Record(page, slot) => write!(f, "{page}.{slot}"),
            Self::Table(root) => write!(f, "table {root}"),
            Self::Key(root, key) => write!(f, "{root}/{key}"),
            Self::Gap(root, GapName::Before(key)) => write!(f, "gap before {root}/{key}"),
            Self::Gap(root, GapName::End) => write!(f, "gap at the end of {root}"),
            Self::Ranges(root, txn) => write!(f, "ranges that {txn} read of {root}"),
        }
    }
}

/// What a lock allows its holder. Who intends to lock parts of something (keys of a table) first locks the
/// whole with an intention: so that a lock on the whole meets it, and it need not look at every part.
///
/// ```text
///   held by one:                 IS   IX   S    SIX  X     held by another at the same time
///   IS   IntentionShared         yes  yes  yes  yes  -
///   IX   IntentionExclusive      yes  yes  -    -    -
///   S    Shared                  yes  -    yes  -    -
///   SIX  SharedIntentionExclusive yes -    -    -    -
///   X    Exclusive               -    -    -    -    -
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// To lock parts of it in shared mode.
    IntentionShared,
    /// To lock parts of it in any mode.
    IntentionExclusive,
    /// To read all of it, together with others that read.
    Shared,
    /// To read all of it, and to lock parts of it exclusively.
    SharedIntentionExclusive,
    /// To change all of it, alone.
    Exclusive,
}

use Mode::{Exclusive, IntentionExclusive, IntentionShared, Shared, SharedIntentionExclusive};

impl Mode {
    /// All of them.
    pub const ALL: [Self; 5] =
        [IntentionShared, IntentionExclusive, Shared, SharedIntentionExclusive, Exclusive];

    /// Whether two transactions can hold one lock in these modes at the same time.
    #[must_use]
    pub const fn is_compatible_with(self, other: Self) -> bool {
        match self {
            IntentionShared => !matches!(other, Exclusive),
            IntentionExclusive => matches!(other, IntentionShared | IntentionExclusive),
            Shared => matches!(other, IntentionShared | Shared),
            SharedIntentionExclusive => matches!(other, IntentionShared),
            Exclusive => false,
        }
    }

    /// Whether who holds this mode may do all that `other` allows.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        match self {
            IntentionShared => matches!(other, IntentionShared),
            IntentionExclusive => matches!(other, IntentionShared | IntentionExclusive),
            Shared => matches!(other, IntentionShared | Shared),
            SharedIntentionExclusive => !matches!(other, Exclusive),
            Exclusive => true,
        }
    }

    /// The least mode that includes both.
    #[must_use]
    pub const fn supremum(self, other: Self) -> Self {
        if self.includes(other) {
            self
        } else if other.includes(self) {
            other
        } else {
            // Only "to read all" and "to change parts" are not comparable.
            SharedIntentionExclusive
        }
    }

    /// Whether it is to change something: all, or parts.
    #[must_use]
    pub const fn changes(self) -> bool {
        matches!(self, IntentionExclusive | SharedIntentionExclusive | Exclusive)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IntentionShared => "intention-shared",
            IntentionExclusive => "intention-exclusive",
            Shared => "shared",
            SharedIntentionExclusive => "shared-intention-exclusive",
            Exclusive => "exclusive",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P5: PageId = PageId(5);

    #[test]
    fn names_are_shown_as_people_write_them() {
        let alice = KeyName::of(b"alice");
        for (name, shown) in [
            (LockName::PageExistence(P5), "P5"),
            (LockName::Record(P5, SlotId(2)), "P5.2"),
            (LockName::Table(P5), "table P5"),
            (LockName::Key(P5, alice), "P5/alice"),
            (LockName::Key(P5, KeyName::of(&[0, 0xff])), "P5/0x00ff"),
            (LockName::Gap(P5, GapName::Before(alice)), "gap before P5/alice"),
            (LockName::Gap(P5, GapName::End), "gap at the end of P5"),
            (LockName::Ranges(P5, TxnId::FIRST), "ranges that T1 read of P5"),
        ] {
            assert_eq!(name.to_string(), shown);
        }
    }

    /// Only compatible modes, and no others: line by line as in the paper.
    #[test]
    fn the_matrix_is_that_of_the_paper() {
        let yes = [
            &[IntentionShared, IntentionExclusive, Shared, SharedIntentionExclusive][..],
            &[IntentionShared, IntentionExclusive],
            &[IntentionShared, Shared],
            &[IntentionShared],
            &[],
        ];
        for (one, compatible) in Mode::ALL.into_iter().zip(yes) {
            for other in Mode::ALL {
                assert_eq!(one.is_compatible_with(other), compatible.contains(&other));
                assert_eq!(one.is_compatible_with(other), other.is_compatible_with(one));
            }
        }
    }

    /// Who may do more gets along with fewer; the supremum is the least of all that include both.
    #[test]
    fn the_supremum_is_the_least_mode_that_includes_both() {
        let admits = |mode: Mode| Mode::ALL.map(|other| mode.is_compatible_with(other));
        for one in Mode::ALL {
            assert!(one.includes(one));
            for other in Mode::ALL {
                let fewer = admits(one).into_iter().zip(admits(other)).all(|(a, b)| b || !a);
                assert_eq!(one.includes(other), fewer, "{one} {other}");
                let both = one.supremum(other);
                assert_eq!(both, other.supremum(one));
                assert!(both.includes(one) && both.includes(other), "{one} {other}");
                let include_both = |mode: &Mode| mode.includes(one) && mode.includes(other);
                assert!(Mode::ALL.into_iter().filter(include_both).all(|mode| mode.includes(both)));
            }
        }
        assert_eq!(IntentionExclusive.supremum(Shared), SharedIntentionExclusive);
    }

    #[test]
    fn whoever_changes_keeps_readers_of_all_out() {
        for mode in Mode::ALL {
            assert_eq!(mode.changes(), !mode.is_compatible_with(Shared), "{mode}");
        }
    }
}
