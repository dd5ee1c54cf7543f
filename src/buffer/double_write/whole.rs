//! A whole batch: any number of pages, of which a crash leaves all as they were, or all as they are to be.
//!
//! A run that logs nothing writes its pages so. It has no log that could tell which of them belong together, so the batch is the
//! only witness; and it is applied whole, whatever the pages in place look like.
//!
//! ```text
//!   0        24              4096               images_at
//!   +--------+---------------+------------------+--------+--------+--
//!   | header | zeros         | count × (page,   | image  | image  | …
//!   +--------+---------------+ LSN, checksum)   +--------+--------+--
//!
//!   entries and images durable → header durable → pages in place durable → header invalidated
//! ```
//!
//! Invariants:
//! - the header is written once all behind it is durable: so a header with a right checksum stands for a complete
//!   batch, and an image that is not whole then is damage;
//! - nothing is written in place before the header is durable, and nothing else once it is: whoever finds it writes
//!   all images in place again, whatever stands there, then invalidates it;
//! - it is invalidated, durably, before anything else is written by this run or the next.
//!
//! Source: not in the paper, whose shadow pages (section 10.1, System R) are another way to the same end.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::super::PagesFile;
use super::{
    BATCH_PAGES, DOUBLE_WRITE_FILE, DOUBLE_WRITE_HEADER, DoubleWrite, Entry, Image, entry_of,
};
use crate::disk::Disk;
use crate::error::{Error, Place, Result};
use crate::ids::{Lsn, PageId};
use crate::log::DurableLsn;
use crate::page;

const MAGIC: [u8; 8] = *b"ARIESALL";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct WholeHeader {
    magic: [u8; 8],
    crc: U32,
    page_size: U32,
    count: U64,
}

const _: () = assert!(size_of::<WholeHeader>() == 24);

impl WholeHeader {
    fn new(page_size: usize, entries: &[Entry]) -> Self {
        let mut header = Self {
            magic: MAGIC,
            crc: U32::ZERO,
            page_size: U32::new(u32::try_from(page_size).expect("at most 64 KiB")),
            count: U64::new(entries.len() as u64),
        };
        header.crc = U32::new(header.checksum(entries));
        header
    }

    fn checksum(mut self, entries: &[Entry]) -> u32 {
        self.crc = U32::ZERO;
        let mut crc = crc32fast::Hasher::new();
        crc.update(self.as_bytes());
        crc.update(entries.as_bytes());
        crc.finalize()
    }
}

/// Where the images of a batch of so many pages begin.
fn images_at(count: usize) -> u64 {
    let entries = (count * size_of::<Entry>()).next_multiple_of(DOUBLE_WRITE_HEADER);
    (DOUBLE_WRITE_HEADER + entries) as u64
}

impl DoubleWrite {
    /// Writes a whole batch: of each page, the image that `image` gives. Returns when it is durable.
    ///
    /// # Errors
    /// Those of `image` and of the disk. There is no batch then, or, if a sync failed, nobody knows.
    pub fn write_whole(
        &mut self,
        pages: &[PageId],
        image: &mut dyn FnMut(PageId) -> Result<Image>,
        durable: DurableLsn,
    ) -> Result<()> {
        assert!(!pages.is_empty(), "a batch of pages");
        let mut entries = Vec::with_capacity(pages.len());
        let mut at = images_at(pages.len());
        for portion in pages.chunks(BATCH_PAGES) {
            self.buffer.clear();
            for page in portion {
                let image = image(*page)?;
                assert!(durable.covers(page::page_lsn(&image.bytes)), "the log before the page");
                assert!(image.bytes.len() == self.page_size, "a whole page");
                entries.push(entry_of(&image));
                self.buffer.extend_from_slice(&image.bytes);
            }
            self.file.write_at(at, &self.buffer)?;
            at += self.buffer.len() as u64;
        }
        self.file.write_at(DOUBLE_WRITE_HEADER as u64, entries.as_bytes())?;
        self.file.sync_data()?;
        let mut block = [0; DOUBLE_WRITE_HEADER];
        let header = WholeHeader::new(self.page_size, &entries);
        block[..size_of::<WholeHeader>()].copy_from_slice(header.as_bytes());
        self.file.write_at(0, &block)?;
        self.file.sync_data()
    }

