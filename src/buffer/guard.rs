//! Page guards: while one lives, the page is fixed and latched.

use super::BufferPool;
use super::frame::Contents;
use crate::config::{Sabotage, TornPageProtection};
use crate::ids::{Lsn, PageId};
use crate::page::{self, OpFault, PageOp};
use crate::sync::{RwLockReadGuard, RwLockWriteGuard};

/// Takes the fix back when dropped. Comes last in a guard: the latch goes first.
struct Fixed<'p> {
    pool: &'p BufferPool,
    frame: usize,
}

impl Drop for Fixed<'_> {
    fn drop(&mut self) {
        self.pool.unfix(self.frame);
    }
}

/// A page that may be read.
pub struct PageRead<'p> {
    contents: RwLockReadGuard<'p, Contents>,
    _fixed: Fixed<'p>,
}

impl<'p> PageRead<'p> {
    pub(super) fn new(
        pool: &'p BufferPool,
        frame: usize,
        contents: RwLockReadGuard<'p, Contents>,
    ) -> Self {
        Self { contents, _fixed: Fixed { pool, frame } }
    }

    /// The page's bytes. The checksum in them is not kept up to date in memory.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.contents.bytes
    }

    /// The page's LSN.
    #[must_use]
    pub fn page_lsn(&self) -> Option<Lsn> {
        page::page_lsn(self.bytes())
    }
}

/// A page that may be changed, by logged operations only.
pub struct PageWrite<'p> {
    contents: RwLockWriteGuard<'p, Contents>,
    page: PageId,
    published: Option<Lsn>,
    /// Whether a change through this guard is in the dirty page table. While the guard lives the page
    /// cannot be copied for writing, so later changes alter nothing there.
    dirtied: bool,
    fixed: Fixed<'p>,
}

impl<'p> PageWrite<'p> {
    pub(super) fn new(
        pool: &'p BufferPool,
        frame: usize,
        contents: RwLockWriteGuard<'p, Contents>,
    ) -> Self {
        let page = contents.page.expect("only a page that was read is handed out");
        Self { contents, page, published: None, dirtied: false, fixed: Fixed { pool, frame } }
    }

    /// The page.
    #[must_use]
    pub fn page(&self) -> PageId {
        self.page
    }

    /// The page's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.contents.bytes
    }

    /// The page's LSN.
    #[must_use]
    pub fn page_lsn(&self) -> Option<Lsn> {
        page::page_lsn(self.bytes())
    }

    /// Says that a change is about to be logged at `bound` or later. From here on the page is in
    /// the dirty page table, so that no checkpoint can miss the change.
    pub fn publish_rec_lsn(&mut self, bound: Lsn) {
        let mut dirty = self.fixed.pool.frames[self.fixed.frame].dirty.lock();
        if self.fixed.pool.log.breaks(Sabotage::RecLsnOverwritten) && !dirty.writing {
            dirty.rec_lsn = None;
        }
        dirty.publish(bound);
        drop(dirty);
        self.published = Some(bound);
    }

    /// Applies the change that the record at `lsn` describes, and stamps the page with it: the only
    /// way in which a page's bytes change, in normal running and in restart alike.
    ///
    /// # Errors
    /// [`OpFault`] when the page does not admit the operation; nothing has changed then.
    ///
    /// # Panics
    /// If `lsn` is not above the page's.
    pub fn redo(&mut self, op: &PageOp<'_>, lsn: Lsn) -> Result<(), OpFault> {
        op.apply(&mut self.contents.bytes)?;
        self.settle(lsn, op.starts_anew());
        let unstamped = self.fixed.pool.log.breaks(Sabotage::PageLsnNotStamped);
        if !unstamped || self.page_lsn().is_none() {
            page::set_page_lsn(&mut self.contents.bytes, lsn);
        }
        Ok(())
    }

    /// Changes the page and says so to nobody. Only a broken rule asks for it.
    pub fn change_without_log(&mut self, op: &PageOp<'_>) {
        assert!(self.fixed.pool.log.breaks(Sabotage::NoCompensation), "changes are logged");
        let _ = op.apply(&mut self.contents.bytes);
        let bound = self.fixed.pool.log.end_lsn();
        self.fixed.pool.frames[self.fixed.frame].dirty.lock().publish(bound);
    }

    /// Whether the page should be logged whole before it is changed: its next write in place would be
    /// protected by nothing else.
    #[must_use]
    pub fn needs_image(&self) -> bool {
        self.fixed.pool.protection == TornPageProtection::PageImages
            && self.fixed.pool.frames[self.fixed.frame].dirty.lock().lacks_image()
    }

    /// The record at `lsn` is an image of the page as it stands: stamps the page with it. To apply it
    /// would change nothing else.
    ///
    /// # Panics
    /// If `lsn` is not above the page's.
    pub fn imaged(&mut self, lsn: Lsn) {
        self.settle(lsn, true);
        page::set_page_lsn(&mut self.contents.bytes, lsn);
    }

    fn settle(&mut self, lsn: Lsn, made_anew: bool) {
        let blind = self.fixed.pool.log.breaks(Sabotage::RedoWithoutPageLsn);
        assert!(self.page_lsn() < Some(lsn) || blind, "a page's LSN only grows");
        if !self.dirtied || self.published.is_some() || made_anew {
            let bound = self.published.take().unwrap_or(lsn);
            let mut dirty = self.fixed.pool.frames[self.fixed.frame].dirty.lock();
            dirty.publish(bound);
            dirty.settle(bound, lsn);
            if made_anew {
                dirty.made_anew();
            }
            self.dirtied = true;
        }
    }
}
