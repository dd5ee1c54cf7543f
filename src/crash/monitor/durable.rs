//! What is durable on a disk, read byte by byte, past the engine and what it claims.

use crate::buffer::{
    BATCH_PAGES, DOUBLE_WRITE_FILE, DOUBLE_WRITE_HEADER, Image, PAGES_FILE, read_batch,
};
use crate::disk::{Disk, PendingKind, SimDisk, Survivors};
use crate::error::Result;
use crate::ids::{Lsn, PageId};
use crate::log::{
    CONTROL_BLOCK, CONTROL_FILE, ControlFile, Epochs, Geometry, LOG_DIRECTORY, MasterRecord,
    SlotState, read_slot, segment_number,
};
use crate::page;
use crate::record::{self, EndCheckpoint, LogRecord, padded};
use crate::recovery::LogReader;
use crate::sync::Arc;

/// Most records are shorter: so many bytes are read first.
const FIRST_READ: usize = 512;

/// What a database is made of, and where its log ends: known before anything is watched.
#[derive(Clone)]
pub struct Begin {
    pub(super) page_size: usize,
    pub(super) geometry: Geometry,
    /// The runs in the log.
    epochs: Epochs,
    /// The byte after the last record.
    pub(super) log_end: Lsn,
    /// Up to here all of the log is durable for certain.
    pub(super) durable_to: Lsn,
    /// The last complete checkpoint.
    pub(super) checkpoint_lsn: Lsn,
    /// The log before this is gone, or may be.
    pub(super) oldest: Lsn,
}

impl Begin {
    /// Reads the log on a disk that no engine has open.
    ///
    /// # Errors
    /// Those of [`ControlFile::open`] and [`LogReader::open`].
    pub fn of(disk: &SimDisk) -> Result<Self> {
        let seen: Arc<dyn Disk> = Arc::new(disk.crash(&Survivors::All));
        let control = ControlFile::open(seen.as_ref())?;
        let (log, master) = (LogReader::open(&seen, &control)?, control.master());
        let mut scan = log.scan_on(master.checkpoint_lsn, log.epochs());
        while scan.next_outline()?.is_some() {}
        let (log_end, oldest) = (scan.position(), control.oldest_required_lsn());
        Ok(Self {
            page_size: master.page_size as usize,
            geometry: Geometry { segment_bytes: master.segment_bytes },
            epochs: scan.epochs().clone(),
            log_end,
            durable_to: if disk.pending().is_empty() { log_end } else { oldest },
            checkpoint_lsn: master.checkpoint_lsn,
            oldest,
        })
    }
}

/// What a power failure would leave at this moment if nothing survived that is not durable.
pub struct Durable<'b> {
    begin: &'b Begin,
    disk: SimDisk,
}

/// A checkpoint, as its records say.
pub struct Recorded {
    /// The last of its end records.
    pub last: Lsn,
    /// The log is needed from here on: from its begin record, the first change that a dirty page may lack, or the
    /// first record of a transaction that has not ended.
    pub needed: Lsn,
}

impl<'b> Durable<'b> {
    pub fn on(disk: &SimDisk, begin: &'b Begin) -> Self {
        Self { begin, disk: disk.crash(&Survivors::None) }
    }

    /// Bytes of a file, as many as it has.
    pub fn read(&self, name: &str, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = self.disk.open(name).and_then(|file| file.read_at(offset, &mut bytes));
        bytes.truncate(read.unwrap_or(0));
        bytes
    }

    /// Both slots of the control file.
    pub fn slots(&self) -> [SlotState; 2] {
        let bytes = self.read(CONTROL_FILE, 0, 2 * CONTROL_BLOCK);
        [read_slot(&bytes), read_slot(bytes.get(CONTROL_BLOCK..).unwrap_or_default())]
    }

    /// The master records that can be believed.
    pub fn masters(&self) -> impl Iterator<Item = MasterRecord> {
        self.slots().into_iter().filter_map(|slot| match slot {
            SlotState::Valid(master) => Some(master),
            _ => None,
        })
    }

    /// Pages that both master records count.
    pub fn counted_pages(&self) -> u64 {
        self.masters().map(|master| master.pages).min().unwrap_or(0)
    }

    /// The page in place.
    pub fn page(&self, page: PageId) -> Vec<u8> {
        let size = self.begin.page_size;
        self.read(PAGES_FILE, page.0.saturating_mul(size as u64), size)
    }

    /// The complete batch in the double-write file; no images if there is none.
    pub fn batch(&self) -> Vec<Image> {
        let size = self.begin.page_size;
        let bytes = self.read(DOUBLE_WRITE_FILE, 0, DOUBLE_WRITE_HEADER + BATCH_PAGES * size);
        read_batch(&bytes, size).map(|(_, images)| images).unwrap_or_default()
    }

