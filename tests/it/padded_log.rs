//! Logs whose durable blocks are never written again, on disks that turn torn blocks into garbage.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use aries::config::LogBlock;
use aries::disk::{Disk, Fault, FaultKind, PendingKind, SimDisk, Survivors};
use aries::event::Event;
use aries::{Db, Error, Result};

use crate::common::{Call, SEGMENT_BYTES, Work, options, value, watched_disk};

const PADDED: [LogBlock; 2] = [LogBlock::Padded(512), LogBlock::Padded(4096)];

/// Bytes of a block that must not be written again.
fn bytes_of(block: LogBlock) -> u64 {
    match block {
        LogBlock::Padded(bytes) => bytes,
        _ => 4096,
    }
}

/// Commits, rolls back, writes pages, checkpoints; fills segments, so that they are recycled.
fn history(db: &Db, work: &mut Work) -> Result<()> {
    for number in 0..14 {
        work.commit_one(db, &value(number, 30))?;
        match number {
            2 => db.flush_pages()?,
            3 | 9 => db.checkpoint().map(drop)?,
            5 => {
                let mut txn = db.begin()?;
                let page = txn.allocate_page()?;
                let slot = txn.insert_record(page, &[0; 400])?;
                for fill in 0..50 {
                    txn.write_record(page, slot, 0, &[fill; 400])?;
                }
                db.force_log()?;
                txn.rollback()?;
            }
            8 => db.flush_pages()?,
            _ => {}
        }
        db.step()?;
    }
    Ok(())
}

/// Which blocks of the log, by their number in all of the log, hold durable bytes; and which of them
/// were written again.
#[derive(Default)]
struct Blocks {
    size: u64,
    written: BTreeSet<u64>,
    durable: BTreeSet<u64>,
    written_again: BTreeSet<u64>,
    /// Segments whose header was written again: only right if they are recycled.
    headers: BTreeSet<String>,
}

impl Blocks {
    fn of(&self, start: u64, end: u64) -> std::ops::Range<u64> {
        start / self.size..end.div_ceil(self.size)
    }

    fn call(&mut self, call: &Call) {
        let Some(number) = segment_number(&call.name) else { return };
        let start = (number - 1) * SEGMENT_BYTES;
        match call.operation {
            "rename" => drop(self.headers.remove(&call.name)),
            "sync" => {
                let (mine, others) = std::mem::take(&mut self.written)
                    .into_iter()
                    .partition(|block| block * self.size / SEGMENT_BYTES + 1 == number);
                self.written = others;
                let mine: BTreeSet<u64> = mine;
                self.durable.extend(mine);
            }
            // A new segment is filled with zeros: they are no part of the log.
            "write" if call.range == (0..SEGMENT_BYTES) => {}
            "write" => {
                let range = self.of(start + call.range.start, start + call.range.end);
                let again: Vec<u64> =
                    range.clone().filter(|block| self.durable.contains(block)).collect();
                if call.range == (0..4096) && !again.is_empty() {
                    self.headers.insert(call.name.clone());
                } else {
                    self.written_again.extend(again);
                }
                self.written.extend(range);
            }
            _ => {}
        }
    }

    /// What restart takes for the log is built upon, synced by it or not.
    fn event(&mut self, event: &Event) {
        if let Event::LogEndFound { end, .. } = event {
            self.durable.insert((end.get() - 1) / self.size);
            let end = self.of(0, end.get()).end;
            let found = self.written.iter().filter(|block| **block < end).copied();
            self.durable.extend(found.collect::<Vec<_>>());
            self.written.clear();
        }
    }
}

fn segment_number(name: &str) -> Option<u64> {
    name.strip_prefix("log/")?.strip_suffix(".seg")?.parse().ok()
}

/// Several histories one after the other, with crashes of all kinds between them: gives the blocks
/// that were written again although they held durable log.
fn blocks_written_again(block: LogBlock) -> BTreeSet<u64> {
    let blocks = Arc::new(Mutex::new(Blocks { size: bytes_of(block), ..Blocks::default() }));
    let mut work = Work::default();
    let mut disk = ended_within_a_block(&mut work);
    for round in 0..8_u64 {
        let (calls, events) = (Arc::clone(&blocks), Arc::clone(&blocks));
        let watched = watched_disk(&disk, move |call| {
            calls.lock().unwrap().call(call);
            Ok(())
        });
        let observer = move |event: &Event| events.lock().unwrap().event(event);
        let db = options().log_block(block).observer(Arc::new(observer)).open_on(watched).unwrap();
        let headers = std::mem::take(&mut blocks.lock().unwrap().headers);
        assert!(headers.is_empty() || block == LogBlock::Rewritten, "round {round}: {headers:?}");
        check(&db, &work).unwrap();
        let at = disk.io_count() + 90 + 37 * round;
        if round % 4 != 3 {
            disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
        }
        let _ = history(&db, &mut work);
        disk = match round % 4 {
            0 => disk.crash(&Survivors::All),
            1 => disk.crash(&Survivors::None),
            2 => disk.crash(&Survivors::Random { seed: round }),
            _ => disk, // Only the process dies.
        };
        drop(db);
    }
    let blocks = blocks.lock().unwrap();
    assert!(blocks.durable.len() > 100, "only {} blocks were durable", blocks.durable.len());
    blocks.written_again.clone()
}

