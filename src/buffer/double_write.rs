//! The double-write file: a batch of pages is written here, whole and durable, before it is written
//! in place. A page torn in place by a crash is whole here.
//!
//! ```text
//!  0         8     12     16           24          28                      4096
//!  +---------+-----+------+------------+-----------+--- … -----------------+--------+--------+--
//!  |ARIESDBW | CRC | count| batch no.  | page_size | count × (page, LSN,   | image  | image  | …
//!  +---------+-----+------+------------+-----------+   checksum) 20 bytes  +--------+--------+--
//! ```
//!
//! Invariants:
//! - a batch is *complete* when its header's checksum is right and every image carries the page id,
//!   the pageLSN and the checksum that the header lists, and is whole;
//! - the batch is overwritten only after its pages are durable in place, or byte for byte with itself. So
//!   a page that is torn in place is in the newest complete batch, and that is the newest version of it;
//! - if the batch is not complete, none of its pages was written in place, and the batch before is
//!   durable in place;
//! - pages are written in place without their batch only while there is no complete batch: it would
//!   hold old versions of them, and restore one should the page be damaged ([`DoubleWrite::invalidate`]).
//!
//! Source: not in the paper, which assumes that a page is written whole or not at all;
//! the technique is InnoDB's.

mod whole;

use std::path::PathBuf;

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Place, Result};
use crate::ids::PageId;
use crate::log::DurableLsn;
use crate::page;
use crate::sync::Arc;

/// Name of the double-write file.
pub const DOUBLE_WRITE_FILE: &str = "doublewrite";
/// Bytes before the first image.
pub const DOUBLE_WRITE_HEADER: usize = 4096;
/// Most pages in a batch.
pub const BATCH_PAGES: usize = 64;

const MAGIC: [u8; 8] = *b"ARIESDBW";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    crc: U32,
    count: U32,
    batch: U64,
    page_size: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Entry {
    page: U64,
    page_lsn: U64,
    checksum: U32,
}

const _: () = assert!(size_of::<Header>() == 28);
const _: () = assert!(size_of::<Entry>() == 20);
const _: () =
    assert!(size_of::<Header>() + BATCH_PAGES * size_of::<Entry>() <= DOUBLE_WRITE_HEADER);

/// A page's image, sealed.
pub struct Image {
    /// The page.
    pub page: PageId,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The double-write file of an open database.
pub struct DoubleWrite {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    page_size: usize,
    batch: u64,
    buffer: Vec<u8>,
}

impl DoubleWrite {
    /// Creates the file with room for a full batch, so that no later write needs space.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn create(disk: &dyn Disk, page_size: usize) -> Result<Self> {
        let (file, path) = (disk.create(DOUBLE_WRITE_FILE)?, path_on(disk));
        file.write_at(0, &vec![0; DOUBLE_WRITE_HEADER + BATCH_PAGES * page_size])?;
        file.sync_data()?;
        Ok(Self { file, path, page_size, batch: 0, buffer: Vec::new() })
    }

    /// Opens the file and reads the newest batch, if it is complete.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the file is missing; those of the disk.
    pub fn open(disk: &dyn Disk, page_size: usize) -> Result<(Self, Vec<Image>)> {
        let file = match disk.open(DOUBLE_WRITE_FILE) {
            Err(error) if error.is_not_found() => {
                let place = Place::File(path_on(disk));
                return Err(Error::corrupt(place, "the double-write file", "no file"));
            }
            other => other?,
        };
        let mut bytes = vec![0; DOUBLE_WRITE_HEADER + BATCH_PAGES * page_size];
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        let (batch, images) = read_batch(&bytes, page_size).unwrap_or_default();
        let path = path_on(disk);
        Ok((Self { file, path, page_size, batch, buffer: Vec::new() }, images))
    }

    /// Writes a batch and returns when it is durable. The log must be durable up to each page's LSN.
    ///
    /// # Errors
    /// Those of the disk; they are final.
    pub fn write(&mut self, images: &[&Image], durable: DurableLsn) -> Result<()> {
        self.batch += 1;
        self.write_again(images, durable)
    }

