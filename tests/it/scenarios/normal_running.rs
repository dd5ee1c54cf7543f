//! Normal running: scenarios 3 and 5.

use aries::disk::Survivors;

use crate::common::Story;

/// Scenario 3, commit_forces_only_itself (ARIES 1.4, 5.3): a commit makes durable what comes before
/// it in the log, no page, and nothing that comes later.
#[test]
fn commit_forces_only_itself() {
    let story = Story::new();
    let (mut t1, mut t2) = (story.begin(), story.begin());
    let pages_written = story.db.stats().pool.written;
    story.update(&mut t1, 2);
    let commit_lsn = t1.commit().unwrap();
    let update_lsn = story.update(&mut t2, 3);

    assert_eq!(story.log(), ["U(T1,P2)", "Commit T1", "End T1", "U(T2,P3)"]);
    let flushed = story.db.stats().flushed_lsn;
    assert!(commit_lsn < flushed, "the commit is durable");
    assert!(flushed <= update_lsn, "the update of T2 is not");
    assert_eq!(story.db.stats().pool.written, pages_written, "no page is forced");
    assert_eq!(story.dirty(), ["P2:0", "P3:3"]);

    let (slot1, slot2) = (story.slot_of(t2.id()).0 - 1, story.slot_of(t2.id()));
    let committed = story.value(2, aries::ids::SlotId(slot1));
    let after = story.resume_on(&story.disk.crash(&Survivors::None));
    assert_eq!(after.log()[..2], ["U(T1,P2)", "Commit T1"]);
    assert_eq!(after.appended_by_restart(), ["End T1"]);
    assert_eq!(after.value(2, aries::ids::SlotId(slot1)), committed);
    assert_eq!(after.value(3, slot2).unwrap(), b"....");
}

/// Scenario 5, page_write_bookkeeping (ARIES 4.3, 4.4): a transaction's `last_lsn` is its latest
/// record, a page's `rec_lsn` the first that dirtied it.
#[test]
fn page_write_bookkeeping() {
    let story = Story::new();
    let (mut t1, mut t2) = (story.begin(), story.begin());
    story.update(&mut t1, 2);
    let l2 = story.update(&mut t2, 3);
    let l3 = story.update(&mut t1, 2);

    let table = story.db.transaction_table();
    assert_eq!(table.get(t1.id()).unwrap().last_lsn, Some(l3));
    assert_eq!(table.get(t2.id()).unwrap().last_lsn, Some(l2));
    assert_eq!(story.dirty(), ["P2:0", "P3:1"]);
    assert_eq!(story.page_lsn(2), Some(l3));
    assert_eq!(story.page_lsn(3), Some(l2));
}
