//! The header of every page: who it is, how far it has come in the log, and whether it is whole.

use std::fmt;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::fault::{OpFault, PageFault};
use crate::config::{MAX_PAGE_SIZE, MIN_PAGE_SIZE};
use crate::ids::{Lsn, PageId};

/// Bytes of the header of a page.
pub const HEADER_SIZE: usize = 40;
/// The checksum covers the page from here on.
const CHECKED_FROM: usize = 4;

/// Bytes 0..40 of a page.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    checksum: U32,
    pub(super) kind: u8,
    pub(super) reserved_5: [u8; 3],
    page_lsn: U64,
    pub(super) page_id: U64,
    pub(super) slot_count: U16,
    pub(super) reserved_26: U16,
    pub(super) heap_start: U32,
    pub(super) fragmented_bytes: U32,
    pub(super) reserved_36: U32,
}

const _: () = assert!(size_of::<Header>() == HEADER_SIZE);

/// What no operation changes: who the page is and how far it has come is stamped by others.
#[derive(Clone, Copy)]
pub(super) struct Identity {
    checksum: U32,
    page_lsn: U64,
    page_id: U64,
}

impl Header {
    /// Zeroes everything except page id, LSN and checksum.
    pub(super) fn clear_all_but_identity(&mut self) {
        let identity = self.identity();
        *self = zerocopy::FromZeros::new_zeroed();
        self.set_identity(identity);
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { checksum: self.checksum, page_lsn: self.page_lsn, page_id: self.page_id }
    }

    pub(super) fn set_identity(&mut self, identity: Identity) {
        let Identity { checksum, page_lsn, page_id } = identity;
        (self.checksum, self.page_lsn, self.page_id) = (checksum, page_lsn, page_id);
    }
}

/// What the body of a page holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageKind {
    /// Nothing yet.
    Unformatted,
    /// Records, found through slots.
    Slotted,
    /// Which pages are free.
    SpaceMap,
    /// A node of a B+tree: records in slots whose order is that of their keys.
    Tree,
    /// A part of a value that is too long for a leaf: one record.
    Overflow,
}

impl PageKind {
    /// The byte that stands for it.
    #[must_use]
    pub const fn to_stored(self) -> u8 {
        match self {
            Self::Unformatted => 1,
            Self::Slotted => 2,
            Self::SpaceMap => 3,
            Self::Tree => 4,
            Self::Overflow => 5,
        }
    }

    /// The kind a byte stands for, if any; 0 stands for none.
    #[must_use]
    pub const fn from_stored(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Unformatted),
            2 => Some(Self::Slotted),
            3 => Some(Self::SpaceMap),
            4 => Some(Self::Tree),
            5 => Some(Self::Overflow),
            _ => None,
        }
    }

    /// Whether the body is a slot directory and a heap of records.
    #[must_use]
    pub const fn has_slots(self) -> bool {
        matches!(self, Self::Slotted | Self::Tree | Self::Overflow)
    }
}

impl fmt::Display for PageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unformatted => "an unformatted page",
            Self::Slotted => "a slotted page",
            Self::SpaceMap => "a space map page",
            Self::Tree => "a page of a tree",
            Self::Overflow => "an overflow page",
        })
    }
}

/// Whether a page can have `size` bytes.
#[must_use]
pub const fn is_legal_size(size: usize) -> bool {
    size.is_power_of_two() && size >= MIN_PAGE_SIZE && size <= MAX_PAGE_SIZE
}

/// A length or offset within a page (up to and including the page's end), as the header stores it.
pub(super) fn stored_size(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a page has at most 65536 bytes")
}

pub(super) fn header(page: &[u8]) -> &Header {
    Header::ref_from_prefix(page).expect("a page has at least 40 bytes").0
}

pub(super) fn header_mut(page: &mut [u8]) -> &mut Header {
    Header::mut_from_prefix(page).expect("a page has at least 512 bytes").0
}

