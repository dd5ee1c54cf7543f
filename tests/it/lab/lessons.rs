//! The chapters of `docs/labs/` on restart say what happens: their scripts and commands are run as a reader would run them, and must print
//! what the chapter shows.
//!
//! A chapter is read by its fenced blocks, which stand in one directory together:
//!
//! - `script`: a file; the comment in its first line is its name
//! - `sh`: commands for the shell, with the program in the path; none may fail
//! - `text`, next behind an `sh`: what those print; without it they must print nothing
//! - without a word: for the reader alone (the program is built, a page is opened)

use std::fs;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_aries");

/// Rules can be broken only by a program that was built for it: without that these commands are left out.
const BREAKS_RULES: &str = "crash sabotage";

struct Block<'a> {
    kind: &'a str,
    line: usize,
    text: String,
}

fn blocks(chapter: &str) -> Vec<Block<'_>> {
    let mut lines = (1..).zip(chapter.lines());
    let mut blocks = Vec::new();
    while let Some((line, opening)) = lines.next() {
        let Some(kind) = opening.strip_prefix("```") else { continue };
        let inside = lines.by_ref().map(|(_, text)| text).take_while(|text| *text != "```");
        blocks.push(Block { kind, line, text: inside.flat_map(|text| [text, "\n"]).collect() });
    }
    blocks
}

/// What the commands print; or what else became of them.
fn run(commands: &str, directory: &Path) -> String {
    let own = Path::new(PROGRAM).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = [own.to_owned()].into_iter().chain(std::env::split_paths(&path));
    let output = Command::new("sh")
        .args(["-ec", commands])
        .current_dir(directory)
        .env("PATH", std::env::join_paths(path).unwrap())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    if output.status.success() {
        return printed;
    }
    format!("{printed}{}: {}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// How many commands were run, and what is not as the chapter says.
fn check(chapter: &str) -> (usize, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let (mut compared, mut wrong) = (0, Vec::new());
    let blocks = blocks(chapter);
    let mut blocks = blocks.iter().peekable();
    while let Some(Block { kind, line, text }) = blocks.next() {
        match *kind {
            "script" => match text.lines().next().and_then(|first| first.strip_prefix("# ")) {
                Some(name) => fs::write(directory.path().join(name), text).unwrap(),
                None => wrong.push(format!("line {line}: a script without a name")),
            },
            "sh" => {
                let shown = blocks.next_if(|next| next.kind == "text");
                if !cfg!(feature = "sabotage") && text.contains(BREAKS_RULES) {
                    continue;
                }
                let printed = run(text, directory.path());
                compared += 1;
                if printed != shown.map_or("", |shown| &shown.text) {
                    wrong.push(format!("line {line}: these commands print\n{printed}"));
                }
            }
            "" => {}
            other => wrong.push(format!("line {line}: nothing prints this {other:?}")),
        }
    }
    (compared, wrong)
}

fn assert_true(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/labs").join(name);
    let (compared, wrong) = check(&fs::read_to_string(path).unwrap());
    assert!(compared > 4 && wrong.is_empty(), "{name}, {compared} run; {}", wrong.join("\n"));
}

#[test]
fn six_the_three_passes() {
    assert_true("6-the-three-passes.md");
}

#[test]
fn seven_repeating_history() {
    assert_true("7-repeating-history.md");
}

#[test]
fn eight_checkpoints_and_broken_rules() {
    assert_true("8-checkpoints-and-broken-rules.md");
}

/// What would go unnoticed otherwise: an output that is wrong, or stands there without a command.
#[test]
fn a_chapter_that_says_what_is_not_so_is_found() {
    let chapter =
        "```script\n# a.script\nfill pages=1 records=1\n```\n\n```sh\ncat a.script\n```\n";
    let shown = "```text\n# a.script\nfill pages=1 records=1\n```\n";
    assert_eq!(check(&format!("{chapter}{shown}")), (1, vec![]));
    for wrong in
        [chapter, shown, "```sh\nfalse\n```\n", &format!("{chapter}{}", shown.replace('1', "2"))]
    {
        assert_eq!(check(wrong).1.len(), 1, "{wrong}");
    }
}
