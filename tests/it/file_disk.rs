//! Databases in real directories: what stands in the way, who else is there, and what the
//! operating system refuses.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use aries::disk::{Disk as _, FileDisk};
use aries::{Db, Error, Options};
use tempfile::{TempDir, tempdir};

use crate::bad_input::child;
use crate::common::{Work, files, forget_log, options, value};

/// Tells a process that this program started where to work.
const DIRECTORY: &str = "ARIES_TEST_DIRECTORY";

/// A closed database in a new directory.
fn closed() -> (TempDir, Work) {
    let directory = tempdir().unwrap();
    let db = options().open(directory.path()).unwrap();
    let mut work = Work::default();
    (0..6).for_each(|number| work.commit_one(&db, &value(number, 30)).unwrap());
    db.close().unwrap();
    (directory, work)
}

fn open(directory: &Path) -> Result<Db, Error> {
    options().open(directory)
}

fn assert_says(error: &Error, words: &[&str]) {
    let message = error.to_string();
    words.iter().for_each(|word| assert!(message.contains(word), "{message}: no {word}"));
}

fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_directory_of_somebody_else_is_refused_and_left_alone() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("diary.txt"), "dear diary").unwrap();
    let before = files(directory.path());
    for _ in 0..2 {
        let error = open(directory.path()).map(drop).unwrap_err();
        assert!(matches!(error, Error::NotADatabase { .. }), "{error}");
        assert_says(&error, &[name(directory.path()), "diary.txt"]);
    }
    assert!(files(directory.path()) == before, "{:?}", files(directory.path()).keys());
}

#[test]
fn a_file_instead_of_a_directory_is_refused_and_left_alone() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("database");
    fs::write(&file, "text").unwrap();
    let error = open(&file).map(drop).unwrap_err();
    assert!(matches!(error, Error::NotADatabase { .. }), "{error}");
    assert_says(&error, &[name(&file), "it is a file"]);
    assert_eq!(files(directory.path()).into_values().collect::<Vec<_>>(), [b"text"]);
}

#[test]
fn a_directory_without_a_parent_is_refused_by_name() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("missing/database");
    let error = open(&path).map(drop).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_says(&error, &[name(&path)]);
    let path = directory.path().join("none");
    let error = Options::new().create_if_missing(false).open(&path).map(drop).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(!path.exists());
}

#[test]
fn files_of_the_wrong_kind_are_refused_by_name() {
    for file in ["control", "pages", "doublewrite", "log"] {
        let (directory, _) = closed();
        let path = directory.path().join(file);
        fs::rename(&path, directory.path().with_extension("moved")).unwrap();
        match file {
            "log" => fs::write(&path, "a file").unwrap(),
            _ => fs::create_dir(&path).unwrap(),
        }
        let error = open(directory.path()).map(drop).unwrap_err();
        assert_says(&error, &[name(&path)]);
        let moved = directory.path().with_extension("moved");
        if moved.is_dir() { fs::remove_dir_all(moved) } else { fs::remove_file(moved) }.unwrap();
    }
}

#[test]
fn damage_in_real_files_is_refused_by_name_and_changes_nothing() {
    let (directory, work) = closed();
    let damage = |file: &str, at: usize| {
        let path = directory.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 4;
        fs::write(&path, bytes).unwrap();
        path
    };
    let log = "log/0000000000000001.seg";
    let path = damage(log, 10);
    let before = files(directory.path());
    for _ in 0..2 {
        let error = open(directory.path()).map(drop).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert_says(&error, &[name(&path), "LSN"]);
        assert!(files(directory.path()) == before);
    }
    damage(log, 10);
    // The log reaches back to the pages' beginnings: it must not, for them to be lost.
    forget_log(&open(directory.path()).unwrap());
    let (page, slot) = *work.records.last_key_value().unwrap().0;
    let path = damage("pages", page.0 as usize * 512 + 300);
    let db = open(directory.path()).unwrap();
    let error = db.begin().unwrap().read_record(page, slot).unwrap_err();
    assert_says(&error, &[name(&path), &page.to_string()]);
    drop(db);
    damage("pages", page.0 as usize * 512 + 300);
    work.check(&open(directory.path()).unwrap()).unwrap();
}

