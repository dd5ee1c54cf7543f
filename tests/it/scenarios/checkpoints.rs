//! Checkpoints, the master record, and truncation of the log: scenarios 7, 8, 33 and 34.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aries::disk::{Fault, FaultKind, SimDisk, Survivors};
use aries::event::Event;
use aries::ids::{Lsn, PageId, SlotId, TxnId};
use aries::record::{LogRecord, max_record_bytes};
use aries::tables::TransactionState;
use aries::{Db, Transaction};

use crate::common::{Forge, Story, Trace, end_of_record, options, read_page_records};

/// Scenario 7, fuzzy_checkpoint_snapshot (ARIES 5.4): what was logged before the checkpoint began
/// is in its end record.
#[test]
fn fuzzy_checkpoint_snapshot() {
    let story = Story::new();
    let (mut t1, mut t2) = (story.begin(), story.begin());
    story.update(&mut t1, 1);
    let begun = story.db.begin_checkpoint().unwrap();
    story.update(&mut t2, 2);
    story.update(&mut t2, 2);
    story.db.complete_checkpoint(begun).unwrap();

    assert_eq!(story.log(), ["U(T1,P1)", "Begin", "U(T2,P2)", "U(T2,P2)", "EndCheckpoint"]);
    let bytes = story.db.read_log(story.lsn(4)).unwrap();
    let LogRecord::EndCheckpoint(end) = bytes.record() else { panic!("the end of a checkpoint") };
    assert!(end.dirty_pages.contains(&(PageId(1), story.lsn(0))));
    let (_, entry) = end.transactions.iter().find(|(txn, _)| *txn == t1.id()).unwrap();
    assert_eq!((entry.state, entry.last_lsn), (TransactionState::Active, Some(story.lsn(0))));
    assert_eq!(story.db.master_record().checkpoint_lsn, story.lsn(1));

    let after = story.restart();
    assert_eq!(after.db.restart_report().analysis.from, after.lsn(1));
    assert_eq!(after.losers(), ["T1", "T2"]);
    assert_eq!(after.contents(), Story::new().contents());
}

/// Scenario 7, the other half (ARIES 5.4): writes that come after the checkpoint began may be in
/// its end record or not; the restart is the same.
#[test]
fn fuzzy_checkpoint_snapshot_at_any_moment() {
    for moment in 0..=2 {
        let mut forge = Forge::new();
        forge.update(1, 1);
        let begin = forge.begin_checkpoint();
        let mut snapshot = forge.snapshot();
        for update in 1..=2 {
            forge.update(2, 2);
            if update <= moment {
                snapshot = forge.snapshot();
            }
        }
        forge.end_checkpoint(begin, &snapshot);
        let story = forge.restart();

        assert_eq!(story.dirty_after_analysis(), ["P1:0", "P2:2"], "at moment {moment}");
        assert_eq!(story.losers(), ["T1", "T2"]);
        assert_eq!(story.redo_decisions(), ["redone 0", "redone 2", "redone 3"]);
        assert_eq!(
            story.appended_by_restart(),
            ["CLR(3)->2", "CLR(2)->nil", "End T2", "CLR(0)->nil", "End T1"]
        );
        assert_eq!(story.contents(), Story::new().contents());
    }
}

const MANY_PAGES: u64 = 200;
const MANY_TRANSACTIONS: u64 = 300;

/// 200 dirty pages; 300 transactions, each with one update.
fn crowd(db: &Db) -> Vec<Transaction> {
    let mut setup = db.begin().unwrap();
    let mut pages = Vec::new();
    for _ in 0..MANY_PAGES {
        let page = setup.allocate_page().unwrap();
        setup.insert_record(page, b"aaaa").unwrap();
        setup.insert_record(page, b"aaaa").unwrap();
        pages.push(page);
    }
    setup.commit().unwrap();
    db.flush_pages().unwrap();
    db.checkpoint().unwrap();
    let update = |number: u64| {
        let mut txn = db.begin().unwrap();
        let page = pages[usize::try_from(number % MANY_PAGES).unwrap()];
        let slot = SlotId(u16::try_from(number / MANY_PAGES).unwrap());
        txn.write_record(page, slot, 0, b"bbbb").unwrap();
        txn
    };
    (0..MANY_TRANSACTIONS).map(update).collect()
}

