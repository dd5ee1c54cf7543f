//! The program's `verify`: what it prints, its exit codes, and that it leaves the directory alone.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use aries::ids::PageId;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::common::{Work, files, options, value};

fn verify(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aries"));
    command.arg("verify").arg(directory).args(arguments).output().unwrap()
}

fn verify_json(directory: &Path, arguments: &[&str], code: i32) -> Value {
    let output = verify(directory, &[&["--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A database in a new directory, closed or as a killed process leaves it; and what it acknowledged.
fn database(close: bool) -> (TempDir, Work) {
    let directory = tempdir().unwrap();
    let db = options().open(directory.path()).unwrap();
    let mut work = Work::default();
    (0..6).for_each(|number| work.commit_one(&db, &value(number, 30)).unwrap());
    if close {
        db.close().unwrap();
    }
    (directory, work)
}

fn flip(directory: &Path, page: PageId) {
    let path = directory.join("pages");
    let mut bytes = fs::read(&path).unwrap();
    bytes[page.0 as usize * 512 + 300] ^= 4;
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_sound_database_is_left_as_it_is_to_the_byte() {
    for (close, without_lock) in [(true, false), (true, true), (false, false)] {
        let (directory, _) = database(close);
        if without_lock {
            fs::remove_file(directory.path().join("LOCK")).unwrap();
        }
        let before = files(directory.path());
        let report = verify_json(directory.path(), &[], 0);
        assert!(files(directory.path()) == before, "closed: {close}");
        assert_eq!((&report["sound"], &report["settled"]), (&true.into(), &close.into()));
        assert_eq!(report["findings"], Value::Array(Vec::new()));
        let output = verify(directory.path(), &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("all sound"), "{text}");
        assert_eq!(text.contains("was not closed"), !close, "{text}");
        assert_eq!(output.stderr, b"", "nothing is told of short work");
    }
}

#[test]
fn progress_is_told_of_a_large_database() {
    let directory = tempdir().unwrap();
    let db = options().open(directory.path()).unwrap();
    let mut txn = db.begin().unwrap();
    for _ in 0..1000 {
        txn.allocate_page().unwrap();
    }
    txn.commit().unwrap();
    db.close().unwrap();
    let output = verify(directory.path(), &[]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.lines().filter(|line| line.contains("pages read")).count(), 20, "{told}");
}

#[test]
fn damage_is_found_told_and_repaired() {
    let (directory, work) = database(true);
    let (page, _) = *work.records.last_key_value().unwrap().0;
    flip(directory.path(), page);
    let before = files(directory.path());
    let report = verify_json(directory.path(), &[], 1);
    assert_eq!(report["findings"][0]["page"], page.0);
    assert_eq!(report["findings"][0]["verdict"], "damaged");
    let output = verify(directory.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [&page.to_string(), "damaged", "checksum", "--repair"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(files(directory.path()) == before, "it was only looked at");
    let report = verify_json(directory.path(), &["--repair"], 0);
    assert_eq!(report["findings"][0]["verdict"], "repaired");
    assert_eq!(verify_json(directory.path(), &[], 0)["findings"], Value::Array(Vec::new()));
    work.check(&options().open(directory.path()).unwrap()).unwrap();
}

#[test]
fn what_is_no_database_is_wrong_usage_and_one_in_use_is_not_read() {
    let empty = tempdir().unwrap();
    assert_eq!(verify(empty.path(), &[]).status.code(), Some(2));
    assert_eq!(verify(tempdir().unwrap().path(), &["--repair"]).status.code(), Some(2));
    assert_eq!(verify(&empty.path().join("none"), &[]).status.code(), Some(2));
    assert_eq!(verify(empty.path(), &["--mend"]).status.code(), Some(2));
    assert!(files(empty.path()).is_empty());
    let (directory, _) = database(true);
    let db = options().open(directory.path()).unwrap();
    let output = verify(directory.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("open elsewhere"));
    drop(db);
}
