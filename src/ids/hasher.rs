//! A hash of a few instructions for tables whose keys are identifiers.
//!
//! Page, slot and transaction numbers are given out by the engine, so no stranger can choose keys
//! that collide; and every record access, and every log record that restart reads, hashes some, so the
//! careful hash of the standard library would be a good part of what those cost.
//!
//! The names of keys are another matter: strangers choose the keys. They arrive here as hashes of 64
//! bits, which do not collide by chance. Whoever makes keys that do slows down those who lock
//! thousands of them, and nobody gets a wrong answer.

use std::hash::{BuildHasherDefault, Hasher};

/// Makes a [`NumberHasher`] for each key.
pub type BuildNumberHasher = BuildHasherDefault<NumberHasher>;

/// Mixes whole numbers by multiplication.
#[derive(Default)]
pub struct NumberHasher(u64);

/// An odd number with its bits well spread: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for NumberHasher {
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(MULTIPLIER).rotate_left(29);
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(u64::from(number));
    }

    /// The discriminant of an enum arrives here.
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    /// The table picks a bucket by the lowest bits and tells neighbours apart by the highest, so the
    /// well-mixed upper half is folded onto the lower one.
    fn finish(&self) -> u64 {
        let product = self.0.wrapping_mul(MULTIPLIER);
        product ^ (product >> 32)
    }
}
