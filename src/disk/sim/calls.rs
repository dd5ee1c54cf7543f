//! The calls of the running system on a simulated disk. Each counts as one I/O, and as one more for each time
//! that a short read or write is carried on.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::super::carry_on::{read_fully, write_fully};
use super::super::{
    Disk, DiskFile, LogBytes, bytes_before, end_of, is_plain, split_name, too_short,
};
use super::SimDisk;
use super::content::Content;
use super::image::{Change, Inode};
use super::state::{Access, State, path};
use crate::error::{Error, Result};
use crate::sync::{Arc, Mutex, MutexGuard};

impl SimDisk {
    /// Locks the state, and counts an I/O on `name`.
    fn begin(
        &self,
        operation: &'static str,
        name: &str,
        access: Access,
    ) -> Result<MutexGuard<'_, State>> {
        debug_assert!(is_plain(name), "{name:?} is no name for a file of a database");
        let mut state = self.state.lock();
        state.begin(operation, name, access)?;
        Ok(state)
    }

    fn handle(&self, state: &mut State, inode: Inode) -> Arc<dyn DiskFile> {
        let handle = Arc::clone(state.handles.entry(inode).or_default());
        Arc::new(SimFile { state: Arc::clone(&self.state), inode, _handle: handle })
    }
}

fn refuse<T>(operation: &'static str, name: &str, kind: io::ErrorKind) -> Result<T> {
    Err(Error::from_io(operation, path(name), kind.into()))
}

/// The file that `name` stands for.
fn look_up(state: &State, operation: &'static str, name: &str) -> Result<Inode> {
    match state.cached.names.get(name) {
        Some(inode) => Ok(*inode),
        None if state.cached.is_directory(name) => {
            refuse(operation, name, io::ErrorKind::IsADirectory)
        }
        None => refuse(operation, name, io::ErrorKind::NotFound),
    }
}

/// Fails where the directory of `name` is missing.
fn check_directory(state: &State, operation: &'static str, name: &str) -> Result<()> {
    if state.cached.is_directory(split_name(name).0) {
        return Ok(());
    }
    refuse(operation, name, io::ErrorKind::NotFound)
}

impl Disk for SimDisk {
    fn location(&self) -> PathBuf {
        path("")
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let mut state = self.begin("open", name, Access::Read)?;
        let inode = look_up(&state, "open", name)?;
        Ok(self.handle(&mut state, inode))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let mut state = self.begin("create", name, Access::Write)?;
        check_directory(&state, "create", name)?;
        if state.cached.names.contains_key(name) || state.cached.is_directory(name) {
            return refuse("create", name, io::ErrorKind::AlreadyExists);
        }
        let inode = state.new_inode();
        state.change(Change::Create { inode, name: name.to_owned() });
        Ok(self.handle(&mut state, inode))
    }

