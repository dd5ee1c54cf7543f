//! `aries bench`: experiments that give figures of this machine.

mod loss;
mod sync;

use std::time::Duration;

use clap::{Args, Subcommand};

pub use loss::{Putter, put};

use crate::demo::grouped;

const EXAMPLES: &str = "\
Examples:
  aries bench sync              what a force costs, and what becomes of it
  aries bench loss              what a kill loses: log on and off, flushed or not
  aries bench loss --million    the same after a million puts, timed

Exit code 0 if all is as it must be, 1 if something is lost or fails, 2 for wrong usage.
";

/// Measures what durability costs here, and shows what it is good for.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    experiment: Experiment,
}

#[derive(Subcommand)]
enum Experiment {
    Sync(sync::Arguments),
    Loss(loss::Arguments),
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// What keeps the experiment from being done.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    match &arguments.experiment {
        Experiment::Sync(arguments) => sync::run(arguments),
        Experiment::Loss(arguments) => loss::run(arguments),
    }
}

/// A ratio: with so many digits as say something.
fn ratio(ratio: f64) -> String {
    let decimals = if ratio < 10.0 { 2 } else { usize::from(ratio < 100.0) };
    format!("{ratio:.decimals$}")
}

/// A time in the unit that suits it.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        _ if seconds < 1e-3 => format!("{:.1} µs", seconds * 1e6),
        _ if seconds < 1.0 => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}

/// A length of time in seconds, as people give it.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let possible = time.filter(|time| !time.is_zero() && time.as_secs() <= 3600);
    possible.ok_or_else(|| "it is a number above 0, up to 3600".to_owned())
}

/// A rate, with commas and without a fraction.
#[allow(clippy::cast_possible_truncation)] // It saturates.
pub(super) fn whole(rate: f64) -> String {
    grouped(rate.round() as i64)
}

/// What is said of figures from a directory in memory.
pub(super) const IN_MEMORY: &str =
    "This directory is in memory: a force does nothing there. --dir names one on a disk.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_digits_that_say_something() {
        assert_eq!([0.996, 9.5, 47.123, 312.7].map(ratio), ["1.00", "9.50", "47.1", "313"]);
        let times = [1_500, 2_346_000, 61_500_000_000].map(Duration::from_nanos).map(time);
        assert_eq!(times, ["1.5 µs", "2.35 ms", "61.50 s"]);
    }

    #[test]
    fn seconds_are_above_zero() {
        assert_eq!(seconds("0.05"), Ok(Duration::from_millis(50)));
        for wrong in ["0", "-1", "nan", "inf", "x", "", "1e9", "3601"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
