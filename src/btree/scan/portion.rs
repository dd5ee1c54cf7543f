//! Cells that were fetched and not taken yet: their bytes one behind the other.

use std::collections::VecDeque;

use crate::ids::PageId;
use crate::page::tree::{LeafCell, Value};

/// Where the value of a fetched cell is.
#[derive(Clone, Copy)]
pub enum FetchedValue {
    /// So many bytes, behind those of the key.
    Here(usize),
    /// In overflow pages: its length in bytes, and the first of them.
    Elsewhere(u32, PageId),
}

/// A fetched cell.
#[derive(Clone, Copy)]
pub struct FetchedCell {
    key_at: usize,
    key_bytes: usize,
    pub value: FetchedValue,
}

/// Cells in the order in which they were fetched.
#[derive(Default)]
pub struct Portion {
    bytes: Vec<u8>,
    cells: VecDeque<FetchedCell>,
}

impl Portion {
    /// Forgets the bytes of cells that were taken, if all were.
    pub fn make_room(&mut self) {
        if self.cells.is_empty() {
            self.bytes.clear();
        }
    }

    /// Copies a cell.
    pub fn push(&mut self, cell: &LeafCell<'_>) {
        let key_at = self.bytes.len();
        self.bytes.extend_from_slice(cell.key);
        let value = match cell.value {
            Value::Here(bytes) => {
                self.bytes.extend_from_slice(bytes);
                FetchedValue::Here(bytes.len())
            }
            Value::Elsewhere { length, first } => FetchedValue::Elsewhere(length, first),
        };
        self.cells.push_back(FetchedCell { key_at, key_bytes: cell.key.len(), value });
    }

    /// The cell fetched first of those that are left.
    pub fn pop_first(&mut self) -> Option<FetchedCell> {
        self.cells.pop_front()
    }

    /// The cell fetched last.
    pub fn pop_last(&mut self) -> Option<FetchedCell> {
        self.cells.pop_back()
    }

    /// The key of a cell that was taken from here last.
    pub fn key(&self, cell: FetchedCell) -> &[u8] {
        &self.bytes[cell.key_at..cell.key_at + cell.key_bytes]
    }

    /// So many bytes of its value, which stands here.
    pub fn value(&self, cell: FetchedCell, bytes: usize) -> &[u8] {
        let at = cell.key_at + cell.key_bytes;
        &self.bytes[at..at + bytes]
    }
}
