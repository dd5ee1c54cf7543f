//! All histories of a length, depth first; and random ones.

use std::ops::RangeInclusive;

use super::outline::{Bounds, Outline};
use super::{History, Step};
use crate::disk::split_mix;

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

fn below(most: usize, seed: &mut u64) -> usize {
    let chance = split_mix(seed) % most.max(1) as u64;
    usize::try_from(chance).unwrap_or(0)
}

/// A history of so many steps, by chance: the same seed gives the same one.
#[must_use]
pub fn random(bounds: Bounds, length: usize, seed: u64) -> History {
    let mut outline = Outline::default();
    let mut seed = seed;
    let mut steps = Vec::with_capacity(length);
    for _ in 0..length {
        let possible = outline.next_steps(&bounds);
        let step = possible[below(possible.len(), &mut seed)];
        outline.take(step);
        steps.push(step);
    }
    History(steps)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::Vocabulary;
    use super::*;

    fn bounds(transactions: usize, vocabulary: Vocabulary) -> Bounds {
        Bounds { transactions, pages: 2, vocabulary }
    }

    #[test]
    fn every_history_is_told_once_the_shorter_ones_first() {
        let bounds = bounds(2, Vocabulary::Records);
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
        // Of one step: T1 inserts, updates, deletes or tries on P1, or a checkpoint begins.
        assert_eq!(histories.iter().filter(|history| history.0.len() == 1).count(), 5);
    }

    #[test]
    fn histories_are_read_as_they_are_shown() {
        for vocabulary in Vocabulary::ENUMERATED {
            for history in all(bounds(3, vocabulary), 0..=3) {
                assert_eq!(history.to_string().parse(), Ok(history));
            }
        }
        let wrong = ["", "T0: update P1", "T1: commit", "flush P1", "T1: update P1; T1: update Q1"];
        for wrong in wrong {
            assert!(wrong.parse::<History>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_no_history() {
        for possible in [
            "T1: update P1; T1: savepoint s; T1: update P2; T1: rollback s",
            "T1: update P1; flush P1; T2: update P1; T2: commit",
            "T1: free P1; T1: commit; T2: allocate N1; T2: rollback",
            "T1: nested allocate N1; T1: rollback; T2: free N1",
            "T1: update P1; T1: commit deferred; T2: read P1; T2: commit; T1: wait",
            "T1: update P1; T1: prepare; T2: update P1; T1: rollback; T2: commit",
            "T1: delete P1; T1: rollback; T1: update P1", // Another transaction of that name.
        ] {
            assert!(possible.parse::<History>().is_ok(), "{possible}");
        }
        for senseless in [
            "T2: update P1; T2: commit; T1: update P1; T1: commit",
            "T1: update P2; T1: commit; T2: update P1; T2: commit",
            "T1: update P1; flush P1; flush P1; T1: commit",
            "T1: delete P1; T1: update P1; flush P1; T1: commit",
            "T1: delete P1; T1: commit; T1: update P1",
            "T1: update P1; T1: savepoint s; T1: rollback s; T1: commit",
            "T1: update P1; T2: free P1",
            "T1: free P1; T2: update P1",
            "T1: free P1; T1: commit; T2: update P1",
            "T1: update P1; T1: nested free P1",
            "T1: allocate N1; T2: free N1",
            "T1: update P1; T1: prepare; T1: update P1",
            "T1: update P1; T1: commit; T2: read P1; T1: update P1", // It would wait.
        ] {
            assert!(senseless.parse::<History>().is_err(), "{senseless}");
        }
    }

    #[test]
    fn histories_by_chance_are_possible_and_use_every_step() {
        let bounds = bounds(3, Vocabulary::Everything);
        let histories: Vec<History> = (0..50).map(|seed| random(bounds, 40, seed)).collect();
        assert!(histories.iter().all(|history| history.is_possible() && history.0.len() == 40));
        assert_eq!(histories[7], random(bounds, 40, 7));
        let told: String = histories.iter().map(|history| format!("{history}; ")).collect();
        let by: HashSet<&str> =
            told.split("; ").map(|step| step.trim_end_matches(char::is_numeric)).collect();
        assert!(by.contains("T1: wait") && by.contains("T3: nested free N"), "{by:?}");
        let actions = by.iter().filter(|step| step.starts_with("T2: ")).count();
        assert_eq!(actions, 22, "19 actions, three of which free pages of either kind: {by:?}");
    }
}
