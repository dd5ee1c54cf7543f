//! A disk that says what is about to be done to it.
//!
//! ```text
//!   engine --- call ---> watch: let it pass?  --- yes ---> inner disk
//!                              \--- no: an error, and nothing happens
//! ```
//!
//! Whoever watches may refuse a call, and from then on every call: that is what a process sees that dies, or
//! a machine whose power is gone. A [`Watcher`] also sees the bytes of each write, and what became of each call
//! that it let pass; a closure only sees the calls. Reading ahead is only advice, and not told.

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

/// Somebody who is told of each call.
pub trait Watcher: Send + Sync + 'static {
    /// Before a call is made; an error is the call's, and the call is not made. `bytes` are those of a write,
    /// and none for other operations.
    fn before(&self, call: &Call, bytes: &[u8]) -> Result<()>;

    /// After a call that was let pass: whether it succeeded.
    fn after(&self, _call: &Call, _succeeded: bool) {}
}

/// Two who watch, the second of whom need not be there. The first is told first, and the second nothing of what the
/// first refuses.
impl<A: Watcher, B: Watcher> Watcher for (Arc<A>, Option<Arc<B>>) {
    fn before(&self, call: &Call, bytes: &[u8]) -> Result<()> {
        self.0.before(call, bytes)?;
        self.1.as_ref().map_or(Ok(()), |second| second.before(call, bytes))
    }

    fn after(&self, call: &Call, succeeded: bool) {
        self.0.after(call, succeeded);
        self.1.iter().for_each(|second| second.after(call, succeeded));
    }
}

/// A closure that watches.
struct Told<F>(F);

impl<F: Fn(&Call) -> Result<()> + Send + Sync + 'static> Watcher for Told<F> {
    fn before(&self, call: &Call, _bytes: &[u8]) -> Result<()> {
        (self.0)(call)
    }
}

/// Passes every call on to another disk, after telling somebody, who may refuse it: then nothing happens on
/// the disk. The n-th call is the n-th I/O of the disk below, too (unless reads or writes are short there).
pub struct WatchedDisk {
    inner: Arc<dyn Disk>,
    watcher: Arc<dyn Watcher>,
}

impl WatchedDisk {
    /// `watch` is told of each call before it is made; its error is the call's.
    pub fn new(
        inner: Arc<dyn Disk>,
        watch: impl Fn(&Call) -> Result<()> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::watched_by(inner, Arc::new(Told(watch)))
    }

    /// `watcher` is told of each call before it is made and afterwards.
    pub fn watched_by(inner: Arc<dyn Disk>, watcher: Arc<dyn Watcher>) -> Arc<Self> {
        Arc::new(Self { inner, watcher })
    }

    fn pass<T>(
        &self,
        operation: &'static str,
        name: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let call = Call { operation, name: name.to_owned(), range: 0..0 };
        pass(&*self.watcher, &call, &[], make)
    }

    fn watched(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let watcher = Arc::clone(&self.watcher);
        Arc::new(WatchedFile { inner: file, name: name.to_owned(), watcher })
    }
}

/// Makes a call between telling of it and telling what became of it.
fn pass<T>(
    watcher: &dyn Watcher,
    call: &Call,
    bytes: &[u8],
    make: impl FnOnce() -> Result<T>,
) -> Result<T> {
    watcher.before(call, bytes)?;
    let made = make();
    watcher.after(call, made.is_ok());
    made
}

impl Disk for WatchedDisk {
    fn location(&self) -> PathBuf {
        self.inner.location()
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let file = self.pass("open", name, || self.inner.open(name))?;
        Ok(self.watched(name, file))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let file = self.pass("create", name, || self.inner.create(name))?;
        Ok(self.watched(name, file))
    }

    fn create_directory(&self, name: &str) -> Result<()> {
        self.pass("create directory", name, || self.inner.create_directory(name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.pass("rename", from, || self.inner.rename(from, to))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.pass("remove", name, || self.inner.remove(name))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        self.pass("list", directory, || self.inner.list(directory))
    }

    fn sync_directory(&self, directory: &str) -> Result<()> {
        self.pass("sync", directory, || self.inner.sync_directory(directory))
    }

    fn drop_cache(&self) -> Result<()> {
        self.pass("drop cache", "", || self.inner.drop_cache())
    }

    #[cfg(feature = "sabotage")]
    fn ignore_short_writes(&self) {
        self.inner.ignore_short_writes();
    }
}

struct WatchedFile {
    inner: Arc<dyn DiskFile>,
    name: String,
    watcher: Arc<dyn Watcher>,
}

impl WatchedFile {
    fn pass<T>(&self, operation: &'static str, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let call = Call { operation, name: self.name.clone(), range: 0..0 };
        pass(&*self.watcher, &call, &[], make)
    }
}

impl DiskFile for WatchedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.pass("read", || self.inner.read_at(offset, buffer))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let range = offset..offset.saturating_add(bytes.len() as u64);
        let call = Call { operation: "write", name: self.name.clone(), range };
        pass(&*self.watcher, &call, bytes, || self.inner.write_at(offset, bytes))
    }

    fn read_ahead(&self, offset: u64, length: u64) {
        self.inner.read_ahead(offset, length);
    }

    fn len(&self) -> Result<u64> {
        self.pass("look at", || self.inner.len())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.pass("set the length of", || self.inner.set_len(length))
    }

    fn sync_data(&self) -> Result<()> {
        self.pass("sync", || self.inner.sync_data())
    }

    fn map(&self, offset: u64, length: usize) -> Result<LogBytes> {
        self.pass("map", || self.inner.map(offset, length))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::{Fault, FaultKind, SimDisk};
    use crate::error::Error;
    use crate::sync::Mutex;

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Watcher for Notes {
        fn before(&self, call: &Call, bytes: &[u8]) -> Result<()> {
            let Call { operation, name, range } = call;
            self.0.lock().push(format!("{operation} {name} {range:?} {bytes:?}"));
            let refused = || Error::InvalidInput("not that one".to_owned());
            (operation != &"remove").then_some(()).ok_or_else(refused)
        }

        fn after(&self, call: &Call, succeeded: bool) {
            self.0.lock().push(format!("{} {succeeded}", call.operation));
        }
    }

    #[test]
    fn a_watcher_sees_bytes_and_what_became_of_each_call() {
        let inner = SimDisk::new();
        let notes = Arc::new(Notes::default());
        let disk = WatchedDisk::watched_by(Arc::new(inner.clone()), Arc::clone(&notes) as _);
        let file = disk.create("log").unwrap();
        file.write_at(7, b"\x01\x02").unwrap();
        let at = inner.io_count();
        inner.inject(Fault { at, kind: FaultKind::InputOutputError, forever: false });
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert!(disk.remove("log").is_err());
        let told = [
            ["create log 0..0 []", "create true"],
            ["write log 7..9 [1, 2]", "write true"],
            ["sync log 0..0 []", "sync false"],
            ["sync log 0..0 []", "sync true"],
        ];
        let refused = "remove log 0..0 []"; // And nothing came of it.
        let told = told.as_flattened().iter().chain([&refused]);
        assert_eq!(*notes.0.lock(), told.map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(inner.list("").unwrap(), ["log"]);
    }
}
