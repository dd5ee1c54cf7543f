//! Runs statements.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::actor::Actor;
use super::crash::{Home, PowerFailed};
use super::forge::{CrashedLog, Forge};
use super::gate::{Calls, Gate};
use super::names::Names;
use super::settings::Settings;
use super::statement::{Command, Half, Statement};
use super::vocabulary::{self, VOCABULARY};
use crate::checkpoint::Begun;
use crate::db::{DEFAULT_PAGE_SIZE, Db, Options};
use crate::disk::{FileDisk, SimDisk};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::ids::Lsn;
use crate::sync::{Arc, Mutex};
use crate::txn::CommitTicket;

/// What a statement printed, or why it failed.
pub type Performed = std::result::Result<String, String>;

/// Somebody at work with a database: whether it is open, and what is under way.
pub struct Session {
    pub(super) home: Home,
    pub(super) settings: Settings,
    pub(super) running: Option<Running>,
    pub(super) crashed: Option<CrashedLog>,
    pub(super) forge: Option<Forge>,
    /// The highest number of a transaction that the script knows of.
    pub(super) highest_txn: u64,
    pub(super) names: Names,
    /// Where counting records began.
    pub(super) mark: Option<Lsn>,
    /// What the engine did for the latest statement.
    pub(super) events: Arc<Mutex<Vec<Event>>>,
    /// How many of them were asked for records.
    pub(super) events_seen: usize,
    pub(super) current: Option<String>,
    trace: bool,
    /// Records on each page of the stage, and the bytes of each.
    pub(super) stage: (u16, usize),
    /// The value that `update` writes next.
    pub(super) value: u8,
    /// A statement that goes on and on is stopped after so many events.
    pub(super) most_events: Option<usize>,
    /// The calls of the engine to its disk, if somebody watches.
    pub(super) calls: Option<Arc<Mutex<Calls>>>,
    /// What the latest failure of power met, if somebody watches.
    pub(super) power_failed: Option<PowerFailed>,
}

/// An open database.
pub(super) struct Running {
    /// What is under way is rolled back at the end, as far as the disk lets it.
    pub(super) actors: BTreeMap<String, Actor>,
    pub(super) begun: Option<Begun>,
    pub(super) tickets: Vec<CommitTicket>,
    pub(super) db: Db,
    pub(super) gate: Arc<Gate>,
}

impl Running {
    /// Ends all transactions, however they wait for each other. Who waits for one in doubt would do so for ever:
    /// then the engine is stopped, and this gives `false`.
    fn end_transactions(&mut self) -> bool {
        self.actors.values_mut().for_each(Actor::leave);
        let mut went_well = true;
        loop {
            let mut left = self.actors.values().filter(|actor| !actor.has_ended()).peekable();
            if left.peek().is_none() {
                return went_well;
            }
            if left.all(|actor| actor.waits_for_a_lock(&self.db)) {
                self.stop();
                went_well = false;
            }
            std::thread::yield_now();
        }
    }

    /// Nothing reaches the disk any more, and whoever waits for a lock is woken.
    pub(super) fn stop(&self) {
        self.gate.shut();
        let _ = self.db.checkpoint();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end_transactions();
    }
}

pub(super) fn refused<T>(reason: impl Into<String>) -> Result<T> {
    Err(Error::InvalidInput(reason.into()))
}

impl Session {
    /// On an empty simulated disk.
    #[must_use]
    pub fn simulated() -> Self {
        Self::new(Home::Simulated(SimDisk::new()))
    }

