#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod prepare_records;
mod trees;

use proptest::prelude::*;

use super::*;
use crate::ids::SlotId;
use crate::ids::locks::{GapName, KeyName, LockName, Mode};
use crate::page::PageState;
use crate::tables::TransactionState;
use prepare_records::one_prepare;

const PAGE: usize = 512;

fn lsn(at: u64) -> Lsn {
    Lsn::new(at).unwrap()
}

fn some_lsn() -> impl Strategy<Value = Lsn> {
    (1..u64::MAX).prop_map(lsn)
}

fn maybe_lsn() -> impl Strategy<Value = Option<Lsn>> {
    prop::option::of(some_lsn())
}

fn link() -> impl Strategy<Value = TransactionLink> {
    (1..u64::MAX, maybe_lsn())
        .prop_map(|(txn, prev_lsn)| TransactionLink { txn: TxnId::new(txn).unwrap(), prev_lsn })
}

fn op(bytes: &'static [u8]) -> impl Strategy<Value = PageOp<'static>> {
    let slot = any::<u16>().prop_map(SlotId);
    let part = move |to: usize| &bytes[..to];
    prop_oneof![
        (slot.clone(), any::<u16>(), 0..PAGE).prop_map(move |(slot, offset, to)| PageOp::Patch {
            slot,
            offset,
            bytes: part(to)
        }),
        (slot.clone(), 0..PAGE)
            .prop_map(move |(slot, to)| PageOp::InsertSlot { slot, bytes: part(to) }),
        slot.clone().prop_map(|slot| PageOp::MarkGhost { slot }),
        slot.prop_map(|slot| PageOp::RemoveSlot { slot }),
        any::<u16>().prop_map(|entry| PageOp::SetState { entry, state: PageState::Used }),
    ]
}

fn entry() -> impl Strategy<Value = TransactionEntry> {
    (0..4usize, 1..1000u64, 0..1000u64).prop_map(|(state, first, more)| {
        let mut entry = TransactionEntry::new();
        entry.logged(lsn(first), Some(lsn(first)));
        if more > 0 {
            entry.logged(lsn(first + more), Some(lsn(first)));
        }
        entry.state = [
            TransactionState::Active,
            TransactionState::Prepared,
            TransactionState::RollingBack,
            TransactionState::Committing,
        ][state];
        entry
    })
}

fn end_checkpoint() -> impl Strategy<Value = LogRecord<'static>> {
    let pages = prop::collection::vec((any::<u64>().prop_map(PageId), some_lsn()), 0..20);
    let txns = prop::collection::vec(
        ((1..u64::MAX).prop_map(|id| TxnId::new(id).unwrap()), entry()),
        0..9,
    );
    (some_lsn(), some_lsn(), 0..5u32, pages, txns).prop_map(
        |(durable_lsn, begin_lsn, part, dirty_pages, transactions)| {
            let parts = part + 1;
            LogRecord::EndCheckpoint(EndCheckpoint {
                durable_lsn,
                begin_lsn,
                next_txn: TxnId::FIRST,
                part,
                parts,
                dirty_pages,
                transactions,
            })
        },
    )
}

fn lock() -> impl Strategy<Value = (LockName, Mode)> {
    let page = || any::<u64>().prop_map(PageId);
    let key = || prop::collection::vec(any::<u8>(), 0..12).prop_map(|key| KeyName::of(&key));
    let name = prop_oneof![
        page().prop_map(LockName::PageExistence),
        (page(), any::<u16>()).prop_map(|(page, slot)| LockName::Record(page, SlotId(slot))),
        page().prop_map(LockName::Table),
        (page(), key()).prop_map(|(root, key)| LockName::Key(root, key)),
        (page(), key()).prop_map(|(root, key)| LockName::Gap(root, GapName::Before(key))),
        page().prop_map(|root| LockName::Gap(root, GapName::End)),
    ];
    (name, prop::sample::select(&Mode::ALL[..]))
}

fn prepare() -> impl Strategy<Value = LogRecord<'static>> {
    static ID: [u8; MAX_GLOBAL_ID_BYTES] = [0xA5; MAX_GLOBAL_ID_BYTES];
    let locks = prop::collection::vec(lock(), 0..60).prop_map(|mut locks| {
        let fit = prepare_parts(ID.len(), &locks, max_record_bytes(PAGE))[0].len();
        locks.truncate(fit);
        locks
    });
    let part = (0..5u32, 0..5u32).prop_map(|(part, behind)| (part, part + 1 + behind));
    (link(), some_lsn(), part, 1..=ID.len(), any::<bool>(), locks).prop_map(
        |(link, durable_lsn, (part, parts), id_bytes, frees_pages, locks)| {
            let global_id = &ID[..id_bytes];
            LogRecord::Prepare(Prepare {
                link,
                durable_lsn,
                part,
                parts,
                global_id,
                frees_pages,
                locks,
            })
        },
    )
}

