//! The parent's side of the child: starts it, listens, kills it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::{DiskKind, Error};

/// A child that does not acknowledge enough in this time is stuck.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const SIGKILL: i32 = 9;

/// What a child says of a transfer that is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acknowledgement {
    /// Whose.
    pub client: usize,
    /// The client's how-manyeth.
    pub sequence: u64,
    /// How often it was the victim of a deadlock on the way.
    pub deadlocks: u64,
}

impl Acknowledgement {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_suffix('\n')?.split(' ');
        let client = words.next()?.parse().ok()?;
        let sequence = words.next()?.parse().ok()?;
        let deadlocks = words.next()?.parse().ok()?;
        words.next().is_none().then_some(Self { client, sequence, deadlocks })
    }
}

/// How long a child lives.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Until it acknowledged this many transfers…
    pub least_acknowledged: usize,
    /// … and this long after that.
    pub pause: Duration,
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
    fn kill(&mut self) -> Result<(), Error> {
        self.0.kill().map_err(Error::io("kill the child process"))?;
        let status = self.0.wait().map_err(Error::io("wait for the child process"))?;
        if status.signal() == Some(SIGKILL) {
            return Ok(());
        }
        Err(Error::Child(format!("ended by itself ({status})")))
    }
}

/// Starts a child, kills it after its time, and gives all that it acknowledged.
///
/// # Errors
/// [`Error::Child`] if it ends by itself, or acknowledges nothing; those of starting it.
pub fn run_and_kill(
    program: &Path,
    directory: &Path,
    disk: DiskKind,
    life: Life,
) -> Result<Vec<Acknowledgement>, Error> {
    let mut child = Command::new(program)
        .arg("demo-clients")
        .args([directory.as_os_str(), disk.name().as_ref()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::io(format!("start {}", program.display())))?;
    let output = child.stdout.take().expect("its output is a pipe");
    let mut worker = Worker(child);
    let (sender, heard) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || listen(output, &sender));
        // Whatever comes of it, the child is dead then, and the listener ends.
        let lived = live(&heard, life);
        let killed = worker.kill();
        let (mut acknowledged, ()) = (lived?, killed?);
        acknowledged.extend(heard.iter());
        Ok(acknowledged)
    })
}

/// Hears what the child says until the time has come to kill it.
fn live(heard: &Receiver<Acknowledgement>, life: Life) -> Result<Vec<Acknowledgement>, Error> {
    let deadline = Instant::now() + LONGEST_WAIT;
    let mut acknowledged = Vec::new();
    while acknowledged.len() < life.least_acknowledged {
        match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(acknowledgement) => acknowledged.push(acknowledgement),
            Err(RecvTimeoutError::Disconnected) => {
                let count = acknowledged.len();
                return Err(Error::Child(format!("ended by itself after {count} transfers")));
            }
            Err(RecvTimeoutError::Timeout) => {
                let count = acknowledged.len();
                return Err(Error::Child(format!("is stuck after {count} transfers")));
            }
        }
    }
    thread::sleep(life.pause);
    Ok(acknowledged)
}

/// Reads the pipe to its end. What the kill may have cut off has no end of line, and is no
/// acknowledgement.
fn listen(output: ChildStdout, sender: &Sender<Acknowledgement>) {
    let mut output = BufReader::new(output);
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        if let Some(acknowledgement) = Acknowledgement::parse(&line)
            && sender.send(acknowledgement).is_err()
        {
            return;
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_is_no_acknowledgement() {
        let whole = Acknowledgement { client: 3, sequence: 117, deadlocks: 2 };
        assert_eq!(Acknowledgement::parse("3 117 2\n"), Some(whole));
        for line in ["3 117 2", "3 117\n", "3\n", "\n", "", "3 117 2 1\n", "-1 2 3\n"] {
            assert_eq!(Acknowledgement::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_child_that_ends_by_itself_is_reported() {
        let life = Life { least_acknowledged: 1, pause: Duration::ZERO };
        let run = run_and_kill(Path::new("/bin/false"), Path::new("."), DiskKind::Files, life);
        assert!(matches!(run, Err(Error::Child(_))), "{run:?}");
    }
}
