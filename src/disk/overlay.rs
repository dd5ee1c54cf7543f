//! A disk over another one, of which not one byte is ever changed.
//!
//! A tool that wants to know what a restart would do runs the restart here: the real one, over the files
//! as a crash left them, which it leaves as they are.
//!
//! - What is written, created, renamed, removed, cut or grown is kept in memory, by blocks of 4096 bytes
//!   ([`Cover`]); a block of zeros takes none. The rest is read from the lower disk.
//! - Of the lower disk only [`Disk::open`], [`Disk::list`], [`DiskFile::read_at`], [`DiskFile::len`] and
//!   [`DiskFile::map`] are called (and [`DiskFile::read_ahead`]). Syncing succeeds and does nothing; so does [`Disk::drop_cache`]: what
//!   the lower disk shows is taken for what it has.
//! - Dropped, it is gone, and nothing has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::cover::Cover;
use super::{Disk, DiskFile, FileDisk, LogBytes, end_of, is_plain, read_range, split_name};
use crate::error::{Error, Result};
use crate::sync::{Arc, Mutex};

/// Keeps all changes in memory, over a disk that it only reads.
pub struct OverlayDisk {
    lower: Arc<dyn Disk>,
    names: Mutex<Names>,
}

/// How names differ from those of the lower disk.
#[derive(Default)]
struct Names {
    /// Every file that was opened or created, by its present name: all its handles are one.
    files: BTreeMap<String, Arc<OverlayFile>>,
    /// Names of the lower disk that are not seen any more.
    gone: BTreeSet<String>,
    /// Directories made here.
    directories: BTreeSet<String>,
}

impl OverlayDisk {
    /// A disk that shows `lower`, which nobody else should change meanwhile.
    #[must_use]
    pub fn new(lower: Arc<dyn Disk>) -> Self {
        Self { lower, names: Mutex::default() }
    }

    /// A disk over a directory that is not in use, and stays locked meanwhile; not even the file `LOCK` is
    /// made.
    ///
    /// # Errors
    /// Those of [`FileDisk::open_to_read`].
    pub fn over_directory(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(Arc::new(FileDisk::open_to_read(path)?)))
    }

    /// A disk over a directory that others may be writing to, which it does not lock. Each read shows what is
    /// there at that moment, so only what bears a checksum can be believed.
    ///
    /// # Errors
    /// Those of [`FileDisk::open_to_read`], but for [`Error::AlreadyOpen`].
    pub fn over_directory_in_use(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(Arc::new(FileDisk::open_unlocked(path.as_ref())?)))
    }

    /// The offsets of the blocks, of 4096 bytes, that were written to a file and are kept here.
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub fn covered(&self, name: &str) -> Result<Vec<u64>> {
        let file = self.look_up(&mut self.names.lock(), "open", name)?;
        let cover = file.cover.lock();
        Ok(cover.blocks().map(|(offset, _)| offset).collect())
    }

    /// Forgets these blocks of a file: the lower one has by now what is to be seen there, and all beyond the end that it
    /// had.
    ///
    /// # Errors
    /// As [`Disk::open`] and [`DiskFile::len`].
    pub fn uncover(&self, name: &str, blocks: &[u64]) -> Result<()> {
        let file = self.look_up(&mut self.names.lock(), "open", name)?;
        let lower = file.lower.as_ref().map_or(Ok(0), |lower| lower.len())?;
        file.cover.lock().uncover(blocks, lower);
        Ok(())
    }

    fn refuse<T>(&self, operation: &'static str, name: &str, kind: io::ErrorKind) -> Result<T> {
        Err(Error::from_io(operation, self.lower.location().join(name), kind.into()))
    }

    /// The file of that name.
    fn look_up(
        &self,
        names: &mut Names,
        operation: &'static str,
        name: &str,
    ) -> Result<Arc<OverlayFile>> {
        debug_assert!(is_plain(name), "{name:?} is no name for a file of a database");
        if let Some(file) = names.files.get(name) {
            return Ok(Arc::clone(file));
        }
        if names.directories.contains(name) {
            return self.refuse(operation, name, io::ErrorKind::IsADirectory);
        }
        if names.gone.contains(name) {
            return self.refuse(operation, name, io::ErrorKind::NotFound);
        }
        let lower = self.lower.open(name)?;
        let cover = Mutex::new(Cover::over(lower.len()?));
        let path = self.lower.location().join(name);
        let file = Arc::new(OverlayFile { lower: Some(lower), path, cover });
        names.files.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    /// Whether there is such a directory.
    fn is_directory(&self, names: &Names, name: &str) -> Result<bool> {
        if name.is_empty() || names.directories.contains(name) {
            return Ok(true);
        }
        if names.files.contains_key(name) || names.gone.contains(name) {
            return Ok(false);
        }
        // Listing what is no directory fails in a way of each system's own; opening it as a file does not.
        match self.lower.list(name) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => self.lower.open(name).map(|_| false).map_err(|_| error),
        }
    }

    /// Fails where the directory of `name` is missing, or is none.
    fn check_directory(&self, names: &Names, operation: &'static str, name: &str) -> Result<()> {
        match self.is_directory(names, split_name(name).0)? {
            true => Ok(()),
            false => self.refuse(operation, name, io::ErrorKind::NotFound),
        }
    }
}

