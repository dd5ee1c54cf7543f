//! The commands that look at a database from outside.
//!
//! - [`crashed`]: a directory as a crash leaves it, with everything in it that a restart can meet: pages that
//!   are dirty, torn or not, a loser, one that rolls back, one in doubt, one that committed and did not end;
//! - [`left_by`]: a directory as `aries shell` leaves it that was told these lines;
//! - [`aries`], [`json`]: the program, run on a directory.

mod look;
mod reading_log;
mod readme;
mod refusals;
mod restart;
mod tables;
mod terminal;
mod trees;
mod untouched;
mod verify;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use aries::disk::SimDisk;
use aries::ids::{Lsn, PageId, SlotId};
use aries::page;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::common::{PAGE_SIZE, SEGMENT_BYTES, Story, image};

/// Runs the program.
pub fn aries(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aries")).args(arguments).output().unwrap()
}

/// Runs a command on a directory.
pub fn on(command: &str, directory: &Path, arguments: &[&str]) -> Output {
    aries(&[&[command, directory.to_str().unwrap()], arguments].concat())
}

/// What a command prints on a directory, which must give this exit code.
pub fn text(command: &str, directory: &Path, arguments: &[&str], code: i32) -> String {
    let output = on(command, directory, arguments);
    assert_eq!(output.status.code(), Some(code), "{command} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same with `--json`, read.
pub fn json(command: &str, directory: &Path, arguments: &[&str], code: i32) -> Value {
    let printed = text(command, directory, &[&["--json"], arguments].concat(), code);
    let object: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(object["version"], 1, "{command}");
    object
}

/// A directory with the files of a simulated disk.
pub fn directory_of(disk: &SimDisk) -> TempDir {
    let directory = tempdir().unwrap();
    for (name, bytes) in image(disk) {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    directory
}

/// The story that [`crashed`] is the end of.
pub fn story() -> Story {
    let story = Story::new();
    let [mut t1, mut t2, mut t3, mut t4] = std::array::from_fn(|_| story.begin());
    story.update(&mut t1, 1);
    story.update(&mut t2, 1);
    story.update(&mut t2, 2);
    story.db.flush_page(PageId(2)).unwrap();
    story.db.checkpoint().unwrap();
    t1.commit().unwrap();
    story.update(&mut t2, 3);
    let here = t3.savepoint().unwrap();
    story.update(&mut t3, 3);
    story.update(&mut t3, 4);
    t3.rollback_to(here).unwrap();
    story.update(&mut t3, 5);
    story.update(&mut t4, 6);
    t4.prepare(b"order 7").unwrap();
    story.db.flush_page(PageId(3)).unwrap();
    story.update(&mut t2, 7);
    story.db.force_log().unwrap();
    std::mem::forget((t2, t3)); // A crash rolls nothing back.
    story
}

/// Its directory; page 3 is torn in place, and whole in the double-write file.
pub fn crashed(story: &Story) -> TempDir {
    let disk = story.crash();
    disk.flip_bit("pages", 3 * PAGE_SIZE as u64 + 300, 1).unwrap();
    directory_of(&disk)
}

/// The directory of a database that was closed, with a page freed and some records.
pub fn closed() -> TempDir {
    let story = Story::new();
    let mut txn = story.begin();
    txn.delete_record(PageId(5), SlotId(4)).unwrap();
    txn.free_page(PageId(9)).unwrap();
    txn.commit().unwrap();
    let disk = story.disk.clone();
    story.db.close().unwrap();
    directory_of(&disk)
}

/// A directory as a shell leaves it that was told these lines, all of which must go well.
pub fn left_by(lines: &str) -> TempDir {
    let directory = tempdir().unwrap();
    let mut shell = assert_cmd::Command::cargo_bin("aries").unwrap();
    let told = shell.arg("shell").arg(directory.path()).write_stdin(lines).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    directory
}

/// A directory as a killed process leaves it: T1 has not committed, T2 has.
pub fn killed() -> TempDir {
    left_by(
        "fill pages=9 records=5\nT1: begin\nT1: update P1\nT2: begin\nT2: update P2\nT2: commit\n\
         force\nkill\n",
    )
}

/// Changes a page in place and seals it: its checksum is right.
pub fn forge(directory: &Path, page: u64, change: impl FnOnce(&mut [u8])) {
    let path = directory.join("pages");
    let mut pages = fs::read(&path).unwrap();
    let at = page as usize * PAGE_SIZE;
    change(&mut pages[at..at + PAGE_SIZE]);
    page::seal(&mut pages[at..at + PAGE_SIZE]);
    fs::write(path, pages).unwrap();
}

/// Flips a bit of a file.
pub fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// Flips a bit of the log, `offset` bytes behind the front of a record.
pub fn flip_log(directory: &Path, lsn: Lsn, offset: u64) {
    let number = lsn.get() / SEGMENT_BYTES + 1;
    flip(&directory.join(format!("log/{number:016}.seg")), lsn.get() % SEGMENT_BYTES + offset);
}
