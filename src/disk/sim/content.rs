//! The bytes of one simulated file, copy-on-write.
//!
//! A clone shares all blocks, and the table of blocks too, until one side writes: a crash image
//! costs one reference count for each file. A block that was never written is a hole; a block of
//! zeros needs no memory. What is shared keeps its fingerprint.

use std::collections::BTreeMap;

use super::super::{BLOCK, bytes_before, pieces};
use super::fingerprint::{Fingerprint, Kept, Mixer};
use super::power::Part;
use super::split_mix;
use crate::sync::Arc;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A block that was written.
#[derive(Clone)]
pub(super) enum Block {
    /// Only zeros.
    Zero,
    /// Other bytes.
    Bytes(Arc<Bytes>),
}

/// The bytes of a block.
#[derive(Clone)]
pub(super) struct Bytes {
    bytes: [u8; BLOCK],
    fingerprint: Kept,
}

/// What stands for the fingerprint of zeros, which count as a hole.
const HOLE: Fingerprint = [1, 1];

impl Block {
    fn new(bytes: &[u8]) -> Self {
        let mut block = Self::Zero;
        block.write(0, bytes);
        block
    }

    fn bytes(&self) -> &[u8; BLOCK] {
        match self {
            Self::Zero => &ZEROS,
            Self::Bytes(block) => &block.bytes,
        }
    }

    fn write(&mut self, start: usize, bytes: &[u8]) {
        match self {
            Self::Zero if *bytes == ZEROS[..bytes.len()] => {}
            Self::Zero => {
                let mut block = Bytes { bytes: ZEROS, fingerprint: Kept::default() };
                block.bytes[start..start + bytes.len()].copy_from_slice(bytes);
                *self = Self::Bytes(Arc::new(block));
            }
            Self::Bytes(block) => {
                let block = Arc::make_mut(block);
                block.bytes[start..start + bytes.len()].copy_from_slice(bytes);
                block.fingerprint = Kept::default();
            }
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        let Self::Bytes(block) = self else { return HOLE };
        block.fingerprint.get_or(|| {
            let is_hole = block.bytes == ZEROS;
            if is_hole { HOLE } else { Mixer::of_block(&block.bytes) }
        })
    }
}

/// By block number; a missing one is a hole.
#[derive(Clone, Default)]
struct Blocks {
    by_number: BTreeMap<u64, Block>,
    fingerprint: Kept,
}

/// Length and bytes of a file.
///
/// Invariants: no block begins at or beyond `length`; bytes of a block beyond `length` are zero.
#[derive(Clone, Default)]
pub(super) struct Content {
    length: u64,
    blocks: Arc<Blocks>,
}

/// One sector as a write left it: what the page cache would write back.
#[derive(Clone)]
pub(super) struct SectorImage {
    /// Offset of its first byte in the file.
    pub(super) offset: u64,
    /// Bytes of it that lie within the file (at most `size`).
    pub(super) length: usize,
    size: usize,
    /// Whether it makes a file that is shorter longer.
    grows: bool,
    /// The whole block that holds it, shared with its neighbours.
    block: Block,
}

impl Content {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that take room on the disk: those of all blocks that are no hole.
    pub(super) fn allocated(&self) -> u64 {
        (self.blocks.by_number.len() * BLOCK) as u64
    }

    /// Bytes of room that a write would take in addition.
    pub(super) fn room_for(&self, offset: u64, length: usize) -> u64 {
        let holes = pieces(offset, length)
            .filter(|piece| !self.blocks.by_number.contains_key(&piece.number()));
        (holes.count() * BLOCK) as u64
    }

    /// Returns how many bytes there were before the end.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let count = bytes_before(self.length, offset, buffer.len());
        for piece in pieces(offset, count) {
            let target = &mut buffer[piece.start..piece.end];
            match self.blocks.by_number.get(&piece.number()) {
                Some(block) => target.copy_from_slice(&block.bytes()[piece.within()]),
                None => target.fill(0),
            }
        }
        count
    }

    /// To be changed: what was computed of them is forgotten.
    fn blocks_mut(&mut self) -> &mut BTreeMap<u64, Block> {
        let blocks = Arc::make_mut(&mut self.blocks);
        blocks.fingerprint = Kept::default();
        &mut blocks.by_number
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let blocks = self.blocks_mut();
        for piece in pieces(offset, bytes.len()) {
            let part = &bytes[piece.start..piece.end];
            if piece.is_whole() {
                blocks.insert(piece.number(), Block::new(part));
            } else {
                blocks.entry(piece.number()).or_insert(Block::Zero).write(piece.skip, part);
            }
        }
        if !bytes.is_empty() {
            self.length = self.length.max(offset + bytes.len() as u64);
        }
    }

