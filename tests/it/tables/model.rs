//! Random histories of a few transactions on two tables, with crashes, against maps in memory.
//!
//! Pages are the smallest, so that trees are deep; the pool is the smallest, so that pages are stolen; transactions take turns
//! in one thread, and touch keys of their own, so that none waits. Their keys lie side by side, so they share leaves, and what one of
//! them has put is moved by another's splits. The power fails between two steps, at any I/O inside one, and inside the recovery;
//! a commit that failed with it may be there, whole, or not. A case costs a few milliseconds: thousands run with all other tests.
//! `PROPTEST_CASES=100000 cargo test --release --test it tables::model` runs more.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use aries::disk::{Fault, FaultKind, SimDisk, Survivors};
use aries::{Db, Options, Result, Savepoint, Table, Transaction};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::contents;
use crate::common::options;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Put {
        who: usize,
        key: u16,
        length: usize,
    },
    Delete {
        who: usize,
        key: u16,
    },
    Get {
        who: usize,
        key: u16,
    },
    Scan {
        who: usize,
    },
    Savepoint {
        who: usize,
    },
    RollbackTo {
        who: usize,
    },
    Commit {
        who: usize,
    },
    Rollback {
        who: usize,
    },
    Checkpoint,
    Background,
    /// The power fails at this I/O from here on.
    PowerOff {
        after: u64,
    },
    /// The power fails now, and perhaps again at this I/O of the recovery.
    Crash {
        survivors: Survivors,
        again: Option<u64>,
    },
}

const TRANSACTIONS: usize = 3;
const KEYS: u16 = 120;
const CASES: u32 = 2_000;

fn step() -> impl Strategy<Value = Step> {
    let (who, key) = (0..TRANSACTIONS, 0..KEYS);
    let length = prop_oneof![6 => 0..12_usize, 2 => 12..120_usize, 1 => 400..1500_usize];
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
        1 => (0..30_u64).prop_map(|after| Step::PowerOff { after }),
        1 => (survivors(), prop::option::of(0..60_u64))
            .prop_map(|(survivors, again)| Step::Crash { survivors, again }),
    ]
}

fn survivors() -> impl Strategy<Value = Survivors> {
    prop_oneof![
        Just(Survivors::All),
        Just(Survivors::None),
        any::<u64>().prop_map(|seed| Survivors::Random { seed }),
    ]
}

/// What all keys begin with: so that what tells nodes apart is long, and few children fit into one.
const PREFIX: [u8; 70] = [b'p'; 70];

fn after_prefix(rest: &[u8]) -> Vec<u8> {
    [&PREFIX[..], rest].concat()
}

/// The keys of a transaction: each has its own, spread over the whole table.
fn key(who: usize, key: u16) -> Vec<u8> {
    let number = usize::from(key) * TRANSACTIONS + who;
    let mut bytes = after_prefix(format!("{:04}", number * 37 % 1000).as_bytes());
    bytes.resize(bytes.len() + number * 13 % 50, b'.');
    bytes.extend_from_slice(&(number as u16).to_be_bytes());
    bytes
}

struct Running {
    txn: Transaction,
    sees: Map,
    savepoint: Option<(Savepoint, Map)>,
}

struct World {
    options: Options,
    disk: SimDisk,
    db: Db,
    table: Table,
    /// What is committed. Each transaction has keys of its own, so each sees this and what it did itself.
    committed: Map,
    running: [Option<Running>; TRANSACTIONS],
    round: u8,
    /// Whether the power is to fail.
    fails: bool,
    /// What the table holds if a commit was durable that failed.
    perhaps: Option<Map>,
    seen: Seen,
}

/// What a history came to: one in a shallow tree, with nobody under way when it crashes, shows little.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    height: u8,
    crashes: usize,
    /// Crashes that left several losers.
    crowded: usize,
}

impl World {
    fn new(options: Options) -> Self {
        let disk = SimDisk::new();
        let db = options.open_on(Arc::new(disk.clone())).unwrap();
        let table = db.table("t").unwrap();
        let (running, seen) = ([None, None, None], Seen::default());
        Self {
            options,
            disk,
            db,
            table,
            committed: Map::new(),
            running,
            round: 0,
            fails: false,
            perhaps: None,
            seen,
        }
    }

