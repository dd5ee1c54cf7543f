//! The program's experiments: what they print, what they leave, what they refuse, and that the one that counts sees.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use aries::Options;
use aries::bench::loss::{Flush, Heard, Log, Work, count, judge, key_of, value_of};
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_aries");

/// A new directory beside the build products: temporary files may be in memory.
fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn bench(experiment: &str, within: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["bench", experiment, "--dir"]).arg(within).args(arguments).output().unwrap()
}

/// Runs an experiment, which must end well and leave nothing; gives what it printed.
fn printed(experiment: &str, arguments: &[&str]) -> String {
    let within = directory();
    let output = bench(experiment, within.path(), arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(fs::read_dir(within.path()).unwrap().count(), 0, "its directory is gone");
    String::from_utf8(output.stdout).unwrap()
}

fn json(experiment: &str, arguments: &[&str]) -> Value {
    let report: Value =
        serde_json::from_str(&printed(experiment, &[&["--json"], arguments].concat())).unwrap();
    assert_eq!(report["version"], 1);
    report
}

#[test]
fn sync_measures_every_way_in_every_round() {
    let report = json("sync", &["--seconds", "0.003"]);
    let ways = report["ways"].as_array().unwrap();
    let names: Vec<&str> = ways.iter().map(|way| way["way"].as_str().unwrap()).collect();
    let expected = [
        "fsync",
        "fdatasync",
        "o_dsync",
        "commit-1",
        "commit-4",
        "commit-16",
        "commit-64",
        "deferred-every-100",
        "deferred-64",
        "interval-100ms",
        "buffered",
    ];
    assert_eq!(names, expected);
    assert!(report["in_memory"].is_boolean());
    assert_eq!((&report["rounds"], &report["seconds"]), (&3.into(), &0.003.into()));
    for (number, way) in ways.iter().enumerate() {
        let figure = |name: &str| way[name].as_f64().unwrap();
        assert_eq!(way["rates"].as_array().unwrap().len(), 3, "{way}");
        assert!(way["count"].as_u64().unwrap() >= 3, "one in each round at least: {way}");
        assert!(figure("rate") > 0.0 && figure("ratio") > 0.0, "{way}");
        assert!(figure("median") <= figure("p99") && figure("p99") <= figure("longest"), "{way}");
        assert_eq!(way["raw"], number < 3, "{way}");
        assert_eq!(way["at_risk"].is_null(), number < 3, "{way}");
    }
    assert_eq!(ways[1]["ratio"], 1.0, "fdatasync is the yardstick");
    let all_at_a_time = ways[7]["count"].as_u64().unwrap();
    assert!(all_at_a_time >= 300 && all_at_a_time.is_multiple_of(100), "{}", ways[7]);
    for clients in [(3, 1), (4, 4), (5, 16), (6, 64)] {
        assert!(ways[clients.0]["count"].as_u64().unwrap() >= 3 * clients.1, "each client");
    }
}

#[test]
fn sync_prints_tables_and_bars_of_80_columns() {
    let text = printed("sync", &["--seconds", "0.003"]);
    for expected in
        ["pwrite + fdatasync", "group commit, 64 clients", "× raw", "nothing acknowledged"]
    {
        assert!(text.contains(expected), "{expected:?} is missing:\n{text}");
    }
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines {
        assert!(line.chars().count() <= 80, "too wide: {line}");
        assert!(!line.contains('\u{1b}'), "no colours off a terminal: {line:?}");
    }
    let is_bar = |line: &&&str| line.contains(['█', '▏', '▎', '▍', '▌', '▋', '▊', '▉']);
    assert_eq!(lines.iter().filter(is_bar).count(), 11, "{text}");
}

/// A run of the experiment: what was kept, when it was flushed.
fn run_of<'r>(report: &'r Value, log: &str, flushed: &str, puts: impl Into<Value>) -> &'r Value {
    let (puts, runs) = (puts.into(), report["runs"].as_array().unwrap());
    let found: Vec<&Value> =
        runs.iter().filter(|run| run["log"] == log && run[flushed] == puts).collect();
    found[0]
}

