//! What a power failure may do, as far as the disk is declared capable of it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn ordered() -> SimDisk {
    SimDisk::with_power_failure(PowerFailure { metadata: Metadata::Ordered, ..Default::default() })
}

/// A disk whose sectors may be torn so, with a durable file of ones.
fn tearing(torn: Torn) -> (SimDisk, Arc<dyn DiskFile>) {
    let disk = SimDisk::with_power_failure(PowerFailure { torn, ..Default::default() });
    disk.write_file("pages", &[1; 1024]);
    let file = disk.open("pages").unwrap();
    (disk, file)
}

fn part(disk: &SimDisk, place: usize, part: Part) -> Survivors {
    Survivors::Parts([(disk.pending()[place].id, part)].into())
}

fn refuses(disk: &SimDisk, survivors: &Survivors) -> bool {
    let crash = || drop(disk.crash(survivors));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(crash)).is_err()
}

#[test]
fn sectors_may_be_of_4096_bytes() {
    let power = PowerFailure { sector: SectorSize::Bytes4096, ..Default::default() };
    let disk = SimDisk::with_power_failure(power);
    disk.write_file("pages", &[1; 10_000]);
    disk.open("pages").unwrap().write_at(4000, &[2; 5000]).unwrap();
    let sector = |offset, length| PendingKind::Sector { offset, length };
    assert_eq!(kinds(&disk), [sector(0, 4096), sector(4096, 4096), sector(8192, 1808)]);
    let crashed = disk.crash(&chosen(&disk, &[1]));
    let mut expected = vec![1; 10_000];
    expected[4096..8192].fill(2);
    assert_eq!(crashed.read_file("pages").unwrap(), expected);
    assert_eq!(crashed.power_failure(), power, "the disk is the same after it");
}

#[test]
fn a_torn_sector_has_its_first_or_its_last_bytes() {
    let (disk, file) = tearing(Torn::PrefixOrSuffix);
    file.write_at(512, &[2; 512]).unwrap();
    file.write_at(512, &[3; 512]).unwrap();
    let image = |survivors: &Survivors| disk.crash(survivors).read_file("pages").unwrap();
    let runs = |image: Vec<u8>| {
        let runs = image.chunk_by(|a, b| a == b);
        runs.map(|run| (run[0], run.len())).collect::<Vec<_>>()
    };
    assert_eq!(runs(image(&part(&disk, 0, Part::Prefix(100)))), [(1, 512), (2, 100), (1, 412)]);
    assert_eq!(runs(image(&part(&disk, 0, Part::Suffix(511)))), [(1, 1023), (2, 1)]);
    let ids: Vec<u64> = disk.pending().iter().map(|pending| pending.id).collect();
    let both = Survivors::Parts([(ids[0], Part::Whole), (ids[1], Part::Suffix(2))].into());
    assert_eq!(runs(image(&both)), [(1, 512), (2, 2), (3, 510)], "over the version before");

    file.write_at(1024, &[4; 300]).unwrap();
    let longer = image(&part(&disk, 2, Part::Suffix(200)));
    assert_eq!(runs(longer), [(1, 1024), (0, 200), (4, 100)], "the length comes with any part");
    let longer = image(&part(&disk, 2, Part::Prefix(200)));
    assert_eq!(runs(longer), [(1, 1024), (4, 200), (0, 100)]);
}

#[test]
fn garbage_is_neither_old_nor_new_and_follows_from_its_seed() {
    let (disk, file) = tearing(Torn::Garbage);
    file.write_at(0, &[2; 512]).unwrap();
    let image = |seed| {
        let image = disk.crash(&part(&disk, 0, Part::Garbage { seed }));
        image.read_file("pages").unwrap()
    };
    for seed in 0..50 {
        let garbage = image(seed);
        assert!(garbage[..512].iter().all(|byte| ![1, 2].contains(byte)));
        assert_eq!(garbage[512..], [1; 512]);
        assert_eq!(garbage, image(seed));
    }
    assert_ne!(image(1), image(2));
}

#[test]
fn what_the_disk_is_not_capable_of_is_refused() {
    let torn = [Torn::Never, Torn::PrefixOrSuffix, Torn::Garbage];
    let parts = [Part::Whole, Part::Prefix(5), Part::Suffix(5), Part::Garbage { seed: 1 }];
    for (capable, torn) in [1, 3, 4].into_iter().zip(torn) {
        let (disk, file) = tearing(torn);
        file.write_at(0, &[2; 512]).unwrap();
        file.set_len(2000).unwrap();
        for (number, how) in parts.into_iter().enumerate() {
            assert_eq!(refuses(&disk, &part(&disk, 0, how)), number >= capable, "{torn:?} {how:?}");
            assert_eq!(refuses(&disk, &part(&disk, 1, how)), number > 0, "a length has no parts");
        }
        assert!(refuses(&disk, &part(&disk, 0, Part::Prefix(513))));
    }
    let disk = ordered();
    disk.create("a").unwrap();
    disk.create("b").unwrap();
    assert!(refuses(&disk, &chosen(&disk, &[1])), "b is not there without a");
    assert!(!refuses(&disk, &chosen(&disk, &[0])));
}

