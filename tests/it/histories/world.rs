//! A database on a simulated disk, with transactions under way, and everything that is known of
//! what it must hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use aries::checkpoint::Begun;
use aries::config::{LogBlock, RestartMode, TornPageProtection};
use aries::disk::{self, FaultKind, SimDisk, Survivors};
use aries::ids::{Lsn, PageId, TxnId};
use aries::txn::CommitTicket;
use aries::{Db, Error, Options, Result, Transaction};

use super::audit;
use super::journal::Journal;
use super::model::{Deed, InDoubt};
use super::oracle::{Oracle, Savepoints};
use super::steps::{Failure, Fate, Fault, SESSIONS, Step};
use crate::parallel_redo::every_number_of_threads_agrees;

struct Session {
    txn: Transaction,
    savepoints: Savepoints,
}

/// How the log's blocks are written, at each open in turn.
pub type LogBlocks = &'static [LogBlock];

#[derive(Default)]
pub struct World {
    pub disk: SimDisk,
    /// The default where there are none.
    log_blocks: LogBlocks,
    opened: usize,
    db: Option<Db>,
    sessions: [Option<Session>; SESSIONS],
    tickets: Vec<CommitTicket>,
    begun: Option<Begun>,
    journal: Journal,
    oracle: Oracle,
    /// Commits that were acknowledged since the database was opened.
    acknowledged: BTreeSet<Lsn>,
    /// The log was durable up to here when it was last asked.
    flushed: Option<Lsn>,
    failure: Option<Failure>,
}

const FRAMES: usize = 16;

/// A page is two sectors, so it can be torn.
pub fn options() -> Options {
    Options::new()
        .page_size(1024)
        .segment_bytes(64 * 1024)
        .buffer_pool_bytes(FRAMES * 1024)
        .checkpoint_log_bytes(40 * 1024)
        .database_id(7)
        .background(false)
}

/// What survives on this disk.
pub fn survivors(disk: &SimDisk, fate: Fate) -> Survivors {
    let ids: Vec<u64> = disk.pending().iter().map(|change| change.id).collect();
    let chosen = |number: u16| ids.get(usize::from(number) % ids.len().max(1)).copied();
    match fate {
        Fate::All => Survivors::All,
        Fate::None => Survivors::None,
        Fate::Random(seed) => Survivors::Random { seed },
        Fate::Only(number) => Survivors::Chosen(chosen(number).into_iter().collect()),
        Fate::AllBut(number) => {
            let lost = chosen(number);
            Survivors::Chosen(ids.iter().copied().filter(|id| Some(*id) != lost).collect())
        }
    }
}

impl World {
    /// On an empty disk.
    pub fn new(log_blocks: LogBlocks) -> Self {
        Self { log_blocks, ..Self::default() }
    }

    fn open(&self, disk: &SimDisk, journal: &Journal) -> Result<Db> {
        let options = options().observer(Arc::new(journal.clone()));
        let mut blocks = self.log_blocks.iter().cycle().skip(self.opened);
        let options = match blocks.next() {
            None => options,
            Some(block) => {
                let protections = [TornPageProtection::PageImages, TornPageProtection::DoubleWrite];
                options
                    .log_block(*block)
                    .torn_page_protection(protections[self.opened / 2 % 2])
                    .restart(RestartMode::Parallel(1 + self.opened % 3))
            }
        };
        options.open_on(Arc::new(disk.clone()))
    }

    pub fn db(&self) -> &Db {
        self.db.as_ref().expect("the database is open")
    }

    pub fn is_open(&self) -> bool {
        self.db.is_some()
    }

    /// How many commits were acknowledged since the database was opened.
    pub fn acknowledged(&mut self) -> usize {
        self.note_durable_tickets();
        self.acknowledged.len()
    }

    /// What is known, on another disk; no database is open there.
    pub fn fork(&self, disk: SimDisk) -> Self {
        Self {
            disk,
            log_blocks: self.log_blocks,
            opened: self.opened,
            journal: self.journal.fork(),
            oracle: self.oracle.clone(),
            acknowledged: self.acknowledged.clone(),
            flushed: self.flushed,
            ..Self::default()
        }
    }

    /// Takes the step, recovering from a failure that was asked for.
    pub fn step(&mut self, step: &Step) {
        if let Err(error) = self.try_step(step) {
            self.failed(&error);
        }
        self.check();
    }

