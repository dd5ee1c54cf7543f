//! The fixed parts of log records, byte for byte: see `docs/format.md` for every field.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ids::Lsn;
use crate::ids::locks::KeyName;

/// Records begin at multiples of this many bytes.
pub const ALIGNMENT: usize = 8;

/// Bytes of the header that every record begins with.
pub const HEADER_BYTES: usize = size_of::<Header>();

/// Bytes of a compensation record beside those of its operation.
pub const COMPENSATION_FIELDS_BYTES: usize = HEADER_BYTES + size_of::<PageBody>() + 8;

/// Bytes of a page image record beside those of its operation.
pub const PAGE_IMAGE_FIELDS_BYTES: usize = HEADER_BYTES + size_of::<PageBody>();

/// The most pages that one structure change changes.
pub const MOST_CHANGES: usize = 32;

/// Bytes of a structure change beside those of its operations.
#[must_use]
pub const fn structure_change_bytes(changes: usize) -> usize {
    HEADER_BYTES + size_of::<U16>() + changes * size_of::<SeveralBody>()
}

/// Bytes of a key change beside those of the table's name, the key and the values.
pub const KEY_CHANGE_FIELDS_BYTES: usize = HEADER_BYTES + size_of::<KeyChangeBody>();

/// Bytes of a restart record.
pub const RESTART_BYTES: usize = HEADER_BYTES + size_of::<RestartBody>();

/// Room beside two images of a page's bytes: header and fields of an update record.
const FIELDS_BYTES: usize = 256;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Header {
    pub(super) crc: U32,
    pub(super) length: U32,
    pub(super) kind: u8,
    pub(super) reserved: [u8; 3],
    pub(super) txn: U64,
    pub(super) prev_lsn: U64,
}

const _: () = assert!(size_of::<Header>() == 28);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct PageBody {
    pub(super) page: U64,
    pub(super) prev_page_lsn: U64,
}

/// Stands before each operation of a structure change.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct SeveralBody {
    pub(super) on: PageBody,
    pub(super) op_bytes: U32,
}

/// Stands before the key of an undo by key.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct KeyUndoBody {
    pub(super) tree: U64,
    pub(super) action: u8,
    pub(super) key_bytes: U16,
}

/// Stands in place of that and the key, where the operation puts a cell with the key there.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct OwnKeyUndoBody {
    pub(super) tree: U64,
    pub(super) action: u8,
}