    /// Writes the batch that was read on opening once more, and returns when it is durable. It is the same to the
    /// byte, its number too: so whatever is torn of it meanwhile is as it was.
    ///
    /// # Errors
    /// Those of the disk; they are final.
    pub fn write_again(&mut self, images: &[&Image], durable: DurableLsn) -> Result<()> {
        assert!((1..=BATCH_PAGES).contains(&images.len()), "a batch of pages");
        for image in images {
            assert!(durable.covers(page::page_lsn(&image.bytes)), "the log before the page");
            assert!(image.bytes.len() == self.page_size, "a whole page");
        }
        self.encode(images);
        self.file.write_at(0, &self.buffer)?;
        self.file.sync_data()
    }

    /// Makes the batch incomplete, durably: what it holds is durable in place, and may be overwritten
    /// there without it from now on.
    ///
    /// # Errors
    /// Those of the disk; they are final.
    pub fn invalidate(&mut self) -> Result<()> {
        self.file.write_at(0, &[0; DOUBLE_WRITE_HEADER])?;
        self.file.sync_data()
    }

    fn encode(&mut self, images: &[&Image]) {
        let mut header = Header {
            magic: MAGIC,
            crc: U32::ZERO,
            count: U32::new(u32::try_from(images.len()).expect("few pages")),
            batch: U64::new(self.batch),
            page_size: U32::new(u32::try_from(self.page_size).expect("at most 64 KiB")),
        };
        let entries: Vec<Entry> = images.iter().map(|image| entry_of(image)).collect();
        header.crc = U32::new(checksum(header, &entries));
        self.buffer.clear();
        self.buffer.extend_from_slice(header.as_bytes());
        self.buffer.extend_from_slice(entries.as_bytes());
        self.buffer.resize(DOUBLE_WRITE_HEADER, 0);
        for image in images {
            self.buffer.extend_from_slice(&image.bytes);
        }
    }
}

fn path_on(disk: &dyn Disk) -> PathBuf {
    disk.location().join(DOUBLE_WRITE_FILE)
}

fn entry_of(image: &Image) -> Entry {
    let checksum = image.bytes.first_chunk().expect("a page has a header");
    Entry {
        page: U64::new(image.page.0),
        page_lsn: U64::new(crate::ids::Lsn::to_stored(page::page_lsn(&image.bytes))),
        checksum: U32::from_bytes(*checksum),
    }
}

fn checksum(mut header: Header, entries: &[Entry]) -> u32 {
    header.crc = U32::ZERO;
    let mut crc = crc32fast::Hasher::new();
    crc.update(header.as_bytes());
    crc.update(entries.as_bytes());
    crc.finalize()
}

/// The batch in `bytes`, if it is complete: its number and its images.
#[must_use]
pub fn read_batch(bytes: &[u8], page_size: usize) -> Option<(u64, Vec<Image>)> {
    let (header, entries) = read_header(bytes)?;
    if header.page_size.get() as usize != page_size || header.batch.get() == u64::MAX {
        return None;
    }
    let images = bytes.get(DOUBLE_WRITE_HEADER..)?.chunks_exact(page_size);
    let images: Vec<Image> = entries
        .iter()
        .zip(images)
        .map_while(|(entry, bytes)| {
            let image = Image { page: PageId(entry.page.get()), bytes: bytes.to_vec() };
            let same = entry_of(&image).as_bytes() == entry.as_bytes();
            (same && page::verify(bytes, image.page).is_ok()).then_some(image)
        })
        .collect();
    (images.len() == entries.len()).then_some((header.batch.get(), images))
}

/// The pages that the batch in `bytes` holds according to its header, complete or not, in their order.
#[must_use]
pub fn pages_of_batch(bytes: &[u8]) -> Vec<PageId> {
    let entries = read_header(bytes).map_or(&[][..], |(_, entries)| entries);
    entries.iter().map(|entry| PageId(entry.page.get())).collect()
}

/// The header with what it lists, if its checksum is right.
fn read_header(bytes: &[u8]) -> Option<(&Header, &[Entry])> {
    let (header, rest) = Header::ref_from_prefix(bytes).ok()?;
    let count = usize::try_from(header.count.get()).ok()?;
    if header.magic != MAGIC || !(1..=BATCH_PAGES).contains(&count) {
        return None;
    }
    let (entries, _) = <[Entry]>::ref_from_prefix_with_elems(rest, count).ok()?;
    (header.crc.get() == checksum(*header, entries)).then_some((header, entries))
}
