//! `aries crash merge`: the lines of several jobs, added up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};

use super::super::output::{lines, print, table};
use super::super::{DONE, SOMETHING_WRONG};
use crate::demo::grouped;

#[derive(Args)]
#[command(after_help = "\
Examples:
  aries crash merge part-*.jsonl
  aries crash merge part-*.jsonl --json | jq .states

Exit code 0 if nothing is wrong and no shard is missing, 1 if not, 2 for wrong usage.

A state that two shards came to is counted by both.")]
pub struct Arguments {
    /// Files with the lines that `aries crash --json` printed
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON object: ok, states, parts (each as a line of `aries crash --json`, with missing shards)
    #[arg(long)]
    json: bool,
}

/// What makes lines parts of one exploration.
const SAME: [&str; 11] = [
    "kind",
    "level",
    "protection",
    "vocabulary",
    "sector",
    "steps",
    "transactions",
    "pages",
    "depth",
    "kills",
    "shards",
];
/// What is added up.
const ADDED: [&str; 8] =
    ["histories", "points", "sampled_points", "ways", "states", "nested", "killed", "recovered"];

#[derive(Default)]
struct Merged {
    same: Vec<Value>,
    added: [u64; ADDED.len()],
    shards: BTreeSet<u64>,
    of: u64,
    complete: bool,
    failures: Vec<Value>,
}

impl Merged {
    fn missing(&self) -> Vec<u64> {
        (0..self.of).filter(|shard| !self.shards.contains(shard)).collect()
    }

    fn is_ok(&self) -> bool {
        self.failures.is_empty() && self.missing().is_empty()
    }

    fn to_json(&self) -> Value {
        let same = SAME.iter().map(|name| (*name).to_owned()).zip(self.same.iter().cloned());
        let added = ADDED.iter().map(|name| (*name).to_owned());
        let added = added.zip(self.added.iter().map(|count| Value::from(*count)));
        let mut all: serde_json::Map<String, Value> = same.chain(added).collect();
        all.insert("missing_shards".into(), self.missing().into());
        all.insert("complete".into(), (self.complete && self.missing().is_empty()).into());
        all.insert("failures".into(), self.failures.clone().into());
        Value::Object(all)
    }
}

/// Runs `aries crash merge`.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut parts: BTreeMap<String, Merged> = BTreeMap::new();
    for file in &arguments.files {
        let name = file.display();
        let text =
            fs::read_to_string(file).map_err(|error| anyhow!("cannot read {name}: {error}"))?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            add(&mut parts, line)
                .map_err(|error| anyhow!("{name}, line {}: {error}", number + 1))?;
        }
    }
    let ok = parts.values().all(Merged::is_ok);
    let states: u64 = parts.values().map(|merged| merged.added[4]).sum();
    if arguments.json {
        let parts: Vec<Value> = parts.values().map(Merged::to_json).collect();
        print(&format!(
            "{:#}\n",
            json!({ "version": 1, "ok": ok, "states": states, "parts": parts })
        ));
    } else {
        print(&text(&parts, states));
    }
    Ok(if ok { DONE } else { SOMETHING_WRONG })
}

fn add(parts: &mut BTreeMap<String, Merged>, line: &str) -> anyhow::Result<()> {
    let value: Value =
        serde_json::from_str(line).map_err(|error| anyhow!("it is no JSON: {error}"))?;
    if value["version"] != 1 {
        return Err(anyhow!("it is no line of `aries crash --json`, or one of another version"));
    }
    let number = |name: &str| value[name].as_u64().ok_or_else(|| anyhow!("{name} is missing"));
    let same: Vec<Value> = SAME.iter().map(|name| value[*name].clone()).collect();
    let key = format!("{:>3} {}", number("steps")?, Value::from(same.clone()));
    let merged = parts.entry(key).or_insert_with(|| Merged { complete: true, ..Merged::default() });
    merged.same = same;
    merged.of = number("shards")?;
    if !merged.shards.insert(number("shard")?) {
        return Err(anyhow!("shard {} was there before", number("shard")?));
    }
    for (sum, name) in merged.added.iter_mut().zip(ADDED) {
        *sum += number(name)?;
    }
    merged.complete &= value["complete"] == true;
    if !value["failure"].is_null() {
        merged.failures.push(value["failure"].clone());
    }
    Ok(())
}

fn text(parts: &BTreeMap<String, Merged>, states: u64) -> String {
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
    for merged in parts.values() {
        let word = |at: usize| merged.same[at].as_str().unwrap_or_default().to_owned();
        let missing = merged.missing();
        let extent = match (missing.is_empty(), merged.complete) {
            (false, _) => format!("shards {missing:?} of {} are missing", merged.of),
            (true, true) => "complete".to_owned(),
            (true, false) => "sampled".to_owned(),
        };
        let failed = if merged.failures.is_empty() { "" } else { "; FAILED" };
        table.add_row([
            word(0),
            word(1),
            word(2),
            word(3),
            merged.same[5].to_string(),
            grouped(merged.added[0]),
            grouped(merged.added[1]),
            grouped(merged.added[4]),
            extent + failed,
        ]);
    }
    format!("{}\n{} states recovered and checked.\n", lines(&table), grouped(states))
}
