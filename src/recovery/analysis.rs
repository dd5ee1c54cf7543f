//! The first phase: what was going on when the log ends. Changes nothing on disk.

use std::time::Instant;

use super::in_doubt::{self, InDoubt, LogBefore};
use super::redo::Redo;
use super::report::AnalysisReport;
use super::tables::Rebuilt;
use crate::buffer::{DoubleWrite, Image, PagesFile};
use crate::config::{Config, Sabotage};
use crate::disk::Disk;
use crate::error::{Error, Place, Result};
use crate::event::{Event, Observers};
use crate::ids::Lsn;
use crate::log::{
    ControlFile, Epochs, Geometry, LogScan, MasterRecord, Outlined, ScanEnd, Segments, read_record,
};
use crate::page;
use crate::record::{EpochStart, LogRecord, Restart};
use crate::sync::Arc;
use crate::tables::{DirtyPageTable, TransactionState};

/// What the first phase hands to the second.
pub struct Analysis {
    pub(super) control: ControlFile,
    pub(super) config: Config,
    pub(super) observers: Observers,
    pub(super) segments: Segments,
    pub(super) tables: Rebuilt,
    pub(super) in_doubt: Vec<InDoubt>,
    pub(super) epochs: Epochs,
    pub(super) file: PagesFile,
    pub(super) double_write: DoubleWrite,
    pub(super) batch: Vec<Image>,
    /// Where the log ends.
    pub(super) end: Lsn,
    /// Bytes before this were durable for certain.
    pub(super) durable: Lsn,
    /// Whether the database had been closed cleanly.
    pub(super) clean: bool,
    pub(super) report: AnalysisReport,
}

/// What analysis found of the pages.
pub struct ToPages {
    /// The file of pages.
    pub file: PagesFile,
    /// Whether the database had been closed cleanly.
    pub clean: bool,
    /// Pages that may be older on disk than in the log.
    pub dirty_pages: DirtyPageTable,
    /// The newest double-write batch.
    pub batch: Vec<Image>,
}

/// What a scan to the end of the log found.
struct Scanned {
    tables: Rebuilt,
    epochs: Epochs,
    end: Lsn,
    durable: Lsn,
    records: u64,
    bytes: u64,
}

impl Scanned {
    fn report(&self, from: Lsn, began: Instant) -> AnalysisReport {
        let in_state = |wanted: fn(TransactionState) -> bool| {
            let lines = self.tables.transactions.iter();
            lines.filter(|(_, entry)| wanted(entry.state)).map(|(txn, _)| txn).collect()
        };
        AnalysisReport {
            from,
            end: self.end,
            records: self.records,
            bytes: self.bytes,
            dirty_pages: self.tables.dirty_pages.len(),
            losers: in_state(TransactionState::is_loser),
            committed: in_state(|state| state == TransactionState::Committing),
            in_doubt: in_state(|state| state == TransactionState::Prepared),
            duration: began.elapsed(),
        }
    }
}

