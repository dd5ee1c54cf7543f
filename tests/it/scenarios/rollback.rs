//! Rolling back, whole and to a savepoint: scenarios 1, 2, 4, 6, 9, 14, 15 and 16.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;

use aries::disk::{Disk, SimDisk};
use aries::event::Event;
use aries::ids::PageId;
use aries::page::PageState;
use aries::tables::TransactionState;

use crate::common::{Story, options, watched_disk};

/// Scenario 1, rollback_marks (ARIES 4.3, 5.2): once rolling back has begun, the transaction's last
/// record is its rollback record and its state says so; others are not touched.
#[test]
fn rollback_marks() {
    let (reached, at_rollback) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    // The engine stands still right after the rollback record, until the test lets it go on.
    let observer = move |event: &Event| {
        if let Event::Appended { kind: "Rollback", lsn, .. } = event {
            reached.send(*lsn).unwrap();
            gate.lock().unwrap().recv().unwrap();
        }
    };
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let db = options().observer(Arc::new(observer)).open_on(disk).unwrap();
    let (mut t1, t2) = (db.begin().unwrap(), db.begin().unwrap());
    let (id1, id2) = (t1.id(), t2.id());
    t1.allocate_page().unwrap();
    let rolling_back = thread::spawn(move || t1.rollback().unwrap());

    let rollback_lsn = at_rollback.recv().unwrap();
    let table = db.transaction_table();
    go_on.send(()).unwrap();
    rolling_back.join().unwrap();

    let entry = table.get(id1).unwrap();
    assert_eq!((entry.last_lsn, entry.state), (Some(rollback_lsn), TransactionState::RollingBack));
    assert_eq!(table.get(id2).unwrap().state, TransactionState::Active);
    t2.commit().unwrap();
}

/// Scenario 2, rollback_compensates (ARIES 5.2): undoing works on pages that have to be read from
/// disk again, writes a compensation record for each update, and dirties the pages from there on.
#[test]
fn rollback_compensates() {
    let story = Story::new();
    let mut t1 = story.begin();
    story.update(&mut t1, 1);
    story.update(&mut t1, 7);
    story.db.flush_pages().unwrap();
    for page in 8..=24 {
        drop(story.db.fix_page(PageId(page)).unwrap());
    }
    for page in [1, 7] {
        let evicted = Event::PageEvicted { page: PageId(page) };
        assert!(story.trace.events().contains(&evicted), "P{page} left the pool");
    }
    assert_eq!(story.dirty(), [""; 0]);
    t1.rollback().unwrap();

    let history = ["U(T1,P1)", "U(T1,P7)", "Rollback T1", "CLR(1)->0", "CLR(0)->nil", "End T1"];
    assert_eq!(story.log(), history);
    assert_eq!(story.dirty(), ["P1:4", "P7:3"]);
    assert!(story.db.transaction_table().is_empty());
}

/// Scenario 4, end_of_two (ARIES 5.2): each transaction ends for itself; rolling back forces
/// nothing.
#[test]
fn end_of_two() {
    let story = Story::new();
    let (mut t1, mut t2) = (story.begin(), story.begin());
    story.update(&mut t1, 2);
    story.update(&mut t2, 3);
    story.update(&mut t1, 2);
    story.update(&mut t2, 3);
    story.update(&mut t2, 9);
    story.update(&mut t1, 2);
    t2.commit().unwrap();
    let flushed = story.db.stats().flushed_lsn;
    story.update(&mut t1, 2);
    t1.rollback().unwrap();

    let log = story.log();
    let history = [
        "U(T1,P2)",
        "U(T2,P3)",
        "U(T1,P2)",
        "U(T2,P3)",
        "U(T2,P9)",
        "U(T1,P2)",
        "Commit T2",
        "End T2",
        "U(T1,P2)",
    ];
    assert_eq!(log[..9], history);
    assert_eq!(
        log[9..],
        ["Rollback T1", "CLR(8)->5", "CLR(5)->2", "CLR(2)->0", "CLR(0)->nil", "End T1"]
    );
    assert_eq!(story.dirty(), ["P2:0", "P3:1", "P9:4"]);
    assert_eq!(story.db.stats().flushed_lsn, flushed, "nothing was forced");
    assert_eq!(flushed, story.lsn(7), "not even the end record of T2");
}

