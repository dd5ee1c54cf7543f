//! `aries import` and `aries export`.
//!
//! ```text
//!   file  --- rows --->  loaded, while they ascend and the table was empty;
//!                        then a transaction for each batch  --->  table     import
//!   table --- one transaction that locks it whole ---> rows --->  file      export
//! ```
//!
//! Invariants:
//! - each batch is in whole or not at all, and durable before the next begins; but as long as rows ascend, those for an empty table
//!   are loaded, all batches in one transaction;
//! - an import that fails says in which line, and how many rows are in;
//! - what is exported and imported again is the same table, to the byte.

use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::output::{path, print};
use super::progress::{Counting, Progress, Waiting};
use super::rows::{BadRow, Format, Reader, Row, Writer};
use super::table::{closing, open, table_of};
use super::{DONE, SOMETHING_WRONG};
use crate::btree::MAX_VALUE_BYTES;
use crate::config::FillFactor;
use crate::db::{Db, Table};
use crate::demo::counted;

const FORMATS: &str = "\
Formats (by the name of the file, .csv, .jsonl or .ndjson; or --format):
  csv     two columns, key and value, behind a line that says so, key,value; without it: --no-header
  jsonl   an object a line: {\"key\":\"alice\",\"value\":\"100\"}; bytes that are no text: {\"hex\":\"00ff\"}";

const IMPORT_EXAMPLES: &str = "\
Examples:
  aries import bank accounts accounts.csv
  aries import bank accounts accounts.jsonl --create       makes the database if there is none
  zcat a.csv.gz | aries import bank accounts - --format csv --batch 10000

Rows for an empty table are loaded, all batches in one transaction, as long as their keys ascend. A key that
is there already gets the value of the last row with it. The database is opened, which recovers
it if it was not closed, and closed again. Exit code 0 if all rows are in, durably, 1 if not, 2 for wrong
usage.";

const IMPORT_SHAPE: &str = "\
The JSON object:
  version, table, file
  rows      how many are in, durably
  error     why the rest is not, in words, with the line; null if all are";

const EXPORT_EXAMPLES: &str = "\
Examples:
  aries export bank accounts accounts.csv
  aries export bank accounts - --format jsonl | jq -r .key

The database is opened, which recovers it if it was not closed, and closed again. Exit code 0 if all rows
are written, 1 if not, 2 for wrong usage.";

// What both are asked. (A doc comment here would replace those of the commands.)
#[derive(Args)]
struct Asked {
    /// Directory of the database
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// The table
    #[arg(value_name = "TABLE")]
    table: String,
    /// The file; - for standard input or output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How rows stand in the file [default: by its name, and else csv]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// csv: the first line is a row already
    #[arg(long)]
    no_header: bool,
}

impl Asked {
    fn format(&self) -> Format {
        let ending = self.file.extension().and_then(|ending| ending.to_str());
        self.format.unwrap_or(match ending {
            Some("jsonl" | "ndjson") => Format::Jsonl,
            _ => Format::Csv,
        })
    }

    fn is_standard(&self) -> bool {
        self.file == Path::new("-")
    }
}

/// Puts the rows of a file in a table, which is made if there is none.
#[derive(Args)]
#[command(after_long_help = format!("{IMPORT_EXAMPLES}\n\n{FORMATS}\n\n{IMPORT_SHAPE}"))]
#[command(after_help = IMPORT_EXAMPLES)]
pub struct Import {
    #[command(flatten)]
    asked: Asked,
    /// Rows of a transaction
    #[arg(long, value_name = "N", default_value = "1000")]
    batch: NonZeroU64,
    /// How full pages are made when an empty table is loaded, in hundredths; what is left free takes later keys
    #[arg(long, value_name = "PERCENT", default_value = "90", value_parser = fill_factor)]
    fill_factor: FillFactor,
    /// Make the database if there is none
    #[arg(long)]
    create: bool,
    /// Print one JSON object; --help says what it holds
    #[arg(long)]
    json: bool,
}

fn fill_factor(text: &str) -> Result<FillFactor, String> {
    let known = text.parse().ok().and_then(FillFactor::new);
    known.ok_or_else(|| format!("{} to {} hundredths", FillFactor::LEAST, FillFactor::MOST))
}

/// Writes all keys of a table with their values to a file, in order.
#[derive(Args)]
#[command(after_long_help = format!("{EXPORT_EXAMPLES}\n\n{FORMATS}"), after_help = EXPORT_EXAMPLES)]
pub struct Export {
    #[command(flatten)]
    asked: Asked,
    /// Write over a file that is there already
    #[arg(long)]
    force: bool,
}

/// How far a file is read.
enum HowFar {
    /// Of a file whose length is known.
    Of(Counting, u64),
    Unknown(Waiting),
}

/// Bytes, of which it is told how many were read.
struct Told<R> {
    bytes: R,
    how_far: HowFar,
    read: u64,
}

impl<R: Read> Read for Told<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.read += read as u64;
        match &mut self.how_far {
            // It may have grown.
            HowFar::Of(counting, all) => counting.done(self.read.min(*all)),
            HowFar::Unknown(waiting) => waiting.at(|| counted(self.read, "byte") + " read"),
        }
        Ok(read)
    }
}

