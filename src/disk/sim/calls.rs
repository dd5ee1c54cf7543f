//! The calls of the running system on a simulated disk. Each counts as one I/O.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

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
        let names = state.cached.names.keys().chain(&state.cached.directories);
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
}

/// An open file. Its name may change, its inode does not.
struct SimFile {
    state: Arc<Mutex<State>>,
    inode: Inode,
    /// Keeps the file from being forgotten when it has no name any more.
    _handle: Arc<()>,
}

impl SimFile {
    /// Locks the state, and counts an I/O on the file.
    fn begin(&self, operation: &'static str, access: Access) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        match state.next_io(access) {
            None => Ok(state),
            Some(source) => Err(Error::from_io(operation, self.path(&state), source)),
        }
    }

    fn path(&self, state: &State) -> PathBuf {
        path(&state.name_of(self.inode))
    }

    /// Fails where a change would take `more` bytes of room that are not there.
    fn check_room(&self, state: &State, operation: &'static str, more: u64) -> Result<()> {
        if state.has_room(more) {
            return Ok(());
        }
        let full = io::ErrorKind::StorageFull.into();
        Err(Error::from_io(operation, self.path(state), full))
    }

    /// Fails where the range ends beyond what a kernel can address.
    fn check_end(
        &self,
        state: &State,
        operation: &'static str,
        offset: u64,
        length: usize,
    ) -> Result<()> {
        end_of(offset, length)
            .map(|_| ())
            .map_err(|e| Error::from_io(operation, self.path(state), e))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let state = self.begin("read", Access::Read)?;
        Ok(state.content(self.inode).map_or(0, |content| content.read(offset, buffer)))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut state = self.begin("write", Access::Write)?;
        self.check_end(&state, "write", offset, bytes.len())?;
        if state.capacity.is_some() {
            let more = state.cached.file(self.inode).room_for(offset, bytes.len());
            self.check_room(&state, "write", more)?;
        }
        state.write(self.inode, offset, bytes);
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        let state = self.begin("look at", Access::Read)?;
        Ok(state.content(self.inode).map_or(0, Content::length))
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let operation = "set the length of";
        let mut state = self.begin(operation, Access::Write)?;
        self.check_end(&state, operation, length, 0)?;
        let growth = length.saturating_sub(state.cached.file(self.inode).length());
        self.check_room(&state, operation, growth)?;
        state.change(Change::SetLength { inode: self.inode, length });
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        let mut state = self.state.lock();
        let belongs = |change: &Change| change.file() == Some(self.inode);
        if let Some(failure) = state.next_io(Access::Sync) {
            state.abandon(belongs);
            return Err(Error::from_io("sync", self.path(&state), failure));
        }
        state.sync(belongs);
        Ok(())
    }

    fn map(&self, offset: u64, length: usize) -> Result<LogBytes> {
        let state = self.begin("map", Access::Read)?;
        let content = state.content(self.inode);
        let end = content.map_or(0, Content::length);
        if bytes_before(end, offset, length) < length {
            return Err(too_short(&self.path(&state)));
        }
        let mut bytes = vec![0; length];
        content.map(|content| content.read(offset, &mut bytes));
        Ok(LogBytes::Owned(bytes))
    }
}
