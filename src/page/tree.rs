//! Pages of B+trees: how nodes and their cells stand in ordered slots, without any policy.
//!
//! ```text
//!  slot 0, 17 bytes      level u8 | u64 | u64     leaf (level 0): page before, page behind (0: none)
//!                                                  inner node:     first child, 0
//!  slots 1 …, a leaf     key length u16 | key | value length u16 | value | slack (not used)
//!  slots 1 …, inner      key length u16 | child u64 | key
//!
//!              first child    key a     key f        an inner node: in the child of a key are keys that
//!                   |           |         |          are not below it, and below the next one
//!               keys < a    a <= … < f   f <= …
//! ```
//!
//! - Keys are bytes, compared as such, and ascend with the slots; each has 1 to a quarter page of bytes.
//! - A deleted cell is a ghost and keeps its place, until nobody can want it back.
//! - A cell never becomes shorter while the transaction that changed it may roll back: what its value does not need is slack.
//! - The highest bit of the value length says that the value is elsewhere: then the value's 12 bytes are its length
//!   (u32) and the first of its overflow pages (u64). Such a page has one record: the next page (u64, 0 for none), bytes.
//!
//! Nothing here trusts what it reads: bytes that are no node give `None`.

use std::cmp::Ordering;

use super::header::{PageKind, kind};
use super::slotted::{SLOT_SIZE, SlotState, Slots, slots};
use super::{HEADER_SIZE, PageOp, initial};
use crate::ids::{PageId, SlotId};

/// Bytes of slot 0.
pub const NODE_BYTES: usize = 17;
/// Bytes of a leaf's cell beside its key and its value.
pub const LEAF_FIELDS: usize = 4;
/// Bytes of a leaf's cell before its key.
const LEAF_KEY: usize = 2;
/// Bytes of an inner node's cell before its key.
pub const INNER_FIELDS: usize = 10;
/// Bytes that stand for a value which is elsewhere.
pub const OVERFLOW_BYTES: usize = 12;
/// Where in slot 0 its first page number stands: of a leaf the page before, of an inner node the first child.
pub const FIRST_LINK: u16 = 1;
/// Where in slot 0 of a leaf the page behind stands.
pub const NEXT_LINK: u16 = 9;
/// The slot of a node's first cell.
pub const FIRST_CELL: u16 = 1;
/// Bytes of an overflow page's record before its part of the value.
pub const OVERFLOW_FIELDS: usize = 8;
const ELSEWHERE: u16 = 1 << 15;

/// What slot 0 of a node says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Node {
    /// A leaf, with the leaves beside it.
    Leaf {
        /// The leaf with the keys before its own.
        previous: Option<PageId>,
        /// The leaf with the keys behind its own.
        next: Option<PageId>,
    },
    /// An inner node.
    Inner {
        /// How far above the leaves, from 1.
        level: u8,
        /// Where the keys below those of the first cell are.
        first_child: PageId,
    },
}

impl Node {
    /// How far above the leaves the node stands.
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::Leaf { .. } => 0,
            Self::Inner { level, .. } => level,
        }
    }

    /// The bytes of slot 0.
    #[must_use]
    pub fn to_stored(self) -> [u8; NODE_BYTES] {
        let number = |page: Option<PageId>| page.map_or(0, |page| page.0);
        let (level, first, second) = match self {
            Self::Leaf { previous, next } => (0, number(previous), number(next)),
            Self::Inner { level, first_child } => (level, first_child.0, 0),
        };
        let mut bytes = [level; NODE_BYTES];
        bytes[1..9].copy_from_slice(&first.to_le_bytes());
        bytes[9..].copy_from_slice(&second.to_le_bytes());
        bytes
    }

    fn from_stored(bytes: &[u8]) -> Option<Self> {
        let (level, rest) = bytes.split_first()?;
        let (first, second) = (number(rest)?, number(rest.get(8..)?)?);
        let page = |number| (number != 0).then_some(PageId(number));
        match level {
            _ if bytes.len() != NODE_BYTES => None,
            0 => Some(Self::Leaf { previous: page(first), next: page(second) }),
            level => {
                let first_child = page(first).filter(|_| second == 0)?;
                Some(Self::Inner { level: *level, first_child })
            }
        }
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn length(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

/// A value as it stands in a leaf's cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'p> {
    /// The value itself.
    Here(&'p [u8]),
    /// Where it is.
    Elsewhere {
        /// Its length in bytes.
        length: u32,
        /// The first of its overflow pages.
        first: PageId,
    },
}

impl Value<'_> {
    /// Bytes that it takes in a cell.
    #[must_use]
    pub const fn room(&self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::Elsewhere { .. } => OVERFLOW_BYTES,
        }
    }

    fn stored_length(&self) -> u16 {
        let room = u16::try_from(self.room()).ok().filter(|length| length & ELSEWHERE == 0);
        let room = room.expect("what stands in a cell is shorter than a page");
        if matches!(self, Self::Here(_)) { room } else { room | ELSEWHERE }
    }

    fn store(&self, out: &mut Vec<u8>) {
        match self {
            Self::Here(bytes) => out.extend_from_slice(bytes),
            Self::Elsewhere { length, first } => {
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(&first.0.to_le_bytes());
            }
        }
    }
}

