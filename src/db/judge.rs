//! The judgement on a database that is not open, a restart included.
//!
//! ```text
//!   as it stands          restart, in memory        as it would be
//!   verify_closed    →    Options::open_on     →    chains, pages, space map,   →    one report
//!                                                   tables
//!   bad pages             refused: that is          bad: damaged
//!                         the verdict               sound: restart restores it
//! ```
//!
//! Invariant: everything happens on the overlay of an [`Outside`]; the directory stays as it is.

use std::collections::BTreeSet;

use super::chains::Chains;
use super::outside::Outside;
use super::verify::{Finding, Progress, Verdict, VerifyReport, as_it_stands, check};
use crate::error::{Error, Result};
use crate::ids::{PageId, TxnId};
use crate::page::{self, PageState, space_map};
use crate::sync::Arc;

/// Checks a database that is not open, as it stands and as a restart would make it: checksums and
/// structure of its pages, each pageLSN against the log, the space map, the chains of the log, and the tables.
///
/// # Errors
/// As [`super::verify_closed`]. Damage that a report can tell of is no error.
pub fn verify_outside(outside: &Outside, progress: Progress<'_>) -> Result<VerifyReport> {
    let mut report = as_it_stands(outside.disk(), progress)?;
    if report.log_fault.is_some() {
        return Ok(report);
    }
    let mut in_doubt = None;
    if !report.is_settled {
        match restart(outside) {
            Ok(txns) => in_doubt = Some(txns),
            Err(error @ (Error::Corrupt { .. } | Error::Mismatch { .. })) => {
                report.log_fault = Some(format!("restart is refused: {error}"));
                return Ok(report);
            }
            Err(error) => return Err(error),
        }
    }
    let after = Outside::on(Arc::clone(outside.disk()))?;
    let in_doubt = match in_doubt {
        Some(txns) => txns,
        None => after.analyse()?.report().in_doubt.iter().copied().collect(),
    };
    let chains = match read_chains(&after) {
        Ok(chains) => chains,
        Err(error @ Error::Corrupt { .. }) => {
            report.log_fault = Some(error.to_string());
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    report.chain_faults = chains.faults();
    judge_pages(&after, &chains, &in_doubt, &mut report)?;
    // Last of all: whatever is read there is mended before, in the overlay.
    let tables = after.reopen().and_then(|db| db.verify_tables());
    report.add_tables(tables)?;
    Ok(report)
}

/// Restarts on the overlay, and closes; gives the transactions in doubt.
fn restart(outside: &Outside) -> Result<BTreeSet<TxnId>> {
    let db = outside.reopen()?;
    let in_doubt = db.restart_report().analysis.in_doubt.iter().copied().collect();
    db.close()?;
    Ok(in_doubt)
}

fn read_chains(database: &Outside) -> Result<Chains> {
    let log = database.log()?;
    let mut chains = Chains::default();
    let mut scan = log.scan(log.start());
    let complete_from = database.master().complete_from_lsn;
    while let Some((lsn, record)) = scan.next_record()? {
        if complete_from <= Some(lsn) {
            chains.read(lsn, &record);
        }
    }
    log.check_end(&mut scan)?;
    Ok(chains)
}

/// Judges each page as it is now that nothing is left to recover.
fn judge_pages(
    database: &Outside,
    chains: &Chains,
    in_doubt: &BTreeSet<TxnId>,
    report: &mut VerifyReport,
) -> Result<()> {
    let file = database.pages_file()?;
    report.pages = report.pages.max(file.pages());
    let mut bytes = vec![0; file.page_size()];
    let before = std::mem::take(&mut report.findings);
    let mut before = before.into_iter().peekable();
    for page in (0..file.pages()).map(PageId) {
        let as_it_stood = before.next_if(|found| found.page == page);
        let read = file.read(page, &mut bytes).map_err(|error| error.to_string());
        let fault = read.and_then(|()| judge(page, &bytes, chains, in_doubt)).err();
        let found = match (as_it_stood, fault) {
            (Some(found), Some(_)) => Finding { verdict: Verdict::Damaged, ..found },
            (Some(found), None) => Finding { verdict: Verdict::RestoredByRestart, ..found },
            (None, Some(fault)) => Finding { page, fault, verdict: Verdict::Damaged },
            (None, None) => continue,
        };
        report.findings.push(found);
    }
    Ok(())
}

fn judge(
    page: PageId,
    bytes: &[u8],
    chains: &Chains,
    in_doubt: &BTreeSet<TxnId>,
) -> Result<(), String> {
    check(page, bytes)?;
    if let Some(fault) = chains.fault_of(page, page::page_lsn(bytes)) {
        return Err(fault);
    }
    if !space_map::is_map_page(page, bytes.len()) {
        return Ok(());
    }
    for entry in 0..space_map::entries_per_page(bytes.len()) {
        if let Some(PageState::FreePending(txn)) = space_map::state(bytes, entry)
            && !in_doubt.contains(&txn)
        {
            let told = PageId(page.0 + u64::from(entry));
            return Err(format!("{told} is being freed by {txn}, which has ended"));
        }
    }
    Ok(())
}
