//! The engine: transactions of one put each, by what a commit waits for.

use std::collections::VecDeque;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{Times, Turn, VALUE_BYTES, over_and_over};
use crate::bench::Error;
use crate::config::Durability;
use crate::db::{Db, Options, Table, Transaction};
use crate::sync::RwLock;
use crate::txn::CommitTicket;

/// The most clients of a strategy.
const MOST_CLIENTS: usize = 64;
/// Keys that each client puts to, in turn.
const KEYS_EACH: usize = 100;
/// So many commits are deferred before one is waited for.
const AT_A_TIME: usize = 100;
/// So many deferred commits are under way.
const OUTSTANDING: usize = 64;
/// The log is forced this often at least.
const INTERVAL: Duration = Duration::from_millis(100);

/// What a commit waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strategy {
    /// Each commit of so many clients waits until it is durable.
    Commit {
        /// Threads that commit.
        clients: usize,
    },
    /// One client defers a hundred commits, and then waits for the last.
    AtATime,
    /// One client has 64 deferred commits under way, and waits for the oldest.
    Outstanding,
    /// The log is forced every 100 ms.
    Interval,
    /// The log is handed to the operating system.
    Buffered,
}

impl Strategy {
    /// All of them, from the most careful on.
    pub const ALL: [Self; 8] = [
        Self::Commit { clients: 1 },
        Self::Commit { clients: 4 },
        Self::Commit { clients: 16 },
        Self::Commit { clients: MOST_CLIENTS },
        Self::AtATime,
        Self::Outstanding,
        Self::Interval,
        Self::Buffered,
    ];

    /// In one word.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Commit { clients } => format!("commit-{clients}"),
            Self::AtATime => format!("deferred-every-{AT_A_TIME}"),
            Self::Outstanding => format!("deferred-{OUTSTANDING}"),
            Self::Interval => format!("interval-{}ms", INTERVAL.as_millis()),
            Self::Buffered => "buffered".to_owned(),
        }
    }

    /// In words.
    #[must_use]
    pub fn in_words(self) -> String {
        match self {
            Self::Commit { clients: 1 } => "every commit forced, 1 client".to_owned(),
            Self::Commit { clients } => format!("group commit, {clients} clients"),
            Self::AtATime => format!("deferred, forced every {AT_A_TIME}th"),
            Self::Outstanding => format!("deferred, {OUTSTANDING} outstanding"),
            Self::Interval => format!("forced every {} ms", INTERVAL.as_millis()),
            Self::Buffered => "buffered: the system's turn".to_owned(),
        }
    }

    /// What a power failure can lose.
    #[must_use]
    pub fn at_risk(self) -> String {
        match self {
            Self::Commit { .. } => "nothing acknowledged".to_owned(),
            Self::AtATime => format!("{AT_A_TIME} that nobody waited for"),
            Self::Outstanding => format!("{OUTSTANDING} that nobody waited for"),
            Self::Interval => format!("the last {} ms", INTERVAL.as_millis()),
            Self::Buffered => "all since a force, seconds".to_owned(),
        }
    }

    fn durability(self) -> Durability {
        match self {
            Self::Commit { .. } | Self::AtATime | Self::Outstanding => Durability::Commit,
            Self::Interval => Durability::Interval(INTERVAL),
            Self::Buffered => Durability::Buffered,
        }
    }

    /// Commits until the time is over, in the database there, which is closed before and after.
    pub(super) fn turn(self, database: &Path, time: Duration) -> Result<Turn, Error> {
        let db =
            Options::new().create_if_missing(false).durability(self.durability()).open(database)?;
        let table = db.table(TABLE)?;
        let client = |number| Client { db: &db, table: &table, number, puts: 0 };
        let turn = match self {
            Self::Commit { clients } => side_by_side((0..clients).map(client), time)?,
            Self::AtATime => client(0).hundreds(time)?,
            Self::Outstanding => client(0).outstanding(time)?,
            Self::Interval | Self::Buffered => {
                let mut client = client(0);
                over_and_over(time, || client.put_and_commit())?
            }
        };
        db.close()?;
        Ok(turn)
    }
}

