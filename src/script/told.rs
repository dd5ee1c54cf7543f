//! How keys, nodes of trees and changes of pages are told: in a line, as one would write them on a board.
//!
//! ```text
//!   P4 {a b (c)}         a leaf with the keys a and b, and with c, which is deleted and not purged: a ghost
//!   P3 {P4 d P5}         an inner node: keys below d are in P4, others in P5
//!   P4.2 insert b        what a log record does: to which slot of which page, what, and to which key
//! ```
//!
//! - A key or a name stands as it is where the language would read it as a word, and else in quotes.
//! - Bytes that are no node are never guessed at: only their page is told.

use crate::ids::{Lsn, PageId};
use crate::page::tree::{self, Node, Value};
use crate::page::{self, PageOp, PageState, space_map};
use crate::record::{Names, PageChange};

/// A key or a name: a word of the language, or in quotes.
pub fn word(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./@+".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(is_plain) => text.to_owned(),
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

/// A key with its value.
pub fn pair(key: &[u8], value: &[u8]) -> String {
    format!("{}=\"{}\"", word(key), value.escape_ascii())
}

/// A value as it stands in its cell.
pub fn value(value: &Value<'_>) -> String {
    match value {
        Value::Here(bytes) => format!("\"{}\"", bytes.escape_ascii()),
        Value::Elsewhere { length, first } => format!("({length} bytes from {first} on)"),
    }
}

/// A key in its node; in brackets if its cell is a ghost.
fn key(key: &[u8], is_ghost: bool) -> String {
    if is_ghost { format!("({})", word(key)) } else { word(key) }
}

/// What stands in a node, from left to right; `None` if it is none.
pub fn node(bytes: &[u8]) -> Option<String> {
    let slots = tree::FIRST_CELL..tree::slot_count(bytes);
    let mut words = Vec::new();
    match tree::node(bytes)? {
        Node::Leaf { .. } => {
            for slot in slots {
                let cell = tree::leaf(bytes, slot)?;
                words.push(key(cell.key, cell.is_ghost));
            }
        }
        Node::Inner { first_child, .. } => {
            words.push(first_child.to_string());
            for slot in slots {
                let (separator, child) = tree::inner(bytes, slot)?;
                words.extend([word(separator), child.to_string()]);
            }
        }
    }
    Some(words.join(" "))
}

/// What a change of a page is a part of.
#[derive(Clone, Copy)]
pub enum PartOf<'k> {
    /// A change of a record, or of a page as a whole.
    Nothing,
    /// A change of the cell with this key.
    Cell(&'k [u8]),
    /// A structure change of a tree.
    Structure,
}

/// What a record does to a page.
pub fn change(
    names: &dyn Names,
    change: &PageChange<'_>,
    page_size: usize,
    part_of: PartOf<'_>,
) -> String {
    let (page, op) = (change.page, &change.op);
    match (op, part_of) {
        (PageOp::Several { ops }, _) => several(names, page, ops, page_size),
        (_, PartOf::Structure) => of_structure(names, page, op, page_size, false),
        (_, PartOf::Cell(key)) => format!("{} {}", one(names, page, op, page_size), word(key)),
        (_, PartOf::Nothing) => one(names, page, op, page_size),
    }
}

/// An operation of a structure change: it inserts cells into inner nodes only, and overwrites nothing but what slot 0 says.
fn of_structure(
    names: &dyn Names,
    page: PageId,
    op: &PageOp<'_>,
    page_size: usize,
    is_inner: bool,
) -> String {
    match *op {
        PageOp::InsertAt { bytes, .. } => one(names, page, op, page_size) + &child(bytes),
        PageOp::Patch { offset: tree::FIRST_LINK, bytes, .. } if is_inner => {
            format!("{page} first_child={}", number(bytes))
        }
        PageOp::Patch { slot, offset, bytes } if slot.0 == 0 && is_of_node(offset, bytes) => {
            format!("{page} {}", links(offset, bytes))
        }
        _ => one(names, page, op, page_size),
    }
}

/// What stands in the bytes of an inner node's cell.
fn child(cell: &[u8]) -> String {
    match (cell.get(2..), cell.get(tree::INNER_FIELDS..)) {
        (Some(page), Some(key)) => format!(" {} {}", word(key), number(page)),
        _ => String::new(),
    }
}

/// Several operations on one page, one after the other: only trees are changed so.
fn several(names: &dyn Names, page: PageId, ops: &[u8], page_size: usize) -> String {
    let decoded: Vec<PageOp<'_>> = PageOp::each_of(ops).collect();
    // Only of an inner node a child is taken out as well.
    let is_inner = decoded.iter().any(|op| matches!(op, PageOp::RemoveAt { .. }));
    let words = decoded.iter().map(|op| of_structure(names, page, op, page_size, is_inner));
    words.collect::<Vec<_>>().join(", ")
}

fn one(names: &dyn Names, page: PageId, op: &PageOp<'_>, page_size: usize) -> String {
    match *op {
        PageOp::Patch { slot, .. } => format!("{page}.{slot}"),
        PageOp::InsertSlot { slot, .. } | PageOp::InsertAt { slot, .. } => {
            format!("{page}.{slot} insert")
        }
        PageOp::RemoveSlot { slot } | PageOp::RemoveAt { slot } => format!("{page}.{slot} remove"),
        PageOp::MarkGhost { slot } => format!("{page}.{slot} delete"),
        PageOp::ClearGhost { slot } => format!("{page}.{slot} undelete"),
        PageOp::ReplaceAt { slot, .. } => format!("{page}.{slot} replace"),
        PageOp::TruncateAt { slot } => format!("{page}.{slot} truncate"),
        PageOp::SetState { entry, state } => {
            let (map, _) = space_map::locate(page, page_size);
            let of = PageId(map.0.saturating_add(entry.into()));
            format!("{page} {of}={}", self::state(names, state))
        }
        PageOp::Several { .. } => format!("{page} several"),
        PageOp::Format { .. } => format!("{page} format"),
        PageOp::Image { .. } => match image(op, page, page_size) {
            Some(node) => format!("{page} {{{node}}}"),
            None => page.to_string(),
        },
    }
}

/// The node that an image makes of a page, if it makes one.
fn image(op: &PageOp<'_>, page: PageId, page_size: usize) -> Option<String> {
    let mut bytes = page::initial(page, page_size);
    op.apply(&mut bytes).ok()?;
    node(&bytes)
}

fn state(names: &dyn Names, state: PageState) -> String {
    match state {
        PageState::Free => "free".to_owned(),
        PageState::Used => "used".to_owned(),
        PageState::Catalog(root) => format!("used_catalog_{root}"),
        PageState::FreePending(txn) => format!("being_freed_by_{}", names.txn(txn)),
    }
}

/// Whether these bytes of slot 0 are what a structure change puts there: all of it, or one number.
fn is_of_node(offset: u16, bytes: &[u8]) -> bool {
    let is_number = bytes.len() == 8 && matches!(offset, tree::FIRST_LINK | tree::NEXT_LINK);
    is_number || (offset == 0 && bytes.len() == tree::NODE_BYTES)
}

fn links(offset: u16, bytes: &[u8]) -> String {
    match offset {
        tree::FIRST_LINK => format!("previous={}", number(bytes)),
        tree::NEXT_LINK => format!("next={}", number(bytes)),
        _ => {
            let (first, second) = (number(&bytes[1..]), number(&bytes[9..]));
            match bytes[0] {
                0 => format!("previous={first} next={second}"),
                _ => format!("first_child={first}"),
            }
        }
    }
}

/// A page number as it stands in slot 0.
fn number(bytes: &[u8]) -> String {
    match bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) {
        None | Some(0) => "nil".to_owned(),
        Some(number) => PageId(number).to_string(),
    }
}