fn any_record() -> impl Strategy<Value = LogRecord<'static>> {
    static BYTES: [u8; PAGE] = [0xA5; PAGE];
    let page = || any::<u64>().prop_map(PageId);
    prop_oneof![
        (link(), page(), maybe_lsn(), op(&BYTES), prop::option::of(op(&BYTES))).prop_map(
            |(link, page, prev_page_lsn, op, undo)| LogRecord::Update(Update {
                link,
                page,
                prev_page_lsn,
                op,
                undo: undo.map_or(Undo::RedoOnly, Undo::Physical),
            })
        ),
        trees::any_record(),
        (link(), page(), maybe_lsn(), op(&BYTES), maybe_lsn()).prop_map(
            |(link, page, prev_page_lsn, op, undo_next_lsn)| {
                LogRecord::Compensation(CompensationLogRecord {
                    link,
                    page,
                    prev_page_lsn,
                    op,
                    undo_next_lsn,
                })
            }
        ),
        (link(), some_lsn(), any::<u64>(), any::<bool>()).prop_map(
            |(link, durable_lsn, wall_time_micros, frees_pages)| LogRecord::Commit(Commit {
                link,
                durable_lsn,
                wall_time_micros,
                frees_pages,
            })
        ),
        link().prop_map(|link| LogRecord::Rollback(Rollback { link })),
        (link(), some_lsn())
            .prop_map(|(link, durable_lsn)| LogRecord::End(End { link, durable_lsn })),
        (link(), maybe_lsn()).prop_map(|(link, undo_next_lsn)| {
            LogRecord::NestedTopActionEnd(NestedTopActionEnd { link, undo_next_lsn })
        }),
        prepare(),
        (page(), maybe_lsn(), 0..PAGE).prop_map(|(page, prev_page_lsn, to)| {
            let (head, tail) = BYTES.split_at(to);
            LogRecord::PageImage(PageImage {
                page,
                prev_page_lsn,
                op: PageOp::Image { head, tail },
            })
        }),
        end_checkpoint(),
        (some_lsn(), any::<u64>(), prop::option::of((some_lsn(), any::<u64>()))).prop_map(
            |(durable_lsn, epoch, previous)| LogRecord::Restart(Restart {
                durable_lsn,
                epoch,
                previous: previous.map(|(lsn, epoch)| EpochStart { lsn, epoch }),
                next_txn: TxnId::FIRST,
            })
        ),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(record in any_record(), at in some_lsn(), epoch: u64) {
        prop_assert!(KIND_NAMES.contains(&record.name()));
        let mut bytes = Vec::new();
        let encoded = EncodedRecord::new(&record);
        encoded.append_to(at, epoch, &mut bytes);
        prop_assert_eq!(bytes.len(), padded(encoded.len()));
        prop_assert_eq!(peek_length(&bytes), Some(encoded.len()));
        prop_assert!(encoded.len() <= max_record_bytes(PAGE));
        let exact = &bytes[..encoded.len()];
        prop_assert!(verify(exact, at, epoch));
        prop_assert_eq!(decode(exact).unwrap(), record);
    }

    /// LSN, epoch and every bit of the record are covered by its checksum.
    #[test]
    fn a_record_is_valid_nowhere_else(
        record in any_record(),
        at in some_lsn(),
        epoch: u64,
        bit: prop::sample::Index,
        shift in 1..u64::MAX,
    ) {
        let mut bytes = Vec::new();
        let encoded = EncodedRecord::new(&record);
        encoded.append_to(at, epoch, &mut bytes);
        bytes.truncate(encoded.len());
        if let Some(other) = Lsn::new(at.get().wrapping_add(shift)) {
            prop_assert!(!verify(&bytes, other, epoch));
        }
        prop_assert!(!verify(&bytes, at, epoch.wrapping_add(shift)));
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!verify(&bytes, at, epoch));
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(mut bytes: Vec<u8>, kind in 0..16u8) {
        let _ = decode(&bytes);
        if let Some(byte) = bytes.get_mut(8) {
            *byte = kind;
        }
        let _ = decode(&bytes);
        let _ = peek_length(&bytes);
    }
}

