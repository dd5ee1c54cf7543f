//! A failure: saved, read again, replayed, and told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};

use super::super::output::print;
use super::super::{DONE, SOMETHING_WRONG, WrongUsage};
use super::{named, sector};
use crate::config::{LogBlock, TornPageProtection};
use crate::crash::{
    Bounds, Clause, Crash, Failure, Harm, Line, MOST_PAGES, MOST_TRANSACTIONS, Replayed, Setting,
    Violation, Vocabulary, replay,
};
use crate::disk::{Fault, FaultKind, Metadata, Part, PowerFailure, Survivors, Torn};

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
        .map_err(|error| WrongUsage(format!("cannot read {name}: {error}")))?;
    let value = serde_json::from_str(&text)
        .map_err(|error| WrongUsage(format!("{name} is no JSON: {error}")))?;
    let failure = from_json(&value)
        .map_err(|error| WrongUsage(format!("{name} holds no failure: {error}")))?;
    let replayed = replay(&failure).map_err(|error| WrongUsage(format!("{name}: {error}")))?;
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
    let mut text = format!("History: {}\n", failure.history);
    if let Some(harm) = &failure.harm {
        text += &format!("Fault: {harm}\n");
    }
    text += "(T1 to T3 are the history's names; the engine numbers its transactions itself.)\n\n";
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
            // What must be there says nothing of an order that is wrong.
            if violation.clause != Clause::Order && !expected.is_empty() {
                text += &format!("Right: {}\n", expected.join(" or "));
            }
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
        "pages": failure.bounds.pages,
        "vocabulary": failure.bounds.vocabulary.name(),
        "history": failure.history.to_string(),
        "harm": failure.harm.as_ref().map(harm_json),
        "crashes": failure.crashes.iter().map(crash_json).collect::<Vec<_>>(),
        "clause": failure.violation.clause.name(),
        "found": failure.violation.found,
        "trace": trace.iter().map(Line::to_string).collect::<Vec<_>>(),
    })
}

const TORN: [&str; 3] = ["never", "prefix_or_suffix", "garbage"];

fn crash_json(crash: &Crash) -> Value {
    let Some(Survivors::Parts(parts)) = &crash.survivors else {
        return json!({ "io": crash.io, "survivors": null });
    };
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
    if value["version"] != 1 {
        return Err(missing("version"));
    }
    let torn = TORN.iter().zip([Torn::Never, Torn::PrefixOrSuffix, Torn::Garbage]);
    let name = text("torn")?;
    let torn =
        torn.into_iter().find(|(known, _)| **known == name).ok_or_else(|| missing("torn"))?.1;
    let ordered =
        value["metadata_in_order"].as_bool().ok_or_else(|| missing("metadata_in_order"))?;
    let metadata = if ordered { Metadata::Ordered } else { Metadata::Independent };
    let sector = sector(text("sector")?).map_err(|_| missing("sector"))?;
    let protection = text("protection")?;
    let protection = named(protection, TornPageProtection::ALL, TornPageProtection::name)
        .map_err(|_| missing("protection"))?;
    let log_block = match value.get("log_block").ok_or_else(|| missing("log_block"))? {
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
    let pages = value["pages"].as_u64().and_then(|pages| usize::try_from(pages).ok());
    let pages = pages.filter(|pages| (1..=MOST_PAGES).contains(pages));
    let clause =
        named(text("clause")?, Clause::ALL, Clause::name).map_err(|_| missing("clause"))?;
    let all = Vocabulary::ENUMERATED.into_iter().chain([Vocabulary::Everything]);
    let vocabulary = named(text("vocabulary")?, all, Vocabulary::name);
    let bounds = Bounds {
        transactions: MOST_TRANSACTIONS,
        pages: pages.ok_or_else(|| missing("pages"))?,
        vocabulary: vocabulary.map_err(|_| missing("vocabulary"))?,
    };
    Ok(Failure {
        setting,
        bounds,
        harm: match value.get("harm").ok_or_else(|| missing("harm"))? {
            Value::Null => None,
            harm => Some(harm_from(harm).ok_or_else(|| missing("harm"))?),
        },
        history: text("history")?.parse().map_err(|reason: String| anyhow!(reason))?,
        crashes: crashes.collect::<anyhow::Result<_>>()?,
        violation: Violation { clause, found: String::new() },
    })
}

fn harm_json(harm: &Harm) -> Value {
    let told = |place: &str, fault: &Fault| {
        let by = match fault.kind {
            FaultKind::MisdirectedWrite { by } => by,
            _ => 0,
        };
        let Fault { at, kind, forever } = *fault;
        json!({ "in": place, "io": at, "kind": kind.name(), "by": by, "forever": forever })
    };
    match harm {
        Harm::InHistory(fault) => told("history", fault),
        Harm::InRecovery(fault) => told("recovery", fault),
        Harm::Rot { file, byte, bit } => json!({ "file": file, "byte": byte, "bit": bit }),
    }
}

fn harm_from(value: &Value) -> Option<Harm> {
    let is_rot = value.get("file").is_some();
    if is_rot == value.get("in").is_some() {
        return None;
    }
    if is_rot {
        let file = value["file"].as_str()?;
        let bit = u8::try_from(value["bit"].as_u64()?).ok().filter(|bit| *bit < 8)?;
        return Some(Harm::Rot { file: file.to_owned(), byte: value["byte"].as_u64()?, bit });
    }
    let kind = match named(value["kind"].as_str()?, FaultKind::ALL, FaultKind::name).ok()? {
        FaultKind::MisdirectedWrite { .. } => {
            FaultKind::MisdirectedWrite { by: value["by"].as_i64()? }
        }
        kind => kind,
    };
    let fault = Fault { at: value["io"].as_u64()?, kind, forever: value["forever"].as_bool()? };
    match value["in"].as_str()? {
        "history" => Some(Harm::InHistory(fault)),
        "recovery" => Some(Harm::InRecovery(fault)),
        _ => None,
    }
}

fn crash_from(value: &Value) -> Option<Crash> {
    let io = value["io"].as_u64()?;
    let survivors = value.get("survivors")?;
    if survivors.is_null() {
        return Some(Crash { io, survivors: None });
    }
    let mut parts = BTreeMap::new();
    for survivor in survivors.as_array()? {
        if survivor.as_array()?.len() != 3 {
            return None;
        }
        let number = survivor[2].as_u64()?;
        let bytes = usize::try_from(number).ok()?;
        let part = match survivor[1].as_str()? {
            "whole" => Part::Whole,
            "prefix" => Part::Prefix(bytes),
            "suffix" => Part::Suffix(bytes),
            "garbage" => Part::Garbage { seed: number },
            _ => return None,
        };
        if parts.insert(survivor[0].as_u64()?, part).is_some() {
            return None;
        }
    }
    Some(Crash { io, survivors: Some(Survivors::Parts(parts)) })
}
