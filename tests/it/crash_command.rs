//! `aries crash`, as it is called.

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use serde_json::{Value, json};
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
        crash(folder.path(), &[&options[..], &["--seconds", "0", "--steps", "1"]].concat());
    let text = told(&output.stdout);
    assert!(text.contains("complete to 1 step") && !text.contains("sampled"), "{text}");
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
}

/// A line of a small exploration.
fn small_line(folder: &Path) -> Value {
    let options = ["--kind", "crashes", "--level", "L0", "--protection", "double-write"];
    let options = [&options[..], &["--vocabulary", "records", "--steps", "0", "--json"]].concat();
    lines(&crash(folder, &options)).remove(0)
}

/// What is no line is refused, and said where it stands.
#[test]
fn merge_refuses_what_is_no_line() {
    let folder = tempdir().unwrap();
    let write = |text: &str| fs::write(folder.path().join("file"), text).unwrap();
    let (line, merged) = (small_line(folder.path()), || crash(folder.path(), &["merge", "file"]));
    write(&line.to_string());
    assert_eq!(merged().status.code(), Some(0));
    for text in ["", "\n\n", "{", "[]", "null"] {
        write(text);
        assert_eq!(merged().status.code(), Some(2), "{text:?}");
    }
    assert_eq!(crash(folder.path(), &["merge", "none"]).status.code(), Some(2));
    for name in
        SAME.into_iter().chain(["version", "shard", "states", "checked", "faults", "failure"])
    {
        let mut without = line.clone();
        without.as_object_mut().unwrap().remove(name);
        write(&without.to_string());
        let output = merged();
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(told(&output.stderr).contains(name), "{name}: {output:?}");
    }
    for (name, value, said) in [
        ("shards", Value::from(0), "no shard 0 of 0"),
        ("shard", Value::from(1), "no shard 1 of 1"),
        ("version", Value::from(2), "its version is 2"),
        ("kind", Value::from(5), "string"),
        ("finished", Value::from(false), "complete what is not"),
        ("sampled_points", Value::from(5), "complete what is not"),
        ("failure", Value::from("lost"), "complete what is not"),
    ] {
        let mut changed = line.clone();
        changed[name] = value;
        write(&changed.to_string());
        let output = merged();
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(told(&output.stderr).contains(said), "{name}: {output:?}");
    }
}

/// What cannot be added up is refused, too.
#[test]
fn merge_refuses_lines_of_different_explorations() {
    let folder = tempdir().unwrap();
    let write = |text: &str| fs::write(folder.path().join("file"), text).unwrap();
    let (line, merged) = (small_line(folder.path()), || crash(folder.path(), &["merge", "file"]));
    let of = |shard: u64, shards: u64, name: &str, value: Value| {
        let mut changed = line.clone();
        (changed["shard"], changed["shards"], changed[name]) = (shard.into(), shards.into(), value);
        changed.to_string()
    };
    for (other, said) in [
        (of(1, 3, "steps", 0.into()), "another exploration"),
        (of(1, 2, "depth", 2.into()), "another exploration"),
        (of(1, 2, "kills", false.into()), "another exploration"),
        (of(1, 2, "states", u64::MAX.into()), "too large"),
    ] {
        write(&format!("{}\n{other}\n", of(0, 2, "steps", 0.into())));
        let output = merged();
        assert_eq!(output.status.code(), Some(2), "{other}");
        assert!(told(&output.stderr).contains("line 2: ") && told(&output.stderr).contains(said));
    }
    write(&of(7, u64::MAX, "steps", 0.into()));
    let output = merged();
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output.stdout).contains("18446744073709551614 shards of"), "{output:?}");
}

