//! Wrong orders made by hand: the calls of a real run are made again on a copy of its disk, with one of them left out or
//! made differently.

use std::sync::{Arc, Mutex};

use aries::config::{LogBlock, TornPageProtection};
use aries::crash::{Begin, Claim, Level, Monitor, OrderRule, Setting};
use aries::disk::{Call, Disk, SectorSize, SimDisk, Survivors, WatchedDisk, Watcher};
use aries::{Db, Result};

use crate::common::mend;

const LOG: &str = "log/0000000000000001.seg";

#[derive(Clone)]
enum Line {
    /// What the caller does from here on.
    Step(&'static str),
    Call(Call, Vec<u8>),
    Claim(Claim),
}

/// Notes what is done to a disk.
#[derive(Default)]
struct Tape(Mutex<Vec<Line>>);

impl Tape {
    fn note(&self, line: Line) {
        self.0.lock().unwrap().push(line);
    }
}

impl Watcher for Tape {
    fn before(&self, call: &Call, bytes: &[u8]) -> Result<()> {
        self.note(Line::Call(call.clone(), bytes.to_vec()));
        Ok(())
    }
}

/// A database, and what one run does to it: opening it, a change, a flush, a commit, the same again, a checkpoint.
struct Run {
    setting: Setting,
    disk: SimDisk,
    lines: Vec<Line>,
}

fn run(setting: Setting) -> Run {
    let disk = SimDisk::with_power_failure(setting.power);
    let db = setting.options().open_on(Arc::new(disk.clone())).unwrap();
    let mut txn = db.begin().unwrap();
    let pages = [0; 2].map(|_| txn.allocate_page().unwrap());
    let slot = pages.map(|page| txn.insert_record(page, b"old").unwrap())[0];
    txn.commit().unwrap();
    db.flush_pages().unwrap();
    db.close().unwrap();

    let disk = disk.crash(&Survivors::All);
    let tape = Arc::new(Tape::default());
    tape.note(Line::Step("open"));
    let copy = Arc::new(disk.crash(&Survivors::All));
    let watched = WatchedDisk::watched_by(copy, Arc::clone(&tape) as Arc<dyn Watcher>);
    let db: Db = setting.options().open_on(watched).unwrap();
    for (page, [flush, commit]) in
        pages.into_iter().zip([["flush 1", "commit 1"], ["flush 2", "commit 2"]])
    {
        let mut txn = db.begin().unwrap();
        txn.write_record(page, slot, 0, b"new").unwrap();
        tape.note(Line::Step(flush));
        db.flush_page(page).unwrap();
        tape.note(Line::Claim(Claim::Page(page)));
        tape.note(Line::Step(commit));
        let lsn = txn.commit().unwrap();
        tape.note(Line::Claim(Claim::Record(lsn)));
    }
    tape.note(Line::Step("checkpoint"));
    db.checkpoint().unwrap();
    let lines = tape.0.lock().unwrap().clone();
    Run { setting, disk, lines }
}

impl Run {
    /// Where the first such call of a step is.
    fn find(&self, wanted: &str, operation: &str, name: &str) -> usize {
        let mut step = "";
        let found = self.lines.iter().position(|line| match line {
            Line::Step(begins) => {
                step = begins;
                false
            }
            Line::Call(call, _) => {
                step == wanted && call.operation == operation && call.name == name
            }
            Line::Claim(_) => false,
        });
        found.unwrap_or_else(|| panic!("{wanted} has no {operation} of {name}"))
    }

    /// The same without that call.
    fn without(mut self, step: &str, operation: &str, name: &str) -> Self {
        self.lines.remove(self.find(step, operation, name));
        self
    }

    /// The same, but that other bytes are written.
    fn writing(mut self, step: &str, name: &str, change: impl FnOnce(&mut [u8])) -> Self {
        let at = self.find(step, "write", name);
        if let Line::Call(_, bytes) = &mut self.lines[at] {
            change(bytes);
        }
        self
    }

    fn without_promises(mut self) -> Self {
        self.lines.retain(|line| !matches!(line, Line::Claim(_)));
        self
    }

