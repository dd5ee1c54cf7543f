//! The parent's side of the child: starts it, listens, kills it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Flush, LONGEST_SILENCE, Work};
use crate::bench::Error;
use crate::child::{self, Failure};

/// What a child told before it was gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Heard {
    /// All puts up to this one are acknowledged.
    pub put: u64,
    /// All puts up to this one are flushed.
    pub flushed: u64,
    /// How long all puts took, if it came to the end.
    pub took: Option<Duration>,
}

/// A line of the child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Put(u64),
    Flushed(u64),
    Done(Duration),
}

impl Told {
    fn parse(line: &str) -> Option<Self> {
        let (word, number) = line.strip_suffix('\n')?.split_once(' ')?;
        let number = number.parse().ok()?;
        match word {
            "put" => Some(Self::Put(number)),
            "flushed" => Some(Self::Flushed(number)),
            "done" => Some(Self::Done(Duration::from_micros(number))),
            _ => None,
        }
    }
}

impl Heard {
    fn hear(&mut self, told: Told) {
        match told {
            Told::Put(number) => self.put = number,
            Told::Flushed(number) => self.flushed = number,
            Told::Done(took) => self.took = Some(took),
        }
    }

    /// Whether the child may be killed that was to put so many.
    fn is_enough(&self, work: &Work, puts: u64) -> bool {
        self.put >= puts && (work.last.is_none() || self.took.is_some())
    }
}

impl Work {
    /// The child's command line.
    fn arguments(&self) -> Vec<String> {
        let mut words = vec![format!("--log={}", self.log.name())];
        words.push(format!("--tell-every={}", self.tell_every));
        match self.flush {
            Flush::Never => {}
            Flush::After(puts) => words.push(format!("--flush-after={puts}")),
            Flush::Every(puts) => words.push(format!("--flush-every={puts}")),
        }
        words.extend(self.last.map(|last| format!("--last={last}")));
        words
    }
}

/// Starts a child, kills it when it has told of so many puts, and gives all that it told.
///
/// # Errors
/// [`Error::Child`] if it ends by itself, or says nothing for long; those of starting it.
pub(super) fn run_and_kill(
    program: &Path,
    directory: &Path,
    work: &Work,
    puts: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<Heard, Error> {
    let mut command = Command::new(program);
    command.arg("bench-putter").arg(directory).args(work.arguments()).stdin(Stdio::piped());
    let (mut heard, rest) =
        child::run_and_kill(&mut command, Told::parse, |told| live(told, work, puts, progress))?;
    rest.into_iter().for_each(|told| heard.hear(told));
    Ok(heard)
}

/// Hears what the child says until the time has come to kill it.
fn live(
    told: &child::Told<Told>,
    work: &Work,
    puts: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<Heard, Failure> {
    let mut heard = Heard::default();
    while !heard.is_enough(work, puts) {
        let put = heard.put;
        heard.hear(told.next(LONGEST_SILENCE, || format!("{put} puts"))?);
        if heard.put > put {
            progress(heard.put);
        }
    }
    Ok(heard)
}

#[cfg(test)]
mod tests {
    use super::super::Log;
    use super::*;

    const WORK: Work = Work { log: Log::Off, flush: Flush::Never, tell_every: 1, last: None };

    #[test]
    fn a_line_that_was_cut_off_was_not_told() {
        assert_eq!(Told::parse("put 117\n"), Some(Told::Put(117)));
        assert_eq!(Told::parse("flushed 50\n"), Some(Told::Flushed(50)));
        assert_eq!(Told::parse("done 7\n"), Some(Told::Done(Duration::from_micros(7))));
        for line in ["put 117", "put\n", "put 1 2\n", "put -1\n", "push 1\n", "\n", ""] {
            assert_eq!(Told::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_child_that_has_a_last_put_is_killed_only_after_it_said_how_long_all_took() {
        let mut heard = Heard { put: 9, ..Heard::default() };
        assert!(!heard.is_enough(&WORK, 10));
        heard.hear(Told::Put(10));
        assert!(heard.is_enough(&WORK, 10));
        let timed = Work { last: Some(10), ..WORK };
        assert!(!heard.is_enough(&timed, 10));
        heard.hear(Told::Done(Duration::from_secs(1)));
        assert!(heard.is_enough(&timed, 10));
    }

    #[test]
    fn a_child_that_ends_by_itself_is_reported() {
        for program in ["/bin/false", "/bin/true"] {
            let run = run_and_kill(Path::new(program), Path::new("."), &WORK, 1, &mut |_| {});
            assert!(matches!(run, Err(Error::Child(_))), "{run:?}");
        }
        let none = run_and_kill(Path::new("/no/such"), Path::new("."), &WORK, 1, &mut |_| {});
        assert!(matches!(none, Err(Error::Io { .. })), "{none:?}");
    }
}
