//! A restart as a picture in text: the log as a tape, the phases as arrows over it, and what they
//! found and did in words.
//!
//! ```text
//!   LSN       000000123456                                             000000151617
//!   log       ├──────R──────────C───────────────────────────────────────────────┤
//!   analysis                    ├───────────────────────────────────────────────→
//!   redo             ├──────────────────────────────────────────────────────────→
//!   undo      ←─────────────────────────────────────────────────────────────────┤
//!   T3049     x                       x        x
//! ```

use std::collections::BTreeMap;

use super::text::{WIDTH, counted, grouped, milliseconds, wrapped};
use super::{Decision, DiskKind, Round, Undoing};
use crate::event::SkipReason;
use crate::ids::{Lsn, TxnId};

/// Columns before the tape.
const LABEL: usize = 12;
/// Columns of the tape.
const TAPE: usize = WIDTH - LABEL;
/// So many losers get a line of their own.
const MOST_LOSERS: usize = 6;

/// The part of the log that a restart looked at, drawn from left to right.
struct Tape {
    oldest: Lsn,
    end: Lsn,
}

impl Tape {
    fn of(round: &Round) -> Self {
        let restart = &round.restart;
        let looked_at = [Some(restart.analysis.from), restart.redo.from, restart.undo.back_to];
        let oldest = looked_at.into_iter().flatten().min().expect("analysis begins somewhere");
        Self { oldest, end: restart.analysis.end }
    }

    /// The column of an LSN on the tape.
    fn column(&self, lsn: Lsn) -> usize {
        let length = self.end.get().saturating_sub(self.oldest.get()).max(1);
        let offset = lsn.get().saturating_sub(self.oldest.get()).min(length);
        let column = u128::from(offset) * (TAPE as u128 - 1) / u128::from(length);
        usize::try_from(column).expect("on the tape")
    }

    /// A line with a label, and what stands on the tape.
    fn line(label: &str, cells: &[char]) -> String {
        let cells: String = cells.iter().collect();
        format!("  {label:<width$}{}\n", cells.trim_end(), width = LABEL - 2)
    }

    /// An arrow from one LSN to another.
    fn arrow(&self, label: &str, from: Lsn, to: Lsn) -> String {
        let mut cells = [' '; TAPE];
        let (start, tip) = (self.column(from), self.column(to));
        cells[start.min(tip)..=start.max(tip)].fill('─');
        cells[start] = if start <= tip { '├' } else { '┤' };
        cells[tip] = if start <= tip { '→' } else { '←' };
        Self::line(label, &cells)
    }

    /// The log itself; marks that would fall together stand side by side.
    fn log(&self, marks: &[(char, Lsn)]) -> String {
        let mut cells = ['─'; TAPE];
        (cells[0], cells[TAPE - 1]) = ('├', '┤');
        for (mark, lsn) in marks {
            let mut column = self.column(*lsn);
            while column + 1 < TAPE && cells[column].is_ascii_alphabetic() {
                column += 1;
            }
            cells[column] = *mark;
        }
        Self::line("log", &cells)
    }

    /// Where the updates of a loser stand.
    fn updates(&self, txn: TxnId, undone: &[&Undoing]) -> String {
        let mut cells = [' '; TAPE];
        for undoing in undone {
            cells[self.column(undoing.lsn)] = 'x';
        }
        Self::line(&txn.to_string(), &cells)
    }
}

impl Round {
    /// The restart after this round's kill, as a picture with words.
    #[must_use]
    pub fn picture(&self) -> String {
        let mut text = self.heading();
        text += "\n";
        text += &self.tape();
        text += "\n";
        text += &wrapped("  analysis  ", &self.analysis_in_words());
        text += &wrapped("  redo      ", &self.redo_in_words());
        text += &wrapped("  undo      ", &self.undo_in_words());
        text += &decisions(&self.story.decisions);
        text += &example_loser(&self.story.undone);
        text
    }

    fn heading(&self) -> String {
        let disk = match self.disk {
            DiskKind::Files => "plain files",
            DiskKind::HeldBack => "the disk that holds writes back",
        };
        let who = if self.story.undone.is_empty() { "" } else { " that had somebody to undo" };
        let took = milliseconds(self.restart.duration);
        format!("The last restart{who} (round {} over {disk}), {took}:\n", self.number)
    }

    fn tape(&self) -> String {
        let (tape, restart) = (Tape::of(self), &self.restart);
        let (oldest, end) = (tape.oldest.to_string(), tape.end.to_string());
        let between = TAPE - oldest.len();
        let mut text = format!("  {:<width$}{oldest}{end:>between$}\n", "LSN", width = LABEL - 2);
        let mut marks = vec![('C', restart.analysis.from)];
        marks.extend(restart.redo.from.map(|from| ('R', from)));
        marks.sort_by_key(|(_, lsn)| *lsn);
        text += &tape.log(&marks);
        text += &tape.arrow("analysis", restart.analysis.from, tape.end);
        if let Some(from) = restart.redo.from {
            text += &tape.arrow("redo", from, tape.end);
        }
        if let Some(back_to) = restart.undo.back_to {
            text += &tape.arrow("undo", tape.end, back_to);
        }
        for (txn, undone) in by_loser(&self.story.undone).into_iter().take(MOST_LOSERS) {
            text += &tape.updates(txn, &undone);
        }
        let redo = if restart.redo.from.is_some() { "R = redo begins, " } else { "" };
        let losers = if self.story.undone.is_empty() { "" } else { ", x = an update undone" };
        let key = format!("{redo}C = last checkpoint, right end = the kill{losers}");
        text + &format!("{:LABEL$}{key}\n", "")
    }

