//! Spans as a collector receives them: OTLP over HTTP, as much of protobuf as it takes to read them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use super::client::{Lab, post, until};

#[derive(Clone, PartialEq, Eq, Debug)]
struct Span {
    service: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
}

/// The fields of a message that have a length, by number.
fn fields(mut bytes: &[u8]) -> BTreeMap<u64, Vec<Vec<u8>>> {
    let mut found = BTreeMap::<u64, Vec<Vec<u8>>>::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes);
        let skipped = match tag & 7 {
            0 => {
                number(&mut bytes);
                continue;
            }
            1 => 8,
            5 => 4,
            2 => usize::try_from(number(&mut bytes)).unwrap(),
            other => panic!("wire type {other}"),
        };
        let (value, rest) = bytes.split_at(skipped);
        found.entry(tag >> 3).or_default().push(value.to_vec());
        bytes = rest;
    }
    found
}

fn number(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

fn first(fields: &BTreeMap<u64, Vec<Vec<u8>>>, number: u64) -> Vec<u8> {
    fields.get(&number).map_or_else(Vec::new, |values| values[0].clone())
}

fn string(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// `ExportTraceServiceRequest` → `ResourceSpans` → `ScopeSpans` → `Span`.
fn spans(body: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in fields(body).remove(&1).unwrap_or_default() {
        let resource = fields(&resource);
        let attributes = fields(&first(&resource, 1)).remove(&1).unwrap_or_default();
        let pairs = attributes.iter().map(|pair| fields(pair));
        let mut named = pairs.filter(|pair| first(pair, 1) == b"service.name");
        let service = string(first(&fields(&first(&named.next().unwrap(), 2)), 1));
        for scope in &resource[&2] {
            for span in fields(scope).remove(&2).unwrap_or_default() {
                let span = fields(&span);
                spans.push(Span {
                    service: service.clone(),
                    trace: first(&span, 1),
                    id: first(&span, 2),
                    parent: first(&span, 4),
                    name: string(first(&span, 5)),
                });
            }
        }
    }
    spans
}

/// Takes what is sent to it.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

impl Collector {
    fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Self::default();
        let own = collector.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let own = own.clone();
                thread::spawn(move || own.take_from(stream.unwrap()));
            }
        });
        (collector, address)
    }

    fn take_from(&self, stream: TcpStream) -> Option<()> {
        let mut answers = stream.try_clone().unwrap();
        let mut stream = BufReader::new(stream);
        loop {
            let (mut head, mut length) = (Vec::new(), 0);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
                let line = line.trim_end().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse().unwrap();
                }
                head.push(line);
            }
            assert_eq!(head[0], "post /v1/traces http/1.1");
            assert!(head.contains(&"content-type: application/x-protobuf".to_owned()), "{head:?}");
            let mut body = vec![0; length];
            stream.read_exact(&mut body).ok()?;
            self.0.lock().unwrap().extend(spans(&body));
            answers.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
        }
    }

    /// Whether there is a chain of these, each the parent of the next, of one service.
    fn has(&self, service: &str, chain: &[&str]) -> bool {
        let all = self.0.lock().unwrap();
        let begins = all.iter().filter(|span| span.name == chain[0] && span.parent.is_empty());
        let mut ends: Vec<&Span> = begins.filter(|span| span.service == service).collect();
        for name in &chain[1..] {
            let is_next = |next: &&Span| {
                let follows = |span: &&Span| (&span.trace, &span.id) == (&next.trace, &next.parent);
                next.name == *name && ends.iter().any(follows)
            };
            ends = all.iter().filter(is_next).collect();
        }
        !ends.is_empty()
    }
}

#[test]
fn a_collector_sees_what_a_request_made_the_engine_do() {
    let (collector, address) = Collector::start();
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::start(directory.path(), &["--otlp", &format!("http://{address}")]);
    let put = |store, number| post(store, "/kv", &json!({ "key": "a", "value": number }));
    put(lab.with_log, 1);
    put(lab.without_log, 1);
    let see = |service: &str, chain: &[&str]| {
        until(&chain.join(" → "), || collector.has(service, chain))
    };
    see("aries-with-log", &["restart", "analysis"]);
    see("aries-with-log", &["request", "transaction", "log append"]);
    see("aries-with-log", &["request", "transaction", "log force"]);
    see("aries-without-log", &["request", "transaction", "log append"]);
    assert!(!collector.has("aries-without-log", &["request", "transaction", "log force"]));
    assert!(!collector.has("aries-with-log", &["restart", "redo"]), "nothing was to be redone");
    lab.crash(lab.with_log);
    for phase in ["analysis", "redo", "undo"] {
        see("aries-with-log", &["restart", phase]);
    }
    // Another thread may have written the page before the checkpoint does.
    until("a checkpoint writes the page itself", || {
        put(lab.with_log, 3);
        post(lab.with_log, "/admin/checkpoint", &json!({}));
        collector.has("aries-with-log", &["request", "page write"])
    });
    // What was not sent yet is sent when it is told to stop.
    put(lab.without_log, 2);
    post(lab.without_log, "/admin/flush", &json!({}));
    lab.stop();
    assert!(collector.has("aries-without-log", &["request", "page sync"]));
}
