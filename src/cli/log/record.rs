//! A log record as a line, and as JSON.

use serde_json::{Value, json};

use crate::cli::output::lsn as or_nil;
use crate::ids::Lsn;
use crate::record::{LogRecord, PlainNames, what_it_does};

/// Above the lines.
pub const HEADER: &str =
    "LSN           txn     prev_lsn      kind                page    what it does";

/// A record in a line.
pub fn line(lsn: Lsn, record: &LogRecord<'_>) -> String {
    let link = record.link();
    let txn = link.map(|link| link.txn.to_string()).unwrap_or_default();
    let prev = link.map(|link| or_nil(link.prev_lsn)).unwrap_or_default();
    let pages: Vec<_> = record.page_changes().map(|change| change.page.to_string()).collect();
    let page = pages.join(" ");
    let what = what_it_does(record, &PlainNames);
    format!("{lsn}  {txn:<6}  {prev:<12}  {:<18}  {page:<6}  {what}", record.name())
}

/// A record as JSON.
pub fn to_json(lsn: Lsn, bytes: usize, record: &LogRecord<'_>) -> Value {
    let (link, change) = (record.link(), record.page_changes().next());
    let pages: Vec<u64> = record.page_changes().map(|change| change.page.0).collect();
    json!({
        "lsn": lsn.get(),
        "txn": link.map(|link| link.txn.get()),
        "prev_lsn": link.and_then(|link| link.prev_lsn).map(Lsn::get),
        "kind": record.name(),
        "page": change.map(|change| change.page.0),
        "pages": pages,
        "prev_page_lsn": change.and_then(|change| change.prev_page_lsn).map(Lsn::get),
        "undo_next_lsn": record.undo_next_lsn().map(Lsn::get),
        "bytes": bytes,
        "what": what_it_does(record, &PlainNames),
    })
}
