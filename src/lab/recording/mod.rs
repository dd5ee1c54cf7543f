//! A script that was run, event by event, with the state after each: what the lab's page steps through.
//!
//! Nothing is made up here: the script runs on the engine, on a simulated disk, and each step is an [`Event`] that the engine told.
//! The state after an event follows from the events so far and from the records that they name ([`State`]); a test compares it, behind every
//! statement of every golden script, with the tables that the engine itself has.
//!
//! ```text
//!   script ── Session ──> events ──> steps: { event, state }        records, as the log has them
//! ```

mod state;

use serde_json::{Value, json};

pub use state::State;

use super::told::{hex, record_json};
use crate::event::Event;
use crate::ids::Lsn;
use crate::record::{LogRecord, padded};
use crate::script::{self, Block, Script, Session, Statement};

/// A script is run so far, in events: nobody steps through more.
const MOST_EVENTS: usize = 5_000;

/// One step: something happened, and this is how things stand then.
struct Step {
    event: Value,
    state: Value,
}

/// A run, as it is being recorded.
#[derive(Default)]
pub struct Recording {
    statements: Vec<Value>,
    steps: Vec<Step>,
    records: Vec<(Lsn, Value)>,
    /// Where power could fail: behind each statement that did something.
    crash_points: Vec<Value>,
    state: State,
}

/// Where power is to fail.
#[derive(Clone, Debug)]
pub struct CrashAt {
    /// Behind the statement to which this event belongs.
    pub event: usize,
    /// What the disk keeps of what was not synced, in the words of the statement `crash`.
    pub keep: String,
}

impl Recording {
    /// Runs the script, as far as it goes, and gives all of it as JSON: `docs/lab.md` tells its shape. With a crash the script ends
    /// behind the statement to which that event belongs; then power fails, and the database restarts.
    #[must_use]
    pub fn of(text: &str, crash: Option<&CrashAt>) -> Value {
        let mut recording = Self::default();
        let error = match script::text(1, text.as_bytes()).and_then(Script::parse) {
            Ok(script) => recording.run(&script.blocks, crash).err(),
            Err(error) => Some(error.to_string()),
        };
        let steps = recording.steps.iter();
        let (events, states): (Vec<_>, Vec<_>) =
            steps.map(|step| (&step.event, &step.state)).unzip();
        let records: Vec<&Value> = recording.records.iter().map(|(_, record)| record).collect();
        json!({
            "version": 1,
            "script": text,
            "error": error,
            "statements": recording.statements,
            "events": events,
            "states": states,
            "records": records,
            "crash_points": recording.crash_points,
        })
    }

    fn run(&mut self, blocks: &[Block], crash: Option<&CrashAt>) -> Result<(), String> {
        let mut session = Session::simulated();
        for statement in blocks.iter().flat_map(|block| &block.statements) {
            let output = session.perform(statement);
            self.statement(&session, statement, &output);
            output?;
            if let Some(crash) = crash.filter(|crash| self.steps.len() > crash.event) {
                return self.crash(&mut session, statement.line, crash);
            }
            if self.steps.len() > MOST_EVENTS {
                return Err(format!("more than {MOST_EVENTS} events: the rest is not run"));
            }
        }
        Ok(())
    }

    fn crash(&mut self, session: &mut Session, line: usize, crash: &CrashAt) -> Result<(), String> {
        for text in [format!("crash {}", crash.keep), "restart explain".to_owned()] {
            let statement =
                Statement::parse_line(line, &text).map_err(|error| error.to_string())?;
            let Some(statement) = statement else { continue };
            let output = session.perform(&statement);
            self.statement(session, &statement, &output);
            output?;
        }
        Ok(())
    }

    /// Takes in what a statement did.
    fn statement(
        &mut self,
        session: &Session,
        statement: &Statement,
        output: &Result<String, String>,
    ) {
        let (first, mut phase) = (self.steps.len(), None);
        let events = session.events();
        self.note_log(session, &events);
        let is_restart = is_restart(&events);
        for event in &events {
            phase = event.phase().max(phase);
            let record = self.read(session, event);
            self.state.take_in(event, record.as_ref());
            self.step(event.to_json(phase.filter(|_| is_restart)));
        }
        if !session.is_open() && !self.state.is_down() && is_crash(statement) {
            self.state.go_down();
            let words = "the database is down: what was in memory only is gone";
            self.step(json!({ "event": "down", "phase": null, "section": null, "words": words, "why": null }));
        }
        if session.is_open() && self.steps.len() > first {
            let words = format!("behind line {}: {}", statement.line, statement.text.trim());
            self.crash_points.push(json!({ "event": self.steps.len() - 1, "words": words }));
        }
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        self.statements.push(json!({
            "line": statement.line,
            "text": statement.text,
            "output": lines(output.as_ref().unwrap_or_else(|error| error)),
            "failed": output.is_err(),
            "first_event": first,
            "events": self.steps.len() - first,
        }));
    }

    fn step(&mut self, event: Value) {
        self.steps.push(Step { event, state: self.state.to_json() });
    }

