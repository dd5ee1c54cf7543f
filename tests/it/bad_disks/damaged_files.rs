//! Files that are missing, cut, or of another version.

use aries::Error;
use aries::disk::{SimDisk, Survivors};

use super::{assert_names, closed, crashed, open_twice};
use crate::common::{Image, Work, disk_of, image, mend, options, try_open};

const CONTROL_BLOCK: usize = 4096;
const SLOT_BYTES: usize = 112;

fn without(image: &Image, name: &str) -> Image {
    let mut image = image.clone();
    image.remove(name).unwrap();
    image
}

fn cut(image: &Image, name: &str, length: usize) -> Image {
    let mut image = image.clone();
    image.get_mut(name).unwrap().truncate(length);
    image
}

/// The file without, empty, and cut at some places.
fn mutilations(image: &Image, name: &str) -> Vec<Image> {
    let length = image[name].len();
    let lengths = [0, 1, 63, 511, length / 2, length - 512, length - 1];
    let cuts = lengths.iter().map(|length| cut(image, name, *length));
    cuts.chain([without(image, name)]).collect()
}

/// Opens a mutilated image: either it has all its work, or the error names the file.
fn opens_whole_or_names(damaged: &Image, work: &Work, name: &str) -> bool {
    match open_twice(damaged, work) {
        Ok(()) => true,
        Err(error) => {
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
            assert_names(&error, name);
            false
        }
    }
}

#[test]
fn another_format_version_is_refused_by_name() {
    let (mut image, work) = closed();
    let control = image.get_mut("control").unwrap();
    for slot in control.chunks_exact_mut(CONTROL_BLOCK) {
        slot[8..12].copy_from_slice(&77_u32.to_le_bytes());
        mend::control_slot(slot);
    }
    let error = open_twice(&image, &work).unwrap_err();
    assert!(
        matches!(error, Error::Mismatch { what: "format version", found: 77, expected: 1, .. }),
        "{error}"
    );
    assert_names(&error, "control");
}

#[test]
fn other_sizes_than_the_database_has_are_refused_by_name() {
    let (image_before, work) = closed();
    let disk = disk_of(&image_before);
    let on = || std::sync::Arc::new(disk.clone());
    let error = options().page_size(1024).open_on(on()).map(drop).unwrap_err();
    assert!(
        matches!(error, Error::Mismatch { what: "page size", found: 512, expected: 1024, .. }),
        "{error}"
    );
    assert_names(&error, "control");
    let error = options().segment_bytes(131_072).open_on(on()).map(drop).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Mismatch { what: "segment size", found: 65_536, expected: 131_072, .. }
        ),
        "{error}"
    );
    assert_names(&error, "control");
    assert!(image(&disk) == image_before);
    work.check(&try_open(&disk).unwrap()).unwrap();
}

#[test]
fn one_damaged_control_slot_is_survived_at_every_byte() {
    for (image, work) in [closed(), crashed()] {
        for slot in 0..2 {
            for byte in 0..SLOT_BYTES {
                let mut damaged = image.clone();
                damaged.get_mut("control").unwrap()[slot * CONTROL_BLOCK + byte] ^= 0x10;
                open_twice(&damaged, &work).unwrap();
            }
        }
    }
}

#[test]
fn two_damaged_control_slots_are_refused_at_every_byte() {
    let (image, work) = crashed();
    for byte in 0..SLOT_BYTES {
        let mut damaged = image.clone();
        for slot in 0..2 {
            damaged.get_mut("control").unwrap()[slot * CONTROL_BLOCK + byte] ^= 0x10;
        }
        let error = open_twice(&damaged, &work).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert_names(&error, "control");
    }
}

#[test]
fn a_mutilated_control_file_opens_from_the_other_slot_or_is_named() {
    for (image, work) in [closed(), crashed()] {
        for damaged in mutilations(&image, "control") {
            let length = damaged.get("control").map_or(0, Vec::len);
            let opened = opens_whole_or_names(&damaged, &work, "control");
            assert_eq!(opened, length >= SLOT_BYTES, "{length} bytes");
        }
    }
}

