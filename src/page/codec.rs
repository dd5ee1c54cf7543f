//! How the log stores a [`PageOp`]: a tag byte, then the fields, little-endian, without padding.
//!
//! | tag | operation | fields |
//! |---|---|---|
//! | 1 | `Patch` | slot u16, offset u16, length u16, bytes |
//! | 2 | `InsertSlot` | slot u16, length u16, bytes |
//! | 3 | `RemoveSlot` | slot u16 |
//! | 4 | `MarkGhost` | slot u16 |
//! | 5 | `ClearGhost` | slot u16 |
//! | 6 | `SetState` | entry u16, state u64 (as in the space map) |
//! | 7 | `Format` | kind u8 (as in the page header) |
//! | 8 | `Image` | length of the head u32, length of the tail u32, head, tail |
//! | 9 | `InsertAt` | slot u16, length u16, bytes |
//! | 10 | `RemoveAt` | slot u16 |
//! | 11 | `ReplaceAt` | slot u16, length u16, bytes |
//! | 12 | `TruncateAt` | slot u16 |
//! | 13 | `Several` | length u32, the operations' bytes: tags 1 to 6 and 9 to 12 |
//!
//! There is one encoding of each operation: what decodes, encodes to the same bytes.

use super::header::{PageKind, stored_size};
use super::op::PageOp;
use super::space_map::PageState;
use crate::ids::SlotId;

const PATCH: u8 = 1;
const INSERT_SLOT: u8 = 2;
const REMOVE_SLOT: u8 = 3;
const MARK_GHOST: u8 = 4;
const CLEAR_GHOST: u8 = 5;
const SET_STATE: u8 = 6;
const FORMAT: u8 = 7;
const IMAGE: u8 = 8;
const INSERT_AT: u8 = 9;
const REMOVE_AT: u8 = 10;
const REPLACE_AT: u8 = 11;
const TRUNCATE_AT: u8 = 12;
const SEVERAL: u8 = 13;

impl<'a> PageOp<'a> {
    /// Appends the operation's bytes to `out`.
    ///
    /// # Panics
    /// If the operation fits no page whatever: it must have passed [`check`](Self::check).
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        match *self {
            Self::Patch { slot, offset, bytes } => {
                tag_and_number(out, PATCH, slot.0);
                out.extend_from_slice(&offset.to_le_bytes());
                length_and_bytes(out, bytes);
            }
            Self::InsertSlot { slot, bytes } => {
                tag_and_number(out, INSERT_SLOT, slot.0);
                length_and_bytes(out, bytes);
            }
            Self::RemoveSlot { slot } => tag_and_number(out, REMOVE_SLOT, slot.0),
            Self::MarkGhost { slot } => tag_and_number(out, MARK_GHOST, slot.0),
            Self::ClearGhost { slot } => tag_and_number(out, CLEAR_GHOST, slot.0),
            Self::SetState { entry, state } => {
                tag_and_number(out, SET_STATE, entry);
                let state = state.to_stored().expect("checked operations have a storable state");
                out.extend(state.to_le_bytes());
            }
            Self::InsertAt { slot, bytes } => {
                tag_and_number(out, INSERT_AT, slot.0);
                length_and_bytes(out, bytes);
            }
            Self::ReplaceAt { slot, bytes } => {
                tag_and_number(out, REPLACE_AT, slot.0);
                length_and_bytes(out, bytes);
            }
            Self::RemoveAt { slot } => tag_and_number(out, REMOVE_AT, slot.0),
            Self::TruncateAt { slot } => tag_and_number(out, TRUNCATE_AT, slot.0),
            Self::Several { ops } => {
                out.push(SEVERAL);
                out.extend(stored_size(ops.len()).to_le_bytes());
                out.extend_from_slice(ops);
            }
            Self::Format { kind } => out.extend([FORMAT, kind.to_stored()]),
            Self::Image { head, tail } => {
                out.push(IMAGE);
                for part in [head, tail] {
                    out.extend(stored_size(part.len()).to_le_bytes());
                }
                out.extend_from_slice(head);
                out.extend_from_slice(tail);
            }
        }
    }

    /// How many bytes [`encode`](Self::encode) appends.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        match self {
            Self::Patch { bytes, .. } => 7 + bytes.len(),
            Self::InsertSlot { bytes, .. }
            | Self::InsertAt { bytes, .. }
            | Self::ReplaceAt { bytes, .. } => 5 + bytes.len(),
            Self::RemoveSlot { .. }
            | Self::RemoveAt { .. }
            | Self::TruncateAt { .. }
            | Self::MarkGhost { .. }
            | Self::ClearGhost { .. } => 3,
            Self::Several { ops } => 5 + ops.len(),
            Self::SetState { .. } => 11,
            Self::Format { .. } => 2,
            Self::Image { head, tail } => 9 + head.len() + tail.len(),
        }
    }

    /// Reads the operation at the start of `bytes`, from which it borrows, and how many bytes it
    /// took.
    ///
    /// # Errors
    /// What is wrong with the bytes, in words.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, usize), String> {
        let mut reader = Reader { rest: bytes };
        let op = reader.op()?;
        Ok((op, bytes.len() - reader.rest.len()))
    }
}

