//! `aries restart`.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Map, Value};

use super::output::{JsonList, Output, bold, lines, lsn, print, table};
use super::progress::Waiting;
use super::{Asked, DONE};
use crate::config::RestartMode;
use crate::db::{Options, Outside};
use crate::demo::{counted, milliseconds, restart_json};
use crate::error::Result;
use crate::event::{Event, Observer, Phase};
use crate::ids::Lsn;
use crate::recovery::RestartReport;
use crate::sync::{Arc, Mutex};

const EXAMPLES: &str = "\
Examples:
  aries restart bank --explain --dry-run      what a restart would do, and why; writes nothing
  aries restart bank --explain                the same, and it is done
  aries restart bank                          recovers the database, and closes it
  aries restart bank --dry-run --explain --json | jq '.events[] | select(.event == \"undone\")'

Exit code 0 if the database is recovered (or could be), 1 if it is damaged, 2 for wrong usage.
";

const SHAPE: &str = "\
The JSON object (LSNs are bytes of the log, durations microseconds, nil is null):
  version   of this shape: 1
  dry_run   whether nothing was written
  events    with --explain, in order: { event, phase, section, words, why, and the event's fields },
            phase being opening, analysis, redo or undo, section that of the ARIES paper
  error     why the restart was refused or failed, in words; null if all went well
  report    null if it did not go well, else
            { clean, epoch, tail_rewritten, pages_rewritten, pages_torn, checkpoint_lsn, duration,
              analysis { from, end, records, bytes, dirty_pages, losers, committed, in_doubt, duration },
              redo { from, records, bytes, redone, skipped { page_not_dirty, below_rec_lsn,
                     page_lsn_not_below, page_damaged }, pages_read, pages_repaired, duration },
              undo { restart_lsn, losers, compensations, ended, back_to, duration } }";

/// Recovers a database after a crash, and tells what it does.
///
/// Restart reads the log from the last checkpoint (analysis), repeats history (redo), and takes back what
/// did not commit (undo). With --dry-run the same restart runs over a copy of what it writes, in memory: the
/// directory stays as it is, to the byte.
#[derive(Args)]
#[command(after_long_help = format!("{EXAMPLES}\n{SHAPE}"), after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    asked: Asked,
    /// Tell every decision, with the section of the ARIES paper
    #[arg(long)]
    explain: bool,
    /// Write nothing: restart in memory
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// What keeps the database from being recovered.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    // Before anything is written, not even a lock file where no database is.
    let outside = Outside::open(&arguments.asked.directory)?;
    let teller = arguments.explain.then(|| Arc::new(Teller::begin(arguments)));
    let mut options = Options::new().create_if_missing(false).background(false);
    options = options.restart(RestartMode::Serial);
    options = match &teller {
        Some(teller) => {
            let teller = Arc::clone(teller);
            options.observer(Arc::new(move |event: &Event| teller.tell(event)))
        }
        None => options.observer(Arc::new(HowFar::begin())),
    };
    let restarted = restart(arguments, outside, &options);
    match (teller, &restarted) {
        (Some(teller), _) => teller.end(arguments, &restarted),
        (None, _) if arguments.asked.json => {
            let mut object = head(arguments);
            object.extend(tail(&restarted));
            print(&format!("{:#}\n", Value::Object(object)));
        }
        (None, Ok(report)) => print(&format!("{}{}\n", text(report), conclusion(arguments))),
        (None, Err(_)) => {}
    }
    Ok(restarted.map(|_| DONE)?)
}

fn restart(arguments: &Arguments, outside: Outside, options: &Options) -> Result<RestartReport> {
    if arguments.dry_run {
        return Ok(outside.restart(options)?.restart_report().clone());
    }
    drop(outside); // It holds the lock.
    let db = options.open(&arguments.asked.directory)?;
    let report = db.restart_report().clone();
    db.close()?;
    Ok(report)
}

fn head(arguments: &Arguments) -> Map<String, Value> {
    let head = [("version", 1.into()), ("dry_run", arguments.dry_run.into())];
    head.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

fn tail(restarted: &Result<RestartReport>) -> Map<String, Value> {
    let (report, error) = match restarted {
        Ok(report) => (restart_json(report), Value::Null),
        Err(error) => (Value::Null, error.to_string().into()),
    };
    [("report".to_owned(), report), ("error".to_owned(), error)].into_iter().collect()
}

fn conclusion(arguments: &Arguments) -> &'static str {
    if arguments.dry_run {
        "Nothing was written: the directory is as it was."
    } else {
        "The database is recovered, and closed."
    }
}

/// Where in the log a restart is, for who waits for a long one without hearing every event.
struct HowFar(Mutex<(Waiting, Option<Lsn>)>);

impl HowFar {
    fn begin() -> Self {
        Self(Mutex::new((Waiting::begin(), None)))
    }
}

