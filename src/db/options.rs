//! How a database is opened.

use std::path::Path;
use std::time::Duration;

use super::unlogged::Unlogged;
use super::{Db, create};
use crate::btree::FindCells;
use crate::config::{
    Broken, Config, Durability, LogBlock, RestartMode, TornPageProtection, WallClock, system_clock,
};
use crate::disk::{Disk, FileDisk};
use crate::error::{Error, Result};
use crate::event::{Observer, Observers};
use crate::log::{CONTROL_FILE, ControlFile, MasterRecord};
use crate::recovery::{Engine, RestartReport, distrust, restart};
use crate::sync::Arc;

/// Bytes of a page, where nothing else is said.
pub const DEFAULT_PAGE_SIZE: usize = 4096;
const DEFAULT_SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
const DEFAULT_POOL_BYTES: usize = 64 * 1024 * 1024;
const DEFAULT_CHECKPOINT_LOG_BYTES: u64 = 64 * 1024 * 1024;
/// More threads than these redo only if asked for.
const DEFAULT_REDO_THREADS: usize = 4;

/// How a database is opened, and how a new one is made.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let db = aries::Options::new()
///     .page_size(8192)
///     .buffer_pool_bytes(8 * 1024 * 1024)
///     .open(dir.path().join("accounts"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "options open nothing by themselves"]
pub struct Options {
    page_size: Option<usize>,
    segment_bytes: Option<u64>,
    buffer_pool_bytes: usize,
    checkpoint_log_bytes: u64,
    background: bool,
    durability: Durability,
    create_if_missing: bool,
    database_id: Option<u128>,
    torn_page_protection: TornPageProtection,
    restart: Option<RestartMode>,
    log_block: LogBlock,
    lock_timeout: Option<Duration>,
    log_key_changes: bool,
    wall_clock: WallClock,
    broken: Broken,
    observer: Option<Arc<dyn Observer>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            page_size: None,
            segment_bytes: None,
            buffer_pool_bytes: DEFAULT_POOL_BYTES,
            checkpoint_log_bytes: DEFAULT_CHECKPOINT_LOG_BYTES,
            background: true,
            durability: Durability::default(),
            create_if_missing: true,
            database_id: None,
            torn_page_protection: TornPageProtection::default(),
            restart: None,
            log_block: LogBlock::default(),
            lock_timeout: None,
            log_key_changes: false,
            wall_clock: system_clock,
            broken: Broken::default(),
            observer: None,
        }
    }
}

impl Options {
    /// The defaults: pages of 4 KiB, segments of 16 MiB, a pool of 64 MiB, a checkpoint after
    /// 64 MiB of log, background threads, a new database where there is none.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of a page: a power of two from 512 to 65536. Fixed when a database is made; opening one
    /// with another size is an error.
    pub fn page_size(mut self, bytes: usize) -> Self {
        self.page_size = Some(bytes);
        self
    }