    fn analysis_in_words(&self) -> String {
        let report = &self.restart.analysis;
        let losers = match report.losers.len() {
            0 => "no loser".to_owned(),
            1 => format!("1 loser, {}", report.losers[0]),
            count => format!("{count} losers, {}", names(&report.losers)),
        };
        format!(
            "(section 6.1) read {} ({} bytes) from the last checkpoint to the end of the log. It \
             found {}, {losers} (begun, not committed), and {} that had committed but not ended.",
            counted(report.records, "record"),
            grouped(report.bytes),
            counted(report.dirty_pages as i128, "page") + " that may be older on disk",
            counted(report.committed.len() as i128, "transaction"),
        )
    }

    fn redo_in_words(&self) -> String {
        let report = &self.restart.redo;
        let Some(from) = report.from else {
            return "(section 6.2) had nothing to do: no page was dirty.".to_owned();
        };
        let changes = report.redone + report.skipped.values().sum::<u64>();
        let skipped: Vec<String> = report
            .skipped
            .iter()
            .map(|(reason, count)| format!("{} because {reason}", grouped(*count)))
            .collect();
        let skipped = match skipped.is_empty() {
            true => "skipped none".to_owned(),
            false => format!("skipped {}", skipped.join(", ")),
        };
        format!(
            "(section 6.2) repeated history from LSN {from}, the smallest recLSN, on, the losers' \
             changes included: of {} it applied {} again and {skipped}.",
            counted(changes, "change"),
            grouped(report.redone),
        )
    }

    fn undo_in_words(&self) -> String {
        let report = &self.restart.undo;
        if report.losers == 0 {
            return "(section 6.3) had nothing to do: every transaction was committed.".to_owned();
        }
        let of = if report.losers == 1 { "1 loser" } else { "all losers in one sweep" };
        format!(
            "(section 6.3) went backwards through the changes of {of} and undid {}, each with a \
             compensation log record (CLR) that says where undo goes on, so that a crash now would \
             undo nothing twice. {} written; then a checkpoint.",
            counted(report.compensations, "change"),
            counted(report.ended as i128, "end record"),
        )
    }
}

fn by_loser(undone: &[Undoing]) -> BTreeMap<TxnId, Vec<&Undoing>> {
    let mut losers: BTreeMap<TxnId, Vec<&Undoing>> = BTreeMap::new();
    for undoing in undone {
        losers.entry(undoing.txn).or_default().push(undoing);
    }
    losers
}

fn names(txns: &[TxnId]) -> String {
    txns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn decisions(decisions: &[Decision]) -> String {
    if decisions.is_empty() {
        return String::new();
    }
    let mut text = "\n  A few of redo's decisions:\n".to_owned();
    for decision in decisions {
        let Decision { lsn, page, skipped } = decision;
        let page = page.to_string();
        let what = skipped.map_or_else(
            || "applied again: the page on disk was older".to_owned(),
            |reason: SkipReason| format!("skipped: {reason}"),
        );
        text += &format!("    LSN {lsn} on {page:<4} {what}\n");
    }
    text
}

/// The loser with most to undo, step by step.
fn example_loser(undone: &[Undoing]) -> String {
    let losers = by_loser(undone);
    let Some((txn, steps)) = losers.into_iter().max_by_key(|(_, steps)| steps.len()) else {
        return String::new();
    };
    let mut text = format!("\n  How {txn} was undone, latest change first:\n");
    for Undoing { lsn, page, what, clr_lsn, undo_next_lsn, .. } in steps {
        let what = what.as_ref().map_or_else(|| page.to_string(), |what| format!("{what}, {page}"));
        let next = match undo_next_lsn {
            Some(next) => format!("undo_next {next}"),
            None => format!("undo_next nil: {txn} ends"),
        };
        text += &format!("    LSN {lsn} ({what}) → CLR {clr_lsn}, {next}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(offset: u64) -> Lsn {
        Lsn::new(offset).expect("not 0")
    }

    #[test]
    fn marks_and_arrows_stand_at_their_place() {
        let tape = Tape { oldest: lsn(1000), end: lsn(2000) };
        assert_eq!((tape.column(lsn(1000)), tape.column(lsn(2000))), (0, TAPE - 1));
        assert_eq!((tape.column(lsn(1)), tape.column(lsn(9000))), (0, TAPE - 1), "never beyond");
        let log: Vec<char> = tape.log(&[('R', lsn(1500)), ('C', lsn(1500))]).chars().collect();
        let middle = LABEL + tape.column(lsn(1500));
        assert_eq!(log[middle..middle + 2], ['R', 'C']);
        let undo: Vec<char> = tape.arrow("undo", lsn(2000), lsn(1500)).chars().collect();
        assert_eq!((undo[middle], undo[LABEL + TAPE - 1]), ('←', '┤'));
        assert_eq!(undo.len(), WIDTH + 1, "and the end of the line");
    }

    #[test]
    fn a_log_of_no_length_can_be_drawn() {
        let tape = Tape { oldest: lsn(1000), end: lsn(1000) };
        assert!(tape.arrow("redo", lsn(1000), lsn(1000)).contains('→'));
        assert!(tape.log(&[('C', lsn(1000)), ('R', lsn(1000))]).contains("CR"));
    }
}
