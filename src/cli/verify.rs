//! `aries verify`.

use clap::Args;
use serde_json::{Value, json};

use super::output::{lines, path, print, table};
use super::progress::Progress;
use super::trees;
use super::{Asked, DONE, SOMETHING_WRONG};
use crate::db::{Finding, Options, Outside, Verdict, VerifyReport, verify_outside};
use crate::demo::counted;
use crate::error::Result;

const EXAMPLES: &str = "\
Examples:
  aries verify bank                           reads all, changes not a byte
  aries verify bank --repair                  recovers it first if need be, then repairs
  aries verify bank --json | jq '.findings[] | .page'

Exit code 0 if all is sound (or repaired), 1 if something is wrong, 2 for wrong usage.
";

const SHAPE: &str = "\
The JSON object (nil is null):
  version     of this shape: 1
  directory   as it was given
  sound       whether nothing is wrong that is not mended, or sure to be
  settled     whether it had been closed; else restart has work to do
  pages       pages read: all of the file
  dirty       of them, those with changes that may be in the log only
  log_fault   what is wrong with the log or another file, in words
  chain_faults  where a record does not lead to the record before, in words
  not_judged  what cannot be judged without a restart, in words
  findings    one object for each page that was bad on disk, in order:
    page, fault,
    verdict   damaged, repaired, restart_restores_it, left_to_restart
  tables      null if they could not be judged, else
    sound     whether nothing is wrong with them
    tables    one object for each: name, height, leaves, inner, overflow, cells, ghosts, used_bytes,
              leaf_bytes, as in `aries stats`
    faults    one object for each thing that is wrong: page (null if it is none of one page), fault
    orphans_judged  whether it could be told which pages belong to no table
  tables_fault  what kept them from being judged, in words";

/// Checks a database that is not in use: its log, every page's checksum, place, pageLSN and structure, and that
/// the tables are sound and every page belongs to one of them, or to none.
///
/// Without --repair nothing is written: a database that was not closed is restarted in memory, and what
/// comes of it is judged. With --repair it is opened, which recovers it, and each page that is
/// damaged is rebuilt from the log, if that reaches back far enough.
#[derive(Args)]
#[command(after_long_help = format!("{EXAMPLES}\n{SHAPE}"), after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    asked: Asked,
    /// Recover the database if it was not closed, and rebuild damaged pages
    #[arg(long)]
    repair: bool,
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// What keeps the database from being checked at all.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let report = examine(arguments)?;
    if arguments.asked.json {
        print(&format!("{:#}\n", to_json(arguments, &report)));
    } else {
        print(&text(arguments, &report));
    }
    Ok(if report.is_sound() { DONE } else { SOMETHING_WRONG })
}

fn examine(arguments: &Arguments) -> Result<VerifyReport> {
    let mut counting = None;
    let mut step = move |read: u64, pages: u64| {
        counting.get_or_insert_with(|| Progress::of(pages, "pages read")).done(read);
    };
    let outside = Outside::open(&arguments.asked.directory)?;
    if !arguments.repair {
        return verify_outside(&outside, &mut step);
    }
    drop(outside); // It holds the lock.
    let options = Options::new().create_if_missing(false).background(false);
    let db = options.open(&arguments.asked.directory)?;
    let report = db.repair_with(&mut step)?;
    db.close()?;
    Ok(report)
}

fn to_json(arguments: &Arguments, report: &VerifyReport) -> Value {
    json!({
        "version": 1,
        "directory": path(&arguments.asked.directory),
        "sound": report.is_sound(),
        "settled": report.is_settled,
        "pages": report.pages,
        "dirty": report.dirty,
        "log_fault": report.log_fault,
        "chain_faults": report.chain_faults,
        "not_judged": report.not_judged,
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "tables": report.tables.as_ref().map(trees::to_json),
        "tables_fault": report.tables_fault,
    })
}

fn finding(found: &Finding) -> Value {
    let verdict = found.verdict.to_string().replace(' ', "_");
    json!({ "page": found.page.0, "fault": found.fault, "verdict": verdict })
}

fn text(arguments: &Arguments, report: &VerifyReport) -> String {
    let mut text = String::new();
    if report.log_fault.is_some() {
        text += "The pages are judged as they stand, without a restart.\n";
    } else if !report.is_settled {
        text += "The database was not closed: it was restarted in memory, and that was judged.\n";
    }
    if let Some(fault) = &report.log_fault {
        text += &format!("WRONG: {fault}\n");
    }
    for fault in &report.chain_faults {
        text += &format!("WRONG: {fault}\n");
    }
    for what in &report.not_judged {
        text += &format!("Not judged: {what}.\n");
    }
    if !report.findings.is_empty() {
        text += &findings_table(&report.findings);
    }
    text += &tables(report);
    let read = counted(report.pages, "page");
    text += &format!("{read} read: {}.\n", verdict(report, arguments.repair));
    if report.count(Verdict::Damaged) > 0 && !arguments.repair {
        text += "`aries verify --repair` rebuilds what the log still holds from its beginning.\n";
    }
    text
}

/// What is wrong with the tables, and how many are not.
fn tables(report: &VerifyReport) -> String {
    let mut text = String::new();
    if let Some(fault) = &report.tables_fault {
        text += &format!("WRONG: the tables could not be judged: {fault}\n");
    }
    let Some(tables) = &report.tables else { return text };
    for (page, fault) in trees::faults(tables) {
        let page = page.map_or_else(String::new, |page| format!("{page}: "));
        text += &format!("WRONG: {page}{fault}\n");
    }
    if tables.orphans.is_none() && tables.catalog.is_some() {
        text += "Not judged: which pages belong to no table, for transactions are in doubt.\n";
    }
    if !tables.tables.is_empty() {
        let verdict = if tables.is_sound() { "all sound" } else { "not sound" };
        text += &format!("{} looked at: {verdict}.\n", counted(tables.tables.len(), "table"));
    }
    text
}

/// What became of the pages that are bad, or would become of them.
fn verdict(report: &VerifyReport, repaired: bool) -> String {
    let bad = report.findings.len();
    let fine = report.findings.iter().filter(|found| found.verdict.is_harmless()).count();
    let of_them = if fine == bad { String::new() } else { format!("{fine} of ") };
    match (bad, fine) {
        (0, _) if report.is_sound() => "all sound".to_owned(),
        (0, _) => "none is bad".to_owned(),
        _ if repaired && fine == bad => format!("{bad} bad, all mended"),
        _ if repaired => format!("{bad} bad, {} of them not mended", bad - fine),
        // Nothing mends a page where restart is refused.
        (_, 0) => format!("{bad} bad"),
        _ if report.log_fault.is_some() => format!("{bad} bad"),
        _ => format!("{bad} bad, {of_them}which a restart would mend"),
    }
}

fn findings_table(findings: &[Finding]) -> String {
    let mut table = table(["page", "verdict", "fault"]);
    for found in findings {
        table.add_row([found.page.to_string(), found.verdict.to_string(), found.fault.clone()]);
    }
    lines(&table)
}
