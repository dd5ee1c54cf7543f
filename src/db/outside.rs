//! A database that is not open here, looked at from outside.

use std::path::Path;

use super::{Db, Options, create};
use crate::buffer::PagesFile;
use crate::config::{Config, MIN_FRAMES, RestartMode};
use crate::disk::{Disk, DiskFile, OverlayDisk};
use crate::error::{Error, Result};
use crate::event::Observers;
use crate::ids::PageId;
use crate::log::{CONTROL_FILE, ControlFile, MasterRecord};
use crate::recovery::{Analysis, LogReader};
use crate::sync::Arc;

/// A database looked at from outside, through an overlay: whatever is done to it here, a restart
/// included, happens in memory, and not a byte of its directory changes.
pub struct Outside {
    disk: Arc<dyn Disk>,
    control: ControlFile,
}

impl Outside {
    /// Looks at the directory, which stays locked meanwhile.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`], [`Error::NotADatabase`]; [`Error::Corrupt`] and [`Error::Mismatch`] about the
    /// control file; those of the disk.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        Self::on(Arc::new(OverlayDisk::over_directory(directory)?))
    }

    /// The same, but does not lock it: others may be writing to it. Only the control file and the log can
    /// be read then; what else is read may be of different moments.
    ///
    /// # Errors
    /// As [`Outside::open`], but for [`Error::AlreadyOpen`].
    pub fn open_in_use(directory: impl AsRef<Path>) -> Result<Self> {
        Self::on(Arc::new(OverlayDisk::over_directory_in_use(directory)?))
    }

    /// Looks at the database on a disk; should be an overlay.
    ///
    /// # Errors
    /// As [`Outside::open`].
    pub fn on(disk: Arc<dyn Disk>) -> Result<Self> {
        let control = open_control(disk.as_ref())?;
        Ok(Self { disk, control })
    }

    /// The control file as it is.
    #[must_use]
    pub fn control(&self) -> &ControlFile {
        &self.control
    }

    /// The master record that counts.
    #[must_use]
    pub fn master(&self) -> MasterRecord {
        self.control.master()
    }

    /// The disk through which it is seen.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The log as it is.
    ///
    /// # Errors
    /// As [`LogReader::open`].
    pub fn log(&self) -> Result<LogReader> {
        LogReader::open(&self.disk, &self.control)
    }

    /// The file of pages as it is.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is missing or cut; those of the disk.
    pub fn pages_file(&self) -> Result<PagesFile> {
        let master = self.master();
        self.config()?;
        PagesFile::open(self.disk.as_ref(), master.page_size as usize, master.pages)
    }

    fn config(&self) -> Result<Config> {
        let master = self.master();
        let config = Config::new(master.page_size as usize, master.segment_bytes, MIN_FRAMES);
        config.check().map(|()| config)
    }

    /// The first phase of a restart, which changes nothing: what was going on?
    ///
    /// # Errors
    /// As [`Analysis::run`].
    pub fn analyse(&self) -> Result<Analysis> {
        let control = ControlFile::open(self.disk.as_ref())?;
        Analysis::run(Arc::clone(&self.disk), control, &self.config()?, &Observers::default())
    }

    /// The bytes of a page as they stand in the file, whatever they are.
    ///
    /// # Errors
    /// [`Error::NoSuchPage`] behind the end of the file; [`Error::Corrupt`] when the file is cut; those of
    /// the disk.
    pub fn read_page(&self, page: PageId) -> Result<Vec<u8>> {
        if page.0 >= self.master().pages {
            return Err(Error::NoSuchPage { page });
        }
        let file = self.pages_file()?;
        let mut bytes = vec![0; file.page_size()];
        file.read_unchecked(page, &mut bytes)?;
        Ok(bytes)
    }

    /// Opens it here, in memory, by one thread, restarting it if need be.
    ///
    /// # Errors
    /// As [`Options::open_on`].
    pub fn reopen(&self) -> Result<Db> {
        let options = Options::new().create_if_missing(false).background(false);
        self.restart(&options.restart(RestartMode::Serial))
    }

    /// Restarts it here, in memory.
    ///
    /// # Errors
    /// As [`Options::open_on`].
    pub fn restart(&self, options: &Options) -> Result<Db> {
        options.open_on(Arc::clone(&self.disk))
    }
}

/// Opens the control file without looking into it; where there is none, says what the directory holds instead.
///
/// # Errors
/// [`Error::NotADatabase`]; [`Error::Corrupt`] when other files of a database are there; those of the disk.
pub fn control_file(disk: &dyn Disk) -> Result<Arc<dyn DiskFile>> {
    match disk.open(CONTROL_FILE) {
        Err(error) if error.is_not_found() => {
            create::refuse_remains(disk)?;
            let reason = format!("it holds no file {CONTROL_FILE:?}");
            Err(Error::NotADatabase { path: disk.location(), reason })
        }
        other => other,
    }
}

/// Opens the control file, and reads it.
pub(super) fn open_control(disk: &dyn Disk) -> Result<ControlFile> {
    control_file(disk)?;
    ControlFile::open(disk)
}
