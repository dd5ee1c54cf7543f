//! The batch that restart writes again, because it may be in the page cache only: on a disk that tears sectors, whatever
//! is torn of it then is as it was.

use aries::disk::{Part, PowerFailure, Torn};

use super::*;

/// The disk with what survives if each pending sector of a file is torn so, and all else is there.
fn torn(disk: &SimDisk, name: &str, part: Part) -> SimDisk {
    let is_torn = |pending: &Pending| {
        pending.name == name && matches!(pending.kind, PendingKind::Sector { .. })
    };
    let parts = disk.pending();
    let part = |pending: &Pending| if is_torn(pending) { part } else { Part::Whole };
    disk.crash(&Survivors::Parts(parts.iter().map(|pending| (pending.id, part(pending))).collect()))
}

/// A page torn in place while it is written, and then, in the restart that makes it whole, any sector of its batch, cut
/// at any byte. The header of the batch was another one then, with another number, and its checksum wrong.
#[test]
fn it_can_be_torn_anywhere() {
    let power = PowerFailure { torn: Torn::PrefixOrSuffix, ..PowerFailure::default() };
    let disk = SimDisk::with_power_failure(power);
    let db = options().open_on(Arc::new(disk.clone())).unwrap();
    let mut txn = db.begin().unwrap();
    let page = txn.allocate_page().unwrap();
    let slot = txn.insert_record(page, b"old").unwrap();
    txn.commit().unwrap();
    forget_log(&db);
    db.close().unwrap();

    let (left, seen) = (Arc::new(Mutex::new(None)), disk.clone());
    let watched = watched_disk(&disk, {
        let left = Arc::clone(&left);
        move |call| {
            if (call.operation, call.name.as_str()) == ("sync", "pages") {
                left.lock().unwrap().get_or_insert(torn(&seen, "pages", Part::Prefix(256)));
            }
            Ok(())
        }
    });
    let db = options().open_on(watched).unwrap();
    let mut txn = db.begin().unwrap();
    txn.write_record(page, slot, 0, b"new").unwrap();
    txn.commit().unwrap();
    db.flush_page(page).unwrap();
    let torn_in_place = left.lock().unwrap().take().unwrap();

    let (tried, disk) = (Arc::new(AtomicUsize::new(0)), torn_in_place.crash(&Survivors::All));
    let (count, seen) = (Arc::clone(&tried), disk.clone());
    let watched = watched_disk(&disk, move |call| {
        if (call.operation, call.name.as_str()) == ("sync", "doublewrite") {
            for cut in 0..=512 {
                for part in [Part::Prefix(cut), Part::Suffix(cut)] {
                    let db = options().open_on(Arc::new(torn(&seen, "doublewrite", part)));
                    let db = db.unwrap_or_else(|error| panic!("{part:?}: {error}"));
                    let found = db.begin().unwrap().read_record(page, slot).unwrap();
                    assert_eq!(found.as_deref(), Some(&b"new"[..]), "{part:?}");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    });
    drop(options().open_on(watched).unwrap());
    assert_eq!(tried.load(Ordering::Relaxed), 2 * 513);
}
