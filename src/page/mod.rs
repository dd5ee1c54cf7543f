//! The bytes of a page, and the closed set of operations that change them.
//!
//! Everything here is pure: bytes in, bytes out, no I/O and no locks. A page change is a value, a
//! [`PageOp`], which the log stores and restart applies again. Redo therefore needs to know nothing
//! about tables or trees, and redo of one page never reads another (the paper's *page-oriented*
//! redo, sections 3 and 10.3; the page's LSN is its section 4.2).
//!
//! # The page
//!
//! A page is 512 to 65 536 bytes, a power of two. All integers are little-endian.
//!
//! ```text
//!  0         4      5          8          16         24           26
//!  +---------+------+----------+----------+----------+------------+----------+
//!  | checksum| kind | 0  0  0  | page_lsn | page id  | slot_count |   0  0   |
//!  +---------+------+----------+----------+----------+------------+----------+
//!  28           32                 36            40
//!  +------------+------------------+-------------+
//!  | heap_start | fragmented_bytes | 0  0  0  0  |   body …
//!  +------------+------------------+-------------+
//! ```
//!
//! The checksum is the CRC-32 of the page id (as u64) followed by bytes 4 to the end: a page that
//! was written to the wrong place fails it. It is right only on *sealed* images. A page in memory
//! changes without it; whoever writes a page seals the copy that it writes ([`seal`]).
//!
//! | kind | name | body |
//! |---|---|---|
//! | 1 | [`Unformatted`](PageKind::Unformatted) | zeros; `slot_count`, `heap_start` and `fragmented_bytes` are 0 |
//! | 2 | [`Slotted`](PageKind::Slotted) | slot directory, gap, heap of records |
//! | 3 | [`SpaceMap`](PageKind::SpaceMap) | one u64 for each page it maps ([`space_map`]); the three fields are 0 |
//! | 4 | [`Tree`](PageKind::Tree) | as 2, but the slots are in the order of their records' keys ([`tree`]), and none is free |
//! | 5 | [`Overflow`](PageKind::Overflow) | as 2, with one record: a part of a long value |
//!
//! Kind 0 does not exist: a page of zeros is damage, never an empty page. The file grows by images
//! made by [`initial`], which are valid and sealed.
//!
//! # The slotted page
//!
//! ```text
//!  40                   directory_end          heap_start                page_size
//!  +------+------+------+----------------------+--------+------+---------+
//!  |slot 0|slot 1|slot 2|  gap (zeros)         | rec 2  | dead | rec 0   |
//!  +------+------+------+----------------------+--------+------+---------+
//!   grows ->                         <- grows           fragmented_bytes
//!
//!  slot entry, 6 bytes:  offset u16 | length u16 | state u8 | 0
//!
//!               InsertSlot             MarkGhost
//!        Free ------------->  Live  ------------->  Ghost
//!        (0)  <-------------  (1)   <-------------  (2)
//!               RemoveSlot             ClearGhost     |
//!         ^                                           |
//!         +-------------------------------------------+
//!               RemoveSlot, once the deleter has ended
//! ```
//!
//! Invariants, all of them checked by [`check_structure`]:
//!
//! 1. `40 + 6 * slot_count <= heap_start <= page_size`.
//! 2. A record has at least one byte, lies within the heap, and overlaps no other.
//! 3. `heap_start` is the offset of the lowest record, or `page_size` when there is none;
//!    `fragmented_bytes` is what the heap holds beside records. Both follow from the directory
//!    and are stored only so that an insert need not read it all.
//! 4. A free slot's entry is all zero, and so is every byte that belongs to no record: nothing
//!    that was deleted can be read from the file afterwards.
//! 5. Slot numbers are stable and `slot_count` never shrinks; free slots are used again.
//!    (In a page of a tree it is the other way round: slots move up and down, so that they stay in order,
//!    and a record is found by its key. Operations there are named `…At`.)
//!
//! An insert for which the gap is too small, though gap and dead bytes together suffice, first
//! *compacts*: records are packed from the end of the page in ascending slot order. Where the
//! bytes come to lie follows from the page and the operation alone, so redo gives the same bytes.
//!
//! # Undo never fails for want of room
//!
//! Undo happens in the page as it is by then; others may have filled it since. So a transaction
//! must never give away, before it ends, room that its undo needs:
//!
//! - the undo of an insert is `RemoveSlot`, which needs no room;
//! - the undo of a patch overwrites bytes in place, and a record never changes its length;
//! - a delete is `MarkGhost`: the record keeps its bytes, its room and its slot number, and undo is
//!   `ClearGhost`. `RemoveSlot` of the ghost follows after the deleter has ended, when
//!   nobody can want the record back; it has no inverse ([`PageOp::inverse`]).
//!
//! A `RemoveSlot` of a *live* record has an inverse, `InsertSlot`, but no room is kept for it: it is
//! for compensation, which is never undone, not for deleting.
//!
//! # What an inverse restores
//!
//! The inverse of `Patch`, `MarkGhost`, `ClearGhost` and `SetState` restores the page byte for byte.
//! `RemoveSlot` after an `InsertSlot` does so too if the insert reused a free slot and did not compact;
//! otherwise records may lie elsewhere and the directory keeps a free entry more. `InsertSlot`
//! after `RemoveSlot` restores slot and bytes, not the offset. The records are always as before.
//!
//! # Bad bytes
//!
//! Bytes of a legal page size, whatever they hold, never make a function of this module panic,
//! loop or reserve more memory than a few pages' worth. [`verify`] finds accidental damage,
//! cheaply, each time a page is read; [`check_structure`] finds what a checksum cannot: pages
//! that were sealed wrong.

