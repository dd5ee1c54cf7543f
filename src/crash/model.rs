//! What must be there after a crash: the model that a recovered database is compared with, in full.
//!
//! A [`State`] is all that users can see at page level: which pages are in use, which records are on them, and which
//! transactions are in doubt. What transactions do for good becomes durable in the order of the log: at a crash
//! all of it up to some place is there, and nothing after that. What was acknowledged lies before that place.
//!
//! ```text
//!   acknowledged ──┬── T1 commits, deferred ──┬── T2's nested top action ends ──┬── T3's commit is called
//!   after a crash: A                        A+T1                             A+T1+T2                A+T1+T2+T3
//!                                                       … which returns: only that, from now on ───────┘
//! ```
//!
//! Invariant: transactions under way change different records and different pages (their locks see to it), so the
//! order in which their changes are laid over each other makes no difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::db::Db;
use crate::error::Result;
use crate::ids::{PageId, SlotId};
use crate::page::{self, PageKind, PageState, SlotState};
use crate::sync::Arc;

/// A record that histories leave alone. Its first byte may change.
pub const SPARE: &[u8] = b"spare";

/// Pages in use, with the records of each.
type Pages = BTreeMap<PageId, BTreeMap<SlotId, Vec<u8>>>;

/// Pages in use, the records on each, and the global ids of transactions in doubt.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct State {
    pages: Pages,
    /// Of all tables, by key.
    cells: BTreeMap<Vec<u8>, Vec<u8>>,
    in_doubt: BTreeSet<Vec<u8>>,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (page, records)) in self.pages.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{page}:")?;
            if records.is_empty() {
                f.write_str(" empty")?;
            }
            for (slot, bytes) in records {
                write!(f, " {slot}={}", bytes.escape_ascii())?;
            }
        }
        for (key, value) in &self.cells {
            let end = &key[key.len().saturating_sub(2)..];
            write!(f, "; …{}={}", end.escape_ascii(), brief(value))?;
        }
        for global_id in &self.in_doubt {
            write!(f, "; {} in doubt", global_id.escape_ascii())?;
        }
        Ok(())
    }
}

/// The first bytes of a value, and how many there are.
fn brief(value: &[u8]) -> String {
    let first = &value[..value.len().min(2)];
    format!("{}…{}", first.escape_ascii(), value.len())
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
            let kind = page::kind(guard.bytes());
            if matches!(kind, Some(PageKind::Slotted | PageKind::Unformatted)) {
                let slots = page::slots(guard.bytes());
                let live = slots.filter(|(_, state, _)| *state == SlotState::Live);
                pages.insert(page, live.map(|(slot, _, bytes)| (slot, bytes.to_vec())).collect());
            }
        }
        let mut cells = BTreeMap::new();
        db.each_cell(&mut |key, value| drop(cells.insert(key.to_vec(), value)))?;
        let in_doubt = db.prepared().into_iter().map(|prepared| prepared.global_id).collect();
        Ok(Self { pages, cells, in_doubt })
    }

    /// The record's bytes, if it is there.
    #[must_use]
    pub fn record(&self, page: PageId, slot: SlotId) -> Option<&[u8]> {
        self.pages.get(&page)?.get(&slot).map(Vec::as_slice)
    }

    /// The first page in use that has a record, and that record's slot.
    #[must_use]
    pub fn any_record(&self) -> Option<(PageId, SlotId)> {
        self.pages.iter().find_map(|(page, records)| Some((*page, *records.keys().next()?)))
    }

    /// Where the record is that histories leave alone: it ends as the stage has written it.
    #[must_use]
    pub fn spare_record(&self) -> Option<(PageId, SlotId)> {
        let is_spare = |bytes: &Vec<u8>| bytes.len() == SPARE.len() && bytes[1..] == SPARE[1..];
        self.pages.iter().find_map(|(page, records)| {
            let (slot, _) = records.iter().find(|(_, bytes)| is_spare(bytes))?;
            Some((*page, *slot))
        })
    }

    /// The global ids of the transactions in doubt.
    #[must_use]
    pub fn in_doubt(&self) -> &BTreeSet<Vec<u8>> {
        &self.in_doubt
    }

    /// The same, with nothing in doubt.
    #[must_use]
    pub fn without_doubt(mut self) -> Self {
        self.in_doubt.clear();
        self
    }

    /// Records that are there in both, and differ.
    #[must_use]
    pub fn changed_since(&self, other: &Self) -> Vec<(PageId, SlotId)> {
        let all = self.pages.iter().flat_map(|(page, records)| {
            records.iter().map(move |(slot, bytes)| (*page, *slot, bytes))
        });
        let changed = |(page, slot, bytes): (PageId, SlotId, &Vec<u8>)| {
            let old = other.record(page, slot)?;
            (old != &bytes[..]).then_some((page, slot))
        };
        all.filter_map(changed).collect()
    }

    /// Pages on which the two differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> BTreeSet<PageId> {
        let all = self.pages.keys().chain(other.pages.keys());
        all.filter(|page| self.pages.get(page) != other.pages.get(page)).copied().collect()
    }

    /// Makes a change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Record { page, slot, bytes: Some(bytes) } => {
                self.pages.entry(*page).or_default().insert(*slot, bytes.clone());
            }
            Change::Record { page, slot, bytes: None } => {
                self.pages.entry(*page).or_default().remove(slot);
            }
            Change::Allocated(page) => {
                self.pages.insert(*page, BTreeMap::new());
            }
            Change::Freed(page) => {
                self.pages.remove(page);
            }
            Change::Cell { key, value: Some(value) } => {
                self.cells.insert(key.clone(), value.clone());
            }
            Change::Cell { key, value: None } => {
                self.cells.remove(key);
            }
        }
    }
}