    /// Writes the pages of the batch just written in place, then invalidates it. Returns when that is durable.
    ///
    /// # Errors
    /// Those of the disk; they are final.
    pub fn apply_whole(&mut self, file: &PagesFile, durable: DurableLsn) -> Result<()> {
        let Some(entries) = self.whole()? else {
            return Err(Error::corrupt(self.place(), "the batch just written", "another"));
        };
        self.for_each_image(&entries, |image| file.write(image.page, &image.bytes, durable))?;
        file.sync()?;
        self.invalidate()?;
        // What is no longer needed is given back; should a crash undo that, it does no harm.
        self.file.set_len((DOUBLE_WRITE_HEADER + BATCH_PAGES * self.page_size) as u64)
    }

    /// Whether there seems to be a whole batch. It may be in the page cache only, so the cache is to be dropped before it
    /// is applied: what is done in place must find it after a crash. (To write its header again would risk it.)
    ///
    /// # Errors
    /// Those of the disk.
    pub fn may_hold_whole(disk: &dyn Disk) -> Result<bool> {
        let mut magic = [0; MAGIC.len()];
        match disk.open(DOUBLE_WRITE_FILE) {
            Err(error) if error.is_not_found() => Ok(false), // Whoever needs the file will say so.
            file => file?.read_at(0, &mut magic).map(|_| magic == MAGIC),
        }
    }

    /// Applies the whole batch that an earlier run has left, if it has left one. It is durable. Gives the pages.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is damaged; those of the disk.
    pub fn restore_whole(&mut self, file: &PagesFile, durable: DurableLsn) -> Result<Vec<PageId>> {
        let Some(entries) = self.whole()? else { return Ok(Vec::new()) };
        for entry in &entries {
            let (page, lsn) = (entry.page.get(), Lsn::new(entry.page_lsn.get()));
            if page >= file.pages() || !durable.covers(lsn) {
                let expected = "pages of the file, with LSNs of the log";
                let lsn = lsn.map_or_else(|| "nil".to_owned(), |lsn| lsn.to_string());
                let found = format!("{} with pageLSN {lsn}", PageId(page));
                return Err(Error::corrupt(self.place(), expected, found));
            }
        }
        self.apply_whole(file, durable)?;
        Ok(entries.iter().map(|entry| PageId(entry.page.get())).collect())
    }

    /// What the whole batch in the file lists; `None` if there is none.
    fn whole(&self) -> Result<Option<Vec<Entry>>> {
        let mut bytes = [0; size_of::<WholeHeader>()];
        let read = self.file.read_at(0, &mut bytes)?;
        let Ok(header) = WholeHeader::read_from_bytes(&bytes) else { return Ok(None) };
        if read < bytes.len() || header.magic != MAGIC {
            return Ok(None);
        }
        if header.page_size.get() as usize != self.page_size {
            return Ok(None);
        }
        // Checked before memory is taken: it may be damaged.
        let room = self.file.len()? / (self.page_size as u64);
        let Some(count) = usize::try_from(header.count.get().min(room)).ok() else {
            return Ok(None);
        };
        let mut entries = vec![0; count * size_of::<Entry>()];
        let read = self.file.read_at(DOUBLE_WRITE_HEADER as u64, &mut entries)?;
        let entries = <[Entry]>::ref_from_bytes(&entries).expect("whole entries").to_vec();
        let whole = read == count * size_of::<Entry>()
            && header.count.get() == count as u64
            && header.crc.get() == header.checksum(&entries);
        Ok(whole.then_some(entries))
    }

    fn for_each_image(
        &self,
        entries: &[Entry],
        mut visit: impl FnMut(Image) -> Result<()>,
    ) -> Result<()> {
        let mut at = images_at(entries.len());
        for entry in entries {
            let mut image =
                Image { page: PageId(entry.page.get()), bytes: vec![0; self.page_size] };
            let read = self.file.read_at(at, &mut image.bytes)?;
            let same = read == self.page_size && entry_of(&image).as_bytes() == entry.as_bytes();
            if !same || page::verify(&image.bytes, image.page).is_err() {
                let found = format!("bytes at {at} that are not those of {}", image.page);
                return Err(Error::corrupt(self.place(), "the images of a whole batch", found));
            }
            at += self.page_size as u64;
            visit(image)?;
        }
        Ok(())
    }

    fn place(&self) -> Place {
        Place::File(self.path.clone())
    }
}
