//! The real disk: a directory of the operating system.
//!
//! Guarantees:
//!
//! - One process at a time: the file `LOCK` is locked by the operating system for as long as the
//!   disk or any file opened from it lives, and no longer. A process that dies loses the lock with its life.
//! - Reads and writes are whole: interrupted and short ones are carried on.
//! - A failed sync is final. It is never tried again, not even after an interruption: the kernel
//!   may have marked the pages clean, and a second sync would say "done" without writing them.
//! - Each error names the path under which the file was opened (renaming does not change it).
//!
//! - [`Disk::drop_cache`] makes reads show the device, as far as the kernel can be told to: it drops
//!   clean pages of a file's content. Pages that are mapped somewhere stay; so do names, which
//!   Linux keeps in caches of their own. (A journalling file system that fails to write a name stops
//!   itself.) On other systems than Linux nothing is dropped.
//!
//! Growing a file by [`DiskFile::set_len`] makes a hole and reserves no room: a later write into
//! the hole can still find the disk full. Whoever must not fail later writes zeros instead.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::carry_on::{read_fully, write_fully};
use super::{
    Disk, DiskFile, LOCK, LogBytes, bytes_before, end_of, is_plain, read_range, too_short,
};
use crate::error::{Error, Result};
use crate::sync::Arc;

/// Whoever reads along looks now and then whether the database is open, and holds the lock for that moment. So
/// it is asked for so often, so far apart, before it is taken for held.
const LOCK_TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// A locked directory of the operating system.
#[derive(Debug)]
pub struct FileDisk {
    root: PathBuf,
    /// `None` for one that only reads what others may be writing.
    lock: Option<Arc<DirectoryLock>>,
    /// Whether files are opened for nothing but reading.
    reads_only: bool,
}

/// Unlocks when it is dropped. Closing the file is not enough: a process that is being started by this one
/// holds all of its files open until it runs another program.
#[derive(Debug)]
struct DirectoryLock(File);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing it unlocks as well, sooner or later.
        let _ = self.0.unlock();
    }
}

impl FileDisk {
    /// Opens and locks the directory at `path`.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when there is none, [`Error::NotADatabase`] when it is a file,
    /// [`Error::AlreadyOpen`] when it is locked, and was for a tenth of a second.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let root = root_of(path.as_ref())?;
        let mut options = File::options();
        let created = options.read(true).write(true).create(true).truncate(false);
        let mut tries = 1;
        let lock = loop {
            match lock(&root, &root.join(LOCK), created, File::try_lock) {
                Err(Error::AlreadyOpen { .. }) if tries < LOCK_TRIES => tries += 1,
                done => break done?,
            }
            std::thread::sleep(BETWEEN_TRIES);
        };
        Ok(Self { root, lock: Some(lock), reads_only: false })
    }

    /// Like [`FileDisk::open`], but for tools that only read: nothing can be written through it, nothing is
    /// left behind, not even the file `LOCK` where it is missing, and the directory may be one that cannot be
    /// written. Others may read at the same time.
    ///
    /// # Errors
    /// Those of [`FileDisk::open`].
    pub fn open_to_read(path: impl AsRef<Path>) -> Result<Self> {
        let root = root_of(path.as_ref())?;
        // Without LOCK nobody has the database open: who does holds it. (The directory stands in for it.)
        let held = Some(root.join(LOCK)).filter(|path| path.exists());
        let held = held.unwrap_or_else(|| root.clone());
        let lock = lock(&root, &held, File::options().read(true), File::try_lock_shared)?;
        Ok(Self { root, lock: Some(lock), reads_only: true })
    }

    /// Opens the directory without locking it, whoever else may be writing to it: for an overlay, which
    /// only reads. Nothing is mapped: a mapped file may be changed and cut meanwhile.
    pub(super) fn open_unlocked(path: &Path) -> Result<Self> {
        Ok(Self { root: root_of(path)?, lock: None, reads_only: true })
    }

    /// Like [`FileDisk::open`], but makes the directory (not its parents) when it is missing. Its
    /// name is durable on return.
    ///
    /// # Errors
    /// Those of [`FileDisk::open`], and those of creating a directory.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let made = make_directory(path)?;
        let disk = Self::open(path)?;
        let Some(parent) = disk.root.parent() else { return Ok(disk) };
        match sync_directory_at(parent) {
            // Whoever made the directory before us was allowed to; we may not be.
            Err(Error::ReadOnly { .. }) if !made => Ok(disk),
            // One found there is synced too: who made it may have died before doing so.
            synced => synced.map(|()| disk),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        debug_assert!(is_plain(name), "{name:?} is no name for a file of a database");
        self.root.join(name)
    }

    fn open_with(
        &self,
        operation: &'static str,
        name: &str,
        options: &OpenOptions,
    ) -> Result<Arc<dyn DiskFile>> {
        let path = self.path(name);
        let file = options.open(&path).map_err(|e| Error::from_io(operation, &path, e))?;
        Ok(Arc::new(OpenFile { file, path, lock: self.lock.clone() }))
    }
}

