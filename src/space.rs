//! The space map: which pages are in use.
//!
//! Every so many pages stands a space map page with an entry for each page up to the next one
//! ([`crate::page::space_map`]). Changing an entry is an ordinary logged update of the map page; its
//! inverse touches that entry alone, so transactions may change neighbouring entries and roll back
//! independently of each other.
//!
//! ```text
//!            allocate (undo: free)                 free (undo: used)
//!     free ------------------------->  used  --------------------------->  free pending (T)
//!      ^                                                                          |
//!      +---------- after T's commit record, redo-only ----------------------------+
//!      +---------- at the end of a nested top action (undo: free pending) --------+
//! ```
//!
//! Invariants:
//! - only a free page is allocated: what a transaction frees is not handed out before it committed;
//! - whoever allocates or frees a page holds its existence lock exclusively, whoever works on its records
//!   holds it shared: so nobody's records are on a page that another may still give back;
//! - map pages are latched, never locked; no lock is waited for under a latch;
//! - the file has grown to hold a page, durably, before a record names it.
//!
//! Source: ARIES, section 10.3 on space management as logged, separately undoable updates.

mod frees;

use std::ops::Range;

pub use frees::pending_frees;

use crate::buffer::{BufferPool, PageWrite};
use crate::config::Sabotage;
use crate::error::{Error, Result};
use crate::ids::PageId;
use crate::lock::{LockManager, LockName, Mode};
use crate::log::Log;
use crate::page::{self, PageKind, PageOp, PageState, space_map};
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::txn::{AfterCommit, Transaction, Undoing, redo_only_price};

/// Payload of a change of one entry, at most (bytes).
const ENTRY_OP_BYTES: usize = 16;

/// A page of the space map, latched, and the bytes of the operations that a structure change does on it.
pub type MapChange<'p> = (PageWrite<'p>, Vec<u8>);

/// The space map of an open database.
pub struct SpaceMap {
    pool: Arc<BufferPool>,
    /// No page below this is free, as far as is known; searching starts here.
    hint: AtomicU64,
}

impl SpaceMap {
    /// The map of the pages in `pool`.
    #[must_use]
    pub fn new(pool: Arc<BufferPool>) -> Self {
        Self { pool, hint: AtomicU64::new(1) }
    }

    /// The pages.
    #[must_use]
    pub fn pool(&self) -> &BufferPool {
        &self.pool
    }

    fn locate(&self, page: PageId) -> (PageId, u16) {
        space_map::locate(page, self.pool.page_size())
    }

    /// The state of a page; `None` beyond the end of the file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the map is damaged; those of the pool.
    pub fn state(&self, page: PageId) -> Result<Option<PageState>> {
        if page.0 >= self.pool.pages() {
            return Ok(None);
        }
        let (map, entry) = self.locate(page);
        let guard = self.pool.fix_read(map)?;
        self.entry(map, guard.bytes(), entry).map(Some)
    }

    fn entry(&self, map: PageId, bytes: &[u8], entry: u16) -> Result<PageState> {
        space_map::state(bytes, entry).ok_or_else(|| {
            let expected = format!("a space map page with a valid entry {entry}");
            Error::corrupt(self.pool.place(map), expected, "something else")
        })
    }

    /// Refuses a page that is not allocated for records.
    ///
    /// # Errors
    /// [`Error::NoSuchPage`]; those of [`SpaceMap::state`].
    pub fn require_used(&self, page: PageId) -> Result<()> {
        let is_map = space_map::is_map_page(page, self.pool.page_size());
        if !is_map && self.state(page)? == Some(PageState::Used) {
            return Ok(());
        }
        Err(Error::NoSuchPage { page })
    }

    /// Allocates a page: the first free one, growing the file where there is none.
    ///
    /// # Errors
    /// [`Error::DiskFull`] is an ordinary error: the transaction can go on.
    pub fn allocate(&self, txn: &mut Transaction) -> Result<PageId> {
        txn.prepare_updates(2, ENTRY_OP_BYTES)?;
        let before = txn.savepoint();
        let page = self.take_free_page(txn)?;
        self.hint.store(page.0 + 1, Ordering::Relaxed);
        if let Err(error) = self.make_ready(txn, page) {
            // Else nobody would know of the page. Should this fail too, the engine stops.
            let _ = txn.rollback_to(before);
            return Err(error);
        }
        Ok(page)
    }

    fn take_free_page(&self, txn: &mut Transaction) -> Result<PageId> {
        let start = self.hint.load(Ordering::Relaxed);
        if let Some(page) = self.search(txn, start, self.pool.pages())? {
            return Ok(page);
        }
        if let Some(page) = self.search(txn, 1, start.min(self.pool.pages()))? {
            return Ok(page);
        }
        loop {
            let end = PageId(self.pool.pages());
            self.pool.grow_to_hold(end)?;
            if let Some(page) = self.search(txn, end.0, self.pool.pages())? {
                return Ok(page);
            }
        }
    }

