//! The control file: the master record, and what must be known before any other byte is read.
//!
//! Two slots of one block (4096 bytes) each. A change writes the older slot and syncs; the slot with
//! the higher sequence number and a valid checksum counts. So a crash in the middle of a change
//! leaves the control file as it was before.
//!
//! Invariants:
//! - nothing is written that a reader would not believe;
//! - `checkpoint_lsn` is the begin record of a checkpoint that was durable, end records and all,
//!   before the slot was written;
//! - the newest slot is durable before the other one is written;
//! - both slots carry the epoch of the current run before the run writes anything else;
//! - both slots count as many pages as the file of pages has, before anything names one of them;
//! - the log is kept from the smaller `oldest_required_lsn` of *both* slots on, so that either may
//!   be lost.
//!
//! Source: ARIES, section 5.4 (the master record).

use std::path::PathBuf;

use zerocopy::byteorder::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Place, Result};
use crate::ids::Lsn;
use crate::sync::Arc;

/// Name of the control file.
pub const CONTROL_FILE: &str = "control";
/// Bytes of one slot.
pub const CONTROL_BLOCK: usize = 4096;

/// Version of every byte layout of a database. Another version is refused.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"ARIES\0DB";
/// No honest counter comes near: beyond it, adding could overflow.
const COUNTER_LIMIT: u64 = u64::MAX / 2;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Slot {
    magic: [u8; 8],
    version: U32,
    crc: U32,
    database_id: U128,
    page_size: U32,
    in_place_only: U32,
    segment_bytes: U64,
    sequence: U64,
    epoch: U64,
    checkpoint_lsn: U64,
    checkpoint_epoch: U64,
    oldest_required_lsn: U64,
    clean_end_lsn: U64,
    pages: U64,
    complete_from_lsn: U64,
}

const _: () = assert!(size_of::<Slot>() == 112);

/// What the control file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MasterRecord {
    /// Random number that ties the files of one database together.
    pub database_id: u128,
    /// Bytes of a page.
    pub page_size: u32,
    /// Bytes of a log segment.
    pub segment_bytes: u64,
    /// Counts changes; the newest slot wins.
    pub sequence: u64,
    /// Epoch of the current or latest run.
    pub epoch: u64,
    /// Begin record of the last complete checkpoint: where analysis starts.
    pub checkpoint_lsn: Lsn,
    /// Epoch of that record.
    pub checkpoint_epoch: u64,
    /// The log before this is not needed if this slot counts.
    pub oldest_required_lsn: Lsn,
    /// End of the log if the database was closed cleanly.
    pub clean_end_lsn: Option<Lsn>,
    /// Whether the current or latest run writes pages that do not go through the double-write file.
    pub in_place_only: bool,
    /// Pages in the file of pages; what it has beyond them was never used.
    pub pages: u64,
    /// Pages were changed without a log before this: only records from here on tell all of a page's changes. `None`
    /// if that was never done.
    pub complete_from_lsn: Option<Lsn>,
}

impl MasterRecord {
    fn to_slot(self) -> Slot {
        let mut slot = Slot {
            magic: MAGIC,
            version: U32::new(FORMAT_VERSION),
            crc: U32::ZERO,
            database_id: U128::new(self.database_id),
            page_size: U32::new(self.page_size),
            in_place_only: U32::new(self.in_place_only.into()),
            segment_bytes: U64::new(self.segment_bytes),
            sequence: U64::new(self.sequence),
            epoch: U64::new(self.epoch),
            checkpoint_lsn: U64::new(self.checkpoint_lsn.get()),
            checkpoint_epoch: U64::new(self.checkpoint_epoch),
            oldest_required_lsn: U64::new(self.oldest_required_lsn.get()),
            clean_end_lsn: U64::new(Lsn::to_stored(self.clean_end_lsn)),
            pages: U64::new(self.pages),
            complete_from_lsn: U64::new(Lsn::to_stored(self.complete_from_lsn)),
        };
        slot.crc = U32::new(checksum(slot));
        slot
    }

    /// Whether its counters are such that a reader believes the slot.
    fn can_be_read(&self) -> bool {
        self.sequence <= COUNTER_LIMIT && self.epoch <= COUNTER_LIMIT
    }

    fn from_slot(slot: &Slot) -> Option<Self> {
        let master = Self {
            database_id: slot.database_id.get(),
            page_size: slot.page_size.get(),
            segment_bytes: slot.segment_bytes.get(),
            sequence: slot.sequence.get(),
            epoch: slot.epoch.get(),
            checkpoint_lsn: Lsn::new(slot.checkpoint_lsn.get())?,
            checkpoint_epoch: slot.checkpoint_epoch.get(),
            oldest_required_lsn: Lsn::new(slot.oldest_required_lsn.get())?,
            clean_end_lsn: Lsn::new(slot.clean_end_lsn.get()),
            in_place_only: slot.in_place_only.get() != 0,
            pages: slot.pages.get(),
            complete_from_lsn: Lsn::new(slot.complete_from_lsn.get()),
        };
        master.can_be_read().then_some(master)
    }
}

fn checksum(mut slot: Slot) -> u32 {
    slot.crc = U32::ZERO;
    crc32fast::hash(slot.as_bytes())
}

/// What one slot turned out to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotState {
    /// A master record.
    Valid(MasterRecord),
    /// An intact slot of another format version.
    OtherVersion(u32),
    /// Nothing that can be believed.
    Damaged,
}

/// Reads a slot from the front of `bytes`.
#[must_use]
pub fn read_slot(bytes: &[u8]) -> SlotState {
    let Ok((slot, _)) = Slot::ref_from_prefix(bytes) else { return SlotState::Damaged };
    if slot.magic != MAGIC || slot.crc.get() != checksum(*slot) {
        return SlotState::Damaged;
    }
    if slot.version.get() != FORMAT_VERSION {
        return SlotState::OtherVersion(slot.version.get());
    }
    MasterRecord::from_slot(slot).map_or(SlotState::Damaged, SlotState::Valid)
}