fn not_a_directory(path: PathBuf) -> Error {
    Error::NotADatabase { path, reason: "it is a file, not a directory".to_owned() }
}

/// A directory that holds anything holds one of these too, or it is somebody else's: not even a
/// lock is left there.
const MARKS: [&str; 4] = [LOCK, "control", "creating", "distrust"];
/// And whoever has all of these has lost the others.
const REMAINS: [&str; 3] = ["pages", "log", "doublewrite"];

fn refuse_foreign(root: &Path) -> Result<()> {
    let mut entries = fs::read_dir(root).map_err(|e| Error::from_io("list", root, e))?;
    let is_there = |name: &&str| root.join(name).exists();
    if MARKS.iter().any(is_there) || REMAINS.iter().all(is_there) {
        return Ok(());
    }
    match entries.next() {
        Some(Ok(entry)) => {
            let reason = format!("it holds {:?}, and no control file", entry.file_name());
            Err(Error::NotADatabase { path: root.to_owned(), reason })
        }
        _ => Ok(()),
    }
}

/// The path of a directory that may hold a database, absolute, so that the program may change its working
/// directory.
fn root_of(path: &Path) -> Result<PathBuf> {
    let root = fs::canonicalize(path).map_err(|e| Error::from_io("open", path, e))?;
    if !root.is_dir() {
        return Err(not_a_directory(root));
    }
    refuse_foreign(&root)?;
    Ok(root)
}

/// Locks the directory at `root` by the file `held`.
fn lock(
    root: &Path,
    held: &Path,
    options: &OpenOptions,
    try_lock: fn(&File) -> std::result::Result<(), TryLockError>,
) -> Result<Arc<DirectoryLock>> {
    let file = options.open(held).map_err(|e| Error::from_io("open", held, e))?;
    match try_lock(&file) {
        Ok(()) => Ok(Arc::new(DirectoryLock(file))),
        Err(TryLockError::WouldBlock) => Err(Error::AlreadyOpen { path: root.to_owned() }),
        Err(TryLockError::Error(e)) => Err(Error::from_io("lock", held, e)),
    }
}

/// Whether it was made now, rather than found. What is found may also be a file.
fn make_directory(path: &Path) -> Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(Error::from_io("create directory", path, e)),
    }
}

/// Syncs the file, then lets the kernel forget its pages, whatever came of the sync: pages whose
/// write failed are marked clean, and are exactly what must not be shown.
fn drop_pages_of(path: &Path) -> Result<()> {
    let file = match File::open(path) {
        // Not ours: ours can be opened.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        opened => opened.map_err(|e| Error::from_io("open", path, e))?,
    };
    let synced = file.sync_data().map_err(|e| Error::from_io("sync", path, e));
    #[cfg(target_os = "linux")]
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
        .map_err(|e| Error::from_io("drop the cache of", path, e.into()))?;
    synced
}

fn sync_directory_at(path: &Path) -> Result<()> {
    let directory = File::open(path).map_err(|e| Error::from_io("open", path, e))?;
    directory.sync_all().map_err(|e| Error::from_io("sync", path, e))
}