    /// Takes the step.
    ///
    /// # Errors
    /// Whatever the engine says, also when it stopped behind a call that succeeded.
    pub fn try_step(&mut self, step: &Step) -> Result<()> {
        self.take(step)?;
        // Flushes nothing; whoever flushes is told.
        self.db().flush_page(PageId(u64::MAX))
    }

    fn take(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Work(session, work) => self.with_session(*session, |oracle, session| {
                oracle.work(&mut session.txn, &mut session.savepoints, work)
            }),
            Step::Nested { session, inside, end } => {
                self.with_session(*session, |oracle, session| {
                    oracle.nested(&mut session.txn, &mut session.savepoints, inside, *end)
                })
            }
            Step::Commit(session) => self.commit(*session),
            Step::CommitDeferred(session) => self.commit_deferred(*session),
            Step::Rollback(session) => self.end(*session, Transaction::rollback),
            Step::Prepare(session) => self.prepare(*session),
            Step::Decide { which, commit } => self.decide(*which, *commit),
            Step::Drop(session) => self.end(*session, |txn| {
                drop(txn);
                Ok(())
            }),
            Step::Wait => self.wait(),
            Step::Fault(fault) => {
                self.inject(*fault);
                Ok(())
            }
            Step::Close => self.close(),
            Step::Kill(faults) => {
                self.kill();
                self.recover(faults);
                Ok(())
            }
            Step::PowerFailure(fate, faults) => {
                self.power_failure(*fate);
                self.recover(faults);
                Ok(())
            }
            _ => self.engine_step(step),
        }
    }

    fn engine_step(&mut self, step: &Step) -> Result<()> {
        let db = self.db().clone();
        match step {
            Step::Checkpoint => db.checkpoint().map(drop),
            Step::BeginCheckpoint => {
                self.begun = Some(db.begin_checkpoint()?);
                Ok(())
            }
            Step::CompleteCheckpoint => {
                self.begun.take().map_or(Ok(()), |begun| db.complete_checkpoint(begun).map(drop))
            }
            Step::FlushPage(number) => {
                let dirty = db.dirty_page_table();
                let page = dirty.iter().nth(usize::from(*number) % dirty.len().max(1));
                page.map_or(Ok(()), |(page, _)| db.flush_page(page))
            }
            Step::FlushPages => db.flush_pages(),
            Step::ForceLog => db.force_log().map(drop),
            Step::Background => db.step().map(drop),
            Step::Audit => audit::state(&db, self.oracle.model.state())
                .and_then(|()| audit::clean_pages(&db, &self.disk)),
            other => unreachable!("{other:?} is no step of the engine"),
        }
    }

    fn with_session(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut Oracle, &mut Session) -> Result<()>,
    ) -> Result<()> {
        if self.sessions[number].is_none() {
            let txn = self.db().begin()?;
            self.sessions[number] = Some(Session { txn, savepoints: Savepoints::new() });
        }
        let session = self.sessions[number].as_mut().expect("just made");
        act(&mut self.oracle, session)
    }

    /// Notes the end of a transaction that wrote its record.
    fn ended(&mut self, txn: TxnId, kind: &str, deed: Deed) -> Option<Lsn> {
        self.oracle.locks.release_all(txn);
        let lsn = self.journal.last(txn, kind)?;
        self.oracle.model.happened(lsn, txn, deed);
        Some(lsn)
    }

    fn commit(&mut self, session: usize) -> Result<()> {
        let Some(Session { txn, .. }) = self.sessions[session].take() else { return Ok(()) };
        let (id, changed) = (txn.id(), txn.entry().last_lsn.is_some());
        let committed = txn.commit();
        let lsn = self.ended(id, "Commit", Deed::Commit);
        match committed {
            Ok(returned) if changed => {
                assert_eq!(lsn, Some(returned));
                self.acknowledged.insert(returned);
            }
            // What it read is durable with it.
            Ok(_) => self.acknowledged.extend(self.oracle.model.commits()),
            Err(Error::OutcomeUnknown { txn, .. }) if changed => {
                assert!(txn == id && lsn.is_some(), "{id} may have committed");
            }
            Err(_) => assert_eq!(lsn, None, "{id} did not commit"),
        }
        committed.map(drop)
    }

    fn commit_deferred(&mut self, session: usize) -> Result<()> {
        let Some(Session { txn, .. }) = self.sessions[session].take() else { return Ok(()) };
        let (id, changed) = (txn.id(), txn.entry().last_lsn.is_some());
        let ticket = txn.commit_deferred();
        let lsn = self.ended(id, "Commit", Deed::Commit);
        let ticket = ticket?;
        if changed {
            assert_eq!(lsn, Some(ticket.lsn()));
            self.tickets.push(ticket);
        }
        Ok(())
    }

    fn end(&mut self, session: usize, end: impl FnOnce(Transaction) -> Result<()>) -> Result<()> {
        let Some(Session { txn, .. }) = self.sessions[session].take() else { return Ok(()) };
        let id = txn.id();
        let ended = end(txn);
        self.ended(id, "End", Deed::Rollback);
        ended
    }

    fn prepare(&mut self, session: usize) -> Result<()> {
        let Some(Session { txn, .. }) = self.sessions[session].take() else { return Ok(()) };
        let (id, first_lsn) = (txn.id(), txn.entry().first_lsn);
        let prepared = txn.prepare(&audit::global_id(id));
        let Some(prepare_lsn) = self.journal.last(id, "Prepare") else {
            self.oracle.locks.release_all(id);
            return prepared.map(drop);
        };
        let locks = self.oracle.locks.prepared(id);
        let first_lsn = first_lsn.unwrap_or(prepare_lsn);
        let in_doubt = InDoubt { first_lsn, prepare_lsn, locks };
        self.oracle.model.happened(prepare_lsn, id, Deed::Prepare(in_doubt));
        if prepared.is_ok() {
            self.acknowledged.insert(prepare_lsn);
        }
        let unknown = matches!(prepared, Err(Error::OutcomeUnknown { txn, .. }) if txn == id);
        assert!(unknown || matches!(prepared, Ok(lsn) if lsn == prepare_lsn), "{prepared:?}");
        prepared.map(drop)
    }

    fn decide(&mut self, which: u8, commit: bool) -> Result<()> {
        let in_doubt: Vec<TxnId> = self.oracle.model.in_doubt().keys().copied().collect();
        let Some(txn) = in_doubt.get(usize::from(which) % in_doubt.len().max(1)).copied() else {
            let nobody = self.db().commit_prepared(b"nobody");
            assert!(matches!(nobody, Err(Error::NoSuchPrepared { .. })));
            return Ok(());
        };
        if commit {
            let decided = self.db().commit_prepared(&audit::global_id(txn));
            let lsn = self.ended(txn, "Commit", Deed::Commit);
            let lsn = decided.inspect(|decided| assert_eq!(lsn, Some(*decided)))?;
            self.acknowledged.insert(lsn);
            return Ok(());
        }
        let decided = self.db().rollback_prepared(&audit::global_id(txn));
        if let Some(lsn) = self.journal.last(txn, "Rollback") {
            self.oracle.model.happened(lsn, txn, Deed::RollbackBegan);
        }
        let lsn = self.ended(txn, "End", Deed::Rollback);
        decided?;
        self.acknowledged.extend(lsn);
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        if self.tickets.is_empty() {
            return Ok(());
        }
        let lsn = self.tickets.remove(0).wait()?;
        self.acknowledged.insert(lsn);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let active = self.sessions.iter().flatten().count();
        if active > 0 {
            let refused = self.db().clone().close();
            assert!(matches!(refused, Err(Error::InvalidInput(_))), "{active} are under way");
            return Ok(());
        }
        self.db.take().expect("the database is open").close()?;
        self.acknowledged.extend(self.oracle.model.commits());
        self.forget();
        self.reopen()?;
        let report = self.db().restart_report();
        assert!(report.clean && report.redo.from.is_none() && report.tail_rewritten == 0);
        Ok(())
    }

    fn inject(&mut self, fault: Fault) {
        if self.failure.is_none() {
            self.failure = Some(fault.failure);
            let kind = match fault.failure {
                Failure::Power(_) => FaultKind::PowerOff,
                Failure::InputOutput { .. } => FaultKind::InputOutputError,
            };
            let at = self.disk.io_count() + u64::from(fault.after);
            self.disk.inject(disk::Fault { at, kind, forever: false });
        }
    }

    /// A call failed: only because that was asked for.
    fn failed(&mut self, error: &Error) {
        self.fail(error);
        self.recover(&[]);
    }

    fn fail(&mut self, error: &Error) {
        let failure = self.failure.take().unwrap_or_else(|| panic!("nothing failed, but: {error}"));
        let plausible = match error {
            Error::Io { source, .. } => {
                source.raw_os_error() == Some(5) || source.to_string() == "power is off"
            }
            Error::Poisoned { reason } | Error::OutcomeUnknown { reason, .. } => {
                reason.contains("power is off") || reason.contains("os error 5")
            }
            _ => false,
        };
        assert!(plausible, "{failure:?} led to: {error}");
        match failure {
            Failure::Power(fate) => self.power_failure(fate),
            Failure::InputOutput { drop_cache, marked } => {
                self.kill();
                if !marked {
                    self.disk.remove_file("distrust");
                }
                if drop_cache {
                    self.disk.drop_cache();
                }
            }
        }
    }

    /// The process dies: what it had only in memory is gone, the disk's cache stays.
    pub fn kill(&mut self) {
        if let Some(db) = self.db.take() {
            self.flushed = Some(db.stats().flushed_lsn);
            self.note_durable_tickets();
            // From here on nothing reaches the disk, so transactions can be dropped.
            self.disk.set_read_only(true);
            assert!(db.checkpoint().is_err(), "the disk is read-only");
        }
        self.forget();
        self.disk.set_read_only(false);
    }

    pub fn power_failure(&mut self, fate: Fate) {
        let image = self.disk.crash(&survivors(&self.disk, fate));
        self.kill();
        self.disk = image;
        self.failure = None;
    }

    fn forget(&mut self) {
        self.sessions = Default::default();
        self.tickets.clear();
        self.begun = None;
    }

    fn note_durable_tickets(&mut self) {
        let durable = self.tickets.iter().filter(|ticket| ticket.is_durable());
        self.acknowledged.extend(durable.map(CommitTicket::lsn));
    }

    /// Opens the database again, after failures.
    pub fn recover(&mut self, faults: &[Fault]) {
        let mut faults = faults.iter();
        loop {
            faults.next().into_iter().for_each(|fault| self.inject(*fault));
            match self.reopen() {
                Ok(()) => return,
                Err(error) => self.fail(&error),
            }
        }
    }

    /// Opens the database, and checks that all is there that must be, and nothing else.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn reopen(&mut self) -> Result<()> {
        every_number_of_threads_agrees(&self.disk, FRAMES);
        let opened = self.open(&self.disk, &self.journal);
        self.opened += 1;
        if let Some(end) = self.journal.take_log_end() {
            let lost: Vec<&Lsn> = self.acknowledged.iter().filter(|lsn| **lsn >= end).collect();
            assert!(lost.is_empty(), "acknowledged, but beyond the end of the log {end}: {lost:?}");
            assert!(self.flushed <= Some(end), "durable to {:?}, cut at {end}", self.flushed);
            self.oracle.model.cut(end);
        }
        let db = opened?;
        let report = db.restart_report();
        let end = report.analysis.end;
        let found = &report.analysis;
        let found = [&found.losers, &found.committed, &found.in_doubt];
        assert_eq!(found, self.journal.unended(end).each_ref(), "losers, committed, in doubt");
        let expected = self.oracle.model.after_crash(end);
        audit::open_database(&db, &expected)?;
        self.journal.check_log(&db)?;
        self.db = Some(db);
        self.acknowledged.clear();
        self.flushed = None;
        self.oracle = Oracle::default();
        self.oracle.locks = audit::locks(&expected.in_doubt);
        self.oracle.model.opened(expected);
        self.recover_once_more();
        Ok(())
    }

    /// A second crash, right after recovery, changes nothing.
    fn recover_once_more(&self) {
        let disk = self.disk.crash(&Survivors::None);
        let db = self.open(&disk, &Journal::default()).unwrap();
        let undo = &db.restart_report().undo;
        assert_eq!((undo.losers, undo.compensations, undo.ended), (0, 0, 0));
        audit::open_database(&db, self.oracle.model.running()).unwrap();
    }

    /// What can be seen without touching the disk.
    fn check(&mut self) {
        let open = self.sessions.iter().flatten();
        let open = open.map(|session| (session.txn.id(), *session.txn.entry()));
        audit::tables(self.db(), open, self.oracle.model.in_doubt());
        audit::in_doubt(self.db(), self.oracle.model.in_doubt());
        self.oracle.locks.check(self.db());
    }
}
