//! Whether every page of a database is what it must be, as it stands on disk.
//!
//! ```text
//!   pages, in place          open: Db::verify, Db::repair       not open: verify_closed
//!   ---------------------    -------------------------------    ----------------------------------
//!   whole, sound             fine                               fine
//!   bad, newer in memory     will be written over               –
//!   bad, in the batch        –                                  restart restores it
//!   bad, but to be redone    –                                  restart may rebuild it
//!   bad                      damaged; repair may rebuild it     damaged; repair may rebuild it
//! ```
//!
//! [`verify_outside`](super::verify_outside) judges more: it runs the restart, in memory, and looks at what
//! comes of it.
//!
//! A page is sound if its checksum is right, it stands at its place, its pageLSN lies below the end of the
//! log, its body is what its kind says, and space map pages stand where they belong and nowhere else.
//!
//! Invariants:
//! - verifying changes nothing: not a byte of a database that is not open, not a page of one that is;
//! - a page is read past the pool. One that is bad is read again when no page is being written, for it may
//!   have been read in the middle of a write;
//! - what cannot be judged without a restart is said to be so, never guessed.

use std::fmt;

use super::Db;
use super::TablesReport;
use super::outside::open_control;
use crate::buffer::{DoubleWrite, Image, PagesFile};
use crate::config::{Config, MIN_FRAMES};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::event::Observers;
use crate::ids::{Lsn, PageId};
use crate::log::{ControlFile, MasterRecord};
use crate::page::{self, PageKind, space_map};
use crate::recovery::{Analysis, ToPages, distrust};
use crate::sync::Arc;
use crate::tables::DirtyPageTable;

/// What becomes of a page that is bad on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// It is damaged. Repairing may rebuild it; if this is what repairing found, it could not.
    Damaged,
    /// A newer version is in memory, and will be written over it.
    NewerInMemory,
    /// It is whole again, durably: rebuilt from the log, or written anew from memory.
    Repaired,
    /// The database was not closed: restart restores the page from the double-write file.
    RestoredByRestart,
    /// The database was not closed: the page has changes that restart redoes, and may be rebuilt by
    /// it. Whether the log reaches back far enough was not judged.
    LeftToRestart,
}

impl Verdict {
    /// Whether nothing is left to worry about.
    #[must_use]
    pub const fn is_harmless(self) -> bool {
        matches!(self, Self::NewerInMemory | Self::Repaired | Self::RestoredByRestart)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "damaged",
            Self::NewerInMemory => "newer in memory",
            Self::Repaired => "repaired",
            Self::RestoredByRestart => "restart restores it",
            Self::LeftToRestart => "left to restart",
        })
    }
}