impl Disk for FileDisk {
    fn location(&self) -> PathBuf {
        self.root.clone()
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        self.open_with("open", name, File::options().read(true).write(!self.reads_only))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        self.open_with("create", name, File::options().read(true).write(true).create_new(true))
    }

    fn create_directory(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        if make_directory(&path)? || path.is_dir() {
            return Ok(());
        }
        Err(Error::from_io("create directory", path, io::ErrorKind::NotADirectory.into()))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let from = self.path(from);
        fs::rename(&from, self.path(to)).map_err(|e| Error::from_io("rename", from, e))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        fs::remove_file(&path).map_err(|e| Error::from_io("remove", path, e))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        let path = self.root.join(directory);
        let entries = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.map_err(|e| Error::from_io("list", path, e))?;
        let names = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> =
            names.filter(|name| !(directory.is_empty() && name == LOCK)).collect();
        names.sort();
        Ok(names)
    }

    fn sync_directory(&self, directory: &str) -> Result<()> {
        sync_directory_at(&self.root.join(directory))
    }

    fn drop_cache(&self) -> Result<()> {
        let mut dropped = Ok(());
        let mut directories = vec![self.root.clone()];
        while let Some(directory) = directories.pop() {
            for name in
                fs::read_dir(&directory).map_err(|e| Error::from_io("list", &directory, e))?
            {
                let path = name.map_err(|e| Error::from_io("list", &directory, e))?.path();
                if path.is_file() {
                    dropped = dropped.and(drop_pages_of(&path));
                } else if path.is_dir() && directory == self.root && fs::read_dir(&path).is_ok() {
                    directories.push(path);
                }
            }
            dropped = dropped.and(sync_directory_at(&directory));
        }
        dropped
    }
}

/// A file of a [`FileDisk`].
struct OpenFile {
    file: File,
    path: PathBuf,
    /// A handle that outlives its disk must not write to a directory opened by somebody else.
    lock: Option<Arc<DirectoryLock>>,
}

impl OpenFile {
    fn check<T>(&self, operation: &'static str, result: io::Result<T>) -> Result<T> {
        result.map_err(|e| Error::from_io(operation, &self.path, e))
    }

    /// The range mapped with every page read in, or `None` where that does not work.
    #[cfg(target_os = "linux")]
    fn try_map(&self, offset: u64, length: usize) -> Option<memmap2::Mmap> {
        self.lock.as_ref()?;
        let mut options = memmap2::MmapOptions::new();
        options.offset(offset).len(length);
        // SAFETY: the caller of `DiskFile::map` promises that nobody writes, cuts or recycles the
        // range while the map lives, and the directory is locked against other engines.
        #[allow(unsafe_code)]
        let map = unsafe { options.map(&self.file) }.ok()?;
        // A page that cannot be read becomes an error here, and not a signal at the first access.
        map.advise(memmap2::Advice::PopulateRead).ok()?;
        Some(map)
    }

    /// Elsewhere there is no way to have read errors reported.
    #[cfg(not(target_os = "linux"))]
    fn try_map(&self, _offset: u64, _length: usize) -> Option<memmap2::Mmap> {
        None
    }
}

