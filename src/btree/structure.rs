//! What all structure changes have in common: the pages that they allocate or free, in the same record.

use super::TreeAccess;
use crate::buffer::{BufferPool, PageWrite};
use crate::error::Result;
use crate::ids::PageId;
use crate::page::{PageOp, PageState};
use crate::space::MapChange;

/// The space map's part of a structure change.
pub(super) struct Maps<'p>(Vec<MapChange<'p>>);

impl<'p> Maps<'p> {
    /// The space map's changes, as parts of a structure change.
    pub fn changes(&mut self) -> impl Iterator<Item = (&mut PageWrite<'p>, PageOp<'_>)> {
        self.0.iter_mut().map(|(page, ops)| (page, PageOp::Several { ops }))
    }
}

impl<'t> TreeAccess<'t> {
    /// Finds so many free pages. Without a latch held.
    pub(super) fn find_pages(&self, count: usize) -> Result<Vec<PageId>> {
        self.space.find_free(self.txn.manager().locks(), count)
    }

    /// Latches the maps of these pages, which are in order: the last latches of a structure change. `None` if one that is to
    /// be used is not free any more.
    pub(super) fn latch_maps(
        &self,
        pages: &[PageId],
        state: PageState,
    ) -> Result<Option<Maps<'t>>> {
        let maps = self.space.latch_maps(self.txn.manager().locks(), pages, state)?;
        Ok(maps.map(Maps))
    }
}

/// Latches pages, in the order of their numbers.
pub(super) fn latch_new<'p>(pool: &'p BufferPool, pages: &[PageId]) -> Result<Vec<PageWrite<'p>>> {
    pages.iter().map(|page| pool.fix_write(*page)).collect()
}
