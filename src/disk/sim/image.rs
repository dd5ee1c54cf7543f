//! What stands on a simulated disk at one moment, and the changes that lead from one to the next.
//!
//! The cached image (what the running system sees), the durable image and the image after a crash
//! are all [`Image`]s; each is reached by [`Image::apply`]ing changes in the order of time.

use std::collections::{BTreeMap, BTreeSet};

use super::super::split_name;
use super::content::{Content, SectorImage};

/// Number of a file, whatever its name; never used twice on one disk.
pub(super) type Inode = u64;

/// Names and contents.
#[derive(Clone, Default)]
pub(super) struct Image {
    pub(super) directories: BTreeSet<String>,
    pub(super) names: BTreeMap<String, Inode>,
    pub(super) files: BTreeMap<Inode, Content>,
}

/// One change, the smallest that survives a crash wholly or not at all.
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

    /// The directory whose `sync_directory` makes the change durable.
    pub(super) fn directory(&self) -> Option<&str> {
        self.name().map(|name| split_name(name).0)
    }
}

impl Image {
    /// A rename is skipped when the old name does not stand for the file, because an earlier
    /// change was lost. A removal takes the name from whatever file has it then.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Sector { inode, image } => self.file(*inode).put_sector(image),
            Change::SetLength { inode, length } => self.file(*inode).set_length(*length),
            Change::Create { inode, name } => {
                self.names.insert(name.clone(), *inode);
                self.file(*inode);
            }
            Change::CreateDirectory { name } => {
                self.directories.insert(name.clone());
            }
            Change::Rename { inode, from, to } => {
                if self.names.get(from) == Some(inode) {
                    self.names.remove(from);
                    self.names.insert(to.clone(), *inode);
                }
            }
            Change::Remove { name } => {
                self.names.remove(name);
            }
        }
    }

    /// Applies a change that was synced: a renamed file has its new name then, also if the old one
    /// never became durable.
    pub(super) fn apply_synced(&mut self, change: &Change) {
        self.apply(change);
        if let Change::Rename { inode, to, .. } = change {
            self.names.insert(to.clone(), *inode);
        }
    }

    /// The content of a file, empty when nothing of it got here.
    pub(super) fn file(&mut self, inode: Inode) -> &mut Content {
        self.files.entry(inode).or_default()
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
        self.names.retain(|name, _| {
            let directory = split_name(name).0;
            directory.is_empty() || directories.contains(directory)
        });
        let named: BTreeSet<_> = self.names.values().copied().collect();
        self.files.retain(|inode, _| named.contains(inode));
    }
}
