//! Records in slots: the directory grows up from the header, the heap down from the page's end.
//!
//! Functions named `check_…` say whether a change is possible; the change itself, which follows
//! a successful check, cannot fail.

use std::fmt;
use std::ops::Range;

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::fault::{OpFault, PageFault};
use super::header::{HEADER_SIZE, PageKind, checked_kind, header, header_mut, kind, stored_size};
use super::structure::check_structure;
use crate::ids::SlotId;

/// Bytes of a slot's entry in the directory.
pub const SLOT_SIZE: usize = 6;

/// What a slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotState {
    /// Nothing; an insert may take it.
    Free,
    /// A record.
    Live,
    /// A deleted record whose deleter may still want it back.
    Ghost,
}

impl SlotState {
    const fn to_stored(self) -> u8 {
        match self {
            Self::Free => 0,
            Self::Live => 1,
            Self::Ghost => 2,
        }
    }

    const fn from_stored(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Free),
            1 => Some(Self::Live),
            2 => Some(Self::Ghost),
            _ => None,
        }
    }
}

impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "free",
            Self::Live => "live",
            Self::Ghost => "a ghost",
        })
    }
}

/// A slot's entry in the directory.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SlotEntry {
    offset: U16,
    length: U16,
    state: u8,
    pub(super) reserved: u8,
}

const _: () = assert!(size_of::<SlotEntry>() == SLOT_SIZE);

impl SlotEntry {
    pub(super) const FREE: Self =
        Self { offset: U16::ZERO, length: U16::ZERO, state: 0, reserved: 0 };

    pub(super) const fn state(self) -> Option<SlotState> {
        SlotState::from_stored(self.state)
    }

    /// Where the record lies in the page.
    pub(super) fn range(self) -> Range<usize> {
        let start = usize::from(self.offset.get());
        start..start + usize::from(self.length.get())
    }

    fn set_offset(&mut self, offset: usize) {
        self.offset
            .set(u16::try_from(offset).expect("a record begins before the page's last byte"));
    }

    /// The state, if the entry describes a record within `heap` or is free.
    #[inline]
    fn state_within(self, heap: &Range<usize>) -> Option<SlotState> {
        let (state, range) = (self.state()?, self.range());
        let sound = match state {
            SlotState::Free => range == (0..0),
            _ => !range.is_empty() && heap.start <= range.start && range.end <= heap.end,
        };
        sound.then_some(state)
    }

    /// That the entry describes a record within `heap` or is free.
    #[inline]
    pub(super) fn check(self, slot: SlotId, heap: &Range<usize>) -> Result<SlotState, PageFault> {
        if let Some(state) = self.state_within(heap) {
            return Ok(state);
        }
        let range = self.range();
        let state = self.state().ok_or_else(|| {
            PageFault::new(format!("slot {slot} free, live or ghost"), format!("{}", self.state))
        })?;
        PageFault::unless(
            false,
            || format!("slot {slot}, {state}, with bytes within {heap:?} if it has any"),
            || format!("bytes {range:?}"),
        )?;
        Ok(state)
    }
}

/// Where directory and heap of a slotted page stand.
pub(super) struct Room {
    pub(super) slot_count: u16,
    pub(super) directory_end: usize,
    pub(super) heap: Range<usize>,
    pub(super) fragmented: usize,
}

impl Room {
    /// Reads it from a page of kind `Slotted`; the three numbers must at least fit the page.
    #[inline]
    pub(super) fn of(page: &[u8]) -> Result<Self, PageFault> {
        let header = header(page);
        let slot_count = header.slot_count.get();
        let room = Self {
            slot_count,
            directory_end: HEADER_SIZE + SLOT_SIZE * usize::from(slot_count),
            heap: header.heap_start.get() as usize..page.len(),
            fragmented: header.fragmented_bytes.get() as usize,
        };
        let Range { start, end } = room.heap;
        PageFault::unless(
            room.directory_end <= start && start <= end && room.fragmented <= end - start,
            || format!("directory before heap, both within {end} bytes"),
            || {
                let dead = room.fragmented;
                format!("{slot_count} slots, a heap from {start} with {dead} dead bytes")
            },
        )?;
        Ok(room)
    }

