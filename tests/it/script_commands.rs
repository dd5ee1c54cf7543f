//! `aries run` and `aries shell`, as they are called; and a session to which anything is said.

use std::fs;
use std::process::Output;

use aries::script::{Session, Statement, VOCABULARY};
use assert_cmd::Command;
use proptest::prelude::*;
use tempfile::tempdir;

fn aries(arguments: &[&str], input: impl Into<Vec<u8>>) -> Output {
    let mut command = Command::cargo_bin("aries").unwrap();
    command.args(arguments).write_stdin(input).output().unwrap()
}

fn told(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn run_compares_prints_and_says_so() {
    let folder = tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let history = "fill pages=1 records=1\nT1: begin\nT1: update P1\nshow dirty\n";
    let right = file("right", &format!("{history}---\nP1 rec_lsn=#0\n"));
    let wrong = file("wrong", &format!("{history}---\nP1 rec_lsn=#7\n"));
    let silent = file("silent", history);
    let broken = file("broken", "fill pages=1 records=1\nT1: frobnicate\n");

    let done = aries(&["run", &right, &silent], "");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(told(&done.stdout).contains("P1 rec_lsn=#0\n"), "it prints where nothing is expected");
    let done = aries(&["run", &right, &wrong], "");
    assert_eq!(done.status.code(), Some(1));
    for line in ["-P1 rec_lsn=#7\n", "+P1 rec_lsn=#0\n", &format!("FAILED  {wrong}"), "wrong:1:"] {
        assert!(told(&done.stdout).contains(line), "{line}: {}", told(&done.stdout));
    }
    let done = aries(&["run", &broken], "");
    assert_eq!(done.status.code(), Some(1));
    assert!(told(&done.stdout).contains("line 2, column 5: there is no statement"));
    let done = aries(&["run", "no-such-file", &silent], "");
    assert_eq!(done.status.code(), Some(1));
    assert!(told(&done.stderr).contains("no-such-file"));
    assert!(told(&done.stdout).starts_with("FAILED  no-such-file\n"), "{done:?}");
    assert!(told(&done.stdout).contains(&format!("ok  {silent}")), "the others are run");
    let done = aries(&["run", "--json", &right, "no-such-file", &right], "");
    assert_eq!(done.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(json["files"][1]["error"].as_str().unwrap().contains("cannot read"), "{json}");
    assert_eq!(json["files"][2]["error"], serde_json::Value::Null);

    let done = aries(&["run", "--json", &right, &wrong, &broken], "");
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((json["version"].as_u64(), json["ok"].as_bool()), (Some(1), Some(false)));
    assert_eq!(json["files"][0]["differences"], serde_json::json!([]));
    assert_eq!(json["files"][1]["differences"][0]["printed"], "P1 rec_lsn=#0\n");
    assert!(json["files"][2]["error"].as_str().unwrap().starts_with("line 2"));
    let traced = aries(&["run", "--trace", &silent], "");
    assert!(
        told(&traced.stdout).contains("> T1: update P1\n    record #0 is appended: Update of T1")
    );
}

#[test]
fn the_shell_works_in_a_directory_and_recovers_it() {
    let folder = tempdir().unwrap();
    let bank = folder.path().join("bank");
    let bank = bank.to_str().unwrap();
    let first = "fill pages=2 records=2\nT1: begin\nT1: write P1.0 0 abcd\nT1: commit\n\
                 T2: begin\nT2: write P1.1 0 wxyz\nforce\nkill\nrestart\n\
                 T3: begin\nT3: write P2.0 0 lost\n";
    let done = aries(&["shell", bank], first);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(told(&done.stdout).contains("losers T2; committed none"), "{done:?}");
    let done =
        aries(&["shell", bank], "begin\nread P1.0\nread P1.1\nread P2.0\nquit\nfrobnicate\n");
    assert_eq!(told(&done.stdout), "\"abcd\"\n\"....\"\n\"....\"\n");
    assert_eq!(done.status.code(), Some(0));
    let done = aries(&["shell", bank], "crash\nfault eio\nshow txns\n");
    assert_eq!(done.status.code(), Some(1));
    assert!(told(&done.stderr).contains("needs a simulated disk"), "{done:?}");
}

/// Where the database in a directory was closed, as `aries control` says.
fn closed_at(directory: &str) -> serde_json::Value {
    let done = aries(&["control", directory, "--json"], "");
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    told["slots"][told["counts"].as_u64().unwrap() as usize]["clean_end_lsn"].clone()
}

#[test]
fn a_script_ends_as_a_shell_does_that_was_told_the_same() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let history = "fill pages=2 records=2\nT1: begin\nT1: update P1\n";
    for (end, is_closed) in [("", true), ("T1: read P99.0\n", true), ("force\nkill\n", false)] {
        let script = path("script");
        fs::write(&script, history.to_owned() + end).unwrap();
        let (run, shell) = (path(&format!("run{is_closed}")), path(&format!("shell{is_closed}")));
        let ran = aries(&["run", "--dir", &run, &script], "");
        assert_eq!(ran.status.success(), !end.contains("P99"), "{ran:?}");
        aries(&["shell", &shell], history.to_owned() + end);
        for directory in [run, shell] {
            assert_eq!(closed_at(&directory).is_number(), is_closed, "{directory} behind {end:?}");
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_line() {
    let folder = tempdir().unwrap();
    let bank = folder.path().join("bank");
    let script = folder.path().join("script");
    let (bank, name) = (bank.to_str().unwrap(), script.to_str().unwrap());
    let lines = b"fill pages=1 records=1\r\nT1: begin\nT1: write P1.0 0 \"\xff\"\nT1: read P1.0";
    let done = aries(&["shell", bank], lines);
    assert_eq!(done.status.code(), Some(1));
    assert!(told(&done.stderr).contains("line 3, column 19: "), "{done:?}");
    assert_eq!(told(&done.stdout), "T1: \"....\"\n", "it goes on behind that line");
    assert!(closed_at(bank).is_number(), "it was closed");
    fs::write(&script, lines).unwrap();
    let done = aries(&["run", name, "--json"], "");
    assert_eq!(done.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let error = json["files"][0]["error"].as_str().unwrap();
    assert!(error.starts_with("line 3, column 19: "), "{error}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_statement() {
    let folder = tempdir().unwrap();
    let script = folder.path().join("script");
    let text = "\u{feff}fill pages=1 records=1\n---\nok\n";
    fs::write(&script, text).unwrap();
    let done = aries(&["run", script.to_str().unwrap()], "");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let done = aries(&["shell"], "\u{feff}fill pages=1 records=1\n");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
}

/// One transaction waits for another, and that one for a third: the end comes all the same.
#[test]
fn a_session_ends_though_transactions_wait_for_each_other() {
    for end in [Session::end, |session| {
        drop(session);
        Ok(())
    }] {
        let mut session = Session::simulated();
        let lines = "fill pages=2 records=1\nT3: begin\nT3: write P1.0 0 x\nT2: begin\n\
                     T2: write P2.0 0 x\nT2: read P1.0\nT1: begin\nT1: read P2.0";
        for (index, line) in lines.lines().enumerate() {
            let statement = Statement::parse_line(index + 1, line).unwrap().unwrap();
            let output = session.perform(&statement).unwrap();
            assert_eq!(output.starts_with("waits"), line.contains("read"), "{line}: {output}");
        }
        end(session).unwrap();
    }
}

/// Nobody decides upon the transaction that it waits for: the session ends, and says that nothing was closed.
#[test]
fn a_session_ends_though_somebody_waits_for_a_transaction_in_doubt() {
    let mut session = Session::simulated();
    let lines = "fill pages=1 records=1\nT1: begin\nT1: update P1\nT1: prepare id\nT2: begin\nT2: read P1.0";
    for (index, line) in lines.lines().enumerate() {
        let statement = Statement::parse_line(index + 1, line).unwrap().unwrap();
        session.perform(&statement).unwrap();
    }
    assert!(session.end().unwrap_err().to_string().contains("in doubt"));
}

/// What the last of these statements prints or says, in a session on a simulated disk.
pub fn last_of(lines: &str) -> Result<String, String> {
    let mut session = Session::simulated();
    let mut last = Ok(String::new());
    for (index, line) in lines.lines().enumerate() {
        let statement =
            Statement::parse_line(index + 1, line).map_err(|error| error.to_string())?;
        last = session.perform(&statement.expect("a statement"));
    }
    last
}

#[test]
fn errors_name_what_the_script_named() {
    let stage = "fill pages=3 records=2\nT1: begin\nT1: update P1\nT2: begin\n";
    for (lines, said) in [
        ("T2: read P1.0\nT2: commit", "T2 waits for a lock"),
        ("T3: commit", "T3 is not under way: `T3: begin` begins it"),
        ("alice: begin\nalice: update P1", "`update` is for T1, T2, …; alice can `write`"),
        ("T2: rollback T1", "there is no savepoint \"T1\""),
        (
            "T1: prepare T2\nT2: update P2\nT2: prepare T2",
            "the global id \"T2\" is in doubt already",
        ),
        ("decide T1 commit", "no transaction with the global id \"T1\" is in doubt"),
        ("help T1", "there is no statement \"T1\""),
        ("T2: update P2\nT1: read P2.1\nT2: read P1.0", "deadlock: T2 waiting"),
        (
            "T1: nested begin\nT1: commit",
            "a nested top action is under way: `nested end` comes first",
        ),
        ("T1: nested begin\nT1: prepare x", "a nested top action is under way"),
        ("fill pages=1 records=1 pages=2", "pages= stands there twice"),
        ("T2: put t a 1", "there is no table t: `table t` makes it"),
        ("drop \"two words\"", "there is no table \"two words\": `table \"two words\"` makes it"),
        ("T2: delete t", "\"t\" is not a record, such as P3.2"),
        ("T2: put t a", "put needs a value here"),
        ("T2: scan t until=b", "scan takes no until="),
        ("T2: scan t back", "\"back\" is not backwards"),
        ("verify pages", "\"pages\" is not tables"),
        ("show tabel t", "is not log, dirty,"),
        ("table t\nT2: put t \"\" 1", "a key of 0 bytes: 1 to 128 are possible"),
        ("table t\nT2: put t a 1\ndrop t", "the table \"t\" is in use"),
        ("table t\nT2: read P5.1", "page P5 belongs to a table"),
        ("crash torn=P1:5-2", "5-2 are not of them"),
        ("crash keep=0,77", "keep=0: of what was not synced there are 0, counted from 0"),
        ("crash keep=0,two", "\"0,two\" is not numbers, such as 0,2,5"),
        ("crash\nlog clr T1 P1", "the latest update by hand to compensate is none of P1"),
        ("crash\nlog update T3 P1\nlog update T3 P1\nlog clr T3 P1", "undo of #1 goes on at #0"),
    ] {
        let error = last_of(&format!("{stage}{lines}")).unwrap_err();
        assert!(error.contains(said), "{lines:?} said {error:?}");
    }
}

/// Bytes of a record that look like what a structure change puts into a node are told as what they are.
#[test]
fn a_record_is_not_taken_for_a_node() {
    let stage = "fill pages=1 records=1 bytes=40\nT1: begin\nT1: write P1.0 ";
    for written in ["1 12345678", "9 12345678", "0 12345678901234567"] {
        let log = last_of(&format!("{stage}{written}\nshow log")).unwrap();
        assert_eq!(log, "#0 T1 Update P1.0 prev=nil\n", "{written}");
    }
}

/// Nobody loses a transaction to one that has no name.
#[test]
fn a_transaction_without_a_name_gets_a_new_one() {
    let txns =
        last_of("fill pages=2 records=4\nT3: begin\nT3: update P1\nbegin\nupdate P2\nshow txns");
    let txns = txns.unwrap();
    let lines: Vec<_> = txns.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(lines, ["T3", "T4"], "{txns}");
    let read = "fill pages=2 records=4\nbegin\nupdate P1\ncommit\nT2: begin\nT2: read P1.0";
    assert_eq!(last_of(read).unwrap(), "\"aaaa\"\n");
}

/// What changes in both tables, what redo learns from a page, and what undo passes over, is told.
#[test]
fn restart_tells_what_tables_pages_and_undo_go_through() {
    let lines = "fill pages=4 records=4\nT4: begin\nT4: update P4\nT1: begin\nT1: update P1\nT2: begin\nT2: update P2\n\
                 T2: update P1\ncheckpoint begin\nT2: savepoint s\nT2: update P2\nT2: rollback s\nT2: update P2\n\
                 T1: nested begin\nT1: update P3\nT1: nested end\nT1: update P3\ncheckpoint end\nT4: commit\n\
                 flush P2\nforce\ncrash\nrestart explain";
    let told = last_of(lines).unwrap();
    let mut rest = told.as_str();
    for line in [
        "T2 is active in the transaction table: last record #5, undo next #5\n",
        "P2 enters the dirty page table with rec_lsn #5: that record changes it\n",
        "T2 is active in the transaction table: last record #6, undo next #3\n",
        "T1 is active in the transaction table: last record #9, undo next #1\n",
        "P2 has rec_lsn #2 in the dirty page table, as the checkpoint says; #5 stood there\n",
        "P3 has rec_lsn #8 in the dirty page table, as the checkpoint says, too\n",
        "T4 is active in the transaction table, as the checkpoint says: last record #0, undo next #0\n",
        "T4 is committing in the transaction table: last record #12, undo next #0\n",
        "T4 leaves the transaction table: record #13 is its end\n",
        "P2 on disk has all up to record #7: its rec_lsn is raised to behind it\n",
        "record #2 is not redone on P2: the page on disk has this change already\n",
        "record #5 is not redone on P2: the record is before the page's rec_lsn\n",
        "record #10 of T1 is undone on P3",
        "record #9 of T1 is passed over, the end of a nested top action; undo next #1\n",
        "record #7 of T2 is undone on P2",
        "record #6 of T2 is passed over, a CLR; undo next #3\n",
    ] {
        let behind = rest.split_once(line).map(|(_, behind)| behind);
        rest = behind.unwrap_or_else(|| panic!("{line}\nis not said, or not there:\n{told}"));
    }
}

/// A crash that is refused stops nothing.
#[test]
fn a_refused_crash_changes_nothing() {
    let lines =
        "fill pages=2 records=4\nT1: begin\nT1: update P1\ncrash torn=P1:0-0 keep=random seed=1";
    assert!(last_of(lines).unwrap_err().contains("torn= goes with"));
    last_of(&format!("{lines}\nT1: update P2\nT1: commit")).unwrap();
}

#[test]
fn a_session_has_no_more_transactions_than_a_system_has_threads() {
    let lines: String = (0..1001).map(|number| format!("A{number}: begin\n")).collect();
    assert!(last_of(&lines).unwrap_err().contains("no more at a time"));
}

#[test]
fn frames_are_of_the_size_that_the_database_has() {
    let directory = tempfile::tempdir().unwrap();
    let output = aries(
        &["shell", directory.path().to_str().unwrap()],
        "fill pages=2 records=1\nkill\noptions frames=64\nrestart\nT1: begin\nT1: read P1.0\n",
    );
    assert_eq!(told(&output.stderr), "");
    assert!(told(&output.stdout).contains("\"....\""), "{}", told(&output.stdout));
}

/// The crash takes the end of T1's records, and all of T2's: nothing can go on behind the one, the other begins again.
#[test]
fn records_by_hand_go_behind_what_the_crash_left() {
    let mut session = Session::simulated();
    let lines = "fill pages=2 records=4\nT1: begin\nT1: update P1\nforce\nT1: update P2\nT2: begin\n\
                 T2: update P1\ncrash\nlog update T2 P2\nlog update T1 P1";
    let perform = |(index, line): (usize, &str)| {
        let statement = Statement::parse_line(index + 1, line).unwrap().unwrap();
        session.perform(&statement)
    };
    let said: Vec<_> = lines.lines().enumerate().map(perform).collect();
    let (last, others) = said.split_last().unwrap();
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    assert!(last.as_ref().unwrap_err().contains("the crash took its latest records"), "{last:?}");
}

/// Words that can stand in statements, right or wrong.
const WORDS: &[&str] = &[
    "P0",
    "P1",
    "P2",
    "P3",
    "P99",
    "P1.0",
    "P2.1",
    "P9.9",
    "0",
    "1",
    "7",
    "T1",
    "T2",
    "s",
    "all",
    "abc",
    "\"a longer text\"",
    "begin",
    "end",
    "abandon",
    "deferred",
    "commit",
    "rollback",
    "log",
    "dirty",
    "txns",
    "locks",
    "space",
    "page",
    "control",
    "durable",
    "keep=all",
    "keep=none",
    "keep=random",
    "seed=3",
    "lose=1",
    "keep=0,2",
    "torn=P1:0-0",
    "explain",
    "on",
    "off",
    "power",
    "eio",
    "full",
    "in=2",
    "in=9",
    "forever",
    "record=1",
    "byte=30",
    "bit=1",
    "at=P2",
    "none",
    "20000",
    "pages=3",
    "records=2",
    "bytes=9",
    "update",
    "clr",
    "free",
    "freed",
    "begin_checkpoint",
    "end_checkpoint",
    "begin=0",
    "dirty=P1:0",
    "txns=T1:active:0:0",
    "undo_next=0",
    "from=1",
    "frames=16",
    "protection=images",
    "protection=none",
    "log_block=512",
    "redo_threads=2",
    "x=",
    "tables",
    "table",
    "tree",
    "t",
    "accounts",
    "alice",
    "from=b",
    "to=c",
    "backwards",
];

fn line() -> impl Strategy<Value = String> {
    let name = (0..VOCABULARY.len()).prop_map(|index| VOCABULARY[index].name);
    let prefix = prop::sample::select(vec!["", "", "T1: ", "T2: ", "T3: "]);
    let words = prop::collection::vec(prop::sample::select(WORDS), 0..4);
    let whole = (prefix, name, words)
        .prop_map(|(prefix, name, words)| format!("{prefix}{name} {}", words.join(" ")));
    let example = (0..VOCABULARY.len()).prop_map(|index| VOCABULARY[index].example.to_owned());
    prop_oneof![4 => whole, 3 => example]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_time: 60_000, ..ProptestConfig::default() })]

    /// Any statements in any order: each gives an output or an error, and the session can go on.
    #[test]
    fn anything_can_be_said_to_a_session(lines in prop::collection::vec(line(), 1..40)) {
        let mut session = Session::simulated();
        for (index, line) in lines.iter().enumerate() {
            if let Ok(Some(statement)) = Statement::parse_line(index + 1, line) {
                let _ = session.perform(&statement);
            }
        }
        let _ = session.end();
    }

    /// Any text is a script, or is refused with a place in it.
    #[test]
    fn any_text_is_a_script_or_refused(text in "(?s).{0,200}") {
        if let Err(error) = aries::script::Script::parse(&text) {
            prop_assert!(error.line >= 1 && error.line <= text.lines().count());
            prop_assert!(error.column >= 1);
        }
    }
}
