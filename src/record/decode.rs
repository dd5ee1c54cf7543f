//! From bytes to records. Nothing in the bytes is trusted.

use zerocopy::byteorder::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::layout::*;
use super::{
    BeginCheckpoint, Commit, CompensationLogRecord, End, EndCheckpoint, EpochStart, KeyAction,
    KeyChange, KeyUndo, LogRecord, NestedTopActionEnd, PageChange, PageImage, Restart, Rollback,
    StructureChange, ToldValue, TransactionLink, Undo, Update, own_key, prepare,
};
use crate::ids::{Lsn, PageId, TxnId};
use crate::page::PageOp;
use crate::tables::{TransactionEntry, TransactionState};

/// What is wrong with bytes that should be a log record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct RecordFault(String);

impl RecordFault {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

pub(super) fn fault<T>(what: impl Into<String>) -> Result<T, RecordFault> {
    Err(RecordFault(what.into()))
}

/// Length of the record that `bytes` begin with, as its header says, believed or not; `None` where
/// the header is cut off or says less than a header.
#[must_use]
pub fn stated_length(bytes: &[u8]) -> Option<usize> {
    let (header, _) = Header::ref_from_prefix(bytes).ok()?;
    let length = usize::try_from(header.length.get()).ok()?;
    (length >= HEADER_BYTES).then_some(length)
}

/// Length of the record that `bytes` begin with, if all of it is there.
#[must_use]
pub fn peek_length(bytes: &[u8]) -> Option<usize> {
    stated_length(bytes).filter(|length| *length <= bytes.len())
}

/// The kind byte of the record that `bytes` begin with; `None` where its header is cut off or its
/// reserved bytes are not zero.
#[must_use]
pub fn peek_kind(bytes: &[u8]) -> Option<u8> {
    let (header, _) = Header::ref_from_prefix(bytes).ok()?;
    (header.reserved == [0; 3]).then_some(header.kind)
}

/// Whether records of this kind carry `durable_lsn`.
#[must_use]
pub const fn bears_witness(kind: u8) -> bool {
    matches!(kind, COMMIT | END | PREPARE | BEGIN_CHECKPOINT | END_CHECKPOINT | RESTART)
}

/// Whether records of this kind belong to a transaction.
const fn is_transactional(kind: u8) -> bool {
    matches!(
        kind,
        UPDATE
            | COMPENSATION
            | COMMIT
            | ROLLBACK
            | END
            | NESTED_TOP_ACTION_END
            | PREPARE
            | STRUCTURE_CHANGE
            | KEY_CHANGE
    )
}

/// Whether `record` (exactly its bytes, see [`peek_length`]) was written at `lsn` in `epoch`.
#[must_use]
pub fn verify(record: &[u8], lsn: Lsn, epoch: u64) -> bool {
    let Ok((header, _)) = Header::ref_from_prefix(record) else { return false };
    header.length.get() as usize == record.len()
        && crc32fast::hash(&record[4..]) ^ mixed(lsn, epoch) == header.crc.get()
}

pub(super) fn yes_or_no(byte: u8) -> Result<bool, RecordFault> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => fault(format!("{byte} is neither yes nor no")),
    }
}

fn state_of(byte: u8) -> Result<TransactionState, RecordFault> {
    match byte {
        0 => Ok(TransactionState::Active),
        1 => Ok(TransactionState::RollingBack),
        2 => Ok(TransactionState::Committing),
        3 => Ok(TransactionState::Prepared),
        _ => fault(format!("{byte} is no state of a transaction")),
    }
}

/// Takes fixed structures off the front of a record's body.
pub(super) struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    pub(super) fn take<T: FromBytes + Immutable + KnownLayout + Unaligned>(
        &mut self,
    ) -> Result<&'a T, RecordFault> {
        let Ok((value, rest)) = T::ref_from_prefix(self.0) else {
            return fault("the record is too short for its kind");
        };
        self.0 = rest;
        Ok(value)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], RecordFault> {
        let Some((bytes, rest)) = self.0.split_at_checked(length) else {
            return fault("the record is too short for its kind");
        };
        self.0 = rest;
        Ok(bytes)
    }

    fn op(&mut self) -> Result<PageOp<'a>, RecordFault> {
        let (op, read) = PageOp::decode(self.0).map_err(|what| RecordFault(what.to_string()))?;
        self.0 = self.0.get(read..).unwrap_or_default();
        Ok(op)
    }

    fn end(self) -> Result<(), RecordFault> {
        if self.0.is_empty() { Ok(()) } else { fault("the record is too long for its kind") }
    }
}