/// What may be there after a crash, and what of it is decided.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Promise {
    /// What is there.
    pub state: State,
    /// What is there once all transactions in doubt have been rolled back.
    pub rolled_back: State,
}

impl Promise {
    /// The same, after a change that is there either way.
    #[must_use]
    pub fn with(mut self, change: &Change) -> Self {
        self.state.apply(change);
        self.rolled_back.apply(change);
        self
    }
}

/// What may be there after a crash: one of these.
pub type Expected = Arc<[Promise]>;

/// A change of what users see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A record as somebody left it.
    Record {
        /// Where.
        page: PageId,
        /// Where there.
        slot: SlotId,
        /// Its bytes now; `None` if it was deleted.
        bytes: Option<Vec<u8>>,
    },
    /// The page is in use.
    Allocated(PageId),
    /// The page is not in use any more, with all its records.
    Freed(PageId),
    /// A cell of a tree as somebody left it.
    Cell {
        /// Its key.
        key: Vec<u8>,
        /// Its value now; `None` if it was deleted.
        value: Option<Vec<u8>>,
    },
}

impl Change {
    /// Where; a cell is wherever its tree has it.
    #[must_use]
    pub fn page(&self) -> Option<PageId> {
        match self {
            Self::Record { page, .. } | Self::Allocated(page) | Self::Freed(page) => Some(*page),
            Self::Cell { .. } => None,
        }
    }
}

/// What somebody does for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// These changes stay: of a commit, or of a nested top action.
    Done(Vec<Change>),
    /// A transaction is in doubt, under this global id.
    Prepared(Vec<u8>, Vec<Change>),
    /// The transaction in doubt has committed.
    Committed(Vec<u8>),
    /// The transaction in doubt has been rolled back.
    RolledBack(Vec<u8>),
}

/// What is committed, and what is in doubt.
#[derive(Clone, Default)]
struct Image {
    committed: State,
    in_doubt: BTreeMap<Vec<u8>, Vec<Change>>,
}

impl Image {
    fn apply(&mut self, outcome: &Outcome) {
        let done = match outcome {
            Outcome::Done(changes) => Some(changes.clone()),
            Outcome::Prepared(global_id, changes) => {
                self.in_doubt.insert(global_id.clone(), changes.clone());
                None
            }
            Outcome::Committed(global_id) => self.in_doubt.remove(global_id),
            Outcome::RolledBack(global_id) => {
                self.in_doubt.remove(global_id);
                None
            }
        };
        done.iter().flatten().for_each(|change| self.committed.apply(change));
    }

    fn promise(&self) -> Promise {
        let rolled_back = self.committed.clone();
        let mut state = rolled_back.clone();
        self.in_doubt.values().flatten().for_each(|change| state.apply(change));
        state.in_doubt = self.in_doubt.keys().cloned().collect();
        Promise { state, rolled_back }
    }
}

/// What was promised.
#[derive(Clone, Default)]
pub struct Model {
    acknowledged: Image,
    /// How much of what was done was acknowledged.
    count: u64,
    /// What may be durable or not, in the order of the log.
    pending: Vec<Outcome>,
}

impl Model {
    /// All of this is there.
    #[must_use]
    pub fn new(committed: State) -> Self {
        let acknowledged = Image { committed, in_doubt: BTreeMap::new() };
        Self { acknowledged, count: 0, pending: Vec::new() }
    }

    /// Whether there is a tree.
    #[must_use]
    pub fn has_cells(&self) -> bool {
        !self.acknowledged.committed.cells.is_empty()
    }

    /// What may be there after a crash now.
    #[must_use]
    pub fn expected(&self) -> Expected {
        let mut image = self.acknowledged.clone();
        let mut promises = vec![image.promise()];
        for outcome in &self.pending {
            image.apply(outcome);
            promises.push(image.promise());
        }
        promises.dedup();
        promises.into()
    }

    /// Something is being done for good, which may be durable or not; gives how much has been done then.
    pub fn push(&mut self, outcome: Outcome) -> u64 {
        self.pending.push(outcome);
        self.done()
    }

    /// How much has been done for good.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.count + self.pending.len() as u64
    }

    /// How much had been done when the page was changed last by what is not acknowledged yet; 0 if it was not.
    #[must_use]
    pub fn last_change_of(&self, page: PageId) -> u64 {
        let changes = |outcome: &Outcome| match outcome {
            Outcome::Done(changes) => changes.iter().any(|change| change.page() == Some(page)),
            _ => false,
        };
        let last = self.pending.iter().rposition(changes);
        last.map_or(0, |last| self.count + last as u64 + 1)
    }

    /// What was pushed last has not happened.
    pub fn take_back(&mut self) {
        self.pending.pop();
    }

    /// So much of what was done is durable.
    pub fn acknowledge(&mut self, done: u64) {
        while self.count < done && !self.pending.is_empty() {
            let outcome = self.pending.remove(0);
            self.acknowledged.apply(&outcome);
            self.count += 1;
        }
    }
}
