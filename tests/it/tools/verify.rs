//! `aries verify`, where it judges what a restart makes of a database.

use std::fs;

use aries::ids::Lsn;
use aries::page;

use super::{closed, crashed, flip, flip_log, forge, json, story, text};
use crate::common::PAGE_SIZE;

#[test]
fn a_crashed_database_is_judged_by_what_restart_makes_of_it() {
    let story = story();
    let directory = crashed(&story);
    let told = json("verify", directory.path(), &[], 0);
    assert_eq!((&told["sound"], &told["settled"]), (&true.into(), &false.into()));
    assert_eq!(told["not_judged"].as_array().unwrap().len(), 0, "all is judged");
    let findings = told["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0]["page"], 3);
    assert_eq!(findings[0]["verdict"], "restart_restores_it");
    // A page that is neither in the batch nor changed since: restart does not even look at it.
    flip(&directory.path().join("pages"), 20 * PAGE_SIZE as u64 + 300);
    let told = json("verify", directory.path(), &[], 1);
    let verdicts: Vec<_> = told["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            (found["page"].as_u64().unwrap(), found["verdict"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(verdicts, [(3, "restart_restores_it".into()), (20, "damaged".into())]);
}

#[test]
fn a_restart_that_would_be_refused_is_a_fault() {
    let story = story();
    let directory = crashed(&story);
    // The loser's first record lies before the checkpoint: only undo needs it.
    flip_log(directory.path(), story.start, 30);
    let told = json("verify", directory.path(), &[], 1);
    assert!(told["log_fault"].as_str().unwrap().contains(&story.start.to_string()), "{told}");
}

/// A write that the disk lost leaves a page that is whole, and older than the log says.
#[test]
fn a_lost_write_is_found_by_the_log() {
    let directory = closed();
    let last = page_lsn(directory.path(), 5);
    forge(directory.path(), 5, |page| page::set_page_lsn(page, Lsn::new(last.get() - 8).unwrap()));
    let told = json("verify", directory.path(), &[], 1);
    let findings = told["findings"].as_array().unwrap();
    assert_eq!((findings.len(), &findings[0]["page"]), (1, &5.into()));
    assert!(findings[0]["fault"].as_str().unwrap().contains(&last.to_string()), "{told}");
    assert!(text("verify", directory.path(), &[], 1).contains("of its last record in the log"));
}

fn page_lsn(directory: &std::path::Path, number: usize) -> Lsn {
    let pages = fs::read(directory.join("pages")).unwrap();
    page::page_lsn(&pages[number * PAGE_SIZE..(number + 1) * PAGE_SIZE]).unwrap()
}

/// An entry of the space map that only a transaction under way can have, where none is.
#[test]
fn a_page_that_is_freed_for_ever_is_found() {
    let directory = closed();
    let entry = 40 + 8 * 12;
    forge(directory.path(), 0, |page| page[entry..entry + 8].copy_from_slice(&9_u64.to_le_bytes()));
    let told = json("verify", directory.path(), &[], 1);
    let fault = told["findings"][0]["fault"].as_str().unwrap();
    assert!(fault.contains("P12 is being freed by T7"), "{fault}");
}
