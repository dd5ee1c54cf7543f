//! Models of deferred commits: whoever read what is not durable yet is not acknowledged before it
//! is.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::buffer::BufferPool;
use crate::buffer::models::pool_on;
use crate::disk::ModelDisk;
use crate::event::Observers;
use crate::ids::SlotId;
use crate::lock::{LockName, Mode};
use crate::log::models::log_on;
use crate::page::PageKind;
use crate::sync::model::{check, spawn};

const PAGE: PageId = PageId(1);
const RECORD: LockName = LockName::Record(PAGE, SlotId(0));
const OP: PageOp<'static> = PageOp::Format { kind: PageKind::Slotted };

/// For models without trees.
pub(crate) struct NoTrees;

impl LogicalUndo for NoTrees {
    fn find<'p>(
        &self,
        pool: &'p BufferPool,
        tree: PageId,
        _: &[u8],
    ) -> Result<(PageWrite<'p>, SlotId)> {
        Err(Error::corrupt(pool.place(tree), "no tree", "one"))
    }
}

fn world() -> Arc<TransactionManager> {
    let disk = ModelDisk::default();
    let log = Arc::new(log_on(&disk));
    let (pool, _) = pool_on(&disk, &log, 2);
    let none = Observers::default();
    Arc::new(TransactionManager::new(log, Arc::new(pool), TxnId::FIRST, Arc::new(NoTrees), none))
}

fn change(world: &Arc<TransactionManager>) -> Transaction {
    let mut txn = world.begin().unwrap();
    txn.prepare_update(16).unwrap();
    world.locks().lock(txn.id(), RECORD, Mode::Exclusive).unwrap();
    let mut page = world.pool().fix_write(PAGE).unwrap();
    txn.update(&mut page, OP, Undoing::RedoOnly).unwrap();
    drop(page);
    txn
}

/// A transaction changes a record and commits without waiting; another reads the record and commits,
/// and a third waits for the ticket. Bound: 4 preemptions.
#[test]
fn what_was_read_is_durable_when_the_reader_commits() {
    check(4, || {
        let world = world();
        let writer = change(&world);
        let reading = {
            let world = Arc::clone(&world);
            spawn(move || {
                let reader = world.begin().unwrap();
                world.locks().lock(reader.id(), RECORD, Mode::Shared).unwrap();
                reader.commit(&()).unwrap();
                world.log().flushed_lsn()
            })
        };
        let ticket = writer.commit_deferred(&()).unwrap();
        let commit = ticket.lsn();
        let waiting = {
            let world = Arc::clone(&world);
            spawn(move || {
                ticket.wait().unwrap();
                assert!(world.log().flushed_lsn() > commit, "a ticket tells when it is durable");
            })
        };
        // The reader had the lock only after the writer's commit record was appended.
        assert!(reading.join().unwrap() > commit, "what was read is not durable");
        waiting.join().unwrap();
    });
}
