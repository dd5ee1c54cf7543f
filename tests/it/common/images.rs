//! Images of small databases, and the work that they acknowledged.

use std::collections::BTreeMap;

use aries::disk::{Disk, SimDisk};
use aries::ids::{PageId, SlotId};
use aries::{Db, Result};

/// Bytes of a page of the databases that tests make.
pub const PAGE_SIZE: usize = 512;
/// Bytes of a log segment of theirs.
pub const SEGMENT_BYTES: u64 = 65_536;

/// Every file of a disk, by name.
pub type Image = BTreeMap<String, Vec<u8>>;

/// What readers see of a simulated disk.
pub fn image(disk: &SimDisk) -> Image {
    let mut image = Image::new();
    for name in disk.list("").unwrap() {
        match disk.read_file(&name) {
            Some(bytes) => drop(image.insert(name, bytes)),
            None => {
                for file in disk.list(&name).unwrap() {
                    let path = format!("{name}/{file}");
                    let bytes = disk.read_file(&path).unwrap();
                    image.insert(path, bytes);
                }
            }
        }
    }
    image
}

/// A simulated disk with these files, all durable.
pub fn disk_of(image: &Image) -> SimDisk {
    let disk = SimDisk::new();
    for (name, bytes) in image {
        disk.write_file(name, bytes);
    }
    disk
}

/// Records that a database acknowledged, and what they hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Work {
    pub records: BTreeMap<(PageId, SlotId), Vec<u8>>,
}

impl Work {
    /// Reads every record. The first error ends it; a record that differs fails the test.
    pub fn check(&self, db: &Db) -> Result<()> {
        let mut txn = db.begin()?;
        for ((page, slot), bytes) in &self.records {
            let found = txn.read_record(*page, *slot)?;
            assert_eq!(found.as_ref(), Some(bytes), "record {page}.{slot}");
        }
        txn.commit().map(drop)
    }

    /// Commits one transaction: a new page with a record, and a new value for an old record. It is
    /// part of the work once the commit was acknowledged.
    pub fn commit_one(&mut self, db: &Db, value: &[u8]) -> Result<()> {
        let mut next = self.clone();
        let mut txn = db.begin()?;
        let page = txn.allocate_page()?;
        let slot = txn.insert_record(page, value)?;
        next.records.insert((page, slot), value.to_vec());
        if let Some((&(page, slot), old)) = self.records.first_key_value() {
            let value = &value[..old.len().min(value.len())];
            txn.write_record(page, slot, 0, value)?;
            let record = next.records.get_mut(&(page, slot)).unwrap();
            record[..value.len()].copy_from_slice(value);
        }
        txn.commit()?;
        *self = next;
        Ok(())
    }
}

/// `length` bytes that tell `number`.
pub fn value(number: u64, length: usize) -> Vec<u8> {
    let text = format!("value {number} ");
    text.bytes().cycle().take(length).collect()
}
