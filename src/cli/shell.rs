//! `aries shell`.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use clap::Args;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use super::output::print;
use super::{DONE, SOMETHING_WRONG};
use crate::script::{Session, Statement, VOCABULARY, find, text};

const EXAMPLES: &str = "\
Examples:
  aries shell                      on a simulated disk, on which power can fail
  aries shell bank                 on the database in ./bank, made if there is none
  echo 'show txns' | aries shell bank
  in the shell: `help` lists the statements, `help crash` tells of one, `quit` leaves

Exit code 0, or 1 if statements came from a file or pipe and one of them failed.
";

/// A shell of the command language: transactions, crashes and restarts, typed a line each.
///
/// The prompt shows the current transaction. The arrow keys bring back earlier lines, the tabulator completes
/// names of statements. In a directory the database is opened first, which recovers it if need be, and closed
/// at the end; transactions still under way are rolled back then.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Directory of the database [default: a simulated disk, gone at the end]
    #[arg(value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// What keeps the database from being opened or closed, or lines from being read.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut session = match &arguments.directory {
        Some(directory) => Session::in_directory(directory)?,
        None => Session::simulated(),
    };
    let ok = match io::stdin().is_terminal() {
        true => converse(&mut session, arguments),
        false => read(&mut session),
    };
    let ended = session.end(); // Whatever kept lines from being read.
    let ok = ok?;
    ended?;
    Ok(if ok { DONE } else { SOMETHING_WRONG })
}

/// Lines from a file or pipe; gives whether all went well.
fn read(session: &mut Session) -> anyhow::Result<bool> {
    let mut ok = true;
    for (index, line) in io::stdin().lock().split(b'\n').enumerate() {
        match text(index + 1, &line?) {
            Ok(line) if is_end(line) => break,
            Ok(line) => ok &= perform(session, index + 1, line),
            Err(error) => {
                eprintln!("error: {error}");
                ok = false;
            }
        }
    }
    Ok(ok)
}

/// Lines typed by somebody.
fn converse(session: &mut Session, arguments: &Arguments) -> anyhow::Result<bool> {
    let config = Config::builder().history_ignore_space(true).build();
    let mut editor: Editor<Completion, DefaultHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Completion));
    let history = history_file();
    if let Some(file) = &history {
        let _ = editor.load_history(file); // The first time there is none.
    }
    let place = arguments.directory.as_ref().map(|directory| directory.display().to_string());
    let place = place.unwrap_or_else(|| "a simulated disk".to_owned());
    print(&format!("aries on {place}; `help` lists the statements, `quit` leaves\n"));
    for number in 1.. {
        match editor.readline(&prompt(session)) {
            Ok(line) if is_end(&line) => break,
            Ok(line) => {
                if !line.trim().is_empty() {
                    editor.add_history_entry(&line)?;
                }
                perform(session, number, &line);
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                eprintln!("error: what was typed is no text");
            }
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(file) = &history {
        let _ = editor.save_history(file); // Nobody's work depends on it.
    }
    Ok(true)
}

fn is_end(line: &str) -> bool {
    matches!(line.trim(), "quit" | "exit")
}

fn prompt(session: &Session) -> String {
    match (session.current(), session.is_open()) {
        (Some(name), _) => format!("aries {name}> "),
        (None, true) => "aries> ".to_owned(),
        (None, false) => "aries (not open)> ".to_owned(),
    }
}

/// `$XDG_STATE_HOME/aries-history`, or the same below `~/.local/state`, in a directory that is made if need be.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    let directory = state.or_else(home)?;
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("aries-history"))
}

/// Performs a line; gives whether that went well.
fn perform(session: &mut Session, number: usize, line: &str) -> bool {
    let performed = match Statement::parse_line(number, line) {
        Ok(None) => return true,
        Ok(Some(statement)) => session.perform(&statement).map(|out| statement.prefixed(&out)),
        Err(error) => Err(error.to_string()),
    };
    match performed {
        Ok(output) => {
            print(&output);
            true
        }
        Err(error) => {
            eprintln!("error: {error}");
            false
        }
    }
}

/// Completes names of statements, and words behind them.
struct Completion;

impl Completion {
    /// What could stand where the last word of `line` begins; and where that is.
    fn candidates(line: &str) -> (usize, Vec<String>) {
        // A statement that is silent, or must fail, begins behind its mark.
        let is_between = |c: char| c.is_whitespace() || c == '(' || c == '!';
        let start = line.rfind(is_between).map_or(0, |space| space + 1);
        let (before, word) = line.split_at(start);
        let before = before.split(is_between).filter(|word| !word.is_empty());
        let before: Vec<&str> = before.filter(|word| !word.ends_with(':')).collect();
        let names = || VOCABULARY.iter().map(|entry| entry.name.to_owned()).collect();
        let known: Vec<String> = match before.first() {
            None | Some(&"help") => names(),
            Some(name) => find(name).map(|entry| entry.words()).unwrap_or_default(),
        };
        (start, known.into_iter().filter(|known| known.starts_with(word)).collect())
    }
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, words) = Self::candidates(line.get(..position).unwrap_or_default());
        let pair = |word: String| {
            let space = if word.ends_with('=') { "" } else { " " };
            Pair { replacement: format!("{word}{space}"), display: word }
        };
        Ok((start, words.into_iter().map(pair).collect()))
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_words_are_completed() {
        let candidates = |line| Completion::candidates(line);
        assert_eq!(candidates("che"), (0, vec!["checkpoint".to_owned()]));
        assert_eq!(candidates("T1: sav"), (4, vec!["savepoint".to_owned()]));
        assert_eq!(candidates("T1: !sav"), (5, vec!["savepoint".to_owned()]));
        assert_eq!(candidates("(che"), (1, vec!["checkpoint".to_owned()]));
        assert_eq!(candidates("crash k").1, ["keep=none", "keep=all", "keep=random"]);
        assert_eq!(candidates("help resta").1, ["restart"]);
        assert_eq!(candidates("T1: sc"), (4, vec!["scan".to_owned()]));
        assert_eq!(candidates("T1: scan accounts b").1, ["backwards"]);
        assert_eq!(candidates("show t").1, ["txns", "tables", "table", "tree"]);
        assert_eq!(candidates("verify ").1, ["tables"]);
        assert_eq!(candidates("frobnicate x").1, [""; 0]);
    }
}
