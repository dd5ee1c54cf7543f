//! Crashes wherever they can come, restart included: scenarios 27 and 41.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aries::disk::{Disk, Fault, FaultKind, SimDisk, Survivors};
use aries::ids::{PageId, SlotId};
use aries::log::ControlFile;
use aries::{Db, Error, Result};

use crate::common::{Story, cut_log, try_open, watched_disk};

type Contents = Vec<Vec<Vec<u8>>>;

/// What every recovery of one crash must lead to.
struct Expected {
    story: Story,
    contents: Contents,
    /// Updates to be undone: each has one compensation record in the end.
    undone: Vec<usize>,
    history: Vec<String>,
}

/// T1 committed; T2 and T3 are losers, with more pages than the pool has frames, so that undo
/// steals pages and forces the log; T2 has rolled back to a savepoint and ended a nested top
/// action; T4 was rolled back. Gives the disk after the crash.
fn crashed() -> (Expected, SimDisk) {
    let story = Story::new();
    let (mut t1, mut t2, mut t3) = (story.begin(), story.begin(), story.begin());
    let mut t4 = story.begin();
    let mut losers = Vec::new();
    for page in 1..=24 {
        if page <= 4 {
            story.update(&mut t1, page);
            story.update(&mut t4, page);
        }
        story.update(&mut t2, page);
        if page >= 8 {
            story.update(&mut t3, page);
        }
        if page == 12 {
            t2 = with_partial_rollback(&story, t2);
        }
    }
    t4.rollback().unwrap();
    t1.commit().unwrap();
    story.update(&mut t3, 1);
    let disk = story.crash();

    let history = story.log();
    let nested = history.iter().position(|text| text.starts_with("EndNested T2")).unwrap();
    for (index, text) in history.iter().enumerate() {
        let by_loser = ["U(T2,", "U(T3,", "U(T4,"].iter().any(|start| text.starts_with(start));
        if by_loser && index + 1 != nested {
            losers.push(index);
        }
    }
    let mut contents = Story::new().contents();
    for page in 1..=4 {
        contents[page - 1][0] = story.value(page as u64, SlotId(0)).unwrap();
    }
    contents[23][8] = b"kept".to_vec();
    (Expected { story, contents, undone: losers, history }, disk)
}

/// Two updates that are undone at once, and a nested top action.
fn with_partial_rollback(story: &Story, mut txn: aries::Transaction) -> aries::Transaction {
    let savepoint = txn.savepoint().unwrap();
    story.update(&mut txn, 20);
    story.update(&mut txn, 21);
    txn.rollback_to(savepoint).unwrap();
    let mut action = txn.nested_top_action().unwrap();
    action.write_record(PageId(24), SlotId(8), 0, b"kept").unwrap();
    action.end().unwrap();
    txn
}

impl Expected {
    /// Recovers to the end, and compares.
    fn check(&self, disk: &SimDisk, place: &str) {
        let after = self.story.resume_on(&disk.crash(&Survivors::None));
        assert_eq!(after.contents(), self.contents, "{place}");
        let log = after.log();
        assert_eq!(log[..self.history.len()], self.history, "{place}");
        let mut compensated: Vec<usize> = log
            .iter()
            .filter_map(|text| text.strip_prefix("CLR(")?.split(')').next()?.parse().ok())
            .collect();
        compensated.sort_unstable();
        assert_eq!(compensated, self.undone, "{place}: one compensation for each\n{log:#?}");
        for loser in ["End T2", "End T3"] {
            assert_eq!(log.iter().filter(|text| *text == loser).count(), 1, "{place}: {loser}");
        }
        assert!(after.db.transaction_table().is_empty(), "{place}");
    }

