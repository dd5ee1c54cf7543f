//! Whether concurrent transactions could have run one after the other: cycles among what they read and wrote.
//!
//! Each key holds the list of those who have changed it, so whoever reads it tells whom it came after, and the lists at the
//! end tell the order of all writes. Keys that are only ever inserted tell the same of ranges: a range that was read came
//! before whoever inserted a key that it lacks. An order in which each could have run alone exists exactly if
//! these arrows have no circle. (The approach is that of K. Kingsbury and P. Alvaro, "Elle: Inferring Isolation Anomalies
//! from Experimental Observations", VLDB 2020.)

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use aries::{Db, Error, Options, Result, Table, Transaction};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const THREADS: u64 = 4;
const TRANSACTIONS: u32 = 300;
const LISTS: u32 = 6;
/// Places where keys are inserted, and which ranges are made of.
const PLACES: u32 = 40;

/// What a committed transaction saw and did.
#[derive(Default, Clone, Debug)]
struct Seen {
    /// Lists read, or found before they were appended to.
    read: Vec<(u32, Vec<u32>)>,
    appended: Vec<u32>,
    /// Ranges of places read, with what was there.
    ranges: Vec<(u32, u32, BTreeSet<Vec<u8>>)>,
    inserted: Vec<Vec<u8>>,
}

fn list_key(list: u32) -> Vec<u8> {
    format!("list {list}").into_bytes()
}

fn place_key(place: u32, who: u32) -> Vec<u8> {
    format!("{place:04} by {who:08}").into_bytes()
}

fn list_of(value: Option<Vec<u8>>) -> Vec<u32> {
    let bytes = value.unwrap_or_default();
    bytes.chunks_exact(4).map(|id| u32::from_le_bytes(id.try_into().unwrap())).collect()
}

struct Tables {
    lists: Table,
    places: Table,
}

/// A few random reads and writes.
fn work(txn: &mut Transaction, tables: &Tables, id: u32, random: &mut StdRng) -> Result<Seen> {
    let mut seen = Seen::default();
    for _ in 0..random.random_range(1..5) {
        match random.random_range(0..4) {
            0 => {
                let list = random.random_range(0..LISTS);
                seen.read.push((list, list_of(txn.get(&tables.lists, &list_key(list))?)));
            }
            1 => {
                let list = random.random_range(0..LISTS);
                let before = txn.get(&tables.lists, &list_key(list))?.unwrap_or_default();
                seen.read.push((list, list_of(Some(before.clone()))));
                if !seen.appended.contains(&list) {
                    let after = [before, id.to_le_bytes().to_vec()].concat();
                    txn.put(&tables.lists, &list_key(list), &after)?;
                    seen.appended.push(list);
                }
            }
            2 => {
                let from = random.random_range(0..PLACES);
                let to = random.random_range(from..PLACES) + 1;
                let range = place_key(from, 0)..place_key(to, 0);
                let scan = txn.scan(&tables.places, range)?;
                let found = match random.random_bool(0.5) {
                    true => scan.map(|pair| Ok(pair?.0)).collect::<Result<_>>()?,
                    false => scan.rev().map(|pair| Ok(pair?.0)).collect::<Result<_>>()?,
                };
                seen.ranges.push((from, to, found));
            }
            _ => {
                let key = place_key(random.random_range(0..PLACES), id);
                txn.put(&tables.places, &key, b"")?;
                seen.inserted.push(key);
            }
        }
        if random.random_bool(0.3) {
            thread::yield_now();
        }
    }
    Ok(seen)
}

