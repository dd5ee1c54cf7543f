//! Failing syncs and full disks: scenarios 36 and 37.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aries::disk::{Disk, Fault, FaultKind, SimDisk, Survivors};
use aries::ids::PageId;
use aries::{Error, Result};

use crate::common::{Call, Story, image, read_page_records, watched_disk};

/// Lets the `number`-th call that `wanted` chooses fail, counted from when it is armed.
#[derive(Clone, Default)]
struct Trap {
    left: Arc<Mutex<Option<u64>>>,
    sprung: Arc<Mutex<Option<Call>>>,
}

impl Trap {
    fn arm(&self, number: u64) {
        *self.left.lock().unwrap() = Some(number);
    }

    /// The call that failed.
    fn sprung(&self) -> Option<Call> {
        self.sprung.lock().unwrap().clone()
    }

    fn disk(
        &self,
        disk: &SimDisk,
        kind: FaultKind,
        wanted: impl Fn(&Call) -> bool + Send + Sync + 'static,
    ) -> Arc<dyn Disk> {
        let (trap, inner) = (self.clone(), disk.clone());
        watched_disk(disk, move |call| {
            let mut left = trap.left.lock().unwrap();
            if let Some(number) = *left
                && wanted(call)
            {
                *left = number.checked_sub(1);
                if number == 0 {
                    *trap.sprung.lock().unwrap() = Some(call.clone());
                    inner.inject(Fault { at: inner.io_count(), kind, forever: false });
                }
            }
            Ok(())
        })
    }
}

/// Commits that allocate a page each, with stolen pages, a page written on request and a
/// checkpoint. `pages` are those of acknowledged commits.
fn allocate_and_commit(story: &Story, pages: &mut Vec<PageId>) -> Result<()> {
    for round in 0..24 {
        let mut txn = story.db.begin()?;
        let page = txn.allocate_page()?;
        txn.insert_record(page, b"new!")?;
        story.try_update(&mut txn, round % 24 + 1)?;
        txn.commit()?;
        pages.push(page);
        match round {
            5 => story.db.flush_page(PageId(6))?,
            9 => story.db.flush_pages()?,
            15 => drop(story.db.checkpoint()?),
            _ => {}
        }
    }
    Ok(())
}

/// After a failure every call is refused, and none does anything to the disk.
fn assert_stopped(story: &Story) {
    let ios = story.disk.io_count();
    let poisoned = |error: Error| assert!(matches!(error, Error::Poisoned { .. }), "{error}");
    poisoned(story.db.begin().err().unwrap());
    poisoned(story.db.checkpoint().err().unwrap());
    poisoned(story.db.flush_pages().err().unwrap());
    poisoned(story.db.step().err().unwrap());
    let durable = story.db.stats().flushed_lsn == story.db.stats().end_lsn;
    assert!(durable || story.db.force_log().is_err());
    assert_eq!(story.disk.io_count(), ios, "nothing is retried");
}

/// The committed pages are there; one commit more may be.
fn assert_acknowledged(story: &Story, pages: &[PageId], place: &str) -> Vec<PageId> {
    for page in pages {
        assert_eq!(read_page_records(&story.db, *page), [b"new!"], "{place}: {page}");
    }
    let used = |page: &PageId| {
        story.db.page_state(*page).unwrap() == Some(aries::page::PageState::Used)
            && !aries::page::space_map::is_map_page(*page, 512)
    };
    let found: Vec<PageId> =
        (25..story.db.stats().pages).map(PageId).filter(|page| used(page)).collect();
    assert!(found.len() == pages.len() || found.len() == pages.len() + 1, "{place}: {found:?}");
    found
}

