//! The buffer pool: pages in memory, written back whenever it suits (steal), not at commit
//! (no-force).
//!
//! A page is *fixed* to keep it in its frame, and *latched* (shared or exclusive, briefly) to read or
//! change it. [`PageRead`] and [`PageWrite`] do both, and only the pool makes them. A page that is not
//! fixed may be evicted: if it is dirty it is first written, which needs the log to be durable up to
//! its pageLSN.
//!
//! ```text
//!                       fix (miss)                 last unfix
//!      free or clean  ------------->  fixed frame ------------> unfixed: victim of the clock
//!         ^    ^                        | change                   |          |
//!         |    +--- clean: reused ------|--------------------------+          | dirty
//!         |                             v                                     v
//!         +---- synced: rec_lsn := next_rec_lsn ---- batch: log forced, double-write, in place
//! ```
//!
//! Invariants:
//! - at most one frame holds a page, and the page table says which;
//! - a frame whose page is fixed, dirty or being written is not reused;
//! - latch order: a page's latch before its frame's `dirty`; the page table is locked only for moments, and
//!   nobody waits for a latch while holding it;
//! - the writer's mutex may be waited for with a page latched: whoever writes pages only *tries* for latches.
//!   So a thread may write others' pages to get a frame, or a page that it has rebuilt
//!   from the log, while it holds a latch itself;
//! - no page that a record has changed is written without a [`crate::log::DurableLsn`] that covers it;
//! - a page leaves the dirty page table only when its write is durable in place;
//! - a page that is damaged on disk is rebuilt from the log when it is read, or not served.
//!
//! Source: ARIES, sections 1.4 (steal, no-force), 4.4 (`rec_lsn`), 8 (rebuilding a page); clock replacement;
//! batches through the double-write file.

mod double_write;
mod frame;
mod guard;
#[cfg(all(test, loom))]
pub(crate) mod models;
mod pages_file;
mod repair;
mod resident;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

pub use double_write::{
    BATCH_PAGES, DOUBLE_WRITE_FILE, DOUBLE_WRITE_HEADER, DoubleWrite, Image, pages_of_batch,
    read_batch,
};
pub use guard::{PageRead, PageWrite};
pub use pages_file::{PAGES_FILE, PagesFile};
pub use resident::ResidentPage;

use frame::{Contents, Frame};

use crate::config::{Config, TornPageProtection};
use crate::error::{Error, Place, Result};
use crate::event::{Event, Observers};
use crate::ids::{BuildNumberHasher, PageId};
use crate::log::{ControlFile, Log};
use crate::page;
use crate::sync::{
    Arc, AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, Rule,
    RwLockWriteGuard, broken,
};

/// How long somebody waits for a frame when all are fixed, in all and at a time: fixes are short, so
/// a frame that does not come free soon will not come free at all.
const FRAME_WAIT_ROUNDS: u32 = 50;
const FRAME_WAIT: Duration = Duration::from_millis(10);

/// Which frame holds which page.
#[derive(Default)]
struct PageTable {
    frames: HashMap<PageId, usize, BuildNumberHasher>,
    /// The clock's hand.
    hand: usize,
}

/// What the clock found.
enum Victim {
    /// A frame that can be reused at once.
    Clean(usize),
    /// Only dirty pages are not fixed: some must be written first.
    Dirty,
    /// Every page is fixed.
    None,
}

/// Counts of what the pool did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolStatistics {
    /// Pages found in the pool.
    pub hits: u64,
    /// Pages read from disk.
    pub misses: u64,
    /// Pages written in place.
    pub written: u64,
}

/// The buffer pool of an open database.
pub struct BufferPool {
    frames: Vec<Frame>,
    /// All frames from here on have never been used: a large pool may be all but empty.
    used: AtomicUsize,
    /// No page is dirty since before this: the cleaner need not look at all frames again to find that out. (One of which it is
    /// published late is found a little later.)
    clean_before: AtomicU64,
    table: Mutex<PageTable>,
    unfixed: Condvar,
    file: PagesFile,
    /// Most pages in a batch: they are fixed while it is written, and others need frames too.
    batch_pages: usize,
    /// Held while a batch is written: one at a time.
    writer: Mutex<DoubleWrite>,
    protection: TornPageProtection,
    /// Whether damaged pages are rebuilt when they are read.
    repairs: AtomicBool,
    /// Damaged pages that the log was searched for in vain.
    beyond_repair: Mutex<BTreeSet<PageId>>,
    control: Arc<Mutex<ControlFile>>,
    log: Arc<Log>,
    observers: Observers,
    hits: AtomicU64,
    misses: AtomicU64,
    written: AtomicU64,
}