    fn create_directory(&self, name: &str) -> Result<()> {
        let operation = "create directory";
        let mut state = self.begin(operation, name, Access::Write)?;
        if state.cached.names.contains_key(name) {
            return refuse(operation, name, io::ErrorKind::NotADirectory);
        }
        if !state.cached.is_directory(name) {
            state.change(Change::CreateDirectory { name: name.to_owned() });
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        debug_assert!(is_plain(to), "{to:?} is no name for a file of a database");
        let mut state = self.begin("rename", from, Access::Write)?;
        let inode = look_up(&state, "rename", from)?;
        check_directory(&state, "rename", to)?;
        if state.cached.is_directory(to) {
            return refuse("rename", from, io::ErrorKind::IsADirectory);
        }
        state.change(Change::Rename { inode, from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut state = self.begin("remove", name, Access::Release)?;
        look_up(&state, "remove", name)?;
        state.change(Change::Remove { name: name.to_owned() });
        Ok(())
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        let mut state = self.state.lock();
        state.begin("list", directory, Access::Read)?;
        if !state.cached.is_directory(directory) {
            return refuse("list", directory, io::ErrorKind::NotFound);
        }
        let names = state.cached.names.keys().chain(&*state.cached.directories);
        let names = names.map(|name| split_name(name)).filter(|(parent, _)| *parent == directory);
        let sorted: BTreeSet<_> = names.map(|(_, name)| name.to_owned()).collect();
        Ok(sorted.into_iter().collect())
    }

    fn sync_directory(&self, directory: &str) -> Result<()> {
        let mut state = self.state.lock();
        let belongs = |change: &Change| change.directory() == Some(directory);
        if let Err(failure) = state.begin("sync", directory, Access::Sync) {
            state.abandon(belongs);
            return Err(failure);
        }
        if !state.cached.is_directory(directory) {
            return refuse("sync", directory, io::ErrorKind::NotFound);
        }
        state.sync(belongs);
        state.forget_unreachable();
        Ok(())
    }

    fn drop_cache(&self) -> Result<()> {
        let mut state = self.state.lock();
        if let Err(failure) = state.begin("drop the cache of", "", Access::Sync) {
            state.abandon(|_| true);
            return Err(failure);
        }
        state.sync(|_| true);
        state.drop_cache();
        state.forget_unreachable();
        Ok(())
    }

    #[cfg(feature = "sabotage")]
    fn ignore_short_writes(&self) {
        self.state.lock().ignores_short_writes = true;
    }
}

/// An open file. Its name may change, its inode does not.
struct SimFile {
    state: Arc<Mutex<State>>,
    inode: Inode,
    /// Keeps the file from being forgotten when it has no name any more.
    _handle: Arc<()>,
}

impl SimFile {
    /// Counts an I/O on the file, and does it.
    fn io<T>(
        &self,
        access: Access,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        state.next_io(access)?;
        let done = act(&mut state)?;
        state.rot(self.inode);
        Ok(done)
    }

    /// Lets an error name the operation and the file.
    fn check<T>(&self, operation: &'static str, result: io::Result<T>) -> Result<T> {
        result.map_err(|source| Error::from_io(operation, self.path(), source))
    }

    fn path(&self) -> PathBuf {
        path(&self.state.lock().name_of(self.inode))
    }

    fn length(&self) -> u64 {
        self.state.lock().content(self.inode).map_or(0, Content::length)
    }
}

/// Fails where a change would take `more` bytes of room that are not there.
fn check_room(state: &State, more: u64) -> io::Result<()> {
    state.has_room(more).then_some(()).ok_or_else(|| io::ErrorKind::StorageFull.into())
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() {
            return self.check("read", self.io(Access::Read, |_| Ok(0)));
        }
        let read = read_fully(offset, buffer, |at, buffer| {
            // To find the end of the file once more is no I/O.
            if at > offset && at >= self.length() {
                return Ok(0);
            }
            self.io(Access::Read, |state| Ok(state.read_once(self.inode, at, buffer)))
        });
        self.check("read", read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return self.check("write", self.io(Access::Write, |_| end_of(offset, 0).map(drop)));
        }
        let written = write_fully(offset, bytes, |at, bytes| {
            self.io(Access::Write, |state| {
                end_of(at, bytes.len())?;
                if state.capacity.is_some() {
                    let more = state.cached.file(self.inode).room_for(at, bytes.len());
                    check_room(state, more)?;
                }
                let written = state.write_once(self.inode, at, bytes);
                Ok(if state.ignores_short_writes { bytes.len() } else { written })
            })
        });
        self.check("write", written)
    }

    fn len(&self) -> Result<u64> {
        let length = |state: &mut State| state.content(self.inode).map_or(0, Content::length);
        self.check("look at", self.io(Access::Read, |state| Ok(length(state))))
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let set = self.io(Access::Write, |state| {
            end_of(length, 0)?;
            let growth = length.saturating_sub(state.cached.file(self.inode).length());
            check_room(state, growth)?;
            state.change(Change::SetLength { inode: self.inode, length });
            Ok(())
        });
        self.check("set the length of", set)
    }

    fn sync_data(&self) -> Result<()> {
        let belongs = |change: &Change| change.file() == Some(self.inode);
        let mut state = self.state.lock();
        let synced = state.next_io(Access::Sync);
        match synced {
            Ok(()) => {
                state.sync(belongs);
                state.rot(self.inode);
            }
            Err(_) => state.abandon(belongs),
        }
        drop(state);
        self.check("sync", synced)
    }

    fn map(&self, offset: u64, length: usize) -> Result<LogBytes> {
        let mapped = self.io(Access::Read, |state| {
            let end = state.content(self.inode).map_or(0, Content::length);
            if bytes_before(end, offset, length) < length {
                return Ok(None);
            }
            let mut bytes = vec![0; length];
            state.read(self.inode, offset, &mut bytes);
            Ok(Some(bytes))
        });
        let bytes = self.check("map", mapped)?;
        bytes.map(LogBytes::Owned).ok_or_else(|| too_short(&self.path()))
    }
}
