//! `aries crash`, as it is called.

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::tempdir;

fn crash(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("aries").unwrap();
    command.arg("crash").args(arguments).current_dir(directory).output().unwrap()
}

fn told(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    told(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_was_covered_is_told_line_by_line() {
    let folder = tempdir().unwrap();
    let options = ["--kind", "crashes", "--vocabulary", "records", "--steps", "2"];
    let output = crash(folder.path(), &[&options[..], &["--seconds", "0", "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = lines(&output);
    assert_eq!(lines.len(), 4 * 2 * 3, "levels, protections, lengths");
    for line in &lines {
        assert_eq!((&line["version"], &line["failure"]), (&1.into(), &Value::Null));
        assert_eq!((&line["kind"], &line["kills"]), (&"crashes".into(), &true.into()));
        assert_eq!((&line["finished"], &line["complete"]), (&true.into(), &true.into()), "{line}");
        let histories = [1, 5, 86][usize::try_from(line["steps"].as_u64().unwrap()).unwrap()];
        assert_eq!(line["histories"], histories);
        // A change alone makes no I/O; opening, and whatever has two steps, does.
        assert!(line["steps"] == 1 || line["states"].as_u64().unwrap() >= 5, "{line}");
    }
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is saved");
}

/// A process that dies leaves other states than the power.
#[test]
fn only_the_power_fails_if_so_wanted() {
    let folder = tempdir().unwrap();
    let options = ["--kind", "crashes", "--level", "L0", "--protection", "double-write"];
    let options = [&options[..], &["--vocabulary", "records", "--steps", "2"]].concat();
    let output = crash(folder.path(), &[&options[..], &["--no-kill", "--json"]].concat());
    let lines = lines(&output);
    assert!(lines.iter().all(|line| line["killed"] == 0 && line["kills"] == false));
    let all = crash(folder.path(), &[&options[..], &["--json"]].concat());
    assert!(told(&all.stdout).contains(r#""kills":true"#));
    let table = crash(folder.path(), &[&options[..], &["--no-kill"]].concat());
    assert!(told(&table.stdout).contains("no process that dies alone"));
}

#[test]
fn the_table_says_complete_or_sampled() {
    let folder = tempdir().unwrap();
    let options = ["--kind", "crashes", "--level", "l3", "--protection", "double-write"];
    let output =
        crash(folder.path(), &[&options[..], &["--seconds", "0", "--steps", "2"]].concat());
    let text = told(&output.stdout);
    assert!(text.contains("complete to 2 steps") && !text.contains("sampled"), "{text}");
    let output =
        crash(folder.path(), &[&options[..], &["--seconds", "1", "--steps", "12"]].concat());
    assert_eq!(output.status.code(), Some(0));
    let text = told(&output.stdout);
    assert!(text.contains("sampled at "), "it cannot be done in a second: {text}");
}

/// What makes lines of JSON parts of one exploration.
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

#[test]
fn shards_are_merged_and_a_missing_one_is_noticed() {
    let folder = tempdir().unwrap();
    let common =
        ["--kind", "crashes", "--kind", "faults", "--vocabulary", "records", "--steps", "2"];
    let common = [&common[..], &["--seconds", "0", "--level", "L0", "--json"]].concat();
    let mut histories = 0;
    for shard in ["0/2", "1/2"] {
        let output = crash(folder.path(), &[&common[..], &["--shard", shard]].concat());
        let counts = lines(&output).into_iter().map(|line| line["histories"].as_u64().unwrap());
        histories += counts.sum::<u64>();
        fs::write(folder.path().join(format!("{}.jsonl", &shard[..1])), output.stdout).unwrap();
    }
    let merged = crash(folder.path(), &["merge", "0.jsonl", "1.jsonl", "--json"]);
    assert_eq!(merged.status.code(), Some(0), "{merged:?}");
    let merged: Value = serde_json::from_slice(&merged.stdout).unwrap();
    let parts = merged["parts"].as_array().unwrap();
    let counts = parts.iter().map(|part| part["histories"].as_u64().unwrap());
    assert_eq!((counts.sum::<u64>(), histories), (2 * (92 + 6), 2 * (92 + 6)));
    let mut crashes = parts.iter().filter(|part| part["kind"] == "crashes");
    assert!(crashes.all(|part| part["complete"] == true));
    let mut unnamed = SAME.into_iter().filter(|name| parts[0][*name].is_null());
    assert_eq!(unnamed.next(), None, "what makes lines parts of one exploration is in each");

    let one = crash(folder.path(), &["merge", "1.jsonl"]);
    assert_eq!(one.status.code(), Some(1));
    assert!(told(&one.stdout).contains("shards [0] of 2 are missing"));
    let twice = crash(folder.path(), &["merge", "1.jsonl", "1.jsonl"]);
    assert!(told(&twice.stderr).contains("1.jsonl, line 1: shard 1 was there before"), "{twice:?}");
    fs::write(folder.path().join("broken"), "{\n").unwrap();
    for file in ["broken", "none"] {
        assert_eq!(crash(folder.path(), &["merge", file]).status.code(), Some(1), "{file}");
    }
}

/// Pages that nothing protects, on a disk that tears sectors.
#[test]
fn a_failure_is_told_saved_and_replayed() {
    let folder = tempdir().unwrap();
    let options = ["--level", "L1", "--protection", "none", "--seconds", "0", "--save", "it.json"];
    let output =
        crash(folder.path(), &[&options[..], &["--kind", "crashes", "--depth", "0"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let text = told(&output.stdout);
    for part in [
        "History: T1: ",
        "the power fails before I/O ",
        "torn: its ",
        "WRONG: the database must open",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(told(&output.stderr).contains("it.json"));
    let replayed = crash(folder.path(), &["replay", "it.json"]);
    assert_eq!(replayed.status.code(), Some(1));
    assert!(text.ends_with(told(&replayed.stdout)), "the very same lines");
    let json = crash(folder.path(), &["replay", "it.json", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let saved = fs::read_to_string(folder.path().join("it.json")).unwrap();
    let saved: Value = serde_json::from_str(&saved).unwrap();
    assert_eq!((&json["still_fails"], &json["lines"]), (&true.into(), &saved["trace"]));

    // Another protection, and nothing is wrong; or another history, in which the crash never comes.
    for (field, value, code, said) in [
        ("protection", "double-write", 0, "Nothing is wrong"),
        ("history", "open", 2, "never comes"),
        ("history", "T1: commit", 2, "cannot come here"),
        ("torn", "always", 2, "\"torn\" is missing"),
    ] {
        let mut changed = saved.clone();
        changed[field] = value.into();
        if field == "protection" {
            changed["crashes"].as_array_mut().unwrap().truncate(1);
        }
        fs::write(folder.path().join("changed.json"), changed.to_string()).unwrap();
        let output = crash(folder.path(), &["replay", "changed.json"]);
        let told = format!("{}{}", told(&output.stdout), told(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(said), "{said}: {told}");
    }
}

#[test]
fn wrong_usage_is_told() {
    let folder = tempdir().unwrap();
    for options in [
        &["--shard", "2/2"][..],
        &["--steps", "99"],
        &["--level", "L9"],
        &["--threads", "0"],
        &["--kind", "long", "--vocabulary", "space"],
    ] {
        assert_eq!(crash(folder.path(), options).status.code(), Some(2), "{options:?}");
    }
}
