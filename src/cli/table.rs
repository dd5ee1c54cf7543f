//! `aries get`, `put`, `delete` and `scan`.
//!
//! Invariants:
//! - the database is opened as any program opens it: recovered if it was not closed, and closed at the end;
//! - nothing is made by accident: a database only where `--create` asks for it, a table only by `put`.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::output::{JsonList, Output, print};
use super::rows::{from_hex, readable, to_hex, to_json};
use super::{DONE, SOMETHING_WRONG, WrongUsage};
use crate::db::{Db, Options, Outside, Table};
use crate::error::{Error, Result};

const GET_EXAMPLES: &str = "\
Examples:
  aries get bank accounts alice
  aries get bank accounts 00ff --hex
  aries get bank accounts alice --json | jq .value

The database is opened, which recovers it if it was not closed, and closed again.
Exit code 0 if the key is there, 1 if not or if something is wrong, 2 for wrong usage.";

const GET_SHAPE: &str = "\
The JSON object (bytes that are no text: { hex }):
  version, table, key, found, value (null if it is not there)";

const PUT_EXAMPLES: &str = "\
Examples:
  aries put bank accounts alice 100
  aries put bank accounts 00ff 0102 --hex
  aries put bank accounts alice 100 --create     makes the database if there is none

The database is opened, which recovers it if it was not closed, and closed again.
Exit code 0 if it is done, durably, 1 if something is wrong, 2 for wrong usage.";

const PUT_SHAPE: &str = "\
The JSON object (bytes that are no text: { hex }):
  version, table, key, replaced (whether the key had a value before)";

const DELETE_EXAMPLES: &str = "\
Examples:
  aries delete bank accounts alice
  aries delete bank accounts 00ff --hex

The database is opened, which recovers it if it was not closed, and closed again.
Exit code 0 if it is done, durably, 1 if there is no such key or something is wrong, 2 for wrong usage.";

const DELETE_SHAPE: &str = "\
The JSON object (bytes that are no text: { hex }):
  version, table, key, found";

const SCAN_EXAMPLES: &str = "\
Examples:
  aries scan bank accounts
  aries scan bank accounts --from a --to m       from a on, to m, which is not meant any more
  aries scan bank accounts --reverse --limit 10  the last ten, the last one first
  aries scan bank accounts --json | jq -r '.pairs[] | .key'

A line has a key, a tabulator, and its value. The database is opened, which recovers it if it was not
closed, and closed again. Exit code 0, or 1 if something is wrong, 2 for wrong usage.";

const SCAN_SHAPE: &str = "\
The JSON object (bytes that are no text: { hex }):
  version, table
  pairs     one object for each key: key, value
  count     how many
  error     what kept it from being read to its end, in words; null if nothing";

/// How long a lock is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

// What all of these are asked. (A doc comment here would replace those of the commands.)
#[derive(Args)]
struct Asked {
    /// Directory of the database
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// The table
    #[arg(value_name = "TABLE")]
    table: String,
}

// How keys and values are written.
#[derive(Args)]
struct Written {
    /// Keys and values are hexadecimal digits, two for each byte, as given and as printed
    #[arg(long)]
    hex: bool,
    /// Print one JSON object; --help says what it holds
    #[arg(long)]
    json: bool,
}

impl Written {
    /// The bytes of an argument.
    fn read(&self, argument: &str) -> std::result::Result<Vec<u8>, WrongUsage> {
        if !self.hex {
            return Ok(argument.as_bytes().to_vec());
        }
        from_hex(argument).map_err(|message| WrongUsage(format!("{argument:?}: {message}")))
    }

    /// Bytes as they are printed.
    fn show(&self, bytes: &[u8]) -> String {
        if self.hex { to_hex(bytes) } else { readable(bytes) }
    }
}

/// Prints the value of a key.
#[derive(Args)]
#[command(after_long_help = format!("{GET_EXAMPLES}\n\n{GET_SHAPE}"), after_help = GET_EXAMPLES)]
pub struct Get {
    #[command(flatten)]
    asked: Asked,
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: String,
    #[command(flatten)]
    written: Written,
}

