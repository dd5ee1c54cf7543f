//! What the engine says it does, written down: which records it appended, where it found the log
//! to end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use aries::event::{Event, Observer};
use aries::ids::{Lsn, TxnId};
use aries::record::LogRecord;
use aries::{Db, Result};

/// Records of the log that is there, as far as the engine tells. Clones share it.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Contents>>);

#[derive(Clone, Default)]
struct Contents {
    records: BTreeMap<Lsn, (Option<TxnId>, &'static str)>,
    /// Where the latest restart found the log to end.
    log_end: Option<Lsn>,
}

impl Observer for Journal {
    fn event(&self, event: &Event) {
        let mut contents = self.lock();
        match event {
            Event::Appended { lsn, txn, kind, .. } => {
                contents.records.insert(*lsn, (*txn, kind));
            }
            Event::LogEndFound { end, .. } => {
                contents.log_end = Some(*end);
                contents.records.split_off(end);
            }
            _ => {}
        }
    }
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap()
    }

    /// A copy that goes its own way.
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }

    /// Where the latest restart found the log to end, if there was one since this was last asked.
    pub fn take_log_end(&self) -> Option<Lsn> {
        self.lock().log_end.take()
    }

    /// The transaction's last record of this kind.
    pub fn last(&self, txn: TxnId, kind: &str) -> Option<Lsn> {
        let contents = self.lock();
        let mut records = contents.records.iter().rev();
        records.find(|(_, record)| **record == (Some(txn), kind)).map(|(lsn, _)| *lsn)
    }

    /// The transactions that the log up to `end` leaves without an end: the losers, those that
    /// committed, and those in doubt.
    pub fn unended(&self, end: Lsn) -> [Vec<TxnId>; 3] {
        let (mut open, mut committing) = (BTreeSet::new(), BTreeSet::new());
        let mut in_doubt = BTreeSet::new();
        for (_, (txn, kind)) in self.lock().records.range(..end) {
            let Some(txn) = txn else { continue };
            match *kind {
                "End" => {
                    open.remove(txn);
                    committing.remove(txn);
                }
                "Commit" => {
                    in_doubt.remove(txn);
                    committing.insert(*txn);
                }
                "Rollback" => {
                    open.insert(*txn);
                    in_doubt.remove(txn);
                }
                "Prepare" => {
                    open.insert(*txn);
                    in_doubt.insert(*txn);
                }
                _ => drop(open.insert(*txn)),
            }
        }
        let undone = |txn: &&TxnId| !committing.contains(txn) && !in_doubt.contains(txn);
        let losers = open.iter().filter(undone).copied().collect();
        [losers, committing.into_iter().collect(), in_doubt.into_iter().collect()]
    }

    /// Reads each record of the retained log: it must be of the kind that was told, and no update
    /// may be compensated twice. (`prev_lsn` of the update names it, within its transaction.)
    pub fn check_log(&self, db: &Db) -> Result<()> {
        let oldest = db.master_record().oldest_required_lsn;
        let mut contents = self.lock();
        contents.records = contents.records.split_off(&oldest);
        let mut compensated = BTreeSet::new();
        for (lsn, (txn, kind)) in &contents.records {
            let bytes = db.read_log(*lsn)?;
            let record = bytes.record();
            assert_eq!(record.name(), *kind, "the record at {lsn}");
            assert_eq!(record.link().map(|link| link.txn), *txn, "the record at {lsn}");
            if let LogRecord::Compensation(record) = record {
                let first = compensated.insert((*txn, record.undo_next_lsn));
                assert!(first, "{lsn}: {txn:?} compensates twice what leads to {record:?}");
            }
        }
        Ok(())
    }
}