const TABLE: &str = "puts";

fn key(client: usize, number: usize) -> String {
    format!("{client:02} {number:03}")
}

/// Makes the database, with all keys in it.
pub(super) fn prepare(database: &Path) -> Result<(), Error> {
    let db = Options::new().open(database)?;
    let table = db.table(TABLE)?;
    let keys =
        (0..MOST_CLIENTS).flat_map(|client| (0..KEYS_EACH).map(move |number| key(client, number)));
    db.load(&table, keys.map(|key| (key, [0; VALUE_BYTES])))?;
    Ok(db.close()?)
}

/// Somebody who puts.
struct Client<'d> {
    db: &'d Db,
    table: &'d Table,
    number: usize,
    /// Put so far.
    puts: usize,
}

impl Client<'_> {
    /// Begins a transaction and puts another value.
    fn put(&mut self) -> Result<Transaction, Error> {
        let mut txn = self.db.begin()?;
        let mut value = [b'.'; VALUE_BYTES];
        self.puts += 1;
        value[..8].copy_from_slice(&(self.puts as u64).to_be_bytes());
        let key = key(self.number, self.puts % KEYS_EACH);
        txn.put(self.table, key.as_bytes(), &value)?;
        Ok(txn)
    }

    fn put_and_commit(&mut self) -> Result<(), Error> {
        self.put()?.commit()?;
        Ok(())
    }

    /// Defers a hundred commits and waits for the last, with which all are durable; again and again.
    fn hundreds(&mut self, time: Duration) -> Result<Turn, Error> {
        let mut turn = Turn::default();
        let began = Instant::now();
        while turn.elapsed < time || turn.times.count() == 0 {
            let mut begun = [began; AT_A_TIME];
            let mut last: Option<CommitTicket> = None;
            for begun in &mut begun {
                *begun = Instant::now();
                last = Some(self.put()?.commit_deferred()?);
            }
            if let Some(last) = last {
                last.wait()?;
            }
            let now = Instant::now();
            begun.into_iter().for_each(|begun| turn.times.record(now - begun));
            turn.elapsed = now - began;
        }
        Ok(turn)
    }

    /// Keeps deferred commits under way, and waits for the oldest; in the end for all.
    fn outstanding(&mut self, time: Duration) -> Result<Turn, Error> {
        let mut tickets: VecDeque<(Instant, CommitTicket)> = VecDeque::new();
        let mut turn = Turn::default();
        let began = Instant::now();
        loop {
            let is_over = began.elapsed() >= time && turn.times.count() > 0;
            while !is_over && tickets.len() < OUTSTANDING {
                let begun = Instant::now();
                tickets.push_back((begun, self.put()?.commit_deferred()?));
            }
            let Some((begun, oldest)) = tickets.pop_front() else { break };
            oldest.wait()?;
            turn.times.record(begun.elapsed());
            // What became durable with it need not be waited for.
            while let Some((begun, _)) = tickets.pop_front_if(|(_, ticket)| ticket.is_durable()) {
                turn.times.record(begun.elapsed());
            }
        }
        turn.elapsed = began.elapsed();
        Ok(turn)
    }
}

/// Each client commits in a thread of its own; all begin at once.
fn side_by_side<'d>(
    clients: impl Iterator<Item = Client<'d>>,
    time: Duration,
) -> Result<Turn, Error> {
    let gate = RwLock::new(());
    let closed = gate.write();
    thread::scope(|scope| {
        let threads: Vec<_> = clients
            .map(|mut client| {
                let gate = &gate;
                scope.spawn(move || {
                    drop(gate.read());
                    over_and_over(time, || client.put_and_commit())
                })
            })
            .collect();
        let began = Instant::now();
        drop(closed);
        let mut times = Times::default();
        for thread in threads {
            times.add(&thread.join().expect("a client does not panic")?.times);
        }
        Ok(Turn { times, elapsed: began.elapsed() })
    })
}
