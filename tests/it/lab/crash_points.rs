//! Power fails before any call of the engine to its disk, as the lab's page lets one choose it.

use aries::lab::{CrashAt, CrashPlace, Recording};
use serde_json::Value;

fn list<'v>(recorded: &'v Value, name: &str) -> &'v [Value] {
    recorded[name].as_array().unwrap()
}

fn crashed(script: &str, io: usize, keep: &str) -> Value {
    let crash = CrashAt { place: CrashPlace::Io(io), keep: keep.to_owned() };
    Recording::of(script, Some(&crash))
}

#[test]
fn power_fails_before_every_call_of_a_lesson() {
    power_fails_before_every_call(
        include_str!("../../../src/lab/lessons/three_transactions.script"),
        "",
    );
}

#[test]
fn power_fails_before_every_call_of_crashes_inside_restart() {
    power_fails_before_every_call(include_str!("../../scripts/crash_in_each_phase.script"), "fill");
}

#[test]
fn power_fails_before_every_call_of_a_torn_page() {
    power_fails_before_every_call(include_str!("../../scripts/torn_page.script"), "fill");
}

/// Before every call that is not made by the setup, with nothing and with all of what was not synced.
fn power_fails_before_every_call(script: &str, setup: &str) {
    let whole = Recording::of(script, None);
    for name in ["error", "crash", "pending"] {
        assert_eq!(whole[name], Value::Null);
    }
    let is_setup = |text: &Value| !setup.is_empty() && text.as_str().unwrap().starts_with(setup);
    check_records(&whole, "without a crash");
    let behind = list(&whole, "statements")
        .iter()
        .find(|statement| statement["ios"] != 0 && !is_setup(&statement["text"]));
    let first = usize::try_from(behind.unwrap()["first_io"].as_u64().unwrap()).unwrap();
    let ios = list(&whole, "ios");
    assert!(ios.len() - first > 60, "{} calls from {first} on", ios.len());
    for io in first..ios.len() {
        for keep in ["keep=none", "keep=all"] {
            check(&whole, &crashed(script, io, keep), io, keep == "keep=all");
        }
    }
    let beyond = crashed(script, ios.len(), "keep=none");
    assert!(beyond["error"].as_str().unwrap().contains("there is no call"), "{}", beyond["error"]);
}

/// Each record that was appended is known, also one that reached no disk, and whose engine is gone.
fn check_records(run: &Value, place: &str) {
    for (event, state) in list(run, "events").iter().zip(list(run, "states")) {
        let ends_behind = || state["end_lsn"].as_u64() > event["lsn"].as_u64();
        assert!(event["event"] != "appended" || ends_behind(), "{place}: {event}");
    }
}

/// A run in which power failed before this call, beside the one in which it did not.
fn check(whole: &Value, run: &Value, io: usize, all_survive: bool) {
    let words = &list(whole, "ios")[io]["words"];
    let place = format!("before call {io}, {words}");
    assert_eq!(run["error"], Value::Null, "{place}");
    assert_eq!((&run["crash"]["io"], &run["crash"]["words"]), (&io.into(), words));
    assert_eq!(list(run, "ios")[..io], list(whole, "ios")[..io], "{place}");
    assert_eq!(list(run, "events").last().unwrap()["event"], "opened", "{place}");
    assert_eq!(list(run, "states").last().unwrap()["crashed"], false, "{place}");
    assert!(list(run, "pending").iter().all(|entry| entry["survived"] == all_survive), "{place}");
    check_records(run, &place);
    let statements = list(run, "statements").iter();
    let calls: u64 = statements.map(|statement| statement["ios"].as_u64().unwrap()).sum();
    assert_eq!(calls, list(run, "ios").len() as u64, "{place}");
}

const FLUSHED: &str =
    "options page_size=2048\nfill pages=2 records=4\nT1: begin\nT1: update P1\nflush P1\n";

/// The call of the last statement with these words, and what was not synced there.
fn place(script: &str, words: &str) -> (usize, Vec<Value>) {
    let whole = Recording::of(script, None);
    let found =
        list(&whole, "ios").iter().rposition(|io| io["words"].as_str().unwrap().contains(words));
    let io = found.unwrap();
    (io, list(&crashed(script, io, "keep=none"), "pending").to_vec())
}

