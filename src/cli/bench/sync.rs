//! `aries bench sync`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::super::DONE;
use super::super::output::{bar, lines, print, table};
use super::super::progress::Progress;
use super::{IN_MEMORY, ratio, seconds, time, whole};
use crate::bench::force::{BLOCK_BYTES, Line, ROUNDS, Raw, Report, VALUE_BYTES, Way};
use crate::demo::grouped;

const EXAMPLES: &str = "\
Examples:
  aries bench sync                  this disk, a quarter of a minute
  aries bench sync --dir /mnt/other
                                    another disk
  aries bench sync --seconds 10     longer, for figures that are steadier
  aries bench sync --json | jq '.ways[] | select(.way == \"commit-64\").ratio'

It works in a new directory, and removes it. Exit code 0, or 2 for a directory that cannot be used.
";

const SHAPE: &str = "\
The JSON object (times are microseconds):
  version      of this shape: 1
  in_memory    whether the directory was in memory, where a force does nothing
  load_before  threads that other programs kept busy in the minute before; null if unknown
  seconds      that each way was measured, in all rounds together
  rounds       in each of which every way had a turn
  block_bytes  that a raw write makes durable
  value_bytes  that a transaction puts
  ways         one object for each:
    way        fsync, fdatasync, o_dsync (raw); commit-N (each commit of N clients is waited for),
               deferred-every-N (one in N is), deferred-N (the oldest of N outstanding is),
               interval-Nms, buffered
    raw        whether it is the disk alone, without the engine
    count      writes or transactions in all rounds
    rate       of them in a second: the median of the rounds
    rates      in each round
    ratio      to fdatasync: the median of the ratios within each round
    median, p99, longest
               how long one took: a write with its force, or from the begin of a transaction until it
               may be acknowledged
    at_risk    what a failure of the power can lose of what was committed, in words; null for raw";

/// With a higher load than this the machine is not quiet.
const BUSY: f64 = 0.5;
/// The longest bar.
const BAR_COLUMNS: usize = 36;
/// In front of a bar: the longest name, and blanks.
const NAME_COLUMNS: usize = 31;

/// Measures what a force costs on this disk, and what the engine makes of it.
///
/// First the disk alone: one block written and forced, over and over, in three ways. Then transactions of one put, by what a commit
/// waits for: a force of its own, one that it shares with others, or none. Beside each stands what a failure of the power can lose
/// of what was committed. All of it is done in a few rounds; ratios are those within a round.
#[derive(Args)]
#[command(after_long_help = format!("{EXAMPLES}\n{SHAPE}"), after_help = EXAMPLES)]
pub struct Arguments {
    /// Where a directory for the work is made, and removed in the end [default: the current directory]
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// How long each of the eleven ways is measured, in all
    #[arg(long, default_value = "1", value_parser = seconds)]
    seconds: Duration,
    /// Print one JSON object; --help says what it holds
    #[arg(long)]
    json: bool,
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// What keeps the experiment from being done.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let turns = ROUNDS * Way::all().count();
    let progress = Progress::begin(turns as u64);
    let told = &mut |round: usize, line: &Line| {
        let rate = line.rates.last().copied().unwrap_or_default();
        let name = line.way.name();
        progress.step(format!("round {round} of {ROUNDS}: {name}, {} a second", whole(rate)));
    };
    let report = crate::bench::force::run(arguments.dir.as_deref(), arguments.seconds, told)?;
    drop(progress);
    print(&if arguments.json { format!("{:#}\n", to_json(&report)) } else { text(&report) });
    Ok(DONE)
}

fn to_json(report: &Report) -> Value {
    let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
    let way = |line: &Line| {
        let at_risk = match line.way {
            Way::Raw(_) => None,
            Way::Engine(strategy) => Some(strategy.at_risk()),
        };
        json!({
            "way": line.way.name(),
            "raw": at_risk.is_none(),
            "count": line.times.count(),
            "rate": line.rate(),
            "rates": line.rates,
            "ratio": report.ratio(line),
            "median": micros(line.times.median()),
            "p99": micros(line.times.of_thousand(990)),
            "longest": micros(line.times.longest()),
            "at_risk": at_risk,
        })
    };
    json!({
        "version": 1,
        "in_memory": report.in_memory,
        "load_before": report.load_before,
        "seconds": report.time.as_secs_f64(),
        "rounds": ROUNDS,
        "block_bytes": BLOCK_BYTES,
        "value_bytes": VALUE_BYTES,
        "ways": report.lines.iter().map(way).collect::<Vec<_>>(),
    })
}

fn text(report: &Report) -> String {
    let block = grouped(BLOCK_BYTES as i128);
    let mut text = format!(
        "A force, by the disk alone: {block} bytes written and forced, over and over.\n\n{}\n\
         Transactions of one put of {VALUE_BYTES} bytes, by what a commit waits for.\n\n{}\n\
         How many a second, to a logarithmic scale:\n\n{}",
        raw_table(report),
        engine_table(report),
        bars(report),
    );
    if report.in_memory {
        text += &format!("\n{IN_MEMORY}\n");
    }
    if let Some(load) = report.load_before.filter(|load| *load > BUSY) {
        text += &format!(
            "\nThe machine was busy before (load {load:.1}): who is back from the disk has to wait.\n"
        );
    }
    text
}

