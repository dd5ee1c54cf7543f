//! The command language: any text is a script or is refused with a place in it; any statements give an output
//! or an error, and leave a session that can go on.

use std::fs;
use std::path::Path;

use aries::script::{Command, Script, Session, Setting, Statement, VOCABULARY};

/// Statements of one input that are run: enough to reach whatever a history can.
const MOST_STATEMENTS: usize = 60;

pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let script = match Script::parse(&text) {
        Ok(script) => script,
        Err(error) => {
            let line = text.lines().nth(error.line - 1).expect("an error is in a line");
            assert!(error.column >= 1 && error.column <= line.chars().count() + 1, "{error}");
            return;
        }
    };
    let mut session = Session::simulated();
    let statements = script.blocks.iter().flat_map(|block| &block.statements);
    for statement in statements.filter(|statement| is_modest(statement)).take(MOST_STATEMENTS) {
        let _ = session.perform(statement);
    }
    let _ = session.end();
}

/// Whether it asks for little: a stage of a million pages is somebody's right, and fills the memory.
fn is_modest(statement: &Statement) -> bool {
    match &statement.command {
        Command::Fill { pages, records, bytes } => *pages <= 50 && *records <= 50 && *bytes <= 512,
        Command::Options(settings) => settings.iter().all(|setting| match setting {
            Setting::PageSize(bytes) => *bytes <= 4096,
            Setting::SegmentBytes(bytes) => *bytes <= 1 << 18,
            Setting::Frames(frames) => *frames <= 256,
            Setting::RedoThreads(threads) => *threads <= 4,
            Setting::Protection(_) | Setting::LogBlock(_) => true,
        }),
        _ => true,
    }
}

/// Lines that no statement may look like, each wrong in its own way; and texts that look odd and are right.
const ODD: [&str; 34] = [
    "",
    "T1:",
    "T1: !",
    "(",
    "( show log",
    "(show log) x",
    "=x",
    "%",
    "T1:begin",
    "show log from=",
    "show log from=%",
    "show \"log",
    "show 'log",
    "T1: insert P1 \"a\\n\\r\\t\\0\\x41\\\\\\\"\\'\"",
    "T1: insert P1 \"\\q\"",
    "T1: insert P1 \"\\x4\"",
    "T1: insert P1 \"\\xff\"",
    "T1: insert P1",
    "T1: insert Q1 x",
    "T1: read P1",
    "T1: read P1.x",
    "T1: read P1.0 more",
    "T1: checkpoint",
    "checkpoint middle",
    "crash keep=some",
    "crash torn=P1",
    "crash torn=P1:1",
    "crash nothing=1",
    "fill pages=x records=1",
    "fill pages=1",
    "log update T1 P1 x",
    "log end_checkpoint begin=0 txns=T1:asleep",
    "log frobnicate T1",
    "frobnicate",
];

/// The golden scripts, each statement's example, that example with something missing or too much, and odd lines.
pub fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scripts");
    let files = fs::read_dir(folder).expect("the golden scripts");
    let mut paths: Vec<_> = files.map(|file| file.expect("a golden script").path()).collect();
    paths.sort();
    let scripts = paths.iter().map(|path| fs::read(path).expect("a golden script"));
    let examples = VOCABULARY.iter().map(|entry| {
        format!("fill pages=4 records=2\nT1: begin\n{}\nT1: update P1\n", entry.example).into_bytes()
    });
    let spoilt = VOCABULARY.iter().flat_map(|entry| {
        let shorter = entry.example.rsplit_once(' ').map_or("", |(shorter, _)| shorter);
        [shorter.to_owned(), format!("{} x", entry.example), format!("{} x=1", entry.example)]
    });
    let odd = ODD.iter().map(|line| (*line).to_owned());
    scripts.chain(examples).chain(spoilt.chain(odd).map(String::into_bytes)).collect()
}
