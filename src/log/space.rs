//! Log space that is promised before it is needed, so that rolling back can never run out of it.
//!
//! A transaction reserves, before each update, the room of the update *and* of the compensation
//! that may have to follow. Only prepared segments count: their space was written and synced, so
//! that using it cannot fail for want of space.
//!
//! Invariant: `reserved + kept <= usable(end)`, as long as only those who reserved append. What is
//! kept (`kept`) is the room of a restart on a full disk: its records and its checkpoint.

use super::segment::{Geometry, SEGMENT_HEADER_BYTES};
use crate::record::padded;

/// How much log is promised to whom.
pub struct LogSpace {
    geometry: Geometry,
    /// Room that may be lost at the end of a segment, because a record does not cross it.
    waste: u64,
    /// End of the last prepared segment.
    prepared_end: u64,
    /// Promised to transactions.
    reserved: u64,
    /// Kept for restart and checkpoints.
    kept: u64,
}

impl LogSpace {
    /// Nothing is reserved yet.
    pub fn new(geometry: Geometry, max_record: usize, prepared_end: u64, kept: u64) -> Self {
        let waste = padded(max_record) as u64;
        assert!(geometry.segment_bytes >= 2 * (waste + SEGMENT_HEADER_BYTES), "tiny segments");
        Self { geometry, waste, prepared_end, reserved: 0, kept }
    }

    /// End of the last prepared segment.
    pub fn prepared_end(&self) -> u64 {
        self.prepared_end
    }

    /// A further segment was prepared.
    pub fn prepared(&mut self, end: u64) {
        assert!(end > self.prepared_end, "segments are prepared in order");
        self.prepared_end = end;
    }

    /// Bytes that records appended from `at` on can use for certain.
    fn usable(&self, at: u64) -> u64 {
        let per_segment = self.geometry.segment_bytes - SEGMENT_HEADER_BYTES - self.waste;
        let at = self.geometry.record_position(at);
        let number = self.geometry.segment_of(at);
        let whole = (self.prepared_end / self.geometry.segment_bytes).saturating_sub(number);
        let current = self.geometry.end(number).min(self.prepared_end).saturating_sub(at);
        current.saturating_sub(self.waste) + whole * per_segment
    }

    /// Promises `bytes` to a transaction, if the room is there beside all other promises.
    pub fn try_reserve(&mut self, at: u64, bytes: u64) -> bool {
        if self.usable(at) < self.reserved + self.kept + bytes {
            return false;
        }
        self.reserved += bytes;
        true
    }

    /// A promise was used or is not needed any more.
    pub fn release(&mut self, bytes: u64) {
        assert!(bytes <= self.reserved, "only what was reserved is released");
        self.reserved -= bytes;
    }

    /// Whether another segment should be prepared so that `ahead` bytes can be promised at once.
    pub fn is_short(&self, at: u64, ahead: u64) -> bool {
        self.usable(at) < self.reserved + self.kept + ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 65_536;
    const MAX_RECORD: usize = 1_280;

    fn space(segments: u64) -> LogSpace {
        let geometry = Geometry { segment_bytes: SEGMENT };
        LogSpace::new(geometry, MAX_RECORD, segments * SEGMENT, 10_000)
    }

    #[test]
    fn what_is_promised_fits_however_records_fall() {
        let mut space = space(3);
        let mut at = SEGMENT_HEADER_BYTES;
        let mut promised = 0;
        while space.try_reserve(at, 1_000) {
            promised += 1_000;
        }
        // The worst record size: as much as possible is lost at the end of each segment.
        let worst = MAX_RECORD as u64;
        for _ in 0..(promised + 10_000) / worst {
            if space.geometry.left_in_segment(at) < worst {
                at = space.geometry.first_record(space.geometry.segment_of(at) + 1);
            }
            at += worst;
        }
        assert!(at <= space.prepared_end());
    }

    #[test]
    fn what_is_kept_is_never_promised() {
        let mut space = space(1);
        let all = SEGMENT - SEGMENT_HEADER_BYTES - MAX_RECORD as u64;
        assert!(!space.try_reserve(SEGMENT_HEADER_BYTES, all - 9_999));
        assert!(space.try_reserve(SEGMENT_HEADER_BYTES, all - 10_000));
        assert!(!space.try_reserve(SEGMENT_HEADER_BYTES, 1));
        space.release(1);
        assert!(space.try_reserve(SEGMENT_HEADER_BYTES, 1));
    }
}
