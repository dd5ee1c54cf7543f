//! What tests and lessons do to a disk behind the engine's back: durable at once, and no I/O.

use std::io;

use super::super::{end_of, split_name};
use super::SimDisk;
use super::image::{Change, Image, Inode};
use super::state::{State, path};
use crate::error::{Error, Result};

impl SimDisk {
    /// Flips bit `bit` (0 to 7) of byte `offset` of a file, as readers see it and on the disk. What
    /// is pending is not changed: a sector that is written back later heals the damage on the disk.
    ///
    /// # Errors
    /// When there is no such file, byte or bit.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) -> Result<()> {
        let mask = 1_u8.checked_shl(bit.into()).filter(|mask| *mask != 0);
        let mask = mask.ok_or_else(|| invalid(format!("a byte has no bit {bit}")))?;
        self.tamper(name, offset, 1, |state, inode| state.flip(inode, offset, mask))
    }

    /// Copies `length` bytes of a file from byte `from` to byte `to`, as a disk does that writes
    /// to the wrong place. Like [`SimDisk::flip_bit`] for the rest.
    ///
    /// # Errors
    /// When there is no such file, or one of the ranges does not lie within it.
    pub fn copy_range(&self, name: &str, from: u64, to: u64, length: usize) -> Result<()> {
        self.tamper(name, from.max(to), length, |state, inode| {
            for image in state.images() {
                let mut source = vec![0; length];
                image.file(inode).read(from, &mut source);
                overwrite(image, inode, to, length, |bytes| {
                    bytes.copy_from_slice(&source[..bytes.len()]);
                });
            }
        })
    }

    /// What readers see of a file; `None` when there is none.
    #[must_use]
    pub fn read_file(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let content = state.content(*state.cached.names.get(name)?)?;
        let mut bytes = vec![0; usize::try_from(content.length()).ok()?];
        content.read(0, &mut bytes);
        Some(bytes)
    }

    /// Replaces or makes a file, and its directory.
    pub fn write_file(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state.lock();
        let known = state.cached.names.get(name).copied();
        let inode = known.unwrap_or_else(|| state.new_inode());
        state.forget(name, inode);
        let directory = split_name(name).0;
        for image in state.images() {
            if !directory.is_empty() {
                image.apply(&Change::CreateDirectory { name: directory.to_owned() });
            }
            image.names_mut().retain(|_, named| *named != inode);
            image.apply(&Change::Create { inode, name: name.to_owned() });
            image.file(inode).set_length(0);
            image.file(inode).write(0, bytes);
        }
    }

    /// Removes a file, if it is there.
    pub fn remove_file(&self, name: &str) {
        let mut state = self.state.lock();
        let Some(inode) = state.cached.names.get(name).copied() else { return };
        state.forget(name, inode);
        for image in state.images() {
            image.names_mut().retain(|other, named| other != name && *named != inode);
        }
    }

    /// Damages a file whose readers see `length` bytes from `offset`.
    fn tamper(
        &self,
        name: &str,
        offset: u64,
        length: usize,
        damage: impl FnOnce(&mut State, Inode),
    ) -> Result<()> {
        let mut state = self.state.lock();
        let Some(inode) = state.cached.names.get(name).copied() else {
            return Err(Error::from_io("find", path(name), io::ErrorKind::NotFound.into()));
        };
        let end = end_of(offset, length).ok();
        if end.is_none_or(|end| end > state.cached.file(inode).length()) {
            return Err(invalid(format!("{name} ends before byte {offset} + {length}")));
        }
        damage(&mut state, inode);
        Ok(())
    }
}

fn invalid(reason: String) -> Error {
    Error::InvalidInput(reason)
}

/// Changes those of `length` bytes from `offset` that the file has.
fn overwrite(
    image: &mut Image,
    inode: Inode,
    offset: u64,
    length: usize,
    change: impl FnOnce(&mut [u8]),
) {
    let content = image.file(inode);
    let mut bytes = vec![0; length];
    let count = content.read(offset, &mut bytes);
    if count > 0 {
        change(&mut bytes[..count]);
        content.write(offset, &bytes[..count]);
    }
}

impl State {
    fn images(&mut self) -> [&mut Image; 2] {
        [&mut self.cached, &mut self.durable]
    }

    /// Flips those bits of a byte that the mask has.
    pub(super) fn flip(&mut self, inode: Inode, offset: u64, mask: u8) {
        for image in self.images() {
            overwrite(image, inode, offset, 1, |bytes| bytes[0] ^= mask);
        }
    }

    /// Forgets all that is pending for a name and the file behind it.
    fn forget(&mut self, name: &str, inode: Inode) {
        self.entries.retain(|entry| {
            let from = matches!(&entry.change, Change::Rename { from, .. } if from == name);
            entry.change.inode() != Some(inode) && entry.change.name() != Some(name) && !from
        });
    }
}
