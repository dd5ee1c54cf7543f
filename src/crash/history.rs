//! Histories: what is done to a database before the power fails, step by step; and all of them, up to a length.
//!
//! ```text
//!   T1: update P1      T1: savepoint s      flush P1 (the page is stolen)      checkpoint begin
//!   T1: insert P1      T1: rollback s       T1: commit                         checkpoint end
//!   T1: delete P1      T1: rollback
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
//! - no transaction touches what another one has locked: each has a record of its own on each page.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Most pages of a history.
pub const MOST_PAGES: usize = 8;
/// Most transactions of a history.
pub const MOST_TRANSACTIONS: usize = 3;

/// One step. Transactions and pages are counted from 1, as in a script.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Step {
    /// The transaction overwrites its own record on the page; it begins, if it has not yet.
    Update(usize, usize),
    /// It inserts another record.
    Insert(usize, usize),
    /// It deletes its own record.
    Delete(usize, usize),
    /// It marks this moment.
    Savepoint(usize),
    /// It rolls back to the moment it has marked.
    RollbackTo(usize),
    /// It commits.
    Commit(usize),
    /// It rolls back.
    Rollback(usize),
    /// The page is written, whoever changed it: stolen, if that one has not committed.
    Flush(usize),
    /// A checkpoint begins.
    CheckpointBegin,
    /// The checkpoint is completed.
    CheckpointEnd,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Update(txn, page) => write!(f, "T{txn}: update P{page}"),
            Self::Insert(txn, page) => write!(f, "T{txn}: insert P{page}"),
            Self::Delete(txn, page) => write!(f, "T{txn}: delete P{page}"),
            Self::Savepoint(txn) => write!(f, "T{txn}: savepoint s"),
            Self::RollbackTo(txn) => write!(f, "T{txn}: rollback s"),
            Self::Commit(txn) => write!(f, "T{txn}: commit"),
            Self::Rollback(txn) => write!(f, "T{txn}: rollback"),
            Self::Flush(page) => write!(f, "flush P{page}"),
            Self::CheckpointBegin => f.write_str("checkpoint begin"),
            Self::CheckpointEnd => f.write_str("checkpoint end"),
        }
    }
}

/// Steps, one after the other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct History(pub Vec<Step>);

impl FromStr for Step {
    type Err = String;

    /// Reads what [`Step`] is displayed as.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no step of a history");
        let number = |word: &str, mark| word.strip_prefix(mark)?.parse().ok().filter(|n| *n > 0);
        let words: Vec<&str> = text.split_whitespace().collect();
        let step = match words[..] {
            ["checkpoint", "begin"] => Some(Self::CheckpointBegin),
            ["checkpoint", "end"] => Some(Self::CheckpointEnd),
            ["flush", page] => number(page, 'P').map(Self::Flush),
            [txn, ref rest @ ..] => txn.strip_suffix(':').and_then(|txn| {
                let txn = number(txn, 'T')?;
                match *rest {
                    ["update", page] => Some(Self::Update(txn, number(page, 'P')?)),
                    ["insert", page] => Some(Self::Insert(txn, number(page, 'P')?)),
                    ["delete", page] => Some(Self::Delete(txn, number(page, 'P')?)),
                    ["savepoint", "s"] => Some(Self::Savepoint(txn)),
                    ["rollback", "s"] => Some(Self::RollbackTo(txn)),
                    ["commit"] => Some(Self::Commit(txn)),
                    ["rollback"] => Some(Self::Rollback(txn)),
                    _ => None,
                }
            }),
            [] => None,
        };
        step.ok_or_else(wrong)
    }
}

impl FromStr for History {
    type Err = String;

    /// Reads what [`History`] is displayed as. It must be one that can be enumerated: then it can be run.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "open" {
            return Ok(Self::default());
        }
        let mut outline = Outline::default();
        let mut steps = Vec::new();
        for text in text.split(';') {
            let step: Step = text.parse()?;
            if !outline.next_steps(&MOST).contains(&step) {
                return Err(format!("\"{step}\" cannot come here, or would do nothing"));
            }
            outline.take(step);
            steps.push(step);
        }
        Ok(Self(steps))
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> = self.0.iter().map(Step::to_string).collect();
        f.write_str(&if steps.is_empty() { "open".to_owned() } else { steps.join("; ") })
    }
}

