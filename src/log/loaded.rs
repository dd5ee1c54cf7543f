//! One segment at a time in memory, for readers that go from one to the next.

use super::segment::Segments;
use crate::disk::LogBytes;
use crate::error::{Error, Result};
use crate::ids::Lsn;

/// Where a scan must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScanEnd {
    /// At the first hole, wherever that is.
    FirstHole,
    /// Here; a hole before is damage. Segments that end at or before it are full and may be mapped.
    Known(Lsn),
}

/// The segment that a reader is in.
pub struct Loaded<'s> {
    segments: &'s Segments,
    end: ScanEnd,
    current: Option<(u64, LogBytes)>,
}

impl<'s> Loaded<'s> {
    /// Nothing yet, for a reader that goes to `end`.
    pub fn new(segments: &'s Segments, end: ScanEnd) -> Self {
        Self { segments, end, current: None }
    }

    /// Makes segment `number` the current one; false when there is none. A full segment is mapped,
    /// the last one read.
    pub fn load(&mut self, number: u64) -> Result<bool> {
        if self.current.as_ref().is_some_and(|(current, _)| *current == number) {
            return Ok(true);
        }
        let Some(file) = self.segments.file(number) else { return Ok(false) };
        let geometry = self.segments.geometry();
        let length = usize::try_from(geometry.segment_bytes)
            .map_err(|_| Error::InvalidInput("a segment larger than memory".into()))?;
        if let Some(next) = self.segments.file(number + 1) {
            next.read_ahead(0, geometry.segment_bytes);
        }
        let full = match self.end {
            ScanEnd::Known(end) => geometry.end(number) <= end.get(),
            ScanEnd::FirstHole => false,
        };
        let bytes = if full {
            file.map(0, length)?
        } else {
            let mut bytes = self.take_buffer(length);
            let read = file.read_at(0, &mut bytes)?;
            bytes[read..].fill(0);
            LogBytes::Owned(bytes)
        };
        self.current = Some((number, bytes));
        Ok(true)
    }

    fn take_buffer(&mut self, length: usize) -> Vec<u8> {
        match self.current.take() {
            Some((_, LogBytes::Owned(bytes))) if bytes.len() == length => bytes,
            _ => vec![0; length],
        }
    }

    /// The current segment's number.
    pub fn number(&self) -> Option<u64> {
        self.current.as_ref().map(|(number, _)| *number)
    }

    /// The current segment's bytes from byte `at` of the log on, which lies in it; none before one
    /// was loaded.
    pub fn from(&self, at: u64) -> &[u8] {
        let offset = usize::try_from(self.segments.geometry().offset(at));
        let bytes = self.current.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        offset.ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default()
    }
}
