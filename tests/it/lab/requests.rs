//! Requests that make no sense, and those that nobody may make.

use std::fs;
use std::io::Write;
use std::net::TcpStream;

use assert_cmd::Command;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::client::{Lab, ask, get, post, send, until};

#[test]
fn what_is_wrong_is_told_in_json() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let store = lab.with_log;
    let long = "k".repeat(1025);
    let huge = json!({ "key": "a", "value": "v".repeat(1024 * 1024) });
    let cases = [
        ("GET", "/kv/nothing".to_owned(), None, 404),
        ("DELETE", "/kv/nothing".to_owned(), None, 404),
        ("GET", "/nowhere".to_owned(), None, 404),
        ("PUT", "/kv".to_owned(), None, 405),
        ("GET", "/admin/crash".to_owned(), None, 405),
        ("POST", "/kv".to_owned(), Some(json!({ "key": 1, "value": 1 })), 422),
        ("POST", "/kv".to_owned(), Some(json!({ "key": "a" })), 422),
        ("POST", "/kv".to_owned(), Some(json!({ "key": "a", "value": 1, "more": 2 })), 422),
        ("POST", "/kv".to_owned(), Some(json!({ "key": "", "value": 1 })), 400),
        ("POST", "/kv".to_owned(), Some(json!({ "key": long, "value": 1 })), 400),
        ("POST", "/kv".to_owned(), Some(huge), 400),
        (
            "POST",
            "/txn".to_owned(),
            Some(json!({ "operations": [{ "op": "add", "key": "a" }] })),
            422,
        ),
        ("GET", "/kv?limit=0".to_owned(), None, 400),
        ("GET", "/kv?limit=many".to_owned(), None, 400),
        ("GET", "/kv/%ff".to_owned(), None, 400),
        ("GET", "/admin/log/0".to_owned(), None, 400),
        ("GET", "/admin/log/3".to_owned(), None, 404),
        ("GET", "/admin/log/999999999".to_owned(), None, 404),
        ("POST", "/admin/flush".to_owned(), Some(json!({})), 409),
    ];
    for (method, path, body, status) in cases {
        let (answered, told) = ask(store, method, &path, body.as_ref()).unwrap();
        assert_eq!(answered, status, "{method} {path}: {told}");
        assert!(
            told["error"].as_str().is_some_and(|error| !error.is_empty()),
            "{method} {path}: {told}"
        );
    }
    let head = format!("POST /kv HTTP/1.1\r\nHost: {store}\r\nConnection: close\r\n");
    let json = "Content-Type: application/json\r\n";
    for (rest, status) in [
        (format!("{json}Content-Length: 4\r\n\r\n{{bad"), 400),
        ("Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}".to_owned(), 415),
        (format!("{json}Content-Length: 9000000\r\n\r\n"), 413),
    ] {
        let (answered, told) = send(store, &format!("{head}{rest}")).unwrap();
        assert!(answered == status && told["error"].is_string(), "{answered} {told}");
    }
    for path in ["/admin/checkpoint", "/admin/wal"] {
        let method = if path.ends_with("wal") { "GET" } else { "POST" };
        let (answered, told) = ask(lab.without_log, method, path, None).unwrap();
        assert!((answered == 409) == (method == "POST"), "{answered} {told}");
    }
    assert_eq!(get(store, "/kv")["count"], 0);
    assert_eq!(get(store, "/health")["healthy"], true);
    lab.stop();
}

#[test]
fn a_transaction_is_done_whole_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let store = lab.with_log;
    let set = |key: &str, value: u32| json!({ "op": "set", "key": key, "value": value });
    let done = post(
        store,
        "/txn",
        &json!({ "operations": [set("a", 1), set("b", 2), { "op": "delete", "key": "a" }, { "op": "get", "key": "b" }] }),
    );
    assert_eq!(done["results"][3], json!({ "key": "b", "found": true, "value": 2 }));
    let refused = json!({ "operations": [set("b", 3), set("", 4)] });
    assert_eq!(ask(store, "POST", "/kv/batch", Some(&refused)).unwrap().0, 400);
    assert_eq!(get(store, "/kv")["items"], json!([{ "key": "b", "value": 2 }]));
    assert_eq!(get(store, "/admin/wal")["count"], 3, "what was undone is no entry");
    lab.crash(store);
    assert_eq!(get(store, "/kv")["items"], json!([{ "key": "b", "value": 2 }]));
    for number in 0..25 {
        post(store, "/kv", &json!({ "key": format!("é/{number:02}"), "value": number }));
    }
    let part = get(store, "/kv?from=c&limit=10");
    assert_eq!(
        (part["items"].as_array().unwrap().len(), &part["count"], &part["next"]),
        (10, &json!(26), &json!("é/10"))
    );
    assert_eq!(get(store, "/kv/%C3%A9%2F07")["value"], 7);
    lab.stop();
}

