//! The recording in the README is what the program prints.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use aries::disk::{SimDisk, Survivors};
use aries::ids::PageId;

use super::{directory_of, text};
use crate::common::options;

/// The database of the recording: alice and bob have an account each. A transfer is committed; another one
/// is not, when the power fails.
fn bank() -> SimDisk {
    let disk = SimDisk::new();
    let db = options().database_id(1992).open_on(Arc::new(disk.clone())).unwrap();
    let mut txn = db.begin().unwrap();
    let accounts: Vec<_> = [b"alice 100", b"bob   100"]
        .into_iter()
        .map(|account| {
            let page = txn.allocate_page().unwrap();
            (page, txn.insert_record(page, account).unwrap())
        })
        .collect();
    txn.commit().unwrap();
    db.flush_pages().unwrap();
    db.checkpoint().unwrap();
    let [(alice, a), (bob, b)] = accounts[..] else { panic!("two accounts") };
    let mut committed = db.begin().unwrap();
    committed.write_record(alice, a, 6, b"070").unwrap();
    db.flush_page(PageId(1)).unwrap();
    committed.write_record(bob, b, 6, b"130").unwrap();
    committed.commit().unwrap();
    let mut loser = db.begin().unwrap();
    loser.write_record(alice, a, 6, b"000").unwrap();
    loser.write_record(bob, b, 6, b"200").unwrap();
    db.force_log().unwrap();
    disk.crash(&Survivors::None)
}

#[test]
fn the_recording_of_a_restart_is_what_the_program_prints() {
    let directory = directory_of(&bank());
    let printed = text("restart", directory.path(), &["--explain", "--dry-run"], 0);
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let blocks = readme.split("```").skip(1).step_by(2);
    let recorded =
        blocks.filter_map(|block| block.split_once("$ aries restart bank --explain --dry-run\n"));
    let recorded: Vec<&str> = recorded.map(|(_, printed)| printed).collect();
    assert!(recorded == [printed.as_str()], "the README should have:\n{printed}");
}
