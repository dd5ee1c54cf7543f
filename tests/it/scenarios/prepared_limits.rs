//! Transactions in doubt where something runs out, is wrong, or happens twice: scenario 35.

use std::collections::BTreeSet;
use std::thread;

use aries::disk::{Fault, FaultKind, Survivors};
use aries::error::Place;
use aries::ids::{PageId, SlotId};
use aries::record::LogRecord;
use aries::{Db, Error};

use crate::common::{Story, open, try_open};

fn no_such(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::NoSuchPrepared { .. }))
}

/// A global id has 1 to 200 bytes, and is that of one transaction in doubt. A transaction that cannot
/// be prepared is rolled back.
#[test]
fn global_ids() {
    let story = Story::new();
    let begun = || {
        let mut txn = story.begin();
        story.update(&mut txn, 1);
        txn
    };
    begun().prepare(&[7; 200]).unwrap();
    for wrong in [&[][..], &[7; 201], &[7; 200]] {
        let refused = begun().prepare(wrong);
        assert!(matches!(refused, Err(Error::InvalidInput(_))), "{} bytes", wrong.len());
        assert_eq!(story.db.stats().transactions, 1, "it was rolled back");
    }
    let after = story.restart();
    assert_eq!(after.in_doubt(), ["T1"]);
    let mut txn = after.begin();
    after.update(&mut txn, 2);
    assert!(matches!(txn.prepare(&[7; 200]), Err(Error::InvalidInput(_))));
    assert!(no_such(&after.db.rollback_prepared(&[7; 199])));
    after.db.commit_prepared(&[7; 200]).unwrap();
    assert!(no_such(&after.db.commit_prepared(&[7; 200]).map(drop)));
    let mut txn = after.begin();
    after.update(&mut txn, 2);
    txn.prepare(&[7; 200]).unwrap();
}

/// Of several who decide, one does; the others are told that nothing is in doubt.
#[test]
fn decided_once_by_many() {
    for round in 0..50 {
        let story = Story::new();
        let mut txn = story.begin();
        story.update(&mut txn, 1);
        txn.prepare(b"order 7").unwrap();
        let decide = |db: Db, commit: bool| {
            move || match commit {
                true => db.commit_prepared(b"order 7").map(drop),
                false => db.rollback_prepared(b"order 7"),
            }
        };
        let threads: Vec<_> = (0..4)
            .map(|number| thread::spawn(decide(story.db.clone(), (round + number) % 2 == 0)))
            .collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        assert_eq!(results.iter().filter(|result| no_such(result)).count(), 3, "{results:?}");
        assert!(story.db.transaction_table().is_empty() && story.db.locks().is_empty());
    }
}

/// 240 locks, 102 to a part of the prepare record.
fn many_locks() -> Story {
    let story = Story::new();
    let mut txn = story.begin();
    for page in 1..=24 {
        for slot in 0..9 {
            txn.write_record(PageId(page), SlotId(slot), 0, b"many").unwrap();
        }
    }
    txn.prepare(b"7").unwrap();
    story
}

/// Whatever restart needs to read of what is in doubt: if the disk refuses it, opening fails, and nothing is
/// taken for granted.
#[test]
fn what_cannot_be_read_fails_the_open() {
    let image = many_locks().crash();
    for at in 0.. {
        let disk = image.crash(&Survivors::All);
        disk.inject(Fault { at, kind: FaultKind::InputOutputError, forever: false });
        let opened = try_open(&disk);
        if disk.io_count() <= at {
            break;
        }
        assert!(opened.is_err(), "I/O {at}");
        let story = Story::new().resume_on(&disk);
        assert_eq!(story.in_doubt(), ["T1"], "after I/O {at} failed once");
    }
}

