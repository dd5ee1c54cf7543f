//! The public face: a database of pages with records in slots, and transactions on them.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! let db = aries::Db::open(dir.path().join("mydb"))?;
//! let mut txn = db.begin()?;
//! let page = txn.allocate_page()?;
//! let slot = txn.insert_record(page, b"alice 100")?;
//! txn.commit()?; // durable on return
//!
//! let mut txn = db.begin()?;
//! assert_eq!(txn.read_record(page, slot)?.as_deref(), Some(&b"alice 100"[..]));
//! let here = txn.savepoint()?;
//! txn.write_record(page, slot, 6, b"250")?;
//! txn.rollback_to(here)?;
//! txn.commit()?;
//! db.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Dropping a [`Db`] without [`Db::close`] writes nothing: the next open recovers, as after a crash.

mod access;
mod background;
mod chains;
mod create;
mod inspect;
mod judge;
mod load;
mod options;
mod outside;
mod prepared;
mod table_check;
mod tables;
mod transaction;
mod unlogged;
mod verify;

pub use access::TableScan;
pub use inspect::Statistics;
pub use judge::verify_outside;
pub use options::{DEFAULT_PAGE_SIZE, Options};
pub use outside::{Outside, control_file};
pub use table_check::TablesReport;
pub use tables::Table;
pub use transaction::{NestedTopAction, Transaction};
pub use verify::{Finding, Verdict, VerifyReport, verify_closed};

pub use crate::txn::PreparedTransaction;

use background::Background;
use tables::Tables;
use unlogged::{Admission, Unlogged};

use crate::checkpoint::{Begun, Checkpoint};
use crate::config::{Config, Durability};
use crate::error::{Error, Result};
use crate::recovery::{Engine, RestartReport};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};

use std::path::Path;
use std::time::Instant;

/// What all handles and transactions of an open database share.
struct Shared {
    engine: Engine,
    /// What is below the engine if it logs nothing to disk.
    unlogged: Option<Unlogged>,
    restart_report: RestartReport,
    checkpoint_log_bytes: u64,
    /// Whether changes of keys are told in the log.
    log_key_changes: bool,
    /// The begin record of the latest checkpoint: pages dirty since before it are written.
    latest_checkpoint: AtomicU64,
    /// Where the log ended when it was complete, to tell when the next is due.
    checkpointed_at: AtomicU64,
    closed: AtomicBool,
    tables: Tables,
    /// When deferred commits were last forced in the background.
    forced_at: Mutex<Instant>,
}

/// An open database. Handles are cheap to clone and may be used from any thread.
#[derive(Clone)]
pub struct Db {
    shared: Arc<Shared>,
    background: Arc<Mutex<Option<Background>>>,
}