#[test]
fn pages_of_others_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let store = lab.with_log;
    let with = |headers: &str| {
        send(
            store,
            &format!(
                "POST /admin/crash HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"
            ),
        )
    };
    for headers in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: {store}\r\nOrigin: http://evil.example\r\n"),
    ] {
        assert_eq!(with(&headers).unwrap().0, 403, "{headers}");
    }
    assert_eq!(get(store, "/health")["healthy"], true);
    lab.stop();
}

#[test]
fn elsewhere_the_admin_calls_need_the_token() {
    let told = Command::cargo_bin("aries")
        .unwrap()
        .args(["lab", "--listen", "0.0.0.0", "--port", "0"])
        .output()
        .unwrap();
    assert_eq!(told.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&told.stderr).contains("--token"));
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &["--listen", "0.0.0.0", "--token", "secret"]);
    let mut store = lab.with_log;
    store.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    assert_eq!(get(store, "/kv")["count"], 0);
    assert_eq!(ask(store, "POST", "/admin/checkpoint", None).unwrap().0, 401);
    let asked = "POST /admin/checkpoint HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer secret\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(send(store, asked).unwrap().0, 200);
    // The page stays on this machine, and finds the stores there.
    assert!(lab.page.ip().is_loopback());
    let url = get(lab.page, "/lab/config")["stores"][0]["url"].clone();
    assert_eq!(url, format!("http://{store}"));
    let head = "Host: lab\r\nConnection: close\r\n";
    for (origin, is_let_in) in [("http://127.0.0.1:8000", true), ("http://evil.example", false)] {
        let asked = format!("OPTIONS /admin/crash HTTP/1.1\r\n{head}Origin: {origin}\r\n\r\n");
        let answer = super::client::raw(store, &asked).unwrap();
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
        assert_eq!(answer.contains("access-control-allow-origin"), is_let_in, "{answer}");
    }
    lab.stop();
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    if port == u16::MAX {
        return; // There is no next one.
    }
    let told = Command::cargo_bin("aries")
        .unwrap()
        .args(["lab", "--port", &port.to_string()])
        .output()
        .unwrap();
    assert_eq!(told.status.code(), Some(1));
    let error = String::from_utf8_lossy(&told.stderr);
    assert!(error.contains(&format!("listening on 127.0.0.1:{port}")), "{error}");
}

#[test]
fn a_store_that_does_not_start_ends_the_lab() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("without-log"), "no directory").unwrap();
    let mut lab = Command::cargo_bin("aries").unwrap();
    let told = lab.args(["lab", "--port", "0", "--dir"]).arg(directory.path()).output().unwrap();
    assert_eq!(told.status.code(), Some(1));
    let error = String::from_utf8_lossy(&told.stderr);
    assert!(error.contains("does not start"), "{error}");
}

/// A store would else hold its port, and its database, for ever.
#[test]
fn stores_stop_when_their_supervisor_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let mut lab = Lab::start(directory.path(), &[]);
    let store = lab.with_log;
    post(store, "/kv", &json!({ "key": "a", "value": 1 }));
    lab.kill_supervisor();
    until("the store stops", || ask(store, "GET", "/health", None).is_none());
    let lab = Lab::start(directory.path(), &[]);
    assert_eq!(get(lab.with_log, "/kv/a")["value"], 1);
    lab.stop();
}

/// The process was killed while it made its database: nothing was in it yet.
#[test]
fn a_store_whose_making_was_interrupted_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("with-log");
    fs::create_dir(&store).unwrap();
    fs::write(store.join("creating"), "aries is making a database here\n").unwrap();
    fs::write(store.join("control"), "").unwrap();
    let lab = Lab::start(directory.path(), &[]);
    post(lab.with_log, "/kv", &json!({ "key": "a", "value": 1 }));
    assert_eq!(get(lab.with_log, "/kv")["count"], 1);
    lab.stop();
}

