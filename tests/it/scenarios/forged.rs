//! Logs that no engine writes, prepare records and checkpoints that contradict what stands around them:
//! opening refuses them, names the place, and changes nothing.

use aries::Error;
use aries::ids::{Lsn, PageId, SlotId, TxnId};
use aries::lock::{GapName, KeyName, LockName, Mode};

use crate::common::{Forge, Snapshot, image, try_open};

fn lock(page: u64, slot: u16, exclusive: bool) -> (LockName, Mode) {
    let mode = if exclusive { Mode::Exclusive } else { Mode::Shared };
    (LockName::Record(PageId(page), SlotId(slot)), mode)
}

/// Opening what was forged fails, and leaves every file as it was.
fn refused(what: &str, forge: impl FnOnce(&mut Forge)) {
    let mut log = Forge::new();
    forge(&mut log);
    let disk = log.crash();
    let before = image(&disk);
    match try_open(&disk).err() {
        Some(Error::Corrupt { place, .. }) => {
            assert!(place.to_string().contains("at LSN"), "{what}: {place}");
        }
        other => panic!("{what}: {other:?}"),
    }
    assert!(image(&disk) == before, "{what}: refusing changed the disk");
}

#[test]
fn parts_that_do_not_belong_together() {
    let part = |forge: &mut Forge, part, parts, id: &[u8]| {
        forge.prepare_part(1, (part, parts), id, Vec::new());
    };
    refused("the last part alone", |forge| part(forge, 1, 2, b"7"));
    refused("a part behind an update", |forge| {
        part(forge, 0, 3, b"7");
        forge.update(1, 1);
        part(forge, 2, 3, b"7");
    });
    refused("a part left out", |forge| {
        part(forge, 0, 3, b"7");
        part(forge, 2, 3, b"7");
    });
    refused("a part twice", |forge| {
        part(forge, 0, 2, b"7");
        part(forge, 0, 2, b"7");
        part(forge, 1, 2, b"7");
        part(forge, 1, 2, b"7");
    });
    refused("parts with two global ids", |forge| {
        part(forge, 0, 2, b"6");
        part(forge, 1, 2, b"7");
    });
}

#[test]
fn transactions_in_doubt_that_contradict_each_other() {
    let whole = (0, 1);
    refused("one global id for two", |forge| {
        forge.prepare_part(1, whole, b"7", Vec::new());
        forge.prepare_part(2, whole, b"7", Vec::new());
    });
    for (one, other) in [(true, true), (true, false), (false, true)] {
        refused("one lock for two", |forge| {
            forge.prepare_part(1, whole, b"6", vec![lock(1, 1, one)]);
            forge.prepare_part(2, whole, b"7", vec![lock(1, 1, other)]);
        });
    }
    refused("one lock twice", |forge| {
        forge.prepare_part(1, whole, b"7", vec![lock(1, 1, false), lock(1, 1, false)]);
    });
    let mut sound = Forge::new();
    sound.prepare_part(1, whole, b"6", vec![lock(1, 1, false), lock(1, 2, true)]);
    sound.prepare_part(2, whole, b"7", vec![lock(1, 1, false), lock(2, 2, true)]);
    assert_eq!(sound.restart().in_doubt(), ["T1", "T2"]);
}

/// Whatever modes two of three hold a table in, the third's must go with both.
#[test]
fn modes_in_doubt_that_contradict_each_other() {
    let whole = (0, 1);
    let table = LockName::Table(PageId(5));
    let forge_all = |forge: &mut Forge, modes: [Mode; 3]| {
        for (number, mode) in (1..).zip(modes) {
            forge.prepare_part(number, whole, &[b'0' + number as u8], vec![(table, mode)]);
        }
    };
    for one in Mode::ALL {
        for other in Mode::ALL {
            let modes = [one, Mode::IntentionShared, other];
            let compatible = |(a, b): (usize, usize)| modes[a].is_compatible_with(modes[b]);
            if [(0, 1), (0, 2), (1, 2)].into_iter().all(compatible) {
                let mut sound = Forge::new();
                forge_all(&mut sound, modes);
                assert_eq!(sound.restart().in_doubt(), ["T1", "T2", "T3"]);
            } else {
                refused("one table for three", |forge| forge_all(forge, modes));
            }
        }
    }
}

