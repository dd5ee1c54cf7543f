//! What `aries stats` and `aries verify` say of tables.

use std::fs;

use aries::ids::PageId;
use aries::page::tree::Node;
use serde_json::json;

use super::tables::large;
use super::{json, text};
use crate::common::files;

#[test]
fn stats_and_verify_tell_of_tables_without_changing_anything() {
    let directory = large();
    let before = files(directory.path());
    let stats = json("stats", directory.path(), &[], 0);
    let (empty, table) = (&stats["tables"][0], &stats["tables"][1]);
    assert_eq!(
        (&empty["name"], &empty["cells"], &empty["height"]),
        (&json!("empty"), &json!(0), &json!(1))
    );
    let fields =
        ["name", "height", "inner", "overflow", "cells", "ghosts"].map(|field| &table[field]);
    assert_eq!(fields, [&json!("t"), &json!(2), &json!(1), &json!(3), &json!(300), &json!(1)]);
    assert!(table["used_bytes"].as_u64() > Some(60_000), "{table}");
    assert!(table["leaf_bytes"].as_u64() > table["used_bytes"].as_u64(), "{table}");
    let told = text("stats", directory.path(), &[], 0);
    assert!(told.contains("table") && told.contains("ghosts") && told.contains(" %"), "{told}");
    let verified = json("verify", directory.path(), &[], 0);
    assert_eq!((&verified["settled"], &verified["sound"]), (&json!(false), &json!(true)));
    assert_eq!(verified["tables"]["sound"], json!(true));
    assert_eq!(verified["tables"]["tables"][1], *table);
    assert_eq!(verified["tables"]["orphans_judged"], json!(true));
    let told = text("verify", directory.path(), &[], 0);
    assert!(told.contains("2 tables looked at: all sound.\n"), "{told}");
    assert_eq!(files(directory.path()), before);
}

/// A leaf whose cells are not in order passes every check of a page by itself: its checksum is right, its slots are sound.
#[test]
fn verify_finds_what_only_a_table_tells() {
    let directory = large();
    text("restart", directory.path(), &[], 0);
    assert_eq!(json("verify", directory.path(), &[], 0)["settled"], json!(true));
    let path = directory.path().join("pages");
    let mut pages = fs::read(&path).unwrap();
    let key = b"key150";
    let page_size = 4096;
    let is_leaf_with_it = |page: &&mut [u8]| {
        aries::page::tree::node(page).is_some_and(|node| node.level() == 0)
            && page.windows(key.len()).any(|bytes| bytes == key)
    };
    let page = pages.chunks_mut(page_size).find(is_leaf_with_it).unwrap();
    let at = page.windows(key.len()).position(|bytes| bytes == key).unwrap();
    page[at..at + 3].copy_from_slice(b"zzz");
    aries::page::seal(page);
    fs::write(&path, pages).unwrap();
    let verified = json("verify", directory.path(), &[], 1);
    assert_eq!((&verified["sound"], &verified["findings"]), (&json!(false), &json!([])));
    assert_eq!(verified["tables"]["sound"], json!(false));
    assert!(verified["tables"]["faults"][0]["page"].is_number(), "{verified}");
    let told = text("verify", directory.path(), &[], 1);
    assert!(told.contains("WRONG: P") && told.contains("2 tables looked at: not sound."), "{told}");
    let stats = json("stats", directory.path(), &[], 1);
    assert_eq!(stats["faults"], json!(["the tables are not sound: see `aries verify`"]));
}

/// A root that is its own child: whoever shows the tree says so, and comes to an end.
#[test]
fn a_tree_that_leads_back_to_itself_is_shown_as_damaged() {
    let directory = large();
    text("restart", directory.path(), &[], 0);
    let path = directory.path().join("pages");
    let mut pages = fs::read(&path).unwrap();
    let first_child = |page: &[u8]| match aries::page::tree::node(page) {
        Some(Node::Inner { first_child, .. }) => Some(first_child),
        _ => None,
    };
    let (root, page) =
        pages.chunks_mut(4096).enumerate().find(|(_, page)| first_child(page).is_some()).unwrap();
    let first_child = first_child(page).unwrap();
    let node = |first_child| Node::Inner { level: 1, first_child }.to_stored();
    let before = node(first_child);
    let at = page.windows(before.len()).position(|bytes| bytes == before).unwrap();
    page[at..at + before.len()].copy_from_slice(&node(PageId(root as u64)));
    aries::page::seal(page);
    fs::write(&path, pages).unwrap();
    for lines in ["show tree t\n", "show table t\n"] {
        let mut shell = assert_cmd::Command::cargo_bin("aries").unwrap();
        let told = shell.arg("shell").arg(directory.path()).write_stdin(lines).output().unwrap();
        let said = String::from_utf8(told.stderr).unwrap();
        assert!(said.contains("a node of a tree, met once"), "{lines}: {said}");
    }
    assert_eq!(json("verify", directory.path(), &[], 1)["tables"]["sound"], json!(false));
}

/// A line of the catalog that cannot be read is damage: its table would else be passed over as if it had never been.
#[test]
fn a_catalog_that_cannot_be_read_is_told() {
    let directory = large();
    text("restart", directory.path(), &[], 0);
    let path = directory.path().join("pages");
    let mut pages = fs::read(&path).unwrap();
    let line = b"\x05\0empty\x08\0"; // The name, and the root's 8 bytes.
    let at = pages.windows(line.len()).position(|bytes| bytes == line).unwrap();
    pages[at + line.len() - 2] = 7;
    let page = at / 4096 * 4096;
    aries::page::seal(&mut pages[page..page + 4096]);
    fs::write(&path, pages).unwrap();
    let verified = json("verify", directory.path(), &[], 1);
    assert_eq!((&verified["sound"], &verified["findings"]), (&json!(false), &json!([])));
    assert!(verified["tables_fault"].as_str().unwrap().contains("roots of 8 bytes"));
}