    /// The bytes of the record at `lsn`, if there is one of the epoch that is in force there: that of the runs before, or the
    /// one that the control file has for the run which is watched.
    pub fn record(&self, lsn: Lsn) -> Option<Vec<u8>> {
        let epoch = match lsn < self.begin.log_end {
            true => self.begin.epochs.at(lsn),
            false => self.masters().map(|master| master.epoch).max(),
        };
        self.record_of(lsn, epoch?)
    }

    fn record_of(&self, lsn: Lsn, epoch: u64) -> Option<Vec<u8>> {
        let geometry = self.begin.geometry;
        let name = geometry.name(geometry.segment_of(lsn.get()));
        let left = usize::try_from(geometry.left_in_segment(lsn.get())).ok()?;
        let read = |length| self.read(&name, geometry.offset(lsn.get()), length);
        let mut bytes = read(FIRST_READ.min(left));
        let length = record::stated_length(&bytes).filter(|length| *length <= left)?;
        if length > bytes.len() {
            bytes = read(length);
        }
        bytes.truncate(length);
        record::verify(&bytes, lsn, epoch).then_some(bytes)
    }

    /// Whether the log alone makes this image of the page.
    pub fn log_makes(&self, page: PageId, image: &[u8]) -> bool {
        self.rebuilt(page).is_ok_and(|rebuilt| rebuilt.is_some_and(|rebuilt| rebuilt == image))
    }

    /// The page as the log makes it, from the latest record that begins it anew.
    fn rebuilt(&self, page: PageId) -> Result<Option<Vec<u8>>> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let log = LogReader::open(&disk, &ControlFile::open(disk.as_ref())?)?;
        let (mut scan, mut made) = (log.scan(log.start()), None);
        while let Some((lsn, record)) = scan.next_record()? {
            let Some(change) = record.change_of(page) else { continue };
            if change.op.starts_anew() || change.prev_page_lsn.is_none() {
                made = Some(page::initial(page, self.begin.page_size));
            }
            let applied = made.as_mut().map(|bytes| change.op.apply(bytes).is_ok());
            if applied != Some(true) {
                made = None;
            }
            if let Some(bytes) = &mut made {
                page::set_page_lsn(bytes, lsn);
            }
        }
        if let Some(bytes) = &mut made {
            page::seal(bytes);
        }
        Ok(made)
    }

    /// The checkpoint at `begin_lsn`, if all of its records are there.
    pub fn checkpoint(&self, begin_lsn: Lsn, epoch: u64) -> std::result::Result<Recorded, String> {
        let (mut at, mut needed) = (begin_lsn, begin_lsn);
        loop {
            let Some(bytes) = self.record_of(at, epoch) else {
                return Err(format!("the log durably ends at {at}"));
            };
            match record::decode(&bytes) {
                Ok(LogRecord::BeginCheckpoint(_)) if at == begin_lsn => {}
                Ok(other) if at == begin_lsn => {
                    return Err(format!("at {at} stands this: {other}"));
                }
                Ok(LogRecord::EndCheckpoint(end)) if end.begin_lsn == begin_lsn => {
                    needed = needed.min(needed_by(&end).unwrap_or(needed));
                    if end.part + 1 == end.parts {
                        return Ok(Recorded { last: at, needed });
                    }
                }
                _ => {}
            }
            let next = self.begin.geometry.record_position(at.get() + padded(bytes.len()) as u64);
            at = Lsn::new(next).unwrap_or(at);
        }
    }
}

fn needed_by(end: &EndCheckpoint) -> Option<Lsn> {
    let pages = end.dirty_pages.iter().map(|(_, rec_lsn)| *rec_lsn);
    pages.chain(end.transactions.iter().filter_map(|(_, entry)| entry.first_lsn)).min()
}

/// The number of the log segment that a file is.
pub fn segment_of(name: &str) -> Option<u64> {
    segment_number(name.strip_prefix(LOG_DIRECTORY)?.strip_prefix('/')?)
}

/// Where, before byte `end` of the log, something is not durable.
pub fn log_pending_before(disk: &SimDisk, durable: &Durable<'_>, end: u64) -> Option<String> {
    let geometry = durable.begin.geometry;
    let current = geometry.segment_of(end - 1);
    for pending in disk.pending() {
        let Some(number) = segment_of(&pending.name).filter(|number| *number <= current) else {
            continue;
        };
        match pending.kind {
            PendingKind::Create | PendingKind::Rename { .. } => {
                return Some(format!("the name {} is not durable", pending.name));
            }
            PendingKind::Sector { offset, length } if !pending.changes_nothing => {
                let before = end.saturating_sub(geometry.start(number) + offset);
                let length = usize::try_from(before).unwrap_or(length).min(length);
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let cached = disk.read_file(&pending.name).unwrap_or_default();
                let cached = cached.get(from..from + length).unwrap_or_default();
                if durable.read(&pending.name, offset, length) != cached {
                    return Some(format!(
                        "bytes {offset} to {} of {} are not durable",
                        offset + length as u64,
                        pending.name
                    ));
                }
            }
            _ => {}
        }
    }
    None
}
