//! What the surviving log must say once a database has been recovered: each transaction told to its end, each undone update
//! compensated once.
//!
//! The log is read from its front by nobody's tables but these. For each transaction the chain is kept that undo
//! walks:
//!
//! ```text
//!   update 10 ── update 20 ── CLR 30 (undoes 20, undo next 10) ── update 40 ── CLR 50 (of 40, to 30) ── CLR 60 (of 10, to nil) ── End
//!      ^                            |  the next to undo is 10                        | then 30 leads to 10        | then nil
//!      +----------------------------+------------------------------------------------+
//! ```
//!
//! What must hold:
//! - a compensation record is of the update that is next to be undone: on its page, leading to its `prev_lsn`. So each
//!   update that is undone has exactly one, however often restart was interrupted, and none is itself undone;
//! - a transaction that ends without a commit record has nothing left to undo; one with a commit record has undone
//!   nothing since;
//! - all transactions have ended, but those in doubt.
//!
//! What lies before the front of the log is not known: a chain that leads there ends there.
//!
//! Also told here: where redo must begin, and what a checkpoint of a database whose pages are all written
//! needs of the log.
//!
//! Source: ARIES, sections 5.2 (compensation records), 5.4 (checkpoints), 6.2 (where redo begins), 6.3 (undo), 9 (nested top
//! actions).

use std::collections::{BTreeMap, HashMap};

use super::violation::{Checked, Clause, Violation, fine};
use crate::disk::{Disk, SimDisk};
use crate::ids::{Lsn, PageId, TxnId};
use crate::log::ControlFile;
use crate::record::{LogRecord, Undo, Update};
use crate::recovery::LogReader;
use crate::sync::Arc;

/// Where undo goes on behind a record.
#[derive(Clone, Copy)]
enum Step {
    /// An update that can be undone: on this page, or, by key, wherever the cell is by then; behind it undo goes on
    /// there.
    Update(Option<PageId>, Option<Lsn>),
    /// Anything else: undo goes on there.
    Passed(Option<Lsn>),
}

/// A transaction as far as the log was read.
#[derive(Default)]
struct Told {
    first_lsn: Option<Lsn>,
    undo_next_lsn: Option<Lsn>,
    /// Its records, the latest last.
    steps: BTreeMap<Lsn, Step>,
    committed: bool,
    in_doubt: bool,
}

impl Told {
    /// The update that is next to be undone, if one is that the log still has.
    fn next_update(&self) -> Option<(Lsn, Option<PageId>, Option<Lsn>)> {
        let mut at = self.undo_next_lsn?;
        loop {
            match *self.steps.get(&at)? {
                Step::Update(page, prev_lsn) => return Some((at, page, prev_lsn)),
                Step::Passed(next) => at = next?,
            }
        }
    }

    /// Whether the chain leads to before the front of the log.
    fn leads_away(&self) -> bool {
        let mut next = self.undo_next_lsn;
        while let Some(at) = next {
            match self.steps.get(&at) {
                None => return true,
                Some(Step::Update(..)) => return false,
                Some(Step::Passed(before)) => next = *before,
            }
        }
        false
    }

    /// Takes in a record of it; gives what is wrong with that.
    fn read(&mut self, lsn: Lsn, record: &LogRecord<'_>) -> Result<(), String> {
        let prev_lsn = record.link().and_then(|link| link.prev_lsn);
        if self.first_lsn.is_none() {
            // What was before it lies before the front of the log.
            (self.first_lsn, self.undo_next_lsn) = (Some(prev_lsn.unwrap_or(lsn)), prev_lsn);
        }
        let step = match record {
            LogRecord::Update(Update { page, undo: Undo::Physical(_), .. }) if !self.committed => {
                Step::Update(Some(*page), prev_lsn)
            }
            LogRecord::Update(Update { undo: Undo::Key(_), .. }) if !self.committed => {
                Step::Update(None, prev_lsn)
            }
            _ => Step::Passed(record.undo_goes_on_at()),
        };
        match record {
            LogRecord::Compensation(clr) => self.compensated(clr.page, clr.undo_next_lsn)?,
            LogRecord::Commit(_) => (self.committed, self.in_doubt) = (true, false),
            LogRecord::Rollback(_) => self.in_doubt = false,
            LogRecord::Prepare(prepare) => self.in_doubt = prepare.is_last(),
            LogRecord::End(_) if !self.committed => {
                if let Some((left, ..)) = self.next_update() {
                    return Err(format!("it ends, and its update {left} is not undone"));
                }
            }
            _ => {}
        }
        self.steps.insert(lsn, step);
        self.undo_next_lsn = Some(lsn);
        Ok(())
    }