    /// Takes the first free page of `from..to` that nobody holds a lock on.
    fn search(&self, txn: &mut Transaction, from: u64, to: u64) -> Result<Option<PageId>> {
        let mut next = from;
        while next < to {
            let (map, first) = self.locate(PageId(next));
            let end = to.min(map.0 + u64::from(space_map::entries_per_page(self.pool.page_size())));
            if self.has_free(txn.manager().log(), map, first, end)? {
                let mut guard = self.pool.fix_write(map)?;
                for page in next..end {
                    if self.try_take(txn, &mut guard, PageId(page))? {
                        return Ok(Some(PageId(page)));
                    }
                }
            }
            next = end;
        }
        Ok(None)
    }

    /// Looks, latched shared, whether the map page has a free entry from `first` to page `end`.
    fn has_free(&self, log: &Log, map: PageId, first: u16, end: u64) -> Result<bool> {
        let guard = self.pool.fix_read(map)?;
        for page in map.0 + u64::from(first)..end {
            let (_, entry) = self.locate(PageId(page));
            let state = self.entry(map, guard.bytes(), entry)?;
            if state == PageState::Free || reuses_early(log, state) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn try_take(
        &self,
        txn: &mut Transaction,
        map: &mut PageWrite<'_>,
        page: PageId,
    ) -> Result<bool> {
        let (_, entry) = self.locate(page);
        let state = self.entry(map.page(), map.bytes(), entry)?;
        // Under a latch a lock is only tried for.
        let name = LockName::PageExistence(page);
        // What this transaction itself has allocated or freed before, undo may still want back.
        let (locks, own) = (txn.manager().locks(), Mode::Exclusive);
        let taken = state == PageState::Free
            && !locks.holds(txn.id(), name, own)
            && locks.try_lock(txn.id(), name, own);
        if !taken && !reuses_early(txn.manager().log(), state) {
            return Ok(false);
        }
        let op = PageOp::SetState { entry, state: PageState::Used };
        txn.update(map, op, Undoing::Inverse)?;
        Ok(true)
    }

    /// So many free pages on which nobody holds a lock, for a structure change that will allocate them itself; in order. The file
    /// grows where there are too few. Without a latch held; others may take them meanwhile.
    ///
    /// # Errors
    /// [`Error::DiskFull`] is an ordinary error; [`Error::Corrupt`], final errors.
    pub fn find_free(&self, locks: &LockManager, count: usize) -> Result<Vec<PageId>> {
        let (mut found, hint) = (Vec::new(), self.hint.load(Ordering::Relaxed));
        for range in [hint..self.pool.pages(), 1..hint.min(self.pool.pages())] {
            self.collect_free(locks, range, count, &mut found)?;
        }
        while found.len() < count {
            let end = self.pool.pages();
            self.pool.grow_to_hold(PageId(end))?;
            self.collect_free(locks, end..self.pool.pages(), count, &mut found)?;
        }
        found.sort_unstable();
        Ok(found)
    }

    fn collect_free(
        &self,
        locks: &LockManager,
        pages: Range<u64>,
        count: usize,
        found: &mut Vec<PageId>,
    ) -> Result<()> {
        let mut next = pages.start;
        while next < pages.end && found.len() < count {
            let (map, first) = self.locate(PageId(next));
            let behind = map.0 + u64::from(space_map::entries_per_page(self.pool.page_size()));
            let guard = self.pool.fix_read(map)?;
            for (page, entry) in (next..behind.min(pages.end)).zip(first..) {
                if found.len() < count
                    && self.is_free(locks, map, guard.bytes(), (PageId(page), entry))?
                {
                    found.push(PageId(page));
                }
            }
            next = behind;
        }
        Ok(())
    }

    fn is_free(
        &self,
        locks: &LockManager,
        map: PageId,
        bytes: &[u8],
        (page, entry): (PageId, u16),
    ) -> Result<bool> {
        let state = self.entry(map, bytes, entry)?;
        Ok(state == PageState::Free && !locks.is_locked(LockName::PageExistence(page)))
    }

    /// Latches the map pages of `pages`, which are in order, for a structure change that sets each of them to `state`; gives
    /// each map page with the bytes of its operations. `None` if others were faster: a page that is to be used
    /// is not free any more.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; those of the pool.
    pub fn latch_maps(
        &self,
        locks: &LockManager,
        pages: &[PageId],
        state: PageState,
    ) -> Result<Option<Vec<MapChange<'_>>>> {
        let mut maps: Vec<MapChange<'_>> = Vec::new();
        for page in pages {
            let (map, entry) = self.locate(*page);
            if maps.last().is_none_or(|(last, _)| last.page() != map) {
                maps.push((self.pool.fix_write(map)?, Vec::new()));
            }
            let (guard, ops) = maps.last_mut().expect("just pushed");
            let is_taken = state == PageState::Used
                && !self.is_free(locks, map, guard.bytes(), (*page, entry))?;
            if is_taken {
                return Ok(None);
            }
            ops.extend(PageOp::several(&[PageOp::SetState { entry, state }]));
        }
        Ok(Some(maps))
    }

    /// These pages were allocated, or freed, by a structure change.
    pub fn changed(&self, pages: &[PageId], state: PageState) {
        match (state, pages) {
            (PageState::Used, [.., last]) => self.hint.store(last.0 + 1, Ordering::Relaxed),
            (_, [first, ..]) => _ = self.hint.fetch_min(first.0, Ordering::Relaxed),
            (_, []) => {}
        }
    }

    /// Empties a page that was used before. A page that never was needs no record.
    fn make_ready(&self, txn: &mut Transaction, page: PageId) -> Result<()> {
        let mut guard = self.pool.fix_write(page)?;
        if page::kind(guard.bytes()) != Some(PageKind::Unformatted) {
            txn.update(&mut guard, PageOp::Format { kind: PageKind::Slotted }, Undoing::RedoOnly)?;
        }
        Ok(())
    }

    /// Frees a page, once the transaction commits. The caller holds its existence lock
    /// exclusively, and passes the page to [`PendingFrees`] at commit.
    ///
    /// # Errors
    /// [`Error::NoSuchPage`] when it is not in use; those of the pool and the log.
    pub fn free(&self, txn: &mut Transaction, page: PageId) -> Result<()> {
        self.require_used(page)?;
        // One update now, and one after the commit, which must not fail for want of log.
        txn.prepare_for_commit(ENTRY_OP_BYTES)?;
        txn.prepare_update(ENTRY_OP_BYTES)?;
        let (map, entry) = self.locate(page);
        let mut guard = self.pool.fix_write(map)?;
        let state = PageState::FreePending(txn.id());
        txn.update(&mut guard, PageOp::SetState { entry, state }, Undoing::Inverse)?;
        Ok(())
    }

    /// Makes a page free that a nested top action freed, just before the action ends: from then on
    /// it stays freed, whatever becomes of the transaction. Nobody can allocate it before the
    /// transaction has ended, for it holds the existence lock: so this can be undone should the
    /// action not be ended after all.
    ///
    /// # Errors
    /// [`Error::DiskFull`]; those of the pool.
    pub fn free_at_once(&self, txn: &mut Transaction, page: PageId) -> Result<()> {
        txn.prepare_update(ENTRY_OP_BYTES)?;
        self.make_free(txn, page, Undoing::Inverse)
    }

    /// Makes a page free that the committed transaction freed, if it is still pending.
    fn finish_free(&self, txn: &mut Transaction, page: PageId) -> Result<()> {
        self.make_free(txn, page, Undoing::RedoOnly)
    }

    fn make_free(&self, txn: &mut Transaction, page: PageId, undoing: Undoing<'_>) -> Result<()> {
        let (map, entry) = self.locate(page);
        let mut guard = self.pool.fix_write(map)?;
        if self.entry(map, guard.bytes(), entry)? == PageState::FreePending(txn.id()) {
            let op = PageOp::SetState { entry, state: PageState::Free };
            txn.update(&mut guard, op, undoing)?;
            self.hint.fetch_min(page.0, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Whether a page is given out again, with nobody's leave, while it is being freed: only where a rule is broken.
fn reuses_early(log: &Log, state: PageState) -> bool {
    matches!(state, PageState::FreePending(_)) && log.breaks(Sabotage::FreedPageReusedEarly)
}

/// The pages that a transaction freed: they become free after its commit record.
pub struct PendingFrees<'s> {
    space: &'s SpaceMap,
    pages: &'s [PageId],
}

impl<'s> PendingFrees<'s> {
    /// These pages, once or more often each; those that were not freed after all are passed over.
    #[must_use]
    pub fn new(space: &'s SpaceMap, pages: &'s [PageId]) -> Self {
        Self { space, pages }
    }
}

impl AfterCommit for PendingFrees<'_> {
    fn is_needed(&self) -> bool {
        !self.pages.is_empty()
    }

    fn log_price(&self, log: &Log) -> u64 {
        self.pages.len() as u64 * redo_only_price(log, ENTRY_OP_BYTES)
    }

    fn finish(&self, txn: &mut Transaction) -> Result<()> {
        self.pages.iter().try_for_each(|page| self.space.finish_free(txn, *page))
    }
}
