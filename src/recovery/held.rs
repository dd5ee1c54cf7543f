//! The pages of one redo thread, held from record to record.
//!
//! Redo comes back to the same pages again and again, in the order of the log, which for the pages is
//! no order at all. Nearly all it costs is waiting for memory. So a thread keeps the pages that it has
//! fixed and latched, as many as the pool can spare, and finds each with one look into a table of
//! its own; and it looks at the pages of several records before it applies the first: the processor
//! then waits for them at the same time.
//!
//! Invariants:
//! - each thread holds pages of its own part only: none waits for another's latch;
//! - the threads together leave frames unfixed: there is always one to be had.

use std::collections::HashMap;
use std::hint::black_box;

use crate::buffer::{BufferPool, PageWrite};
use crate::error::Result;
use crate::event::SkipReason;
use crate::ids::{BuildNumberHasher, Lsn, PageId};
use crate::log::Found;
use crate::page::{self, PageOp};
use crate::tables::DirtyPageTable;

/// Frames that each thread leaves to others, if the pool has enough.
const SPARED_FRAMES: usize = 256;

/// Pages with lower numbers stand in an array, which so takes 16 MiB at most, for each thread.
const LOW_PAGES: usize = 1 << 22;

/// A dirty page.
struct Line<'p> {
    rec_lsn: Lsn,
    held: Option<PageWrite<'p>>,
}

/// In which line a page stands: looked up for each log record, so pages with low numbers, which are nearly all
/// there are, stand in an array.
struct Index {
    /// One more than the line, 0 for none.
    low: Vec<u32>,
    high: HashMap<PageId, usize, BuildNumberHasher>,
}

impl Index {
    fn new(dirty_pages: &DirtyPageTable) -> Self {
        let lows = dirty_pages.iter().filter_map(|(page, _)| low(page)).max();
        let mut index =
            Self { low: vec![0; lows.map_or(0, |low| low + 1)], high: HashMap::default() };
        for (line, (page, _)) in dirty_pages.iter().enumerate() {
            match (low(page), u32::try_from(line + 1)) {
                (Some(low), Ok(one_more)) => index.low[low] = one_more,
                _ => _ = index.high.insert(page, line),
            }
        }
        index
    }

    fn line(&self, page: PageId) -> Option<usize> {
        match low(page) {
            Some(low) => self.low.get(low).and_then(|line| (*line as usize).checked_sub(1)),
            None => self.high.get(&page).copied(),
        }
    }
}

fn low(page: PageId) -> Option<usize> {
    usize::try_from(page.0).ok().filter(|number| *number < LOW_PAGES)
}

/// The dirty pages of one part, and those of them that are held.
pub(super) struct HeldPages<'p> {
    pool: &'p BufferPool,
    index: Index,
    lines: Vec<Line<'p>>,
    /// The lines of the records looked up last; none for a page that is not dirty.
    looked_up: Vec<Option<usize>>,
    held: usize,
    most: usize,
}

impl<'p> HeldPages<'p> {
    /// The pages of `dirty_pages`, none held yet, for one of so many threads.
    pub fn new(pool: &'p BufferPool, dirty_pages: &DirtyPageTable, threads: usize) -> Self {
        let spared = (SPARED_FRAMES * threads).min(pool.frames() / 2);
        let line = |(_, rec_lsn)| Line { rec_lsn, held: None };
        let lines: Vec<Line<'_>> = dirty_pages.iter().map(line).collect();
        Self {
            pool,
            index: Index::new(dirty_pages),
            lines,
            looked_up: Vec::new(),
            held: 0,
            most: ((pool.frames() - spared) / threads).max(1),
        }
    }

    /// The pool.
    pub fn pool(&self) -> &'p BufferPool {
        self.pool
    }

    /// Looks up the pages of these records, and at those that are held.
    pub fn look_up(&mut self, found: &[Found]) {
        self.looked_up.clear();
        self.looked_up.extend(found.iter().map(|found| self.index.line(found.page)));
        for line in self.looked_up.iter().flatten() {
            black_box(self.lines[*line].held.as_ref().map(PageWrite::page_lsn));
        }
    }

    /// Why the record at `lsn`, the `nth` looked up, need not be redone, as far as the dirty page table
    /// tells.
    pub fn skips(&self, nth: usize, lsn: Lsn) -> Option<SkipReason> {
        match self.looked_up[nth].map(|line| self.lines[line].rec_lsn) {
            None => Some(SkipReason::PageNotDirty),
            Some(rec_lsn) if lsn < rec_lsn => Some(SkipReason::BelowRecLsn),
            Some(_) => None,
        }
    }

    /// Looks at what `op` will change on the `nth` page looked up, if that is held.
    pub fn look_at(&self, nth: usize, op: &PageOp<'_>) {
        let line = self.looked_up[nth].map(|line| &self.lines[line]);
        if let (Some(Some(page)), PageOp::Patch { slot, .. }) = (line.map(|line| &line.held), op) {
            black_box(page::glance(page.bytes(), *slot));
        }
    }

    /// No record below `bound` needs to be redone on the `nth` page looked up.
    pub fn raise_rec_lsn(&mut self, nth: usize, bound: Lsn) {
        let line = self.looked_up[nth].expect("only dirty pages are held");
        self.lines[line].rec_lsn = bound;
    }

    /// Holds the `nth` page looked up, a dirty one.
    ///
    /// # Errors
    /// Those of [`BufferPool::fix_write`].
    pub fn hold(&mut self, nth: usize, page: PageId) -> Result<&mut PageWrite<'p>> {
        let line = self.looked_up[nth].expect("only dirty pages are held");
        if self.lines[line].held.is_none() {
            if self.held >= self.most {
                self.let_go();
            }
            self.lines[line].held = Some(self.pool.fix_write(page)?);
            self.held += 1;
        }
        Ok(self.lines[line].held.as_mut().expect("just held"))
    }

    fn let_go(&mut self) {
        self.lines.iter_mut().for_each(|line| line.held = None);
        self.held = 0;
    }
}
