//! What must be there after a crash: the model that a recovered database is compared with, in full.
//!
//! A [`State`] is all that users can see at page level: which pages are in use, and which records are on them. The
//! model holds the state of all acknowledged commits, and what each transaction under way has changed:
//!
//! ```text
//!   acknowledged ──── T1's changes ──── commit is called ──── commit returns
//!        A                                A or A+T1               A+T1
//! ```
//!
//! Invariant: transactions under way change different records (their locks see to it), so the order in which their
//! changes are laid over the acknowledged state makes no difference.

use std::collections::BTreeMap;
use std::fmt;

use crate::db::Db;
use crate::error::Result;
use crate::ids::{PageId, SlotId};
use crate::page::{self, PageKind, PageState, SlotState};

/// Pages in use, and the records on each.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct State(BTreeMap<PageId, BTreeMap<SlotId, Vec<u8>>>);

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (page, records)) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{page}:")?;
            if records.is_empty() {
                f.write_str(" empty")?;
            }
            for (slot, bytes) in records {
                write!(f, " {slot}={}", bytes.escape_ascii())?;
            }
        }
        Ok(())
    }
}

impl State {
    /// What an open database shows.
    ///
    /// # Errors
    /// Those of reading its pages.
    pub fn of(db: &Db) -> Result<Self> {
        let mut pages = BTreeMap::new();
        for page in (0..db.stats().pages).map(PageId) {
            if db.page_state(page)? != Some(PageState::Used) {
                continue;
            }
            let guard = db.fix_page(page)?;
            if page::kind(guard.bytes()) == Some(PageKind::Slotted) {
                let slots = page::slots(guard.bytes());
                let live = slots.filter(|(_, state, _)| *state == SlotState::Live);
                pages.insert(page, live.map(|(slot, _, bytes)| (slot, bytes.to_vec())).collect());
            }
        }
        Ok(Self(pages))
    }

    /// The record's bytes, if it is there.
    #[must_use]
    pub fn record(&self, page: PageId, slot: SlotId) -> Option<&[u8]> {
        self.0.get(&page)?.get(&slot).map(Vec::as_slice)
    }

    /// The first page in use that has a record, and that record's slot.
    #[must_use]
    pub fn any_record(&self) -> Option<(PageId, SlotId)> {
        self.0.iter().find_map(|(page, records)| Some((*page, *records.keys().next()?)))
    }

    /// Makes a change.
    pub fn apply(&mut self, change: &Change) {
        let Change { page, slot, bytes } = change;
        let records = self.0.entry(*page).or_default();
        match bytes {
            Some(bytes) => drop(records.insert(*slot, bytes.clone())),
            None => drop(records.remove(slot)),
        }
    }
}

/// A record as somebody left it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Where.
    pub page: PageId,
    /// Where there.
    pub slot: SlotId,
    /// Its bytes now; `None` if it was deleted.
    pub bytes: Option<Vec<u8>>,
}