/// More locks than fit into one record: the last part prepares. A crash before it undoes; after it all
/// locks are held again.
#[test]
fn several_parts() {
    let story = many_locks();
    let updates = 24 * 9;
    assert_eq!(story.log()[updates..], ["Prepare T1 1/3", "Prepare T1 2/3", "Prepare T1 3/3"]);
    for parts in 1..=2 {
        let after = story.resume_on(&story.crash_after(updates + parts - 1));
        assert_eq!((after.losers(), after.in_doubt()), (vec!["T1".into()], vec![]));
        assert_eq!(after.appended_by_restart().len(), updates + 1, "{parts} parts");
        assert_eq!(after.contents(), Story::new().contents());
        assert!(after.db.locks().is_empty());
    }
    let after = story.restart();
    assert_eq!(after.in_doubt(), ["T1"]);
    assert_eq!(after.db.locks(), story.db.locks());
    assert_eq!(after.db.prepared()[0].locks, 240);
    let before = after.log().len();
    after.db.rollback_prepared(b"7").unwrap();
    let log = after.log();
    assert_eq!(log.len() - before, 1 + updates + 1, "each update once, and no part");
    assert_eq!(after.contents(), Story::new().contents());
}

/// Numbers of transactions are not given out again, also where only a checkpoint knows the one in doubt.
#[test]
fn numbers_stay_above_those_in_doubt() {
    let story = Story::new();
    let mut txn = story.begin();
    let id = txn.id();
    story.update(&mut txn, 1);
    txn.prepare(b"7").unwrap();
    story.db.flush_pages().unwrap();
    story.db.checkpoint().unwrap();
    let after = story.restart().restart();
    assert_eq!(after.db.restart_report().analysis.records, 2, "the checkpoint's alone");
    assert!(after.begin().id() > id);
}

/// However long a transaction stays in doubt, and however many checkpoints are taken: the log keeps
/// what rolling it back needs, and no longer than until then.
#[test]
fn truncation_keeps_what_is_in_doubt() {
    let story = Story::new();
    let mut txn = story.begin();
    story.update(&mut txn, 1);
    let first = txn.entry().first_lsn.unwrap();
    txn.prepare(b"7").unwrap();
    let work = |db: &Db| {
        for round in 0..400_u16 {
            let mut txn = db.begin().unwrap();
            for page in 2..=9 {
                txn.write_record(PageId(page), SlotId(1), 0, &[b'a' + (round % 20) as u8; 4])
                    .unwrap();
            }
            txn.commit().unwrap();
            db.step().unwrap();
        }
        db.flush_pages().unwrap();
        db.checkpoint().unwrap();
    };
    work(&story.db);
    assert_eq!(story.db.stats().oldest_required_lsn, first);
    let db = open(&story.disk.crash(&Survivors::None));
    work(&db);
    assert_eq!(db.stats().oldest_required_lsn, first);
    assert!(db.stats().end_lsn.get() - first.get() > 5 * 65_536, "several segments");
    db.rollback_prepared(b"7").unwrap();
    let guard = db.fix_page(PageId(1)).unwrap();
    assert_eq!(aries::page::record(guard.bytes(), SlotId(0)).unwrap(), b"....");
    drop(guard);
    db.flush_pages().unwrap();
    let checkpoint = db.checkpoint().unwrap();
    assert_eq!(checkpoint.oldest_required_lsn, checkpoint.begin_lsn);
}

/// A prepare record bears witness: durable log before it that is damaged is not cut off as a torn tail,
/// and with it a promise.
#[test]
fn damage_before_a_prepare_record_is_no_torn_tail() {
    let story = Story::new();
    let mut txn = story.begin();
    story.update(&mut txn, 1);
    story.db.force_log().unwrap();
    txn.prepare(b"7").unwrap();
    let disk = story.disk.crash(&Survivors::None);
    disk.flip_bit("log/0000000000000001.seg", story.lsn(0).get() + 20, 0).unwrap();
    match try_open(&disk).err() {
        Some(Error::Corrupt { place: Place::Log { lsn, .. }, .. }) => assert_eq!(lsn, story.lsn(0)),
        other => panic!("{other:?}"),
    }
}

/// Takes checkpoints until the log has no room left that is not reserved.
fn use_up_the_log(db: &Db) {
    let refused = (0..100_000).find_map(|_| db.checkpoint().err());
    assert!(refused.unwrap().is_disk_full());
}

