//! A run may end, and the next begin, anywhere in a segment: also so near its end that the restart
//! record goes to the next one.

use std::sync::Arc;

use aries::config::LogBlock;
use aries::disk::{SimDisk, Survivors};
use aries::{Db, Options};

const SEGMENT: u64 = 65_536;

fn open(disk: &SimDisk) -> Db {
    open_with(disk, LogBlock::Rewritten)
}

fn open_with(disk: &SimDisk, block: LogBlock) -> Db {
    Options::new()
        .page_size(512)
        .segment_bytes(SEGMENT)
        .buffer_pool_bytes(16 * 512)
        .background(false)
        .log_block(block)
        .open_on(Arc::new(disk.clone()))
        .unwrap()
}

#[test]
fn a_run_may_begin_wherever_the_one_before_ended() {
    let padded = [LogBlock::Padded(512), LogBlock::Padded(4096)];
    // Two sectors, and around the last block's begin: there the next run's place changes.
    for left in (0..1_040).chain(4_000..4_200).step_by(8) {
        for block in padded {
            a_run_begins(left, block, LogBlock::Rewritten);
        }
        a_run_begins(left, padded[0], padded[1]);
        if left < 160 {
            a_run_begins(left, LogBlock::Rewritten, LogBlock::Rewritten);
        }
    }
}

/// The log of the first run, not padded, ends `left` bytes before its segment does; `second` and
/// `third` are how those of the next runs are written.
fn a_run_begins(left: u64, second: LogBlock, third: LogBlock) {
    {
        let disk = SimDisk::new();
        let db = open(&disk);
        let mut txn = db.begin().unwrap();
        let page = txn.allocate_page().unwrap();
        let slot = txn.insert_record(page, &[0; 300]).unwrap();
        txn.commit().unwrap();
        fill_segment_but_for(&db, left);
        assert_eq!(left_in_segment(&db), left);

        let disk = disk.crash(&Survivors::None);
        let db = open_with(&disk, second);
        let began = db.restart_report().undo.restart_lsn.get();
        if let LogBlock::Padded(bytes) = second {
            assert_eq!(began % bytes, 0, "{left} bytes left, {second:?}");
        }
        let mut txn = db.begin().unwrap();
        txn.write_record(page, slot, 0, b"acknowledged").unwrap();
        txn.commit().unwrap();
        let db = open_with(&disk.crash(&Survivors::None), third);
        let mut txn = db.begin().unwrap();
        let record = txn.read_record(page, slot).unwrap().unwrap();
        assert_eq!(&record[..12], b"acknowledged", "{left} bytes left, then {second:?}, {third:?}");
    }
}

fn left_in_segment(db: &Db) -> u64 {
    (SEGMENT - db.stats().end_lsn.get() % SEGMENT) % SEGMENT
}

/// Logs, by a transaction that never ends, until exactly `left` bytes are left in the segment.
pub fn fill_segment_but_for(db: &Db, left: u64) {
    let mut txn = db.begin().unwrap();
    let page = txn.allocate_page().unwrap();
    let slot = txn.insert_record(page, &[0; 400]).unwrap();
    for value in 1.. {
        let wanted = match left_in_segment(db) - left {
            0 => break,
            all @ ..=600 => all,
            all if all - 600 < 64 => 400,
            _ => 600,
        };
        // An update that changes n bytes takes 59 + 2 n bytes, rounded up to 8.
        let changed = (wanted as usize - 59) / 2;
        let before = left_in_segment(db);
        txn.write_record(page, slot, 0, &vec![(value % 251) as u8; changed]).unwrap();
        assert_eq!(before - left_in_segment(db), wanted);
    }
    db.force_log().unwrap();
    std::mem::forget(txn);
}