/// What changes a page and has no outline is no record: nobody has to read such a one by other means.
#[test]
fn what_has_no_outline_changes_no_page() {
    let image = PageOp::Image { head: &[2; 40], tail: &[] };
    let record = PageImage { page: PageId(3), prev_page_lsn: None, op: image };
    let mut bytes = Vec::new();
    let encoded = EncodedRecord::new(&LogRecord::PageImage(record));
    encoded.append_to(lsn(64), 1, &mut bytes);
    bytes.truncate(encoded.len());
    assert!(outline(&bytes, lsn(64)).is_some());
    for byte in 8..44 {
        for value in [1, 2, 11, 0x7f, 0xff] {
            let mut bytes = bytes.clone();
            bytes[byte] = value;
            let changes = decode(&bytes)
                .is_ok_and(|record| record.points_back(lsn(64)) && record.changes_pages());
            assert_eq!(outline(&bytes, lsn(64)).is_some(), changes, "{value} in byte {byte}");
        }
    }
}

/// A transaction's last record is its latest, and none is undone that it has not written.
#[test]
fn a_checkpoint_whose_transactions_contradict_themselves_is_refused() {
    let decoded = |first, last, undo_next| {
        let mut entry = TransactionEntry::new();
        (entry.first_lsn, entry.last_lsn) = (Lsn::new(first), Lsn::new(last));
        entry.undo_next_lsn = Lsn::new(undo_next);
        let record = LogRecord::EndCheckpoint(EndCheckpoint {
            durable_lsn: lsn(8),
            begin_lsn: lsn(8),
            next_txn: TxnId::FIRST,
            part: 0,
            parts: 1,
            dirty_pages: Vec::new(),
            transactions: vec![(TxnId::FIRST, entry)],
        });
        let (encoded, mut bytes) = (EncodedRecord::new(&record), Vec::new());
        encoded.append_to(lsn(64), 1, &mut bytes);
        decode(&bytes[..encoded.len()]).is_ok_and(|decoded| decoded == record)
    };
    for sound in [(0, 0, 0), (16, 16, 16), (16, 32, 16), (16, 32, 0)] {
        assert!(decoded(sound.0, sound.1, sound.2), "{sound:?}");
    }
    for nonsense in [(32, 16, 16), (16, 32, 40), (0, 32, 32), (16, 0, 0), (0, 0, 16)] {
        assert!(!decoded(nonsense.0, nonsense.1, nonsense.2), "{nonsense:?}");
    }
}

#[test]
fn a_page_image_belongs_to_no_transaction_and_holds_an_image() {
    let encoded = |op: PageOp<'_>| {
        let record = PageImage { page: PageId(3), prev_page_lsn: None, op };
        let mut bytes = Vec::new();
        let encoded = EncodedRecord::new(&LogRecord::PageImage(record));
        encoded.append_to(lsn(64), 1, &mut bytes);
        bytes.truncate(encoded.len());
        bytes
    };
    let image = PageOp::Image { head: &[2; 40], tail: &[] };
    let mut bytes = encoded(image);
    assert_eq!(bytes.len(), PAGE_IMAGE_FIELDS_BYTES + image.encoded_len());
    assert_eq!(decode(&bytes).unwrap().page_changes().next().unwrap().op, image);
    bytes[12] = 1;
    assert!(decode(&bytes).is_err(), "it has a transaction");
    assert!(decode(&encoded(PageOp::RemoveSlot { slot: SlotId(0) })).is_err());
}

#[test]
fn a_restart_record_takes_the_bytes_that_are_reckoned() {
    let record = Restart { durable_lsn: lsn(8), epoch: 2, previous: None, next_txn: TxnId::FIRST };
    assert_eq!(EncodedRecord::new(&LogRecord::Restart(record)).len(), RESTART_BYTES);
}

#[test]
fn an_update_logs_what_changed() {
    let op = PageOp::Patch { slot: SlotId(0), offset: 10, bytes: &[1; 8] };
    let update = LogRecord::Update(Update {
        link: TransactionLink { txn: TxnId::FIRST, prev_lsn: Some(lsn(64)) },
        page: PageId(3),
        prev_page_lsn: Some(lsn(64)),
        op,
        undo: Undo::Physical(op),
    });
    assert_eq!(padded(EncodedRecord::new(&update).len()), 80);
}