#[test]
fn a_second_open_from_this_process_is_refused() {
    let (directory, work) = closed();
    let db = open(directory.path()).unwrap();
    let handle = db.clone();
    for _ in 0..2 {
        let error = open(directory.path()).map(drop).unwrap_err();
        assert!(matches!(error, Error::AlreadyOpen { .. }), "{error}");
        assert_says(&error, &[name(directory.path())]);
    }
    work.check(&db).unwrap();
    drop(db);
    assert!(matches!(open(directory.path()).map(drop), Err(Error::AlreadyOpen { .. })));
    drop(handle);
    work.check(&open(directory.path()).unwrap()).unwrap();
}

/// Whoever only reads can write nothing, and keeps out writers, but not other readers.
#[test]
fn an_open_to_read_writes_nothing_and_lets_others_read() {
    let (directory, work) = closed();
    let first = FileDisk::open_to_read(directory.path()).unwrap();
    let second = FileDisk::open_to_read(directory.path()).unwrap();
    let file = second.open("pages").unwrap();
    file.read_at(0, &mut [0; 512]).unwrap();
    file.write_at(0, &[0; 512]).unwrap_err();
    assert!(matches!(open(directory.path()).map(drop), Err(Error::AlreadyOpen { .. })));
    drop((first, second, file));
    work.check(&open(directory.path()).unwrap()).unwrap();
}

/// A tool that looks whether the database is open holds it for a moment.
#[test]
fn a_reader_that_is_gone_at_once_does_not_make_an_open_fail() {
    let (directory, _) = closed();
    let reader = FileDisk::open_to_read(directory.path()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(30));
            drop(reader);
        });
        open(directory.path()).unwrap().close().unwrap();
    });
}

#[test]
fn an_open_refused_leaves_the_directory_free_for_the_next() {
    let (directory, work) = closed();
    let error = Options::new().page_size(8192).open(directory.path()).map(drop).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    work.check(&open(directory.path()).unwrap()).unwrap();
}

#[test]
fn a_second_open_from_another_process_is_refused_until_that_process_dies() {
    let (directory, work) = closed();
    let mut other = child("file_disk::holds_the_database_open")
        .env(DIRECTORY, directory.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 1];
    other.stderr.take().unwrap().read_exact(&mut ready).unwrap();
    let error = open(directory.path()).map(drop).unwrap_err();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(matches!(error, Error::AlreadyOpen { .. }), "{error}");
    assert_says(&error, &[name(directory.path()), "LOCK"]);
    work.check(&open(directory.path()).unwrap()).unwrap();
}

#[test]
#[ignore = "run by a_second_open_from_another_process_is_refused_until_that_process_dies"]
fn holds_the_database_open() {
    let db = open(Path::new(&std::env::var_os(DIRECTORY).unwrap())).unwrap();
    std::io::stderr().write_all(b"r").unwrap();
    let _ = std::io::stdin().read(&mut [0; 1]);
    drop(db);
}

/// Runs `test` in a process that may not write what belongs to others; whether it succeeded.
/// `None` where that cannot be had.
fn as_nobody(test: &str, directory: &Path) -> Option<bool> {
    const NOBODY: u32 = 65_534;
    let program = std::env::current_exe().unwrap();
    let mut probe = Command::new("test");
    probe.arg("-x").arg(&program).uid(NOBODY).gid(NOBODY);
    if !probe.status().is_ok_and(|status| status.success()) {
        return None;
    }
    let mut child = child(test);
    child.env(DIRECTORY, directory).uid(NOBODY).gid(NOBODY);
    Some(child.status().unwrap().success())
}

#[test]
fn a_directory_that_may_not_be_written_is_called_read_only() {
    let (directory, work) = closed();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let before = files(directory.path());
    match as_nobody("file_disk::is_refused_as_read_only", directory.path()) {
        Some(refused) => assert!(refused),
        None => eprintln!("skipped: no process of another user can be started here"),
    }
    assert!(files(directory.path()) == before);
    work.check(&open(directory.path()).unwrap()).unwrap();
}