/// Stands behind that key, if bytes are put back.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct KeyPatchBody {
    pub(super) offset: U16,
    pub(super) bytes: U16,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct CommitBody {
    pub(super) durable_lsn: U64,
    pub(super) wall_time_micros: U64,
    pub(super) frees_pages: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct BeginBody {
    pub(super) durable_lsn: U64,
    pub(super) restart_lsn: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct EndCheckpointBody {
    pub(super) durable_lsn: U64,
    pub(super) begin_lsn: U64,
    pub(super) next_txn: U64,
    pub(super) part: U32,
    pub(super) parts: U32,
    pub(super) dirty_pages: U32,
    pub(super) transactions: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct DirtyPageLine {
    pub(super) page: U64,
    pub(super) rec_lsn: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct TransactionLine {
    pub(super) txn: U64,
    pub(super) state: u8,
    pub(super) reserved: [u8; 7],
    pub(super) first_lsn: U64,
    pub(super) last_lsn: U64,
    pub(super) undo_next_lsn: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct RestartBody {
    pub(super) durable_lsn: U64,
    pub(super) epoch: U64,
    pub(super) next_txn: U64,
    pub(super) previous_lsn: U64,
    pub(super) previous_epoch: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct PrepareBody {
    pub(super) durable_lsn: U64,
    pub(super) part: U32,
    pub(super) parts: U32,
    pub(super) locks: U32,
    pub(super) global_id_bytes: u8,
    pub(super) frees_pages: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct LockLine {
    pub(super) page: U64,
    pub(super) slot: U16,
    pub(super) on: u8,
    pub(super) mode: u8,
}

/// A value of a key change: the bytes that are told of it stand behind the key.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct ToldBody {
    /// [`NO_VALUE`] if there is none.
    pub(super) length: U32,
    pub(super) bytes: U16,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct KeyChangeBody {
    pub(super) wall_time_micros: U64,
    pub(super) table_bytes: U16,
    pub(super) key_bytes: U16,
    pub(super) old: ToldBody,
    pub(super) new: ToldBody,
}

/// In place of a length: there is no value.
pub(super) const NO_VALUE: u32 = u32::MAX;

const _: () = assert!(size_of::<KeyChangeBody>() == 24);
const _: () = assert!(size_of::<PageBody>() == 16);
const _: () = assert!(size_of::<SeveralBody>() == 20);
const _: () = assert!(size_of::<KeyUndoBody>() == 11);
const _: () = assert!(size_of::<OwnKeyUndoBody>() == 9);
const _: () = assert!(size_of::<KeyPatchBody>() == 4);
const _: () = assert!(size_of::<CommitBody>() == 17);
const _: () = assert!(size_of::<BeginBody>() == 16);
const _: () = assert!(size_of::<EndCheckpointBody>() == 40);
const _: () = assert!(size_of::<DirtyPageLine>() == 16);
const _: () = assert!(size_of::<TransactionLine>() == 40);
const _: () = assert!(size_of::<RestartBody>() == 40);
const _: () = assert!(size_of::<PrepareBody>() == 22);
const _: () = assert!(size_of::<LockLine>() == 12);
const _: () = assert!(KeyName::BYTES == 17);

pub(super) const UPDATE: u8 = 1;
pub(super) const COMPENSATION: u8 = 2;
pub(super) const COMMIT: u8 = 3;
pub(super) const ROLLBACK: u8 = 4;
pub(super) const END: u8 = 5;
pub(super) const NESTED_TOP_ACTION_END: u8 = 6;
pub(super) const BEGIN_CHECKPOINT: u8 = 7;
pub(super) const END_CHECKPOINT: u8 = 8;
pub(super) const RESTART: u8 = 9;
/// The kind byte of filler.
pub const FILLER: u8 = 10;
pub(super) const PAGE_IMAGE: u8 = 11;
pub(super) const PREPARE: u8 = 12;
pub(super) const STRUCTURE_CHANGE: u8 = 13;
pub(super) const KEY_CHANGE: u8 = 14;

pub(super) const UNDO_NONE: u8 = 0;
pub(super) const UNDO_PHYSICAL: u8 = 1;
pub(super) const UNDO_KEY: u8 = 2;
/// The key is that of the cell which the operation puts there.
pub(super) const UNDO_OWN_KEY: u8 = 3;

pub(super) const KEY_REMOVE: u8 = 0;
pub(super) const KEY_REVIVE: u8 = 1;
pub(super) const KEY_PATCH: u8 = 2;

pub(super) const LOCK_ON_EXISTENCE: u8 = 0;
pub(super) const LOCK_ON_RECORD: u8 = 1;
pub(super) const LOCK_ON_TABLE: u8 = 2;
/// Followed by the name of the key.
pub(super) const LOCK_ON_KEY: u8 = 3;
/// Followed by the name of the key.
pub(super) const LOCK_ON_GAP_BEFORE: u8 = 4;
pub(super) const LOCK_ON_GAP_AT_END: u8 = 5;

pub(super) const LOCKED_SHARED: u8 = 0;
pub(super) const LOCKED_EXCLUSIVE: u8 = 1;
pub(super) const LOCKED_INTENTION_SHARED: u8 = 2;
pub(super) const LOCKED_INTENTION_EXCLUSIVE: u8 = 3;
pub(super) const LOCKED_SHARED_INTENTION_EXCLUSIVE: u8 = 4;

/// The largest record that a database with pages of `page_size` bytes writes, filler apart.
#[must_use]
pub const fn max_record_bytes(page_size: usize) -> usize {
    2 * page_size + FIELDS_BYTES
}

/// `length` rounded up to where the next record may begin.
#[must_use]
pub const fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

/// Bytes of an end-checkpoint record with so many lines of each table.
#[must_use]
pub const fn checkpoint_bytes(dirty_pages: usize, transactions: usize) -> usize {
    HEADER_BYTES
        + size_of::<EndCheckpointBody>()
        + dirty_pages * size_of::<DirtyPageLine>()
        + transactions * size_of::<TransactionLine>()
}

/// Factors of [`mixed`]: odd, and with bits of no pattern.
const LSN_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const EPOCH_FACTOR: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// What makes a record's checksum wrong at any other LSN and in any other epoch: their bits, mixed by
/// multiplication with odd numbers. The sum is taken under the log's append mutex, and for each record that
/// restart reads, so it has to be short.
pub(super) const fn mixed(lsn: Lsn, epoch: u64) -> u32 {
    let sum = lsn.get().wrapping_mul(LSN_FACTOR).wrapping_add(epoch.wrapping_mul(EPOCH_FACTOR));
    (sum >> 32) as u32
}
