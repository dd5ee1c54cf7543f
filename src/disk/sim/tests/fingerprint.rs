//! Equal images have equal fingerprints, and others have others.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

#[test]
fn how_an_image_came_about_does_not_count() {
    let whole = SimDisk::new();
    whole.write_file("log/1", &[0; 20_000]);
    whole.write_file("pages", &[7; 5000]);

    let other = SimDisk::new();
    other.write_file("pages", &[9; 9000]);
    other.create_directory("log").unwrap();
    let log = other.create("log/2").unwrap();
    log.set_len(20_000).unwrap();
    log.write_at(5000, &[1; 100]).unwrap();
    log.write_at(5000, &[0; 100]).unwrap();
    other.rename("log/2", "log/1").unwrap();
    let pages = other.open("pages").unwrap();
    pages.set_len(4000).unwrap();
    for offset in (0..5000).step_by(1000) {
        assert_ne!(other.fingerprint(), whole.fingerprint());
        pages.write_at(offset, &[7; 1000]).unwrap();
    }
    assert_eq!(other.fingerprint(), whole.fingerprint());
    assert_eq!(other.crash(&ALL).fingerprint(), whole.fingerprint());
    assert_ne!(other.crash(&NONE).fingerprint(), whole.fingerprint());
}

#[test]
fn every_byte_name_and_length_counts() {
    let disk = SimDisk::new();
    disk.write_file("ab", &[0; 5000]);
    disk.write_file("c", &[1]);
    let mut seen = HashMap::from([(disk.fingerprint(), "at first".to_owned())]);
    let mut other = |disk: &SimDisk, what: String| {
        let before = seen.insert(disk.fingerprint(), what.clone());
        assert_eq!(before, None, "the same as {what}");
    };
    let base = disk.crash(&ALL);
    for bit in (0..5000 * 8).step_by(7) {
        disk.flip_bit("ab", bit / 8, (bit % 8) as u8).unwrap();
        other(&disk, format!("bit {bit}"));
        disk.flip_bit("ab", bit / 8, (bit % 8) as u8).unwrap();
    }
    assert_eq!(disk.fingerprint(), base.fingerprint(), "every bit is back");
    for length in [0, 4096, 4999, 5001, 8192] {
        disk.write_file("ab", &vec![0; length]);
        other(&disk, format!("length {length}"));
    }
    for place in [0, 4096] {
        let mut bytes = [0; 8192];
        bytes[place..place + 4096].fill(5);
        disk.write_file("ab", &bytes);
        other(&disk, format!("a block at {place}"));
    }
    let at_first = || base.crash(&ALL);
    for (from, to) in [("ab", "a"), ("ab", "bc"), ("ab", "c"), ("c", "ab"), ("c", "bc")] {
        let disk = at_first();
        disk.rename(from, to).unwrap();
        other(&disk, format!("{from} is {to}"));
    }
    let disk = at_first();
    disk.create_directory("e").unwrap();
    other(&disk, "another directory".to_owned());
    let disk = at_first();
    disk.create_directory("d").unwrap();
    other(&disk, "a directory".to_owned());
    disk.create("d/ab").unwrap();
    other(&disk, "an empty file".to_owned());
    assert_eq!(base.fingerprint(), base.crash(&NONE).fingerprint());
}

proptest! {
    /// Asked at any time, before and after bytes are shared with other images.
    #[test]
    fn equal_files_and_equal_fingerprints_are_the_same(
        steps in proptest::collection::vec((0..3_u64, 0..10_000_u64, 0..5000_usize, 0..2_u8), 0..30),
    ) {
        let (disk, file) = disk_with("file", b"");
        let (mut by_bytes, mut by_fingerprint) = (BTreeMap::new(), BTreeMap::new());
        for (number, (kind, offset, length, byte)) in steps.into_iter().enumerate() {
            match kind {
                0 => file.set_len(offset / 1000 * 1000).unwrap(),
                _ => file.write_at(offset / 1000 * 1000, &vec![byte; length / 1000 * 1000]).unwrap(),
            }
            let crashed = disk.crash(&Survivors::Random { seed: number as u64 });
            for disk in [&disk, &crashed] {
                let (bytes, fingerprint) = (disk.read_file("file").unwrap(), disk.fingerprint());
                let known = by_bytes.insert(bytes.clone(), fingerprint);
                prop_assert!(known.is_none_or(|known| known == fingerprint));
                let known = by_fingerprint.insert(fingerprint, bytes.clone());
                prop_assert!(known.is_none_or(|known| known == bytes));
            }
        }
    }
}

/// What a process leaves that dies: the same bytes with other pending changes are another disk.
#[test]
fn what_is_pending_counts_where_it_is_asked_for() {
    let disk = SimDisk::new();
    let file = disk.create("file").unwrap();
    file.write_at(0, &[1; 1024]).unwrap();
    let killed = disk.kill();
    assert_eq!(killed.fingerprint(), disk.fingerprint());
    assert_eq!(killed.fingerprint_with_pending(), disk.fingerprint_with_pending());
    assert_eq!(killed.pending(), disk.pending(), "they go on to be lost or to survive");
    file.sync_data().unwrap();
    assert_eq!(killed.fingerprint(), disk.fingerprint());
    assert_ne!(killed.fingerprint_with_pending(), disk.fingerprint_with_pending());
    disk.sync_directory("").unwrap();
    assert_eq!(disk.fingerprint_with_pending(), disk.fingerprint(), "all is durable");
    let left = killed.crash(&Survivors::None);
    assert_eq!(left.list("").unwrap(), [""; 0], "another disk: nothing was synced there");
    assert_eq!(disk.crash(&Survivors::None).read_file("file").unwrap(), [1; 1024]);
}
