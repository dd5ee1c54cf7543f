//! Many threads at once, over a disk whose power fails in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use aries::disk::{Fault, FaultKind, SimDisk, Survivors};
use aries::ids::{PageId, SlotId};
use aries::{Db, Error, Options};

const CLIENTS: usize = 4;
const ACCOUNTS: usize = 40;
const START: i64 = 1_000;

type Place = (PageId, SlotId);

struct Bank {
    accounts: Vec<Place>,
    counters: Vec<Place>,
}

fn open(disk: &SimDisk) -> Db {
    Options::new()
        .page_size(512)
        .segment_bytes(65_536)
        .buffer_pool_bytes(16 * 512)
        .checkpoint_log_bytes(30_000)
        .open_on(Arc::new(disk.clone()))
        .unwrap()
}

fn found(db: &Db) -> Bank {
    let mut txn = db.begin().unwrap();
    // Few records to a page, so that the pages do not all fit into the pool.
    let mut place = |value: i64| {
        let page = txn.allocate_page().unwrap();
        (page, txn.insert_record(page, &value.to_le_bytes()).unwrap())
    };
    let accounts = (0..ACCOUNTS).map(|_| place(START)).collect();
    let counters = (0..CLIENTS).map(|_| place(0)).collect();
    txn.commit().unwrap();
    Bank { accounts, counters }
}

fn read(txn: &mut aries::Transaction, (page, slot): Place) -> Result<i64, Error> {
    let bytes = txn.read_record(page, slot)?.expect("a record that was never deleted");
    Ok(i64::from_le_bytes(bytes.try_into().unwrap()))
}

fn add(txn: &mut aries::Transaction, place: Place, amount: i64) -> Result<(), Error> {
    let value = read(txn, place)? + amount;
    txn.write_record(place.0, place.1, 0, &value.to_le_bytes())
}

/// A number that only depends on its place in a sequence.
fn mix(seed: u64) -> u64 {
    let bits = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 8
}

/// Moves money once and counts it; every seventh is rolled back, or to a savepoint.
fn transfer(db: &Db, bank: &Bank, client: usize, seed: u64) -> Result<bool, Error> {
    let pick = |shift: u64| bank.accounts[(mix(seed) >> shift) as usize % ACCOUNTS];
    let mut txn = db.begin()?;
    add(&mut txn, pick(0), -1)?;
    if seed % 7 == 1 {
        txn.rollback()?;
        return Ok(false);
    }
    let here = txn.savepoint()?;
    add(&mut txn, pick(8), 5)?;
    txn.rollback_to(here)?;
    add(&mut txn, pick(16), 1)?;
    add(&mut txn, bank.counters[client], 1)?;
    if seed % 5 == 1 {
        txn.commit_deferred()?.wait()?;
    } else {
        txn.commit()?;
    }
    Ok(true)
}

/// Lets all clients work until the power is off; gives what was acknowledged to each.
fn work(db: &Db, bank: &Bank, seed: u64) -> Vec<u64> {
    let acknowledged: Vec<AtomicU64> = (0..CLIENTS).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let acknowledged = &acknowledged[client];
            scope.spawn(move || {
                for number in 0.. {
                    match transfer(db, bank, client, seed + (client as u64) * 7_919 + number) {
                        Ok(true) => _ = acknowledged.fetch_add(1, Ordering::Relaxed),
                        Ok(false) | Err(Error::Deadlock { .. } | Error::LockTimeout { .. }) => {}
                        Err(_) => return,
                    }
                }
            });
        }
    });
    acknowledged.into_iter().map(AtomicU64::into_inner).collect()
}

#[test]
fn nothing_acknowledged_is_lost_and_the_sum_holds() {
    let mut disk = SimDisk::new();
    let db = open(&disk);
    let bank = found(&db);
    db.close().unwrap();
    let mut least = [0; CLIENTS];
    for round in 0..60 {
        let at = disk.io_count() + 150 + mix(round) % 3_000;
        disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
        // Every other time whoever waits soon gives up, and rolls back.
        let timeout = (round % 2 == 1).then_some(Duration::from_micros(100));
        let opened = Options::new()
            .lock_timeout(timeout)
            .page_size(512)
            .buffer_pool_bytes(16 * 512)
            .checkpoint_log_bytes(30_000)
            .open_on(Arc::new(disk.clone()));
        if let Ok(db) = opened {
            let acknowledged = work(&db, &bank, round * 1_000_003);
            (0..CLIENTS).for_each(|client| least[client] += acknowledged[client]);
        }
        disk = disk.crash(&Survivors::Random { seed: round });
        let db = open(&disk);
        let mut txn = db.begin().unwrap();
        for (client, place) in bank.counters.iter().enumerate() {
            let count = read(&mut txn, *place).unwrap() as u64;
            assert!(count >= least[client], "round {round}: client {client} lost a commit");
            assert!(count <= least[client] + 1, "round {round}: more than was in flight");
            least[client] = count;
        }
        let sum: i64 = bank.accounts.iter().map(|place| read(&mut txn, *place).unwrap()).sum();
        assert_eq!(sum, START * ACCOUNTS as i64, "round {round}");
        txn.commit().unwrap();
        assert_eq!(db.stats().transactions, 0);
    }
    assert!(least.iter().sum::<u64>() > 1_000, "enough work was done: {least:?}");
}