/// Reads both slots as they stand, believed or not; gives also how many bytes there were.
///
/// # Errors
/// Those of the disk.
pub fn read_slots(file: &dyn DiskFile) -> Result<([SlotState; 2], usize)> {
    let mut bytes = vec![0; 2 * CONTROL_BLOCK];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    let second = bytes.get(CONTROL_BLOCK..).unwrap_or(&[]);
    Ok(([read_slot(&bytes), read_slot(second)], read))
}

/// Which of two slots counts: the newest valid one.
#[must_use]
pub fn newest_slot(slots: &[SlotState; 2]) -> Option<usize> {
    match slots {
        [SlotState::Valid(first), SlotState::Valid(second)] => {
            Some(usize::from(second.sequence > first.sequence))
        }
        [SlotState::Valid(_), _] => Some(0),
        [_, SlotState::Valid(_)] => Some(1),
        _ => None,
    }
}

/// The control file of an open database.
pub struct ControlFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// The slot that counts, 0 or 1.
    newest: usize,
    slots: [Option<MasterRecord>; 2],
}

impl ControlFile {
    /// Creates the control file of a new database, both slots alike and durable.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn create(disk: &dyn Disk, master: MasterRecord) -> Result<Self> {
        let (file, path) = (disk.create(CONTROL_FILE)?, disk.location().join(CONTROL_FILE));
        let mut control = Self { file, path, newest: 1, slots: [Some(master), Some(master)] };
        control.write_both(master)?;
        Ok(control)
    }

    /// Reads the control file without changing it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when neither slot can be believed, [`Error::Mismatch`] for another format
    /// version.
    pub fn open(disk: &dyn Disk) -> Result<Self> {
        let path = disk.location().join(CONTROL_FILE);
        let file = disk.open(CONTROL_FILE)?;
        let (states, read) = read_slots(file.as_ref())?;
        let Some(newest) = newest_slot(&states) else {
            return Err(unreadable(path, states, read));
        };
        let slots = states.map(|state| match state {
            SlotState::Valid(master) => Some(master),
            _ => None,
        });
        Ok(Self { file, path, newest, slots })
    }

    /// The master record that counts.
    ///
    /// # Panics
    /// Never: one slot is always valid.
    #[must_use]
    pub fn master(&self) -> MasterRecord {
        self.slots[self.newest].expect("the newest slot is valid")
    }

    /// Whether the last run closed the database, as far as the control file can tell: a slot that
    /// cannot be read may have been the newest.
    #[must_use]
    pub fn ended_cleanly(&self) -> bool {
        self.slots.iter().all(Option::is_some) && self.master().clean_end_lsn.is_some()
    }

    /// The highest epoch of both slots.
    #[must_use]
    pub fn highest_epoch(&self) -> u64 {
        self.slots.iter().flatten().map(|slot| slot.epoch).max().unwrap_or(0)
    }

    /// The log is needed from here on, whichever slot counts after a crash.
    #[must_use]
    pub fn oldest_required_lsn(&self) -> Lsn {
        let needed = self.slots.iter().flatten().map(|slot| slot.oldest_required_lsn).min();
        needed.unwrap_or_else(|| self.master().oldest_required_lsn)
    }

    /// Makes durable what was read: a killed process may have left the newest slot in the page cache only, and a crash
    /// that loses it must not meet the other one half written.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn make_durable(&self) -> Result<()> {
        self.file.sync_data()
    }

    /// Makes a changed master record durable in the older slot.
    ///
    /// # Errors
    /// Those of the disk; the master record that counts after reopening is then the old or the new.
    /// [`Error::Corrupt`] when a counter has gone as far as counters may: nothing is written then.
    pub fn update(&mut self, change: impl FnOnce(&mut MasterRecord)) -> Result<()> {
        let mut master = self.master();
        change(&mut master);
        self.write(master)
    }

    /// Makes a changed master record durable in both slots, one after the other.
    ///
    /// # Errors
    /// As [`ControlFile::update`].
    pub fn update_both(&mut self, change: impl FnOnce(&mut MasterRecord)) -> Result<()> {
        let mut master = self.master();
        change(&mut master);
        self.write_both(master)
    }

    fn write_both(&mut self, master: MasterRecord) -> Result<()> {
        self.write(master)?;
        self.write(master)
    }

    fn write(&mut self, mut master: MasterRecord) -> Result<()> {
        master.sequence = self.master().sequence + 1;
        if !master.can_be_read() {
            let found = format!("sequence {}, epoch {}", master.sequence, master.epoch);
            let place = Place::File(self.path.clone());
            return Err(Error::corrupt(place, "counters that can go up by one", found));
        }
        let older = 1 - self.newest;
        let mut block = [0; CONTROL_BLOCK];
        block[..size_of::<Slot>()].copy_from_slice(master.to_slot().as_bytes());
        self.file.write_at((older * CONTROL_BLOCK) as u64, &block)?;
        self.file.sync_data()?;
        self.slots[older] = Some(master);
        self.newest = older;
        Ok(())
    }
}

fn unreadable(path: PathBuf, states: [SlotState; 2], read: usize) -> Error {
    for state in states {
        if let SlotState::OtherVersion(found) = state {
            return Error::Mismatch {
                path,
                what: "format version",
                found: found.into(),
                expected: FORMAT_VERSION.into(),
            };
        }
    }
    let found = format!("{read} bytes in which neither slot has a valid checksum");
    Error::corrupt(Place::File(path), "a control file with at least one valid slot", found)
}
