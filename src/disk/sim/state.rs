//! The state behind all handles of a simulated disk: two images, what lies between them, faults.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::content::Content;
use super::image::{Change, Image, Inode};
use super::{Fault, PowerFailure, Survivors};
use crate::error::{Error, Result};
use crate::sync::Arc;

/// What is known of a change that was made since the images were last equal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not synced yet.
    Pending,
    /// Its sync failed: no later one makes it durable, though it may reach the disk by chance.
    Abandoned,
    /// Synced, but still listed because an older change, of the same file or of a name too, is not durable
    /// (abandoned, or bytes that a journal did not wait for): if that survives it must not undo this one.
    Synced,
}

/// A change with its place in time.
#[derive(Clone)]
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
    /// What the last sync of a file overwrote, where a stale read will ask for it.
    pub(super) synced_over: BTreeMap<Inode, Content>,
    pub(super) power_is_off: bool,
    pub(super) power: PowerFailure,
    pub(super) capacity: Option<u64>,
    pub(super) read_only: bool,
    /// Whether a write of which only a part was done says that all was.
    pub(super) ignores_short_writes: bool,
}

impl State {
    /// Counts one I/O on `name`, and fails it where that was asked for.
    pub(super) fn begin(
        &mut self,
        operation: &'static str,
        name: &str,
        access: Access,
    ) -> Result<()> {
        self.next_io(access).map_err(|source| Error::from_io(operation, path(name), source))
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

    /// Writes, one change for each sector. Where metadata keeps its order, growing the file is one before.
    pub(super) fn write(&mut self, inode: Inode, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        let ordered = self.power.is_ordered();
        if ordered && !bytes.is_empty() && end > self.cached.file(inode).length() {
            self.change(Change::SetLength { inode, length: end });
        }
        let content = self.cached.file(inode);
        content.write(offset, bytes);
        let size = self.power.sector.bytes();
        for image in content.sectors(offset, bytes.len(), size, !ordered) {
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

    /// Makes durable what belongs to a file or directory, except what was abandoned. A journal that is
    /// written for its metadata has all that is older in it.
    pub(super) fn sync(&mut self, belongs: impl Fn(&Change) -> bool) {
        let in_journal = |entry: &Entry| entry.change.is_metadata() && belongs(&entry.change);
        let journal = match self.power.is_ordered() {
            true => self.entries.iter().rposition(in_journal).map_or(0, |last| last + 1),
            false => 0,
        };
        let keeps_stale = self.keeps_stale();
        let mut synced_over = BTreeMap::new();
        for (place, entry) in self.entries.iter_mut().enumerate() {
            let comes_along = place < journal && entry.change.is_metadata();
            if entry.fate == Fate::Pending && (comes_along || belongs(&entry.change)) {
                entry.fate = Fate::Synced;
                if let Some(inode) = entry.change.file().filter(|_| keeps_stale) {
                    synced_over.entry(inode).or_insert_with(|| self.durable.file(inode).clone());
                }
            }
        }
        self.synced_over.extend(synced_over);
        self.settle();
    }

    /// Puts what was synced into the durable image, unless something older that belongs to the same file, or
    /// an abandoned name, may still come before it.
    fn settle(&mut self) {
        let durable = &mut self.durable;
        let mut waited_for = Vec::new();
        self.entries.retain(|entry| {
            let file = entry.change.file();
            let waits = waited_for.contains(&file);
            if entry.fate != Fate::Synced {
                let may_come = file.is_some() || entry.fate == Fate::Abandoned;
                if may_come && !waits {
                    waited_for.push(file);
                }
                return true;
            }
            if !waits {
                durable.apply_synced(&entry.change);
            }
            waits
        });
    }

    /// After a failed sync: what belongs to the file or directory will not be tried again, but by a journal.
    pub(super) fn abandon(&mut self, belongs: impl Fn(&Change) -> bool) {
        if self.power_is_off {
            return;
        }
        let has_journal = self.power.is_ordered();
        for entry in &mut self.entries {
            let in_journal = has_journal && entry.change.is_metadata();
            if entry.fate == Fate::Pending && belongs(&entry.change) && !in_journal {
                entry.fate = Fate::Abandoned;
            }
        }
    }

    /// Forgets what was abandoned; readers see what is left.
    pub(super) fn drop_cache(&mut self) {
        self.entries.retain(|entry| entry.fate != Fate::Abandoned);
        self.settle();
        self.cached = self.durable.clone();
        for entry in &self.entries {
            match entry.fate {
                Fate::Synced => self.cached.apply_synced(&entry.change),
                Fate::Pending | Fate::Abandoned => self.cached.apply(&entry.change),
            }
        }
    }

    /// The state of a new disk that holds what survived.
    pub(super) fn crash(&self, survivors: &Survivors) -> Self {
        let mut image = self.durable.clone();
        let mut survives = survivors.chooser(self.power, &self.entries);
        for entry in &self.entries {
            if entry.fate == Fate::Synced {
                image.apply_synced(&entry.change);
            } else if let Some(part) = survives(entry) {
                image.apply_part(&entry.change, part);
            }
        }
        image.prune();
        Self {
            cached: image.clone(),
            durable: image,
            next_inode: self.next_inode,
            capacity: self.capacity,
            power: self.power,
            ..Self::default()
        }
    }

    /// The state of a disk that has the same on it, and the same to come: only nobody has a file open.
    pub(super) fn without_handles(&self) -> Self {
        let mut copy = Self {
            cached: self.cached.clone(),
            durable: self.durable.clone(),
            entries: self.entries.clone(),
            next_inode: self.next_inode,
            next_id: self.next_id,
            capacity: self.capacity,
            power: self.power,
            ..Self::default()
        };
        copy.forget_unreachable();
        copy
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

        for image in [&mut self.cached, &mut self.durable] {
            if !image.files.keys().all(|inode| reachable.contains(inode)) {
                Arc::make_mut(&mut image.files).retain(|inode, _| reachable.contains(inode));
            }
        }
        self.synced_over.retain(|inode, _| reachable.contains(inode));
        self.entries
            .retain(|entry| entry.change.inode().is_none_or(|inode| reachable.contains(&inode)));
    }

    /// The present name of a file, else the durable one.
    pub(super) fn name_of(&self, inode: Inode) -> String {
        let mut names = self.cached.names.iter().chain(&*self.durable.names);
        let found = names.find(|(_, named)| **named == inode);
        found.map_or_else(|| "(removed)".to_owned(), |(name, _)| name.clone())
    }
}

/// The path of a name, for messages.
pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("sim:{name}"))
}