/// Locks of every kind that are in a prepare record are held again, in these modes, and keep others out.
#[test]
fn locks_of_every_kind_are_held_again() {
    let (root, alice) = (PageId(5), KeyName::of(b"alice"));
    let locks = vec![
        (LockName::Table(root), Mode::IntentionExclusive),
        (LockName::Table(PageId(6)), Mode::SharedIntentionExclusive),
        (LockName::Key(root, alice), Mode::Exclusive),
        (LockName::Key(root, KeyName::of(b"alice in wonderland")), Mode::Exclusive),
        (LockName::Gap(root, GapName::Before(alice)), Mode::Exclusive),
        (LockName::Gap(root, GapName::End), Mode::IntentionExclusive),
        (LockName::PageExistence(root), Mode::Shared),
    ];
    let mut forge = Forge::new();
    forge.prepare_part(1, (0, 1), b"7", locks.clone());
    let story = forge.restart().restart();
    let snapshot = story.db.locks();
    let held = snapshot.iter().map(|lock| format!("{}: {}", lock.name, lock.holders[0].1));
    assert_eq!(
        held.collect::<Vec<_>>(),
        [
            "P5: shared",
            "table P5: intention-exclusive",
            "table P6: shared-intention-exclusive",
            "P5/alice: exclusive",
            "P5/alice in…: exclusive",
            "gap before P5/alice: exclusive",
            "gap at the end of P5: intention-exclusive",
        ]
    );
    let mut in_doubt: Vec<_> = snapshot.iter().map(|lock| (lock.name, lock.holders[0].1)).collect();
    in_doubt.sort_by_key(|(name, _)| *name);
    let mut expected = locks;
    expected.sort_by_key(|(name, _)| *name);
    assert_eq!(in_doubt, expected);
    story.db.commit_prepared(b"7").unwrap();
    assert!(story.db.locks().is_empty());
}

#[test]
fn records_that_are_no_decision() {
    refused("an update of a transaction in doubt", |forge| {
        forge.prepare(1);
        forge.update(1, 1);
    });
    refused("the end of a transaction in doubt", |forge| {
        forge.prepare(1);
        forge.end(1);
    });
    refused("prepared twice", |forge| {
        forge.prepare(1);
        forge.prepare(1);
    });
    refused("prepared behind its commit", |forge| {
        forge.update(1, 1);
        forge.commit(1);
        forge.prepare(1);
    });
    refused("rolled back behind its commit", |forge| {
        forge.update(1, 1);
        forge.commit(1);
        forge.rollback(1);
    });
}

/// A checkpoint says that a transaction is in doubt whose last record is no prepare record.
#[test]
fn a_checkpoint_that_knows_of_no_prepare_record() {
    refused("an update where a prepare record should be", |forge| {
        forge.prepare(1);
        let snapshot = forge.snapshot();
        let begin = forge.begin_checkpoint();
        forge.update(1, 1);
        forge.end_checkpoint(begin, &snapshot);
    });
}

/// A checkpoint's copies of the tables cannot know of what comes after its end record, nor of records that
/// the log does not have.
#[test]
fn checkpoints_that_know_too_much() {
    refused("a rec_lsn behind the end record", |forge| {
        let begin = forge.begin_checkpoint();
        let mut snapshot = forge.snapshot();
        let future = forge.next_lsn().checked_add(8).unwrap();
        snapshot.dirty_pages.replace(PageId(1), future);
        forge.end_checkpoint(begin, &snapshot);
    });
    refused("a last_lsn at the end record", |forge| {
        forge.update(1, 1);
        let begin = forge.begin_checkpoint();
        let snapshot = with_last_lsn(forge, forge.next_lsn());
        forge.end_checkpoint(begin, &snapshot);
    });
    refused("a last_lsn that is another transaction's record", |forge| {
        let begin = forge.begin_checkpoint();
        forge.update(1, 1);
        let not_its_own = forge.next_lsn();
        forge.update(2, 2);
        let snapshot = with_last_lsn(forge, not_its_own);
        forge.end_checkpoint(begin, &snapshot);
    });
}

/// The tables now, but that all transactions of them which have a record claim `lsn` for their last.
fn with_last_lsn(forge: &Forge, lsn: Lsn) -> Snapshot {
    let mut snapshot = forge.snapshot();
    let lines: Vec<(TxnId, _)> =
        snapshot.transactions.iter().map(|(txn, entry)| (txn, *entry)).collect();
    for (txn, mut entry) in lines {
        entry.last_lsn = Some(lsn);
        snapshot.transactions.insert(txn, entry);
    }
    snapshot
}

/// A page that is being changed just then may be in the copy with where its record will stand at the
/// earliest, and that may be where the end record came to stand.
#[test]
fn a_rec_lsn_may_be_the_end_record_s_own() {
    let mut forge = Forge::new();
    let begin = forge.begin_checkpoint();
    let mut snapshot = forge.snapshot();
    snapshot.dirty_pages.replace(PageId(1), forge.next_lsn());
    forge.end_checkpoint(begin, &snapshot);
    forge.update(1, 1);
    forge.commit(1);
    let after = forge.restart();
    assert_eq!(after.redo_decisions(), ["redone 2"]);
}
