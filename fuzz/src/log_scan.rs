//! Arbitrary bytes as log segments, read by the engine's own readers: they end, with or without an error, and
//! what one of them found the others find too.
//!
//! The bytes are a program that writes three segments, so that a few of them make a log: see `Step`.

use std::sync::{Arc, OnceLock};

use arbitrary::Unstructured;
use aries::disk::{Disk, SimDisk};
use aries::ids::Lsn;
use aries::log::{Epochs, Geometry, LOG_DIRECTORY, LogScan, LogWalk, ScanEnd, Segments, read_record};
use aries::record::{self, EncodedRecord, EpochStart};

use crate::databases::{self, Placed};
use crate::images::{PAGE_SIZE, SEGMENT_BYTES};
use crate::mend;
use crate::spoil::Random;

const GEOMETRY: Geometry = Geometry { segment_bytes: SEGMENT_BYTES };
const DATABASE_ID: u128 = 0xA51E5;
const SEGMENTS: u64 = 3;
const START: u64 = 4096;
/// Where a record's kind stands, behind checksum and length.
const KIND: usize = 8;
const RESTART: u8 = 9;
/// Where a restart record has its epoch.
const EPOCH: std::ops::Range<usize> = 36..44;

/// What is written next.
#[derive(Clone, Copy)]
enum Step {
    /// A record: its length behind the checksum and the length itself, then so many bytes.
    Record,
    /// Bytes without a checksum.
    Raw,
    /// Nothing for so many times 8 bytes.
    Skip,
    /// On to the next segment, or boundary of 512 or 4096 bytes.
    Boundary,
    /// Another epoch from here on.
    Epoch,
    /// Filler.
    Filler,
    /// A byte of a segment's header.
    Header,
}

const STEPS: [Step; 8] = [
    Step::Record,
    Step::Raw,
    Step::Skip,
    Step::Boundary,
    Step::Epoch,
    Step::Filler,
    Step::Header,
    Step::Record,
];

struct Writer {
    log: Vec<u8>,
    at: usize,
    epoch: u64,
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.log.get_mut(self.at..self.at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self.at += bytes.len().next_multiple_of(8);
    }

    fn record(&mut self, behind_length: &[u8]) {
        let length = KIND + behind_length.len();
        let mut bytes = vec![0; KIND];
        bytes.extend(behind_length);
        bytes[4..KIND].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
        if let (Some(&RESTART), Some(epoch)) = (bytes.get(KIND), bytes.get(EPOCH)) {
            self.epoch = u64::from_le_bytes(epoch.try_into().unwrap());
        }
        mend::record(&mut bytes, self.at as u64, self.epoch);
        self.put(&bytes);
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        match STEPS[usize::from(u.arbitrary::<u8>()?) % STEPS.len()] {
            Step::Record => {
                let length = usize::from(u.arbitrary::<u16>()?) % 1400;
                self.record(u.bytes(length.min(u.len()))?);
            }
            Step::Raw => {
                let length = usize::from(u.arbitrary::<u8>()?);
                self.put(u.bytes(length.min(u.len()))?);
            }
            Step::Skip => self.at += 8 * usize::from(u.arbitrary::<u16>()?),
            Step::Boundary => {
                let boundary = [512, 4096, SEGMENT_BYTES as usize][u.choose_index(3)?];
                self.at = self.at.next_multiple_of(boundary);
                self.at += if boundary > 4096 { START as usize } else { 0 };
            }
            Step::Epoch => self.epoch = u64::from(u.arbitrary::<u8>()?),
            Step::Filler => {
                let length = usize::from(u.arbitrary::<u16>()?).max(record::HEADER_BYTES);
                let mut bytes = Vec::new();
                let lsn = Lsn::new(self.at as u64).unwrap();
                EncodedRecord::filler(length).append_to(lsn, self.epoch, &mut bytes);
                self.put(&bytes);
            }
            Step::Header => {
                let segment = usize::from(u.arbitrary::<u8>()?) % SEGMENTS as usize;
                let byte = usize::from(u.arbitrary::<u8>()?) % 64;
                let header = &mut self.log[segment * SEGMENT_BYTES as usize..];
                header[byte] = u.arbitrary()?;
                mend::segment_header(header);
            }
        }
        Ok(())
    }
}

/// Segments with nothing in them.
fn empty_log() -> &'static [u8] {
    static LOG: OnceLock<Vec<u8>> = OnceLock::new();
    LOG.get_or_init(prepared)
}

fn prepared() -> Vec<u8> {
    let disk = SimDisk::new();
    disk.create_directory(LOG_DIRECTORY).unwrap();
    let segments = Segments::new(Arc::new(disk.clone()), GEOMETRY, DATABASE_ID);
    (1..=SEGMENTS).for_each(|number| segments.prepare(number).unwrap());
    (1..=SEGMENTS).flat_map(|number| disk.read_file(&GEOMETRY.name(number)).unwrap()).collect()
}