pub(super) fn some_lsn(value: U64, what: &str) -> Result<Lsn, RecordFault> {
    Lsn::new(value.get()).ok_or_else(|| RecordFault(format!("{what} is nil")))
}

fn some_txn(value: U64, what: &str) -> Result<TxnId, RecordFault> {
    TxnId::new(value.get()).ok_or_else(|| RecordFault(format!("{what} is 0")))
}

/// Reads one record, exactly its bytes. The checksum is [`verify`]'s business.
///
/// # Errors
/// A [`RecordFault`] saying what no record can have.
pub fn decode(bytes: &[u8]) -> Result<LogRecord<'_>, RecordFault> {
    let mut body = Body(bytes);
    let header: &Header = body.take()?;
    let link = TxnId::new(header.txn.get())
        .map(|txn| TransactionLink { txn, prev_lsn: Lsn::new(header.prev_lsn.get()) });
    if is_transactional(header.kind) != link.is_some() {
        return fault("the record's kind does not go with its transaction");
    }
    if link.is_none() && header.prev_lsn.get() != 0 {
        return fault("a record of no transaction with a prev_lsn");
    }
    if header.reserved != [0; 3] {
        return fault("bytes that are always zero are not");
    }
    if header.kind == FILLER {
        return Ok(LogRecord::Filler);
    }
    let record = match link {
        Some(link) => decode_transactional(header.kind, link, &mut body)?,
        None => decode_other(header.kind, &mut body)?,
    };
    body.end()?;
    Ok(record)
}

fn decode_transactional<'a>(
    kind: u8,
    link: TransactionLink,
    body: &mut Body<'a>,
) -> Result<LogRecord<'a>, RecordFault> {
    Ok(match kind {
        UPDATE => LogRecord::Update(decode_update(link, body)?),
        COMPENSATION => {
            let page: &PageBody = body.take()?;
            let undo_next: &U64 = body.take()?;
            LogRecord::Compensation(CompensationLogRecord {
                link,
                page: PageId(page.page.get()),
                prev_page_lsn: Lsn::new(page.prev_page_lsn.get()),
                undo_next_lsn: Lsn::new(undo_next.get()),
                op: body.op()?,
            })
        }
        COMMIT => {
            let commit: &CommitBody = body.take()?;
            LogRecord::Commit(Commit {
                link,
                durable_lsn: some_lsn(commit.durable_lsn, "durable_lsn")?,
                wall_time_micros: commit.wall_time_micros.get(),
                frees_pages: yes_or_no(commit.frees_pages)?,
            })
        }
        ROLLBACK => LogRecord::Rollback(Rollback { link }),
        END => {
            let durable: &U64 = body.take()?;
            LogRecord::End(End { link, durable_lsn: some_lsn(*durable, "durable_lsn")? })
        }
        NESTED_TOP_ACTION_END => {
            let undo_next: &U64 = body.take()?;
            let undo_next_lsn = Lsn::new(undo_next.get());
            LogRecord::NestedTopActionEnd(NestedTopActionEnd { link, undo_next_lsn })
        }
        PREPARE => LogRecord::Prepare(prepare::decode(link, body)?),
        STRUCTURE_CHANGE => LogRecord::StructureChange(decode_structure_change(link, body)?),
        KEY_CHANGE => LogRecord::KeyChange(decode_key_change(link, body)?),
        kind => return fault(format!("{kind} is no kind of log record")),
    })
}

