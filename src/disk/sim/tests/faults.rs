//! Faults that seem to succeed.

use super::*;

fn strike(disk: &SimDisk, kind: FaultKind, forever: bool) {
    disk.inject(Fault { at: disk.io_count(), kind, forever });
}

fn read(file: &dyn DiskFile, offset: u64, length: usize) -> Vec<u8> {
    let mut buffer = vec![255; length];
    let count = file.read_at(offset, &mut buffer).unwrap();
    buffer.truncate(count);
    buffer
}

#[test]
fn every_kind_is_listed_once_under_its_name() {
    let place = |kind| match kind {
        FaultKind::InputOutputError => 0,
        FaultKind::DiskFull => 1,
        FaultKind::PowerOff => 2,
        FaultKind::ShortRead => 3,
        FaultKind::ShortWrite => 4,
        FaultKind::LostWrite => 5,
        FaultKind::MisdirectedWrite { .. } => 6,
        FaultKind::StaleRead => 7,
        FaultKind::BitRot { .. } => 8,
    };
    let places: Vec<usize> = FaultKind::ALL.into_iter().map(place).collect();
    assert_eq!(places, (0..9).collect::<Vec<_>>());
    let names: std::collections::BTreeSet<_> = FaultKind::ALL.map(FaultKind::name).into();
    assert_eq!(names.len(), 9);
}

#[test]
fn short_reads_are_carried_on() {
    let bytes: Vec<u8> = (0..100).collect();
    let (disk, file) = disk_with("log", &bytes);
    let ios = |act: &dyn Fn()| {
        let before = disk.io_count();
        act();
        disk.io_count() - before
    };
    assert_eq!(ios(&|| assert_eq!(read(&*file, 90, 64), bytes[90..])), 1, "the end is no I/O");
    strike(&disk, FaultKind::ShortRead, false);
    assert_eq!(ios(&|| assert_eq!(read(&*file, 3, 64), bytes[3..67])), 2);
    assert_eq!(ios(&|| assert_eq!(read(&*file, 3, 64), bytes[3..67])), 1);
    strike(&disk, FaultKind::ShortRead, true);
    assert_eq!(ios(&|| assert_eq!(read(&*file, 3, 64), bytes[3..67])), 7, "32 + 16 + … + 1 + 1");
    assert_eq!(read(&*file, 90, 64), bytes[90..], "short, and then the end");
    strike(&disk, FaultKind::InputOutputError, true);
    assert!(file.read_at(3, &mut [0; 64]).is_err());
}

#[test]
fn short_writes_are_carried_on_and_leave_what_they_wrote() {
    let (disk, file) = disk_with("log", &[0; 8]);
    strike(&disk, FaultKind::ShortWrite, false);
    let before = disk.io_count();
    file.write_at(0, b"abcdefgh").unwrap();
    assert_eq!(disk.io_count() - before, 2);
    assert_eq!(disk.read_file("log").unwrap(), b"abcdefgh");
    assert_eq!(disk.pending().len(), 2, "each part is a change of its own");

    strike(&disk, FaultKind::ShortWrite, false);
    disk.inject(Fault { at: disk.io_count() + 1, kind: FaultKind::DiskFull, forever: false });
    assert!(file.write_at(0, b"ABCDEFGH").unwrap_err().is_disk_full());
    assert_eq!(disk.read_file("log").unwrap(), b"ABCDefgh");
    strike(&disk, FaultKind::ShortWrite, true);
    file.write_at(0, b"12345678").unwrap();
    assert_eq!(disk.read_file("log").unwrap(), b"12345678");
}

#[test]
fn a_lost_write_says_that_it_is_done() {
    let (disk, file) = disk_with("log", b"old");
    strike(&disk, FaultKind::LostWrite, false);
    file.write_at(0, b"newer").unwrap();
    assert_eq!(disk.read_file("log").unwrap(), b"old");
    assert!(disk.pending().is_empty());
    file.write_at(0, b"new").unwrap();
    assert_eq!(disk.read_file("log").unwrap(), b"new");
    strike(&disk, FaultKind::LostWrite, true);
    file.write_at(0, b"1").unwrap();
    file.write_at(1, b"2").unwrap();
    assert_eq!(disk.read_file("log").unwrap(), b"new");
}

