//! A transaction on tables: getting, putting and deleting keys, and ranges of them.
//!
//! Each call is a statement: it is done whole, or, where it fails, not at all.

use std::ops::{Bound, RangeBounds};

use super::tables::{Table, TableState};
use super::transaction::Transaction;
use crate::btree::{Direction, Locking, Scan, ScannedRef, Tree, TreeAccess};
use crate::config::FillFactor;
use crate::error::{Error, Result};
use crate::ids::PageId;
use crate::lock::{KeyName, LockName, Mode};
use crate::txn::Told;

impl Transaction {
    /// The value of a key.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let db = aries::Db::open(dir.path().join("mydb"))?;
    /// let accounts = db.table("accounts")?;
    /// let mut txn = db.begin()?;
    /// assert_eq!(txn.get(&accounts, b"bob")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidInput`](crate::Error::InvalidInput) for an empty key, one longer than a quarter page, or a table of another database;
    /// [`NoSuchTable`](crate::Error::NoSuchTable) when it was dropped; [`Deadlock`](crate::Error::Deadlock),
    /// [`LockTimeout`](crate::Error::LockTimeout), [`Corrupt`](crate::Error::Corrupt).
    pub fn get(&mut self, table: &Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let locking = self.use_table(table, Mode::IntentionShared)?;
        self.access(&table.0, locking, &mut Vec::new()).get(key, Mode::Shared)
    }

    /// The value of a key that this transaction is about to change: locked for itself at once. Who reads first and asks to change
    /// then may find that others have read it as well: one of them is the victim of a deadlock.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let db = aries::Db::open(dir.path().join("mydb"))?;
    /// let counters = db.table("counters")?;
    /// db.transact(|txn| {
    ///     let count = txn.get_for_update(&counters, b"visits")?.map_or(0, |bytes| bytes[0]);
    ///     txn.put(&counters, b"visits", &[count + 1])
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn get_for_update(&mut self, table: &Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.change(table, |access| access.get(key, Mode::Exclusive))
    }

    /// Puts a value: in place of the key's, if it has one.
    ///
    /// # Errors
    /// As [`Transaction::get`]; [`InvalidInput`](crate::Error::InvalidInput) also for a value of more than 16 MiB;
    /// [`DiskFull`](crate::Error::DiskFull) is an ordinary error: the transaction can go on, commit or roll back.
    pub fn put(&mut self, table: &Table, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_batch(table, &[(key, value)])
    }

    /// Puts several values: all of them, or, where it fails, none. Later ones count more.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let db = aries::Db::open(dir.path().join("mydb"))?;
    /// let accounts = db.table("accounts")?;
    /// let mut txn = db.begin()?;
    /// txn.put_batch(&accounts, &[(b"alice", b"100"), (b"bob", b"20")])?;
    /// txn.commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn put_batch(&mut self, table: &Table, pairs: &[(&[u8], &[u8])]) -> Result<()> {
        self.refuse_nested()?;
        let teller = self.teller(table);
        self.change(table, |access| {
            pairs.iter().try_for_each(|(key, value)| {
                telling(access, teller, key, Some(value), |access| access.put(key, value))
            })
        })
    }

    /// Deletes a key; gives whether it was there.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn delete(&mut self, table: &Table, key: &[u8]) -> Result<bool> {
        self.refuse_nested()?;
        let teller = self.teller(table);
        self.change(table, |access| telling(access, teller, key, None, |access| access.delete(key)))
    }

    /// The keys of a range with their values, in order; `.rev()` gives them from the largest on. What was read stays as it is until this
    /// transaction ends, and no other key comes between. A range that is upside down is empty. Reading a whole table (`..`) locks it whole.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let db = aries::Db::open(dir.path().join("mydb"))?;
    /// let accounts = db.table("accounts")?;
    /// let mut txn = db.begin()?;
    /// txn.put_batch(&accounts, &[(b"alice", b"100"), (b"bob", b"20"), (b"carol", b"3")])?;
    /// let from_b: Vec<_> = txn.scan(&accounts, b"b".to_vec()..)?.collect::<Result<_, _>>()?;
    /// assert_eq!(from_b[0], (b"bob".to_vec(), b"20".to_vec()));
    /// let last = txn.scan(&accounts, ..)?.next_back().unwrap()?;
    /// assert_eq!(last.0, b"carol");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Transaction::get`]; each item may fail as well, and is the last one then.
    pub fn scan<R: RangeBounds<Vec<u8>>>(
        &mut self,
        table: &Table,
        range: R,
    ) -> Result<TableScan<'_>> {
        let (from, to) = (range.start_bound().cloned(), range.end_bound().cloned());
        let is_whole = matches!((&from, &to), (Bound::Unbounded, Bound::Unbounded));
        let mode = if is_whole { Mode::Shared } else { Mode::IntentionShared };
        let locking = self.use_table(table, mode)?;
        let scan = Scan::new(from, to);
        Ok(TableScan { txn: self, table: table.clone(), locking, scan, failed: false })
    }

    /// What a nested top action changes stays, and what its transaction changed before is undone by key: of one key both
    /// cannot be.
    fn refuse_nested(&self) -> Result<()> {
        match self.txn.is_nested() {
            false => Ok(()),
            true => Err(Error::InvalidInput(
                "a nested top action changes pages and records, no tables: end it first".into(),
            )),
        }
    }

    /// The name under which changes of the table are told in the log, if they are.
    fn teller<'t>(&self, table: &'t Table) -> Option<&'t str> {
        self.shared.log_key_changes.then(|| table.name())
    }

    /// Locks the table as it must be, and says whether its keys must be locked, too.
    fn use_table(&mut self, table: &Table, mode: Mode) -> Result<Locking> {
        table.check(&self.shared)?;
        if let Some(mode) = self.table_locks.missing(table.root(), mode) {
            self.lock(LockName::Table(table.root()), mode)?;
            self.table_locks.locked(table.root(), mode);
            // It may have been dropped while this waited.
            table.check(&self.shared)?;
        }
        Ok(self.table_locks.locking(table.root(), mode))
    }

    /// Locks a key, whether or not it is there.
    pub(super) fn lock_key(&mut self, table: &Table, key: &[u8], mode: Mode) -> Result<()> {
        self.use_table(table, Mode::IntentionExclusive)?;
        self.lock(LockName::Key(table.root(), KeyName::of(key)), mode)
    }

    fn access<'t>(
        &'t mut self,
        table: &'t TableState,
        locking: Locking,
        emptied: &'t mut Vec<Vec<u8>>,
    ) -> TreeAccess<'t> {
        TreeAccess {
            tree: &table.tree,
            txn: &mut self.txn,
            space: &self.shared.engine.space,
            locking,
            freed: &mut self.freed,
            emptied,
        }
    }

    /// Changes a table, or leaves everything as it was.
    fn change<T>(
        &mut self,
        table: &Table,
        work: impl FnOnce(&mut TreeAccess<'_>) -> Result<T>,
    ) -> Result<T> {
        self.shared.check_open()?;
        let locking = self.use_table(table, Mode::IntentionExclusive)?;
        let (before, mut emptied) = (self.txn.savepoint(), Vec::new());
        let done = work(&mut self.access(&table.0, locking, &mut emptied));
        self.emptied.extend(emptied.into_iter().map(|key| (table.clone(), key)));
        if done.is_err() {
            // If this fails the engine has stopped, and says so next time.
            let _ = self.txn.rollback_to(before);
        }
        done
    }

    /// Loads an empty table. Nothing else may be done in the transaction.
    pub(super) fn load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        table: &Table,
        fill_factor: FillFactor,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<u64> {
        let locking = self.use_table(table, Mode::Exclusive)?;
        self.access(&table.0, locking, &mut Vec::new()).load(fill_factor, pairs)
    }

    /// Makes an empty tree.
    pub(super) fn create_tree(&mut self) -> Result<PageId> {
        Ok(Tree::create(&mut self.txn, &self.shared.engine.space)?.root())
    }

    /// Frees all pages of a table that this transaction has locked for itself.
    pub(super) fn free_tree(&mut self, table: &Table) -> Result<()> {
        self.access(&table.0, Locking::Table, &mut Vec::new()).free_all()
    }
}

