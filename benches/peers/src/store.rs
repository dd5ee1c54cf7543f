//! What the workloads ask of a store, and nothing else.
//!
//! - [`Store::session`]: what one thread works with. Sessions of one store work side by side.
//! - [`Session::write`]: one serialisable transaction, durable on return. A store that gives up a transaction
//!   in favour of another runs the work again until it succeeds, so that the work can count its runs.
//! - [`Session::read`]: one read transaction.
//! - All keys and values are in one table, ordered by key. Each store gives the bytes that it finds in the way that
//!   costs it least: to a closure, so that whoever need not copy them does not.
//!
//! What each peer does for it, and how it is made durable, is told in its file in `stores/`.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Bytes of a key: one that says which kind it is of, and a number, the highest byte first.
pub type Key = [u8; 9];
/// Bytes of a value.
pub type Value = [u8; 100];

/// Keys that one transaction reads where a whole table is read.
const SCANNED_AT_ONCE: usize = 1000;

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Memory for what the store caches, in bytes.
    pub cache_bytes: usize,
    /// Whether all that is written stays in the log, as far as the store lets one say so: no checkpoint is
    /// taken and nothing is flushed meanwhile.
    pub whole_log: bool,
}

/// A key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    pub key: Key,
    pub value: Value,
}

/// An open store.
pub trait Store: Send + Sync {
    /// What one thread works with.
    fn session(&self) -> Result<Box<dyn Session + '_>>;

    /// Brings everything into its final place, so that a restart begins here. Nothing, for those that always do.
    fn checkpoint(&self) -> Result<()> {
        Ok(())
    }

    /// Bytes of the log so far; `None` for a store that has none.
    fn log_bytes(&self) -> Result<Option<u64>>;

    /// Closes it as its makers want it closed.
    fn close(self: Box<Self>) -> Result<()>;
}

/// What a transaction does. It may be run several times; the last run counts.
pub type WriteWork<'w> = dyn FnMut(&mut dyn WriteTxn) -> Result<()> + 'w;
/// The same, for one that only reads.
pub type ReadWork<'w> = dyn FnMut(&mut dyn ReadTxn) -> Result<()> + 'w;

/// What one thread works with.
pub trait Session {
    /// One serialisable transaction, durable on return.
    fn write(&mut self, work: &mut WriteWork<'_>) -> Result<()>;

    /// One transaction that only reads.
    fn read(&mut self, work: &mut ReadWork<'_>) -> Result<()>;

    /// Puts all these pairs, with so many of them not durable yet at any time; all are on return. Where there are no deferred
    /// commits, these are transactions of `outstanding` puts.
    fn put_stream(
        &mut self,
        pairs: &mut dyn Iterator<Item = Pair>,
        outstanding: usize,
    ) -> Result<()> {
        loop {
            let batch: Vec<Pair> = pairs.take(outstanding).collect();
            if batch.is_empty() {
                return Ok(());
            }
            self.write(&mut |txn| {
                batch.iter().try_for_each(|pair| txn.put(&pair.key, &pair.value))
            })?;
        }
    }

    /// Puts sorted pairs into an empty store as fast as it can, durable on return. Not necessarily one transaction.
    fn load(&mut self, pairs: &[Pair]) -> Result<()>;
}

/// A transaction that reads.
pub trait ReadTxn {
    /// Shows the value at `key`; false if there is none.
    fn get(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Shows up to `count` pairs in order, the first key not below `from`; how many there were.
    fn scan(
        &mut self,
        from: &[u8],
        count: usize,
        see: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize>;
}

/// A transaction that reads and writes.
pub trait WriteTxn: ReadTxn {
    /// Puts a value in place of what was there.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// [`ReadTxn::get`], of a value that this transaction is going to replace.
    fn get_for_update(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.get(key, see)
    }
}

/// The key with this number.
pub fn key(kind: u8, number: u64) -> Key {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// A value that nobody can compress, different for each key and each time that the key is written.
pub fn value(number: u64, stamp: u64) -> Value {
    let mut value = [0; 100];
    fastrand::Rng::with_seed(number.rotate_left(32) ^ stamp).fill(&mut value);
    value
}

/// Puts one pair durably; how often it had to be tried again.
pub fn put(session: &mut dyn Session, pair: &Pair) -> Result<u64> {
    let mut runs = 0;
    session.write(&mut |txn| {
        runs += 1;
        txn.put(&pair.key, &pair.value)
    })?;
    Ok(runs - 1)
}

/// Whether exactly this value is at `key`.
pub fn holds(session: &mut dyn Session, pair: &Pair) -> Result<bool> {
    let mut right = false;
    session.read(&mut |txn| {
        txn.get(&pair.key, &mut |value| right = value == pair.value)?;
        Ok(())
    })?;
    Ok(right)
}

/// Shows everything in the store, in order, in transactions of a thousand pairs.
pub fn scan_all(
    session: &mut dyn Session,
    mut see: impl FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    let mut from = Vec::new();
    loop {
        let mut pairs = Vec::with_capacity(SCANNED_AT_ONCE);
        session.read(&mut |txn| {
            pairs.clear();
            txn.scan(&from, SCANNED_AT_ONCE, &mut |key, value| {
                pairs.push((key.to_vec(), value.to_vec()));
            })?;
            Ok(())
        })?;
        pairs.iter().try_for_each(|(key, value)| see(key, value))?;
        let Some((last, _)) = pairs.pop() else { return Ok(()) };
        from = last;
        from.push(0);
    }
}

/// Fails unless the store holds these pairs, in this order, and nothing else.
///
/// # Errors
/// What is there instead, or an error of the store.
pub fn verify(store: &dyn Store, pairs: impl IntoIterator<Item = Pair>) -> Result<()> {
    let mut expected = pairs.into_iter();
    let mut session = store.session()?;
    scan_all(session.as_mut(), |key, value| {
        let pair = expected.next().context("there are more pairs than were put")?;
        ensure!(key == pair.key, "key {key:?} where {:?} was put", pair.key);
        ensure!(value == pair.value, "another value at {key:?} than was put");
        Ok(())
    })?;
    ensure!(expected.next().is_none(), "there are fewer pairs than were put");
    Ok(())
}

/// The sum of what `count` says of each file below `path`, by its name.
pub fn file_bytes(path: &Path, count: &dyn Fn(&str, &Metadata) -> u64) -> Result<u64> {
    let mut bytes = 0;
    for entry in path.read_dir().with_context(|| format!("reading {}", path.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => file_bytes(&entry.path(), count)?,
            false => count(&entry.file_name().to_string_lossy(), &metadata),
        };
    }
    Ok(bytes)
}

/// The room that a file has on the disk.
pub fn room(file: &Metadata) -> u64 {
    file.blocks() * 512
}

/// Bytes of the files whose names end like this: of each its length or its room, whichever is less, for some are made longer, or given more
/// room, than what was written.
pub fn log_file_bytes(path: &Path, ending: &str) -> Result<u64> {
    let written = |file: &Metadata| file.len().min(room(file));
    file_bytes(path, &|name, file| if name.ends_with(ending) { written(file) } else { 0 })
}
