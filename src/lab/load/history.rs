//! What one key must hold, by what its only writer knows.
//!
//! ```text
//!   write     1   2   3   4   5   6   7?         acknowledged 1 to 6, 7 in doubt
//!   found                             7          it had been done
//!                                 6              it had not
//!                     4                          5 and 6 are lost
//! ```
//!
//! Invariants:
//! - no more than one write is in doubt, the last; before the next one it is settled by what is found;
//! - what was found once has to stay, as if it were acknowledged: who read it may have told others;
//! - a write that is lost, or was not done, does not come back: found again, it is *strange*, as is what was never put.

use std::ops::Range;

/// What became of writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Writes that were answered, or found when their answer had not come.
    pub acknowledged: u64,
    /// Writes whose answer did not come.
    pub in_doubt: u64,
    /// Of those acknowledged, how many were gone later.
    pub lost: u64,
    /// How often a value was found that nobody put, or that should have been gone.
    pub strange: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.in_doubt += other.in_doubt;
        self.lost += other.lost;
        self.strange += other.strange;
    }
}

/// What a key was found to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    Nothing,
    /// The value of this write.
    Write(u64),
    /// What no write of this key put there.
    Other,
}

/// The writes of one key, which have the numbers 1, 2, 3, …
#[derive(Debug, Default)]
pub struct History {
    /// Those acknowledged and not lost: ranges that do not touch, ascending.
    kept: Vec<Range<u64>>,
    tried: u64,
    in_doubt: Option<u64>,
    tally: Tally,
}

impl History {
    /// The number of the next write, which is in doubt until it is acknowledged.
    ///
    /// # Panics
    /// If one is in doubt already.
    pub fn next(&mut self) -> u64 {
        assert!(self.in_doubt.is_none(), "it is settled what the key holds");
        self.tried += 1;
        self.in_doubt = Some(self.tried);
        self.tried
    }

    /// The write that is in doubt is acknowledged.
    pub fn acknowledged(&mut self) {
        let Some(number) = self.in_doubt.take() else { return };
        self.tally.acknowledged += 1;
        match self.kept.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => self.kept.push(number..number + 1),
        }
    }

    /// No answer came to the write that is in doubt.
    pub fn unanswered(&mut self) {
        self.tally.in_doubt += 1;
    }

    /// The key was found to hold this.
    pub fn found(&mut self, found: Found) {
        let number = match found {
            Found::Nothing => 0,
            Found::Write(number) => number,
            Found::Other => return self.tally.strange += 1,
        };
        if self.in_doubt == Some(number) {
            return self.acknowledged();
        }
        self.in_doubt = None;
        self.lose_above(number);
        let newest = self.kept.last().map_or(0, |last| last.end - 1);
        self.tally.strange += u64::from(number != newest);
    }

    fn lose_above(&mut self, number: u64) {
        let end = number.saturating_add(1);
        while let Some(last) = self.kept.pop_if(|last| last.end > end) {
            let stay = last.start..end.max(last.start);
            self.tally.lost += last.end - stay.end;
            if !stay.is_empty() {
                return self.kept.push(stay);
            }
        }
    }

    /// What became of the writes.
    pub fn tally(&self) -> Tally {
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key with so many writes, all acknowledged.
    fn written(writes: u64) -> History {
        let mut history = History::default();
        write(&mut history, writes);
        history
    }

    fn write(history: &mut History, writes: u64) {
        for _ in 0..writes {
            history.next();
            history.acknowledged();
        }
    }

    /// Acknowledged, in doubt, lost, strange.
    fn tally(history: &History) -> [u64; 4] {
        let Tally { acknowledged, in_doubt, lost, strange } = history.tally();
        [acknowledged, in_doubt, lost, strange]
    }

    #[test]
    fn what_was_acknowledged_is_there() {
        let mut history = History::default();
        history.found(Found::Nothing);
        write(&mut history, 3);
        history.found(Found::Write(3));
        history.found(Found::Write(3));
        assert_eq!(tally(&history), [3, 0, 0, 0]);
    }

    #[test]
    fn an_acknowledged_write_that_is_gone_is_lost_once() {
        let mut history = written(6);
        history.found(Found::Write(4));
        history.found(Found::Write(4));
        assert_eq!(tally(&history), [6, 0, 2, 0]);
        // 7 and 8 come after 5 and 6 were lost; of 1 to 4, 7 and 8 all are lost then.
        write(&mut history, 2);
        history.found(Found::Nothing);
        assert_eq!(tally(&history), [8, 0, 8, 0]);
        history.found(Found::Nothing);
        assert_eq!(tally(&history), [8, 0, 8, 0]);
    }

    #[test]
    fn a_write_in_doubt_is_no_loss_whether_it_was_done_or_not() {
        for (found, expected) in [
            (Found::Write(3), [3, 1, 0, 0]),
            (Found::Write(2), [2, 1, 0, 0]),
            (Found::Write(1), [2, 1, 1, 0]),
            (Found::Nothing, [2, 1, 2, 0]),
        ] {
            let mut history = written(2);
            assert_eq!(history.next(), 3);
            history.unanswered();
            history.found(found);
            assert_eq!(tally(&history), expected, "{found:?}");
        }
    }

    #[test]
    fn a_write_in_doubt_that_was_found_has_to_stay() {
        let mut history = written(2);
        history.next();
        history.unanswered();
        history.found(Found::Write(3));
        history.found(Found::Write(2));
        assert_eq!(tally(&history), [3, 1, 1, 0]);
    }

    #[test]
    fn what_nobody_put_is_strange() {
        let mut history = written(2);
        history.found(Found::Other);
        history.found(Found::Write(3));
        assert_eq!(tally(&history), [2, 0, 0, 2]);
    }

    #[test]
    fn what_was_lost_or_not_done_does_not_come_back() {
        let mut history = written(6);
        history.found(Found::Write(4));
        history.found(Found::Write(6));
        assert_eq!(tally(&history), [6, 0, 2, 1]);
        let mut history = written(1);
        history.next();
        history.unanswered();
        history.found(Found::Write(1));
        write(&mut history, 1);
        history.found(Found::Write(2));
        assert_eq!(tally(&history), [2, 1, 1, 1], "3 is gone, and 2 had not been done");
    }
}
