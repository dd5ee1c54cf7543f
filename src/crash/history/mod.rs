//! Histories: what is done to a database before the power fails, step by step; and all of them, up to a length.
//!
//! ```text
//!   records    T1: update P1      T1: savepoint s      T1: rollback s
//!              T1: insert P1      T1: delete P1        T1: undone update P1 (and rolled back, to where it was)
//!   space      T1: update P1      T1: allocate N1      T1: nested allocate N1     T1: nested insert P1
//!                                 T1: free P1          T1: nested free P1
//!              T1: undone free P1                      T1: undone allocate N1
//!   outcomes   T1: update P1      T1: commit deferred  T1: prepare                T2: read P1
//!                                 T1: wait
//!   trees      T1: put K1         T1: put long K1      T1: remove K1                       reclaim
//!              T1: read range     T1: savepoint s      T1: rollback s                      flush K1 (the leaf is stolen)
//!   all        T1: commit         T1: rollback         flush P1 (the page is stolen)      flush all
//!              checkpoint begin   checkpoint end
//! ```
//!
//! All histories of a length form a tree: each one, without its last step, is the history above it. The points
//! within the last step are its own; those of earlier steps belong to the histories above. So, each history being
//! explored in its last step only, every crash point of every history is explored once.
//!
//! Invariants of an enumerated history:
//! - transactions begin in the order of their numbers, and pages are first used in theirs: what differs only in
//!   names is the same history;
//! - every step does something: no page is flushed that was not changed since, no savepoint is taken twice at the
//!   same moment, nothing is rolled back to where one stands;
//! - no transaction touches what another one has locked: each has a record of its own on each page, and frees only
//!   pages that nobody else works on.

mod outline;
mod tree;

pub use outline::{Bounds, Vocabulary};
pub use tree::{all, random};

use std::fmt;
use std::str::FromStr;

use self::outline::{MOST, MOST_IN_TREES, Outline};

/// Most pages that are there from the beginning.
pub const MOST_PAGES: usize = 8;
/// Most pages that a history allocates.
pub const MOST_NEW_PAGES: usize = 16;
/// Keys of each transaction in a tree.
pub const KEYS: usize = 4;
/// Most transactions of a history.
pub const MOST_TRANSACTIONS: usize = 3;

/// A page as a history names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Page {
    /// The space map page.
    Map,
    /// One that is there from the beginning, counted from 1.
    Old(usize),
    /// One that the history allocates, counted from 1.
    New(usize),
    /// The leaf where a transaction has this key of a tree, counted from 1.
    Key(usize),
}

impl Page {
    /// A bit of its own.
    fn bit(self) -> u64 {
        match self {
            Self::Map => 1,
            Self::Old(number) => 1 << number,
            Self::New(number) => 1 << (MOST_PAGES + number),
            Self::Key(number) => 1 << (MOST_PAGES + MOST_NEW_PAGES + number),
        }
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map => f.write_str("map"),
            Self::Old(number) => write!(f, "P{number}"),
            Self::New(number) => write!(f, "N{number}"),
            Self::Key(number) => write!(f, "K{number}"),
        }
    }
}

impl FromStr for Page {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |mark, most| numbered(text, mark).filter(|number| *number <= most).ok_or(());
        match text.chars().next() {
            Some('m') if text == "map" => Ok(Self::Map),
            Some('N') => number('N', MOST_NEW_PAGES).map(Self::New),
            Some('K') => number('K', KEYS).map(Self::Key),
            _ => number('P', MOST_PAGES).map(Self::Old),
        }
    }
}

fn numbered(word: &str, mark: char) -> Option<usize> {
    word.strip_prefix(mark)?.parse().ok().filter(|number| *number > 0)
}

/// What a transaction does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Action {
    /// It overwrites its own record on the page; it begins, if it has not yet.
    Update(Page),
    /// It inserts another record.
    Insert(Page),
    /// It deletes its own record.
    Delete(Page),
    /// It reads the records of all transactions that have ended.
    Read(Page),
    /// It allocates a page, and inserts a record there.
    Allocate(Page),
    /// It frees the page.
    Free(Page),
    /// It inserts a record in a nested top action, which forces the log before it ends.
    NestedInsert(Page),
    /// It allocates a page in such an action.
    NestedAllocate(Page),
    /// It frees the page in such an action.
    NestedFree(Page),
    /// It overwrites its own record, and rolls back to where it was before.
    UndoneUpdate(Page),
    /// It allocates a page, and rolls back to where it was before.
    UndoneAllocate(Page),
    /// It frees the page, and rolls back to where it was before.
    UndoneFree(Page),
    /// It puts a value under its own key: K1 and K2 are there, K3 belongs into a full leaf, K4 into one with room.
    Put(Page),
    /// It puts a value that needs a page of its own.
    PutLong(Page),
    /// It deletes its own key.
    Remove(Page),
    /// It reads the range of its own keys; nobody may insert there then.
    Range,
    /// It marks this moment.
    Savepoint,
    /// It rolls back to the moment it has marked.
    RollbackTo,
    /// It commits; the coordinator says so, if it is prepared.
    Commit,
    /// It commits without waiting until that is durable.
    CommitDeferred,
    /// It waits for that.
    Wait,
    /// It is prepared: in doubt from then on.
    Prepare,
    /// It rolls back; the coordinator says so, if it is prepared.
    Rollback,
}

