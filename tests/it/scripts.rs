//! The golden scripts of `tests/scripts`: each prints what stands in it, which was written by hand.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use aries::script::{Script, Session, Statement, VOCABULARY, Verdict};

fn scripts() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.iter().all(|path| path.extension().is_some_and(|end| end == "script")));
    paths
}

#[test]
fn every_script_prints_what_stands_in_it() {
    let mut wrong = Vec::new();
    for path in scripts() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let script = match Script::parse(&fs::read_to_string(&path).unwrap()) {
            Ok(script) => script,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let mut session = Session::simulated();
        for block in &script.blocks {
            assert!(block.expected.is_some(), "{name}, line {}: nothing is expected", block.line);
            match block.run(&mut session, &mut |_, _, _| {}) {
                Ok(Verdict::Printed(_)) => {}
                Ok(Verdict::Different(d)) => wrong.push(format!(
                    "{name}, line {}:\n--- expected\n{}--- printed\n{}",
                    d.line, d.expected, d.printed
                )),
                Err(error) => {
                    wrong.push(format!("{name}, {error}"));
                    break;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the README and docs/script.md show is what happens, and the latter speaks of every statement.
#[test]
fn the_examples_of_the_language_print_what_stands_in_them() {
    let language = include_str!("../../docs/script.md");
    for text in [include_str!("../../README.md"), language] {
        let blocks = text.split("```script\n").skip(1);
        for block in blocks.map(|rest| rest.split("```").next().unwrap()) {
            let printed = goldenscript::generate(&mut Runner(Session::simulated()), block).unwrap();
            assert!(printed == block, "{printed}\ninstead of\n{block}");
        }
    }
    for entry in VOCABULARY {
        assert!(language.contains(&format!("`{}", entry.name)), "{} is not told", entry.name);
    }
}

/// Runs statements for goldenscript, which has a parser of its own.
struct Runner(Session);

impl goldenscript::Runner for Runner {
    type Command = goldenscript::Command;

    fn run(
        &mut self,
        command: &goldenscript::Command,
        context: &goldenscript::Context,
    ) -> Result<String, Box<dyn Error>> {
        let mut line = context.prefix.as_ref().map_or_else(String::new, |name| format!("{name}: "));
        line += &command.name;
        for argument in &command.args {
            line += " ";
            line += &argument.to_string();
        }
        let statement = Statement::parse_line(1, &line)?;
        Ok(self.0.perform(&statement.expect("a statement"))?)
    }
}

/// The scripts are what goldenscript reads and writes, too: whoever knows it can use it.
#[test]
fn goldenscript_reads_every_script_and_prints_the_same() {
    for path in scripts() {
        let text = fs::read_to_string(&path).unwrap();
        let printed = goldenscript::generate(&mut Runner(Session::simulated()), &text);
        assert_eq!(printed.unwrap(), text, "{}", path.display());
    }
}
