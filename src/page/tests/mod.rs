//! Sound pages: single cases here, random operations in `model`; and damaged ones in `damage`.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod damage;
mod model;
mod ordered;

use super::*;
use crate::ids::{Lsn, SlotId, TxnId};

fn empty(page_size: usize) -> Vec<u8> {
    let mut page = initial(PageId(1), page_size);
    PageOp::Format { kind: PageKind::Slotted }.apply(&mut page).unwrap();
    page
}

fn insert(page: &mut [u8], slot: u16, bytes: &[u8]) {
    PageOp::InsertSlot { slot: SlotId(slot), bytes }.apply(page).unwrap();
}

fn remove(page: &mut [u8], slot: u16) {
    PageOp::RemoveSlot { slot: SlotId(slot) }.apply(page).unwrap();
}

/// Slots 0 to 3 with records of 100 bytes; 1 is a ghost, 2 free.
fn sample() -> Vec<u8> {
    let mut page = empty(512);
    for slot in 0..4 {
        insert(&mut page, slot, &[0x10 + slot as u8; 100]);
    }
    PageOp::MarkGhost { slot: SlotId(1) }.apply(&mut page).unwrap();
    remove(&mut page, 2);
    page
}

#[test]
fn initial_images_are_sound_and_never_zero() {
    for page_size in [512, 1024, 8192, 65_536] {
        for id in [0, 1, 58, 59, 8187, u64::MAX] {
            let image = initial(PageId(id), page_size);
            assert_eq!(verify(&image, PageId(id)), Ok(()));
            assert_eq!(check_structure(&image), Ok(()));
            assert_eq!(page_lsn(&image), None);
            let is_map = space_map::is_map_page(PageId(id), page_size);
            assert_eq!(kind(&image) == Some(PageKind::SpaceMap), is_map);
            assert_eq!(kind(&image) == Some(PageKind::Unformatted), !is_map);
        }
    }
    let map = initial(PageId(59), 512);
    assert_eq!(space_map::state(&map, 0), Some(PageState::Used));
    assert!((1..59).all(|entry| space_map::state(&map, entry) == Some(PageState::Free)));
    assert_eq!(space_map::state(&map, 59), None);
}

#[test]
fn the_header_is_where_the_essay_says() {
    let mut page = sample();
    set_page_lsn(&mut page, Lsn::new(0x1122_3344_5566_7788).unwrap());
    let expected = [
        &[2, 0, 0, 0][..],                                 // kind, reserved
        &[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11], // page_lsn
        &[1, 0, 0, 0, 0, 0, 0, 0],                         // page id
        &[4, 0, 0, 0],                                     // slot_count, reserved
        &[112, 0, 0, 0],                                   // heap_start
        &[100, 0, 0, 0],                                   // fragmented_bytes
        &[0, 0, 0, 0],                                     // reserved
        &[0x9C, 1, 100, 0, 1, 0],                          // slot 0: live, at 412
        &[0x38, 1, 100, 0, 2, 0],                          // slot 1: ghost, at 312
        &[0; 6],                                           // slot 2: free
        &[112, 0, 100, 0, 1, 0],                           // slot 3: live
    ];
    let expected = expected.concat();
    assert_eq!(page[4..4 + expected.len()], expected);
    seal(&mut page);
    let sealed_over = [&1_u64.to_le_bytes()[..], &page[4..]].concat();
    assert_eq!(page[..4], crc32fast::hash(&sealed_over).to_le_bytes());
}