fn tag_and_number(out: &mut Vec<u8>, tag: u8, number: u16) {
    let [low, high] = number.to_le_bytes();
    out.extend_from_slice(&[tag, low, high]);
}

fn length_and_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("checked operations fit into a page");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    fn op(&mut self) -> Result<PageOp<'a>, String> {
        match self.u8()? {
            PATCH => {
                let (slot, offset) = (self.slot()?, self.u16()?);
                Ok(PageOp::Patch { slot, offset, bytes: self.length_and_bytes()? })
            }
            INSERT_SLOT => {
                let slot = self.slot()?;
                Ok(PageOp::InsertSlot { slot, bytes: self.length_and_bytes()? })
            }
            REMOVE_SLOT => Ok(PageOp::RemoveSlot { slot: self.slot()? }),
            MARK_GHOST => Ok(PageOp::MarkGhost { slot: self.slot()? }),
            CLEAR_GHOST => Ok(PageOp::ClearGhost { slot: self.slot()? }),
            SET_STATE => {
                let (entry, number) = (self.u16()?, u64::from_le_bytes(self.array()?));
                let state = PageState::from_stored(number)
                    .ok_or_else(|| format!("no page state is stored as {number}"))?;
                Ok(PageOp::SetState { entry, state })
            }
            FORMAT => {
                let byte = self.u8()?;
                let kind = PageKind::from_stored(byte)
                    .ok_or_else(|| format!("no page kind is stored as {byte}"))?;
                Ok(PageOp::Format { kind })
            }
            IMAGE => {
                let (head, tail) = (self.u32()?, self.u32()?);
                Ok(PageOp::Image { head: self.bytes(head)?, tail: self.bytes(tail)? })
            }
            INSERT_AT => {
                let slot = self.slot()?;
                Ok(PageOp::InsertAt { slot, bytes: self.length_and_bytes()? })
            }
            REMOVE_AT => Ok(PageOp::RemoveAt { slot: self.slot()? }),
            REPLACE_AT => {
                let slot = self.slot()?;
                Ok(PageOp::ReplaceAt { slot, bytes: self.length_and_bytes()? })
            }
            TRUNCATE_AT => Ok(PageOp::TruncateAt { slot: self.slot()? }),
            SEVERAL => self.several(),
            tag => Err(format!("no page operation has the tag {tag}")),
        }
    }

    /// Each of them is looked at, so that what decodes can be encoded again.
    fn several(&mut self) -> Result<PageOp<'a>, String> {
        let length = self.u32()?;
        let ops = self.bytes(length)?;
        let mut inner = Reader { rest: ops };
        while let Some(tag) = inner.rest.first() {
            if matches!(*tag, FORMAT | IMAGE | SEVERAL) {
                return Err(format!("an operation with the tag {tag} among several"));
            }
            inner.op()?;
        }
        Ok(PageOp::Several { ops })
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| self.too_short(N))?;
        self.rest = rest;
        Ok(*array)
    }

    #[cold]
    fn too_short(&self, needed: usize) -> String {
        format!(
            "the page operation needs {needed} bytes more where only {} follow",
            self.rest.len()
        )
    }

    #[inline]
    fn u8(&mut self) -> Result<u8, String> {
        self.array().map(u8::from_le_bytes)
    }

    #[inline]
    fn u16(&mut self) -> Result<u16, String> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    fn slot(&mut self) -> Result<SlotId, String> {
        self.u16().map(SlotId)
    }

    fn u32(&mut self) -> Result<usize, String> {
        let number = self.array().map(u32::from_le_bytes)?;
        usize::try_from(number).map_err(|_| self.too_short(usize::MAX))
    }

    #[inline]
    fn length_and_bytes(&mut self) -> Result<&'a [u8], String> {
        let length = usize::from(self.u16()?);
        self.bytes(length)
    }

    #[inline]
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (bytes, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| self.too_short(length))?;
        self.rest = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

    use super::*;
    use crate::ids::TxnId;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn bytes_as_documented() {
        let encoded = |op: PageOp<'_>| {
            let mut out = vec![];
            op.encode(&mut out);
            out
        };
        let slot = SlotId(0x0203);
        let patch = PageOp::Patch { slot, offset: 0x0405, bytes: b"ab" };
        assert_eq!(encoded(patch), [1, 3, 2, 5, 4, 2, 0, b'a', b'b']);
        assert_eq!(encoded(PageOp::InsertSlot { slot, bytes: b"a" }), [2, 3, 2, 1, 0, b'a']);
        assert_eq!(encoded(PageOp::RemoveSlot { slot }), [3, 3, 2]);
        assert_eq!(encoded(PageOp::MarkGhost { slot }), [4, 3, 2]);
        assert_eq!(encoded(PageOp::ClearGhost { slot }), [5, 3, 2]);
        let state = PageState::FreePending(TxnId::FIRST);
        assert_eq!(
            encoded(PageOp::SetState { entry: 9, state }),
            [6, 9, 0, 3, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(encoded(PageOp::Format { kind: PageKind::Slotted }), [7, 2]);
        assert_eq!(
            encoded(PageOp::Image { head: b"abc", tail: b"z" }),
            [8, 3, 0, 0, 0, 1, 0, 0, 0, b'a', b'b', b'c', b'z']
        );
        assert_eq!(encoded(PageOp::InsertAt { slot, bytes: b"a" }), [9, 3, 2, 1, 0, b'a']);
        assert_eq!(encoded(PageOp::RemoveAt { slot }), [10, 3, 2]);
        assert_eq!(encoded(PageOp::ReplaceAt { slot, bytes: b"a" }), [11, 3, 2, 1, 0, b'a']);
        assert_eq!(encoded(PageOp::TruncateAt { slot }), [12, 3, 2]);
        let ops = PageOp::several(&[PageOp::RemoveAt { slot }, PageOp::MarkGhost { slot }]);
        assert_eq!(encoded(PageOp::Several { ops: &ops }), [13, 6, 0, 0, 0, 10, 3, 2, 4, 3, 2]);
    }

    /// Bytes that are often nearly an operation.
    fn op_like_bytes() -> impl Strategy<Value = Vec<u8>> {
        let start = (0..15_u8, vec(prop_oneof![0..14_u8, any::<u8>()], 0..40));
        start.prop_map(|(tag, mut bytes)| {
            bytes.insert(0, tag);
            bytes
        })
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in op_like_bytes()) {
            if let Ok((op, length)) = PageOp::decode(&bytes) {
                let mut again = vec![];
                op.encode(&mut again);
                prop_assert_eq!(&again, &bytes[..length]);
                prop_assert_eq!(PageOp::decode(&again), Ok((op, length)));
                for shorter in 0..length {
                    prop_assert!(PageOp::decode(&bytes[..shorter]).is_err());
                }
            }
        }

        #[test]
        fn what_encodes_decodes_to_the_same(
            tag in 1..=13_u8, slot in any::<u16>(), offset in any::<u16>(), txn in any::<u64>(),
            bytes in vec(any::<u8>(), 0..300),
        ) {
            let slot = SlotId(slot);
            let state = PageState::from_stored(txn).unwrap_or(PageState::Free);
            let op = match tag {
                PATCH => PageOp::Patch { slot, offset, bytes: &bytes },
                INSERT_SLOT => PageOp::InsertSlot { slot, bytes: &bytes },
                REMOVE_SLOT => PageOp::RemoveSlot { slot },
                MARK_GHOST => PageOp::MarkGhost { slot },
                CLEAR_GHOST => PageOp::ClearGhost { slot },
                SET_STATE => PageOp::SetState { entry: offset, state },
                FORMAT => PageOp::Format { kind: PageKind::from_stored(txn as u8 % 5 + 1).unwrap() },
                INSERT_AT => PageOp::InsertAt { slot, bytes: &bytes },
                REMOVE_AT => PageOp::RemoveAt { slot },
                REPLACE_AT => PageOp::ReplaceAt { slot, bytes: &bytes },
                TRUNCATE_AT => PageOp::TruncateAt { slot },
                SEVERAL => PageOp::Several { ops: &[MARK_GHOST, 1, 0, REMOVE_AT, 2, 0] },
                _ => {
                    let (head, tail) = bytes.split_at(bytes.len().min(usize::from(offset % 300)));
                    PageOp::Image { head, tail }
                }
            };
            let mut encoded = vec![];
            op.encode(&mut encoded);
            let length = encoded.len();
            prop_assert_eq!(op.encoded_len(), length);
            encoded.extend(b"what follows");
            prop_assert_eq!(PageOp::decode(&encoded), Ok((op, length)));
        }
    }
}
