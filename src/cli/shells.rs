//! `aries completions` and `aries man`: the program told to shells and to `man`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::output::print;
use super::{DONE, Program, WrongUsage};

/// Prints what a shell needs to complete commands and options.
#[derive(Args)]
#[command(after_help = "\
Examples:
  aries completions bash > /etc/bash_completion.d/aries
  aries completions zsh > \"${fpath[1]}/_aries\"
")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Prints the manual page of the program, or of one of its commands.
#[derive(Args)]
#[command(after_help = "\
Examples:
  aries man | man -l -
  aries man log > /usr/share/man/man1/aries-log.1
")]
pub struct Man {
    /// The command; without it, the program
    command: Option<String>,
}

/// Runs `aries completions`; gives the exit code.
pub fn completions(arguments: &Completions) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Program::command(), "aries", &mut script);
    print(&String::from_utf8_lossy(&script));
    DONE
}

/// Runs `aries man`; gives the exit code.
///
/// # Errors
/// When there is no such command.
pub fn man(arguments: &Man) -> anyhow::Result<u8> {
    let mut program = Program::command();
    program.build();
    let command = match &arguments.command {
        None => program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => return Err(WrongUsage(format!("there is no command {name}")).into()),
        },
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    print(&String::from_utf8_lossy(&page));
    Ok(DONE)
}
