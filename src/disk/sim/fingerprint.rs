//! A number for what stands on a disk: equal images have the same, different ones almost surely not.
//!
//! Names, lengths and bytes count, and not how they came about: a block of zeros is as good as a hole. What
//! was computed for a block, or for all blocks of a file, is kept with them and shared by all images that
//! share them, so that only what was written since costs anything.
//!
//! The number has 128 bits, in two lanes that see the same words with other constants. Each step is a
//! multiplication to 128 bits whose halves are folded into one (as in wyhash, by Wang Yi). No law keeps images
//! apart, only chance: a block takes 256 steps, and at each two images that differ may meet, in either lane
//! with odds of 1 to 2^64. So two meet in both with odds of 1 to 2^112, and any two among 10^9 with 1 to 10^16.
//! It is no protection from somebody who looks for collisions.

use super::super::BLOCK;
use super::SimDisk;
use super::image::{Change, Image};
use super::state::{Entry, Fate};
use crate::sync::{AtomicU64, Ordering};

/// 128 bits, in two lanes; no lane is 0.
pub(super) type Fingerprint = [u64; 2];

/// Bits without a pattern: the first of the fractional part of pi.
const KEYS: [u64; 4] =
    [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344, 0xA409_3822_299F_31D0, 0x082E_FA98_EC4E_6C89];

/// Takes pairs of words in, one after the other.
pub(super) struct Mixer {
    lanes: Fingerprint,
}

impl Mixer {
    pub(super) fn new() -> Self {
        Self { lanes: [KEYS[1], KEYS[3]] }
    }

    pub(super) fn push(&mut self, first: u64, second: u64) {
        let [left, right] = self.lanes;
        self.lanes = [
            fold(first ^ KEYS[0], second ^ left),
            fold(first ^ KEYS[2].rotate_left(32), second ^ right),
        ];
    }

    /// All of `bytes`, and how many they are.
    fn push_bytes(&mut self, bytes: &[u8]) {
        let (pairs, rest) = bytes.as_chunks::<16>();
        let mut last = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        for pair in pairs.iter().chain([&last]) {
            self.push_pair(pair);
        }
        self.push(bytes.len() as u64, KEYS[0]);
    }

    fn push_pair(&mut self, pair: &[u8; 16]) {
        let [first, second] = halves(u128::from_le_bytes(*pair));
        self.push(first, second);
    }

    /// The fingerprint of a block. Both halves are taken in side by side: a step need not wait for the one before.
    pub(super) fn of_block(block: &[u8; BLOCK]) -> Fingerprint {
        let (pairs, _) = block.as_chunks::<16>();
        let (mut upper, mut lower) = (Self::new(), Self::new());
        let (first, second) = pairs.split_at(pairs.len() / 2);
        for (first, second) in first.iter().zip(second) {
            upper.push_pair(first);
            lower.push_pair(second);
        }
        let [left, right] = lower.finish();
        upper.push(left, right);
        upper.finish()
    }

    pub(super) fn finish(mut self) -> Fingerprint {
        self.push(KEYS[1], KEYS[3]);
        self.lanes.map(|lane| lane.max(1))
    }
}

#[allow(clippy::cast_possible_truncation)]
fn halves(bits: u128) -> [u64; 2] {
    [bits as u64, (bits >> 64) as u64]
}

/// The product of both, one half laid over the other.
fn fold(left: u64, right: u64) -> u64 {
    let [lower, upper] = halves(u128::from(left) * u128::from(right));
    lower ^ upper
}

/// A fingerprint once it was asked for. Whoever changes what it stands for puts a new one of these there.
#[derive(Default)]
pub(super) struct Kept([AtomicU64; 2]);

impl Kept {
    /// Two threads may compute it at the same time: they find the same.
    pub(super) fn get_or(&self, compute: impl FnOnce() -> Fingerprint) -> Fingerprint {
        let known = [0, 1].map(|lane| self.0[lane].load(Ordering::Relaxed));
        if known.iter().all(|lane| *lane != 0) {
            return known;
        }
        let found = compute();
        for (kept, lane) in self.0.iter().zip(found) {
            kept.store(lane, Ordering::Relaxed);
        }
        found
    }
}

impl Clone for Kept {
    /// A copy is about to be changed.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl SimDisk {
    /// A number for what readers see: names, lengths and bytes. After a [`SimDisk::crash`] that is all there
    /// is. Two disks with the same files have the same, two others have different ones but by a chance that
    /// need not be feared (see `src/disk/sim/fingerprint.rs`). It is the same on every machine.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        self.state.lock().cached.fingerprint()
    }

    /// A number for that and for what of it is not durable. Where all is, it is the same.
    #[must_use]
    pub fn fingerprint_with_pending(&self) -> u128 {
        let state = self.state.lock();
        let cached = state.cached.fingerprint();
        if state.entries.is_empty() {
            return cached;
        }
        let mut mixer = Mixer::new();
        for image in [cached, state.durable.fingerprint()] {
            let [first, second] = halves(image);
            mixer.push(first, second);
        }
        state.entries.iter().for_each(|entry| entry.mix(&mut mixer));
        let [left, right] = mixer.finish();
        u128::from(left) << 64 | u128::from(right)
    }
}

impl Entry {
    fn mix(&self, mixer: &mut Mixer) {
        let fate = match self.fate {
            Fate::Pending => 0,
            Fate::Abandoned => 1,
            Fate::Synced => 2,
        };
        let (kind, inode) = match &self.change {
            Change::Sector { inode, image } => {
                image.mix(mixer);
                (0, *inode)
            }
            Change::SetLength { inode, length } => {
                mixer.push(*length, 0);
                (1, *inode)
            }
            Change::Create { inode, .. } => (2, *inode),
            Change::CreateDirectory { .. } => (3, 0),
            Change::Rename { inode, from, .. } => {
                mixer.push_bytes(from.as_bytes());
                (4, *inode)
            }
            Change::Remove { .. } => (5, 0),
        };
        mixer.push_bytes(self.change.name().unwrap_or_default().as_bytes());
        mixer.push(kind << 2 | fate, inode);
    }
}

impl Image {
    fn fingerprint(&self) -> u128 {
        let mut mixer = Mixer::new();
        for directory in &*self.directories {
            mixer.push_bytes(directory.as_bytes());
        }
        // So that no directory is taken for a file.
        mixer.push(self.directories.len() as u64, self.names.len() as u64);
        for (name, inode) in &*self.names {
            mixer.push_bytes(name.as_bytes());
            // A name whose file never got here stands for an empty file.
            let content = self.files.get(inode).cloned().unwrap_or_default();
            mixer.push(content.length(), 0);
            let [left, right] = content.fingerprint();
            mixer.push(left, right);
        }
        let [left, right] = mixer.finish();
        u128::from(left) << 64 | u128::from(right)
    }
}
