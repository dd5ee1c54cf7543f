//! What was explored: counts, as a table and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::output::{lines, table};
use super::failure;
use crate::crash::{Coverage, Failure, Kind, Level, Plan, Struck};
use crate::demo::{counted, grouped};
use crate::disk::FaultKind;

/// What was covered of one level, protection and vocabulary, and one length of histories.
pub struct Tally {
    pub level: Level,
    pub plan: Plan,
    pub steps: usize,
    pub coverage: Coverage,
    pub took: Duration,
}

impl Tally {
    /// Whether nothing was left out. Of random histories there are always more.
    fn is_complete(&self) -> bool {
        self.coverage.is_complete() && self.plan.kind != Kind::Long
    }

    /// Its line of JSON.
    pub fn to_json(&self, failed: Option<&Failure>) -> Value {
        let Coverage { histories, points, sampled_points, ways, states, .. } = self.coverage;
        let Coverage { checked, nested, killed, recovered, finished, .. } = self.coverage;
        json!({
            "version": 1,
            "kind": self.plan.kind.name(),
            "level": self.level.name(),
            "protection": self.plan.setting.protection.name(),
            "vocabulary": self.plan.bounds.vocabulary.name(),
            "sector": self.plan.setting.power.sector.bytes(),
            "steps": self.plan.kind.steps(self.steps),
            "transactions": self.plan.bounds.transactions,
            "pages": self.plan.bounds.pages,
            "depth": self.plan.depth,
            "kills": self.plan.kills,
            "shard": self.plan.shard,
            "shards": self.plan.shards,
            "histories": histories,
            "points": points,
            "sampled_points": sampled_points,
            "ways": ways,
            "states": states,
            "checked": checked,
            "nested": nested,
            "killed": killed,
            "recovered": recovered,
            "faults": faults(&self.coverage),
            "finished": finished,
            "complete": self.is_complete(),
            "seconds": self.took.as_secs_f64(),
            "failure": failed.map(failure::to_json),
        })
    }
}

/// What became of the faults of each kind that were tried.
fn faults(coverage: &Coverage) -> Value {
    let tried = FaultKind::ALL.iter().zip(&coverage.struck).filter(|(_, struck)| struck.runs > 0);
    let told = tried.map(|(kind, struck)| {
        let Struck { runs, harmless, noticed, limits } = *struck;
        let told = json!({
            "runs": runs, "harmless": harmless, "noticed": noticed, "known_limits": limits,
        });
        (kind.name().to_owned(), told)
    });
    Value::Object(told.collect())
}

/// What became of faults, by their names, for people; nothing, if none was tried.
pub fn table_of_faults<'n>(faults: impl IntoIterator<Item = (&'n str, Struck)>) -> String {
    let mut table = table(["fault", "tried", "harmless", "noticed", "known limit"]);
    for (name, Struck { runs, harmless, noticed, limits }) in faults {
        if runs > 0 {
            let counts = [runs, harmless, noticed, limits].map(grouped);
            table.add_row([name.to_owned()].into_iter().chain(counts));
        }
    }
    if table.is_empty() { String::new() } else { format!("{}\n", lines(&table)) }
}

/// A row of the table: one level, protection and vocabulary, all lengths.
struct Row<'t> {
    first: &'t Tally,
    sum: Coverage,
    /// All histories of up to so many steps were explored in every way.
    complete: Option<usize>,
    /// The longest that were explored in part only.
    sampled: Option<usize>,
}

fn rows(tallies: &[Tally]) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for tally in tallies {
        let is_same =
            |row: &&mut Row<'_>| (row.first.level, row.first.plan) == (tally.level, tally.plan);
        let row = match rows.iter_mut().find(is_same) {
            Some(row) => row,
            None => {
                let sum = Coverage { finished: true, ..Coverage::default() };
                rows.push(Row { first: tally, sum, complete: None, sampled: None });
                rows.last_mut().expect("just there")
            }
        };
        row.sum.add(&tally.coverage);
        let is_next = row.complete.is_none_or(|steps| steps + 1 == tally.steps);
        if tally.is_complete() && row.sampled.is_none() && is_next {
            row.complete = Some(tally.steps);
        } else {
            row.sampled = Some(tally.steps);
        }
    }
    rows
}

impl Row<'_> {
    /// What was covered, and how: complete and sampled are never mixed.
    fn extent(&self) -> String {
        let complete = self.complete.map(|steps| format!("complete to {}", counted(steps, "step")));
        let kind = self.first.plan.kind;
        let sampled = self
            .sampled
            .map(|length| format!("sampled at {}", counted(kind.steps(length), "step")));
        complete.into_iter().chain(sampled).collect::<Vec<_>>().join(", ")
    }
}

/// What was covered, for people.
pub fn table_of(tallies: &[Tally]) -> String {
    let Some(first) = tallies.first() else { return "Nothing was explored.\n".to_owned() };
    let mut table = table([
        "explored",
        "level",
        "protection",
        "vocabulary",
        "histories",
        "points",
        "distinct states",
        "checks inside recovery",
        "",
    ]);
    let mut all = Coverage::default();
    for row in rows(tallies) {
        all.add(&row.sum);
        table.add_row([
            row.first.plan.kind.name().to_owned(),
            row.first.level.name().to_owned(),
            row.first.plan.setting.protection.name().to_owned(),
            row.first.plan.bounds.vocabulary.name().to_owned(),
            grouped(row.sum.histories),
            grouped(row.sum.points),
            grouped(row.sum.states),
            grouped(row.sum.nested),
            row.extent(),
        ]);
    }
    let took: Duration = tallies.iter().map(|tally| tally.took).sum();
    let thread_millis = took.as_millis().max(1) * first.plan.threads as u128;
    let each = i128::from(all.states) * 1000 / i128::try_from(thread_millis).unwrap_or(i128::MAX);
    let Plan { bounds, depth, kills, shard, shards, .. } = first.plan;
    let died = if kills { "" } else { ", no process that dies alone" };
    let part = if shards > 1 { format!(", shard {shard} of {shards}") } else { String::new() };
    let faults = FaultKind::ALL.iter().map(|kind| kind.name()).zip(all.struck);
    format!(
        "{}\n{}Bounds: {}, {}, crashes inside recovery to depth {depth}{died}{part}.\n\
         {} distinct states, each row for itself, recovered and checked; {} a second and thread.\n",
        lines(&table),
        table_of_faults(faults),
        counted(bounds.transactions, "transaction"),
        counted(bounds.pages, "page"),
        grouped(all.states),
        grouped(each),
    )
}
