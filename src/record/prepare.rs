//! The prepare record: what a transaction in doubt needs to be known by, and to keep.

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::TransactionLink;
use super::decode::{Body, RecordFault, fault, some_lsn, yes_or_no};
use super::layout::{
    HEADER_BYTES, LOCK_ON_EXISTENCE, LOCK_ON_RECORD, LOCKED_EXCLUSIVE, LOCKED_SHARED, LockLine,
    PrepareBody,
};
use crate::ids::{Lsn, PageId, SlotId};

/// The longest global id, in bytes. The shortest has one byte.
pub const MAX_GLOBAL_ID_BYTES: usize = 200;

/// A lock that a transaction in doubt keeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PreparedLock {
    /// The page it is on.
    pub page: PageId,
    /// The record of the page; `None` for the page's existence.
    pub slot: Option<SlotId>,
    /// Whether it is exclusive, or else shared.
    pub exclusive: bool,
}

/// The transaction promises that it can commit, and can still be rolled back: it is prepared once
/// the last part is in the log, and promises once that is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prepare<'a> {
    /// Whose, and its record before: of a part but the first, the part before.
    pub link: TransactionLink,
    /// Up to where the log was durable when this was appended.
    pub durable_lsn: Lsn,
    /// Which part this is, from 0.
    pub part: u32,
    /// How many parts there are; the transaction is prepared with the last.
    pub parts: u32,
    /// By what name the decision will come: 1 to [`MAX_GLOBAL_ID_BYTES`] bytes, the same in all
    /// parts.
    pub global_id: &'a [u8],
    /// Whether the transaction freed pages, which its commit is to make free.
    pub frees_pages: bool,
    /// The part's share of the locks that the transaction keeps.
    pub locks: Vec<PreparedLock>,
}

impl Prepare<'_> {
    /// Whether the transaction is prepared with this part.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.part + 1 == self.parts
    }
}

/// Bytes of a prepare record with a global id of `global_id` bytes and so many locks.
#[must_use]
pub const fn prepare_bytes(global_id: usize, locks: usize) -> usize {
    HEADER_BYTES + size_of::<PrepareBody>() + global_id + locks * size_of::<LockLine>()
}

/// How many locks fit into a prepare record of at most `most` bytes.
#[must_use]
pub const fn locks_per_prepare(global_id: usize, most: usize) -> usize {
    (most - prepare_bytes(global_id, 0)) / size_of::<LockLine>()
}

pub(super) fn encode(prepare: &Prepare<'_>, out: &mut Vec<u8>) {
    let id_bytes = prepare.global_id.len();
    assert!((1..=MAX_GLOBAL_ID_BYTES).contains(&id_bytes), "its length was checked before");
    let body = PrepareBody {
        durable_lsn: U64::new(prepare.durable_lsn.get()),
        part: U32::new(prepare.part),
        parts: U32::new(prepare.parts),
        locks: U32::new(u32::try_from(prepare.locks.len()).expect("a part holds few locks")),
        global_id_bytes: u8::try_from(id_bytes).expect("at most 200"),
        frees_pages: u8::from(prepare.frees_pages),
    };
    out.extend_from_slice(body.as_bytes());
    out.extend_from_slice(prepare.global_id);
    for lock in &prepare.locks {
        let line = LockLine {
            page: U64::new(lock.page.0),
            slot: U16::new(lock.slot.map_or(0, |slot| slot.0)),
            on: if lock.slot.is_some() { LOCK_ON_RECORD } else { LOCK_ON_EXISTENCE },
            mode: if lock.exclusive { LOCKED_EXCLUSIVE } else { LOCKED_SHARED },
        };
        out.extend_from_slice(line.as_bytes());
    }
}

pub(super) fn decode<'a>(
    link: TransactionLink,
    body: &mut Body<'a>,
) -> Result<Prepare<'a>, RecordFault> {
    let fields: PrepareBody = *body.take()?;
    if fields.part.get() >= fields.parts.get() {
        return fault(format!("part {} of {} parts", fields.part, fields.parts));
    }
    let id_bytes = usize::from(fields.global_id_bytes);
    if !(1..=MAX_GLOBAL_ID_BYTES).contains(&id_bytes) {
        return fault(format!("a global id of {id_bytes} bytes"));
    }
    let global_id = body.bytes(id_bytes)?;
    // The count is not trusted with memory: lines are taken until the body runs out.
    let mut locks = Vec::new();
    for _ in 0..fields.locks.get() {
        locks.push(decode_lock(body.take()?)?);
    }
    Ok(Prepare {
        link,
        durable_lsn: some_lsn(fields.durable_lsn, "durable_lsn")?,
        part: fields.part.get(),
        parts: fields.parts.get(),
        global_id,
        frees_pages: yes_or_no(fields.frees_pages)?,
        locks,
    })
}

fn decode_lock(line: &LockLine) -> Result<PreparedLock, RecordFault> {
    let slot = match (line.on, line.slot.get()) {
        (LOCK_ON_EXISTENCE, 0) => None,
        (LOCK_ON_RECORD, slot) => Some(SlotId(slot)),
        (on, slot) => return fault(format!("{on} with slot {slot} is nothing to lock")),
    };
    let exclusive = match line.mode {
        LOCKED_SHARED => false,
        LOCKED_EXCLUSIVE => true,
        mode => return fault(format!("{mode} is no mode of a lock")),
    };
    Ok(PreparedLock { page: PageId(line.page.get()), slot, exclusive })
}
