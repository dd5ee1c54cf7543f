//! The exercises of `docs/labs/`, against the real stores.

use serde_json::{Value, json};

use super::client::{Lab, ask, get, post};

fn put(store: std::net::SocketAddr, key: &str, value: &Value) {
    post(store, "/kv", &json!({ "key": key, "value": value }));
}

fn put_numbers(store: std::net::SocketAddr, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        put(store, &format!("key-{number:03}"), &json!({ "number": number }));
    }
}

#[test]
fn one_without_a_log_all_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let store = lab.without_log;
    put_numbers(store, 1..=10);
    assert_eq!(get(store, "/kv")["count"], 10);
    assert_eq!(get(store, "/admin/wal")["count"], 0);
    lab.crash(store);
    assert_eq!(get(store, "/kv"), json!({ "items": [], "count": 0, "next": null }));
    // What was flushed is there, and no more.
    put_numbers(store, 1..=5);
    post(store, "/admin/flush", &json!({}));
    put_numbers(store, 6..=9);
    lab.crash(store);
    assert_eq!(get(store, "/kv")["count"], 5);
    lab.stop();
}

#[test]
fn two_with_the_log_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let store = lab.with_log;
    put_numbers(store, 1..=10);
    let wal = get(store, "/admin/wal");
    assert_eq!(wal["count"], 10);
    let before = get(store, "/kv");
    let told = lab.crash(store);
    assert!(told.contains("recovered 10 entries"), "{told}");
    assert_eq!(get(store, "/kv"), before);
    assert_eq!(get(store, "/admin/stats")["recovered_entries"], 10);
    assert_eq!(get(store, "/admin/wal"), wal, "until a checkpoint they would be replayed again");
    lab.stop();
    // Closed cleanly, there is nothing to recover.
    let lab = Lab::start(directory.path(), &[]);
    assert_eq!(get(lab.with_log, "/kv"), before);
    let stats = get(lab.with_log, "/admin/stats");
    assert_eq!(
        (&stats["recovered_entries"], &stats["restart"]["clean"]),
        (&json!(0), &json!(true))
    );
    lab.stop();
}

#[test]
fn three_the_log_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let store = lab.with_log;
    put(store, "before", &json!(0));
    post(store, "/admin/clear", &json!({}));
    assert_eq!(
        (get(store, "/kv")["count"].clone(), get(store, "/admin/wal")["count"].clone()),
        (json!(0), json!(0))
    );
    put(store, "alice", &json!("Anna"));
    put(store, "bob", &json!({ "born": 1990 }));
    assert_eq!(ask(store, "DELETE", "/kv/alice", None).unwrap().0, 200);
    let wal = get(store, "/admin/wal");
    let entries: Vec<[&Value; 4]> = wal["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| [&entry["operation"], &entry["key"], &entry["value"], &entry["old_value"]])
        .collect();
    let (null, set, delete) = (Value::Null, json!("SET"), json!("DELETE"));
    let (alice, bob) = (json!("alice"), json!("bob"));
    let (anna, born) = (json!("Anna"), json!({ "born": 1990 }));
    assert_eq!(
        entries,
        [[&set, &alice, &anna, &null], [&set, &bob, &born, &null], [&delete, &alice, &null, &anna]]
    );
    let sequence = |at: usize| wal["entries"][at]["sequence"].as_u64().unwrap();
    assert!(sequence(0) < sequence(1) && sequence(1) < sequence(2));
    assert!(wal["entries"][0]["timestamp"].as_str().unwrap().ends_with('Z'));
    let rest = get(store, &format!("/admin/wal?from={}&limit=1", sequence(1)));
    assert_eq!(
        (&rest["entries"][0], &rest["next"]),
        (&wal["entries"][1], &wal["entries"][2]["sequence"])
    );
    // The same in the log itself, each record with its bytes.
    let tape = get(store, "/admin/log");
    let records = tape["records"].as_array().unwrap();
    let at = records.iter().position(|record| record["lsn"] == sequence(2)).unwrap();
    assert_eq!(records[at]["kind"], "KeyChange");
    assert_eq!(records[at + 1]["kind"], "Commit");
    let one = get(store, &format!("/admin/log/{}", sequence(2)));
    assert_eq!(one["record"], records[at]);
    let bytes = one["hex"].as_str().unwrap().len() as u64 / 2;
    assert_eq!(one["record"]["bytes"], bytes.next_multiple_of(8));
    lab.stop();
}

#[test]
fn four_a_checkpoint_spares_the_replay() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let store = lab.with_log;
    put_numbers(store, 1..=150);
    let stats = get(store, "/admin/stats");
    assert_eq!(stats["entries_since_checkpoint"], 50, "one came by itself after 100");
    assert_eq!(get(store, "/admin/wal")["count"], 50);
    post(store, "/admin/checkpoint", &json!({}));
    assert_eq!(get(store, "/admin/wal")["count"], 0);
    lab.crash(store);
    let stats = get(store, "/admin/stats");
    assert_eq!(
        (&stats["recovered_entries"], &stats["restart"]["redo"]["redone"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(get(store, "/kv")["count"], 150);
    let tape = get(store, "/admin/log");
    assert!(tape["markers"]["checkpoint_lsn"].as_u64() <= tape["markers"]["flushed_lsn"].as_u64());
    lab.stop();
}

/// The fifth compares times, which no test can promise: that both stores answer, and say what they promise, can be.
#[test]
fn five_only_the_store_with_the_log_says_durable() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &["--checkpoint-every", "7"]);
    for (store, durable) in [(lab.with_log, true), (lab.without_log, false)] {
        let answer = post(store, "/kv", &json!({ "key": "a", "value": 1 }));
        assert_eq!(answer, json!({ "key": "a", "durable": durable }));
    }
    put_numbers(lab.with_log, 1..=8);
    assert_eq!(get(lab.with_log, "/admin/stats")["entries_since_checkpoint"], 2);
    lab.stop();
}

/// The tape, the pool and both tables are those of the engine.
#[test]
fn the_engine_can_be_watched() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let store = lab.with_log;
    put_numbers(store, 1..=3);
    let pool = get(store, "/admin/pool");
    let dirty: Vec<_> =
        pool["pages"].as_array().unwrap().iter().filter(|page| page["dirty"] == true).collect();
    assert!(!dirty.is_empty(), "{pool}");
    for page in &dirty {
        assert!(page["page_lsn"].as_u64() > page["disk_page_lsn"].as_u64(), "{page}");
        assert!(page["rec_lsn"].as_u64() <= page["page_lsn"].as_u64(), "{page}");
    }
    let markers = get(store, "/admin/log")["markers"].clone();
    let least = dirty.iter().map(|page| page["rec_lsn"].as_u64()).min();
    assert_eq!(least, Some(markers["redo_lsn"].as_u64()));
    post(store, "/admin/checkpoint", &json!({}));
    let pool = get(store, "/admin/pool");
    assert!(
        pool["pages"]
            .as_array()
            .unwrap()
            .iter()
            .all(|page| page["page_lsn"] == page["disk_page_lsn"]),
        "{pool}"
    );
    lab.stop();
}
