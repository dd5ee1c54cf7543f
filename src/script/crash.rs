//! Crashes, failures and damage: what befalls the database from outside.
//!
//! A crash is real for the engine: a `Gate` before its disk lets nothing pass any more, so whatever it still
//! tries (rolling back what was under way, say) reaches no file. What had reached the simulated disk before then
//! survives, or not, as the script says.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::gate::{Gate, filled};
use super::session::{Session, refused};
use super::statement::{Crash, FaultKind, Keep, Place};
use crate::buffer::{DOUBLE_WRITE_FILE, PAGES_FILE, pages_of_batch};
use crate::disk::{
    self, Disk, FileDisk, Pending, PendingKind, SimDisk, Survivors, WatchedDisk, Watcher,
};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::ids::{Lsn, PageId, TxnId};
use crate::log::{CONTROL_FILE, ControlFile, Geometry, MasterRecord};
use crate::record::Names as _;
use crate::sync::Arc;

/// Bytes of a sector of a simulated disk.
pub const SECTOR: u64 = 512;

/// Where a database is.
pub enum Home {
    /// On a simulated disk.
    Simulated(SimDisk),
    /// In a directory.
    Directory(PathBuf),
}

impl Home {
    pub(super) fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated(_))
    }

    /// Whether it is a simulated disk without a database.
    pub(super) fn is_new(&self) -> bool {
        matches!(self, Self::Simulated(disk) if disk.read_file(CONTROL_FILE).is_none())
    }

    /// The disk, behind a gate.
    pub(super) fn disk(&self, gate: &Arc<Gate>) -> Result<Arc<dyn Disk>> {
        let inner: Arc<dyn Disk> = match self {
            Self::Simulated(disk) => Arc::new(disk.clone()),
            Self::Directory(path) => Arc::new(FileDisk::open(path)?),
        };
        let gate = Arc::clone(gate) as Arc<dyn Watcher>;
        Ok(WatchedDisk::watched_by(inner, gate))
    }
}

/// A change that power failed before it was synced.
#[derive(Clone, Debug)]
pub struct Unsynced {
    /// What it is.
    pub pending: Pending,
    /// Whether it reached the disk.
    pub survived: bool,
    /// How many bytes of a sector there are up to the last one that is not zero.
    pub filled: usize,
}

/// What a failure of power met.
#[derive(Clone, Debug, Default)]
pub struct PowerFailed {
    /// What was not synced, in the order of time.
    pub unsynced: Vec<Unsynced>,
    /// The pages of the batch in the double-write file, as the engine had written it.
    pub batch: Vec<PageId>,
}

impl PowerFailed {
    fn of(disk: &SimDisk, survivors: &Survivors) -> Self {
        let surviving = disk.surviving(survivors);
        let told = |pending: Pending| Unsynced {
            survived: surviving.contains(&pending.id),
            filled: disk.pending_bytes(pending.id).map_or(0, |bytes| filled(&bytes)),
            pending,
        };
        let batch = disk.read_file(DOUBLE_WRITE_FILE).map(|bytes| pages_of_batch(&bytes));
        let unsynced = disk.pending().into_iter().map(told).collect();
        Self { unsynced, batch: batch.unwrap_or_default() }
    }
}

impl Session {
    /// The simulated disk, if it is on one.
    pub(super) fn sim_disk(&self) -> Result<&SimDisk> {
        match &self.home {
            Home::Simulated(disk) => Ok(disk),
            Home::Directory(_) => refused("that needs a simulated disk; a directory has none"),
        }
    }

    /// The process dies.
    pub(super) fn kill(&mut self) -> Result<()> {
        let Some(running) = &self.running else { return refused("the database is not open") };
        running.stop();
        self.stop();
        Ok(())
    }

    /// The power fails.
    pub(super) fn crash(&mut self, crash: &Crash) -> Result<()> {
        if !self.home.is_simulated() {
            return refused("power fails only on a simulated disk; `kill` ends the process");
        }
        if crash.torn.is_some() && !matches!(crash.keep, Keep::None | Keep::All) {
            return refused("torn= goes with keep=none and keep=all");
        }
        if let Some((page, sectors)) = &crash.torn {
            self.write_without_sync(*page, sectors)?;
        }
        self.renumber();
        let disk = self.sim_disk()?;
        let survivors = self.survivors(disk, crash)?;
        let failed = self.calls.as_ref().map(|_| PowerFailed::of(disk, &survivors));
        let image = disk.crash(&survivors);
        if self.running.is_some() {
            self.kill()?;
        }
        self.home = Home::Simulated(image);
        self.power_failed = failed;
        Ok(())
    }

