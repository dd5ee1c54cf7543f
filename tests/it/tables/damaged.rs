//! Trees that are damaged in ways that no page tells by itself.

use aries::disk::SimDisk;
use aries::ids::PageId;
use aries::page::{self, tree};
use aries::{Db, Error};

use super::{key, value};
use crate::common::{PAGE_SIZE, open};

/// A database at rest, with a table of some leaves, one of them without keys; and the pages of these leaves.
fn leaves() -> (SimDisk, Vec<u64>) {
    let disk = SimDisk::new();
    let db = open(&disk);
    let table = db.table("t").unwrap();
    let mut txn = db.begin().unwrap();
    for number in 0..60 {
        txn.put(&table, &key(number), &value(number, 30)).unwrap();
    }
    txn.commit().unwrap();
    let leaf = db.leaf_of(&table, &key(20)).unwrap();
    let in_it = |number: &u32| db.leaf_of(&table, &key(*number)).unwrap() == leaf;
    let emptied: Vec<u32> = (0..60).filter(in_it).collect();
    let mut txn = db.begin().unwrap();
    for number in emptied {
        txn.delete(&table, &key(number)).unwrap();
    }
    txn.commit().unwrap();
    let mut found: Vec<_> = (0..60).map(|n| db.leaf_of(&table, &key(n)).unwrap().0).collect();
    found.dedup();
    db.close().unwrap();
    (disk, found)
}

/// The same with a leaf that says that its neighbours are others.
fn relinked(
    disk: &SimDisk,
    leaf: u64,
    change: impl Fn(&mut Option<PageId>, &mut Option<PageId>),
) -> Db {
    let disk = disk.crash(&aries::disk::Survivors::All);
    let mut pages = disk.read_file("pages").unwrap();
    let at = usize::try_from(leaf).unwrap() * PAGE_SIZE;
    let bytes = &mut pages[at..at + PAGE_SIZE];
    let Some(tree::Node::Leaf { mut previous, mut next }) = tree::node(bytes) else {
        panic!("a leaf")
    };
    let before = tree::Node::Leaf { previous, next }.to_stored();
    change(&mut previous, &mut next);
    let after = tree::Node::Leaf { previous, next }.to_stored();
    let place = bytes.windows(before.len()).position(|bytes| bytes == before).unwrap();
    bytes[place..place + after.len()].copy_from_slice(&after);
    page::seal(bytes);
    disk.write_file("pages", &pages);
    open(&disk)
}

/// What a scan gives ascends, whatever it meets; else it ends with an error.
fn ends(db: &Db) -> bool {
    let table = db.table("t").unwrap();
    let mut txn = db.begin().unwrap();
    let forwards: Result<Vec<_>, Error> = txn.scan(&table, ..).unwrap().collect();
    let backwards: Result<Vec<_>, Error> = txn.scan(&table, ..).unwrap().rev().collect();
    let is_corrupt = |error: &Error| matches!(error, Error::Corrupt { .. });
    for error in [&forwards, &backwards].into_iter().filter_map(|found| found.as_ref().err()) {
        assert!(is_corrupt(error), "{error}");
    }
    assert!(forwards.as_ref().is_ok_and(|found| found.is_sorted()) || forwards.is_err());
    assert!(
        backwards.as_ref().is_ok_and(|found| found.is_sorted_by(|a, b| a > b))
            || backwards.is_err()
    );
    forwards.is_err() || backwards.is_err()
}

#[test]
fn a_scan_over_leaves_that_lead_anywhere_ends() {
    let (disk, leaves) = leaves();
    assert!(leaves.len() > 5, "{leaves:?}");
    let mut refused = 0;
    for leaf in &leaves {
        for other in leaves.iter().chain(&[0, 1, 999]) {
            let to = Some(PageId(*other));
            refused += u32::from(ends(&relinked(&disk, *leaf, |_, next| *next = to)));
            refused += u32::from(ends(&relinked(&disk, *leaf, |previous, _| *previous = to)));
        }
    }
    assert!(refused > 0);
}