    pub(super) fn set_length(&mut self, length: u64) {
        if length < self.length {
            let blocks = self.blocks_mut();
            blocks.split_off(&length.div_ceil(BLOCK as u64));
            if let Some(last) = blocks.get_mut(&(length / BLOCK as u64)) {
                let kept = within_block(length);
                last.write(kept, &ZEROS[kept..]);
            }
        }
        self.length = length;
    }

    /// The sectors, of `size` bytes, that a write of `length` bytes at `offset` touched, as they are now.
    pub(super) fn sectors(
        &self,
        offset: u64,
        length: usize,
        size: usize,
        grows: bool,
    ) -> impl Iterator<Item = SectorImage> {
        let end = offset + length as u64;
        let first = if length == 0 { end } else { offset - offset % size as u64 };
        (first..end).step_by(size).map(move |offset| SectorImage {
            offset,
            length: bytes_before(self.length, offset, size),
            size,
            grows,
            block: self.block(offset).cloned().unwrap_or(Block::Zero),
        })
    }

    /// The block that holds the byte at `offset`.
    fn block(&self, offset: u64) -> Option<&Block> {
        self.blocks.by_number.get(&(offset / BLOCK as u64))
    }

    /// Writes one sector back, growing the file where needed. All of it: where this file is longer than the one
    /// that was written, the rest becomes zeros. But of what is torn only a part is written.
    pub(super) fn put_sector(&mut self, sector: &SectorImage, part: Part) {
        let new = self.new_bytes(sector);
        if new.is_empty() {
            return;
        }
        let end = sector.offset + new.len() as u64;
        match part {
            Part::Whole => self.write(sector.offset, new),
            Part::Prefix(cut) => self.write(sector.offset, &new[..cut.min(new.len())]),
            Part::Suffix(cut) => {
                let cut = cut.min(new.len());
                self.write(sector.offset + cut as u64, &new[cut..]);
            }
            Part::Garbage { seed } => {
                let mut bytes = vec![0; new.len()];
                self.read(sector.offset, &mut bytes);
                garble(&mut bytes, new, seed);
                self.write(sector.offset, &bytes);
            }
        }
        self.length = self.length.max(end);
    }

    /// What a sector that is written back leaves, from its begin on.
    fn new_bytes<'a>(&self, sector: &'a SectorImage) -> &'a [u8] {
        let start = within_block(sector.offset);
        let before_end = bytes_before(self.length, sector.offset, sector.size);
        let count = if sector.grows { before_end.max(sector.length) } else { before_end };
        &sector.block.bytes()[start..start + count]
    }

    /// Whether a sector that is written back changes nothing here.
    pub(super) fn has(&self, sector: &SectorImage) -> bool {
        let start = within_block(sector.offset);
        let new = self.new_bytes(sector);
        let old = self.block(sector.offset).map_or(&ZEROS, Block::bytes);
        new.len() == bytes_before(self.length, sector.offset, sector.size)
            && *new == old[start..start + new.len()]
    }

    /// A number for the bytes; without the length, which tells how many zeros follow.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.blocks.fingerprint.get_or(|| {
            let mut mixer = Mixer::new();
            for (number, block) in &self.blocks.by_number {
                let [left, right] = block.fingerprint();
                if [left, right] != HOLE {
                    mixer.push(*number, 0);
                    mixer.push(left, right);
                }
            }
            mixer.finish()
        })
    }
}

impl SectorImage {
    /// Its bytes within the file.
    pub(super) fn bytes(&self) -> &[u8] {
        let start = within_block(self.offset);
        &self.block.bytes()[start..start + self.length]
    }

    /// Takes what the sector leaves into a fingerprint.
    pub(super) fn mix(&self, mixer: &mut Mixer) {
        mixer.push(self.offset << 1 | u64::from(self.grows), self.length as u64);
        let [left, right] = self.block.fingerprint();
        mixer.push(left, right);
    }
}

/// Makes each of the old bytes one that is neither old nor new.
fn garble(old: &mut [u8], new: &[u8], mut seed: u64) {
    for (old, new) in old.iter_mut().zip(new) {
        let [mut byte, ..] = split_mix(&mut seed).to_le_bytes();
        while byte == *old || byte == *new {
            byte = byte.wrapping_add(1);
        }
        *old = byte;
    }
}

/// Where in its block the byte at `offset` stands.
fn within_block(offset: u64) -> usize {
    bytes_before(offset, offset - offset % BLOCK as u64, BLOCK)
}
