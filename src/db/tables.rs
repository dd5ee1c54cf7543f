//! Tables: named trees, and the catalog that knows them.
//!
//! ```text
//!   page 0, entry 0  →  root of the catalog (a tree)  →  name → root of the table (a tree)
//! ```
//!
//! The catalog is made together with the first table, by one structure change. Entries of it are ordinary cells: they
//! are locked, logged and undone like those of any table.
//!
//! Invariants:
//! - there is one [`Tree`] for each root in use, whoever asks for it;
//! - a handle of a table that was dropped is refused, even if another table has its root by now.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::Duration;

use super::{Db, Shared, Transaction};
use crate::btree::{Locking, Tree, TreeAccess, each_cell};
use crate::error::{Error, Result};
use crate::ids::{BuildNumberHasher, PageId};
use crate::lock::{LockName, Mode};
use crate::page::{self, PageKind, PageState, space_map, tree};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

/// Leaves to be taken out of their trees that are remembered at most: others are met again by whoever scans.
const MOST_EMPTIED: usize = 1024;

/// The longest pause of who was a victim once; it doubles each time, so often at most.
const PAUSE: Duration = Duration::from_micros(50);
const MOST_DOUBLINGS: u32 = 8;

/// How long who was a victim so often pauses at most before it tries again.
fn longest_pause(victim: u32) -> Duration {
    match victim.checked_sub(1) {
        None => Duration::ZERO,
        Some(again) => PAUSE * (1 << again.min(MOST_DOUBLINGS)),
    }
}

fn pause(victim: u32) {
    let longest = longest_pause(victim);
    if !longest.is_zero() {
        // No two of these states are the same.
        let random = (RandomState::new().hash_one(victim) >> 48) as u16;
        thread::sleep(longest * u32::from(random) / u32::from(u16::MAX));
    }
}

/// A table: keys and values, in the order of the keys. Cheap to clone; it may be used from any thread, in
/// transactions of the database that it was got from.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let db = aries::Db::open(dir.path().join("mydb"))?;
/// let accounts = db.table("accounts")?;
/// let mut txn = db.begin()?;
/// txn.put(&accounts, b"alice", b"100")?;
/// assert_eq!(txn.get(&accounts, b"alice")?.as_deref(), Some(&b"100"[..]));
/// txn.commit()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Table(pub(super) Arc<TableState>);

/// What all handles of a table share.
pub(super) struct TableState {
    name: String,
    pub(super) tree: Tree,
    /// The address of what the handles of its database share: it lives as long as any of them.
    database: u128,
    dropped: AtomicBool,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.0.name).field("root", &self.root()).finish()
    }
}

impl Table {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The page of its tree's root: it never changes.
    #[must_use]
    pub fn root(&self) -> PageId {
        self.0.tree.root()
    }

    /// Refuses to be used where it does not belong, or when it is gone.
    pub(super) fn check(&self, shared: &Shared) -> Result<()> {
        if self.0.database != shared.tables.database {
            let name = &self.0.name;
            let message = format!("the table {name:?} belongs to another database");
            return Err(Error::InvalidInput(message));
        }
        if self.0.dropped.load(Ordering::Acquire) {
            return Err(Error::NoSuchTable { name: self.0.name.clone() });
        }
        Ok(())
    }
}

/// What is known of the catalog: whoever makes it tells.
#[derive(Default)]
enum Catalog {
    /// Nobody has looked yet.
    #[default]
    Unknown,
    Missing,
    There(Table),
}

/// The tables of an open database.
pub(super) struct Tables {
    /// What tells this open database from all others of the process, and of others.
    database: u128,
    /// By name, those that somebody asked for.
    known: Mutex<HashMap<String, Table>>,
    catalog: Mutex<Catalog>,
    /// Leaves that may hold nothing but ghosts: a key that belongs into each.
    emptied: Mutex<Vec<(Table, Vec<u8>)>>,
}

impl Default for Tables {
    fn default() -> Self {
        let half = || u128::from(RandomState::new().hash_one(0));
        Self {
            database: half() << 64 | half(),
            known: Mutex::default(),
            catalog: Mutex::default(),
            emptied: Mutex::default(),
        }
    }
}

