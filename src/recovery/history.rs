//! Repeating history: every change that its page does not have is applied again, whoever made it.
//!
//! ```text
//!   log    | P1 | P2 | P4 | P1 | P3 | P2 | …      each thread walks over all of it,
//!             |    |    |    |    |    |
//!   part 0    |    P2   P4   |    |    P2         and takes the records of its own pages
//!   part 1    P1             P1   P3              in the order of the log
//! ```
//!
//! With several threads the pages are divided among them ([`part_of`]). A page's records are all
//! applied by one thread, in order, and redo of a page never looks at another: so each page becomes
//! what it would have become with one thread. No record is handed from thread to thread. Walking
//! over a record costs little, for the walk does not compute checksums; the thread that uses it does.
//!
//! Meanwhile the disk is told which pages will be read, in the order of their numbers.
//!
//! Invariants:
//! - a record is applied only to the version of the page that it was made for (`prev_page_lsn`), else
//!   the page or the log is damaged;
//! - the first failure ends all threads; nothing was appended to the log.
//!
//! Source: ARIES, section 6.2, and what it says there of parallelism.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::thread;

use super::damaged::Damaged;
use super::held::HeldPages;
use crate::buffer::{BufferPool, PageWrite};
use crate::config::Sabotage;
use crate::error::{Error, Result};
use crate::event::{Event, Observers, SkipReason};
use crate::ids::{Lsn, PageId, TxnId};
use crate::log::{Found, Log, LogWalk};
use crate::record::{LogRecord, MOST_CHANGES, PageChange, PlainNames, page_op_words};
use crate::sync::{AtomicBool, Ordering};
use crate::tables::{DirtyPageTable, part_of};

/// Records looked for, and their pages looked up, at once.
const BATCH_RECORDS: usize = 16;
/// Changes found at once, at most: the last record may be one of several.
const MOST_FOUND: usize = BATCH_RECORDS + MOST_CHANGES;
/// Frames that a thread needs at least.
const FRAMES_PER_THREAD: usize = 4;
/// The next page of a run lies no further than this behind the one before.
const READ_AHEAD_GAP: u64 = 8;
/// Pages that the disk is told of at once, at most.
const READ_AHEAD_PAGES: u64 = 256;

/// What was done, by one thread or by all.
#[derive(Default)]
pub(super) struct Repeated {
    pub records: u64,
    pub bytes: u64,
    pub redone: u64,
    pub skipped: BTreeMap<SkipReason, u64>,
    /// Pages whose records were skipped, to be rebuilt.
    pub damaged: Damaged,
}

/// History from the smallest `rec_lsn` to the end of the log.
pub(super) struct History<'r> {
    pub log: &'r Log,
    pub pool: &'r BufferPool,
    pub observers: &'r Observers,
    pub from: Lsn,
    pub end: Lsn,
    pub losers: &'r [TxnId],
}

impl History<'_> {
    /// Repeats it with so many threads. `dirty_pages` says which pages may lack which records.
    /// Whether there may be one thread more tells `read_ahead_beside`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a page does not fit the log; those of the disk.
    pub fn repeat(
        &self,
        dirty_pages: &DirtyPageTable,
        threads: usize,
        read_ahead_beside: bool,
    ) -> Result<Repeated> {
        let threads = threads.min(self.pool.frames() / FRAMES_PER_THREAD);
        let stop = AtomicBool::new(false);
        let mut parts: Vec<Part<'_>> = (dirty_pages.split(threads).into_iter().enumerate())
            .map(|(index, dirty_pages)| Part {
                history: self,
                index,
                threads,
                dirty_pages,
                stop: &stop,
            })
            .collect();
        let first = parts.remove(0);
        thread::scope(|scope| {
            let read_ahead = || self.read_ahead(dirty_pages, &stop);
            if read_ahead_beside {
                drop(scope.spawn(read_ahead))
            } else {
                read_ahead()
            }
            let others: Vec<_> =
                parts.into_iter().map(|part| scope.spawn(|| part.repeat())).collect();
            let mut all = vec![first.repeat()];
            all.extend(others.into_iter().map(|other| other.join().expect("redo does not panic")));
            stop.store(true, Ordering::Relaxed);
            all.into_iter().collect::<Result<Vec<_>>>().map(merge)
        })
    }

    /// Leaves out what a broken rule keeps from being repeated.
    fn leave_out(&self, found: &mut Vec<Found>) -> Result<()> {
        let winners_only = self.log.breaks(Sabotage::WinnersOnlyRedone);
        if !winners_only && !self.log.breaks(Sabotage::RedoSkipsCompensations) {
            return Ok(());
        }
        let mut kept = Vec::new();
        for found in found.drain(..) {
            let bytes = self.log.read(found.lsn)?;
            let left_out = match bytes.record() {
                record if winners_only => {
                    record.link().is_some_and(|link| self.losers.contains(&link.txn))
                }
                record => matches!(record, LogRecord::Compensation(_)),
            };
            kept.extend((!left_out).then_some(found));
        }
        *found = kept;
        Ok(())
    }

    /// Tells the disk which pages will be read, as many as the pool can hold.
    fn read_ahead(&self, dirty_pages: &DirtyPageTable, stop: &AtomicBool) {
        let pages = dirty_pages.iter().take(self.pool.frames()).map(|(page, _)| page);
        for (first, count) in Runs(pages.peekable()) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            self.pool.read_ahead(first, count);
        }
    }
}