mod codec;
mod fault;
mod header;
mod image;
mod op;
mod ordered;
mod slotted;
pub mod space_map;
mod structure;
#[cfg(test)]
mod tests;
pub mod tree;

pub use fault::{OpFault, PageFault};
pub use header::{
    HEADER_SIZE, HeaderFields, PageKind, header_fields, is_legal_size, kind, page_id, page_lsn,
    seal, set_page_lsn, verify,
};
pub use op::PageOp;
pub use slotted::{
    SLOT_SIZE, SlotState, free_bytes, free_slots, glance, record, room_for, slot_state, slots,
};
pub use space_map::PageState;
pub use structure::check_structure;

use std::ops::Range;

use crate::ids::PageId;
use header::{header_mut, stored_size};

/// The image with which page `page` enters the file: a space map page where one belongs, else
/// unformatted; its LSN is nil, and it is sealed.
///
/// # Panics
/// If `page_size` is not legal.
#[must_use]
pub fn initial(page: PageId, page_size: usize) -> Vec<u8> {
    assert!(is_legal_size(page_size), "a page of {page_size} bytes");
    let mut image = vec![0; page_size];
    header_mut(&mut image).page_id.set(page.0);
    let is_map = space_map::is_map_page(page, page_size);
    format(&mut image, if is_map { PageKind::SpaceMap } else { PageKind::Unformatted });
    seal(&mut image);
    image
}

/// Where two runs of bytes of one length differ, from the first such byte to the last; `None` if they do not.
#[must_use]
pub fn difference(before: &[u8], after: &[u8]) -> Option<Range<usize>> {
    let differs = |(before, after): (&u8, &u8)| before != after;
    let start = before.iter().zip(after).position(differs)?;
    let end = before.iter().zip(after).rposition(differs)?;
    Some(start..end + 1)
}

/// Makes `page` an empty page of `kind`; only its id, its LSN and its old checksum stay.
fn format(page: &mut [u8], kind: PageKind) {
    let heap_start = stored_size(page.len());
    page[HEADER_SIZE..].fill(0);
    let header = header_mut(page);
    header.clear_all_but_identity();
    header.kind = kind.to_stored();
    match kind {
        PageKind::Unformatted => {}
        PageKind::Slotted | PageKind::Tree | PageKind::Overflow => {
            header.heap_start.set(heap_start);
        }
        PageKind::SpaceMap => space_map::set_state(page, 0, PageState::Used),
    }
}