/// Runs them; gives what those that committed saw.
fn history(db: &Db, tables: &Tables, seed: u64) -> BTreeMap<u32, Seen> {
    let (next, committed) = (AtomicU32::new(1), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for nth in 0..THREADS {
            let (next, committed) = (&next, &committed);
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(seed * THREADS + nth);
                loop {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    if id > TRANSACTIONS {
                        return;
                    }
                    let mut txn = db.begin().unwrap();
                    match work(&mut txn, tables, id, &mut random) {
                        Ok(_) if random.random_bool(0.1) => txn.rollback().unwrap(),
                        Ok(seen) => {
                            match random.random_bool(0.3) {
                                true => drop(txn.commit_deferred().unwrap()),
                                false => drop(txn.commit().unwrap()),
                            }
                            committed.lock().unwrap().insert(id, seen);
                        }
                        Err(Error::Deadlock { .. }) => txn.rollback().unwrap(),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    committed.into_inner().unwrap()
}

/// Who must have come before whom.
fn arrows(
    seen: &BTreeMap<u32, Seen>,
    lists: &BTreeMap<u32, Vec<u32>>,
    places: &BTreeSet<Vec<u8>>,
) -> BTreeSet<(u32, u32)> {
    let mut arrows = BTreeSet::new();
    let writer: BTreeMap<&Vec<u8>, u32> = seen
        .iter()
        .flat_map(|(id, seen)| seen.inserted.iter().map(move |key| (key, *id)))
        .collect();
    assert_eq!(writer.keys().copied().cloned().collect::<BTreeSet<_>>(), *places, "who inserted");
    for order in lists.values() {
        arrows.extend(order.windows(2).map(|pair| (pair[0], pair[1])));
    }
    for (id, seen) in seen {
        for (list, read) in &seen.read {
            let order = &lists[list];
            let own = read.last() == Some(id);
            let read = if own { &read[..read.len() - 1] } else { &read[..] };
            assert!(order.starts_with(read), "T{id} read {read:?} of {order:?}");
            arrows.extend(read.last().map(|before| (*before, *id)));
            arrows.extend(order.get(read.len()).map(|after| (*id, *after)));
        }
        for (from, to, found) in &seen.ranges {
            for key in places.range(place_key(*from, 0)..place_key(*to, 0)) {
                let who = writer[key];
                arrows.insert(if found.contains(key) { (who, *id) } else { (*id, who) });
            }
            assert!(found.is_subset(places), "T{id} read what nobody committed");
        }
    }
    arrows.into_iter().filter(|(before, after)| before != after).collect()
}

/// Those that stand in a circle, or behind one.
fn circles(arrows: &BTreeSet<(u32, u32)>) -> BTreeSet<u32> {
    let mut left: BTreeSet<u32> = arrows.iter().flat_map(|(a, b)| [*a, *b]).collect();
    loop {
        let later: BTreeSet<u32> = arrows
            .iter()
            .filter(|(before, after)| left.contains(before) && left.contains(after))
            .map(|(_, after)| *after)
            .collect();
        if later.len() == left.len() {
            return left;
        }
        left = later;
    }
}

/// Runs transactions at the same time; gives those that stand in a circle.
pub fn run_and_check(options: Options, seed: u64) -> BTreeSet<u32> {
    let directory = tempfile::tempdir().unwrap();
    let db = options.open(directory.path()).unwrap();
    let tables = Tables { lists: db.table("lists").unwrap(), places: db.table("places").unwrap() };
    let seen = history(&db, &tables, seed);
    assert!(seen.len() > TRANSACTIONS as usize / 4, "few commit: {}", seen.len());
    let mut txn = db.begin().unwrap();
    let lists = (0..LISTS).map(|list| {
        let value = txn.get(&tables.lists, &list_key(list)).unwrap();
        (list, list_of(value))
    });
    let lists = lists.collect();
    let places = txn.scan(&tables.places, ..).unwrap().map(|pair| pair.unwrap().0).collect();
    txn.commit().unwrap();
    super::check(&db);
    circles(&arrows(&seen, &lists, &places))
}

#[test]
fn transactions_could_have_run_one_after_the_other() {
    for seed in 0..6 {
        let options = Options::new().page_size(512).buffer_pool_bytes(512 * 512);
        let circle = run_and_check(options, seed);
        assert!(circle.is_empty(), "seed {seed}: {circle:?}");
    }
}

#[test]
fn a_circle_is_found() {
    assert!(circles(&[(1, 2), (2, 3), (1, 3)].into()).is_empty());
    assert_eq!(circles(&[(1, 2), (2, 3), (3, 2), (3, 4)].into()), [2, 3, 4].into());
}