/// Which histories there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Most transactions, up to [`MOST_TRANSACTIONS`].
    pub transactions: usize,
    /// Most pages.
    pub pages: usize,
}

/// The widest there are.
const MOST: Bounds = Bounds { transactions: MOST_TRANSACTIONS, pages: MOST_PAGES };

/// What steps are possible next.
#[derive(Clone, Default)]
struct Outline {
    txns: [Txn; MOST_TRANSACTIONS],
    /// How many have begun.
    begun: usize,
    /// How many pages were used.
    used: usize,
    /// Changed since they were written last.
    dirty: u64,
    checkpointing: bool,
}

#[derive(Clone, Default)]
struct Txn {
    ended: bool,
    /// Pages on which its own record is gone.
    deleted: u64,
    /// What `deleted` was at its savepoint.
    savepoint: Option<u64>,
    changed_since: bool,
    changed: bool,
}

impl Outline {
    fn next_steps(&self, bounds: &Bounds) -> Vec<Step> {
        let mut steps = Vec::new();
        let most = bounds.transactions.min(MOST_TRANSACTIONS);
        for number in 1..=most.min(self.begun + 1) {
            let txn = &self.txns[number - 1];
            if txn.ended {
                continue;
            }
            for page in 1..=bounds.pages.min(MOST_PAGES).min(self.used + 1) {
                steps.push(Step::Insert(number, page));
                if txn.deleted & 1 << page == 0 {
                    steps.extend([Step::Update(number, page), Step::Delete(number, page)]);
                }
            }
            if number > self.begun {
                continue;
            }
            if txn.savepoint.is_none() || txn.changed_since {
                steps.push(Step::Savepoint(number));
            }
            if txn.savepoint.is_some() && txn.changed_since {
                steps.push(Step::RollbackTo(number));
            }
            if txn.changed {
                steps.extend([Step::Commit(number), Step::Rollback(number)]);
            }
        }
        steps.extend((1..=self.used).filter(|page| self.dirty & 1 << page != 0).map(Step::Flush));
        let checkpoint = [Step::CheckpointBegin, Step::CheckpointEnd];
        steps.push(checkpoint[usize::from(self.checkpointing)]);
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Update(txn, page) | Step::Insert(txn, page) => self.change(txn, page),
            Step::Delete(txn, page) => {
                self.change(txn, page);
                self.txns[txn - 1].deleted |= 1 << page;
            }
            Step::Savepoint(txn) => {
                let txn = &mut self.txns[txn - 1];
                txn.savepoint = Some(txn.deleted);
                txn.changed_since = false;
            }
            Step::RollbackTo(txn) => {
                let txn = &mut self.txns[txn - 1];
                txn.deleted = txn.savepoint.unwrap_or(txn.deleted);
                txn.changed_since = false;
                self.dirty |= all_of(self.used);
            }
            Step::Commit(txn) => self.txns[txn - 1].ended = true,
            Step::Rollback(txn) => {
                self.txns[txn - 1].ended = true;
                self.dirty |= all_of(self.used);
            }
            Step::Flush(page) => self.dirty &= !(1 << page),
            Step::CheckpointBegin | Step::CheckpointEnd => self.checkpointing ^= true,
        }
    }

    fn change(&mut self, txn: usize, page: usize) {
        self.begun = self.begun.max(txn);
        self.used = self.used.max(page);
        self.dirty |= 1 << page;
        let txn = &mut self.txns[txn - 1];
        (txn.changed, txn.changed_since) = (true, true);
    }
}

/// The bits of pages 1 to `used`.
fn all_of(used: usize) -> u64 {
    (1..=used).map(|page| 1 << page).sum()
}

