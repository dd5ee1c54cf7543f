//! What fuzzing has found (`docs/fuzzing.md`), each as an input by hand.

use aries::disk::SimDisk;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use aries::Error;
use aries::ids::{Lsn, PageId, TxnId};
use aries::page::{PageOp, PageState};
use aries::record::{
    self, BeginCheckpoint, Commit, EncodedRecord, EndCheckpoint, EpochStart, LogRecord, Prepare,
    Restart, TransactionLink, Undo, Update,
};
use aries::tables::TransactionEntry;

use crate::common::{Image, SEGMENT_BYTES, Work, disk_of, image, mend, open, try_open, value};

const FIRST_SEGMENT: &str = "log/0000000000000001.seg";

/// A database that crashed after three runs, each of which committed something.
fn crashed() -> Image {
    let disk = SimDisk::new();
    for number in 0..3 {
        Work::default().commit_one(&open(&disk), &value(number, 30)).unwrap();
    }
    image(&disk)
}

/// Puts a record into a segment whose first byte is byte 0 of the log.
fn put(segment: &mut [u8], at: usize, record: &LogRecord<'_>, epoch: u64) {
    let mut bytes = Vec::new();
    EncodedRecord::new(record).append_to(lsn(at as u64), epoch, &mut bytes);
    segment[at..at + bytes.len()].copy_from_slice(&bytes);
}

/// Puts a restart record behind the end of the log, that of a run that did nothing else.
fn put_restart(image: &mut Image, epoch: u64, next_txn: TxnId) {
    let segment = image.get_mut(FIRST_SEGMENT).unwrap();
    let records = mend::records(segment);
    let end = records.last().unwrap().end.next_multiple_of(8);
    let mut runs = records.into_iter().filter_map(|range| {
        let at = lsn(range.start as u64);
        match record::decode(&segment[range]) {
            Ok(LogRecord::Restart(run)) => Some(EpochStart { lsn: at, epoch: run.epoch }),
            _ => None,
        }
    });
    let (durable_lsn, previous) = (lsn(end as u64), runs.next_back());
    let restart = Restart { durable_lsn, epoch, previous, next_txn };
    put(segment, end, &LogRecord::Restart(restart), epoch);
}

/// A log segment with this number, of the database that `image` is of, with nothing in it.
fn empty_segment(image: &Image, number: u64) -> Vec<u8> {
    let mut segment = image[FIRST_SEGMENT].clone();
    segment[4096..].fill(0);
    segment[32..40].copy_from_slice(&number.to_le_bytes());
    mend::segment_header(&mut segment);
    segment
}

/// Does it in another thread, and fails if that takes too long.
fn in_time(test: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        done.send(()).unwrap();
    });
    match is_done.recv_timeout(Duration::from_secs(60)) {
        Err(RecvTimeoutError::Timeout) => panic!("it takes for ever"),
        _ => thread.join().unwrap(),
    }
}

/// Changes both slots of the control file.
fn change_control(image: &mut Image, change: impl Fn(&mut [u8])) {
    for slot in image.get_mut("control").unwrap().chunks_mut(4096) {
        change(slot);
        mend::control_slot(slot);
    }
}

/// Asserts that opening is refused as damage, and that nothing was changed by it.
fn assert_damaged(damaged: &Image) -> String {
    let disk = disk_of(damaged);
    let error = try_open(&disk).map(drop).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(image(&disk) == *damaged, "refusing changed the disk: {error}");
    error.to_string()
}

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

/// The highest epoch that a slot may have has no next one. The next open wrote it all the same, to both
/// slots, and neither could be read any more.
#[test]
fn an_epoch_without_a_next_is_refused_and_nothing_is_lost() {
    let mut image = crashed();
    change_control(&mut image, |slot| slot[56..64].copy_from_slice(&(u64::MAX / 2).to_le_bytes()));
    let error = assert_damaged(&image);
    assert!(error.contains("control") && error.contains("9223372036854775808"), "{error}");
}

/// The same for the number of a change of the control file.
#[test]
fn a_sequence_without_a_next_is_refused_and_nothing_is_lost() {
    let mut image = crashed();
    change_control(&mut image, |slot| slot[48..56].copy_from_slice(&(u64::MAX / 2).to_le_bytes()));
    let error = assert_damaged(&image);
    assert!(error.contains("control") && error.contains("9223372036854775808"), "{error}");
}

/// A restart record at the log's end, of an epoch to which no one can be added: an overflow.
#[test]
fn the_highest_epoch_in_the_log_is_refused() {
    let mut image = crashed();
    put_restart(&mut image, u64::MAX, txn(100));
    assert_damaged(&image);
}

