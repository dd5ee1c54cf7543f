//! Models of descents and of walks along the leaves, beside splits and leaves that are taken out: whoever looks for a key comes
//! to the leaf that has it, nobody reads a page that has left the tree, and nobody waits for ever.
//!
//! The engine's own code on both sides, over a pool and a log on the models' disk:
//!
//! ```text
//!    the reader, or writer of cells           the structure change, as one thread of the database does it
//!    read_leaf, write_leaf, gap_at            make_room (path, purge, split), reclaim (path, remove, collapse)
//! ```

#![allow(clippy::unwrap_used)]

use super::descend::{Leaf, Target, read_leaf, write_leaf};
use super::*;
use crate::buffer::models::pool_on;
use crate::disk::ModelDisk;
use crate::event::Observers;
use crate::ids::TxnId;
use crate::log::models::log_on;
use crate::sync::model::{check, spawn};
use crate::txn::TransactionManager;

/// Cells of a value of this length fill a leaf when there are four of them.
const VALUE: [u8; 90] = [7; 90];
/// Bytes that another one needs, with its slot.
const NEEDED: usize = 1 + VALUE.len() + tree::LEAF_FIELDS + crate::page::SLOT_SIZE;

struct World {
    manager: Arc<TransactionManager>,
    space: SpaceMap,
    tree: Tree,
}

impl World {
    /// A tree into which these keys are put, one after the other, and of which those are deleted.
    fn new(puts: &[u8], deletes: &[u8]) -> Arc<Self> {
        let disk = ModelDisk::default();
        let log = Arc::new(log_on(&disk));
        let (pool, _) = pool_on(&disk, &log, 16);
        let (pool, none) = (Arc::new(pool), Observers::default());
        let cells = Arc::new(FindCells);
        let manager = TransactionManager::new(log, Arc::clone(&pool), TxnId::FIRST, cells, none);
        let (manager, space) = (Arc::new(manager), SpaceMap::new(pool));
        let mut txn = manager.begin().unwrap();
        let tree = Tree::create(&mut txn, &space).unwrap();
        let world = Self { manager, space, tree };
        world.access(&mut txn, |access| {
            puts.iter().for_each(|key| access.put(&[*key], &VALUE).unwrap());
            deletes.iter().for_each(|key| assert!(access.delete(&[*key]).unwrap()));
        });
        drop(txn.commit_deferred(&()).unwrap());
        Arc::new(world)
    }

    fn pool(&self) -> &BufferPool {
        self.space.pool()
    }

    fn access<T>(&self, txn: &mut Transaction, work: impl FnOnce(&mut TreeAccess<'_>) -> T) -> T {
        work(&mut TreeAccess {
            tree: &self.tree,
            txn,
            space: &self.space,
            locking: Locking::Keys,
            freed: &mut Vec::new(),
            emptied: &mut Vec::new(),
        })
    }

    /// Does something to the tree in a transaction of its own.
    fn change<T>(&self, work: impl FnOnce(&mut TreeAccess<'_>) -> T) -> T {
        let mut txn = self.manager.begin().unwrap();
        let done = self.access(&mut txn, work);
        drop(txn.commit_deferred(&()).unwrap());
        done
    }

    /// Asserts that a reader who looks for the key comes to its leaf.
    fn assert_read(&self, key: u8) {
        let leaf = read_leaf(self.pool(), self.tree.root(), Target::Key(&[key]));
        let Leaf { page, guard } = leaf.expect("the leaf can be read");
        self.assert_has(page, guard.bytes(), key);
    }

    fn assert_has(&self, page: PageId, bytes: &[u8], key: u8) {
        let place = place_of(self.pool(), page, bytes, &[key]).expect("it is a node");
        let is_leaf = node_of(self.pool(), page, bytes).unwrap().level() == 0;
        assert!(is_leaf && matches!(place, Place::At(_)), "the leaf has the key {key}: {place:?}");
    }

    /// Asserts that the tree is sound, and gives what it is made of.
    fn sound(&self) -> TreeReport {
        let report = check_tree(self.pool(), &self.tree, &mut |_| {}).unwrap();
        assert!(report.faults.is_empty(), "{report:?}");
        report
    }
}

/// A leaf is split while another thread looks for the key that moves. Bound: 3 preemptions.
#[test]
fn a_split_is_seen_whole() {
    check(3, || {
        let world = World::new(&[1, 2, 4, 5, 6, 3], &[]); // 1 to 4 in the first of two leaves
        let splitting = {
            let world = Arc::clone(&world);
            spawn(move || world.change(|access| access.make_room(&[0], NEEDED).unwrap()))
        };
        world.assert_read(4);
        splitting.join().unwrap();
        assert_eq!(world.sound().leaves, 3);
    });
}

/// A leaf is taken out, and the leaf before it, the only one that is left, takes the place of the root, while another
/// thread looks for a key of that. Bound: 3 preemptions.
#[test]
fn a_freed_leaf_is_not_read() {
    check(3, || {
        let world = World::new(&[1, 2, 3, 4, 5], &[4, 5]); // 4 and 5 in the second of two leaves
        let reclaiming = {
            let world = Arc::clone(&world);
            spawn(move || assert!(world.change(|access| access.reclaim(&[4]).unwrap())))
        };
        world.assert_read(2);
        reclaiming.join().unwrap();
        let report = world.sound();
        assert_eq!((report.leaves, report.inner), (1, 0));
    });
}

/// The root, a leaf, is split while another thread wants to change a cell of it. Bound: 3 preemptions.
#[test]
fn a_root_that_splits_is_noticed() {
    check(3, || {
        let world = World::new(&[1, 2, 3, 4], &[]);
        let splitting = {
            let world = Arc::clone(&world);
            spawn(move || world.change(|access| access.make_room(&[5], NEEDED).unwrap()))
        };
        let leaf = write_leaf(world.pool(), world.tree.root(), Target::Key(&[4]));
        let Leaf { page, guard } = leaf.expect("the leaf can be latched");
        world.assert_has(page, guard.bytes(), 4);
        drop(guard);
        splitting.join().unwrap();
        assert_eq!(world.sound().leaves, 2);
    });
}

/// A leaf is taken out while another thread, with the leaf before it latched, looks at the gap between the two.
/// Bound: 2 preemptions.
#[test]
fn leaves_are_latched_from_left_to_right() {
    check(2, || {
        let world = World::new(&[1, 2, 3, 4, 5], &[4, 5]); // 4 and 5 in the second of two leaves
        let reclaiming = {
            let world = Arc::clone(&world);
            spawn(move || assert!(world.change(|access| access.reclaim(&[4]).unwrap())))
        };
        {
            let leaf = write_leaf(world.pool(), world.tree.root(), Target::Key(&[2]));
            let Leaf { page, guard } = leaf.expect("the leaf can be latched");
            let behind = tree::slot_count(guard.bytes());
            let mut txn = world.manager.begin().unwrap();
            world.access(&mut txn, |access| {
                access.gap_at(access.pool(), page, guard.bytes(), behind).unwrap();
            });
        }
        reclaiming.join().unwrap();
        assert_eq!(world.sound().leaves, 1);
    });
}