/// Who sends half a request is answered, or left behind: nobody else waits for it.
#[test]
fn half_a_request_holds_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let store = lab.with_log;
    let half_a_head = "POST /kv HTTP/1.1\r\nHost: lo";
    let mut connection = TcpStream::connect(store).unwrap();
    connection.write_all(half_a_head.as_bytes()).unwrap();
    let half_a_body = format!(
        "POST /kv HTTP/1.1\r\nHost: {store}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: 30\r\n\r\n{{\"key\": "
    );
    let (status, told) = send(store, &half_a_body).unwrap();
    assert_eq!((status, told["error"].is_string()), (408, true), "{told}");
    post(store, "/kv", &json!({ "key": "a", "value": 1 }));
    lab.stop();
    drop(connection);
}

/// Numbers come back as they were put, and any key is a key.
#[test]
fn what_is_put_is_what_is_got() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &["--checkpoint-every", "1000"]);
    let store = lab.with_log;
    let mut random = SmallRng::seed_from_u64(11);
    let finite = std::iter::repeat_with(|| f64::from_bits(random.next_u64()));
    let numbers: Vec<f64> = finite.filter(|number| number.is_finite()).take(2000).collect();
    post(store, "/kv", &json!({ "key": "batch", "value": numbers }));
    let got = get(store, "/kv/batch")["value"].clone();
    let got: Vec<f64> = got.as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
    assert!(numbers.iter().zip(&got).all(|(put, got)| put == got));
    assert_eq!(ask(store, "DELETE", "/kv/batch", None).unwrap().0, 200);
    assert_eq!(ask(store, "GET", "/kv/batch", None).unwrap().0, 404);
    lab.stop();
}

/// A few bytes of request do not make gigabytes of answer.
#[test]
fn an_answer_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let store = lab.with_log;
    for number in 0..5 {
        let value = "v".repeat(1_000_000);
        post(store, "/kv", &json!({ "key": format!("{number}"), "value": value }));
    }
    let part = get(store, "/kv");
    assert_eq!((part["items"].as_array().unwrap().len(), &part["next"]), (4, &json!("4")));
    let gets = vec![json!({ "op": "get", "key": "0" }); 5];
    let (status, told) = ask(store, "POST", "/txn", Some(&json!({ "operations": gets }))).unwrap();
    assert!(status == 400 && told["error"].as_str().unwrap().contains("bytes at most"), "{told}");
    lab.stop();
}

/// The log is read part by part, from its beginning to its end.
#[test]
fn the_log_is_read_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let store = lab.with_log;
    for number in 0..5 {
        post(store, "/kv", &json!({ "key": "a", "value": number }));
    }
    let whole = get(store, "/admin/log?limit=10000");
    let whole = whole["records"].as_array().unwrap();
    let (mut read, mut next) = (Vec::new(), whole[0]["lsn"].as_u64());
    while let Some(from) = next {
        let part = get(store, &format!("/admin/log?from={from}&limit=7"));
        read.extend(part["records"].as_array().unwrap().clone());
        next = part["next"].as_u64();
    }
    assert!(read.len() > 14 && read == *whole, "{} of {}", read.len(), whole.len());
    lab.stop();
}

/// Once its pages are written, a restart brings nothing back, however far the log reaches.
#[test]
fn nothing_is_brought_back_twice() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &[]);
    let store = lab.with_log;
    for number in 0..50 {
        post(store, "/kv", &json!({ "key": format!("{number}"), "value": number }));
    }
    assert!(lab.crash(store).contains("recovered 50 entries"));
    until("nothing is left to be redone", || {
        let told = lab.crash(store);
        let redone = told.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        assert_eq!(told.contains("recovered 0 entries"), redone == "0", "{told}");
        redone == "0"
    });
    let stats = get(store, "/admin/stats");
    assert_eq!(
        (&stats["entries_since_checkpoint"], &get(store, "/admin/wal")["count"]),
        (&json!(0), &json!(0))
    );
    lab.stop();
}

/// However puts and checkpoints meet, what is counted is what the log tells.
#[test]
fn entries_are_counted_as_the_log_has_them() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &["--checkpoint-every", "37"]);
    let store = lab.with_log;
    for _ in 0..5 {
        std::thread::scope(|scope| {
            for client in 0..8 {
                scope.spawn(move || {
                    for number in 0..25 {
                        post(
                            store,
                            "/kv",
                            &json!({ "key": format!("{}", number % 3), "value": [client, number] }),
                        );
                        if number % 10 == client {
                            post(store, "/admin/checkpoint", &json!({}));
                        }
                    }
                });
            }
        });
        let counted = get(store, "/admin/stats")["entries_since_checkpoint"].clone();
        assert_eq!(counted, get(store, "/admin/wal")["count"]);
    }
    lab.stop();
}