impl BufferPool {
    /// An empty pool. Unless every page goes through the double-write file, that holds no complete
    /// batch.
    #[must_use]
    pub fn new(
        config: &Config,
        file: PagesFile,
        double_write: DoubleWrite,
        control: Arc<Mutex<ControlFile>>,
        log: Arc<Log>,
        observers: Observers,
    ) -> Self {
        Self {
            frames: (0..config.frames).map(|_| Frame::default()).collect(),
            used: AtomicUsize::new(0),
            clean_before: AtomicU64::new(0),
            table: Mutex::default(),
            unfixed: Condvar::new(),
            file,
            batch_pages: BATCH_PAGES.min(config.frames / 2),
            writer: Mutex::new(double_write),
            protection: config.torn_page_protection,
            repairs: AtomicBool::new(false),
            beyond_repair: Mutex::default(),
            control,
            log,
            observers,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    /// Bytes of a page.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.file.page_size()
    }

    /// Frames of the pool.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Tells the disk that `count` pages from `first` on will be read soon.
    pub fn read_ahead(&self, first: PageId, count: u64) {
        self.file.read_ahead(first, count);
    }

    /// Pages in the file.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.file.pages()
    }

    /// The place of a page, for messages.
    #[must_use]
    pub fn place(&self, page: PageId) -> Place {
        self.file.place(page)
    }

    /// What the pool did so far.
    #[must_use]
    pub fn statistics(&self) -> PoolStatistics {
        PoolStatistics {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            written: self.written.load(Ordering::Relaxed),
        }
    }

