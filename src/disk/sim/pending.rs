//! What is not durable yet, as it is told to whoever chooses what survives.

use std::collections::BTreeSet;

use super::image::{Change, Image, Inode};
use super::state::{Entry, Fate, State};
use super::{SimDisk, Survivors};

/// A change that is not durable yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pending {
    /// Its place in time; never used twice on one disk.
    pub id: u64,
    /// The file's present name; the new one of a rename.
    pub name: String,
    /// What was changed.
    pub kind: PendingKind,
    /// Whether its sync failed, so that no later one makes it durable.
    pub abandoned: bool,
    /// Whether it makes no difference if it is lost or survives, wholly or in part, and whatever becomes of the
    /// others: a sector with the same bytes as before. As garbage it does. (`false` is no promise.)
    pub changes_nothing: bool,
}

/// What a pending change does.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PendingKind {
    /// Writes one sector.
    Sector {
        /// Its first byte in the file.
        offset: u64,
        /// Bytes of it within the file (at most [`SectorSize::bytes`](super::SectorSize::bytes)).
        length: usize,
    },
    /// Cuts or grows the file to this many bytes.
    SetLength(u64),
    /// Creates the file.
    Create,
    /// Creates a directory.
    CreateDirectory,
    /// Gives the file this name instead of another.
    Rename {
        /// The other.
        from: String,
    },
    /// Removes the name.
    Remove,
}

impl SimDisk {
    /// The changes that are not durable, in the order of time. Writing a sector again is a change of its own:
    /// each version may survive.
    #[must_use]
    pub fn pending(&self) -> Vec<Pending> {
        let state = self.state.lock();
        let mut moved = Moved::default();
        let mut pending = Vec::with_capacity(state.entries.len());
        for entry in &state.entries {
            let changes_nothing = moved.changes_nothing(&state.durable, &entry.change);
            if entry.fate != Fate::Synced {
                pending.push(describe(&state, entry, changes_nothing));
            }
        }
        pending
    }

    /// The bytes that a pending change writes; `None` if it writes no sector, or is none.
    #[must_use]
    pub fn pending_bytes(&self, id: u64) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let entry = state.entries.iter().find(|entry| entry.id == id)?;
        match &entry.change {
            Change::Sector { image, .. } => Some(image.bytes().to_vec()),
            _ => None,
        }
    }

    /// Which of the pending changes reach the disk, wholly or in part, if power fails so: their ids. That is what
    /// [`SimDisk::crash`] then does.
    ///
    /// # Panics
    /// As [`SimDisk::crash`].
    #[must_use]
    pub fn surviving(&self, survivors: &Survivors) -> BTreeSet<u64> {
        let state = self.state.lock();
        let pending = state.entries.iter().filter(|entry| entry.fate != Fate::Synced);
        let mut survives = survivors.chooser(state.power, &state.entries);
        pending.filter(|entry| survives(entry).is_some()).map(|entry| entry.id).collect()
    }
}

fn describe(state: &State, entry: &Entry, changes_nothing: bool) -> Pending {
    let (name, kind) = match &entry.change {
        Change::Sector { inode, image } => {
            let kind = PendingKind::Sector { offset: image.offset, length: image.length };
            (state.name_of(*inode), kind)
        }
        Change::SetLength { inode, length } => {
            (state.name_of(*inode), PendingKind::SetLength(*length))
        }
        Change::Create { name, .. } => (name.clone(), PendingKind::Create),
        Change::CreateDirectory { name } => (name.clone(), PendingKind::CreateDirectory),
        Change::Rename { from, to, .. } => (to.clone(), PendingKind::Rename { from: from.clone() }),
        Change::Remove { name } => (name.clone(), PendingKind::Remove),
    };
    let abandoned = entry.fate == Fate::Abandoned;
    Pending { id: entry.id, name, kind, abandoned, changes_nothing }
}

/// What older changes that are listed may have made different from the durable image.
#[derive(Default)]
struct Moved {
    sectors: BTreeSet<(Inode, u64)>,
    lengths: BTreeSet<Inode>,
}

impl Moved {
    /// Whether a change, younger than all that were asked about before, leaves every image as it was. If older
    /// ones leave its sector alone, what it meets there is what is durable.
    fn changes_nothing(&mut self, durable: &Image, change: &Change) -> bool {
        match change {
            Change::Sector { inode, image } => {
                let same = !self.lengths.contains(inode)
                    && !self.sectors.contains(&(*inode, image.offset))
                    && durable.files.get(inode).is_some_and(|content| content.has(image));
                if !same {
                    self.sectors.insert((*inode, image.offset));
                }
                same
            }
            Change::SetLength { inode, .. } => {
                self.lengths.insert(*inode);
                false
            }
            _ => false,
        }
    }
}