/// Puts a value in a table, which is made if there is none: in place of the key's, if it has one.
#[derive(Args)]
#[command(after_long_help = format!("{PUT_EXAMPLES}\n\n{PUT_SHAPE}"), after_help = PUT_EXAMPLES)]
#[command(allow_negative_numbers = true)]
pub struct Put {
    #[command(flatten)]
    asked: Asked,
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: String,
    /// The value
    #[arg(allow_negative_numbers = true)]
    value: String,
    #[command(flatten)]
    written: Written,
    /// Make the database if there is none
    #[arg(long)]
    create: bool,
}

/// Deletes a key with its value.
#[derive(Args)]
#[command(after_long_help = format!("{DELETE_EXAMPLES}\n\n{DELETE_SHAPE}"), after_help = DELETE_EXAMPLES)]
pub struct Delete {
    #[command(flatten)]
    asked: Asked,
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: String,
    #[command(flatten)]
    written: Written,
}

/// Prints the keys of a table with their values, in order.
#[derive(Args)]
#[command(after_long_help = format!("{SCAN_EXAMPLES}\n\n{SCAN_SHAPE}"), after_help = SCAN_EXAMPLES)]
pub struct Scan {
    #[command(flatten)]
    asked: Asked,
    /// Only keys that are not below this one
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    from: Option<String>,
    /// Only keys below this one
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    to: Option<String>,
    /// The last key first
    #[arg(long)]
    reverse: bool,
    /// So many at most
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    written: Written,
}

/// Opens a database; makes it if there is none and `create` asks for it.
pub fn open(directory: &Path, create: bool) -> Result<Db> {
    if !create {
        // Not even a lock file is left where no database is.
        drop(Outside::open(directory)?);
    }
    let options = Options::new().create_if_missing(create).lock_timeout(Some(PATIENCE));
    options.open(directory)
}

/// The table of this name, which must be there.
pub fn table_of(db: &Db, name: &str) -> Result<Table> {
    db.open_table(name)?.ok_or_else(|| Error::NoSuchTable { name: name.to_owned() })
}

/// Closes the database, however the work went.
pub fn closing<T>(db: Db, done: anyhow::Result<T>) -> anyhow::Result<T> {
    let in_doubt: Vec<String> =
        db.prepared().iter().map(|txn| txn.global_id.escape_ascii().to_string()).collect();
    let closed = db.close();
    let done = done.map_err(|error| explained(error, &in_doubt))?;
    closed?;
    Ok(done)
}

/// Nobody else uses the database, so only transactions in doubt can keep something locked for long.
fn explained(error: anyhow::Error, in_doubt: &[String]) -> anyhow::Error {
    match error.downcast_ref() {
        Some(Error::LockTimeout { .. }) if !in_doubt.is_empty() => {
            let in_doubt = in_doubt.join(", ");
            anyhow::anyhow!(
                "a transaction in doubt has locked it; decide upon it with `aries shell`, by `decide ID commit` \
                 or `decide ID rollback`: {in_doubt} ({error})"
            )
        }
        _ => error,
    }
}

/// Tells that a key is not there.
fn missing(table: &str, key: &str) -> u8 {
    eprintln!("aries: the table {table:?} has no key {key}");
    SOMETHING_WRONG
}

fn print_json(object: &Value) {
    print(&format!("{object:#}\n"));
}

/// Runs `aries get`; gives the exit code.
///
/// # Errors
/// What keeps the table from being read.
pub fn get(Get { asked, key, written }: &Get) -> anyhow::Result<u8> {
    let key = written.read(key)?;
    let db = open(&asked.directory, false)?;
    let read = table_of(&db, &asked.table).and_then(|table| db.begin()?.get(&table, &key));
    let value = closing(db, read.map_err(Into::into))?;
    if written.json {
        let (key, found) = (to_json(&key), value.is_some());
        let value = value.as_deref().map(to_json);
        print_json(
            &json!({ "version": 1, "table": asked.table, "key": key, "found": found, "value": value }),
        );
        return Ok(if found { DONE } else { SOMETHING_WRONG });
    }
    let Some(value) = value else { return Ok(missing(&asked.table, &written.show(&key))) };
    print(&(written.show(&value) + "\n"));
    Ok(DONE)
}

