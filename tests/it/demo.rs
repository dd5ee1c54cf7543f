//! The program's demo: what it prints, what it leaves, what it refuses, and that its checker sees.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use aries::Options;
use aries::demo::{Bank, Ledger, Transfer};
use aries::disk::SimDisk;
use aries::sync::Arc;
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_aries");

/// Runs `aries demo` with these arguments; what it makes by itself is below `temporary`.
fn demo_in(temporary: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("demo").args(arguments).env("TMPDIR", temporary).output().unwrap()
}

fn demo(arguments: &[&str]) -> Output {
    demo_in(TempDir::new().unwrap().path(), arguments)
}

/// Runs `aries demo --json`, which must end well.
pub fn demo_json(arguments: &[&str]) -> Value {
    let output = demo(&[&["--json"], arguments].concat());
    let (text, messages) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}\n{messages}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn the_demo_reports_as_one_object_that_nothing_is_lost() {
    let report = demo_json(&["--rounds", "2", "--seed", "7", "--clients", "3"]);
    assert_eq!((&report["rounds"], &report["kills"]), (&2.into(), &4.into()));
    assert_eq!((&report["seed"], &report["clients"]), (&7.into(), &3.into()));
    assert!(report["acknowledged"].as_u64().unwrap() > 1000, "{report}");
    assert_eq!(report["lost"], 0);
    assert_eq!(report["sum_ok"], true);
    assert_eq!(report["directory"], Value::Null);
    let restarts = report["restart"].as_array().unwrap();
    let disks: Vec<&str> = restarts.iter().map(|r| r["disk"].as_str().unwrap()).collect();
    assert_eq!(disks, ["files", "files", "held-back", "held-back"]);
    for restart in restarts {
        assert_eq!(restart["clean"], false, "a killed process closes nothing");
        assert!(restart["analysis"]["records"].as_u64().unwrap() > 0);
        let losers = restart["analysis"]["losers"].as_array().unwrap().len();
        assert_eq!(restart["undo"]["losers"], losers);
    }
}

#[test]
fn the_demo_tells_people_what_restart_did_and_what_a_kill_does_not_show() {
    let temporary = TempDir::new().unwrap();
    let output = demo_in(temporary.path(), &["--rounds", "2"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "an engine that never synced would pass this test",
        "analysis (section 6.1) read",
        "redo (section 6.2) ",
        "undo (section 6.3) ",
        "acknowledged transfers is lost",
    ] {
        assert!(words.contains(expected), "{expected:?} is missing:\n{text}");
    }
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "too wide: {line}");
        assert!(!line.contains('\u{1b}'), "no colours off a terminal: {line:?}");
    }
    assert!(String::from_utf8(output.stderr).unwrap().contains("round 2: "), "progress");
    assert!(is_empty(temporary.path()), "its directory is gone");
}

#[test]
fn a_crashed_bank_can_be_kept_and_gone_on_with() {
    let (temporary, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let bank = directory.path().join("bank");
    let bank_name = bank.to_str().unwrap();
    let crashed =
        demo_in(temporary.path(), &["--rounds", "1", "--dir", bank_name, "--keep-crashed"]);
    assert_eq!(crashed.status.code(), Some(0));
    assert!(String::from_utf8(crashed.stdout).unwrap().contains("as the last kill left it"));
    assert!(is_empty(temporary.path()), "the copy that was examined is gone");

    let db = Options::new().create_if_missing(false).open(&bank).unwrap();
    assert!(!db.restart_report().clean, "nobody restarted it");
    drop(db);
    let report = demo_json(&["--rounds", "1", "--dir", bank_name]);
    assert_eq!(report["lost"], 0);
    assert_eq!(report["directory"], bank_name);
    let db = Options::new().create_if_missing(false).open(&bank).unwrap();
    assert!(db.restart_report().clean);
}

#[test]
fn what_the_demo_leaves_in_a_directory_of_its_own_is_named() {
    let temporary = TempDir::new().unwrap();
    let output = demo_in(temporary.path(), &["--rounds", "1", "--keep-crashed", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let directory = Path::new(report["directory"].as_str().unwrap());
    assert_eq!(directory.parent(), Some(temporary.path()));
    assert!(directory.join("control").exists());
}

#[test]
fn a_directory_of_somebody_else_is_refused_and_not_touched() {
    let directory = TempDir::new().unwrap();
    let name = directory.path().to_str().unwrap();
    fs::write(directory.path().join("letter"), "dear").unwrap();
    assert_eq!(demo(&["--dir", name]).status.code(), Some(2));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

    let database = TempDir::new().unwrap();
    let name = database.path().to_str().unwrap();
    drop(Options::new().open(database.path()).unwrap());
    let before = fs::read(database.path().join("control")).unwrap();
    assert_eq!(demo(&["--dir", name]).status.code(), Some(2));
    assert_eq!(fs::read(database.path().join("control")).unwrap(), before);
}

#[test]
fn a_bank_keeps_its_seed_and_clients() {
    let directory = TempDir::new().unwrap();
    let name = directory.path().to_str().unwrap();
    let first = demo_json(&["--rounds", "1", "--dir", name, "--seed", "5", "--clients", "2"]);
    for other in [["--seed", "6"], ["--clients", "3"]] {
        let output = demo(&[&["--rounds", "1", "--dir", name], &other[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{other:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let again = demo_json(&["--rounds", "1", "--dir", name]);
    assert_eq!((&again["seed"], &again["clients"]), (&first["seed"], &first["clients"]));
}

#[test]
fn wrong_arguments_end_with_code_2_and_help_with_0() {
    for wrong in
        [&["--rounds", "0"][..], &["--clients", "0"], &["--clients", "65"], &["--nothing"], &["x"]]
    {
        assert_eq!(demo(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let help = demo(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).unwrap();
    for expected in ["--keep-crashed", "Examples:", "sum_ok", "page_lsn_not_below"] {
        assert!(help.contains(expected), "{expected} is missing:\n{help}");
    }
}

#[test]
fn the_clients_end_when_nobody_listens_any_more() {
    let directory = TempDir::new().unwrap();
    let name = directory.path().to_str().unwrap();
    demo_json(&["--rounds", "1", "--dir", name]);
    let mut child = Command::new(PROGRAM)
        .args(["demo-clients", name, "files"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line.split_whitespace().count(), 3, "{line:?}");
    drop(output);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut messages = String::new();
    child.stderr.take().unwrap().read_to_string(&mut messages).unwrap();
    assert_eq!(messages, "");
}

#[test]
fn the_checker_finds_an_acknowledged_transfer_that_is_not_in_the_database() {
    let options = Options::new().page_size(512).segment_bytes(65536).background(false);
    let db = options.open_on(Arc::new(SimDisk::new())).unwrap();
    let bank = Bank::find_or_make(&db, 50, 2).unwrap();
    let mut ledger = Ledger::new(9, &bank.state(&db).unwrap());
    for (client, sequence) in [(0, 1), (1, 1), (0, 2)] {
        let transfer = Transfer::of(9, client, sequence, bank.accounts());
        bank.transfer(&db, (client, sequence), &transfer, || {}).unwrap();
        ledger.acknowledge(client, sequence);
    }
    let state = bank.state(&db).unwrap();
    assert!(ledger.clone().check(&state).is_ok());

    let mut too_many = ledger.clone();
    too_many.acknowledge(1, 2);
    let verdict = too_many.check(&state);
    assert_eq!((verdict.lost, verdict.is_ok()), (1, false));

    let mut state = state;
    state.balances[0] += 1;
    assert!(!ledger.check(&state).sum_ok());
}