impl Analysis {
    /// Reads the log from the last complete checkpoint to its end, and checks whatever restart will
    /// need of what lies before.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when durable log is damaged; those of the disk. Nothing was changed.
    pub fn run(
        disk: Arc<dyn Disk>,
        control: ControlFile,
        config: &Config,
        observers: &Observers,
    ) -> Result<Self> {
        let began = Instant::now();
        let master = control.master();
        let geometry = Geometry { segment_bytes: config.segment_bytes };
        let segments = Segments::open(Arc::clone(&disk), geometry, master.database_id)?;
        let segments = segments.broken_by(config.broken);
        let from = master.checkpoint_lsn;
        segments.check_contiguous(control.oldest_required_lsn(), from)?;
        observers.emit(|| Event::AnalysisBegan { from });
        let oldest = control.oldest_required_lsn();
        let epochs = follow_epochs(&segments, config.page_size, &master, oldest)?;
        let scanned = scan(&segments, config, &master, epochs, observers)?;
        let end = scanned.end;
        let clean = ends_where_closed(&segments, master.clean_end_lsn, end)?;
        observers.emit(|| Event::LogEndFound { end, clean });
        check_before(&segments, config, from, &scanned)?;
        let epochs = &scanned.epochs;
        let log = LogBefore { segments: &segments, page_size: config.page_size, epochs };
        let in_doubt = in_doubt::read_all(&log, &scanned.tables.transactions)?;
        let (double_write, batch) = DoubleWrite::open(disk.as_ref(), config.page_size)?;
        check_batch(disk.as_ref(), &batch, end)?;
        let file = PagesFile::open(disk.as_ref(), config.page_size, master.pages)?;
        let file = file.broken_by(config.broken);
        let report = scanned.report(from, began);
        observers.emit(|| Event::AnalysisEnded {
            dirty_pages: report.dirty_pages,
            losers: report.losers.clone(),
            committed: report.committed.clone(),
            in_doubt: report.in_doubt.clone(),
        });
        Ok(Self {
            control,
            config: config.clone(),
            observers: observers.clone(),
            segments,
            tables: scanned.tables,
            in_doubt,
            epochs: scanned.epochs,
            file,
            double_write,
            batch,
            end,
            durable: scanned.durable,
            clean,
            report,
        })
    }

    /// What was found.
    #[must_use]
    pub fn report(&self) -> &AnalysisReport {
        &self.report
    }

    /// What was found that tells which pages on disk are as they must be: for tools that read only.
    #[must_use]
    pub fn into_pages(self) -> ToPages {
        let Self { file, clean, tables, batch, .. } = self;
        ToPages { file, clean, dirty_pages: tables.dirty_pages, batch }
    }

    /// Goes on to the second phase; what was read is made durable first.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn make_durable(self) -> Result<Redo> {
        Redo::begin(self)
    }
}

/// The epochs of the log from `oldest` on, found by following the restart records backwards from
/// the one that the checkpoint names.
pub(super) fn follow_epochs(
    segments: &Segments,
    page_size: usize,
    master: &MasterRecord,
    oldest: Lsn,
) -> Result<Epochs> {
    let epoch = master.checkpoint_epoch;
    let begin = read_record(segments, page_size, master.checkpoint_lsn, epoch)?;
    let LogRecord::BeginCheckpoint(begin) = begin.record() else {
        let place = segments.place(master.checkpoint_lsn);
        let expected = "the begin record of the last complete checkpoint";
        return Err(Error::corrupt(place, expected, begin.record().name()));
    };
    let mut epochs = Epochs::default();
    let mut run = EpochStart { lsn: begin.restart_lsn, epoch };
    loop {
        if run.lsn <= oldest {
            epochs.push_front(run, None);
            return Ok(epochs);
        }
        let restart = read_restart(segments, page_size, run)?;
        epochs.push_front(run, Some(restart.durable_lsn));
        match restart.previous {
            Some(previous) if previous.epoch < run.epoch => run = previous,
            Some(_) => {
                let place = segments.place(run.lsn);
                return Err(Error::corrupt(place, "a run of a lower epoch before", "a higher one"));
            }
            None => return Ok(epochs),
        }
    }
}

fn read_restart(segments: &Segments, page_size: usize, run: EpochStart) -> Result<Restart> {
    let bytes = read_record(segments, page_size, run.lsn, run.epoch)?;
    match bytes.record() {
        LogRecord::Restart(restart) if restart.epoch == run.epoch => Ok(restart),
        other => {
            let expected = format!("the restart record of epoch {}", run.epoch);
            Err(Error::corrupt(segments.place(run.lsn), expected, other.name()))
        }
    }
}