/// What the end records of a checkpoint hold, each line once.
fn recorded(db: &Db, begin_lsn: Lsn) -> (u32, BTreeMap<PageId, Lsn>, BTreeSet<TxnId>) {
    let (mut parts, mut pages, mut transactions) = (0, BTreeMap::new(), BTreeSet::new());
    let mut at = end_of_record(db, begin_lsn);
    while at < db.stats().end_lsn {
        let bytes = db.read_log(at).unwrap();
        let LogRecord::EndCheckpoint(end) = bytes.record() else { panic!("an end record") };
        assert_eq!((end.begin_lsn, end.part), (begin_lsn, parts));
        for (page, rec_lsn) in end.dirty_pages {
            assert_eq!(pages.insert(page, rec_lsn), None, "{page} is there once");
        }
        for (txn, _) in end.transactions {
            assert!(transactions.insert(txn), "{txn} is there once");
        }
        parts += 1;
        let next = end_of_record(db, at);
        assert!(next.get() - at.get() <= max_record_bytes(512) as u64, "no record is too large");
        at = next;
        assert_eq!(
            end.parts == parts,
            at == db.stats().end_lsn,
            "the last part is the last record"
        );
    }
    (parts, pages, transactions)
}

/// Scenario 8, checkpoint_spans_records (ARIES 5.4): tables too large for one record take several
/// end records, and restart reads them all.
#[test]
fn checkpoint_spans_records() {
    let disk = SimDisk::new();
    let options = options().segment_bytes(1 << 20).buffer_pool_bytes(512 * 512);
    let db = options.open_on(Arc::new(disk.clone())).unwrap();
    let transactions = crowd(&db);
    let checkpoint = db.checkpoint().unwrap();

    let (parts, pages, recorded) = recorded(&db, checkpoint.begin_lsn);
    assert!(parts >= 10, "{parts} parts");
    assert_eq!(recorded, transactions.iter().map(Transaction::id).collect());
    assert_eq!(pages, db.dirty_page_table().iter().collect());
    assert_eq!(pages.len() as u64, MANY_PAGES);

    let trace = Trace::default();
    let disk = disk.crash(&Survivors::None);
    let after = trace.open_with(options, Arc::new(disk)).unwrap();
    let losers: BTreeSet<TxnId> = after.restart_report().analysis.losers.iter().copied().collect();
    assert_eq!(losers, recorded);
    let is_from_checkpoint = |event: &Event| match event {
        Event::PageDirty { page, rec_lsn, from_checkpoint: true, .. } => Some((*page, *rec_lsn)),
        _ => None,
    };
    let read: BTreeMap<_, _> = trace.events().iter().filter_map(is_from_checkpoint).collect();
    assert_eq!(read, pages);
    assert_eq!(after.restart_report().undo.compensations, MANY_TRANSACTIONS);
    assert_eq!(after.restart_report().undo.ended as u64, MANY_TRANSACTIONS);
    for page in pages.keys() {
        assert_eq!(read_page_records(&after, *page), [b"aaaa", b"aaaa"]);
    }
}

/// A story in which T1 committed a change of P1, and transactions T2 to T45, under way, fill more
/// than one end record.
fn before_checkpoint() -> (Story, Vec<Transaction>) {
    let story = Story::new();
    let mut t1 = story.begin();
    story.update(&mut t1, 1);
    t1.commit().unwrap();
    let update = |number: u64| {
        let mut txn = story.begin();
        story.update(&mut txn, 2 + number / 9);
        txn
    };
    let losers = (0..44).map(update).collect();
    (story, losers)
}

fn survivors() -> Vec<Survivors> {
    let random = (0..6).map(|seed| Survivors::Random { seed });
    [Survivors::None, Survivors::All].into_iter().chain(random).collect()
}

/// Scenario 33, checkpoint_crash_matrix (ARIES 5.4): the power fails at every I/O of a checkpoint
/// of several end records; the master record leads to the old checkpoint or to the new one, and
/// restart works.
#[test]
fn checkpoint_crash_matrix() {
    let (mut old_ones, mut new_ones) = (0, 0);
    for io in 0.. {
        let (story, losers) = before_checkpoint();
        let old = story.db.master_record().checkpoint_lsn;
        let at = story.disk.io_count() + io;
        story.disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
        let taken = story.db.checkpoint();
        for survivors in survivors() {
            let disk = story.disk.crash(&survivors);
            let after = story.resume_on(&disk);
            let from = after.db.restart_report().analysis.from;
            assert!(from >= old, "I/O {io}, {survivors:?}");
            *(if from == old { &mut old_ones } else { &mut new_ones }) += 1;
            let mut expected = Story::new().contents();
            expected[0][0] = story.value(1, SlotId(0)).unwrap();
            assert_eq!(after.contents(), expected, "I/O {io}, {survivors:?}");
        }
        drop(losers);
        if taken.is_ok() {
            assert!(io >= 4, "log written and synced, control file written and synced");
            break;
        }
    }
    assert!(old_ones > 0 && new_ones > 0, "{old_ones} old checkpoints, {new_ones} new ones");
}