    /// Bytes between directory and heap.
    pub(super) fn gap(&self) -> usize {
        self.heap.start - self.directory_end
    }

    /// Bytes that compaction can make into one gap.
    pub(super) fn total(&self) -> usize {
        self.gap() + self.fragmented
    }
}

/// The slot directory; empty if the page is not slotted or the directory does not fit the page.
pub(super) fn directory(page: &[u8]) -> &[SlotEntry] {
    if !kind(page).is_some_and(PageKind::has_slots) {
        return &[];
    }
    let count = usize::from(header(page).slot_count.get());
    <[SlotEntry]>::ref_from_prefix_with_elems(&page[HEADER_SIZE..], count)
        .map_or(&[], |(directory, _)| directory)
}

/// All slots of the page with their state and bytes (none for a free one), in slot order. Slots
/// whose entry is damaged are left out; a page that is not slotted has none.
pub fn slots(page: &[u8]) -> impl Iterator<Item = (SlotId, SlotState, &[u8])> {
    let slots = Slots::of(page);
    (0..).map(SlotId).zip(directory(page)).filter_map(move |(slot, _)| {
        let (state, bytes) = slots?.get(slot.0)?;
        Some((slot, state, bytes))
    })
}

/// The slots of a page, whose header is looked at once for all of them.
#[derive(Clone, Copy)]
pub(super) struct Slots<'p> {
    page: &'p [u8],
    directory: &'p [SlotEntry],
    heap_start: usize,
}

impl<'p> Slots<'p> {
    /// Those of this page; `None` if its header is damaged.
    #[inline]
    pub(super) fn of(page: &'p [u8]) -> Option<Self> {
        let (header, has_slots) = (header(page), kind(page)?.has_slots());
        let heap_start = header.heap_start.get() as usize;
        let count = if has_slots { usize::from(header.slot_count.get()) } else { 0 };
        // What `Room::of` checks.
        let directory_end = HEADER_SIZE + SLOT_SIZE * count;
        let fragmented = header.fragmented_bytes.get() as usize;
        if directory_end > heap_start || fragmented > page.len().checked_sub(heap_start)? {
            return None;
        }
        let directory = <[SlotEntry]>::ref_from_bytes(&page[HEADER_SIZE..directory_end]).ok()?;
        Some(Self { page, directory, heap_start })
    }

    /// How many there are.
    #[inline]
    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.directory.len()).unwrap_or(u16::MAX)
    }

    /// State and bytes of one slot; `None` if there is no such slot, or its entry is damaged.
    #[inline]
    pub(super) fn get(&self, slot: u16) -> Option<(SlotState, &'p [u8])> {
        let entry = self.directory.get(usize::from(slot))?;
        let state = entry.state_within(&(self.heap_start..self.page.len()))?;
        Some((state, self.page.get(entry.range())?))
    }
}

/// State and bytes of one slot; `None` if there is no such slot, or its entry is damaged.
pub(super) fn state_and_bytes(page: &[u8], slot: SlotId) -> Option<(SlotState, &[u8])> {
    Slots::of(page)?.get(slot.0)
}

/// The live record in `slot`.
#[must_use]
pub fn record(page: &[u8], slot: SlotId) -> Option<&[u8]> {
    state_and_bytes(page, slot).filter(|(state, _)| *state == SlotState::Live).map(|found| found.1)
}

/// The record in `slot`, live or ghost.
pub(super) fn record_or_ghost(page: &[u8], slot: SlotId) -> Option<&[u8]> {
    state_and_bytes(page, slot).filter(|(state, _)| *state != SlotState::Free).map(|found| found.1)
}

/// A byte from each end of the record in `slot`, believing what the page says: so that the processor has
/// the record at hand when it is asked for soon. Means nothing else.
#[must_use]
#[inline]
pub fn glance(page: &[u8], slot: SlotId) -> Option<(u8, u8)> {
    let at = HEADER_SIZE + SLOT_SIZE * usize::from(slot.0);
    let (entry, _) = SlotEntry::ref_from_prefix(page.get(at..)?).ok()?;
    let range = entry.range();
    Some((*page.get(range.start)?, *page.get(range.end.checked_sub(1)?)?))
}

