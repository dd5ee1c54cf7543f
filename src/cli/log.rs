//! `aries log`.

mod reading;
mod record;
mod stats;

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::output::{JsonList, Output, cut, width};
use super::{Asked, DONE, SOMETHING_WRONG, WrongUsage};
use crate::error::Result;
use crate::ids::{Lsn, PageId, TxnId};
use crate::record::{KIND_NAMES, LogRecord};
pub use reading::Reading;
pub use stats::Kinds;

use record::{HEADER, line, to_json};

const EXAMPLES: &str = "\
Examples:
  aries log bank                              all records that are kept
  aries log bank --txn T7 --kind Compensation
  aries log bank --chain-of P3                all changes of P3, the latest first
  aries log bank --from 4160 --to 8000 --json | jq '.records[].what'
  aries log bank --follow                     waits for more; ends with Ctrl-C
  aries log bank --stats

It changes nothing, and may be run while the database is open elsewhere: what is not yet on disk is not \
seen then.
Exit code 0 at the end of the log, 1 where it is damaged, 2 for wrong usage.
";

const SHAPE: &str = "\
The JSON object (LSNs are bytes of the log, nil is null):
  version   of this shape: 1
  records   in order: { lsn, txn, prev_lsn, kind, page, prev_page_lsn, undo_next_lsn, bytes, what }
  end       where the log ends; of --chain-of and --to, where reading ended
  fault     what is wrong with the log or kept it from being read to its end; null if nothing
With --stats it holds, in place of the records:
  start     the first record that is kept
  count, bytes  of all records
  filled    bytes between start and end that are in no record: headers, fillers, gaps between runs
  kinds     { kind, records, bytes }, the most bytes first
With --follow each record is an object in a line of its own, and nothing else is printed.";

/// How often the end of the log is looked at again.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// Shows the log: a line for each record, with what it does.
#[derive(Args)]
#[command(after_long_help = format!("{EXAMPLES}\n{SHAPE}"), after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    asked: Asked,
    /// Only records at this LSN or behind it
    #[arg(long, value_name = "LSN", value_parser = super::lsn)]
    from: Option<Lsn>,
    /// Only records at this LSN or before it
    #[arg(long, value_name = "LSN", value_parser = super::lsn)]
    to: Option<Lsn>,
    /// Only records of this transaction
    #[arg(long, value_name = "TXN", value_parser = super::txn_id)]
    txn: Option<TxnId>,
    /// Only records that change this page
    #[arg(long, value_name = "PAGE", value_parser = super::page_id)]
    page: Option<PageId>,
    /// Only records of this kind
    #[arg(long, value_parser = PossibleValuesParser::new(KIND_NAMES), ignore_case = true)]
    kind: Option<String>,
    /// Follow prev_lsn of a transaction (T7), or prev_page_lsn of a page (P3), backwards
    #[arg(long, value_name = "TXN|PAGE", value_parser = chain)]
    #[arg(conflicts_with_all = ["from", "to", "txn", "page", "kind", "follow", "stats"])]
    chain_of: Option<Chain>,
    /// Wait for records that others write
    #[arg(long, conflicts_with_all = ["to", "stats"])]
    follow: bool,
    /// Count records and bytes of each kind
    #[arg(long)]
    stats: bool,
}

/// What ties records together backwards.
#[derive(Clone, Copy, Debug)]
enum Chain {
    Of(TxnId),
    On(PageId),
}

fn chain(text: &str) -> Result<Chain, String> {
    match text.as_bytes().first() {
        Some(b'T' | b't') => super::txn_id(text).map(Chain::Of),
        Some(b'P' | b'p') => super::page_id(text).map(Chain::On),
        _ => Err("it is a transaction like T7 or a page like P3".to_owned()),
    }
}

impl Chain {
    fn has(self, record: &LogRecord<'_>) -> bool {
        match self {
            Self::Of(txn) => record.link().is_some_and(|link| link.txn == txn),
            Self::On(page) => record.change_of(page).is_some(),
        }
    }

    /// The record before in the chain.
    fn before(self, record: &LogRecord<'_>) -> Option<Lsn> {
        match self {
            Self::Of(_) => record.link().and_then(|link| link.prev_lsn),
            Self::On(page) => record.change_of(page).and_then(|change| change.prev_page_lsn),
        }
    }
}

impl Arguments {
    fn wants(&self, lsn: Lsn, record: &LogRecord<'_>) -> bool {
        let is_kind = |kind: &String| kind.eq_ignore_ascii_case(record.name());
        self.from.is_none_or(|from| from <= lsn)
            && self.txn.is_none_or(|txn| Chain::Of(txn).has(record))
            && self.page.is_none_or(|page| Chain::On(page).has(record))
            && self.kind.as_ref().is_none_or(is_kind)
    }

