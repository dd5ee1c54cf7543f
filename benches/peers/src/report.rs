//! What was measured, and how aries compares.
//!
//! A [`Comparison`] has a line for each store with one value for each round. What counts is the ratio within a round, for machines
//! drift; of the rounds' ratios the median is taken, with the least and the most beside it. A ratio is always how many
//! times better aries was: above 1 it was ahead, whether more is better or less.

use std::fmt::{self, Display};

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;

/// Whom the others are compared with.
pub const SUBJECT: &str = "aries";
/// The peer that some goals name.
pub const LMDB: &str = "LMDB";

/// Which values are good ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    More,
    Less,
}

/// How many times better than a peer aries is to be.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Goal {
    pub times: f64,
    /// This peer; without a name the one that comes closest to aries, or is furthest ahead of it.
    pub peer: Option<&'static str>,
}

/// The middle of several values, and how far they spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

/// Where half, and nearly all, of the transactions' times lie, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Whether a goal is met.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Verdict {
    pub peer: &'static str,
    pub times: f64,
    pub goal: f64,
    pub met: bool,
}

/// One store in a comparison, or what stands beside the stores.
#[derive(Serialize)]
pub struct Line {
    who: &'static str,
    /// Whether aries competes with it.
    competes: bool,
    /// One for each round.
    values: Vec<f64>,
    summary: Option<Summary>,
    latency: Option<Latency>,
    /// Of a thousand transactions, how many runs were in vain.
    repeated_per_thousand: Option<f64>,
    /// How many times better aries was.
    times: Option<Summary>,
    #[serde(skip)]
    turns: Turns,
}

/// What is summed up over the rounds.
#[derive(Default)]
struct Turns {
    latency: Option<Histogram<u64>>,
    done: u64,
    repeated: u64,
}

/// What one turn of one store gave.
pub struct Turn {
    pub value: f64,
    /// Of each transaction, in nanoseconds.
    pub latency: Histogram<u64>,
    pub done: u64,
    /// Runs of transactions that had to be run again.
    pub repeated: u64,
}

/// The same work on several stores.
#[derive(Serialize)]
pub struct Comparison {
    workload: &'static str,
    what: String,
    unit: &'static str,
    better: Better,
    goal: Option<Goal>,
    lines: Vec<Line>,
    verdict: Option<Verdict>,
}

impl Summary {
    /// `None` of no values.
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        Some(Self { median: sorted[sorted.len() / 2], least, most })
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, least, most } = *self;
        match least.to_bits() == most.to_bits() {
            true => write!(f, "{}", Number(median)),
            false => write!(f, "{} ({} to {})", Number(median), Number(least), Number(most)),
        }
    }
}

/// A number with as many decimals as make sense.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = match self.0.abs() {
            large if large >= 100.0 => 0,
            small if small < 1.0 => 3,
            _ => 2,
        };
        write!(f, "{:.decimals$}", self.0)
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, times, goal, met } = self;
        let word = if *met { "met" } else { "missed" };
        write!(f, "{word}: {times:.2} × {peer}, goal {goal}")
    }
}