impl Shared {
    fn table_of(&self, name: &str, root: PageId) -> Table {
        Table(Arc::new(TableState {
            name: name.to_owned(),
            tree: Tree::new(root),
            database: self.tables.database,
            dropped: AtomicBool::new(false),
        }))
    }

    /// The catalog, if there is one.
    pub(super) fn catalog(&self) -> Result<Option<Table>> {
        let mut known = self.tables.catalog.lock();
        if let Catalog::Unknown = *known {
            let guard = self.engine.transactions.pool().fix_read(PageId(0))?;
            *known = match space_map::state(guard.bytes(), 0) {
                Some(PageState::Catalog(root)) => Catalog::There(self.table_of("", root)),
                _ => Catalog::Missing,
            };
        }
        Ok(match &*known {
            Catalog::There(table) => Some(table.clone()),
            Catalog::Unknown | Catalog::Missing => None,
        })
    }

    /// The table of this name as it is in the catalog, read by `txn`.
    pub(super) fn look_up(&self, txn: &mut Transaction, name: &str) -> Result<Option<Table>> {
        let Some(catalog) = self.catalog()? else { return Ok(None) };
        let Some(root) = txn.get(&catalog, name.as_bytes())? else { return Ok(None) };
        let root = root.try_into().map(u64::from_le_bytes).map_err(|root: Vec<u8>| {
            let place = self.engine.transactions.pool().place(catalog.root());
            let found = format!("{} bytes", root.len());
            Error::corrupt(place, format!("the root of the table {name:?}, 8 bytes"), found)
        })?;
        // One object for all who use it: two trees with one root would not keep out of each other's way. (The name is locked, so
        // what is known of it under another root, or as dropped, is of an earlier table.)
        let mut known = self.tables.known.lock();
        let table = known.entry(name.to_owned());
        let table = table.or_insert_with(|| self.table_of(name, PageId(root)));
        if table.root() != PageId(root) || table.0.dropped.load(Ordering::Acquire) {
            *table = self.table_of(name, PageId(root));
        }
        Ok(Some(table.clone()))
    }

    /// The tables that the catalog has at this moment, without locks: they may be others at the next.
    pub(super) fn listed(&self, catalog: &Table) -> Result<Vec<Table>> {
        let pool = self.engine.transactions.pool();
        let (mut tables, mut fault) = (Vec::new(), None);
        each_cell(pool, &catalog.0.tree, &mut |name, root| match (
            std::str::from_utf8(name),
            <[u8; 8]>::try_from(root),
        ) {
            (Ok(name), Ok(root)) => {
                let root = PageId(u64::from_le_bytes(root));
                let known = self.known(name).filter(|known| known.root() == root);
                tables.push(known.unwrap_or_else(|| self.table_of(name, root)));
            }
            _ => fault = Some(format!("{} bytes for {:?}", root.len(), name.escape_ascii())),
        })?;
        match fault {
            None => Ok(tables),
            Some(fault) => {
                let place = pool.place(catalog.root());
                Err(Error::corrupt(place, "names of tables and roots of 8 bytes", fault))
            }
        }
    }

    /// Refuses pages that belong to tables: their records are not reached by slots.
    pub(super) fn refuse_tables(&self, page: PageId) -> Result<()> {
        if self.catalog()?.is_none() {
            return Ok(());
        }
        let guard = self.engine.transactions.pool().fix_read(page)?;
        match page::kind(guard.bytes()) {
            Some(PageKind::Tree | PageKind::Overflow) => {
                Err(Error::InvalidInput(format!("page {page} belongs to a table")))
            }
            _ => Ok(()),
        }
    }

    fn known(&self, name: &str) -> Option<Table> {
        let known = self.tables.known.lock();
        known.get(name).filter(|table| !table.0.dropped.load(Ordering::Acquire)).cloned()
    }

    pub(super) fn note_emptied(&self, table: &Table, key: Vec<u8>) {
        let mut emptied = self.tables.emptied.lock();
        if emptied.len() < MOST_EMPTIED {
            emptied.push((table.clone(), key));
        }
    }
}

impl Db {
    /// The table of this name; made where there is none: as durably as a commit is.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a name that is empty or longer than a quarter page; [`Error::DiskFull`];
    /// [`Error::Closed`], final errors.
    pub fn table(&self, name: &str) -> Result<Table> {
        self.shared.check_open()?;
        self.check_name(name)?;
        loop {
            if let Some(table) = self.shared.known(name) {
                return Ok(table);
            }
            self.make_table(name)?;
            // Somebody else may drop it as soon as it is made.
            if let Some(table) = self.open_table(name)? {
                return Ok(table);
            }
        }
    }

