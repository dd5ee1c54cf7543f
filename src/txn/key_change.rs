//! Telling in the log what is done to keys of tables, in full, for those who read it: see [`KeyChange`].
//!
//! Restart needs none of it. The record stands behind the changes of pages that it tells of, in the chain of its transaction,
//! where undo passes over it: so whoever walks that chain as undo does finds what was not undone.
//!
//! Source: not in the paper. PostgreSQL logs more than its restart needs for the same end (`wal_level = logical`).

use super::{Transaction, UndoNext};
use crate::error::Result;
use crate::record::{KEY_CHANGE_FIELDS_BYTES, KeyChange, LogRecord, ToldValue};

/// What is told, but for whose it is and when.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// The table's name.
    pub table: &'a [u8],
    /// The key.
    pub key: &'a [u8],
    /// Its value before, if it had one.
    pub old: Option<&'a [u8]>,
    /// Its value after, if it has one.
    pub new: Option<&'a [u8]>,
}

impl Transaction {
    /// Reserves log for telling a change; gives how much. Before the change is made, so that what is made is told.
    ///
    /// # Errors
    /// [`crate::Error::DiskFull`]; the transaction can go on.
    pub fn prepare_to_tell(&mut self, told: &Told<'_>) -> Result<u64> {
        let value = |value: Option<&[u8]>| value.map_or(0, |value| self.part(value).len());
        let bytes = told.table.len() + told.key.len() + value(told.old) + value(told.new);
        let price = self.manager.log().price(KEY_CHANGE_FIELDS_BYTES + bytes);
        self.reserve(price)?;
        self.owed += price;
        Ok(price)
    }

    /// What was reserved is needed no longer: the change was not made, or is told now.
    pub fn forget_to_tell(&mut self, price: u64) {
        self.owed = self.owed.saturating_sub(price);
    }

    /// Tells a change that was made.
    ///
    /// # Errors
    /// Final ones.
    pub fn tell(&mut self, told: &Told<'_>) -> Result<()> {
        let value = |value: &'_ [u8]| u32::try_from(value.len()).expect("16 MiB at most");
        let part = |whole| ToldValue { length: value(whole), bytes: self.part(whole) };
        let record = LogRecord::KeyChange(KeyChange {
            link: self.link(),
            wall_time_micros: self.manager.log().wall_time_micros(),
            table: told.table,
            key: told.key,
            old: told.old.map(part),
            new: told.new.map(part),
        });
        self.encoded.set(&record);
        let lsn = self.append(UndoNext::Unchanged, None)?;
        self.told(lsn, "KeyChange", None);
        Ok(())
    }

    /// As much of a value as is told: two of them, a key and the table's name fit into a record.
    fn part<'v>(&self, value: &'v [u8]) -> &'v [u8] {
        &value[..value.len().min(self.manager.pool().page_size() / 2)]
    }
}