/// Runs `aries import`; gives the exit code.
///
/// # Errors
/// What keeps it from beginning.
pub fn import(import: &Import) -> anyhow::Result<u8> {
    let asked = &import.asked;
    let (bytes, how_far): (Box<dyn Read>, HowFar) = match asked.is_standard() {
        true => (Box::new(io::stdin().lock()), HowFar::Unknown(Waiting::begin())),
        false => {
            let failed = |error| anyhow!("cannot read {}: {error}", asked.file.display());
            let file = File::open(&asked.file).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            let how_far = match metadata.is_file() {
                true => HowFar::Of(Progress::of(metadata.len(), "bytes read"), metadata.len()),
                false => HowFar::Unknown(Waiting::begin()),
            };
            (Box::new(file), how_far)
        }
    };
    let mut rows = Reader::new(asked.format(), !asked.no_header, Told { bytes, how_far, read: 0 });
    let db = open(&asked.directory, import.create)?;
    let mut is_in = 0;
    let put = db.table(&asked.table).map_err(anyhow::Error::from);
    let put = put.and_then(|table| put_all(&db, &table, &mut rows, import, &mut is_in));
    drop(rows); // The bar goes before anything is said.
    let imported = closing(db, put);
    if import.json {
        let error = imported.as_ref().err().map(ToString::to_string);
        let file = path(&asked.file);
        let report = json!({ "version": 1, "table": asked.table, "file": file, "rows": is_in, "error": error });
        print(&format!("{report:#}\n"));
    }
    let rows = counted(is_in, "row");
    let are = if is_in == 1 { "is" } else { "are" };
    match &imported {
        Err(error) => eprintln!("aries: {error}; {rows} {are} in, the rest is not"),
        Ok(()) if !import.json => print(&format!("{rows} {are} in.\n")),
        Ok(()) => {}
    }
    Ok(if imported.is_ok() { DONE } else { SOMETHING_WRONG })
}

/// Batches of rows whose keys ascend, as pairs.
struct Ascending<'r, R> {
    rows: &'r mut Reader<R>,
    batch: u64,
    max_key_bytes: usize,
    last: Vec<u8>,
    /// Of the batch that is given out.
    ready: std::vec::IntoIter<Row>,
    /// Where it ended: rows that do not ascend, or what is wrong; `Some` of none at the end of the file.
    ended: Option<anyhow::Result<Vec<Row>>>,
}

impl<R: Read> Ascending<'_, R> {
    /// Reads a batch; gives it if its keys ascend, and a table can have them.
    fn read(&mut self) -> anyhow::Result<Vec<Row>> {
        let mut read: Vec<Row> = Vec::new();
        let mut ascend = true;
        while (read.len() as u64) < self.batch
            && let Some(row) = self.rows.next()?
        {
            let last = read.last().map_or(&self.last, |row| &row.key);
            ascend &= *last < row.key
                && row.key.len() <= self.max_key_bytes
                && row.value.len() <= MAX_VALUE_BYTES;
            read.push(row);
        }
        if !ascend || read.is_empty() {
            self.ended = Some(Ok(read));
            return Ok(Vec::new());
        }
        if let Some(row) = read.last() {
            self.last.clone_from(&row.key);
        }
        Ok(read)
    }
}

