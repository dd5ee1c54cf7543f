//! What is left after a kill: counted, and compared with what must be there.

use std::path::Path;

use super::{Heard, Log, TABLE, Work, key_of, value_of};
use crate::bench::Error;
use crate::db::Options;

/// More of them are counted, not told.
const MOST_TOLD: usize = 5;

/// What is in the database.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Left {
    /// The puts that are there, the value of each as it was put.
    pub found: u64,
    /// The first so many puts are there without a gap.
    pub prefix: u64,
    /// Pairs that were never put so.
    pub strange: u64,
    /// Some of them, in words.
    pub examples: Vec<String>,
    /// Changes that restart applied again.
    pub redone: u64,
    /// Whether the trees are sound.
    pub sound: bool,
}

impl Left {
    /// Takes a pair down; they come in the order of their keys.
    fn take(&mut self, key: &[u8], value: &[u8]) {
        let number = std::str::from_utf8(key).ok().and_then(|text| text.parse().ok());
        let is_put =
            |number: &u64| *number > 0 && key == key_of(*number) && value == value_of(*number);
        let Some(number) = number.filter(is_put) else {
            self.strange += 1;
            if self.examples.len() < MOST_TOLD {
                self.examples.push(format!("{} → {}", key.escape_ascii(), value.escape_ascii()));
            }
            return;
        };
        self.found += 1;
        if number == self.prefix + 1 {
            self.prefix = number;
        }
    }
}

/// Opens the database, which restarts it, and counts all that is in it.
///
/// # Errors
/// Those of the engine; [`Error::Engine`] with `NoSuchTable` if there is no table.
pub fn count(directory: &Path) -> Result<Left, Error> {
    let db = Options::new().create_if_missing(false).open(directory)?;
    let mut left = Left { redone: db.restart_report().redo.redone, ..Left::default() };
    let missing = || crate::error::Error::NoSuchTable { name: TABLE.to_owned() };
    let table = db.open_table(TABLE)?.ok_or_else(missing)?;
    let mut txn = db.begin()?;
    let mut scan = txn.scan(&table, ..)?;
    while let Some((key, value)) = scan.next_ref()? {
        left.take(key, value);
    }
    drop(scan);
    txn.commit()?;
    left.sound = db.verify_tables()?.is_sound();
    db.close()?;
    Ok(left)
}

/// What is not as it must be, in words.
#[must_use]
pub fn judge(work: &Work, heard: &Heard, left: &Left) -> Vec<String> {
    let mut faults = Vec::new();
    // What was put and not told of: killed before it could be.
    let untold = if heard.took.is_some() { 0 } else { work.tell_every };
    let (least, most) = match work.log {
        Log::Forced | Log::Buffered => (heard.put, heard.put + untold),
        Log::Off => (heard.flushed, heard.flushed),
    };
    if left.prefix < least {
        let missing = left.prefix + 1;
        let promised = if work.log == Log::Off { "flushed" } else { "acknowledged under the log" };
        faults.push(format!("put {missing} is missing, but {least} were {promised}"));
    }
    if left.found > left.prefix {
        let beyond = left.found - left.prefix;
        faults.push(format!("{beyond} later puts are there, but put {} is not", left.prefix + 1));
    }
    if left.found > most {
        let found = left.found;
        faults.push(format!("{found} puts are there, but no more than {most} can be"));
    }
    if left.strange > 0 {
        let examples = left.examples.join(", ");
        faults.push(format!("{} pairs are there that were never put: {examples}", left.strange));
    }
    if !left.sound {
        faults.push("the tables are not sound".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Flush;
    use super::*;

    const WORK: Work = Work { log: Log::Forced, flush: Flush::Never, tell_every: 1, last: None };
    const UNLOGGED: Work = Work { log: Log::Off, ..WORK };

    fn left(numbers: impl IntoIterator<Item = u64>) -> Left {
        let mut left = Left { sound: true, ..Left::default() };
        numbers.into_iter().for_each(|number| left.take(&key_of(number), &value_of(number)));
        left
    }

    fn faults(work: &Work, (put, flushed): (u64, u64), left: &Left) -> usize {
        judge(work, &Heard { put, flushed, took: None }, left).len()
    }

    #[test]
    fn with_a_log_what_was_acknowledged_is_there_and_at_most_one_more() {
        for (last, expected) in [(9, 1), (10, 0), (11, 0), (12, 1)] {
            assert_eq!(faults(&WORK, (10, 0), &left(1..=last)), expected, "{last}");
            assert_eq!(faults(&WORK, (10, 5), &left(1..=last)), expected, "{last}");
        }
        let done = Heard { put: 10, flushed: 0, took: Some(Duration::ZERO) };
        assert_eq!(judge(&WORK, &done, &left(1..=10)), [""; 0]);
        assert_eq!(judge(&WORK, &done, &left(1..=11)).len(), 1, "nothing was under way");
    }

    #[test]
    fn without_a_log_exactly_the_last_flush_is_there() {
        for (last, expected) in [(4, 1), (5, 0), (6, 1)] {
            assert_eq!(faults(&UNLOGGED, (10, 5), &left(1..=last)), expected, "{last}");
        }
        assert_eq!(faults(&UNLOGGED, (10, 0), &left([])), 0);
        assert_eq!(faults(&UNLOGGED, (10, 0), &left([1])), 1);
    }

    #[test]
    fn gaps_strangers_and_damage_are_faults() {
        let gap = left((1..=10).filter(|number| *number != 4));
        assert_eq!((gap.found, gap.prefix), (9, 3));
        assert_eq!(faults(&WORK, (10, 0), &gap), 2, "missing, and others behind it");
        assert_eq!(faults(&WORK, (3, 0), &gap), 2, "more than were put, with a gap");
        let strangers: [(&[u8], Vec<u8>); 5] = [
            (b"x", value_of(1)),
            (b"0000000011", value_of(12)),
            (b"0000000000", value_of(0)),
            (b"+000000011", value_of(11)),
            (b"11", value_of(11)),
        ];
        for (key, value) in strangers {
            let mut left = left(1..=10);
            left.take(key, &value);
            assert_eq!((left.found, left.strange), (10, 1), "{left:?}");
            assert_eq!(faults(&WORK, (10, 0), &left), 1, "{left:?}");
        }
        assert_eq!(faults(&WORK, (10, 0), &Left { sound: false, ..left(1..=10) }), 1);
    }
}
