//! The prepare record: what a transaction in doubt needs to be known by, and to keep.

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::TransactionLink;
use super::decode::{Body, RecordFault, fault, some_lsn, yes_or_no};
use super::layout::{
    HEADER_BYTES, LOCK_ON_EXISTENCE, LOCK_ON_GAP_AT_END, LOCK_ON_GAP_BEFORE, LOCK_ON_KEY,
    LOCK_ON_RECORD, LOCK_ON_TABLE, LOCKED_EXCLUSIVE, LOCKED_INTENTION_EXCLUSIVE,
    LOCKED_INTENTION_SHARED, LOCKED_SHARED, LOCKED_SHARED_INTENTION_EXCLUSIVE, LockLine,
    PrepareBody,
};
use crate::ids::locks::{GapName, KeyName, LockName, Mode};
use crate::ids::{Lsn, PageId, SlotId};

/// The longest global id, in bytes. The shortest has one byte.
pub const MAX_GLOBAL_ID_BYTES: usize = 200;

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
    pub locks: Vec<(LockName, Mode)>,
}

impl Prepare<'_> {
    /// Whether the transaction is prepared with this part.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.part + 1 == self.parts
    }
}

/// Bytes of a prepare record with a global id of `global_id` bytes and these locks.
#[must_use]
pub fn prepare_bytes(global_id: usize, locks: &[(LockName, Mode)]) -> usize {
    let lines: usize = locks.iter().map(|(name, _)| lock_bytes(*name)).sum();
    HEADER_BYTES + size_of::<PrepareBody>() + global_id + lines
}

/// Shares locks out to the parts of a prepare record: as many to each as fit into `most` bytes; to one
/// part at least, and at least one to each of several.
#[must_use]
pub fn prepare_parts(
    global_id: usize,
    locks: &[(LockName, Mode)],
    most: usize,
) -> Vec<&[(LockName, Mode)]> {
    let (mut parts, mut rest) = (Vec::new(), locks);
    loop {
        let mut bytes = prepare_bytes(global_id, &[]);
        let fits = |(name, _): &&(LockName, Mode)| {
            bytes += lock_bytes(*name);
            bytes <= most
        };
        let count = rest.iter().take_while(fits).count();
        let (part, behind) = rest.split_at(count.max(1).min(rest.len()));
        parts.push(part);
        if behind.is_empty() {
            return parts;
        }
        rest = behind;
    }
}

fn lock_bytes(name: LockName) -> usize {
    let key = if key_of(name).is_some() { KeyName::BYTES } else { 0 };
    size_of::<LockLine>() + key
}

fn key_of(name: LockName) -> Option<KeyName> {
    match name {
        LockName::Key(_, key) | LockName::Gap(_, GapName::Before(key)) => Some(key),
        _ => None,
    }
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
    for (name, mode) in &prepare.locks {
        out.extend_from_slice(line(*name, *mode).as_bytes());
        out.extend(key_of(*name).into_iter().flat_map(KeyName::to_bytes));
    }
}

fn line(name: LockName, mode: Mode) -> LockLine {
    let (on, page, slot) = match name {
        LockName::PageExistence(page) => (LOCK_ON_EXISTENCE, page, SlotId(0)),
        LockName::Record(page, slot) => (LOCK_ON_RECORD, page, slot),
        LockName::Table(root) => (LOCK_ON_TABLE, root, SlotId(0)),
        LockName::Key(root, _) => (LOCK_ON_KEY, root, SlotId(0)),
        LockName::Gap(root, GapName::Before(_)) => (LOCK_ON_GAP_BEFORE, root, SlotId(0)),
        LockName::Gap(root, GapName::End) => (LOCK_ON_GAP_AT_END, root, SlotId(0)),
        LockName::Ranges(..) => unreachable!("a transaction in doubt keeps no ranges"),
    };
    let mode = match mode {
        Mode::IntentionShared => LOCKED_INTENTION_SHARED,
        Mode::IntentionExclusive => LOCKED_INTENTION_EXCLUSIVE,
        Mode::Shared => LOCKED_SHARED,
        Mode::SharedIntentionExclusive => LOCKED_SHARED_INTENTION_EXCLUSIVE,
        Mode::Exclusive => LOCKED_EXCLUSIVE,
    };
    LockLine { page: U64::new(page.0), slot: U16::new(slot.0), on, mode }
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
        locks.push(decode_lock(body)?);
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

fn decode_lock(body: &mut Body<'_>) -> Result<(LockName, Mode), RecordFault> {
    let line: LockLine = *body.take()?;
    let page = PageId(line.page.get());
    let name = match (line.on, line.slot.get()) {
        (LOCK_ON_EXISTENCE, 0) => LockName::PageExistence(page),
        (LOCK_ON_RECORD, slot) => LockName::Record(page, SlotId(slot)),
        (LOCK_ON_TABLE, 0) => LockName::Table(page),
        (LOCK_ON_KEY, 0) => LockName::Key(page, decode_key(body)?),
        (LOCK_ON_GAP_BEFORE, 0) => LockName::Gap(page, GapName::Before(decode_key(body)?)),
        (LOCK_ON_GAP_AT_END, 0) => LockName::Gap(page, GapName::End),
        (on, slot) => return fault(format!("{on} with slot {slot} is nothing to lock")),
    };
    let mode = match line.mode {
        LOCKED_SHARED => Mode::Shared,
        LOCKED_EXCLUSIVE => Mode::Exclusive,
        LOCKED_INTENTION_SHARED => Mode::IntentionShared,
        LOCKED_INTENTION_EXCLUSIVE => Mode::IntentionExclusive,
        LOCKED_SHARED_INTENTION_EXCLUSIVE => Mode::SharedIntentionExclusive,
        mode => return fault(format!("{mode} is no mode of a lock")),
    };
    Ok((name, mode))
}

fn decode_key(body: &mut Body<'_>) -> Result<KeyName, RecordFault> {
    match KeyName::from_bytes(body.take()?) {
        Some(key) => Ok(key),
        None => fault("a lock on a key whose name no key has"),
    }
}