    /// Does it again, and something more; gives the rules that were broken, each once, in the order of time.
    fn broken(&self, more: impl FnOnce(&dyn Disk)) -> Vec<OrderRule> {
        let disk = self.disk.crash(&Survivors::All);
        let monitor = Monitor::new(&disk, &self.setting, Begin::of(&disk).unwrap());
        let watched = monitor.watched();
        for line in &self.lines {
            match line {
                Line::Step(_) => {}
                Line::Claim(promise) => monitor.claimed(*promise),
                Line::Call(call, bytes) => make(&*watched, call, bytes),
            }
        }
        more(&*watched);
        let mut rules: Vec<OrderRule> =
            monitor.out_of_order().iter().map(|found| found.rule).collect();
        rules.dedup();
        assert_eq!(monitor.check().is_err(), !rules.is_empty());
        rules
    }
}

fn make(disk: &dyn Disk, call: &Call, bytes: &[u8]) {
    match call.operation {
        "write" => disk.open(&call.name).unwrap().write_at(call.range.start, bytes).unwrap(),
        "sync" if ["", "log"].contains(&call.name.as_str()) => {
            disk.sync_directory(&call.name).unwrap()
        }
        "sync" => disk.open(&call.name).unwrap().sync_data().unwrap(),
        "open" | "read" | "look at" | "list" => {}
        other => panic!("the run has a call to {other} {}", call.name),
    }
}

fn nothing(_: &dyn Disk) {}

#[test]
fn what_the_engine_does_is_in_order() {
    for setting in super::settings() {
        assert_eq!(run(setting).broken(nothing), [], "{setting:?}");
    }
}

#[test]
fn a_sync_left_out_breaks_the_rule_that_asks_for_it() {
    let sound = || run(Setting::default());
    // The second sync of it: the first is of what was found there.
    let control = sound().without("open", "sync", "control").without("open", "sync", "control");
    for (broken, rules) in [
        (sound().without("flush 1", "sync", LOG), &[OrderRule::LogBeforePage][..]),
        (sound().without("flush 1", "sync", "doublewrite"), &[OrderRule::WholeElsewhere]),
        (
            sound().without("flush 1", "sync", "pages"),
            &[OrderRule::CleanWhenDurable, OrderRule::BatchKept],
        ),
        (sound().without("flush 1", "sync", "pages").without_promises(), &[OrderRule::BatchKept]),
        (sound().without("commit 1", "sync", LOG), &[OrderRule::ForceAtCommit]),
        (sound().without("checkpoint", "sync", LOG), &[OrderRule::MasterAfterCheckpoint]),
        (control, &[OrderRule::OlderMaster]),
    ] {
        assert_eq!(broken.broken(nothing), rules);
    }
}

#[test]
fn a_write_left_out_is_missed_by_what_builds_upon_it() {
    let sound = || run(Setting::default());
    for (broken, rule) in [
        (sound().without("flush 1", "write", LOG), OrderRule::LogBeforePage),
        (sound().without("flush 1", "write", "doublewrite"), OrderRule::WholeElsewhere),
        (sound().without("commit 2", "write", LOG), OrderRule::ForceAtCommit),
        (sound().without("checkpoint", "write", LOG), OrderRule::MasterAfterCheckpoint),
    ] {
        assert_eq!(broken.broken(nothing)[0], rule);
    }
}

/// With page images, the log has to make the very image that is written in place.
#[test]
fn a_page_that_the_log_does_not_make_is_not_whole_elsewhere() {
    let setting = Level::L1.setting(TornPageProtection::PageImages, SectorSize::Bytes512);
    let without = run(setting).without("flush 1", "write", LOG);
    assert_eq!(without.broken(nothing)[..2], [OrderRule::LogBeforePage, OrderRule::WholeElsewhere]);
    let other = run(setting).writing("flush 1", "pages", |page| page[511] ^= 1);
    assert_eq!(other.broken(nothing)[0], OrderRule::WholeElsewhere);
}

/// A master record that calls more of the log needless than its checkpoint's tables allow.
#[test]
fn the_master_record_says_what_its_checkpoint_needs() {
    let too_late = run(Setting::default()).writing("checkpoint", "control", |slot| {
        let checkpoint_lsn = u64::from_le_bytes(slot[64..72].try_into().unwrap());
        slot[80..88].copy_from_slice(&(checkpoint_lsn + 8).to_le_bytes());
        mend::control_slot(slot);
    });
    assert_eq!(too_late.broken(nothing), [OrderRule::LogKept]);
}

#[test]
fn log_that_a_checkpoint_needs_is_kept() {
    let sound = run(Setting::default());
    let taken: [fn(&dyn Disk); 3] = [
        |disk| disk.remove(LOG).unwrap(),
        |disk| disk.rename(LOG, "log/0000000000000009.seg").unwrap(),
        |disk| disk.open(LOG).unwrap().write_at(0, &[0; 4096]).unwrap(),
    ];
    for taken in taken {
        assert_eq!(sound.broken(taken), [OrderRule::LogKept]);
    }
    // The segment after it holds nothing yet.
    let next = "log/0000000000000002.seg";
    assert_eq!(sound.broken(|disk| disk.rename(next, "log/0000000000000009.seg").unwrap()), []);
}

#[test]
fn log_is_written_again_only_as_it_was_and_padded_blocks_never() {
    for setting in super::settings() {
        let sound = run(setting);
        let last = sound.lines.iter().rev().find_map(|line| match line {
            Line::Call(call, bytes) if (call.operation, call.name.as_str()) == ("write", LOG) => {
                Some((call, bytes))
            }
            _ => None,
        });
        let (call, bytes) = last.unwrap();
        let padded = setting.log_block != LogBlock::Rewritten;
        let again = sound.broken(|disk| make(disk, call, bytes));
        assert_eq!(again, if padded { &[OrderRule::LogOnlyGrows][..] } else { &[] });
        let mut changed = bytes.clone();
        changed[0] ^= 1;
        assert_eq!(sound.broken(|disk| make(disk, call, &changed)), [OrderRule::LogOnlyGrows]);
    }
}
