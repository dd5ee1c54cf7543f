//! `aries verify`, where it judges what a restart makes of a database.

use std::fs;
use std::sync::Arc;

use aries::Options;
use aries::config::{LogBlock, TornPageProtection};
use aries::db::{Outside, verify_outside};
use aries::disk::{Fault, FaultKind, OverlayDisk, SimDisk, Survivors};
use aries::ids::Lsn;
use aries::page;

use super::{closed, crashed, flip, flip_log, forge, json, story, text};
use crate::common::{PAGE_SIZE, Work, options, value};

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
    let told = text("verify", directory.path(), &[], 0);
    assert!(told.contains("1 bad, which a restart would mend"), "{told}");
    assert!(!told.contains("mended"), "nothing was: {told}");
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
    let told = text("verify", directory.path(), &[], 1);
    assert!(!told.contains("that was judged") && !told.contains("restart would mend"), "{told}");
    assert!(told.contains("judged as they stand"), "{told}");
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

/// Commits, rolls back, frees, flushes and takes checkpoints until the power fails.
fn work_until_the_power_fails(
    options: &Options,
    disk: &SimDisk,
    work: &mut Work,
) -> aries::Result<()> {
    let db = options.open_on(Arc::new(disk.clone()))?;
    for round in 0..60 {
        work.commit_one(&db, &value(round, 60))?;
        let mut txn = db.begin()?;
        let page = txn.allocate_page()?;
        txn.insert_record(page, b"to be taken back")?;
        let here = txn.savepoint()?;
        txn.insert_record(page, b"to be taken back first")?;
        txn.rollback_to(here)?;
        match round % 4 {
            0 => drop(txn.commit()?),
            1 => txn.rollback()?,
            2 => {
                txn.free_page(page)?;
                txn.commit()?;
            }
            // A crash rolls nothing back.
            _ => std::mem::forget(txn),
        }
        if round % 5 == 2 {
            db.flush_pages()?;
        }
        if round % 7 == 3 {
            db.checkpoint()?;
        }
    }
    Ok(())
}

/// Whatever a power failure leaves, the chains of the log hold, and each page carries the LSN of its last
/// record, once it is restarted: over three crashes, under each protection.
#[test]
fn what_power_failures_leave_is_judged_sound() {
    let mut crashes = 0;
    for protection in [TornPageProtection::DoubleWrite, TornPageProtection::PageImages] {
        for (seed, block) in
            (0..40).zip([LogBlock::Rewritten, LogBlock::Padded(512)].into_iter().cycle())
        {
            let options = options().torn_page_protection(protection).log_block(block);
            let mut disk = SimDisk::new();
            options.open_on(Arc::new(disk.clone())).unwrap().close().unwrap();
            let mut work = Work::default();
            for generation in 0..3 {
                let at = disk.io_count() + 30 + (seed * 17 + generation * 101) % 700;
                disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: true });
                let survivors = Survivors::Random { seed };
                crashes +=
                    usize::from(work_until_the_power_fails(&options, &disk, &mut work).is_err());
                disk = disk.crash(&survivors);
                let overlay = OverlayDisk::new(Arc::new(disk.clone()));
                let outside = Outside::on(Arc::new(overlay)).unwrap();
                let report = verify_outside(&outside, &mut |_, _| {}).unwrap();
                assert!(
                    report.is_sound(),
                    "{protection:?} {block:?} {seed} {generation}: {report:?}"
                );
            }
        }
    }
    assert!(crashes > 200, "{crashes} power failures");
}
