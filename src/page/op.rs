//! [`PageOp`]: every change that a page can undergo.

use super::fault::OpFault;
use super::header::{PageKind, check_size};
use super::image;
use super::ordered;
use super::slotted::{self, SlotState};
use super::space_map::{self, PageState};
use crate::ids::SlotId;

/// A change of one page, as the log keeps it. It borrows its bytes: from the caller, from a log
/// record, or, being an inverse, from the page before the change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageOp<'a> {
    /// Overwrites bytes within a record, live or ghost.
    Patch {
        /// The record's slot.
        slot: SlotId,
        /// Where in the record the bytes go, in bytes from its start.
        offset: u16,
        /// The new bytes.
        bytes: &'a [u8],
    },
    /// Puts a record into a free slot, or into a new one, number `slot_count`.
    InsertSlot {
        /// The slot.
        slot: SlotId,
        /// The record, at least one byte.
        bytes: &'a [u8],
    },
    /// Removes a record, live or ghost, and frees its slot.
    RemoveSlot {
        /// The slot.
        slot: SlotId,
    },
    /// Makes a live record a ghost: deleted, but with its room and slot kept.
    MarkGhost {
        /// The slot.
        slot: SlotId,
    },
    /// Makes a ghost a live record again.
    ClearGhost {
        /// The slot.
        slot: SlotId,
    },
    /// Sets one entry of a space map page.
    SetState {
        /// The entry, from 0.
        entry: u16,
        /// The new state of the page it stands for.
        state: PageState,
    },
    /// Puts a record into an ordered page, before the one that has this slot now; those behind move up.
    InsertAt {
        /// The slot that the record gets.
        slot: SlotId,
        /// The record, at least one byte.
        bytes: &'a [u8],
    },
    /// Removes a record from an ordered page; those behind move down.
    RemoveAt {
        /// The slot.
        slot: SlotId,
    },
    /// Puts another record, of any length, in place of one of an ordered page; it is live.
    ReplaceAt {
        /// The slot.
        slot: SlotId,
        /// The record, at least one byte.
        bytes: &'a [u8],
    },
    /// Removes the record in this slot of an ordered page, and all behind it.
    TruncateAt {
        /// The first slot that is removed.
        slot: SlotId,
    },
    /// Several operations on one page, one after the other: all of them or none ([`PageOp::several`]).
    Several {
        /// Their bytes.
        ops: &'a [u8],
    },
    /// Empties the page and makes it one of `kind`. Page id and LSN stay.
    Format {
        /// What the page becomes.
        kind: PageKind,
    },
    /// Makes the page what it was when the image was taken ([`PageOp::image_of`]): `head`, zeros,
    /// `tail`. Page id and LSN stay.
    Image {
        /// The first bytes of the page, its header among them.
        head: &'a [u8],
        /// The last bytes of the page.
        tail: &'a [u8],
    },
}

impl<'a> PageOp<'a> {
    /// The image of `page`: all of it but for its longest run of zeros.
    #[must_use]
    pub fn image_of(page: &'a [u8]) -> Self {
        let gap = image::longest_gap(page);
        Self::Image { head: &page[..gap.start], tail: &page[gap.end..] }
    }

    /// The bytes of several operations, for [`PageOp::Several`].
    ///
    /// # Panics
    /// If one of them makes the page anew, or is itself several.
    #[must_use]
    pub fn several(ops: &[PageOp<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for op in ops {
            assert!(!op.starts_anew() && !matches!(op, PageOp::Several { .. }), "plain operations");
            op.encode(&mut bytes);
        }
        bytes
    }

    /// The operations of [`PageOp::Several`], up to the first bytes that are none.
    pub fn each_of(ops: &[u8]) -> impl Iterator<Item = PageOp<'_>> {
        let mut rest = ops;
        std::iter::from_fn(move || {
            let (op, length) = PageOp::decode(rest).ok()?;
            rest = rest.get(length..)?;
            Some(op)
        })
    }

    /// Whether the operation says all that there is to say about the page, so that it may be
    /// applied to any version of it, even to a damaged one.
    #[must_use]
    pub const fn starts_anew(&self) -> bool {
        matches!(self, Self::Format { .. } | Self::Image { .. })
    }

    /// Whether [`apply`](Self::apply) would succeed on `page`.
    ///
    /// # Errors
    /// The reason why not.
    pub fn check(&self, page: &[u8]) -> Result<(), OpFault> {
        match *self {
            Self::Patch { slot, offset, bytes } => {
                slotted::check_patch(page, slot, usize::from(offset) + bytes.len())
            }
            Self::InsertSlot { slot, bytes } => slotted::check_insert(page, slot, bytes.len()),
            Self::RemoveSlot { slot } => slotted::check_remove(page, slot),
            Self::MarkGhost { slot } => slotted::check_state(page, slot, SlotState::Live),
            Self::ClearGhost { slot } => slotted::check_state(page, slot, SlotState::Ghost),
            Self::SetState { entry, state } => space_map::check_set_state(page, entry, state),
            Self::InsertAt { slot, bytes } => ordered::check_insert(page, slot, bytes.len()),
            Self::RemoveAt { slot } | Self::TruncateAt { slot } => ordered::check(page, slot),
            Self::ReplaceAt { slot, bytes } => ordered::check_replace(page, slot, bytes.len()),
            Self::Several { ops } => apply_all(ops, &mut page.to_vec()),
            Self::Format { .. } => Ok(check_size(page)?),
            Self::Image { head, tail } => image::check(page, head, tail),
        }
    }

