//! Runs statements.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::actor::{Actor, Outcome};
use super::crash::{Gate, Home};
use super::forge::{CrashedLog, Forge};
use super::names::Names;
use super::statement::{Action, Command, Half, Setting, Statement};
use super::vocabulary::{self, VOCABULARY};
use crate::checkpoint::Begun;
use crate::config::RestartMode;
use crate::db::{Db, Options};
use crate::disk::{FileDisk, SimDisk};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::ids::{Lsn, PageId, SlotId};
use crate::record::Names as _;
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
    pub(super) events: Arc<Mutex<Vec<Event>>>,
    /// How many of them were asked for records.
    pub(super) events_seen: usize,
    /// How many of them were told.
    pub(super) told: usize,
    current: Option<String>,
    trace: bool,
    /// Records on each page of the stage, and the bytes of each.
    stage: (u16, usize),
    /// The value that `update` writes next.
    value: u8,
}

/// What `options` has set.
#[derive(Clone, Default)]
pub(super) struct Settings(Vec<Setting>);

/// An open database.
pub(super) struct Running {
    /// Dropped first: what is under way is rolled back, as far as the disk lets it.
    pub(super) actors: BTreeMap<String, Actor>,
    pub(super) begun: Option<Begun>,
    pub(super) tickets: Vec<CommitTicket>,
    pub(super) db: Db,
    pub(super) gate: Arc<Gate>,
}

/// The smallest pages, segments and pools there are, for a stage that a reader can take in.
const PAGE_SIZE: usize = 512;
const SEGMENT_BYTES: u64 = 65_536;
const FRAMES: usize = 64;

impl Settings {
    fn options(&self, simulated: bool) -> Options {
        let mut options = Options::new().background(false);
        if simulated {
            options = options.page_size(PAGE_SIZE).segment_bytes(SEGMENT_BYTES).database_id(1);
            options = options.buffer_pool_bytes(FRAMES * PAGE_SIZE);
        }
        let (mut page_size, mut frames) = (PAGE_SIZE, FRAMES);
        for setting in &self.0 {
            options = match *setting {
                Setting::PageSize(bytes) => {
                    page_size = bytes;
                    options.page_size(bytes).buffer_pool_bytes(frames.saturating_mul(page_size))
                }
                Setting::Frames(count) => {
                    frames = count;
                    options.buffer_pool_bytes(frames.saturating_mul(page_size))
                }
                Setting::SegmentBytes(bytes) => options.segment_bytes(bytes),
                Setting::Protection(protection) => options.torn_page_protection(protection),
                Setting::LogBlock(block) => options.log_block(block),
                Setting::RedoThreads(1) => options.restart(RestartMode::Serial),
                Setting::RedoThreads(threads) => options.restart(RestartMode::Parallel(threads)),
            };
        }
        options
    }
}

