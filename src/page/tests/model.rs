//! Random operations on a slotted page, against a model that is a list of records.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::ids::{Lsn, SlotId};
use crate::page::header::header;
use crate::page::*;

const PAGE_SIZE: usize = 512;

/// A record or ghost of the model.
#[derive(Clone, PartialEq, Debug)]
struct Record {
    state: SlotState,
    bytes: Vec<u8>,
}

/// What a page holds, without where it holds it.
#[derive(Clone, PartialEq, Debug, Default)]
struct Model {
    slots: Vec<Option<Record>>,
}

impl Model {
    fn read(page: &[u8]) -> Self {
        let record = |(_, state, bytes): (SlotId, SlotState, &[u8])| {
            (state != SlotState::Free).then(|| Record { state, bytes: bytes.to_vec() })
        };
        Self { slots: slots(page).map(record).collect() }
    }

    fn get(&self, slot: SlotId) -> Result<&Record, OpFault> {
        let record = self.slots.get(usize::from(slot.0)).and_then(Option::as_ref);
        record.ok_or(OpFault::NoSuchSlot { slot })
    }

    fn available(&self) -> usize {
        let records: usize = self.slots.iter().flatten().map(|record| record.bytes.len()).sum();
        PAGE_SIZE - HEADER_SIZE - SLOT_SIZE * self.slots.len() - records
    }

    /// What the operation does to the model, or the fault it must give.
    fn apply(&mut self, op: PageOp<'_>) -> Result<(), OpFault> {
        match op {
            PageOp::InsertSlot { slot, bytes } => self.insert(slot, bytes),
            PageOp::RemoveSlot { slot } => {
                self.get(slot)?;
                self.slots[usize::from(slot.0)] = None;
                Ok(())
            }
            PageOp::Patch { slot, offset, bytes } => {
                let (end, length) =
                    (usize::from(offset) + bytes.len(), self.get(slot)?.bytes.len());
                if end > length {
                    return Err(OpFault::OutOfRange { slot, end, length });
                }
                let record = self.slots[usize::from(slot.0)].as_mut().unwrap();
                record.bytes[usize::from(offset)..end].copy_from_slice(bytes);
                Ok(())
            }
            PageOp::MarkGhost { slot } => self.change(slot, SlotState::Live, SlotState::Ghost),
            PageOp::ClearGhost { slot } => self.change(slot, SlotState::Ghost, SlotState::Live),
            _ => unreachable!("not generated"),
        }
    }

    fn insert(&mut self, slot: SlotId, bytes: &[u8]) -> Result<(), OpFault> {
        let (index, count) = (usize::from(slot.0), self.slots.len());
        if bytes.is_empty() {
            return Err(OpFault::EmptyRecord);
        }
        if index > count {
            return Err(OpFault::NoSuchSlot { slot });
        }
        if self.get(slot).is_ok() {
            return Err(OpFault::SlotTaken { slot });
        }
        let needed = bytes.len() + if index == count { SLOT_SIZE } else { 0 };
        let available = self.available();
        if needed > available {
            return Err(OpFault::NoRoom { needed, available });
        }
        self.slots.resize(count.max(index + 1), None);
        self.slots[index] = Some(Record { state: SlotState::Live, bytes: bytes.to_vec() });
        Ok(())
    }

    fn change(&mut self, slot: SlotId, from: SlotState, to: SlotState) -> Result<(), OpFault> {
        let found = self.get(slot)?.state;
        if found != from {
            return Err(OpFault::WrongState { slot, found });
        }
        self.slots[usize::from(slot.0)].as_mut().unwrap().state = to;
        Ok(())
    }

    /// The same without free slots at the end of the directory.
    fn trimmed(mut self) -> Self {
        while let Some(None) = self.slots.last() {
            self.slots.pop();
        }
        self
    }
}

/// An operation that owns its bytes.
#[derive(Clone, Debug)]
struct Step {
    operation: u8,
    slot: u16,
    offset: u16,
    bytes: Vec<u8>,
}

impl Step {
    fn op(&self) -> PageOp<'_> {
        let (slot, offset) = (SlotId(self.slot), self.offset);
        match self.operation {
            0..=3 => PageOp::InsertSlot { slot, bytes: &self.bytes },
            4 | 5 => PageOp::Patch { slot, offset, bytes: &self.bytes },
            6 => PageOp::MarkGhost { slot },
            7 => PageOp::ClearGhost { slot },
            _ => PageOp::RemoveSlot { slot },
        }
    }
}

/// Steps of which the operation's number is below `operations`: 8 for all that undo must be able
/// to take back, 10 for all.
fn step(operations: u8) -> impl Strategy<Value = Step> {
    let length = prop_oneof![4 => 0..20_usize, 8 => 20..120_usize, 1 => 120..520_usize];
    let bytes = (length, 1..=255_u8).prop_map(|(length, fill)| vec![fill; length]);
    (0..operations, 0..10_u16, 0..24_u16, bytes).prop_map(|(operation, slot, offset, bytes)| Step {
        operation,
        slot,
        offset,
        bytes,
    })
}

/// An empty slotted page with an id and an LSN, sealed.
fn slotted_page() -> Vec<u8> {
    let mut page = initial(PageId(7), PAGE_SIZE);
    set_page_lsn(&mut page, Lsn::new(4711).unwrap());
    PageOp::Format { kind: PageKind::Slotted }.apply(&mut page).unwrap();
    seal(&mut page);
    page
}

