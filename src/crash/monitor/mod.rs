//! The write-ahead monitor: watches the order of writes and syncs, and names the rule that is broken, whether or not
//! a crash makes it visible.
//!
//! ```text
//!   engine ── call ──► monitor: is durable what must be before this? ──► disk
//!                         │ reads the bytes that would be left if the power failed now and nothing else survived
//!                         └──► out of order: the rule, its section of the paper, what was seen, at which I/O
//! ```
//!
//! A crash shows a wrong order only if the very moment is tried, with the very sectors lost, and if what is lost is missed
//! afterwards. The monitor needs no crash. It believes nothing that the engine says of itself (no `flushed_lsn`, no dirty
//! page table): it reads records, pages, batches and master records off the durable bytes, and parses those that are
//! being written. Only what the engine has promised to others, a commit or a page written, it is told
//! ([`Claim`]).
//!
//! | at | must hold |
//! |---|---|
//! | a write of a page, in place or into the double-write file | the log is durable up to and with the record at its pageLSN |
//! | a write of a page in place | the very image is whole in the durable batch, or, with page images, the durable log makes it |
//! | a write to the double-write file | the pages of the batch that is durable there are durable in place, or nothing is changed |
//! | a write of a master record | all records of the checkpoint that it points at are durable; the other slot is the newest |
//! | a write to the log | it goes on behind all that was written; what is written again is the same |
//! | a segment being renamed, removed, or given another header | neither durable master record's checkpoint needs it |
//! | an acknowledged commit | its record, and all log before it, is durable |
//! | a page that was flushed | is durable in place |
//!
//! Source: ARIES, sections 1.1 (write-ahead logging), 5.3 (commit), 5.4 (checkpoints, master record).

mod durable;
mod log;
mod rules;

pub use durable::Begin;
pub use rules::{OrderRule, OutOfOrder};

use std::ops::RangeInclusive;

use durable::{Durable, log_pending_before, segment_of};

use super::history::{Bounds, History, all};
use super::model::Expected;
use super::setting::Setting;
use super::stage::Stage;
use super::violation::{Clause, Violation, guarded};
use super::watch::{Claim, Watch};
use crate::buffer::{DOUBLE_WRITE_FILE, Image, PAGES_FILE, read_batch};
use crate::config::{LogBlock, TornPageProtection};
use crate::disk::{Call, PendingKind, SimDisk, WatchedDisk, Watcher};
use crate::error::Result;
use crate::ids::{Lsn, PageId};
use crate::log::{CONTROL_BLOCK, CONTROL_FILE, SlotState, newest_slot, read_slot};
use crate::page;
use crate::record::{self, LogRecord, padded};
use crate::sync::{Arc, Mutex};

/// Watches one run of a database on a simulated disk, from before it is opened.
pub struct Monitor {
    disk: SimDisk,
    protection: TornPageProtection,
    log_block: LogBlock,
    begin: Begin,
    seen: Mutex<Seen>,
}

struct Seen {
    /// The log before this is durable: it was looked at.
    durable_to: Lsn,
    /// The byte after all of the log that was written.
    written_to: u64,
    /// The checkpoint whose records were found to be durable.
    checkpoint_lsn: Lsn,
    out_of_order: Vec<OutOfOrder>,
}

/// What is wrong, in words.
type Judged = std::result::Result<(), String>;

impl Monitor {
    /// Watches what is done to `disk`, on which no engine has the database open yet; `begin` is what is there.
    #[must_use]
    pub fn new(disk: &SimDisk, setting: &Setting, begin: Begin) -> Arc<Self> {
        let seen = Mutex::new(Seen {
            durable_to: begin.durable_to,
            written_to: begin.log_end.get(),
            checkpoint_lsn: begin.checkpoint_lsn,
            out_of_order: Vec::new(),
        });
        let Setting { protection, log_block, .. } = *setting;
        Arc::new(Self { disk: disk.clone(), protection, log_block, begin, seen })
    }

    /// The disk, watched.
    #[must_use]
    pub fn watched(self: &Arc<Self>) -> Arc<WatchedDisk> {
        let watcher: Arc<dyn Watcher> = Arc::clone(self) as Arc<dyn Watcher>;
        WatchedDisk::watched_by(Arc::new(self.disk.clone()), watcher)
    }

    /// The rules that were broken, in the order of time.
    #[must_use]
    pub fn out_of_order(&self) -> Vec<OutOfOrder> {
        self.seen.lock().out_of_order.clone()
    }

