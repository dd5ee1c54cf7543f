//! `aries stats`.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::log::{Kinds, Reading};
use super::output::{lines, lsn, print, table, txns};
use super::progress::Progress;
use super::trees::{self, TREE_SHAPE};
use super::{Asked, DONE, SOMETHING_WRONG};
use crate::db::{Outside, TablesReport};
use crate::demo::counted;
use crate::error::{Error, Result};
use crate::ids::{Lsn, PageId};
use crate::log::MasterRecord;
use crate::page::{self, PageKind, PageState, space_map};
use crate::recovery::AnalysisReport;

const EXAMPLES: &str = "\
Examples:
  aries stats bank
  aries stats bank --json | jq '.restart.losers | length'

It changes nothing. Exit code 0 if all could be read, 1 if something is damaged, 2 for wrong usage.
";

const SHAPE: &str = "\
The JSON object (LSNs are bytes of the log, nil is null):
  version   of this shape: 1
  bytes     of the files: { control, pages, doublewrite, log }
  page_size, segment_bytes
  pages     as they stand on disk: { all, unformatted, slotted, space_map, damaged,
            tree, overflow, free, used, free_pending }
  log       { start, end, records, bytes, kinds { kind, records, bytes } }
  tables    one object for each table, as a restart would leave it: {
               {TREE} }; null if the database could not be restarted in memory
  restart   what a restart would have to do: { clean, from, end, redo_from, dirty_pages, losers,
            committed, in_doubt }; null if the log is damaged
  faults    what is damaged, in words";

/// Shows how large a database is, what is in it, and what a restart would have to do.
///
/// The tables are counted as a restart would leave them: it is run in memory.
#[derive(Args)]
#[command(after_long_help = format!("{EXAMPLES}\n{}", SHAPE.replace("{TREE}", TREE_SHAPE)))]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    asked: Asked,
}

/// Pages by what they are and what the space map says of them.
type Pages = BTreeMap<&'static str, u64>;

const PAGE_COUNTS: [&str; 10] = [
    "all",
    "unformatted",
    "slotted",
    "tree",
    "overflow",
    "space_map",
    "damaged",
    "free",
    "used",
    "free_pending",
];

/// What a restart would have to do.
struct ToDo {
    clean: bool,
    redo_from: Option<Lsn>,
    analysis: AnalysisReport,
}

