//! The child's side: clients that move money until the process is killed.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{Bank, DiskKind, Error, Transfer, home, mix, options};
use crate::db::Db;
use crate::sync::{AtomicBool, Ordering};

/// A client thinks up to this long between two changes (microseconds): about as long as a commit
/// takes, so that the kill finds some clients in the middle of a transfer whose first changes
/// another's commit has forced to the log.
const LONGEST_THOUGHT: u64 = 300;
/// After so many deadlocks of the same transfer the pause before the next try grows no further.
const MOST_DOUBLINGS: u64 = 4;

/// What the clients share.
struct Clients<'a> {
    db: &'a Db,
    bank: Bank,
    seed: u64,
    /// One of them ended: so shall the others.
    stop: AtomicBool,
}

/// Opens the bank and moves money, one thread for each client, until the process is killed or
/// nobody reads the acknowledgements any more. Each is one line on standard output, written at
/// once: client, sequence number, deadlocks on the way.
///
/// # Errors
/// Those of the engine and of writing.
pub fn serve(directory: &Path, disk: DiskKind) -> Result<(), Error> {
    let disk = disk.open(directory)?;
    let seed = home::seed_of(disk.as_ref())?;
    let db = options().create_if_missing(false).open_on(disk)?;
    let bank = Bank::find(&db)?;
    let counts = bank.state(&db)?.counts;
    let clients = Clients { db: &db, bank, seed, stop: AtomicBool::new(false) };
    thread::scope(|scope| {
        let threads: Vec<_> = counts
            .iter()
            .enumerate()
            .map(|(client, done)| {
                let clients = &clients;
                scope.spawn(move || clients.run(client, *done))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(Error::Child("panicked".into())))
        })
    })
}

impl Clients<'_> {
    fn run(&self, client: usize, done: u64) -> Result<(), Error> {
        let result = self.transfer_on_and_on(client, done);
        self.stop.store(true, Ordering::Release);
        match result {
            // Whoever started this process is gone.
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    fn transfer_on_and_on(&self, client: usize, done: u64) -> Result<(), Error> {
        for sequence in done + 1.. {
            let transfer = Transfer::of(self.seed, client, sequence, self.bank.accounts());
            let mut deadlocks = 0;
            while !self.try_transfer((client, sequence), &transfer)? {
                deadlocks += 1;
                let longest = LONGEST_THOUGHT << deadlocks.min(MOST_DOUBLINGS);
                think(mix(self.seed ^ sequence ^ deadlocks << 32) % longest);
            }
            acknowledge(client, sequence, deadlocks)?;
            if self.stop.load(Ordering::Acquire) {
                break;
            }
        }
        Ok(())
    }

    /// Gives whether the transfer is done; if not, it was the victim of a deadlock.
    fn try_transfer(&self, number: (usize, u64), transfer: &Transfer) -> Result<bool, Error> {
        let microseconds = mix(number.1) % LONGEST_THOUGHT;
        match self.bank.transfer(self.db, number, transfer, || think(microseconds)) {
            Ok(_) => Ok(true),
            Err(Error::Engine(crate::error::Error::Deadlock { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Takes some time, as a person or a program between two steps would.
fn think(microseconds: u64) {
    thread::sleep(Duration::from_micros(microseconds));
}

fn acknowledge(client: usize, sequence: u64, deadlocks: u64) -> Result<(), Error> {
    let line = format!("{client} {sequence} {deadlocks}\n");
    let mut output = io::stdout().lock();
    output
        .write_all(line.as_bytes())
        .and_then(|()| output.flush())
        .map_err(Error::io("acknowledge a transfer"))
}