    /// Bytes of a log segment: a power of two from 64 KiB (and 8 pages) to 64 MiB. Fixed when a
    /// database is made.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = Some(bytes);
        self
    }

    /// Bytes of memory for pages, at least 16 pages.
    pub fn buffer_pool_bytes(mut self, bytes: usize) -> Self {
        self.buffer_pool_bytes = bytes;
        self
    }

    /// A checkpoint is taken in the background after this many bytes of log.
    pub fn checkpoint_log_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_log_bytes = bytes;
        self
    }

    /// Whether background threads run (they do by default). Without them nothing happens but by the
    /// caller's calls, [`Db::step`] among them: then the same calls give the same I/O.
    pub fn background(mut self, run: bool) -> Self {
        self.background = run;
        self
    }

    /// What a commit waits for ([`Durability::Commit`] by default). Chosen anew at each open. What is
    /// [prepared](crate::Transaction::prepare), and a ticket that is waited for, is durable under each of them but
    /// [`Durability::Off`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Whether a database is made where there is none (it is by default).
    pub fn create_if_missing(mut self, create: bool) -> Self {
        self.create_if_missing = create;
        self
    }

    /// The id of a new database, random by default: the same id, calls and clock give the same
    /// bytes.
    pub fn database_id(mut self, id: u128) -> Self {
        self.database_id = Some(id);
        self
    }

    /// Breaks a rule on purpose, on a simulated disk: to see which crash exposes it. [`Options::open`] refuses it.
    #[cfg(feature = "sabotage")]
    pub fn sabotage(self, rule: crate::config::Sabotage) -> Self {
        self.broken_by(Broken::rule(rule))
    }

    pub(crate) fn broken_by(mut self, broken: Broken) -> Self {
        self.broken = broken;
        self
    }

    /// Whether the log also tells each put and each delete in full: table, key, the value before and after, and the time. For
    /// lessons, and for whoever reads the log; restart does not need it, and the log takes about twice the room. Not by default.
    /// Of a long value the log tells half a page; [`Db::load`](crate::Db::load) tells nothing.
    pub fn log_key_changes(mut self, log: bool) -> Self {
        self.log_key_changes = log;
        self
    }

    /// What commit records take the time from; that of the operating system by default.
    pub fn wall_clock(mut self, clock: WallClock) -> Self {
        self.wall_clock = clock;
        self
    }

    /// How torn pages are made whole ([`TornPageProtection::DoubleWrite`] by default). Chosen anew at
    /// each open; what an earlier run has written stays protected as it was. After an unclean end of a run
    /// with another protection, opening drops the database's files from the page cache.
    pub fn torn_page_protection(mut self, protection: TornPageProtection) -> Self {
        self.torn_page_protection = protection;
        self
    }

    /// How restart repeats history: by one thread or by several. By default by as many as the machine
    /// runs at once, four at most; by one thread without [background threads](Self::background).
    pub fn restart(mut self, mode: RestartMode) -> Self {
        self.restart = Some(mode);
        self
    }

    /// Whether a durable block of the log may be written again: by default it may
    /// ([`LogBlock::Rewritten`]). It may be another at each open.
    ///
    /// [`LogBlock::Padded`] costs log: each force of it takes whole blocks, so that a small commit
    /// takes a block of its own. It costs log space promised in advance: each update reserves two
    /// blocks more, one of them until its transaction ends. And after an unclean end opening drops
    /// the database's files from the page cache. A database that filled its disk without padding may
    /// have to be given room before it can be opened with it.
    pub fn log_block(mut self, block: LogBlock) -> Self {
        self.log_block = block;
        self
    }

    /// How long a transaction waits for a lock that others hold: then the call that wanted it fails with
    /// [`Error::LockTimeout`]. The transaction goes on to hold what it holds, so it should roll back and try
    /// again. By default (`None`) it waits until they have ended; deadlocks are found at once all the same.
    pub fn lock_timeout(mut self, longest: Option<Duration>) -> Self {
        self.lock_timeout = longest;
        self
    }

    /// Who is told what the engine does.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Opens the database in the directory at `path`, recovering it first if need be.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`], [`Error::NotADatabase`], [`Error::Mismatch`], [`Error::Corrupt`],
    /// [`Error::InvalidInput`], and those of the disk. Opening may always be tried again.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Db> {
        if self.broken.is_any() {
            let message = "a rule is broken on purpose on simulated disks only".to_owned();
            return Err(Error::InvalidInput(message));
        }
        let path = path.as_ref();
        let disk = match self.create_if_missing {
            true => FileDisk::create(path)?,
            false => FileDisk::open(path)?,
        };
        self.open_on(Arc::new(disk))
    }

    /// Opens the database on `disk`.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open_on(&self, disk: Arc<dyn Disk>) -> Result<Db> {
        let observers = Observers::new(self.observer.clone());
        #[cfg(feature = "sabotage")]
        if self.broken.is(crate::config::Sabotage::ShortWriteIgnored) {
            disk.ignore_short_writes();
        }
        match self.recover(&disk, &observers) {
            Ok((engine, report, config)) => {
                distrust::watch(&disk, engine.transactions.log().poison());
                if config.durability != Durability::Off {
                    return Ok(Db::start(engine, None, report, &config));
                }
                let (engine, unlogged) = Unlogged::over(&disk, engine, &config, &observers)?;
                Ok(Db::start(engine, Some(unlogged), report, &config))
            }
            Err(error) => {
                distrust::failed(disk.as_ref(), &error);
                Err(error)
            }
        }
    }

    /// Makes the database if there is none, and restarts it.
    fn recover(
        &self,
        disk: &Arc<dyn Disk>,
        observers: &Observers,
    ) -> Result<(Engine, RestartReport, Config)> {
        let marked = distrust::is_marked(disk.as_ref())?;
        if marked {
            distrust::distrust_cache(disk.as_ref(), marked, observers)?;
        }
        match create::look(disk.as_ref())? {
            create::Found::Database => {}
            create::Found::Nothing | create::Found::Unfinished if self.create_if_missing => {
                let page_size = self.page_size.unwrap_or(DEFAULT_PAGE_SIZE);
                let segment_bytes = self.segment_bytes.unwrap_or(DEFAULT_SEGMENT_BYTES);
                let config = self.config(page_size, segment_bytes)?;
                create::create(disk, &config, self.new_id(), observers)?;
            }
            create::Found::Nothing | create::Found::Unfinished => {
                let reason = "it holds no database yet".to_owned();
                return Err(Error::NotADatabase { path: disk.location(), reason });
            }
        }
        // A killed process may have left names in the page cache only: nothing is built on them
        // before they are durable.
        disk.sync_directory("")?;
        let control = ControlFile::open(disk.as_ref())?;
        let config = self.config_for(disk.as_ref(), &control.master())?;
        let (engine, report) =
            restart(Arc::clone(disk), control, &config, Arc::new(FindCells), observers)?;
        if marked {
            distrust::remove_mark(disk.as_ref())?;
        }
        Ok((engine, report, config))
    }

    fn config(&self, page_size: usize, segment_bytes: u64) -> Result<Config> {
        let config = Config {
            page_size,
            segment_bytes,
            frames: self.buffer_pool_bytes / page_size.max(1),
            checkpoint_log_bytes: self.checkpoint_log_bytes,
            background: self.background,
            durability: self.durability,
            restart: self.restart.unwrap_or_else(|| default_restart(self.background)),
            torn_page_protection: self.torn_page_protection,
            log_block: self.log_block,
            lock_timeout: self.lock_timeout,
            log_key_changes: self.log_key_changes,
            wall_clock: self.wall_clock,
            broken: self.broken,
        };
        config.check()?;
        Ok(config)
    }

    /// The settings that the database was made with, if the options do not ask for others.
    fn config_for(&self, disk: &dyn Disk, master: &MasterRecord) -> Result<Config> {
        let mismatch = |what, found: u64, expected: u64| Error::Mismatch {
            path: disk.location().join(CONTROL_FILE),
            what,
            found,
            expected,
        };
        let page_size = master.page_size as usize;
        if let Some(wanted) = self.page_size
            && wanted != page_size
        {
            return Err(mismatch("page size", page_size as u64, wanted as u64));
        }
        if let Some(wanted) = self.segment_bytes
            && wanted != master.segment_bytes
        {
            return Err(mismatch("segment size", master.segment_bytes, wanted));
        }
        self.config(page_size, master.segment_bytes)
    }

    fn new_id(&self) -> u128 {
        use std::hash::{BuildHasher, RandomState};
        self.database_id.unwrap_or_else(|| {
            // Each state is seeded by the operating system's randomness.
            let half = || u128::from(RandomState::new().hash_one(std::process::id()));
            half() << 64 | half()
        })
    }
}

fn default_restart(background: bool) -> RestartMode {
    if !background {
        return RestartMode::Serial;
    }
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match at_once.min(DEFAULT_REDO_THREADS) {
        threads @ 2.. => RestartMode::Parallel(threads),
        _ => RestartMode::Serial,
    }
}
