//! Nested top actions: scenarios 28, 29 and 30.

use aries::disk::Survivors;

use crate::common::Story;

/// Scenario 28, nested_top_action_kept (ARIES 9): once it is ended, a nested top action's work
/// stays, whether its transaction is rolled back by itself or by restart.
#[test]
fn nested_top_action_kept() {
    let story = Story::new();
    let mut t1 = story.begin();
    let slot = story.slot_of(t1.id());
    story.update(&mut t1, 1);
    let mut action = t1.nested_top_action().unwrap();
    story.update(&mut action, 2);
    story.update(&mut action, 3);
    action.end().unwrap();
    story.update(&mut t1, 4);
    let kept = (story.value(2, slot), story.value(3, slot));
    let image = story.crash();
    t1.rollback().unwrap();

    let history = ["U(T1,P1)", "U(T1,P2)", "U(T1,P3)", "EndNested T1->0", "U(T1,P4)"];
    assert_eq!(story.log()[..5], history);
    assert_eq!(story.log()[5..], ["Rollback T1", "CLR(4)->3", "CLR(0)->nil", "End T1"]);

    let after = story.resume_on(&image);
    assert_eq!(after.appended_by_restart(), ["CLR(4)->3", "CLR(0)->nil", "End T1"]);
    for story in [&story, &after] {
        assert_eq!((story.value(2, slot), story.value(3, slot)), kept);
        assert_eq!(story.value(1, slot).unwrap(), b"....");
        assert_eq!(story.value(4, slot).unwrap(), b"....");
    }
}

/// Scenario 29, nested_top_action_lost (ARIES 9): a crash before its end record is durable undoes
/// the action with the rest.
#[test]
fn nested_top_action_lost() {
    let story = Story::new();
    let mut t1 = story.begin();
    story.update(&mut t1, 1);
    let mut action = t1.nested_top_action().unwrap();
    story.update(&mut action, 2);
    story.update(&mut action, 3);
    story.db.force_log().unwrap();
    action.end().unwrap();
    assert_eq!(story.log()[3], "EndNested T1->0");

    let after = story.resume_on(&story.disk.crash(&Survivors::None));
    assert_eq!(after.appended_by_restart(), ["CLR(2)->1", "CLR(1)->0", "CLR(0)->nil", "End T1"]);
    assert_eq!(after.contents(), Story::new().contents());
}

/// Scenario 30, nta_first_in_transaction (ARIES 9): where the action is the first thing that a
/// transaction does, its end record leads undo to nil: nothing is left to undo, and the end record
/// is written all the same.
#[test]
fn nta_first_in_transaction() {
    let story = Story::new();
    let mut t1 = story.begin();
    let slot = story.slot_of(t1.id());
    let mut action = t1.nested_top_action().unwrap();
    story.update(&mut action, 1);
    action.end().unwrap();
    let kept = story.value(1, slot);
    let image = story.crash();
    t1.rollback().unwrap();
    assert_eq!(story.log(), ["U(T1,P1)", "EndNested T1->nil", "Rollback T1", "End T1"]);

    let after = story.resume_on(&image);
    assert_eq!(after.losers(), ["T1"]);
    assert_eq!(after.appended_by_restart(), ["End T1"]);
    assert_eq!(after.value(1, slot), kept);
}