/// Runs of pages to be read at once, made of ascending pages: the first, and how many. Pages between that
/// nobody wants are read with the others if they are few.
struct Runs<I: Iterator<Item = PageId>>(Peekable<I>);

impl<I: Iterator<Item = PageId>> Iterator for Runs<I> {
    type Item = (PageId, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.0.next()?;
        let mut last = first;
        let goes_on = |last: PageId, next: &PageId| {
            next.0 - last.0 <= READ_AHEAD_GAP && next.0 - first.0 < READ_AHEAD_PAGES
        };
        while let Some(next) = self.0.next_if(|next| goes_on(last, next)) {
            last = next;
        }
        Some((first, last.0 - first.0 + 1))
    }
}

/// Every thread has walked over the same records.
fn merge(all: Vec<Repeated>) -> Repeated {
    let mut merged = Repeated::default();
    for one in all {
        merged.records = one.records;
        merged.bytes = one.bytes;
        merged.redone += one.redone;
        merged.damaged.append(one.damaged);
        for (reason, count) in one.skipped {
            *merged.skipped.entry(reason).or_default() += count;
        }
    }
    merged
}

/// What one thread repeats.
struct Part<'r> {
    history: &'r History<'r>,
    index: usize,
    threads: usize,
    dirty_pages: DirtyPageTable,
    /// Set when somebody failed.
    stop: &'r AtomicBool,
}

