//! Models of checkpoints that are taken while transactions go on: what lies before the begin record
//! is in the copies of the tables.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::buffer::models::{durable_page_lsn, pool_on};
use crate::disk::ModelDisk;
use crate::log::models::log_on;
use crate::page::{PageKind, PageOp};
use crate::record::padded;
use crate::sync::model::{check, spawn};
use crate::tables::TransactionState;
use crate::txn::models::NoTrees;
use crate::txn::{Transaction, Undoing};

const PAGE: PageId = PageId(1);
const OP: PageOp<'static> = PageOp::Format { kind: PageKind::Slotted };

struct World {
    disk: ModelDisk,
    pool: Arc<BufferPool>,
    transactions: Arc<TransactionManager>,
    checkpointer: Checkpointer,
}

fn world() -> Arc<World> {
    let disk = ModelDisk::default();
    let log = Arc::new(log_on(&disk));
    let (pool, control) = pool_on(&disk, &log, 2);
    let pool = Arc::new(pool);
    let (shared, none) = (Arc::clone(&pool), Observers::default());
    let transactions =
        TransactionManager::new(Arc::clone(&log), shared, TxnId::FIRST, Arc::new(NoTrees), none);
    let transactions = Arc::new(transactions);
    let none = Observers::default();
    let checkpointer = Checkpointer::new(log, Arc::clone(&transactions), control, none);
    Arc::new(World { disk, pool, transactions, checkpointer })
}

impl World {
    fn begin(&self) -> Transaction {
        let mut txn = self.transactions.begin().unwrap();
        txn.prepare_update(16).unwrap();
        txn
    }

    fn change(&self, txn: &mut Transaction) -> Lsn {
        let mut page = self.pool.fix_write(PAGE).unwrap();
        txn.update(&mut page, OP, Undoing::RedoOnly).unwrap()
    }

    /// The copies that a checkpoint takes, without the writing of them.
    fn checkpoint(&self) -> (Lsn, TransactionTable, DirtyPageTable) {
        let begin_lsn = self.checkpointer.append_begin(Room::Kept).unwrap();
        let transactions = self.transactions.logged();
        (begin_lsn, transactions, self.pool.dirty_page_table())
    }

    /// Whether the end record, which follows the commit record, lies before the begin record.
    fn ended_before(&self, begin: Lsn, commit: Lsn) -> bool {
        let record = self.transactions.log().read(commit).unwrap();
        let length = padded(EncodedRecord::new(&record.record()).len()) as u64;
        commit < begin && commit.get() + length != begin.get()
    }

    /// Asserts that a change before the begin record is in the copy, or durable in place.
    fn assert_page_is_not_missed(&self, change: Lsn, begin: Lsn, dirty_pages: &DirtyPageTable) {
        let listed = dirty_pages.rec_lsn(PAGE).is_some_and(|rec_lsn| rec_lsn <= change);
        let durable = || durable_page_lsn(&self.disk, PAGE) >= Some(change);
        assert!(change > begin || listed || durable(), "the checkpoint misses the page");
    }
}

/// A transaction commits and ends while a checkpoint begins and copies the tables. Bound: 8
/// preemptions.
#[test]
fn a_commit_is_not_missed() {
    check(8, || {
        let world = world();
        let mut txn = world.begin();
        let (id, change) = (txn.id(), world.change(&mut txn));
        let committing = spawn(move || txn.commit_deferred(&()).unwrap().lsn());
        let (begin, transactions, dirty_pages) = world.checkpoint();
        let commit = committing.join().unwrap();
        let copied = transactions.get(id).map(|entry| entry.state);
        if commit < begin {
            assert!(copied != Some(TransactionState::Active), "a committed transaction is active");
        }
        if world.ended_before(begin, commit) {
            assert_eq!(copied, None, "a transaction that ended comes back");
        }
        if let Some(entry) = transactions.get(id) {
            assert!(entry.last_lsn >= Some(change), "its last record is in the copy");
        }
        world.assert_page_is_not_missed(change, begin, &dirty_pages);
    });
}

/// A transaction changes a clean page while a checkpoint begins and copies the tables. Bound: 8
/// preemptions.
#[test]
fn a_change_is_not_missed() {
    check(8, || {
        let world = world();
        let mut txn = world.begin();
        let id = txn.id();
        let changing = {
            let world = Arc::clone(&world);
            spawn(move || {
                let change = world.change(&mut txn);
                (change, txn)
            })
        };
        let (begin, transactions, dirty_pages) = world.checkpoint();
        let (change, txn) = changing.join().unwrap();
        world.assert_page_is_not_missed(change, begin, &dirty_pages);
        if change < begin {
            let last_lsn = transactions.get(id).and_then(|entry| entry.last_lsn);
            assert_eq!(last_lsn, Some(change), "the change's transaction is in the copy");
        }
        drop(txn);
    });
}

/// A page that is dirty already is written, and changed again, while a checkpoint begins and copies the
/// tables. Bound: 3 preemptions.
#[test]
fn a_page_that_is_being_written_is_not_missed() {
    check(3, || {
        let world = world();
        let mut txn = world.begin();
        let before = world.change(&mut txn);
        txn.prepare_update(16).unwrap();
        let changing = {
            let world = Arc::clone(&world);
            spawn(move || {
                let change = world.change(&mut txn);
                (change, txn)
            })
        };
        let writing = {
            let world = Arc::clone(&world);
            spawn(move || world.pool.clean_step(world.transactions.log().end_lsn()).unwrap())
        };
        let (begin, _, dirty_pages) = world.checkpoint();
        world.assert_page_is_not_missed(before, begin, &dirty_pages);
        let (change, txn) = changing.join().unwrap();
        world.assert_page_is_not_missed(change, begin, &dirty_pages);
        writing.join().unwrap();
        drop(txn);
    });
}