#[test]
fn a_mutilated_double_write_file_costs_no_work() {
    for (image, work) in [closed(), crashed()] {
        for damaged in mutilations(&image, "doublewrite") {
            opens_whole_or_names(&damaged, &work, "doublewrite");
        }
        assert!(!opens_whole_or_names(&without(&image, "doublewrite"), &work, "doublewrite"));
    }
}

/// A batch that is older than its pages restores none of them, whatever brought it back: the log need not hold
/// what they had since.
#[test]
fn a_batch_older_than_its_pages_restores_nothing() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut txn = db.begin().unwrap();
    let page = txn.allocate_page().unwrap();
    let slot = txn.insert_record(page, b"old").unwrap();
    txn.commit().unwrap();
    db.flush_pages().unwrap();
    let batch = disk.read_file("doublewrite").unwrap();
    let mut txn = db.begin().unwrap();
    txn.write_record(page, slot, 0, b"new").unwrap();
    txn.commit().unwrap();
    db.flush_pages().unwrap();
    db.checkpoint().unwrap();
    let disk = disk.crash(&Survivors::None);
    disk.write_file("doublewrite", &batch);
    let db = try_open(&disk).unwrap();
    assert!(db.restart_report().redo.from.is_none(), "no page is dirty");
    let found = db.begin().unwrap().read_record(page, slot).unwrap();
    assert_eq!(found.as_deref(), Some(&b"new"[..]));
}

#[test]
fn a_mutilated_file_of_pages_is_named_and_never_served() {
    for (image, work) in [closed(), crashed()] {
        for damaged in mutilations(&image, "pages") {
            opens_whole_or_names(&damaged, &work, "pages");
        }
    }
}

#[test]
fn the_log_directory_is_named_when_it_is_missing() {
    let (mut image, work) = closed();
    image.retain(|name, _| !name.starts_with("log/"));
    let error = open_twice(&image, &work).unwrap_err();
    assert_names(&error, "log");
}

#[test]
fn a_mutilated_log_segment_costs_no_work_or_is_named() {
    for (image, work) in [closed(), crashed()] {
        let segments: Vec<&String> = image.keys().filter(|name| name.starts_with("log/")).collect();
        let mut refused = 0;
        for name in &segments {
            for damaged in mutilations(&image, name) {
                refused += usize::from(!opens_whole_or_names(&damaged, &work, name));
            }
        }
        assert!(refused >= 8, "the first segment is needed; {refused} refused");
    }
}

#[test]
fn a_segment_missing_in_the_middle_is_named_with_its_lsn() {
    let disk = SimDisk::new();
    let db = try_open(&disk).unwrap();
    let mut work = Work::default();
    work.commit_one(&db, &crate::common::value(0, 300)).unwrap();
    // It began early, so the log is kept from there on.
    let mut loser = db.begin().unwrap();
    let page = loser.allocate_page().unwrap();
    loser.insert_record(page, b"never committed").unwrap();
    while db.stats().end_lsn.get() < 4 * 65_536 {
        work.commit_one(&db, &crate::common::value(db.stats().end_lsn.get(), 300)).unwrap();
        db.checkpoint().unwrap();
    }
    let image = image(&disk);
    for number in 1..=4 {
        let name = format!("log/{number:016}.seg");
        let error = open_twice(&without(&image, &name), &work).unwrap_err();
        assert_names(&error, &name);
        let lsn = match number {
            1 => db.stats().oldest_required_lsn.to_string(),
            _ => format!("{:012}", (number - 1) * 65_536 + 4_096),
        };
        assert!(error.to_string().contains(&lsn), "{error}");
    }
    open_twice(&image, &work).unwrap();
}
