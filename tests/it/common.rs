//! What several test modules share.
//!
//! - [`open`] and [`options`]: small databases on simulated disks, without background threads;
//! - [`Trace`]: an observer that remembers what the engine did;
//! - [`watched_disk`]: a disk that says what is about to be done to it, and may refuse;
//! - [`Story`]: a history of a few transactions on prepared pages, told with the names of a page of
//!   paper: `U(T1,P2)`, `CLR(3)->1`, `End T2`;
//! - [`Forge`]: the same, with log records written by hand;
//! - [`Image`] and [`Work`]: all files of a database, and the records that it acknowledged;
//! - [`mend`]: right checksums over wrong bytes. (Shared, like the images, with the fuzz targets.)

mod forge;
mod images;
pub mod mend;
mod story;
mod watched;

pub use aries::disk::Call;
pub use forge::{Forge, Snapshot};
pub use images::{Image, PAGE_SIZE, SEGMENT_BYTES, Work, disk_of, image, value};
pub use story::{Story, cut_log, read_page_records};
pub use watched::watched_disk;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aries::disk::{Disk, SimDisk};
use aries::event::{Event, Observer};
use aries::ids::Lsn;
use aries::record::{EncodedRecord, padded};
use aries::{Db, Options, Result};

/// The smallest pages, segments and pools there are; no threads.
pub fn options() -> Options {
    Options::new().page_size(512).segment_bytes(65536).buffer_pool_bytes(16 * 512).background(false)
}

/// Opens, or makes, a database.
pub fn open(disk: &SimDisk) -> Db {
    try_open(disk).unwrap()
}

/// The same, where it may fail.
pub fn try_open(disk: &SimDisk) -> Result<Db> {
    options().open_on(Arc::new(disk.clone()))
}

/// Every file below a directory, with its bytes.
pub fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.append(&mut files(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

/// Remembers events.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Vec<Event>>>);

impl Trace {
    /// What happened so far.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    /// Forgets what happened so far.
    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    /// Opens a database on `disk` and remembers what happens from the first moment on.
    pub fn open_on(&self, disk: Arc<dyn Disk>) -> Result<Db> {
        self.open_with(options(), disk)
    }

    /// The same with these options.
    pub fn open_with(&self, options: Options, disk: Arc<dyn Disk>) -> Result<Db> {
        options.observer(Arc::new(self.clone())).open_on(disk)
    }
}

impl Observer for Trace {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// Pushes the log on until nothing is left of it that is there now. All pages are clean then, and none
/// can be rebuilt from the log but one that this makes for the purpose.
pub fn forget_log(db: &Db) {
    let now = db.stats().end_lsn.get();
    let mut txn = db.begin().unwrap();
    let page = txn.allocate_page().unwrap();
    let slot = txn.insert_record(page, &[0; 200]).unwrap();
    txn.commit().unwrap();
    while db.stats().oldest_required_lsn.get() / SEGMENT_BYTES <= now / SEGMENT_BYTES {
        let mut txn = db.begin().unwrap();
        for number in 0..100 {
            txn.write_record(page, slot, 0, &[number; 200]).unwrap();
        }
        txn.commit().unwrap();
        db.flush_pages().unwrap();
        db.checkpoint().unwrap();
    }
    db.checkpoint().unwrap(); // Either slot of the control file may count.
}

/// Where the record that begins at `lsn` ends: where the next one begins, within a segment.
pub fn end_of_record(db: &Db, lsn: Lsn) -> Lsn {
    let length = EncodedRecord::new(&db.read_log(lsn).unwrap().record()).len();
    lsn.checked_add(padded(length) as u64).unwrap()
}
