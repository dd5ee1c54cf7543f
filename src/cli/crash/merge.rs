//! `aries crash merge`: the lines of several jobs, added up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::output::{lines, print, table};
use super::super::{DONE, SOMETHING_WRONG, WrongUsage};
use super::counts::Counts;
use super::tally::table_of_faults;
use crate::crash::Coverage;
use crate::demo::grouped;

#[derive(Args)]
#[command(after_help = "\
Examples:
  aries crash merge part-*.jsonl
  aries crash merge part-*.jsonl --json | jq .states

Exit code 0 if nothing is wrong and no shard is missing, 1 if not, 2 for wrong usage.

All lines must be of one exploration, but for the shard. What two shards come to, a state or a recovery, each of
them checks and counts; only histories add up to what one job would have counted.")]
pub struct Arguments {
    /// Files with the lines that `aries crash --json` printed
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON object: ok, states, parts (each as a line of `aries crash --json`; missing is how many shards are
    /// missing, missing_shards the first 20 of them)
    #[arg(long)]
    json: bool,
}

/// A line of `aries crash --json`.
#[derive(Deserialize)]
struct Line {
    version: u64,
    #[serde(flatten)]
    part: Part,
    #[serde(flatten)]
    exploration: Exploration,
    shard: u64,
    #[serde(flatten)]
    counts: Counts,
    finished: bool,
    complete: bool,
    failure: Value,
}

/// What is the same in all lines that can be added up.
#[derive(Serialize, Deserialize, Clone, PartialEq)]
struct Exploration {
    sector: u64,
    transactions: u64,
    pages: u64,
    depth: u64,
    kills: bool,
    shards: u64,
}

/// What was explored.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    steps: u64,
    kind: String,
    level: String,
    protection: String,
    vocabulary: String,
}

/// A part, of all shards.
#[derive(Default)]
struct Sum {
    coverage: Coverage,
    shards: BTreeSet<u64>,
    sampled: bool,
    failures: Vec<Value>,
}

impl Sum {
    fn add(&mut self, line: Line, coverage: &Coverage) -> anyhow::Result<()> {
        if !self.shards.insert(line.shard) {
            return Err(anyhow!("shard {} was there before", line.shard));
        }
        self.coverage.add(coverage);
        self.sampled |= !line.complete;
        self.failures.extend((!line.failure.is_null()).then_some(line.failure));
        Ok(())
    }

    /// How many shards are missing, and the first of them.
    fn missing(&self, shards: u64) -> (u64, Vec<u64>) {
        let missing = (0..shards).filter(|shard| !self.shards.contains(shard));
        (shards - self.shards.len() as u64, missing.take(MOST_NAMED).collect())
    }
}

/// So many missing shards are named.
const MOST_NAMED: usize = 20;

/// All that was read.
#[derive(Default)]
struct Merged {
    exploration: Option<Exploration>,
    parts: BTreeMap<Part, Sum>,
}

impl Merged {
    fn add(&mut self, line: &str) -> anyhow::Result<()> {
        let line: Line = serde_json::from_str(line)
            .map_err(|error| anyhow!("it is no line of `aries crash --json`: {error}"))?;
        if line.version != 1 {
            return Err(anyhow!("its version is {}, not 1", line.version));
        }
        let shards = line.exploration.shards;
        if line.shard >= shards {
            return Err(anyhow!("there is no shard {} of {shards}", line.shard));
        }
        let coverage = line.counts.coverage(line.finished)?;
        if line.complete && !(coverage.is_complete() && line.failure.is_null()) {
            return Err(anyhow!("it calls complete what is not"));
        }
        match &self.exploration {
            Some(other) if *other != line.exploration => {
                return Err(anyhow!(
                    "it is of another exploration: sector, transactions, pages, depth, kills and shards are to be the same"
                ));
            }
            _ => self.exploration = Some(line.exploration.clone()),
        }
        self.parts.entry(line.part.clone()).or_default().add(line, &coverage)
    }

    fn shards(&self) -> u64 {
        self.exploration.as_ref().map_or(0, |exploration| exploration.shards)
    }

    fn is_ok(&self) -> bool {
        self.parts.values().all(|sum| sum.failures.is_empty() && sum.missing(self.shards()).0 == 0)
    }

    fn to_json(&self) -> anyhow::Result<Value> {
        let parts = self.parts.iter().map(|(part, sum)| self.part_json(part, sum));
        let parts = parts.collect::<anyhow::Result<Vec<Value>>>()?;
        let states = self.coverage().states;
        Ok(json!({ "version": 1, "ok": self.is_ok(), "states": states, "parts": parts }))
    }

    fn part_json(&self, part: &Part, sum: &Sum) -> anyhow::Result<Value> {
        let (missing, first) = sum.missing(self.shards());
        let more = json!({
            "missing": missing,
            "missing_shards": first,
            "complete": !sum.sampled && missing == 0,
            "failures": sum.failures,
        });
        let mut all = serde_json::Map::new();
        for value in [
            serde_json::to_value(part)?,
            serde_json::to_value(&self.exploration)?,
            serde_json::to_value(Counts::from(&sum.coverage))?,
            more,
        ] {
            all.extend(value.as_object().cloned().unwrap_or_default());
        }
        Ok(Value::Object(all))
    }

    /// Of all parts.
    fn coverage(&self) -> Coverage {
        let mut all = Coverage::default();
        self.parts.values().for_each(|sum| all.add(&sum.coverage));
        all
    }

    fn text(&self) -> String {
        let mut table = table([
            "explored",
            "level",
            "protection",
            "vocabulary",
            "steps",
            "histories",
            "points",
            "distinct states",
            "",
        ]);
        for (part, sum) in &self.parts {
            let Part { steps, kind, level, protection, vocabulary } = part;
            table.add_row([
                kind.clone(),
                level.clone(),
                protection.clone(),
                vocabulary.clone(),
                steps.to_string(),
                grouped(sum.coverage.histories),
                grouped(sum.coverage.points),
                grouped(sum.coverage.states),
                self.extent(sum),
            ]);
        }
        let all = self.coverage();
        format!(
            "{}\n{}{} distinct states, each shard and row for itself, recovered and checked.\n",
            lines(&table),
            table_of_faults(&all),
            grouped(all.states)
        )
    }

    fn extent(&self, sum: &Sum) -> String {
        let shards = self.shards();
        let extent = match (sum.missing(shards), sum.sampled) {
            ((0, _), false) => "complete".to_owned(),
            ((0, _), true) => "sampled".to_owned(),
            ((missing, first), _) if missing > first.len() as u64 => {
                format!("{missing} shards of {shards} are missing: {first:?} …")
            }
            ((_, first), _) => format!("shards {first:?} of {shards} are missing"),
        };
        extent + if sum.failures.is_empty() { "" } else { "; FAILED" }
    }
}

/// Runs `aries crash merge`.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut merged = Merged::default();
    for file in &arguments.files {
        let name = file.display();
        let text = fs::read_to_string(file)
            .map_err(|error| WrongUsage(format!("cannot read {name}: {error}")))?;
        let mut lines =
            (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).peekable();
        if lines.peek().is_none() {
            let message = format!("{name} has no line: what was to write it has explored nothing");
            return Err(WrongUsage(message).into());
        }
        for (number, line) in lines {
            let added = merged.add(line);
            added.map_err(|error| WrongUsage(format!("{name}, line {number}: {error}")))?;
        }
    }
    match arguments.json {
        true => print(&format!("{:#}\n", merged.to_json()?)),
        false => print(&merged.text()),
    }
    Ok(if merged.is_ok() { DONE } else { SOMETHING_WRONG })
}