    /// Fails if a rule was broken.
    ///
    /// # Errors
    /// The first one that was.
    pub fn check(&self) -> std::result::Result<(), Violation> {
        match self.seen.lock().out_of_order.first() {
            None => Ok(()),
            Some(first) => Err(Violation { clause: Clause::Order, found: first.to_string() }),
        }
    }

    /// The engine has promised that something is durable.
    pub fn claimed(&self, claim: Claim) {
        let seen = &mut *self.seen.lock();
        match claim {
            Claim::Record(lsn) => {
                let judged = self.claimed_record(seen, lsn);
                self.note(seen, OrderRule::ForceAtCommit, judged);
            }
            Claim::Page(page) => {
                let judged = self.claimed_page(page);
                self.note(seen, OrderRule::CleanWhenDurable, judged);
            }
        }
    }

    fn note(&self, seen: &mut Seen, rule: OrderRule, judged: Judged) {
        if let Err(found) = judged {
            seen.out_of_order.push(OutOfOrder { rule, found, io: self.disk.io_count() });
        }
    }

    fn durable(&self) -> Durable<'_> {
        Durable::on(&self.disk, &self.begin)
    }

    /// The record at `lsn` and all the log before it must be durable.
    fn log_is_durable(&self, seen: &mut Seen, durable: &Durable<'_>, lsn: Lsn) -> Judged {
        if lsn < seen.durable_to.max(self.begin.oldest) {
            return Ok(());
        }
        let Some(bytes) = durable.record(lsn) else {
            return Err(format!("the log record at {lsn} is not durable"));
        };
        let end = lsn.get() + padded(bytes.len()) as u64;
        if let Some(missing) = log_pending_before(&self.disk, durable, end) {
            return Err(format!("{missing}, and the record at {lsn} stands behind"));
        }
        seen.durable_to = Lsn::new(end).unwrap_or(lsn);
        Ok(())
    }

    fn claimed_record(&self, seen: &mut Seen, lsn: Lsn) -> Judged {
        let durable = self.durable();
        self.log_is_durable(seen, &durable, lsn)?;
        let bytes = durable.record(lsn).unwrap_or_default();
        match record::decode(&bytes) {
            Ok(LogRecord::Commit(_) | LogRecord::Prepare(_)) => Ok(()),
            _ => Err(format!("at {lsn} stands no commit or prepare record")),
        }
    }

    fn claimed_page(&self, page: PageId) -> Judged {
        let size = self.begin.page_size as u64;
        let of_page = page.0 * size..(page.0 + 1) * size;
        for pending in self.disk.pending() {
            if let PendingKind::Sector { offset, length } = pending.kind
                && pending.name == PAGES_FILE
                && !pending.changes_nothing
                && offset < of_page.end
                && offset + length as u64 > of_page.start
            {
                return Err(format!(
                    "{page} is not durable in place, and its write is said to be done"
                ));
            }
        }
        Ok(())
    }

    /// A page is about to be written, wherever that is.
    fn page_written(&self, seen: &mut Seen, durable: &Durable<'_>, id: PageId, bytes: &[u8]) {
        let Some(page_lsn) = page::page_lsn(bytes) else { return };
        let judged = self.log_is_durable(seen, durable, page_lsn);
        let judged =
            judged.map_err(|found| format!("{id} is written with pageLSN {page_lsn}: {found}"));
        self.note(seen, OrderRule::LogBeforePage, judged);
    }

    fn pages_written(&self, seen: &mut Seen, call: &Call, bytes: &[u8]) {
        let durable = self.durable();
        let (size, counted) = (self.begin.page_size, durable.counted_pages());
        let batch = durable.batch();
        for (id, bytes) in (call.range.start / size as u64..).map(PageId).zip(bytes.chunks(size)) {
            self.page_written(seen, &durable, id, bytes);
            // What the file grows by is no page before it is counted.
            if id.0 >= counted {
                continue;
            }
            let in_batch = || batch.iter().any(|image| image.page == id && image.bytes == bytes);
            let elsewhere = match self.protection {
                TornPageProtection::None => true,
                TornPageProtection::DoubleWrite => in_batch(),
                TornPageProtection::PageImages => in_batch() || durable.log_makes(id, bytes),
            };
            let found = format!("{id} is written in place, and no durable copy of it is whole");
            let judged = elsewhere.then_some(()).ok_or(found);
            self.note(seen, OrderRule::WholeElsewhere, judged);
        }
    }

    fn batch_written(&self, seen: &mut Seen, call: &Call, bytes: &[u8]) {
        let durable = self.durable();
        let images = read_batch(bytes, self.begin.page_size).map(|(_, images)| images);
        for Image { page, bytes } in images.unwrap_or_default() {
            self.page_written(seen, &durable, page, &bytes);
        }
        if durable.read(&call.name, call.range.start, bytes.len()) == bytes {
            return;
        }
        let counted = durable.counted_pages();
        for image in durable.batch().iter().filter(|image| image.page.0 < counted) {
            let in_place = durable.page(image.page);
            let is_there = page::verify(&in_place, image.page).is_ok()
                && page::page_lsn(&in_place) >= page::page_lsn(&image.bytes);
            let found = format!(
                "the batch is overwritten that has the only durable copy of {}",
                image.page
            );
            self.note(seen, OrderRule::BatchKept, is_there.then_some(()).ok_or(found));
        }
    }

    fn control_written(&self, seen: &mut Seen, call: &Call, bytes: &[u8]) {
        let SlotState::Valid(master) = read_slot(bytes) else { return };
        let durable = self.durable();
        let slot = usize::try_from(call.range.start).unwrap_or(0) / CONTROL_BLOCK;
        let judged = match newest_slot(&durable.slots()) == Some(slot) {
            true => Err(format!("slot {slot}, the newest that is durable, is overwritten")),
            false => Ok(()),
        };
        self.note(seen, OrderRule::OlderMaster, judged);
        if master.checkpoint_lsn == seen.checkpoint_lsn {
            return;
        }
        let (begin_lsn, oldest) = (master.checkpoint_lsn, master.oldest_required_lsn);
        let judged = match durable.checkpoint(begin_lsn, master.checkpoint_epoch) {
            Err(found) => Err(format!("the master record points at {begin_lsn}, and {found}")),
            Ok(recorded) => {
                let kept = match oldest <= recorded.needed {
                    true => Ok(()),
                    false => {
                        Err(format!("{oldest} is called the oldest, {} is needed", recorded.needed))
                    }
                };
                self.note(seen, OrderRule::LogKept, kept);
                self.log_is_durable(seen, &durable, recorded.last)
            }
        };
        if judged.is_ok() {
            seen.checkpoint_lsn = begin_lsn;
        }
        self.note(seen, OrderRule::MasterAfterCheckpoint, judged);
    }
}

