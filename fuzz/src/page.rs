//! Arbitrary pages, and operations on them: whatever the page holds, an operation that passes its check
//! is applied, one that does not changes nothing, and the inverse restores. A sound page stays sound.
//!
//! The first byte says where to begin: with the bytes that follow as a page, or with an empty page of
//! some kind and size. Then follow operations, encoded as in the log.

use aries::ids::{PageId, SlotId, TxnId};
use aries::page::{self, PageKind, PageOp, PageState, SlotState, space_map};
use aries::record::{self, LogRecord, Undo};

use crate::databases;
use crate::images::PAGE_SIZE;
use crate::spoil::{Random, spoiled};

const ARBITRARY: u8 = 0;
const SLOTTED: u8 = 1;
const MAP: u8 = 2;
const UNFORMATTED: u8 = 3;
/// Operations that one input makes at most.
const MOST_OPS: usize = 200;

type Records = Vec<(SlotId, SlotState, Vec<u8>)>;

/// What the page holds, wherever it holds it, but for free slots at the directory's end.
fn records(page: &[u8]) -> Records {
    let slots = page::slots(page).map(|(slot, state, bytes)| (slot, state, bytes.to_vec()));
    let mut records: Records = slots.collect();
    while records.last().is_some_and(|(_, state, _)| *state == SlotState::Free) {
        records.pop();
    }
    records
}

fn first_page(how: u8, rest: &[u8]) -> (Vec<u8>, &[u8]) {
    let page_size = PAGE_SIZE << (how / 4 % 3);
    let id = PageId(if how % 4 == MAP { 0 } else { 5 });
    let mut page = page::initial(id, page_size);
    match how % 4 {
        ARBITRARY => {
            let (head, rest) = rest.split_at(rest.len().min(page_size));
            page[..head.len()].copy_from_slice(head);
            return (page, rest);
        }
        SLOTTED => PageOp::Format { kind: PageKind::Slotted }.apply(&mut page).unwrap(),
        _ => {}
    }
    (page, rest)
}

pub fn run(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return look(bytes) };
    look(rest);
    let (mut page, mut rest) = first_page(*how, rest);
    look(&page);
    for _ in 0..MOST_OPS {
        let Ok((op, length)) = PageOp::decode(rest) else { break };
        rest = &rest[length..];
        apply(op, &mut page);
    }
    look(&page);
    // An image of it makes any page the same.
    let mut copy = page::initial(page::page_id(&page), page.len());
    if page::kind(&page).is_some() {
        PageOp::image_of(&page).apply(&mut copy).unwrap();
        assert_eq!(copy[24..], page[24..]);
    }
}

/// Looks at a page in all ways there are.
fn look(bytes: &[u8]) {
    if bytes.len() < page::HEADER_SIZE {
        let fault = page::verify(bytes, PageId(0)).unwrap_err();
        assert!(!fault.to_string().is_empty());
        assert_eq!(page::check_structure(bytes).is_ok(), false);
        return;
    }
    let id = page::page_id(bytes);
    let _ = (page::verify(bytes, id).is_ok(), page::verify(bytes, PageId(id.0 ^ 1)).is_ok());
    let sound = page::check_structure(bytes).is_ok();
    let count = page::slots(bytes).count();
    assert!(page::free_slots(bytes).count() <= count);
    let _ = (page::page_lsn(bytes), page::room_for(bytes, 8), page::free_bytes(bytes));
    for slot in (0..count as u16 + 2).chain([u16::MAX]).map(SlotId) {
        let _ = page::glance(bytes, slot);
        let live = page::slot_state(bytes, slot) == Some(SlotState::Live);
        assert_eq!(page::record(bytes, slot).is_some(), live);
    }
    for entry in [0, 1, 58, 59, u16::MAX] {
        let state = space_map::state(bytes, entry);
        assert!(state.is_none_or(|state| !state.to_string().is_empty()));
    }
    if page::is_legal_size(bytes.len()) {
        // No log can say this: the number cannot be stored.
        let state = PageState::FreePending(TxnId::new(u64::MAX).unwrap());
        assert!(PageOp::SetState { entry: 3, state }.check(bytes).is_err());
        let mut sealed = bytes.to_vec();
        page::seal(&mut sealed);
        assert_eq!(page::verify(&sealed, id).is_ok(), page::kind(bytes).is_some());
        assert!(page::verify(&sealed, PageId(!id.0)).is_err());
        assert_eq!(page::check_structure(&sealed).is_ok(), sound);
    }
}

