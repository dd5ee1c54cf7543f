//! `aries control`, `aries page`, `aries stats`, `aries completions`, `aries man`.

use aries::ids::{Lsn, PageId};
use aries::page::{self, PageState};
use serde_json::Value;

use super::{aries, closed, crashed, flip, json, killed, on, story, text};
use crate::common::{PAGE_SIZE, options};

#[test]
fn the_control_file_is_told_field_by_field() {
    let story = story();
    let directory = crashed(&story);
    let told = json("control", directory.path(), &[], 0);
    let slot = &told["slots"][told["counts"].as_u64().unwrap() as usize];
    let master = story.db.master_record();
    let expected = [
        ("state", "valid".into()),
        ("database_id", format!("{:032x}", master.database_id).into()),
        ("page_size", master.page_size.into()),
        ("segment_bytes", master.segment_bytes.into()),
        ("sequence", master.sequence.into()),
        ("epoch", master.epoch.into()),
        ("checkpoint_lsn", master.checkpoint_lsn.get().into()),
        ("checkpoint_epoch", master.checkpoint_epoch.into()),
        ("oldest_required_lsn", master.oldest_required_lsn.get().into()),
        ("clean_end_lsn", Value::Null),
        ("in_place_only", false.into()),
        ("pages", master.pages.into()),
        ("complete_from_lsn", Value::Null),
    ];
    assert_eq!(slot.as_object().unwrap().len(), expected.len());
    for (name, value) in &expected {
        assert_eq!(&slot[name], value, "{name}");
    }
    let lines = text("control", directory.path(), &[], 0);
    for (name, _) in &expected {
        assert!(lines.lines().any(|line| line.trim_start().starts_with(name)), "{name}: {lines}");
    }
    assert!(lines.contains("valid, counts") && lines.contains(&master.checkpoint_lsn.to_string()));
}

#[test]
fn a_damaged_slot_does_not_count() {
    let directory = closed();
    let counts = json("control", directory.path(), &[], 0)["counts"].as_u64().unwrap();
    flip(&directory.path().join("control"), counts * 4096 + 30);
    let told = json("control", directory.path(), &[], 1);
    assert_eq!(told["counts"], 1 - counts);
    assert_eq!(told["slots"][counts as usize], serde_json::json!({ "state": "damaged" }));
    flip(&directory.path().join("control"), (1 - counts) * 4096 + 30);
    assert_eq!(json("control", directory.path(), &[], 1)["counts"], Value::Null);
}

#[test]
fn a_page_is_told_slot_by_slot() {
    let directory = closed();
    let told: Vec<Value> =
        (0..9).map(|page| json("page", directory.path(), &[&format!("P{page}")], 0)).collect();
    let whole = json("page", directory.path(), &["5", "--hex"], 0);
    let db = options().open(directory.path()).unwrap();
    for (number, told) in (0..).zip(&told) {
        let page = PageId(number);
        let guard = db.fix_page(page).unwrap();
        assert_eq!(told["header"]["page_lsn"], Value::from(guard.page_lsn().map(Lsn::get)));
        assert_eq!((&told["sound"], &told["header"]["page"]), (&true.into(), &number.into()));
        assert_eq!(told["free"], page::free_bytes(guard.bytes()));
        let slots: Vec<Value> = page::slots(guard.bytes())
            .filter(|_| number > 0)
            .map(|(slot, state, bytes)| {
                let bytes: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let state = state.to_string().replace("a ghost", "ghost");
                serde_json::json!({ "slot": slot.0, "state": state, "bytes": bytes })
            })
            .collect();
        assert_eq!(told["slots"], Value::from(slots), "{page}");
    }
    assert_eq!(whole["bytes"].as_str().unwrap().len(), 2 * PAGE_SIZE);
    let lines = {
        db.close().unwrap();
        text("page", directory.path(), &["5", "--hex"], 0)
    };
    assert!(lines.contains("ghost") && lines.contains("00496  "), "{lines}");
}

#[test]
fn a_space_map_page_tells_the_state_of_each_page() {
    let directory = closed();
    let told = json("page", directory.path(), &["0"], 0);
    let db = options().open(directory.path()).unwrap();
    let states = told["states"].as_array().unwrap();
    assert!(states.len() > 20);
    for state in states {
        let page = PageId(state["page"].as_u64().unwrap());
        let expected = match db.page_state(page).unwrap().unwrap() {
            PageState::Free => "free",
            PageState::Used | PageState::Catalog(_) => "used",
            PageState::FreePending(_) => "free_pending",
        };
        assert_eq!(state["state"], expected, "{page}");
    }
    assert_eq!(states[9]["state"], "free");
    db.close().unwrap();
    let lines = text("page", directory.path(), &["0"], 0);
    assert!(lines.lines().any(|line| line.split_whitespace().eq(["P9", "free"])), "{lines}");
    text("page", directory.path(), &["99999"], 2);
}

