//! Many threads allocate and free pages at once, over a disk whose power fails in the middle: no page
//! is ever lost, handed out twice, or kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use aries::disk::{Fault, FaultKind, SimDisk, Survivors};
use aries::ids::{PageId, SlotId};
use aries::page::{PageState, space_map};
use aries::{Db, Error, Options, Transaction};

const CLIENTS: usize = 4;
/// Pages that a client can own: one number each in its list.
const MOST_OWNED: usize = 20;
const PAGE_SIZE: usize = 512;

type Place = (PageId, SlotId);

fn open(disk: &SimDisk) -> Result<Db, Error> {
    Options::new()
        .page_size(PAGE_SIZE)
        .segment_bytes(65_536)
        .buffer_pool_bytes(16 * PAGE_SIZE)
        .checkpoint_log_bytes(30_000)
        .open_on(Arc::new(disk.clone()))
}

/// A number that only depends on its place in a sequence.
fn mix(seed: u64) -> u64 {
    let bits = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 8
}

/// A client's list: the pages it owns, 0 where there is none.
fn list_of(txn: &mut Transaction, (page, slot): Place) -> Result<Vec<u64>, Error> {
    let bytes = txn.read_record(page, slot)?.expect("lists are never deleted");
    Ok(bytes.chunks(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect())
}

/// Takes a page into entry `at` of the list, or gives the one there back.
fn change_entry(txn: &mut Transaction, list: Place, at: usize, owner: u8) -> Result<(), Error> {
    let owned = list_of(txn, list)?[at];
    let new = if owned == 0 {
        let page = txn.allocate_page()?;
        txn.insert_record(page, &[owner; 50])?;
        page.0
    } else {
        txn.free_page(PageId(owned))?;
        0
    };
    txn.write_record(list.0, list.1, at * 8, &new.to_le_bytes())
}

fn one_transaction(db: &Db, list: Place, client: usize, seed: u64) -> Result<(), Error> {
    let mut txn = db.begin()?;
    for change in 0..1 + mix(seed) % 3 {
        let at = mix(seed + change * 31) as usize % MOST_OWNED;
        change_entry(&mut txn, list, at, client as u8)?;
    }
    let here = txn.savepoint()?;
    change_entry(&mut txn, list, mix(seed + 7) as usize % MOST_OWNED, client as u8)?;
    txn.rollback_to(here)?;
    match seed % 5 {
        0 => txn.rollback(),
        1 => txn.commit_deferred().map(drop),
        _ => txn.commit().map(drop),
    }
}

/// Every page is where exactly one list says, or free.
fn check(db: &Db, lists: &[Place], round: u64) {
    let mut owned = BTreeSet::new();
    let mut txn = db.begin().unwrap();
    for (client, list) in lists.iter().enumerate() {
        for number in list_of(&mut txn, *list).unwrap().into_iter().filter(|number| *number != 0) {
            assert!(owned.insert(number), "round {round}: page {number} is owned twice");
            let slots = txn.slots(PageId(number)).unwrap();
            assert_eq!(slots.len(), 1, "round {round}: page {number}");
            let record = txn.read_record(PageId(number), slots[0]).unwrap().unwrap();
            assert_eq!(record, [client as u8; 50], "round {round}: page {number}");
        }
    }
    owned.extend(lists.iter().map(|(page, _)| page.0));
    for page in (0..db.stats().pages).map(PageId) {
        let expected = match space_map::is_map_page(page, PAGE_SIZE) || owned.contains(&page.0) {
            true => PageState::Used,
            false => PageState::Free,
        };
        assert_eq!(db.page_state(page).unwrap(), Some(expected), "round {round}: {page}");
    }
    txn.commit().unwrap();
}

#[test]
fn no_page_is_lost_or_owned_twice() {
    let mut disk = SimDisk::new();
    let db = open(&disk).unwrap();
    let mut txn = db.begin().unwrap();
    let lists: Vec<Place> = {
        let mut page = txn.allocate_page().unwrap();
        let mut make = || match txn.insert_record(page, &[0; MOST_OWNED * 8]) {
            Ok(slot) => (page, slot),
            Err(_) => {
                page = txn.allocate_page().unwrap();
                (page, txn.insert_record(page, &[0; MOST_OWNED * 8]).unwrap())
            }
        };
        (0..CLIENTS).map(|_| make()).collect()
    };
    txn.commit().unwrap();
    db.close().unwrap();
    for round in 0..60 {
        let at = disk.io_count() + 100 + mix(round) % 2_000;
        disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
        if let Ok(db) = open(&disk) {
            thread::scope(|scope| {
                for (client, list) in lists.iter().enumerate() {
                    let db = &db;
                    scope.spawn(move || {
                        for number in 0.. {
                            let seed = round * 1_000_003 + client as u64 * 7_919 + number;
                            match one_transaction(db, *list, client, seed) {
                                Ok(()) | Err(Error::Deadlock { .. }) => {}
                                Err(_) => return,
                            }
                        }
                    });
                }
            });
        }
        disk = disk.crash(&Survivors::Random { seed: round });
        check(&open(&disk).unwrap(), &lists, round);
    }
}