fn in_words(way: Way) -> String {
    match way {
        Way::Raw(Raw::Fsync) => "pwrite + fsync".to_owned(),
        Way::Raw(Raw::Fdatasync) => "pwrite + fdatasync".to_owned(),
        Way::Raw(Raw::Dsync) => "O_DSYNC pwrite".to_owned(),
        Way::Engine(strategy) => strategy.in_words(),
    }
}

fn raw_table(report: &Report) -> String {
    let mut table = table(["raw", "a second", "× fdatasync", "median", "99 %", "longest"]);
    for line in report.lines.iter().filter(|line| matches!(line.way, Way::Raw(_))) {
        let times = [line.times.median(), line.times.of_thousand(990), line.times.longest()];
        let figures = [whole(line.rate()), ratio(report.ratio(line))];
        let row = [in_words(line.way)].into_iter().chain(figures).chain(times.map(time));
        table.add_row(row);
    }
    lines(&table)
}

fn engine_table(report: &Report) -> String {
    let mut table = table(["commits", "× raw", "median", "a power failure can lose"]);
    for line in &report.lines {
        if let Way::Engine(strategy) = line.way {
            let figures = [ratio(report.ratio(line)), time(line.times.median())];
            let row = [in_words(line.way)].into_iter().chain(figures).chain([strategy.at_risk()]);
            table.add_row(row);
        }
    }
    lines(&table)
}

/// The rates as bars, in 80 columns. They differ by thousands, so the scale is logarithmic, with a mark at each power of ten.
fn bars(report: &Report) -> String {
    let rates = || report.lines.iter().map(Line::rate);
    let scale = Scale::of(rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max));
    let row = |line: &Line| {
        let (name, rate) = (in_words(line.way), line.rate());
        let bar = scale.bar(rate);
        format!(" {name:<NAME_COLUMNS$}{bar:<BAR_COLUMNS$}{:>11}\n", whole(rate))
    };
    let marks = format!(" {:<NAME_COLUMNS$}{}\n", "", scale.marks());
    report.lines.iter().map(row).chain([marks]).collect()
}

/// Powers of ten, from the one below the smallest rate to the one above the largest.
struct Scale {
    lowest: i32,
    /// Columns of a power of ten.
    columns: usize,
    powers: usize,
}

impl Scale {
    #[allow(clippy::cast_possible_truncation)] // Logarithms are small.
    fn of(least: f64, most: f64) -> Self {
        let lowest = least.max(1.0).log10().floor() as i32;
        let highest = (most.max(1.0).log10().ceil() as i32).max(lowest + 1);
        let powers = usize::try_from(highest - lowest).unwrap_or(1);
        Self { lowest, columns: (BAR_COLUMNS / powers).max(1), powers }
    }

    /// A bar, to an eighth of a column; never nothing.
    fn bar(&self, rate: f64) -> String {
        let most = self.powers * self.columns * 8;
        let wanted = (rate.max(1.0).log10() - f64::from(self.lowest)) * self.columns as f64 * 8.0;
        bar((1..most).find(|eighths| *eighths as f64 + 0.5 > wanted).unwrap_or(most))
    }

    /// The powers of ten, each below the place where a bar ends that is as long.
    fn marks(&self) -> String {
        const NAMES: [&str; 10] =
            ["1", "10", "100", "1k", "10k", "100k", "1M", "10M", "100M", "1G"];
        let name = |power: usize| {
            let power = usize::try_from(self.lowest).unwrap_or(0) + power;
            NAMES.get(power).copied().unwrap_or_default()
        };
        let marks = (0..=self.powers).map(|power| format!("{:<1$}", name(power), self.columns));
        marks.collect::<String>().trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_ends_above_the_mark_of_its_rate() {
        let scale = Scale::of(320.0, 420_572.0);
        assert_eq!(scale.marks(), "100      1k       10k      100k     1M");
        assert_eq!(scale.bar(1_000.0), "█".repeat(9));
        assert_eq!(scale.bar(1_000_000.0), "█".repeat(BAR_COLUMNS));
        assert_eq!(scale.bar(31_622.8), "█".repeat(22) + "▌");
        assert_eq!([0.0, 1.0, 100.0].map(|rate| scale.bar(rate)), ["▏"; 3]);
    }

    #[test]
    fn any_rates_have_a_scale() {
        for (least, most) in [(0.0, 0.0), (1000.0, 1000.0), (0.5, 2e9), (f64::MAX, 0.0)] {
            let scale = Scale::of(least, most);
            assert!(
                scale.powers >= 1 && scale.columns * scale.powers <= BAR_COLUMNS.max(scale.powers)
            );
            assert!(scale.bar(most).chars().count() <= scale.columns * scale.powers);
        }
    }

    #[test]
    fn names_and_what_is_at_risk_fit_the_terminal() {
        for way in Way::all() {
            assert!(in_words(way).chars().count() < NAME_COLUMNS, "{way:?}");
        }
        const { assert!(1 + NAME_COLUMNS + BAR_COLUMNS + 11 < 80) };
    }
}
