//! Power fails in a recorded run, where somebody wants it to.

use serde_json::{Value, json};

use super::{Foreseen, Recording, session};
use crate::script::{Block, Session, Statement};

/// Where power is to fail, and what is left then.
#[derive(Clone, Debug)]
pub struct CrashAt {
    /// Where.
    pub place: CrashPlace,
    /// What the disk keeps of what was not synced, in the words of the statement `crash`.
    pub keep: String,
}

/// Where power is to fail.
#[derive(Clone, Copy, Debug)]
pub enum CrashPlace {
    /// Behind the statement to which the event with this number belongs.
    Event(usize),
    /// Before the call of the engine to its disk that has this number.
    Io(usize),
}

impl Recording {
    /// Runs the script up to where power fails, and lets the database restart.
    pub(super) fn run_and_crash(
        &mut self,
        blocks: &[Block],
        crash: &CrashAt,
    ) -> Result<(), String> {
        let power_fails_before = match crash.place {
            CrashPlace::Event(_) => None,
            CrashPlace::Io(io) => Some(io),
        };
        let mut session = session(power_fails_before);
        let line = match crash.place {
            CrashPlace::Event(event) => {
                self.perform_until(&mut session, blocks, |run, _| run.steps.len() > event)?
            }
            CrashPlace::Io(io) => {
                self.foreseen = Self::foresee(blocks, io)?;
                Some(self.run_to_io(&mut session, blocks, io)?)
            }
        };
        let Some(line) = line else { return Ok(()) };
        self.foreseen = Foreseen::default();
        self.perform(&mut session, line, &format!("crash {}", crash.keep))?;
        self.pending = self.tell_pending(&session);
        self.perform(&mut session, line, "restart explain")
    }

    /// Runs the script, which was foreseen, until power fails before the call with this number; gives the line of the statement.
    fn run_to_io(
        &mut self,
        session: &mut Session,
        blocks: &[Block],
        io: usize,
    ) -> Result<usize, String> {
        let has_failed = |_: &Self, session: &Session| session.call_not_made().is_some();
        let line = self.perform_until(session, blocks, has_failed)?;
        let mut calls = session.calls_from(0);
        calls.extend(session.call_not_made());
        match line.filter(|_| self.foreseen.calls.starts_with(&calls)) {
            Some(line) => {
                self.crash = json!({ "io": io, "words": self.foreseen.ios[io]["words"] });
                Ok(line)
            }
            None => Err(format!(
                "run again, the script does not make the same calls to the disk: power cannot fail before call {io}"
            )),
        }
    }

    /// Runs the script, with no failure of power, to behind the statement that makes this call.
    fn foresee(blocks: &[Block], io: usize) -> Result<Foreseen, String> {
        let (mut session, mut run) = (session(None), Self::default());
        let ran = run.perform_until(&mut session, blocks, |run, _| run.ios.len() > io);
        let calls = session.calls_from(0);
        if calls.len() <= io {
            ran?;
            let count = calls.len();
            return Err(format!("there is no call {io} to the disk: the script makes {count}"));
        }
        Ok(Foreseen { calls, ios: run.ios, records: run.appended })
    }

    /// A statement that is not in the script.
    fn perform(&mut self, session: &mut Session, line: usize, text: &str) -> Result<(), String> {
        let statement = Statement::parse_line(line, text).map_err(|error| error.to_string())?;
        let Some(statement) = statement else { return Ok(()) };
        let output = session.perform(&statement);
        self.statement(session, &statement, &output);
        output.map(drop)
    }

    /// What power met that was not synced, in the order of time.
    fn tell_pending(&self, session: &Session) -> Value {
        let Some(failed) = session.power_failed() else { return Value::Null };
        let (places, unsynced) = (self.places(session), failed.unsynced.iter());
        unsynced.map(|unsynced| places.unsynced(unsynced, &failed.batch, &self.records)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::script::Script;

    #[test]
    fn another_run_than_the_foreseen_one_is_refused() {
        let script =
            Script::parse("fill pages=1 records=1\nT1: begin\nT1: update P1\nforce\n").unwrap();
        let run = |swapped: bool| {
            let mut foreseen = Recording::foresee(&script.blocks, 40).unwrap();
            if swapped {
                foreseen.calls.swap(3, 4);
            }
            let mut recording = Recording { foreseen, ..Recording::default() };
            recording.run_to_io(&mut session(Some(40)), &script.blocks, 40)
        };
        assert_eq!(run(false), Ok(1));
        assert!(run(true).unwrap_err().contains("does not make the same calls"));
    }
}