    /// Lets restart crash at every `stride`-th I/O, and hands on what is left: to further crashed
    /// restarts, `strides` says how many levels of them, and to a restart that comes through.
    fn crash_restarts(&self, disk: &SimDisk, strides: &[u64], place: &str) {
        let Some((stride, deeper)) = strides.split_first() else { return };
        // Different restarts are cut at different I/Os.
        let mut io = place.len() as u64 % stride;
        loop {
            let running = disk.crash(&Survivors::None);
            let at = running.io_count() + io;
            running.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
            let done = try_open(&running).is_ok();
            let random = [0, 1].map(|seed| Survivors::Random { seed: seed + 2 * io });
            for survivors in [Survivors::None, Survivors::All].into_iter().chain(random) {
                let left = running.crash(&survivors);
                let place = format!("{place} > I/O {io}, {survivors:?}");
                self.check(&left, &place);
                let odd = matches!(survivors, Survivors::Random { .. });
                if !done && odd == (io % 2 == 1) && survivors != Survivors::All {
                    self.crash_restarts(&left, deeper, &place);
                }
            }
            if done {
                return;
            }
            io += stride;
        }
    }
}

/// Scenario 27, crash_in_each_phase (ARIES 6): the power fails at every I/O of restart: in
/// analysis, between redos, between compensations, in the final checkpoint. Whatever is left is
/// recovered to the same state, with exactly one compensation record for each undone update.
#[test]
fn crash_in_each_phase() {
    let (expected, disk) = crashed();
    assert_eq!(expected.undone.len(), 24 + 17 + 4 + 2 + 1);
    expected.crash_restarts(&disk, &[1], "restart");
}

/// Scenario 27, nested three deep (ARIES 6): restarts of restarts of restarts crash, at some of
/// their I/Os.
#[test]
fn crash_in_each_phase_three_deep() {
    let (expected, disk) = crashed();
    expected.crash_restarts(&disk, &[12, 37, 41], "restart");
}

/// Scenario 27, with the log forced after each record (ARIES 6.3): restart crashes after each
/// compensation and end record that it writes, that record and all before it being durable, and no
/// page written.
#[test]
fn crash_after_each_compensation() {
    const SEGMENT: &str = "log/0000000000000001.seg";
    let (expected, disk) = crashed();
    let whole = expected.story.resume_on(&disk.crash(&Survivors::None));
    let log = whole.disk.crash(&Survivors::None).read_file(SEGMENT).unwrap();
    let epoch = whole.db.restart_report().epoch;
    let ends = whole.record_ends();
    let restart = whole.log().iter().rposition(|text| text == "Restart").unwrap();
    for (_, end) in &ends[restart..] {
        let crashed = disk.crash(&Survivors::None);
        let begun = ControlFile::open(&crashed).unwrap().update_both(|master| master.epoch = epoch);
        begun.unwrap();
        crashed.write_file(SEGMENT, &log);
        cut_log(&crashed, *end);
        expected.check(&crashed, &format!("crash with the log up to {end}"));
    }
    assert!(ends.len() - restart > 40, "many compensations");
}

/// Opens the database in a process that is killed at its `calls`-th I/O: from there on nothing
/// reaches the disk, but what did stays in the page cache.
fn killed_after(disk: &SimDisk, calls: u64) -> Arc<dyn Disk> {
    let left = AtomicU64::new(calls);
    watched_disk(disk, move |call| {
        let alive = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        let killed = std::io::Error::from(std::io::ErrorKind::Interrupted);
        alive.map(drop).map_err(|_| Error::from_io(call.operation, call.name.as_str(), killed))
    })
}

/// Commits changes of three pages each, one after the other. `acknowledged` counts commits that
/// returned.
fn commit_some(story: &Story, acknowledged: &mut usize) -> Result<()> {
    for round in 0..8 {
        let mut txn = story.db.begin()?;
        for page in [1 + 3 * round, 2 + 3 * round, 24 - round] {
            story.try_update(&mut txn, page)?;
        }
        txn.commit()?;
        *acknowledged += 1;
        match round {
            2 => story.db.flush_page(PageId(4))?,
            4 => story.db.flush_pages()?,
            5 => drop(story.db.checkpoint()?),
            _ => {}
        }
    }
    Ok(())
}

