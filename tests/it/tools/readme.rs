//! The recording in the README is what the program prints, on the database that the README's own commands make.

use std::fs;
use std::path::Path;

use super::{left_by, text};

/// What stands behind a command in the README, up to the end of its block.
fn behind<'a>(readme: &'a str, command: &str) -> &'a str {
    let blocks = readme.split("```").skip(1).step_by(2);
    let found: Vec<&str> =
        blocks.filter_map(|block| Some(block.split_once(&format!("$ {command}\n"))?.1)).collect();
    assert_eq!(found.len(), 1, "{command} stands in {} blocks", found.len());
    found[0]
}

#[test]
fn the_recording_of_a_restart_is_what_the_program_prints() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let history = behind(&readme, "aries shell bank > report << END").strip_suffix("END\n");
    let directory = left_by(history.expect("the lines for the shell stand before END"));
    let printed = text("restart", directory.path(), &["--explain", "--dry-run"], 0);
    let recorded = behind(&readme, "aries restart bank --explain --dry-run");
    assert!(recorded == printed, "the README should have:\n{printed}");
}
