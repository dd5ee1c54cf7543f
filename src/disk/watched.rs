//! A disk that says what is about to be done to it.
//!
//! ```text
//!   engine --- call ---> watch: let it pass?  --- yes ---> inner disk
//!                              \--- no: an error, and nothing happens
//! ```
//!
//! Whoever watches may refuse a call, and from then on every call: that is what a process sees that dies, or
//! a machine whose power is gone. Reading ahead is only advice, and not told.

use std::ops::Range;
use std::path::PathBuf;

use super::{Disk, DiskFile, LogBytes};
use crate::error::Result;
use crate::sync::Arc;

/// One call: which operation on which name, and, if it writes, on which bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// "read", "write", "sync", …
    pub operation: &'static str,
    /// The file or directory.
    pub name: String,
    /// The bytes that are written; empty for other operations.
    pub range: Range<u64>,
}

type Watch = Arc<dyn Fn(&Call) -> Result<()> + Send + Sync>;

/// Passes every call on to another disk, after telling somebody, who may refuse it: then nothing happens on
/// the disk. The n-th call is the n-th I/O of the disk below, too.
pub struct WatchedDisk {
    inner: Arc<dyn Disk>,
    watch: Watch,
}

impl WatchedDisk {
    /// `watch` is told of each call before it is made; its error is the call's.
    pub fn new(
        inner: Arc<dyn Disk>,
        watch: impl Fn(&Call) -> Result<()> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { inner, watch: Arc::new(watch) })
    }

    fn tell(&self, operation: &'static str, name: &str) -> Result<()> {
        (self.watch)(&Call { operation, name: name.to_owned(), range: 0..0 })
    }

    fn watched(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(WatchedFile { inner: file, name: name.to_owned(), watch: Arc::clone(&self.watch) })
    }
}

impl Disk for WatchedDisk {
    fn location(&self) -> PathBuf {
        self.inner.location()
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        self.tell("open", name)?;
        Ok(self.watched(name, self.inner.open(name)?))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        self.tell("create", name)?;
        Ok(self.watched(name, self.inner.create(name)?))
    }

    fn create_directory(&self, name: &str) -> Result<()> {
        self.tell("create directory", name)?;
        self.inner.create_directory(name)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.tell("rename", from)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.tell("remove", name)?;
        self.inner.remove(name)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        self.tell("list", directory)?;
        self.inner.list(directory)
    }

    fn sync_directory(&self, directory: &str) -> Result<()> {
        self.tell("sync", directory)?;
        self.inner.sync_directory(directory)
    }

    fn drop_cache(&self) -> Result<()> {
        self.tell("drop cache", "")?;
        self.inner.drop_cache()
    }
}

struct WatchedFile {
    inner: Arc<dyn DiskFile>,
    name: String,
    watch: Watch,
}

impl WatchedFile {
    fn tell(&self, operation: &'static str) -> Result<()> {
        self.tell_of(operation, 0..0)
    }

    fn tell_of(&self, operation: &'static str, range: Range<u64>) -> Result<()> {
        (self.watch)(&Call { operation, name: self.name.clone(), range })
    }
}

impl DiskFile for WatchedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.tell("read")?;
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.tell_of("write", offset..offset + bytes.len() as u64)?;
        self.inner.write_at(offset, bytes)
    }

    fn read_ahead(&self, offset: u64, length: u64) {
        self.inner.read_ahead(offset, length);
    }

    fn len(&self) -> Result<u64> {
        self.tell("look at")?;
        self.inner.len()
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.tell("set the length of")?;
        self.inner.set_len(length)
    }

    fn sync_data(&self) -> Result<()> {
        self.tell("sync")?;
        self.inner.sync_data()
    }

    fn map(&self, offset: u64, length: usize) -> Result<LogBytes> {
        self.tell("map")?;
        self.inner.map(offset, length)
    }
}
