//! Where the log ends: scenarios 20 to 23.

use std::collections::BTreeSet;

use aries::disk::{Disk, Fault, FaultKind, PendingKind, SimDisk, Survivors};
use aries::error::Place;
use aries::ids::{Lsn, PageId, SlotId};
use aries::log::SEGMENT_HEADER_BYTES;
use aries::{Error, Transaction, record};

use crate::common::{Story, cut_log, end_of_record, image, try_open};

const SEGMENT: &str = "log/0000000000000001.seg";

/// The power fails at the sync of the next force: the log is written, and nothing of it is durable.
fn power_off_at_next_sync(story: &Story) {
    let at = story.disk.io_count() + 1;
    story.disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
}

fn force_without_sync(story: &Story) {
    power_off_at_next_sync(story);
    assert!(story.db.force_log().is_err());
}

/// T1 committed a change of P1; T2 changed P2 three times, and nobody forced that.
fn unforced_tail() -> (Story, Transaction) {
    let story = Story::new();
    let (mut t1, mut t2) = (story.begin(), story.begin());
    story.update(&mut t1, 1);
    t1.commit().unwrap();
    for _ in 0..3 {
        story.update(&mut t2, 2);
    }
    (story, t2)
}

/// Scenario 20, lost_tail (ARIES 1.4, 6): updates that nobody forced are gone, whether they were
/// still in memory or written and not synced; the log goes on right behind its last durable record.
#[test]
fn lost_tail() {
    for written in [false, true] {
        let (story, _t2) = unforced_tail();
        let durable_end = end_of_record(&story.db, story.lsn(1));
        if written {
            force_without_sync(&story);
        }
        let after = story.resume_on(&story.disk.crash(&Survivors::None));
        assert_eq!(after.db.restart_report().analysis.end, durable_end);
        assert_eq!(after.lsn(2), durable_end, "the next LSN");
        assert_eq!(
            after.log(),
            ["U(T1,P1)", "Commit T1", "Restart", "End T1", "Begin", "EndCheckpoint"]
        );
        assert_eq!(after.value(1, SlotId(0)), story.value(1, SlotId(0)));
        assert_eq!(after.value(2, SlotId(1)).unwrap(), b"....");
        // What comes now takes the place of what was lost.
        let mut t3 = after.begin();
        t3.write_record(PageId(2), SlotId(1), 0, b"next").unwrap();
        t3.commit().unwrap();
        let again = after.restart();
        assert_eq!(again.log()[..8], after.log()[..8]);
        assert_eq!(again.value(2, SlotId(1)).unwrap(), b"next");
    }
}

/// Scenario 20, the other outcome: what was written and not synced may also have survived. Then it
/// is history like any other: repeated and undone.
#[test]
fn surviving_tail() {
    let (story, _t2) = unforced_tail();
    force_without_sync(&story);
    let after = story.resume_on(&story.disk.crash(&Survivors::All));
    let history = ["U(T1,P1)", "Commit T1", "End T1", "U(T2,P2)", "U(T2,P2)", "U(T2,P2)"];
    assert_eq!(after.log()[..6], history);
    assert_eq!(after.appended_by_restart(), ["CLR(5)->4", "CLR(4)->3", "CLR(3)->nil", "End T2"]);
    assert_eq!(after.value(2, SlotId(1)).unwrap(), b"....");
}

/// Scenario 21, torn_tail_every_byte: the last force before the crash reached the disk only up to
/// some byte, and behind it stands what was there before, or garbage. The database opens; what was
/// acknowledged before is there; of the last force, whatever is whole counts.
#[test]
fn torn_tail_every_byte() {
    let story = Story::new();
    let (mut t1, mut t2) = (story.begin(), story.begin());
    story.update(&mut t1, 1);
    t1.commit().unwrap();
    let from = story.db.stats().flushed_lsn.get();
    story.update(&mut t2, 2);
    story.update(&mut t2, 3);
    t2.commit().unwrap();
    let to = story.db.stats().flushed_lsn.get();
    assert_eq!(story.log()[2..6], ["End T1", "U(T2,P2)", "U(T2,P3)", "Commit T2"]);
    let whole = story.disk.read_file(SEGMENT).unwrap();
    let commit = story.lsn(5).get() as usize;
    let commit_end = commit + record::stated_length(&whole[commit..]).unwrap();
    for garbage in [0x00, 0xA5] {
        for cut in from as usize..=to as usize {
            let mut torn = whole.clone();
            torn[cut..to as usize].fill(garbage);
            let disk = story.disk.crash(&Survivors::None);
            disk.write_file(SEGMENT, &torn);
            let after = story.resume_on(&disk);
            assert_eq!(after.value(1, SlotId(0)), story.value(1, SlotId(0)), "cut at {cut}");
            // Bytes that were zero are as they were even if they are lost.
            let committed = torn[..commit_end] == whole[..commit_end];
            for page in [2, 3] {
                let found = after.value(page, SlotId(1));
                if committed {
                    assert_eq!(found, story.value(page, SlotId(1)), "P{page}, cut at {cut}");
                } else {
                    assert_eq!(found.unwrap(), b"....", "P{page}, cut at {cut}");
                }
            }
        }
    }
}

