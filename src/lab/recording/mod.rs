//! A script that was run, event by event, with the state after each: what the lab's page steps through.
//!
//! Nothing is made up here: the script runs on the engine, on a simulated disk, and each step is an [`Event`] that the engine told.
//! The state after an event follows from the events so far and from the records that they name ([`State`]); a test compares it, behind every
//! statement of every golden script, with the tables that the engine itself has.
//!
//! ```text
//!   script ── Session ──> events ──> steps: { event, state }        records, as the log has them
//!                │
//!                └─────> calls to the disk: the places where power can fail, beside those behind a statement
//! ```
//!
//! Power may fail behind a statement, or before any call that the engine makes to its disk (an *I/O*). To fail before a call the script is run
//! twice: once to see the calls, and once up to that call.
//!
//! Invariants:
//! - the number of an I/O is the number of those before it, in the whole run; what is looked up for the recording is none;
//! - the second run makes the same calls as the first up to where power fails, or the recording says that it did not;
//! - of a restart that power cut short, the records that reached no disk are those of the first run: the engine that wrote them is gone.

mod crash;
mod places;
mod state;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub use crash::{CrashAt, CrashPlace};
use places::Places;
pub use state::State;

use super::told::{hex, record_json};
use crate::buffer::{DOUBLE_WRITE_FILE, PAGES_FILE, read_batch};
use crate::event::Event;
use crate::ids::Lsn;
use crate::record::{LogRecord, padded};
use crate::script::{self, Block, Io, Script, Session, Statement};

/// A script is run so far, in events: nobody steps through more.
const MOST_EVENTS: usize = 5_000;
/// And in lines of all states together: there is a state behind each event, with a line for each page.
const MOST_LINES: usize = 300_000;

/// One step: something happened, and this is how things stand then.
struct Step {
    event: Value,
    state: Value,
}

/// A record as it is told, and what the tables learn from it.
type Read = (Value, state::Appended);

/// A run to behind the statement in which power is to fail, without that.
#[derive(Default)]
struct Foreseen {
    /// All its calls to the disk.
    calls: Vec<Io>,
    /// The same, as they are told: by whoever knew all records.
    ios: Vec<Value>,
    /// What that statement appended.
    records: BTreeMap<Lsn, Read>,
}

/// A run, as it is being recorded.
#[derive(Default)]
pub struct Recording {
    statements: Vec<Value>,
    steps: Vec<Step>,
    /// Lines of their states.
    lines: usize,
    records: Vec<(Lsn, Value)>,
    /// Where power could fail: behind each statement that did something.
    crash_points: Vec<Value>,
    /// And before each of these.
    ios: Vec<Value>,
    /// Where power did fail, and what it met.
    crash: Value,
    pending: Value,
    state: State,
    /// How the latest open database is laid out.
    places: Option<Places>,
    /// What the latest statement appended.
    appended: BTreeMap<Lsn, Read>,
    /// What is known of the statement in which power fails, from the run in which it did not.
    foreseen: Foreseen,
}

