//! What the program says where it cannot do what was asked: with `--json` one whole object or nothing, and
//! never half of one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::tempdir;

use super::{aries, crashed, flip, flip_log, json, killed, left_by, on, story};

fn with_path(command: &str, path: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_aries"));
    program.arg(command).args(arguments).arg(path).output().unwrap()
}

#[test]
fn a_path_may_be_no_text() {
    let folder = tempdir().unwrap();
    let path = folder.path().join(OsStr::from_bytes(b"bad\xff"));
    std::fs::rename(killed().keep(), &path).unwrap();
    for (command, arguments) in [
        ("verify", &["--json"][..]),
        ("control", &["--json"]),
        ("log", &["--json"]),
        ("stats", &["--json"]),
        ("restart", &["--json", "--explain"]),
        ("verify", &["--json", "--repair"]),
    ] {
        let done = with_path(command, &path, arguments);
        assert_eq!(done.status.code(), Some(0), "{command}: {done:?}");
        let told: Value = serde_json::from_slice(&done.stdout).unwrap();
        let shown = folder.path().join("bad\u{fffd}").to_str().unwrap().to_owned();
        assert!(command != "verify" || told["directory"] == shown, "{told}");
    }
    let script = folder.path().join(OsStr::from_bytes(b"script\xff"));
    std::fs::write(&script, "fill pages=1 records=1\n").unwrap();
    let done = with_path("run", &script, &["--json"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    serde_json::from_slice::<Value>(&done.stdout).unwrap();
    let bank = folder.path().join(OsStr::from_bytes(b"bank\xff"));
    let done = with_path("demo", &bank, &["--json", "--rounds", "1", "--dir"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    serde_json::from_slice::<Value>(&done.stdout).unwrap();
}

#[test]
fn a_chain_that_is_not_there_is_refused_before_anything_is_printed() {
    let directory = killed();
    for arguments in [&["--chain-of", "T99"][..], &["--chain-of", "T99", "--json"]] {
        let done = on("log", directory.path(), arguments);
        assert_eq!((done.status.code(), &done.stdout[..]), (Some(2), &b""[..]), "{done:?}");
    }
}

#[test]
fn a_restart_that_is_refused_is_one_whole_object() {
    let story = story();
    let directory = crashed(&story);
    // The loser's first record lies before the checkpoint: only undo needs it.
    flip_log(directory.path(), story.start, 30);
    for arguments in [&["--dry-run", "--explain"][..], &["--explain"], &["--dry-run"], &[]] {
        let told = json("restart", directory.path(), arguments, 1);
        let error = told["error"].as_str().unwrap();
        assert!(error.contains(&story.start.to_string()), "{told}");
        assert_eq!(told["report"], Value::Null);
        let explained = arguments.contains(&"--explain");
        assert_eq!(told["events"].as_array().is_some_and(|events| !events.is_empty()), explained);
    }
    let sound = killed();
    for arguments in [&["--dry-run", "--explain"][..], &[]] {
        assert_eq!(json("restart", sound.path(), arguments, 0)["error"], Value::Null);
    }
}

/// Neither a database nor something that one could be made in.
#[test]
fn a_directory_that_cannot_be_is_wrong_usage_everywhere() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("nosuch/a");
    let path = path.to_str().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "show txns\n").unwrap();
    let letters = tempdir().unwrap();
    std::fs::write(letters.path().join("letter.txt"), "Dear Sir").unwrap();
    for path in [path, letters.path().to_str().unwrap()] {
        for arguments in [
            &["demo", "--rounds", "1", "--json", "--dir", path][..],
            &["shell", path],
            &["run", "--json", script.to_str().unwrap(), "--dir", path],
            &["verify", "--json", path],
        ] {
            let done = aries(arguments);
            assert_eq!((done.status.code(), &done.stdout[..]), (Some(2), &b""[..]), "{done:?}");
            assert!(done.stderr.starts_with(b"aries: "), "{done:?}");
        }
    }
}

/// Of several scripts on one directory, each that cannot begin is told, and none is forgotten.
#[test]
fn scripts_behind_one_that_spoils_the_directory_are_told_too() {
    let directory = left_by("fill pages=1 records=1\n");
    let folder = tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "show txns\n").unwrap();
    [20, 4096 + 20].iter().for_each(|at| flip(&directory.path().join("control"), *at));
    let (script, directory) = (script.to_str().unwrap(), directory.path().to_str().unwrap());
    let done = aries(&["run", "--json", script, script, "--dir", directory]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    for file in told["files"].as_array().unwrap() {
        assert!(file["error"].as_str().unwrap().contains("damage in"), "{told}");
    }
    assert_eq!(told["files"].as_array().unwrap().len(), 2);
}
