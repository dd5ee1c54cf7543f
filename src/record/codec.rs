//! Bytes of log records: see `docs/format.md` for every field.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    BeginCheckpoint, Commit, CompensationLogRecord, End, EndCheckpoint, EpochStart, LogRecord,
    NestedTopActionEnd, Restart, Rollback, TransactionLink, Undo, Update,
};
use crate::ids::{Lsn, PageId, TxnId};
use crate::page::PageOp;
use crate::tables::{TransactionEntry, TransactionState};

/// Records begin at multiples of this many bytes.
pub const ALIGNMENT: usize = 8;

/// Bytes of the header that every record begins with.
pub const HEADER_BYTES: usize = size_of::<Header>();

/// Bytes of a compensation record beside those of its operation.
pub const COMPENSATION_FIELDS_BYTES: usize = HEADER_BYTES + size_of::<PageBody>() + 8;

/// Room beside two images of a page's bytes: header and fields of an update record.
const FIELDS_BYTES: usize = 256;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Header {
    length: U32,
    crc: U32,
    kind: u8,
    reserved: [u8; 3],
    txn: U64,
    prev_lsn: U64,
}

const _: () = assert!(size_of::<Header>() == 28);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct PageBody {
    page: U64,
    prev_page_lsn: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct CommitBody {
    durable_lsn: U64,
    wall_time_micros: U64,
    frees_pages: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct BeginBody {
    durable_lsn: U64,
    next_txn: U64,
    restart_lsn: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct EndCheckpointBody {
    durable_lsn: U64,
    begin_lsn: U64,
    part: U32,
    parts: U32,
    dirty_pages: U32,
    transactions: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct DirtyPageLine {
    page: U64,
    rec_lsn: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct TransactionLine {
    txn: U64,
    state: u8,
    reserved: [u8; 7],
    first_lsn: U64,
    last_lsn: U64,
    undo_next_lsn: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RestartBody {
    durable_lsn: U64,
    epoch: U64,
    next_txn: U64,
    previous_lsn: U64,
    previous_epoch: U64,
}

const _: () = assert!(size_of::<PageBody>() == 16);
const _: () = assert!(size_of::<CommitBody>() == 17);
const _: () = assert!(size_of::<BeginBody>() == 24);
const _: () = assert!(size_of::<EndCheckpointBody>() == 32);
const _: () = assert!(size_of::<DirtyPageLine>() == 16);
const _: () = assert!(size_of::<TransactionLine>() == 40);
const _: () = assert!(size_of::<RestartBody>() == 40);

const UPDATE: u8 = 1;
const COMPENSATION: u8 = 2;
const COMMIT: u8 = 3;
const ROLLBACK: u8 = 4;
const END: u8 = 5;
const NESTED_TOP_ACTION_END: u8 = 6;
const BEGIN_CHECKPOINT: u8 = 7;
const END_CHECKPOINT: u8 = 8;
const RESTART: u8 = 9;
/// The kind byte of filler.
pub const FILLER: u8 = 10;

const UNDO_NONE: u8 = 0;
const UNDO_PHYSICAL: u8 = 1;

/// What is wrong with bytes that should be a log record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct RecordFault(String);

fn fault<T>(what: impl Into<String>) -> Result<T, RecordFault> {
    Err(RecordFault(what.into()))
}

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

/// A record in bytes, complete but for its checksum, which needs its LSN and epoch.
#[derive(Default)]
pub struct EncodedRecord {
    bytes: Vec<u8>,
    body_crc: crc32fast::Hasher,
}

impl EncodedRecord {
    /// Encodes `record`.
    #[must_use]
    pub fn new(record: &LogRecord<'_>) -> Self {
        let mut encoded = Self::default();
        encoded.set(record);
        encoded
    }

    /// Encodes `record` in place of what was here, keeping the memory.
    pub fn set(&mut self, record: &LogRecord<'_>) {
        self.bytes.clear();
        encode(record, &mut self.bytes);
        self.finish();
    }

    /// A record that fills `length` bytes.
    ///
    /// # Panics
    /// If `length` is less than a header.
    #[must_use]
    pub fn filler(length: usize) -> Self {
        assert!(length >= HEADER_BYTES, "a filler needs its header");
        let mut encoded = Self::default();
        push_header(&LogRecord::Filler, &mut encoded.bytes);
        encoded.bytes.resize(length, 0);
        encoded.finish();
        encoded
    }

    fn finish(&mut self) {
        let length = u32::try_from(self.bytes.len()).expect("a record is far below 4 GiB");
        self.bytes[0..4].copy_from_slice(&length.to_le_bytes());
        self.body_crc = crc32fast::Hasher::new();
        self.body_crc.update(&self.bytes[0..4]);
        self.body_crc.update(&self.bytes[8..]);
    }

    /// Length in bytes, padding not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was encoded yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends the bytes with the checksum for `lsn` and `epoch`, and the padding, to `out`.
    pub fn append_to(&self, lsn: Lsn, epoch: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let crc = seeded(self.body_crc.clone(), lsn, epoch);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        out.resize(start + padded(self.bytes.len()), 0);
    }
}

fn seeded(mut crc: crc32fast::Hasher, lsn: Lsn, epoch: u64) -> u32 {
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&lsn.get().to_le_bytes());
    seed[8..].copy_from_slice(&epoch.to_le_bytes());
    crc.update(&seed);
    crc.finalize()
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
    matches!(kind, COMMIT | END | BEGIN_CHECKPOINT | END_CHECKPOINT | RESTART)
}

/// Whether `record` (exactly its bytes, see [`peek_length`]) was written at `lsn` in `epoch`.
#[must_use]
pub fn verify(record: &[u8], lsn: Lsn, epoch: u64) -> bool {
    let Ok((header, body)) = Header::ref_from_prefix(record) else { return false };
    if header.length.get() as usize != record.len() {
        return false;
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&record[0..4]);
    crc.update(&record[8..HEADER_BYTES]);
    crc.update(body);
    seeded(crc, lsn, epoch) == header.crc.get()
}

fn push_header(record: &LogRecord<'_>, out: &mut Vec<u8>) {
    let link = record.link();
    let header = Header {
        length: U32::ZERO,
        crc: U32::ZERO,
        kind: kind_of(record),
        reserved: [0; 3],
        txn: U64::new(link.map_or(0, |link| link.txn.get())),
        prev_lsn: stored(link.and_then(|link| link.prev_lsn)),
    };
    out.extend_from_slice(header.as_bytes());
}

const fn kind_of(record: &LogRecord<'_>) -> u8 {
    match record {
        LogRecord::Update(_) => UPDATE,
        LogRecord::Compensation(_) => COMPENSATION,
        LogRecord::Commit(_) => COMMIT,
        LogRecord::Rollback(_) => ROLLBACK,
        LogRecord::End(_) => END,
        LogRecord::NestedTopActionEnd(_) => NESTED_TOP_ACTION_END,
        LogRecord::BeginCheckpoint(_) => BEGIN_CHECKPOINT,
        LogRecord::EndCheckpoint(_) => END_CHECKPOINT,
        LogRecord::Restart(_) => RESTART,
        LogRecord::Filler => FILLER,
    }
}

fn stored(lsn: Option<Lsn>) -> U64 {
    U64::new(Lsn::to_stored(lsn))
}

fn encode(record: &LogRecord<'_>, out: &mut Vec<u8>) {
    push_header(record, out);
    match record {
        LogRecord::Update(update) => encode_update(update, out),
        LogRecord::Compensation(record) => encode_compensation(record, out),
        LogRecord::Commit(commit) => out.extend_from_slice(
            CommitBody {
                durable_lsn: U64::new(commit.durable_lsn.get()),
                wall_time_micros: U64::new(commit.wall_time_micros),
                frees_pages: u8::from(commit.frees_pages),
            }
            .as_bytes(),
        ),
        LogRecord::Rollback(_) | LogRecord::Filler => {}
        LogRecord::End(end) => out.extend_from_slice(&end.durable_lsn.get().to_le_bytes()),
        LogRecord::NestedTopActionEnd(end) => {
            out.extend_from_slice(stored(end.undo_next_lsn).as_bytes());
        }
        LogRecord::BeginCheckpoint(begin) => out.extend_from_slice(
            BeginBody {
                durable_lsn: U64::new(begin.durable_lsn.get()),
                next_txn: U64::new(begin.next_txn.get()),
                restart_lsn: U64::new(begin.restart_lsn.get()),
            }
            .as_bytes(),
        ),
        LogRecord::EndCheckpoint(end) => encode_end_checkpoint(end, out),
        LogRecord::Restart(restart) => out.extend_from_slice(
            RestartBody {
                durable_lsn: U64::new(restart.durable_lsn.get()),
                epoch: U64::new(restart.epoch),
                next_txn: U64::new(restart.next_txn.get()),
                previous_lsn: stored(restart.previous.map(|run| run.lsn)),
                previous_epoch: U64::new(restart.previous.map_or(0, |run| run.epoch)),
            }
            .as_bytes(),
        ),
    }
}

fn push_page_body(page: PageId, prev_page_lsn: Option<Lsn>, out: &mut Vec<u8>) {
    let body = PageBody { page: U64::new(page.0), prev_page_lsn: stored(prev_page_lsn) };
    out.extend_from_slice(body.as_bytes());
}

fn encode_update(update: &Update<'_>, out: &mut Vec<u8>) {
    push_page_body(update.page, update.prev_page_lsn, out);
    update.op.encode(out);
    match update.undo {
        Undo::RedoOnly => out.push(UNDO_NONE),
        Undo::Physical(op) => {
            out.push(UNDO_PHYSICAL);
            op.encode(out);
        }
    }
}

fn encode_compensation(record: &CompensationLogRecord<'_>, out: &mut Vec<u8>) {
    push_page_body(record.page, record.prev_page_lsn, out);
    out.extend_from_slice(stored(record.undo_next_lsn).as_bytes());
    record.op.encode(out);
}

fn encode_end_checkpoint(end: &EndCheckpoint, out: &mut Vec<u8>) {
    let count = |n: usize| U32::new(u32::try_from(n).expect("a part holds few lines"));
    let body = EndCheckpointBody {
        durable_lsn: U64::new(end.durable_lsn.get()),
        begin_lsn: U64::new(end.begin_lsn.get()),
        part: U32::new(end.part),
        parts: U32::new(end.parts),
        dirty_pages: count(end.dirty_pages.len()),
        transactions: count(end.transactions.len()),
    };
    out.extend_from_slice(body.as_bytes());
    for (page, rec_lsn) in &end.dirty_pages {
        let line = DirtyPageLine { page: U64::new(page.0), rec_lsn: U64::new(rec_lsn.get()) };
        out.extend_from_slice(line.as_bytes());
    }
    for (txn, entry) in &end.transactions {
        let line = TransactionLine {
            txn: U64::new(txn.get()),
            state: state_byte(entry.state),
            reserved: [0; 7],
            first_lsn: stored(entry.first_lsn),
            last_lsn: stored(entry.last_lsn),
            undo_next_lsn: stored(entry.undo_next_lsn),
        };
        out.extend_from_slice(line.as_bytes());
    }
}

const fn state_byte(state: TransactionState) -> u8 {
    match state {
        TransactionState::Active => 0,
        TransactionState::RollingBack => 1,
        TransactionState::Committing => 2,
    }
}

fn state_of(byte: u8) -> Result<TransactionState, RecordFault> {
    match byte {
        0 => Ok(TransactionState::Active),
        1 => Ok(TransactionState::RollingBack),
        2 => Ok(TransactionState::Committing),
        _ => fault(format!("{byte} is no state of a transaction")),
    }
}

/// Takes fixed structures off the front of a record's body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take<T: FromBytes + Immutable + KnownLayout + Unaligned>(
        &mut self,
    ) -> Result<&'a T, RecordFault> {
        let Ok((value, rest)) = T::ref_from_prefix(self.0) else {
            return fault("the record is too short for its kind");
        };
        self.0 = rest;
        Ok(value)
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

fn some_lsn(value: U64, what: &str) -> Result<Lsn, RecordFault> {
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
    if (1..=6).contains(&header.kind) != link.is_some() {
        return fault("the record's kind does not go with its transaction");
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
                frees_pages: commit.frees_pages != 0,
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
        tag => return fault(format!("{tag} is no kind of undo")),
    };
    let prev_page_lsn = Lsn::new(page.prev_page_lsn.get());
    Ok(Update { link, page: PageId(page.page.get()), prev_page_lsn, op, undo })
}

fn decode_other<'a>(kind: u8, body: &mut Body<'a>) -> Result<LogRecord<'a>, RecordFault> {
    Ok(match kind {
        BEGIN_CHECKPOINT => {
            let begin: &BeginBody = body.take()?;
            LogRecord::BeginCheckpoint(BeginCheckpoint {
                durable_lsn: some_lsn(begin.durable_lsn, "durable_lsn")?,
                next_txn: some_txn(begin.next_txn, "next_txn")?,
                restart_lsn: some_lsn(begin.restart_lsn, "restart_lsn")?,
            })
        }
        END_CHECKPOINT => LogRecord::EndCheckpoint(decode_end_checkpoint(body)?),
        RESTART => {
            let restart: &RestartBody = body.take()?;
            LogRecord::Restart(Restart {
                durable_lsn: some_lsn(restart.durable_lsn, "durable_lsn")?,
                epoch: restart.epoch.get(),
                next_txn: some_txn(restart.next_txn, "next_txn")?,
                previous: Lsn::new(restart.previous_lsn.get())
                    .map(|lsn| EpochStart { lsn, epoch: restart.previous_epoch.get() }),
            })
        }
        kind => return fault(format!("{kind} is no kind of log record")),
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
    Ok((some_txn(line.txn, "transaction")?, entry))
}
