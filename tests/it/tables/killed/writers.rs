//! The writers: what they do, and say, until their process is killed.

use std::env;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use aries::disk::{FileDisk, HeldBackDisk};
use aries::{Db, Error, Options, Table, Transaction};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Tells a process where the database is.
pub const DIRECTORY: &str = "ARIES_TEST_DIRECTORY";
/// Tells a process which round it is, and the first number that its transactions may draw.
pub const NUMBERS: &str = "ARIES_TEST_NUMBERS";

pub const WRITERS: usize = 8;
pub const TABLES: u8 = 2;
/// Keys of each table.
pub const KEYS: u16 = 150;
/// Keys that lie together, and are mostly put or mostly deleted in the same rounds; and how many rounds that is so.
const REGION: u64 = 25;
const SEASON: u64 = 6;
/// Keys that are asked for more often than others, by writers who then meet.
const HOT: u16 = 6;

/// A table and a key's number in it.
pub type Key = (u8, u16);

/// What a transaction does to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write {
    pub key: Key,
    /// Or deletes it.
    pub puts: bool,
}

impl Write {
    pub fn parse(word: &str) -> Option<Self> {
        let puts = word.ends_with('+');
        let (table, number) = word.strip_suffix(['+', '-'])?.split_once('.')?;
        Some(Self { key: (table.parse().ok()?, number.parse().ok()?), puts })
    }

    fn told(&self) -> String {
        format!(" {}.{}{}", self.key.0, self.key.1, if self.puts { '+' } else { '-' })
    }
}

pub fn options() -> Options {
    Options::new()
        .page_size(512)
        .segment_bytes(65536)
        .buffer_pool_bytes(128 * 512)
        .checkpoint_log_bytes(32 * 1024)
}

/// The bytes of a key: keys are in the order of their numbers, and of all lengths.
pub fn key_bytes(number: u16) -> Vec<u8> {
    let mut bytes = format!("{number:04}").into_bytes();
    bytes.resize(4 + usize::from(number) * 37 % 90, b'.');
    bytes
}

/// What the transaction with this number puts: it and the key, and more, some of it beyond a page.
pub fn value(number: u64, key: Key) -> Vec<u8> {
    let mix = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40 ^ u64::from(key.1);
    let length = if mix.is_multiple_of(16) { 200 + mix % 800 } else { mix % 60 };
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.push(key.0);
    bytes.extend_from_slice(&key.1.to_le_bytes());
    bytes.extend(std::iter::repeat_n(number.to_le_bytes()[0], length as usize));
    bytes
}

/// What the writers share.
struct Writers {
    db: Db,
    tables: Vec<Table>,
    round: u64,
    next: AtomicU64,
    /// Of each key, what this process's latest commit left: twice the number, and one less if it is deleted there; 0 before the first.
    /// Changed, and read, by whoever has the lock.
    left: Vec<AtomicU64>,
}

/// Recovers, and goes on until the process is killed.
pub fn work() {
    let numbers = env::var(NUMBERS).unwrap();
    let (round, next) = numbers.split_once(' ').unwrap();
    let round: u64 = round.parse().unwrap();
    let disk = FileDisk::open(PathBuf::from(env::var_os(DIRECTORY).unwrap())).unwrap();
    let db = match round % 2 {
        0 => options().open_on(Arc::new(disk)),
        _ => options().open_on(Arc::new(HeldBackDisk::new(Arc::new(disk)))),
    };
    let db = db.unwrap();
    let writers = Writers {
        tables: (0..TABLES).map(|table| db.table(&table.to_string()).unwrap()).collect(),
        db,
        round,
        next: AtomicU64::new(next.parse().unwrap()),
        left: (0..usize::from(TABLES) * usize::from(KEYS)).map(|_| AtomicU64::new(0)).collect(),
    };
    thread::scope(|scope| {
        for writer in 0..WRITERS as u64 {
            let writers = &writers;
            scope.spawn(move || writers.write_on_and_on(round * WRITERS as u64 + writer));
        }
        loop {
            // Empty leaves are taken out of their trees, among other things.
            writers.db.step().unwrap();
            thread::sleep(Duration::from_micros(200));
        }
    });
}

/// In one write, which the pipe takes whole.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

impl Writers {
    fn write_on_and_on(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        loop {
            match self.transaction(&mut random) {
                Ok(()) => {}
                Err(Error::Deadlock { .. }) => say("D"),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn chosen(&self, random: &mut StdRng) -> Vec<Write> {
        let mut writes: Vec<Write> = Vec::new();
        for _ in 0..random.random_range(1..=4) {
            let keys = if random.random_bool(0.2) { HOT } else { KEYS };
            let key = (random.random_range(0..TABLES), random.random_range(0..keys));
            let empties = (u64::from(key.1) / REGION + self.round / SEASON).is_multiple_of(3);
            let puts = random.random_bool(if empties { 0.1 } else { 0.8 });
            if writes.iter().all(|write| write.key != key) {
                writes.push(Write { key, puts });
            }
        }
        writes
    }

    fn transaction(&self, random: &mut StdRng) -> Result<(), Error> {
        let writes = self.chosen(random);
        let mut txn = self.db.begin()?;
        for write in &writes {
            self.lock(&mut txn, write.key, random)?;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if random.random_bool(0.1) {
            // What is undone is no one's: a number that nobody has announced.
            let here = txn.savepoint()?;
            self.apply(&mut txn, u64::MAX, &self.chosen_among(&writes, random))?;
            txn.rollback_to(here)?;
        }
        self.apply(&mut txn, number, &writes)?;
        if random.random_bool(0.1) {
            txn.rollback()?;
            say("R");
            return Ok(());
        }
        let told: String = writes.iter().map(Write::told).collect();
        say(&format!("B {number}{told}"));
        for write in &writes {
            self.left(write.key).store(2 * number - u64::from(!write.puts), Ordering::Relaxed);
        }
        txn.commit()?;
        say(&format!("A {number}"));
        Ok(())
    }

    /// The same keys, changed in another way.
    fn chosen_among(&self, writes: &[Write], random: &mut StdRng) -> Vec<Write> {
        writes.iter().map(|write| Write { key: write.key, puts: random.random() }).collect()
    }

    fn left(&self, (table, number): Key) -> &AtomicU64 {
        &self.left[usize::from(table) * usize::from(KEYS) + usize::from(number)]
    }

    /// Locks a key, and looks whether the latest commit that had it is seen.
    fn lock(&self, txn: &mut Transaction, key: Key, random: &mut StdRng) -> Result<(), Error> {
        let (table, bytes) = (&self.tables[usize::from(key.0)], key_bytes(key.1));
        if random.random_bool(0.2) {
            txn.get(table, &bytes)?; // Others may do so as well: then one of them must give way.
        }
        let found = txn.get_for_update(table, &bytes)?;
        let left = self.left(key).load(Ordering::Relaxed);
        let expected = left.is_multiple_of(2).then(|| value(left / 2, key));
        assert!(left == 0 || found == expected, "{key:?}: {found:?} instead of {expected:?}");
        Ok(())
    }

    fn apply(&self, txn: &mut Transaction, number: u64, writes: &[Write]) -> Result<(), Error> {
        for write in writes {
            let (table, key) = (&self.tables[usize::from(write.key.0)], key_bytes(write.key.1));
            match write.puts {
                true => txn.put(table, &key, &value(number, write.key))?,
                false => drop(txn.delete(table, &key)?),
            }
        }
        Ok(())
    }
}