impl Watcher for Monitor {
    fn before(&self, call: &Call, bytes: &[u8]) -> Result<()> {
        let seen = || self.seen.lock();
        match (call.operation, call.name.as_str()) {
            ("write", PAGES_FILE) => self.pages_written(&mut seen(), call, bytes),
            ("write", DOUBLE_WRITE_FILE) => self.batch_written(&mut seen(), call, bytes),
            ("write", CONTROL_FILE) => self.control_written(&mut seen(), call, bytes),
            ("write", name) => {
                if let Some(number) = segment_of(name) {
                    self.log_written(&mut seen(), number, call, bytes);
                }
            }
            ("rename" | "remove", name) => {
                if let Some(number) = segment_of(name) {
                    self.segment_taken(&mut seen(), number, "taken away");
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Watch for Monitor {
    fn expect(&self, _: Expected) {}

    fn claimed(&self, claim: Claim) {
        Self::claimed(self, claim);
    }

    fn end(&self) {}
}

/// Runs all histories within the bounds of so many steps, watched by the monitor alone: no power fails. Gives the first that
/// breaks a rule of order, with the first rule that it breaks.
///
/// # Errors
/// None but those of a broken engine.
pub fn out_of_order(
    setting: Setting,
    bounds: Bounds,
    lengths: RangeInclusive<usize>,
) -> Result<Option<(History, OutOfOrder)>> {
    let stage = Stage::set(setting, bounds)?;
    let begin = Begin::of(&stage.disk())?;
    for history in all(bounds, lengths) {
        let monitor = Monitor::new(&stage.disk(), &setting, begin.clone());
        // What the engine finds wrong with itself is not the question here.
        let _ = guarded(|| {
            Ok(stage.run(&history, &setting.options(), monitor.watched(), monitor.as_ref(), false))
        });
        if let Some(first) = monitor.out_of_order().into_iter().next() {
            return Ok(Some((history, first)));
        }
    }
    Ok(None)
}
