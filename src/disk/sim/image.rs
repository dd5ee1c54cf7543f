//! What stands on a simulated disk at one moment, and the changes that lead from one to the next.
//!
//! The cached image (what the running system sees), the durable image and the image after a crash
//! are all [`Image`]s; each is reached by [`Image::apply`]ing changes in the order of time. Images share what
//! they have in common until one is changed.

use std::collections::{BTreeMap, BTreeSet};

use super::super::split_name;
use super::content::{Content, SectorImage};
use super::power::Part;
use crate::sync::Arc;

/// Number of a file, whatever its name; never used twice on one disk.
pub(super) type Inode = u64;

/// Names and contents.
#[derive(Clone, Default)]
pub(super) struct Image {
    pub(super) directories: Arc<BTreeSet<String>>,
    pub(super) names: Arc<BTreeMap<String, Inode>>,
    pub(super) files: Arc<BTreeMap<Inode, Content>>,
}

/// One change: what survives a crash wholly or not at all, unless sectors may be torn.
#[derive(Clone)]
pub(super) enum Change {
    Sector { inode: Inode, image: SectorImage },
    SetLength { inode: Inode, length: u64 },
    Create { inode: Inode, name: String },
    CreateDirectory { name: String },
    Rename { inode: Inode, from: String, to: String },
    Remove { name: String },
}

impl Change {
    /// The file whose `sync_data` makes the change durable.
    pub(super) fn file(&self) -> Option<Inode> {
        match self {
            Self::Sector { inode, .. } | Self::SetLength { inode, .. } => Some(*inode),
            _ => None,
        }
    }

    /// The file that the change needs to be kept in mind, if any.
    pub(super) fn inode(&self) -> Option<Inode> {
        match self {
            Self::Create { inode, .. } | Self::Rename { inode, .. } => Some(*inode),
            _ => self.file(),
        }
    }

    /// The name that the change gives or takes away (the new one of a rename).
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Create { name, .. }
            | Self::CreateDirectory { name }
            | Self::Rename { to: name, .. }
            | Self::Remove { name } => Some(name),
            Self::Sector { .. } | Self::SetLength { .. } => None,
        }
    }

    /// Whether it changes a length or a name, and no bytes.
    pub(super) fn is_metadata(&self) -> bool {
        !matches!(self, Self::Sector { .. })
    }

    /// The directory whose `sync_directory` makes the change durable.
    pub(super) fn directory(&self) -> Option<&str> {
        self.name().map(|name| split_name(name).0)
    }
}

impl Image {
    /// A rename is skipped when the old name does not stand for the file, because an earlier
    /// change was lost. A removal takes the name from whatever file has it then.
    pub(super) fn apply(&mut self, change: &Change) {
        self.apply_part(change, Part::Whole);
    }

    /// The same for a change that survives in part. (Only sectors do.)
    pub(super) fn apply_part(&mut self, change: &Change, part: Part) {
        match change {
            Change::Sector { inode, image } => self.file(*inode).put_sector(image, part),
            Change::SetLength { inode, length } => self.file(*inode).set_length(*length),
            Change::Create { inode, name } => {
                self.names_mut().insert(name.clone(), *inode);
                self.file(*inode);
            }
            Change::CreateDirectory { name } => {
                Arc::make_mut(&mut self.directories).insert(name.clone());
            }
            Change::Rename { inode, from, to } => {
                if self.names.get(from) == Some(inode) {
                    self.names_mut().remove(from);
                    self.names_mut().insert(to.clone(), *inode);
                }
            }
            Change::Remove { name } => {
                self.names_mut().remove(name);
            }
        }
    }

    /// Applies a change that was synced: a renamed file has its new name then, also if the old one
    /// never became durable.
    pub(super) fn apply_synced(&mut self, change: &Change) {
        self.apply(change);
        if let Change::Rename { inode, to, .. } = change {
            self.names_mut().insert(to.clone(), *inode);
        }
    }

    /// The content of a file, empty when nothing of it got here.
    pub(super) fn file(&mut self, inode: Inode) -> &mut Content {
        Arc::make_mut(&mut self.files).entry(inode).or_default()
    }

    pub(super) fn names_mut(&mut self) -> &mut BTreeMap<String, Inode> {
        Arc::make_mut(&mut self.names)
    }

    /// Bytes that the named files take on the disk.
    pub(super) fn allocated(&self) -> u64 {
        let inodes: BTreeSet<_> = self.names.values().collect();
        inodes.iter().filter_map(|inode| self.files.get(inode)).map(Content::allocated).sum()
    }

    /// Whether `name` is a directory; the root is one.
    pub(super) fn is_directory(&self, name: &str) -> bool {
        name.is_empty() || self.directories.contains(name)
    }

    /// Forgets names without a directory and files without a name.
    pub(super) fn prune(&mut self) {
        let directories = &self.directories;
        let stands = |name: &str| {
            let directory = split_name(name).0;
            directory.is_empty() || directories.contains(directory)
        };
        // Looked for first: what is not changed stays shared.
        if !self.names.keys().all(|name| stands(name)) {
            Arc::make_mut(&mut self.names).retain(|name, _| stands(name));
        }
        let named: BTreeSet<_> = self.names.values().copied().collect();
        if !self.files.keys().all(|inode| named.contains(inode)) {
            Arc::make_mut(&mut self.files).retain(|inode, _| named.contains(inode));
        }
    }
}
