//! Recovers a state of the disk, and says whether all is as it must be.
//!
//! 1. It opens: a power failure alone never makes a database that cannot be opened.
//! 2. What is there is one of the states that may be: every acknowledged commit, each other transaction wholly or
//!    not at all, and nothing else.
//! 3. Nothing is left of the transactions that were under way, and no page is ahead of the durable log.
//!    The log that survived tells each transaction to its end, and each undone update once.
//! 4. After another crash at once, and recovery, the same is there.
//! 5. Work goes on: another transaction commits, a checkpoint, a clean close; after reopening all of it is there,
//!    and every page is sound.
//!
//! What the disk durably holds once it is recovered decides all that follows. Many states recover to the same disk:
//! the last two are checked once for each of those.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};

use super::logged::Logged;
use super::model::{Change, State};
use super::world::{Expected, Setting};
use crate::db::{Db, Options};
use crate::disk::{Disk, SimDisk, Survivors};
use crate::error::{Error, Result};
use crate::page;
use crate::sync::Arc;

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
}

impl Clause {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Runs,
        Self::Order,
        Self::Asserts,
        Self::Opens,
        Self::State,
        Self::Settled,
        Self::Logged,
        Self::Again,
        Self::Afterwards,
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
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.clause, self.found)
    }
}

pub type Checked<T> = std::result::Result<T, Violation>;

fn violated<T>(clause: Clause, found: impl Into<String>) -> Checked<T> {
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

/// Recovers what is on `disk`; gives the state, which is one of those `expected`.
///
/// # Errors
/// What is wrong with it (clauses 1 to 3).
pub fn recover(options: &Options, disk: Arc<dyn Disk>, expected: &Expected) -> Checked<State> {
    guarded(|| recovered(options, disk, expected))
}

fn recovered(options: &Options, disk: Arc<dyn Disk>, expected: &Expected) -> Checked<State> {
    let db = fine(Clause::Opens, options.open_on(disk))?;
    let state = fine(Clause::State, State::of(&db))?;
    if !expected.contains(&state) {
        let possible: Vec<String> = expected.iter().map(|state| format!("[{state}]")).collect();
        return violated(Clause::State, format!("[{state}] instead of {}", possible.join(" or ")));
    }
    settled(&db)?;
    Ok(state)
}

fn settled(db: &Db) -> Checked<()> {
    if let Some((txn, entry)) = db.transaction_table().iter().next() {
        return violated(Clause::Settled, format!("{txn} is {}", entry.state));
    }
    let durable = db.stats().flushed_lsn;
    for number in 0..db.stats().pages {
        let guard = fine(Clause::Settled, db.fix_page(crate::ids::PageId(number)))?;
        if let Some(page_lsn) = page::page_lsn(guard.bytes()).filter(|lsn| *lsn >= durable) {
            let found =
                format!("P{number} has pageLSN {page_lsn}, the log is durable to {durable}");
            return violated(Clause::Settled, found);
        }
    }
    Ok(())
}

/// Checks that what was recovered stays so, and that work goes on (clauses 4 and 5). `disk` is what is durable after
/// the recovery, `state` what was there then.
///
/// # Errors
/// What is wrong with it.
pub fn go_on(setting: &Setting, disk: &SimDisk, state: &State) -> Checked<()> {
    guarded(|| gone_on(setting, disk, state))
}

fn gone_on(setting: &Setting, disk: &SimDisk, state: &State) -> Checked<()> {
    let open = |disk: &SimDisk| setting.options().open_on(Arc::new(disk.clone()));
    let disk = disk.crash(&Survivors::All);
    let logged = Logged::read(&disk)?;
    let db = fine(Clause::Again, open(&disk))?;
    logged.check_redo(db.restart_report().redo.from)?;
    let again = fine(Clause::Again, State::of(&db))?;
    if again != *state {
        return violated(Clause::Again, format!("[{again}], and [{state}] before"));
    }
    let mut state = state.clone();
    fine(Clause::Afterwards, work(&db, &mut state))?;
    fine(Clause::Afterwards, db.checkpoint())?;
    fine(Clause::Afterwards, db.close())?;
    logged.check_closed(&disk)?;
    let db = fine(Clause::Afterwards, open(&disk))?;
    let found = fine(Clause::Afterwards, State::of(&db))?;
    if found != state {
        return violated(Clause::Afterwards, format!("[{found}] instead of [{state}]"));
    }
    let verified = fine(Clause::Afterwards, db.verify())?;
    match verified.findings.first() {
        None => Ok(()),
        Some(found) => violated(Clause::Afterwards, format!("{}: {}", found.page, found.fault)),
    }
}

/// A transaction that overwrites a record and inserts another one.
fn work(db: &Db, state: &mut State) -> Result<()> {
    let Some((page, slot)) = state.any_record() else { return Ok(()) };
    let mut txn = db.begin()?;
    txn.write_record(page, slot, 0, b"#")?;
    let mut bytes = state.record(page, slot).unwrap_or_default().to_vec();
    bytes[0] = b'#';
    let inserted = txn.insert_record(page, b"new")?;
    txn.commit()?;
    state.apply(&Change { page, slot, bytes: Some(bytes) });
    state.apply(&Change { page, slot: inserted, bytes: Some(b"new".to_vec()) });
    Ok(())
}