/// Scenario 21 where the last force goes on into the next segment: also there the log may end in
/// the middle of a record, between two, behind the filler that ends a segment, and right at its
/// end.
#[test]
fn torn_tail_across_segments() {
    const BORDER: usize = 65536;
    let names = [SEGMENT, "log/0000000000000002.seg"];
    let story = Story::new();
    while story.db.stats().end_lsn.get() < BORDER as u64 - 800 {
        let mut txn = story.begin();
        story.update(&mut txn, 1);
        txn.commit().unwrap();
    }
    let (from, acknowledged) = (story.db.stats().flushed_lsn.get() as usize, story.contents());
    let mut last = story.begin();
    let mut page = 2;
    while story.db.stats().end_lsn.get() < BORDER as u64 + SEGMENT_HEADER_BYTES + 236 {
        story.update(&mut last, page);
        page += 1;
    }
    last.commit().unwrap();
    let to = story.db.stats().flushed_lsn.get() as usize;
    let whole = names.map(|name| story.disk.read_file(name).unwrap());
    let header = BORDER..BORDER + SEGMENT_HEADER_BYTES as usize;
    for cut in (from..=to).filter(|cut| !header.contains(cut) || *cut == BORDER) {
        let mut torn = whole.clone();
        torn[0][cut.min(BORDER)..].fill(0);
        torn[1][(cut.max(header.end) - BORDER)..].fill(0);
        let disk = story.disk.crash(&Survivors::None);
        names.iter().zip(&torn).for_each(|(name, bytes)| disk.write_file(name, bytes));
        let after = story.resume_on(&disk);
        let expected = if torn == whole { story.contents() } else { acknowledged.clone() };
        assert_eq!(after.contents(), expected, "cut at byte {cut}");
    }
}

/// T1 committed; T2's 80 updates and its commit record are written and not synced. Gives the story,
/// the sectors of the log that are not durable as (id, offset), and the LSNs of all records.
fn sectors_in_flight() -> (Story, Vec<(u64, u64)>, Vec<Lsn>) {
    let story = Story::new();
    let (mut t1, mut t2) = (story.begin(), story.begin());
    story.update(&mut t1, 1);
    t1.commit().unwrap();
    for n in 0..80 {
        story.update(&mut t2, 2 + n % 9);
    }
    let mut lsns: Vec<Lsn> = story.record_ends().into_iter().map(|(begin, _)| begin).collect();
    lsns.push(story.db.stats().end_lsn);
    power_off_at_next_sync(&story);
    assert!(matches!(t2.commit(), Err(Error::OutcomeUnknown { .. })));
    let sector = |pending: aries::disk::Pending| match pending.kind {
        PendingKind::Sector { offset, .. } if pending.name == SEGMENT => Some((pending.id, offset)),
        _ => None,
    };
    let mut sectors: Vec<_> = story.disk.pending().into_iter().filter_map(sector).collect();
    sectors.sort_by_key(|(_, offset)| *offset);
    assert!(sectors.len() > 8, "a tail of several sectors");
    (story, sectors, lsns)
}

fn crash_without(story: &Story, sectors: &[(u64, u64)], lost: usize) -> SimDisk {
    let kept = sectors.iter().enumerate().filter(|(index, _)| *index != lost);
    story.disk.crash(&Survivors::Chosen(kept.map(|(_, (id, _))| *id).collect()))
}

/// Scenario 22, hole_then_valid: of an unsynced tail one sector is lost, each in turn, while later
/// ones survived, a commit record among them. The log is cut, silently, at the first record that
/// the lost sector was part of.
#[test]
fn hole_then_valid() {
    let (story, sectors, lsns) = sectors_in_flight();
    for lost in 0..sectors.len() {
        let after = story.resume_on(&crash_without(&story, &sectors, lost));
        let sector_end = sectors[lost].1 + 512;
        let first_hit = lsns.iter().enumerate().find(|(index, _)| {
            let end = lsns.get(index + 1).map_or(u64::MAX, |next| next.get());
            *index > 1 && end > sectors[lost].1
        });
        let (_, hole) = first_hit.unwrap();
        assert!(hole.get() < sector_end);
        assert_eq!(after.db.restart_report().analysis.end, *hole, "sector {lost} lost");
        let mut expected = Story::new().contents();
        expected[0][0] = story.value(1, SlotId(0)).unwrap();
        assert_eq!(after.contents(), expected);
    }
}

