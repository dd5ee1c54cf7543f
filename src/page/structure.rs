//! Whether a page's body is what its kind says: the invariants of the module's essay, one by one.

use std::ops::Range;

use super::fault::PageFault;
use super::header::{PageKind, checked_kind, header};
use super::slotted::{Room, SlotState, directory};
use super::{HEADER_SIZE, space_map};
use crate::ids::SlotId;

/// Checks every invariant of the page except the checksum and where it stands in the file. Takes
/// time in proportion to the page; for tools, and before records are moved.
///
/// # Errors
/// The first invariant that does not hold.
pub fn check_structure(page: &[u8]) -> Result<(), PageFault> {
    let kind = checked_kind(page)?;
    let header = header(page);
    PageFault::unless(
        header.reserved_5 == [0; 3] && header.reserved_26 == 0 && header.reserved_36 == 0,
        || "zeros in the header's reserved bytes".into(),
        || "something else".into(),
    )?;
    match kind {
        PageKind::Slotted | PageKind::Overflow => check_slotted(page),
        PageKind::Tree => {
            check_slotted(page)?;
            check_no_free_slots(page)
        }
        PageKind::Unformatted => {
            check_no_slots(page)?;
            check_zero(page, HEADER_SIZE..page.len())
        }
        PageKind::SpaceMap => {
            check_no_slots(page)?;
            check_space_map(page)
        }
    }
}

/// The three fields that only slotted pages use are 0.
fn check_no_slots(page: &[u8]) -> Result<(), PageFault> {
    let header = header(page);
    PageFault::unless(
        header.slot_count == 0 && header.heap_start == 0 && header.fragmented_bytes == 0,
        || "no slots and no heap in a page that is not slotted".into(),
        || format!("{} slots, a heap from {}", header.slot_count, header.heap_start),
    )
}

fn check_zero(page: &[u8], range: Range<usize>) -> Result<(), PageFault> {
    let nonzero = page[range.clone()].iter().position(|byte| *byte != 0);
    match nonzero {
        None => Ok(()),
        Some(at) => Err(PageFault::new(
            format!("zeros in the unused bytes {range:?}"),
            format!("{:#04x} at byte {}", page[range.start + at], range.start + at),
        )),
    }
}

fn check_space_map(page: &[u8]) -> Result<(), PageFault> {
    for entry in 0..space_map::entries_per_page(page.len()) {
        let state = space_map::state(page, entry).ok_or_else(|| {
            PageFault::new(format!("a page state in entry {entry}"), "a number that is none")
        })?;
        PageFault::unless(
            space_map::may_stand(page, entry, state),
            || format!("a state that entry {entry} of the space map can have"),
            || state.to_string(),
        )?;
    }
    Ok(())
}

fn check_slotted(page: &[u8]) -> Result<(), PageFault> {
    let room = Room::of(page)?;
    let records = record_ranges(page, &room)?;
    let heap_start = records.first().map_or(page.len(), |range| range.start);
    let occupied: usize = records.iter().map(Range::len).sum();
    check_gaps(page, &room, &records)?;
    // Records lie within the heap and, as just seen, apart: the difference cannot be negative.
    let fragmented = page.len() - heap_start - occupied;
    PageFault::unless(
        room.heap.start == heap_start && room.fragmented == fragmented,
        || format!("a heap from {heap_start} with {fragmented} dead bytes"),
        || format!("a heap from {} with {}", room.heap.start, room.fragmented),
    )
}

/// In a page whose slots are in the order of keys, each holds a record.
fn check_no_free_slots(page: &[u8]) -> Result<(), PageFault> {
    let free = directory(page).iter().position(|entry| entry.state() == Some(SlotState::Free));
    PageFault::unless(
        free.is_none(),
        || "a record in each slot of a tree's page".into(),
        || format!("none in slot {}", free.unwrap_or_default()),
    )
}

/// Where the records lie, in page order; every entry of the directory is checked by itself.
fn record_ranges(page: &[u8], room: &Room) -> Result<Vec<Range<usize>>, PageFault> {
    let mut records = Vec::new();
    for (slot, entry) in (0..).map(SlotId).zip(directory(page)) {
        let state = entry.check(slot, &room.heap)?;
        PageFault::unless(
            entry.reserved == 0,
            || format!("0 in the reserved byte of slot {slot}"),
            || entry.reserved.to_string(),
        )?;
        if state != SlotState::Free {
            records.push(entry.range());
        }
    }
    records.sort_unstable_by_key(|range| range.start);
    Ok(records)
}

/// The records do not overlap, and between them are zeros.
fn check_gaps(page: &[u8], room: &Room, records: &[Range<usize>]) -> Result<(), PageFault> {
    let mut unused_from = room.directory_end;
    for record in records {
        PageFault::unless(
            unused_from <= record.start,
            || format!("a record from byte {unused_from} on"),
            || format!("one at {record:?}, which overlaps another"),
        )?;
        check_zero(page, unused_from..record.start)?;
        unused_from = record.end;
    }
    check_zero(page, unused_from..page.len())
}
