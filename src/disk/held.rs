//! A disk that keeps back what was not synced, so that SIGKILL shows a power failure.
//!
//! A process killed with SIGKILL loses nothing that it wrote: the kernel still has it in its page
//! cache, and an engine that never synced would look sound. [`HeldBackDisk`] keeps the written
//! bytes and the length of each file in the process until [`DiskFile::sync_data`] of that file,
//! and only then hands them to the inner disk and syncs that. Killed before, exactly these bytes
//! are gone.
//!
//! - Reads see the held bytes over the inner ones, through every handle, also after a rename.
//! - Names (create, rename, remove, directories) pass through at once: killing the process loses
//!   no name. [`super::SimDisk`] is there for that.
//! - A full disk shows at the sync, not at the write.
//! - While a sync is handing over, killing the process loses any part of what it has to hand
//!   over, as a power failure would.
//!
//! What is held stands over the inner file as a [`Cover`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::cover::Cover;
use super::{Disk, DiskFile, LogBytes, end_of, read_range};
use crate::error::{Error, Result};
use crate::sync::{Arc, Mutex};

/// Holds back what was written to the files of an inner disk until they are synced.
pub struct HeldBackDisk {
    inner: Arc<dyn Disk>,
    /// Every file that was opened, by its present name: all its handles are one.
    files: Mutex<BTreeMap<String, Arc<HeldFile>>>,
}

