//! Redo and undo: scenarios 13, 17, 18, 19 and 31.

use aries::event::SkipReason;
use aries::ids::{PageId, SlotId};
use aries::page::{self, PageOp, SlotState};
use aries::record::{LogRecord, Undo};

use crate::common::{Forge, Story};

/// Scenario 13, redo_exactly (ARIES 6.2): redo begins at the smallest `rec_lsn` and skips a record
/// for one of three reasons, each told.
#[test]
fn redo_exactly() {
    let story = Story::new();
    let mut t1 = story.begin();
    story.update(&mut t1, 3);
    story.update(&mut t1, 1);
    story.update(&mut t1, 2);
    story.db.flush_page(PageId(1)).unwrap();
    story.db.flush_page(PageId(2)).unwrap();
    story.update(&mut t1, 2);
    let checkpoint = story.db.checkpoint().unwrap();
    assert_eq!(checkpoint.dirty_pages.len(), 2);
    assert_eq!(story.dirty(), ["P2:3", "P3:0"]);
    story.update(&mut t1, 9);
    story.db.flush_page(PageId(9)).unwrap();
    t1.commit().unwrap();
    let expected = story.contents();

    let after = story.restart();
    let history = [
        "U(T1,P3)",
        "U(T1,P1)",
        "U(T1,P2)",
        "U(T1,P2)",
        "Begin",
        "EndCheckpoint",
        "U(T1,P9)",
        "Commit T1",
        "End T1",
    ];
    assert_eq!(after.log()[..9], history);
    assert_eq!(after.db.restart_report().redo.from, Some(after.lsn(0)));
    assert_eq!(
        after.redo_decisions(),
        [
            "redone 0",
            "skipped 1: page not dirty",
            "skipped 2: below rec_lsn",
            "redone 3",
            "skipped 6: page_lsn not below",
        ]
    );
    assert_eq!(after.appended_by_restart(), [""; 0]);
    assert_eq!(after.contents(), expected);
}

/// Scenario 17, restart_one_loser (ARIES 6): the smallest restart there is, record by record.
#[test]
fn restart_one_loser() {
    let story = Story::new();
    let mut t1 = story.begin();
    story.update(&mut t1, 1);

    let after = story.restart();
    assert_eq!(
        after.log(),
        ["U(T1,P1)", "Restart", "CLR(0)->nil", "End T1", "Begin", "EndCheckpoint"]
    );
    assert_eq!(after.redo_decisions(), ["redone 0"], "history is repeated before it is undone");
    assert_eq!(after.contents(), Story::new().contents());
}

/// Scenario 18, restart_three (ARIES 6.3): one sweep backwards over all losers, always the latest
/// record first, whoever it belongs to.
#[test]
fn restart_three() {
    let mut forge = Forge::new();
    forge.update(1, 1);
    forge.update(2, 3);
    forge.commit(1);
    forge.update(3, 4);
    forge.update(2, 1);
    forge.end(1);
    forge.update(3, 2);
    forge.rollback(2);
    let story = forge.restart();

    let history = [
        "U(T1,P1)",
        "U(T2,P3)",
        "Commit T1",
        "U(T3,P4)",
        "U(T2,P1)",
        "End T1",
        "U(T3,P2)",
        "Rollback T2",
    ];
    assert_eq!(story.log()[..8], history);
    assert_eq!(
        story.appended_by_restart(),
        ["CLR(6)->3", "CLR(4)->1", "CLR(3)->nil", "End T3", "CLR(1)->nil", "End T2"]
    );
    let fresh = Story::new().contents();
    for (page, (found, before)) in (1..).zip(story.contents().into_iter().zip(fresh)) {
        assert_eq!(found != before, page == 1, "only T1's update of P1 stays, on P{page}");
    }
}

