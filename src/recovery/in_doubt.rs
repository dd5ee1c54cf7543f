//! Transactions in doubt: what their prepare records say of them.
//!
//! Restart neither undoes nor ends them. It holds their locks again before anybody else can begin,
//! and the log keeps their records, so that they can be decided upon in this run or in a later one.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::ids::{Lsn, TxnId};
use crate::lock::{LockName, Mode};
use crate::log::{Epochs, Segments, read_record};
use crate::record::LogRecord;
use crate::tables::{TransactionEntry, TransactionState, TransactionTable};

/// A transaction that the log leaves in doubt.
pub struct InDoubt {
    pub txn: TxnId,
    pub entry: TransactionEntry,
    pub global_id: Vec<u8>,
    /// In the order in which they were granted.
    pub locks: Vec<(LockName, Mode)>,
}

/// Where the log before its end is read.
pub struct LogBefore<'s> {
    pub segments: &'s Segments,
    pub page_size: usize,
    pub epochs: &'s Epochs,
}

/// Finds what belongs to the transactions in doubt, and sees that it fits together.
///
/// # Errors
/// [`Error::Corrupt`] when the prepare records contradict themselves or each other; those of the
/// disk.
pub fn read_all(log: &LogBefore<'_>, transactions: &TransactionTable) -> Result<Vec<InDoubt>> {
    let mut all = Vec::new();
    for (txn, entry) in transactions.iter() {
        if entry.state == TransactionState::Prepared {
            all.push(log.read(txn, *entry)?);
        }
    }
    log.check_global_ids(&all)?;
    log.check_locks(&all)?;
    Ok(all)
}

impl LogBefore<'_> {
    fn contradiction(&self, lsn: Option<Lsn>, expected: &str, found: String) -> Error {
        let place = match lsn {
            Some(lsn) => self.segments.place(lsn),
            None => crate::error::Place::File(crate::log::LOG_DIRECTORY.into()),
        };
        Error::corrupt(place, expected, found)
    }

    /// Reads the parts of a prepare record, from the last one backwards.
    fn read(&self, txn: TxnId, entry: TransactionEntry) -> Result<InDoubt> {
        let mut shares: Vec<Vec<(LockName, Mode)>> = Vec::new();
        let mut global_id: Option<Vec<u8>> = None;
        let (mut next, mut left) = (entry.last_lsn, None);
        while left != Some(0) {
            let expected = "the next part, backwards, of a prepare record";
            let Some(lsn) = next else {
                return Err(self.contradiction(entry.last_lsn, expected, "nil".into()));
            };
            let epoch = self.epochs.at(lsn).unwrap_or_default();
            let bytes = read_record(self.segments, self.page_size, lsn, epoch)?;
            let LogRecord::Prepare(part) = bytes.record() else {
                let found = bytes.record().to_string();
                return Err(self.contradiction(next, expected, found));
            };
            let is_next = part.link.txn == txn
                && part.part + 1 == left.unwrap_or(part.parts)
                && global_id.as_ref().is_none_or(|id| id == part.global_id);
            if !is_next {
                let found = bytes.record().to_string();
                return Err(self.contradiction(next, expected, found));
            }
            (left, next) = (Some(part.part), part.link.prev_lsn);
            global_id.get_or_insert_with(|| part.global_id.to_vec());
            shares.push(part.locks);
        }
        let locks = shares.into_iter().rev().flatten().collect();
        Ok(InDoubt { txn, entry, global_id: global_id.unwrap_or_default(), locks })
    }

    fn check_global_ids(&self, all: &[InDoubt]) -> Result<()> {
        let mut seen = BTreeMap::new();
        for in_doubt in all {
            if let Some(other) = seen.insert(&in_doubt.global_id, in_doubt.txn) {
                let found = format!("that of {other}");
                let expected = "a global id of its own";
                return Err(self.contradiction(in_doubt.entry.last_lsn, expected, found));
            }
        }
        Ok(())
    }

    /// Two transactions held a lock both only in modes that are compatible, and one names none twice.
    fn check_locks(&self, all: &[InDoubt]) -> Result<()> {
        // Who named it last, and the supremum of all: what conflicts with one of them conflicts with it.
        let mut seen: BTreeMap<LockName, (TxnId, Mode)> = BTreeMap::new();
        for in_doubt in all {
            for (name, mode) in &in_doubt.locks {
                let (mut own, before) = (*mode, seen.get(name));
                if let Some((other, held)) = before {
                    if *other == in_doubt.txn || !held.is_compatible_with(*mode) {
                        let found = format!("{name} ({mode}), which {other} holds ({held})");
                        let expected = "a lock that can be held";
                        return Err(self.contradiction(in_doubt.entry.last_lsn, expected, found));
                    }
                    own = held.supremum(*mode);
                }
                seen.insert(*name, (in_doubt.txn, own));
            }
        }
        Ok(())
    }
}
