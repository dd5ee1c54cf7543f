//! How long many things took, in little memory.
//!
//! ```text
//!   bucket = 64 × place of the highest bit + the six bits below it
//! ```
//!
//! Invariants:
//! - a time is counted in a bucket whose bounds differ by less than two in a hundred;
//! - what is told of a share of all times is the upper bound of its bucket, never more than the longest, which is kept as it is.

use std::time::Duration;

/// Each power of two has so many buckets.
const FINE_BITS: u32 = 6;
const FINE: u64 = 1 << FINE_BITS;

/// A collection of times.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Times {
    /// By bucket, as far as anything was counted.
    counts: Vec<u64>,
    count: u64,
    longest: u64,
}

/// The bucket of a time in nanoseconds.
fn bucket(nanoseconds: u64) -> usize {
    let shift = nanoseconds.max(FINE).ilog2() - FINE_BITS;
    let bucket = u64::from(shift) * FINE + (nanoseconds >> shift);
    usize::try_from(bucket).expect("less than 64 × 64")
}

/// The longest time of a bucket.
fn longest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / FINE).saturating_sub(1);
    let fine = bucket - shift * FINE;
    ((fine + 1) << shift) - 1
}

impl Times {
    /// Counts a time.
    pub fn record(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX >> 1);
        let bucket = bucket(nanoseconds);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.count += 1;
        self.longest = self.longest.max(nanoseconds);
    }

    /// Counts all of another collection.
    pub fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, others)| *own += others);
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// So many of a thousand took no longer than this.
    #[must_use]
    pub fn of_thousand(&self, share: u64) -> Duration {
        let wanted = (self.count * share).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        Duration::from_nanos(found.map_or(0, longest_of).min(self.longest))
    }

    /// The times from the shortest on: how many there are in each bucket, and the longest that would be counted in it.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let counts = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(bucket, count)| (Duration::from_nanos(longest_of(bucket)), *count))
    }

    /// The median.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.of_thousand(500)
    }

    /// The longest.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_where_the_next_begins_and_is_narrow() {
        assert_eq!((bucket(0), longest_of(0)), (0, 0));
        for number in 0..bucket(u64::MAX >> 1) {
            let last = longest_of(number);
            assert_eq!((bucket(last), bucket(last + 1)), (number, number + 1));
            let first = number.checked_sub(1).map_or(0, |before| longest_of(before) + 1);
            assert!((last - first) as f64 <= last as f64 / 50.0, "{first} to {last}");
        }
    }

    #[test]
    fn shares_are_close_to_what_they_are_of_sorted_times() {
        let mut times = Times::default();
        assert_eq!((times.median(), times.longest()), (Duration::ZERO, Duration::ZERO));
        let (mut odd, mut all) = (Times::default(), Times::default());
        for microseconds in 1..=1000_u64 {
            let time = Duration::from_micros(microseconds);
            if microseconds % 2 == 1 {
                odd.record(time)
            } else {
                times.record(time)
            }
            all.record(time);
        }
        times.add(&odd);
        assert_eq!(times, all);
        assert_eq!(times.count(), 1000);
        assert_eq!(times.longest(), Duration::from_millis(1));
        let least_half = Duration::from_micros(500);
        let buckets = times.buckets().filter(|(longest, _)| *longest <= least_half);
        let counted: u64 = buckets.map(|(_, count)| count).sum();
        assert!((490..=500).contains(&counted), "{counted}");
        assert_eq!(times.buckets().map(|(_, count)| count).sum::<u64>(), 1000);
        for (share, expected) in [(500, 500.0), (990, 990.0), (1000, 1000.0)] {
            let found = times.of_thousand(share).as_secs_f64() * 1e6;
            assert!((expected..=expected * 1.02).contains(&found), "{share}: {found}");
        }
    }
}
