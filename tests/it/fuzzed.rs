//! What fuzzing has found (`docs/fuzzing.md`), each as an input by hand.

use aries::ids::{Lsn, PageId, TxnId};
use aries::page::{PageOp, PageState};
use aries::record::{
    self, Commit, EncodedRecord, EndCheckpoint, LogRecord, Prepare, Restart, TransactionLink, Undo,
    Update,
};
use aries::tables::TransactionEntry;

fn lsn(at: u64) -> Lsn {
    Lsn::new(at).unwrap()
}

fn txn(number: u64) -> TxnId {
    TxnId::new(number).unwrap()
}

fn link() -> TransactionLink {
    TransactionLink { txn: txn(1), prev_lsn: None }
}

/// Asserts that the record is none any more when its byte `at` is 2.
fn assert_refused(record: &LogRecord<'_>, at: usize) {
    let mut bytes = Vec::new();
    EncodedRecord::new(record).append_to(lsn(8192), 1, &mut bytes);
    bytes.truncate(record::peek_length(&bytes).unwrap());
    assert_eq!(record::decode(&bytes).as_ref(), Ok(record));
    bytes[at] = 2;
    assert!(record::decode(&bytes).is_err(), "{record} with byte {at} changed");
    assert_eq!(record::outline(&bytes, lsn(8192)), None, "{record} with byte {at} changed");
}

/// The decoder took bytes for a record that no engine would write for it: what is always zero, yes or
/// no, or the epoch of no run.
#[test]
fn a_record_has_one_encoding() {
    let (durable_lsn, frees_pages) = (lsn(4096), true);
    let op = PageOp::SetState { entry: 3, state: PageState::Used };
    let (page, prev_page_lsn, undo) = (PageId(0), None, Undo::RedoOnly);
    assert_refused(&LogRecord::Update(Update { link: link(), page, prev_page_lsn, op, undo }), 9);
    let commit = Commit { link: link(), durable_lsn, wall_time_micros: 0, frees_pages };
    assert_refused(&LogRecord::Commit(commit), 28 + 16);
    let locks = Vec::new();
    let prepare = Prepare {
        link: link(),
        durable_lsn,
        part: 0,
        parts: 1,
        global_id: b"id",
        frees_pages,
        locks,
    };
    assert_refused(&LogRecord::Prepare(prepare), 28 + 21);
    let restart = Restart { durable_lsn, epoch: 1, previous: None, next_txn: txn(1) };
    assert_refused(&LogRecord::Restart(restart), 28 + 32);
    let end = EndCheckpoint {
        durable_lsn,
        begin_lsn: lsn(4096),
        next_txn: txn(2),
        part: 0,
        parts: 1,
        dirty_pages: Vec::new(),
        transactions: vec![(txn(1), TransactionEntry::new())],
    };
    assert_refused(&LogRecord::EndCheckpoint(end), 28 + 40 + 9);
}
