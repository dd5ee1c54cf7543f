//! Logs that end in awkward places, and logs without room.

use std::collections::BTreeSet;
use std::sync::Arc;

use aries::config::LogBlock;
use aries::disk::{Disk, Fault, FaultKind, PendingKind, SimDisk, Survivors};
use aries::ids::{PageId, SlotId, TxnId};
use aries::page::{PageState, space_map};
use aries::record::{EncodedRecord, LogRecord, Restart};
use aries::{Db, Error, Options};

use super::log_ends::fill_segment_but_for;

const SEGMENT: u64 = 65_536;
const PAGE_SIZE: usize = 512;

fn options() -> Options {
    Options::new()
        .page_size(PAGE_SIZE)
        .segment_bytes(SEGMENT)
        .buffer_pool_bytes(16 * PAGE_SIZE)
        .background(false)
}

const LOG_BLOCKS: [LogBlock; 3] =
    [LogBlock::Rewritten, LogBlock::Padded(512), LogBlock::Padded(4096)];

fn open(disk: &SimDisk) -> Db {
    open_with(disk, LogBlock::Rewritten)
}

fn open_with(disk: &SimDisk, block: LogBlock) -> Db {
    options().log_block(block).open_on(Arc::new(disk.clone())).unwrap()
}

fn with_record(bytes: &[u8]) -> (SimDisk, Db, PageId, SlotId) {
    with_record_in(bytes, LogBlock::Rewritten)
}

fn with_record_in(bytes: &[u8], block: LogBlock) -> (SimDisk, Db, PageId, SlotId) {
    let disk = SimDisk::new();
    let db = open_with(&disk, block);
    let mut txn = db.begin().unwrap();
    let page = txn.allocate_page().unwrap();
    let slot = txn.insert_record(page, bytes).unwrap();
    txn.commit().unwrap();
    (disk, db, page, slot)
}

/// On a full disk checkpoints stop before they take what a transaction needs to roll back.
#[test]
fn checkpoints_leave_the_log_that_rolling_back_needs() {
    LOG_BLOCKS.into_iter().for_each(checkpoints_leave_log);
}

fn checkpoints_leave_log(block: LogBlock) {
    let (disk, db, page, slot) = with_record_in(b"alice 100", block);
    let mut txn = db.begin().unwrap();
    txn.write_record(page, slot, 6, b"999").unwrap();
    disk.set_capacity(Some(0));
    let refused = (0..100_000).find_map(|_| db.checkpoint().err());
    assert!(matches!(refused, Some(Error::DiskFull { .. })), "{refused:?}");
    txn.rollback().unwrap();
    let mut txn = db.begin().unwrap();
    assert_eq!(txn.read_record(page, slot).unwrap().unwrap(), b"alice 100");
    txn.commit().unwrap();
    open_with(&disk.crash(&Survivors::None), block);
}

/// On a full disk a transaction that was let change something can take it back, one step after the
/// other with the log forced behind each, and so padded.
#[test]
fn rolling_back_never_meets_a_full_disk_however_often_the_log_is_forced() {
    for block in LOG_BLOCKS {
        let (disk, db, page, slot) = with_record_in(b"alice 100", block);
        db.checkpoint().unwrap();
        disk.set_capacity(Some(0));
        let mut txn = db.begin().unwrap();
        let mut savepoints = Vec::new();
        let error = loop {
            savepoints.push(txn.savepoint().unwrap());
            let value = (savepoints.len() as u16).to_le_bytes();
            if let Err(error) = txn.write_record(page, slot, 6, &value) {
                break error;
            }
            if savepoints.len() % 3 == 0 {
                db.force_log().unwrap();
            }
        };
        assert!(error.is_disk_full(), "{block:?}: {error}");
        let mut read_only = 0;
        for savepoint in savepoints.iter().skip(1).rev() {
            txn.rollback_to(*savepoint).unwrap();
            db.force_log().unwrap();
            // Others go on taking what they can get.
            read_only += u64::from(db.checkpoint().is_err());
        }
        assert!(savepoints.len() > 4, "{block:?}: only {} updates", savepoints.len());
        assert!(read_only > 0, "{block:?}: checkpoints were refused, too");
        txn.rollback().unwrap();
        db.force_log().unwrap();
        let db = open_with(&disk.crash(&Survivors::None), block);
        let mut txn = db.begin().unwrap();
        assert_eq!(txn.read_record(page, slot).unwrap().unwrap(), b"alice 100");
    }
}

