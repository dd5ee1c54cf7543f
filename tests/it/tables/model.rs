//! Random histories of a few transactions on two tables, with crashes, against maps in memory.
//!
//! Pages are the smallest, so that trees are deep; the pool is the smallest, so that pages are stolen; transactions take turns
//! in one thread, and touch keys of their own, so that none waits.

use std::collections::BTreeMap;

use aries::disk::{SimDisk, Survivors};
use aries::{Db, Savepoint, Table, Transaction};
use proptest::prelude::*;

use super::{check, contents};
use crate::common::open;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Put { who: usize, key: u16, length: usize },
    Delete { who: usize, key: u16 },
    Get { who: usize, key: u16 },
    Scan { who: usize },
    Savepoint { who: usize },
    RollbackTo { who: usize },
    Commit { who: usize },
    Rollback { who: usize },
    Checkpoint,
    Background,
    Crash { keep: bool },
}

const TRANSACTIONS: usize = 3;
const KEYS: u16 = 120;

fn step() -> impl Strategy<Value = Step> {
    let (who, key) = (0..TRANSACTIONS, 0..KEYS);
    let length = prop_oneof![4 => 0..40_usize, 3 => 40..120_usize, 1 => 400..1500_usize];
    prop_oneof![
        20 => (who.clone(), key.clone(), length)
            .prop_map(|(who, key, length)| Step::Put { who, key, length }),
        10 => (who.clone(), key.clone()).prop_map(|(who, key)| Step::Delete { who, key }),
        2 => (who.clone(), key).prop_map(|(who, key)| Step::Get { who, key }),
        1 => who.clone().prop_map(|who| Step::Scan { who }),
        1 => who.clone().prop_map(|who| Step::Savepoint { who }),
        1 => who.clone().prop_map(|who| Step::RollbackTo { who }),
        2 => who.clone().prop_map(|who| Step::Commit { who }),
        1 => who.prop_map(|who| Step::Rollback { who }),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Background),
        1 => any::<bool>().prop_map(|keep| Step::Crash { keep }),
    ]
}

/// The keys of a transaction: each has its own, spread over the whole table.
fn key(who: usize, key: u16) -> Vec<u8> {
    let number = usize::from(key) * TRANSACTIONS + who;
    let mut bytes = format!("{:04}", number * 37 % 1000).into_bytes();
    bytes.resize(4 + number * 13 % 100, b'.');
    bytes.extend_from_slice(&(number as u16).to_be_bytes());
    bytes
}

struct Running {
    txn: Transaction,
    sees: Map,
    savepoint: Option<(Savepoint, Map)>,
}

struct World {
    disk: SimDisk,
    db: Db,
    table: Table,
    /// What is committed. Each transaction has keys of its own, so each sees this and what it did itself.
    committed: Map,
    running: [Option<Running>; TRANSACTIONS],
    round: u8,
}

impl World {
    fn new() -> Self {
        let disk = SimDisk::new();
        let db = open(&disk);
        let table = db.table("t").unwrap();
        let running = [None, None, None];
        Self { disk, db, table, committed: Map::new(), running, round: 0 }
    }

    fn running(&mut self, who: usize) -> &mut Running {
        if self.running[who].is_none() {
            let own = (0..KEYS).filter_map(|number| {
                let key = key(who, number);
                self.committed.get(&key).map(|value| (key.clone(), value.clone()))
            });
            let sees = own.collect();
            let txn = self.db.begin().unwrap();
            self.running[who] = Some(Running { txn, sees, savepoint: None });
        }
        self.running[who].as_mut().unwrap()
    }

    fn commit(&mut self, who: usize) {
        let Some(running) = self.running[who].take() else { return };
        running.txn.commit().unwrap();
        (0..KEYS).for_each(|number| drop(self.committed.remove(&key(who, number))));
        self.committed.extend(running.sees);
    }

    fn do_step(&mut self, step: &Step) {
        self.round = self.round.wrapping_add(1);
        let (round, table) = (self.round, self.table.clone());
        match *step {
            Step::Put { who, key: number, length } => {
                let running = self.running(who);
                let (key, value) = (key(who, number), vec![round; length]);
                running.txn.put(&table, &key, &value).unwrap();
                running.sees.insert(key, value);
            }
            Step::Delete { who, key: number } => {
                let running = self.running(who);
                let key = key(who, number);
                let was_there = running.txn.delete(&table, &key).unwrap();
                assert_eq!(was_there, running.sees.remove(&key).is_some());
            }
            Step::Get { who, key: number } => {
                let running = self.running(who);
                let key = key(who, number);
                assert_eq!(running.txn.get(&table, &key).unwrap().as_ref(), running.sees.get(&key));
            }
            Step::Scan { who } => self.scan(who),
            Step::Savepoint { who } => {
                let running = self.running(who);
                running.savepoint = Some((running.txn.savepoint().unwrap(), running.sees.clone()));
            }
            Step::RollbackTo { who } => {
                let running = self.running(who);
                if let Some((savepoint, sees)) = running.savepoint.clone() {
                    running.txn.rollback_to(savepoint).unwrap();
                    running.sees = sees;
                }
            }
            Step::Commit { who } => self.commit(who),
            Step::Rollback { who } => {
                self.running[who].take().map_or(Ok(()), |running| running.txn.rollback()).unwrap();
            }
            Step::Checkpoint => drop(self.db.checkpoint().unwrap()),
            Step::Background => drop(self.db.step().unwrap()),
            Step::Crash { keep } => self.crash(keep),
        }
    }

    /// Ranges are read only when nobody else is under way: else one would wait for the other.
    fn scan(&mut self, who: usize) {
        (0..TRANSACTIONS).filter(|other| *other != who).for_each(|other| self.commit(other));
        let table = self.table.clone();
        let mut all = self.committed.clone();
        let running = self.running(who);
        (0..KEYS).for_each(|number| drop(all.remove(&key(who, number))));
        all.extend(running.sees.clone());
        let (from, to) = (b"02".to_vec(), b"07".to_vec());
        let forwards = running.txn.scan(&table, from.clone()..to.clone()).unwrap();
        let forwards: Vec<_> = forwards.collect::<Result<_, _>>().unwrap();
        let backwards = running.txn.scan(&table, from.clone()..to.clone()).unwrap().rev();
        let mut backwards: Vec<_> = backwards.collect::<Result<_, _>>().unwrap();
        backwards.reverse();
        let expected: Vec<_> =
            all.range(from..to).map(|(key, value)| (key.clone(), value.clone())).collect();
        assert_eq!(forwards, expected);
        assert_eq!(backwards, expected);
        self.commit(who); // Else others could insert nothing there.
    }

    fn crash(&mut self, keep: bool) {
        let survivors = if keep { Survivors::All } else { Survivors::None };
        let disk = self.disk.crash(&survivors);
        self.running = [None, None, None];
        self.disk = disk;
        self.db = open(&self.disk);
        self.table = self.db.table("t").unwrap();
        self.check();
    }

    fn check(&self) {
        check(&self.db);
        let expected: Vec<_> = self.committed.clone().into_iter().collect();
        assert_eq!(contents(&self.db, &self.table), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_table_is_the_map_of_what_was_committed(steps in prop::collection::vec(step(), 1..250)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.do_step(step));
        (0..TRANSACTIONS).for_each(|who| world.commit(who));
        world.check();
        world.crash(false);
    }
}
