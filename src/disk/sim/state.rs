//! The state behind all handles of a simulated disk: two images, what lies between them, faults.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use super::content::Content;
use super::image::{Change, Image, Inode};
use super::{Fault, FaultKind, Survivors};
use crate::error::{Error, Result};
use crate::sync::Arc;

/// What is known of a change that was made since the images were last equal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not synced yet.
    Pending,
    /// Its sync failed: no later one makes it durable, though it may reach the disk by chance.
    Abandoned,
    /// Synced, but still listed because an abandoned change of the same file or directory is
    /// older: if that survives it must not undo this one.
    Synced,
}

/// A change with its place in time.
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) fate: Fate,
    pub(super) change: Change,
}

/// What a call does, as far as a full or read-only disk cares.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Changes nothing.
    Read,
    /// Changes something and may need room for that.
    Write,
    /// Gives room back.
    Release,
    /// Makes durable what was changed; may find that room is missing.
    Sync,
}

/// Invariant: `cached` is `durable` with all changes of `entries` applied in order (but for
/// damage done on purpose), and `entries` ascend by id.
#[derive(Default)]
pub(super) struct State {
    pub(super) cached: Image,
    pub(super) durable: Image,
    pub(super) entries: Vec<Entry>,
    /// One for each file that was opened; shared by its handles, which so are counted.
    pub(super) handles: BTreeMap<Inode, Arc<()>>,
    next_inode: Inode,
    next_id: u64,
    pub(super) io_count: u64,
    pub(super) faults: Vec<Fault>,
    power_is_off: bool,
    pub(super) capacity: Option<u64>,
    pub(super) read_only: bool,
}

impl State {
    /// Counts one I/O on `name`, and fails it where that was asked for.
    pub(super) fn begin(
        &mut self,
        operation: &'static str,
        name: &str,
        access: Access,
    ) -> Result<()> {
        match self.next_io(access) {
            None => Ok(()),
            Some(source) => Err(Error::from_io(operation, path(name), source)),
        }
    }

    /// Counts one I/O, and says how it fails.
    pub(super) fn next_io(&mut self, access: Access) -> Option<io::Error> {
        let index = self.io_count;
        self.io_count += 1;
        let hits = |fault: &Fault| fault.at == index || fault.forever && fault.at <= index;
        let hit = |kind| self.faults.iter().any(|fault| fault.kind == kind && hits(fault));
        let (power_off, broken) = (hit(FaultKind::PowerOff), hit(FaultKind::InputOutputError));
        let full = hit(FaultKind::DiskFull);
        self.power_is_off |= power_off;
        if self.power_is_off {
            Some(io::Error::other("power is off"))
        } else if broken {
            Some(io::Error::from_raw_os_error(EIO))
        } else if self.read_only && matches!(access, Access::Write | Access::Release) {
            Some(io::ErrorKind::ReadOnlyFilesystem.into())
        } else if full && matches!(access, Access::Write | Access::Sync) {
            Some(io::ErrorKind::StorageFull.into())
        } else {
            None
        }
    }

    /// Whether `more` bytes would fit.
    pub(super) fn has_room(&self, more: u64) -> bool {
        self.capacity.is_none_or(|capacity| {
            more == 0 || self.cached.allocated().saturating_add(more) <= capacity
        })
    }

    /// The number of a new file.
    pub(super) fn new_inode(&mut self) -> Inode {
        self.next_inode += 1;
        self.next_inode
    }

    /// The content of a file as readers see it; `None` when it was lost with the cache.
    pub(super) fn content(&self, inode: Inode) -> Option<&Content> {
        self.cached.files.get(&inode)
    }

    /// Writes, one change for each sector.
    pub(super) fn write(&mut self, inode: Inode, offset: u64, bytes: &[u8]) {
        let content = self.cached.file(inode);
        content.write(offset, bytes);
        for image in content.sectors(offset, bytes.len()) {
            let change = Change::Sector { inode, image };
            self.entries.push(Entry { id: self.next_id, fate: Fate::Pending, change });
            self.next_id += 1;
        }
    }

    /// Makes a change that readers see at once and that is not durable yet.
    pub(super) fn change(&mut self, change: Change) {
        self.cached.apply(&change);
        self.entries.push(Entry { id: self.next_id, fate: Fate::Pending, change });
        self.next_id += 1;
    }

    /// Makes durable what belongs to a file or directory, except what was abandoned.
    pub(super) fn sync(&mut self, belongs: impl Fn(&Change) -> bool) {
        let durable = &mut self.durable;
        let mut behind_abandoned = false;
        self.entries.retain_mut(|entry| {
            if !belongs(&entry.change) {
                return true;
            }
            match entry.fate {
                Fate::Abandoned => behind_abandoned = true,
                Fate::Pending | Fate::Synced => entry.fate = Fate::Synced,
            }
            if !behind_abandoned {
                durable.apply_synced(&entry.change);
            }
            behind_abandoned
        });
    }

    /// After a failed sync: what belongs to the file or directory will not be tried again.
    pub(super) fn abandon(&mut self, belongs: impl Fn(&Change) -> bool) {
        if self.power_is_off {
            return;
        }
        for entry in &mut self.entries {
            if entry.fate == Fate::Pending && belongs(&entry.change) {
                entry.fate = Fate::Abandoned;
            }
        }
    }

    /// Forgets what was abandoned; readers see what is left.
    pub(super) fn drop_cache(&mut self) {
        let durable = &mut self.durable;
        self.entries.retain(|entry| {
            if entry.fate == Fate::Synced {
                durable.apply_synced(&entry.change);
            }
            entry.fate == Fate::Pending
        });
        self.cached = self.durable.clone();
        for entry in &self.entries {
            self.cached.apply(&entry.change);
        }
    }

    /// The state of a new disk that holds what survived.
    pub(super) fn crash(&self, survivors: &Survivors) -> Self {
        let mut image = self.durable.clone();
        let mut survives = survivors.chooser();
        for entry in &self.entries {
            if entry.fate == Fate::Synced {
                image.apply_synced(&entry.change);
            } else if survives(entry.id) {
                image.apply(&entry.change);
            }
        }
        image.prune();
        Self {
            cached: image.clone(),
            durable: image,
            next_inode: self.next_inode,
            capacity: self.capacity,
            ..Self::default()
        }
    }

    /// Forgets files that nobody can reach: without a name in any image, now or after a crash,
    /// and without a handle.
    pub(super) fn forget_unreachable(&mut self) {
        let names = self.cached.names.values().chain(self.durable.names.values()).copied();
        let changes = self.entries.iter().map(|entry| &entry.change);
        let renamed = changes.filter(|change| change.name().is_some()).filter_map(Change::inode);
        let mut reachable: BTreeSet<Inode> = names.chain(renamed).collect();
        self.handles.retain(|_, handle| Arc::strong_count(handle) > 1);
        reachable.extend(self.handles.keys());

        self.cached.files.retain(|inode, _| reachable.contains(inode));
        self.durable.files.retain(|inode, _| reachable.contains(inode));
        self.entries
            .retain(|entry| entry.change.inode().is_none_or(|inode| reachable.contains(&inode)));
    }

    /// The present name of a file, else the durable one.
    pub(super) fn name_of(&self, inode: Inode) -> String {
        let mut names = self.cached.names.iter().chain(&self.durable.names);
        let found = names.find(|(_, named)| **named == inode);
        found.map_or_else(|| "(removed)".to_owned(), |(name, _)| name.clone())
    }
}

/// What the kernel answers when a device fails.
const EIO: i32 = 5;

/// The path of a name, for messages.
pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("sim:{name}"))
}
