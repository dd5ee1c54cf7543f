//! The program `aries`: its commands, and what they print.
//!
//! - What was asked for goes to standard output, messages and progress to standard error.
//! - Exit codes: 0 done, 1 something is wrong, 2 wrong usage.
//! - `--json` on every command that reports: one whole object on standard output, or nothing where there is
//!   nothing to report. Whatever fails, never half of one.

mod bench;
mod control;
mod crash;
mod demo;
#[cfg(feature = "lab")]
mod lab;
mod log;
mod output;
mod page;
mod progress;
mod restart;
mod rows;
mod run;
mod shell;
mod shells;
mod stats;
mod table;
mod transfer;
mod trees;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::demo::DiskKind;
use crate::error::Error;
use crate::ids::{Lsn, PageId, TxnId};

const DONE: u8 = 0;
const SOMETHING_WRONG: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// A page-based recovery engine after the ARIES paper.
#[derive(Parser)]
#[command(name = "aries", version, arg_required_else_help = true)]
#[command(after_help = "\
Exit codes: 0 done, 1 something is wrong, 2 wrong usage.
Reports go to standard output, messages and progress to standard error.

Begin with:
  aries demo            a database is killed in mid-flight, and recovered
  aries demo --help     what can be asked of it
  aries shell           transactions, crashes and restarts, typed by hand
  aries run FILE        the same from a script
  aries put DIR TABLE KEY VALUE --create
                        a key with a value, in a table, in a database; get, delete, scan, import, export
  aries stats DIR       how large a database is, what is in it, what restart would have to do
  aries restart DIR --explain --dry-run
                        what a restart would do, and why
  aries log DIR         its log, record by record
  aries verify DIR      whether all of it is sound
  aries bench sync      what a force costs on this disk, and what group commit makes of it
  aries bench loss      what a killed process loses: with a log and without, flushed and not
  aries crash           a minute of crashes at every point, in every way: nothing may be lost")]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Arguments),
    Control(control::Arguments),
    Crash(crash::Arguments),
    Demo(demo::Arguments),
    #[cfg(feature = "lab")]
    Lab(lab::Arguments),
    #[cfg(feature = "lab")]
    #[command(hide = true)]
    LabStore(lab::StoreArguments),
    Shell(shell::Arguments),
    Run(run::Arguments),
    Get(table::Get),
    Put(table::Put),
    Delete(table::Delete),
    Scan(table::Scan),
    Import(transfer::Import),
    Export(transfer::Export),
    Log(log::Arguments),
    Page(page::Arguments),
    Restart(restart::Arguments),
    Stats(stats::Arguments),
    Verify(verify::Arguments),
    Completions(shells::Completions),
    Man(shells::Man),
    /// The clients of the demo, in the process that is killed.
    #[command(hide = true)]
    DemoClients {
        /// The directory of the bank.
        directory: PathBuf,
        /// What is written to.
        #[arg(value_parser = disk_kind)]
        disk: DiskKind,
    },
    /// Who puts keys for `bench loss`, in the process that is killed.
    #[command(hide = true)]
    BenchPutter(bench::Putter),
}

// What most commands are asked. (A doc comment here would replace those of the commands.)
#[derive(Args)]
struct Asked {
    /// Directory of the database
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// Print one JSON object; --help says what it holds
    #[arg(long)]
    json: bool,
}

fn disk_kind(name: &str) -> Result<DiskKind, String> {
    DiskKind::BOTH
        .into_iter()
        .find(|disk| disk.name() == name)
        .ok_or_else(|| "it is either files or held-back".to_owned())
}

/// A log position, as people write it, with leading zeros or without.
fn lsn(text: &str) -> Result<Lsn, String> {
    let lsn = text.parse().ok().and_then(Lsn::new);
    lsn.ok_or_else(|| "it is a number above 0".to_owned())
}

/// A transaction, as people write it.
fn txn_id(text: &str) -> Result<TxnId, String> {
    let digits = text.strip_prefix(['T', 't']).unwrap_or(text);
    let txn = digits.parse().ok().and_then(TxnId::new);
    txn.ok_or_else(|| "it is a number above 0, or T and a number".to_owned())
}

/// Runs the program on the arguments of the process; gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(message) => {
            let code = if message.use_stderr() { WRONG_USAGE } else { DONE };
            let _ = message.print(); // Nobody is left to tell.
            return code.into();
        }
    };
    let done = match program.command {
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Control(arguments) => control::run(&arguments),
        Command::Crash(arguments) => crash::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        #[cfg(feature = "lab")]
        Command::Lab(arguments) => lab::run(&arguments),
        #[cfg(feature = "lab")]
        Command::LabStore(arguments) => lab::store(&arguments),
        Command::Shell(arguments) => shell::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Get(arguments) => table::get(&arguments),
        Command::Put(arguments) => table::put(&arguments),
        Command::Delete(arguments) => table::delete(&arguments),
        Command::Scan(arguments) => table::scan(&arguments),
        Command::Import(arguments) => transfer::import(&arguments),
        Command::Export(arguments) => transfer::export(&arguments),
        Command::Log(arguments) => log::run(&arguments),
        Command::Page(arguments) => page::run(&arguments),
        Command::Restart(arguments) => restart::run(&arguments),
        Command::Stats(arguments) => stats::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Completions(arguments) => Ok(shells::completions(&arguments)),
        Command::Man(arguments) => shells::man(&arguments),
        Command::DemoClients { directory, disk } => {
            crate::demo::serve(&directory, disk).map(|()| DONE).map_err(Into::into)
        }
        Command::BenchPutter(putter) => bench::put(&putter),
    };
    done.unwrap_or_else(|error| {
        eprintln!("aries: {error}");
        exit_code(&error)
    })
    .into()
}

/// The arguments make no sense for this database.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUsage(String);

/// A page, as people write it.
fn page_id(text: &str) -> Result<PageId, String> {
    let digits = text.strip_prefix(['P', 'p']).unwrap_or(text);
    digits.parse().map(PageId).map_err(|_| "it is a number, or P and a number".to_owned())
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let wrong_usage = match error.downcast_ref::<Error>() {
        Some(error) => error.is_wrong_usage(),
        None => {
            let demo = error.downcast_ref::<crate::demo::Error>();
            let bench = error.downcast_ref::<crate::bench::Error>();
            error.is::<WrongUsage>()
                || demo.is_some_and(crate::demo::Error::is_wrong_usage)
                || bench.is_some_and(crate::bench::Error::is_wrong_usage)
        }
    };
    if wrong_usage { WRONG_USAGE } else { SOMETHING_WRONG }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Program::command().debug_assert();
    }

    #[test]
    fn both_disks_have_a_name() {
        for disk in DiskKind::BOTH {
            assert_eq!(disk_kind(disk.name()), Ok(disk));
        }
        assert!(disk_kind("tape").is_err());
    }
}