    /// Fixes a page and latches it shared.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the page on disk is damaged, [`Error::OutOfFrames`], final errors.
    pub fn fix_read(&self, page: PageId) -> Result<PageRead<'_>> {
        loop {
            let frame = self.fix(page)?;
            let contents = self.frames[frame].latch.read();
            if contents.page == Some(page) {
                return Ok(PageRead::new(self, frame, contents));
            }
            drop(contents); // Whoever was reading it failed: try, and fail, ourselves.
            self.unfix(frame);
        }
    }

    /// Fixes a page and latches it exclusive.
    ///
    /// # Errors
    /// As [`BufferPool::fix_read`].
    pub fn fix_write(&self, page: PageId) -> Result<PageWrite<'_>> {
        loop {
            let frame = self.fix(page)?;
            let contents = self.frames[frame].latch.write();
            if contents.page == Some(page) {
                return Ok(PageWrite::new(self, frame, contents));
            }
            drop(contents);
            self.unfix(frame);
        }
    }

    /// Grows the file so that it has `page`. Without a latch held.
    ///
    /// # Errors
    /// [`Error::DiskFull`] is an ordinary error; others are final.
    pub fn grow_to_hold(&self, page: PageId) -> Result<()> {
        self.log.poison().check()?;
        let wanted = page
            .0
            .checked_add(1)
            .ok_or_else(|| Error::InvalidInput(format!("page {page} is beyond every file")))?;
        let count = |pages| {
            let mut control = self.control.lock();
            let counted = control.update_both(|master| master.pages = pages);
            counted.map_err(|error| self.log.poison().stop(error))
        };
        if wanted <= self.file.pages() {
            return Ok(());
        }
        // Growing syncs the file. Should that fail, no page may have been written in place, and not be
        // durable there, whose writer would be told next that all is well.
        let writer = self.writer.lock();
        let grown = self.file.grow_to(wanted, count);
        drop(writer);
        match grown {
            Ok(true) => {
                self.observers.emit(|| Event::PagesGrown { pages: self.file.pages() });
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) if error.is_disk_full() => Err(error),
            Err(error) => Err(self.log.poison().stop(error)),
        }
    }

    /// Fixes the page's frame; reads the page into one if it is in none. The caller latches the
    /// frame and looks whether the page is really there.
    fn fix(&self, page: PageId) -> Result<usize> {
        let mut waits = 0;
        loop {
            let mut table = self.table.lock();
            if let Some(&frame) = table.frames.get(&page) {
                let table = (!broken(Rule::FixedUnderTable)).then_some(table);
                self.frames[frame].fix();
                drop(table);
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Ok(frame);
            }
            match self.victim(&mut table) {
                Victim::Clean(frame) => {
                    if broken(Rule::LookedUpAndEnteredAtOnce) {
                        drop(table);
                        table = self.table.lock();
                    }
                    self.load(table, page, frame)?;
                    return Ok(frame);
                }
                Victim::Dirty => {
                    drop(table);
                    self.log.poison().check()?;
                    self.write_for_frames()?;
                }
                Victim::None if waits < FRAME_WAIT_ROUNDS => {
                    // Who writes pages has them fixed until the disk is done, however long it takes.
                    waits += u32::from(self.writer.try_lock().is_some());
                    self.unfixed.wait_for(&mut table, FRAME_WAIT);
                }
                Victim::None => {
                    return Err(Error::OutOfFrames { frames: self.frames.len() });
                }
            }
        }
    }

    /// The frames that were ever used.
    fn used_frames(&self) -> &[Frame] {
        &self.frames[..self.used.load(Ordering::Acquire)]
    }

    fn unfix(&self, frame: usize) {
        self.frames[frame].unfix();
        if self.frames[frame].fixes() == 0 {
            self.unfixed.notify_one();
        }
    }

    /// Runs the clock: two rounds, the first of which may only take references away.
    fn victim(&self, table: &mut PageTable) -> Victim {
        let mut dirty = false;
        for _ in 0..2 * self.frames.len() {
            let index = table.hand;
            table.hand = (index + 1) % self.frames.len();
            let frame = &self.frames[index];
            if frame.fixes() > 0 {
                continue;
            }
            let state = *frame.dirty.lock();
            let is_dirty = state.writing || state.rec_lsn.is_some();
            if is_dirty && !broken(Rule::DirtyFramesStay) {
                dirty = true;
            } else if !frame.take_reference() {
                return Victim::Clean(index);
            }
        }
        if dirty { Victim::Dirty } else { Victim::None }
    }

    /// Takes over a clean, unfixed frame for `page` and reads it.
    fn load(&self, mut table: MutexGuard<'_, PageTable>, page: PageId, index: usize) -> Result<()> {
        let frame = &self.frames[index];
        frame.fix();
        self.used.fetch_max(index + 1, Ordering::Release);
        let mut contents =
            frame.latch.try_write().expect("a page that is not fixed is not latched");
        if let Some(old) = contents.page.take() {
            table.frames.remove(&old);
            self.observers.emit(|| Event::PageEvicted { page: old });
        }
        table.frames.insert(page, index);
        drop(table);
        if let Err(error) = self.read(page, &mut contents) {
            self.forget(page, contents);
            self.unfix(index);
            return Err(error);
        }
        frame.dirty.lock().page = Some(page);
        contents.page = Some(page);
        self.misses.fetch_add(1, Ordering::Relaxed);
        self.observers.emit(|| Event::PageRead { page });
        Ok(())
    }

    fn read(&self, page: PageId, contents: &mut Contents) -> Result<()> {
        if contents.bytes.is_empty() {
            contents.bytes = vec![0; self.page_size()].into_boxed_slice();
        }
        self.read_or_repair(page, &mut contents.bytes)?;
        self.log.check_page_lsn(page::page_lsn(&contents.bytes), || self.place(page))
    }

    /// Takes a page that could not be read out of the table again, before its latch is released.
    fn forget(&self, page: PageId, contents: RwLockWriteGuard<'_, Contents>) {
        self.table.lock().frames.remove(&page);
        drop(contents);
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        let leaked = || self.frames.iter().any(|frame| frame.fixes() > 0);
        debug_assert!(std::thread::panicking() || !leaked(), "a page was fixed and never unfixed");
    }
}
