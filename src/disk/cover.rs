//! What was written to a file and is kept in memory, over the file as it was.
//!
//! ```text
//! cover blocks           [ 2 ]      [ 5 ][ 6 ]          seen first, to `length`
//! lower file    [ 0 ][ 1 ][ 2 ][ 3 ]|                   seen below `cut`, under the cover
//!                                   cut        length
//! ```

use std::collections::BTreeMap;

use super::{BLOCK, DiskFile, bytes_before, pieces};
use crate::error::Result;

/// A block in memory; `None` is one of zeros, which takes no memory.
type Block = Option<Box<[u8; BLOCK]>>;

/// What the lower file does not have.
///
/// Invariants: `cut <= length of the lower file`; no block begins at or beyond `length`; bytes of a
/// block beyond `length` are zero.
#[derive(Debug)]
pub(super) struct Cover {
    length: u64,
    cut: u64,
    /// Whole blocks that stand over the lower file's, by the offset of their first byte.
    blocks: BTreeMap<u64, Block>,
}

impl Cover {
    /// Nothing yet, over a file of `length` bytes.
    pub(super) fn over(length: u64) -> Self {
        Self { length, cut: length, blocks: BTreeMap::new() }
    }

    /// The length that readers see.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Lower bytes from here on were cut off and are not seen.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    /// Whether readers see of this range what the lower file has, and nothing else.
    pub(super) fn is_untouched(&self, offset: u64, length: usize) -> bool {
        bytes_before(self.cut, offset, length) == length
            && !pieces(offset, length).any(|piece| self.blocks.contains_key(&piece.block))
    }

    /// Fills `buffer` from `offset` on; gives how many bytes there were before the end.
    pub(super) fn read(
        &self,
        lower: Option<&dyn DiskFile>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize> {
        let count = bytes_before(self.length, offset, buffer.len());
        let buffer = &mut buffer[..count];
        let uncut = bytes_before(self.cut, offset, count);
        let read = lower.map_or(Ok(0), |lower| lower.read_at(offset, &mut buffer[..uncut]))?;
        buffer[read..].fill(0);
        for piece in pieces(offset, count) {
            let seen = &mut buffer[piece.start..piece.end];
            match self.blocks.get(&piece.block) {
                Some(Some(block)) => seen.copy_from_slice(&block[piece.within()]),
                Some(None) => seen.fill(0),
                None => {}
            }
        }
        Ok(count)
    }

    /// Writes `bytes` at `offset`; where they end was checked.
    pub(super) fn write(
        &mut self,
        lower: Option<&dyn DiskFile>,
        offset: u64,
        bytes: &[u8],
        end: u64,
    ) -> Result<()> {
        for piece in pieces(offset, bytes.len()) {
            let bytes = &bytes[piece.start..piece.end];
            let zeros = bytes.iter().all(|byte| *byte == 0);
            if piece.is_whole() && zeros {
                self.blocks.insert(piece.block, None);
            } else {
                if !self.blocks.contains_key(&piece.block) {
                    let mut block = Box::new([0; BLOCK]);
                    self.read(lower, piece.block, &mut block[..])?;
                    self.blocks.insert(piece.block, Some(block));
                }
                let block = self.blocks.get_mut(&piece.block).expect("it was just put there");
                let block = block.get_or_insert_with(|| Box::new([0; BLOCK]));
                block[piece.within()].copy_from_slice(bytes);
            }
            self.length = self.length.max(end.min(piece.block + BLOCK as u64));
        }
        Ok(())
    }

    /// Cuts or grows (with zeros) to `length` bytes.
    pub(super) fn set_length(&mut self, length: u64) {
        self.length = length;
        self.cut = self.cut.min(length);
        self.blocks.split_off(&length);
        if let Some(mut last) = self.blocks.last_entry() {
            let kept = bytes_before(length, *last.key(), BLOCK);
            if let Some(block) = last.get_mut() {
                block[kept..].fill(0);
            }
        }
    }

    /// The blocks in order, each with its offset and cut at the end of the file.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.blocks.iter().map(|(&offset, block)| {
            let bytes = block.as_deref().unwrap_or(&[0; BLOCK]);
            (offset, &bytes[..bytes_before(self.length, offset, BLOCK)])
        })
    }

    /// These blocks are in the lower file by now, which has `lower` bytes, and so is all beyond the end it had: they are
    /// seen there.
    pub(super) fn uncover(&mut self, blocks: &[u64], lower: u64) {
        for block in blocks {
            self.blocks.remove(block);
        }
        self.cut = self.length.min(lower);
    }

    /// All of it was handed over to the lower file.
    pub(super) fn handed_over(&mut self) {
        self.blocks.clear();
        self.cut = self.length;
    }

    /// Bytes of memory that the blocks take.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.blocks.values().flatten().count() * BLOCK
    }
}