/// However often: what is kept for restart is not used up, for each restart truncates the log.
#[test]
fn a_database_on_a_full_disk_can_be_opened_for_ever() {
    for block in LOG_BLOCKS {
        let (mut disk, db, page, slot) = with_record_in(b"alice 100", block);
        drop(db);
        disk.set_capacity(Some(0));
        let times = if block == LogBlock::Rewritten { 3_000 } else { 300 };
        for _ in 0..times {
            disk = disk.crash(&Survivors::None);
            open_with(&disk, block);
        }
        let mut txn = open_with(&disk, block).begin().unwrap();
        assert_eq!(txn.read_record(page, slot).unwrap().unwrap(), b"alice 100");
    }
}

/// Whoever allocates a page and is told that it failed has no page.
#[test]
fn an_allocation_that_fails_for_want_of_log_leaves_no_page_in_use() {
    let disk = SimDisk::new();
    let db = open(&disk);
    let mut txn = db.begin().unwrap();
    let mut pages: Vec<PageId> = (0..2_400).map(|_| txn.allocate_page().unwrap()).collect();
    txn.commit().unwrap();
    let mut txn = db.begin().unwrap();
    pages.drain(..).for_each(|page| txn.free_page(page).unwrap());
    txn.commit().unwrap();
    db.flush_pages().unwrap();
    db.checkpoint().unwrap();
    disk.set_capacity(Some(0));
    let mut txn = db.begin().unwrap();
    let error = loop {
        match txn.allocate_page() {
            Ok(page) => pages.push(page),
            Err(error) => break error,
        }
    };
    assert!(error.is_disk_full(), "{error}");
    txn.commit().unwrap();
    let used = (1..db.stats().pages).map(PageId).filter(|page| {
        !space_map::is_map_page(*page, PAGE_SIZE)
            && db.page_state(*page).unwrap() == Some(PageState::Used)
    });
    assert_eq!(used.count(), pages.len());
}

/// A restart record whose checksum is right but whose epoch is not higher than the one before.
#[test]
fn a_run_that_goes_back_in_epochs_is_damage() {
    let (disk, db, ..) = with_record(b"alice 100");
    let (end, epoch) = (db.force_log().unwrap(), db.restart_report().epoch);
    drop(db);
    let next_txn = TxnId::FIRST;
    let record =
        LogRecord::Restart(Restart { durable_lsn: end, epoch: 1, previous: None, next_txn });
    let mut bytes = Vec::new();
    EncodedRecord::new(&record).append_to(end, epoch, &mut bytes);
    disk.open("log/0000000000000001.seg").unwrap().write_at(end.get() % SEGMENT, &bytes).unwrap();
    let error = options().open_on(Arc::new(disk)).err().unwrap();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains(&end.to_string()), "{error}");
}

/// The ids of pending sectors of segment `number`.
fn sectors_of(disk: &SimDisk, number: u64) -> BTreeSet<u64> {
    let name = format!("log/{number:016}.seg");
    let sector = |kind: &PendingKind| matches!(kind, PendingKind::Sector { .. });
    let pending = disk.pending().into_iter();
    pending.filter(|p| p.name == name && sector(&p.kind)).map(|p| p.id).collect()
}

/// An unforced tail crosses into the next segment, and only what is there survives: cut at the
/// hole. Then the next run begins, also across the boundary, and again only a part survives. What
/// is stale must not be believed, and the database opens.
#[test]
fn stale_records_behind_a_segment_s_end_never_come_back() {
    let (disk, db, page, slot) = with_record(&[0; 200]);
    // The update takes 64 bytes, the commit record 48: the end record goes to the next segment.
    fill_segment_but_for(&db, 64 + 48);
    let mut txn = db.begin().unwrap();
    txn.write_record(page, slot, 0, b"?").unwrap();
    let hole = db.force_log().unwrap();
    let number = hole.get() / SEGMENT + 1;
    let _unacknowledged = txn.commit_deferred().unwrap();
    disk.inject(Fault { at: disk.io_count() + 2, kind: FaultKind::PowerOff, forever: true });
    db.force_log().unwrap_err();
    let behind = sectors_of(&disk, number + 1);
    assert!(!behind.is_empty() && !sectors_of(&disk, number).is_empty(), "both are written");
    let first = disk.crash(&Survivors::Chosen(behind));
    for at in 0.. {
        let disk = first.crash(&Survivors::None);
        disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
        if options().open_on(Arc::new(disk.clone())).is_ok() {
            break;
        }
        for only in [sectors_of(&disk, number), sectors_of(&disk, number + 1)] {
            let db = open(&disk.crash(&Survivors::Chosen(only)));
            let mut txn = db.begin().unwrap();
            let record = txn.read_record(page, slot).unwrap().unwrap();
            assert_eq!(record, [0; 200], "power off at {at}");
        }
    }
}
