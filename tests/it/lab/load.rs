//! `aries lab load`: many clients at once, and crashes in between. Whatever was acknowledged is there, and where it is not, it is told.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::{Value, json};

use super::client::{Lab, get, post, until};

fn load(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aries"))
        .args(["lab", "load"])
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs it, wants this exit code, and gives the JSON object.
fn measured(code: i32, arguments: &[&str]) -> Value {
    let output = load(&[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn port(of: SocketAddr) -> String {
    of.port().to_string()
}

#[test]
fn its_own_stores_are_measured_and_gone_in_the_end() {
    let within = tempfile::tempdir().unwrap();
    let directory = within.path().to_str().unwrap();
    let arguments = ["--clients", "4", "--seconds", "1", "--crashes", "1", "--keys", "40"];
    let report = measured(0, &[&arguments[..], &["--dir", directory]].concat());
    assert_eq!((&report["version"], &report["ok"]), (&json!(1), &json!(true)));
    assert_eq!((&report["clients"], &report["puts_per_cent"]), (&json!(4), &json!(80)));
    for (at, with_log) in [(0, true), (1, false)] {
        let store = &report["stores"][at];
        let figure = |name: &str| store[name].as_f64().unwrap();
        assert_eq!((&store["log"], &store["strange"]), (&json!(with_log), &json!(0)), "{store}");
        assert!(figure("seconds") >= 1.0 && figure("rate") > 0.0, "{store}");
        assert_eq!(store["away"].as_array().unwrap().len(), 1);
        assert!(figure("acknowledged") >= 40.0, "each key was put: {store}");
        assert!(figure("in_doubt") <= 4.0, "one of each client: {store}");
        assert!((figure("lost") > 0.0) != with_log, "the keys were put before the crash: {store}");
        let kinds = ["puts", "gets"].map(|kind| &store[kind]);
        let counts = kinds.map(|kind| kind["count"].as_u64().unwrap());
        assert_eq!(json!(counts.iter().sum::<u64>()), store["requests"]);
        for kind in kinds {
            let names = ["p50", "p90", "p99", "p999", "longest"];
            let times = names.map(|name| kind[name].as_f64().unwrap());
            assert!(times[0] > 0.0 && times.is_sorted(), "{kind}");
            let histogram = kind["histogram"].as_array().unwrap();
            let counted = histogram.iter().map(|bucket| bucket["count"].as_u64().unwrap());
            assert_eq!(json!(counted.sum::<u64>()), kind["count"]);
        }
    }
    assert!(
        report["log_adds"]["puts"]["p50"].is_number() && report["log_adds"]["rate"].is_number()
    );
    assert_eq!(fs::read_dir(within.path()).unwrap().count(), 0);
}

#[test]
fn what_was_acknowledged_survives_crashes_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &["--checkpoint-every", "40"]);
    post(lab.with_log, "/kv", &json!({ "key": "mine", "value": 1 }));
    let page = port(lab.page);
    let arguments = ["--port", &page, "--clients", "16", "--keys", "320", "--seconds", "2"];
    let report = measured(0, &[&arguments[..], &["--crashes", "6"]].concat());
    let store = &report["stores"][0];
    assert_eq!(
        (&store["log"], &store["lost"], &store["strange"]),
        (&json!(true), &json!(0), &json!(0))
    );
    assert_eq!(store["away"].as_array().unwrap().len(), 6);
    assert!(store["puts"]["count"].as_u64() > Some(16), "{store}");
    assert!(report["stores"][1]["lost"].as_u64() > Some(0), "{report}");
    // Nothing is left of it, and nothing there is that nobody put.
    let mine = json!({ "items": [{ "key": "mine", "value": 1 }], "count": 1, "next": null });
    assert_eq!(get(lab.with_log, "/kv"), mine);
    assert_eq!(get(lab.without_log, "/kv")["count"], 0);
    lab.stop();
}

/// Says that there is a lab, whose stores are these.
fn says_that_it_is_a_lab(config: &Value) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, config) = (listener.local_addr().unwrap(), config.to_string());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = BufReader::new(&stream).lines().map(Result::unwrap);
        assert!(head.take_while(|line| !line.is_empty()).count() > 0);
        let length = config.len();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{config}").unwrap();
    });
    address
}

#[test]
fn a_log_that_loses_what_was_acknowledged_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    // The store without a log, as if it had one.
    let url = format!("http://{}", lab.without_log);
    let page = says_that_it_is_a_lab(&json!({ "stores": [{ "url": url, "log": true }] }));
    let arguments = ["--clients", "2", "--keys", "2", "--seconds", "0.5", "--crashes", "1"];
    let output = load(&[&arguments[..], &["--port", &port(page)]].concat());
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.contains("WRONG: with the log") && told.contains("acknowledged writes are lost"),
        "{told}"
    );
    lab.stop();
}

#[test]
fn interrupted_it_leaves_nothing() {
    let within = tempfile::tempdir().unwrap();
    let mut test = Command::new(env!("CARGO_BIN_EXE_aries"))
        .args(["lab", "load", "--clients", "2", "--seconds", "600", "--dir"])
        .arg(within.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the stores answer", || {
        let made = fs::read_dir(within.path()).unwrap().map_while(Result::ok).next();
        made.is_some_and(|made| made.path().join("without-log/control").exists())
    });
    let pid = test.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut told = String::new();
    test.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(test.wait().unwrap().code(), Some(1));
    assert!(told.contains("interrupted"), "{told}");
    assert_eq!(fs::read_dir(within.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_measured_is_refused_in_words() {
    for (arguments, words) in [
        (&["--clients", "0"][..], "1..=512"),
        (&["--clients", "20", "--keys", "19"], "--keys"),
        (&["--puts", "101"], "0..=100"),
        (&["--seconds", "0"], "above 0"),
        (&["--value-bytes", "31"], "32..="),
        (&["--port", "8000", "--dir", "."], "--dir"),
        (&["--token", "secret"], "--port"),
        (&["--dir", "no such directory"], "--dir"),
    ] {
        let output = load(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(words) && output.stdout.is_empty(), "{arguments:?}: {error}");
    }
    let output =
        Command::new(env!("CARGO_BIN_EXE_aries")).args(["lab", "--port", "0", "load"]).output();
    assert_eq!(output.unwrap().status.code(), Some(2), "options of the other command");
}

#[test]
fn where_no_lab_is_there_is_nothing_to_measure() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let other = says_that_it_is_a_lab(&json!({ "stores": [] }));
    for (page, words) in [(nobody, "nobody answers"), (other, "no lab's page")] {
        let output = load(&["--port", &port(page)]);
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(&format!("looking for a lab at {page}")), "{error}");
        assert!(error.contains(words) && output.stdout.is_empty(), "{error}");
    }
}
