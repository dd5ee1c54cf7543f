//! `aries demo`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::{lines, print, table};
use super::progress::Progress;
use super::{DONE, SOMETHING_WRONG};
use crate::demo::{
    Audience, DiskKind, MOST_CLIENTS, Outcome, Round, SHAPE, Settings, Totals, counted, grouped,
    milliseconds, wrapped,
};

const EXAMPLES: &str = "\
Examples:
  aries demo                                  15 kills over each disk, a few seconds
  aries demo --rounds 100 --clients 8         more of both
  aries demo --dir bank --keep-crashed        leaves ./bank as the last kill left it
  aries demo --dir bank                       recovers it, and goes on with it
  aries demo --json | jq '.lost'              0

Exit code 1 if a transfer is lost or anything else is wrong, 2 for wrong usage.
";

/// Kills a database in mid-flight, restarts it, and proves that nothing acknowledged is lost.
///
/// A child process moves money between accounts, from several threads, and says on a pipe which
/// transfers are committed. It is killed with SIGKILL; then the database is opened, which recovers it
/// in three phases, and every account is checked: no acknowledged transfer may be missing, none half
/// done, the sum of all accounts as before. After that the same over a disk that holds writes back
/// until they are synced, as in a power failure.
#[derive(Args)]
#[command(after_long_help = format!("{EXAMPLES}\n{SHAPE}"), after_help = EXAMPLES)]
pub struct Arguments {
    /// Kills over each of the two disks
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Threads that move money [default: 4, or as many as the bank was made for]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MOST_CLIENTS as i64))]
    clients: Option<u16>,
    /// Directory of the database: missing, empty, or a bank of an earlier demo [default: a new one
    /// in the directory for temporary files, removed at the end but not if the demo is interrupted]
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// Leave the database as the last kill left it; its check is done on a copy
    #[arg(long)]
    keep_crashed: bool,
    /// What all transfers and the times of the kills follow from [default: random, or the bank's]
    #[arg(long)]
    seed: Option<u64>,
    /// Print one JSON object; --help says what it holds
    #[arg(long)]
    json: bool,
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// What keeps the demonstration from being given; those of printing.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let settings = Settings {
        rounds: arguments.rounds,
        clients: arguments.clients.map(usize::from),
        directory: arguments.dir.clone(),
        keep_crashed: arguments.keep_crashed,
        seed: arguments.seed,
        program: std::env::current_exe()?,
    };
    let mut screen = Screen { is_silent: arguments.json, progress: None };
    let outcome = crate::demo::run(&settings, &mut screen)?;
    screen.progress = None;
    if arguments.json {
        print(&format!("{:#}\n", outcome.to_json()));
    } else {
        print(&conclusion(&outcome));
    }
    Ok(if outcome.totals().is_ok() { DONE } else { SOMETHING_WRONG })
}

/// Shows what goes on; only the progress if `is_silent`.
struct Screen {
    is_silent: bool,
    progress: Option<Progress>,
}

impl Screen {
    fn say(&self, text: &str) {
        if !self.is_silent {
            print(text);
        }
    }
}

impl Audience for Screen {
    fn bank_is_ready(&mut self, directory: &Path, seed: u64, clients: usize) {
        let clients = counted(clients as i128, "client");
        self.say(&wrapped(
            "",
            &format!(
                "{clients} of a child process move money between accounts, each transfer a \
                 transaction: withdraw, count, deposit, commit. Only then they acknowledge it \
                 to this process, which kills the child in mid-flight (SIGKILL), restarts the \
                 database and checks every account and every tree.",
            ),
        ));
        self.say(&format!("Database: {} (--seed {seed})\n\n", directory.display()));
    }

    fn disk_begins(&mut self, disk: DiskKind, rounds: u32) {
        let (number, words) = match disk {
            DiskKind::Files => ("1. ", "over plain files"),
            DiskKind::HeldBack => (
                "2. ",
                "over a disk that holds writes back until they are synced, and drops the rest when \
                 the child is killed: a power failure",
            ),
        };
        let kills = counted(rounds, "kill");
        self.say(&wrapped(number, &format!("{kills} {words}.")));
        self.progress = Some(Progress::begin(rounds.into()));
    }

    fn round_ended(&mut self, round: &Round) {
        let undo = &round.restart.undo;
        let message = format!(
            "round {}: {} acknowledged, {} lost; {} redone, {} undone, restart {}",
            round.number,
            grouped(round.acknowledged),
            grouped(round.verdict.lost),
            grouped(round.restart.redo.redone),
            counted(undo.losers as i128, "loser"),
            milliseconds(round.restart.duration),
        );
        if let Some(progress) = &self.progress {
            progress.step(message);
        }
    }

    fn disk_ended(&mut self, disk: DiskKind, totals: &Totals) {
        self.progress = None;
        let sum = if totals.sum_ok() { "the sum holds" } else { "THE SUM IS WRONG" };
        self.say(&wrapped(
            "   ",
            &format!(
                "{} acknowledged, {} lost, {sum}.",
                counted(totals.acknowledged, "transfer"),
                grouped(totals.lost),
            ),
        ));
        if disk == DiskKind::Files {
            self.say(&wrapped(
                "   ",
                "But a killed process loses nothing that the kernel has: an engine that never \
                 synced would pass this test. So once more, with what is not synced kept inside \
                 the process that dies:",
            ));
        }
        self.say("\n");
    }
}

/// What is printed at the end.
fn conclusion(outcome: &Outcome) -> String {
    let totals = outcome.totals();
    let mut text = outcome.most_telling().map(Round::picture).unwrap_or_default();
    text += "\nAll restarts together:\n";
    text += &totals_table(&totals);
    text += "\n";
    for fault in &totals.faults {
        text += &wrapped("WRONG: ", fault);
    }
    if totals.is_ok() {
        text += &wrapped(
            "",
            &format!(
                "Not one of {} acknowledged transfers is lost, none is half done, and the sum of \
                 all accounts holds.",
                grouped(totals.acknowledged)
            ),
        );
    }
    if let Some(directory) = &outcome.directory {
        let how = if outcome.is_crashed { ", as the last kill left it" } else { "" };
        text += &format!("The database is in {}{how}.\n", directory.display());
    }
    text
}

fn totals_table(totals: &Totals) -> String {
    let mut table = table(["", ""]);
    let mut row = |what: &str, value: String| {
        table.add_row([format!("  {what}"), value]);
    };
    row("kills", grouped(totals.kills as i128));
    row("transfers acknowledged", grouped(totals.acknowledged));
    row("transfers lost", grouped(totals.lost));
    row("committed, but the kill cut off the acknowledgement", grouped(totals.unheard));
    row("deadlocks, rolled back and tried again", grouped(totals.deadlocks));
    let kills = counted(totals.kills_with_losers as i128, "kill");
    row("losers undone", format!("{} (after {kills})", grouped(totals.losers as i128)));
    row("compensation log records written", grouped(totals.compensations));
    row("records redone", grouped(totals.redone));
    for (reason, count) in &totals.skipped {
        row(&format!("skipped: {reason}"), grouped(*count));
    }
    if let Some([shortest, median, longest]) = totals.restart_times() {
        let times = [shortest, median, longest].map(milliseconds).join(" / ");
        row("restart: shortest / median / longest", times);
    }
    lines(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::CLIENTS;

    #[test]
    fn the_help_names_the_default_number_of_clients() {
        let help = <Arguments as Args>::augment_args(clap::Command::new("demo"))
            .render_long_help()
            .to_string();
        assert!(help.contains(&format!("default: {CLIENTS}, or")), "{help}");
    }
}
