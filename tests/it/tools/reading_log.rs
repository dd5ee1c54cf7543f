//! `aries log`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use aries::ids::Lsn;
use aries::record::{LogRecord, PlainNames, what_it_does};
use serde_json::Value;

use super::{closed, crashed, flip_log, json, left_by, on, story, text};
use crate::common::{Story, Work, end_of_record, options, value};

/// All records from the story's first on, as the library reads them.
fn expected(story: &Story) -> Vec<Value> {
    let mut records = Vec::new();
    let mut at = story.start;
    while at < story.db.stats().end_lsn {
        let bytes = story.db.read_log(at).unwrap();
        let record = bytes.record();
        let (link, change) = (record.link(), record.page_changes().next());
        let undo_next_lsn = match &record {
            LogRecord::Compensation(clr) => clr.undo_next_lsn,
            LogRecord::NestedTopActionEnd(end) => end.undo_next_lsn,
            _ => None,
        };
        let end = end_of_record(&story.db, at);
        records.push(serde_json::json!({
            "lsn": at.get(),
            "txn": link.map(|link| link.txn.get()),
            "prev_lsn": link.and_then(|link| link.prev_lsn).map(Lsn::get),
            "kind": record.name(),
            "page": change.map(|change| change.page.0),
            "pages": record.page_changes().map(|change| change.page.0).collect::<Vec<_>>(),
            "prev_page_lsn": change.and_then(|change| change.prev_page_lsn).map(Lsn::get),
            "undo_next_lsn": undo_next_lsn.map(Lsn::get),
            "bytes": end.get() - at.get(),
            "what": what_it_does(&record, &PlainNames),
        }));
        at = end;
    }
    records
}

fn records(object: &Value) -> &[Value] {
    object["records"].as_array().unwrap()
}

#[test]
fn each_record_is_told_as_the_library_reads_it() {
    let story = story();
    let directory = crashed(&story);
    let log = json("log", directory.path(), &["--from", &story.start.to_string()], 0);
    let expected = expected(&story);
    assert_eq!(records(&log), expected);
    assert_eq!(
        (&log["end"], &log["fault"]),
        (&story.db.stats().end_lsn.get().into(), &Value::Null)
    );
    // The same in lines.
    let lines = text("log", directory.path(), &["--from", &story.start.get().to_string()], 0);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 1 + expected.len());
    for (line, record) in lines[1..].iter().zip(&expected) {
        let lsn = format!("{:012}  ", record["lsn"].as_u64().unwrap());
        assert!(line.starts_with(&lsn), "{line}");
        assert!(line.ends_with(record["what"].as_str().unwrap()), "{line}");
    }
    let whole = json("log", directory.path(), &[], 0);
    assert!(records(&whole).ends_with(&expected) && records(&whole).len() > expected.len());
}

#[test]
fn filters_leave_what_was_asked_for() {
    let story = story();
    let directory = crashed(&story);
    let all = expected(&story);
    let (t2, from) = (story.base + 2, story.start.to_string());
    let some = |arguments: &[&str], wanted: &dyn Fn(&Value) -> bool| {
        let arguments = [&["--from", &from], arguments].concat();
        let log = json("log", directory.path(), &arguments, 0);
        let wanted: Vec<Value> = all.iter().filter(|record| wanted(record)).cloned().collect();
        assert!(!wanted.is_empty() && wanted.len() < all.len());
        assert_eq!(records(&log), wanted, "{arguments:?}");
    };
    some(&["--txn", &format!("T{t2}")], &|record| record["txn"] == t2);
    some(&["--page", "P3"], &|record| record["page"] == 3);
    some(&["--page", "3", "--kind", "compensation"], &|record| {
        record["page"] == 3 && record["kind"] == "Compensation"
    });
    let to = all[5]["lsn"].as_u64().unwrap();
    some(&["--to", &to.to_string()], &|record| record["lsn"].as_u64().unwrap() <= to);
}

#[test]
fn a_chain_is_followed_backwards() {
    let story = story();
    let directory = crashed(&story);
    let whole = json("log", directory.path(), &[], 0);
    let t2 = story.base + 2;
    for (chain, pointer, of) in
        [(format!("T{t2}"), "prev_lsn", ("txn", t2)), ("P3".into(), "prev_page_lsn", ("page", 3))]
    {
        let log = json("log", directory.path(), &["--chain-of", &chain], 0);
        let mut backwards: Vec<Value> =
            records(&whole).iter().filter(|record| record[of.0] == of.1).cloned().collect();
        backwards.reverse();
        assert_eq!(records(&log), backwards, "{chain}");
        for pair in backwards.windows(2) {
            assert_eq!(pair[0][pointer], pair[1]["lsn"], "{chain}");
        }
    }
    text("log", directory.path(), &["--chain-of", "T99999"], 2);
}

