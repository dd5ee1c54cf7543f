//! Prepare records, and the lines of their locks.

use super::*;

pub(super) fn one_prepare() -> LogRecord<'static> {
    LogRecord::Prepare(with_locks(vec![
        (LockName::PageExistence(PageId(7)), Mode::Shared),
        (LockName::Record(PageId(7), SlotId(3)), Mode::Exclusive),
    ]))
}

fn with_locks(locks: Vec<(LockName, Mode)>) -> Prepare<'static> {
    Prepare {
        link: TransactionLink { txn: TxnId::FIRST, prev_lsn: Some(lsn(64)) },
        durable_lsn: lsn(64),
        part: 0,
        parts: 1,
        global_id: b"order 7",
        frees_pages: false,
        locks,
    }
}

/// The bytes stand where `docs/format.md` says.
#[test]
fn a_prepare_record_byte_for_byte() {
    let mut bytes = Vec::new();
    let encoded = EncodedRecord::new(&one_prepare());
    encoded.append_to(lsn(128), 1, &mut bytes);
    assert_eq!(encoded.len(), 81);
    assert_eq!(bytes[8], 12, "the kind");
    assert_eq!(bytes[28..36], 64u64.to_le_bytes(), "durable_lsn");
    assert_eq!(bytes[36..50], [0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 7, 0]);
    assert_eq!(&bytes[50..57], b"order 7");
    assert_eq!(bytes[57..69], [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "existence, shared");
    assert_eq!(bytes[69..81], [7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 1], "record, exclusive");
}

/// One of each kind, and of each mode.
#[test]
fn locks_of_a_prepare_record_byte_for_byte() {
    let (root, key) = (PageId(5), KeyName::of(b"alice"));
    let name = &key.to_bytes()[..];
    let lines: [(_, _, [u8; 4], &[u8]); 6] = [
        (LockName::PageExistence(root), Mode::Shared, [0, 0, 0, 0], &[]),
        (LockName::Record(root, SlotId(3)), Mode::Exclusive, [3, 0, 1, 1], &[]),
        (LockName::Table(root), Mode::IntentionExclusive, [0, 0, 2, 3], &[]),
        (LockName::Key(root, key), Mode::IntentionShared, [0, 0, 3, 2], name),
        (LockName::Gap(root, GapName::Before(key)), Mode::Exclusive, [0, 0, 4, 1], name),
        (LockName::Gap(root, GapName::End), Mode::SharedIntentionExclusive, [0, 0, 5, 4], &[]),
    ];
    let locks: Vec<_> = lines.iter().map(|(name, mode, ..)| (*name, *mode)).collect();
    let record = LogRecord::Prepare(with_locks(locks.clone()));
    let mut bytes = Vec::new();
    EncodedRecord::new(&record).append_to(lsn(128), 1, &mut bytes);
    let length = prepare_bytes(7, &locks);
    assert_eq!(length, 57 + 6 * 12 + 2 * 17);
    assert_eq!(decode(&bytes[..length]).unwrap(), record);
    let mut rest = &bytes[57..length];
    for (name, _, line, key) in lines {
        let expected = [&[5, 0, 0, 0, 0, 0, 0, 0], &line[..], key].concat();
        let (found, behind) = rest.split_at(expected.len());
        assert_eq!(found, expected, "{name}");
        rest = behind;
    }
    let key_s_length = 57 + 3 * 12 + 12 + 16;
    for wrong in [4, 10] {
        let mut bytes = bytes[..length].to_vec();
        assert_eq!(std::mem::replace(&mut bytes[key_s_length], wrong), 5);
        assert!(decode(&bytes).is_err(), "a name that no key has");
    }
}

/// However the sizes of their lines are mixed: every lock in one part, in order, and no part too long,
/// nor shorter than need be.
#[test]
fn locks_are_shared_out_to_parts() {
    let key = |n: u64| LockName::Key(PageId(5), KeyName::of(&n.to_le_bytes()));
    let of = |n| if n % 3 == 0 { LockName::Table(PageId(n)) } else { key(n) };
    for count in [0, 1, 2, 19, 20, 21, 200] {
        let locks: Vec<_> = (0..count).map(|n| (of(n), Mode::Exclusive)).collect();
        let parts = prepare_parts(7, &locks, 500);
        assert_eq!(parts.concat(), locks);
        assert_eq!(parts.is_empty() || parts[0].is_empty(), count == 0);
        for (number, part) in parts.iter().enumerate() {
            assert!(prepare_bytes(7, part) <= 500);
            if let Some(next) = parts.get(number + 1) {
                assert!(prepare_bytes(7, &[part, &next[..1]].concat()) > 500, "{count} locks");
            }
        }
    }
}

/// What no prepare record can say is refused, each by itself.
#[test]
fn a_prepare_record_that_says_nonsense_is_refused() {
    let mut sound = Vec::new();
    EncodedRecord::new(&one_prepare()).append_to(lsn(128), 1, &mut sound);
    sound.truncate(81);
    assert_eq!(decode(&sound).unwrap(), one_prepare());
    let nonsense = [
        (12, 0, "no transaction"),
        (28, 0, "durable_lsn nil"),
        (36, 1, "part 1 of 1"),
        (40, 0, "no parts"),
        (44, 1, "a lock too few"),
        (44, 3, "a lock too many"),
        (48, 0, "no global id"),
        (48, 201, "a global id too long"),
        (48, 8, "a global id that takes a byte of the locks"),
        (65, 1, "the existence of a page with a slot"),
        (79, 2, "a table with a slot"),
        (79, 3, "a key with a slot, and without a name"),
        (79, 5, "a gap with a slot"),
        (79, 6, "a lock on nothing"),
        (80, 5, "a lock in no mode"),
    ];
    for (at, byte, what) in nonsense {
        let mut bytes = sound.clone();
        bytes[at] = byte;
        assert!(decode(&bytes).is_err(), "{what}");
    }
    for length in 28..sound.len() {
        assert!(decode(&sound[..length]).is_err(), "cut to {length} bytes");
    }
}
