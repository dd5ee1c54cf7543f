//! What can be seen of a store from outside: metrics, and spans.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use assert_cmd::Command;
use serde_json::{Value, json};

use super::client::{Lab, get, post, text};

/// The metrics of a store: each series with its value. Checks that they are as Prometheus wants them.
fn metrics(store: SocketAddr) -> BTreeMap<String, f64> {
    let text = text(store, "/metrics");
    let (mut helped, mut kinds, mut series) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(words.ends_with('.'), "{line}");
            helped.push(name.to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(kinds.insert(name.to_owned(), kind.to_owned()), None, "{name} twice");
            assert!(helped.contains(&name.to_owned()), "{name} has no HELP");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            let part =
                ["_bucket", "_sum", "_count"].iter().find_map(|part| bare.strip_suffix(part));
            let histogram =
                part.filter(|name| kinds.get(*name).is_some_and(|kind| kind == "histogram"));
            assert!(kinds.contains_key(histogram.unwrap_or(bare)), "{line}");
            series.insert(name.to_owned(), value.parse().unwrap());
        }
    }
    series
}

fn put_ten(store: SocketAddr) {
    for number in 0..10 {
        post(store, "/kv", &json!({ "key": format!("key-{number}"), "value": number }));
    }
}

const PUTS: &str = r#"aries_http_requests_total{method="POST",route="/kv",status="200"}"#;
const REDO: &str = r#"aries_restart_phase_duration_seconds{phase="redo"}"#;

#[test]
fn metrics_tell_what_a_store_did() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let store = lab.with_log;
    let before = metrics(store);
    assert!(
        before["aries_commits_total"] > 0.0 && !before.contains_key(PUTS),
        "the table was made"
    );
    put_ten(store);
    let after = metrics(store);
    let grew = |name: &str| after[name] - before[name];
    assert_eq!((grew("aries_commits_total"), after[PUTS]), (10.0, 10.0));
    assert!(grew("aries_log_force_duration_seconds_count") >= 10.0, "each put waited for a force");
    assert!(grew("aries_log_force_duration_seconds_sum") > 0.0);
    let stats = get(store, "/admin/stats");
    let of_stats = |name: &str| stats[name].as_f64().unwrap();
    let window = of_stats("end_lsn") - of_stats("oldest_required_lsn");
    assert_eq!(after["aries_recovery_window_bytes"], window);
    assert!(grew("aries_log_bytes_total") > 0.0 && grew("aries_log_bytes_total") < window);
    assert_eq!(after["aries_dirty_pages"], of_stats("dirty_pages"));
    assert_eq!((after[REDO], after["aries_recovered_entries"]), (0.0, 0.0));
    let requests =
        r#"aries_http_request_duration_seconds_bucket{method="POST",route="/kv",le="+Inf"}"#;
    assert_eq!(after[requests], 10.0);
    // Names that nobody knows make no series.
    super::client::ask(store, "BREW", "/coffee/1", None).unwrap();
    let none = r#"aries_http_requests_total{method="other",route="none",status="404"}"#;
    assert_eq!(metrics(store)[none], 1.0);

    lab.crash(store);
    let again = metrics(store);
    assert!(again[REDO] > 0.0, "{again:?}");
    assert!(again["aries_log_bytes_total"] > 0.0, "what restart appended counts");
    assert_eq!((again["aries_commits_total"], again["aries_recovered_entries"]), (0.0, 10.0));
    post(store, "/kv", &json!({ "key": "another", "value": 1 }));
    post(store, "/admin/checkpoint", &json!({}));
    let written = metrics(store);
    assert!(written["aries_checkpoints_total"] > again["aries_checkpoints_total"]);
    assert!(written["aries_pages_written_total"] > again["aries_pages_written_total"]);
    assert!(written["aries_recovery_window_bytes"] < after["aries_recovery_window_bytes"]);
    lab.stop();
}

#[test]
fn a_store_without_a_log_forces_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let before = metrics(lab.without_log);
    put_ten(lab.without_log);
    let after = metrics(lab.without_log);
    let grew = |name: &str| after[name] - before[name];
    assert_eq!(grew("aries_commits_total"), 10.0);
    assert_eq!(grew("aries_log_force_duration_seconds_count"), 0.0);
    lab.stop();
}

/// Each series that the dashboard draws is one that the stores have.
#[test]
fn the_dashboard_draws_what_there_is() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    put_ten(lab.with_log);
    let known = metrics(lab.with_log);
    let text = std::fs::read_to_string("docs/grafana.json").unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut drawn = 0;
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names = expression.split(|c| !is_of_name(c)).filter(|name| name.starts_with("aries_"));
        for name in names {
            drawn += 1;
            let is_known = |series: &String| series.split('{').next() == Some(name);
            assert!(known.keys().any(is_known), "{name}");
        }
    }
    assert!(drawn >= 10, "{drawn}");
    lab.stop();
}

#[test]
fn spans_are_printed_on_request() {
    let directory = tempfile::tempdir().unwrap();
    let store = |directory: &std::path::Path| {
        let mut command = Command::cargo_bin("aries").unwrap();
        command.arg("lab-store").arg(directory).args(["127.0.0.1:0", "--trace"]);
        let output = command.write_stdin("").assert().success().get_output().clone();
        String::from_utf8(output.stderr).unwrap()
    };
    store(directory.path());
    let told = store(directory.path());
    for span in ["restart{log=true}:analysis: close", "log force", "log append{lsn="] {
        assert!(told.contains(span), "{span}: {told}");
    }
}

#[test]
fn an_address_that_is_none_is_refused() {
    let mut command = Command::cargo_bin("aries").unwrap();
    let refused = command.args(["lab", "--port", "0", "--otlp", "nonsense"]).assert().code(2);
    let told = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(told.contains("--otlp"), "{told}");
}