fn apply(op: PageOp<'_>, page: &mut Vec<u8>) {
    assert!(!format!("{op:?} {}", op.name()).is_empty());
    let before = page.clone();
    let was_sound = page::check_structure(&before).is_ok();
    let checked = op.check(&before);
    assert_eq!(op.apply(page), checked);
    if let Err(fault) = checked {
        assert!(!fault.to_string().is_empty());
        assert_eq!(*page, before, "a change that fails");
        return;
    }
    assert_eq!(page[8..24], before[8..24], "LSN and id stay");
    let is_sound = page::check_structure(page).is_ok();
    let anew = matches!(op, PageOp::Image { .. });
    assert!(is_sound || !was_sound || anew, "{op:?} makes a sound page unsound");
    let Some(inverse) = op.inverse(&before) else { return };
    let mut restored = page.clone();
    let undone = inverse.apply(&mut restored);
    if was_sound {
        undone.unwrap();
        assert_eq!(records(&restored), records(&before), "{op:?}, {inverse:?}");
        page::check_structure(&restored).unwrap();
        let in_place = !matches!(op, PageOp::InsertSlot { .. } | PageOp::RemoveSlot { .. });
        assert!(!in_place || restored == before, "{op:?}, {inverse:?}");
    }
}

/// Pages of the databases, some spoiled, each with operations that the log has for such pages.
pub fn seeds() -> Vec<Vec<u8>> {
    let (mut seeds, mut ops) = (Vec::new(), Vec::new());
    for (_, image) in databases::all() {
        for placed in databases::records(&image) {
            let bytes = &image[&placed.segment][placed.range];
            if let Ok(LogRecord::Update(update)) = record::decode(bytes) {
                update.op.encode(&mut ops);
                if let Undo::Physical(undo) = update.undo {
                    undo.encode(&mut ops);
                }
            }
        }
        for page in image.get("pages").iter().flat_map(|pages| pages.chunks(PAGE_SIZE)).take(8) {
            seeds.push([&[ARBITRARY][..], page, &ops[..ops.len().min(600)]].concat());
        }
        for how in [SLOTTED, MAP, UNFORMATTED, SLOTTED + 4, MAP + 8] {
            seeds.push([&[how][..], &ops[..ops.len().min(1000)]].concat());
        }
        ops.clear();
    }
    let used = full_page();
    seeds.extend(spoiled(&used, (1..80).chain([510, 511, 512])));
    seeds.push(damaged_map());
    for number in 0..200 {
        seeds.push(random_ops(&mut Random::new(number)));
    }
    seeds.sort();
    seeds.dedup();
    seeds
}

/// A page with live records, ghosts, free slots and dead bytes, and operations that find no room, no slot
/// and no entry.
fn full_page() -> Vec<u8> {
    let mut page = page::initial(PageId(5), PAGE_SIZE);
    let mut ops = vec![PageOp::Format { kind: PageKind::Slotted }];
    let record = [b'r'; 60];
    ops.extend((0..6).map(|slot| PageOp::InsertSlot { slot: SlotId(slot), bytes: &record }));
    ops.push(PageOp::RemoveSlot { slot: SlotId(1) });
    ops.push(PageOp::MarkGhost { slot: SlotId(2) });
    ops.iter().for_each(|op| op.apply(&mut page).unwrap());
    let mut seed = [&[ARBITRARY][..], &page].concat();
    let long = [b'l'; 130];
    for bytes in [&record[..], &long[..], &long[..70], &[]] {
        for slot in [1, 2, 6, 60].map(SlotId) {
            PageOp::InsertSlot { slot, bytes }.encode(&mut seed);
        }
    }
    for slot in [0, 1, 2, 60].map(SlotId) {
        PageOp::Patch { slot, offset: 40, bytes: &record[..30] }.encode(&mut seed);
        PageOp::ClearGhost { slot }.encode(&mut seed);
        PageOp::MarkGhost { slot }.encode(&mut seed);
        PageOp::RemoveSlot { slot }.encode(&mut seed);
    }
    seed
}

/// A space map with an entry that is none, and operations on it.
fn damaged_map() -> Vec<u8> {
    let mut page = page::initial(PageId(0), PAGE_SIZE);
    page[page::HEADER_SIZE + 3 * 8] = 2;
    let mut seed = [&[ARBITRARY][..], &page].concat();
    for entry in [0, 1, 3, 59] {
        PageOp::SetState { entry, state: PageState::Free }.encode(&mut seed);
    }
    seed
}

/// Operations on an empty page, as random as can be while most of them fit.
fn random_ops(random: &mut Random) -> Vec<u8> {
    let mut seed = vec![random.below(12) as u8];
    for _ in 0..60 {
        let slot = SlotId(random.below(9) as u16);
        let length = random.below(120);
        let bytes = random.bytes(length);
        let cut = random.below(length);
        let op = match random.below(24) {
            0..8 => PageOp::InsertSlot { slot, bytes: &bytes },
            8..11 => PageOp::RemoveSlot { slot },
            11..14 => PageOp::MarkGhost { slot },
            14..17 => PageOp::ClearGhost { slot },
            17..20 => PageOp::Patch { slot, offset: cut as u16 / 2, bytes: &bytes[..length / 8] },
            20..22 => {
                let state = PageState::from_stored(random.next() >> random.below(64));
                PageOp::SetState { entry: slot.0 * 7, state: state.unwrap_or(PageState::Used) }
            }
            22 => PageOp::Format { kind: PageKind::Slotted },
            _ => PageOp::Image { head: &bytes[..cut], tail: &bytes[cut..] },
        };
        op.encode(&mut seed);
    }
    seed
}
