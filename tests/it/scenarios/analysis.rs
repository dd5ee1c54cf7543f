//! What analysis makes of log and checkpoint: scenarios 10, 11 and 12.

use aries::ids::PageId;
use aries::page::PageState;

use crate::common::{Forge, Story};

/// Scenario 10, analysis_without_end (ARIES 5.4, 6.1): a checkpoint without its end record counts
/// for nothing; analysis rebuilds both tables from the records alone.
#[test]
fn analysis_without_end() {
    let mut forge = Forge::new();
    forge.update(1, 1);
    forge.update(1, 2);
    forge.update(3, 3);
    forge.commit(1);
    forge.end(1);
    forge.free_page(2, 1);
    forge.rollback(2);
    forge.begin_checkpoint();
    let story = forge.restart();

    let history = [
        "U(T1,P1)",
        "U(T1,P2)",
        "U(T3,P3)",
        "Commit T1",
        "End T1",
        "U(T2,S)",
        "Rollback T2",
        "Begin",
    ];
    assert_eq!(story.log()[..8], history);
    assert_eq!(story.losers(), ["T2", "T3"]);
    assert!(story.db.restart_report().analysis.committed.is_empty(), "T1 is gone");
    assert_eq!(story.dirty_after_analysis(), ["S:5", "P1:0", "P2:1", "P3:2"]);
    assert_eq!(story.appended_by_restart(), ["CLR(5)->nil", "End T2", "CLR(2)->nil", "End T3"]);
    assert_eq!(story.db.page_state(PageId(1)).unwrap(), Some(PageState::Used));
}

/// Scenario 11, analysis_checkpoint_reclsn (ARIES 5.4, 6.1): the checkpoint's `rec_lsn` replaces
/// the one that analysis inferred from a later record; a transaction that ended after the snapshot
/// is not raised again.
#[test]
fn analysis_checkpoint_reclsn() {
    let mut forge = Forge::new();
    forge.update(1, 1);
    forge.update(1, 2);
    forge.commit(1);
    let begin = forge.begin_checkpoint();
    for page in 1..=4 {
        forge.update(2, page);
    }
    forge.begin(3);
    forge.begin(4);
    let snapshot = forge.snapshot();
    forge.end(1);
    forge.commit(2);
    forge.rollback(3);
    forge.end_checkpoint(begin, &snapshot);
    let story = forge.restart();

    let history = [
        "U(T1,P1)",
        "U(T1,P2)",
        "Commit T1",
        "Begin",
        "U(T2,P1)",
        "U(T2,P2)",
        "U(T2,P3)",
        "U(T2,P4)",
        "End T1",
        "Commit T2",
        "Rollback T3",
        "EndCheckpoint",
    ];
    assert_eq!(story.log()[..12], history);
    assert_eq!(story.dirty_after_analysis(), ["P1:0", "P2:1", "P3:6", "P4:7"]);
    assert_eq!(story.losers(), ["T3", "T4"]);
    assert_eq!(story.appended_by_restart(), ["End T2", "End T3", "End T4"]);
    assert_eq!(
        story.redo_decisions(),
        ["redone 0", "redone 1", "redone 4", "redone 5", "redone 6", "redone 7"]
    );
}

/// Scenario 12, analysis_ended_between (ARIES 5.4, 6.1): of the transactions that a checkpoint
/// names, those that ended between its begin and its end stay ended; the others get exactly their
/// end.
#[test]
fn analysis_ended_between() {
    let mut forge = Forge::new();
    forge.commit(1);
    forge.commit(2);
    forge.rollback(3);
    forge.rollback(4);
    forge.begin(5);
    forge.begin(6);
    let begin = forge.begin_checkpoint();
    let snapshot = forge.snapshot();
    forge.end(1);
    forge.end(3);
    forge.commit(5);
    forge.rollback(6);
    forge.end_checkpoint(begin, &snapshot);
    let story = forge.restart();

    let history = [
        "Commit T1",
        "Commit T2",
        "Rollback T3",
        "Rollback T4",
        "Begin",
        "End T1",
        "End T3",
        "Commit T5",
        "Rollback T6",
        "EndCheckpoint",
    ];
    assert_eq!(story.log()[..10], history);
    assert_eq!(story.losers(), ["T4", "T6"]);
    assert_eq!(story.appended_by_restart(), ["End T2", "End T5", "End T4", "End T6"]);
    assert_eq!(story.dirty(), [""; 0]);
    assert_eq!(story.contents(), Story::new().contents());
}