pub fn run(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let epoch = u64::from(u.arbitrary::<u8>().unwrap_or(0));
    let mut writer = Writer { log: empty_log().to_vec(), at: START as usize, epoch };
    while !u.is_empty() && writer.at < writer.log.len() && writer.step(&mut u).is_ok() {}
    let disk = SimDisk::new();
    for (number, segment) in (1..).zip(writer.log.chunks(SEGMENT_BYTES as usize)) {
        disk.write_file(&GEOMETRY.name(number), segment);
    }
    let segments = Segments::open(Arc::new(disk), GEOMETRY, DATABASE_ID).unwrap();
    let mut epochs = Epochs::default();
    epochs.push_back(EpochStart { lsn: Lsn::new(START).unwrap(), epoch }, Lsn::new(START).unwrap());
    scan(&segments, epochs);
}

fn scan(segments: &Segments, epochs: Epochs) {
    let start = Lsn::new(START).unwrap();
    let mut scan = LogScan::new(segments, PAGE_SIZE, start, epochs.clone(), ScanEnd::FirstHole);
    let mut found = Vec::new();
    loop {
        match scan.next_record() {
            Ok(Some((lsn, record))) => {
                found.push((lsn, format!("{record:?}"), record.page_changes().count()));
            }
            Ok(None) => break,
            Err(error) => return assert!(error.to_string().contains("damage"), "{error}"),
        }
    }
    let (end, known) = (scan.position(), scan.epochs().clone());
    assert_eq!(scan.records(), found.len() as u64);
    if let Some((witness, durable)) = scan.witness_of_damage().unwrap() {
        assert!(witness >= end && durable > end);
    }
    let mut outlines = LogScan::new(segments, PAGE_SIZE, start, epochs, ScanEnd::FirstHole);
    while outlines.next_outline().unwrap().is_some() {}
    assert_eq!((outlines.position(), outlines.records()), (end, scan.records()));
    let mut again = LogScan::new(segments, PAGE_SIZE, start, known.clone(), ScanEnd::Known(end));
    for (lsn, told, _) in &found {
        let (at, record) = again.next_record().unwrap().expect("as many records as before");
        assert_eq!((at, &format!("{record:?}")), (*lsn, told));
        let alone = read_record(segments, PAGE_SIZE, *lsn, known.at(*lsn).unwrap()).unwrap();
        assert_eq!(format!("{:?}", alone.record()), *told);
    }
    assert!(again.next_record().unwrap().is_none());
    let mut walk = LogWalk::new(segments, known, start, end);
    let (mut changes, mut some) = (Vec::new(), Vec::new());
    while walk.find(16, |_| true, &mut some).unwrap() || !some.is_empty() {
        assert!(some.iter().all(|found| walk.change(found).is_ok()));
        changes.extend(some.iter().map(|found| found.lsn));
    }
    assert_eq!(walk.records(), scan.records());
    let expected = found.iter().flat_map(|found| std::iter::repeat_n(found.0, found.2));
    assert!(changes.into_iter().eq(expected));
}

/// The program that writes these records where they stand.
fn program(image: &crate::images::Image, records: &[Placed]) -> Vec<u8> {
    let mut at = START;
    let mut program = vec![records.first().map_or(0, |record| record.epoch as u8)];
    for placed in records {
        if placed.lsn > at {
            program.push(2);
            program.extend(u16::try_from((placed.lsn - at) / 8).unwrap().to_le_bytes());
        }
        let bytes = &image[&placed.segment][placed.range.clone()];
        if bytes[KIND] == record::FILLER {
            program.push(5);
            program.extend(u16::try_from(bytes.len()).unwrap().to_le_bytes());
        } else {
            program.push(0);
            program.extend(u16::try_from(bytes.len() - KIND).unwrap().to_le_bytes());
            program.extend(&bytes[KIND..]);
        }
        at = placed.lsn + record::padded(bytes.len()) as u64;
    }
    program
}

/// The logs of the databases, whole, cut, and with some bytes changed.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (_, image) in databases::all() {
        let records = databases::records(&image);
        if records.first().is_none_or(|first| first.lsn != START) {
            continue;
        }
        let program = program(&image, &records[..records.len().min(120)]);
        let mut random = Random::new(seeds.len() as u64);
        for _ in 0..60 {
            let mut spoiled = program.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(spoiled.len());
                spoiled[at] = random.next() as u8;
            }
            spoiled.truncate(random.below(2 * spoiled.len()).max(9));
            seeds.push(spoiled);
        }
        seeds.push(program);
    }
    seeds
}