#[test]
fn a_damaged_page_is_shown_as_far_as_that_goes() {
    let directory = closed();
    flip(&directory.path().join("pages"), 4 * PAGE_SIZE as u64 + 300);
    let told = json("page", directory.path(), &["4"], 1);
    assert_eq!(told["sound"], false);
    assert_ne!(told["header"]["checksum"], told["header"]["right_checksum"]);
    assert!(told["fault"].as_str().unwrap().contains("checksum"));
    let lines = text("page", directory.path(), &["4"], 1);
    assert!(lines.contains("WRONG"), "{lines}");
    flip(&directory.path().join("pages"), 4 * PAGE_SIZE as u64 + 4);
    assert_eq!(json("page", directory.path(), &["4"], 1)["header"]["kind"], Value::Null);
}

#[test]
fn sizes_and_what_a_restart_would_do_are_told() {
    let story = story();
    let directory = crashed(&story);
    let told = json("stats", directory.path(), &[], 1); // One page is torn.
    let restart = json("restart", directory.path(), &["--dry-run"], 0)["report"].clone();
    for name in ["from", "end", "dirty_pages", "losers", "committed", "in_doubt"] {
        assert_eq!(told["restart"][name], restart["analysis"][name], "{name}");
    }
    assert_eq!(told["restart"]["redo_from"], restart["redo"]["from"]);
    assert_eq!(told["restart"]["clean"], false);
    assert_eq!(told["pages"]["all"], story.db.stats().pages);
    assert_eq!(told["pages"]["damaged"], 1);
    let log = json("log", directory.path(), &["--stats"], 0);
    assert_eq!((&told["log"]["kinds"], &told["log"]["records"]), (&log["kinds"], &log["count"]));
    assert_eq!(told["page_size"], PAGE_SIZE);
    for (name, bytes) in told["bytes"].as_object().unwrap() {
        let path = directory.path().join(name);
        if path.is_file() {
            assert_eq!(bytes, &std::fs::metadata(path).unwrap().len(), "{name}");
        }
    }
    let sound = closed();
    let told = json("stats", sound.path(), &[], 0);
    let db = options().open(sound.path()).unwrap();
    let pages = (0..db.stats().pages).map(PageId);
    let free = pages.filter(|page| db.page_state(*page).unwrap() == Some(PageState::Free)).count();
    assert_eq!(told["pages"]["free"], free);
    assert_eq!(told["restart"]["clean"], true);
    db.close().unwrap();
    assert!(text("stats", sound.path(), &[], 0).contains("a restart has nothing to do"));
}

/// What a damaged page says of itself counts for nothing: not its kind, and not the states in it.
#[test]
fn nothing_is_counted_from_a_damaged_page() {
    let states = |told: &Value| -> u64 {
        ["free", "used", "free_pending"]
            .iter()
            .map(|name| told["pages"][name].as_u64().unwrap())
            .sum()
    };
    let directory = closed();
    let before = json("stats", directory.path(), &[], 0);
    let path = directory.path().join("pages");
    let mut pages = std::fs::read(&path).unwrap();
    pages[3 * PAGE_SIZE + 4] = pages[4]; // The kind of a space map page.
    std::fs::write(path, pages).unwrap();
    let told = json("stats", directory.path(), &[], 1);
    assert_eq!(told["pages"]["damaged"], 1);
    assert_eq!(states(&told), states(&before));
    assert_eq!(states(&told), told["pages"]["all"].as_u64().unwrap());
    let told = text("stats", directory.path(), &[], 1);
    assert!(told.contains("1 page is damaged"), "{told}");
}

#[test]
fn one_thing_is_not_told_as_if_it_were_many() {
    let directory = killed();
    let restart = text("restart", directory.path(), &["--dry-run"], 0);
    assert!(restart.contains(" 1 loser, 0 in doubt"), "{restart}");
    assert!(restart.contains("1 change undone, 1 transaction ended"), "{restart}");
    let stats = text("stats", directory.path(), &[], 0);
    assert!(stats.contains("2 dirty pages") && stats.contains("undo 1 loser;"), "{stats}");
    assert!(stats.contains("0 transactions are in doubt"), "{stats}");
}

#[test]
fn shells_and_man_are_told_every_command() {
    let commands = ["control", "demo", "log", "page", "restart", "stats", "verify"];
    for shell in ["bash", "zsh", "fish"] {
        let script = String::from_utf8(aries(&["completions", shell]).stdout).unwrap();
        assert!(commands.iter().all(|command| script.contains(command)), "{shell}");
        assert!(script.contains("dry-run"), "{shell}");
    }
    let manual = String::from_utf8(aries(&["man"]).stdout).unwrap();
    assert!(commands.iter().all(|command| manual.contains(command)), "{manual}");
    for command in commands {
        let manual = String::from_utf8(aries(&["man", command]).stdout).unwrap();
        assert!(manual.contains(".TH") && manual.contains("Examples"), "{command}: {manual}");
        let help = String::from_utf8(aries(&[command, "--help"]).stdout).unwrap();
        assert!(
            help.contains("Examples:") && help.contains("The JSON object"),
            "{command}: {help}"
        );
    }
    assert_eq!(aries(&["man", "tape"]).status.code(), Some(2));
    assert_eq!(aries(&["completions", "tape"]).status.code(), Some(2));
    assert_eq!(on("log", closed().path(), &["--kind", "Tape"]).status.code(), Some(2));
}