impl HeldBackDisk {
    /// Holds back writes to `inner`, which nobody else should use meanwhile.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, files: Mutex::new(BTreeMap::new()) }
    }

    /// The handle of a file that none of `files` stands for yet.
    fn adopt(
        &self,
        files: &mut BTreeMap<String, Arc<HeldFile>>,
        name: &str,
        inner: Arc<dyn DiskFile>,
    ) -> Result<Arc<dyn DiskFile>> {
        let length = inner.len()?;
        let held = Mutex::new(Cover::over(length));
        let path = self.inner.location().join(name);
        let file = Arc::new(HeldFile { inner, path, held });
        files.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

impl Disk for HeldBackDisk {
    fn location(&self) -> PathBuf {
        self.inner.location()
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let mut files = self.files.lock();
        match files.get(name) {
            Some(file) => Ok(Arc::clone(file) as Arc<dyn DiskFile>),
            None => self.adopt(&mut files, name, self.inner.open(name)?),
        }
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let mut files = self.files.lock();
        let created = self.inner.create(name)?;
        self.adopt(&mut files, name, created)
    }

    fn create_directory(&self, name: &str) -> Result<()> {
        self.inner.create_directory(name)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut files = self.files.lock();
        self.inner.rename(from, to)?;
        // What stood under `to` lives on only through the handles it has.
        match files.remove(from) {
            Some(file) => files.insert(to.to_owned(), file),
            None => files.remove(to),
        };
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut files = self.files.lock();
        self.inner.remove(name)?;
        files.remove(name);
        Ok(())
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        self.inner.list(directory)
    }

    fn sync_directory(&self, directory: &str) -> Result<()> {
        self.inner.sync_directory(directory)
    }

    /// Hands over what is held, then drops the inner disk's cache.
    fn drop_cache(&self) -> Result<()> {
        let files: Vec<_> = self.files.lock().values().cloned().collect();
        files.iter().try_for_each(|file| file.sync_data())?;
        self.inner.drop_cache()
    }
}

/// A file and what is held back of it.
struct HeldFile {
    inner: Arc<dyn DiskFile>,
    path: PathBuf,
    held: Mutex<Cover>,
}

impl HeldFile {
    /// Hands everything to the inner file. What fails halfway is still held.
    fn hand_over(&self) -> Result<()> {
        let mut held = self.held.lock();
        if held.cut() < self.inner.len()? {
            self.inner.set_len(held.cut())?;
        }
        for (offset, bytes) in held.blocks() {
            self.inner.write_at(offset, bytes)?;
        }
        if self.inner.len()? != held.len() {
            self.inner.set_len(held.len())?;
        }
        held.handed_over();
        Ok(())
    }

    fn end_of(&self, operation: &'static str, offset: u64, length: usize) -> Result<u64> {
        end_of(offset, length).map_err(|e| Error::from_io(operation, &self.path, e))
    }
}

impl DiskFile for HeldFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.held.lock().read(Some(&*self.inner), offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = self.end_of("write", offset, bytes.len())?;
        self.held.lock().write(Some(&*self.inner), offset, bytes, end)
    }

    fn len(&self) -> Result<u64> {
        Ok(self.held.lock().len())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.end_of("set the length of", length, 0)?;
        self.held.lock().set_length(length);
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        // Unlocked before the sync: what is written meanwhile is held for the next one.
        self.hand_over()?;
        self.inner.sync_data()
    }

    fn map(&self, offset: u64, length: usize) -> Result<LogBytes> {
        read_range(self, &self.path, offset, length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::FileDisk;
    use super::*;

    fn contents(disk: &dyn Disk, name: &str) -> Vec<u8> {
        let file = disk.open(name).unwrap();
        let mut bytes = vec![0xEE; 20_000];
        let length = file.read_at(0, &mut bytes).unwrap();
        assert_eq!(length as u64, file.len().unwrap());
        bytes.truncate(length);
        bytes
    }

    fn disks() -> (tempfile::TempDir, Arc<FileDisk>, HeldBackDisk) {
        let root = tempfile::tempdir().unwrap();
        let inner = Arc::new(FileDisk::open(root.path()).unwrap());
        let held = HeldBackDisk::new(Arc::clone(&inner) as Arc<dyn Disk>);
        (root, inner, held)
    }

    #[test]
    fn the_inner_file_gets_the_bytes_at_the_sync_and_not_before() {
        let (_root, inner, held) = disks();
        let file = held.create("log").unwrap();
        file.write_at(0, &[1; 10_000]).unwrap();
        assert_eq!(contents(&*inner, "log"), b"");
        assert_eq!(contents(&held, "log"), [1; 10_000]);
        file.sync_data().unwrap();
        assert_eq!(contents(&*inner, "log"), [1; 10_000]);

        file.write_at(4090, &[2; 10]).unwrap();
        let mut expected = vec![1; 10_000];
        assert_eq!(contents(&*inner, "log"), expected);
        expected[4090..4100].fill(2);
        assert_eq!(contents(&held, "log"), expected);
        assert_eq!(&file.map(4089, 12).unwrap()[..], [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
        assert!(file.map(0, 10_001).is_err());
        file.sync_data().unwrap();
        assert_eq!(contents(&*inner, "log"), expected);
    }

    #[test]
    fn a_cut_is_held_back_and_what_was_cut_never_comes_back() {
        let (_root, inner, held) = disks();
        let file = held.create("pages").unwrap();
        file.write_at(0, &[1; 9000]).unwrap();
        file.sync_data().unwrap();
        file.write_at(8999, &[3; 4000]).unwrap();
        file.write_at(4990, &[3; 20]).unwrap();
        file.set_len(5000).unwrap();
        file.set_len(9002).unwrap();
        file.write_at(5001, &[2]).unwrap();

        let mut expected = vec![1; 4990];
        expected.resize(5000, 3);
        expected.resize(9002, 0);
        expected[5001] = 2;
        assert_eq!(contents(&*inner, "pages"), [1; 9000]);
        assert_eq!(contents(&held, "pages"), expected);
        file.sync_data().unwrap();
        assert_eq!(contents(&*inner, "pages"), expected);
        assert_eq!(contents(&held, "pages"), expected);
    }

    #[test]
    fn all_handles_of_a_file_are_one_even_after_a_rename() {
        let (_root, inner, held) = disks();
        let old = held.create("old").unwrap();
        held.create("new").unwrap().write_at(0, b"replaced").unwrap();
        old.write_at(0, b"held").unwrap();
        held.rename("old", "new").unwrap();
        assert_eq!(contents(&held, "new"), b"held");
        held.open("new").unwrap().write_at(4, b"!").unwrap();
        old.sync_data().unwrap();
        assert_eq!(contents(&*inner, "new"), b"held!");
        assert!(held.open("old").err().unwrap().is_not_found());

        held.remove("new").unwrap();
        assert!(held.open("new").err().unwrap().is_not_found());
        held.create("new").unwrap();
        assert_eq!(contents(&held, "new"), b"");
        assert_eq!(old.len().unwrap(), 5, "an open handle outlives the name");
        inner.create("other").unwrap().write_at(0, b"never opened").unwrap();
        held.rename("other", "new").unwrap();
        assert_eq!(contents(&held, "new"), b"never opened");
    }

    #[test]
    fn offsets_beyond_the_kernels_give_an_error() {
        let (_root, _inner, held) = disks();
        let file = held.create("pages").unwrap();
        assert!(file.write_at(u64::MAX - 1, b"xyz").is_err());
        assert!(file.set_len(u64::MAX).is_err());
        assert_eq!(file.read_at(u64::MAX, &mut [0; 2]).unwrap(), 0);
    }
}