impl<R: Read> Iterator for Ascending<'_, R> {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.as_slice().is_empty() && self.ended.is_none() {
            match self.read() {
                Ok(rows) => self.ready = rows.into_iter(),
                Err(error) => self.ended = Some(Err(error)),
            }
        }
        self.ready.next().map(|row| (row.key, row.value))
    }
}

/// Loads rows as long as whole batches of them ascend; gives those that were read and do not, if the file goes on.
fn load<R: Read>(
    db: &Db,
    table: &Table,
    rows: &mut Reader<R>,
    import: &Import,
    is_in: &mut u64,
) -> anyhow::Result<Vec<Row>> {
    let batch = import.batch.get();
    let (max_key_bytes, ready) = (db.max_key_bytes(), Vec::new().into_iter());
    let mut ascending =
        Ascending { rows, batch, max_key_bytes, last: Vec::new(), ready, ended: None };
    *is_in = db.load_filled(table, import.fill_factor, &mut ascending)?;
    ascending.ended.unwrap_or_else(|| Ok(Vec::new()))
}

/// Puts all rows, batch by batch; `is_in` counts those that have committed.
fn put_all<R: Read>(
    db: &Db,
    table: &Table,
    rows: &mut Reader<R>,
    import: &Import,
    is_in: &mut u64,
) -> anyhow::Result<()> {
    let batch = import.batch.get();
    let is_empty = db.transact(|txn| Ok(txn.scan(table, ..)?.next().transpose()?.is_none()))?;
    let mut ahead = match is_empty {
        true => load(db, table, rows, import, is_in)?.into_iter(),
        false => Vec::new().into_iter(),
    };
    loop {
        let (mut txn, mut count) = (db.begin()?, 0);
        while count < batch
            && let Some(row) = ahead.next().map_or_else(|| rows.next(), |row| Ok(Some(row)))?
        {
            let line = row.line;
            let put = txn.put(table, &row.key, &row.value);
            put.map_err(|error| BadRow { line, message: error.to_string() })?;
            count += 1;
        }
        txn.commit()?;
        *is_in += count;
        if count < batch {
            return Ok(());
        }
    }
}

/// Runs `aries export`; gives the exit code.
///
/// # Errors
/// What keeps the table from being read, or the file from being written.
pub fn export(Export { asked, force }: &Export) -> anyhow::Result<u8> {
    let db = open(&asked.directory, false)?;
    let written = export_from(&db, asked, *force);
    let rows = closing(db, written)?;
    eprintln!("aries: {} written", counted(rows, "row"));
    Ok(DONE)
}

fn export_from(db: &Db, asked: &Asked, force: bool) -> anyhow::Result<u64> {
    let table = table_of(db, &asked.table)?;
    if asked.is_standard() {
        return write_all(db, &table, asked, io::stdout().lock());
    }
    let file = match force {
        true => File::create(&asked.file),
        false => File::create_new(&asked.file),
    };
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            anyhow!("{} is there already: --force writes over it", asked.file.display())
        }
        _ => anyhow!("cannot write {}: {error}", asked.file.display()),
    })?;
    write_all(db, &table, asked, file)
}

/// Writes all rows; gives how many.
fn write_all(db: &Db, table: &Table, asked: &Asked, to: impl Write) -> anyhow::Result<u64> {
    let (mut waiting, mut count) = (Waiting::begin(), 0_u64);
    let mut txn = db.begin()?;
    let mut pairs = txn.scan(table, ..)?;
    let written = Writer::new(asked.format(), !asked.no_header, to).and_then(|mut writer| {
        for pair in pairs.by_ref() {
            let (key, value) = match pair {
                Ok(pair) => pair,
                Err(error) => return Ok(Err(error)),
            };
            writer.write(&key, &value)?;
            count += 1;
            waiting.at(|| counted(count, "row") + " written");
        }
        writer.flush().map(Ok)
    });
    match written {
        Ok(read) => Ok(read.map(|()| count)?),
        // Who closed standard output does not want to see more.
        Err(error) if asked.is_standard() && error.kind() == io::ErrorKind::BrokenPipe => Ok(count),
        Err(error) => Err(anyhow!("cannot write {}: {error}", asked.file.display())),
    }
}