fn scan(
    segments: &Segments,
    config: &Config,
    master: &MasterRecord,
    epochs: Epochs,
    observers: &Observers,
) -> Result<Scanned> {
    let begin = master.checkpoint_lsn;
    let mut tables = Rebuilt::new(begin, config.broken, observers.clone());
    let mut scan = LogScan::new(segments, config.page_size, begin, epochs, ScanEnd::FirstHole);
    while let Some((lsn, record)) = scan.next_outline()? {
        let read = match &record {
            Outlined::Change(change) => tables.read_change(lsn, change),
            Outlined::Other(record) => tables.read(lsn, record),
        };
        read.map_err(|contradiction| {
            let expected = "a record that fits those before it";
            Error::corrupt(segments.place(lsn), expected, contradiction)
        })?;
    }
    refuse_witness(segments, &mut scan)?;
    let end = scan.position();
    segments.file_of(end)?; // A prepared segment is always left beyond the end.
    if !tables.is_complete() && !config.broken.is(Sabotage::IncompleteCheckpointUsed) {
        return Err(cut_off(segments, begin, end));
    }
    Ok(Scanned {
        tables,
        epochs: scan.epochs().clone(),
        end,
        durable: scan.watermark().map_or(begin, |watermark| watermark.max(begin)),
        records: scan.records(),
        bytes: scan.bytes(),
    })
}

/// The log ends within the checkpoint that the master record points at.
pub(super) fn cut_off(segments: &Segments, begin: Lsn, end: Lsn) -> Error {
    let expected = format!("the end records of the checkpoint at {begin}, which was complete");
    Error::corrupt(segments.place(end), expected, "the end of the log")
}

/// Refuses the end that a scan came to if a record behind it says that the log was durable beyond it.
fn refuse_witness(segments: &Segments, scan: &mut LogScan<'_>) -> Result<()> {
    let Some((witness, durable)) = scan.witness_of_damage()? else { return Ok(()) };
    Err(Error::corrupt(
        segments.place(scan.position()),
        format!("a log record (the record at {witness} says the log was durable to {durable})"),
        "bytes that are none",
    ))
}

/// Refuses the end that a scan came to if the log cannot have ended there.
pub(super) fn check_end(
    segments: &Segments,
    scan: &mut LogScan<'_>,
    checkpoint_lsn: Lsn,
    closed_at: Option<Lsn>,
) -> Result<()> {
    refuse_witness(segments, scan)?;
    let end = scan.position();
    if end <= checkpoint_lsn {
        let expected = format!("a log record (the last checkpoint is at {checkpoint_lsn})");
        return Err(Error::corrupt(segments.place(end), expected, "the end of the log"));
    }
    ends_where_closed(segments, closed_at, end).map(drop)
}

/// Whether the log ends where the last run closed it. It may not end before.
fn ends_where_closed(segments: &Segments, closed_at: Option<Lsn>, end: Lsn) -> Result<bool> {
    let Some(closed_at) = closed_at else { return Ok(false) };
    let closed_at = segments.geometry().record_position(closed_at.get());
    if end.get() < closed_at {
        return Err(Error::corrupt(
            segments.place(end),
            format!("a log record (the database was closed with its log ending at {closed_at})"),
            "the end of the log",
        ));
    }
    Ok(end.get() == closed_at)
}

/// Reads what redo and undo will need of the log before the checkpoint, so that damage there is
/// found while nothing was changed yet.
fn check_before(segments: &Segments, config: &Config, begin: Lsn, scanned: &Scanned) -> Result<()> {
    let redo = scanned.tables.dirty_pages.redo_lsn().unwrap_or(begin);
    let undo = scanned.tables.transactions.first_lsn().unwrap_or(begin);
    let oldest = redo.min(undo);
    if oldest >= begin {
        return Ok(());
    }
    let known = ScanEnd::Known(begin);
    let epochs = scanned.epochs.clone();
    let mut scan = LogScan::new(segments, config.page_size, oldest, epochs, known);
    while scan.next_outline()?.is_some() {}
    Ok(())
}

/// A page in the double-write batch that the log does not reach to means that log was lost.
fn check_batch(disk: &dyn Disk, batch: &[Image], end: Lsn) -> Result<()> {
    for image in batch {
        if let Some(page_lsn) = page::page_lsn(&image.bytes)
            && page_lsn >= end
        {
            let file = disk.location().join(crate::buffer::DOUBLE_WRITE_FILE);
            let place = Place::Page { file, page: image.page };
            let expected = format!("a pageLSN below the end of the log, {end}");
            return Err(Error::corrupt(place, expected, page_lsn.to_string()));
        }
    }
    Ok(())
}
