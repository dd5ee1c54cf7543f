//! What stands where on the disk, in words: a call of the engine names a file and bytes of it; a person knows pages, records of the log, and
//! the copies of pages in the double-write file.

use std::ops::Range;

use serde_json::{Value, json};

use crate::buffer::{DOUBLE_WRITE_FILE, DOUBLE_WRITE_HEADER, PAGES_FILE};
use crate::disk::PendingKind;
use crate::ids::{Lsn, PageId};
use crate::log::{CONTROL_FILE, Geometry, LOG_DIRECTORY, segment_number};
use crate::script::{Io, SECTOR, Session, Unsynced};

/// The records that are known, by their LSN.
type Records = [(Lsn, Value)];

/// How the files of a database are laid out.
#[derive(Clone, Copy)]
pub struct Places {
    /// Bytes of a page.
    pub page_size: usize,
    geometry: Geometry,
}

/// Where some bytes of a file stand.
struct Place {
    /// The page that they are of, here or as a copy.
    page: Option<PageId>,
    /// Which of the page's sectors, or of the file's, it begins in.
    sector: u64,
    words: String,
}

impl Places {
    /// Those of the session's database, or of the next one that is made.
    pub fn of(session: &Session) -> Self {
        let (page_size, segment_bytes) = session.sizes();
        // What nobody can make a database with is refused, but not before it has been set.
        Self {
            page_size: page_size.max(1),
            geometry: Geometry { segment_bytes: segment_bytes.max(1) },
        }
    }

    /// A call of the engine to its disk.
    pub fn io(&self, io: &Io, records: &Records) -> Value {
        let (name, range) = (io.call.name.as_str(), &io.call.range);
        let file = file(name);
        let words = match io.call.operation {
            "write" => {
                let count = range.end - range.start;
                let filled = range.start..range.start + io.filled as u64;
                let what = self.written(name, range, &filled, &io.batch, records);
                format!("write of {count} bytes to {file}{what}")
            }
            "sync" => format!("sync of {file}"),
            "create" | "create directory" => format!("{file} is created"),
            "rename" => format!("{file} is renamed"),
            "remove" => format!("{file} is removed"),
            "set the length of" => format!("the length of {file} is set"),
            "drop cache" => "the page cache is dropped".to_owned(),
            "list" => format!("{file} is listed"),
            "open" => format!("{file} is opened"),
            "look at" => format!("how long is {file}?"),
            _ => format!("{file} is read"),
        };
        let changes = !matches!(io.call.operation, "list" | "open" | "look at" | "read" | "map");
        json!({ "call": io.call.operation, "file": name, "changes": changes, "words": words })
    }

    /// What is written to a file, as far as there are better words for it than its bytes.
    fn written(
        &self,
        name: &str,
        range: &Range<u64>,
        filled: &Range<u64>,
        batch: &[PageId],
        records: &Records,
    ) -> String {
        if name == PAGES_FILE {
            let size = self.page_size as u64;
            let (first, last) =
                (PageId(range.start / size), PageId(range.end.saturating_sub(1) / size));
            return if first == last {
                format!(": {first}")
            } else {
                format!(": {first} to {last}")
            };
        }
        if name == DOUBLE_WRITE_FILE {
            return match batch {
                [] => String::new(),
                pages => format!(": a batch with {}", listed(pages)),
            };
        }
        match self.lsns(name, filled) {
            Some(lsns) => format!(": {}", records_in(&lsns, records)),
            None => String::new(),
        }
    }

