//! Damage is found, and no bytes whatever make an operation panic.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{remove, sample};
use crate::ids::SlotId;
use crate::page::header::header;
use crate::page::*;

#[test]
fn every_flipped_bit_is_found() {
    let mut page = sample();
    seal(&mut page);
    assert_eq!(verify(&page, PageId(1)), Ok(()));
    for bit in 0..page.len() * 8 {
        page[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&page, PageId(1)).is_err(), "bit {bit}");
        page[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_misplaced_page_is_named() {
    let fault = verify(&initial(PageId(7), 512), PageId(3)).unwrap_err();
    assert_eq!(fault, PageFault { expected: "page P3".into(), found: "page P7".into() });
}

#[test]
fn a_checksum_for_the_right_place_does_not_excuse_a_wrong_id() {
    let mut page = initial(PageId(7), 512);
    let crc = crc32fast::hash(&[&3_u64.to_le_bytes()[..], &page[4..]].concat());
    page[..4].copy_from_slice(&crc.to_le_bytes());
    assert!(verify(&page, PageId(3)).is_err());
    assert!(verify(&page, PageId(7)).is_err());
}

#[test]
fn zeros_and_unknown_kinds_are_damage() {
    assert!(verify(&[0; 512], PageId(0)).is_err());
    assert!(check_structure(&[0; 512]).is_err());
    for kind in [0, 6, 255] {
        let mut page = initial(PageId(1), 512);
        page[4] = kind;
        seal(&mut page);
        let fault = verify(&page, PageId(1)).unwrap_err();
        assert_eq!(fault.found, format!("kind {kind}"));
    }
}

#[test]
fn sizes_that_no_page_has() {
    for size in [0, 3, 39, 40, 256, 511, 513, 768, 131_072] {
        let mut bytes = vec![1; size];
        assert!(verify(&bytes, PageId(0)).is_err());
        assert!(check_structure(&bytes).is_err());
        let ops = [
            PageOp::Format { kind: PageKind::Slotted },
            PageOp::RemoveSlot { slot: SlotId(0) },
            PageOp::SetState { entry: 1, state: PageState::Used },
        ];
        for op in ops {
            assert!(matches!(op.apply(&mut bytes), Err(OpFault::Damaged(_))), "{size}: {op:?}");
        }
    }
}

/// One byte changed in a sound page, for each invariant: (which, byte, new value).
const BROKEN: &[(&str, usize, u8)] = &[
    ("reserved bytes of the header", 5, 1),
    ("reserved bytes of the header", 26, 1),
    ("reserved bytes of the header", 36, 1),
    ("fewer slots than records", 24, 3),
    ("directory beyond the heap", 24, 13),
    ("heap_start too low", 28, 111),
    ("heap_start above a record", 28, 113),
    ("heap_start beyond the page", 30, 1),
    ("fragmented_bytes too small", 32, 99),
    ("fragmented_bytes larger than the heap", 33, 9),
    ("record overlapping its neighbour", 40, 0x9B),
    ("record beyond the page", 42, 101),
    ("record shorter than stored", 42, 99),
    ("empty record", 42, 0),
    ("record below the heap", 58, 111),
    ("unknown state", 44, 3),
    ("record marked free", 44, 0),
    ("free slot marked live", 56, 1),
    ("free slot with an offset", 52, 1),
    ("free slot with a length", 54, 1),
    ("reserved byte of a slot", 45, 1),
    ("byte in the gap", 64, 1),
    ("byte in the gap", 111, 1),
    ("dead byte in the heap", 212, 1),
];

#[test]
fn every_broken_invariant_is_found() {
    let sound = sample();
    assert_eq!(check_structure(&sound), Ok(()));
    for &(what, at, value) in BROKEN {
        let mut page = sound.clone();
        assert_ne!(page[at], value, "{what}");
        page[at] = value;
        assert!(check_structure(&page).is_err(), "{what}");
    }
    let mut dead_at_the_end = sound;
    remove(&mut dead_at_the_end, 0);
    assert_eq!(check_structure(&dead_at_the_end), Ok(()));
    dead_at_the_end[511] = 1;
    assert!(check_structure(&dead_at_the_end).is_err());
}

#[test]
fn broken_pages_without_slots_are_found() {
    for (at, value) in [(24, 1), (28, 1), (32, 1), (40, 0), (48, 2)] {
        let mut map = initial(PageId(0), 512);
        map[at] = value;
        assert!(check_structure(&map).is_err(), "space map byte {at}");
    }
    for at in [24, 28, 32, 40, 511] {
        let mut unformatted = initial(PageId(1), 512);
        unformatted[at] = 1;
        assert!(check_structure(&unformatted).is_err(), "unformatted byte {at}");
    }
}

/// The sample page with 16-bit numbers changed: (byte, new value).
fn hurt_sample(changes: &[(usize, u16)]) -> Vec<u8> {
    let mut page = sample();
    for &(at, value) in changes {
        page[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    page
}

#[test]
fn a_record_outside_the_heap_is_not_touched() {
    for offset in [0, 40, 111, 413, 65_535] {
        let mut page = hurt_sample(&[(40, offset)]);
        let (before, slot) = (page.clone(), SlotId(0));
        let patch = PageOp::Patch { slot, offset: 0, bytes: &[1] };
        for op in [PageOp::RemoveSlot { slot }, PageOp::MarkGhost { slot }, patch] {
            assert!(matches!(op.apply(&mut page), Err(OpFault::Damaged(_))), "{op:?} at {offset}");
            assert_eq!(page, before);
        }
    }
}

#[test]
fn overlapping_records_are_not_compacted() {
    // Three records of 400 bytes each, all in the same place.
    let entry = |slot: usize| [(40 + 6 * slot, 112), (42 + 6 * slot, 400)];
    let mut page = hurt_sample(&[entry(0), entry(1), entry(3)].concat());
    let before = page.clone();
    let op = PageOp::InsertSlot { slot: SlotId(2), bytes: &[1; 112] };
    assert!(matches!(op.apply(&mut page), Err(OpFault::Damaged(_))));
    assert_eq!(page, before);
}

#[test]
fn removing_one_of_two_overlapping_records_keeps_the_heap_in_the_page() {
    // Slot 3 is the lowest, at 112..212; slot 1 comes to lie within it, or beyond the page.
    for offset in [150, 60_000] {
        let mut page = hurt_sample(&[(46, offset), (40, 60_000)]);
        remove(&mut page, 3);
        assert!((212..=512).contains(&header(&page).heap_start.get()));
        assert!(check_structure(&page).is_err());
    }
}

/// Pages of any bytes under a header that is nearly right, and sound pages with a few bytes changed.
fn damaged_page() -> impl Strategy<Value = Vec<u8>> {
    let wild = (vec(any::<u8>(), 512), 0..7_u8, 0..90_u8, 0..3_u8).prop_map(
        |(mut page, kind, slot_count, heap_high)| {
            page[4] = kind;
            page[24..26].copy_from_slice(&[slot_count, 0]);
            page[29..32].copy_from_slice(&[heap_high, 0, 0]);
            page[33..36].fill(0);
            page
        },
    );
    let small = prop_oneof![0..4_u8, any::<u8>()];
    let changes = vec((prop_oneof![Just(4_usize), 24..64_usize, 0..512_usize], small), 1..6);
    let hurt = (0..3, changes).prop_map(|(which, changes)| {
        let mut page = if which > 0 { sample() } else { initial(PageId(0), 512) };
        if which == 2 {
            page[4] = PageKind::Tree.to_stored();
        }
        for (at, value) in changes {
            page[at] = value;
        }
        page
    });
    prop_oneof![wild, hurt]
}

/// Operations of every kind, from their bytes.
fn encoded_op() -> impl Strategy<Value = Vec<u8>> {
    let tags = (1..=12_u8).prop_filter("an image has other fields", |tag| *tag != 8);
    let fields = (tags, prop_oneof![0..6_u16, any::<u16>()], any::<Index>());
    (fields, vec(any::<u8>(), 0..200)).prop_map(|((tag, number, offset), bytes)| {
        let mut out = vec![tag];
        match tag {
            7 => out.push(number as u8 % 5 + 1),
            _ => out.extend(number.to_le_bytes()),
        }
        if tag == 1 {
            out.extend((offset.index(120) as u16).to_le_bytes());
        }
        if matches!(tag, 1 | 2 | 9 | 11) {
            out.extend((bytes.len() as u16).to_le_bytes());
            out.extend(&bytes);
        }
        if tag == 6 {
            out.extend([3, bytes.len() as u8, 0, 0, 0, 0, 0, 0]);
        }
        out
    })
}

fn read_everything(page: &[u8]) {
    assert!(slots(page).all(|(_, _, bytes)| bytes.len() < page.len()));
    assert!(free_slots(page).count() <= page.len() / SLOT_SIZE);
    assert!(free_bytes(page) <= page.len());
    for number in [0, 1, 2, 3, 58, 59, 100, u16::MAX] {
        assert!(record(page, SlotId(number)).is_none_or(|record| record.len() < page.len()));
        assert!(
            slot_state(page, SlotId(number)).is_none()
                || kind(page).is_some_and(PageKind::has_slots)
        );
        assert!(space_map::state(page, number).is_none() || kind(page) == Some(PageKind::SpaceMap));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_pages_give_faults_not_panics(
        mut page in damaged_page(), ops in vec(encoded_op(), 1..8),
    ) {
        let mut sound = check_structure(&page).is_ok();
        prop_assert!(verify(&page, PageId(9)).is_err());
        for op in &ops {
            let (op, _) = PageOp::decode(op).unwrap();
            read_everything(&page);
            let before = page.clone();
            let can = op.check(&page);
            let _ = op.inverse(&page);
            prop_assert_eq!(&op.apply(&mut page), &can);
            match can {
                Ok(()) if sound => prop_assert_eq!(check_structure(&page), Ok(())),
                Ok(()) => sound = check_structure(&page).is_ok(),
                Err(_) => prop_assert_eq!(&page, &before),
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_page(bytes in vec(any::<u8>(), 512)) {
        prop_assert!(verify(&bytes, PageId(1)).is_err());
        prop_assert!(check_structure(&bytes).is_err());
    }
}