/// Scenario 36, fsync_fails (ARIES 1.4): each sync in turn fails once. The engine stops,
/// acknowledges and retries nothing. The next process, whether it sees what the failed sync left in
/// the page cache or not, and whether the mark of distrust could be left or not, finds everything
/// acknowledged, and believes nothing that is not durable: what it shows survives the power failure
/// that follows at once.
#[test]
fn fsync_fails() {
    let mut files = BTreeSet::new();
    for number in 0.. {
        let mut sprung = None;
        for (marked, drop_cache) in [(false, false), (false, true), (true, false)] {
            let (disk, trap) = (SimDisk::new(), Trap::default());
            let fail = FaultKind::InputOutputError;
            let story = Story::on(&disk, trap.disk(&disk, fail, |call| call.operation == "sync"));
            let mut acknowledged = Vec::new();
            trap.arm(number);
            let done = allocate_and_commit(&story, &mut acknowledged);
            sprung = trap.sprung();
            let Some(call) = &sprung else { break };
            let error = done.expect_err("a failed sync fails the call");
            let how = format!("marked: {marked}, cache dropped: {drop_cache}");
            let place = format!("sync {number} of {}, {how}", call.name);
            assert!(error.to_string().contains("cannot sync"), "{place}: the reason, {error}");
            assert_stopped(&story);
            files.insert(call.name.clone());
            assert!(disk.read_file("distrust").is_some(), "{place}: the mark");
            if !marked {
                disk.remove_file("distrust");
            }
            if drop_cache {
                disk.drop_cache();
            }
            let next = story.resume_on(&disk);
            let shown = assert_acknowledged(&next, &acknowledged, &place);
            for survivors in [Survivors::None, Survivors::Random { seed: number }] {
                let after = next.resume_on(&disk.crash(&survivors));
                assert_acknowledged(&after, &acknowledged, &place);
                assert_acknowledged(&after, &shown, &place);
            }
        }
        if sprung.is_none() {
            break;
        }
    }
    for name in ["control", "pages", "doublewrite", "log/0000000000000001.seg"] {
        assert!(files.contains(name), "a sync of {name} failed");
    }
}

/// Tells calls that take new space, whose failure is an ordinary error, from writes into space that
/// is there.
#[derive(Default)]
struct Space {
    /// A segment that is being prepared, and how many of its two syncs are done.
    preparing: Option<(String, u32)>,
    /// Whether the pages of a double-write batch are being written in place.
    in_place: bool,
}

impl Space {
    fn takes_space(&mut self, call: &Call) -> bool {
        if call.operation == "create" {
            self.preparing = Some((call.name.clone(), 0));
        }
        match (call.operation, call.name.as_str()) {
            ("write", "doublewrite") => self.in_place = true,
            ("write", "pages") => return !self.in_place,
            ("sync", "pages") => return !std::mem::take(&mut self.in_place),
            ("sync", "log") => return self.preparing.take().is_some(),
            _ => {}
        }
        self.preparing.as_ref().is_some_and(|(name, _)| *name == call.name)
    }
}

fn changes_something(call: &Call) -> bool {
    matches!(call.operation, "create" | "write" | "sync" | "rename")
}

/// Like [`allocate_and_commit`], preparing segments and growing the file of pages on the way. What
/// fails for want of space is rolled back and done again. Gives how often that was.
fn persevere(story: &Story, pages: &mut Vec<PageId>) -> Result<u32> {
    let mut refusals = 0;
    let mut round = 0_u64;
    while story.db.stats().end_lsn.get() < 45_000 {
        let mut txn = story.db.begin()?;
        let worked = (|| {
            let page = txn.allocate_page()?;
            txn.insert_record(page, b"new!")?;
            for page in 1..=18 {
                story.try_update(&mut txn, page)?;
            }
            Ok(page)
        })();
        match worked {
            Ok(page) => {
                txn.commit()?;
                pages.push(page);
            }
            Err(error) if is_ordinary(story, &error) => {
                txn.rollback().expect("rolling back works on a full disk");
                refusals += 1;
            }
            Err(error) => return Err(error),
        }
        match story.db.step() {
            Ok(_) => {}
            Err(error) if is_ordinary(story, &error) => refusals += 1,
            Err(error) => return Err(error),
        }
        round += 1;
        if round.is_multiple_of(6) {
            story.db.checkpoint()?;
        }
    }
    Ok(refusals)
}

