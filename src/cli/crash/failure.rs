//! A failure: saved, read again, replayed, and told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};

use super::super::output::print;
use super::super::{DONE, SOMETHING_WRONG};
use super::{protection, sector};
use crate::config::LogBlock;
use crate::crash::{Clause, Crash, Failure, Line, Replayed, Setting, Violation, replay};
use crate::disk::{Metadata, Part, PowerFailure, Survivors, Torn};

#[derive(Args)]
#[command(after_help = "\
Examples:
  aries crash replay crash-failure.json
  aries crash replay crash-failure.json --json | jq .violation

Exit code 0 if nothing is wrong any more, 1 if it still fails, 2 for wrong usage.")]
pub struct Arguments {
    /// The file that `aries crash` saved
    file: PathBuf,
    /// Print one JSON object: still_fails, violation, lines
    #[arg(long)]
    json: bool,
}

/// Runs `aries crash replay`.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let name = arguments.file.display();
    let text = fs::read_to_string(&arguments.file)
        .map_err(|error| anyhow!("cannot read {name}: {error}"))?;
    let value =
        serde_json::from_str(&text).map_err(|error| anyhow!("{name} is no JSON: {error}"))?;
    let failure = from_json(&value).map_err(|error| anyhow!("{name} holds no failure: {error}"))?;
    let replayed = replay(&failure)?;
    let still_fails = replayed.violation.is_some();
    if arguments.json {
        let lines: Vec<String> = replayed.lines.iter().map(Line::to_string).collect();
        let violation = replayed.violation.as_ref().map(Violation::to_string);
        let told = json!({
            "version": 1, "still_fails": still_fails, "violation": violation, "lines": lines,
        });
        print(&format!("{told:#}\n"));
    } else {
        print(&told(&failure, &replayed));
    }
    Ok(if still_fails { SOMETHING_WRONG } else { DONE })
}

/// The failure, for people.
pub fn text(failure: &Failure) -> anyhow::Result<String> {
    Ok(told(failure, &replay(failure)?))
}

fn told(failure: &Failure, replayed: &Replayed) -> String {
    let mut text = format!("History: {}\n\n", failure.history);
    for line in &replayed.lines {
        let indent = match line {
            Line::Opened | Line::Step(_) | Line::Crash { .. } => "",
            Line::Event(_) | Line::Io { .. } => "    ",
        };
        text += &format!("{indent}{line}\n");
        if let Line::Crash { pending, .. } = line {
            for pended in pending {
                text += &format!("    {}: {}\n", pended.change, pended.fate);
            }
        }
    }
    text += "\n";
    match &replayed.violation {
        None => text += "Nothing is wrong (any more).\n",
        Some(violation) => {
            text += &format!("WRONG: {violation}\n");
            let expected: Vec<String> =
                replayed.expected.iter().map(|state| format!("[{state}]")).collect();
            text += &format!("Right: {}\n", expected.join(" or "));
        }
    }
    text
}

/// Saves it.
pub fn save(failure: &Failure, path: &Path) -> anyhow::Result<()> {
    let name = path.display();
    fs::write(path, format!("{:#}\n", to_json(failure)))
        .map_err(|error| anyhow!("cannot write {name}: {error}"))
}

/// The failure, with the whole trace of I/Os: what a replay does over.
pub fn to_json(failure: &Failure) -> Value {
    let Setting { protection, log_block, power, .. } = failure.setting;
    let trace = replay(failure).map(|replayed| replayed.lines).unwrap_or_default();
    json!({
        "version": 1,
        "protection": protection.name(),
        "log_block": match log_block {
            LogBlock::Rewritten => Value::Null,
            LogBlock::Padded(bytes) => bytes.into(),
        },
        "sector": power.sector.bytes().to_string(),
        "torn": TORN[power.torn as usize],
        "metadata_in_order": power.metadata == Metadata::Ordered,
        "pages": failure.pages,
        "history": failure.history.to_string(),
        "crashes": failure.crashes.iter().map(crash_json).collect::<Vec<_>>(),
        "clause": failure.violation.clause.name(),
        "found": failure.violation.found,
        "trace": trace.iter().map(Line::to_string).collect::<Vec<_>>(),
    })
}

const TORN: [&str; 3] = ["never", "prefix_or_suffix", "garbage"];

fn crash_json(crash: &Crash) -> Value {
    let Survivors::Parts(parts) = &crash.survivors else { return Value::Null };
    let survivors = parts.iter().map(|(id, part)| {
        let (how, number) = match *part {
            Part::Whole => ("whole", 0),
            Part::Prefix(bytes) => ("prefix", bytes as u64),
            Part::Suffix(from) => ("suffix", from as u64),
            Part::Garbage { seed } => ("garbage", seed),
        };
        json!([id, how, number])
    });
    json!({ "io": crash.io, "survivors": survivors.collect::<Vec<_>>() })
}

fn from_json(value: &Value) -> anyhow::Result<Failure> {
    let missing = |name: &str| anyhow!("{name:?} is missing, or is not what it must be");
    let text = |name: &str| value[name].as_str().ok_or_else(|| missing(name));
    let torn = TORN.iter().zip([Torn::Never, Torn::PrefixOrSuffix, Torn::Garbage]);
    let named = text("torn")?;
    let torn = torn.into_iter().find(|(name, _)| **name == named).ok_or_else(|| missing("torn"))?.1;
    let ordered =
        value["metadata_in_order"].as_bool().ok_or_else(|| missing("metadata_in_order"))?;
    let metadata = if ordered { Metadata::Ordered } else { Metadata::Independent };
    let sector = sector(text("sector")?).map_err(|_| missing("sector"))?;
    let protection = protection(text("protection")?).map_err(|_| missing("protection"))?;
    let log_block = match &value["log_block"] {
        Value::Null => LogBlock::Rewritten,
        bytes => LogBlock::Padded(bytes.as_u64().ok_or_else(|| missing("log_block"))?),
    };
    let setting = Setting {
        protection,
        log_block,
        power: PowerFailure { sector, torn, metadata },
        ..Setting::default()
    };
    let crashes = value["crashes"].as_array().ok_or_else(|| missing("crashes"))?;
    let crashes = crashes.iter().map(|crash| crash_from(crash).ok_or_else(|| missing("crashes")));
    let pages = value["pages"].as_u64().filter(|pages| (1..=8).contains(pages));
    let clause = text("clause")?;
    let clause = Clause::ALL.into_iter().find(|known| known.name() == clause);
    Ok(Failure {
        setting,
        pages: usize::try_from(pages.ok_or_else(|| missing("pages"))?)?,
        history: text("history")?.parse().map_err(|reason: String| anyhow!(reason))?,
        crashes: crashes.collect::<anyhow::Result<_>>()?,
        violation: Violation {
            clause: clause.ok_or_else(|| missing("clause"))?,
            found: String::new(),
        },
    })
}

fn crash_from(value: &Value) -> Option<Crash> {
    let mut parts = BTreeMap::new();
    for survivor in value["survivors"].as_array()? {
        let number = survivor[2].as_u64()?;
        let bytes = usize::try_from(number).ok()?;
        let part = match survivor[1].as_str()? {
            "whole" => Part::Whole,
            "prefix" => Part::Prefix(bytes),
            "suffix" => Part::Suffix(bytes),
            "garbage" => Part::Garbage { seed: number },
            _ => return None,
        };
        parts.insert(survivor[0].as_u64()?, part);
    }
    Some(Crash { io: value["io"].as_u64()?, survivors: Survivors::Parts(parts) })
}