    /// Changes `page`. Page id, LSN and checksum stay as they are: stamping and sealing are the
    /// caller's.
    ///
    /// # Errors
    /// What [`check`](Self::check) finds; then nothing has changed.
    pub fn apply(&self, page: &mut [u8]) -> Result<(), OpFault> {
        self.check(page)?;
        match *self {
            Self::Patch { slot, offset, bytes } => {
                slotted::patch(page, slot, usize::from(offset), bytes);
            }
            Self::InsertSlot { slot, bytes } => slotted::insert(page, slot, bytes),
            Self::RemoveSlot { slot } => slotted::remove(page, slot),
            Self::MarkGhost { slot } => slotted::set_slot_state(page, slot, SlotState::Ghost),
            Self::ClearGhost { slot } => slotted::set_slot_state(page, slot, SlotState::Live),
            Self::SetState { entry, state } => space_map::set_state(page, entry, state),
            Self::InsertAt { slot, bytes } => ordered::insert(page, slot, bytes),
            Self::RemoveAt { slot } => ordered::remove(page, slot),
            Self::ReplaceAt { slot, bytes } => ordered::replace(page, slot, bytes),
            Self::TruncateAt { slot } => ordered::truncate(page, slot),
            Self::Several { ops } => {
                apply_all(ops, page).expect("checked on a copy of the page");
            }
            Self::Format { kind } => super::format(page, kind),
            Self::Image { head, tail } => image::put(page, head, tail),
        }
        Ok(())
    }

    /// The operation that undoes this one, made from the page as it was before; this operation
    /// must pass [`check`](Self::check) there.
    ///
    /// `None` for what is never undone: `Format`, `Image`, and `RemoveSlot` of a ghost, whose
    /// deleter has ended; and for operations on ordered pages, which are undone by key if at all.
    #[must_use]
    pub fn inverse<'p>(&self, page_before: &'p [u8]) -> Option<PageOp<'p>> {
        match *self {
            Self::Patch { slot, offset, bytes } => {
                let start = usize::from(offset);
                let record = slotted::record_or_ghost(page_before, slot)?;
                let before = record.get(start..start + bytes.len())?;
                Some(PageOp::Patch { slot, offset, bytes: before })
            }
            Self::InsertSlot { slot, .. } => Some(PageOp::RemoveSlot { slot }),
            Self::RemoveSlot { slot } => {
                let bytes = slotted::record(page_before, slot)?;
                Some(PageOp::InsertSlot { slot, bytes })
            }
            Self::MarkGhost { slot } => Some(PageOp::ClearGhost { slot }),
            Self::ClearGhost { slot } => Some(PageOp::MarkGhost { slot }),
            Self::SetState { entry, .. } => {
                let state = space_map::state(page_before, entry)?;
                Some(PageOp::SetState { entry, state })
            }
            Self::Format { .. }
            | Self::Image { .. }
            | Self::InsertAt { .. }
            | Self::RemoveAt { .. }
            | Self::ReplaceAt { .. }
            | Self::TruncateAt { .. }
            | Self::Several { .. } => None,
        }
    }

    /// The slot of the record that it changes, if it is one.
    #[must_use]
    pub const fn slot(&self) -> Option<SlotId> {
        match *self {
            Self::Patch { slot, .. }
            | Self::InsertSlot { slot, .. }
            | Self::RemoveSlot { slot }
            | Self::MarkGhost { slot }
            | Self::ClearGhost { slot }
            | Self::InsertAt { slot, .. }
            | Self::RemoveAt { slot }
            | Self::ReplaceAt { slot, .. } => Some(slot),
            _ => None,
        }
    }

    /// The name of the operation.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Patch { .. } => "Patch",
            Self::InsertSlot { .. } => "InsertSlot",
            Self::RemoveSlot { .. } => "RemoveSlot",
            Self::MarkGhost { .. } => "MarkGhost",
            Self::ClearGhost { .. } => "ClearGhost",
            Self::SetState { .. } => "SetState",
            Self::InsertAt { .. } => "InsertAt",
            Self::RemoveAt { .. } => "RemoveAt",
            Self::ReplaceAt { .. } => "ReplaceAt",
            Self::TruncateAt { .. } => "TruncateAt",
            Self::Several { .. } => "Several",
            Self::Format { .. } => "Format",
            Self::Image { .. } => "Image",
        }
    }
}

/// Applies operations one after the other. Where one fails, those before it have been applied.
fn apply_all(ops: &[u8], page: &mut [u8]) -> Result<(), OpFault> {
    let mut rest = ops;
    while !rest.is_empty() {
        let (op, length) = PageOp::decode(rest).map_err(|_| OpFault::NotSeveral)?;
        if op.starts_anew() || matches!(op, PageOp::Several { .. }) {
            return Err(OpFault::NotSeveral);
        }
        op.apply(page)?;
        rest = &rest[length..];
    }
    Ok(())
}