/// Scenario 22, the other half: the new run writes records up to exactly the place where a stale
/// record of the lost run begins. That record is whole, and at its own LSN; it is not accepted,
/// because it is of an older epoch.
#[test]
fn stale_records_are_not_accepted() {
    let (story, sectors, lsns) = sectors_in_flight();
    let epoch = story.db.restart_report().epoch;
    let after = story.resume_on(&crash_without(&story, &sectors, 0));
    let stale: BTreeSet<Lsn> = lsns.into_iter().filter(|lsn| lsn.get() >= sectors[1].1).collect();
    let mut t3 = after.begin();
    let mut byte = 0;
    // Records of other lengths than the stale ones: the ends shift until they fall together.
    while !stale.contains(&after.db.stats().end_lsn) {
        byte += 1;
        t3.write_record(PageId(1), SlotId(3), 0, &[byte]).unwrap();
        assert!(after.db.stats().end_lsn < *stale.last().unwrap(), "one fits before the last");
    }
    let end = after.db.force_log().unwrap();
    let disk = after.disk.crash(&Survivors::None);
    let bytes = &disk.read_file(SEGMENT).unwrap()[end.get() as usize..];
    let length = record::stated_length(bytes).unwrap();
    assert!(record::verify(&bytes[..length], end, epoch), "the stale record is whole");

    let again = after.resume_on(&disk);
    assert_eq!(again.db.restart_report().analysis.end, end);
    let mut expected = Story::new().contents();
    expected[0][0] = story.value(1, SlotId(0)).unwrap();
    assert_eq!(again.contents(), expected);
}

/// Scenario 23, damage_in_durable_log: one bit of a record that had been durable is flipped, in
/// every byte in turn, and a later force is intact. Opening is refused, names the segment and the
/// record, and changes nothing.
#[test]
fn damage_in_durable_log() {
    let story = Story::new();
    let (mut t1, mut t2) = (story.begin(), story.begin());
    story.update(&mut t1, 1);
    story.update(&mut t1, 2);
    t1.commit().unwrap();
    let witnessed = story.db.stats().flushed_lsn;
    story.update(&mut t2, 3);
    t2.commit().unwrap();
    let whole = story.disk.crash(&Survivors::None);
    let bytes = whole.read_file(SEGMENT).unwrap();
    let mut lsn = story.db.master_record().checkpoint_lsn;
    let mut records = 0;
    while lsn < witnessed {
        let length = record::stated_length(&bytes[lsn.get() as usize..]).unwrap() as u64;
        for offset in 0..length {
            let disk = whole.crash(&Survivors::None);
            disk.flip_bit(SEGMENT, lsn.get() + offset, (offset % 8) as u8).unwrap();
            let before = image(&disk);
            let Err(Error::Corrupt { place, .. }) = try_open(&disk) else {
                panic!("byte {offset} of the record at {lsn}: opened, or another error");
            };
            let segment = disk.location().join(SEGMENT);
            assert_eq!(place, Place::Log { segment, lsn }, "byte {offset}");
            assert_eq!(image(&disk), before, "nothing was changed");
        }
        records += 1;
        lsn = end_of_record(&story.db, lsn);
    }
    assert_eq!(records, 5, "a checkpoint of two records, two updates, a commit");
    story.resume_on(&whole);
}

/// Scenario 23, the limit of what can be known: damage in the very last force has no witness, and
/// is cut like a torn tail. What was durable before is still there.
#[test]
fn damage_without_a_witness_is_cut() {
    let (story, _t2) = unforced_tail();
    let disk = story.crash();
    disk.flip_bit(SEGMENT, story.lsn(4).get() + 30, 0).unwrap();
    let after = story.resume_on(&disk);
    assert_eq!(after.db.restart_report().analysis.end, story.lsn(4));
    assert_eq!(after.appended_by_restart(), ["CLR(3)->nil", "End T2"]);
    assert_eq!(after.value(1, SlotId(0)), story.value(1, SlotId(0)));
    let cut = story.crash();
    cut_log(&cut, story.lsn(4));
    assert_eq!(story.resume_on(&cut).log(), after.log(), "the same as had it been torn there");
}
