//! Checkpoints against what goes on meanwhile: scenarios 38 and 39.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use aries::disk::{SimDisk, Survivors};
use aries::event::Event;
use aries::ids::{PageId, SlotId};
use aries::page::{PageKind, PageState};
use aries::{Db, Transaction};

use crate::common::{Forge, Story, open, options, read_page_records, watched_disk};

/// What a transaction and a checkpoint do, each in its own order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Update,
    FreePage,
    PreparePart,
    Prepare,
    Rollback,
    Commit,
    FinishFree,
    End,
    BeginCheckpoint,
    Snapshot,
    EndCheckpoint,
}

/// All ways to do both, each in its order.
fn interleavings(first: &[Step], second: &[Step]) -> Vec<Vec<Step>> {
    if first.is_empty() || second.is_empty() {
        return vec![[first, second].concat()];
    }
    let with = |step: Step, rest: Vec<Vec<Step>>| {
        rest.into_iter().map(move |steps| [vec![step], steps].concat())
    };
    with(first[0], interleavings(&first[1..], second))
        .chain(with(second[0], interleavings(first, &second[1..])))
        .collect()
}

const CHECKPOINT: [Step; 3] = [Step::BeginCheckpoint, Step::Snapshot, Step::EndCheckpoint];

/// Writes the log by hand, and restarts.
fn play(steps: &[Step]) -> Story {
    let mut forge = Forge::new();
    let (mut begin, mut snapshot) = (0, forge.snapshot());
    for step in steps {
        match step {
            Step::Update => drop(forge.update(1, 1)),
            Step::FreePage => drop(forge.free_page(1, 5)),
            Step::PreparePart => drop(forge.prepare_part(1, (0, 2), b"1", Vec::new())),
            Step::Prepare => {
                let part = if steps.contains(&Step::PreparePart) { (1, 2) } else { (0, 1) };
                forge.prepare_part(1, part, b"1", Vec::new());
            }
            Step::Rollback => drop(forge.rollback(1)),
            Step::Commit => drop(forge.commit(1)),
            Step::FinishFree => drop(forge.finish_free(1, 5)),
            Step::End => drop(forge.end(1)),
            Step::BeginCheckpoint => begin = forge.begin_checkpoint(),
            Step::Snapshot => snapshot = forge.snapshot(),
            Step::EndCheckpoint => drop(forge.end_checkpoint(begin, &snapshot)),
        }
    }
    forge.restart()
}

/// Scenario 38, checkpoint_against_commit (ARIES 5.3, 5.4, 6.1): whichever way a commit and a
/// checkpoint meet, and whenever the checkpoint copies the tables, the transaction is not undone.
#[test]
fn checkpoint_against_commit() {
    use Step::{Commit, End, Update};
    let ended = interleavings(&[Update, Commit, End], &CHECKPOINT);
    let not_ended = interleavings(&[Update, Commit], &CHECKPOINT);
    assert_eq!((ended.len(), not_ended.len()), (20, 10));
    for steps in ended.iter().chain(&not_ended) {
        let story = play(steps);
        assert_eq!(story.losers(), [""; 0], "{steps:?}");
        let expected: &[&str] = if steps.contains(&End) { &[] } else { &["End T1"] };
        assert_eq!(story.appended_by_restart(), expected, "{steps:?}");
        assert_ne!(story.value(1, SlotId(0)).unwrap(), b"....", "{steps:?}");
    }
}

/// Scenario 38 with a commit that goes on after its record, making a page free: the checkpoint may
/// have begun between the two, and then only its copy of the table knows of the commit.
#[test]
fn checkpoint_against_commit_that_frees_a_page() {
    use Step::{Commit, End, FinishFree, FreePage};
    let ended = interleavings(&[FreePage, Commit, FinishFree, End], &CHECKPOINT);
    let not_ended = interleavings(&[FreePage, Commit, FinishFree], &CHECKPOINT);
    let not_finished = interleavings(&[FreePage, Commit], &CHECKPOINT);
    for steps in ended.iter().chain(&not_ended).chain(&not_finished) {
        let story = play(steps);
        assert_eq!(story.losers(), [""; 0], "{steps:?}");
        let expected: &[&str] = match (steps.contains(&FinishFree), steps.contains(&End)) {
            (false, _) => &["U(T1,S)", "End T1"],
            (true, false) => &["End T1"],
            (true, true) => &[],
        };
        assert_eq!(story.appended_by_restart(), expected, "{steps:?}");
        assert_eq!(story.db.page_state(PageId(5)).unwrap(), Some(PageState::Free), "{steps:?}");
    }
}