    fn running(&mut self, who: usize) -> Result<&mut Running> {
        if self.running[who].is_none() {
            let own = (0..KEYS).filter_map(|number| {
                let key = key(who, number);
                self.committed.get(&key).map(|value| (key.clone(), value.clone()))
            });
            let sees = own.collect();
            let txn = self.db.begin()?;
            self.running[who] = Some(Running { txn, sees, savepoint: None });
        }
        Ok(self.running[who].as_mut().unwrap())
    }

    fn commit(&mut self, who: usize) -> Result<()> {
        let Some(running) = self.running[who].take() else { return Ok(()) };
        let mut after = self.committed.clone();
        (0..KEYS).for_each(|number| drop(after.remove(&key(who, number))));
        after.extend(running.sees);
        self.perhaps = Some(after);
        running.txn.commit()?;
        self.committed = self.perhaps.take().unwrap();
        Ok(())
    }

    fn do_step(&mut self, step: &Step) {
        self.round = self.round.wrapping_add(1);
        let done = match step {
            Step::PowerOff { after } => {
                let at = self.disk.io_count() + after;
                self.disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
                self.fails = true;
                Ok(())
            }
            Step::Crash { survivors, again } => {
                self.crash(survivors, *again);
                Ok(())
            }
            step => self.work(step),
        };
        if let Err(error) = done {
            assert!(self.fails, "{error}");
            self.crash(&Survivors::Random { seed: self.round.into() }, None);
        }
    }

    fn work(&mut self, step: &Step) -> Result<()> {
        let (round, table) = (self.round, self.table.clone());
        match *step {
            Step::Put { who, key: number, length } => {
                let running = self.running(who)?;
                let (key, value) = (key(who, number), vec![round; length]);
                running.txn.put(&table, &key, &value)?;
                running.sees.insert(key, value);
            }
            Step::Delete { who, key: number } => {
                let running = self.running(who)?;
                let key = key(who, number);
                let was_there = running.txn.delete(&table, &key)?;
                assert_eq!(was_there, running.sees.remove(&key).is_some());
            }
            Step::Get { who, key: number } => {
                let running = self.running(who)?;
                let key = key(who, number);
                assert_eq!(running.txn.get(&table, &key)?.as_ref(), running.sees.get(&key));
            }
            Step::Scan { who } => self.scan(who)?,
            Step::Savepoint { who } => {
                let running = self.running(who)?;
                running.savepoint = Some((running.txn.savepoint()?, running.sees.clone()));
            }
            Step::RollbackTo { who } => {
                let running = self.running(who)?;
                if let Some((savepoint, sees)) = running.savepoint.clone() {
                    running.txn.rollback_to(savepoint)?;
                    running.sees = sees;
                }
            }
            Step::Commit { who } => self.commit(who)?,
            Step::Rollback { who } => {
                self.running[who].take().map_or(Ok(()), |running| running.txn.rollback())?;
            }
            Step::Checkpoint => drop(self.db.checkpoint()?),
            Step::Background => drop(self.db.step()?),
            Step::PowerOff { .. } | Step::Crash { .. } => unreachable!("done by whoever calls"),
        }
        Ok(())
    }

    /// Ranges are read only when nobody else is under way: else one would wait for the other.
    fn scan(&mut self, who: usize) -> Result<()> {
        for other in (0..TRANSACTIONS).filter(|other| *other != who) {
            self.commit(other)?;
        }
        let table = self.table.clone();
        let mut all = self.committed.clone();
        let running = self.running(who)?;
        (0..KEYS).for_each(|number| drop(all.remove(&key(who, number))));
        all.extend(running.sees.clone());
        let (from, to) = (after_prefix(b"02"), after_prefix(b"07"));
        let forwards = running.txn.scan(&table, from.clone()..to.clone())?;
        let forwards: Vec<_> = forwards.collect::<Result<_>>()?;
        let backwards = running.txn.scan(&table, from.clone()..to.clone())?.rev();
        let mut backwards: Vec<_> = backwards.collect::<Result<_>>()?;
        backwards.reverse();
        let expected: Vec<_> =
            all.range(from..to).map(|(key, value)| (key.clone(), value.clone())).collect();
        assert_eq!(forwards, expected);
        assert_eq!(backwards, expected);
        self.commit(who) // Else others could insert nothing there.
    }

