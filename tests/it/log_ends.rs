//! A run may end, and the next begin, anywhere in a segment: also so near its end that the restart
//! record goes to the next one.

use std::sync::Arc;

use aries::disk::{SimDisk, Survivors};
use aries::{Db, Options};

const SEGMENT: u64 = 65_536;

fn open(disk: &SimDisk) -> Db {
    Options::new()
        .page_size(512)
        .segment_bytes(SEGMENT)
        .buffer_pool_bytes(16 * 512)
        .background(false)
        .open_on(Arc::new(disk.clone()))
        .unwrap()
}

#[test]
fn a_run_may_begin_wherever_the_one_before_ended() {
    for left in (0..160).step_by(8) {
        let disk = SimDisk::new();
        let db = open(&disk);
        let mut txn = db.begin().unwrap();
        let page = txn.allocate_page().unwrap();
        let slot = txn.insert_record(page, &[0; 300]).unwrap();
        txn.commit().unwrap();
        fill_segment_but_for(&db, left);
        assert_eq!(left_in_segment(&db), left);

        let disk = disk.crash(&Survivors::None);
        let db = open(&disk);
        let mut txn = db.begin().unwrap();
        txn.write_record(page, slot, 0, b"acknowledged").unwrap();
        txn.commit().unwrap();
        let db = open(&disk.crash(&Survivors::None));
        let mut txn = db.begin().unwrap();
        let record = txn.read_record(page, slot).unwrap().unwrap();
        assert_eq!(&record[..12], b"acknowledged", "with {left} bytes left in the segment");
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