    /// A change that was not synced when power failed.
    pub fn unsynced(&self, unsynced: &Unsynced, batch: &[PageId], records: &Records) -> Value {
        let pending = &unsynced.pending;
        let (name, file) = (pending.name.as_str(), file(&pending.name));
        let mut place = None;
        let (kind, words) = match &pending.kind {
            PendingKind::Sector { offset, length } => {
                let found = self.sector(name, *offset, *length, unsynced.filled, batch, records);
                let words = found.words.clone();
                place = Some(found);
                ("sector", words)
            }
            PendingKind::SetLength(length) => {
                ("length", format!("the length of {file}: {length} bytes"))
            }
            PendingKind::Create => ("create", format!("the name {name}: {file} is there")),
            PendingKind::CreateDirectory => {
                ("create", format!("the name {name}: the directory is there"))
            }
            PendingKind::Rename { from } => {
                ("rename", format!("the name {name} instead of {from}"))
            }
            PendingKind::Remove => ("remove", format!("the name {name} is gone")),
        };
        let (page, sector) = place.map(|place| (place.page, place.sector)).unzip();
        json!({
            "file": name,
            "kind": kind,
            "page": page.flatten().map(|page| page.0),
            "sector": sector,
            "words": words,
            "changes_nothing": pending.changes_nothing,
            "survived": unsynced.survived,
        })
    }

    /// A sector of a file.
    fn sector(
        &self,
        name: &str,
        offset: u64,
        length: usize,
        filled: usize,
        batch: &[PageId],
        records: &Records,
    ) -> Place {
        let end = offset + length as u64;
        let size = self.page_size as u64;
        let in_page = |begin: u64, page: PageId, of: &str| {
            let (from, to) = (offset - begin, end - begin);
            let sector = from / SECTOR;
            let words = format!("sector {sector} of {of}{page}, bytes {from} to {to}");
            Place { page: Some(page), sector, words }
        };
        if name == PAGES_FILE {
            let page = offset / size;
            return in_page(page * size, PageId(page), "");
        }
        let header = DOUBLE_WRITE_HEADER as u64;
        if let (DOUBLE_WRITE_FILE, Some(at)) = (name, offset.checked_sub(header)) {
            let number = at / size;
            let copy = usize::try_from(number).ok().and_then(|number| batch.get(number));
            if let Some(page) = copy {
                return in_page(header + number * size, *page, "the copy of ");
            }
        }
        let filled = offset..offset + filled as u64;
        let mut words =
            format!("sector {} of {}, bytes {offset} to {end}", offset / SECTOR, file(name));
        if let Some(lsns) = self.lsns(name, &filled) {
            words += &format!(": {}", records_in(&lsns, records));
        }
        Place { page: None, sector: offset / SECTOR, words }
    }

    /// Bytes of a segment as bytes of the log; `None` if the file is none.
    fn lsns(&self, name: &str, range: &Range<u64>) -> Option<Range<u64>> {
        let start = self.geometry.start(segment_of(name)?);
        Some(start + range.start..start + range.end)
    }
}

/// The number of a segment of the log, if the file is one.
fn segment_of(name: &str) -> Option<u64> {
    segment_number(name.strip_prefix(LOG_DIRECTORY)?.strip_prefix('/')?)
}

/// A file or directory in words.
fn file(name: &str) -> String {
    match (name, segment_of(name)) {
        (_, Some(number)) => format!("segment {number} of the log"),
        ("", _) => "the directory".to_owned(),
        (LOG_DIRECTORY, _) => "the directory of the log".to_owned(),
        (PAGES_FILE, _) => "the file of pages".to_owned(),
        (DOUBLE_WRITE_FILE, _) => "the double-write file".to_owned(),
        (CONTROL_FILE, _) => "the control file".to_owned(),
        _ => format!("the file {name}"),
    }
}

fn listed(pages: &[PageId]) -> String {
    pages.iter().map(PageId::to_string).collect::<Vec<_>>().join(" ")
}

/// The records that begin or go on in this part of the log.
fn records_in(lsns: &Range<u64>, records: &Records) -> String {
    let end_of = |(lsn, told): &(Lsn, Value)| lsn.get() + told["bytes"].as_u64().unwrap_or(1);
    let first = records.partition_point(|record| end_of(record) <= lsns.start);
    let last = records.partition_point(|(lsn, _)| lsn.get() < lsns.end);
    match records.get(first..last).unwrap_or_default() {
        [] => "no record".to_owned(),
        [(lsn, told)] => format!("record {lsn} ({})", told["kind"].as_str().unwrap_or_default()),
        [(first, _), .., (last, _)] => {
            format!("records {first} to {last}")
        }
    }
}