/// A cell of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeafCell<'p> {
    /// Its key.
    pub key: &'p [u8],
    /// Its value.
    pub value: Value<'p>,
    /// Where its value begins, with the length of it, in bytes from the start of the cell.
    pub value_at: usize,
    /// Whether it was deleted.
    pub is_ghost: bool,
    /// The whole cell, slack included.
    pub bytes: &'p [u8],
}

impl LeafCell<'_> {
    /// Bytes that the cell needs, slack not counted.
    #[must_use]
    pub const fn needed(&self) -> usize {
        LEAF_FIELDS + self.key.len() + self.value.room()
    }
}

/// The bytes of a leaf's cell, of at least `room` bytes.
#[must_use]
pub fn leaf_cell(key: &[u8], value: &Value<'_>, room: usize) -> Vec<u8> {
    let mut cell = Vec::with_capacity(room.max(LEAF_FIELDS + key.len() + value.room()));
    cell.extend_from_slice(&key_length(key));
    cell.extend_from_slice(key);
    cell.extend_from_slice(&value.stored_length().to_le_bytes());
    value.store(&mut cell);
    cell.resize(cell.len().max(room), 0);
    cell
}

/// The bytes of an inner node's cell.
#[must_use]
pub fn inner_cell(key: &[u8], child: PageId) -> Vec<u8> {
    let mut cell = Vec::with_capacity(INNER_FIELDS + key.len());
    cell.extend_from_slice(&key_length(key));
    cell.extend_from_slice(&child.0.to_le_bytes());
    cell.extend_from_slice(key);
    cell
}

fn key_length(key: &[u8]) -> [u8; 2] {
    u16::try_from(key.len()).expect("a key has at most a quarter page").to_le_bytes()
}

/// Bytes of a page that cells and their slots can take.
#[must_use]
pub const fn capacity(page_size: usize) -> usize {
    page_size - HEADER_SIZE - SLOT_SIZE - NODE_BYTES
}

/// The longest key (bytes).
#[must_use]
pub const fn max_key_bytes(page_size: usize) -> usize {
    page_size / 4
}

/// The longest cell of a leaf whose value stands in it (bytes), slot included: so that four fit.
#[must_use]
pub const fn max_inline_bytes(page_size: usize) -> usize {
    capacity(page_size) / 4
}

/// The longest cell of an inner node (bytes), slot included.
#[must_use]
pub const fn max_inner_bytes(page_size: usize) -> usize {
    max_key_bytes(page_size) + INNER_FIELDS + SLOT_SIZE
}

/// What slot 0 says; `None` if the page is no node.
#[must_use]
pub fn node(page: &[u8]) -> Option<Node> {
    Cells::of(page).map(|cells| cells.node)
}

/// The number of slots, that of the node's own included.
#[must_use]
pub fn slot_count(page: &[u8]) -> u16 {
    super::header::header(page).slot_count.get()
}

/// A node and its cells: its page is looked at once for all of them.
#[derive(Clone, Copy)]
pub struct Cells<'p> {
    slots: Slots<'p>,
    node: Node,
}

impl<'p> Cells<'p> {
    /// Those of this page; `None` if it is no node.
    #[must_use]
    #[inline]
    pub fn of(page: &'p [u8]) -> Option<Self> {
        let slots = Slots::of(page).filter(|_| kind(page) == Some(PageKind::Tree))?;
        let (state, own) = slots.get(0)?;
        let node = Node::from_stored(own).filter(|_| state == SlotState::Live)?;
        Some(Self { slots, node })
    }

    /// What slot 0 says.
    #[must_use]
    #[inline]
    pub fn node(&self) -> Node {
        self.node
    }

    /// The number of slots, that of the node's own included.
    #[must_use]
    #[inline]
    pub fn slot_count(&self) -> u16 {
        self.slots.count()
    }

