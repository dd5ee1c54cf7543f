//! The child's side: puts keys until the process is killed.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::Instant;

use super::{Flush, TABLE, Work, key_of, value_of};
use crate::bench::Error;
use crate::db::{Db, Options};

/// Opens the database and puts keys, a transaction each, until the process is killed or nobody listens any more.
/// Each line on standard output is written at once: `put N`, `flushed N`; in the end `done MICROSECONDS`.
///
/// # Errors
/// Those of the engine and of writing.
pub fn serve(directory: &Path, work: &Work) -> Result<(), Error> {
    let db = Options::new()
        .create_if_missing(false)
        .durability(work.log.durability())
        .open(directory)?;
    match put_on_and_on(&db, work) {
        // Whoever started this process is gone.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn put_on_and_on(db: &Db, work: &Work) -> Result<(), Error> {
    let table = db.table(TABLE)?;
    let mut flushed = 0;
    let began = Instant::now();
    for number in 1.. {
        if matches!(work.flush, Flush::Every(every) if number - 1 - flushed == every) {
            flushed = flush(db, number - 1)?;
        }
        let mut txn = db.begin()?;
        txn.put(&table, &key_of(number), &value_of(number))?;
        txn.commit()?;
        let is_last = work.last == Some(number);
        let took = began.elapsed();
        if is_last || number % work.tell_every == 0 {
            tell(&format!("put {number}\n"))?;
        }
        if work.flush == Flush::After(number) {
            flushed = flush(db, number)?;
        }
        if is_last {
            tell(&format!("done {}\n", took.as_micros()))?;
            break;
        }
    }
    // Killed here; or whoever would do that is gone, and standard input ends.
    let waited = io::stdin().read(&mut [0]);
    waited.map(drop).map_err(Error::io("wait to be killed"))
}

/// Flushes, and gives up to which put.
fn flush(db: &Db, number: u64) -> Result<u64, Error> {
    db.flush()?;
    tell(&format!("flushed {number}\n"))?;
    Ok(number)
}

fn tell(line: &str) -> Result<(), Error> {
    let mut output = io::stdout().lock();
    let told = output.write_all(line.as_bytes()).and_then(|()| output.flush());
    told.map_err(Error::io("tell what is done"))
}
