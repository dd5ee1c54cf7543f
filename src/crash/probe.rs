//! Watches a disk, and notes every state that it may be left in.
//!
//! Before each call that changes something, and once more at the end, the power might fail, or the process die: the
//! states that the disk may then be left in are made at once (each shares its blocks with the others), and kept with what has to be
//! there after recovery. Who made the calls goes on as if nothing had happened.

use std::collections::{BTreeSet, HashSet};

use super::model::Expected;
use super::survivors::{COMPLETE, nothing, ways};
use super::watch::Watch;
use crate::disk::{Call, SimDisk, Survivors, WatchedDisk, Watcher};
use crate::error::Result;
use crate::sync::{Arc, Mutex};

/// A state of the disk after a power failure.
pub struct Left<E> {
    /// What is there.
    pub disk: SimDisk,
    /// Its fingerprint.
    pub fingerprint: u128,
    /// The I/O before which the power failed.
    pub io: u64,
    /// What survived of what was not durable; `None` if only the process died.
    pub survivors: Option<Survivors>,
    /// What must be there after recovery.
    pub expected: E,
}

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Moments at which the power might fail.
    pub points: u64,
    /// Of them, those with too many changes to try every subset.
    pub sampled_points: u64,
    /// Ways to survive that were tried.
    pub ways: u64,
}

/// Watches a simulated disk.
pub struct Probe<E> {
    disk: SimDisk,
    /// Whether the process may die, too, while the power stays.
    kills: bool,
    seen: Mutex<Seen<E>>,
}

struct Seen<E> {
    /// What must be there if the power fails now; nothing is noted while there is none.
    expected: Option<E>,
    /// Changes that were pending when it was looked last, the same being expected.
    known: BTreeSet<u64>,
    /// States noted since what is expected changed last.
    fingerprints: HashSet<u128>,
    left: Vec<Left<E>>,
    counts: Counts,
}

impl<E: Clone + Send + 'static> Probe<E> {
    /// Watches `disk`; nothing is noted before [`Probe::expect`] is called. With `kills` it also notes what a process
    /// leaves that dies while the power stays.
    pub fn new(disk: &SimDisk, kills: bool) -> Arc<Self> {
        let seen = Seen {
            expected: None,
            known: BTreeSet::new(),
            fingerprints: HashSet::new(),
            left: Vec::new(),
            counts: Counts::default(),
        };
        Arc::new(Self { disk: disk.clone(), kills, seen: Mutex::new(seen) })
    }

    /// The disk, watched, and by somebody else too.
    pub fn watched(self: &Arc<Self>, second: Option<Arc<impl Watcher>>) -> Arc<WatchedDisk> {
        let watchers = Arc::new((Arc::clone(self), second));
        WatchedDisk::watched_by(Arc::new(self.disk.clone()), watchers)
    }

    /// From now on this must be there after a power failure. Every state is worth trying again.
    pub fn expect(&self, expected: E) {
        let mut seen = self.seen.lock();
        seen.expected = Some(expected);
        seen.known.clear();
        seen.fingerprints.clear();
    }

    /// Notes nothing more.
    pub fn rest(&self) {
        self.seen.lock().expected = None;
    }

    /// What was noted, and what was counted; forgets both.
    pub fn take(&self) -> (Vec<Left<E>>, Counts) {
        let mut seen = self.seen.lock();
        (std::mem::take(&mut seen.left), std::mem::take(&mut seen.counts))
    }

    /// The power might fail at this moment.
    pub fn look(&self) {
        let mut seen = self.seen.lock();
        let Some(expected) = seen.expected.clone() else { return };
        let pending = self.disk.pending();
        let io = self.disk.io_count();
        let ways = ways(&pending, self.disk.power_failure(), |id| !seen.known.contains(&id));
        seen.counts.points += 1;
        seen.counts.sampled_points += u64::from(!ways.complete);
        let is_first = seen.fingerprints.is_empty();
        let nothing = is_first.then(nothing);
        let killed = (self.kills && !pending.is_empty()).then_some(None);
        let power = nothing.into_iter().chain(ways.survivors).map(Some);
        for survivors in power.chain(killed) {
            seen.counts.ways += 1;
            let disk = match &survivors {
                Some(survivors) => self.disk.crash(survivors),
                None => self.disk.kill(),
            };
            let fingerprint = disk.fingerprint_with_pending();
            if seen.fingerprints.insert(fingerprint) {
                let expected = expected.clone();
                seen.left.push(Left { disk, fingerprint, io, survivors, expected });
            }
        }
        // Where not every subset was tried, others are tried later.
        if pending.len() <= COMPLETE {
            seen.known = pending.iter().map(|pending| pending.id).collect();
        }
    }
}

impl Watch for Probe<Expected> {
    fn expect(&self, expected: Expected) {
        Self::expect(self, expected);
    }

    fn end(&self) {
        self.look();
        self.rest();
    }
}

impl<E: Clone + Send + 'static> Watcher for Probe<E> {
    fn before(&self, call: &Call, _bytes: &[u8]) -> Result<()> {
        if changes_something(call) {
            self.look();
        }
        Ok(())
    }
}

/// Whether a call changes what a power failure may leave.
pub fn changes_something(call: &Call) -> bool {
    !matches!(call.operation, "open" | "read" | "look at" | "list" | "map")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::disk::Disk;

    /// Each state that a file of two sectors can be left in, and each once for what is expected.
    #[test]
    fn all_states_are_noted_once() {
        let disk = SimDisk::new();
        disk.create("file").unwrap().write_at(0, &[1; 1024]).unwrap();
        let disk = disk.crash(&Survivors::All);
        let probe = Probe::new(&disk, false);
        let file = probe.watched(None::<Arc<Probe<u8>>>).open("file").unwrap();
        file.write_at(0, &[2; 1024]).unwrap();
        assert_eq!(probe.take().0.len(), 0, "nothing is expected yet");
        probe.expect("first");
        file.write_at(0, &[3; 512]).unwrap(); // None or any of the sectors of 2.
        file.sync_data().unwrap(); // 3 in the first sector, with 1 or 2 in the second.
        probe.look(); // What is synced was possible before.
        let (left, counts) = probe.take();
        assert_eq!(left.len(), 6);
        assert_eq!((counts.points, counts.sampled_points), (3, 0));
        probe.expect("second");
        file.read_at(0, &mut [0; 4]).unwrap();
        probe.look();
        let (left, _) = probe.take();
        assert_eq!(left.iter().map(|left| left.expected).collect::<Vec<_>>(), ["second"]);
        assert_eq!(left[0].fingerprint, disk.fingerprint());
    }
}