#[test]
fn records_and_bytes_are_counted() {
    let story = story();
    let directory = crashed(&story);
    let whole = json("log", directory.path(), &[], 0);
    let stats = json("log", directory.path(), &["--stats"], 0);
    let sum = |of: &dyn Fn(&Value) -> bool| -> (u64, u64) {
        let wanted = records(&whole).iter().filter(|record| of(record));
        wanted.fold((0, 0), |sum, record| (sum.0 + 1, sum.1 + record["bytes"].as_u64().unwrap()))
    };
    let told = |kind: &Value, count: &str| {
        (kind[count].as_u64().unwrap(), kind["bytes"].as_u64().unwrap())
    };
    for kind in stats["kinds"].as_array().unwrap() {
        assert_eq!(told(kind, "records"), sum(&|record| record["kind"] == kind["kind"]));
    }
    assert_eq!(told(&stats, "count"), sum(&|_| true));
    let (start, end) = (stats["start"].as_u64().unwrap(), stats["end"].as_u64().unwrap());
    assert_eq!(end, story.db.stats().end_lsn.get());
    assert_eq!(start + sum(&|_| true).1 + stats["filled"].as_u64().unwrap(), end);
}

#[test]
fn damage_is_told_with_its_place_and_the_end_of_the_log_is_none() {
    let story = story();
    let log = expected(&story);
    // Behind this one later records bear witness that it had been durable.
    let damaged = Lsn::new(log[1]["lsn"].as_u64().unwrap()).unwrap();
    let directory = crashed(&story);
    flip_log(directory.path(), damaged, 30);
    for arguments in [&[][..], &["--stats"]] {
        let told = json("log", directory.path(), arguments, 1);
        let fault = told["fault"].as_str().unwrap();
        assert!(fault.contains(&damaged.to_string()), "{fault}");
        assert!(fault.contains("0000000000000001.seg"), "{fault}");
        assert_eq!(told["end"], damaged.get(), "what could be read was");
    }
    let last = Lsn::new(log.last().unwrap()["lsn"].as_u64().unwrap()).unwrap();
    let directory = crashed(&story);
    flip_log(directory.path(), last, 30);
    let told = json("log", directory.path(), &[], 0);
    assert_eq!(told["end"], last.get(), "nothing bears witness that it had been durable");
}

/// The master record points at a checkpoint only when it is complete: then its end record was durable, and all
/// before it.
#[test]
fn a_checkpoint_that_was_complete_bears_witness() {
    let directory = left_by(
        "fill pages=3 records=3\ncheckpoint begin\nT1: begin\nT1: update P1\ncheckpoint end\nkill\n",
    );
    let log = json("log", directory.path(), &[], 0);
    let update = records(&log).iter().rfind(|record| record["kind"] == "Update").unwrap();
    let update = Lsn::new(update["lsn"].as_u64().unwrap()).unwrap();
    flip_log(directory.path(), update, 20);
    let refused = on("restart", directory.path(), &["--dry-run"]);
    let refused = String::from_utf8(refused.stderr).unwrap();
    for arguments in
        [&[][..], &["--stats"], &["--chain-of", "P2"], &["--from", &update.to_string()]]
    {
        let told = json("log", directory.path(), arguments, 1);
        let fault = told["fault"].as_str().unwrap();
        assert!(fault.contains("which was complete"), "{arguments:?}: {fault}");
        assert_eq!(refused, format!("aries: {fault}\n"), "restart says the same");
        assert_eq!(told["end"], update.get(), "{arguments:?}");
    }
}

/// Another process reads along while this one commits, checkpoints and truncates.
#[test]
fn what_others_write_is_followed() {
    let directory = closed();
    let db = options().open(directory.path()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_aries"));
    command.args(["log", directory.path().to_str().unwrap(), "--follow", "--json"]);
    let from = db.stats().end_lsn.to_string();
    command.args(["--kind", "Commit", "--from", &from]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut work = Work::default();
    for round in 0..20 {
        work.commit_one(&db, &value(round, 40)).unwrap();
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let lsn = Lsn::new(line["lsn"].as_u64().unwrap()).unwrap();
        assert_eq!(db.read_log(lsn).unwrap().record().name(), "Commit");
        assert!(end_of_record(&db, lsn) <= db.stats().end_lsn);
        if round % 5 == 4 {
            db.flush_pages().unwrap();
            db.checkpoint().unwrap();
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Also when a test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The log is read while another process writes it, and recycles its segments: whatever was durable before is
/// seen, and nothing is taken for damage.
#[test]
fn a_log_that_is_being_written_and_recycled_can_be_read() {
    let directory = closed();
    let db = options().open(directory.path()).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let write = || {
            let mut work = Work::default();
            (0..10).for_each(|round| work.commit_one(&db, &value(round, 200)).unwrap());
            let ((page, slot), record) = work.records.pop_last().unwrap();
            for round in 0.. {
                let mut txn = db.begin().unwrap();
                for number in 0..20 {
                    txn.write_record(page, slot, 0, &value(round + number, record.len())).unwrap();
                }
                txn.commit().unwrap();
                if round % 10 == 0 {
                    db.flush_pages().unwrap();
                    db.checkpoint().unwrap();
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        };
        let writer = scope.spawn(write);
        let stopping = SetOnDrop(&stop);
        let mut starts = BTreeSet::new();
        for _ in 0..1000 {
            if starts.len() > 5 {
                break;
            }
            let durable = db.stats().flushed_lsn.get();
            let output = on("log", directory.path(), &["--stats", "--json"]);
            assert!(output.status.success(), "{output:?}");
            let told: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(told["end"].as_u64().unwrap() >= durable, "{told} lacks what was durable");
            starts.insert(told["start"].as_u64().unwrap());
        }
        drop(stopping);
        writer.join().unwrap();
        assert!(starts.len() > 5, "segments were recycled meanwhile: {starts:?}");
    });
}