#[test]
fn a_kill_in_mid_flight_loses_what_theory_says() {
    let report = json("loss", &["--puts", "60"]);
    assert_eq!((&report["ok"], &report["puts"]), (&true.into(), &60.into()));
    assert_eq!((&report["million"], report["runs"].as_array().unwrap().len()), (&false.into(), 4));
    for (log, flush_after, flushed) in [
        ("off", Value::Null, 0),
        ("off", 30.into(), 30),
        ("commit", Value::Null, 0),
        ("commit", 30.into(), 30),
    ] {
        let run = run_of(&report, log, "flush_after", flush_after);
        let number = |name: &str| run[name].as_u64().unwrap();
        let acknowledged = number("acknowledged");
        assert!(acknowledged >= 60, "{run}");
        assert_eq!(number("flushed"), flushed, "{run}");
        assert_eq!(number("found"), number("prefix"), "{run}");
        assert_eq!((&run["faults"], &run["seconds"]), (&Value::Array(vec![]), &Value::Null));
        if log == "off" {
            assert_eq!(
                (number("found"), number("lost")),
                (flushed, acknowledged - flushed),
                "{run}"
            );
            assert_eq!(number("redone"), 0, "there is no log to redo: {run}");
        } else {
            assert_eq!(number("lost"), 0, "{run}");
            assert!([0, 1].contains(&(number("found") - acknowledged)), "{run}");
            assert!(number("redone") >= acknowledged - flushed, "{run}");
        }
    }
}

