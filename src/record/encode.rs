//! From records to bytes.

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::layout::*;
use super::{
    CompensationLogRecord, EndCheckpoint, KeyAction, KeyChange, KeyUndo, LogRecord,
    StructureChange, ToldValue, Undo, Update, own_key, prepare,
};
use crate::ids::{Lsn, PageId};
use crate::tables::TransactionState;

/// A record in bytes, complete but for its checksum, which needs its LSN and epoch.
#[derive(Default)]
pub struct EncodedRecord {
    bytes: Vec<u8>,
    /// Of all bytes but the checksum's own.
    crc: u32,
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
        self.bytes[4..8].copy_from_slice(&length.to_le_bytes());
        self.crc = crc32fast::hash(&self.bytes[4..]);
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
        let checksum = self.crc ^ mixed(lsn, epoch);
        out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
        out.resize(start + padded(self.bytes.len()), 0);
    }
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
        LogRecord::Prepare(_) => PREPARE,
        LogRecord::BeginCheckpoint(_) => BEGIN_CHECKPOINT,
        LogRecord::EndCheckpoint(_) => END_CHECKPOINT,
        LogRecord::Restart(_) => RESTART,
        LogRecord::Filler => FILLER,
        LogRecord::PageImage(_) => PAGE_IMAGE,
        LogRecord::StructureChange(_) => STRUCTURE_CHANGE,
        LogRecord::KeyChange(_) => KEY_CHANGE,
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
        LogRecord::Prepare(record) => prepare::encode(record, out),
        LogRecord::BeginCheckpoint(begin) => out.extend_from_slice(
            BeginBody {
                durable_lsn: U64::new(begin.durable_lsn.get()),
                restart_lsn: U64::new(begin.restart_lsn.get()),
            }
            .as_bytes(),
        ),
        LogRecord::EndCheckpoint(end) => encode_end_checkpoint(end, out),
        LogRecord::PageImage(image) => {
            push_page_body(image.page, image.prev_page_lsn, out);
            image.op.encode(out);
        }
        LogRecord::StructureChange(record) => encode_structure_change(record, out),
        LogRecord::KeyChange(record) => encode_key_change(record, out),
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
        Undo::Key(undo) => encode_key_undo(&undo, own_key(&update.op), out),
    }
}

/// The undo of an update whose operation puts a cell with this key there.
fn encode_key_undo(undo: &KeyUndo<'_>, own_key: Option<&[u8]>, out: &mut Vec<u8>) {
    let short = |length: usize| U16::new(u16::try_from(length).expect("it fits into a page"));
    let action = match undo.action {
        KeyAction::Remove => KEY_REMOVE,
        KeyAction::Revive => KEY_REVIVE,
        KeyAction::Patch { .. } => KEY_PATCH,
    };
    let tree = U64::new(undo.tree.0);
    if own_key == Some(undo.key) {
        out.push(UNDO_OWN_KEY);
        out.extend_from_slice(OwnKeyUndoBody { tree, action }.as_bytes());
    } else {
        out.push(UNDO_KEY);
        let body = KeyUndoBody { tree, action, key_bytes: short(undo.key.len()) };
        out.extend_from_slice(body.as_bytes());
        out.extend_from_slice(undo.key);
    }
    if let KeyAction::Patch { offset, bytes } = undo.action {
        let body = KeyPatchBody { offset: U16::new(offset), bytes: short(bytes.len()) };
        out.extend_from_slice(body.as_bytes());
        out.extend_from_slice(bytes);
    }
}

fn encode_structure_change(record: &StructureChange<'_>, out: &mut Vec<u8>) {
    let changes = &record.changes;
    assert!((1..=MOST_CHANGES).contains(&changes.len()), "so many pages at once");
    assert!(changes.is_sorted_by(|a, b| a.page < b.page), "each page once, in order");
    let count = u16::try_from(changes.len()).expect("at most 32");
    out.extend_from_slice(&count.to_le_bytes());
    for change in changes {
        let prev_page_lsn = stored(change.prev_page_lsn);
        let on = PageBody { page: U64::new(change.page.0), prev_page_lsn };
        let op_bytes = u32::try_from(change.op.encoded_len()).expect("it fits into a record");
        out.extend_from_slice(SeveralBody { on, op_bytes: U32::new(op_bytes) }.as_bytes());
        change.op.encode(out);
    }
}

fn encode_key_change(record: &KeyChange<'_>, out: &mut Vec<u8>) {
    let short = |bytes: &[u8]| U16::new(u16::try_from(bytes.len()).expect("it fits into a record"));
    let told = |value: Option<ToldValue<'_>>| ToldBody {
        length: U32::new(value.map_or(NO_VALUE, |value| value.length)),
        bytes: short(value.map_or(&[], |value| value.bytes)),
    };
    let body = KeyChangeBody {
        wall_time_micros: U64::new(record.wall_time_micros),
        table_bytes: short(record.table),
        key_bytes: short(record.key),
        old: told(record.old),
        new: told(record.new),
    };
    out.extend_from_slice(body.as_bytes());
    out.extend_from_slice(record.table);
    out.extend_from_slice(record.key);
    for value in [record.old, record.new].into_iter().flatten() {
        assert!(value.bytes.len() <= value.length as usize, "no more is told than there is");
        out.extend_from_slice(value.bytes);
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
        next_txn: U64::new(end.next_txn.get()),
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
        TransactionState::Prepared => 3,
    }
}
