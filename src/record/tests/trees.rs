//! Records of trees: undo by key, and changes of several pages.

use super::*;

pub fn structure_change(link: TransactionLink, before: [Lsn; 2]) -> LogRecord<'static> {
    let op = PageOp::RemoveAt { slot: SlotId(1) };
    let changes = (3..).map(PageId).zip(before);
    let changes =
        changes.map(|(page, lsn)| PageChange { page, prev_page_lsn: Some(lsn), op }).collect();
    LogRecord::StructureChange(StructureChange { link, changes })
}

fn ordered_op() -> impl Strategy<Value = PageOp<'static>> {
    static BYTES: [u8; PAGE] = [0x5A; PAGE];
    let slot = || any::<u16>().prop_map(SlotId);
    prop_oneof![
        (slot(), 0..PAGE).prop_map(|(slot, to)| PageOp::InsertAt { slot, bytes: &BYTES[..to] }),
        (slot(), 0..PAGE).prop_map(|(slot, to)| PageOp::ReplaceAt { slot, bytes: &BYTES[..to] }),
        slot().prop_map(|slot| PageOp::InsertAt { slot, bytes: b"\x02\0kk\x01\0v" }),
        slot().prop_map(|slot| PageOp::ReplaceAt { slot, bytes: b"\x02\0kk" }),
        slot().prop_map(|slot| PageOp::RemoveAt { slot }),
        slot().prop_map(|slot| PageOp::TruncateAt { slot }),
        Just(PageOp::Several { ops: &[10, 1, 0, 4, 2, 0] }),
    ]
}

fn key_undo() -> impl Strategy<Value = KeyUndo<'static>> {
    static KEY: [u8; 128] = [b'k'; 128];
    let action = prop_oneof![
        Just(KeyAction::Remove),
        Just(KeyAction::Revive),
        (any::<u16>(), 0..KEY.len())
            .prop_map(|(offset, to)| KeyAction::Patch { offset, bytes: &KEY[..to] }),
    ];
    let length = prop_oneof![2 => 0..KEY.len(), 1 => Just(2)];
    (any::<u64>(), length, action).prop_map(|(tree, to, action)| KeyUndo {
        tree: PageId(tree),
        key: &KEY[..to],
        action,
    })
}

/// Records that only trees write.
pub fn any_record() -> impl Strategy<Value = LogRecord<'static>> {
    let page = || any::<u64>().prop_map(PageId);
    let change = (page(), maybe_lsn(), ordered_op())
        .prop_map(|(page, prev_page_lsn, op)| PageChange { page, prev_page_lsn, op });
    let short = page().prop_map(|page| {
        let op = PageOp::RemoveAt { slot: SlotId(1) };
        PageChange { page, prev_page_lsn: None, op }
    });
    let changes = prop_oneof![
        prop::collection::vec(change, 1..=2),
        prop::collection::vec(short, 1..=MOST_CHANGES),
    ];
    let changes = changes.prop_map(|mut changes| {
        changes.sort_by_key(|change| change.page);
        changes.dedup_by_key(|change| change.page);
        changes
    });
    prop_oneof![
        (link(), page(), maybe_lsn(), ordered_op(), key_undo()).prop_map(
            |(link, page, prev_page_lsn, op, undo)| {
                let undo = Undo::Key(undo);
                LogRecord::Update(Update { link, page, prev_page_lsn, op, undo })
            }
        ),
        (link(), changes).prop_map(|(link, changes)| {
            LogRecord::StructureChange(StructureChange { link, changes })
        }),
        key_change(),
    ]
}

fn key_change() -> impl Strategy<Value = LogRecord<'static>> {
    static BYTES: [u8; 64] = [b'v'; 64];
    let told = || {
        let some = (0..BYTES.len(), prop_oneof![Just(0), 0..1000_u32]);
        prop::option::of(
            some.prop_map(|(to, more)| ToldValue { length: to as u32 + more, bytes: &BYTES[..to] }),
        )
    };
    let names = (0..BYTES.len(), 0..BYTES.len());
    (link(), any::<u64>(), names, told(), told()).prop_map(
        |(link, wall_time_micros, (table, key), old, new)| {
            let (table, key) = (&BYTES[..table], &BYTES[..key]);
            LogRecord::KeyChange(KeyChange { link, wall_time_micros, table, key, old, new })
        },
    )
}

fn encoded(record: &LogRecord<'_>) -> Vec<u8> {
    let (encoded, mut bytes) = (EncodedRecord::new(record), Vec::new());
    encoded.append_to(lsn(64), 1, &mut bytes);
    bytes.truncate(encoded.len());
    bytes
}

proptest! {
    /// Redo finds each change of a record by itself, without decoding the rest.
    #[test]
    fn each_change_is_found_where_it_stands(record in super::any_record()) {
        let bytes = encoded(&record);
        let mut found = Vec::new();
        changes_at(&bytes, |at| found.push((at.page, change(&bytes, at))));
        let expected: Vec<_> = record.page_changes().map(|change| (change.page, Ok(change))).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_structure_change_tells_no_change_beyond_itself(
        record in any_record(), byte in 28..200_usize, value in any::<u8>(), length in 0..600_usize,
    ) {
        let mut bytes = encoded(&record);
        bytes.truncate(length);
        if let Some(changed) = bytes.get_mut(byte) {
            *changed = value;
        }
        changes_at(&bytes, |at| drop(change(&bytes, at)));
    }
}

#[test]
fn a_key_that_the_operation_has_stands_in_the_record_once() {
    let link = TransactionLink { txn: TxnId::FIRST, prev_lsn: None };
    let cell = b"\x05\0alice\x03\x00100";
    let record = |op, key| {
        let undo = KeyUndo { tree: PageId(3), key, action: KeyAction::Remove };
        let (page, prev_page_lsn) = (PageId(4), None);
        LogRecord::Update(Update { link, page, prev_page_lsn, op, undo: Undo::Key(undo) })
    };
    let slot = SlotId(1);
    for op in [PageOp::InsertAt { slot, bytes: cell }, PageOp::ReplaceAt { slot, bytes: cell }] {
        let (own, other) = (encoded(&record(op, b"alice")), encoded(&record(op, b"alicf")));
        assert_eq!(own.len() + 2 + 5, other.len());
        assert_eq!(decode(&own).unwrap(), record(op, b"alice"));
        assert_eq!(decode(&other).unwrap(), record(op, b"alicf"));
        let mut twice = other;
        *twice.last_mut().unwrap() = b'e';
        assert!(decode(&twice).is_err(), "there is one encoding of each record");
    }
    let mut none = encoded(&record(PageOp::RemoveAt { slot }, b"alice"));
    none.truncate(none.len() - 2 - 5);
    let tag = none.len() - 10;
    assert_eq!(std::mem::replace(&mut none[tag], 3), 2);
    assert!(decode(&none).is_err(), "no key is there");
}

#[test]
fn a_structure_change_names_each_page_once_and_in_order() {
    let link = TransactionLink { txn: TxnId::FIRST, prev_lsn: None };
    let bytes = encoded(&structure_change(link, [lsn(8), lsn(16)]));
    assert!(decode(&bytes).is_ok());
    let second = structure_change_bytes(1) + PageOp::RemoveAt { slot: SlotId(1) }.encoded_len();
    for page in [0, 3] {
        let mut bytes = bytes.clone();
        bytes[second] = page;
        assert!(decode(&bytes).is_err(), "P3, then P{page}");
    }
    let mut none = bytes[..structure_change_bytes(0)].to_vec();
    none[HEADER_BYTES] = 0;
    assert!(decode(&none).is_err(), "a change of no page");
}
