//! What was explored: counts, as a table and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::output::{lines, table};
use super::counts::Counts;
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
        let mut line = json!(Counts::from(&self.coverage));
        let more = json!({
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
            "kills": self.plan.processes_die(),
            "shard": self.plan.shard,
            "shards": self.plan.shards,
            "finished": self.coverage.finished,
            "complete": self.is_complete(),
            "seconds": self.took.as_secs_f64(),
            "failure": failed.map(failure::to_json),
        });
        let (all, more) = (line.as_object_mut(), more.as_object().cloned());
        all.expect("a struct is an object").extend(more.unwrap_or_default());
        line
    }
}

/// What became of faults, for people; nothing, if none was tried.
pub fn table_of_faults(coverage: &Coverage) -> String {
    let mut table = table(["fault", "tried", "harmless", "noticed", "known limit"]);
    let faults = FaultKind::ALL.iter().zip(coverage.struck);
    for (kind, Struck { runs, harmless, noticed, limits }) in faults {
        if runs > 0 {
            let counts = [runs, harmless, noticed, limits].map(grouped);
            table.add_row([kind.name().to_owned()].into_iter().chain(counts));
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
    let Plan { bounds, depth, shard, shards, .. } = first.plan;
    let died = if first.plan.processes_die() { "" } else { ", no process that dies alone" };
    let part = if shards > 1 { format!(", shard {shard} of {shards}") } else { String::new() };
    format!(
        "{}\n{}Bounds: {}, {}, crashes inside recovery to depth {depth}{died}{part}.\n\
         {} distinct states, each row for itself, recovered and checked; {} a second and thread.\n",
        lines(&table),
        table_of_faults(&all),
        counted(bounds.transactions, "transaction"),
        counted(bounds.pages, "page"),
        grouped(all.states),
        grouped(each),
    )
}