impl Recording {
    /// Runs the script, as far as it goes, and gives all of it as JSON: `docs/lab.md` tells its shape. With a crash the script ends
    /// there; then power fails, and the database restarts.
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
            "ios": recording.ios,
            "crash": recording.crash,
            "pending": recording.pending,
        })
    }

    fn run(&mut self, blocks: &[Block], crash: Option<&CrashAt>) -> Result<(), String> {
        match crash {
            Some(crash) => self.run_and_crash(blocks, crash),
            None => self.perform_until(&mut session(None), blocks, |_, _| false).map(drop),
        }
    }

    /// Runs statements until it is over behind one of them: gives its line then.
    fn perform_until(
        &mut self,
        session: &mut Session,
        blocks: &[Block],
        is_over: impl Fn(&Self, &Session) -> bool,
    ) -> Result<Option<usize>, String> {
        for statement in blocks.iter().flat_map(|block| &block.statements) {
            let output = session.perform(statement);
            self.statement(session, statement, &output);
            if is_over(self, session) {
                return Ok(Some(statement.line));
            }
            output?;
            if self.is_full() {
                return Err(format!(
                    "more than {MOST_EVENTS} events, or too many for so many pages: the rest is not run"
                ));
            }
        }
        Ok(None)
    }

    /// Takes in what a statement did.
    fn statement(
        &mut self,
        session: &Session,
        statement: &Statement,
        output: &Result<String, String>,
    ) {
        let (first, first_io) = (self.steps.len(), self.ios.len());
        self.take_in_events(session);
        if is_crash(statement) && !session.is_open() {
            self.go_down(session, statement);
        }
        self.list_ios(session);
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
            "first_io": first_io,
            "ios": self.ios.len() - first_io,
        }));
    }

    fn take_in_events(&mut self, session: &Session) {
        let (events, mut phase) = (session.events(), None);
        self.appended.clear();
        self.note_log(session, &events);
        let is_restart = is_restart(&events);
        for event in &events {
            if self.is_full() {
                return;
            }
            phase = event.phase().max(phase);
            let record = self.read(session, event);
            self.state.take_in(event, record.as_ref());
            self.step(event.to_json(phase.filter(|_| is_restart)));
        }
    }

    /// The process is gone. What it leaves is looked up on the disk: of what was written the crash kept what it was told to.
    fn go_down(&mut self, session: &Session, statement: &Statement) {
        let was_down = self.state.is_down();
        self.state.go_down();
        let page_size = self.places(session).page_size;
        let pages = session.file_on_disk(PAGES_FILE).unwrap_or_default();
        let batch = session.file_on_disk(DOUBLE_WRITE_FILE).unwrap_or_default();
        let batch = read_batch(&batch, page_size).map(|(_, images)| images);
        self.state.look_at_disk(&pages, page_size, &batch.unwrap_or_default());
        if !was_down {
            let unsynced = match (&statement.command, session.power_failed()) {
                (script::Command::Crash(_), Some(failed)) => failed.unsynced.as_slice(),
                _ => &[],
            };
            let survived = unsynced.iter().filter(|unsynced| unsynced.survived).count();
            let words = match unsynced.len() {
                0 => "the database is down: what was in memory only is gone".to_owned(),
                all => format!(
                    "the power fails: what was in memory only is gone, and of {all} writes not synced {survived} are on the disk"
                ),
            };
            let event = json!({ "event": "down", "phase": null, "section": null, "words": words, "why": null });
            self.step(event);
        }
    }

    /// How the database is laid out, or will be if there is none yet.
    fn places(&self, session: &Session) -> Places {
        self.places.unwrap_or_else(|| Places::of(session))
    }

    fn is_full(&self) -> bool {
        self.steps.len() > MOST_EVENTS || self.lines > MOST_LINES
    }

    fn step(&mut self, event: Value) {
        self.lines += self.state.lines();
        self.steps.push(Step { event, state: self.state.to_json() });
    }

    /// Lists the latest statement's calls to the disk.
    fn list_ios(&mut self, session: &Session) {
        if session.is_open() {
            self.places = Some(Places::of(session));
        }
        let places = self.places(session);
        for io in session.calls_from(self.ios.len()) {
            let foreseen = self.foreseen.ios.get(self.ios.len()).cloned();
            self.ios.push(foreseen.unwrap_or_else(|| places.io(&io, &self.records)));
        }
    }

    /// Notes what a restart found in the log and nobody had appended here: records that the script wrote by hand.
    fn note_log(&mut self, session: &Session, events: &[Event]) {
        let from = events.iter().find_map(|event| match event {
            Event::AnalysisBegan { from } => Some(*from),
            _ => None,
        });
        let Some(mut lsn) = from else { return };
        while let Some(Ok(read)) = session.look(|db| db.read_log(lsn)) {
            self.note(lsn, told(lsn, read.bytes(), &read.record()));
            let Some(next) = lsn.checked_add(padded(read.bytes().len()) as u64) else { return };
            lsn = next;
        }
    }

    /// Notes a record, in place of those that stood there before a crash and were lost.
    fn note(&mut self, lsn: Lsn, told: Value) {
        let end = lsn.get() + told["bytes"].as_u64().unwrap_or(1);
        let from = self.records.partition_point(|(known, _)| *known < lsn);
        let to = self.records.partition_point(|(known, _)| known.get() < end);
        self.records.splice(from..to, [(lsn, told)]);
    }

    /// Notes the record that was appended, if one was; gives it.
    fn read(&mut self, session: &Session, event: &Event) -> Option<state::Appended> {
        let Event::Appended { lsn, .. } = event else { return None };
        let (told, appended) = match session.look(|db| db.read_log(*lsn)) {
            Some(Ok(read)) => {
                let (bytes, record) = (read.bytes(), read.record());
                (told(*lsn, bytes, &record), state::Appended::of(*lsn, bytes.len(), &record))
            }
            _ if session.call_not_made().is_some() => self.foreseen.records.get(lsn)?.clone(),
            _ => return None,
        };
        self.note(*lsn, told.clone());
        self.appended.insert(*lsn, (told, appended.clone()));
        Some(appended)
    }
}

/// A record with its bytes.
fn told(lsn: Lsn, bytes: &[u8], record: &LogRecord<'_>) -> Value {
    let mut told = record_json(lsn, padded(bytes.len()), record);
    told["hex"] = hex(bytes).into();
    told
}

/// A session to be recorded; power fails before the call with this number.
fn session(power_fails_before: Option<usize>) -> Session {
    let mut session = Session::simulated();
    session.watch_calls(power_fails_before);
    session.stop_after(MOST_EVENTS);
    session
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
