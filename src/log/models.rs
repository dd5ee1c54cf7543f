//! Models of appending and forcing: what is acknowledged is durable, and nobody waits for ever.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::disk::{Disk, ModelDisk};
use crate::ids::TxnId;
use crate::record::{End, LogRecord, TransactionLink};
use crate::sync::Arc;
use crate::sync::model::{check, spawn};

const SEGMENT: u64 = 65_536;

fn lsn(at: u64) -> Lsn {
    Lsn::new(at).unwrap()
}

pub(crate) fn config() -> Config {
    Config::new(512, SEGMENT, 16)
}

/// A log of two segments, in the first epoch.
pub(crate) fn log_on(disk: &ModelDisk) -> Log {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let segments = Segments::new(disk, Geometry { segment_bytes: SEGMENT }, 7);
    segments.prepare(1).unwrap();
    segments.prepare(2).unwrap();
    let start = lsn(SEGMENT_HEADER_BYTES);
    let position = LogPosition { end: start, durable: start, epoch: 1, complete_from: None };
    let log = Log::new(segments, &config(), Epochs::default(), position, Observers::default());
    log.began(start, start);
    log
}

fn record(number: u64) -> EncodedRecord {
    let link = TransactionLink { txn: TxnId::new(number).unwrap(), prev_lsn: None };
    EncodedRecord::new(&LogRecord::End(End { link, durable_lsn: lsn(1) }))
}

/// Asserts that a power failure now would leave the record that was appended at `lsn`.
pub(crate) fn assert_durable(disk: &ModelDisk, log: &Log, lsn: Lsn, record: &EncodedRecord) {
    let geometry = Geometry { segment_bytes: SEGMENT };
    let mut expected = Vec::new();
    record.append_to(lsn, log.epoch(), &mut expected);
    let name = geometry.name(geometry.segment_of(lsn.get()));
    let found = disk.durable(&name, geometry.offset(lsn.get()), expected.len());
    assert!(found == expected, "the record at {lsn} is not durable, or not where its LSN says");
}

struct World {
    disk: ModelDisk,
    log: Log,
}

fn world() -> Arc<World> {
    let disk = ModelDisk::default();
    let log = log_on(&disk);
    Arc::new(World { disk, log })
}

impl World {
    fn append(&self, number: u64) -> Lsn {
        self.log.append(&record(number), 0, |_| {}).unwrap()
    }

    /// Appends, forces, and looks.
    fn commit(&self, number: u64) {
        let lsn = self.append(number);
        let durable = self.log.force(lsn).unwrap();
        assert!(durable.covers(Some(lsn)), "a force covers what it was asked for");
        assert_durable(&self.disk, &self.log, lsn, &record(number));
    }
}

/// Two threads commit; a third sees `flushed_lsn` move. Bound: 4 preemptions.
#[test]
fn a_forced_record_is_durable() {
    check(4, || {
        let world = world();
        let first = world.append(1);
        let others = [2, 3].map(|number| {
            let world = Arc::clone(&world);
            spawn(move || world.commit(number))
        });
        if world.log.flushed_lsn() > first {
            assert_durable(&world.disk, &world.log, first, &record(1));
        }
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_durable(&world.disk, &world.log, first, &record(1));
    });
}

/// Three threads commit: the second waits while the first leads, and leads next if its record
/// came too late; the third waits for either. Bound: 3 preemptions.
#[test]
fn nobody_waits_for_ever() {
    check(3, || {
        let world = world();
        let others = [1, 2].map(|number| {
            let world = Arc::clone(&world);
            spawn(move || world.commit(number))
        });
        world.commit(3);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(world.log.flushed_lsn(), world.log.end_lsn(), "all is forced");
    });
}

/// One thread appends and hands the LSN on, as a deferred commit does; another waits for it, while
/// a third commits something else. Bound: 3 preemptions.
#[test]
fn a_ticket_is_waited_for_by_another_thread() {
    check(3, || {
        let world = world();
        let ticket = world.append(1);
        let waiting = {
            let world = Arc::clone(&world);
            spawn(move || {
                world.log.force(ticket).unwrap();
                assert_durable(&world.disk, &world.log, ticket, &record(1));
            })
        };
        let committing = {
            let world = Arc::clone(&world);
            spawn(move || world.commit(2))
        };
        let late = world.append(3);
        world.log.force(late).unwrap();
        assert_durable(&world.disk, &world.log, late, &record(3));
        waiting.join().unwrap();
        committing.join().unwrap();
    });
}

/// A thread has the log written out, not synced, while another forces it. Bound: 5 preemptions.
#[test]
fn what_is_written_out_is_synced_by_the_next_force() {
    check(5, || {
        let world = world();
        let first = world.append(1);
        let writing = {
            let world = Arc::clone(&world);
            spawn(move || world.log.write_out().unwrap())
        };
        world.commit(2);
        assert_durable(&world.disk, &world.log, first, &record(1));
        writing.join().unwrap();
    });
}
