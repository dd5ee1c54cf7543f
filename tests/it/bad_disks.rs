//! Disks that lie, fail, fill up or hold garbage. Whatever they do, the engine gives an error that
//! names the file and the LSN or page, never serves wrong bytes, and never loses acknowledged work
//! without saying so.

mod damaged_files;
mod damaged_log;
mod damaged_pages;
mod failing;
mod full;
mod garbage;
mod poisoned;

use std::path::{Path, PathBuf};

use aries::Error;
use aries::disk::SimDisk;
use aries::error::Place;

use crate::common::{Image, Work, disk_of, forget_log, image, try_open, value};

/// A closed database: twelve commits, pages written, log truncated.
fn closed() -> (Image, Work) {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let work = twelve_commits(&db);
    db.close().unwrap();
    (image(&disk), work)
}

/// The same database, but the log has gone on since, and does not reach back to the pages' beginnings.
fn closed_long_after() -> (Image, Work) {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let work = twelve_commits(&db);
    db.flush_pages().unwrap();
    forget_log(&db);
    db.close().unwrap();
    (image(&disk), work)
}

/// A database that crashed after six more commits to pages whose beginnings the log does not have
/// any more.
fn crashed_long_after() -> (Image, Work) {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = twelve_commits(&db);
    db.flush_pages().unwrap();
    forget_log(&db);
    for number in 12..18 {
        work.commit_one(&db, &value(number, 30)).unwrap();
    }
    (image(&disk), work)
}

/// A database of twelve commits, crashed in the middle of its work; everything is in the log.
fn crashed() -> (Image, Work) {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let work = twelve_commits(&db);
    (image(&disk), work)
}

fn twelve_commits(db: &aries::Db) -> Work {
    let mut work = Work::default();
    for number in 0..12 {
        work.commit_one(db, &value(number, 30)).unwrap();
        if number == 5 {
            db.flush_pages().unwrap();
        }
    }
    work
}

/// The file that an error is about.
fn file_of(error: &Error) -> PathBuf {
    match error {
        Error::Io { path, .. }
        | Error::DiskFull { path, .. }
        | Error::ReadOnly { path, .. }
        | Error::NotADatabase { path, .. }
        | Error::Mismatch { path, .. }
        | Error::Corrupt { place: Place::File(path), .. }
        | Error::Corrupt { place: Place::Log { segment: path, .. }, .. }
        | Error::Corrupt { place: Place::Page { file: path, .. }, .. } => path.clone(),
        other => panic!("an error that names no file: {other}"),
    }
}

/// Asserts that the error is about file `name`, and says so.
fn assert_names(error: &Error, name: &str) {
    let path = Path::new("sim:").join(name);
    let path = if file_of(error).starts_with("sim:") { path } else { format!("sim:{name}").into() };
    assert_eq!(file_of(error), path, "{error}");
    assert!(error.to_string().contains(name), "{error}");
}

/// Opens a damaged image twice: the answer is the same, and a refusal changes nothing. `Ok` if it
/// opens; then the work that it still has was checked.
fn open_twice(damaged: &Image, work: &Work) -> Result<(), Error> {
    let disk = disk_of(damaged);
    let Err(first) = try_open(&disk) else {
        return try_open(&disk_of(damaged)).and_then(|db| work.check(&db));
    };
    assert!(image(&disk) == *damaged, "refusing changed the disk: {first}");
    let second = try_open(&disk).map(drop).expect_err("it was refused before");
    assert_eq!(first.to_string(), second.to_string());
    Err(first)
}