/// Changes a key, and tells it in the log if the table's name is given for that.
fn telling<T>(
    access: &mut TreeAccess<'_>,
    table: Option<&str>,
    key: &[u8],
    new: Option<&[u8]>,
    change: impl FnOnce(&mut TreeAccess<'_>) -> Result<T>,
) -> Result<T> {
    let Some(table) = table else { return change(access) };
    let old = access.get(key, Mode::Exclusive)?;
    if old.is_none() && new.is_none() {
        return change(access);
    }
    let told = Told { table: table.as_bytes(), key, old: old.as_deref(), new };
    let price = access.txn.prepare_to_tell(&told)?;
    let done = change(access);
    access.txn.forget_to_tell(price);
    if done.is_ok() {
        access.txn.tell(&told)?;
    }
    done
}

/// A range of keys with their values: see [`Transaction::scan`].
pub struct TableScan<'t> {
    txn: &'t mut Transaction,
    table: Table,
    locking: Locking,
    scan: Scan,
    failed: bool,
}

impl TableScan<'_> {
    /// The next pair in memory of the range itself, until the next one is asked for: without a copy of its own, for whoever only
    /// looks at it. After a failure there is none any more.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let db = aries::Db::open(dir.path().join("mydb"))?;
    /// let accounts = db.table("accounts")?;
    /// let mut txn = db.begin()?;
    /// txn.put_batch(&accounts, &[(b"alice", b"100"), (b"bob", b"20")])?;
    /// let mut pairs = txn.scan(&accounts, ..)?;
    /// let mut bytes = 0;
    /// while let Some((_, value)) = pairs.next_ref()? {
    ///     bytes += value.len();
    /// }
    /// assert_eq!(bytes, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn next_ref(&mut self) -> Result<Option<ScannedRef<'_>>> {
        Ok(if self.read(Direction::Forwards)? { self.scan.pair() } else { None })
    }

    /// The same from the largest key on.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn next_back_ref(&mut self) -> Result<Option<ScannedRef<'_>>> {
        Ok(if self.read(Direction::Backwards)? { self.scan.pair() } else { None })
    }

    fn read(&mut self, direction: Direction) -> Result<bool> {
        if self.failed {
            return Ok(false);
        }
        let mut emptied = Vec::new();
        let mut access = self.txn.access(&self.table.0, self.locking, &mut emptied);
        let read = access.scan(&mut self.scan, direction);
        self.txn.emptied.extend(emptied.into_iter().map(|key| (self.table.clone(), key)));
        self.failed = read.is_err();
        read
    }

    fn step(&mut self, direction: Direction) -> Option<Result<Pair>> {
        let read = self.read(direction).map(|is_read| {
            let pair = if is_read { self.scan.pair() } else { None };
            pair.map(|(key, value)| (key.to_vec(), value.to_vec()))
        });
        read.transpose()
    }
}

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

impl Iterator for TableScan<'_> {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(Direction::Forwards)
    }
}

impl DoubleEndedIterator for TableScan<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(Direction::Backwards)
    }
}