impl DiskFile for OpenFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let read = read_fully(offset, buffer, |offset, buffer| self.file.read_at(buffer, offset));
        self.check("read", read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.check("write", end_of(offset, bytes.len()))?;
        let written = write_fully(offset, bytes, |offset, bytes| self.file.write_at(bytes, offset));
        self.check("write", written)
    }

    fn len(&self) -> Result<u64> {
        self.check("look at", self.file.metadata()).map(|metadata| metadata.len())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.check("set the length of", self.file.set_len(length))
    }

    fn sync_data(&self) -> Result<()> {
        self.check("sync", self.file.sync_data())
    }

    fn read_ahead(&self, offset: u64, length: u64) {
        let advice = rustix::fs::Advice::WillNeed;
        let _ = rustix::fs::fadvise(&self.file, offset, std::num::NonZero::new(length), advice);
    }

    fn map(&self, offset: u64, length: usize) -> Result<LogBytes> {
        if bytes_before(self.len()?, offset, length) < length {
            return Err(too_short(&self.path));
        }
        if let Some(map) = self.try_map(offset, length) {
            return Ok(LogBytes::Mapped(map));
        }
        read_range(self, &self.path, offset, length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_and_names_come_back() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("database");
        let disk = FileDisk::create(&path).unwrap();
        disk.create_directory("log").unwrap();
        disk.create_directory("log").unwrap();
        let file = disk.create("log/1.seg").unwrap();
        file.write_at(5, b"hello").unwrap();
        file.sync_data().unwrap();
        disk.rename("log/1.seg", "log/2.seg").unwrap();
        disk.sync_directory("log").unwrap();
        file.set_len(8).unwrap();

        let mut buffer = [9; 16];
        assert_eq!(disk.open("log/2.seg").unwrap().read_at(0, &mut buffer).unwrap(), 8);
        assert_eq!(&buffer[..8], b"\0\0\0\0\0hel");
        assert_eq!(file.read_at(100, &mut buffer).unwrap(), 0);
        assert_eq!(disk.list("").unwrap(), ["log"], "LOCK is not listed");
        assert_eq!(disk.list("log").unwrap(), ["2.seg"]);
        assert!(disk.open("log/1.seg").err().unwrap().is_not_found());
        assert!(disk.create("log/2.seg").is_err());
        disk.remove("log/2.seg").unwrap();
        assert!(disk.open("log/2.seg").err().unwrap().is_not_found());
    }

    #[test]
    fn a_second_open_is_refused_until_the_last_file_is_dropped() {
        let root = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(root.path()).unwrap();
        let file = disk.create("pages").unwrap();
        assert!(matches!(FileDisk::open(root.path()), Err(Error::AlreadyOpen { .. })));
        drop(disk);
        assert!(matches!(FileDisk::create(root.path()), Err(Error::AlreadyOpen { .. })));
        drop(file);
        FileDisk::open(root.path()).unwrap();
    }

    #[test]
    fn a_dropped_disk_is_unlocked_though_its_lock_was_inherited() {
        let root = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(root.path()).unwrap();
        // As a process has it that is being started.
        let inherited = disk.lock.as_ref().unwrap().0.try_clone().unwrap();
        drop(disk);
        FileDisk::open(root.path()).unwrap();
        drop(inherited);
    }

    #[test]
    fn what_is_not_a_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        assert!(FileDisk::open(root.path().join("none")).unwrap_err().is_not_found());
        assert!(FileDisk::create(root.path().join("none/deeper")).unwrap_err().is_not_found());
        let path = root.path().join("file");
        fs::write(&path, "text").unwrap();
        assert!(matches!(FileDisk::open(&path), Err(Error::NotADatabase { .. })));
        assert!(matches!(FileDisk::create(&path), Err(Error::NotADatabase { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"text");
    }

    #[test]
    fn a_map_shows_the_range_and_never_more_than_the_file() {
        let root = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(root.path()).unwrap();
        let file = disk.create("log").unwrap();
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        file.write_at(0, &bytes).unwrap();
        let map = file.map(4097, 5903).unwrap();
        assert_eq!(&map[..], &bytes[4097..]);
        assert_eq!(matches!(map, LogBytes::Mapped(_)), cfg!(target_os = "linux"));
        assert!(file.map(0, 0).unwrap().is_empty());
        assert!(matches!(file.map(4097, 5904), Err(Error::Io { .. })));
        assert!(matches!(file.map(u64::MAX, usize::MAX), Err(Error::Io { .. })));
    }

    #[test]
    fn offsets_beyond_the_kernels_give_an_error() {
        let root = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(root.path()).unwrap();
        let file = disk.create("pages").unwrap();
        assert!(file.write_at(u64::MAX, b"xy").is_err());
        assert!(file.set_len(u64::MAX).is_err());
        assert!(file.read_at(u64::MAX, &mut [0; 2]).is_err());
    }
}