/// Runs `aries put`; gives the exit code.
///
/// # Errors
/// What keeps the value from being put.
pub fn put(Put { asked, key, value, written, create }: &Put) -> anyhow::Result<u8> {
    let (key, value) = (written.read(key)?, written.read(value)?);
    let db = open(&asked.directory, *create)?;
    let put = db.table(&asked.table).and_then(|table| {
        db.transact(|txn| {
            let before = txn.get(&table, &key)?;
            txn.put(&table, &key, &value)?;
            Ok(before.is_some())
        })
    });
    let replaced = closing(db, put.map_err(Into::into))?;
    if written.json {
        let key = to_json(&key);
        print_json(
            &json!({ "version": 1, "table": asked.table, "key": key, "replaced": replaced }),
        );
    }
    Ok(DONE)
}

/// Runs `aries delete`; gives the exit code.
///
/// # Errors
/// What keeps the key from being deleted.
pub fn delete(Delete { asked, key, written }: &Delete) -> anyhow::Result<u8> {
    let key = written.read(key)?;
    let db = open(&asked.directory, false)?;
    let deleted =
        table_of(&db, &asked.table).and_then(|table| db.transact(|txn| txn.delete(&table, &key)));
    let found = closing(db, deleted.map_err(Into::into))?;
    if written.json {
        let key = to_json(&key);
        print_json(&json!({ "version": 1, "table": asked.table, "key": key, "found": found }));
        return Ok(if found { DONE } else { SOMETHING_WRONG });
    }
    Ok(if found { DONE } else { missing(&asked.table, &written.show(&key)) })
}

/// Runs `aries scan`; gives the exit code.
///
/// # Errors
/// What keeps the table from being read.
pub fn scan(scan: &Scan) -> anyhow::Result<u8> {
    let bound = |key: &Option<String>, of: fn(Vec<u8>) -> Bound<Vec<u8>>| {
        let key = key.as_deref().map(|key| scan.written.read(key)).transpose()?;
        Ok::<_, WrongUsage>(key.map_or(Bound::Unbounded, of))
    };
    let range = (bound(&scan.from, Bound::Included)?, bound(&scan.to, Bound::Excluded)?);
    let db = open(&scan.asked.directory, false)?;
    let printed =
        table_of(&db, &scan.asked.table).and_then(|table| print_range(&db, &table, range, scan));
    closing(db, printed.map_err(Into::into))?;
    Ok(DONE)
}

type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

fn print_range(db: &Db, table: &Table, range: Range, scan: &Scan) -> Result<()> {
    let mut txn = db.begin()?;
    let pairs = txn.scan(table, range)?;
    let pairs: Box<dyn Iterator<Item = _>> = match scan.reverse {
        true => Box::new(pairs.rev()),
        false => Box::new(pairs),
    };
    let pairs = pairs.take(scan.limit.unwrap_or(usize::MAX));
    let mut output = Output::new();
    if !scan.written.json {
        for pair in pairs {
            let (key, value) = pair?;
            let line = format!("{}\t{}\n", scan.written.show(&key), scan.written.show(&value));
            if !output.print(&line) {
                break;
            }
        }
        output.flush();
        return Ok(());
    }
    let head = json!({ "version": 1, "table": scan.asked.table });
    let mut list = JsonList::begin(&mut output, &head, "pairs");
    let (mut count, mut failed) = (0_u64, None);
    for pair in pairs {
        match pair {
            Ok((key, value)) => {
                count += 1;
                let item = json!({ "key": to_json(&key), "value": to_json(&value) });
                if !list.item(&mut output, &item) {
                    break;
                }
            }
            Err(error) => failed = Some(error),
        }
    }
    let error = failed.as_ref().map(ToString::to_string);
    list.end(&mut output, &json!({ "count": count, "error": error }));
    failed.map_or(Ok(()), Err)
}
