#![allow(clippy::unwrap_used)]
//! The overlay against a disk of its own that everything is done to for real.

use std::fs;
use std::time::SystemTime;

use proptest::prelude::*;

use super::super::{BLOCK, SimDisk};
use super::*;

/// Every name with its bytes; `None` for a directory.
fn contents(disk: &dyn Disk) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        for name in disk.list(&directory).unwrap() {
            let name = match directory.as_str() {
                "" => name,
                _ => format!("{directory}/{name}"),
            };
            let bytes = disk.open(&name).ok().map(|file| read(&*file));
            if bytes.is_none() {
                directories.push(name.clone());
            }
            found.insert(name, bytes);
        }
    }
    found
}

fn read(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0xEE; usize::try_from(file.len().unwrap()).unwrap() + 10];
    let length = file.read_at(0, &mut bytes).unwrap();
    bytes.truncate(length);
    assert_eq!(&file.map(0, length).unwrap()[..], bytes);
    bytes
}

#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    CreateDirectory(usize),
    Rename(usize, usize),
    Remove(usize),
    Write(usize, u64, usize, u8),
    SetLength(usize, u64),
    SyncDirectory(usize),
}

const FILES: [&str; 5] = ["control", "pages", "log/1", "log/2", "new/1"];
const DIRECTORIES: [&str; 3] = ["log", "new", "pages"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let file = 0..FILES.len();
    let step = prop_oneof![
        2 => file.clone().prop_map(Step::Create),
        2 => (0..DIRECTORIES.len()).prop_map(Step::CreateDirectory),
        2 => (file.clone(), file.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => file.clone().prop_map(Step::Remove),
        8 => (file.clone(), 0..20_000_u64, 0..9000_usize, 0..3_u8)
            .prop_map(|(file, at, length, byte)| Step::Write(file, at, length, byte)),
        // At the borders of blocks, where whole blocks are written.
        2 => (file.clone(), 0..4_u64, 0..3_usize, 0..2_u8)
            .prop_map(|(file, at, blocks, byte)| Step::Write(file, at * 4096, blocks * 4096, byte)),
        3 => (file, 0..20_000_u64).prop_map(|(file, length)| Step::SetLength(file, length)),
        1 => (0..DIRECTORIES.len()).prop_map(Step::SyncDirectory),
    ];
    proptest::collection::vec(step, 0..40)
}

/// Does a step; gives the kind of failure.
fn run(disk: &dyn Disk, step: &Step) -> std::result::Result<(), &'static str> {
    let done = match *step {
        Step::Create(name) => disk.create(FILES[name]).map(drop),
        Step::CreateDirectory(name) => disk.create_directory(DIRECTORIES[name]),
        Step::Rename(from, to) => disk.rename(FILES[from], FILES[to]),
        Step::Remove(name) => disk.remove(FILES[name]),
        Step::Write(name, at, length, byte) => {
            disk.open(FILES[name]).and_then(|file| file.write_at(at, &vec![byte; length]))
        }
        Step::SetLength(name, length) => {
            disk.open(FILES[name]).and_then(|file| file.set_len(length))
        }
        Step::SyncDirectory(name) => disk.sync_directory(DIRECTORIES[name]),
    };
    done.map_err(|error| if error.is_not_found() { "not found" } else { "refused" })
}

/// A disk with some files, and a way to make another one just like it.
fn prepared() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_directory("log").unwrap();
    for (name, length) in [("control", 8192), ("pages", 10_000), ("log/1", 5000)] {
        disk.create(name).unwrap().write_at(0, &vec![7; length]).unwrap();
    }
    disk
}

proptest! {
    #[test]
    fn it_behaves_as_a_disk_and_the_lower_one_never_changes(steps in steps()) {
        let (lower, real) = (prepared(), prepared());
        let before = contents(&lower);
        lower.set_read_only(true);
        let pending = lower.pending();
        let overlay = OverlayDisk::new(Arc::new(lower.clone()));
        for step in &steps {
            prop_assert_eq!(run(&overlay, step), run(&real, step), "{:?}", step);
            prop_assert!(contents(&overlay) == contents(&real), "{:?}", step);
        }
        overlay.drop_cache().unwrap();
        prop_assert!(contents(&overlay) == contents(&real), "nothing to forget");
        prop_assert!(contents(&lower) == before, "the lower disk changed");
        prop_assert_eq!(lower.pending(), pending, "not even synced");
    }
}

