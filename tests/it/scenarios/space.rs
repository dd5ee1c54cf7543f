//! Allocating and freeing pages across crashes: scenarios 42 and 43.

use aries::Error;
use aries::ids::{PageId, SlotId};
use aries::page::PageState;

use crate::common::{Story, read_page_records};

/// What is done with two neighbouring entries of the space map page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    AllocateByT1,
    AllocateByT2,
    RollBackT1,
    CommitT2,
}

/// Scenario 42, space_bits_of_neighbours (ARIES 10.3): T1 and T2 allocate pages that stand side by
/// side on the same map page; T1 rolls back. After a crash at any record, with the map page written
/// at any moment before, T1's page is free, and T2's is in use if its commit record is durable,
/// else free.
#[test]
fn space_bits_of_neighbours() {
    use Step::{AllocateByT1, AllocateByT2, CommitT2, RollBackT1};
    let orders = [
        [AllocateByT1, AllocateByT2, RollBackT1, CommitT2],
        [AllocateByT1, AllocateByT2, CommitT2, RollBackT1],
        [AllocateByT2, AllocateByT1, RollBackT1, CommitT2],
        [AllocateByT2, AllocateByT1, CommitT2, RollBackT1],
    ];
    for steps in orders {
        for written_after in [None, Some(0), Some(1), Some(2), Some(3)] {
            neighbours(steps, written_after);
        }
    }
}

fn neighbours(steps: [Step; 4], written_after: Option<usize>) {
    let story = Story::new();
    let (mut t1, mut t2) = (Some(story.begin()), Some(story.begin()));
    let (mut mine, mut neighbours) = (PageId(0), PageId(0));
    let mut first_cut = 0; // The log cannot end before what a written page has.
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::AllocateByT1 => mine = t1.as_mut().unwrap().allocate_page().unwrap(),
            Step::AllocateByT2 => neighbours = t2.as_mut().unwrap().allocate_page().unwrap(),
            Step::RollBackT1 => t1.take().unwrap().rollback().unwrap(),
            Step::CommitT2 => drop(t2.take().unwrap().commit().unwrap()),
        }
        if written_after == Some(number) {
            story.db.flush_page(PageId(0)).unwrap();
            first_cut = story.log().len() - 1;
        }
    }
    assert_eq!(mine.0.abs_diff(neighbours.0), 1, "side by side");
    let log = story.log();
    let commit = log.iter().position(|text| text == "Commit T2").unwrap();
    for cut in first_cut..log.len() {
        let after = story.resume_on(&story.crash_after(cut));
        let place = format!("{steps:?}, written after {written_after:?}, cut after record {cut}");
        assert_eq!(after.db.page_state(mine).unwrap(), Some(PageState::Free), "{place}");
        let expected = if cut >= commit { PageState::Used } else { PageState::Free };
        assert_eq!(after.db.page_state(neighbours).unwrap(), Some(expected), "{place}");
    }
}

/// Scenario 43, free_pending_across_crash (ARIES 10.3): a page that is being freed is in use again
/// if the power fails before the commit is durable, and free, to be used again, after it.
#[test]
fn free_pending_across_crash() {
    let story = Story::new();
    let page = PageId(5);
    let mut t1 = story.begin();
    t1.free_page(page).unwrap();
    t1.commit().unwrap();
    assert_eq!(story.log(), ["U(T1,S)", "Commit T1", "U(T1,S)", "End T1"]);
    for cut in 0..4 {
        let after = story.resume_on(&story.crash_after(cut));
        let mut t2 = after.begin();
        if cut == 0 {
            assert_eq!(after.db.page_state(page).unwrap(), Some(PageState::Used));
            assert_eq!(after.contents(), Story::new().contents());
            assert_ne!(t2.allocate_page().unwrap(), page);
        } else {
            let appended: &[&str] = match cut {
                1 => &["U(T1,S)", "End T1"],
                2 => &["End T1"],
                _ => &[],
            };
            assert_eq!(after.appended_by_restart(), appended, "cut after record {cut}");
            assert_eq!(after.db.page_state(page).unwrap(), Some(PageState::Free));
            assert!(matches!(t2.slots(page), Err(Error::NoSuchPage { .. })));
            assert_eq!(t2.allocate_page().unwrap(), page);
            assert_eq!(t2.insert_record(page, b"new").unwrap(), SlotId(0));
            assert_eq!(read_page_records(&after.db, page), [b"new"], "nothing of before is left");
        }
    }
}

/// Scenario 43, in between (ARIES 10.3): while its freeing may still be undone, the page is given
/// to nobody; undoing gives it back as it was.
#[test]
fn a_page_being_freed_is_given_to_nobody() {
    let story = Story::new();
    let page = PageId(5);
    let (mut t1, mut t2) = (story.begin(), story.begin());
    t1.free_page(page).unwrap();
    assert_eq!(story.db.page_state(page).unwrap(), Some(PageState::FreePending(t1.id())));
    for _ in 0..40 {
        assert_ne!(t2.allocate_page().unwrap(), page);
    }
    t1.rollback().unwrap();
    assert_eq!(story.db.page_state(page).unwrap(), Some(PageState::Used));
    assert_ne!(t2.allocate_page().unwrap(), page);
    assert_eq!(story.contents(), Story::new().contents());
}