    /// Writes a page in place, up to the moment at which the file is to be synced.
    fn write_without_sync(&mut self, page: PageId, sectors: &RangeInclusive<u64>) -> Result<()> {
        let db = self.db()?;
        let most = db.stats().page_size as u64 / SECTOR;
        if sectors.is_empty() || *sectors.end() >= most {
            let last = most - 1;
            return refused(format!(
                "a page has the sectors 0 to {last}; {}-{} are not of them",
                sectors.start(),
                sectors.end()
            ));
        }
        if db.dirty_page_table().rec_lsn(page).is_none() {
            return refused(format!("{page} is not dirty: nothing of it is written"));
        }
        if let Some(running) = &self.running {
            running.gate.shut_before_pages_are_synced();
        }
        match db.flush_page(page) {
            Err(_) => Ok(()),
            Ok(()) => refused(format!("{page} was not written")),
        }
    }

    fn survivors(&self, disk: &SimDisk, crash: &Crash) -> Result<Survivors> {
        let Some((page, sectors)) = &crash.torn else {
            return Ok(match &crash.keep {
                Keep::AllBut(number) => {
                    let ids = disk.pending().into_iter().map(|pending| pending.id).enumerate();
                    let kept = ids.filter(|(index, _)| index != number).map(|(_, id)| id);
                    Survivors::Chosen(kept.collect())
                }
                Keep::Chosen(numbers) => Survivors::Chosen(chosen(&disk.pending(), numbers)?),
                Keep::None => Survivors::None,
                Keep::All => Survivors::All,
                Keep::Random(seed) => Survivors::Random { seed: *seed },
            });
        };
        let page_size = u64::from(self.master()?.page_size);
        let begin = page.0 * page_size;
        let sector_of = |pending: &Pending| match pending.kind {
            PendingKind::Sector { offset, .. } if pending.name == PAGES_FILE => {
                let within = offset.checked_sub(begin).filter(|within| *within < page_size);
                within.map(|within| within / SECTOR)
            }
            _ => None,
        };
        let survives = |pending: &Pending| match sector_of(pending) {
            Some(sector) => sectors.contains(&sector),
            None => crash.keep == Keep::All,
        };
        let chosen = disk.pending().into_iter().filter(survives).map(|pending| pending.id);
        Ok(Survivors::Chosen(chosen.collect::<BTreeSet<_>>()))
    }

    /// The master record, as it stands on the disk.
    pub(super) fn master(&self) -> Result<MasterRecord> {
        match (&self.running, &self.home) {
            (Some(running), _) => Ok(running.db.master_record()),
            (None, Home::Simulated(disk)) => Ok(ControlFile::open(disk)?.master()),
            (None, Home::Directory(path)) => {
                Ok(ControlFile::open(&FileDisk::open_to_read(path)?)?.master())
            }
        }
    }

    pub(super) fn fault(&mut self, kind: FaultKind, after: u64, forever: bool) -> Result<()> {
        let disk = self.sim_disk()?;
        let kind = match kind {
            FaultKind::Power => disk::FaultKind::PowerOff,
            FaultKind::InputOutput => disk::FaultKind::InputOutputError,
            FaultKind::Full => disk::FaultKind::DiskFull,
        };
        let at = disk.io_count().saturating_add(after);
        disk.inject(disk::Fault { at, kind, forever });
        Ok(())
    }

    pub(super) fn flip(&mut self, place: Place, byte: u64, bit: u8) -> Result<()> {
        let (name, begin) = match place {
            Place::Page(page) => (PAGES_FILE.to_owned(), self.place_of(page)?),
            Place::Record(number) => {
                let missing = || Error::InvalidInput(format!("there is no record #{number}"));
                self.log_place(self.names.record(number).ok_or_else(missing)?)?
            }
        };
        self.sim_disk()?.flip_bit(&name, begin.saturating_add(byte), bit)
    }