#[test]
fn compaction_packs_in_slot_order_and_zeroes_the_rest() {
    // 48 bytes of gap and 100 dead ones: more than 48 fit only after compaction. With 60 bytes
    // the new record covers only a part of where records lay before.
    for length in [60, 112, 148] {
        let mut page = sample();
        insert(&mut page, 2, &vec![0x99; length]);
        assert_eq!(check_structure(&page), Ok(()));
        let mut heap = vec![0; 148 - length];
        for (byte, length) in [(0x99, length), (0x13, 100), (0x11, 100), (0x10, 100)] {
            heap.extend(vec![byte; length]);
        }
        assert_eq!(page[64..], heap);
        assert_eq!(slot_state(&page, SlotId(1)), Some(SlotState::Ghost), "a ghost keeps its room");
        assert_eq!(record(&page, SlotId(1)), None, "but is no record to read");
    }
}

#[test]
fn compaction_depends_on_the_records_only() {
    let mut other = empty(512);
    for (slot, length) in [(0, 20), (1, 30), (2, 40)] {
        insert(&mut other, slot, &vec![1; length]);
    }
    for slot in [1, 0, 2] {
        remove(&mut other, slot);
    }
    insert(&mut other, 0, &[0x10; 100]);
    insert(&mut other, 2, &[0x12; 50]);
    insert(&mut other, 1, &[0x11; 100]);
    insert(&mut other, 3, &[0x13; 100]);
    PageOp::MarkGhost { slot: SlotId(1) }.apply(&mut other).unwrap();
    remove(&mut other, 2);
    let mut page = sample();
    assert_ne!(page, other, "the same records in other places");
    insert(&mut page, 2, &[0x99; 148]);
    insert(&mut other, 2, &[0x99; 148]);
    assert_eq!(page[4..], other[4..]);
}

#[test]
fn nothing_removed_can_be_read() {
    let mut page = empty(512);
    for slot in 0..5 {
        insert(&mut page, slot, b"secret");
    }
    for slot in [1, 4, 3, 0, 2] {
        remove(&mut page, slot);
        assert_eq!(check_structure(&page), Ok(()));
    }
    assert!(page[HEADER_SIZE..].iter().all(|byte| *byte == 0));
    assert_eq!(free_slots(&page).count(), 5, "slots are never given back");
    assert_eq!(free_bytes(&page), 512 - 40 - 30);
}

#[test]
fn the_largest_page_holds_the_longest_record_and_the_most_slots() {
    let mut page = empty(65_536);
    let longest = vec![1; 65_536 - HEADER_SIZE - SLOT_SIZE];
    assert_eq!(free_bytes(&page), longest.len());
    insert(&mut page, 0, &longest);
    assert_eq!(free_bytes(&page), 0);
    assert_eq!(record(&page, SlotId(0)), Some(&longest[..]));
    remove(&mut page, 0);
    for slot in 0..9356 {
        insert(&mut page, slot, &[1]);
    }
    assert_eq!((free_bytes(&page), room_for(&page, 1)), (0, false));
    assert_eq!(check_structure(&page), Ok(()));
    let op = PageOp::InsertSlot { slot: SlotId(9356), bytes: &[1] };
    assert_eq!(op.check(&page), Err(OpFault::NoRoom { needed: 7, available: 4 }));
}

#[test]
fn format_keeps_identity_and_clears_the_rest() {
    for kind in [PageKind::Unformatted, PageKind::Slotted, PageKind::SpaceMap] {
        let mut page = vec![0xAB; 512];
        page[16..24].copy_from_slice(&5_u64.to_le_bytes());
        let identity = page[8..24].to_vec();
        PageOp::Format { kind }.apply(&mut page).unwrap();
        assert_eq!(page[8..24], identity);
        assert_eq!(check_structure(&page), Ok(()));
        assert_eq!(super::kind(&page), Some(kind));
        assert_eq!(PageOp::Format { kind }.inverse(&page), None);
    }
}