#[test]
fn open_files_outlive_their_names() {
    let overlay = OverlayDisk::new(Arc::new(prepared()));
    let file = overlay.open("pages").unwrap();
    let other = overlay.open("pages").unwrap();
    file.write_at(0, b"both see it").unwrap();
    assert_eq!(read(&*other)[..11], *b"both see it");
    overlay.rename("pages", "log/9").unwrap();
    file.write_at(0, b"here as well").unwrap();
    assert_eq!(read(&*overlay.open("log/9").unwrap())[..12], *b"here as well");
    overlay.remove("log/9").unwrap();
    assert_eq!(read(&*file).len(), 10_000);
    assert!(overlay.open("pages").err().unwrap().is_not_found());
    overlay.create("pages").unwrap();
    assert_eq!(read(&*overlay.open("pages").unwrap()), b"");
}

#[test]
fn memory_is_in_proportion_to_what_was_written() {
    let root = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(root.path()).unwrap();
    disk.create("pages").unwrap().set_len(1 << 40).unwrap();
    let overlay = OverlayDisk::new(Arc::new(disk));
    let memory = |name: &str| overlay.names.lock().files[name].cover.lock().memory();
    let pages = overlay.open("pages").unwrap();
    pages.write_at(1 << 39, &[1; 100]).unwrap();
    pages.set_len(1 << 41).unwrap();
    assert_eq!(memory("pages"), BLOCK);
    // As a log segment is prepared.
    let segment = overlay.create("segment").unwrap();
    for at in 0..16 {
        segment.write_at(at << 20, &[0; 1 << 20]).unwrap();
    }
    assert_eq!((segment.len().unwrap(), memory("segment")), (16 << 20, 0));
    assert!(segment.write_at(u64::MAX - 1, b"xyz").is_err());
    assert!(segment.set_len(u64::MAX).is_err());
}

fn times(root: &std::path::Path) -> Vec<(PathBuf, SystemTime)> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.chain([root.to_owned()]).collect();
    found.sort();
    let modified = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    found.into_iter().map(|path| (path.clone(), modified(&path))).collect()
}

#[test]
fn a_directory_keeps_its_files_and_their_times() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    fs::write(path.join("control"), [1; 8192]).unwrap();
    fs::write(path.join("pages"), [2; 512]).unwrap();
    let before = times(path);
    let overlay = OverlayDisk::over_directory(path).unwrap();
    overlay.open("control").unwrap().write_at(0, b"changed").unwrap();
    overlay.create("distrust").unwrap();
    overlay.remove("pages").unwrap();
    overlay.sync_directory("").unwrap();
    overlay.drop_cache().unwrap();
    assert_eq!(overlay.list("").unwrap(), ["control", "distrust"]);
    drop(overlay);
    assert_eq!(times(path), before, "and no file is there that was not");
    assert_eq!(fs::read(path.join("control")).unwrap(), [1; 8192]);
}

#[test]
fn a_directory_in_use_can_be_read_but_not_locked() {
    let root = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(root.path()).unwrap();
    let file = disk.create("control").unwrap();
    assert!(matches!(OverlayDisk::over_directory(root.path()), Err(Error::AlreadyOpen { .. })));
    let overlay = OverlayDisk::over_directory_in_use(root.path()).unwrap();
    let seen = overlay.open("control").unwrap();
    file.write_at(0, b"here").unwrap();
    assert_eq!(read(&*overlay.open("control").unwrap()), b"", "its length as it was");
    file.set_len(3).unwrap();
    drop((overlay, seen));
    let overlay = OverlayDisk::over_directory_in_use(root.path()).unwrap();
    let seen = overlay.open("control").unwrap();
    assert!(matches!(seen.map(0, 3).unwrap(), LogBytes::Owned(_)), "nothing in use is mapped");
    assert_eq!(read(&*seen), b"her");
}
