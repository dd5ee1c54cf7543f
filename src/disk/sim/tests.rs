#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod faults;
mod fingerprint;
mod model;
mod power;

use super::super::{Disk, DiskFile};
use super::*;
use crate::error::{Error, Result};

/// Bytes of a sector, where nothing else is said.
const SECTOR: usize = 512;

const ALL: Survivors = Survivors::All;
const NONE: Survivors = Survivors::None;

/// A disk with one durable file of these bytes, and its handle.
fn disk_with(name: &str, bytes: &[u8]) -> (SimDisk, Arc<dyn DiskFile>) {
    let disk = SimDisk::new();
    disk.write_file(name, bytes);
    let file = disk.open(name).unwrap();
    (disk, file)
}

fn kinds(disk: &SimDisk) -> Vec<PendingKind> {
    disk.pending().into_iter().map(|pending| pending.kind).collect()
}

fn chosen(disk: &SimDisk, places: &[usize]) -> Survivors {
    let pending = disk.pending();
    Survivors::Chosen(places.iter().map(|&place| pending[place].id).collect())
}

fn fail_next(disk: &SimDisk, kind: FaultKind) {
    disk.inject(Fault { at: disk.io_count(), kind, forever: false });
}

#[test]
fn only_what_was_synced_is_sure_to_survive() {
    let (disk, file) = disk_with("log", b"");
    file.write_at(7, b"").unwrap();
    assert_eq!(disk.pending(), [], "an empty write changes nothing");
    file.write_at(0, b"synced").unwrap();
    file.sync_data().unwrap();
    file.write_at(0, b"later").unwrap();
    file.set_len(4).unwrap();
    assert_eq!(disk.read_file("log").unwrap(), b"late");
    assert_eq!(disk.crash(&NONE).read_file("log").unwrap(), b"synced");
    assert_eq!(disk.crash(&ALL).read_file("log").unwrap(), b"late");

    let reopened = disk.clone().open("log").unwrap();
    assert_eq!(reopened.len().unwrap(), 4, "a process that dies loses nothing");
    let crashed = disk.crash(&ALL);
    file.write_at(0, b"LATE").unwrap();
    assert_eq!(crashed.read_file("log").unwrap(), b"late", "images are independent");
    assert!(crashed.pending().is_empty());
    assert_eq!(crashed.crash(&NONE).read_file("log").unwrap(), b"late");
}

#[test]
fn sectors_survive_one_by_one() {
    let (disk, file) = disk_with("pages", &[1; 1536]);
    file.write_at(500, &[2; 600]).unwrap();
    let sector = |offset| PendingKind::Sector { offset, length: 512 };
    assert_eq!(kinds(&disk), [sector(0), sector(512), sector(1024)]);
    for subset in [&[][..], &[0], &[1], &[2], &[0, 2], &[0, 1, 2]] {
        let image = disk.crash(&chosen(&disk, subset)).read_file("pages").unwrap();
        let survived: Vec<_> = [511, 512, 1024].iter().map(|&at| image[at] == 2).collect();
        let expected: Vec<_> = (0..3).map(|place| subset.contains(&place)).collect();
        assert_eq!(survived, expected);
        assert_eq!((image.len(), image[499], image[1100]), (1536, 1, 1));
    }
}

#[test]
fn a_sector_survives_in_any_of_its_versions() {
    let (disk, file) = disk_with("log", b"");
    file.write_at(0, b"ab").unwrap();
    file.write_at(1, b"BC").unwrap();
    let image = |places| disk.crash(&chosen(&disk, places)).read_file("log").unwrap();
    assert_eq!(image(&[0]), b"ab");
    assert_eq!(image(&[1]), b"aBC", "the later version is that of the whole sector");
    assert_eq!(image(&[0, 1]), b"aBC");
}