    /// On the database in a directory, which is opened, recovered if need be, and made if there is none.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn in_directory(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        drop(FileDisk::create(&path)?);
        let mut session = Self::new(Home::Directory(path));
        session.open()?;
        Ok(session)
    }

    fn new(home: Home) -> Self {
        Self {
            home,
            settings: Settings::default(),
            running: None,
            crashed: None,
            forge: None,
            highest_txn: 0,
            names: Names::default(),
            mark: None,
            events: Arc::default(),
            events_seen: 0,
            current: None,
            trace: false,
            stage: (0, 0),
            value: 0,
            most_events: None,
            calls: None,
            power_failed: None,
        }
    }

    /// The transaction to which statements without a name belong.
    #[must_use]
    pub fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// The transactions under way, by name.
    #[must_use]
    pub fn transactions(&self) -> Vec<&str> {
        let actors = self.running.iter().flat_map(|running| running.actors.keys());
        actors.map(String::as_str).collect()
    }

    /// What the engine did for the latest statement, in words, an event a line.
    pub fn told(&mut self) -> String {
        self.told_if(|_| true)
    }

    /// What the engine did for the latest statement.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().clone()
    }

    /// The database, if it is open.
    #[must_use]
    pub fn database(&self) -> Option<&Db> {
        self.running.as_ref().map(|running| &running.db)
    }

    /// Whether the database is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.running.is_some()
    }

    /// Runs a statement; gives what it prints, or, if it had to fail, why it did.
    ///
    /// # Errors
    /// Why it failed, or that it did not have to.
    pub fn perform(&mut self, statement: &Statement) -> Performed {
        self.forget_events();
        let done = self.run(statement);
        let mut output = done.as_ref().map_or_else(|_| String::new(), Clone::clone);
        if self.trace {
            output = self.told() + &output;
        }
        output += &self.settle_others();
        let failed = done.err().map(|error| self.names.told(&error));
        let output = match (statement.fails, failed) {
            (false, None) => output,
            (true, Some(error)) => format!("{output}Error: {error}\n"),
            (false, Some(error)) => return Err(error),
            (true, None) => return Err(format!("it had to fail, and did not: {output}")),
        };
        Ok(if statement.silent { String::new() } else { output })
    }

    /// Those of the events of the latest statement that are wanted, in words.
    pub(super) fn told_if(&mut self, wanted: impl Fn(&Event) -> bool) -> String {
        self.renumber();
        let events = self.events.lock();
        let told = events.iter().filter(|event| wanted(event) && !event.is_detail());
        told.map(|event| event.words(&self.names) + "\n").collect()
    }

    /// Transactions that waited for a lock, and go on now.
    fn settle_others(&mut self) -> String {
        let Some(running) = &mut self.running else { return String::new() };
        let mut output = String::new();
        let waiting = running.actors.iter_mut().filter(|(_, actor)| actor.is_waiting());
        let settled: Vec<_> = waiting
            .filter_map(|(name, actor)| Some((name.clone(), actor.settle(&running.db)?)))
            .collect();
        for (name, reply) in settled {
            let told = match reply {
                Ok(outcome) => self.outcome(&name, outcome),
                Err(error) => format!("Error: {}\n", self.names.told(&error)),
            };
            let told = if told.is_empty() { "done\n".to_owned() } else { told };
            output += &format!("{name} goes on: {told}");
        }
        output
    }

    fn run(&mut self, statement: &Statement) -> Result<String> {
        let quiet = |()| String::new();
        match &statement.command {
            Command::Transaction(action) => {
                let name = self.whose(statement.prefix.as_deref())?;
                self.act(&name, action)
            }
            Command::Begin => self.begin(statement.prefix.as_deref()),
            Command::Use(name) => self.use_transaction(name).map(quiet),
            Command::Options(settings) => {
                self.settings.0.extend(settings);
                Ok(String::new())
            }
            Command::Fill { pages, records, bytes } => {
                self.fill(*pages, *records, *bytes).map(quiet)
            }
            Command::Mark => self.set_mark().map(quiet),
            Command::Wait => self.wait().map(quiet),
            Command::Decide { global_id, commit } => {
                let db = self.db()?;
                match commit {
                    true => db.commit_prepared(global_id.as_bytes()).map(drop),
                    false => db.rollback_prepared(global_id.as_bytes()),
                }
                .map(quiet)
            }
            Command::Checkpoint(half) => self.checkpoint(*half).map(quiet),
            Command::Flush(page) => {
                let db = self.db()?;
                page.map_or_else(|| db.flush_pages(), |page| db.flush_page(page)).map(quiet)
            }
            Command::Evict(page) => match self.db()?.evict_page(*page)? {
                true => Ok(String::new()),
                false => refused(format!("somebody has {page} fixed")),
            },
            Command::Force => self.db()?.force_log().map(drop).map(quiet),
            Command::Step => self.db()?.step().map(drop).map(quiet),
            Command::Show(view) => self.show(view),
            Command::MakeTable(name) => self.make_table(name).map(quiet),
            Command::DropTable(name) => self.drop_table(name).map(quiet),
            Command::VerifyTables => self.verify_tables(),
            Command::Trace(on) => {
                self.trace = *on;
                Ok(String::new())
            }
            Command::Help(about) => help(about.as_deref()),
            Command::Close => self.close().map(quiet),
            Command::Restart { explain } => self.restart(*explain),
            other => self.run_on_disk(other),
        }
    }

    /// What happens to the disk, behind the engine's back.
    fn run_on_disk(&mut self, command: &Command) -> Result<String> {
        match command {
            Command::Crash(crash) => self.crash(crash),
            Command::Kill => self.kill(),
            Command::Fault { kind, after, forever } => self.fault(*kind, *after, *forever),
            Command::Flip { place, byte, bit } => self.flip(*place, *byte, *bit),
            Command::Misplace { page, at } => self.misplace(*page, *at),
            Command::Capacity(bytes) => {
                self.sim_disk()?.set_capacity(*bytes);
                Ok(())
            }
            Command::DropCache => {
                self.sim_disk()?.drop_cache();
                Ok(())
            }
            Command::Log(forged) => self.log_by_hand(forged),
            other => unreachable!("{other:?} does nothing to the disk"),
        }
        .map(|()| String::new())
    }

    /// The open database; a new one is made on a simulated disk that has none.
    pub(super) fn db(&mut self) -> Result<Db> {
        if self.running.is_none() && self.home.is_new() {
            self.open()?;
        }
        match &self.running {
            Some(running) => Ok(running.db.clone()),
            None => refused("the database is not open: `restart` opens it"),
        }
    }

    pub(super) fn open(&mut self) -> Result<()> {
        let gate = Arc::new(Gate::new(self.calls.clone()));
        let events = Arc::clone(&self.events);
        let told_by = Arc::clone(&gate);
        let observer = move |event: &Event| {
            if !told_by.is_shut() {
                events.lock().push(event.clone());
            }
        };
        let options = match self.home {
            Home::Simulated(_) => self.settings.options_simulated(),
            Home::Directory(_) => {
                let page_size = self.master().ok().map(|master| master.page_size as usize);
                self.settings.options(Options::new(), page_size.unwrap_or(DEFAULT_PAGE_SIZE))
            }
        };
        let db = options.observer(Arc::new(observer)).open_on(self.home.disk(&gate)?)?;
        self.running =
            Some(Running { actors: BTreeMap::new(), begun: None, tickets: Vec::new(), db, gate });
        Ok(())
    }

    fn fill(&mut self, pages: u64, records: u16, bytes: usize) -> Result<()> {
        let db = self.db()?;
        let mut txn = db.begin()?;
        self.highest_txn = self.highest_txn.max(txn.id().get());
        for _ in 0..pages {
            let page = txn.allocate_page()?;
            for _ in 0..records {
                self.check_events()?;
                txn.insert_record(page, &vec![b'.'; bytes])?;
            }
        }
        txn.commit()?;
        db.flush_pages()?;
        db.checkpoint()?;
        self.stage = (records, bytes);
        self.set_mark()
    }

    fn set_mark(&mut self) -> Result<()> {
        self.mark = Some(self.db()?.stats().end_lsn);
        self.renumber();
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let tickets = self.running.as_mut().map(|running| std::mem::take(&mut running.tickets));
        for ticket in tickets.unwrap_or_default() {
            ticket.wait()?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, half: Half) -> Result<()> {
        let db = self.db()?;
        let Some(running) = &mut self.running else { return Ok(()) };
        match half {
            Half::Both => db.checkpoint().map(drop),
            Half::Begin => {
                running.begun = Some(db.begin_checkpoint()?);
                Ok(())
            }
            Half::End => match running.begun.take() {
                Some(begun) => db.complete_checkpoint(begun).map(drop),
                None => refused("no checkpoint has begun: `checkpoint begin`"),
            },
        }
    }

    fn close(&mut self) -> Result<()> {
        let db = self.db()?;
        db.close()?;
        self.stop();
        Ok(())
    }

    /// Rolls back what is under way, and closes the database if it is open.
    ///
    /// # Errors
    /// Those of closing it; nothing that was acknowledged is lost. [`Error::InvalidInput`] if somebody waits
    /// for a transaction in doubt: the next open recovers the database then.
    pub fn end(mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        if !running.end_transactions() {
            return refused("not closed: somebody waited for a transaction in doubt");
        }
        running.db.clone().close()
    }

    /// Whatever is in memory is gone.
    pub(super) fn stop(&mut self) {
        self.renumber();
        if let Some(Running { db, .. }) = &self.running {
            let transactions = db.transaction_table();
            let end = db.stats().flushed_lsn;
            let restart_lsn = db.restart_report().undo.restart_lsn;
            self.crashed = Some(CrashedLog { end, restart_lsn, transactions });
        }
        self.running = None;
        self.current = None;
    }
}

fn help(about: Option<&str>) -> Result<String> {
    let Some(name) = about else {
        let line = |entry: &vocabulary::Entry| {
            let first = entry.summary.split_once('.').map_or(entry.summary, |(first, _)| first);
            format!("{:<12}{first}.\n", entry.name)
        };
        return Ok(VOCABULARY.iter().map(line).collect());
    };
    match vocabulary::find(name) {
        Some(entry) => {
            Ok(format!("{}\n  {}\nExample: {}\n", entry.usage, entry.summary, entry.example))
        }
        None => refused(format!("there is no statement {name:?} (`help` lists all)")),
    }
}
