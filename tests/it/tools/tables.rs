//! `aries get`, `put`, `delete`, `scan`, `import` and `export`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aries::{Db, Options};
use assert_cmd::Command;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::{json, left_by, on, text};

fn bank() -> TempDir {
    let directory = tempdir().unwrap();
    for (key, value) in [("alice", "100"), ("bob", "-20"), ("carol", "größer")] {
        text("put", directory.path(), &["accounts", key, value, "--create"], 0);
    }
    directory
}

fn stderr(command: &str, directory: &Path, arguments: &[&str], code: i32) -> String {
    let output = on(command, directory, arguments);
    assert_eq!(output.status.code(), Some(code), "{command} {arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn keys_are_put_read_and_deleted() {
    let bank = bank();
    let bank = bank.path();
    assert_eq!(text("get", bank, &["accounts", "bob"], 0), "-20\n");
    assert_eq!(text("put", bank, &["accounts", "00ff", "0a", "--hex"], 0), "");
    assert_eq!(text("get", bank, &["accounts", "00ff", "--hex"], 0), "0a\n");
    assert_eq!(
        text("scan", bank, &["accounts"], 0),
        "0x00ff\t0x0a\nalice\t100\nbob\t-20\ncarol\tgrößer\n"
    );
    let range = ["accounts", "--from", "alice", "--to", "carol", "--reverse", "--limit", "1"];
    assert_eq!(text("scan", bank, &range, 0), "bob\t-20\n");
    let told = json("put", bank, &["accounts", "bob", "21"], 0);
    assert_eq!((&told["replaced"], &told["key"]), (&json!(true), &json!("bob")));
    assert_eq!(json("put", bank, &["accounts", "dora", "4"], 0)["replaced"], json!(false));
    assert_eq!(json("get", bank, &["accounts", "bob"], 0)["value"], json!("21"));
    let scanned = json("scan", bank, &["accounts"], 0);
    assert_eq!(scanned["pairs"][0], json!({ "key": { "hex": "00ff" }, "value": "\n" }));
    assert_eq!((&scanned["count"], &scanned["error"]), (&json!(5), &Value::Null));
    assert_eq!(text("delete", bank, &["accounts", "bob"], 0), "");
    assert_eq!(
        stderr("get", bank, &["accounts", "bob"], 1),
        "aries: the table \"accounts\" has no key bob\n"
    );
    assert!(stderr("delete", bank, &["accounts", "bob"], 1).contains("has no key bob"));
    let told = json("get", bank, &["accounts", "bob"], 1);
    assert_eq!((&told["found"], &told["value"]), (&json!(false), &Value::Null));
    assert_eq!(json("delete", bank, &["accounts", "bob"], 1)["found"], json!(false));
    assert!(stderr("get", bank, &["accounts", "0", "--hex"], 2).contains("hexadecimal"));
    assert!(stderr("put", bank, &["accounts", "", "1"], 1).contains("a key of 0 bytes"));
}

/// Nothing is made by accident: no database, no table, not even a lock file.
#[test]
fn nothing_is_made_that_was_not_asked_for() {
    let empty = tempdir().unwrap();
    let rows = empty.path().join("rows.csv");
    fs::write(&rows, "key,value\na,1\n").unwrap();
    let (directory, rows) = (empty.path().join("bank"), rows.to_str().unwrap());
    let (none, there) = (directory.as_path(), empty.path());
    fs::create_dir(none).unwrap();
    let export = there.join("out.csv");
    let export = export.to_str().unwrap();
    for (command, arguments) in [
        ("get", &["t", "a"][..]),
        ("delete", &["t", "a"]),
        ("scan", &["t"]),
        ("export", &["t", export]),
        ("put", &["t", "a", "1"]),
        ("import", &["t", rows]),
    ] {
        stderr(command, none, arguments, 2);
        assert_eq!(fs::read_dir(none).unwrap().count(), 0, "{command} made something");
        stderr(command, &there.join("nowhere"), arguments, 2);
        assert!(!there.join("nowhere").exists(), "{command} made a directory");
    }
    let bank = bank();
    for (command, arguments) in [
        ("get", &["t", "a"][..]),
        ("delete", &["t", "a"]),
        ("scan", &["t"]),
        ("export", &["t", export]),
    ] {
        let said = stderr(command, bank.path(), arguments, 1);
        assert!(said.contains("no table \"t\""), "{command}: {said}");
    }
    assert!(!Path::new(export).exists(), "a file for nothing");
    assert_eq!(Db::open(bank.path()).unwrap().tables().unwrap(), ["accounts"]);
    assert!(stderr("import", none, &["t", "no-such-file", "--create"], 1).contains("no-such-file"));
    assert_eq!(fs::read_dir(none).unwrap().count(), 0, "a database for no file");
    assert_eq!(text("import", none, &["t", rows, "--create"], 0), "1 row is in.\n");
}

/// What a process left that was killed is recovered first.
#[test]
fn a_table_is_recovered_before_it_is_read() {
    let directory = left_by(
        "table t\nT1: begin\nT1: put t a 1\nT1: commit\nT2: begin\nT2: put t a 2\nT2: put t b 2\nforce\nkill\n",
    );
    assert_eq!(text("scan", directory.path(), &["t"], 0), "a\t1\n");
    assert_eq!(json("verify", directory.path(), &[], 0)["settled"], json!(true));
}

#[test]
fn an_import_that_fails_says_where_and_what_is_in() {
    let bank = bank();
    let rows = bank.path().join("rows.csv");
    let name = rows.to_str().unwrap();
    let import = |file: &str, more: &[&str]| {
        fs::write(&rows, file).unwrap();
        on("import", bank.path(), &[&["t", name, "--batch", "2"], more].concat())
    };
    let done = import("key,value\na,1\nb,2\nc,3\nd,4\ne,5\n,6\n", &[]);
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(
        said.contains("line 7: a key of 0 bytes: 1 to 1024 are possible; 4 rows are in"),
        "{said}"
    );
    assert_eq!(text("scan", bank.path(), &["t"], 0), "a\t1\nb\t2\nc\t3\nd\t4\n");
    let done = import("key,value\ne,5\nf\n", &["--json"]);
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((done.status.code(), &told["rows"]), (Some(1), &json!(0)));
    assert!(told["error"].as_str().unwrap().starts_with("line 3: expected 2 columns"), "{told}");
    let done = import("z,9\n", &[]);
    assert!(String::from_utf8(done.stderr).unwrap().contains("expected the header key,value"));
    let done = import("z,9\n", &["--no-header", "--json"]);
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(
        (done.status.code(), &told["rows"], &told["error"]),
        (Some(0), &json!(1), &Value::Null)
    );
    // A broken header is read before anything else, and a later row with a key counts.
    let done = import("key,value\na,1\na,2\na,3\n", &[]);
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "3 rows are in.\n");
    assert_eq!(text("get", bank.path(), &["t", "a"], 0), "3\n");
    assert!(stderr("export", bank.path(), &["t", name], 1).contains("--force writes over it"));
    assert_eq!(on("export", bank.path(), &["t", name, "--force"]).status.code(), Some(0));
    assert!(fs::read_to_string(&rows).unwrap().starts_with("key,value\na,3\nb,2\n"));
}

