//! Log records and values as the page and whoever asks are told of them, whether from a running store or from a recorded run.

use serde_json::{Value, json};

use crate::ids::Lsn;
use crate::record::{LogRecord, PlainNames, what_it_does};

/// A record that takes so many bytes of the log.
pub fn record_json(lsn: Lsn, bytes: usize, record: &LogRecord<'_>) -> Value {
    let link = record.link();
    let pages: Vec<u64> = record.page_changes().map(|change| change.page.0).collect();
    json!({
        "lsn": lsn.get(),
        "txn": link.map(|link| link.txn.to_string()),
        "kind": record.name(),
        "pages": pages,
        "prev_lsn": link.and_then(|link| link.prev_lsn).map(Lsn::get),
        "undo_next_lsn": record.undo_next_lsn().map(Lsn::get),
        "bytes": bytes,
        "words": what_it_does(record, &PlainNames),
    })
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value as JSON: as it was put, or as text if somebody else put it.
pub fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}
