//! Reading all of the log that is still there, while the engine runs.

use super::{Geometry, Log, LogScan, ScanEnd};
use crate::error::Result;
use crate::ids::Lsn;
use crate::record::LogRecord;

impl Log {
    /// Hands out the retained log in order: from the oldest record that is still there, and behind which no page was
    /// changed without a log, to where the log was durable when this was called. Segments are neither prepared nor recycled meanwhile, so
    /// `visit` must not wait for anybody who appends, and must not call the log.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] where the retained log is damaged; those of the disk.
    pub fn scan_retained(&self, mut visit: impl FnMut(Lsn, &LogRecord<'_>)) -> Result<()> {
        let _preparing = self.preparing.lock();
        let end = self.flushed_lsn();
        let epochs = self.epochs();
        let Some(run) = epochs.first() else { return Ok(()) };
        let Some(start) = self.oldest_record(end) else { return Ok(()) };
        let start = start.max(run.lsn).max(self.complete_from.unwrap_or(run.lsn));
        let known = ScanEnd::Known(end);
        let mut scan = LogScan::new(&self.segments, self.page_size, start, epochs, known);
        while let Some((lsn, record)) = scan.next_record()? {
            visit(lsn, &record);
        }
        Ok(())
    }

    /// Where the first record of the oldest segment stands from which on none is missing. (A segment
    /// that was removed may be back after a crash, with a gap behind it.)
    fn oldest_record(&self, end: Lsn) -> Option<Lsn> {
        let geometry: Geometry = self.segments.geometry();
        let current = geometry.segment_of(end.get() - 1);
        let before = (1..current).rev().take_while(|number| self.segments.file(*number).is_some());
        Lsn::new(geometry.first_record(before.last().unwrap_or(current)))
    }
}
