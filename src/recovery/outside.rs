//! The log of a database that is not open here, for tools that read only.

use super::analysis::{check_end, cut_off, follow_epochs};
use crate::config::{Config, MIN_FRAMES};
use crate::disk::Disk;
use crate::error::Result;
use crate::ids::Lsn;
use crate::log::{
    ControlFile, Epochs, Geometry, LogScan, MasterRecord, RecordBytes, ScanEnd, Segments,
    read_record,
};
use crate::record::LogRecord;
use crate::sync::Arc;

/// The log of a database, read from outside: what is kept of it, from the front of the segment in which
/// the oldest record stands that restart may need.
///
/// Nothing is recovered, and nothing written. The log's end is where no valid record begins any more; in a
/// database that somebody has open, records that are not yet on disk are not seen.
pub struct LogReader {
    segments: Segments,
    epochs: Epochs,
    master: MasterRecord,
    start: Lsn,
}

impl LogReader {
    /// Opens the log.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] when the control file or what leads to the log's runs is damaged; those of
    /// the disk.
    pub fn open(disk: &Arc<dyn Disk>, control: &ControlFile) -> Result<Self> {
        let master = control.master();
        Config::new(master.page_size as usize, master.segment_bytes, MIN_FRAMES).check()?;
        let geometry = Geometry { segment_bytes: master.segment_bytes };
        let segments = Segments::open(Arc::clone(disk), geometry, master.database_id)?;
        let oldest = control.oldest_required_lsn();
        segments.check_contiguous(oldest, master.checkpoint_lsn)?;
        let front = geometry.first_record(geometry.segment_of(oldest.get()));
        let front = Lsn::new(front).unwrap_or(oldest);
        let epochs = follow_epochs(&segments, master.page_size as usize, &master, front)?;
        let start = epochs.first().map_or(front, |run| run.lsn.max(front));
        Ok(Self { segments, epochs, master, start })
    }

    /// The first record that is kept.
    #[must_use]
    pub fn start(&self) -> Lsn {
        self.start
    }

    /// What the control file says.
    #[must_use]
    pub fn master(&self) -> &MasterRecord {
        &self.master
    }

    /// The runs that the control file leads to; a scan finds later ones.
    #[must_use]
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// A scan that reads from the front of a segment at or before `from`, so that all records from there
    /// on come up, and some before.
    #[must_use]
    pub fn scan(&self, from: Lsn) -> LogScan<'_> {
        // Runs behind the checkpoint are known only once their restart records were read.
        let from = from.min(self.master.checkpoint_lsn).get();
        let geometry = self.segments.geometry();
        let front = Lsn::new(geometry.first_record(geometry.segment_of(from)));
        self.scan_on(front.unwrap_or(self.start).max(self.start), &self.epochs)
    }

    /// A scan from exactly where another one ended, that one's runs being `epochs`.
    #[must_use]
    pub fn scan_on(&self, from: Lsn, epochs: &Epochs) -> LogScan<'_> {
        let latest = |epochs: &Epochs| epochs.last().map(|run| run.lsn);
        let epochs = if latest(epochs) > latest(&self.epochs) { epochs } else { &self.epochs };
        let page_size = self.master.page_size as usize;
        LogScan::new(&self.segments, page_size, from, epochs.clone(), ScanEnd::FirstHole)
    }

    /// Refuses a scan that ended where the log cannot have ended.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] when something bears witness that the log went on; those of the disk.
    pub fn check_end(&self, scan: &mut LogScan<'_>) -> Result<()> {
        let begin = self.master.checkpoint_lsn;
        check_end(&self.segments, scan, begin, self.master.clean_end_lsn)?;
        match self.is_checkpoint_complete()? {
            true => Ok(()),
            false => Err(cut_off(&self.segments, begin, scan.position())),
        }
    }

    /// Whether the log reaches to the last end record of the checkpoint that the master record points at.
    fn is_checkpoint_complete(&self) -> Result<bool> {
        let begin_lsn = self.master.checkpoint_lsn;
        let mut scan = self.scan_on(begin_lsn, &self.epochs);
        let mut parts = 0;
        while let Some((_, record)) = scan.next_record()? {
            match record {
                LogRecord::EndCheckpoint(end) if end.begin_lsn == begin_lsn => {
                    parts += 1;
                    if parts == end.parts {
                        return Ok(true);
                    }
                }
                _ => {}
            }
        }
        Ok(false)
    }

    /// The record at `lsn`, in a log with these runs.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] when none begins there; those of the disk.
    pub fn read(&self, lsn: Lsn, epochs: &Epochs) -> Result<RecordBytes> {
        let epoch = epochs.at(lsn).unwrap_or(0); // No record has epoch 0.
        read_record(&self.segments, self.master.page_size as usize, lsn, epoch)
    }
}
