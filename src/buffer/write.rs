//! Writing pages back in batches: first, where they need it, to the double-write file, then in place.
//!
//! | protection | to the double-write file | then in place | then |
//! |---|---|---|---|
//! | `DoubleWrite` | all | all, synced | the batch stays until the next |
//! | `PageImages` | those the log cannot rebuild | all, synced | the batch is invalidated, if there was one |
//! | `None` | none | all, synced | |

use super::double_write::Image;
use super::frame::Contents;
use super::{BufferPool, DoubleWrite};
use crate::config::{Sabotage, TornPageProtection};
use crate::error::Result;
use crate::event::Event;
use crate::ids::{Lsn, PageId};
use crate::log::DurableLsn;
use crate::page;
use crate::sync::{MutexGuard, Ordering, Rule, broken};
use crate::tables::DirtyPageTable;

/// A frame that is to be written, fixed meanwhile.
struct Candidate {
    frame: usize,
    page: PageId,
    rec_lsn: Lsn,
}

/// A sealed copy of a page, on its way to the disk.
pub(super) struct Copied {
    pub image: Image,
    /// Whether the log can rebuild the page, should its write be torn.
    pub imaged: bool,
}

impl BufferPool {
    /// The dirty page table at this moment: a page that is being changed or written is in it.
    #[must_use]
    pub fn dirty_page_table(&self) -> DirtyPageTable {
        let mut table = DirtyPageTable::default();
        for frame in self.used_frames() {
            let dirty = *frame.dirty.lock();
            if let (Some(page), Some(rec_lsn)) = (dirty.page, dirty.rec_lsn) {
                table.replace(page, rec_lsn);
            }
        }
        table
    }

    /// Whether the page has changes that are not durable in place.
    #[must_use]
    pub fn is_dirty(&self, page: PageId) -> bool {
        self.dirty_page_table().rec_lsn(page).is_some()
    }

    /// Background step, the cleaner: writes the pages that are dirty since before `older_than`, the
    /// oldest first, at most one batch. Gives how many were written.
    ///
    /// # Errors
    /// Final ones.
    pub fn clean_step(&self, older_than: Lsn) -> Result<usize> {
        self.log.poison().check()?;
        if older_than.get() <= self.clean_before.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let writer = self.writer.lock();
        let mut oldest = self.log.end_lsn();
        let mut candidates = self.dirty_frames(|_, rec_lsn| {
            oldest = oldest.min(rec_lsn);
            rec_lsn < older_than
        });
        self.clean_before.store(oldest.get(), Ordering::Relaxed);
        candidates.sort_by_key(|candidate| candidate.rec_lsn);
        candidates.truncate(self.batch_pages);
        self.fix_and_write(writer, candidates)
    }

    /// Writes one page, if it is dirty. Returns when it is durable in place.
    ///
    /// # Errors
    /// Final ones.
    pub fn flush_page(&self, page: PageId) -> Result<()> {
        let now = self.log.end_lsn();
        self.flush_where(|candidate, rec_lsn| candidate == page && rec_lsn < now)
    }

    /// Writes the page if it is dirty, and takes it out of the pool; gives whether it is gone. Somebody
    /// may have it fixed, or have dirtied it again.
    ///
    /// # Errors
    /// Final ones.
    pub fn evict_page(&self, page: PageId) -> Result<bool> {
        self.flush_page(page)?;
        let mut table = self.table.lock();
        let Some(&index) = table.frames.get(&page) else { return Ok(true) };
        let frame = &self.frames[index];
        let state = *frame.dirty.lock();
        if frame.fixes() > 0 || state.writing || state.rec_lsn.is_some() {
            return Ok(false);
        }
        let mut contents =
            frame.latch.try_write().expect("a page that is not fixed is not latched");
        contents.page = None;
        table.frames.remove(&page);
        self.observers.emit(|| Event::PageEvicted { page });
        Ok(true)
    }

    /// Writes every page that is dirty now. Returns when all are durable in place.
    ///
    /// # Errors
    /// Final ones.
    pub fn flush_all(&self) -> Result<()> {
        let now = self.log.end_lsn();
        self.flush_where(|_, rec_lsn| rec_lsn < now)
    }

    fn flush_where(&self, wanted: impl Fn(PageId, Lsn) -> bool) -> Result<()> {
        loop {
            self.log.poison().check()?;
            let writer = self.writer.lock();
            let mut candidates = self.dirty_frames(&wanted);
            if candidates.is_empty() {
                return Ok(());
            }
            candidates.truncate(self.batch_pages);
            let first = candidates[0].page;
            if self.fix_and_write(writer, candidates)? == 0 {
                // All are latched by others. Wait for one of them, holding nothing.
                drop(self.fix_read(first)?);
            }
        }
    }