/// The contents after each number of commits.
fn states() -> BTreeMap<Contents, usize> {
    let mut states = BTreeMap::new();
    let story = Story::new();
    states.insert(story.contents(), 0);
    for round in 0..8 {
        let mut txn = story.begin();
        for page in [1 + 3 * round, 2 + 3 * round, 24 - round] {
            story.update(&mut txn, page);
        }
        txn.commit().unwrap();
        states.insert(story.contents(), round as usize + 1);
    }
    assert_eq!(states.len(), 9);
    states
}

/// I/Os of making a story, so that only what comes later is killed.
fn calls_to_begin() -> u64 {
    Story::new().disk.io_count()
}

/// What the second process came to.
#[derive(Default)]
struct Second {
    /// How many of the first one's commits it found, once it was open.
    found: Option<usize>,
    /// Whether its own commit was acknowledged.
    acknowledged: bool,
    /// Whether it did all that it wanted to do.
    done: bool,
}

/// The second process: recovers, commits once more, on P24, and writes that page: what the
/// double-write file had of the first process is gone then.
fn recover_and_commit(
    disk: &SimDisk,
    states: &BTreeMap<Contents, usize>,
    second: &mut Second,
) -> Result<()> {
    let db = try_open(disk)?;
    second.found = Some(states[&contents_of(&db)?]);
    let mut txn = db.begin()?;
    txn.write_record(PageId(24), SlotId(8), 0, b"2nd!")?;
    txn.commit()?;
    second.acknowledged = true;
    db.flush_page(PageId(24))?;
    second.done = true;
    Ok(())
}

fn contents_of(db: &Db) -> Result<Contents> {
    let page = |number| {
        let guard = db.fix_page(PageId(number))?;
        Ok(aries::page::slots(guard.bytes()).map(|(_, _, bytes)| bytes.to_vec()).collect())
    };
    (1..=24).map(page).collect()
}

/// Scenario 41, kill_then_power (ARIES 6): a process is killed at every I/O; what it wrote is in
/// the page cache. The next one recovers from there, and the power fails at some I/O of it, or
/// later. What the second process showed to anybody, and what either acknowledged, is there in the
/// third.
#[test]
fn kill_then_power() {
    let (states, begun) = (states(), calls_to_begin());
    let mut relied = 0;
    for kill in 0.. {
        let mut finished = false;
        for power in (kill % 2..).step_by(2) {
            let disk = SimDisk::new();
            let story = Story::on(&disk, killed_after(&disk, begun + kill));
            let mut acknowledged = 0;
            finished = commit_some(&story, &mut acknowledged).is_ok();
            let at = disk.io_count() + power;
            disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
            let mut second = Second::default();
            let done = recover_and_commit(&disk, &states, &mut second);
            assert_eq!(done.is_ok(), second.done, "{done:?}");
            let place = format!("killed at I/O {kill}, power off at I/O {power}");
            if let Some(found) = second.found {
                assert!(found == acknowledged || found == acknowledged + 1, "{place}");
                relied += 1;
            }
            for survivors in [Survivors::None, Survivors::Random { seed: kill + 999 * power }] {
                let third = story.resume_on(&disk.crash(&survivors));
                let mut contents = third.contents();
                let own = std::mem::replace(&mut contents[23][8], b"....".to_vec());
                let left = states[&contents];
                assert_eq!(
                    left,
                    second.found.unwrap_or(left),
                    "{place}: shown by the second process"
                );
                assert!(left == acknowledged || left == acknowledged + 1, "{place}");
                assert!(
                    !second.acknowledged || own == b"2nd!",
                    "{place}: acknowledged by the second process"
                );
            }
            if second.done {
                break;
            }
        }
        if finished {
            assert!(kill > 30, "{kill} I/Os");
            break;
        }
    }
    assert!(relied > 50, "{relied}");
}