/// Whether the disk was full, and the engine goes on.
fn is_ordinary(story: &Story, error: &Error) -> bool {
    error.is_disk_full() && story.db.begin().is_ok_and(|txn| txn.commit().is_ok())
}

/// Scenario 37, disk_full (ARIES 1.4): the disk is full once, at each call that changes something
/// in turn. While a segment is prepared or the file of pages grows this is an ordinary error: the
/// transaction rolls back and is done again. At any other write the engine stops, and the next
/// process finds everything.
#[test]
fn disk_full() {
    let (mut ordinary, mut stopped) = (0, 0);
    for number in 0.. {
        let (disk, trap) = (SimDisk::new(), Trap::default());
        let takes_space = Arc::new(AtomicBool::new(false));
        let (told, space) = (Arc::clone(&takes_space), Mutex::new(Space::default()));
        let watch = move |call: &Call| {
            told.store(space.lock().unwrap().takes_space(call), Ordering::Relaxed);
            changes_something(call)
        };
        let story = Story::on(&disk, trap.disk(&disk, FaultKind::DiskFull, watch));
        trap.arm(number);
        let mut acknowledged = Vec::new();
        let done = persevere(&story, &mut acknowledged);
        let Some(call) = trap.sprung() else { break };
        let takes_space = takes_space.load(Ordering::Relaxed);
        let place = format!("call {number}, {call:?}, which takes space: {takes_space}");
        match done {
            Ok(refusals) => {
                assert!(takes_space && refusals == 1, "{place}: {refusals} refusals");
                ordinary += 1;
            }
            Err(error) => {
                assert!(!takes_space, "{place}: {error}");
                let reason = format!("cannot {}", call.operation);
                assert!(error.to_string().contains(&reason), "{place}: the reason, {error}");
                assert_stopped(&story);
                stopped += 1;
            }
        }
        assert_acknowledged(&story.resume_on(&disk), &acknowledged, &place);
        let crashed = disk.crash(&Survivors::None);
        assert_acknowledged(&story.resume_on(&crashed), &acknowledged, &place);
    }
    assert!(ordinary >= 6 && stopped > 10, "{ordinary} ordinary errors, {stopped} final ones");
}

/// Bytes that the files take, in blocks.
fn used(disk: &SimDisk) -> u64 {
    image(disk).values().map(|bytes| bytes.len().next_multiple_of(4096) as u64).sum()
}

/// Scenario 37, a disk that stays full (ARIES 1.4): when the log can take no more of them, all
/// transactions can still be rolled back, pages read, written and checkpointed, and the database
/// recovered, again and again; once there is space, work goes on.
#[test]
fn disk_stays_full() {
    let story = Story::new();
    let mut committed = story.begin();
    story.update(&mut committed, 24);
    committed.commit().unwrap();
    let expected = story.contents();
    story.disk.set_capacity(Some(used(&story.disk)));
    let mut losers: Vec<_> = (0..4).map(|_| story.begin()).collect();
    let (mut open, mut page) = ((0..4).collect::<Vec<usize>>(), 0);
    while !open.is_empty() {
        page = page % 23 + 1;
        open.retain(|loser| match story.try_update(&mut losers[*loser], page) {
            Ok(_) => true,
            Err(error) => {
                assert!(error.is_disk_full(), "{error}");
                false
            }
        });
    }
    let mut crashed = story.crash();
    for _ in 0..5 {
        let after = story.resume_on(&crashed);
        assert_eq!(after.contents(), expected);
        crashed = after.crash();
    }
    losers.into_iter().for_each(|loser| loser.rollback().unwrap());
    assert_eq!(story.contents(), expected);
    story.db.flush_pages().unwrap();
    story.db.checkpoint().unwrap();

    story.disk.set_capacity(None);
    let mut more = story.begin();
    story.update(&mut more, 1);
    more.commit().unwrap();
    assert_eq!(story.restart().contents(), story.contents());
}