/// Scenario 35 against scenario 38 (ARIES 5.4, 6.1): whichever way prepare and a checkpoint meet, the
/// transaction is in doubt from the last part of its prepare record on, and can be decided upon.
#[test]
fn checkpoint_against_prepare() {
    use Step::{Prepare, PreparePart, Update};
    let one_part = interleavings(&[Update, Prepare], &CHECKPOINT);
    let two_parts = interleavings(&[Update, PreparePart, Prepare], &CHECKPOINT);
    for steps in one_part.iter().chain(&two_parts) {
        for commit in [true, false] {
            let story = play(steps);
            assert_eq!(
                (story.losers(), story.in_doubt()),
                (vec![], vec!["T1".into()]),
                "{steps:?}"
            );
            assert_eq!(story.appended_by_restart(), [""; 0], "{steps:?}");
            if commit {
                story.db.commit_prepared(b"1").unwrap();
                assert_ne!(story.value(1, SlotId(0)).unwrap(), b"....", "{steps:?}");
            } else {
                story.db.rollback_prepared(b"1").unwrap();
                assert_eq!(story.value(1, SlotId(0)).unwrap(), b"....", "{steps:?}");
            }
            assert!(story.db.transaction_table().is_empty(), "{steps:?}");
        }
    }
    for steps in interleavings(&[Update, PreparePart], &CHECKPOINT) {
        let story = play(&steps);
        assert_eq!((story.losers(), story.in_doubt()), (vec!["T1".into()], vec![]), "{steps:?}");
        let update = steps.iter().filter(|step| **step != Step::Snapshot);
        let update = update.collect::<Vec<_>>().iter().position(|step| **step == Update).unwrap();
        let expected = [format!("CLR({update})->nil"), "End T1".into()];
        assert_eq!(story.appended_by_restart(), expected, "{steps:?}");
    }
}

/// The same with the decision in the log: whenever the copy of the table was taken, it counts.
#[test]
fn checkpoint_against_a_decision() {
    use Step::{Commit, Prepare, Rollback, Update};
    for steps in interleavings(&[Update, Prepare, Commit], &CHECKPOINT) {
        let story = play(&steps);
        assert_eq!((story.losers(), story.in_doubt()), (vec![], vec![]), "{steps:?}");
        assert_eq!(story.appended_by_restart(), ["End T1"], "{steps:?}");
        assert_ne!(story.value(1, SlotId(0)).unwrap(), b"....", "{steps:?}");
    }
    for steps in interleavings(&[Update, Prepare, Rollback], &CHECKPOINT) {
        let story = play(&steps);
        assert_eq!((story.losers(), story.in_doubt()), (vec!["T1".into()], vec![]), "{steps:?}");
        assert_eq!(story.appended_by_restart()[1..], ["End T1"], "{steps:?}");
        assert_eq!(story.value(1, SlotId(0)).unwrap(), b"....", "{steps:?}");
    }
}

/// A database whose threads stand still behind appending a record of this kind: they tell the receiver, and
/// wait for the sender.
fn standing_still_behind(wanted: &'static str, disk: &SimDisk) -> (Db, Receiver<()>, Sender<()>) {
    let (reached, at_record) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let observer = move |event: &Event| {
        if let Event::Appended { kind, .. } = event
            && *kind == wanted
        {
            reached.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
        }
    };
    let options = options().observer(Arc::new(observer));
    (options.open_on(Arc::new(disk.clone())).unwrap(), at_record, go_on)
}

/// Scenario 38 in the running engine (ARIES 5.3, 5.4): the committing thread stands still between
/// its commit record and its force while a whole checkpoint is taken.
#[test]
fn checkpoint_in_the_middle_of_a_commit() {
    let disk = SimDisk::new();
    let (db, at_commit, go_on) = standing_still_behind("Commit", &disk);
    let mut t1 = db.begin().unwrap();
    let page = t1.allocate_page().unwrap();
    t1.insert_record(page, b"kept").unwrap();
    let committing = thread::spawn(move || t1.commit().unwrap());
    at_commit.recv().unwrap();
    db.checkpoint().unwrap();
    // The checkpoint forced the log, and with it the commit: it counts, acknowledged or not.
    let image = disk.crash(&Survivors::None);
    go_on.send(()).unwrap();
    committing.join().unwrap();

    for image in [image, disk.crash(&Survivors::None)] {
        let after = open(&image);
        assert!(after.restart_report().analysis.losers.is_empty());
        assert_eq!(read_page_records(&after, page), [b"kept"]);
    }
}

