//! After a process was killed, what it wrote may be in the page cache only: whoever opens the database next keeps the
//! order also with regard to that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aries::config::TornPageProtection;
use aries::crash::{Begin, Level, Monitor, Setting};
use aries::disk::{Disk, Part, Pending, PendingKind, SectorSize, SimDisk, Survivors};
use aries::{Error, Result};

use crate::common::watched_disk;

/// Two transactions, each with its page flushed, one before it commits and one after, and a checkpoint.
fn work(setting: &Setting, disk: Arc<dyn Disk>) -> Result<()> {
    let db = setting.options().open_on(disk)?;
    for flush_first in [true, false] {
        let mut txn = db.begin()?;
        let page = txn.allocate_page()?;
        txn.insert_record(page, b"new")?;
        if flush_first {
            db.flush_page(page)?;
        }
        txn.commit()?;
        db.flush_page(page)?;
        db.checkpoint()?;
    }
    db.close()
}

/// The disk of a process that is killed before its n-th call; `None` if it makes fewer.
fn killed_before(setting: &Setting, disk: &SimDisk, nth: u64) -> Option<SimDisk> {
    let (disk, calls) = (disk.crash(&Survivors::All), AtomicU64::new(0));
    let watched = watched_disk(&disk, move |call| {
        if calls.fetch_add(1, Ordering::Relaxed) < nth {
            return Ok(());
        }
        let gone = std::io::Error::other("killed");
        Err(Error::Io { operation: call.operation, path: call.name.clone().into(), source: gone })
    });
    work(setting, watched).is_err().then_some(disk)
}

#[test]
fn a_restart_after_a_kill_keeps_the_order() {
    for setting in super::settings() {
        let disk = SimDisk::with_power_failure(setting.power);
        work(&setting, Arc::new(disk.clone())).unwrap();
        let mut killed = 0;
        for nth in 0.. {
            let Some(disk) = killed_before(&setting, &disk, nth) else { break };
            let monitor = Monitor::new(&disk, &setting, Begin::of(&disk).unwrap());
            work(&setting, monitor.watched()).unwrap();
            assert_eq!(monitor.out_of_order(), [], "killed before call {nth}, {setting:?}");
            killed += 1;
        }
        assert!(killed > 50, "{killed}");
    }
}

/// The master record of a killed run that is not durable, and the one that the next run writes into the other slot: were
/// both torn by one power failure, none would be left.
#[test]
fn a_master_record_is_durable_before_the_other_slot_is_written() {
    let setting = Level::L1.setting(TornPageProtection::DoubleWrite, SectorSize::Bytes512);
    let disk = SimDisk::with_power_failure(setting.power);
    work(&setting, Arc::new(disk.clone())).unwrap();
    let tried = Arc::new(AtomicU64::new(0));
    for nth in 0.. {
        let Some(disk) = killed_before(&setting, &disk, nth) else { break };
        let (seen, tried) = (disk.clone(), Arc::clone(&tried));
        let watched = watched_disk(&disk, move |call| {
            if (call.operation, call.name.as_str()) == ("sync", "control") {
                let part = |pending: &Pending| match pending.kind {
                    PendingKind::Sector { .. } if pending.name == "control" => Part::Prefix(20),
                    _ => Part::Whole,
                };
                let parts = seen.pending();
                let parts = parts.iter().map(|pending| (pending.id, part(pending))).collect();
                let left = seen.crash(&Survivors::Parts(parts));
                let opened = setting.options().open_on(Arc::new(left));
                assert!(opened.is_ok(), "killed before call {nth}: {:?}", opened.err());
                tried.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        drop(setting.options().open_on(watched).unwrap());
    }
    assert!(tried.load(Ordering::Relaxed) > 100);
}
