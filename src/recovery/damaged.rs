//! Pages that redo cannot use as they are on disk: torn or rotten, or older than the log knows them to
//! have been (a lost write). Their records are skipped; when history is repeated for all others, they
//! are rebuilt together, in one more scan of the log.

use std::collections::BTreeMap;

use crate::buffer::BufferPool;
use crate::error::{Error, Place, Result};
use crate::ids::PageId;

/// Pages to be rebuilt, each with what was wrong with it first.
#[derive(Default)]
pub struct Damaged {
    pages: BTreeMap<PageId, Error>,
}

impl Damaged {
    /// Whether the page is to be rebuilt: its records are skipped.
    pub fn contains(&self, page: PageId) -> bool {
        !self.pages.is_empty() && self.pages.contains_key(&page)
    }

    /// Notes a damaged page. An error that is about something else is handed back.
    pub fn note(&mut self, page: PageId, error: Error) -> Result<()> {
        match error {
            Error::Corrupt { place: Place::Page { page: at, .. }, .. } => {
                assert_eq!(at, page, "the error is about the page");
                self.pages.entry(page).or_insert(error);
                Ok(())
            }
            other => Err(other),
        }
    }

    /// Notes the pages of `others`, too.
    pub fn append(&mut self, mut others: Self) {
        self.pages.append(&mut others.pages);
    }

    /// Rebuilds the pages; gives how many there were. If the log cannot rebuild one, what was wrong
    /// with it is the error.
    pub fn rebuild(mut self, pool: &BufferPool) -> Result<u64> {
        if self.pages.is_empty() {
            return Ok(0);
        }
        let pages: Vec<PageId> = self.pages.keys().copied().collect();
        let left = pool.rebuild_pages(&pages)?;
        match left.first().and_then(|page| self.pages.remove(page)) {
            Some(error) => Err(error),
            None => Ok(pages.len() as u64),
        }
    }
}
