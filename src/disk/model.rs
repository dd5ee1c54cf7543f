//! The disk of the models: what a power failure would leave can be asked at any moment.
//!
//! Threads can be switched at each call, and in the middle of a sync: that makes durable what had
//! been written when it began, and says so when it ends. The disk orders nothing else: two threads that
//! both use it know no more of each other than before. A directory is durable at once.

#![allow(clippy::cast_possible_truncation)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use super::{Disk, DiskFile, LogBytes, end_of, read_range, split_name};
use crate::error::{Error, Result};
use crate::sync::model::Unseen;
use crate::sync::{Arc, AtomicU64, Ordering};

/// The unit in which a file is kept; what was never written is zeros and takes no memory.
const SECTOR: usize = 512;

type Files = BTreeMap<String, Arc<ModelFile>>;

/// A disk for one run of a model.
#[derive(Clone, Default)]
pub(crate) struct ModelDisk(Arc<Unseen<Files>>);

impl ModelDisk {
    /// What a power failure at this moment would leave of `length` bytes from `offset` of a file.
    pub(crate) fn durable(&self, name: &str, offset: u64, length: usize) -> Vec<u8> {
        let file = self.file("look at", name).expect("the file is there");
        file.switch(); // Else the checker would think it all the same when we look.
        let mut bytes = vec![0; length];
        file.contents.with(|contents| read(&contents.synced, offset, &mut bytes));
        bytes
    }

    fn file(&self, operation: &'static str, name: &str) -> Result<Arc<ModelFile>> {
        let found = self.0.with(|files| files.get(name).cloned());
        found.ok_or_else(|| Error::from_io(operation, name, io::ErrorKind::NotFound.into()))
    }
}

impl Disk for ModelDisk {
    fn location(&self) -> PathBuf {
        PathBuf::from("model")
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        Ok(self.file("open", name)?)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let file = Arc::new(ModelFile::default());
        let taken = self.0.with(|files| files.insert(name.to_owned(), Arc::clone(&file)));
        assert!(taken.is_none(), "{name} is created once");
        Ok(file)
    }

    fn create_directory(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let file = self.file("rename", from)?;
        self.0.with(|files| {
            files.remove(from);
            files.insert(to.to_owned(), file);
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.0.with(|files| drop(files.remove(name)));
        Ok(())
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        let inside = |name: &String| {
            let (parent, rest) = split_name(name);
            (parent == directory).then(|| rest.to_owned())
        };
        Ok(self.0.with(|files| files.keys().filter_map(inside).collect()))
    }

    fn sync_directory(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn drop_cache(&self) -> Result<()> {
        unreachable!("no model restarts")
    }
}

type Sectors = BTreeMap<u64, [u8; SECTOR]>;

#[derive(Default)]
struct Contents {
    length: u64,
    written: Sectors,
    synced: Sectors,
    /// Written since a sync began.
    unsynced: BTreeSet<u64>,
}

#[derive(Default)]
struct ModelFile {
    contents: Unseen<Contents>,
    /// Here threads are switched.
    calls: AtomicU64,
}

impl ModelFile {
    fn switch(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

/// The sectors that a range touches: number, bytes of the sector, bytes of the range.
fn parts(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let skip = (at % SECTOR as u64) as usize;
        let count = (SECTOR - skip).min(length - done);
        let part = (at / SECTOR as u64, skip..skip + count, done..done + count);
        done += count;
        (count > 0).then_some(part)
    })
}

fn read(sectors: &Sectors, offset: u64, buffer: &mut [u8]) {
    for (sector, from, to) in parts(offset, buffer.len()) {
        match sectors.get(&sector) {
            Some(bytes) => buffer[to].copy_from_slice(&bytes[from]),
            None => buffer[to].fill(0),
        }
    }
}

impl Contents {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (sector, to, from) in parts(offset, bytes.len()) {
            let bytes = &bytes[from];
            if self.written.contains_key(&sector) || bytes.iter().any(|byte| *byte != 0) {
                self.written.entry(sector).or_insert([0; SECTOR])[to].copy_from_slice(bytes);
                self.unsynced.insert(sector);
            }
        }
    }
}

impl DiskFile for ModelFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.switch();
        self.contents.with(|contents| {
            let count = super::bytes_before(contents.length, offset, buffer.len());
            read(&contents.written, offset, &mut buffer[..count]);
            Ok(count)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.switch();
        let end = end_of(offset, bytes.len()).expect("models write small files");
        self.contents.with(|contents| {
            contents.length = contents.length.max(end);
            contents.write(offset, bytes);
        });
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        self.switch();
        Ok(self.contents.with(|contents| contents.length))
    }

    fn set_len(&self, _: u64) -> Result<()> {
        unreachable!("no model cuts a file")
    }

    fn sync_data(&self) -> Result<()> {
        self.switch();
        let syncing: Sectors = self.contents.with(|contents| {
            let unsynced = std::mem::take(&mut contents.unsynced);
            unsynced.into_iter().map(|sector| (sector, contents.written[&sector])).collect()
        });
        self.switch();
        self.contents.with(|contents| contents.synced.extend(syncing));
        Ok(())
    }

    fn map(&self, offset: u64, length: usize) -> Result<LogBytes> {
        read_range(self, &PathBuf::from("model"), offset, length)
    }
}