impl Observer for HowFar {
    fn event(&self, event: &Event) {
        let (waiting, log_end) = &mut *self.0.lock();
        let of = |end: &Option<Lsn>| end.map(|end| format!(" of {end}")).unwrap_or_default();
        match event {
            Event::LogEndFound { end, .. } => *log_end = Some(*end),
            Event::PageDirty { rec_lsn, .. } => waiting.at(|| format!("analysis: at {rec_lsn}")),
            Event::Redone { lsn, .. } | Event::RedoSkipped { lsn, .. } => {
                waiting.at(|| format!("redo: at {lsn}{}", of(log_end)));
            }
            Event::Undone { lsn, .. } => waiting.at(|| format!("undo: back to {lsn}")),
            Event::Opened => *waiting = Waiting::begin(), // The line is taken away.
            _ => {}
        }
    }
}

/// Tells events as they happen, until the database is open.
struct Teller(Mutex<Telling>);

struct Telling {
    output: Output,
    list: Option<JsonList>,
    phase: Option<Phase>,
    /// Reasons that were given: once is enough.
    given: BTreeSet<&'static str>,
    is_open: bool,
}

impl Teller {
    fn begin(arguments: &Arguments) -> Self {
        let mut output = Output::new();
        let head = Value::Object(head(arguments));
        let list = arguments.asked.json.then(|| JsonList::begin(&mut output, &head, "events"));
        let telling = Telling { output, list, phase: None, given: BTreeSet::new(), is_open: false };
        Self(Mutex::new(telling))
    }

    fn tell(&self, event: &Event) {
        let mut telling = self.0.lock();
        if !telling.is_open {
            telling.tell(event);
            telling.is_open = *event == Event::Opened;
        }
    }

    fn end(&self, arguments: &Arguments, restarted: &Result<RestartReport>) {
        let Telling { output, list, .. } = &mut *self.0.lock();
        if let Some(list) = list.take() {
            return list.end(output, &Value::Object(tail(restarted)));
        }
        if restarted.is_ok() {
            output.print(&format!("\n{}\n", conclusion(arguments)));
        }
        output.flush();
    }
}

impl Telling {
    fn tell(&mut self, event: &Event) {
        let phase = event.phase().max(self.phase);
        let entered = phase.filter(|_| phase != self.phase);
        self.phase = phase;
        match &mut self.list {
            Some(list) => drop(list.item(&mut self.output, &event.to_json(phase))),
            None => self.tell_in_words(event, entered),
        }
    }

    fn tell_in_words(&mut self, event: &Event, entered: Option<Phase>) {
        if let Some(phase) = entered {
            let section = phase.paper_section().map(|section| format!(" ({section})"));
            let name = bold(&phase.name().to_uppercase());
            let (section, purpose) = (section.unwrap_or_default(), phase.purpose());
            self.output.print(&format!("\n{name}{section} {purpose}\n"));
        }
        // Which pages are in memory decides nothing; what records are appended for is told by the events
        // that follow.
        match event {
            Event::PageRead { .. } | Event::PageEvicted { .. } => return,
            Event::Appended { kind, .. } if *kind != "Restart" => return,
            detail if detail.is_detail() => return,
            _ => {}
        }
        let of_phase = self.phase.and_then(Phase::paper_section);
        let section = event.paper_section(self.phase).filter(|section| Some(*section) != of_phase);
        let section = section.map(|section| format!(" ({section})")).unwrap_or_default();
        self.output.print(&format!("  {event}{section}\n"));
        if let Some(why) = event.why().filter(|why| self.given.insert(why)) {
            self.output.print(&format!("      {why}\n"));
        }
    }
}

fn text(report: &RestartReport) -> String {
    let RestartReport { analysis, redo, undo, .. } = report;
    let mut table = table(["phase", "log read", "", "time"]);
    let skipped: u64 = redo.skipped.values().sum();
    table.add_row([
        "analysis".to_owned(),
        format!("{} to {}", analysis.from, analysis.end),
        format!(
            "{}, {}, {} in doubt",
            counted(analysis.dirty_pages, "dirty page"),
            counted(analysis.losers.len(), "loser"),
            analysis.in_doubt.len()
        ),
        milliseconds(analysis.duration),
    ]);
    table.add_row([
        "redo".to_owned(),
        redo.from.map_or_else(String::new, |from| format!("{from} to {}", analysis.end)),
        format!("{} applied, {skipped} skipped", counted(redo.redone, "change")),
        milliseconds(redo.duration),
    ]);
    table.add_row([
        "undo".to_owned(),
        undo.back_to.map_or_else(String::new, |to| format!("back to {to}")),
        format!(
            "{} undone, {} ended",
            counted(undo.compensations, "change"),
            counted(undo.ended, "transaction")
        ),
        milliseconds(undo.duration),
    ]);
    let clean = if report.clean { "It had been closed.\n" } else { "" };
    format!("{clean}{}checkpoint at {}\n", lines(&table), lsn(Some(report.checkpoint_lsn)))
}