/// A page and its pageLSN in the line above its slots.
pub fn page_heading(
    page: PageId,
    page_lsn: Option<Lsn>,
    bytes: &[u8],
    names: &dyn Names,
) -> String {
    let name = match page::kind(bytes) {
        Some(page::PageKind::Slotted) => "slotted".to_owned(),
        Some(page::PageKind::SpaceMap) => "space map".to_owned(),
        Some(page::PageKind::Overflow) => "overflow".to_owned(),
        Some(page::PageKind::Tree) => match tree::node(bytes).map(Node::level) {
            Some(0) => "leaf".to_owned(),
            Some(level) => format!("inner node of level {level}"),
            None => "no sound node".to_owned(),
        },
        _ => "unformatted".to_owned(),
    };
    format!("{page} page_lsn={} {name}", names.lsn_or_nil(page_lsn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_word_stands_in_quotes() {
        assert_eq!(pair(b"alice", b"1 \"2\""), r#"alice="1 \"2\"""#);
        assert_eq!(word(b"two words"), "\"two words\"");
        assert_eq!(word(b"(a)"), "\"(a)\"");
        assert_eq!(word(b""), "\"\"");
        assert_eq!(word(&[0, 0xff]), r#""\x00\xff""#);
    }

    #[test]
    fn a_node_is_told_from_left_to_right() {
        let cells = [
            tree::leaf_cell(b"a", &Value::Here(b"1"), 0),
            tree::leaf_cell(b"b", &Value::Here(b""), 0),
        ];
        let leaf = Node::Leaf { previous: None, next: Some(PageId(9)) };
        let page = tree::build(512, leaf, [(&cells[0][..], false), (&cells[1][..], true)]);
        assert_eq!(node(&page).as_deref(), Some("a (b)"));
        let above = Node::Inner { level: 1, first_child: PageId(4) };
        let cell = tree::inner_cell(b"d", PageId(5));
        assert_eq!(
            node(&tree::build(512, above, [(&cell[..], false)])).as_deref(),
            Some("P4 d P5")
        );
        assert_eq!(node(&page::initial(PageId(1), 512)), None);
        assert_eq!(links(0, &leaf.to_stored()), "previous=nil next=P9");
        assert_eq!(links(0, &above.to_stored()), "first_child=P4");
    }
}
