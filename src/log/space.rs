//! Log space that is promised before it is needed, so that rolling back can never run out of it.
//!
//! A transaction reserves, before each update, the room of the update *and* of the compensation
//! that may have to follow. Only prepared segments count: their space was written and synced, so
//! that using it cannot fail for want of space.
//!
//! Where the log is padded to blocks ([`super::padding`]), nobody reserves the padding as such: each
//! record's price includes one. At most one is outstanding, since the first record after the last.
//!
//! Invariant: `reserved + kept + outstanding padding <= usable(end)`, as long as only those who
//! reserved append. What is kept (`kept`) is the room of a restart on a full disk: its records and
//! its checkpoint.

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
    /// Room that one padding may take.
    padding: u64,
    /// Whether records were appended since the last padding.
    unpadded: bool,
}

impl LogSpace {
    /// Nothing is reserved yet.
    pub fn new(
        geometry: Geometry,
        max_record: usize,
        prepared_end: u64,
        kept: u64,
        padding: u64,
    ) -> Self {
        let waste = padded(max_record) as u64;
        assert!(geometry.segment_bytes >= 2 * (waste + SEGMENT_HEADER_BYTES), "tiny segments");
        Self { geometry, waste, prepared_end, reserved: 0, kept, padding, unpadded: false }
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

    /// Room that must be there whatever else is asked for.
    fn promised(&self) -> u64 {
        let outstanding = if self.unpadded { self.padding } else { 0 };
        self.reserved + self.kept + outstanding
    }

    /// Promises `bytes` to a transaction, if the room is there beside all other promises.
    pub fn try_reserve(&mut self, at: u64, bytes: u64) -> bool {
        if self.usable(at) < self.promised() + bytes {
            return false;
        }
        self.reserved += bytes;
        true
    }

    /// A record was appended, for which `spend` was reserved.
    pub fn appended(&mut self, spend: u64) {
        self.release(spend);
        self.unpadded = true;
    }

    /// The log is to be padded, so that it can be written: gives whether it had not been since the
    /// last record.
    pub fn pad(&mut self) -> bool {
        std::mem::take(&mut self.unpadded)
    }

    /// A promise was used or is not needed any more.
    pub fn release(&mut self, bytes: u64) {
        assert!(bytes <= self.reserved, "only what was reserved is released");
        self.reserved -= bytes;
    }

    /// Whether another segment should be prepared so that `ahead` bytes can be promised at once.
    pub fn is_short(&self, at: u64, ahead: u64) -> bool {
        self.usable(at) < self.promised() + ahead
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)]
    use super::super::padding::Padding;
    use super::*;
    use crate::config::LogBlock;

    const SEGMENT: u64 = 65_536;
    const MAX_RECORD: usize = 1_280;

    fn space(segments: u64, padding: u64) -> LogSpace {
        let geometry = Geometry { segment_bytes: SEGMENT };
        LogSpace::new(geometry, MAX_RECORD, segments * SEGMENT, 10_000, padding)
    }

    /// Appends all that was promised in records of `length` bytes, each padded at once, as long as the
    /// price of one is left; gives where the log ends.
    fn append_all(space: &LogSpace, setting: LogBlock, length: u64, mut promised: u64) -> u64 {
        let padding = Padding::new(space.geometry, setting);
        let price = padding.price(length as usize);
        let mut at = SEGMENT_HEADER_BYTES;
        while promised >= price {
            promised -= price;
            at = space.geometry.record_position(at);
            if space.geometry.left_in_segment(at) < length {
                at = space.geometry.first_record(space.geometry.segment_of(at) + 1);
            }
            at = padding.end(at + length);
        }
        at
    }

    #[test]
    fn what_is_promised_fits_however_records_fall_and_are_padded() {
        for setting in [LogBlock::Rewritten, LogBlock::Padded(512), LogBlock::Padded(4_096)] {
            let geometry = Geometry { segment_bytes: SEGMENT };
            let mut space = space(6, Padding::new(geometry, setting).most());
            let mut promised = 10_000; // What is kept is used up, too.
            while space.try_reserve(SEGMENT_HEADER_BYTES, 1_000) {
                promised += 1_000;
            }
            for length in (32..=MAX_RECORD as u64).step_by(8) {
                let end = append_all(&space, setting, length, promised);
                assert!(end <= space.prepared_end(), "{setting:?}, records of {length} bytes");
            }
        }
    }

    #[test]
    fn room_for_one_padding_is_set_aside_from_the_first_record_after_the_last() {
        let mut space = space(1, 4_128);
        let all = SEGMENT - SEGMENT_HEADER_BYTES - MAX_RECORD as u64 - 10_000;
        space.appended(0);
        assert!(!space.try_reserve(SEGMENT_HEADER_BYTES, all - 4_127));
        assert!(space.pad() && !space.pad());
        assert!(space.try_reserve(SEGMENT_HEADER_BYTES, all));
    }

    #[test]
    fn what_is_kept_is_never_promised() {
        let mut space = space(1, 0);
        let all = SEGMENT - SEGMENT_HEADER_BYTES - MAX_RECORD as u64;
        assert!(!space.try_reserve(SEGMENT_HEADER_BYTES, all - 9_999));
        assert!(space.try_reserve(SEGMENT_HEADER_BYTES, all - 10_000));
        assert!(!space.try_reserve(SEGMENT_HEADER_BYTES, 1));
        space.release(1);
        assert!(space.try_reserve(SEGMENT_HEADER_BYTES, 1));
    }
}