/// A log that was not padded, and ends in the middle of a block.
fn ended_within_a_block(work: &mut Work) -> SimDisk {
    let disk = SimDisk::new();
    let db = options().open_on(Arc::new(disk.clone())).unwrap();
    (0..3).for_each(|number| work.commit_one(&db, &value(number, 30)).unwrap());
    assert!(!db.force_log().unwrap().get().is_multiple_of(512));
    disk.crash(&Survivors::None)
}

#[test]
fn no_durable_block_of_a_padded_log_is_written_again() {
    for block in PADDED {
        assert_eq!(blocks_written_again(block), BTreeSet::new(), "{block:?}");
    }
    assert!(blocks_written_again(LogBlock::Rewritten).len() > 10, "else they are");
}

/// The power fails, and what of the log was not synced and did not survive is garbage now, and with it
/// the whole block of the device that it was part of.
fn crash_into_garbage(disk: &SimDisk, survivors: &Survivors, device_block: u64) -> SimDisk {
    let lost: BTreeSet<u64> = match survivors {
        Survivors::Chosen(kept) => {
            disk.pending().iter().map(|change| change.id).filter(|id| !kept.contains(id)).collect()
        }
        _ => disk.pending().iter().map(|change| change.id).collect(),
    };
    let after = disk.crash(survivors);
    for change in disk.pending() {
        let PendingKind::Sector { offset, .. } = change.kind else { continue };
        if segment_number(&change.name).is_none() || !lost.contains(&change.id) {
            continue;
        }
        let Ok(file) = after.open(&change.name) else { continue };
        let start = offset - offset % device_block;
        if file.len().unwrap() >= start + device_block {
            let garbage: Vec<u8> =
                (0..device_block).map(|byte| (byte * 37 + offset / 512) as u8 | 0x81).collect();
            file.write_at(start, &garbage).unwrap();
            file.sync_data().unwrap();
        }
    }
    after
}

/// A run began in the next block, and says in its restart record where the log ended. If a record
/// before is damaged then, the restart record must not be taken for what follows the damage.
#[test]
fn damage_before_a_run_that_began_in_the_next_block_is_not_stepped_over() {
    for block in PADDED {
        let mut refused = 0;
        for at in 0.. {
            let disk = ended_within_a_block(&mut Work::default());
            let db = options().open_on(Arc::new(disk.clone())).unwrap();
            let mut txn = db.begin().unwrap();
            txn.allocate_page().unwrap();
            let commit = txn.commit().unwrap();
            let end = db.force_log().unwrap().get();
            let disk = disk.crash(&Survivors::None);
            drop(db);
            disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
            let opened = options().log_block(block).open_on(Arc::new(disk.clone())).is_ok();
            let disk = disk.crash(&Survivors::None);
            let segment = disk.read_file("log/0000000000000001.seg").unwrap();
            let run = end.next_multiple_of(bytes_of(block)) as usize;
            let checkpoint = aries::log::ControlFile::open(&disk).unwrap().master().checkpoint_lsn;
            if segment[run] != 0 && checkpoint < commit {
                disk.flip_bit("log/0000000000000001.seg", commit.get() + 30, 1).unwrap();
                let error = options().open_on(Arc::new(disk)).err().unwrap();
                assert!(matches!(error, Error::Corrupt { .. }), "{error}");
                assert!(error.to_string().contains(&commit.to_string()), "{error}");
                refused += 1;
            }
            if opened {
                break;
            }
        }
        assert!(refused > 0, "{block:?}");
    }
}

/// None of what is pending, or a part of it.
fn fates(disk: &SimDisk, seed: u64) -> [Survivors; 3] {
    let ids: Vec<u64> = disk.pending().iter().map(|change| change.id).collect();
    let part = |odd| ids.iter().filter(|id| (*id + seed) % 2 == odd).copied().collect();
    [Survivors::None, Survivors::Chosen(part(0)), Survivors::Chosen(part(1))]
}

