//! The simulated disk: a directory in memory whose power can fail.
//!
//! It keeps the contract of [`crate::disk`] and promises no more than that, so that what the
//! engine wrongly relies upon is lost here:
//!
//! - A write is cut at sectors ([`SectorSize`]). Each sector it touches, each change of a length and
//!   each change of a name waits as one *pending* change until its file ([`DiskFile::sync_data`](super::DiskFile::sync_data))
//!   or directory ([`Disk::sync_directory`](super::Disk::sync_directory)) is synced. Syncing a file makes its bytes and length
//!   durable, not its name.
//! - [`SimDisk::crash`] makes a new disk with the durable image and those pending changes that
//!   survive, applied in the order of time. Each survives wholly or not at all, in any combination, unless
//!   the disk was declared capable of more or of less ([`PowerFailure`]): sectors torn or turned into garbage,
//!   names and lengths in the order of a journal.
//! - A process that dies loses nothing: open the same [`SimDisk`] again, or a copy ([`SimDisk::kill`]).
//! - After a failed sync the bytes stay visible but are *abandoned*: the next sync says "done"
//!   without them, [`SimDisk::drop_cache`] makes them disappear, and a crash may find them on the
//!   disk or not. Writing the sector anew makes a fresh change of it, which a sync makes durable.
//! - Faults strike at a chosen I/O: errors, and such as nobody is told of ([`FaultKind`]). The same calls give the
//!   same I/Os and the same images.
//! - Whoever tries every way to fail need not try the same image twice: [`Pending::changes_nothing`] says what
//!   makes none of its own, [`SimDisk::fingerprint`] which are the same.
//!
//! ```text
//!            write, create, …            sync                 crash(survivors)
//! readers <---- cached image     pending ----> durable image ----> new SimDisk
//!                    \___ = durable + pending ___/         + surviving pending
//! ```
//!
//! What survives, when it is odd: a surviving sector beyond the surviving length extends the file (with a
//! journal it vanishes, for growing is a change of its own, before it); a surviving rename of a file that does
//! not have the old name does nothing; the surviving bytes of a file without a surviving name, and names in a
//! directory without one, vanish. A rename becomes durable with the directory of the new name.
//!
//! The disk has room for as many bytes as [`SimDisk::set_capacity`] says, in blocks of 4096. A
//! hole takes none: growing by `set_len` is refused when the room is not there at that moment, but
//! reserves nothing, so that a later write into the hole can still fail.

mod calls;
mod content;
mod faults;
mod fingerprint;
mod image;
mod pending;
mod power;
mod state;
mod tamper;
#[cfg(test)]
mod tests;

pub use self::faults::{Fault, FaultKind};
pub use self::pending::{Pending, PendingKind};
pub use self::power::{Metadata, Part, PowerFailure, SectorSize, Survivors, Torn};
use self::state::State;
use crate::sync::{Arc, Mutex};

/// A disk in memory. Clones share it.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// The generator splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
pub(crate) fn split_mix(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut bits = *seed;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

impl SimDisk {
    /// An empty disk without limits or faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty disk of which a power failure may make more, or less, than by default.
    #[must_use]
    pub fn with_power_failure(power: PowerFailure) -> Self {
        let disk = Self::new();
        disk.state.lock().power = power;
        disk
    }

    /// What a power failure may do to it.
    #[must_use]
    pub fn power_failure(&self) -> PowerFailure {
        self.state.lock().power
    }

    /// The power fails: a new, independent disk with what was durable and those pending changes
    /// that survive. It has the same capacity, power can fail there in the same way, it has no faults, and
    /// nothing is pending on it.
    ///
    /// # Panics
    /// When more is asked for than a failure of power may do to this disk.
    #[must_use]
    pub fn crash(&self, survivors: &Survivors) -> Self {
        let state = self.state.lock().crash(survivors);
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The process dies, and the power does not fail: a new, independent disk with the same bytes, of which the same is
    /// not durable yet. It has no faults.
    #[must_use]
    pub fn kill(&self) -> Self {
        let state = self.state.lock().without_handles();
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Lets an I/O fail. Faults add up; one that is not `forever` strikes once, at its I/O or never.
    pub fn inject(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// How many I/Os there were: calls of [`Disk`](super::Disk) and
    /// [`DiskFile`](super::DiskFile), those that failed included,
    /// but for `location`.
    #[must_use]
    pub fn io_count(&self) -> u64 {
        self.state.lock().io_count
    }

    /// Drops the page cache as a kernel may do at any moment: abandoned changes are gone, and readers
    /// see what is durable and what is still to be written. ([`Disk::drop_cache`](super::Disk::drop_cache),
    /// which the engine calls, first makes durable what can be.)
    pub fn drop_cache(&self) {
        self.state.lock().drop_cache();
    }

    /// Limits the bytes that all files take together, in blocks of 4096; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// While set, every call that changes something fails with [`crate::Error::ReadOnly`]. Syncs pass.
    pub fn set_read_only(&self, read_only: bool) {
        self.state.lock().read_only = read_only;
    }
}
