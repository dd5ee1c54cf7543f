//! Looking at what a kill left: restart, with an observer, and the check against the ledger.

use std::mem;
use std::path::Path;

use super::home::Home;
use super::{ACCOUNTS, Bank, CLIENTS, Error, Ledger, Verdict, options};
use crate::db::Db;
use crate::event::{Event, SkipReason};
use crate::ids::{Lsn, PageId, TxnId};
use crate::record::{LogRecord, Undo};
use crate::recovery::RestartReport;
use crate::sync::{Arc, Mutex};

/// So many records that were applied again are kept as examples.
const REDONE_EXAMPLES: usize = 2;

/// What redo decided for one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The record.
    pub lsn: Lsn,
    /// The page that it changes.
    pub page: PageId,
    /// Why it was not applied again; `None` if it was.
    pub skipped: Option<SkipReason>,
}

/// One update undone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undoing {
    /// Whose.
    pub txn: TxnId,
    /// The update.
    pub lsn: Lsn,
    /// The page that it changed.
    pub page: PageId,
    /// What it changed there, in words.
    pub what: Option<String>,
    /// The compensation log record.
    pub clr_lsn: Lsn,
    /// What is to be undone next of this transaction.
    pub undo_next_lsn: Option<Lsn>,
}

/// What an observer saw of a restart: a few decisions of redo, and all that undo did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Story {
    /// Examples, one or two of each kind, in the order of the log.
    pub decisions: Vec<Decision>,
    /// All updates undone, in that order.
    pub undone: Vec<Undoing>,
}

impl Story {
    fn see(&mut self, event: &Event) {
        match *event {
            Event::Redone { lsn, page } => self.keep(Decision { lsn, page, skipped: None }),
            Event::RedoSkipped { lsn, page, reason } => {
                self.keep(Decision { lsn, page, skipped: Some(reason) });
            }
            Event::Undone { txn, lsn, clr_lsn, page, undo_next_lsn } => {
                self.undone.push(Undoing { txn, lsn, page, what: None, clr_lsn, undo_next_lsn });
            }
            _ => {}
        }
    }

    fn keep(&mut self, decision: Decision) {
        let most = if decision.skipped.is_none() { REDONE_EXAMPLES } else { 1 };
        let alike = self.decisions.iter().filter(|kept| kept.skipped == decision.skipped);
        if alike.count() < most {
            self.decisions.push(decision);
        }
    }

    /// Says in words what was undone, from the log records themselves.
    fn explain(&mut self, db: &Db, bank: &Bank) {
        for undoing in &mut self.undone {
            // Nobody depends on the words: without the record there are none.
            let Ok(bytes) = db.read_log(undoing.lsn) else { continue };
            if let LogRecord::Update(update) = bytes.record()
                && let Undo::Key(undo) = update.undo
            {
                undoing.what = bank.name_of(undo.tree, undo.key);
            }
        }
    }
}

/// What was found.
pub struct Examined {
    pub verdict: Verdict,
    pub restart: RestartReport,
    pub story: Story,
}

/// Makes the bank if need be, checks it, and begins the ledger.
pub fn first(home: &Home, clients: Option<usize>) -> Result<Ledger, Error> {
    let db = options().open(home.path())?;
    let bank = Bank::find_or_make(&db, ACCOUNTS, clients.unwrap_or(CLIENTS))?;
    let state = bank.state(&db)?;
    db.close()?;
    if let Some(clients) = clients
        && clients != bank.clients()
    {
        return Err(Error::Unusable(format!(
            "the bank in {} was made for {} clients, not {clients}",
            home.path().display(),
            bank.clients()
        )));
    }
    let mut ledger = Ledger::new(home.seed(), &state);
    match ledger.check(&state).faults.into_iter().next() {
        None => Ok(ledger),
        Some(fault) => Err(Error::Bank(fault)),
    }
}

/// Restarts the database that a kill left, checks every account and every tree, and closes it.
pub fn after_kill(directory: &Path, ledger: &mut Ledger) -> Result<Examined, Error> {
    let seen = Arc::new(Mutex::new(Story::default()));
    let observer = {
        let seen = Arc::clone(&seen);
        Arc::new(move |event: &Event| seen.lock().see(event))
    };
    let db = options().create_if_missing(false).observer(observer).open(directory)?;
    let mut story = mem::take(&mut *seen.lock());
    let restart = db.restart_report().clone();
    let bank = Bank::find(&db)?;
    story.explain(&db, &bank);
    let mut verdict = ledger.check(&bank.state(&db)?);
    let tables = db.verify_tables()?;
    if !tables.is_sound() {
        verdict.faults.push(format!("the tables are damaged: {tables:?}"));
    }
    db.close()?;
    Ok(Examined { verdict, restart, story })
}

/// The same on a copy: the database stays as the kill left it.
pub fn copy_after_kill(home: &Home, ledger: &mut Ledger) -> Result<Examined, Error> {
    let copy = home.copy()?;
    let examined = after_kill(copy.path(), ledger).map_err(|error| copy.left_behind(error))?;
    copy.remove()?;
    Ok(examined)
}
