//! The file `pages`: page `n` at byte `n * page_size`.
//!
//! Invariants:
//! - every page of the file has a valid checksum from the moment that anything may refer to it: the
//!   file grows by sealed initial images; they are durable, and then counted durably in the control
//!   file, before a log record can name one of the new pages;
//! - what the file holds beyond the counted pages is left from growing it when a crash came; it is
//!   written anew when the file grows again;
//! - a page is written only with proof that the log is durable up to its pageLSN.

use std::path::PathBuf;

use crate::config::{Broken, Sabotage};
use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Place, Result};
use crate::ids::PageId;
use crate::log::DurableLsn;
use crate::page;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// Name of the file of pages.
pub const PAGES_FILE: &str = "pages";

/// The file grows by an eighth, but by no fewer and no more pages than these.
const LEAST_GROWTH: u64 = 16;
const MOST_GROWTH_BYTES: u64 = 16 * 1024 * 1024;
const GROWTH_CHUNK_BYTES: usize = 256 * 1024;

/// The file of pages of an open database.
pub struct PagesFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    page_size: usize,
    /// Pages in the file.
    pages: AtomicU64,
    growing: Mutex<()>,
    broken: Broken,
}

impl PagesFile {
    /// Creates the file with its first pages.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn create(disk: &dyn Disk, page_size: usize) -> Result<Self> {
        let file = disk.create(PAGES_FILE)?;
        let this = Self::on(disk, file, page_size, 0);
        this.write_initial(0, LEAST_GROWTH)?;
        this.pages.store(LEAST_GROWTH, Ordering::Release);
        Ok(this)
    }

    /// Opens the file, which has `pages` pages according to the control file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is missing or shorter; those of the disk.
    pub fn open(disk: &dyn Disk, page_size: usize, pages: u64) -> Result<Self> {
        let path = disk.location().join(PAGES_FILE);
        let file = match disk.open(PAGES_FILE) {
            Err(error) if error.is_not_found() => {
                return Err(Error::corrupt(Place::File(path), "the file of pages", "no file"));
            }
            other => other?,
        };
        let length = file.len()?;
        if pages == 0 || length / (page_size as u64) < pages {
            let expected = format!("at least {pages} pages of {page_size} bytes");
            return Err(Error::corrupt(Place::File(path), expected, format!("{length} bytes")));
        }
        Ok(Self::on(disk, file, page_size, pages))
    }

    fn on(disk: &dyn Disk, file: Arc<dyn DiskFile>, page_size: usize, pages: u64) -> Self {
        let path = disk.location().join(PAGES_FILE);
        let (pages, growing) = (AtomicU64::new(pages), Mutex::new(()));
        Self { file, path, page_size, pages, growing, broken: Broken::default() }
    }

    /// The same, with a rule broken, if one of its is.
    pub fn broken_by(mut self, broken: Broken) -> Self {
        self.broken = broken;
        self
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// Pages in the file.
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Acquire)
    }

    /// The place of a page, for messages.
    pub fn place(&self, page: PageId) -> Place {
        Place::Page { file: self.path.clone(), page }
    }

    fn offset(&self, page: PageId) -> u64 {
        page.0.saturating_mul(self.page_size as u64)
    }

    /// Reads a page and checks that it is whole and the right one. What the file holds beyond the counted
    /// pages is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the page; those of the disk.
    pub fn read(&self, page: PageId, bytes: &mut [u8]) -> Result<()> {
        let pages = self.pages();
        if page.0 >= pages {
            let found = format!("a control file that counts {pages} pages");
            return Err(Error::corrupt(self.place(page), "a page of the file", found));
        }
        self.read_unchecked(page, bytes)?;
        if self.broken.is(Sabotage::PageChecksumIgnored) {
            return Ok(());
        }
        page::verify(bytes, page)
            .map_err(|fault| Error::corrupt(self.place(page), "a whole page", fault.to_string()))
    }

    /// Reads the bytes of a page, whatever they are.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the file ends before the page does; those of the disk.
    pub fn read_unchecked(&self, page: PageId, bytes: &mut [u8]) -> Result<()> {
        let read = self.file.read_at(self.offset(page), bytes)?;
        if read == bytes.len() {
            return Ok(());
        }
        let expected = format!("{} bytes", bytes.len());
        let found = format!("the end of the file after {read}");
        Err(Error::corrupt(self.place(page), expected, found))
    }

    /// Tells the disk that `count` pages from `first` on will be read soon.
    pub fn read_ahead(&self, first: PageId, count: u64) {
        self.file.read_ahead(self.offset(first), count.saturating_mul(self.page_size as u64));
    }

    /// Writes a sealed page. The log must be durable up to its pageLSN: the write-ahead rule.
    ///
    /// # Errors
    /// Those of the disk; they are final.
    pub fn write(&self, page: PageId, sealed: &[u8], durable: DurableLsn) -> Result<()> {
        assert!(durable.covers(page::page_lsn(sealed)), "the log before the page");
        assert!(page.0 < self.pages(), "the file grows before a page is used");
        debug_assert!(page::verify(sealed, page).is_ok(), "only sealed pages are written");
        self.file.write_at(self.offset(page), sealed)
    }

    /// Returns once all writes are durable.
    ///
    /// # Errors
    /// Those of the disk; they are final.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data()
    }

    /// Grows the file, ahead of need, so that it has at least `pages` pages. `count` makes the new
    /// number durable in the control file. Gives whether it grew.
    ///
    /// # Errors
    /// [`Error::DiskFull`]: nothing refers to the new pages yet, so this is an ordinary error.
    pub fn grow_to(&self, pages: u64, count: impl FnOnce(u64) -> Result<()>) -> Result<bool> {
        let _growing = self.growing.lock();
        let now = self.pages();
        if pages <= now {
            return Ok(false);
        }
        let most = (MOST_GROWTH_BYTES / self.page_size as u64).max(LEAST_GROWTH);
        let target = pages.max(now + (now / 8).clamp(LEAST_GROWTH, most));
        self.write_initial(now, target)?;
        count(target)?;
        self.pages.store(target, Ordering::Release);
        Ok(true)
    }

    /// Writes and syncs initial images; their pageLSN is nil, so no log has to be durable.
    fn write_initial(&self, from: u64, to: u64) -> Result<()> {
        let mut chunk = Vec::with_capacity(GROWTH_CHUNK_BYTES + self.page_size);
        let mut start = from;
        for number in from..to {
            chunk.extend_from_slice(&page::initial(PageId(number), self.page_size));
            if chunk.len() >= GROWTH_CHUNK_BYTES || number + 1 == to {
                self.file.write_at(self.offset(PageId(start)), &chunk)?;
                chunk.clear();
                start = number + 1;
            }
        }
        match self.broken.is(Sabotage::GrowthNotSynced) {
            true => Ok(()),
            false => self.file.sync_data(),
        }
    }
}
