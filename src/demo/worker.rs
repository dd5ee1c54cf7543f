//! The parent's side of the child: starts it, listens, kills it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{DiskKind, Error};
use crate::child::{self, Failure, Told};

/// A child that does not acknowledge enough in this time is stuck.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

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
    let mut command = Command::new(program);
    command
        .arg("demo-clients")
        .args([directory.as_os_str(), disk.name().as_ref()])
        .stdin(Stdio::null());
    let (mut acknowledged, rest) =
        child::run_and_kill(&mut command, Acknowledgement::parse, |told| live(told, life))?;
    acknowledged.extend(rest);
    Ok(acknowledged)
}

/// Hears what the child says until the time has come to kill it.
fn live(told: &Told<Acknowledgement>, life: Life) -> Result<Vec<Acknowledgement>, Failure> {
    let deadline = Instant::now() + LONGEST_WAIT;
    let mut acknowledged = Vec::new();
    while acknowledged.len() < life.least_acknowledged {
        let patience = deadline.saturating_duration_since(Instant::now());
        let so_far = || format!("{} transfers", acknowledged.len());
        let next = told.next(patience, so_far)?;
        acknowledged.push(next);
    }
    thread::sleep(life.pause);
    Ok(acknowledged)
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