/// Rolling it back takes more log than is kept for a restart.
fn long_to_undo() -> Story {
    let story = Story::new();
    let mut txn = story.begin();
    for round in 0..2_000_u16 {
        let page = PageId(u64::from(round % 24) + 1);
        txn.write_record(page, SlotId(0), 0, &round.to_le_bytes()).unwrap();
    }
    txn.prepare(b"7").unwrap();
    story
}

/// Log for either decision stays reserved, in the run that prepared and after a restart.
#[test]
fn deciding_needs_no_room_on_a_full_disk() {
    for (commit, crash) in [(true, false), (true, true), (false, false), (false, true)] {
        let story = long_to_undo();
        let story = if crash { story.restart() } else { story };
        story.disk.set_capacity(Some(0));
        use_up_the_log(&story.db);
        match commit {
            true => drop(story.db.commit_prepared(b"7").unwrap()),
            false => story.db.rollback_prepared(b"7").unwrap(),
        }
        let db = open(&story.disk.crash(&Survivors::None));
        assert!(db.transaction_table().is_empty());
    }
}

/// On a full disk a transaction that cannot be prepared is rolled back: its coordinator is told no.
#[test]
fn preparing_on_a_full_disk_rolls_back() {
    let story = Story::new();
    let mut txn = story.begin();
    for page in 1..=24 {
        for slot in 0..9 {
            txn.write_record(PageId(page), SlotId(slot), 0, b"many").unwrap();
        }
    }
    story.disk.set_capacity(Some(0));
    use_up_the_log(&story.db);
    let refused = txn.prepare(b"7").unwrap_err();
    assert!(refused.is_disk_full(), "{refused}");
    assert!(story.db.transaction_table().is_empty() && story.db.locks().is_empty());
    assert!(story.db.prepared().is_empty());
    assert_eq!(story.contents(), Story::new().contents());
    story.disk.set_capacity(None);
    let mut txn = story.begin();
    story.update(&mut txn, 1);
    txn.prepare(b"7").unwrap();
}

/// A database on a full disk opens although it has no room for rolling back what is in doubt. Then the
/// decision is refused, and made once there is room.
#[test]
fn opening_on_a_full_disk_leaves_the_decision_for_later() {
    let story = long_to_undo();
    let disk = story.disk.crash(&Survivors::None);
    // What was prepared beyond the log's end for the rollback is gone.
    let last = story.db.stats().end_lsn.get() / 65_536 + 2;
    for number in last + 1..last + 20 {
        disk.remove_file(&format!("log/{number:016}.seg"));
    }
    disk.set_capacity(Some(0));
    let db = open(&disk);
    assert_eq!(db.prepared().len(), 1);
    let refused = db.rollback_prepared(b"7").unwrap_err();
    assert!(refused.is_disk_full(), "{refused}");
    assert_eq!(db.prepared().len(), 1, "it is in doubt as before");
    disk.set_capacity(None);
    db.rollback_prepared(b"7").unwrap();
    let db = open(&disk.crash(&Survivors::None));
    let guard = db.fix_page(PageId(3)).unwrap();
    assert_eq!(aries::page::record(guard.bytes(), SlotId(0)).unwrap(), b"....");
}

/// Dropping every handle is no decision either, and neither is a transaction under way beside it.
#[test]
fn closing_counts_only_who_is_under_way() {
    let story = many_locks();
    let other = story.begin();
    let refused = story.db.clone().close();
    assert!(matches!(refused, Err(Error::InvalidInput(_))), "{refused:?}");
    drop(other);
    let disk = story.disk.clone();
    drop(story);
    let db = try_open(&disk).unwrap();
    assert_eq!(db.prepared().len(), 1);
    let names: BTreeSet<_> = db.locks().into_iter().map(|lock| lock.name).collect();
    assert_eq!(names.len(), 240);
    let prepare = db.read_log(db.prepared()[0].prepare_lsn).unwrap();
    assert!(matches!(prepare.record(), LogRecord::Prepare(last) if last.is_last()));
}