/// All histories within the bounds of so many steps, the shorter ones first; those of a length in a fixed order.
pub fn all(bounds: Bounds, lengths: RangeInclusive<usize>) -> impl Iterator<Item = History> {
    lengths.flat_map(move |length| Tree::new(bounds, length))
}

/// The histories of one length, depth first.
struct Tree {
    bounds: Bounds,
    length: usize,
    /// Steps taken, with the outline before each, and those that are still to be tried there.
    path: Vec<(Step, Outline, Vec<Step>)>,
    done: bool,
}

impl Tree {
    fn new(bounds: Bounds, length: usize) -> Self {
        Self { bounds, length, path: Vec::new(), done: false }
    }

    /// Goes down, by first steps, until the history has its length.
    fn descend(&mut self, mut outline: Outline) {
        while self.path.len() < self.length {
            let mut steps = outline.next_steps(&self.bounds);
            steps.reverse();
            let step = steps.pop().expect("a checkpoint is always possible");
            let before = outline.clone();
            outline.take(step);
            self.path.push((step, before, steps));
        }
    }

    /// Goes to the next history; `false` when there is none.
    fn advance(&mut self) -> bool {
        while let Some((_, before, mut steps)) = self.path.pop() {
            if let Some(step) = steps.pop() {
                let mut outline = before.clone();
                outline.take(step);
                self.path.push((step, before, steps));
                self.descend(outline);
                return true;
            }
        }
        false
    }
}

impl Iterator for Tree {
    type Item = History;

    fn next(&mut self) -> Option<History> {
        if self.done {
            return None;
        }
        if self.path.is_empty() {
            self.descend(Outline::default());
        }
        let history = History(self.path.iter().map(|(step, ..)| *step).collect());
        self.done = !self.advance();
        Some(history)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_history_is_told_once_the_shorter_ones_first() {
        let bounds = Bounds { transactions: 2, pages: 2 };
        let histories: Vec<History> = all(bounds, 0..=3).collect();
        assert!(histories.is_sorted_by_key(|history| history.0.len()));
        let different: HashSet<&History> = histories.iter().collect();
        assert_eq!(different.len(), histories.len());
        assert_eq!(histories[0], History::default());
        // Each one's beginning is there, too.
        for history in &histories[1..] {
            let (_, above) = history.0.split_last().expect("it has a step");
            assert!(different.contains(&History(above.to_vec())), "{history}");
        }
        // Of one step: T1 inserts, updates or deletes on P1, or a checkpoint begins.
        assert_eq!(histories.iter().filter(|history| history.0.len() == 1).count(), 4);
    }

    #[test]
    fn histories_are_read_as_they_are_shown() {
        for history in all(Bounds { transactions: 3, pages: 2 }, 0..=3) {
            assert_eq!(history.to_string().parse(), Ok(history));
        }
        for wrong in ["", "T0: update P1", "T1: commit", "flush P1", "T1: update P1; T1: update Q1"]
        {
            assert!(wrong.parse::<History>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_no_history() {
        let bounds = Bounds { transactions: 3, pages: 2 };
        let told = |steps: &[Step]| all(bounds, 4..=4).any(|history| history.0 == steps);
        use Step::{Commit, Delete, Flush, RollbackTo, Savepoint, Update};
        assert!(told(&[Update(1, 1), Savepoint(1), Update(1, 2), RollbackTo(1)]));
        assert!(told(&[Update(1, 1), Flush(1), Update(2, 1), Commit(2)]));
        for senseless in [
            [Update(2, 1), Commit(2), Update(1, 1), Commit(1)],
            [Update(1, 2), Commit(1), Update(2, 1), Commit(2)],
            [Update(1, 1), Flush(1), Flush(1), Commit(1)],
            [Delete(1, 1), Update(1, 1), Flush(1), Commit(1)],
            [Update(1, 1), Savepoint(1), RollbackTo(1), Commit(1)],
            [Update(1, 1), Commit(1), Update(1, 1), Flush(1)],
        ] {
            assert!(!told(&senseless), "{senseless:?}");
        }
    }
}
