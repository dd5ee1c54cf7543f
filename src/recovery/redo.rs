//! The second phase: repeats history.

use std::collections::BTreeMap;
use std::time::Instant;

use super::analysis::Analysis;
use super::distrust;
use super::report::{AnalysisReport, RedoReport};
use super::tables::Rebuilt;
use super::undo::UndoLosers;
use crate::buffer::{BufferPool, DoubleWrite, Image, PageWrite, PagesFile};
use crate::error::{Error, Result};
use crate::event::{Event, Observers, SkipReason};
use crate::ids::{Lsn, PageId};
use crate::log::{ControlFile, Log, LogPosition, LogScan, ScanEnd, Segments};
use crate::page::PageOp;
use crate::record::LogRecord;
use crate::sync::{Arc, Mutex};

/// What the second phase works on; everything it reads is durable.
pub struct Redo {
    pub(super) control: Arc<Mutex<ControlFile>>,
    pub(super) log: Arc<Log>,
    pub(super) pool: Arc<BufferPool>,
    pub(super) tables: Rebuilt,
    pub(super) observers: Observers,
    pub(super) end: Lsn,
    pub(super) analysis: AnalysisReport,
    pub(super) durable: MadeDurable,
    page_size: usize,
}

/// What had to be written again before redo could believe what it reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct MadeDurable {
    pub clean: bool,
    pub tail_rewritten: u64,
    pub pages_rewritten: usize,
    pub pages_torn: usize,
}

impl Redo {
    /// Begins the new run's epoch, then makes durable what analysis read: the page cache may show
    /// bytes that are not on the disk.
    pub(super) fn begin(analysis: Analysis) -> Result<Self> {
        let Analysis { mut control, config, observers, segments, tables, file, .. } = analysis;
        // Then what analysis read is what the device has.
        let reread = distrust::must_reread(&control, &config);
        let logged = analysis.epochs.last().map_or(0, |run| run.epoch);
        let epoch = control.highest_epoch().max(logged) + 1;
        control.update_both(|master| {
            master.epoch = epoch;
            master.clean_end_lsn = None;
        })?;
        let current = segments.geometry().segment_of(analysis.end.get());
        segments.remove_strangers(current)?;
        let mut durable = MadeDurable {
            clean: analysis.clean,
            tail_rewritten: 0,
            pages_rewritten: 0,
            pages_torn: 0,
        };
        let mut double_write = analysis.double_write;
        if !analysis.clean && !reread {
            segments.make_headers_durable(current)?;
        }
        if !analysis.clean {
            segments.make_names_durable(current)?;
        }
        if !analysis.clean && !reread {
            durable.tail_rewritten = rewrite_tail(&segments, analysis.durable, analysis.end)?;
            let (from, to) = (analysis.durable, analysis.end);
            observers.emit(|| Event::TailRewritten { from, to });
        }
        let position = LogPosition { end: analysis.end, durable: analysis.end, epoch };
        let log = Log::new(segments, &config, analysis.epochs, position, observers.clone());
        if !analysis.clean {
            restore(&file, &mut double_write, &analysis.batch, &log, &observers, &mut durable)?;
            file.sync()?;
        }
        let log = Arc::new(log);
        let control = Arc::new(Mutex::new(control));
        let pool = BufferPool::new(
            config.frames,
            file,
            double_write,
            Arc::clone(&control),
            Arc::clone(&log),
            observers.clone(),
        );
        Ok(Self {
            control,
            log,
            pool: Arc::new(pool),
            tables,
            observers,
            end: analysis.end,
            analysis: analysis.report,
            durable,
            page_size: config.page_size,
        })
    }

    /// Applies every change that its page does not have, and goes on to the third phase.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a page does not fit the log; those of the disk.
    pub fn run(mut self) -> Result<UndoLosers> {
        let began = Instant::now();
        let mut report = RedoReport {
            from: self.tables.dirty_pages.redo_lsn(),
            records: 0,
            bytes: 0,
            redone: 0,
            skipped: BTreeMap::new(),
            pages_read: 0,
            duration: began.elapsed(),
        };
        if let Some(from) = report.from {
            self.observers.emit(|| Event::RedoBegan { from });
            self.repeat_history(from, &mut report)?;
            self.observers.emit(|| Event::RedoEnded { redone: report.redone });
        }
        report.pages_read = self.pool.statistics().misses;
        report.duration = began.elapsed();
        UndoLosers::begin(self, report)
    }