/// Pages that nothing protects, on a disk that tears sectors.
#[test]
fn a_failure_is_told_saved_and_replayed() {
    let folder = tempdir().unwrap();
    let options = ["--level", "L1", "--protection", "none", "--seconds", "0", "--save", "it.json"];
    let plain = ["--kind", "crashes", "--depth", "0", "--vocabulary", "records"];
    let output = crash(folder.path(), &[&options[..], &plain].concat());
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
    let unsaved = crash(folder.path(), &[&options[..6], &["--save", "no/it.json"]].concat());
    assert_eq!(unsaved.status.code(), Some(1));
    assert!(told(&unsaved.stdout).contains("WRONG: "), "told though it cannot be saved");
    assert!(told(&unsaved.stderr).contains("cannot write no/it.json"));
    let json = crash(folder.path(), &["replay", "it.json", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let saved = fs::read_to_string(folder.path().join("it.json")).unwrap();
    let saved: Value = serde_json::from_str(&saved).unwrap();
    assert_eq!((&json["still_fails"], &json["lines"]), (&true.into(), &saved["trace"]));

    // Nothing torn, and nothing is wrong.
    fs::write(
        folder.path().join("whole.json"),
        saved.to_string().replace("\"prefix\"", "\"whole\""),
    )
    .unwrap();
    let whole = crash(folder.path(), &["replay", "whole.json"]);
    assert_eq!(whole.status.code(), Some(0));
    assert!(told(&whole.stdout).contains("Nothing is wrong"), "{whole:?}");

    // Another history, in which the crash never comes.
    for (field, value, code, said) in [
        ("protection", "double-write", 2, "is pending then"),
        ("history", "open", 2, "never comes"),
        ("history", "T1: commit", 2, "cannot come here"),
        ("torn", "always", 2, "\"torn\" is missing"),
        ("torn", "never", 2, "this disk never leaves Prefix"),
    ] {
        let mut changed = saved.clone();
        changed[field] = value.into();
        fs::write(folder.path().join("changed.json"), changed.to_string()).unwrap();
        let output = crash(folder.path(), &["replay", "changed.json"]);
        let told = format!("{}{}", told(&output.stdout), told(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(said), "{said}: {told}");
    }
}

/// Failures that were changed by hand, into what cannot be replayed.
#[test]
fn what_cannot_be_replayed_is_told() {
    let folder = tempdir().unwrap();
    let options = ["--level", "L1", "--protection", "none", "--kind", "crashes", "--no-kill"];
    let options = [&options[..], &["--seconds", "0", "--depth", "0", "--save", "it.json"]].concat();
    assert_eq!(crash(folder.path(), &options).status.code(), Some(1));
    let saved = fs::read_to_string(folder.path().join("it.json")).unwrap();
    let saved: Value = serde_json::from_str(&saved).unwrap();
    let replayed = |changed: &Value| {
        fs::write(folder.path().join("changed.json"), changed.to_string()).unwrap();
        let output = crash(folder.path(), &["replay", "changed.json"]);
        (output.status.code(), format!("{}{}", told(&output.stdout), told(&output.stderr)))
    };
    assert_eq!(replayed(&saved).0, Some(1));
    for name in ["version", "log_block", "harm", "crashes", "clause", "history"] {
        let mut without = saved.clone();
        without.as_object_mut().unwrap().remove(name);
        let (code, told) = replayed(&without);
        assert!(code == Some(2) && told.contains(name), "{name}: {told}");
    }
    let survivors: Value = saved["crashes"][0]["survivors"].clone();
    let with = |more: Value| {
        let mut all = survivors.clone();
        all.as_array_mut().unwrap().push(more);
        json!([{ "io": saved["crashes"][0]["io"], "survivors": all }])
    };
    let fault = |place: &str, io: u64| json!({ "in": place, "io": io, "kind": "input/output error", "by": 0, "forever": false });
    let both = json!({ "file": "pages", "byte": 0, "bit": 0, "in": "history" });
    for (name, value, said) in [
        ("version", json!(2), "version"),
        ("crashes", json!([]), "there is no crash in it"),
        ("crashes", json!([{ "io": saved["crashes"][0]["io"] }]), "crashes"),
        ("crashes", with(json!([99_999, "whole", 0])), "no change 99999 is pending"),
        ("crashes", with(json!([1, "whole", 0, 0])), "crashes"),
        ("crashes", with(survivors[0].clone()), "crashes"),
        ("crashes", with(json!([99_999, "prefix", 600])), "pending"),
        ("harm", fault("history", 1 << 40), "never comes"),
        ("harm", fault("recovery", 1 << 40), "never comes"),
        ("harm", fault("nowhere", 1), "harm"),
        ("harm", both, "harm"),
        ("harm", json!({ "file": "pages", "byte": 0, "bit": 8 }), "harm"),
        ("harm", json!({ "file": "nope", "byte": 0, "bit": 0 }), "nope"),
    ] {
        let mut changed = saved.clone();
        changed[name] = value.clone();
        let (code, told) = replayed(&changed);
        assert_eq!(code, Some(2), "{name}: {value}: {told}");
        assert!(told.contains(said), "{name}: {value}: {told}");
    }
    let mut longer = saved.clone();
    for survivor in longer["crashes"][0]["survivors"].as_array_mut().unwrap() {
        if survivor[1] != "whole" {
            survivor[2] = 513.into();
        }
    }
    let (code, told) = replayed(&longer);
    assert!(code == Some(2) && told.contains("this disk never leaves"), "{told}");
}

/// A part in which something was wrong was not explored to its end.
#[test]
fn what_stops_at_a_failure_is_not_complete() {
    let folder = tempdir().unwrap();
    let options = ["--level", "L1", "--protection", "none", "--kind", "crashes", "--json"];
    let output = crash(folder.path(), &options);
    assert_eq!(output.status.code(), Some(1));
    let last = lines(&output).pop().unwrap();
    assert!(last["failure"].is_object());
    assert_eq!((&last["complete"], &last["finished"]), (&false.into(), &false.into()));
}

#[test]
fn what_is_named_twice_is_explored_once_and_no_time_is_too_long() {
    let folder = tempdir().unwrap();
    let options = ["--kind", "crashes", "--vocabulary", "records", "--steps", "0", "--json"];
    let seconds = u64::MAX.to_string();
    let twice = ["--level", "L0", "--level", "l0", "--seconds", &seconds];
    let output = crash(folder.path(), &[&options[..], &twice].concat());
    assert_eq!((output.status.code(), lines(&output).len()), (Some(0), 2), "two protections");
}

/// A single history of which the recoveries are crashed three deep takes minutes.
#[test]
fn time_is_up_within_a_history_too() {
    let folder = tempdir().unwrap();
    let options = ["--kind", "crashes", "--level", "L2", "--protection", "double-write"];
    let deep =
        ["--depth", "3", "--steps", "0", "--seconds", "1", "--vocabulary", "space", "--json"];
    let output = crash(folder.path(), &[&options[..], &deep].concat());
    assert_eq!(output.status.code(), Some(0));
    let line = lines(&output).remove(0);
    assert_eq!((&line["finished"], &line["complete"]), (&false.into(), &false.into()));
}

/// Each kind has its share of the time.
#[test]
fn every_kind_is_explored_in_the_time_that_there_is() {
    let folder = tempdir().unwrap();
    let options = ["--seconds", "6", "--level", "L0", "--steps", "12", "--json"];
    let output = crash(folder.path(), &options);
    assert_eq!(output.status.code(), Some(0));
    for (kind, steps) in [("crashes", 2), ("faults", 0), ("long", 8)] {
        let lines = lines(&output);
        let mut of_kind = lines.iter().filter(|line| line["kind"] == kind);
        assert!(of_kind.any(|line| line["steps"].as_u64() >= Some(steps)), "{kind}");
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
        &["--kind", "faults", "--kind", "long", "--steps", "0"],
    ] {
        assert_eq!(crash(folder.path(), options).status.code(), Some(2), "{options:?}");
    }
}