#[test]
fn an_image_leaves_out_the_longest_run_of_zeros() {
    let page = sample();
    let PageOp::Image { head, tail } = PageOp::image_of(&page) else { panic!() };
    assert_eq!((head, tail), (&page[..212], &page[312..]), "100 zeros where a record was");
    let full = [&initial(PageId(1), 512)[..40], &[1; 472]].concat();
    let PageOp::Image { head, tail } = PageOp::image_of(&full) else { panic!() };
    assert_eq!((head.len(), tail.len()), (40, 472));
    let unformatted = initial(PageId(1), 512);
    let PageOp::Image { head, tail } = PageOp::image_of(&unformatted) else { panic!() };
    assert_eq!((head.len(), tail.len()), (40, 0));
}

#[test]
fn an_image_keeps_identity_and_must_fit() {
    let page = sample();
    let image = PageOp::image_of(&page);
    let mut other = vec![0xAB; 512];
    image.apply(&mut other).unwrap();
    assert_eq!(other[8..24], [0xAB; 16], "neither page id nor LSN change");
    assert_eq!(image.inverse(&page), None);
    let of = |head, tail| PageOp::Image { head, tail };
    let wrong_kind = [&[0; 4][..], &[9], &[0; 35]].concat();
    for image in
        [of(&page[..39], &[]), of(&page, &[0]), of(&page[..40], &page), of(&wrong_kind, &[])]
    {
        let before = other.clone();
        assert!(matches!(image.apply(&mut other), Err(OpFault::Damaged(_))), "{image:?}");
        assert_eq!(other, before);
    }
}

#[test]
fn space_map_entries_change_alone() {
    let txn = TxnId::FIRST;
    let mut page = initial(PageId(0), 512);
    let before = page.clone();
    let op = PageOp::SetState { entry: 3, state: PageState::FreePending(txn) };
    op.apply(&mut page).unwrap();
    assert_eq!(space_map::state(&page, 3), Some(PageState::FreePending(txn)));
    assert_eq!(check_structure(&page), Ok(()));
    let neighbour = PageOp::SetState { entry: 4, state: PageState::Used };
    neighbour.apply(&mut page).unwrap();
    op.inverse(&before).unwrap().apply(&mut page).unwrap();
    assert_eq!(space_map::state(&page, 4), Some(PageState::Used));
    neighbour.inverse(&before).unwrap().apply(&mut page).unwrap();
    assert_eq!(page, before);
}

#[test]
fn operations_for_other_pages_are_refused() {
    let map = initial(PageId(0), 512);
    let set = |entry, state| PageOp::SetState { entry, state }.check(&map);
    assert_eq!(set(0, PageState::Free), Err(OpFault::OwnEntry));
    assert_eq!(set(0, PageState::Used), Ok(()));
    let beyond = OpFault::NoSuchEntry { entry: 59, entries: 59 };
    assert_eq!(set(59, PageState::Free), Err(beyond));
    let last = TxnId::new(u64::MAX).unwrap();
    assert_eq!(set(1, PageState::FreePending(last)), Err(OpFault::TxnIdTooLarge(last)));
    let wrong = OpFault::WrongKind { expected: PageKind::Slotted, found: PageKind::SpaceMap };
    assert_eq!(PageOp::RemoveSlot { slot: SlotId(0) }.check(&map), Err(wrong));
    let set = PageOp::SetState { entry: 1, state: PageState::Used };
    assert!(matches!(set.check(&sample()), Err(OpFault::WrongKind { .. })));
    assert!(matches!(set.check(&initial(PageId(1), 512)), Err(OpFault::WrongKind { .. })));
}

#[test]
fn a_patch_stays_within_its_record() {
    let mut page = sample();
    let patch = |offset, bytes| PageOp::Patch { slot: SlotId(3), offset, bytes };
    patch(98, &[1, 2]).apply(&mut page).unwrap();
    assert_eq!(record(&page, SlotId(3)).unwrap()[97..], [0x13, 1, 2]);
    let beyond = |end| Err(OpFault::OutOfRange { slot: SlotId(3), end, length: 100 });
    assert_eq!(patch(99, &[1, 2]).check(&page), beyond(101));
    assert_eq!(patch(u16::MAX, &[1]).check(&page), beyond(65_536));
}