/// A page of four sectors is being written in place, and one of them reaches the disk.
#[test]
fn a_page_that_is_torn_by_hand_is_restored_from_the_double_write_file() {
    let (io, pending) = place(FLUSHED, "sync of the file of pages");
    let sectors: Vec<_> =
        pending.iter().map(|entry| (&entry["file"], &entry["page"], &entry["sector"])).collect();
    let (file, page) = (Value::from("pages"), Value::from(1));
    let numbers = [0, 1, 2, 3].map(Value::from);
    assert_eq!(sectors, numbers.iter().map(|sector| (&file, &page, sector)).collect::<Vec<_>>());
    assert_eq!(pending[1]["words"], "sector 1 of P1, bytes 512 to 1024");
    let changed = pending.iter().filter(|entry| entry["changes_nothing"] == false).count();
    assert!(changed > 1, "the page can be torn");
    let run = crashed(FLUSHED, io, "keep=0");
    let survived: Vec<_> =
        list(&run, "pending").iter().map(|entry| entry["survived"] == true).collect();
    assert_eq!(survived, [true, false, false, false]);
    let events = list(&run, "events");
    let down = events.iter().position(|event| event["event"] == "down").unwrap();
    let restored = events.iter().position(|event| event["event"] == "page_restored").unwrap();
    assert_eq!((&events[restored]["page"], &events[restored]["torn"]), (&page, &true.into()));
    let page_in = |step: usize| {
        let pages = list(&run["states"][step], "pages");
        pages.iter().find(|shown| shown["page"] == page).unwrap().clone()
    };
    assert_eq!((&page_in(down)["damaged"], &page_in(down)["disk"]), (&true.into(), &Value::Null));
    let update = events.iter().find(|event| {
        event["event"] == "appended" && event["page"] == page && event["kind"] == "Update"
    });
    let written = page_in(restored);
    assert_eq!(written["damaged"], false);
    assert!(written["disk"].is_u64(), "{update:?} {written}");
    assert_eq!(list(&run, "states").last().unwrap()["pages"][0]["damaged"], false);
}

/// All sectors of a page reach the disk, and nobody had been told: the state says what is there.
#[test]
fn the_state_after_a_crash_is_what_the_disk_has() {
    let (io, _) = place(FLUSHED, "sync of the file of pages");
    let lsn_after = |keep: &str| {
        let run = crashed(FLUSHED, io, keep);
        let events = list(&run, "events");
        let down = events.iter().position(|event| event["event"] == "down").unwrap();
        let pages = list(&run["states"][down], "pages").iter();
        let disk = pages.clone().find(|page| page["page"] == 1).unwrap()["disk"].as_u64().unwrap();
        let updates =
            events.iter().filter(|event| event["event"] == "appended" && event["page"] == 1);
        (disk, updates.map(|event| event["lsn"].as_u64().unwrap()).find(|lsn| *lsn == disk), run)
    };
    let (before, ..) = lsn_after("keep=none");
    let (after, update, run) = lsn_after("keep=all");
    assert!(after > before && update == Some(after), "{before} {after}");
    let skipped = list(&run, "events").iter().find(|event| event["event"] == "redo_skipped");
    assert_eq!(skipped.unwrap()["lsn"], after, "restart finds it there");
}

/// Names and the log are told as what they are.
#[test]
fn what_was_not_synced_is_told_in_words() {
    let (_, pending) = place(FLUSHED, "sync of the double-write file");
    let words: Vec<&str> = pending.iter().map(|entry| entry["words"].as_str().unwrap()).collect();
    assert!(words.contains(&"sector 0 of the double-write file, bytes 0 to 512"), "{words:?}");
    assert!(words.contains(&"sector 3 of the copy of P1, bytes 1536 to 2048"), "{words:?}");
    let (_, pending) = place(
        "fill pages=1 records=1\nT1: begin\nT1: update P1\nforce\n",
        "sync of segment 1 of the log",
    );
    let words = pending[0]["words"].as_str().unwrap();
    assert!(
        words.contains("of segment 1 of the log, bytes ") && words.contains(": records "),
        "{words}"
    );
    let (io, pending) = place("fill pages=1 records=1\n", "the control file is created");
    let words: Vec<&str> = pending.iter().map(|entry| entry["words"].as_str().unwrap()).collect();
    assert!(
        words.contains(&"the name pages: the file of pages is there"),
        "before call {io}: {words:?}"
    );
}