    fn crash(&mut self, survivors: &Survivors, again: Option<u64>) {
        let mut disk = self.disk.crash(survivors);
        if let Some(after) = again {
            let at = disk.io_count() + after;
            disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
            drop(self.options.open_on(Arc::new(disk.clone())));
            disk = disk.crash(&Survivors::Random { seed: after });
        }
        self.running = [None, None, None];
        (self.disk, self.fails) = (disk, false);
        self.db = self.options.open_on(Arc::new(self.disk.clone())).unwrap();
        self.table = self.db.table("t").unwrap();
        self.seen.crashes += 1;
        self.seen.crowded += usize::from(self.db.restart_report().undo.losers > 1);
        self.check();
    }

    fn check(&mut self) {
        let report = self.db.verify_tables().unwrap();
        assert!(report.is_sound(), "{report:#?}");
        self.seen.height = self.seen.height.max(report.tables["t"].height);
        let found: Map = contents(&self.db, &self.table).into_iter().collect();
        if let Some(perhaps) = self.perhaps.take().filter(|perhaps| *perhaps == found) {
            self.committed = perhaps;
        }
        assert_eq!(found, self.committed);
    }
}

/// Runs a history, and looks at what is left of it.
fn run(options: &Options, steps: &[Step]) -> Seen {
    let mut world = World::new(options.clone());
    steps.iter().for_each(|step| world.do_step(step));
    (0..TRANSACTIONS).for_each(|who| world.do_step(&Step::Commit { who }));
    world.do_step(&Step::Crash { survivors: Survivors::All, again: None });
    world.do_step(&Step::Crash { survivors: Survivors::None, again: None });
    world.seen
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..250)
}

#[test]
fn a_table_is_the_map_of_what_was_committed() {
    let asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let config = if asked_for { config } else { ProptestConfig { cases: CASES, ..config } };
    let all = Cell::new(Seen::default());
    let mut runner = TestRunner::new(config);
    let ran = runner.run(&steps(), |steps| {
        let (seen, sum) = (run(&options(), &steps), all.get());
        all.set(Seen {
            height: seen.height.max(sum.height),
            crashes: seen.crashes + sum.crashes,
            crowded: seen.crowded + sum.crowded,
        });
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
    eprintln!("{:?}", all.get());
    assert!(asked_for || all.get().height >= 4 && all.get().crowded > 100, "{:?}", all.get());
}

/// The same histories find what is broken in the trees.
#[cfg(feature = "sabotage")]
#[test]
fn sabotage_of_trees_is_found() {
    use aries::config::Sabotage;
    use proptest::test_runner::{RngAlgorithm, TestRng};
    std::panic::set_hook(Box::new(|_| {})); // What is asserted is what is found.
    let rules = [
        Sabotage::UndoBySlot,
        Sabotage::SplitInTwoRecords,
        Sabotage::AllocationOutsideSplit,
        Sabotage::GhostPurgedEarly,
        Sabotage::NoCompensation,
        Sabotage::LosersLeft,
        Sabotage::WinnersOnlyRedone,
        Sabotage::FreedPageReusedEarly,
    ];
    let found = rules.map(|rule| {
        let tried = Cell::new(0_u32);
        let config = ProptestConfig {
            cases: CASES,
            max_shrink_iters: 0,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let same_each_time = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let ran = TestRunner::new_with_rng(config, same_each_time).run(&steps(), |steps| {
            tried.set(tried.get() + 1);
            run(&options().sabotage(rule), &steps);
            Ok(())
        });
        (rule.name(), ran.err().map(|_| tried.get()))
    });
    drop(std::panic::take_hook());
    eprintln!("found in case: {found:?}");
    assert!(found.iter().all(|(_, found)| found.is_some()), "{found:?}");
}