/// Scenario 33, the control slot (ARIES 5.4): torn at every byte of its write, it leads to the old
/// checkpoint; only whole to the new one.
#[test]
fn torn_control_slot() {
    let (story, _losers) = before_checkpoint();
    let before = story.disk.read_file("control").unwrap();
    let old = story.db.master_record().checkpoint_lsn;
    let new = story.db.checkpoint().unwrap().begin_lsn;
    let whole = story.disk.read_file("control").unwrap();
    let differs = |(_, (old, new)): &(usize, (&u8, &u8))| old != new;
    let changed: Vec<usize> =
        before.iter().zip(&whole).enumerate().filter(differs).map(|(at, _)| at).collect();
    let (first, last) = (changed[0], changed[changed.len() - 1]);
    assert!(first / 4096 == last / 4096, "one slot was written");
    for cut in first..=last + 1 {
        let disk = story.disk.crash(&Survivors::None);
        disk.write_file("control", &[&whole[..cut], &before[cut..]].concat());
        let after = story.resume_on(&disk);
        let expected = if cut > last { new } else { old };
        assert_eq!(after.db.restart_report().analysis.from, expected, "cut at byte {cut}");
    }
}

/// A committed change of one of pages P2 to P10, over and over, through several segments; every so
/// often those pages are written and a checkpoint is taken.
fn fill_segments(story: &Story, segments: u64) {
    let end = story.db.stats().end_lsn.get() + segments * 65536;
    let mut round = 0_u64;
    while story.db.stats().end_lsn.get() < end {
        let mut txn = story.begin();
        let page = PageId(2 + round % 9);
        txn.write_record(page, SlotId(8), 0, &u32::try_from(round).unwrap().to_le_bytes()).unwrap();
        txn.commit().unwrap();
        round += 1;
        if round.is_multiple_of(100) {
            (2..=10).for_each(|page| story.db.flush_page(PageId(page)).unwrap());
            story.db.checkpoint().unwrap();
        }
    }
}

/// Numbers of the segments that are there.
fn segments(disk: &SimDisk) -> Vec<u64> {
    let number = |name: String| name.trim_end_matches(".seg").parse().unwrap();
    aries::disk::Disk::list(disk, "log").unwrap().into_iter().map(number).collect()
}

/// Scenario 34, truncation_keeps_what_is_needed (ARIES 5.4): a transaction under way keeps the log
/// from its first record on, through any number of checkpoints; when it has ended the log is
/// truncated.
#[test]
fn truncation_keeps_what_a_loser_needs() {
    let story = Story::new();
    let mut t1 = story.begin();
    let first = story.update(&mut t1, 1);
    story.db.flush_page(PageId(1)).unwrap(); // So that it is not the page that keeps the log.
    fill_segments(&story, 4);
    assert!(story.db.stats().oldest_required_lsn <= first);
    assert_eq!(segments(&story.disk)[0], 1, "the loser's first record is in segment 1");
    let after = story.resume_on(&story.disk.crash(&Survivors::None));
    assert_eq!(after.losers(), ["T1"]);
    assert_eq!(after.value(1, SlotId(0)).unwrap(), b"....");

    t1.rollback().unwrap();
    story.db.flush_pages().unwrap();
    truncated_up_to_now(&story);
}

/// Scenario 34 for a dirty page (ARIES 5.4): a page that is not written keeps the log from its
/// `rec_lsn` on.
#[test]
fn truncation_keeps_what_a_dirty_page_needs() {
    let story = Story::new();
    let mut t1 = story.begin();
    let rec_lsn = story.update(&mut t1, 1);
    t1.commit().unwrap();
    let value = story.value(1, SlotId(0));
    fill_segments(&story, 4);
    assert!(story.db.stats().oldest_required_lsn <= rec_lsn);
    assert_eq!(story.db.dirty_page_table().rec_lsn(PageId(1)), Some(rec_lsn));
    assert_eq!(segments(&story.disk)[0], 1, "the page's first record is in segment 1");
    let after = story.resume_on(&story.disk.crash(&Survivors::None));
    assert_eq!(after.db.restart_report().redo.from, Some(rec_lsn));
    assert_eq!(after.value(1, SlotId(0)), value);

    story.db.flush_page(PageId(1)).unwrap();
    truncated_up_to_now(&story);
}

/// Two checkpoints, one for each control slot, and nothing from before is there any more.
fn truncated_up_to_now(story: &Story) {
    let current = story.db.stats().end_lsn.get() / 65536 + 1;
    assert!(current > 4);
    story.db.flush_pages().unwrap();
    story.db.checkpoint().unwrap();
    let checkpoint = story.db.checkpoint().unwrap();
    let needed = checkpoint.oldest_required_lsn.get() / 65536 + 1;
    assert!(segments(&story.disk)[0] >= needed.min(current), "{:?}", segments(&story.disk));
    let value = story.value(1, SlotId(0));
    let after = story.resume_on(&story.disk.crash(&Survivors::None));
    assert_eq!(after.value(1, SlotId(0)), value);
}