    /// Makes a table, if there is none of this name.
    fn make_table(&self, name: &str) -> Result<()> {
        self.make_catalog()?;
        self.transact(|txn| {
            if self.shared.look_up(txn, name)?.is_some() {
                return Ok(());
            }
            let catalog = self.shared.catalog()?.expect("just made");
            // Whoever else makes this table waits here, and then finds it.
            txn.lock_key(&catalog, name.as_bytes(), Mode::Exclusive)?;
            if self.shared.look_up(txn, name)?.is_some() {
                return Ok(());
            }
            let root = txn.create_tree()?;
            txn.put(&catalog, name.as_bytes(), &root.0.to_le_bytes())
        })
    }

    /// The table of this name, if there is one.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Corrupt`]; those of reading.
    pub fn open_table(&self, name: &str) -> Result<Option<Table>> {
        self.shared.check_open()?;
        if let Some(table) = self.shared.known(name) {
            return Ok(Some(table));
        }
        if self.check_name(name).is_err() {
            return Ok(None);
        }
        self.transact(|txn| self.shared.look_up(txn, name))
    }

    /// The names of all tables, in order.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Corrupt`]; those of reading.
    pub fn tables(&self) -> Result<Vec<String>> {
        self.shared.check_open()?;
        let Some(catalog) = self.shared.catalog()? else { return Ok(Vec::new()) };
        self.transact(|txn| {
            let names = txn.scan(&catalog, ..)?;
            names.map(|pair| Ok(String::from_utf8_lossy(&pair?.0).into_owned())).collect()
        })
    }

    /// Drops a table: its pages are free when this returns, as durably as a commit is.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`]; [`Error::TableInUse`] while a transaction is under way that has used it, or somebody verifies it;
    /// [`Error::DiskFull`]; final errors.
    pub fn drop_table(&self, name: &str) -> Result<()> {
        let no_such = || Error::NoSuchTable { name: name.to_owned() };
        let table = self.open_table(name)?.ok_or_else(no_such)?;
        let catalog = self.shared.catalog()?.ok_or_else(no_such)?;
        self.transact(|txn| {
            let locks = self.shared.engine.transactions.locks();
            if !locks.try_lock(txn.id(), LockName::Table(table.root()), Mode::Exclusive) {
                return Err(Error::TableInUse { name: name.to_owned() });
            }
            if !txn.delete(&catalog, name.as_bytes())? {
                return Err(no_such());
            }
            txn.free_tree(&table)?;
            // Whoever waits for the lock on the table sees this when it is granted.
            table.0.dropped.store(true, Ordering::Release);
            Ok(())
        })?;
        let mut known = self.shared.tables.known.lock();
        // Others may have made it anew meanwhile, with the same root.
        if known.get(name).is_some_and(|known| Arc::ptr_eq(&known.0, &table.0)) {
            known.remove(name);
        }
        Ok(())
    }

    /// Runs `work` in a transaction and commits. Where it was the victim of a deadlock, it is rolled back and run again, after a short pause that grows with the tries and is another for each: two that were in each
    /// other's way shall not be so again.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let db = aries::Db::open(dir.path().join("mydb"))?;
    /// let accounts = db.table("accounts")?;
    /// let before = db.transact(|txn| {
    ///     let before = txn.get(&accounts, b"alice")?;
    ///     txn.put(&accounts, b"alice", b"100")?;
    ///     Ok(before)
    /// })?;
    /// assert_eq!(before, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Whatever else `work` fails with, [`Error::LockTimeout`] for one: it is rolled back then. Those of
    /// [`Transaction::commit`].
    pub fn transact<T>(&self, mut work: impl FnMut(&mut Transaction) -> Result<T>) -> Result<T> {
        let mut victim = 0;
        loop {
            pause(victim);
            let mut txn = self.begin()?;
            match work(&mut txn) {
                Ok(done) => {
                    txn.commit()?;
                    return Ok(done);
                }
                Err(Error::Deadlock { .. }) => {
                    txn.rollback()?;
                    victim += 1;
                }
                Err(error) => {
                    // If this fails as well the engine has stopped, and says so next time.
                    let _ = txn.rollback();
                    return Err(error);
                }
            }
        }
    }