#[test]
fn a_kill_after_the_last_put_loses_what_theory_says() {
    let report = json("loss", &["--million", "--puts", "1200"]);
    assert_eq!((&report["ok"], &report["million"]), (&true.into(), &true.into()));
    assert_eq!(report["runs"].as_array().unwrap().len(), 5);
    for (log, every, found) in [
        ("off", Value::Null, 0),
        ("off", 10_000.into(), 0),
        ("off", 1000.into(), 1000),
        ("buffered", Value::Null, 1200),
        ("commit", Value::Null, 1200),
    ] {
        let run = run_of(&report, log, "flush_every", every);
        assert_eq!((&run["acknowledged"], &run["found"]), (&1200.into(), &found.into()), "{run}");
        assert_eq!(
            (&run["lost"], &run["prefix"]),
            (&(1200 - found).into(), &found.into()),
            "{run}"
        );
        assert!(run["seconds"].as_f64().unwrap() > 0.0 && run["ratio"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(run_of(&report, "off", "flush_every", Value::Null)["ratio"], 1.0);
}

#[test]
fn loss_prints_a_table_and_how_far_it_is() {
    let within = directory();
    let output = bench("loss", within.path(), &["--puts", "40"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in ["4 processes killed", "after 20", "1 to 20", "none", "As it must be"] {
        assert!(text.contains(expected), "{expected:?} is missing:\n{text}");
    }
    assert!(!text.contains("WRONG"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let progress = String::from_utf8(output.stderr).unwrap();
    assert_eq!(progress.lines().count(), 40, "ten steps for each process:\n{progress}");
    assert!(progress.contains("log forced, flushed after 20: 40 put"), "{progress}");
}

#[test]
fn a_directory_that_cannot_be_used_is_wrong_usage() {
    let within = directory();
    let file = within.path().join("file");
    fs::write(&file, "something").unwrap();
    for experiment in ["sync", "loss"] {
        for directory in [within.path().join("none"), file.clone()] {
            let refused = bench(experiment, &directory, &["--json"]);
            assert_eq!(refused.status.code(), Some(2), "{refused:?}");
            assert!(refused.stdout.is_empty());
            let message = String::from_utf8(refused.stderr).unwrap();
            assert!(
                message.contains("cannot make a directory in") && message.contains("--dir"),
                "{message}"
            );
        }
    }
    assert_eq!(fs::read_dir(within.path()).unwrap().count(), 1);
}

/// Of memory that nobody named nothing is measured; of memory that somebody did it is said.
#[test]
fn a_directory_in_memory_is_refused_or_told() {
    let memory = Path::new("/dev/shm");
    let is_memory =
        fs::read_to_string("/proc/mounts").is_ok_and(|mounts| mounts.contains(" /dev/shm tmpfs "));
    if !is_memory {
        return;
    }
    let within = TempDir::new_in(memory).unwrap();
    let mut command = Command::new(PROGRAM);
    let refused = command.args(["bench", "sync"]).current_dir(within.path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8(refused.stderr).unwrap().contains("in memory"));
    let told = bench("loss", within.path(), &["--puts", "20", "--json"]);
    let report: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&report["in_memory"], &report["ok"]), (&true.into(), &true.into()));
    assert_eq!(fs::read_dir(within.path()).unwrap().count(), 0);
}

#[test]
fn wrong_arguments_end_with_code_2_and_help_with_0() {
    let within = directory();
    for wrong in [
        &["sync", "--seconds", "0"][..],
        &["sync", "--seconds", "nan"],
        &["loss", "--puts", "1"],
        &["loss", "x"],
        &["tape"],
        &[],
    ] {
        let mut command = Command::new(PROGRAM);
        let refused = command.arg("bench").args(wrong).current_dir(within.path()).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}");
    }
    for (experiment, expected) in [("sync", "at_risk"), ("loss", "flush_every")] {
        let help = bench(experiment, within.path(), &["--help"]);
        assert_eq!(help.status.code(), Some(0));
        let help = String::from_utf8(help.stdout).unwrap();
        for expected in ["Examples:", "The JSON object", expected] {
            assert!(help.contains(expected), "{expected} is missing:\n{help}");
        }
    }
    assert_eq!(fs::read_dir(within.path()).unwrap().count(), 0);
}

/// A database with the table that is put to, in which these pairs are.
fn left(pairs: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> TempDir {
    let directory = directory();
    let db = Options::new().open(directory.path()).unwrap();
    let table = db.table("puts").unwrap();
    db.load(&table, pairs).unwrap();
    db.close().unwrap();
    directory
}

#[test]
fn the_one_that_counts_finds_what_is_missing_and_what_was_never_put() {
    let work = Work { log: Log::Forced, flush: Flush::Never, tell_every: 1, last: None };
    let heard = Heard { put: 100, flushed: 0, took: None };
    let put = |number| (key_of(number), value_of(number));
    let faults = |directory: &TempDir| judge(&work, &heard, &count(directory.path()).unwrap());
    assert_eq!(faults(&left((1..=100).map(put))), [""; 0]);
    let missing = faults(&left((1..=99).map(put)));
    assert_eq!(missing, ["put 100 is missing, but 100 were acknowledged under the log"]);
    let gap = faults(&left((1..=100).filter(|number| *number != 50).map(put)));
    assert!(gap[0].contains("put 50 is missing") && gap[1].contains("50 later puts"), "{gap:?}");
    let stranger = left((1..=100).map(put).chain([(b"letter".to_vec(), b"dear".to_vec())]));
    assert_eq!(faults(&stranger), ["1 pairs are there that were never put: letter → dear"]);
    let mixed_up = faults(&left((1..=100).map(|number| (key_of(number), value_of(number % 100)))));
    assert!(
        mixed_up[0].contains("put 100 is missing") && mixed_up[1].contains("never put"),
        "{mixed_up:?}"
    );
}

fn putter(directory: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    command.arg("bench-putter").arg(directory).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn whoever_puts_ends_when_nobody_listens_any_more() {
    for more in [&[][..], &["--last", "3"]] {
        let directory = left([]);
        let arguments = [&["--log", "buffered", "--tell-every", "1"], more].concat();
        let mut child = putter(directory.path(), &arguments);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let lines = (&mut output).lines().map(Result::unwrap).take(3).collect::<Vec<_>>();
        assert_eq!(lines, ["put 1", "put 2", "put 3"]);
        if more.is_empty() {
            drop(output);
        } else {
            drop(child.stdin.take());
        }
        let mut messages = String::new();
        child.stderr.take().unwrap().read_to_string(&mut messages).unwrap();
        assert_eq!((child.wait().unwrap().code(), messages.as_str()), (Some(0), ""));
    }
}