/// Commits some work, then more until the power fails at the I/O `at` of it; garbage; then the power
/// fails in the restart, too; garbage. Gives an error if something acknowledged is not there.
fn survives_garbage(block: LogBlock, at: u64, stride: usize) -> Result<bool> {
    let opened = |disk: &SimDisk| options().log_block(block).open_on(Arc::new(disk.clone()));
    let device_block = bytes_of(block);
    let disk = SimDisk::new();
    let mut work = Work::default();
    let db = opened(&disk)?;
    (0..3).for_each(|number| work.commit_one(&db, &value(number, 30)).unwrap());
    disk.inject(Fault { at: disk.io_count() + at, kind: FaultKind::PowerOff, forever: true });
    let done = history(&db, &mut work).is_ok();
    drop(db);
    for fate in fates(&disk, at) {
        let first = crash_into_garbage(&disk, &fate, device_block);
        for again in (at as usize % stride..).step_by(stride) {
            let second = first.crash(&Survivors::None);
            second.inject(Fault { at: again as u64, kind: FaultKind::PowerOff, forever: true });
            let complete = opened(&second).is_ok();
            for fate in fates(&second, at) {
                let third = crash_into_garbage(&second, &fate, device_block);
                check(&opened(&third)?, &work)?;
            }
            if complete {
                break;
            }
        }
    }
    Ok(done)
}

/// As [`Work::check`], but what differs is an error like any other.
fn check(db: &Db, work: &Work) -> Result<()> {
    let mut txn = db.begin()?;
    for ((page, slot), bytes) in work.records.iter().skip(1) {
        if txn.read_record(*page, *slot)?.as_ref() != Some(bytes) {
            return Err(Error::InvalidInput(format!(
                "record {page}.{slot} is not as acknowledged"
            )));
        }
    }
    Ok(())
}

#[test]
fn a_padded_log_survives_torn_blocks_that_become_garbage() {
    for block in PADDED {
        for at in 0.. {
            let done = survives_garbage(block, at, 17);
            if done.unwrap_or_else(|error| panic!("{block:?}, power off at {at}: {error}")) {
                break;
            }
        }
    }
}

/// So that the test above can fail: a log whose last block is written again does not survive that.
#[test]
fn a_rewritten_log_does_not_survive_torn_blocks_that_become_garbage() {
    let lost = (0..40).filter(|at| survives_garbage(LogBlock::Rewritten, *at, 50).is_err()).count();
    assert!(lost > 5, "only {lost} of 40");
}

/// Of a force of several blocks each block in turn is lost, others survive; runs of all kinds follow
/// each other, and each of them loses the power in its restart, or behind it.
#[test]
fn holes_of_all_kinds_are_cut_whatever_the_next_runs_do() {
    let kinds = [LogBlock::Rewritten, PADDED[0], PADDED[1]];
    for (first, seed) in kinds.into_iter().zip(0_u64..) {
        let disk = SimDisk::new();
        let db = options().log_block(first).open_on(Arc::new(disk.clone())).unwrap();
        let mut work = Work::default();
        (0..3).for_each(|number| work.commit_one(&db, &value(number, 30)).unwrap());
        let mut txn = db.begin().unwrap();
        let page = txn.allocate_page().unwrap();
        let slot = txn.insert_record(page, &[0; 400]).unwrap();
        (0..9).for_each(|fill| txn.write_record(page, slot, 0, &[fill; 400]).unwrap());
        disk.inject(Fault { at: disk.io_count() + 1, kind: FaultKind::PowerOff, forever: true });
        txn.commit().unwrap_err();
        let sectors: Vec<u64> = disk.pending().iter().map(|change| change.id).collect();
        assert!(sectors.len() > 10);
        for lost in 0..sectors.len() {
            let kept = sectors.iter().enumerate().filter(|(index, _)| *index != lost);
            let kept = Survivors::Chosen(kept.map(|(_, id)| *id).collect());
            let (mut disk, mut work) = (disk.crash(&kept), work.clone());
            for round in 0..7_u64 {
                let kind = kinds[((round + seed + lost as u64) * 7 / 4 % 3) as usize];
                let at = disk.io_count() + (5 * round + lost as u64) % 41;
                disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
                let opened = options().log_block(kind).open_on(Arc::new(disk.clone()));
                if let Ok(db) = opened {
                    let mut more = work.clone();
                    if more.commit_one(&db, &value(40 + round, 30)).is_ok() {
                        work = more;
                    }
                }
                disk = disk.crash(&Survivors::Random { seed: round * 100 + lost as u64 });
                let mut image = disk.crash(&Survivors::None);
                for kind in kinds {
                    let db = options().log_block(kind).open_on(Arc::new(image.clone())).unwrap();
                    check(&db, &work).unwrap();
                    image = image.crash(&Survivors::None);
                }
            }
        }
    }
}

#[test]
fn other_blocks_than_of_512_and_4096_bytes_are_refused() {
    for bytes in [0, 1, 511, 1_024, 8_192, u64::MAX] {
        let disk = SimDisk::new();
        let padded = options().log_block(LogBlock::Padded(bytes));
        let refused = padded.open_on(Arc::new(disk.clone())).err().unwrap();
        assert!(matches!(refused, Error::InvalidInput(_)), "{bytes}: {refused}");
        assert!(disk.list("").unwrap().is_empty());
    }
}
