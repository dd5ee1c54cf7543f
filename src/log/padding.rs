//! Padding: for disks on which a torn block may be lost whole.
//!
//! Normally a force writes the part-filled last block of the log again. A disk that may turn a block
//! into garbage when power fails in the middle of its write would then lose records that had been
//! acknowledged. With [`LogBlock::Padded`] the log is filled up to the next block boundary
//! before each write, and the next record begins in a block of its own:
//!
//! ```text
//!   | rec | rec | filler …… | rec | filler ………… | rec | rec  rec | filler … |
//!   +-----------------------+-------------------+-------------+------------+
//!   block                   block               block         block
//!            one force               the next           a third
//! ```
//!
//! Invariants, with padded blocks:
//! - the log is handed to a writer only up to a block boundary, or to where its segment is full;
//! - a run begins at a block boundary: the block in which the run before ended is left as it is.

use super::segment::Geometry;
use crate::config::LogBlock;
use crate::record::{HEADER_BYTES, padded};

/// Up to where the log is padded.
#[derive(Clone, Copy)]
pub struct Padding {
    geometry: Geometry,
    /// Bytes of a block, if the log is padded at all.
    block: Option<u64>,
}

impl Padding {
    /// The padding that the setting asks for.
    pub fn new(geometry: Geometry, setting: LogBlock) -> Self {
        let block = match setting {
            LogBlock::Rewritten => None,
            LogBlock::Padded(bytes) => Some(bytes),
        };
        Self { geometry, block }
    }

    /// More bytes than one padding ever takes.
    pub fn most(self) -> u64 {
        self.block.map_or(0, |block| block + padded(HEADER_BYTES) as u64)
    }

    /// Log to reserve for a record of `length` bytes: what it takes, and the padding that may follow.
    pub fn price(self, length: usize) -> u64 {
        padded(length) as u64 + self.most()
    }

    /// Where filler from `at` on ends, so that what follows has blocks of its own; `at` itself where
    /// no filler is needed. Filler takes at least a header: where less is left of the block, it
    /// takes the next block too.
    pub fn end(self, at: u64) -> u64 {
        let Some(block) = self.block else { return at };
        let boundary = at.next_multiple_of(block);
        let header = HEADER_BYTES as u64;
        if boundary == at || self.geometry.left_in_segment(at) < header {
            return at;
        }
        if boundary - at < header { boundary + block } else { boundary }
    }

    /// Where a run begins if the log of the run before ended at `at`.
    pub fn run_start(self, at: u64) -> u64 {
        self.block.map_or(at, |block| at.next_multiple_of(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 65_536;

    #[test]
    fn filler_ends_at_a_boundary_takes_at_least_a_header_and_stays_in_the_segment() {
        let geometry = Geometry { segment_bytes: SEGMENT };
        for block in [512, 4_096] {
            let padding = Padding::new(geometry, LogBlock::Padded(block));
            for at in (4_096..SEGMENT).step_by(8) {
                let end = padding.end(at);
                assert!(end <= SEGMENT && end - at < padding.most());
                assert!(end == at || end - at >= HEADER_BYTES as u64);
                assert!(end.is_multiple_of(block) || SEGMENT - end < HEADER_BYTES as u64);
            }
        }
    }

    #[test]
    fn without_padding_nothing_is_filled_and_a_run_begins_where_the_last_ended() {
        let padding = Padding::new(Geometry { segment_bytes: SEGMENT }, LogBlock::Rewritten);
        assert_eq!(
            (padding.end(4_104), padding.run_start(4_104), padding.most()),
            (4_104, 4_104, 0)
        );
    }
}