    /// The cell in `slot` of a leaf.
    #[must_use]
    #[inline]
    pub fn leaf(&self, slot: u16) -> Option<LeafCell<'p>> {
        let (state, bytes) = self.slots.get(slot)?;
        let (key, rest) = bytes.get(LEAF_KEY..)?.split_at_checked(length(bytes)?.into())?;
        let value_length = length(rest)?;
        let stored = rest.get(2..)?.get(..usize::from(value_length & !ELSEWHERE))?;
        let value = match value_length & ELSEWHERE {
            0 => Value::Here(stored),
            _ if stored.len() != OVERFLOW_BYTES => return None,
            _ => {
                let (length, first) = stored.split_first_chunk()?;
                let length = u32::from_le_bytes(*length);
                Value::Elsewhere { length, first: PageId(number(first)?) }
            }
        };
        let (value_at, is_ghost) = (LEAF_KEY + key.len(), state == SlotState::Ghost);
        (slot >= FIRST_CELL).then_some(LeafCell { key, value, value_at, is_ghost, bytes })
    }

    #[inline]
    fn key(&self, slot: u16, fields: usize) -> Option<&'p [u8]> {
        let (state, bytes) = self.slots.get(slot)?;
        let key = bytes.get(fields..fields + usize::from(length(bytes)?))?;
        (state != SlotState::Free).then_some(key)
    }

    /// The cell in `slot` of an inner node: its key and its child.
    #[must_use]
    #[inline]
    pub fn inner(&self, slot: u16) -> Option<(&'p [u8], PageId)> {
        let (state, bytes) = self.slots.get(slot)?;
        let key = bytes.get(INNER_FIELDS..)?;
        let is_sound = usize::from(length(bytes)?) == key.len() && state == SlotState::Live;
        let child = PageId(number(bytes.get(2..)?)?);
        (is_sound && slot >= FIRST_CELL).then_some((key, child))
    }

    /// Where `key` stands, or would.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<Place> {
        let fields = if self.node.level() == 0 { LEAF_KEY } else { INNER_FIELDS };
        let (mut low, mut high) = (FIRST_CELL, self.slot_count());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle, fields)?.cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(Place::At(middle)),
                Ordering::Greater => high = middle,
            }
        }
        Some(Place::Before(low))
    }
}

/// The cell in `slot` of a leaf.
#[must_use]
pub fn leaf(page: &[u8], slot: u16) -> Option<LeafCell<'_>> {
    Cells::of(page)?.leaf(slot)
}

/// The cell in `slot` of an inner node: its key and its child.
#[must_use]
pub fn inner(page: &[u8], slot: u16) -> Option<(&[u8], PageId)> {
    Cells::of(page)?.inner(slot)
}

/// Where a key stands, or would.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In this slot.
    At(u16),
    /// Nowhere; the key would get this slot.
    Before(u16),
}

impl Place {
    /// The first slot whose key is not below.
    #[must_use]
    pub const fn slot(self) -> u16 {
        match self {
            Self::At(slot) | Self::Before(slot) => slot,
        }
    }
}

/// Where `key` stands among the cells of a node.
#[must_use]
pub fn find(page: &[u8], key: &[u8]) -> Option<Place> {
    Cells::of(page)?.find(key)
}

/// A new page of a tree with these cells, each with whether it is a ghost, in the order of their keys.
///
/// # Panics
/// If they do not fit.
#[must_use]
pub fn build<'c>(
    page_size: usize,
    node: Node,
    cells: impl IntoIterator<Item = (&'c [u8], bool)>,
) -> Vec<u8> {
    let mut page = initial(PageId(1), page_size);
    let format = PageOp::Format { kind: PageKind::Tree };
    format.apply(&mut page).expect("any page can be formatted");
    let put = |page: &mut [u8], slot, bytes: &[u8]| {
        let op = PageOp::InsertAt { slot, bytes };
        op.apply(page).expect("the cells fit into the page");
    };
    let own = node.to_stored();
    put(&mut page, SlotId(0), &own);
    for (slot, (cell, is_ghost)) in (FIRST_CELL..).map(SlotId).zip(cells) {
        put(&mut page, slot, cell);
        if is_ghost {
            PageOp::MarkGhost { slot }.apply(&mut page).expect("a live record");
        }
    }
    page
}

/// The cells of a node with their states, in the order of their keys.
pub fn cells(page: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let cells = slots(page).filter(|(slot, _, _)| slot.0 >= FIRST_CELL);
    cells.map(|(_, state, bytes)| (bytes, state == SlotState::Ghost))
}

/// The shortest key that is above `left` and not above `right`, which is above `left`.
#[must_use]
pub fn separator<'k>(left: &[u8], right: &'k [u8]) -> &'k [u8] {
    let same = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    &right[..(same + 1).min(right.len())]
}