    fn repeat_history(&mut self, from: Lsn, report: &mut RedoReport) -> Result<()> {
        let log = Arc::clone(&self.log);
        let known = ScanEnd::Known(self.end);
        let mut scan = LogScan::new(log.segments(), self.page_size, from, log.epochs(), known);
        while let Some((lsn, record)) = scan.next_record()? {
            let (page, prev_page_lsn, op) = match record {
                LogRecord::Update(update) => (update.page, update.prev_page_lsn, update.op),
                LogRecord::Compensation(clr) => (clr.page, clr.prev_page_lsn, clr.op),
                _ => continue,
            };
            match self.redo(lsn, page, prev_page_lsn, &op)? {
                None => {
                    report.redone += 1;
                    self.observers.emit(|| Event::Redone { lsn, page });
                }
                Some(reason) => {
                    *report.skipped.entry(reason).or_default() += 1;
                    self.observers.emit(|| Event::RedoSkipped { lsn, page, reason });
                }
            }
        }
        report.records = scan.records();
        report.bytes = scan.bytes();
        Ok(())
    }

    /// Applies one change, or says why not.
    fn redo(
        &mut self,
        lsn: Lsn,
        page: PageId,
        prev_page_lsn: Option<Lsn>,
        op: &PageOp<'_>,
    ) -> Result<Option<SkipReason>> {
        match self.tables.dirty_pages.rec_lsn(page) {
            None => return Ok(Some(SkipReason::PageNotDirty)),
            Some(rec_lsn) if lsn < rec_lsn => return Ok(Some(SkipReason::BelowRecLsn)),
            Some(_) => {}
        }
        let mut guard = self.pool.fix_write(page)?;
        let page_lsn = guard.page_lsn();
        if page_lsn >= Some(lsn) {
            // All records up to the page's are in it: the next one that may not be is later. This
            // is a bound to compare with, not the LSN of a record.
            if let Some(bound) = page_lsn.and_then(|page_lsn| page_lsn.checked_add(1)) {
                self.tables.dirty_pages.replace(page, bound);
            }
            return Ok(Some(SkipReason::PageLsnNotBelow));
        }
        self.check_chain(&guard, lsn, prev_page_lsn, op)?;
        guard.redo(op, lsn);
        Ok(None)
    }

    /// A change applies to the version of the page that it was made on, and to no other. (What
    /// makes the page anew applies to any.)
    fn check_chain(
        &self,
        guard: &PageWrite<'_>,
        lsn: Lsn,
        prev_page_lsn: Option<Lsn>,
        op: &PageOp<'_>,
    ) -> Result<()> {
        let page = guard.page();
        let formats = matches!(op, PageOp::Format { .. });
        if !formats && guard.page_lsn() != prev_page_lsn {
            let nil = |lsn: Option<Lsn>| lsn.map_or_else(|| "nil".into(), |lsn| lsn.to_string());
            return Err(Error::corrupt(
                self.pool.place(page),
                format!("pageLSN {}, on which record {lsn} was made", nil(prev_page_lsn)),
                format!("pageLSN {}: a write was lost", nil(guard.page_lsn())),
            ));
        }
        op.check(guard.bytes()).map_err(|fault| {
            let expected = format!("a page that admits record {lsn}: {op}");
            Error::corrupt(self.pool.place(page), expected, fault.to_string())
        })
    }
}

/// Writes the log from `from` to `to` again, as it was read, and syncs it.
fn rewrite_tail(segments: &Segments, from: Lsn, to: Lsn) -> Result<u64> {
    let geometry = segments.geometry();
    let mut at = from.get();
    while at < to.get() {
        let number = geometry.segment_of(at);
        let next = geometry.end(number).min(to.get());
        let file = segments.file_of(Lsn::new(at).unwrap_or(from))?;
        let length = usize::try_from(next - at)
            .map_err(|_| Error::InvalidInput("a segment larger than memory".into()))?;
        let mut bytes = vec![0; length];
        file.read_at(geometry.offset(at), &mut bytes)?;
        file.write_at(geometry.offset(at), &bytes)?;
        file.sync_data()?;
        at = next;
    }
    Ok(to.get().saturating_sub(from.get()))
}

/// Writes the pages of the newest batch in place again: torn ones, which are whole in the batch,
/// and those whose last write may never have become durable. A page that is newer stays.
fn restore(
    file: &PagesFile,
    double_write: &mut DoubleWrite,
    batch: &[Image],
    log: &Log,
    observers: &Observers,
    done: &mut MadeDurable,
) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let durable = log.force_all()?;
    // The batch itself may only be in the page cache: first it, then the pages.
    double_write.write(batch, durable)?;
    let mut bytes = vec![0; file.page_size()];
    for image in batch {
        if image.page.0 >= file.pages() {
            continue; // The file was cut: reading the page will say so.
        }
        let torn = match file.read(image.page, &mut bytes) {
            Ok(()) if crate::page::page_lsn(&bytes) > crate::page::page_lsn(&image.bytes) => {
                continue;
            }
            Ok(()) => false,
            Err(Error::Corrupt { .. }) => true,
            Err(error) => return Err(error),
        };
        file.write(image.page, &image.bytes, durable)?;
        done.pages_rewritten += 1;
        done.pages_torn += usize::from(torn);
        observers.emit(|| Event::PageRestored { page: image.page, torn });
    }
    Ok(())
}