    /// A compensation record must be of the next update.
    fn compensated(&self, page: PageId, undo_next_lsn: Option<Lsn>) -> Result<(), String> {
        if self.committed {
            return Err("it is undone, and has committed".to_owned());
        }
        let words = |lsn: Option<Lsn>| lsn.map_or("nil".to_owned(), |lsn| lsn.to_string());
        match self.next_update() {
            Some((_, of, prev_lsn))
                if of.is_none_or(|of| of == page) && prev_lsn == undo_next_lsn =>
            {
                Ok(())
            }
            Some((lsn, of, prev_lsn)) => Err(format!(
                "the next to be undone is {lsn} on {}, behind which undo goes on at {}; compensated is \
                 one on {page}, behind which it goes on at {}",
                of.map_or("some page".to_owned(), |of| of.to_string()),
                words(prev_lsn),
                words(undo_next_lsn)
            )),
            None if self.leads_away() => Ok(()),
            None => Err(format!("a compensation on {page}, and nothing is left to undo")),
        }
    }
}

/// What the log of a recovered database says.
#[derive(Default)]
pub struct Logged {
    /// Where the next restart has to begin its redo.
    pub redo_lsn: Option<Lsn>,
}

impl Logged {
    /// Reads the log that is durable on a disk, from its front to its end.
    ///
    /// # Errors
    /// What it must not say.
    pub fn read(disk: &SimDisk) -> Checked<Self> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let control = fine(Clause::Logged, ControlFile::open(disk.as_ref()))?;
        let log = fine(Clause::Logged, LogReader::open(&disk, &control))?;
        let checkpoint_lsn = log.master().checkpoint_lsn;
        let mut told: HashMap<TxnId, Told> = HashMap::new();
        let mut dirty_pages: BTreeMap<PageId, Lsn> = BTreeMap::new();
        let mut scan = log.scan(log.start());
        while let Some((lsn, record)) = fine(Clause::Logged, scan.next_record())? {
            if let Some(link) = record.link() {
                let txn = link.txn;
                let read = told.entry(txn).or_default().read(lsn, &record);
                read.or_else(|found| violated(format!("{txn} at {lsn}: {found}")))?;
                if matches!(record, LogRecord::End(_)) {
                    told.remove(&txn);
                }
            }
            // As analysis infers it; what the checkpoint copied of its table counts more.
            for change in record.page_changes().filter(|_| lsn > checkpoint_lsn) {
                dirty_pages.entry(change.page).or_insert(lsn);
            }
            if let LogRecord::EndCheckpoint(end) = &record
                && end.begin_lsn == checkpoint_lsn
            {
                dirty_pages.extend(end.dirty_pages.iter().copied());
            }
        }
        if let Some((txn, told)) = told.iter().find(|(_, told)| !told.in_doubt) {
            let how = if told.committed { "has committed" } else { "is not in doubt" };
            return violated(format!("{txn} {how}, and has no end record"));
        }
        Ok(Self { redo_lsn: dirty_pages.into_values().min() })
    }

    /// Redo must have begun there, and nowhere else.
    ///
    /// # Errors
    /// When it did not.
    pub fn check_redo(&self, from: Option<Lsn>) -> Checked<()> {
        if from == self.redo_lsn {
            return Ok(());
        }
        let words = |lsn: Option<Lsn>| lsn.map_or("nowhere".to_owned(), |lsn| lsn.to_string());
        let (from, wanted) = (words(from), words(self.redo_lsn));
        violated(format!("redo began at {from}; the smallest rec_lsn is {wanted}"))
    }
}

/// Once all pages are written, and nothing is in doubt, a checkpoint needs no log before its begin record.
///
/// # Errors
/// When it does.
pub fn check_closed(disk: &SimDisk) -> Checked<()> {
    let master = fine(Clause::Logged, ControlFile::open(disk))?.master();
    let (oldest, begin_lsn) = (master.oldest_required_lsn, master.checkpoint_lsn);
    if oldest == begin_lsn {
        return Ok(());
    }
    violated(format!("all pages are written, and the log is kept from {oldest}, not {begin_lsn}"))
}

