//! The program `aries`: its commands, and what they print.
//!
//! - What was asked for goes to standard output, messages and progress to standard error.
//! - Exit codes: 0 done, 1 something is wrong, 2 wrong usage.
//! - `--json` on every command that reports: exactly one object on standard output.

mod demo;
mod progress;
mod run;
mod shell;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::demo::DiskKind;

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
  aries verify DIR      whether every page of a database is sound")]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Shell(shell::Arguments),
    Run(run::Arguments),
    Verify(verify::Arguments),
    /// The clients of the demo, in the process that is killed.
    #[command(hide = true)]
    DemoClients {
        /// The directory of the bank.
        directory: PathBuf,
        /// What is written to.
        #[arg(value_parser = disk_kind)]
        disk: DiskKind,
    },
}

fn disk_kind(name: &str) -> Result<DiskKind, String> {
    DiskKind::BOTH
        .into_iter()
        .find(|disk| disk.name() == name)
        .ok_or_else(|| "it is either files or held-back".to_owned())
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
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Shell(arguments) => shell::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::DemoClients { directory, disk } => {
            crate::demo::serve(&directory, disk).map(|()| DONE).map_err(Into::into)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("aries: {error}");
        exit_code(&error)
    })
    .into()
}

/// Prints to standard output. Who closed it does not want to see more; any other failure ends the
/// program, for a report that is not written would look like none.
fn print(text: &str) {
    let mut output = io::stdout().lock();
    let printed = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    if let Err(error) = printed
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        eprintln!("aries: cannot print the report: {error}");
        std::process::exit(1);
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<crate::demo::Error>() {
        Some(error) if error.is_wrong_usage() => WRONG_USAGE,
        _ => SOMETHING_WRONG,
    }
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