/// A page that is bad on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The page.
    pub page: PageId,
    /// What is wrong with it, in words.
    pub fault: String,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What [`Db::verify`], [`Db::repair`] and [`verify_closed`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifyReport {
    /// Pages read: all of the file.
    pub pages: u64,
    /// Of them, those that have changes which are not on disk: in memory, or only in the log.
    pub dirty: u64,
    /// Pages that are bad on disk, in order.
    pub findings: Vec<Finding>,
    /// Whether the database is open, or was closed cleanly. Else restart has work to do.
    pub is_settled: bool,
    /// What is wrong with the log or another file, in words.
    pub log_fault: Option<String>,
    /// Where records of the log do not lead to the record before, in words.
    pub chain_faults: Vec<String>,
    /// What could not be judged, in words.
    pub not_judged: Vec<String>,
    /// What the tables take, and what is wrong with them; `None` where nobody looked, or could.
    pub tables: Option<TablesReport>,
    /// What kept the tables from being judged, in words.
    pub tables_fault: Option<String>,
}

impl VerifyReport {
    /// Takes down what was found of the tables.
    ///
    /// # Errors
    /// Those of looking at them, but for damage.
    pub fn add_tables(&mut self, found: Result<TablesReport>) -> Result<()> {
        match found {
            Ok(found) => self.tables = Some(found),
            Err(error @ (Error::Corrupt { .. } | Error::Mismatch { .. })) => {
                self.tables_fault = Some(error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether nothing is wrong that is not mended, or sure to be.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let log = self.log_fault.is_none() && self.chain_faults.is_empty();
        let tables = self.tables.as_ref().is_none_or(TablesReport::is_sound);
        log && tables
            && self.tables_fault.is_none()
            && self.findings.iter().all(|found| found.verdict.is_harmless())
    }

    /// How many pages were found with this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|found| found.verdict == verdict).count()
    }
}

/// Called after each page with how many were read, of how many.
pub(super) type Progress<'p> = &'p mut dyn FnMut(u64, u64);

impl Db {
    /// Reads every page of the file as it stands on disk, and checks it; then, if none is damaged, all tables as they are at
    /// this moment, as [`Db::verify_tables`] does. Changes nothing; others may go on working.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let db = aries::Db::open(dir.path().join("mydb"))?;
    /// let report = db.verify()?;
    /// assert!(report.is_sound(), "{report:?}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Poisoned`].
    pub fn verify(&self) -> Result<VerifyReport> {
        self.verify_with(&mut |_, _| {})
    }

    /// [`Db::verify`], with `progress` called after each page: how many were read, of how many.
    ///
    /// # Errors
    /// As [`Db::verify`].
    pub fn verify_with(&self, progress: Progress<'_>) -> Result<VerifyReport> {
        self.examine(progress, |_| Ok(Verdict::Damaged))
    }

    /// [`Db::verify`], and rebuilds what is bad, from memory or from the log.
    ///
    /// # Errors
    /// As [`Db::verify`]; final errors. A page that cannot be rebuilt is no error, but reported.
    pub fn repair(&self) -> Result<VerifyReport> {
        self.repair_with(&mut |_, _| {})
    }

    /// [`Db::repair`], with `progress` called after each page: how many were read, of how many.
    ///
    /// # Errors
    /// As [`Db::repair`].
    pub fn repair_with(&self, progress: Progress<'_>) -> Result<VerifyReport> {
        let pool = self.shared.engine.transactions.pool();
        self.examine(progress, |page| match pool.mend(page) {
            Ok(()) => Ok(Verdict::Repaired),
            Err(Error::Corrupt { .. } | Error::Io { .. }) => {
                self.shared.check_open().map(|()| Verdict::Damaged)
            }
            Err(error) => Err(error),
        })
    }

    fn examine(
        &self,
        progress: Progress<'_>,
        mend: impl Fn(PageId) -> Result<Verdict>,
    ) -> Result<VerifyReport> {
        self.shared.check_open()?;
        let pool = self.shared.engine.transactions.pool();
        let mut report = VerifyReport {
            pages: pool.pages(),
            dirty: pool.dirty_page_table().len() as u64,
            is_settled: true,
            ..VerifyReport::default()
        };
        let mut bytes = vec![0; pool.page_size()];
        for page in (0..report.pages).map(PageId) {
            let read = pool.read_in_place(page, &mut bytes);
            if let Err(fault) = read.map_err(|e| e.to_string()).and_then(|()| check(page, &bytes)) {
                let verdict = match mend(page)? {
                    Verdict::Damaged if pool.is_dirty(page) => Verdict::NewerInMemory,
                    // The structure of a whole page is not what mending can change.
                    _ if check(page, &bytes).is_err() && page::verify(&bytes, page).is_ok() => {
                        Verdict::Damaged
                    }
                    verdict => verdict,
                };
                report.findings.push(Finding { page, fault, verdict });
            }
            progress(page.0 + 1, report.pages);
        }
        if report.is_sound() {
            report.add_tables(self.verify_tables())?;
        } else {
            // To read a damaged page would mend it.
            report.not_judged.push("the tables, for pages are damaged".into());
        }
        Ok(report)
    }
}

/// What a checksum does not tell.
pub(super) fn check(page: PageId, bytes: &[u8]) -> Result<(), String> {
    page::check_structure(bytes).map_err(|fault| fault.to_string())?;
    let is_map = page::kind(bytes) == Some(PageKind::SpaceMap);
    match (space_map::is_map_page(page, bytes.len()), is_map) {
        (true, false) => Err("expected a space map page, found another kind".into()),
        (false, true) => Err("expected no space map page here, found one".into()),
        _ => Ok(()),
    }
}

/// Checks a database that is not open, reading only: nothing is recovered. One that was not closed is
/// judged as far as it can be without a restart.
///
/// # Errors
/// [`Error::NotADatabase`]; [`Error::Corrupt`] and [`Error::Mismatch`] when the control file or the file of
/// pages cannot be used at all; those of the disk. Damaged pages are no error, but reported.
pub fn verify_closed(disk: Arc<dyn Disk>, progress: Progress<'_>) -> Result<VerifyReport> {
    let mut report = as_it_stands(&disk, progress)?;
    if !report.is_settled && report.log_fault.is_none() {
        let changed = report.dirty;
        report.not_judged.push(format!(
            "what restart makes of the {changed} pages with changes that may be in the log only"
        ));
    }
    Ok(report)
}

/// The report without what restart may make of it.
pub(super) fn as_it_stands(disk: &Arc<dyn Disk>, progress: Progress<'_>) -> Result<VerifyReport> {
    let control = open_control(disk.as_ref())?;
    let master = control.master();
    let mut report = VerifyReport::default();
    let known = match look(disk, control, &master) {
        Err(error @ Error::Corrupt { .. }) => {
            report.log_fault = Some(error.to_string());
            report.not_judged.push("which changes the pages lack, for the log is damaged".into());
            Known::without_log(disk.as_ref(), &master)?
        }
        known => known?,
    };
    report.is_settled = known.clean;
    report.pages = known.file.pages();
    report.dirty = known.dirty.len() as u64;
    if distrust::is_marked(disk.as_ref())? {
        report.not_judged.push(
            "whether the disk has what the page cache shows: a write or sync has failed here"
                .into(),
        );
    }
    let mut bytes = vec![0; known.file.page_size()];
    for page in (0..report.pages).map(PageId) {
        if let Err(fault) = known.fault_of(page, &mut bytes) {
            let verdict = known.verdict(page);
            report.findings.push(Finding { page, fault, verdict });
        }
        progress(page.0 + 1, report.pages);
    }
    Ok(report)
}

/// What is known of a database that is not open.
struct Known {
    file: PagesFile,
    /// Where the log ends; `None` if that is not known.
    end: Option<Lsn>,
    clean: bool,
    dirty: DirtyPageTable,
    batch: Vec<Image>,
}

/// Restart's first phase, which changes nothing.
fn look(disk: &Arc<dyn Disk>, control: ControlFile, master: &MasterRecord) -> Result<Known> {
    let config = Config::new(master.page_size as usize, master.segment_bytes, MIN_FRAMES);
    config.check()?;
    let analysis = Analysis::run(Arc::clone(disk), control, &config, &Observers::default())?;
    let end = Some(analysis.report().end);
    let ToPages { file, clean, dirty_pages: dirty, batch } = analysis.into_pages();
    Ok(Known { file, end, clean, dirty, batch })
}

impl Known {
    fn without_log(disk: &dyn Disk, master: &MasterRecord) -> Result<Self> {
        let page_size = master.page_size as usize;
        let file = PagesFile::open(disk, page_size, master.pages)?;
        let (_, batch) = DoubleWrite::open(disk, page_size)?;
        Ok(Self { file, end: None, clean: false, dirty: DirtyPageTable::default(), batch })
    }

    fn fault_of(&self, page: PageId, bytes: &mut [u8]) -> Result<(), String> {
        self.file.read(page, bytes).map_err(|error| error.to_string())?;
        if let (Some(end), Some(page_lsn)) = (self.end, page::page_lsn(bytes))
            && page_lsn >= end
        {
            return Err(format!(
                "expected a pageLSN below the end of the log, {end}, found {page_lsn}"
            ));
        }
        check(page, bytes)
    }

    fn verdict(&self, page: PageId) -> Verdict {
        if self.clean {
            Verdict::Damaged
        } else if self.batch.iter().any(|image| image.page == page) {
            Verdict::RestoredByRestart
        } else if self.dirty.rec_lsn(page).is_some() {
            Verdict::LeftToRestart
        } else {
            Verdict::Damaged
        }
    }
}