fn decode_update<'a>(
    link: TransactionLink,
    body: &mut Body<'a>,
) -> Result<Update<'a>, RecordFault> {
    let page: &PageBody = body.take()?;
    let op = body.op()?;
    let undo = match *body.take::<u8>()? {
        UNDO_NONE => Undo::RedoOnly,
        UNDO_PHYSICAL => Undo::Physical(body.op()?),
        UNDO_KEY => Undo::Key(decode_key_undo(&op, body)?),
        UNDO_OWN_KEY => Undo::Key(decode_own_key_undo(&op, body)?),
        tag => return fault(format!("{tag} is no kind of undo")),
    };
    let prev_page_lsn = Lsn::new(page.prev_page_lsn.get());
    Ok(Update { link, page: PageId(page.page.get()), prev_page_lsn, op, undo })
}

fn decode_key_undo<'a>(op: &PageOp<'a>, body: &mut Body<'a>) -> Result<KeyUndo<'a>, RecordFault> {
    let fields: KeyUndoBody = *body.take()?;
    let key = body.bytes(fields.key_bytes.get().into())?;
    if own_key(op) == Some(key) {
        return fault("a key that stands in its record twice");
    }
    let action = decode_action(fields.action, body)?;
    Ok(KeyUndo { tree: PageId(fields.tree.get()), key, action })
}

fn decode_own_key_undo<'a>(
    op: &PageOp<'a>,
    body: &mut Body<'a>,
) -> Result<KeyUndo<'a>, RecordFault> {
    let fields: OwnKeyUndoBody = *body.take()?;
    let Some(key) = own_key(op) else {
        return fault(format!("{} puts no key there", op.name()));
    };
    let action = decode_action(fields.action, body)?;
    Ok(KeyUndo { tree: PageId(fields.tree.get()), key, action })
}

fn decode_action<'a>(action: u8, body: &mut Body<'a>) -> Result<KeyAction<'a>, RecordFault> {
    Ok(match action {
        KEY_REMOVE => KeyAction::Remove,
        KEY_REVIVE => KeyAction::Revive,
        KEY_PATCH => {
            let patch: KeyPatchBody = *body.take()?;
            let (offset, bytes) = (patch.offset.get(), body.bytes(patch.bytes.get().into())?);
            KeyAction::Patch { offset, bytes }
        }
        action => return fault(format!("{action} is nothing to do to a key")),
    })
}

fn decode_structure_change<'a>(
    link: TransactionLink,
    body: &mut Body<'a>,
) -> Result<StructureChange<'a>, RecordFault> {
    let count: &U16 = body.take()?;
    let count = usize::from(count.get());
    if !(1..=MOST_CHANGES).contains(&count) {
        return fault(format!("a structure change of {count} pages"));
    }
    let mut changes: Vec<PageChange<'a>> = Vec::with_capacity(count);
    for _ in 0..count {
        let fields: SeveralBody = *body.take()?;
        let mut op = Body(body.bytes(fields.op_bytes.get() as usize)?);
        let page = PageId(fields.on.page.get());
        if changes.last().is_some_and(|before| before.page >= page) {
            return fault("a structure change whose pages are not in order");
        }
        let prev_page_lsn = Lsn::new(fields.on.prev_page_lsn.get());
        changes.push(PageChange { page, prev_page_lsn, op: op.op()? });
        op.end()?;
    }
    Ok(StructureChange { link, changes })
}

fn decode_key_change<'a>(
    link: TransactionLink,
    body: &mut Body<'a>,
) -> Result<KeyChange<'a>, RecordFault> {
    let fields: KeyChangeBody = *body.take()?;
    let table = body.bytes(fields.table_bytes.get().into())?;
    let key = body.bytes(fields.key_bytes.get().into())?;
    let (old, new) = (decode_told(fields.old, body)?, decode_told(fields.new, body)?);
    let wall_time_micros = fields.wall_time_micros.get();
    Ok(KeyChange { link, wall_time_micros, table, key, old, new })
}

fn decode_told<'a>(
    fields: ToldBody,
    body: &mut Body<'a>,
) -> Result<Option<ToldValue<'a>>, RecordFault> {
    let (length, bytes) = (fields.length.get(), fields.bytes.get());
    match length {
        NO_VALUE if bytes == 0 => Ok(None),
        NO_VALUE => fault("bytes of a value that there is not"),
        _ if length < bytes.into() => fault("a value told with more bytes than it has"),
        _ => Ok(Some(ToldValue { length, bytes: body.bytes(bytes.into())? })),
    }
}

