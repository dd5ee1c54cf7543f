//! Whatever a command is run on, it leaves it as it is: bytes, names, and times of change.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::{TempDir, tempdir};

use super::{aries, closed, crashed, flip, on, story};
use crate::common::{PAGE_SIZE, files, options};

/// Every command that reads only, with arguments that make it do all that it can.
const COMMANDS: [(&str, &[&str]); 12] = [
    ("control", &[]),
    ("log", &[]),
    ("log", &["--json", "--chain-of", "P1"]),
    ("log", &["--stats"]),
    ("page", &["0"]),
    ("page", &["P3", "--hex"]),
    ("restart", &["--dry-run"]),
    ("restart", &["--dry-run", "--explain"]),
    ("restart", &["--dry-run", "--explain", "--json"]),
    ("stats", &[]),
    ("verify", &[]),
    ("verify", &["--json"]),
];

/// Times of change of all files and directories.
fn times(directory: &Path) -> Vec<(PathBuf, SystemTime)> {
    let mut found =
        vec![(directory.to_owned(), fs::metadata(directory).unwrap().modified().unwrap())];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(times(&path)),
            false => found.push((path.clone(), fs::metadata(&path).unwrap().modified().unwrap())),
        }
    }
    found.sort();
    found
}

/// Runs every command; gives their exit codes.
fn codes(directory: &Path) -> Vec<(&'static str, i32)> {
    let before = (files(directory), times(directory));
    let run = COMMANDS.iter().map(|(command, arguments)| {
        let output = on(command, directory, arguments);
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!messages.contains("panicked"), "{command} {arguments:?}: {messages}");
        let after = (files(directory), times(directory));
        assert!(after == before, "{command} {arguments:?} changed something");
        let code = output.status.code().unwrap();
        assert!(
            code == 0 || !output.stdout.is_empty() || messages.contains("aries: "),
            "{command}"
        );
        (*command, code)
    });
    run.collect()
}

fn expect(directory: &Path, failing: &[&str], code: i32) {
    for (command, found) in codes(directory) {
        let expected = if failing.contains(&command) { code } else { 0 };
        assert_eq!(found, expected, "{command}");
    }
}

const ALL: [&str; 6] = ["control", "log", "page", "restart", "stats", "verify"];

#[test]
fn a_crashed_database() {
    // A page that is torn in place is damaged as it stands; restart restores it.
    let torn = crashed(&story());
    for (command, code) in codes(torn.path()) {
        assert!(command == "page" || code == i32::from(command == "stats"), "{command}: {code}");
    }
    assert_eq!(on("page", torn.path(), &["3"]).status.code(), Some(1));
}

#[test]
fn a_closed_database_with_a_lock_file_or_without() {
    let directory = closed();
    expect(directory.path(), &[], 0);
    fs::write(directory.path().join("LOCK"), "").unwrap();
    expect(directory.path(), &[], 0);
}

#[test]
fn a_database_whose_process_was_killed() {
    let directory = tempdir().unwrap();
    let bank = directory.path().join("bank");
    let name = bank.to_str().unwrap();
    let killed = aries(&["demo", "--rounds", "1", "--dir", name, "--keep-crashed"]);
    assert_eq!(killed.status.code(), Some(0), "{killed:?}");
    // Of P1, the root of the catalog, the log that is left may tell nothing: then there is no chain to follow.
    let failed: Vec<_> = codes(&bank).into_iter().filter(|(_, code)| *code != 0).collect();
    assert!(failed.is_empty() || failed == [("log", 2)], "{failed:?}");
}

fn empty() -> TempDir {
    tempdir().unwrap()
}

#[test]
fn where_there_is_no_database() {
    let directory = empty();
    expect(directory.path(), &ALL, 2);
    expect_missing(&directory.path().join("none"));
    fs::write(directory.path().join("letter.txt"), "Dear Sir").unwrap();
    expect(directory.path(), &ALL, 2);
    // Not even a real restart leaves anything in an empty directory.
    let directory = empty();
    assert_eq!(on("restart", directory.path(), &[]).status.code(), Some(2));
    assert!(files(directory.path()).is_empty());
}

fn expect_missing(path: &Path) {
    for (command, arguments) in COMMANDS {
        let output = on(command, path, arguments);
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(!path.exists(), "{command}");
    }
}

#[test]
fn a_database_that_is_open_elsewhere() {
    let directory = closed();
    let db = options().open(directory.path()).unwrap();
    expect(directory.path(), &["page", "restart", "stats", "verify"], 1);
    for command in ["page", "restart", "stats", "verify"] {
        let arguments: &[&str] = if command == "page" { &["1"] } else { &[] };
        let output = on(command, directory.path(), arguments);
        assert!(String::from_utf8_lossy(&output.stderr).contains("open elsewhere"), "{command}");
    }
    db.close().unwrap();
}

#[test]
fn damaged_databases() {
    let page = closed();
    flip(&page.path().join("pages"), 3 * PAGE_SIZE as u64 + 300);
    // Page 0, which `page` looks at first, is sound.
    for (command, code) in codes(page.path()) {
        let arguments = ["control", "log", "restart"];
        assert!(command == "page" || code == i32::from(!arguments.contains(&command)), "{command}");
    }
    let control = closed();
    flip(&control.path().join("control"), 20);
    flip(&control.path().join("control"), 4096 + 20);
    expect(control.path(), &ALL, 1);
    // Other files of a database are there, so one of it is missing.
    let without_control = closed();
    fs::remove_file(without_control.path().join("control")).unwrap();
    expect(without_control.path(), &ALL, 1);
    fs::write(without_control.path().join("LOCK"), "").unwrap();
    expect(without_control.path(), &ALL, 1);
    let directory = without_control.path().to_str().unwrap();
    for arguments in [&["demo", "--dir", directory][..], &["shell", directory]] {
        assert_eq!(aries(arguments).status.code(), Some(1), "{arguments:?}");
    }
    let without_log = closed();
    fs::remove_dir_all(without_log.path().join("log")).unwrap();
    expect(without_log.path(), &["log", "restart", "stats", "verify"], 1);
    let without_pages = closed();
    fs::remove_file(without_pages.path().join("pages")).unwrap();
    expect(without_pages.path(), &["page", "restart", "stats", "verify"], 1);
}
