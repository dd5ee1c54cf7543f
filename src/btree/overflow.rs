//! Values that are too long for a leaf: in pages of their own, each leading to the next.
//!
//! ```text
//!   cell:  … | length | first ─┐      P7: next P9 | bytes      P9: next 0 | bytes
//! ```
//!
//! The pages are allocated and freed by the transaction like any other: if it rolls back, or the cell changes again,
//! the space map follows. What is in them is not undone: a page that is free has no contents.

use super::{TreeAccess, not_a_node, tree};
use crate::buffer::BufferPool;
use crate::error::{Error, Result};
use crate::ids::{PageId, SlotId};
use crate::lock::{LockName, Mode};
use crate::page::tree::{OVERFLOW_FIELDS, Value};
use crate::page::{self, HEADER_SIZE, PageKind, PageOp, SLOT_SIZE};
use crate::txn::Undoing;

/// The longest value (bytes).
pub const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;

/// A value as a cell has it, in memory of its own.
pub(super) enum Stored {
    /// In the cell.
    Here(Vec<u8>),
    /// In overflow pages: its length in bytes, and the first of them.
    Elsewhere(u32, PageId),
}

impl Stored {
    pub fn of(value: &Value<'_>) -> Self {
        match *value {
            Value::Here(bytes) => Self::Here(bytes.to_vec()),
            Value::Elsewhere { length, first } => Self::Elsewhere(length, first),
        }
    }

    /// The value, if it has pages of its own.
    pub fn elsewhere(value: &Value<'_>) -> Option<Self> {
        matches!(value, Value::Elsewhere { .. }).then(|| Self::of(value))
    }

    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Here(bytes) => Value::Here(bytes),
            Self::Elsewhere(length, first) => Value::Elsewhere { length: *length, first: *first },
        }
    }

    /// The bytes. Whoever reads has locked the key.
    pub fn read(self, pool: &BufferPool) -> Result<Vec<u8>> {
        let (length, first) = match self {
            Self::Here(bytes) => return Ok(bytes),
            Self::Elsewhere(length, first) => (length as usize, first),
        };
        let mut value = Vec::new();
        walk(pool, length, first, |_, bytes| value.extend_from_slice(bytes))?;
        Ok(value)
    }
}

/// Bytes of a value that an overflow page holds.
pub(super) const fn part_bytes(page_size: usize) -> usize {
    page_size - HEADER_SIZE - SLOT_SIZE - OVERFLOW_FIELDS
}

/// Visits the pages of a value with their parts of it.
pub(super) fn walk(
    pool: &BufferPool,
    length: usize,
    first: PageId,
    mut visit: impl FnMut(PageId, &[u8]),
) -> Result<()> {
    let (mut left, mut next) = (length, first);
    while left > 0 {
        let guard = pool.fix_read(next)?;
        let expected = || not_a_node(pool, next, "a part of a long value");
        let is_overflow = page::kind(guard.bytes()) == Some(PageKind::Overflow);
        let record = page::record(guard.bytes(), SlotId(0)).filter(|_| is_overflow);
        let (link, part) = record.and_then(<[u8]>::split_first_chunk).ok_or_else(expected)?;
        let behind = u64::from_le_bytes(*link);
        if part.is_empty() || part.len() > left || (behind == 0) != (part.len() == left) {
            return Err(expected());
        }
        visit(next, part);
        left -= part.len();
        next = PageId(behind);
    }
    Ok(())
}

impl TreeAccess<'_> {
    /// Stores a value where it belongs: if it is too long for a cell, in pages of its own.
    pub(super) fn store(&mut self, key: &[u8], value: &[u8]) -> Result<Stored> {
        if value.len() > MAX_VALUE_BYTES {
            let length = value.len();
            let message =
                format!("a value of {length} bytes: at most {MAX_VALUE_BYTES} are possible");
            return Err(Error::InvalidInput(message));
        }
        let most = tree::max_inline_bytes(self.page_size());
        if tree::LEAF_FIELDS + key.len() + value.len() + SLOT_SIZE <= most
            || value.len() <= tree::OVERFLOW_BYTES
        {
            return Ok(Stored::Here(value.to_vec()));
        }
        let length = u32::try_from(value.len()).expect("at most 16 MiB");
        let mut behind = 0;
        // The last part first: so each page is written once, knowing the next.
        for part in value.chunks(part_bytes(self.page_size())).rev() {
            behind = self.store_part(behind, part)?.0;
        }
        Ok(Stored::Elsewhere(length, PageId(behind)))
    }

    fn store_part(&mut self, behind: u64, part: &[u8]) -> Result<PageId> {
        let page = self.space.allocate(self.txn)?;
        let page_size = self.page_size();
        let mut bytes = page::initial(PageId(1), page_size);
        let mut record = behind.to_le_bytes().to_vec();
        record.extend_from_slice(part);
        for op in [
            PageOp::Format { kind: PageKind::Overflow },
            PageOp::InsertSlot { slot: SlotId(0), bytes: &record },
        ] {
            op.apply(&mut bytes).expect("a part fits into a page");
        }
        self.txn.prepare_update(page_size)?;
        let mut guard = self.pool().fix_write(page)?;
        self.txn.update(&mut guard, PageOp::image_of(&bytes), Undoing::RedoOnly)?;
        Ok(page)
    }

    /// Frees the pages of a value that is not wanted any more, once the transaction commits.
    pub(super) fn free(&mut self, stored: &Stored) -> Result<()> {
        let Stored::Elsewhere(length, first) = *stored else { return Ok(()) };
        let mut pages = Vec::new();
        walk(self.pool(), length as usize, first, |page, _| pages.push(page))?;
        self.free_pages(&pages)
    }

    /// Frees pages that nobody else uses, once the transaction commits.
    pub(super) fn free_pages(&mut self, pages: &[PageId]) -> Result<()> {
        for page in pages.iter().copied() {
            let name = LockName::PageExistence(page);
            self.txn.manager().locks().lock(self.txn.id(), name, Mode::Exclusive)?;
            self.space.free(self.txn, page)?;
            self.freed.push(page);
        }
        Ok(())
    }
}