struct Found {
    master: MasterRecord,
    bytes: Vec<(&'static str, u64)>,
    pages: Pages,
    kinds: Kinds,
    log: (Lsn, Lsn),
    restart: Option<ToDo>,
    tables: Option<TablesReport>,
    faults: Vec<String>,
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// What keeps the database from being read at all.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let found = look(&arguments.asked.directory)?;
    if arguments.asked.json {
        print(&format!("{:#}\n", to_json(&found)));
    } else {
        print(&text(&found));
    }
    Ok(if found.faults.is_empty() { DONE } else { SOMETHING_WRONG })
}

/// Gives what was found, or takes damage down among the faults.
fn or_fault<T>(faults: &mut Vec<String>, found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error @ Error::Corrupt { .. }) => {
            let error = error.to_string();
            if !faults.contains(&error) {
                faults.push(error);
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn look(directory: &Path) -> Result<Found> {
    let database = Outside::open(directory)?;
    let mut faults = Vec::new();
    let pages = count_pages(&database, &mut faults)?;
    let mut kinds = Kinds::default();
    let start = database.control().oldest_required_lsn();
    let mut log = (start, start);
    if let Some(mut reading) = or_fault(&mut faults, Reading::open(directory, None))? {
        let read = kinds.of_all(&mut reading);
        or_fault(&mut faults, read)?;
        log = (reading.start(), reading.position());
    }
    let restart = or_fault(&mut faults, database.analyse())?.map(|analysis| {
        let report = analysis.report().clone();
        let pages = analysis.into_pages();
        let redo_from = pages.dirty_pages.redo_lsn();
        ToDo { clean: pages.clean, redo_from, analysis: report }
    });
    let (master, bytes) = (database.master(), file_bytes(&database)?);
    // Last of all, for it writes: into memory.
    let tables = match restart.is_some() {
        true => or_fault(&mut faults, look_at_tables(&database))?,
        false => None,
    };
    if tables.as_ref().is_some_and(|tables| !tables.is_sound()) {
        faults.push("the tables are not sound: see `aries verify`".to_owned());
    }
    Ok(Found { master, bytes, pages, kinds, log, restart, tables, faults })
}

/// What the tables take, as a restart would leave them.
fn look_at_tables(database: &Outside) -> Result<TablesReport> {
    database.reopen()?.verify_tables()
}

fn file_bytes(database: &Outside) -> Result<Vec<(&'static str, u64)>> {
    let disk = database.disk();
    let length = |name: &str| match disk.open(name) {
        Ok(file) => file.len(),
        Err(error) if error.is_not_found() => Ok(0),
        Err(error) => Err(error),
    };
    let mut log = 0;
    match disk.list("log") {
        Ok(names) => {
            for name in names {
                log += length(&format!("log/{name}"))?;
            }
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let mut bytes = Vec::new();
    for name in ["control", "pages", "doublewrite"] {
        bytes.push((name, length(name)?));
    }
    bytes.push(("log", log));
    Ok(bytes)
}

fn count_pages(database: &Outside, faults: &mut Vec<String>) -> Result<Pages> {
    let mut pages: Pages = PAGE_COUNTS.into_iter().map(|name| (name, 0)).collect();
    let mut count = |name: &'static str, more: u64| *pages.entry(name).or_default() += more;
    let all = database.master().pages;
    let Some(file) = or_fault(faults, database.pages_file())? else { return Ok(pages) };
    let mut bytes = vec![0; file.page_size()];
    let mut progress = Progress::of(all, "pages read");
    for page in (0..all).map(PageId) {
        count("all", 1);
        let is_whole = match file.read(page, &mut bytes) {
            Ok(()) => true,
            Err(Error::Corrupt { .. }) => false,
            Err(error) => return Err(error),
        };
        count(if is_whole { kind_name(&bytes) } else { "damaged" }, 1);
        // Of a page that could not be read these are the bytes of another one, or anything.
        if is_whole && space_map::is_map_page(page, bytes.len()) {
            let entries = u64::from(space_map::entries_per_page(bytes.len())).min(all - page.0);
            for entry in 0..entries {
                let state =
                    u16::try_from(entry).ok().and_then(|entry| space_map::state(&bytes, entry));
                count(state.map_or("damaged", state_name), 1);
            }
        }
        progress.done(page.0 + 1);
    }
    if pages["damaged"] > 0 {
        let are = if pages["damaged"] == 1 { "is" } else { "are" };
        let damaged = counted(pages["damaged"], "page");
        faults.push(format!("{damaged} {are} damaged: see `aries verify`"));
    }
    Ok(pages)
}

fn kind_name(bytes: &[u8]) -> &'static str {
    match page::kind(bytes) {
        Some(PageKind::Unformatted) => "unformatted",
        Some(PageKind::Slotted) => "slotted",
        Some(PageKind::SpaceMap) => "space_map",
        Some(PageKind::Tree) => "tree",
        Some(PageKind::Overflow) => "overflow",
        None => "damaged",
    }
}

const fn state_name(state: PageState) -> &'static str {
    match state {
        PageState::Free => "free",
        PageState::Used | PageState::Catalog(_) => "used",
        PageState::FreePending(_) => "free_pending",
    }
}

fn to_json(found: &Found) -> Value {
    let (records, bytes) = found.kinds.sum();
    let restart = found.restart.as_ref().map(|todo| {
        let ToDo { clean, redo_from, analysis } = todo;
        json!({
            "clean": clean,
            "from": analysis.from.get(),
            "end": analysis.end.get(),
            "redo_from": redo_from.map(Lsn::get),
            "dirty_pages": analysis.dirty_pages,
            "losers": txns(&analysis.losers),
            "committed": txns(&analysis.committed),
            "in_doubt": txns(&analysis.in_doubt),
        })
    });
    json!({
        "version": 1,
        "bytes": found.bytes.iter().copied().collect::<BTreeMap<_, _>>(),
        "page_size": found.master.page_size,
        "segment_bytes": found.master.segment_bytes,
        "pages": found.pages,
        "log": {
            "start": found.log.0.get(),
            "end": found.log.1.get(),
            "records": records,
            "bytes": bytes,
            "kinds": found.kinds.to_json(),
        },
        "tables": found.tables.as_ref().map(|report| {
            report.tables.iter().map(|(name, tree)| trees::size(name, tree)).collect::<Vec<_>>()
        }),
        "restart": restart,
        "faults": found.faults,
    })
}

fn text(found: &Found) -> String {
    let mut files = table(["file", "bytes"]);
    for (name, bytes) in &found.bytes {
        files.add_row([(*name).to_owned(), bytes.to_string()]);
    }
    let mut pages = table(["pages", ""]);
    for name in PAGE_COUNTS {
        let told = if name == "all" { "in all" } else { name };
        pages.add_row([told.replace('_', " "), found.pages[name].to_string()]);
    }
    let mut text = format!("{}\n{}\n{}", lines(&files), lines(&pages), found.kinds.text());
    if let Some(report) = found.tables.as_ref().filter(|report| !report.tables.is_empty()) {
        text += &format!("\n{}", trees::sizes(report));
    }
    text += &format!("\nThe log is kept from {} to {}.\n", found.log.0, found.log.1);
    if let Some(todo) = &found.restart {
        text += &to_do(todo);
    }
    for fault in &found.faults {
        text += &format!("WRONG: {fault}\n");
    }
    text
}

fn to_do(ToDo { clean, redo_from, analysis }: &ToDo) -> String {
    if *clean {
        return "It was closed: a restart has nothing to do.\n".to_owned();
    }
    let in_doubt = analysis.in_doubt.len();
    format!(
        "It was not closed. A restart would read the log from {}, redo from {} on for {},\n\
         and undo {}; {} {} in doubt.\n",
        analysis.from,
        lsn(*redo_from),
        counted(analysis.dirty_pages, "dirty page"),
        counted(analysis.losers.len(), "loser"),
        counted(in_doubt, "transaction"),
        if in_doubt == 1 { "is" } else { "are" },
    )
}
