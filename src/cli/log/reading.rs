//! Reading the log of a directory that others may be writing to.
//!
//! What is read may change meanwhile: the end of the log moves on, the oldest segment is recycled under
//! the reader's hands, and of what is being written a later part may be seen before an earlier one. So what
//! looks like damage in a database that is open elsewhere is looked at again, from files opened anew,
//! before it is believed. Where the log was truncated meanwhile, reading goes on with what is left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::db::Outside;
use crate::disk::FileDisk;
use crate::error::{Error, Result};
use crate::ids::Lsn;
use crate::log::{Epochs, RecordBytes};
use crate::record::{EncodedRecord, LogRecord, padded};
use crate::recovery::LogReader;

/// How often something that looks like damage is looked at before it is believed.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What is called for each record, with the bytes that it takes; gives whether to go on.
type Visit<'v> = &'v mut dyn FnMut(Lsn, usize, &LogRecord<'_>) -> bool;

/// The log of a directory, and how far it was read.
pub struct Reading {
    directory: PathBuf,
    reader: LogReader,
    from: Option<Lsn>,
    /// Where to go on, and the runs known there.
    next: Option<(Lsn, Epochs)>,
}

impl Reading {
    /// Opens the log, to be read from `from` on or a little before.
    ///
    /// # Errors
    /// As [`Outside::open_in_use`] and [`LogReader::open`].
    pub fn open(directory: &Path, from: Option<Lsn>) -> Result<Self> {
        let reader = patiently(directory, || Outside::open_in_use(directory)?.log())?;
        Ok(Self { directory: directory.to_owned(), reader, from, next: None })
    }

    /// Opens the files anew, to see what others wrote and made.
    ///
    /// # Errors
    /// As [`Reading::open`].
    pub fn reopen(&mut self) -> Result<()> {
        let directory = &self.directory;
        self.reader = patiently(directory, || Outside::open_in_use(directory)?.log())?;
        if let Some((next, epochs)) = &mut self.next
            && *next < self.reader.start()
        {
            eprintln!("The log before {} was truncated meanwhile.", self.reader.start());
            *next = self.reader.start();
            *epochs = self.reader.epochs().clone();
        }
        Ok(())
    }

    /// The first record that is kept.
    pub fn start(&self) -> Lsn {
        self.reader.start()
    }

    /// Up to where records were read.
    pub fn position(&self) -> Lsn {
        self.next.as_ref().map_or(self.reader.start(), |(next, _)| *next)
    }

    /// Hands out records, from where the last call ended, to the end of the log.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the log is damaged; those of the disk.
    pub fn run(&mut self, visit: Visit<'_>) -> Result<()> {
        let mut looks = 1;
        loop {
            let before = self.position();
            let damage = match self.run_once(visit) {
                Ok(true) if is_open_elsewhere(&self.directory) => {
                    self.reopen()?;
                    if self.position() > self.reader.master().checkpoint_lsn {
                        return Ok(());
                    }
                    continue; // It ended where a segment was recycled under the reader's hands.
                }
                Err(error @ Error::Corrupt { .. }) if is_open_elsewhere(&self.directory) => error,
                read => return read.map(drop),
            };
            looks = if self.position() > before { 1 } else { looks + 1 };
            if looks > LOOKS {
                return Err(damage);
            }
            std::thread::sleep(BETWEEN_LOOKS);
            self.reopen()?;
        }
    }

    /// Gives whether all was read that there is.
    fn run_once(&mut self, visit: Visit<'_>) -> Result<bool> {
        let mut scan = match &self.next {
            Some((next, epochs)) => self.reader.scan_on(*next, epochs),
            None => self.reader.scan(self.from.unwrap_or_else(|| self.reader.start())),
        };
        let read = loop {
            match scan.next_sized() {
                Ok(Some((lsn, bytes, record))) => {
                    if !visit(lsn, bytes, &record) {
                        break Ok(false);
                    }
                }
                Ok(None) => break Ok(true),
                Err(error) => break Err(error),
            }
        };
        let ended = match read {
            Ok(true) => self.reader.check_end(&mut scan).map(|()| true),
            read => read,
        };
        self.next = Some((scan.position(), scan.epochs().clone()));
        ended
    }

    /// The record at `lsn`, and the bytes that it takes; it lies in what was read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when none begins there; those of the disk.
    pub fn read(&self, lsn: Lsn) -> Result<(usize, RecordBytes)> {
        let epochs = self.next.as_ref().map_or(self.reader.epochs(), |(_, epochs)| epochs);
        let found = self.reader.read(lsn, epochs)?;
        let bytes = padded(EncodedRecord::new(&found.record()).len());
        Ok((bytes, found))
    }
}

/// Tries again what fails while the database is open elsewhere: files may just be changing their names.
fn patiently<T>(directory: &Path, attempt: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 1..LOOKS {
        match attempt() {
            Err(Error::Corrupt { .. } | Error::Io { .. }) if is_open_elsewhere(directory) => {
                std::thread::sleep(BETWEEN_LOOKS);
            }
            done => return done,
        }
    }
    attempt()
}

fn is_open_elsewhere(directory: &Path) -> bool {
    matches!(FileDisk::open_to_read(directory), Err(Error::AlreadyOpen { .. }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::db::{Db, Options};
    use crate::ids::{PageId, SlotId};

    fn open(directory: &Path) -> Db {
        let options = Options::new().page_size(512).segment_bytes(65_536);
        options.buffer_pool_bytes(16 * 512).background(false).open(directory).unwrap()
    }

    /// Writes a few segments of log.
    fn write(db: &Db, page: PageId, slot: SlotId) {
        for number in 0..600_u32 {
            let mut txn = db.begin().unwrap();
            txn.write_record(page, slot, 0, &[number.to_le_bytes()[0]; 200]).unwrap();
            drop(txn.commit_deferred());
        }
        db.force_log().unwrap();
    }

    /// Has all log recycled that nobody needs.
    fn truncate(db: &Db) {
        db.flush_pages().unwrap();
        (0..2).for_each(|_| drop(db.checkpoint().unwrap()));
    }

    /// Whatever is recycled under the reader's hands, whenever that happens, it comes to the end of the
    /// log, and tells each record that it tells once, in order.
    #[test]
    fn a_reader_comes_to_the_end_though_segments_are_recycled_under_its_hands() {
        for (at, checkpoint) in [(0, false), (1, true), (500, false), (1500, true)] {
            let directory = tempfile::tempdir().unwrap();
            let db = open(directory.path());
            let mut txn = db.begin().unwrap();
            let page = txn.allocate_page().unwrap();
            let slot = txn.insert_record(page, &[7; 200]).unwrap();
            txn.commit().unwrap();
            (0..2).for_each(|_| write(&db, page, slot));
            if checkpoint {
                // The log cannot end before it; the dirty page keeps what is older.
                db.checkpoint().unwrap();
            }
            let mut reading = Reading::open(directory.path(), None).unwrap();
            let (mut count, mut last) = (0, None);
            let read = reading.run(&mut |lsn, _, _| {
                if count == at {
                    for _ in 0..3 {
                        truncate(&db);
                        write(&db, page, slot);
                    }
                }
                count += 1;
                assert!(last.replace(lsn) < Some(lsn), "{last:?}, then {lsn}");
                true
            });
            read.unwrap();
            assert!(count > at, "it was read while segments were recycled");
            assert_eq!(reading.position(), db.stats().flushed_lsn, "recycled at record {at}");
        }
    }
}