/// Scenario 6, savepoint_before_anything (ARIES 5.2): a savepoint can stand before a transaction's
/// first record; rolling back to it leaves the transaction active.
#[test]
fn savepoint_before_anything() {
    let story = Story::new();
    let mut t1 = story.begin();
    let savepoint = t1.savepoint().unwrap();
    story.update(&mut t1, 1);
    t1.rollback_to(savepoint).unwrap();

    assert_eq!(story.log(), ["U(T1,P1)", "CLR(0)->nil"]);
    assert_eq!(t1.entry().state, TransactionState::Active);
    assert_eq!(t1.entry().undo_next_lsn, None);
    t1.commit().unwrap();
    assert_eq!(story.log()[2..], ["Commit T1", "End T1"]);
}

/// A savepoint that was itself rolled back marks no moment any more; one taken afterwards, or older, does. So does
/// one inside a nested top action, as long as that has not ended.
#[test]
fn a_savepoint_that_was_rolled_back_is_gone() {
    let gone = |done: aries::Result<()>| assert!(done.unwrap_err().to_string().contains("is gone"));
    let story = Story::new();
    let mut t1 = story.begin();
    let first = t1.savepoint().unwrap();
    story.update(&mut t1, 1);
    let second = t1.savepoint().unwrap();
    story.update(&mut t1, 1);
    let third = t1.savepoint().unwrap();
    for savepoint in [third, second, second] {
        t1.rollback_to(savepoint).unwrap();
    }
    let after = t1.savepoint().unwrap();
    story.update(&mut t1, 2);
    gone(t1.rollback_to(third));
    t1.rollback_to(after).unwrap();
    let mut action = t1.nested_top_action().unwrap();
    story.update(&mut action, 3);
    let inside = action.savepoint().unwrap();
    action.rollback_to(inside).unwrap();
    action.end().unwrap();
    story.update(&mut t1, 2);
    gone(t1.rollback_to(inside));
    t1.rollback_to(first).unwrap();
    for savepoint in [second, after] {
        gone(t1.rollback_to(savepoint));
    }
    t1.rollback_to(first).unwrap();
    let again = t1.savepoint().unwrap();
    story.update(&mut t1, 1);
    t1.rollback_to(again).unwrap();
    t1.commit().unwrap();
}

/// Scenario 9, rollback_twice (ARIES 5.2): what is compensated is not compensated again, so rolling
/// back twice to one savepoint does nothing the second time.
#[test]
fn rollback_twice() {
    let story = Story::new();
    let (mut t1, mut t2) = (story.begin(), story.begin());
    story.update(&mut t1, 1);
    story.update(&mut t2, 1);
    let savepoint = t2.savepoint().unwrap();
    story.update(&mut t2, 1);
    story.update(&mut t1, 2);
    t2.rollback_to(savepoint).unwrap();
    let history = ["U(T1,P1)", "U(T2,P1)", "U(T2,P1)", "U(T1,P2)", "CLR(2)->1"];
    assert_eq!(story.log(), history);

    let before = (story.contents(), story.dirty(), story.db.transaction_table(), story.db.stats());
    story.trace.clear();
    t2.rollback_to(savepoint).unwrap();
    assert_eq!(story.trace.events(), [], "nothing happens");
    let after = (story.contents(), story.dirty(), story.db.transaction_table(), story.db.stats());
    assert_eq!((before.0, before.1, before.2), (after.0, after.1, after.2));
    assert_eq!(before.3.end_lsn, after.3.end_lsn, "nothing is appended");
    assert_eq!(before.3.flushed_lsn, after.3.flushed_lsn, "nothing is forced");
}

/// Scenario 14, undo_order (ARIES 5.2): the latest update is undone first; each page carries its
/// compensation record's LSN and is in the dirty page table from there on.
#[test]
fn undo_order() {
    let story = Story::new();
    let mut t1 = story.begin();
    for page in 1..=4 {
        story.update(&mut t1, page);
    }
    story.db.flush_pages().unwrap();
    story.trace.clear();
    t1.rollback().unwrap();

    assert_eq!(
        story.log()[4..],
        ["Rollback T1", "CLR(3)->2", "CLR(2)->1", "CLR(1)->0", "CLR(0)->nil", "End T1"]
    );
    assert_eq!(story.dirty(), ["P1:8", "P2:7", "P3:6", "P4:5"]);
    for (page, clr) in [(1, 8), (2, 7), (3, 6), (4, 5)] {
        assert_eq!(story.page_lsn(page), Some(story.lsn(clr)), "P{page}");
    }
}

