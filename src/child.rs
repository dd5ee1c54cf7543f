//! A child process that is killed: started, heard line by line, and killed, whatever comes in between.
//!
//! ```text
//!   this thread   starts it ── is told what it says, until that is enough ── kills it ── is told the rest
//!   listener      reads the pipe, line by line ──────────────────────────────────────── its end
//! ```
//!
//! Invariants:
//! - the child is dead when [`run_and_kill`] returns, and when what is done meanwhile fails or panics;
//! - what it said before it was killed is told, to the last whole line;
//! - only a kill may end it: a child that ended by itself is a failure.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

const SIGKILL: i32 = 9;

/// What went wrong with a child.
#[derive(Debug)]
pub enum Failure {
    /// A pipe or a process could not be had.
    Io {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// It did not live until it was killed.
    Child(String),
}

impl Failure {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}

/// What the child says.
pub struct Told<T>(Receiver<T>);

impl<T> Told<T> {
    /// Waits for what it says next. How far it is, is told if that fails: "117 puts".
    ///
    /// # Errors
    /// [`Failure::Child`] if it ended by itself, or says nothing for so long.
    pub fn next(&self, patience: Duration, so_far: impl FnOnce() -> String) -> Result<T, Failure> {
        self.0.recv_timeout(patience).map_err(|error| {
            let how = match error {
                RecvTimeoutError::Disconnected => "ended by itself",
                RecvTimeoutError::Timeout => "is stuck",
            };
            Failure::Child(format!("{how} after {}", so_far()))
        })
    }
}

/// Starts a child, kills it when `live` is done, and gives what that gave, and what the child said after that.
/// A line (its end is part of it) that `parse` gives nothing for was not said.
///
/// # Errors
/// Those of `live`; [`Failure::Child`] if it ends by itself; those of starting it.
pub fn run_and_kill<T: Send, R>(
    command: &mut Command,
    parse: impl Fn(&str) -> Option<T> + Send,
    live: impl FnOnce(&Told<T>) -> Result<R, Failure>,
) -> Result<(R, Vec<T>), Failure> {
    let start = format!("start {}", command.get_program().display());
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(Failure::io(start))?;
    let output = child.stdout.take().expect("its output is a pipe");
    let (sender, told) = mpsc::channel();
    let told = Told(told);
    thread::scope(|scope| {
        // Whatever comes of it, the child is dead in the end, and so the listener ends.
        let mut worker = Worker(child);
        scope.spawn(move || listen(output, parse, &sender));
        let lived = live(&told);
        let killed = worker.kill();
        let (lived, ()) = (lived?, killed?);
        Ok((lived, told.0.iter().collect()))
    })
}

/// A child that does not outlive its owner.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may be gone already.
        let _ = self.0.wait();
    }
}

impl Worker {
    /// Kills it; an error if it was not alive any more.
    fn kill(&mut self) -> Result<(), Failure> {
        self.0.kill().map_err(Failure::io("kill the child process"))?;
        let status = self.0.wait().map_err(Failure::io("wait for the child process"))?;
        if status.signal() == Some(SIGKILL) {
            return Ok(());
        }
        Err(Failure::Child(format!("ended by itself ({status})")))
    }
}

/// Reads the pipe to its end. What the kill may have cut off has no end of line.
fn listen<T>(output: ChildStdout, parse: impl Fn(&str) -> Option<T>, sender: &Sender<T>) {
    let mut output = BufReader::new(output);
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        if let Some(told) = parse(&line)
            && sender.send(told).is_err()
        {
            return;
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::panic::{self, AssertUnwindSafe};

    const LONG: Duration = Duration::from_secs(60);

    /// A shell that does this; `live` waits for so many lines.
    fn run(script: &str, lines: usize) -> Result<(Vec<String>, Vec<String>), Failure> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null());
        let whole = |line: &str| line.strip_suffix('\n').map(str::to_owned);
        run_and_kill(&mut command, whole, |told| {
            (0..lines).map(|line| told.next(LONG, || format!("{line} lines"))).collect()
        })
    }

    #[test]
    fn all_that_it_said_is_told_but_no_half_line() {
        let (before, after) = run("echo a; echo b; printf c; exec sleep 1000", 1).unwrap();
        assert_eq!(before, ["a"]);
        assert!(
            after == ["b"] || after.is_empty(),
            "it may be killed before it says more: {after:?}"
        );
        let (before, after) = run("echo a; printf b; exec sleep 1000", 1).unwrap();
        assert_eq!((before, after), (vec!["a".to_owned()], vec![]));
    }

    #[test]
    fn one_that_ends_by_itself_is_a_failure() {
        for (script, lines, words) in [
            ("exit 0", 1, "ended by itself after 0 lines"),
            ("echo a; exit 3", 2, "ended by itself after 1 lines"),
        ] {
            let Err(Failure::Child(told)) = run(script, lines) else { panic!("{script}") };
            assert_eq!(told, words);
        }
        // Also if nobody waits for it to say more.
        let until_it_ends = |told: &Told<()>| {
            while told.next(LONG, String::new).is_ok() {}
            Ok(())
        };
        let mut command = Command::new("/bin/sh");
        let ended = run_and_kill(command.args(["-c", "exit 3"]), |_| Some(()), until_it_ends);
        let Err(Failure::Child(told)) = ended else { panic!("{ended:?}") };
        assert_eq!(told, "ended by itself (exit status: 3)");
    }

    #[test]
    fn one_that_says_nothing_is_stuck() {
        let mut command = Command::new("/bin/sleep");
        let stuck = run_and_kill(
            command.arg("60"),
            |_| Some(()),
            |told| told.next(Duration::from_millis(1), || "no lines".to_owned()),
        );
        let Err(Failure::Child(told)) = stuck else { panic!("{stuck:?}") };
        assert_eq!(told, "is stuck after no lines");
    }

    #[test]
    fn one_that_cannot_be_started_is_told() {
        let mut command = Command::new("/no/such");
        let none = run_and_kill(&mut command, |_| Some(()), |_| Ok(()));
        let Err(Failure::Io { what, .. }) = none else { panic!("{none:?}") };
        assert_eq!(what, "start /no/such");
    }

    #[test]
    fn it_does_not_outlive_a_panic() {
        let directory = tempfile::tempdir().unwrap();
        let lived_on = directory.path().join("lived-on");
        let panicked = panic::catch_unwind(AssertUnwindSafe(|| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "echo a; sleep 10 >/dev/null; touch \"$0\""]).arg(&lived_on);
            run_and_kill(
                &mut command,
                |_| Some(()),
                |told| -> Result<(), Failure> {
                    told.next(LONG, String::new)?;
                    panic!("in the middle");
                },
            )
        }));
        assert!(panicked.is_err());
        assert!(!lived_on.exists(), "it went on to its own end");
    }
}
