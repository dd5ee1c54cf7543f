//! A lab in processes of its own, and as much of HTTP as it takes to talk to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for any machine: who waits so long waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running lab; dropped, it is told to stop.
pub struct Lab {
    program: Child,
    lines: Receiver<String>,
    pub page: SocketAddr,
    pub with_log: SocketAddr,
    pub without_log: SocketAddr,
}

impl Lab {
    pub fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_aries"))
            .args(["lab", "--port", "0", "--dir"])
            .arg(directory)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = channel();
        let output = BufReader::new(program.stdout.take().unwrap());
        thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        let (mut page, mut addresses) = (None, [None, None]);
        while addresses.contains(&None) {
            let line = lines.recv_timeout(PATIENCE).unwrap();
            if line.starts_with("page") {
                page = address_in(&line);
            } else if line.starts_with("store") {
                let without = usize::from(line.contains("without a log"));
                addresses[without] = address_in(&line);
            }
        }
        let [with_log, without_log] = addresses.map(Option::unwrap);
        let page = page.unwrap(); // It comes first.
        Self { program, lines, page, with_log, without_log }
    }

    /// Waits until the supervisor says this; gives the line.
    pub fn wait_for(&self, words: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap();
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Crashes a store, and waits until it is back.
    pub fn crash(&self, store: SocketAddr) -> String {
        assert_eq!(ask(store, "POST", "/admin/crash", None), None, "it cannot answer any more");
        self.wait_for("died (signal: 9");
        self.wait_for(&format!("http://{store}"))
    }

    /// Tells it to stop, as Ctrl-C does.
    pub fn stop(mut self) {
        let interrupt =
            Command::new("kill").args(["-INT", &self.program.id().to_string()]).status();
        assert!(interrupt.unwrap().success());
        assert!(self.program.wait().unwrap().success());
    }

    /// Kills the supervisor: the stores are on their own then.
    pub fn kill_supervisor(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    line.split("http://").nth(1)?.split(' ').next()?.parse().ok()
}

/// One request; gives status and body, or nothing if the connection breaks.
pub fn send(store: SocketAddr, request: &str) -> Option<(u16, Value)> {
    let (status, body) = send_for_text(store, request)?;
    Some((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
}

/// All that is answered, as it comes.
pub fn raw(store: SocketAddr, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(store).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn send_for_text(store: SocketAddr, request: &str) -> Option<(u16, String)> {
    let answer = raw(store, request)?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// What is there, as it is.
pub fn text(store: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {store}\r\nConnection: close\r\n\r\n");
    let (status, text) = send_for_text(store, &request).unwrap();
    assert_eq!(status, 200, "{path}: {text}");
    text
}

pub fn ask(
    store: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Option<(u16, Value)> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {store}\r\nConnection: close\r\n");
    let content =
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    send(store, &(head + &content))
}

pub fn get(store: SocketAddr, path: &str) -> Value {
    let (status, value) = ask(store, "GET", path, None).unwrap();
    assert_eq!(status, 200, "{path}: {value}");
    value
}

pub fn post(store: SocketAddr, path: &str, body: &Value) -> Value {
    let (status, value) = ask(store, "POST", path, Some(body)).unwrap();
    assert_eq!(status, 200, "{path}: {value}");
    value
}

/// Waits until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}: in vain");
        thread::sleep(Duration::from_millis(20));
    }
}