    /// Replaces pages, durably: a crash leaves all of them as they were, or all as `image` gives them, sealed. Nobody
    /// else uses the pool, which holds none of them.
    ///
    /// # Errors
    /// [`crate::Error::DiskFull`] is an ordinary error, nothing is replaced then; those of `image`; final errors.
    pub fn replace_pages(
        &self,
        pages: &[PageId],
        mut image: impl FnMut(PageId) -> Result<Image>,
    ) -> Result<()> {
        let durable = self.log.force_all()?;
        let mut writer = self.writer.lock();
        let written = writer.write_whole(pages, &mut image, durable);
        let replaced = match written {
            Err(error) if error.is_disk_full() => return Err(error),
            written => written.and_then(|()| writer.apply_whole(&self.file, durable)),
        };
        replaced.map_err(|error| self.log.poison().stop(error))?;
        self.written.fetch_add(pages.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Takes every page out of the pool and gives its memory back. No page is dirty, and nobody else uses the pool.
    pub fn empty(&self) {
        self.table.lock().frames.clear();
        for frame in &self.frames {
            assert!(frame.fixes() == 0, "nobody uses the pool");
            let mut dirty = frame.dirty.lock();
            assert!(dirty.rec_lsn.is_none(), "no page is dirty");
            dirty.page = None;
            drop(dirty);
            *frame.latch.write() = Contents::default();
        }
    }

    /// Writes pages so that somebody who needs a frame gets one. May be called with latches held.
    pub(super) fn write_for_frames(&self) -> Result<usize> {
        let writer = self.writer.lock();
        let mut candidates = self.dirty_frames(|_, _| true);
        candidates.retain(|candidate| self.frames[candidate.frame].fixes() == 0);
        candidates.sort_by_key(|candidate| candidate.rec_lsn);
        candidates.truncate(self.batch_pages);
        self.fix_and_write(writer, candidates)
    }

    fn dirty_frames(&self, mut wanted: impl FnMut(PageId, Lsn) -> bool) -> Vec<Candidate> {
        let frames = self.used_frames().iter().enumerate();
        frames
            .filter_map(|(index, frame)| {
                let dirty = *frame.dirty.lock();
                let (page, rec_lsn) = (dirty.page?, dirty.rec_lsn?);
                wanted(page, rec_lsn).then_some(Candidate { frame: index, page, rec_lsn })
            })
            .collect()
    }

    fn fix_and_write(
        &self,
        mut writer: MutexGuard<'_, DoubleWrite>,
        mut candidates: Vec<Candidate>,
    ) -> Result<usize> {
        self.log.poison().check()?; // The batch before may have failed while we waited.
        candidates.retain(|candidate| {
            let table = self.table.lock();
            let here = table.frames.get(&candidate.page) == Some(&candidate.frame);
            if here {
                self.frames[candidate.frame].fix();
            }
            here
        });
        candidates.sort_by_key(|candidate| candidate.page);
        let written = self.write_batch(&mut writer, &candidates);
        // Stopped before the next writer comes.
        let written = written.map_err(|error| self.log.poison().stop(error));
        drop(writer);
        for candidate in &candidates {
            self.unfix(candidate.frame);
        }
        written
    }

    /// Copies, logs ahead, writes, syncs; only then the pages count as clean.
    fn write_batch(&self, writer: &mut DoubleWrite, candidates: &[Candidate]) -> Result<usize> {
        let mut copies = Vec::with_capacity(candidates.len());
        let mut frames = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            if let Some(copied) = self.copy_for_write(candidate) {
                copies.push(copied);
                frames.push(candidate.frame);
            }
        }
        let page_lsns = copies.iter().map(|copied| page::page_lsn(&copied.image.bytes));
        let Some(newest) = page_lsns.max() else {
            return Ok(0);
        };
        let durable = match newest {
            Some(lsn) => self.log.force_for_page(lsn)?,
            None => self.log.force_all()?,
        };
        self.write_protected(writer, &copies, durable)?;
        for frame in frames {
            self.frames[frame].dirty.lock().end_write();
        }
        self.written.fetch_add(copies.len() as u64, Ordering::Relaxed);
        for Copied { image, .. } in &copies {
            let page_lsn = page::page_lsn(&image.bytes);
            self.observers.emit(|| Event::PageWritten { page: image.page, page_lsn });
        }
        Ok(copies.len())
    }

    /// Writes at most a batch of pages; returns when they are durable in place. Whatever a crash tears
    /// meanwhile is whole elsewhere, if the protection chosen can do that.
    pub(super) fn write_protected(
        &self,
        writer: &mut DoubleWrite,
        copies: &[Copied],
        durable: DurableLsn,
    ) -> Result<()> {
        let needs_copy = |copied: &&Copied| match self.protection {
            TornPageProtection::DoubleWrite => !self.log.breaks(Sabotage::NoDoubleWrite),
            TornPageProtection::PageImages => {
                !copied.imaged && !self.log.breaks(Sabotage::NoPageImage)
            }
            TornPageProtection::None => false,
        };
        let together = match self.log.breaks(Sabotage::DoubleWriteReusedEarly) {
            true => 1,
            false => copies.len().max(1),
        };
        for batch in copies.chunks(together) {
            let twice: Vec<&Image> =
                batch.iter().filter(needs_copy).map(|copied| &copied.image).collect();
            if !twice.is_empty() {
                writer.write(&twice, durable)?;
            }
            for Copied { image, .. } in batch {
                self.file.write(image.page, &image.bytes, durable)?;
            }
        }
        if !broken(Rule::CleanAfterSync) && !self.log.breaks(Sabotage::CleanBeforeSync) {
            self.file.sync()?;
        }
        if self.protection != TornPageProtection::DoubleWrite
            && copies.iter().any(|copied| needs_copy(&copied))
        {
            // The next write of these pages may be in place only.
            writer.invalidate()?;
        }
        Ok(())
    }

    /// A sealed copy of the page, if it is dirty and not latched exclusive; what changes from now
    /// on counts for the next write.
    fn copy_for_write(&self, candidate: &Candidate) -> Option<Copied> {
        let frame = &self.frames[candidate.frame];
        let contents = frame.latch.try_read()?;
        if contents.page != Some(candidate.page) {
            return None;
        }
        let mut dirty = frame.dirty.lock();
        dirty.rec_lsn?;
        let imaged = dirty.begin_write();
        drop(dirty);
        let mut bytes = contents.bytes.to_vec();
        page::seal(&mut bytes);
        Some(Copied { image: Image { page: candidate.page, bytes }, imaged })
    }
}