fn refused<T>(reason: impl Into<String>) -> Result<T> {
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
            told: 0,
            current: None,
            trace: false,
            stage: (0, 0),
            value: 0,
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

    /// What the engine did since this was last asked, in words, an event a line.
    pub fn take_told(&mut self) -> String {
        let told = self.told_since(self.told, |_| true);
        self.told = self.events.lock().len();
        told
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
        let before = self.events.lock().len();
        let done = self.run(statement);
        let mut output = done.as_ref().map_or_else(|_| String::new(), Clone::clone);
        if self.trace {
            output = self.told_since(before, |_| true) + &output;
        }
        output += &self.settle_others();
        let failed = done.err().map(|error| self.names.translate(&error.to_string()));
        let output = match (statement.fails, failed) {
            (false, None) => output,
            (true, Some(error)) => format!("{output}Error: {error}\n"),
            (false, Some(error)) => return Err(error),
            (true, None) => return Err(format!("it had to fail, and did not: {output}")),
        };
        Ok(if statement.silent { String::new() } else { output })
    }

    /// The events since the first so many, in words.
    pub(super) fn told_since(&mut self, before: usize, wanted: impl Fn(&Event) -> bool) -> String {
        self.renumber();
        let events = self.events.lock();
        let told = events.iter().skip(before).filter(|event| wanted(event));
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
                Err(error) => self.names.translate(&format!("Error: {error}\n")),
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
            Command::Show(view) => self.show(*view),
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
        let gate = Arc::new(Gate::default());
        let events = Arc::clone(&self.events);
        let observer = move |event: &Event| events.lock().push(event.clone());
        let options = self.settings.options(self.home.is_simulated());
        let db = options.observer(Arc::new(observer)).open_on(self.home.disk(&gate)?)?;
        self.running = Some(Running {
            actors: BTreeMap::new(),
            begun: None,
            tickets: Vec::new(),
            db,
            gate,
        });
        Ok(())
    }

    fn begin(&mut self, name: Option<&str>) -> Result<String> {
        let db = self.db()?;
        if let Some(name) = name
            && self.actor(name).is_some()
        {
            return refused(format!("{name} is under way already"));
        }
        let actor = Actor::begin(&db)?;
        let name = name.map_or_else(|| actor.id().to_string(), str::to_owned);
        self.names.call(actor.id(), &name);
        self.highest_txn = self.highest_txn.max(actor.id().get());
        if let Some(running) = &mut self.running {
            running.actors.insert(name.clone(), actor);
        }
        self.current = Some(name);
        Ok(String::new())
    }

    fn actor(&mut self, name: &str) -> Option<&mut Actor> {
        self.running.as_mut()?.actors.get_mut(name)
    }

    fn use_transaction(&mut self, name: &str) -> Result<()> {
        if self.actor(name).is_none() {
            return refused(format!("{name} is not under way"));
        }
        self.current = Some(name.to_owned());
        Ok(())
    }

    fn whose(&mut self, prefix: Option<&str>) -> Result<String> {
        let name = prefix.or(self.current.as_deref()).map(str::to_owned);
        match name {
            Some(name) if self.actor(&name).is_some() => Ok(name),
            Some(name) => refused(format!("{name} is not under way: `{name}: begin` begins it")),
            None => refused("no transaction is under way: `begin` begins one"),
        }
    }

    fn act(&mut self, name: &str, action: &Action) -> Result<String> {
        let action = match action {
            Action::Update(page) => self.update(name, *page)?,
            other => other.clone(),
        };
        let db = self.db()?;
        let Some(actor) = self.actor(name) else { return refused(format!("{name} is gone")) };
        if actor.is_waiting() {
            return refused(format!("{name} waits for a lock"));
        }
        actor.order(action.clone());
        let id = actor.id();
        let Some(reply) = actor.settle(&db) else {
            return Ok(format!("waits for {}\n", self.holders(&db, id)));
        };
        let ends = matches!(action, Action::Commit { .. } | Action::Rollback | Action::Prepare(_));
        let output = reply.map(|outcome| self.outcome(name, outcome));
        if ends {
            self.gone(name);
        }
        output
    }

    fn gone(&mut self, name: &str) {
        if let Some(running) = &mut self.running {
            running.actors.remove(name);
        }
        if self.current.as_deref() == Some(name) {
            self.current = None;
        }
    }

    /// Who holds the lock that the transaction waits for.
    fn holders(&self, db: &Db, txn: crate::ids::TxnId) -> String {
        let locks = db.locks();
        let lock = locks.iter().find(|lock| lock.waiters.iter().any(|(waiter, _)| *waiter == txn));
        let Some(lock) = lock else { return "a lock".to_owned() };
        let others = lock.holders.iter().filter(|(holder, _)| *holder != txn);
        let others: Vec<String> = others.map(|(holder, _)| self.names.txn(*holder)).collect();
        format!("the lock on {}, which {} has", lock.name, others.join(" and "))
    }

    fn outcome(&mut self, name: &str, outcome: Outcome) -> String {
        match outcome {
            Outcome::Done => String::new(),
            Outcome::Page(page) => format!("{page}\n"),
            Outcome::Record(page, slot) => format!("{page}.{slot}\n"),
            Outcome::Bytes(Some(bytes)) => format!("\"{}\"\n", bytes.escape_ascii()),
            Outcome::Bytes(None) => "no record\n".to_owned(),
            Outcome::Deferred(ticket) => {
                if let Some(running) = &mut self.running {
                    running.tickets.push(ticket);
                }
                self.gone(name);
                String::new()
            }
        }
    }

    /// The transaction's own record on the page: the one of its number's slot.
    fn update(&mut self, name: &str, page: PageId) -> Result<Action> {
        let slot = self.slot_of(name)?;
        let value = char::from(b'a' + self.value % 26).to_string().repeat(self.stage.1);
        self.value = self.value.wrapping_add(1);
        Ok(Action::Write(page, slot, 0, value))
    }

    /// The slot of the transaction's own record, on every page of the stage.
    pub(super) fn slot_of(&self, name: &str) -> Result<SlotId> {
        let number = name.strip_prefix('T').and_then(|digits| digits.parse::<u16>().ok());
        match number.and_then(|number| number.checked_sub(1)) {
            Some(slot) if self.stage.0 > 0 => Ok(SlotId(slot % self.stage.0)),
            Some(_) => refused("`update` needs the stage that `fill` sets; `write` needs none"),
            None => refused(format!("`update` is for T1, T2, …; {name} can `write`")),
        }
    }

    fn fill(&mut self, pages: u64, records: u16, bytes: usize) -> Result<()> {
        let db = self.db()?;
        let mut txn = db.begin()?;
        self.highest_txn = self.highest_txn.max(txn.id().get());
        for _ in 0..pages {
            let page = txn.allocate_page()?;
            for _ in 0..records {
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
    /// Those of closing it; nothing that was acknowledged is lost.
    pub fn end(mut self) -> Result<()> {
        let Some(Running { actors, db, .. }) = self.running.take() else { return Ok(()) };
        drop(actors);
        db.close()
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
