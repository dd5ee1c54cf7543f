//! Arbitrary bytes in the files of a database: an error or a database, never a panic, an endless
//! loop, or memory out of proportion; and the same answer twice.

use std::process::Command;

use aries::log::{SlotState, read_slot};
use aries::page;

use super::{closed, crashed};
use crate::common::{Image, PAGE_SIZE, Work, disk_of, mend, try_open};

/// The generator xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A number of the kind that breaks arithmetic.
    fn odd_number(&mut self) -> u64 {
        let edges = [0, 1, 2, 63, 64, 65_535, 65_536, u64::MAX / 2, u64::MAX - 7, u64::MAX];
        match self.below(3) {
            0 => edges[self.below(edges.len())],
            1 => self.next() >> self.below(64),
            _ => 64 + 8 * self.below(500) as u64,
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| *byte = self.next() as u8);
    }
}

/// Puts garbage into some range of a file, cuts it, or makes it longer.
fn spoil(random: &mut Random, bytes: &mut Vec<u8>) {
    let (from, to) = (random.below(bytes.len()), random.below(bytes.len()));
    let range = from.min(to)..from.max(to);
    match random.below(6) {
        0 => bytes.truncate(from),
        1 => bytes.resize(bytes.len() + random.below(5000), random.next() as u8),
        2 => bytes[range].fill(random.next() as u8),
        3 => random.fill(bytes),
        4 => {
            let end = (from + 1 + random.below(40)).min(bytes.len());
            random.fill(&mut bytes[from..end]);
        }
        _ => bytes.copy_within(range, random.below(from.min(to) + 1)),
    }
}

/// Opens twice; uses what opens. Only a panic, a hang or another answer is wrong. Gives whether it
/// opened.
fn survive(image: &Image, work: &Work) -> bool {
    let disk = disk_of(image);
    match try_open(&disk) {
        Ok(db) => {
            let again = try_open(&disk_of(image)).unwrap();
            assert_eq!(use_it(&db, work), use_it(&again, work));
            true
        }
        Err(error) => {
            let again = try_open(&disk).map(drop).unwrap_err();
            assert_eq!(error.to_string(), again.to_string());
            false
        }
    }
}

/// Spoils each image in `cases` ways and sees that it is survived; some must open, and some not.
fn survive_all(cases: u64, mut spoil: impl FnMut(&mut Random, &mut Image)) {
    let mut opened = 0;
    for (image, work) in [closed(), crashed()] {
        for seed in 1..=cases {
            let mut spoiled = image.clone();
            spoil(&mut Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)), &mut spoiled);
            opened += u64::from(survive(&spoiled, &work));
        }
    }
    assert!((1..2 * cases).contains(&opened), "{opened} of {} opened", 2 * cases);
}

/// Reads, changes and rolls back what is there, as far as it goes; tells what happened.
fn use_it(db: &aries::Db, work: &Work) -> String {
    let mut told = String::new();
    let mut tell = |what: Result<String, aries::Error>| {
        told += &what.unwrap_or_else(|error| error.to_string());
    };
    let Ok(mut txn) = db.begin() else { return "cannot begin".into() };
    for (page, slot) in work.records.keys() {
        tell(txn.read_record(*page, *slot).map(|record| format!("{record:?}")));
        tell(txn.slots(*page).map(|slots| format!("{slots:?}")));
        tell(txn.insert_record(*page, b"new").map(|slot| slot.to_string()));
        tell(txn.write_record(*page, *slot, 0, b"w").map(|()| "written".into()));
        tell(txn.delete_record(*page, *slot).map(|()| "deleted".into()));
    }
    tell(txn.allocate_page().map(|page| page.to_string()));
    tell(txn.rollback().map(|()| "rolled back".into()));
    tell(db.flush_pages().map(|()| "flushed".into()));
    tell(db.checkpoint().map(|checkpoint| format!("{:?}", checkpoint.dirty_pages)));
    told
}

fn spoil_file(name: &str, cases: u64) {
    survive_all(cases, |random, image| spoil(random, image.get_mut(name).unwrap()));
}

#[test]
fn garbage_in_the_control_file() {
    spoil_file("control", 300);
}

#[test]
fn garbage_in_the_double_write_file() {
    for (image, work) in [closed(), crashed()] {
        for seed in 1..=200 {
            let mut spoiled = image.clone();
            spoil(&mut Random(seed), spoiled.get_mut("doublewrite").unwrap());
            // Every page in place is whole, so nothing in it is needed.
            super::open_twice(&spoiled, &work).unwrap();
        }
    }
}

#[test]
fn garbage_in_the_file_of_pages() {
    spoil_file("pages", 300);
}

#[test]
fn garbage_in_a_log_segment() {
    spoil_file("log/0000000000000001.seg", 300);
}

#[test]
fn control_fields_that_no_engine_wrote_behind_right_checksums() {
    survive_all(600, |random, image| {
        let field = [16, 32, 36, 40, 48, 56, 64, 72, 80, 88, 96][random.below(11)];
        let number = random.odd_number();
        for slot in image.get_mut("control").unwrap().chunks_exact_mut(4096) {
            slot[field..field + 8].copy_from_slice(&number.to_le_bytes());
            mend::control_slot(slot);
        }
    });
}

#[test]
fn numbers_in_the_control_file_take_no_memory_out_of_proportion() {
    let test = "bad_disks::garbage::control_fields_that_no_engine_wrote_behind_right_checksums";
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 300000; exec timeout 60 \"$0\" \"$@\""]);
    limited.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--test-threads=1"]);
    let output = limited.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn page_bodies_that_no_engine_wrote_behind_right_checksums() {
    let mut opened = 0;
    let (image, work) = closed();
    for seed in 1..=800_u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut spoiled = image.clone();
        let pages = spoiled.get_mut("pages").unwrap();
        let page = &mut pages[random.below(14) * PAGE_SIZE..][..PAGE_SIZE];
        for _ in 0..=random.below(3) {
            let byte = if random.below(2) == 0 { random.below(64) } else { random.below(512) };
            if !(16..24).contains(&byte) {
                page[byte] = random.next() as u8;
            }
        }
        page::seal(page);
        opened += u64::from(survive(&spoiled, &work));
    }
    assert!(opened > 0, "what is closed needs no page to open");
}

/// Changes a field or a byte of a record, not its length, and mends its checksum.
fn spoil_record(random: &mut Random, segment: &mut [u8], epoch: u64) {
    let records = mend::records(segment);
    let range = records[random.below(records.len())].clone();
    let (lsn, length) = (range.start as u64, range.len());
    let record = &mut segment[range];
    if random.below(2) == 0 {
        let field = 12 + 8 * random.below((length - 12) / 8);
        let end = (field + 8).min(length);
        let number = random.odd_number().to_le_bytes();
        record[field..end].copy_from_slice(&number[..end - field]);
    } else {
        record[8 + random.below(length - 8)] = random.next() as u8;
    }
    mend::record(record, lsn, epoch);
}

#[test]
fn log_records_that_no_engine_wrote_behind_right_checksums() {
    survive_all(900, |random, image| {
        let SlotState::Valid(master) = read_slot(&image["control"]) else { panic!("a valid slot") };
        let segment = image.get_mut("log/0000000000000001.seg").unwrap();
        spoil_record(random, segment, master.epoch);
    });
}