#[test]
fn rows_come_from_standard_input_and_go_to_standard_output() {
    let bank = bank();
    let exported = text("export", bank.path(), &["accounts", "-", "--format", "jsonl"], 0);
    assert!(exported.starts_with("{\"key\":\"alice\",\"value\":\"100\"}\n"), "{exported}");
    let mut import = Command::cargo_bin("aries").unwrap();
    import.arg("import").arg(bank.path()).args(["copy", "-", "--format", "jsonl"]);
    let done = import.write_stdin(exported.clone()).output().unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "3 rows are in.\n");
    assert_eq!(text("export", bank.path(), &["copy", "-", "--format", "jsonl"], 0), exported);
    assert_eq!(
        text("export", bank.path(), &["copy", "-"], 0),
        "key,value\nalice,100\nbob,-20\ncarol,größer\n"
    );
}

/// Whoever closes the pipe has seen enough: that is no error.
#[test]
fn an_export_ends_with_whoever_reads_it() {
    let directory = large();
    for format in ["csv", "jsonl"] {
        let program = env!("CARGO_BIN_EXE_aries");
        let line =
            format!("'{program}' export . t - --format {format} | true; echo ${{PIPESTATUS[0]}}");
        let done = std::process::Command::new("bash")
            .args(["-c", &line])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let printed = String::from_utf8(done.stdout).unwrap();
        assert_eq!(printed, "0\n");
        assert!(
            String::from_utf8(done.stderr).unwrap().contains("written"),
            "it says how far it was"
        );
    }
}

/// What is told to a table without a process of its own.
fn pairs(db: &Db, name: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let table = db.open_table(name).unwrap().unwrap();
    let mut txn = db.begin().unwrap();
    txn.scan(&table, ..).unwrap().map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_time: 20_000, ..ProptestConfig::default() })]

    /// Export, then import: the same table, whatever its bytes are.
    #[test]
    fn what_is_exported_and_imported_is_the_same_table(
        cells in prop::collection::btree_map(
            prop::collection::vec(any::<u8>(), 1..20), prop::collection::vec(any::<u8>(), 0..2000), 0..40),
        format in prop::sample::select(vec!["csv", "jsonl"]),
        header: bool,
        batch in 1..50_usize,
    ) {
        let directory = tempdir().unwrap();
        let bank = directory.path().join("bank");
        let db = Options::new().background(false).open(&bank).unwrap();
        let table = db.table("from").unwrap();
        db.transact(|txn| cells.iter().try_for_each(|(key, value)| txn.put(&table, key, value))).unwrap();
        db.close().unwrap();
        let file = directory.path().join("rows");
        let file = file.to_str().unwrap();
        let mut options = vec!["--format", format];
        options.extend((!header).then_some("--no-header"));
        let exported = on("export", &bank, &[&["from", file], &options[..]].concat());
        prop_assert!(exported.status.success(), "{exported:?}");
        let batch = batch.to_string();
        let imported = on("import", &bank, &[&["to", file, "--batch", &batch], &options[..]].concat());
        prop_assert!(imported.status.success(), "{imported:?}");
        let db = Options::new().background(false).open(&bank).unwrap();
        prop_assert_eq!(&pairs(&db, "to"), &cells);
        prop_assert!(db.verify_tables().unwrap().is_sound());
    }
}

/// A table of some pages, one of whose cells is a ghost; not closed.
pub fn large() -> TempDir {
    let mut lines = "table t\ntable empty\nbegin\n".to_owned();
    for number in 0..300 {
        lines += &format!("put t key{number:03} {}\n", "x".repeat(200));
    }
    lines += &format!(
        "put t long {}\ncommit\nbegin\ndelete t key007\ncommit\nforce\nkill\n",
        "y".repeat(9000)
    );
    left_by(&lines)
}