    fn is_behind(&self, lsn: Lsn) -> bool {
        self.to.is_some_and(|to| to < lsn)
    }
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// What keeps the log from being read at all; damage found on the way is printed.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut reading = Reading::open(&arguments.asked.directory, arguments.from)?;
    if arguments.stats {
        return stats::run(arguments, &mut reading);
    }
    if arguments.follow {
        return follow(arguments, &mut reading);
    }
    // What is refused is refused before anything is printed.
    let chain = arguments.chain_of.map(|chain| find_last(chain, &mut reading)).transpose()?;
    let mut printer = Printer::begin(arguments);
    let read = match chain {
        Some(found) => follow_chain(found, &reading, &mut printer),
        None => show_all(arguments, &mut reading, &mut printer),
    };
    let fault = told(read);
    printer.end(&reading, fault.as_deref());
    Ok(exit_code(fault.as_deref()))
}

/// What kept the log from being read to its end, in words.
fn told(read: Result<()>) -> Option<String> {
    read.err().map(|error| error.to_string())
}

fn exit_code(fault: Option<&str>) -> u8 {
    match fault {
        None => DONE,
        Some(fault) => {
            eprintln!("aries: {fault}");
            SOMETHING_WRONG
        }
    }
}

fn show_all(arguments: &Arguments, reading: &mut Reading, printer: &mut Printer) -> Result<()> {
    reading.run(&mut |lsn, bytes, record| {
        !arguments.is_behind(lsn)
            && (!arguments.wants(lsn, record) || printer.record(lsn, bytes, record))
    })
}

fn follow(arguments: &Arguments, reading: &mut Reading) -> anyhow::Result<u8> {
    let mut printer = Printer::begin(arguments);
    loop {
        let mut wanted = true;
        let read = reading.run(&mut |lsn, bytes, record| {
            wanted = !arguments.wants(lsn, record) || printer.record(lsn, bytes, record);
            wanted
        });
        let fault = told(read);
        if !printer.output.flush() || !wanted || fault.is_some() {
            return Ok(exit_code(fault.as_deref()));
        }
        std::thread::sleep(FOLLOW_INTERVAL);
        reading.reopen()?;
    }
}

/// A chain, its last record, and what came of reading all of the log to find it.
type Found = (Chain, Option<Lsn>, Result<()>);

/// Finds the last record of a chain: that takes a walk over all of the log.
fn find_last(chain: Chain, reading: &mut Reading) -> std::result::Result<Found, WrongUsage> {
    let mut last = None;
    let read = reading.run(&mut |lsn, _, record| {
        if chain.has(record) {
            last = Some(lsn);
        }
        true
    });
    if last.is_none() && read.is_ok() {
        let what = match chain {
            Chain::Of(txn) => txn.to_string(),
            Chain::On(page) => page.to_string(),
        };
        return Err(WrongUsage(format!("no record of {what} is in the log that is kept")));
    }
    Ok((chain, last, read))
}

/// Prints a chain backwards.
fn follow_chain(
    (chain, last, read): Found,
    reading: &Reading,
    printer: &mut Printer,
) -> Result<()> {
    let mut next = last;
    while let Some(lsn) = next {
        if lsn < reading.start() {
            eprintln!("The record before, {lsn}, is not kept any more.");
            break;
        }
        let (bytes, found) = reading.read(lsn)?;
        let record = found.record();
        if !printer.record(lsn, bytes, &record) {
            break;
        }
        next = chain.before(&record);
    }
    read
}

/// Prints records in one of the forms.
struct Printer {
    output: Output,
    list: Option<JsonList>,
    json_lines: bool,
    width: Option<usize>,
}

impl Printer {
    fn begin(arguments: &Arguments) -> Self {
        let (mut output, width) = (Output::new(), width());
        let json_lines = arguments.asked.json && arguments.follow;
        let list = (arguments.asked.json && !json_lines)
            .then(|| JsonList::begin(&mut output, &json!({ "version": 1 }), "records"));
        if !arguments.asked.json {
            output.print(&format!("{}\n", cut(HEADER, width)));
        }
        Self { output, list, json_lines, width }
    }

    /// Prints a record; gives whether somebody may still be reading.
    fn record(&mut self, lsn: Lsn, bytes: usize, record: &LogRecord<'_>) -> bool {
        match &mut self.list {
            Some(list) => list.item(&mut self.output, &to_json(lsn, bytes, record)),
            None if self.json_lines => {
                self.output.print(&format!("{}\n", to_json(lsn, bytes, record)))
            }
            None => self.output.print(&format!("{}\n", cut(&line(lsn, record), self.width))),
        }
    }

    fn end(mut self, reading: &Reading, fault: Option<&str>) {
        match self.list.take() {
            Some(list) => {
                let end = reading.position().get();
                list.end(&mut self.output, &json!({ "end": end, "fault": fault }));
            }
            None => drop(self.output.flush()),
        }
    }
}
