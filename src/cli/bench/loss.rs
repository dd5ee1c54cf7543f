//! `aries bench loss`, and the process that it kills.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::super::output::{lines, print, table};
use super::super::progress::Progress;
use super::super::{DONE, SOMETHING_WRONG};
use super::{IN_MEMORY, ratio};
use crate::bench::loss::{Experiment, Flush, Log, Report, Run, Work};
use crate::demo::{grouped, wrapped};

const EXAMPLES: &str = "\
Examples:
  aries bench loss                  four processes killed in mid-flight
  aries bench loss --puts 50000     later
  aries bench loss --million        a million puts each, timed: minutes
  aries bench loss --million --puts 20000
                                    not as many
  aries bench loss --json | jq '.runs[] | {log, flushed, lost}'

It works in a new directory, and removes it. Exit code 0 if exactly that is there which must be, 1 \
if anything is missing that was durable, or there that was never put, 2 for wrong usage.
";

const SHAPE: &str = "\
The JSON object (nil is null):
  version      of this shape: 1
  ok           whether everything was as it must be
  in_memory    whether the directory was in memory
  million      whether the puts were timed, and the kill came after the last
  puts         as asked for
  runs         one object for each process that was killed:
    log          commit (on: each commit waits until it is durable), buffered (handed to the
                 operating system), off
    flush_after, flush_every
                 when it called Db::flush; null for never
    acknowledged puts that it had told of
    flushed      of them, those before the last flush
    found        puts that were there afterwards
    prefix       the first so many of them are there without a gap
    lost         acknowledged, and not there
    redone       changes that restart applied again
    seconds      that all puts took; null if it was killed in mid-flight
    ratio        of that to what they took without a log and without a flush; or null
    faults       what is not as it must be, in words";

/// Progress is told so many times for each process.
const STEPS: u64 = 10;

/// Kills processes that put keys, and counts what is left: with a log and without, flushed by hand and not.
///
/// A child process puts keys, a transaction each, and says on a pipe which are committed. It is killed with SIGKILL; then
/// the database is opened, and what is there is compared with what it said. Without a log all is lost that was
/// not flushed, and exactly that. With the log nothing is.
#[derive(Args)]
#[command(after_long_help = format!("{EXAMPLES}\n{SHAPE}"), after_help = EXAMPLES)]
pub struct Arguments {
    /// Puts before the kill [default: 1000, or a million]
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=1_000_000_000))]
    puts: Option<u64>,
    /// Times a million puts: without a log, flushed now and then, with the log; the kill comes after the last
    #[arg(long)]
    million: bool,
    /// Where a directory for the work is made, and removed in the end [default: the current directory]
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// Print one JSON object; --help says what it holds
    #[arg(long)]
    json: bool,
}

/// What the process is told that is killed.
#[derive(Args)]
pub struct Putter {
    /// The directory of the database.
    directory: PathBuf,
    #[arg(long, value_parser = log)]
    log: Log,
    #[arg(long)]
    flush_after: Option<u64>,
    #[arg(long, conflicts_with = "flush_after")]
    flush_every: Option<u64>,
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    tell_every: u64,
    #[arg(long)]
    last: Option<u64>,
}

fn log(name: &str) -> Result<Log, String> {
    let found = Log::ALL.into_iter().find(|log| log.name() == name);
    found.ok_or_else(|| format!("it is one of {}", Log::ALL.map(Log::name).join(", ")))
}

/// Puts keys until the process is killed; gives the exit code if nobody listens any more.
///
/// # Errors
/// Those of the engine.
pub fn put(putter: &Putter) -> anyhow::Result<u8> {
    let flush = match (putter.flush_after, putter.flush_every) {
        (Some(puts), _) => Flush::After(puts),
        (None, Some(puts)) => Flush::Every(puts),
        (None, None) => Flush::Never,
    };
    let Putter { log, tell_every, last, .. } = *putter;
    let work = Work { log, flush, tell_every, last };
    crate::bench::loss::serve(&putter.directory, &work)?;
    Ok(DONE)
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// What keeps the experiment from being done.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let experiment = match arguments.million {
        true => Experiment::Timed { puts: arguments.puts.unwrap_or(1_000_000) },
        false => Experiment::InFlight { puts: arguments.puts.unwrap_or(1000) },
    };
    let puts = experiment.puts();
    let progress = Progress::begin(STEPS * experiment.works().len() as u64);
    let mut told = 0;
    let report = crate::bench::loss::run(
        arguments.dir.as_deref(),
        experiment,
        &std::env::current_exe()?,
        &mut |work, put| {
            if put <= work.tell_every {
                told = 0; // Another process.
            }
            while told < STEPS.min(put.saturating_mul(STEPS) / puts) {
                told += 1;
                let (what, flush) = (log_in_words(work.log), flush_in_words(work.flush));
                progress.step(format!("log {what}, flushed {flush}: {} put", grouped(put)));
            }
        },
    )?;
    drop(progress);
    print(&if arguments.json { format!("{:#}\n", to_json(&report)) } else { text(&report) });
    Ok(if report.is_ok() { DONE } else { SOMETHING_WRONG })
}

