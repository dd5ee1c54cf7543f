//! How many records of each kind there are, and what room they take.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::reading::Reading;
use super::{Arguments, exit_code, told};
use crate::cli::output::{lines, print, table};
use crate::error::Result;
use crate::ids::Lsn;

/// Records and bytes, by kind.
#[derive(Default)]
pub struct Kinds(BTreeMap<&'static str, (u64, u64)>);

impl Kinds {
    /// Counts a record.
    pub fn count(&mut self, kind: &'static str, bytes: usize) {
        let (records, sum) = self.0.entry(kind).or_default();
        (*records, *sum) = (*records + 1, *sum + bytes as u64);
    }

    /// Counts all records that are kept.
    ///
    /// # Errors
    /// As [`Reading::run`].
    pub fn of_all(&mut self, reading: &mut Reading) -> Result<()> {
        reading.run(&mut |_, bytes, record| {
            self.count(record.name(), bytes);
            true
        })
    }

    /// Records and bytes of all kinds together.
    pub fn sum(&self) -> (u64, u64) {
        self.0.values().fold((0, 0), |sum, kind| (sum.0 + kind.0, sum.1 + kind.1))
    }

    /// Each kind with its records and bytes, the most bytes first.
    pub fn sorted(&self) -> Vec<(&'static str, u64, u64)> {
        let mut kinds: Vec<_> = self.0.iter().map(|(kind, sums)| (*kind, sums.0, sums.1)).collect();
        kinds.sort_by_key(|(kind, _, bytes)| (std::cmp::Reverse(*bytes), *kind));
        kinds
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let kinds = self.sorted().into_iter();
        kinds
            .map(|(kind, records, bytes)| json!({ "kind": kind, "records": records, "bytes": bytes }))
            .collect()
    }

    /// As a table.
    pub fn text(&self) -> String {
        let mut table = table(["kind", "records", "bytes"]);
        for (kind, records, bytes) in self.sorted() {
            table.add_row([kind.to_owned(), records.to_string(), bytes.to_string()]);
        }
        let (records, bytes) = self.sum();
        table.add_row(["all".to_owned(), records.to_string(), bytes.to_string()]);
        lines(&table)
    }
}

/// Runs `aries log --stats`; gives the exit code.
pub fn run(arguments: &Arguments, reading: &mut Reading) -> anyhow::Result<u8> {
    let mut kinds = Kinds::default();
    let mut first: Option<Lsn> = None;
    let read = reading.run(&mut |lsn, bytes, record| {
        if arguments.is_behind(lsn) {
            return false;
        }
        if arguments.wants(lsn, record) {
            first = first.or(Some(lsn));
            kinds.count(record.name(), bytes);
        }
        true
    });
    let fault = told(read);
    let (start, end) = (first.unwrap_or_else(|| reading.start()), reading.position());
    let (records, bytes) = kinds.sum();
    if arguments.asked.json {
        let object = json!({
            "version": 1,
            "start": start.get(),
            "end": end.get(),
            "count": records,
            "bytes": bytes,
            "filled": (end.get() - start.get()).saturating_sub(bytes),
            "kinds": kinds.to_json(),
            "fault": fault,
        });
        print(&format!("{object:#}\n"));
    } else {
        print(&format!("{}\nfrom {start} to {end}\n", kinds.text()));
    }
    Ok(exit_code(fault.as_deref()))
}