/// A record of each kind that points somewhere, with every pointer at `target`; each alone at `odd` then.
fn pointing(target: u64, odd: Option<(usize, u64)>) -> Vec<(LogRecord<'static>, usize)> {
    let at = |pointer: usize| match odd {
        Some((odd, to)) if odd == pointer => lsn(to),
        _ => lsn(target),
    };
    let link = TransactionLink { txn: TxnId::FIRST, prev_lsn: Some(at(0)) };
    let (page, op) = (PageId(3), PageOp::RemoveSlot { slot: SlotId(0) });
    let (prev_page_lsn, undo) = (Some(at(1)), Undo::RedoOnly);
    let previous = Some(EpochStart { lsn: at(0), epoch: 1 });
    let checkpoint = EndCheckpoint {
        durable_lsn: at(1),
        begin_lsn: at(0),
        next_txn: TxnId::FIRST,
        part: 0,
        parts: 1,
        dirty_pages: Vec::new(),
        transactions: Vec::new(),
    };
    let commit = Commit { link, durable_lsn: at(1), wall_time_micros: 0, frees_pages: false };
    let compensation =
        CompensationLogRecord { link, page, prev_page_lsn, op, undo_next_lsn: Some(at(2)) };
    vec![
        (LogRecord::Update(Update { link, page, prev_page_lsn, op, undo }), 2),
        (LogRecord::Compensation(compensation), 3),
        (LogRecord::Commit(commit), 2),
        (LogRecord::Rollback(Rollback { link }), 1),
        (LogRecord::End(End { link, durable_lsn: at(1) }), 2),
        (LogRecord::NestedTopActionEnd(NestedTopActionEnd { link, undo_next_lsn: Some(at(1)) }), 2),
        (LogRecord::BeginCheckpoint(BeginCheckpoint { durable_lsn: at(1), restart_lsn: at(0) }), 2),
        (LogRecord::EndCheckpoint(checkpoint), 2),
        (
            LogRecord::Restart(Restart {
                durable_lsn: at(1),
                epoch: 2,
                previous,
                next_txn: TxnId::FIRST,
            }),
            2,
        ),
        (LogRecord::PageImage(PageImage { page, prev_page_lsn: Some(at(0)), op }), 1),
        (trees::structure_change(link, [at(1), at(2)]), 3),
    ]
}

/// Following any pointer of any record must end: each points to before the record. Only `durable_lsn`, which is
/// exclusive, may be the record's own LSN.
#[test]
fn every_pointer_points_back() {
    const HERE: u64 = 640;
    for (record, _) in pointing(HERE - 8, None) {
        assert!(record.points_back(lsn(HERE)), "{record}");
    }
    for pointer in 0..3 {
        for (record, pointers) in pointing(HERE - 8, Some((pointer, HERE))) {
            if record.changes_pages() && record.name() != "StructureChange" {
                let (encoded, mut bytes) = (EncodedRecord::new(&record), Vec::new());
                encoded.append_to(lsn(HERE), 1, &mut bytes);
                let outlined = outline(&bytes[..encoded.len()], lsn(HERE)).is_some();
                assert_eq!(outlined, pointer >= pointers, "{record}, pointer {pointer}");
            }
            let exclusive = record.durable_lsn() == Some(lsn(HERE));
            let back = pointer >= pointers || exclusive;
            assert_eq!(record.points_back(lsn(HERE)), back, "{record}, pointer {pointer}");
        }
        for (record, pointers) in pointing(HERE - 8, Some((pointer, HERE + 8))) {
            let back = pointer >= pointers;
            assert_eq!(record.points_back(lsn(HERE)), back, "{record}, pointer {pointer}");
        }
    }
}

#[test]
fn those_that_bear_witness_say_how_far_the_log_was_durable() {
    let witnesses = ["Commit", "End", "BeginCheckpoint", "EndCheckpoint", "Restart"];
    for (record, _) in pointing(64, None) {
        let durable = witnesses.contains(&record.name()).then(|| lsn(64));
        assert_eq!(record.durable_lsn(), durable, "{record}");
    }
    assert_eq!(one_prepare().durable_lsn(), Some(lsn(64)));
}

#[test]
fn those_that_change_a_page_say_what_they_do_to_it() {
    for (record, _) in pointing(64, None) {
        let pages: Vec<PageId> = record.page_changes().map(|change| change.page).collect();
        match record.name() {
            "Update" | "Compensation" | "PageImage" => assert_eq!(pages, [PageId(3)]),
            "StructureChange" => assert_eq!(pages, [PageId(3), PageId(4)]),
            _ => assert!(pages.is_empty(), "{record}"),
        }
        assert_eq!(record.change_of(PageId(3)).is_some(), record.changes_pages());
    }
}

#[test]
fn nothing_is_empty_but_what_was_never_encoded() {
    assert!(EncodedRecord::default().is_empty());
    assert!(!EncodedRecord::new(&one_prepare()).is_empty());
}