/// What `slot` holds; `None` if it is not in the directory.
#[must_use]
pub fn slot_state(page: &[u8], slot: SlotId) -> Option<SlotState> {
    state_and_bytes(page, slot).map(|(state, _)| state)
}

/// The slots that an insert can use again, ascending.
pub fn free_slots(page: &[u8]) -> impl Iterator<Item = SlotId> {
    slots(page).filter(|(_, state, _)| *state == SlotState::Free).map(|(slot, _, _)| slot)
}

/// Bytes of the longest record that can be inserted: into a free slot if there is one, else
/// together with a new entry of the directory. 0 if the page is full, or not slotted.
#[must_use]
pub fn free_bytes(page: &[u8]) -> usize {
    if !kind(page).is_some_and(PageKind::has_slots) {
        return 0;
    }
    let new_entry = if free_slots(page).next().is_some() { 0 } else { SLOT_SIZE };
    Room::of(page).map_or(0, |room| room.total().saturating_sub(new_entry))
}

/// Whether a record of `length` bytes can be inserted into some slot.
#[must_use]
pub fn room_for(page: &[u8], length: usize) -> bool {
    (1..=free_bytes(page)).contains(&length)
}

/// Whether a record of `length` bytes can be inserted into `slot`: a free one, or the next new one.
pub(super) fn check_insert(page: &[u8], slot: SlotId, length: usize) -> Result<(), OpFault> {
    check_unordered(page)?;
    let room = Room::of(page)?;
    if length == 0 {
        return Err(OpFault::EmptyRecord);
    }
    if slot.0 > room.slot_count {
        return Err(OpFault::NoSuchSlot { slot });
    }
    if let Some(entry) = directory(page).get(usize::from(slot.0))
        && entry.check(slot, &room.heap)? != SlotState::Free
    {
        return Err(OpFault::SlotTaken { slot });
    }
    let (needed, available) = (bytes_needed(&room, slot, length), room.total());
    if needed > available {
        return Err(OpFault::NoRoom { needed, available });
    }
    if needed > room.gap() {
        // Compaction moves every record, so it must be able to believe every entry.
        check_structure(page)?;
    }
    Ok(())
}

/// That the page has slots, whatever their order means.
fn check_has_slots(page: &[u8]) -> Result<(), OpFault> {
    let found = checked_kind(page)?;
    let expected = PageKind::Slotted;
    if found.has_slots() { Ok(()) } else { Err(OpFault::WrongKind { expected, found }) }
}

/// That the page has slots whose numbers are names, and nothing else.
fn check_unordered(page: &[u8]) -> Result<(), OpFault> {
    check_has_slots(page)?;
    let (expected, found) = (PageKind::Slotted, PageKind::Tree);
    if kind(page) == Some(found) { Err(OpFault::WrongKind { expected, found }) } else { Ok(()) }
}

/// That `slot`, of a page whose slots are names, holds a record.
pub(super) fn check_remove(page: &[u8], slot: SlotId) -> Result<(), OpFault> {
    check_unordered(page)?;
    check_record(page, slot).map(drop)
}

fn bytes_needed(room: &Room, slot: SlotId, length: usize) -> usize {
    length + if slot.0 == room.slot_count { SLOT_SIZE } else { 0 }
}

/// That `slot` holds a record, live or ghost; returns its state and length.
pub(super) fn check_record(page: &[u8], slot: SlotId) -> Result<(SlotState, usize), OpFault> {
    check_has_slots(page)?;
    let room = Room::of(page)?;
    let entry = directory(page).get(usize::from(slot.0)).ok_or(OpFault::NoSuchSlot { slot })?;
    match entry.check(slot, &room.heap)? {
        SlotState::Free => Err(OpFault::NoSuchSlot { slot }),
        state => Ok((state, entry.range().len())),
    }
}