impl Comparison {
    /// One with a line for each of these stores, and no values yet.
    pub fn new(
        workload: &'static str,
        what: impl Into<String>,
        (unit, better): (&'static str, Better),
        goal: Option<Goal>,
        stores: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        let (what, lines) = (what.into(), stores.into_iter().map(Line::of_store).collect());
        Self { workload, what, unit, better, goal, lines, verdict: None }
    }

    fn line(&mut self, who: &'static str) -> &mut Line {
        let at = self.lines.iter().position(|line| line.who == who).unwrap_or_else(|| {
            self.lines.push(Line::of_store(who));
            self.lines.len() - 1
        });
        &mut self.lines[at]
    }

    /// A round's value of a store.
    pub fn push(&mut self, who: &'static str, value: f64) {
        self.line(who).values.push(value);
    }

    /// A round's value of what stands beside the stores.
    pub fn push_beside(&mut self, who: &'static str, value: f64) {
        let line = self.line(who);
        line.competes = false;
        line.values.push(value);
    }

    /// A round of a store, with the times that its transactions took.
    ///
    /// # Errors
    /// If the times of two rounds cannot be added up.
    pub fn push_turn(&mut self, who: &'static str, turn: Turn) -> Result<()> {
        let line = self.line(who);
        line.values.push(turn.value);
        line.turns.done += turn.done;
        line.turns.repeated += turn.repeated;
        match &mut line.turns.latency {
            Some(latency) => latency.add(turn.latency)?,
            none => *none = Some(turn.latency),
        }
        Ok(())
    }

    /// Computes what the table and the JSON say beside the values.
    pub fn finish(mut self) -> Self {
        let subject = self.lines.iter().find(|line| line.who == SUBJECT);
        let subject = subject.map(|line| line.values.clone()).unwrap_or_default();
        let better = self.better;
        for line in &mut self.lines {
            line.summary = Summary::of(&line.values);
            line.latency = line.turns.latency.as_ref().map(Latency::of);
            line.repeated_per_thousand = (line.turns.done > 0)
                .then(|| 1000.0 * line.turns.repeated as f64 / line.turns.done as f64);
            let ratios = subject.iter().zip(&line.values).map(|(ours, theirs)| match better {
                Better::More => ours / theirs,
                Better::Less => theirs / ours,
            });
            line.times = Summary::of(&ratios.collect::<Vec<f64>>()).filter(|_| line.who != SUBJECT);
        }
        self.verdict = self.goal.and_then(|goal| self.judge(goal));
        self
    }

    fn judge(&self, goal: Goal) -> Option<Verdict> {
        let wanted = |line: &&Line| line.competes && goal.peer.is_none_or(|peer| peer == line.who);
        let peers = self.lines.iter().filter(wanted);
        let peers = peers.filter_map(|line| Some((line.who, line.times?.median)));
        let (peer, times) = peers.min_by(|(_, one), (_, other)| one.total_cmp(other))?;
        Some(Verdict { peer, times, goal: goal.times, met: times >= goal.times })
    }

    /// The comparison as a table, a line for each store.
    pub fn table(&self) -> String {
        let repeats = self.lines.iter().any(|line| line.turns.repeated > 0);
        let latencies = self.lines.iter().any(|line| line.latency.is_some());
        let mut header = vec!["", self.unit];
        header.extend(if latencies { &["median µs", "99 % µs"][..] } else { &[] });
        header.extend(repeats.then_some("run again, ‰"));
        header.extend(["aries is × it", "verdict"]);
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(header.clone());
        for line in &self.lines {
            let mut cells = vec![line.who.to_owned(), show(line.summary)];
            if latencies {
                cells.push(show(line.latency.map(|latency| Number(latency.p50_us))));
                cells.push(show(line.latency.map(|latency| Number(latency.p99_us))));
            }
            if repeats {
                cells.push(show(line.repeated_per_thousand.map(Number)));
            }
            let verdict = self.verdict.filter(|verdict| verdict.peer == line.who);
            cells.extend([show(line.times), show(verdict)]);
            table.add_row(cells);
        }
        for column in 1..header.len() - 1 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let better = match self.better {
            Better::More => "more is better",
            Better::Less => "less is better",
        };
        format!("{}: {} ({better})\n{table}\n", self.workload, self.what)
    }
}

impl Line {
    fn of_store(who: &'static str) -> Self {
        Self {
            who,
            competes: true,
            values: Vec::new(),
            summary: None,
            latency: None,
            repeated_per_thousand: None,
            times: None,
            turns: Turns::default(),
        }
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self { p50_us: at(0.5), p99_us: at(0.99) }
    }
}

fn show(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn comparison(better: Better, peer: Option<&'static str>) -> Comparison {
        let goal = Some(Goal { times: 1.5, peer });
        let stores = [SUBJECT, "SQLite", LMDB, "redb"];
        let mut all = Comparison::new("commits", "1 thread", ("a second", better), goal, stores);
        for (who, values) in
            [(SUBJECT, [30.0, 20.0, 40.0]), ("SQLite", [10.0, 20.0, 40.0]), (LMDB, [5.0; 3])]
        {
            values.iter().for_each(|value| all.push(who, *value));
        }
        (0..3).for_each(|_| all.push_beside("raw", 100.0));
        all.finish()
    }

    #[test]
    fn the_median_of_the_ratios_counts_and_the_closest_peer() {
        let all = comparison(Better::More, None);
        assert_eq!(all.lines[1].times, Some(Summary { median: 1.0, least: 1.0, most: 3.0 }));
        assert_eq!(all.lines[0].times, None);
        assert_eq!(all.lines[3].summary, None);
        let expected = Verdict { peer: "SQLite", times: 1.0, goal: 1.5, met: false };
        assert_eq!(all.verdict, Some(expected));
        assert!(all.table().contains("missed: 1.00 × SQLite, goal 1.5"));
    }

    #[test]
    fn a_goal_may_name_its_peer() {
        let verdict = comparison(Better::More, Some(LMDB)).verdict.unwrap();
        assert_eq!((verdict.peer, verdict.times, verdict.met), (LMDB, 6.0, true));
    }

    #[test]
    fn where_less_is_better_ratios_are_turned_over() {
        let verdict = comparison(Better::Less, None).verdict.unwrap();
        assert_eq!((verdict.peer, verdict.times, verdict.met), (LMDB, 5.0 / 30.0, false));
    }

    #[test]
    fn without_aries_there_is_no_verdict() {
        let goal = Some(Goal { times: 1.0, peer: None });
        let unit = ("a second", Better::More);
        let mut all = Comparison::new("commits", "1 thread", unit, goal, [LMDB]);
        all.push(LMDB, 1.0);
        assert_eq!(all.finish().verdict, None);
    }
}