#[test]
fn torn_sectors_come_at_random_too() {
    for (torn, most) in [(Torn::Never, 0), (Torn::PrefixOrSuffix, 40), (Torn::Garbage, 60)] {
        let (disk, file) = tearing(torn);
        file.write_at(0, &[2; 512]).unwrap();
        let mut counts = [0; 4]; // lost, whole, torn, garbage
        for seed in 0..400 {
            let crashed = disk.crash(&Survivors::Random { seed });
            let image = crashed.read_file("pages").unwrap();
            counts[match (image[0], image[511]) {
                (1, 1) => 0,
                (2, 2) => 1,
                (1, 2) | (2, 1) => 2,
                _ => 3,
            }] += 1;
        }
        let [lost, whole, torn_ones, garbage] = counts;
        assert!((150..250).contains(&lost) && whole > 90, "{counts:?}");
        assert_eq!((torn_ones > 20, garbage > 10), (torn > Torn::Never, torn == Torn::Garbage));
        assert!(torn_ones + garbage >= most, "{counts:?}");
    }
}

#[test]
fn a_journal_keeps_the_order_of_names_and_lengths() {
    let disk = ordered();
    disk.write_file("old", &[1; 512]);
    let file = disk.create("new").unwrap();
    file.write_at(0, &[2; 600]).unwrap();
    disk.rename("new", "old").unwrap();
    let sector = |offset, length| PendingKind::Sector { offset, length };
    let rename = PendingKind::Rename { from: "new".to_owned() };
    let expected =
        [PendingKind::Create, PendingKind::SetLength(600), sector(0, 512), sector(512, 88), rename];
    assert_eq!(kinds(&disk), expected);

    let image = |places: &[usize]| {
        let crashed = disk.crash(&chosen(&disk, places));
        (crashed.read_file("new"), crashed.read_file("old"))
    };
    let old = Some(vec![1; 512]);
    assert_eq!(image(&[0]), (Some(vec![]), old.clone()));
    assert_eq!(image(&[0, 2]), (Some(vec![]), old.clone()), "bytes bring no length with them");
    assert_eq!(image(&[0, 1]), (Some(vec![0; 600]), old));
    let mut second = vec![0; 600];
    second[512..].fill(2);
    assert_eq!(image(&[0, 1, 3, 4]), (None, Some(second)), "bytes keep no order");
    let states = (0..40).map(|seed| {
        let crashed = disk.crash(&Survivors::Random { seed });
        ["new", "old"].map(|name| crashed.read_file(name).map(|file| file.len()))
    });
    let moments =
        [[None, Some(512)], [None, Some(600)], [Some(0), Some(512)], [Some(600), Some(512)]];
    assert_eq!(states.collect::<BTreeSet<_>>(), moments.into());
}

#[test]
fn a_sync_makes_all_older_metadata_durable() {
    let disk = ordered();
    disk.write_file("a", &[1; 512]);
    let (a, b) = (disk.open("a").unwrap(), disk.create("b").unwrap());
    a.write_at(0, &[2; 1024]).unwrap();
    a.sync_data().unwrap();
    assert_eq!(disk.crash(&NONE).list("").unwrap(), ["a", "b"], "b was created before a grew");
    a.write_at(0, &[3; 1024]).unwrap();
    disk.create("c").unwrap();
    b.set_len(100).unwrap();
    a.sync_data().unwrap();
    assert_eq!(disk.crash(&NONE).list("").unwrap(), ["a", "b"], "bytes alone need no journal");
    disk.create("d").unwrap();
    b.sync_data().unwrap();
    assert_eq!(disk.crash(&NONE).list("").unwrap(), ["a", "b", "c"], "d is younger");
    disk.sync_directory("").unwrap();
    assert!(disk.pending().is_empty());
}

#[test]
fn bytes_written_before_a_cut_do_not_come_back_after_it() {
    let disk = ordered();
    disk.write_file("a", &[1; 512]);
    let (a, b) = (disk.open("a").unwrap(), disk.create("b").unwrap());
    a.write_at(0, &[2; 512]).unwrap();
    a.set_len(0).unwrap();
    a.set_len(512).unwrap();
    b.set_len(1).unwrap();
    b.sync_data().unwrap();
    for crashed in [disk.crash(&NONE), disk.crash(&ALL)] {
        assert_eq!(crashed.read_file("a").unwrap(), [0; 512]);
    }
    disk.drop_cache();
    assert_eq!(disk.read_file("a").unwrap(), [0; 512]);
    a.sync_data().unwrap();
    assert_eq!(disk.crash(&ALL).read_file("a").unwrap(), [0; 512]);
}