    fn check_name(&self, name: &str) -> Result<()> {
        let page_size = self.shared.engine.transactions.pool().page_size();
        let most = tree::max_key_bytes(page_size);
        if (1..=most).contains(&name.len()) {
            return Ok(());
        }
        let bytes = name.len();
        let message = format!("a table's name of {bytes} bytes: 1 to {most} are possible");
        Err(Error::InvalidInput(message))
    }

    /// Makes the catalog if there is none.
    fn make_catalog(&self) -> Result<()> {
        if self.shared.catalog()?.is_some() {
            return Ok(());
        }
        let mut known = self.shared.tables.catalog.lock();
        if let Catalog::Missing = *known {
            let _admission = self.shared.admit();
            let mut txn = self.shared.engine.transactions.begin()?;
            let root = Tree::create_catalog(&mut txn, &self.shared.engine.space)?;
            txn.commit(&())?;
            *known = Catalog::There(self.shared.table_of("", root));
        }
        Ok(())
    }
}

impl Shared {
    /// Takes a leaf out of its tree that holds nothing but ghosts, if one was noticed. Gives whether one was.
    pub(super) fn reclaim_step(&self) -> Result<bool> {
        let Some((table, key)) = self.tables.emptied.lock().pop() else { return Ok(false) };
        let _admission = self.admit();
        let mut txn = self.engine.transactions.begin()?;
        let locks = self.engine.transactions.locks();
        let name = LockName::Table(table.root());
        // Whoever has locked the whole table has no locks on keys that would tell what is still wanted.
        let is_ours = locks.try_lock(txn.id(), name, Mode::IntentionExclusive);
        if is_ours && table.check(self).is_ok() {
            let mut access = TreeAccess {
                tree: &table.0.tree,
                txn: &mut txn,
                space: &self.engine.space,
                locking: Locking::Keys,
                freed: &mut Vec::new(),
                emptied: &mut Vec::new(),
            };
            access.reclaim(&key)?;
        }
        let _ = txn.commit_deferred(&())?;
        Ok(true)
    }
}

/// Which tables a transaction has locked, and how.
#[derive(Default)]
pub(super) struct TableLocks(HashMap<PageId, Mode, BuildNumberHasher>);

impl TableLocks {
    /// The mode in which the table must be locked for this; `None` if it is already.
    pub(super) fn missing(&self, root: PageId, wanted: Mode) -> Option<Mode> {
        let held = self.0.get(&root).copied();
        held.is_none_or(|held| !held.includes(wanted)).then_some(wanted)
    }

    /// The table was locked.
    pub(super) fn locked(&mut self, root: PageId, mode: Mode) {
        let held = self.0.get(&root).copied().unwrap_or(mode);
        self.0.insert(root, held.supremum(mode));
    }

    /// Whether keys must be locked to be read, or to be changed.
    pub(super) fn locking(&self, root: PageId, wanted: Mode) -> Locking {
        let needed = if wanted.changes() { Mode::Exclusive } else { Mode::Shared };
        match self.0.get(&root) {
            Some(held) if held.includes(needed) => Locking::Table,
            _ => Locking::Keys,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_the_first_try_has_none() {
        assert_eq!(longest_pause(0), Duration::ZERO);
        let pauses: Vec<_> = (1..20).map(longest_pause).collect();
        assert_eq!((pauses[0], pauses[1]), (PAUSE, 2 * PAUSE));
        assert!(pauses.is_sorted() && pauses[18] == pauses[10], "{pauses:?}");
    }

    #[test]
    fn a_locked_table_needs_no_locks_on_keys() {
        let (mut locks, root) = (TableLocks::default(), PageId(7));
        assert_eq!(locks.missing(root, Mode::IntentionShared), Some(Mode::IntentionShared));
        locks.locked(root, Mode::IntentionExclusive);
        assert_eq!(locks.missing(root, Mode::IntentionShared), None);
        assert_eq!(locks.locking(root, Mode::IntentionShared), Locking::Keys);
        locks.locked(root, Mode::Shared);
        assert_eq!(locks.locking(root, Mode::IntentionShared), Locking::Table);
        assert_eq!(locks.locking(root, Mode::IntentionExclusive), Locking::Keys);
    }
}