impl Part<'_> {
    fn repeat(self) -> Result<Repeated> {
        let repeated = self.walk();
        if repeated.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        repeated
    }

    fn walk(&self) -> Result<Repeated> {
        let History { log, pool, from, end, .. } = *self.history;
        let mut walk = LogWalk::new(log.segments(), log.epochs(), from, end);
        let mut pages = HeldPages::new(pool, &self.dirty_pages, self.threads);
        let (mut found, mut done) = (Vec::with_capacity(MOST_FOUND), Repeated::default());
        let mine = |page| part_of(page, self.threads) == self.index;
        let mut more = true;
        while more && !self.stop.load(Ordering::Relaxed) {
            more = walk.find(BATCH_RECORDS, mine, &mut found)?;
            self.history.leave_out(&mut found)?;
            self.redo_batch(&walk, &found, &mut pages, &mut done)?;
        }
        done.records = walk.records();
        done.bytes = walk.bytes();
        Ok(done)
    }

    /// Redoes records that were found together. What each will touch is looked at before the first is
    /// applied.
    fn redo_batch(
        &self,
        walk: &LogWalk<'_>,
        found: &[Found],
        pages: &mut HeldPages<'_>,
        done: &mut Repeated,
    ) -> Result<()> {
        let mut changes = [None; MOST_FOUND];
        pages.look_up(found);
        for (nth, found) in found.iter().enumerate() {
            if pages.skips(nth, found.lsn).is_none() {
                changes[nth] = Some(walk.change(found)?);
            }
        }
        for (nth, change) in changes.iter().enumerate() {
            change.iter().for_each(|change| pages.look_at(nth, &change.op));
        }
        for (nth, found) in found.iter().enumerate() {
            let skipped = match (pages.skips(nth, found.lsn), &changes[nth]) {
                (None, Some(change)) => self.redo(found.lsn, change, (&mut *pages, nth), done)?,
                (None, None) => unreachable!("a rec_lsn is only ever raised"),
                (skipped, _) => skipped,
            };
            self.tell(found, skipped, done);
        }
        Ok(())
    }

    /// Applies one change, that of the `nth` record looked up, or says why not.
    fn redo(
        &self,
        lsn: Lsn,
        change: &PageChange<'_>,
        (pages, nth): (&mut HeldPages<'_>, usize),
        done: &mut Repeated,
    ) -> Result<Option<SkipReason>> {
        let (pool, damaged) = (pages.pool(), &mut done.damaged);
        if damaged.contains(change.page) {
            return Ok(Some(SkipReason::PageDamaged));
        }
        let page = match pages.hold(nth, change.page) {
            Ok(page) => page,
            Err(error) => {
                damaged.note(change.page, error)?;
                return Ok(Some(SkipReason::PageDamaged));
            }
        };
        let page_lsn = match self.history.log.breaks(Sabotage::RedoWithoutPageLsn) {
            true => change.prev_page_lsn,
            false => page.page_lsn(),
        };
        if page_lsn >= Some(lsn) {
            // All records up to the page's are in it: the next one that may not be is later. This is a
            // bound to compare with, not the LSN of a record.
            if let Some(bound) = page_lsn.and_then(|page_lsn| page_lsn.checked_add(1)) {
                pages.raise_rec_lsn(nth, bound);
            }
            if let Some(page_lsn) = page_lsn.filter(|page_lsn| *page_lsn > lsn) {
                let page = change.page;
                self.history.observers.emit(|| Event::RecLsnRaised { page, page_lsn });
            }
            return Ok(Some(SkipReason::PageLsnNotBelow));
        }
        if !change.op.starts_anew() && page_lsn != change.prev_page_lsn {
            let error = broken_chain(pool, page, lsn, change.prev_page_lsn);
            if page_lsn > change.prev_page_lsn {
                return Err(error);
            }
            damaged.note(change.page, error)?;
            return Ok(Some(SkipReason::PageDamaged));
        }
        page.redo(&change.op, lsn).map_err(|fault| {
            let op = page_op_words(&change.op, change.page, &PlainNames);
            let expected = format!("a page that admits record {lsn}: {op}");
            Error::corrupt(pool.place(change.page), expected, fault.to_string())
        })?;
        Ok(None)
    }

    fn tell(&self, found: &Found, skipped: Option<SkipReason>, done: &mut Repeated) {
        let Found { lsn, page, .. } = *found;
        match skipped {
            None => {
                done.redone += 1;
                self.history.observers.emit(|| Event::Redone { lsn, page });
            }
            Some(reason) => {
                *done.skipped.entry(reason).or_default() += 1;
                self.history.observers.emit(|| Event::RedoSkipped { lsn, page, reason });
            }
        }
    }
}

/// A change applies to the version of the page that it was made on, and to no other. (What makes the
/// page anew applies to any.)
fn broken_chain(
    pool: &BufferPool,
    page: &PageWrite<'_>,
    lsn: Lsn,
    prev_page_lsn: Option<Lsn>,
) -> Error {
    // A page with a change that the log does not have bears witness against the log.
    let what = match page.page_lsn() < prev_page_lsn {
        true => "a write was lost",
        false => "the log has lost that change",
    };
    let nil = |lsn: Option<Lsn>| lsn.map_or_else(|| "nil".into(), |lsn| lsn.to_string());
    Error::corrupt(
        pool.place(page.page()),
        format!("pageLSN {}, on which record {lsn} was made", nil(prev_page_lsn)),
        format!("pageLSN {}: {what}", nil(page.page_lsn())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(pages: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
        let pages = pages.into_iter().map(PageId);
        Runs(pages.peekable()).map(|(first, count)| (first.0, count)).collect()
    }

    #[test]
    fn pages_that_lie_near_each_other_are_read_together() {
        assert_eq!(runs([]), []);
        assert_eq!(runs([5]), [(5, 1)]);
        assert_eq!(runs([3, 4, 12, 21, 22]), [(3, 10), (21, 2)], "8 on is near, 9 on is not");
        assert_eq!(runs(10..530), [(10, 256), (266, 256), (522, 8)]);
        assert_eq!(runs([0, 8, 16].into_iter().chain((20..300).step_by(8))).len(), 2);
    }
}