/// Scenario 14, the other half (ARIES 5.2): at the moment that a compensation record is in the log,
/// its page is in the dirty page table and its transaction's line names the record; the page
/// changes only then. The log's buffer is filled so far that a record of the rollback makes the
/// engine write it out in the middle of its append: that is the moment to look.
#[test]
fn undo_is_in_the_tables_before_its_page_changes() {
    const PAGE: usize = 65_536;
    const UPDATES: u64 = 140;
    type Looked = Vec<(Vec<PageId>, aries::tables::TransactionTable)>;
    let database: Arc<Mutex<Option<aries::Db>>> = Arc::default();
    let looked: Arc<Mutex<Looked>> = Arc::default();
    let (watched, saw) = (Arc::clone(&database), Arc::clone(&looked));
    let disk = watched_disk(&SimDisk::new(), move |call| {
        if call.operation == "write"
            && call.name.starts_with("log/")
            && let Some(db) = &*watched.lock().unwrap()
        {
            let pages = db.dirty_page_table().iter().map(|(page, _)| page).collect();
            saw.lock().unwrap().push((pages, db.transaction_table()));
        }
        Ok(())
    });
    let options = options().page_size(PAGE).segment_bytes(32 << 20).buffer_pool_bytes(PAGE * 160);
    let db = options.open_on(disk).unwrap();
    let mut setup = db.begin().unwrap();
    let record = vec![b'.'; PAGE - 100];
    for page in 1..=UPDATES {
        assert_eq!(setup.allocate_page().unwrap(), PageId(page));
        setup.insert_record(PageId(page), &record).unwrap();
    }
    setup.commit().unwrap();
    let mut t1 = db.begin().unwrap();
    let id = t1.id();
    for page in 1..=UPDATES {
        let changed = vec![b'x'; PAGE - 100];
        t1.write_record(PageId(page), aries::ids::SlotId(0), 0, &changed).unwrap();
    }
    db.flush_pages().unwrap();
    assert!(db.dirty_page_table().is_empty());

    *database.lock().unwrap() = Some(db.clone());
    t1.rollback().unwrap();
    *database.lock().unwrap() = None;
    let looked = looked.lock().unwrap();
    assert!(!looked.is_empty(), "the log was written out in the middle of the rollback");
    for (dirty, transactions) in looked.iter() {
        // Undo goes from the last page to the first: the compensation under way is the last one
        // that the transaction table knows of, and its page the lowest of those undone so far.
        let undone = UPDATES - dirty.len() as u64;
        let expected: Vec<PageId> = (undone + 1..=UPDATES).map(PageId).collect();
        assert_eq!(*dirty, expected);
        let last_lsn = transactions.get(id).unwrap().last_lsn.unwrap();
        let bytes = db.read_log(last_lsn).unwrap();
        let aries::record::LogRecord::Compensation(clr) = bytes.record() else {
            panic!("not a compensation: {}", bytes.record());
        };
        assert_eq!(clr.page, dirty[0], "the page of the record under way is in the table");
    }
}

/// Scenario 15, undo_skips_compensated (ARIES 6.3): a crash in the middle of a rollback that had a
/// partial rollback before: what has its compensation record is stepped over.
#[test]
fn undo_skips_compensated() {
    let story = Story::new();
    let mut t1 = story.begin();
    story.update(&mut t1, 1);
    story.update(&mut t1, 2);
    let savepoint = t1.savepoint().unwrap();
    story.update(&mut t1, 3);
    t1.rollback_to(savepoint).unwrap();
    t1.rollback().unwrap();
    let history = ["U(T1,P1)", "U(T1,P2)", "U(T1,P3)", "CLR(2)->1", "Rollback T1", "CLR(1)->0"];
    assert_eq!(story.log()[..6], history);

    let after = story.resume_on(&story.crash_after(5));
    assert_eq!(after.log()[..6], history);
    assert_eq!(after.appended_by_restart(), ["CLR(0)->nil", "End T1"]);
    assert_eq!(after.contents(), Story::new().contents());
}

/// Scenario 16, undo_of_allocation (ARIES 10.3): allocating a page is an update of the space map
/// page like any other, and undone like any other.
#[test]
fn undo_of_allocation() {
    let story = Story::new();
    let flushed = story.db.stats().flushed_lsn;
    let mut t1 = story.begin();
    story.update(&mut t1, 1);
    let page = t1.allocate_page().unwrap();
    story.update(&mut t1, 2);
    assert_eq!(story.db.page_state(page).unwrap(), Some(PageState::Used));
    t1.rollback().unwrap();

    let history = ["U(T1,P1)", "U(T1,S)", "U(T1,P2)"];
    assert_eq!(story.log()[..3], history);
    assert_eq!(
        story.log()[3..],
        ["Rollback T1", "CLR(2)->1", "CLR(1)->0", "CLR(0)->nil", "End T1"]
    );
    assert_eq!(story.dirty(), ["S:1", "P1:0", "P2:2"]);
    assert_eq!(story.db.page_state(page).unwrap(), Some(PageState::Free));
    assert_eq!(story.db.stats().flushed_lsn, flushed, "nothing was forced");
}
