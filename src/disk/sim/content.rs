//! The bytes of one simulated file, copy-on-write.
//!
//! A clone shares all blocks, and the table of blocks too, until one side writes: a crash image
//! costs one reference count for each file. A block that was never written is a hole; a block of
//! zeros needs no memory.

use std::collections::BTreeMap;

use super::super::{BLOCK, bytes_before, pieces};
use super::SECTOR;
use crate::sync::Arc;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A block that was written.
#[derive(Clone)]
pub(super) enum Block {
    /// Only zeros.
    Zero,
    /// Other bytes.
    Bytes(Arc<[u8; BLOCK]>),
}

impl Block {
    fn new(bytes: &[u8]) -> Self {
        let mut block = Self::Zero;
        block.write(0, bytes);
        block
    }

    fn bytes(&self) -> &[u8; BLOCK] {
        match self {
            Self::Zero => &ZEROS,
            Self::Bytes(bytes) => bytes,
        }
    }

    fn write(&mut self, start: usize, bytes: &[u8]) {
        match self {
            Self::Zero if *bytes == ZEROS[..bytes.len()] => {}
            Self::Zero => {
                let mut block = ZEROS;
                block[start..start + bytes.len()].copy_from_slice(bytes);
                *self = Self::Bytes(Arc::new(block));
            }
            Self::Bytes(block) => {
                Arc::make_mut(block)[start..start + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

/// Length and bytes of a file.
///
/// Invariants: no block begins at or beyond `length`; bytes of a block beyond `length` are zero.
#[derive(Clone, Default)]
pub(super) struct Content {
    length: u64,
    /// By block number; a missing one is a hole.
    blocks: Arc<BTreeMap<u64, Block>>,
}

/// One sector as a write left it: what the page cache would write back.
#[derive(Clone)]
pub(super) struct SectorImage {
    /// Offset of its first byte in the file.
    pub(super) offset: u64,
    /// Bytes of it that lie within the file (at most [`SECTOR`]).
    pub(super) length: usize,
    /// The whole block that holds it, shared with its neighbours.
    block: Block,
}

impl Content {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that take room on the disk: those of all blocks that are no hole.
    pub(super) fn allocated(&self) -> u64 {
        (self.blocks.len() * BLOCK) as u64
    }

    /// Bytes of room that a write would take in addition.
    pub(super) fn room_for(&self, offset: u64, length: usize) -> u64 {
        let holes =
            pieces(offset, length).filter(|piece| !self.blocks.contains_key(&piece.number()));
        (holes.count() * BLOCK) as u64
    }

    /// Returns how many bytes there were before the end.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let count = bytes_before(self.length, offset, buffer.len());
        for piece in pieces(offset, count) {
            let target = &mut buffer[piece.start..piece.end];
            match self.blocks.get(&piece.number()) {
                Some(block) => target.copy_from_slice(&block.bytes()[piece.within()]),
                None => target.fill(0),
            }
        }
        count
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let blocks = Arc::make_mut(&mut self.blocks);
        for piece in pieces(offset, bytes.len()) {
            let part = &bytes[piece.start..piece.end];
            if piece.is_whole() {
                blocks.insert(piece.number(), Block::new(part));
            } else {
                blocks.entry(piece.number()).or_insert(Block::Zero).write(piece.skip, part);
            }
            self.length = self.length.max(piece.block + piece.within().end as u64);
        }
    }

    pub(super) fn set_length(&mut self, length: u64) {
        if length < self.length {
            let blocks = Arc::make_mut(&mut self.blocks);
            blocks.split_off(&length.div_ceil(BLOCK as u64));
            if let Some(last) = blocks.get_mut(&(length / BLOCK as u64)) {
                let kept = within_block(length);
                last.write(kept, &ZEROS[kept..]);
            }
        }
        self.length = length;
    }

    /// The sectors that a write of `length` bytes at `offset` touched, as they are now.
    pub(super) fn sectors(&self, offset: u64, length: usize) -> impl Iterator<Item = SectorImage> {
        let end = offset + length as u64;
        let first = if length == 0 { end } else { offset - offset % SECTOR as u64 };
        (first..end).step_by(SECTOR).map(|offset| SectorImage {
            offset,
            length: bytes_before(self.length, offset, SECTOR),
            block: self.blocks.get(&(offset / BLOCK as u64)).cloned().unwrap_or(Block::Zero),
        })
    }

    /// Writes one sector back, growing the file where needed. All of it: where this file is longer
    /// than the one that was written, the rest becomes zeros.
    pub(super) fn put_sector(&mut self, sector: &SectorImage) {
        let start = within_block(sector.offset);
        let count = sector.length.max(bytes_before(self.length, sector.offset, SECTOR));
        self.write(sector.offset, &sector.block.bytes()[start..start + count]);
    }
}

/// Where in its block the byte at `offset` stands.
fn within_block(offset: u64) -> usize {
    bytes_before(offset, offset - offset % BLOCK as u64, BLOCK)
}