#[test]
fn a_misdirected_write_lands_elsewhere_or_nowhere() {
    let misdirected = |by, offset| {
        let (disk, file) = disk_with("pages", &[0; 2048]);
        strike(&disk, FaultKind::MisdirectedWrite { by }, false);
        file.write_at(offset, &[1; 512]).unwrap();
        let pending = disk.pending().len();
        file.sync_data().unwrap();
        let image = disk.crash(&NONE).read_file("pages").unwrap();
        assert_eq!((image.len(), disk.read_file("pages").as_ref()), (2048, Some(&image)));
        assert_eq!(image.iter().filter(|byte| **byte == 1).count(), 512 * pending);
        image.iter().position(|byte| *byte == 1)
    };
    assert_eq!(misdirected(512, 512), Some(1024));
    assert_eq!(misdirected(-512, 512), Some(0));
    assert_eq!(misdirected(1024, 512), Some(1536));
    for by in [1025, -513, i64::MIN, i64::MAX] {
        assert_eq!(misdirected(by, 512), None, "{by}");
    }
}

#[test]
fn a_stale_read_gives_what_was_there_before() {
    let (disk, file) = disk_with("pages", &[1; 1024]);
    strike(&disk, FaultKind::StaleRead, true);
    assert_eq!(read(&*file, 0, 4), [1; 4], "it was never other");
    file.write_at(0, &[2; 2]).unwrap();
    assert_eq!(read(&*file, 0, 4), [1; 4], "written and not synced");
    file.sync_data().unwrap();
    assert_eq!(read(&*file, 0, 4), [1; 4], "before the sync");
    file.write_at(0, &[3]).unwrap();
    assert_eq!(read(&*file, 0, 4), [2, 2, 1, 1], "written again");
    assert_eq!(&file.map(0, 4).unwrap()[..], [2, 2, 1, 1]);
    assert_eq!(disk.read_file("pages").unwrap()[..4], [3, 2, 1, 1], "the right bytes");

    let (disk, file) = disk_with("pages", b"old");
    file.write_at(0, b"newer").unwrap();
    strike(&disk, FaultKind::StaleRead, false);
    assert_eq!(read(&*file, 0, 9), b"old\0\0", "but the length is the present one");
    assert_eq!(read(&*file, 0, 9), b"newer");
}

#[test]
fn a_bit_rots_after_an_io_on_its_file() {
    let (disk, file) = disk_with("pages", &[0; 4]);
    let after = |bit, forever, act: &dyn Fn()| {
        strike(&disk, FaultKind::BitRot { bit }, forever);
        act();
        let seen = disk.read_file("pages").unwrap();
        file.sync_data().unwrap();
        assert_eq!(disk.crash(&NONE).read_file("pages").unwrap(), seen);
        seen
    };
    let nothing: &dyn Fn() = &|| drop(disk.list(""));
    assert_eq!(after(3, false, nothing), [0; 4], "no I/O on a file");
    assert_eq!(after(9, false, &|| assert_eq!(read(&*file, 0, 4), [0; 4])), [0, 2, 0, 0]);
    assert_eq!(after(9 + 32, false, &|| drop(file.len())), [0; 4], "once around the file");
    assert_eq!(after(0, false, &|| file.sync_data().unwrap()), [1, 0, 0, 0]);
    file.write_at(0, &[0; 4]).unwrap();
    file.sync_data().unwrap();
    strike(&disk, FaultKind::BitRot { bit: 0 }, true);
    for _ in 0..3 {
        file.len().unwrap();
    }
    assert_eq!(disk.read_file("pages").unwrap(), [7, 0, 0, 0], "one bit at each I/O");
}