/// The last transaction number there is was given out, and then there was none for the next: a panic.
#[test]
fn a_transaction_number_that_leaves_none_for_others_is_refused() {
    let mut image = crashed();
    put_restart(&mut image, 100, txn(u64::MAX));
    let error = assert_damaged(&image);
    assert!(error.contains("leaves none for others"), "{error}");
}

/// The last number that readers believe was given out, and the next one was written: the database could not be
/// opened any more.
#[test]
fn the_last_transaction_numbers_are_given_out_and_no_more() {
    let mut image = crashed();
    put_restart(&mut image, 100, txn(TxnId::LIMIT - 2));
    let disk = disk_of(&image);
    let db = open(&disk);
    let (mut first, mut second) = (db.begin().unwrap(), db.begin().unwrap());
    first.allocate_page().unwrap();
    second.allocate_page().unwrap();
    first.commit().unwrap();
    for _ in 0..2 {
        let error = db.begin().map(drop).unwrap_err();
        assert!(error.to_string().contains("no transaction number left"), "{error}");
    }
    second.commit().unwrap();
    db.checkpoint().unwrap();
    drop(db);
    drop(open(&disk));
}

/// Behind the end of the log all segments up to the last one were looked for, one number after the other.
#[test]
fn a_segment_with_a_high_number_keeps_nobody_waiting() {
    in_time(|| {
        let mut image = crashed();
        let (name, number) = ("log/0000099999999999.seg", 99_999_999_999);
        let segment = empty_segment(&image, number);
        image.insert(name.into(), segment);
        drop(open(&disk_of(&image)));
    });
}

/// A log that goes to the highest LSN there is: behind its last record an overflow.
#[test]
fn a_log_at_the_end_of_all_numbers_is_refused() {
    let mut image = crashed();
    let number = u64::MAX / SEGMENT_BYTES + 1;
    let start = (number - 1) * SEGMENT_BYTES;
    let mut segment = empty_segment(&image, number);
    let (durable_lsn, begin_lsn, next_txn) = (lsn(4096), lsn(start + 4096), txn(1));
    let records = [
        LogRecord::BeginCheckpoint(BeginCheckpoint { durable_lsn, restart_lsn: lsn(4096) }),
        LogRecord::EndCheckpoint(EndCheckpoint {
            durable_lsn,
            begin_lsn,
            next_txn,
            part: 0,
            parts: 1,
            dirty_pages: Vec::new(),
            transactions: Vec::new(),
        }),
    ];
    let mut bytes = Vec::new();
    for record in &records {
        let at = lsn(begin_lsn.get() + bytes.len() as u64);
        EncodedRecord::new(record).append_to(at, 1, &mut bytes);
    }
    let at = lsn(begin_lsn.get() + bytes.len() as u64);
    EncodedRecord::filler(segment.len() - 4096 - bytes.len()).append_to(at, 1, &mut bytes);
    segment[4096..].copy_from_slice(&bytes);
    image.insert(format!("log/{number:016}.seg"), segment);
    change_control(&mut image, |slot| {
        slot[64..72].copy_from_slice(&begin_lsn.get().to_le_bytes());
        slot[72..80].copy_from_slice(&1_u64.to_le_bytes());
        slot[80..88].copy_from_slice(&begin_lsn.get().to_le_bytes());
    });
    assert_damaged(&image);
}

/// The control file counts fewer pages than the log has changed. Redo took the others from the file all the
/// same, where they could not be written again: a panic.
#[test]
fn pages_beyond_the_counted_ones_are_refused() {
    for pages in 1..3_u64 {
        let mut image = crashed();
        change_control(&mut image, |slot| slot[96..104].copy_from_slice(&pages.to_le_bytes()));
        let error = try_open(&disk_of(&image)).map(|db| db.flush_pages()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("counts"), "{error}");
    }
}

/// A restart record that names another run as the one before was believed; when the log was followed
/// backwards the next time, the runs between were missing, and it could not be opened any more.
#[test]
fn a_restart_record_that_leaves_runs_out_is_refused() {
    let mut image = crashed();
    let segment = image.get_mut(FIRST_SEGMENT).unwrap();
    let end = mend::records(segment).last().unwrap().end.next_multiple_of(8);
    let previous = Some(EpochStart { lsn: lsn(4096), epoch: 1 });
    let (durable_lsn, epoch) = (lsn(end as u64), 100);
    let restart = Restart { durable_lsn, epoch, previous, next_txn: txn(100) };
    put(segment, end, &LogRecord::Restart(restart), epoch);
    let error = assert_damaged(&image);
    assert!(error.contains("the run before: 000000004096"), "{error}");
}