/// Bytes between directory and heap.
fn gap(page: &[u8]) -> usize {
    let directory = HEADER_SIZE + SLOT_SIZE * usize::from(header(page).slot_count.get());
    header(page).heap_start.get() as usize - directory
}

/// Whether the inverse of `op` promises to restore `before` byte for byte.
fn restores_bytes(op: PageOp<'_>, before: &[u8]) -> bool {
    match op {
        PageOp::Patch { .. } | PageOp::MarkGhost { .. } | PageOp::ClearGhost { .. } => true,
        PageOp::InsertSlot { slot, bytes } => {
            slot_state(before, slot).is_some() && bytes.len() <= gap(before)
        }
        _ => false,
    }
}

fn check_inverse(op: PageOp<'_>, before: &[u8], after: &[u8]) {
    let Some(inverse) = op.inverse(before) else {
        let PageOp::RemoveSlot { slot } = op else { panic!("{op:?} has no inverse") };
        assert_eq!(slot_state(before, slot), Some(SlotState::Ghost));
        return;
    };
    let mut undone = after.to_vec();
    inverse.apply(&mut undone).unwrap();
    assert_eq!(check_structure(&undone), Ok(()));
    assert_eq!(Model::read(&undone).trimmed(), Model::read(before).trimmed());
    if restores_bytes(op, before) {
        assert_eq!(undone, before, "{op:?} undone by {inverse:?}");
    }
}

/// The longest insert that must succeed does, and one byte more does not.
fn check_free_bytes(page: &[u8], model: &Model) {
    let free = free_slots(page).next();
    let slot = free.unwrap_or(SlotId(model.slots.len() as u16));
    let room = model.available().saturating_sub(if free.is_some() { 0 } else { SLOT_SIZE });
    assert_eq!(free_bytes(page), room);
    let fits = |length| PageOp::InsertSlot { slot, bytes: &vec![1; length] }.check(page).is_ok();
    assert!(!fits(room + 1) && !room_for(page, room + 1));
    assert_eq!(fits(room), room > 0);
    assert_eq!(room_for(page, room), room > 0);
}

/// The page's image makes the same page of any other bytes, and is no longer than it must be.
fn check_image(page: &[u8]) {
    let image = PageOp::image_of(page);
    let mut other = vec![0xA5; page.len()];
    other[8..24].copy_from_slice(&page[8..24]);
    let checksum = other[..4].to_vec();
    image.apply(&mut other).unwrap();
    assert_eq!(other[..4], checksum, "the checksum is the writer's");
    assert_eq!(other[4..], page[4..]);
    assert!(image.encoded_len() <= page.len() - gap(page) + 9);
}

proptest! {
    // Compaction needs a full page with a hole in it: rare enough to want many cases.
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_page_does_what_the_model_does(steps in vec(step(10), 1..60)) {
        let mut page = slotted_page();
        let mut model = Model::default();
        for step in &steps {
            let (op, before) = (step.op(), page.clone());
            let expected = model.apply(op);
            prop_assert_eq!(&op.check(&page), &expected);
            prop_assert_eq!(&op.apply(&mut page), &expected);
            prop_assert_eq!(check_structure(&page), Ok(()));
            prop_assert_eq!(&Model::read(&page), &model);
            prop_assert_eq!(page_id(&page), PageId(7));
            prop_assert_eq!(page_lsn(&page), Lsn::new(4711));
            prop_assert_eq!(&page[..4], &before[..4], "the checksum is the writer's");
            match expected {
                Ok(()) => check_inverse(op, &before, &page),
                Err(_) => prop_assert_eq!(&page, &before),
            }
            check_free_bytes(&page, &model);
            check_image(&page);
        }
    }

    /// Two transactions, each changing only records that the other has not changed; while the
    /// first rolls back, the second takes every byte that it can get.
    #[test]
    fn undo_never_fails_for_want_of_room(steps in vec((any::<bool>(), step(8)), 1..60)) {
        let mut page = slotted_page();
        let mut locked_by = [None; 10];
        let mut to_undo: Vec<(Step, Vec<u8>)> = vec![];
        for (first, step) in steps {
            let lock = &mut locked_by[usize::from(step.slot)];
            let before = page.clone();
            if lock.is_none_or(|owner| owner == first) && step.op().apply(&mut page).is_ok() {
                *lock = Some(first);
                if first {
                    to_undo.push((step, before));
                }
            }
        }
        for (step, before) in to_undo.iter().rev() {
            take_all_room(&mut page);
            let undo = step.op().inverse(before).unwrap();
            prop_assert_eq!(undo.apply(&mut page), Ok(()), "undo of {:?}: {:?}", step.op(), undo);
        }
        let left = slots(&page).filter(|(_, state, _)| *state == SlotState::Live);
        let of_first = |slot: SlotId| locked_by.get(usize::from(slot.0)) == Some(&Some(true));
        for (slot, _, bytes) in left.filter(|(slot, _, _)| of_first(*slot)) {
            prop_assert!(bytes.iter().all(|byte| *byte == FILLER), "slot {} not undone", slot);
        }
    }
}

/// No step writes this byte.
const FILLER: u8 = 0;

fn take_all_room(page: &mut [u8]) {
    while free_bytes(page) > 0 {
        let next = SlotId(header(page).slot_count.get());
        let slot = free_slots(page).next().unwrap_or(next);
        let bytes = vec![FILLER; free_bytes(page)];
        PageOp::InsertSlot { slot, bytes: &bytes }.apply(page).unwrap();
    }
}
