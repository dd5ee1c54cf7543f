//! What the program prints on a terminal: as wide as that, and no sentence broken by hand.
#![cfg(target_os = "linux")]

use std::process::Command;

use super::{aries, crashed, story};

/// What is printed on a terminal of so many columns.
fn on_terminal(columns: usize, arguments: &str) -> String {
    let program = env!("CARGO_BIN_EXE_aries");
    let command = format!("stty cols {columns} rows 24; NO_COLOR=1 {program} {arguments}");
    let done = Command::new("script").args(["-qec", &command, "/dev/null"]).output().unwrap();
    assert!(!done.stdout.is_empty(), "{done:?}");
    String::from_utf8(done.stdout).unwrap().replace('\r', "")
}

#[test]
fn the_lines_of_the_log_are_cut_the_first_one_too() {
    let directory = crashed(&story());
    let printed = on_terminal(50, &format!("log {}", directory.path().display()));
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines.len() > 10 && lines[0].starts_with("LSN  "), "{printed}");
    assert!(lines.iter().any(|line| line.ends_with('…')), "{printed}");
    for line in lines {
        assert!(line.chars().count() <= 50, "{line}");
    }
}

/// The commands that say something of their own.
const COMMANDS: [&str; 14] = [
    "bench",
    "bench loss",
    "bench sync",
    "control",
    "demo",
    "shell",
    "run",
    "log",
    "page",
    "restart",
    "stats",
    "verify",
    "completions",
    "man",
];

/// Whether a line of a help text is of those that are laid out by hand: examples, and shapes of JSON.
fn is_laid_out(line: &str) -> bool {
    line.starts_with("  ") || line.ends_with(':')
}

#[test]
fn no_sentence_of_the_help_is_broken_by_hand() {
    for command in COMMANDS {
        for help in ["-h", "--help"] {
            // Off a terminal clap takes 100 columns at most: a line that ends before without a full stop, and goes on
            // in the next line, was broken by hand.
            let printed = {
                let words: Vec<&str> = command.split(' ').chain([help]).collect();
                String::from_utf8(aries(&words).stdout).unwrap()
            };
            let lines: Vec<&str> = printed.lines().collect();
            for pair in lines.windows(2) {
                let [line, next] = pair else { continue };
                if is_laid_out(line) || is_laid_out(next) || line.is_empty() || next.is_empty() {
                    continue;
                }
                let first = next.split(' ').next().unwrap_or_default();
                let fits = line.chars().count() + 1 + first.chars().count() <= 100;
                assert!(!fits || line.ends_with('.'), "{command} {help}:\n{line}\n{next}");
            }
        }
    }
}

#[test]
fn the_sentences_of_the_help_fit_a_terminal() {
    for columns in [80, 40] {
        for command in COMMANDS {
            let printed = on_terminal(columns, &format!("{command} --help"));
            let is_sentence = |line: &&str| !line.starts_with(' ') && !line.starts_with("Usage:");
            for line in printed.lines().filter(is_sentence) {
                assert!(line.chars().count() <= columns, "{command} at {columns}: {line}");
            }
        }
    }
}