#[test]
#[ignore = "run by tests of read-only directories, as somebody who may not write"]
fn is_refused_as_read_only() {
    let directory = std::env::var_os(DIRECTORY).unwrap();
    let error = open(Path::new(&directory)).map(drop).unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
    assert_says(&error, &[directory.to_str().unwrap()]);
}

/// A file system in memory; unmounted when dropped.
struct Mounted(TempDir);

impl Mounted {
    /// `None`, with a message, where mounting is not allowed.
    fn new(options: &str) -> Option<Self> {
        let directory = tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory.path());
        match mount.stderr(Stdio::null()).status() {
            Ok(status) if status.success() => Some(Self(directory)),
            _ => {
                eprintln!("skipped: mounting a file system is not allowed here");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let mut mount = Command::new("mount");
        assert!(mount.args(["-o", &options]).arg(self.0.path()).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // As soon as nobody uses it: a process that another test just starts may, for a moment.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_read_only_file_system_is_named_and_nothing_is_lost() {
    let Some(mounted) = Mounted::new("size=4m") else { return };
    let directory = mounted.0.path().join("database");
    let db = open(&directory).unwrap();
    let mut work = Work::default();
    work.commit_one(&db, &value(1, 30)).unwrap();
    drop(db);
    mounted.remount("ro");
    for _ in 0..2 {
        let error = open(&directory).map(drop).unwrap_err();
        assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
        assert_says(&error, &[name(&directory)]);
    }
    mounted.remount("rw");
    work.check(&open(&directory).unwrap()).unwrap();
}

#[test]
fn a_file_system_too_small_for_a_database_is_called_full() {
    let Some(mounted) = Mounted::new("size=100k") else { return };
    for _ in 0..2 {
        let error = open(mounted.0.path()).map(drop).unwrap_err();
        assert!(error.is_disk_full(), "{error}");
        assert_says(&error, &[name(mounted.0.path())]);
    }
    mounted.remount("size=4m");
    let db = open(mounted.0.path()).unwrap();
    Work::default().commit_one(&db, &value(1, 30)).unwrap();
    db.close().unwrap();
}

#[test]
fn a_file_system_that_fills_up_is_an_ordinary_error() {
    let Some(mounted) = Mounted::new("size=400k") else { return };
    let db = open(mounted.0.path()).unwrap();
    let mut work = Work::default();
    let error = loop {
        if let Err(error) = work.commit_one(&db, &value(work.records.len() as u64, 200)) {
            break error;
        }
    };
    assert!(error.is_disk_full(), "{error}");
    assert_says(&error, &[name(mounted.0.path())]);
    work.check(&db).unwrap();
    mounted.remount("size=4m");
    for number in 0..100 {
        work.commit_one(&db, &value(number, 200)).unwrap();
    }
    drop(db);
    work.check(&open(mounted.0.path()).unwrap()).unwrap();
}

#[test]
fn a_crash_in_a_real_directory_may_be_recovered_any_number_of_times() {
    let directory = tempdir().unwrap();
    let db = open(directory.path()).unwrap();
    let mut work = Work::default();
    (0..6).for_each(|number| work.commit_one(&db, &value(number, 30)).unwrap());
    let mut loser = db.begin().unwrap();
    loser.allocate_page().unwrap();
    db.force_log().unwrap();
    std::mem::forget(loser);
    drop(db);
    // The forgotten loser keeps the directory locked, as its process would: work on a copy.
    let copy = tempdir().unwrap();
    fs::create_dir(copy.path().join("log")).unwrap();
    for (path, bytes) in files(directory.path()) {
        fs::write(copy.path().join(path.strip_prefix(directory.path()).unwrap()), bytes).unwrap();
    }
    for round in 0..5 {
        let db = open(copy.path()).unwrap();
        assert_eq!(db.restart_report().undo.losers, usize::from(round == 0));
        work.check(&db).unwrap();
    }
}