/// Scenario 19, restart_cleans_table (ARIES 6.2): a page that redo finds up to date is not dirty.
#[test]
fn restart_cleans_table() {
    let story = Story::new();
    let mut t1 = story.begin();
    story.update(&mut t1, 1);
    story.update(&mut t1, 2);
    t1.commit().unwrap();
    story.db.flush_page(PageId(1)).unwrap();

    let after = story.restart();
    assert_eq!(after.dirty_after_analysis(), ["P1:0", "P2:1"]);
    assert_eq!(after.redo_decisions(), ["skipped 0: page_lsn not below", "redone 1"]);
    assert_eq!(after.dirty(), ["P2:1"]);
    let end_of_log = after.log().len() - 1;
    let bytes = after.db.read_log(after.lsn(end_of_log)).unwrap();
    let LogRecord::EndCheckpoint(end) = bytes.record() else { panic!("the end of a checkpoint") };
    assert_eq!(end.dirty_pages, [(PageId(2), after.lsn(1))]);
}

/// Once redo has looked at a page it knows from where on the page may lack changes (ARIES 6.2), and looks at
/// it no more for the records before.
#[test]
fn a_page_that_is_up_to_date_is_looked_at_once() {
    let story = Story::new();
    let mut t1 = story.begin();
    for page in [1, 1, 2, 1] {
        story.update(&mut t1, page);
    }
    t1.commit().unwrap();
    story.db.flush_page(PageId(1)).unwrap();
    let after = story.restart();
    let below = |number: u64| format!("skipped {number}: below rec_lsn");
    let expected = ["skipped 0: page_lsn not below", &below(1), "redone 2", &below(3)];
    assert_eq!(after.redo_decisions(), expected);
    let report = &after.db.restart_report().redo;
    let reasons = [(SkipReason::BelowRecLsn, 2), (SkipReason::PageLsnNotBelow, 1)];
    assert_eq!((report.redone, &report.skipped), (1, &reasons.into()));
}

/// Scenario 31, no_selective_redo (ARIES 10.1): two transactions change one page, the loser between
/// the winners. History is repeated, loser included, then the loser is undone. Redoing only the
/// winners' records gives a page on which the loser cannot even be undone.
#[test]
fn no_selective_redo() {
    let story = Story::new();
    let before = story.db.fix_page(PageId(1)).unwrap().bytes().to_vec();
    let (mut winner, mut loser) = (story.begin(), story.begin());
    story.update(&mut winner, 1);
    loser.delete_record(PageId(1), SlotId(5)).unwrap();
    story.update(&mut winner, 1);
    winner.commit().unwrap();
    let history = ["U(T1,P1)", "U(T2,P1)", "U(T1,P1)", "Commit T1", "End T1"];
    assert_eq!(story.log(), history);

    let after = story.restart();
    assert_eq!(after.redo_decisions(), ["redone 0", "redone 1", "redone 2"]);
    assert_eq!(after.appended_by_restart(), ["CLR(1)->nil", "End T2"]);
    let page = after.db.fix_page(PageId(1)).unwrap().bytes().to_vec();
    assert_eq!(page::slot_state(&page, SlotId(5)), Some(SlotState::Live));

    let mut selective = before.clone();
    let mut repeated = before;
    for index in 0..3 {
        let bytes = after.db.read_log(after.lsn(index)).unwrap();
        let LogRecord::Update(update) = bytes.record() else { panic!("an update") };
        update.op.apply(&mut repeated).unwrap();
        if index != 1 {
            update.op.apply(&mut selective).unwrap();
        }
    }
    let undo = PageOp::ClearGhost { slot: SlotId(5) };
    let bytes = after.db.read_log(after.lsn(1)).unwrap();
    let LogRecord::Update(update) = bytes.record() else { panic!("an update") };
    assert_eq!(update.undo, Undo::Physical(undo));
    assert!(undo.apply(&mut selective).is_err(), "what was not redone cannot be undone");
    undo.apply(&mut repeated).unwrap();
    assert_eq!(repeated[page::HEADER_SIZE..], page[page::HEADER_SIZE..]);
}
