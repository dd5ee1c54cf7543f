//! Many clients at once, and crashes in between: whatever was acknowledged is there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};

use super::client::{Lab, ask, get};

const CLIENTS: u64 = 16;
const CRASHES: u32 = 6;

/// What one client knows of its keys: the last value acknowledged, and the one that was never answered, if there is one.
#[derive(Default)]
struct Known {
    acknowledged: BTreeMap<String, u64>,
    unanswered: BTreeMap<String, u64>,
}

/// Puts values until it is told to stop.
fn client(store: std::net::SocketAddr, number: u64, stop: &AtomicBool) -> Known {
    let mut random = SmallRng::seed_from_u64(number);
    let mut known = Known::default();
    let mut value = 0;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("client-{number}-{}", random.random_range(0..20));
        value += 1;
        let body = json!({ "key": key, "value": value });
        known.unanswered.insert(key.clone(), value);
        match ask(store, "POST", "/kv", Some(&body)) {
            Some((200, _)) => {
                known.unanswered.remove(&key);
                known.acknowledged.insert(key, value);
            }
            Some((status, told)) => panic!("{status}: {told}"),
            // It is dead, or was: nobody knows of this one.
            None => thread::sleep(Duration::from_millis(random.next_u64() % 20)),
        }
    }
    known
}

#[test]
fn what_was_acknowledged_survives_crashes_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &["--checkpoint-every", "40"]);
    let (store, stop) = (lab.with_log, AtomicBool::new(false));
    let known: Vec<Known> = thread::scope(|scope| {
        let stop = &stop;
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || client(store, number, stop))).collect();
        let mut random = SmallRng::seed_from_u64(7);
        for _ in 0..CRASHES {
            thread::sleep(Duration::from_millis(random.random_range(50..400)));
            lab.crash(store);
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let all: Value = get(store, "/kv?limit=10000");
    let found: BTreeMap<&str, u64> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["key"].as_str().unwrap(), item["value"].as_u64().unwrap()))
        .collect();
    let mut acknowledged = 0;
    for (key, value) in known.iter().flat_map(|known| &known.acknowledged) {
        acknowledged += 1;
        let newer = known.iter().find_map(|known| known.unanswered.get(key));
        let found = found.get(key.as_str());
        assert!(found >= Some(value), "{key}: {value} was acknowledged, {found:?} is there");
        assert!(found == Some(value) || newer >= found, "{key}: nobody put {found:?}");
    }
    for key in found.keys() {
        assert!(
            known.iter().any(|known| known.acknowledged.contains_key(*key)
                || known.unanswered.contains_key(*key)),
            "{key}"
        );
    }
    assert!(acknowledged > CLIENTS, "{acknowledged} keys");
    lab.stop();
}