#[test]
fn a_journal_is_tried_again_after_a_failed_sync_and_bytes_are_not() {
    let disk = ordered();
    let file = disk.create("a").unwrap();
    file.write_at(0, &[1; 512]).unwrap();
    fail_next(&disk, FaultKind::InputOutputError);
    assert!(file.sync_data().is_err());
    let abandoned: Vec<bool> = disk.pending().iter().map(|pending| pending.abandoned).collect();
    assert_eq!(abandoned, [false, false, true]);
    file.sync_data().unwrap();
    assert_eq!(disk.crash(&NONE).read_file("a").unwrap(), [0; 512]);
    assert_eq!(disk.crash(&ALL).read_file("a").unwrap(), [1; 512]);
}

#[test]
fn what_changes_nothing_says_so() {
    let (disk, file) = disk_with("pages", &[1; 2048]);
    let same = || disk.pending().iter().map(|p| p.changes_nothing).collect::<Vec<_>>();
    file.write_at(0, &[1; 512]).unwrap();
    file.write_at(512, &[2; 512]).unwrap();
    file.write_at(512, &[1; 512]).unwrap();
    file.write_at(1020, &[1; 10]).unwrap();
    assert_eq!(same(), [true, false, false, false, true], "each version counts");
    disk.flip_bit("pages", 0, 0).unwrap();
    assert_eq!(same(), [false, false, false, false, true], "it heals what rotted since");
    file.sync_data().unwrap();

    file.write_at(2040, &[1; 100]).unwrap();
    assert_eq!(same(), [true, false], "only the second makes the file longer");
    file.sync_data().unwrap();
    file.write_at(2140, &[0; 100]).unwrap();
    assert_eq!(same(), [false], "a length is more than zeros");
    file.sync_data().unwrap();
    file.set_len(2000).unwrap();
    file.write_at(0, &[1; 512]).unwrap();
    assert_eq!(same(), [false, false], "who knows what the cut does");
}

/// What is done to two files, by their number.
#[derive(Clone, Debug)]
enum Step {
    Write(usize, u64, usize),
    SetLength(usize, u64),
    Sync(usize),
    Rename(usize),
    SyncDirectory,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_usize, 0..2000_u64, 0..1500_usize).prop_map(|(a, b, c)| Step::Write(a, b, c)),
        2 => (0..2_usize, 0..3000_u64).prop_map(|(a, b)| Step::SetLength(a, b)),
        2 => (0..2_usize).prop_map(Step::Sync),
        2 => (0..2_usize).prop_map(Step::Rename),
        1 => Just(Step::SyncDirectory),
    ]
}

/// Names and lengths, and the bytes behind the names.
fn look(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.list("").unwrap();
    names.into_iter().map(|name| (name.clone(), disk.read_file(&name).unwrap())).collect()
}

fn lengths(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<&str, usize> {
    files.iter().map(|(name, bytes)| (name.as_str(), bytes.len())).collect()
}

proptest! {
    /// What a journal leaves are the names and lengths of some moment since the last sync of names, and of
    /// each byte a version seen since, or zero.
    #[test]
    fn a_journal_leaves_the_names_and_lengths_of_one_moment(
        steps in proptest::collection::vec(step(), 0..25),
        seed: u64,
        torn: bool,
    ) {
        let torn = if torn { Torn::PrefixOrSuffix } else { Torn::Never };
        let power = PowerFailure { torn, metadata: Metadata::Ordered, ..Default::default() };
        let disk = SimDisk::with_power_failure(power);
        let files = ["a0", "b0"].map(|name| {
            disk.write_file(name, &[]);
            disk.open(name).unwrap()
        });
        let mut names = ["a0", "b0"].map(str::to_owned);
        let mut moments = vec![look(&disk)];
        for (number, step) in (1_u8..).zip(&steps) {
            match *step {
                Step::Write(file, offset, length) => {
                    files[file].write_at(offset, &vec![number; length]).unwrap();
                }
                Step::SetLength(file, length) => files[file].set_len(length).unwrap(),
                Step::Sync(file) => files[file].sync_data().unwrap(),
                Step::Rename(file) => {
                    let new = format!("{}{number}", &names[file][..1]);
                    disk.rename(&names[file], &new).unwrap();
                    names[file] = new;
                }
                Step::SyncDirectory => disk.sync_directory("").unwrap(),
            }
            moments.push(look(&disk));
        }
        for survivors in [NONE, ALL, Survivors::Random { seed }] {
            let left = look(&disk.crash(&survivors));
            prop_assert!(moments.iter().any(|moment| lengths(moment) == lengths(&left)));
            for (name, bytes) in &left {
                let same_file = |seen: &&String| seen[..1] == name[..1];
                for (at, byte) in bytes.iter().enumerate().filter(|(_, byte)| **byte != 0) {
                    let seen = moments.iter().any(|moment| {
                        let file = moment.keys().find(same_file).unwrap();
                        moment[file].get(at) == Some(byte)
                    });
                    prop_assert!(seen, "{} at {} of {}", byte, at, name);
                }
            }
        }
        prop_assert_eq!(look(&disk.crash(&ALL)), look(&disk), "nothing is out of order");
        for file in &files {
            file.sync_data().unwrap();
        }
        disk.sync_directory("").unwrap();
        prop_assert_eq!(look(&disk.crash(&NONE)), look(&disk));
        prop_assert!(disk.pending().is_empty());
    }
}