    pub(super) fn misplace(&mut self, page: PageId, at: PageId) -> Result<()> {
        let length = self.master()?.page_size as usize;
        let (from, to) = (self.place_of(page)?, self.place_of(at)?);
        self.sim_disk()?.copy_range(PAGES_FILE, from, to, length)
    }

    /// Where a page begins in its file.
    fn place_of(&self, page: PageId) -> Result<u64> {
        let begin = page.0.checked_mul(self.master()?.page_size.into());
        begin.ok_or(Error::NoSuchPage { page })
    }

    /// The segment in which a record stands, and where.
    pub(super) fn log_place(&self, lsn: Lsn) -> Result<(String, u64)> {
        let geometry = Geometry { segment_bytes: self.master()?.segment_bytes };
        let number = geometry.segment_of(lsn.get());
        Ok((geometry.name(number), geometry.offset(lsn.get())))
    }

    /// Opens the database again.
    pub(super) fn restart(&mut self, explain: bool) -> Result<String> {
        if self.running.is_some() {
            return refused("the database is open: `crash`, `kill` or `close` comes before");
        }
        self.forge = None;
        self.open()?;
        match explain {
            true => Ok(self.told_if(is_of_restart)),
            false => Ok(self.sums()),
        }
    }

    /// What the restart found and did, in three lines.
    fn sums(&mut self) -> String {
        self.renumber();
        let Some(running) = &self.running else { return String::new() };
        let report = running.db.restart_report();
        let txns =
            |txns: &[TxnId]| list(txns.iter().map(|txn| self.names.txn(*txn)).collect(), " ");
        let (mut dirty, mut redone, mut skipped) = (BTreeMap::new(), Vec::new(), Vec::new());
        let (mut undone, mut ended) = (Vec::new(), Vec::new());
        for event in self.events.lock().iter() {
            match event {
                Event::PageDirty { page, rec_lsn, .. } => drop(dirty.insert(*page, *rec_lsn)),
                Event::Redone { lsn, .. } => redone.push(self.names.lsn(*lsn)),
                Event::RedoSkipped { lsn, reason, .. } => {
                    skipped.push(format!("{} {}", self.names.lsn(*lsn), reason.name()));
                }
                Event::Undone { lsn, .. } => undone.push(self.names.lsn(*lsn)),
                Event::TransactionEnded { txn } => ended.push(self.names.txn(*txn)),
                _ => {}
            }
        }
        // A structure change is redone page by page.
        redone.dedup();
        let dirty = dirty.iter().map(|(page, lsn)| format!("{page}:{}", self.names.lsn(*lsn)));
        let analysis = &report.analysis;
        format!(
            "analysis: dirty {}; losers {}; committed {}; in doubt {}\n\
             redo: from {}; redone {}; skipped {}\n\
             undo: undone {}; ended {}\n",
            list(dirty.collect(), " "),
            txns(&analysis.losers),
            txns(&analysis.committed),
            txns(&analysis.in_doubt),
            self.names.lsn_or_nil(report.redo.from),
            list(redone, " "),
            list(skipped, ", "),
            list(undone, " "),
            list(ended, " "),
        )
    }
}

/// The changes with these numbers.
fn chosen(pending: &[Pending], numbers: &[usize]) -> Result<BTreeSet<u64>> {
    let id = |number: &usize| match pending.get(*number) {
        Some(pending) => Ok(pending.id),
        None => refused(format!(
            "keep={number}: of what was not synced there are {}, counted from 0",
            pending.len()
        )),
    };
    numbers.iter().map(id).collect()
}

/// Lists longer than this are counted.
const LONGEST_LIST: usize = 40;

fn list(items: Vec<String>, between: &str) -> String {
    match items.len() {
        0 => "none".to_owned(),
        1..=LONGEST_LIST => items.join(between),
        many => format!("{many}"),
    }
}

/// Whether it is one of the decisions of a restart, rather than what any work on the log and pages looks like.
fn is_of_restart(event: &Event) -> bool {
    !matches!(
        event,
        Event::Appended { .. }
            | Event::Forced { .. }
            | Event::SegmentPrepared { .. }
            | Event::LogTruncated { .. }
            | Event::PageRead { .. }
            | Event::PageWritten { .. }
            | Event::PageEvicted { .. }
            | Event::CheckpointBegan { .. }
            | Event::CheckpointEnded { .. }
    )
}
