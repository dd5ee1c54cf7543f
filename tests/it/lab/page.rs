//! The page's server: what it serves, and scripts that it runs.

use serde_json::{Value, json};

use super::client::{Lab, ask, get, post};

const SCRIPT: &str = "fill pages=2 records=1\nT1: begin\nT1: update P1\nforce\nT2: begin\nT2: update P2\nT2: commit\n";

#[test]
fn the_page_knows_its_stores_and_its_scripts() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let page = lab.page;
    let stores = get(page, "/lab/config")["stores"].clone();
    assert_eq!(stores[0]["url"], format!("http://{}", lab.with_log));
    assert_eq!((&stores[0]["log"], &stores[1]["log"]), (&json!(true), &json!(false)));
    let scenarios = get(page, "/lab/scenarios");
    assert!(scenarios.as_array().unwrap().len() > 9);
    for (path, status) in [
        ("/", 200),
        ("/app.js", 200),
        ("/style.css", 200),
        ("/nothing.js", 404),
        ("/../Cargo.toml", 404),
    ] {
        assert_eq!(ask(page, "GET", path, None).unwrap().0, status, "{path}");
    }
    lab.stop();
}

#[test]
fn a_script_is_run_and_crashed_where_one_likes() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let page = lab.page;
    let whole = post(page, "/lab/run", &json!({ "script": SCRIPT }));
    assert_eq!(whole["error"], Value::Null);
    let points = whole["crash_points"].as_array().unwrap();
    let behind = |words: &str| {
        points.iter().find(|point| point["words"].as_str().unwrap().contains(words)).unwrap()
    };
    let undone = |run: &Value| {
        let events = run["events"].as_array().unwrap();
        events.iter().filter(|event| event["event"] == "undone").count()
    };
    let crashed = |at: &Value, survivors: &str| {
        post(
            page,
            "/lab/run",
            &json!({ "script": SCRIPT, "crash_at": at["event"], "survivors": survivors }),
        )
    };
    let forced = crashed(behind("force"), "none");
    assert_eq!(undone(&forced), 1, "its record was forced");
    assert_eq!(undone(&crashed(behind("T1: update"), "none")), 0, "nothing of it is on disk");
    let last = crashed(behind("T2: commit"), "random:3");
    assert_eq!((undone(&last), &last["error"]), (1, &Value::Null), "T2 stays");
    let states = forced["states"].as_array().unwrap();
    assert!(states.iter().any(|state| state["crashed"] == true));
    let update = behind("T1: update");
    let calls = whole["ios"].as_array().unwrap();
    let sync = calls.iter().rposition(|io| io["words"] == "sync of segment 1 of the log").unwrap();
    let before_sync = |survivors: &str| {
        let body = json!({ "script": SCRIPT, "crash_at": { "io": sync }, "survivors": survivors });
        post(page, "/lab/run", &body)
    };
    let survived = |run: &Value| {
        let pending = run["pending"].as_array().unwrap();
        pending.iter().map(|entry| entry["survived"] == true).collect::<Vec<_>>()
    };
    assert_eq!(survived(&before_sync("none")), [false], "the sector of the commit record");
    assert_eq!(survived(&before_sync("chosen:0")), [true]);
    assert_eq!((undone(&before_sync("chosen:0")), undone(&before_sync("chosen:"))), (1, 1));
    assert!(before_sync("chosen:0,9")["error"].as_str().unwrap().contains("keep=9"));
    let behind_update = crashed(update, "none");
    assert_eq!((&behind_update["crash"], &behind_update["pending"]), (&Value::Null, &json!([])));
    let refused = |body: Value| ask(page, "POST", "/lab/run", Some(&body)).unwrap().0;
    assert_eq!(refused(json!({ "script": SCRIPT, "crash_at": 3, "survivors": "some" })), 400);
    assert_eq!(refused(json!({ "script": SCRIPT, "crash_at": 3, "survivors": "chosen:a" })), 400);
    assert_eq!(refused(json!({ "script": SCRIPT, "crash_at": { "call": 3 } })), 422);
    assert_eq!(refused(json!({ "script": "#".repeat(70_000) })), 413);
    assert_eq!(refused(json!({})), 422);
    assert!(post(page, "/lab/run", &json!({ "script": "no such thing" }))["error"].is_string());
    lab.stop();
}

/// Analysis follows each transaction to its latest record: undo begins there.
#[test]
fn analysis_ends_with_the_table_that_undo_begins_with() {
    let script = "fill pages=2 records=2\nT1: begin\nT1: update P1\nT1: update P2\nT1: update P1\nforce\ncrash\nrestart\n";
    let told = aries::lab::Recording::of(script, None);
    let events = told["events"].as_array().unwrap();
    let place = |name: &str| events.iter().rposition(|event| event["event"] == name).unwrap();
    let loser = &told["states"][place("analysis_ended")]["transaction_table"][0];
    let first_undone = events.iter().find(|event| event["event"] == "undone").unwrap();
    let last = &first_undone["lsn"];
    assert_eq!((&loser["last_lsn"], &loser["undo_next_lsn"]), (last, last));
    let advances = events.iter().filter(|event| event["event"] == "transaction_advanced");
    assert_eq!(advances.count(), 2, "the second and the third update");
}

/// However much a script does, the server is not asked for more memory than it has.
#[test]
fn a_script_without_measure_is_cut_off() {
    for script in [
        "fill pages=1000000000 records=1\n",
        "fill pages=900 records=9\n",
        &"fill pages=60 records=20\n".repeat(40),
    ] {
        let told = aries::lab::Recording::of(script, None);
        assert!(
            told["error"].as_str().is_some_and(|error| error.contains("more than")),
            "{}",
            told["error"]
        );
        assert!(told["events"].as_array().unwrap().len() <= 5_001);
    }
}