/// The same with the thread that prepares (ARIES 5.4, 6.1): the checkpoint's force made the prepare record
/// durable, and its copy of the table must say so.
#[test]
fn checkpoint_in_the_middle_of_a_prepare() {
    let disk = SimDisk::new();
    let (db, at_prepare, go_on) = standing_still_behind("Prepare", &disk);
    let mut t1 = db.begin().unwrap();
    let page = t1.allocate_page().unwrap();
    t1.insert_record(page, b"kept").unwrap();
    let preparing = thread::spawn(move || t1.prepare(b"7").unwrap());
    at_prepare.recv().unwrap();
    let checkpoint = db.checkpoint().unwrap();
    assert!(db.prepared().is_empty() && db.commit_prepared(b"7").is_err(), "not promised yet");
    let image = disk.crash(&Survivors::None);
    go_on.send(()).unwrap();
    let prepare_lsn = preparing.join().unwrap();
    assert!(prepare_lsn < checkpoint.begin_lsn, "only the checkpoint's copy tells");

    for image in [image, disk.crash(&Survivors::None)] {
        let after = open(&image);
        assert!(after.restart_report().analysis.losers.is_empty());
        assert_eq!(after.prepared()[0].prepare_lsn, prepare_lsn);
        after.commit_prepared(b"7").unwrap();
        assert_eq!(read_page_records(&after, page), [b"kept"]);
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// Scenario 39, dirtied_while_written (ARIES 4.4, 5.4): a page is changed again while it is being
/// written, at each I/O between the copying of its bytes and the sync of the file. It stays dirty
/// from that change on; a checkpoint says so, and restart redoes the change.
#[test]
fn dirtied_while_written() {
    for io in 0..6 {
        let disk = SimDisk::new();
        let hook: Arc<Mutex<Option<(usize, Hook)>>> = Arc::default();
        let hooked = Arc::clone(&hook);
        let watched = watched_disk(&disk, move |_| {
            let mut armed = hooked.lock().unwrap();
            match armed.take() {
                Some((0, act)) => {
                    drop(armed);
                    act();
                }
                Some((left, act)) => *armed = Some((left - 1, act)),
                None => {}
            }
            Ok(())
        });
        let story = Story::on(&disk, watched);
        let (mut t1, mut t2) = (story.begin(), story.begin());
        story.update(&mut t1, 1);
        let returned: Arc<Mutex<Option<Transaction>>> = Arc::default();
        let back = Arc::clone(&returned);
        let change = move || {
            t2.write_record(PageId(1), SlotId(1), 0, b"late").unwrap();
            *back.lock().unwrap() = Some(t2);
        };
        *hook.lock().unwrap() = Some((io, Box::new(change)));
        story.db.flush_page(PageId(1)).unwrap();
        let t2 = returned.lock().unwrap().take().expect("the page was changed meanwhile");

        assert_eq!(story.log(), ["U(T1,P1)", "U(T2,P1)"], "I/O {io}");
        assert_eq!(story.dirty(), ["P1:1"], "I/O {io}");
        let checkpoint = story.db.checkpoint().unwrap();
        assert_eq!(checkpoint.redo_lsn, story.lsn(1));
        t1.commit().unwrap();
        t2.commit().unwrap();
        let written = &disk.crash(&Survivors::None).read_file("pages").unwrap()[512..1024];
        assert_eq!(aries::page::kind(written), Some(PageKind::Slotted));
        assert_eq!(aries::page::page_lsn(written), Some(story.lsn(0)), "the first change");
        let after = story.restart();
        assert_eq!(after.redo_decisions(), ["redone 1"], "I/O {io}");
        assert_eq!(after.value(1, SlotId(1)).unwrap(), b"late");
        assert_eq!(after.contents(), story.contents());
    }
}
