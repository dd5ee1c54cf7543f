//! Scripts with what they must print: statements, a line of three hyphens, the expected output, an empty line.
//!
//! ```text
//!   T1: update P1        statements, and comments
//!   show dirty
//!   ---
//!   P1 rec_lsn=#0        what they print, to the first empty line; `ok` if they print nothing
//! ```
//!
//! A script without any such line expects nothing: it is run, and prints. An output with empty lines stands
//! behind `>` in each line. What a transaction's statement prints begins with its name. (The same format as
//! goldenscript's.)

use std::fmt;

use super::session::Session;
use super::statement::Statement;
use super::syntax::{SyntaxError, without_mark};

/// Statements that belong together, and what they must print.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// The line of its first statement, from 1.
    pub line: usize,
    /// What is to be done.
    pub statements: Vec<Statement>,
    /// What it must print; `None` if nobody says.
    pub expected: Option<String>,
}

/// A script as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// In order.
    pub blocks: Vec<Block>,
}

/// Why a script could not be run to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptError {
    /// The statement's line, from 1.
    pub line: usize,
    /// What it said.
    pub message: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ScriptError {}

/// A block that printed something else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The line of its first statement, from 1.
    pub line: usize,
    /// What it had to print.
    pub expected: String,
    /// What it printed.
    pub printed: String,
}

/// What came of a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It printed this, and that was right, or nobody said what was.
    Printed(String),
    /// It printed something else.
    Different(Difference),
}

const SEPARATOR: &str = "---";

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut blocks = Vec::new();
        let mut statements = Vec::new();
        let mut lines = without_mark(text).lines().enumerate();
        while let Some((index, line)) = lines.next() {
            if line.trim_end() != SEPARATOR {
                statements.extend(Statement::parse_line(index + 1, line)?);
                continue;
            }
            if statements.is_empty() {
                let message = "no statement stands above".to_owned();
                return Err(SyntaxError { line: index + 1, column: 1, message });
            }
            let expected = lines.by_ref().map(|(_, line)| line).take_while(|line| !line.is_empty());
            let expected = expected.flat_map(|line| [line, "\n"]).collect();
            blocks.push(Block::new(std::mem::take(&mut statements), Some(expected)));
        }
        if !statements.is_empty() {
            blocks.push(Block::new(statements, None));
        }
        Ok(Self { blocks })
    }
}

impl Block {
    fn new(statements: Vec<Statement>, expected: Option<String>) -> Self {
        let line = statements.first().map_or(1, |statement| statement.line);
        Self { line, statements, expected }
    }

    /// Runs the statements, and compares; `done` hears of each, and what it printed.
    ///
    /// # Errors
    /// When one of them fails that must not, or the other way round.
    pub fn run(
        &self,
        session: &mut Session,
        done: &mut dyn FnMut(&mut Session, &Statement, &str),
    ) -> Result<Verdict, ScriptError> {
        let mut printed = String::new();
        for statement in &self.statements {
            let performed = session.perform(statement);
            let output =
                performed.map_err(|message| ScriptError { line: statement.line, message })?;
            let output = statement.prefixed(&output);
            done(session, statement, &output);
            printed += &output;
        }
        let Some(expected) = &self.expected else { return Ok(Verdict::Printed(printed)) };
        let printed = as_expected(printed);
        if printed == *expected {
            return Ok(Verdict::Printed(printed));
        }
        let (line, expected) = (self.line, expected.clone());
        Ok(Verdict::Different(Difference { line, expected, printed }))
    }
}

impl Statement {
    /// What it printed, with the name of its transaction before each line.
    #[must_use]
    pub fn prefixed(&self, output: &str) -> String {
        match &self.prefix {
            None => output.to_owned(),
            Some(name) => output.lines().map(|line| format!("{name}: {line}\n")).collect(),
        }
    }
}

fn as_expected(printed: String) -> String {
    if printed.is_empty() {
        return "ok\n".to_owned();
    }
    if printed.starts_with('\n') || printed.contains("\n\n") {
        return printed.lines().map(|line| format!("> {line}\n")).collect();
    }
    printed
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_at_the_first_empty_line_behind_their_output() {
        let script = "# a comment\n\nfill pages=1 records=1\nmark\n---\nok\n\nforce\n";
        let script = Script::parse(script).unwrap();
        let lines: Vec<_> = script.blocks.iter().map(|block| block.line).collect();
        assert_eq!(lines, [3, 8]);
        assert_eq!(script.blocks[0].expected.as_deref(), Some("ok\n"));
        assert_eq!((script.blocks[0].statements.len(), &script.blocks[1].expected), (2, &None));
        assert_eq!(Script::parse("---\n").unwrap_err().line, 1);
        assert_eq!(Script::parse("force\nforsce").unwrap_err().line, 2);
    }

    #[test]
    fn what_editors_leave_behind_is_no_part_of_a_script() {
        let script = Script::parse("\u{feff}mark\r\n--- \t\r\nok\r\n\r\n").unwrap();
        assert_eq!(script.blocks[0].expected.as_deref(), Some("ok\n"));
        assert_eq!(Script::parse("\u{feff}forsce").unwrap_err().column, 1);
    }

    #[test]
    fn a_difference_is_told_with_both() {
        let script =
            Script::parse("fill pages=1 records=1\nT1: begin\nT1: read P1.0\n---\nok\n").unwrap();
        let verdict = script.blocks[0].run(&mut Session::simulated(), &mut |_, _, _| {}).unwrap();
        let (expected, printed) = ("ok\n".to_owned(), "T1: \"....\"\n".to_owned());
        assert_eq!(verdict, Verdict::Different(Difference { line: 1, expected, printed }));
    }
}