fn to_json(report: &Report) -> Value {
    let run = |run: &Run| {
        let (after, every) = match run.work.flush {
            Flush::Never => (None, None),
            Flush::After(puts) => (Some(puts), None),
            Flush::Every(puts) => (None, Some(puts)),
        };
        json!({
            "log": run.work.log.name(),
            "flush_after": after,
            "flush_every": every,
            "acknowledged": run.heard.put,
            "flushed": run.heard.flushed,
            "found": run.left.found,
            "prefix": run.left.prefix,
            "lost": run.lost(),
            "redone": run.left.redone,
            "seconds": run.heard.took.map(|took| took.as_secs_f64()),
            "ratio": report.ratio(run),
            "faults": run.faults,
        })
    };
    json!({
        "version": 1,
        "ok": report.is_ok(),
        "in_memory": report.in_memory,
        "million": matches!(report.experiment, Experiment::Timed { .. }),
        "puts": report.experiment.puts(),
        "runs": report.runs.iter().map(run).collect::<Vec<_>>(),
    })
}

fn log_in_words(log: Log) -> &'static str {
    match log {
        Log::Forced => "forced",
        Log::Buffered => "buffered",
        Log::Off => "off",
    }
}

fn flush_in_words(flush: Flush) -> String {
    match flush {
        Flush::Never => "never".to_owned(),
        Flush::After(puts) => format!("after {}", grouped(puts)),
        Flush::Every(puts) => format!("every {}", grouped(puts)),
    }
}

fn text(report: &Report) -> String {
    let is_timed = matches!(report.experiment, Experiment::Timed { .. });
    let mut text = match is_timed {
        true => timed_table(report),
        false => in_flight_table(report),
    };
    text += "\n";
    for run in &report.runs {
        let (what, flush) = (log_in_words(run.work.log), flush_in_words(run.work.flush));
        for fault in &run.faults {
            text += &wrapped("WRONG: ", &format!("log {what}, flushed {flush}: {fault}"));
        }
    }
    if report.is_ok() {
        text += conclusion(is_timed);
    }
    if report.in_memory {
        text += &format!("\n{IN_MEMORY}\n");
    }
    text
}

/// What every line of the table was checked for.
fn conclusion(is_timed: bool) -> &'static str {
    match is_timed {
        false => {
            "As it must be: without a log exactly the last flush is there, with it all that\n\
             was acknowledged, and perhaps the put that was under way. A kill leaves what\n\
             the operating system has: for failures of the power see `aries demo`.\n"
        }
        true => {
            "As it must be: without a log exactly the last flush is there, with it every put.\n\
             The kill came when the next flush was due. Buffered is as safe from a kill as\n\
             forced is, and not from a failure of the power.\n"
        }
    }
}

fn in_flight_table(report: &Report) -> String {
    let header = ["log", "flushed", "acknowledged", "found", "lost", "there are", "redone"];
    let mut table = table(header);
    for run in &report.runs {
        table.add_row([
            log_in_words(run.work.log).to_owned(),
            flush_in_words(run.work.flush),
            grouped(run.heard.put),
            grouped(run.left.found),
            grouped(run.lost()),
            there_are(run.left.prefix),
            grouped(run.left.redone),
        ]);
    }
    let killed = report.runs.len();
    format!(
        "{killed} processes killed in mid-flight, each after {} acknowledged puts.\n\n{}",
        grouped(report.experiment.puts()),
        lines(&table)
    )
}

/// Which puts are there, as a range from the first on.
fn there_are(prefix: u64) -> String {
    if prefix == 0 { "none".to_owned() } else { format!("1 to {}", grouped(prefix)) }
}

fn timed_table(report: &Report) -> String {
    let mut table = table(["log", "flushed", "seconds", "× plain", "found", "lost"]);
    for run in &report.runs {
        let seconds = run.heard.took.map(|took| format!("{:.2}", took.as_secs_f64()));
        table.add_row([
            log_in_words(run.work.log).to_owned(),
            flush_in_words(run.work.flush),
            seconds.unwrap_or_default(),
            report.ratio(run).map(ratio).unwrap_or_default(),
            grouped(run.left.found),
            grouped(run.lost()),
        ]);
    }
    let puts = grouped(report.experiment.puts());
    format!(
        "{puts} puts, a transaction each, by a process that is killed after the last.\n\n{}",
        lines(&table)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_have_a_name() {
        for known in Log::ALL {
            assert_eq!(log(known.name()), Ok(known));
        }
        assert!(log("tape").is_err());
    }

    #[test]
    fn flushes_are_told_in_words() {
        let flushes = [Flush::Never, Flush::After(500), Flush::Every(1000)];
        assert_eq!(flushes.map(flush_in_words), ["never", "after 500", "every 1,000"]);
        assert_eq!([0, 1000].map(there_are), ["none", "1 to 1,000"]);
    }
}
