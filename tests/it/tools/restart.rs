//! `aries restart`: what it tells is what happens.

use std::fs;
use std::path::Path;

use aries::Options;
use aries::config::RestartMode;
use aries::event::{Event, Phase};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use super::{closed, crashed, flip_log, json, on, story, text};
use crate::common::{Trace, files};

fn copy(directory: &Path) -> TempDir {
    let copy = tempdir().unwrap();
    for (path, bytes) in files(directory) {
        let path = copy.path().join(path.strip_prefix(directory).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    copy
}

/// All but durations.
fn timeless(mut report: Value) -> Value {
    for part in ["analysis", "redo", "undo"] {
        report[part].as_object_mut().unwrap().remove("duration");
    }
    report.as_object_mut().unwrap().remove("duration");
    report
}

/// The events of a restart by the library.
fn traced(directory: &Path) -> Vec<Event> {
    let trace = Trace::default();
    let options = Options::new().background(false).restart(RestartMode::Serial);
    let db = options.observer(std::sync::Arc::new(trace.clone())).open(directory).unwrap();
    let events = trace.events();
    drop(db);
    events
}

#[test]
fn a_dry_run_tells_exactly_what_a_real_restart_then_does() {
    let story = story();
    for directory in [crashed(&story), closed()] {
        let (for_real, by_library) = (copy(directory.path()), copy(directory.path()));
        let dry = json("restart", directory.path(), &["--explain", "--dry-run"], 0);
        let real = json("restart", for_real.path(), &["--explain"], 0);
        assert_eq!((&dry["dry_run"], &real["dry_run"]), (&true.into(), &false.into()));
        assert_eq!(dry["events"], real["events"]);
        assert_eq!(timeless(dry["report"].clone()), timeless(real["report"].clone()));
        let events = traced(by_library.path());
        let told = dry["events"].as_array().unwrap();
        assert_eq!(told.len(), events.len());
        for (told, event) in told.iter().zip(&events) {
            assert_eq!(told["event"], event.name());
            assert_eq!(told["words"], event.to_string());
            let phase = Phase::ALL.into_iter().find(|phase| told["phase"] == phase.name());
            assert_eq!(told["section"], Value::from(event.paper_section(phase)));
            assert_eq!(told["why"], Value::from(event.why()));
            assert!(event.fields().iter().all(|(name, _)| told.get(name).is_some()), "{told}");
        }
        // It was recovered, and closed.
        let verified = json("verify", for_real.path(), &[], 0);
        assert_eq!((&verified["sound"], &verified["settled"]), (&true.into(), &true.into()));
        let again = json("restart", for_real.path(), &["--dry-run"], 0);
        assert_eq!(again["report"]["clean"], true);
    }
}

#[test]
fn the_report_says_what_the_story_needs() {
    let story = story();
    let directory = crashed(&story);
    let report = json("restart", directory.path(), &["--dry-run"], 0)["report"].clone();
    assert_eq!(report["clean"], false);
    assert_eq!(report["analysis"]["end"], story.db.stats().end_lsn.get());
    let names = |numbers: [u64; 2]| Value::from(numbers.map(|number| story.base + number).to_vec());
    assert_eq!(report["analysis"]["losers"], names([2, 3]));
    assert_eq!(report["analysis"]["in_doubt"], Value::from(vec![story.base + 4]));
    assert_eq!(report["pages_torn"], 1);
    // T2 changed P1, P2, P3 and P7; T3 changed P5 behind what it rolled back itself.
    assert_eq!(report["undo"]["compensations"], 5);
    let told = text("restart", directory.path(), &["--dry-run"], 0);
    assert!(told.contains("2 losers, 1 in doubt") && told.contains("5 changes undone"), "{told}");
    assert!(told.contains("Nothing was written"), "{told}");
}

#[test]
fn every_phase_is_explained_once_with_its_section_and_its_reasons() {
    let directory = crashed(&story());
    let told = text("restart", directory.path(), &["--dry-run", "--explain"], 0);
    let mut rest = told.as_str();
    for expected in [
        "ANALYSIS (6.1)",
        "enters the dirty page table",
        "No record before its rec_lsn needs to be redone on it",
        "it was not closed",
        "analysis ends",
        "REDO (6.2)",
        "was torn: restored from the double-write file",
        "redo begins",
        "redo ends",
        "UNDO (6.3)",
        "undo begins: 2 losers",
        "is undone on",
        "The CLR is redone like an update and never undone",
        "restart is done",
        "Nothing was written",
    ] {
        let (before, after) =
            rest.split_once(expected).unwrap_or_else(|| panic!("{expected}:\n{told}"));
        assert!(!before.contains('\u{1b}'), "no colours off a terminal");
        rest = after;
    }
    for reason in ["never undone", "needs to be redone on it"] {
        assert_eq!(told.matches(reason).count(), 1, "a reason is given once: {told}");
    }
}

#[test]
fn a_restart_that_is_refused_says_why_and_changes_nothing() {
    let story = story();
    let directory = crashed(&story);
    flip_log(directory.path(), story.db.master_record().checkpoint_lsn, 20);
    let before = files(directory.path());
    for arguments in [&["--dry-run"][..], &["--dry-run", "--explain"], &["--explain"], &[]] {
        let output = on("restart", directory.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("damage in"), "{output:?}");
        let mut after = files(directory.path());
        after.remove(&directory.path().join("LOCK"));
        assert!(after == before, "{arguments:?}");
    }
}
