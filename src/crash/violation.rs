//! What must hold, and how it is told that it does not.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};

use crate::error::{Error, Result};

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What must hold, and does not.
    pub clause: Clause,
    /// What was found instead.
    pub found: String,
}

/// What must hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Clause {
    /// The history runs, as long as nothing fails.
    Runs,
    /// Writes come in the order that the rules demand.
    Order,
    /// The engine's own assertions hold.
    Asserts,
    /// The database opens.
    Opens,
    /// What is there is what must be there.
    State,
    /// No transaction and no page is left in a state that recovery should have ended.
    Settled,
    /// The surviving log tells each transaction to its end, and redo and truncation go by it.
    Logged,
    /// Recovering again changes nothing.
    Again,
    /// Work goes on afterwards.
    Afterwards,
    /// An error tells of the fault of the disk, and of nothing else.
    Tells,
    /// After a failed sync nothing more is acknowledged.
    Final,
    /// A silent fault of the disk is noticed, where something could tell.
    Noticed,
}

impl Clause {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Runs,
        Self::Order,
        Self::Asserts,
        Self::Opens,
        Self::State,
        Self::Settled,
        Self::Logged,
        Self::Again,
        Self::Afterwards,
        Self::Tells,
        Self::Final,
        Self::Noticed,
    ];

    /// Its name, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Order => "order",
            Self::Asserts => "asserts",
            Self::Opens => "opens",
            Self::State => "state",
            Self::Settled => "settled",
            Self::Logged => "logged",
            Self::Again => "again",
            Self::Afterwards => "afterwards",
            Self::Tells => "tells",
            Self::Final => "final",
            Self::Noticed => "noticed",
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runs => "before any crash nothing may fail",
            Self::Order => "writes must come in the order that the rules demand",
            Self::Asserts => "the engine's own assertions must hold",
            Self::Opens => "the database must open",
            Self::State => "what was committed must be there, and nothing else",
            Self::Settled => {
                "recovery must leave no transaction, and no page ahead of the durable log"
            }
            Self::Logged => {
                "the log must tell each transaction to its end, and each undone update once"
            }
            Self::Again => "recovering again must change nothing",
            Self::Afterwards => "work must go on afterwards",
            Self::Tells => "an error must tell of the disk's fault, and of nothing else",
            Self::Final => {
                "after a failed sync nothing more may be acknowledged until the next restart"
            }
            Self::Noticed => "a silent fault of the disk must be noticed where something can tell",
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.clause, self.found)
    }
}

pub type Checked<T> = std::result::Result<T, Violation>;

pub fn violated<T>(clause: Clause, found: impl Into<String>) -> Checked<T> {
    Err(Violation { clause, found: found.into() })
}

/// An error where there must be none.
///
/// # Errors
/// That one.
pub fn fine<T>(clause: Clause, result: Result<T>) -> Checked<T> {
    result.or_else(|error: Error| violated(clause, error.to_string()))
}

/// Does something in which the engine may find itself to be wrong.
///
/// # Errors
/// That, and those of `attempt`.
pub fn guarded<T>(attempt: impl FnOnce() -> Checked<T>) -> Checked<T> {
    let caught = panic::catch_unwind(AssertUnwindSafe(attempt));
    caught.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        violated(Clause::Asserts, message.unwrap_or("a panic without a message"))
    })
}