#[test]
fn lengths_and_sectors_survive_independently() {
    let (disk, file) = disk_with("pages", &[1; 700]);
    file.set_len(100).unwrap();
    file.set_len(600).unwrap();
    file.write_at(1200, &[2]).unwrap();
    let image = |places| disk.crash(&chosen(&disk, places)).read_file("pages").unwrap();
    let with_zeros = |kept, length| {
        let mut bytes = vec![1; kept];
        bytes.resize(length, 0);
        bytes
    };
    assert_eq!(image(&[0]), [1; 100]);
    assert_eq!(image(&[1]), [1; 600], "what a lost cut would have removed is still there");
    assert_eq!(image(&[0, 1]), with_zeros(100, 600));
    let mut extended = with_zeros(700, 1201);
    extended[1200] = 2;
    assert_eq!(image(&[2]), extended);

    file.set_len(10).unwrap();
    file.write_at(0, &[3]).unwrap();
    let written_back = image(&[4]);
    assert_eq!(written_back[..10], [3, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(written_back[10..512], [0; 502], "a sector is written back whole");
    assert_eq!(written_back[512..], [1; 188]);
}

#[test]
fn holes_are_read_as_zeros() {
    let (_disk, file) = disk_with("pages", &[1]);
    file.write_at(9000, &[2]).unwrap();
    let mut buffer = [7; 9002];
    assert_eq!(file.read_at(0, &mut buffer).unwrap(), 9001);
    let mut expected = [0; 9002];
    (expected[0], expected[9000], expected[9001]) = (1, 2, 7);
    assert_eq!(buffer, expected);
}

#[test]
fn a_name_is_durable_with_its_directory_and_not_before() {
    let disk = SimDisk::new();
    disk.create("control").unwrap().sync_data().unwrap();
    assert_eq!(disk.crash(&NONE).list("").unwrap(), [""; 0], "syncing a file is not enough");
    disk.sync_directory("").unwrap();
    assert_eq!(disk.crash(&NONE).list("").unwrap(), ["control"]);

    disk.create_directory("log").unwrap();
    let file = disk.create("log/1").unwrap();
    file.write_at(0, b"bytes").unwrap();
    file.sync_data().unwrap();
    disk.sync_directory("log").unwrap();
    let crashed = disk.crash(&NONE);
    assert_eq!(crashed.list("").unwrap(), ["control"], "the directory itself is lost");
    assert_eq!(crashed.read_file("log/1"), None);
    disk.sync_directory("").unwrap();
    assert_eq!(disk.crash(&NONE).read_file("log/1").unwrap(), b"bytes");

    disk.rename("log/1", "log/2").unwrap();
    assert_eq!(disk.crash(&NONE).list("log").unwrap(), ["1"]);
    assert_eq!(disk.crash(&ALL).list("log").unwrap(), ["2"]);
    disk.sync_directory("log").unwrap();
    assert_eq!(disk.crash(&NONE).list("log").unwrap(), ["2"]);
    disk.remove("log/2").unwrap();
    assert_eq!(disk.list("log").unwrap(), [""; 0]);
    assert_eq!(disk.crash(&NONE).read_file("log/2").unwrap(), b"bytes");
    disk.sync_directory("log").unwrap();
    assert_eq!(disk.crash(&NONE).list("log").unwrap(), [""; 0]);
    assert_eq!(file.len().unwrap(), 5, "an open handle outlives the name");
}

#[test]
fn names_survive_in_any_combination() {
    let (disk, file) = disk_with("old", b"1");
    disk.write_file("target", b"2");
    file.write_at(0, b"new").unwrap();
    disk.rename("old", "target").unwrap();
    disk.create("old").unwrap();
    let rename = PendingKind::Rename { from: "old".to_owned() };
    assert_eq!(kinds(&disk)[1..], [rename, PendingKind::Create]);
    assert_eq!(disk.pending()[0].name, "target", "a sector goes by the file's present name");

    let image = |places| {
        let crashed = disk.crash(&chosen(&disk, places));
        (crashed.read_file("old"), crashed.read_file("target"))
    };
    let bytes = |bytes: &[u8]| Some(bytes.to_vec());
    assert_eq!(image(&[0]), (bytes(b"new"), bytes(b"2")));
    assert_eq!(image(&[0, 1]), (None, bytes(b"new")));
    assert_eq!(image(&[1, 2]), (bytes(b""), bytes(b"1")));
    assert_eq!(image(&[2]), (bytes(b""), bytes(b"2")));

    disk.rename("old", "third").unwrap();
    let crashed = disk.crash(&chosen(&disk, &[3]));
    assert_eq!(crashed.list("").unwrap(), ["old", "target"], "what it renames was never created");
    disk.remove("target").unwrap();
    let crashed = disk.crash(&chosen(&disk, &[4]));
    assert_eq!(crashed.list("").unwrap(), ["old"], "the file that would have been replaced");
}

#[test]
fn random_survivors_follow_from_the_seed() {
    let (disk, file) = disk_with("pages", &[0; 64 * 512]);
    file.write_at(0, &[1; 64 * 512]).unwrap();
    let image = |seed| disk.crash(&Survivors::Random { seed }).read_file("pages").unwrap();
    assert_eq!(image(7), image(7));
    assert_ne!(image(7), image(8));
    let survived = image(7).iter().step_by(512).filter(|byte| **byte == 1).count();
    assert!((16..48).contains(&survived), "{survived} of 64 survived");
}

#[test]
fn after_a_failed_sync_the_bytes_are_shown_and_never_synced_again() {
    let (disk, file) = disk_with("log", &[0; 1024]);
    file.write_at(0, &[1; 1024]).unwrap();
    fail_next(&disk, FaultKind::InputOutputError);
    assert!(matches!(file.sync_data(), Err(Error::Io { operation: "sync", .. })));
    file.sync_data().unwrap();
    assert_eq!(disk.read_file("log").unwrap(), [1; 1024]);
    assert_eq!(disk.crash(&NONE).read_file("log").unwrap(), [0; 1024]);
    assert_eq!(disk.crash(&chosen(&disk, &[1])).read_file("log").unwrap()[511..513], [0, 1]);
    assert!(disk.pending().iter().all(|pending| pending.abandoned));

    // The first sector is written anew: as a whole, and for good.
    file.write_at(0, &[2]).unwrap();
    file.sync_data().unwrap();
    let mut durable = [0; 1024];
    durable[..512].fill(1);
    durable[0] = 2;
    assert_eq!(disk.crash(&NONE).read_file("log").unwrap(), durable);
    let survived = disk.crash(&chosen(&disk, &[0])).read_file("log").unwrap();
    assert_eq!(survived, durable, "an abandoned sector cannot undo a later one");

    assert_eq!(disk.read_file("log").unwrap()[512], 1);
    file.write_at(1023, &[3]).unwrap();
    file.write_at(1, &[3]).unwrap();
    disk.drop_cache();
    (durable[1], durable[1023]) = (3, 3);
    durable[512..1023].fill(1);
    assert_eq!(disk.read_file("log").unwrap(), durable, "what is still to be written is shown");
    assert!(disk.pending().iter().all(|pending| !pending.abandoned));
}

#[test]
fn dropping_the_cache_shows_what_is_durable() {
    let (disk, file) = disk_with("log", &[0; 512]);
    file.write_at(0, &[1; 512]).unwrap();
    fail_next(&disk, FaultKind::DiskFull);
    assert!(file.sync_data().unwrap_err().is_disk_full());
    file.sync_data().unwrap();
    disk.drop_cache();
    assert_eq!(disk.read_file("log").unwrap(), [0; 512]);
    assert_eq!(disk.crash(&ALL).read_file("log").unwrap(), [0; 512]);

    // The same for names.
    disk.create("new").unwrap();
    fail_next(&disk, FaultKind::InputOutputError);
    assert!(disk.sync_directory("").is_err());
    disk.sync_directory("").unwrap();
    assert_eq!(disk.list("").unwrap(), ["log", "new"]);
    assert_eq!(disk.crash(&NONE).list("").unwrap(), ["log"]);
    disk.drop_cache();
    assert_eq!(disk.list("").unwrap(), ["log"]);
}

#[test]
fn faults_strike_the_chosen_io_and_change_nothing() {
    let (disk, file) = disk_with("log", &[0; 8]);
    let before = disk.io_count();
    disk.inject(Fault { at: before + 1, kind: FaultKind::InputOutputError, forever: false });
    disk.inject(Fault { at: before + 3, kind: FaultKind::DiskFull, forever: true });
    file.write_at(0, b"a").unwrap();
    assert!(matches!(file.write_at(0, b"b"), Err(Error::Io { .. })));
    file.write_at(1, b"c").unwrap();
    assert_eq!(file.len().unwrap(), 8, "a full disk can be read");
    assert!(file.write_at(2, b"d").unwrap_err().is_disk_full());
    assert!(file.set_len(0).unwrap_err().is_disk_full());
    assert!(disk.create("pages").err().unwrap().is_disk_full());
    assert_eq!(disk.read_file("log").unwrap(), b"ac\0\0\0\0\0\0");
    disk.remove("log").unwrap();
    assert_eq!(disk.io_count(), before + 8);
}

#[test]
fn without_power_nothing_happens_until_the_crash() {
    let (disk, file) = disk_with("log", &[0; 512]);
    file.write_at(0, b"1").unwrap();
    fail_next(&disk, FaultKind::PowerOff);
    for result in [file.write_at(0, b"2"), file.sync_data(), disk.remove("log")] {
        assert!(result.unwrap_err().to_string().contains("power is off"));
    }
    assert!(disk.open("log").is_err());
    assert_eq!(disk.pending().len(), 1);
    assert!(!disk.pending()[0].abandoned);
    let crashed = disk.crash(&ALL);
    assert_eq!(crashed.read_file("log").unwrap()[0], b'1');
    crashed.open("log").unwrap().write_at(0, b"3").unwrap();
}

#[test]
fn a_full_disk_refuses_what_takes_room_and_nothing_else() {
    let (disk, file) = disk_with("log", &[1; 4096]);
    disk.set_capacity(Some(8192));
    assert!(file.set_len(8193).unwrap_err().is_disk_full());
    file.set_len(8192).unwrap();
    let pages = disk.create("pages").unwrap();
    assert!(pages.write_at(0, &[1; 4097]).unwrap_err().is_disk_full());
    assert_eq!(pages.len().unwrap(), 0);
    pages.write_at(0, &[0; 4096]).unwrap();
    assert!(file.write_at(4096, &[1]).unwrap_err().is_disk_full(), "a hole reserves no room");
    file.write_at(0, &[2; 4096]).unwrap();
    assert!(disk.crash(&ALL).open("log").unwrap().write_at(4096, &[1]).is_err());
    disk.remove("pages").unwrap();
    file.write_at(4096, &[1]).unwrap();
    disk.set_capacity(Some(0));
    file.write_at(4096, &[2]).unwrap();
    disk.set_capacity(None);
    file.set_len(1 << 60).unwrap();
}

#[test]
fn a_read_only_disk_refuses_every_change() {
    let (disk, file) = disk_with("log", &[1; 8]);
    disk.set_read_only(true);
    let refused = |result: Result<()>| matches!(result, Err(Error::ReadOnly { .. }));
    assert!(refused(file.write_at(0, &[2])));
    assert!(refused(file.set_len(0)));
    assert!(refused(disk.create("pages").map(|_| ())));
    assert!(refused(disk.create_directory("log2")));
    assert!(refused(disk.rename("log", "pages")));
    assert!(refused(disk.remove("log")));
    assert_eq!(disk.open("log").unwrap().read_at(0, &mut [0; 9]).unwrap(), 8);
    disk.set_read_only(false);
    file.set_len(0).unwrap();
}

#[test]
fn damage_on_purpose_is_durable() {
    let (disk, file) = disk_with("pages", &[1; 1024]);
    file.write_at(0, &[2]).unwrap();
    disk.flip_bit("pages", 700, 3).unwrap();
    disk.copy_range("pages", 600, 0, 200).unwrap();
    let (seen, durable) = (disk.read_file("pages").unwrap(), disk.crash(&NONE));
    let mut expected = vec![1; 1024];
    (expected[700], expected[100]) = (9, 9);
    assert_eq!(seen, expected);
    assert_eq!(durable.read_file("pages").unwrap(), expected);
    assert_eq!(disk.crash(&ALL).read_file("pages").unwrap()[0], 2, "written back after it");

    assert!(disk.flip_bit("pages", 1024, 0).is_err());
    assert!(disk.flip_bit("pages", 0, 8).is_err());
    assert!(disk.flip_bit("none", 0, 0).unwrap_err().is_not_found());
    assert!(disk.copy_range("pages", 0, 1000, 25).is_err());
    assert!(disk.copy_range("pages", u64::MAX, 0, 25).is_err());
}

#[test]
fn files_put_or_removed_by_hand_are_durable() {
    let (disk, file) = disk_with("log/1", &[1; 600]);
    file.write_at(0, &[2; 600]).unwrap();
    disk.rename("log/1", "log/2").unwrap();
    disk.write_file("log/2", b"by hand");
    let crashed = disk.crash(&ALL);
    assert_eq!(crashed.list("log").unwrap(), ["2"]);
    assert_eq!(crashed.read_file("log/2").unwrap(), b"by hand");

    disk.rename("log/2", "log/3").unwrap();
    disk.remove_file("log/3");
    assert_eq!(disk.crash(&NONE).list("log").unwrap(), [""; 0]);
    assert_eq!(disk.crash(&ALL).list("log").unwrap(), [""; 0]);
}

#[test]
fn maps_are_never_longer_than_the_file() {
    let (disk, file) = disk_with("log", b"0123456789");
    assert_eq!(&file.map(3, 7).unwrap()[..], b"3456789");
    assert!(file.map(3, 8).is_err());
    assert!(file.map(u64::MAX, usize::MAX).is_err());
    assert!(file.write_at(u64::MAX, b"xy").is_err());
    assert!(file.set_len(u64::MAX).is_err());
    assert_eq!(file.read_at(u64::MAX, &mut [0; 2]).unwrap(), 0);
    assert_eq!(disk.location().to_str(), Some("sim:"));
}

#[test]
fn names_behave_like_those_of_a_kernel() {
    let (disk, _file) = disk_with("log/1", b"");
    assert!(disk.create("log/1").is_err());
    assert!(disk.create("log").is_err());
    assert!(disk.create("none/1").err().unwrap().is_not_found());
    assert!(disk.open("log/2").err().unwrap().is_not_found());
    assert!(disk.rename("log/2", "log/3").unwrap_err().is_not_found());
    assert!(disk.rename("log/1", "none/1").unwrap_err().is_not_found());
    assert!(disk.remove("log/2").unwrap_err().is_not_found());
    assert!(disk.remove("log").is_err());
    assert!(disk.list("none").unwrap_err().is_not_found());
    disk.create_directory("log").unwrap();
    disk.write_file("file", b"");
    assert!(disk.create_directory("file").is_err());
    assert_eq!(disk.list("").unwrap(), ["file", "log"]);
}

#[test]
fn files_that_nobody_can_reach_are_forgotten() {
    let disk = SimDisk::new();
    for _ in 0..10 {
        disk.create("log").unwrap().write_at(0, &[1; 4096]).unwrap();
        disk.remove("log").unwrap();
        disk.sync_directory("").unwrap();
    }
    let file = disk.create("log").unwrap();
    file.write_at(0, b"kept").unwrap();
    disk.remove("log").unwrap();
    disk.sync_directory("").unwrap();
    let state = disk.state.lock();
    assert_eq!((state.cached.files.len(), state.entries.len()), (1, 1));
    drop(state);
    assert!(disk.crash(&ALL).state.lock().cached.files.is_empty());
    assert_eq!(file.read_at(0, &mut [0; 9]).unwrap(), 4);
}

#[test]
fn what_will_survive_is_known_before() {
    let (disk, file) = disk_with("pages", &[1; 4096]);
    file.write_at(0, &[2; 2048]).unwrap();
    disk.create("log").unwrap().write_at(100, b"abc").unwrap();
    disk.rename("log", "control").unwrap();
    for survivors in [Survivors::None, Survivors::All]
        .into_iter()
        .chain((0..20).map(|seed| Survivors::Random { seed }))
    {
        let (crashed, told) = (disk.crash(&survivors), disk.surviving(&survivors));
        let again = disk.crash(&Survivors::Chosen(told));
        for name in ["pages", "log", "control"] {
            assert_eq!(crashed.read_file(name), again.read_file(name), "{survivors:?}");
        }
    }
    let first = disk.pending()[0].id;
    assert_eq!(disk.pending_bytes(first), Some(vec![2; 512]));
    assert_eq!(disk.pending_bytes(disk.pending()[4].id), None, "a name has no bytes");
}
