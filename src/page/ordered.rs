//! Slots in the order of their records' keys: the pages of trees.
//!
//! ```text
//!             0  1  2  3                       0  1  2  3  4                      0  1  2
//!   slots     a  c  d  e   InsertAt 1 (b) -->  a  b  c  d  e   TruncateAt 3 -->   a  b  c
//! ```
//!
//! What the order is, is the caller's business; here a record gets the place that it is told. The heap is that of every
//! page with slots ([`super::slotted`]); no slot is ever free.
//!
//! Functions named `check_…` say whether a change is possible; the change itself, which follows a successful check,
//! cannot fail.

use super::fault::OpFault;
use super::header::{HEADER_SIZE, PageKind, check_kind, header_mut};
use super::slotted::{self, Room, SLOT_SIZE, SlotEntry, check_record, checked_room, entry_mut};
use super::structure::check_structure;
use crate::ids::SlotId;

/// That the page is ordered, and has a record in `slot`.
pub(super) fn check(page: &[u8], slot: SlotId) -> Result<(), OpFault> {
    check_kind(page, PageKind::Tree)?;
    check_record(page, slot)?;
    // Slots move: each entry must be believed.
    Ok(check_structure(page)?)
}

fn check_fits(room: &Room, needed: usize, freed: usize) -> Result<(), OpFault> {
    let available = room.total() + freed;
    if needed > available { Err(OpFault::NoRoom { needed, available }) } else { Ok(()) }
}

/// That a record of `length` bytes can be put before slot `slot`, or behind the last.
pub(super) fn check_insert(page: &[u8], slot: SlotId, length: usize) -> Result<(), OpFault> {
    check_kind(page, PageKind::Tree)?;
    let room = Room::of(page)?;
    if length == 0 {
        return Err(OpFault::EmptyRecord);
    }
    if slot.0 > room.slot_count {
        return Err(OpFault::NoSuchSlot { slot });
    }
    let needed = length + SLOT_SIZE;
    check_fits(&room, needed, 0)?;
    if needed > room.gap() {
        check_structure(page)?;
    }
    Ok(())
}

/// That a record of `length` bytes can take the place of the one in `slot`.
pub(super) fn check_replace(page: &[u8], slot: SlotId, length: usize) -> Result<(), OpFault> {
    check_kind(page, PageKind::Tree)?;
    let (_, before) = check_record(page, slot)?;
    if length == 0 {
        return Err(OpFault::EmptyRecord);
    }
    check_fits(&Room::of(page)?, length, before)?;
    Ok(check_structure(page)?)
}

fn at(slot: usize) -> usize {
    HEADER_SIZE + SLOT_SIZE * slot
}

pub(super) fn insert(page: &mut [u8], slot: SlotId, bytes: &[u8]) {
    if bytes.len() + SLOT_SIZE > checked_room(page).gap() {
        slotted::compact(page);
    }
    let (from, end) = (at(slot.0.into()), checked_room(page).directory_end);
    page.copy_within(from..end, from + SLOT_SIZE);
    let count = checked_room(page).slot_count;
    header_mut(page).slot_count.set(count + 1);
    *entry_mut(page, slot) = SlotEntry::FREE;
    slotted::insert(page, slot, bytes);
}

pub(super) fn remove(page: &mut [u8], slot: SlotId) {
    slotted::remove(page, slot);
    let (from, end) = (at(slot.0.into()), checked_room(page).directory_end);
    page.copy_within(from + SLOT_SIZE..end, from);
    page[end - SLOT_SIZE..end].fill(0);
    let count = checked_room(page).slot_count;
    header_mut(page).slot_count.set(count - 1);
}

pub(super) fn replace(page: &mut [u8], slot: SlotId, bytes: &[u8]) {
    slotted::remove(page, slot);
    slotted::insert(page, slot, bytes);
}

pub(super) fn truncate(page: &mut [u8], slot: SlotId) {
    let count = checked_room(page).slot_count;
    (slot.0..count).rev().for_each(|last| remove(page, SlotId(last)));
}