/// That `slot` holds a record in state `wanted`.
pub(super) fn check_state(page: &[u8], slot: SlotId, wanted: SlotState) -> Result<(), OpFault> {
    let (found, _) = check_record(page, slot)?;
    if found == wanted { Ok(()) } else { Err(OpFault::WrongState { slot, found }) }
}

/// That `slot` holds a record which reaches at least to byte `end`.
pub(super) fn check_patch(page: &[u8], slot: SlotId, end: usize) -> Result<(), OpFault> {
    let (_, length) = check_record(page, slot)?;
    if end <= length { Ok(()) } else { Err(OpFault::OutOfRange { slot, end, length }) }
}

pub(super) fn checked_room(page: &[u8]) -> Room {
    Room::of(page).expect("checked before the page is changed")
}

pub(super) fn entry_mut(page: &mut [u8], slot: SlotId) -> &mut SlotEntry {
    let at = HEADER_SIZE + SLOT_SIZE * usize::from(slot.0);
    SlotEntry::mut_from_prefix(&mut page[at..]).expect("the directory lies within the page").0
}

pub(super) fn insert(page: &mut [u8], slot: SlotId, bytes: &[u8]) {
    let mut room = checked_room(page);
    if bytes_needed(&room, slot, bytes.len()) > room.gap() {
        compact(page);
        room = checked_room(page);
    }
    let start = room.heap.start - bytes.len();
    page[start..room.heap.start].copy_from_slice(bytes);
    let header = header_mut(page);
    header.heap_start.set(stored_size(start));
    header.slot_count.set(room.slot_count.max(slot.0 + 1));
    let entry = entry_mut(page, slot);
    *entry = SlotEntry { state: SlotState::Live.to_stored(), ..SlotEntry::FREE };
    entry.set_offset(start);
    entry.length.set(u16::try_from(bytes.len()).expect("a record is shorter than its page"));
}

/// Packs the records from the end of the page, slot 0 last in the page, and zeroes the rest.
pub(super) fn compact(page: &mut [u8]) {
    let room = checked_room(page);
    let before = page.to_vec();
    page[room.heap].fill(0);
    let mut heap_start = page.len();
    for (slot, state, bytes) in slots(&before) {
        if state != SlotState::Free {
            let end = heap_start;
            heap_start -= bytes.len();
            page[heap_start..end].copy_from_slice(bytes);
            entry_mut(page, slot).set_offset(heap_start);
        }
    }
    let header = header_mut(page);
    header.heap_start.set(stored_size(heap_start));
    header.fragmented_bytes.set(0);
}

pub(super) fn remove(page: &mut [u8], slot: SlotId) {
    let room = checked_room(page);
    let entry = entry_mut(page, slot);
    let freed = entry.range();
    *entry = SlotEntry::FREE;
    page[freed.clone()].fill(0);
    if freed.start == room.heap.start {
        shrink_heap(page, &room, freed.end);
    } else {
        let fragmented = room.fragmented + freed.len();
        header_mut(page).fragmented_bytes.set(stored_size(fragmented));
    }
}

/// The lowest record, which ended at `freed_end`, is gone: the heap begins at the lowest one left,
/// and dead bytes below that become part of the gap.
fn shrink_heap(page: &mut [u8], room: &Room, freed_end: usize) {
    let heap_start = directory(page)
        .iter()
        .filter(|entry| entry.state().is_some_and(|state| state != SlotState::Free))
        .map(|entry| entry.range().start)
        .min()
        .unwrap_or(page.len())
        // Changes nothing on a sound page.
        .clamp(freed_end, page.len());
    let no_longer_dead = heap_start - freed_end;
    let header = header_mut(page);
    header.heap_start.set(stored_size(heap_start));
    header.fragmented_bytes.set(stored_size(room.fragmented.saturating_sub(no_longer_dead)));
}

pub(super) fn patch(page: &mut [u8], slot: SlotId, offset: usize, bytes: &[u8]) {
    let start = entry_mut(page, slot).range().start + offset;
    page[start..start + bytes.len()].copy_from_slice(bytes);
}

pub(super) fn set_slot_state(page: &mut [u8], slot: SlotId, state: SlotState) {
    entry_mut(page, slot).state = state.to_stored();
}
