//! `aries run`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use similar::TextDiff;

use super::output::{path, print};
use super::{DONE, SOMETHING_WRONG, WRONG_USAGE, exit_code};
use crate::script::{self, Difference, Script, ScriptError, Session, Verdict};

const EXAMPLES: &str = "\
Examples:
  aries run lesson.script                 on a simulated disk of its own
  aries run tests/scripts/*.script        each says what it must print; 1 if one does not
  aries run lesson.script --trace         with every event of the engine
  aries run lesson.script --dir bank      on the database in ./bank
  aries run lesson.script --html out.html a page that steps through it; opens in any browser, offline

Exit code 0 if all printed what they had to, 1 if not or if a file cannot be read, 2 for wrong usage.
";

const SHAPE: &str = "\
The JSON object:
  version      1
  ok           whether every file printed what it had to
  files        one object for each:
    file, blocks (how many), differences (each: line, expected, printed),
    error (what is wrong with it or kept it from being run to its end; null if nothing)";

/// Runs scripts of the command language, and compares what they print.
///
/// Each file has a simulated disk of its own, on which power can fail. Blocks that end with --- are followed by
/// what they must print. `aries shell` and its `help` tell the language; so does docs/script.md. In a directory
/// each script ends as a shell does: transactions still under way are rolled back, the database is closed.
#[derive(Args)]
#[command(after_long_help = format!("{EXAMPLES}\n{SHAPE}"), after_help = EXAMPLES)]
pub struct Arguments {
    /// The scripts
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print each statement, what the engine does for it, event by event, and its output
    #[arg(long, conflicts_with = "json")]
    trace: bool,
    /// Work on the database in this directory, made if there is none
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// Write one HTML file that steps through the run, and opens without a network
    #[cfg(feature = "lab")]
    #[arg(long, value_name = "OUT.html", conflicts_with_all = ["json", "trace", "dir"])]
    html: Option<PathBuf>,
    /// Print one JSON object; --help says what it holds
    #[arg(long)]
    json: bool,
}

/// What came of one file.
struct Ran<'a> {
    file: &'a Path,
    blocks: usize,
    differences: Vec<Difference>,
    /// Why it could not be read.
    unread: Option<String>,
    /// Why it could not be run to its end.
    error: Option<String>,
}

impl Ran<'_> {
    fn is_ok(&self) -> bool {
        self.differences.is_empty() && self.unread.is_none() && self.error.is_none()
    }
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// What keeps a directory from being worked on.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    #[cfg(feature = "lab")]
    if let Some(html) = &arguments.html {
        return write_html(&arguments.files, html);
    }
    let mut ran = Vec::new();
    for file in &arguments.files {
        let mut done = Ran { file, blocks: 0, differences: Vec::new(), unread: None, error: None };
        match fs::read(file) {
            Ok(bytes) => match run_file(arguments, &bytes, &mut done) {
                // No script can be run in that directory.
                Err(error) if exit_code(&error) == WRONG_USAGE => return Err(error),
                run => done.error = run.err().map(|error| error.to_string()),
            },
            Err(error) => {
                eprintln!("aries: cannot read {}: {error}", file.display());
                done.unread = Some(format!("cannot read it: {error}"));
            }
        }
        if !arguments.json {
            print(&report(&done));
        }
        ran.push(done);
    }
    let ok = ran.iter().all(Ran::is_ok);
    if arguments.json {
        let files: Vec<Value> = ran.iter().map(to_json).collect();
        print(&format!("{:#}\n", json!({ "version": 1, "ok": ok, "files": files })));
    }
    Ok(if ok { DONE } else { SOMETHING_WRONG })
}

/// Records the run of a script, and writes a page of it.
#[cfg(feature = "lab")]
fn write_html(files: &[PathBuf], html: &Path) -> anyhow::Result<u8> {
    use crate::lab::{Recording, one_file};

    let [file] = files else {
        return Err(super::WrongUsage("--html takes one script".into()).into());
    };
    let text = fs::read(file)
        .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", file.display()))?;
    let recorded = Recording::of(script::text(1, &text)?, None);
    let written = fs::write(html, one_file(&recorded));
    written.map_err(|error| anyhow::anyhow!("cannot write {}: {error}", html.display()))?;
    match recorded["error"].as_str() {
        None => Ok(DONE),
        Some(error) => {
            eprintln!("aries: {}: {error}; the page shows the run until there", file.display());
            Ok(SOMETHING_WRONG)
        }
    }
}

/// Runs a file as far as that goes.
fn run_file(arguments: &Arguments, bytes: &[u8], ran: &mut Ran<'_>) -> anyhow::Result<()> {
    let script = Script::parse(script::text(1, bytes)?)?;
    let mut session = match &arguments.dir {
        Some(directory) => Session::in_directory(directory)?,
        None => Session::simulated(),
    };
    ran.blocks = script.blocks.len();
    let run = run_blocks(arguments, &script, &mut session, ran);
    // What is on a simulated disk is gone with it.
    let ended = if arguments.dir.is_some() { session.end() } else { Ok(()) };
    run?;
    Ok(ended?)
}

fn run_blocks(
    arguments: &Arguments,
    script: &Script,
    session: &mut Session,
    ran: &mut Ran<'_>,
) -> Result<(), ScriptError> {
    for block in &script.blocks {
        let is_shown = !arguments.json && block.expected.is_none() && !arguments.trace;
        let verdict = block.run(session, &mut |session, statement, output| {
            if arguments.trace {
                print(&format!("> {}\n", statement.text));
                session.told().lines().for_each(|event| print(&format!("    {event}\n")));
            }
            if arguments.trace || is_shown {
                print(output);
            }
        })?;
        if let Verdict::Different(difference) = verdict {
            ran.differences.push(difference);
        }
    }
    Ok(())
}

fn report(ran: &Ran<'_>) -> String {
    let mut text = String::new();
    let file = ran.file.display();
    for difference in &ran.differences {
        text += &format!("{file}:{}: it printed something else\n", difference.line);
        let compared = TextDiff::from_lines(&difference.expected, &difference.printed);
        text += &compared.unified_diff().header("expected", "printed").to_string();
    }
    if let Some(error) = &ran.error {
        text += &format!("{file}: {error}\n");
    }
    let verdict = if ran.is_ok() { "ok" } else { "FAILED" };
    text + &format!("{verdict}  {file}\n")
}

fn to_json(ran: &Ran<'_>) -> Value {
    let differences: Vec<Value> = (ran.differences.iter())
        .map(|d| json!({ "line": d.line, "expected": d.expected, "printed": d.printed }))
        .collect();
    json!({
        "file": path(ran.file),
        "blocks": ran.blocks,
        "differences": differences,
        "error": ran.unread.as_ref().or(ran.error.as_ref()),
    })
}
