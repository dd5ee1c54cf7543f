//! Random operations on an ordered page, against a list.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::ids::{PageId, SlotId};
use crate::page::*;

const PAGE_SIZE: usize = 512;

fn tree_page() -> Vec<u8> {
    let mut page = initial(PageId(7), PAGE_SIZE);
    PageOp::Format { kind: PageKind::Tree }.apply(&mut page).unwrap();
    page
}

type Model = Vec<(SlotState, Vec<u8>)>;

fn read(page: &[u8]) -> Model {
    slots(page).map(|(_, state, bytes)| (state, bytes.to_vec())).collect()
}

fn available(model: &Model) -> usize {
    let taken: usize = model.iter().map(|(_, bytes)| bytes.len() + SLOT_SIZE).sum();
    PAGE_SIZE - HEADER_SIZE - taken
}

/// What the operation makes of the list; `None` if it must be refused.
fn applied(op: &PageOp<'_>, mut model: Model) -> Option<Model> {
    let at = |slot: SlotId| usize::from(slot.0);
    match *op {
        PageOp::InsertAt { slot, bytes } => {
            let fits = !bytes.is_empty() && bytes.len() + SLOT_SIZE <= available(&model);
            (fits && at(slot) <= model.len()).then(|| {
                model.insert(at(slot), (SlotState::Live, bytes.to_vec()));
                model
            })
        }
        PageOp::ReplaceAt { slot, bytes } => {
            let before = model.get(at(slot))?.1.len();
            (!bytes.is_empty() && bytes.len() <= available(&model) + before).then(|| {
                model[at(slot)] = (SlotState::Live, bytes.to_vec());
                model
            })
        }
        PageOp::RemoveAt { slot } => (at(slot) < model.len()).then(|| {
            model.remove(at(slot));
            model
        }),
        PageOp::TruncateAt { slot } => (at(slot) < model.len()).then(|| {
            model.truncate(at(slot));
            model
        }),
        PageOp::MarkGhost { slot } => {
            let (state, _) =
                model.get_mut(at(slot)).filter(|(state, _)| *state == SlotState::Live)?;
            *state = SlotState::Ghost;
            Some(model)
        }
        _ => unreachable!("not generated"),
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u16, Vec<u8>),
    Replace(u16, Vec<u8>),
    Remove(u16),
    Truncate(u16),
    Ghost(u16),
}

impl Op {
    fn borrowed(&self) -> PageOp<'_> {
        match self {
            Self::Insert(slot, bytes) => PageOp::InsertAt { slot: SlotId(*slot), bytes },
            Self::Replace(slot, bytes) => PageOp::ReplaceAt { slot: SlotId(*slot), bytes },
            Self::Remove(slot) => PageOp::RemoveAt { slot: SlotId(*slot) },
            Self::Truncate(slot) => PageOp::TruncateAt { slot: SlotId(*slot) },
            Self::Ghost(slot) => PageOp::MarkGhost { slot: SlotId(*slot) },
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = || vec(1..255_u8, 0..120);
    prop_oneof![
        6 => (0..12_u16, bytes()).prop_map(|(slot, bytes)| Op::Insert(slot, bytes)),
        3 => (0..12_u16, bytes()).prop_map(|(slot, bytes)| Op::Replace(slot, bytes)),
        2 => (0..12_u16).prop_map(Op::Remove),
        1 => (4..12_u16).prop_map(Op::Truncate),
        1 => (0..12_u16).prop_map(Op::Ghost),
    ]
}

proptest! {
    #[test]
    fn an_ordered_page_is_a_list(ops in vec(op(), 1..80)) {
        let (mut page, mut model) = (tree_page(), Model::new());
        for op in &ops {
            let (op, before) = (op.borrowed(), page.clone());
            let done = op.apply(&mut page);
            match applied(&op, model.clone()) {
                Some(after) => {
                    prop_assert!(done.is_ok(), "{op:?}: {done:?}");
                    model = after;
                }
                None => {
                    prop_assert!(done.is_err(), "{op:?}");
                    prop_assert!(page == before, "what is refused changes nothing");
                }
            }
            prop_assert_eq!(&read(&page), &model);
            prop_assert_eq!(check_structure(&page), Ok(()));
        }
    }

    /// Several operations are all applied, or none of them.
    #[test]
    fn several_are_one(first in vec(op(), 0..12), ops in vec(op(), 0..6)) {
        let mut page = tree_page();
        first.iter().for_each(|op| drop(op.borrowed().apply(&mut page)));
        let (before, mut model) = (page.clone(), Some(read(&page)));
        let ops: Vec<PageOp<'_>> = ops.iter().map(Op::borrowed).collect();
        for op in &ops {
            model = model.and_then(|model| applied(op, model));
        }
        let bytes = PageOp::several(&ops);
        let done = PageOp::Several { ops: &bytes }.apply(&mut page);
        prop_assert_eq!(done.is_ok(), model.is_some());
        match model {
            Some(model) => prop_assert_eq!(read(&page), model),
            None => prop_assert!(page == before),
        }
    }
}

#[test]
fn operations_are_for_pages_of_their_kind() {
    let (mut tree, mut plain) = (tree_page(), initial(PageId(7), PAGE_SIZE));
    PageOp::Format { kind: PageKind::Slotted }.apply(&mut plain).unwrap();
    let slot = SlotId(0);
    for op in [PageOp::InsertSlot { slot, bytes: b"x" }, PageOp::RemoveSlot { slot }] {
        assert!(matches!(op.apply(&mut tree), Err(OpFault::WrongKind { .. })), "{op:?}");
    }
    for op in [PageOp::InsertAt { slot, bytes: b"x" }, PageOp::RemoveAt { slot }] {
        assert!(matches!(op.apply(&mut plain), Err(OpFault::WrongKind { .. })), "{op:?}");
    }
}