impl Db {
    /// Opens the database at `path` with the default [`Options`], recovering it first if need be;
    /// makes a new one where there is none.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(path)
    }

    fn start(
        engine: Engine,
        unlogged: Option<Unlogged>,
        restart_report: RestartReport,
        config: &Config,
    ) -> Self {
        let latest_checkpoint = engine.checkpointer.master().checkpoint_lsn;
        let shared = Arc::new(Shared {
            latest_checkpoint: AtomicU64::new(latest_checkpoint.get()),
            checkpointed_at: AtomicU64::new(engine.transactions.log().end_lsn().get()),
            engine,
            unlogged,
            restart_report,
            checkpoint_log_bytes: config.checkpoint_log_bytes,
            log_key_changes: config.log_key_changes,
            closed: AtomicBool::new(false),
            tables: Tables::default(),
            forced_at: Mutex::new(Instant::now()),
        });
        let background = config.background.then(|| Background::start(&shared));
        Self { shared, background: Arc::new(Mutex::new(background)) }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Poisoned`].
    pub fn begin(&self) -> Result<Transaction> {
        self.shared.check_open()?;
        let admission = self.shared.admit();
        let txn = self.shared.engine.transactions.begin()?;
        Ok(Transaction::new(Arc::clone(&self.shared), txn, admission))
    }

    /// Takes a fuzzy checkpoint and truncates the log; nobody is stopped, no page is written.
    ///
    /// # Errors
    /// [`Error::DiskFull`] when the log has no room for it; [`Error::Closed`], final errors.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let begun = self.begin_checkpoint()?;
        self.complete_checkpoint(begun)
    }

    /// The first half of a checkpoint: its begin record.
    ///
    /// # Errors
    /// As [`Db::checkpoint`].
    pub fn begin_checkpoint(&self) -> Result<Begun> {
        self.shared.check_open()?;
        self.shared.engine.checkpointer.begin()
    }

    /// The second half of a checkpoint: tables, end records, master record, truncation.
    ///
    /// # Errors
    /// As [`Db::checkpoint`].
    pub fn complete_checkpoint(&self, begun: Begun) -> Result<Checkpoint> {
        self.shared.check_open()?;
        let checkpoint = self.shared.engine.checkpointer.complete(begun)?;
        self.shared.checkpointed(&checkpoint);
        Ok(checkpoint)
    }

    /// Writes all pages that have changed, then takes a checkpoint: nothing is left to recover of what was committed before.
    ///
    /// Under [`Durability::Off`] this is what makes changes durable: all of them since the last flush, or, should a crash
    /// come first, none. It waits for a moment at which no transaction is active, no longer than the
    /// [lock timeout](Options::lock_timeout); so whoever calls it must not have one under way.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use aries::config::Durability;
    /// let db = aries::Options::new().durability(Durability::Off).open(dir.path().join("mydb"))?;
    /// let readings = db.table("readings")?;
    /// db.transact(|txn| txn.put(&readings, b"monday", b"17"))?;
    /// db.flush()?; // monday is durable, and all else that was committed
    /// db.transact(|txn| txn.put(&readings, b"tuesday", b"18"))?;
    /// drop(db); // as a crash would: tuesday is lost
    ///
    /// let db = aries::Db::open(dir.path().join("mydb"))?;
    /// let readings = db.table("readings")?;
    /// let mut txn = db.begin()?;
    /// assert!(txn.get(&readings, b"monday")?.is_some());
    /// assert!(txn.get(&readings, b"tuesday")?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when transactions did not end in time; [`Error::DiskFull`]: nothing is lost then, and it may be
    /// tried again. [`Error::Closed`], final errors.
    pub fn flush(&self) -> Result<()> {
        self.shared.check_open()?;
        if let Some(unlogged) = &self.shared.unlogged {
            return unlogged.flush(&self.shared.engine);
        }
        self.shared.engine.transactions.pool().flush_all()?;
        self.checkpoint().map(drop)
    }

    /// Does one round of what the background threads do: prepares log segments, forces deferred
    /// commits, writes old dirty pages, takes a checkpoint when one is due, takes leaves out of trees that hold nothing. Gives whether there was
    /// anything to do.
    ///
    /// # Errors
    /// [`Error::DiskFull`] is an ordinary error; [`Error::Closed`], final errors.
    pub fn step(&self) -> Result<bool> {
        self.shared.check_open()?;
        let log = self.shared.log_step()?;
        let pages = self.shared.page_step()?;
        let reclaimed = self.shared.reclaim_step()?;
        Ok(log || pages || reclaimed)
    }

    /// What the restart that opened this database found and did.
    #[must_use]
    pub fn restart_report(&self) -> &RestartReport {
        &self.shared.restart_report
    }

    /// Writes all pages, takes a checkpoint, and notes that nothing is to be recovered. All handles
    /// are closed with this one. Transactions in doubt stay in doubt: the next open finds them again.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] while transactions are under way: nothing is closed then; nor is it under
    /// [`Durability::Off`] when the disk is full ([`Error::DiskFull`]): other handles can [flush](Db::flush) later. Others leave the
    /// database as after a crash; no commit is lost.
    pub fn close(self) -> Result<()> {
        self.shared.check_open()?;
        self.shared.closed.store(true, Ordering::Release);
        // First the background: it has transactions of its own.
        let mut background = self.background.lock();
        let had_background = background.take().is_some();
        let active = self.shared.engine.transactions.under_way();
        if active > 0 {
            self.shared.closed.store(false, Ordering::Release);
            *background = had_background.then(|| Background::start(&self.shared));
            let message = format!("{active} transactions are under way: end them before closing");
            return Err(Error::InvalidInput(message));
        }
        let Some(unlogged) = &self.shared.unlogged else {
            return write_everything(&self.shared.engine);
        };
        let flushed = unlogged.flush(&self.shared.engine);
        if flushed.as_ref().is_err_and(Error::is_disk_full) {
            self.shared.closed.store(false, Ordering::Release);
            *background = had_background.then(|| Background::start(&self.shared));
        }
        flushed
    }
}

impl Shared {
    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        self.engine.transactions.log().poison().check()
    }

    /// Looking at what is in memory is still allowed when the engine has stopped.
    fn check_not_closed(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Prepares segments; forces commits that nobody waits for.
    fn log_step(&self) -> Result<bool> {
        let prepared = self.engine.transactions.log().prepare_step()?;
        let forced = self.may_force() && self.engine.transactions.force_deferred()?;
        Ok(prepared || forced)
    }

    /// Whether it is time to force commits that nobody waits for.
    fn may_force(&self) -> bool {
        match self.engine.transactions.log().durability() {
            Durability::Commit => true,
            Durability::Buffered | Durability::Off => false,
            Durability::Interval(interval) => {
                let mut forced_at = self.forced_at.lock();
                let is_time = forced_at.elapsed() >= interval;
                if is_time {
                    *forced_at = Instant::now();
                }
                is_time
            }
        }
    }

    /// Writes pages that keep the log from being truncated; takes a checkpoint when one is due.
    fn page_step(&self) -> Result<bool> {
        let latest = self.latest_checkpoint.load(Ordering::Acquire);
        let log = self.engine.transactions.log();
        let cleaned = match crate::ids::Lsn::new(latest) {
            Some(latest) => self.engine.transactions.pool().clean_step(latest)?,
            None => 0,
        };
        let since = log.end_lsn().get() - self.checkpointed_at.load(Ordering::Acquire);
        if since < self.checkpoint_log_bytes {
            return Ok(cleaned > 0);
        }
        self.checkpointed(&self.engine.checkpointer.checkpoint()?);
        Ok(true)
    }

    fn checkpointed(&self, checkpoint: &Checkpoint) {
        let end = self.engine.transactions.log().end_lsn();
        self.latest_checkpoint.fetch_max(checkpoint.begin_lsn.get(), Ordering::AcqRel);
        self.checkpointed_at.fetch_max(end.get(), Ordering::AcqRel);
    }

    /// Counts a transaction that is about to begin, where that matters.
    fn admit(&self) -> Option<Admission> {
        self.unlogged.as_ref().map(Unlogged::admit)
    }
}

/// Writes all pages, takes a checkpoint, and notes that nothing is to be recovered.
fn write_everything(engine: &Engine) -> Result<()> {
    let (log, pool) = (engine.transactions.log(), engine.transactions.pool());
    pool.flush_all()?;
    engine.checkpointer.checkpoint()?;
    let durable = log.force_all()?;
    engine.checkpointer.closed_at(durable.end())
}
