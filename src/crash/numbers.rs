//! Sets of numbers that many threads fill; and a number for anything.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hash};

use crate::sync::Mutex;

/// A set of numbers that are as good as random already.
pub struct Numbers(Vec<Mutex<HashSet<u128>>>);

/// Threads wait for each other less often when the set is cut into so many parts.
const PARTS: u64 = 64;

impl Numbers {
    pub fn new() -> Self {
        Self((0..PARTS).map(|_| Mutex::default()).collect())
    }

    /// Whether it was not there yet.
    pub fn insert(&self, number: u128) -> bool {
        let part = usize::try_from((number >> 64) % u128::from(PARTS)).unwrap_or(0);
        self.0[part].lock().insert(number)
    }
}

/// A number for it.
pub fn of(value: impl Hash) -> u128 {
    let lane = |seed: u64| {
        BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one((seed, &value))
    };
    u128::from(lane(1)) << 64 | u128::from(lane(2))
}
