//! What is in the pool, for whoever shows it.

use super::BufferPool;
use crate::error::Result;
use crate::ids::{Lsn, PageId};
use crate::page::page_lsn;

/// A page in the pool, at some moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResidentPage {
    /// The page.
    pub page: PageId,
    /// Its pageLSN.
    pub page_lsn: Option<Lsn>,
    /// From where on the log has changes that are not on disk; nil if it is clean.
    pub rec_lsn: Option<Lsn>,
    /// How many had it fixed.
    pub fixes: u32,
}

impl BufferPool {
    /// The pages in the pool, by number. They are looked at one after the other: it is no moment of all of them.
    ///
    /// # Errors
    /// Those of [`BufferPool::fix_read`], for a page that was taken out meanwhile.
    pub fn resident_pages(&self) -> Result<Vec<ResidentPage>> {
        let mut resident: Vec<(PageId, usize)> = {
            let table = self.table.lock();
            table.frames.iter().map(|(page, frame)| (*page, *frame)).collect()
        };
        resident.sort_unstable();
        let look = |(page, frame): (PageId, usize)| {
            let frame = &self.frames[frame];
            let (fixes, dirty) = (frame.fixes(), *frame.dirty.lock());
            let rec_lsn = dirty.rec_lsn.filter(|_| dirty.page == Some(page));
            let page_lsn = page_lsn(self.fix_read(page)?.bytes());
            Ok(ResidentPage { page, page_lsn, rec_lsn, fixes })
        };
        resident.into_iter().map(look).collect()
    }
}