/// What the header of a page says, believed or not: for tools that show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderFields {
    /// The checksum that stands there.
    pub checksum: u32,
    /// The checksum that would be right for the page at its place.
    pub right_checksum: u32,
    /// The byte of the kind.
    pub kind: u8,
    /// LSN of the last change.
    pub page_lsn: Option<Lsn>,
    /// The number that the page says it has.
    pub page: PageId,
    /// Entries of the slot directory.
    pub slot_count: u16,
    /// Offset of the lowest record byte.
    pub heap_start: u32,
    /// Dead bytes between records.
    pub fragmented_bytes: u32,
}

/// The header of a page that should be page `id`.
#[must_use]
pub fn header_fields(page: &[u8], id: PageId) -> HeaderFields {
    let header = header(page);
    HeaderFields {
        checksum: header.checksum.get(),
        right_checksum: checksum(page, id),
        kind: header.kind,
        page_lsn: page_lsn(page),
        page: page_id(page),
        slot_count: header.slot_count.get(),
        heap_start: header.heap_start.get(),
        fragmented_bytes: header.fragmented_bytes.get(),
    }
}

/// LSN of the last change of the page; `None` if it was never changed.
#[must_use]
pub fn page_lsn(page: &[u8]) -> Option<Lsn> {
    Lsn::new(header(page).page_lsn.get())
}

/// Stamps the page with the LSN of its last change.
pub fn set_page_lsn(page: &mut [u8], lsn: Lsn) {
    header_mut(page).page_lsn.set(lsn.get());
}

/// The number that the page says it has.
#[must_use]
pub fn page_id(page: &[u8]) -> PageId {
    PageId(header(page).page_id.get())
}

/// The kind of the page; `None` is damage.
#[must_use]
pub fn kind(page: &[u8]) -> Option<PageKind> {
    PageKind::from_stored(header(page).kind)
}

/// That the page has a legal size and a kind, and which.
pub(super) fn checked_kind(page: &[u8]) -> Result<PageKind, PageFault> {
    check_size(page)?;
    kind_in(page)
}

/// The kind that stands in a header, of a page or of the part of one.
pub(super) fn kind_in(header_first: &[u8]) -> Result<PageKind, PageFault> {
    let byte = header(header_first).kind;
    PageKind::from_stored(byte)
        .ok_or_else(|| PageFault::new("page kind 1 to 5", format!("kind {byte}")))
}

pub(super) fn check_size(page: &[u8]) -> Result<(), PageFault> {
    PageFault::unless(
        is_legal_size(page.len()),
        || format!("a power of two from {MIN_PAGE_SIZE} to {MAX_PAGE_SIZE} bytes"),
        || format!("{} bytes", page.len()),
    )
}

/// That the page is of kind `expected`.
pub(super) fn check_kind(page: &[u8], expected: PageKind) -> Result<(), OpFault> {
    let found = checked_kind(page)?;
    if found == expected { Ok(()) } else { Err(OpFault::WrongKind { expected, found }) }
}

fn checksum(page: &[u8], id: PageId) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&id.0.to_le_bytes());
    crc.update(&page[CHECKED_FROM..]);
    crc.finalize()
}

/// Stores the checksum, so that [`verify`] holds until the next change.
pub fn seal(page: &mut [u8]) {
    let checksum = checksum(page, page_id(page));
    header_mut(page).checksum.set(checksum);
}

/// That `page` is, as it was sealed, the page `id`: checksum, id and kind. What the kind's body
/// must look like is [`check_structure`](super::check_structure)'s to say.
///
/// # Errors
/// The fault found; a sound page of another number is named as such.
pub fn verify(page: &[u8], id: PageId) -> Result<(), PageFault> {
    check_size(page)?;
    let stored = header(page).checksum.get();
    let claimed = page_id(page);
    if claimed != id && stored == checksum(page, claimed) {
        return Err(PageFault::new(format!("page {id}"), format!("page {claimed}")));
    }
    let right = checksum(page, id);
    PageFault::unless(
        stored == right && claimed == id,
        || format!("page {id} with checksum {right:08x}"),
        || format!("page {claimed} with checksum {stored:08x}"),
    )?;
    checked_kind(page).map(drop)
}