fn decode_other<'a>(kind: u8, body: &mut Body<'a>) -> Result<LogRecord<'a>, RecordFault> {
    Ok(match kind {
        BEGIN_CHECKPOINT => {
            let begin: &BeginBody = body.take()?;
            LogRecord::BeginCheckpoint(BeginCheckpoint {
                durable_lsn: some_lsn(begin.durable_lsn, "durable_lsn")?,
                restart_lsn: some_lsn(begin.restart_lsn, "restart_lsn")?,
            })
        }
        END_CHECKPOINT => LogRecord::EndCheckpoint(decode_end_checkpoint(body)?),
        PAGE_IMAGE => {
            let page: &PageBody = body.take()?;
            let op = body.op()?;
            if !matches!(op, PageOp::Image { .. }) {
                return fault(format!("a page image that is none: {}", op.name()));
            }
            let prev_page_lsn = Lsn::new(page.prev_page_lsn.get());
            LogRecord::PageImage(PageImage { page: PageId(page.page.get()), prev_page_lsn, op })
        }
        RESTART => LogRecord::Restart(decode_restart(body.take()?)?),
        kind => return fault(format!("{kind} is no kind of log record")),
    })
}

fn decode_restart(restart: &RestartBody) -> Result<Restart, RecordFault> {
    let previous = Lsn::new(restart.previous_lsn.get());
    let epoch = restart.previous_epoch.get();
    if previous.is_none() && epoch != 0 {
        return fault("an epoch of a run before, and no such run");
    }
    Ok(Restart {
        durable_lsn: some_lsn(restart.durable_lsn, "durable_lsn")?,
        epoch: restart.epoch.get(),
        next_txn: some_txn(restart.next_txn, "next_txn")?,
        previous: previous.map(|lsn| EpochStart { lsn, epoch }),
    })
}

fn decode_end_checkpoint(body: &mut Body<'_>) -> Result<EndCheckpoint, RecordFault> {
    let end: EndCheckpointBody = *body.take()?;
    if end.part.get() >= end.parts.get() {
        return fault(format!("part {} of {} parts", end.part, end.parts));
    }
    // The counts are not trusted with memory: lines are taken until the body runs out.
    let mut dirty_pages = Vec::new();
    for _ in 0..end.dirty_pages.get() {
        let line: &DirtyPageLine = body.take()?;
        dirty_pages.push((PageId(line.page.get()), some_lsn(line.rec_lsn, "rec_lsn")?));
    }
    let mut transactions = Vec::new();
    for _ in 0..end.transactions.get() {
        transactions.push(decode_transaction_line(body.take()?)?);
    }
    Ok(EndCheckpoint {
        durable_lsn: some_lsn(end.durable_lsn, "durable_lsn")?,
        begin_lsn: some_lsn(end.begin_lsn, "begin_lsn")?,
        next_txn: some_txn(end.next_txn, "next_txn")?,
        part: end.part.get(),
        parts: end.parts.get(),
        dirty_pages,
        transactions,
    })
}

fn decode_transaction_line(
    line: &TransactionLine,
) -> Result<(TxnId, TransactionEntry), RecordFault> {
    let entry = TransactionEntry {
        state: state_of(line.state)?,
        first_lsn: Lsn::new(line.first_lsn.get()),
        last_lsn: Lsn::new(line.last_lsn.get()),
        undo_next_lsn: Lsn::new(line.undo_next_lsn.get()),
    };
    if entry.first_lsn > entry.last_lsn || entry.undo_next_lsn > entry.last_lsn {
        return fault("a transaction's LSNs contradict each other");
    }
    if entry.first_lsn.is_none() != entry.last_lsn.is_none() {
        return fault("a transaction's LSNs contradict each other");
    }
    if line.reserved != [0; 7] {
        return fault("bytes that are always zero are not");
    }
    Ok((some_txn(line.txn, "transaction")?, entry))
}