fn violated<T>(found: String) -> Checked<T> {
    Err(Violation { clause: Clause::Logged, found })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::setting::Setting;
    use super::*;
    use crate::disk::Survivors;
    use crate::page::PageOp;
    use crate::record::{Commit, CompensationLogRecord, End, NestedTopActionEnd, TransactionLink};

    const OP: PageOp<'static> = PageOp::RemoveSlot { slot: crate::ids::SlotId(0) };

    fn lsn(at: u64) -> Option<Lsn> {
        Lsn::new(at)
    }

    fn link(prev: u64) -> TransactionLink {
        TransactionLink { txn: TxnId::FIRST, prev_lsn: lsn(prev) }
    }

    fn update(prev: u64, page: u64) -> LogRecord<'static> {
        let (link, page, undo) = (link(prev), PageId(page), Undo::Physical(OP));
        LogRecord::Update(Update { link, page, prev_page_lsn: None, op: OP, undo })
    }

    fn clr(prev: u64, page: u64, undo_next: u64) -> LogRecord<'static> {
        LogRecord::Compensation(CompensationLogRecord {
            link: link(prev),
            page: PageId(page),
            prev_page_lsn: None,
            op: OP,
            undo_next_lsn: lsn(undo_next),
        })
    }

    fn end(prev: u64) -> LogRecord<'static> {
        LogRecord::End(End { link: link(prev), durable_lsn: Lsn::new(8).unwrap() })
    }

    fn commit(prev: u64) -> LogRecord<'static> {
        LogRecord::Commit(Commit {
            link: link(prev),
            durable_lsn: Lsn::new(8).unwrap(),
            wall_time_micros: 0,
            frees_pages: false,
        })
    }

    fn nested_end(prev: u64, undo_next: u64) -> LogRecord<'static> {
        let undo_next_lsn = lsn(undo_next);
        LogRecord::NestedTopActionEnd(NestedTopActionEnd { link: link(prev), undo_next_lsn })
    }

    /// What is wrong with these records of a transaction, at LSNs 10, 20, ….
    fn wrong(records: &[LogRecord<'_>]) -> Option<String> {
        let mut told = Told::default();
        let mut read = |(number, record): (u64, &LogRecord<'_>)| {
            told.read(Lsn::new(10 * (number + 1)).unwrap(), record)
        };
        (0..).zip(records).try_for_each(&mut read).err()
    }

    #[test]
    fn what_the_paper_says_is_right() {
        for records in [
            &[update(0, 1), update(10, 2), clr(20, 2, 10), clr(30, 1, 0), end(40)][..],
            // To a savepoint, and on; then all.
            &[
                update(0, 1),
                update(10, 2),
                clr(20, 2, 10),
                update(30, 3),
                clr(40, 3, 30),
                clr(50, 1, 0),
                end(60),
            ],
            // A nested top action stays.
            &[update(0, 1), update(10, 2), nested_end(20, 10), clr(30, 1, 0), end(40)],
            &[update(0, 1), update(10, 2), clr(20, 2, 10), commit(30), end(40)],
            // What was undone before the front of the log.
            &[clr(5, 1, 3), clr(10, 2, 0), end(20)],
        ] {
            assert_eq!(wrong(records), None, "{records:?}");
        }
    }

    #[test]
    fn each_undone_update_has_one_compensation_record() {
        for (records, found) in [
            (
                &[update(0, 1), update(10, 2), clr(20, 2, 10), end(30)][..],
                "update 000000000010 is not undone",
            ),
            (&[update(0, 1), end(10)], "update 000000000010 is not undone"),
            (&[update(0, 1), clr(10, 1, 0), clr(20, 1, 0)], "nothing is left to undo"),
            (
                &[update(0, 1), update(10, 2), clr(20, 2, 10), clr(30, 2, 10)],
                "next to be undone is 000000000010 on P1",
            ),
            (
                &[update(0, 1), update(10, 2), clr(20, 1, 0)],
                "next to be undone is 000000000020 on P2",
            ),
            (&[update(0, 1), clr(10, 1, 10)], "goes on at nil"),
            (
                &[update(0, 1), update(10, 2), nested_end(20, 10), clr(30, 2, 10)],
                "next to be undone is 000000000010",
            ),
            (&[update(0, 1), commit(10), clr(20, 1, 0)], "has committed"),
        ] {
            let wrong = wrong(records).unwrap_or_default();
            assert!(wrong.contains(found), "{records:?}: {wrong}");
        }
    }

    /// Of a database that has been crashed, and not recovered.
    #[test]
    fn what_has_not_ended_is_found_and_where_redo_begins() {
        let (setting, disk) = (Setting::default(), SimDisk::new());
        let db = setting.options().open_on(Arc::new(disk.clone())).unwrap();
        let mut txn = db.begin().unwrap();
        let page = txn.allocate_page().unwrap();
        txn.commit().unwrap();
        db.flush_pages().unwrap();
        let changed = db.stats().end_lsn;
        let mut txn = db.begin().unwrap();
        txn.insert_record(page, b"new").unwrap();
        txn.commit().unwrap();
        db.checkpoint().unwrap();
        let logged = Logged::read(&disk.crash(&Survivors::None)).unwrap();
        assert_eq!(logged.redo_lsn, Some(changed));
        assert!(logged.check_redo(Some(changed)).is_ok());
        assert!(logged.check_redo(None).is_err());
        assert!(check_closed(&disk).is_err(), "the page is not written");

        let mut left = db.begin().unwrap();
        left.insert_record(page, b"left").unwrap();
        db.checkpoint().unwrap();
        let violation = Logged::read(&disk.crash(&Survivors::None)).map(drop).unwrap_err();
        assert!(violation.found.ends_with("has no end record"), "{violation}");
        left.rollback().unwrap();
        db.close().unwrap();
        check_closed(&disk).unwrap();
    }
}