    /// Notes what a restart found in the log and nobody had appended here: records that the script wrote by hand.
    fn note_log(&mut self, session: &Session, events: &[Event]) {
        let from = events.iter().find_map(|event| match event {
            Event::AnalysisBegan { from } => Some(*from),
            _ => None,
        });
        let (Some(mut lsn), Some(db)) = (from, session.database()) else { return };
        while let Ok(read) = db.read_log(lsn) {
            self.note(lsn, read.bytes(), &read.record());
            let Some(next) = lsn.checked_add(padded(read.bytes().len()) as u64) else { return };
            lsn = next;
        }
    }

    /// Notes a record, in place of those that stood there before a crash and were lost.
    fn note(&mut self, lsn: Lsn, bytes: &[u8], record: &LogRecord<'_>) {
        let end = lsn.get() + bytes.len() as u64;
        let from = self.records.partition_point(|(known, _)| *known < lsn);
        let to = self.records.partition_point(|(known, _)| known.get() < end);
        let mut told = record_json(lsn, padded(bytes.len()), record);
        told["hex"] = hex(bytes).into();
        self.records.splice(from..to, [(lsn, told)]);
    }

    /// Notes the record that was appended, if one was; gives it.
    fn read(&mut self, session: &Session, event: &Event) -> Option<state::Appended> {
        let Event::Appended { lsn, .. } = event else { return None };
        let read = session.database()?.read_log(*lsn).ok()?;
        let (bytes, record) = (read.bytes(), read.record());
        self.note(*lsn, bytes, &record);
        Some(state::Appended::of(*lsn, bytes.len(), &record))
    }
}

fn is_restart(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::AnalysisBegan { .. }))
}

fn is_crash(statement: &Statement) -> bool {
    matches!(
        statement.command,
        script::Command::Crash(_) | script::Command::Kill | script::Command::Close
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::ids::{PageId, TxnId};
    use crate::tables::TransactionEntry;

    /// What the engine has must be what follows from the events.
    fn compare(session: &Session, recording: &Recording, statement: &Statement) {
        // An engine that has stopped in the middle of something told nothing of it.
        let Some(db) = session.database().filter(|db| db.is_healthy()) else { return };
        let dirty: BTreeMap<PageId, Lsn> = db.dirty_page_table().iter().collect();
        assert_eq!(recording.state.dirty_pages, dirty, "{}: {}", statement.line, statement.text);
        let logged = |(_, entry): &(TxnId, TransactionEntry)| entry.last_lsn.is_some();
        let table = db.transaction_table();
        let table = table.iter().map(|(txn, entry)| (txn, *entry)).filter(logged);
        let (all, known) = (table.collect::<BTreeMap<_, _>>(), &recording.state.transactions);
        let tail = |entry: &TransactionEntry| (entry.state, entry.last_lsn, entry.undo_next_lsn);
        let tails = |entries: &BTreeMap<TxnId, TransactionEntry>| {
            entries.iter().map(|(txn, entry)| (*txn, tail(entry))).collect::<Vec<_>>()
        };
        assert_eq!(tails(known), tails(&all), "{}: {}", statement.line, statement.text);
    }

    #[test]
    fn the_states_are_those_of_the_engine() {
        let mut compared = 0;
        for file in fs::read_dir("tests/scripts").unwrap() {
            let path = file.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let script = Script::parse(&text).unwrap();
            let (mut session, mut recording) = (Session::simulated(), Recording::default());
            for statement in script.blocks.iter().flat_map(|block| &block.statements) {
                let output = session.perform(statement);
                recording.statement(&session, statement, &output);
                println!("{} {}", path.display(), statement.text);
                compare(&session, &recording, statement);
                compared += 1;
            }
        }
        assert!(compared > 300, "{compared} statements");
    }

    #[test]
    fn a_recording_tells_all_steps() {
        let told = Recording::of(
            "fill pages=2 records=1\nT1: begin\nT1: update P1\nforce\ncrash\nrestart\n",
            None,
        );
        assert_eq!(told["error"], Value::Null);
        let count = |name: &str| told[name].as_array().unwrap().len();
        assert_eq!(count("events"), count("states"));
        let steps: u64 = told["statements"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["events"].as_u64().unwrap())
            .sum();
        assert_eq!(steps, count("events") as u64);
        let events = told["events"].as_array().unwrap();
        let undone = events.iter().find(|event| event["event"] == "undone").unwrap();
        assert_eq!((&undone["phase"], &undone["section"]), (&json!("undo"), &json!("6.3")));
        let records = told["records"].as_array().unwrap();
        assert!(
            records.iter().any(
                |record| record["lsn"] == undone["clr_lsn"] && record["kind"] == "Compensation"
            )
        );
        assert!(records.is_sorted_by_key(|record| record["lsn"].as_u64()));
    }

    #[test]
    fn what_cannot_be_run_says_so() {
        assert!(Recording::of("nonsense here", None)["error"].as_str().unwrap().contains("line 1"));
        let told = Recording::of("fill pages=1 records=1\nT1: begin\nT1: update P99\n", None);
        assert!(told["error"].is_string());
        assert_eq!(told["statements"].as_array().unwrap().len(), 3);
    }
}
