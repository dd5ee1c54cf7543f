//! Making a database: all of it or nothing.
//!
//! ```text
//!   creating (durable) → log, pages, doublewrite, control (durable) → creating removed (durable)
//! ```
//!
//! While the file `creating` is there, and no run has written the control file, nothing in the
//! directory was ever acknowledged: whoever finds it starts over. Nothing is removed that creation
//! does not make itself.

use crate::buffer::{DOUBLE_WRITE_FILE, DoubleWrite, PAGES_FILE, PagesFile};
use crate::config::Config;
use crate::disk::Disk;
use crate::error::{Error, Place, Result};
use crate::event::Observers;
use crate::ids::{Lsn, TxnId};
use crate::log::{
    CONTROL_FILE, ControlFile, Epochs, Geometry, LOG_DIRECTORY, Log, LogPosition, MasterRecord,
    Segments, is_segment_name,
};
use crate::record::{BeginCheckpoint, EncodedRecord, EndCheckpoint, LogRecord, Restart};
use crate::recovery::distrust::{self, DISTRUST_FILE};
use crate::sync::Arc;

const CREATING_FILE: &str = "creating";
const CREATING_MARK: &[u8] = b"aries is making a database here\n";
const LOCK_FILE: &str = "LOCK";
/// Epoch of the records that make a database; every run has a higher one.
const FIRST_EPOCH: u64 = 1;

/// What a directory holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A database.
    Database,
    /// Nothing.
    Nothing,
    /// A database that a crash kept from being finished.
    Unfinished,
}

/// The names in a directory.
struct Names(Vec<String>);

impl Names {
    fn of(disk: &dyn Disk) -> Result<Self> {
        Ok(Self(disk.list("")?))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|other| other == name)
    }

    /// Refuses other files of a database where the control file is missing.
    fn refuse_remains(&self, disk: &dyn Disk) -> Result<()> {
        if [PAGES_FILE, LOG_DIRECTORY, DOUBLE_WRITE_FILE].iter().any(|name| self.has(name)) {
            let place = Place::File(disk.location().join(CONTROL_FILE));
            return Err(Error::corrupt(place, "the control file of the database", "no file"));
        }
        Ok(())
    }
}

/// Refuses a directory without a control file that holds other files of a database, unless they are those
/// of one that was never finished.
///
/// # Errors
/// [`Error::Corrupt`]; those of the disk.
pub fn refuse_remains(disk: &dyn Disk) -> Result<()> {
    let names = Names::of(disk)?;
    if names.has(CREATING_FILE) { Ok(()) } else { names.refuse_remains(disk) }
}

/// Looks what the directory holds.
///
/// # Errors
/// [`Error::NotADatabase`] for somebody else's files, [`Error::Corrupt`] for a database without
/// its control file.
pub fn look(disk: &dyn Disk) -> Result<Found> {
    let names = Names::of(disk)?;
    let marked = distrust::is_marked(disk)?;
    if names.has(CREATING_FILE) {
        if !was_opened(disk)? {
            check_all_ours(disk, &names, marked)?;
            return Ok(Found::Unfinished);
        }
        disk.remove(CREATING_FILE)?; // Its removal was lost.
        disk.sync_directory("")?;
    }
    if names.has(CONTROL_FILE) {
        return Ok(Found::Database);
    }
    names.refuse_remains(disk)?;
    let strange = |name: &&String| *name != LOCK_FILE && !(*name == DISTRUST_FILE && marked);
    match names.0.iter().find(strange) {
        None => Ok(Found::Nothing),
        Some(name) => {
            let reason = format!("it holds {name:?}, and no control file");
            Err(Error::NotADatabase { path: disk.location(), reason })
        }
    }
}