impl Action {
    /// Its words, and the page that comes after them.
    const fn words(self) -> (&'static str, Option<Page>) {
        match self {
            Self::Update(page) => ("update", Some(page)),
            Self::Insert(page) => ("insert", Some(page)),
            Self::Delete(page) => ("delete", Some(page)),
            Self::Read(page) => ("read", Some(page)),
            Self::Allocate(page) => ("allocate", Some(page)),
            Self::Free(page) => ("free", Some(page)),
            Self::NestedInsert(page) => ("nested insert", Some(page)),
            Self::NestedAllocate(page) => ("nested allocate", Some(page)),
            Self::NestedFree(page) => ("nested free", Some(page)),
            Self::UndoneUpdate(page) => ("undone update", Some(page)),
            Self::UndoneAllocate(page) => ("undone allocate", Some(page)),
            Self::UndoneFree(page) => ("undone free", Some(page)),
            Self::Put(page) => ("put", Some(page)),
            Self::PutLong(page) => ("put long", Some(page)),
            Self::Remove(page) => ("remove", Some(page)),
            Self::Range => ("read range", None),
            Self::Savepoint => ("savepoint s", None),
            Self::RollbackTo => ("rollback s", None),
            Self::Commit => ("commit", None),
            Self::CommitDeferred => ("commit deferred", None),
            Self::Wait => ("wait", None),
            Self::Prepare => ("prepare", None),
            Self::Rollback => ("rollback", None),
        }
    }

    fn read(words: &str, page: Option<Page>) -> Option<Self> {
        let on_it = page.into_iter().flat_map(|page| ON_A_PAGE.map(|action| action(page)));
        on_it.chain(ALONE).find(|action| action.words() == (words, page))
    }
}

/// Actions on a page.
const ON_A_PAGE: [fn(Page) -> Action; 15] = [
    Action::Update,
    Action::Insert,
    Action::Delete,
    Action::Read,
    Action::Allocate,
    Action::Free,
    Action::NestedInsert,
    Action::NestedAllocate,
    Action::NestedFree,
    Action::UndoneUpdate,
    Action::UndoneAllocate,
    Action::UndoneFree,
    Action::Put,
    Action::PutLong,
    Action::Remove,
];

/// The others.
const ALONE: [Action; 8] = [
    Action::Range,
    Action::Savepoint,
    Action::RollbackTo,
    Action::Commit,
    Action::CommitDeferred,
    Action::Wait,
    Action::Prepare,
    Action::Rollback,
];

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words() {
            (words, Some(page)) => write!(f, "{words} {page}"),
            (words, None) => f.write_str(words),
        }
    }
}

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Step {
    /// What a transaction does.
    By(usize, Action),
    /// The page is written, whoever changed it: stolen, if that one has not committed.
    Flush(Page),
    /// All pages are written that were changed since they were written last: at least two, in one batch.
    FlushAll,
    /// A leaf is taken out of the tree that has nothing but ghosts, if one was noticed.
    Reclaim,
    /// A checkpoint begins.
    CheckpointBegin,
    /// The checkpoint is completed.
    CheckpointEnd,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(txn, action) => write!(f, "T{txn}: {action}"),
            Self::Flush(page) => write!(f, "flush {page}"),
            Self::FlushAll => f.write_str("flush all"),
            Self::Reclaim => f.write_str("reclaim"),
            Self::CheckpointBegin => f.write_str("checkpoint begin"),
            Self::CheckpointEnd => f.write_str("checkpoint end"),
        }
    }
}

impl FromStr for Step {
    type Err = String;

    /// Reads what [`Step`] is displayed as.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let step = match text {
            "flush all" => Some(Self::FlushAll),
            "reclaim" => Some(Self::Reclaim),
            "checkpoint begin" => Some(Self::CheckpointBegin),
            "checkpoint end" => Some(Self::CheckpointEnd),
            _ => match text.split_once(": ") {
                Some((txn, action)) => numbered(txn, 'T')
                    .filter(|txn| *txn <= MOST_TRANSACTIONS)
                    .and_then(|txn| Some(Self::By(txn, action_of(action)?))),
                None => {
                    text.strip_prefix("flush ").and_then(|page| page.parse().ok()).map(Self::Flush)
                }
            },
        };
        step.ok_or_else(|| format!("{text:?} is no step of a history"))
    }
}

fn action_of(text: &str) -> Option<Action> {
    let without = Action::read(text, None);
    let (words, page) = text.rsplit_once(' ').unwrap_or((text, ""));
    without.or_else(|| Action::read(words, page.parse().ok()))
}

/// Steps, one after the other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct History(pub Vec<Step>);

impl History {
    /// What the history is, if each of its steps can come where it stands, and does something.
    fn outline(&self) -> Result<Outline, Step> {
        let mut outline = Outline::default();
        for step in &self.0 {
            let is_next = |bounds| outline.next_steps(bounds).contains(step);
            if !is_next(&MOST) && !is_next(&MOST_IN_TREES) {
                return Err(*step);
            }
            outline.take(*step);
        }
        Ok(outline)
    }

    /// Whether it can be run.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.outline().is_ok()
    }
}

impl FromStr for History {
    type Err = String;

    /// Reads what [`History`] is displayed as. It must be one that can be enumerated: then it can be run.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "open" {
            return Ok(Self::default());
        }
        let steps: Result<Vec<Step>, String> = text.split(';').map(str::parse).collect();
        let history = Self(steps?);
        let wrong = |step| format!("\"{step}\" cannot come here, or would do nothing");
        history.outline().map_err(wrong)?;
        Ok(history)
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> = self.0.iter().map(Step::to_string).collect();
        f.write_str(&if steps.is_empty() { "open".to_owned() } else { steps.join("; ") })
    }
}
