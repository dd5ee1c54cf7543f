//! The second phase: repeats history.

use std::time::Instant;

use super::analysis::Analysis;
use super::distrust;
use super::history::{History, Repeated};
use super::in_doubt::InDoubt;
use super::report::{AnalysisReport, RedoReport};
use super::tables::Rebuilt;
use super::undo::UndoLosers;
use crate::buffer::{BufferPool, DoubleWrite, Image, PagesFile};
use crate::config::{Config, LogBlock, Sabotage, TornPageProtection};
use crate::error::{Error, Result};
use crate::event::{Event, Observers};
use crate::ids::Lsn;
use crate::log::{ControlFile, Epochs, Log, LogPosition, Segments};
use crate::sync::{Arc, Mutex};
use crate::txn::LogicalUndo;

/// What the second phase works on; everything it reads is durable.
pub struct Redo {
    pub(super) control: Arc<Mutex<ControlFile>>,
    pub(super) log: Arc<Log>,
    pub(super) pool: Arc<BufferPool>,
    pub(super) tables: Rebuilt,
    pub(super) in_doubt: Vec<InDoubt>,
    pub(super) observers: Observers,
    pub(super) end: Lsn,
    pub(super) analysis: AnalysisReport,
    pub(super) durable: MadeDurable,
    config: Config,
}

/// What had to be written again before redo could believe what it reads.
#[derive(Clone, Copy, Debug, Default)]
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
        // After that, what analysis read is what the device has.
        let reread = distrust::must_reread(&control, &config);
        let rewrite = config.log_block == LogBlock::Rewritten || !reread;
        let epoch = next_epoch(&control, &analysis.epochs, &config);
        control.make_durable()?;
        control.update_both(|master| {
            master.epoch = epoch;
            master.clean_end_lsn = None;
            master.in_place_only = config.torn_page_protection != TornPageProtection::DoubleWrite;
        })?;
        segments.remove_strangers(segments.geometry().segment_of(analysis.end.get()))?;
        let mut durable = MadeDurable { clean: analysis.clean, ..MadeDurable::default() };
        let mut double_write = analysis.double_write;
        if !analysis.clean && !config.broken.is(Sabotage::TailNotRewritten) {
            let (from, to) = (analysis.durable, analysis.end);
            durable.tail_rewritten = make_log_durable(&segments, from, to, rewrite)?;
            observers.emit(|| Event::TailRewritten { from, to });
        }
        let (end, complete_from) = (analysis.end, control.master().complete_from_lsn);
        let position = LogPosition { end, durable: end, epoch, complete_from };
        let log = Log::new(segments, &config, analysis.epochs, position, observers.clone());
        if !analysis.clean {
            let cached = (!reread).then_some(&mut double_write);
            restore(&file, cached, &analysis.batch, &log, &observers, &mut durable)?;
            if !config.broken.is(Sabotage::PagesNotSynced) {
                file.sync()?;
            }
        }
        restore_whole(&file, &mut double_write, &log, &observers, &mut durable)?;
        if config.torn_page_protection != TornPageProtection::DoubleWrite {
            // Pages will be written in place without their batch: it must never restore an old version.
            double_write.invalidate()?;
        }
        let log = Arc::new(log);
        let control = Arc::new(Mutex::new(control));
        let pool = BufferPool::new(
            &config,
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
            in_doubt: analysis.in_doubt,
            observers,
            end: analysis.end,
            analysis: analysis.report,
            durable,
            config,
        })
    }

    /// The pages, as they were found.
    #[must_use]
    pub fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Applies every change that its page does not have, and goes on to the third phase.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a page does not fit the log; those of the disk.
    pub fn run(self, cells: Arc<dyn LogicalUndo>) -> Result<UndoLosers> {
        let began = Instant::now();
        let mut from = self.tables.dirty_pages.redo_lsn();
        if self.config.broken.is(Sabotage::RedoFromCheckpoint) {
            from = from.max(from.and(Some(self.analysis.from)));
        }
        let repeated = match from {
            None => Repeated::default(),
            Some(from) => self.repeat_history(from)?,
        };
        let Repeated { records, bytes, redone, skipped, damaged } = repeated;
        let pages_repaired = damaged.rebuild(&self.pool)?;
        self.pool.begin_repairs();
        let pages_read = self.pool.statistics().misses;
        let duration = began.elapsed();
        let report = RedoReport {
            from,
            records,
            bytes,
            redone,
            skipped,
            pages_read,
            pages_repaired,
            duration,
        };
        UndoLosers::begin(self, report, cells)
    }

    fn repeat_history(&self, from: Lsn) -> Result<Repeated> {
        let Self { log, pool, observers, end, tables, config, .. } = self;
        observers.emit(|| Event::RedoBegan { from });
        let losers = &self.analysis.losers;
        let history = History { log, pool, observers, from, end: *end, losers };
        let repeated =
            history.repeat(&tables.dirty_pages, config.restart.threads(), config.background)?;
        observers.emit(|| Event::RedoEnded { redone: repeated.redone });
        Ok(repeated)
    }
}

/// The epoch of the new run: above all that were.
fn next_epoch(control: &ControlFile, epochs: &Epochs, config: &Config) -> u64 {
    let logged = epochs.last().map_or(0, |run| run.epoch);
    let highest = control.highest_epoch().max(logged);
    match config.broken.is(Sabotage::EpochNotRaised) {
        true => highest,
        // Beyond the highest epoch there is none: the control file refuses to go on.
        false => highest.saturating_add(1),
    }
}

/// Makes the log durable that was read, from `from` to `to`: its names, and, if it is to be rewritten,
/// headers and records. Gives how many bytes were written again.
fn make_log_durable(segments: &Segments, from: Lsn, to: Lsn, rewrite: bool) -> Result<u64> {
    let current = segments.geometry().segment_of(to.get());
    if !rewrite {
        segments.make_names_durable(current)?;
        return Ok(0);
    }
    segments.make_headers_durable(current)?;
    segments.make_names_durable(current)?;
    rewrite_tail(segments, from, to)
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

/// Writes the pages of a flush in place that was under way when a run without a log ended: all of them.
fn restore_whole(
    file: &PagesFile,
    double_write: &mut DoubleWrite,
    log: &Log,
    observers: &Observers,
    done: &mut MadeDurable,
) -> Result<()> {
    for page in double_write.restore_whole(file, log.force_all()?)? {
        done.pages_rewritten += 1;
        observers.emit(|| Event::PageRestored { page, torn: false });
    }
    Ok(())
}

/// Writes the pages of the newest batch in place again: torn ones, which are whole in the batch,
/// and those whose last write may never have become durable. A page that is newer stays.
///
/// Where the batch may be in the page cache only, it is `cached`: then it is written first. One that is durable
/// must not be written again: were its sectors garbled meanwhile, torn pages would be lost with it.
fn restore(
    file: &PagesFile,
    cached: Option<&mut DoubleWrite>,
    batch: &[Image],
    log: &Log,
    observers: &Observers,
    done: &mut MadeDurable,
) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let durable = log.force_all()?;
    if let Some(double_write) = cached {
        double_write.write_again(&batch.iter().collect::<Vec<_>>(), durable)?;
    }
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