/// Whether the control file is one that a run has written: then the mark is left over from a removal
/// that was lost, and means nothing.
///
/// # Errors
/// Whatever keeps the control file from being read, but that it is missing or was never whole.
fn was_opened(disk: &dyn Disk) -> Result<bool> {
    match ControlFile::open(disk) {
        Ok(control) => Ok(control.highest_epoch() > FIRST_EPOCH),
        Err(Error::Corrupt { .. }) => Ok(false),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Refuses to start over in a directory that holds anything but what creation makes, or a mark that
/// is not its own.
fn check_all_ours(disk: &dyn Disk, names: &Names, marked: bool) -> Result<()> {
    let ours =
        [CREATING_FILE, LOCK_FILE, CONTROL_FILE, PAGES_FILE, DOUBLE_WRITE_FILE, LOG_DIRECTORY];
    let is_ours = |name: &str| ours.contains(&name) || (name == DISTRUST_FILE && marked);
    let mut strange = names.0.iter().find(|name| !is_ours(name)).cloned();
    if names.has(LOG_DIRECTORY) {
        let segments = disk.list(LOG_DIRECTORY)?;
        strange = strange.or_else(|| segments.into_iter().find(|name| !is_segment_name(name)));
    }
    let mut mark = vec![0; CREATING_MARK.len() + 1];
    let read = disk.open(CREATING_FILE)?.read_at(0, &mut mark)?;
    let marks = [CREATING_FILE, LOCK_FILE, DISTRUST_FILE];
    let only_mark = names.0.iter().all(|name| marks.contains(&name.as_str()));
    if &mark[..read] != CREATING_MARK && !(read == 0 && only_mark) {
        strange = strange.or_else(|| Some(CREATING_FILE.to_owned()));
    }
    match strange {
        None => Ok(()),
        Some(name) => {
            let reason = format!("it holds {name:?}, which is none of a database's files");
            Err(Error::NotADatabase { path: disk.location(), reason })
        }
    }
}

/// Makes a new, cleanly closed database in an empty directory, or over one that was never finished.
///
/// # Errors
/// Those of the disk.
pub fn create(
    disk: &Arc<dyn Disk>,
    config: &Config,
    database_id: u128,
    observers: &Observers,
) -> Result<()> {
    remove_unfinished(disk.as_ref())?;
    let geometry = Geometry { segment_bytes: config.segment_bytes };
    disk.create_directory(LOG_DIRECTORY)?;
    disk.sync_directory("")?;
    let segments = Segments::new(Arc::clone(disk), geometry, database_id);
    segments.prepare(1)?;
    let log = first_log(segments, config, observers)?;
    let pages = PagesFile::create(disk.as_ref(), config.page_size)?.pages();
    DoubleWrite::create(disk.as_ref(), config.page_size)?;
    let checkpoint_lsn = first_records(&log)?;
    let master = MasterRecord {
        database_id,
        page_size: u32::try_from(config.page_size).expect("at most 64 KiB"),
        segment_bytes: config.segment_bytes,
        sequence: 0,
        epoch: log.epoch(),
        checkpoint_lsn,
        checkpoint_epoch: log.epoch(),
        oldest_required_lsn: checkpoint_lsn,
        clean_end_lsn: Some(log.end_lsn()),
        in_place_only: false,
        pages,
        complete_from_lsn: None,
    };
    ControlFile::create(disk.as_ref(), master)?;
    disk.sync_directory("")?;
    disk.remove(CREATING_FILE)?;
    disk.sync_directory("")
}

/// Removes what an interrupted creation left; only the mark stays, or is made.
fn remove_unfinished(disk: &dyn Disk) -> Result<()> {
    let names = Names::of(disk)?;
    let mark = match names.has(CREATING_FILE) {
        true => disk.open(CREATING_FILE)?,
        false => disk.create(CREATING_FILE)?,
    };
    mark.write_at(0, CREATING_MARK)?;
    mark.sync_data()?;
    disk.sync_directory("")?;
    if !names.has(CREATING_FILE) {
        return Ok(());
    }
    for name in [CONTROL_FILE, PAGES_FILE, DOUBLE_WRITE_FILE] {
        if names.has(name) {
            disk.remove(name)?;
        }
    }
    if names.has(LOG_DIRECTORY) {
        for name in disk.list(LOG_DIRECTORY)? {
            disk.remove(&format!("{LOG_DIRECTORY}/{name}"))?;
        }
        disk.sync_directory(LOG_DIRECTORY)?;
    }
    disk.sync_directory("")
}

fn first_log(segments: Segments, config: &Config, observers: &Observers) -> Result<Log> {
    let start = Lsn::new(segments.geometry().first_record(1)).expect("behind the header");
    let (epoch, complete_from) = (FIRST_EPOCH, None);
    let position = LogPosition { end: start, durable: start, epoch, complete_from };
    let log = Log::new(segments, config, Epochs::default(), position, observers.clone());
    while log.prepare_step()? {}
    Ok(log)
}

/// The first run's restart record and an empty checkpoint, durable; gives the checkpoint's LSN.
fn first_records(log: &Log) -> Result<Lsn> {
    let append = |record: LogRecord<'_>| log.append(&EncodedRecord::new(&record), 0, |_| {});
    let (durable_lsn, next_txn) = (log.flushed_lsn(), TxnId::FIRST);
    let epoch = log.epoch();
    let restart_lsn =
        append(LogRecord::Restart(Restart { durable_lsn, epoch, previous: None, next_txn }))?;
    let begin_lsn =
        append(LogRecord::BeginCheckpoint(BeginCheckpoint { durable_lsn, restart_lsn }))?;
    append(LogRecord::EndCheckpoint(EndCheckpoint {
        durable_lsn,
        begin_lsn,
        next_txn,
        part: 0,
        parts: 1,
        dirty_pages: Vec::new(),
        transactions: Vec::new(),
    }))?;
    log.force_all()?;
    Ok(begin_lsn)
}