impl Disk for OverlayDisk {
    fn location(&self) -> PathBuf {
        self.lower.location()
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        Ok(self.look_up(&mut self.names.lock(), "open", name)?)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let mut names = self.names.lock();
        self.check_directory(&names, "create", name)?;
        if self.is_directory(&names, name)? {
            return self.refuse("create", name, io::ErrorKind::AlreadyExists);
        }
        match self.look_up(&mut names, "create", name) {
            Ok(_) => return self.refuse("create", name, io::ErrorKind::AlreadyExists),
            Err(error) if !error.is_not_found() => return Err(error),
            Err(_) => {}
        }
        let path = self.lower.location().join(name);
        let file = Arc::new(OverlayFile { lower: None, path, cover: Mutex::new(Cover::over(0)) });
        names.files.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn create_directory(&self, name: &str) -> Result<()> {
        let operation = "create directory";
        let mut names = self.names.lock();
        if self.is_directory(&names, name)? {
            return Ok(());
        }
        match self.look_up(&mut names, operation, name) {
            Ok(_) => self.refuse(operation, name, io::ErrorKind::NotADirectory),
            Err(error) if !error.is_not_found() => Err(error),
            Err(_) => {
                names.directories.insert(name.to_owned());
                Ok(())
            }
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        debug_assert!(is_plain(to), "{to:?} is no name for a file of a database");
        let mut names = self.names.lock();
        let file = self.look_up(&mut names, "rename", from)?;
        self.check_directory(&names, "rename", to)?;
        if self.is_directory(&names, to)? {
            return self.refuse("rename", from, io::ErrorKind::IsADirectory);
        }
        names.files.remove(from);
        names.gone.insert(from.to_owned());
        names.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut names = self.names.lock();
        self.look_up(&mut names, "remove", name)?;
        names.files.remove(name);
        names.gone.insert(name.to_owned());
        Ok(())
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        let names = self.names.lock();
        if !self.is_directory(&names, directory)? {
            return self.refuse("list", directory, io::ErrorKind::NotFound);
        }
        let below = match names.directories.contains(directory) {
            true => Vec::new(),
            false => self.lower.list(directory)?,
        };
        let full = |name: &String| match directory {
            "" => name.clone(),
            _ => format!("{directory}/{name}"),
        };
        let mut seen: BTreeSet<String> =
            below.into_iter().filter(|name| !names.gone.contains(&full(name))).collect();
        let own = names.files.keys().chain(&names.directories).map(|name| split_name(name));
        seen.extend(
            own.filter(|(parent, _)| *parent == directory).map(|(_, name)| name.to_owned()),
        );
        Ok(seen.into_iter().collect())
    }

    fn sync_directory(&self, directory: &str) -> Result<()> {
        match self.is_directory(&self.names.lock(), directory)? {
            true => Ok(()),
            false => self.refuse("sync", directory, io::ErrorKind::NotFound),
        }
    }

    fn drop_cache(&self) -> Result<()> {
        Ok(())
    }
}

/// A file as it is seen.
struct OverlayFile {
    /// `None` for one made here.
    lower: Option<Arc<dyn DiskFile>>,
    path: PathBuf,
    cover: Mutex<Cover>,
}

impl OverlayFile {
    fn end_of(&self, operation: &'static str, offset: u64, length: usize) -> Result<u64> {
        end_of(offset, length).map_err(|e| Error::from_io(operation, &self.path, e))
    }
}

impl DiskFile for OverlayFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.cover.lock().read(self.lower.as_deref(), offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = self.end_of("write", offset, bytes.len())?;
        self.cover.lock().write(self.lower.as_deref(), offset, bytes, end)
    }

    fn len(&self) -> Result<u64> {
        Ok(self.cover.lock().len())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.end_of("set the length of", length, 0)?;
        self.cover.lock().set_length(length);
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn read_ahead(&self, offset: u64, length: u64) {
        if let Some(lower) = &self.lower {
            lower.read_ahead(offset, length);
        }
    }

    fn map(&self, offset: u64, length: usize) -> Result<LogBytes> {
        match &self.lower {
            // What is written later does not reach the lower file, so the map stays as it is.
            Some(lower) if self.cover.lock().is_untouched(offset, length) => {
                lower.map(offset, length)
            }
            _ => read_range(self, &self.path, offset, length),
        }
    }
}

#[cfg(test)]
mod tests;
