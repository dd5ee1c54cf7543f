//! A real database, changed in a few places and with its checksums mended, so that what stands behind them
//! is met: it opens or is refused, and what opens can be worked with.

use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use aries::page;
use aries::record;

use crate::databases::{self, Placed};
use crate::images::{Image, PAGE_SIZE, disk_of};
use crate::mend;
use crate::opened::survive;
use crate::spoil::Random;

const CONTROL_BLOCK: usize = 4096;
const KIND: usize = 8;
const RESTART: u8 = 9;
/// Where a restart record has its epoch.
const EPOCH: std::ops::Range<usize> = 36..44;

const DOUBLE_WRITE_HEADER_BYTES: usize = 28;
const DOUBLE_WRITE_ENTRY_BYTES: usize = 20;
const DOUBLE_WRITE_IMAGES: usize = 4096;
/// How a batch begins that stands for the state after a flush, and where its header has the count of its pages.
const WHOLE: &[u8] = b"ARIESALL";
const WHOLE_COUNT: std::ops::Range<usize> = 16..24;
const WHOLE_HEADER_BYTES: usize = 24;

/// A number of the kind that breaks arithmetic, or means something.
#[derive(Clone, Copy, Arbitrary, Debug)]
enum Number {
    Small(u8),
    BelowTheHighest(u8),
    BelowTheMiddle(u8),
    PowerOfTwo(u8),
    /// The LSN of a record, or one near it.
    Lsn(u16, i8),
    Any(u64),
}

/// One change.
#[derive(Clone, Copy, Arbitrary, Debug)]
enum Mutation {
    /// Eight bytes of a record, counted from its kind on.
    RecordField { record: u16, at: u8, number: Number },
    RecordByte { record: u16, at: u16, byte: u8 },
    /// One record in place of another.
    RecordCopy { from: u16, to: u16 },
    /// A record once more, behind the end of the log.
    RecordAgain { record: u16 },
    /// All records from this one on are gone.
    LogCut { record: u16 },
    PageField { page: u8, at: u8, number: Number },
    PageByte { page: u8, at: u16, byte: u8 },
    PageCopy { from: u8, to: u8 },
    ControlField { slots: u8, field: u8, number: Number },
    BatchField { at: u16, number: Number },
    SegmentField { file: u8, at: u8, number: Number },
    FileByte { file: u8, at: u32, byte: u8 },
    FileCut { file: u8, length: u32 },
    FileGone { file: u8 },
    SegmentRenamed { file: u8, number: Number },
}

struct Database {
    image: Image,
    records: Vec<Placed>,
}

fn all() -> &'static [Database] {
    static ALL: OnceLock<Vec<Database>> = OnceLock::new();
    ALL.get_or_init(|| {
        let database = |(_, image): (_, Image)| Database { records: databases::records(&image), image };
        databases::all().into_iter().map(database).collect()
    })
}

/// A database that is being spoiled.
struct Spoiled {
    image: Image,
    records: Vec<Placed>,
}

/// Puts the bytes at `at`, as far as there is room.
fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    for (place, byte) in bytes.iter_mut().skip(at).zip(new) {
        *place = *byte;
    }
}

impl Spoiled {
    fn number(&self, number: Number) -> u64 {
        match number {
            Number::Small(number) => number.into(),
            Number::BelowTheHighest(less) => u64::MAX - u64::from(less),
            Number::BelowTheMiddle(less) => u64::MAX / 2 + 2 - u64::from(less),
            Number::PowerOfTwo(power) => 1 << (power % 64),
            Number::Lsn(record, more) => {
                let lsn = self.record(record).map_or(0, |placed| placed.lsn);
                lsn.wrapping_add_signed(more.into())
            }
            Number::Any(number) => number,
        }
    }

    fn record(&self, record: u16) -> Option<Placed> {
        self.records.get(usize::from(record) % self.records.len().max(1)).cloned()
    }

    fn record_bytes(&mut self, record: u16) -> Option<&mut [u8]> {
        let placed = self.record(record)?;
        self.image.get_mut(&placed.segment)?.get_mut(placed.range)
    }

    fn file_name(&self, file: u8) -> Option<String> {
        self.image.keys().nth(usize::from(file) % self.image.len().max(1)).cloned()
    }

    fn file(&mut self, file: u8) -> Option<&mut Vec<u8>> {
        let name = self.file_name(file)?;
        self.image.get_mut(&name)
    }

    fn page(&mut self, page: u8) -> Option<&mut [u8]> {
        let pages = self.image.get_mut("pages")?;
        let count = pages.len() / PAGE_SIZE;
        pages.chunks_mut(PAGE_SIZE).nth(usize::from(page) % count.max(1))
    }

    /// A record once more, behind the last one.
    fn again(&mut self, record: u16) -> Option<()> {
        let (last, bytes) = (self.records.last()?.clone(), self.record_bytes(record)?.to_vec());
        let step = record::padded(last.range.len());
        let range = last.range.start + step..last.range.start + step + bytes.len();
        self.image.get_mut(&last.segment)?.get_mut(range.clone())?.copy_from_slice(&bytes);
        self.records.push(Placed { range, lsn: last.lsn + step as u64, ..last });
        Some(())
    }

    fn mutate(&mut self, mutation: Mutation) -> Option<()> {
        match mutation {
            Mutation::RecordField { record, at, number } => {
                let number = self.number(number).to_le_bytes();
                put(self.record_bytes(record)?, KIND + usize::from(at), &number);
            }
            Mutation::RecordByte { record, at, byte } => {
                put(self.record_bytes(record)?, KIND + usize::from(at), &[byte]);
            }
            Mutation::RecordCopy { from, to } => {
                let bytes = self.record_bytes(from)?.to_vec();
                put(self.record_bytes(to)?, KIND, &bytes[KIND..]);
            }
            Mutation::RecordAgain { record } => self.again(record)?,
            Mutation::LogCut { record } => {
                let cut = usize::from(record) % self.records.len().max(1);
                for placed in self.records.split_off(cut) {
                    self.image.get_mut(&placed.segment)?.get_mut(placed.range)?.fill(0);
                }
            }
            Mutation::PageField { page, at, number } => {
                let number = self.number(number).to_le_bytes();
                put(self.page(page)?, usize::from(at), &number);
            }
            Mutation::PageByte { page, at, byte } => {
                put(self.page(page)?, usize::from(at) % PAGE_SIZE, &[byte]);
            }
            Mutation::PageCopy { from, to } => {
                let bytes = self.page(from)?.to_vec();
                put(self.page(to)?, 0, &bytes);
            }
            other => self.mutate_file(other)?,
        }
        Some(())
    }

    fn mutate_file(&mut self, mutation: Mutation) -> Option<()> {
        match mutation {
            Mutation::ControlField { slots, field, number } => {
                let number = self.number(number).to_le_bytes();
                let control = self.image.get_mut("control")?.chunks_mut(CONTROL_BLOCK);
                for (_, slot) in control.enumerate().filter(|(slot, _)| slots & 1 << slot == 0) {
                    put(slot, 16 + 4 * usize::from(field % 22), &number);
                }
            }
            Mutation::BatchField { at, number } => {
                let number = self.number(number).to_le_bytes();
                put(self.image.get_mut("doublewrite")?, usize::from(at), &number);
            }
            Mutation::SegmentField { file, at, number } => {
                let number = self.number(number).to_le_bytes();
                put(self.file(file)?, usize::from(at % 64), &number);
            }
            Mutation::FileByte { file, at, byte } => {
                let file = self.file(file)?;
                let at = at as usize % file.len().max(1);
                put(file, at, &[byte]);
            }
            Mutation::FileCut { file, length } => {
                let file = self.file(file)?;
                file.truncate(length as usize % file.len().max(1));
            }
            Mutation::FileGone { file } => {
                let name = self.file_name(file)?;
                self.image.remove(&name)?;
            }
            Mutation::SegmentRenamed { file, number } => {
                let (name, number) = (self.file_name(file)?, self.number(number));
                let mut segment = self.image.remove(&name).filter(|_| name.starts_with("log/"))?;
                put(&mut segment, 32, &number.to_le_bytes());
                self.image.insert(format!("log/{number:016}.seg"), segment);
            }
            _ => {}
        }
        Some(())
    }

    /// Mends all checksums but for those of the kinds that `left` has a bit for.
    fn mend(&mut self, left: u8) {
        let mut epoch = None;
        for placed in self.records.clone() {
            let Some(segment) = self.image.get_mut(&placed.segment) else { continue };
            let Some(record) = segment.get_mut(placed.range) else { continue };
            if record[KIND] == RESTART && record.len() >= EPOCH.end {
                // A restart record says itself what the epoch is, from there on.
                let declared = u64::from_le_bytes(record[EPOCH].try_into().unwrap());
                epoch = (declared != placed.epoch).then_some(declared);
            }
            if left & 1 == 0 {
                mend::record(record, placed.lsn, epoch.unwrap_or(placed.epoch));
            }
        }
        for (name, file) in &mut self.image {
            match name.as_str() {
                "control" if left & 2 == 0 => {
                    file.chunks_mut(CONTROL_BLOCK).for_each(mend::control_slot);
                }
                "pages" if left & 4 == 0 => {
                    file.chunks_exact_mut(PAGE_SIZE).for_each(page::seal);
                }
                "doublewrite" if left & 8 == 0 => double_write(file),
                name if name.starts_with("log/") && left & 16 == 0 => mend::segment_header(file),
                _ => {}
            }
        }
    }
}

/// Mends an entry of a double-write file, and the image that it stands for.
fn entry(entry: &mut [u8], image: &mut [u8]) {
    page::seal(image);
    entry[..8].copy_from_slice(&image[16..24]);
    entry[8..16].copy_from_slice(&image[8..16]);
    entry[16..].copy_from_slice(&image[..4]);
}

/// Mends a whole batch: the same, but that the entries have blocks of their own.
fn whole_batch(file: &mut [u8]) {
    let (head, rest) = file.split_at_mut(DOUBLE_WRITE_IMAGES);
    let count = u64::from_le_bytes(head[WHOLE_COUNT].try_into().unwrap());
    let bytes = count.saturating_mul(DOUBLE_WRITE_ENTRY_BYTES as u64);
    let Ok(bytes) = usize::try_from(bytes) else { return };
    let blocks = bytes.checked_next_multiple_of(DOUBLE_WRITE_IMAGES);
    let Some((entries, images)) = blocks.and_then(|blocks| rest.split_at_mut_checked(blocks)) else {
        return;
    };
    let each = entries[..bytes].chunks_exact_mut(DOUBLE_WRITE_ENTRY_BYTES);
    each.zip(images.chunks_exact_mut(PAGE_SIZE)).for_each(|(of, image)| entry(of, image));
    head[8..12].fill(0);
    let covered = [&head[..WHOLE_HEADER_BYTES], &entries[..bytes]].concat();
    head[8..12].copy_from_slice(&crc32fast::hash(&covered).to_le_bytes());
}

/// Mends a double-write file: the images, then what the header says of each, then the header.
fn double_write(file: &mut [u8]) {
    if file.len() < DOUBLE_WRITE_IMAGES {
        return;
    }
    if file.starts_with(WHOLE) {
        return whole_batch(file);
    }
    let (head, images) = file.split_at_mut(DOUBLE_WRITE_IMAGES);
    let count = u32::from_le_bytes(head[12..16].try_into().unwrap()) as usize;
    let (_, entries) = head.split_at_mut(DOUBLE_WRITE_HEADER_BYTES);
    let entries = entries.chunks_exact_mut(DOUBLE_WRITE_ENTRY_BYTES);
    let mut covered = DOUBLE_WRITE_HEADER_BYTES;
    for (image, of) in images.chunks_exact_mut(PAGE_SIZE).zip(entries).take(count) {
        entry(of, image);
        covered += DOUBLE_WRITE_ENTRY_BYTES;
    }
    head[8..12].fill(0);
    let checksum = crc32fast::hash(&head[..covered]);
    head[8..12].copy_from_slice(&checksum.to_le_bytes());
}

fn spoiled(u: &mut Unstructured<'_>) -> arbitrary::Result<(Image, u8)> {
    let database = &all()[usize::from(u.arbitrary::<u8>()?) % all().len()];
    let (how, left) = (u.arbitrary()?, u.arbitrary()?);
    let mut spoiled =
        Spoiled { image: database.image.clone(), records: database.records.clone() };
    while !u.is_empty() {
        spoiled.mutate(u.arbitrary()?);
    }
    spoiled.mend(left);
    Ok((spoiled.image, how))
}

pub fn run(bytes: &[u8]) {
    if let Ok((image, how)) = spoiled(&mut Unstructured::new(bytes)) {
        survive(&disk_of(&image), how);
    }
}

/// How [`Arbitrary`] draws variant `variant` of `count`.
fn variant(variant: u64, count: u64) -> [u8; 4] {
    (((variant << 32) / count + 1) as u32).to_le_bytes()
}

/// Numbers as they are drawn.
fn numbers() -> Vec<Vec<u8>> {
    let number = |which, bytes: &[u8]| [&variant(which, 6)[..], bytes].concat();
    let mut all: Vec<_> = [0, 1, 2, 3, 9, 60, 255].map(|small| number(0, &[small])).into();
    all.extend([0, 8].map(|less| number(1, &[less])));
    all.extend([0, 2, 4].map(|less| number(2, &[less])));
    all.extend([16, 63].map(|power| number(3, &[power])));
    all.extend([0, 5, 9, 40].map(|record| number(4, &[record, 0, 0])));
    all
}

/// Each database, as it is, with each field of some kinds changed, and with a few random changes.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (database, Database { records, .. }) in (0..).zip(all()) {
        let mut random = Random::new(database.into());
        seeds.extend([0, 1, 4, 6, 16, 24, 32].map(|how| vec![database, how, 0]));
        for _ in 0..60 {
            let length = 12 * (1 + random.below(6));
            seeds.push([&[database, 0, 0][..], &random.bytes(length)].concat());
        }
        let mut seed = |which, at: &[u8], number: &[u8]| {
            seeds.push([&[database, 0, 0][..], &variant(which, 15), at, number].concat());
        };
        for field in 0..22 {
            // All numbers in both slots, some in one.
            for number in numbers().iter().skip(usize::from(database) % 3).step_by(3) {
                seed(8, &[0, field], number);
            }
            seed(8, &[1, field], &numbers()[1]);
        }
        for (page, at) in (0..4).flat_map(|page| (0..64).step_by(4).map(move |at| (page, at))) {
            let number = &numbers()[random.below(18)];
            seed(5, &[page, at], number);
        }
        for record in (0..records.len()).step_by(1 + records.len() / 25) {
            for at in (0..56).step_by(8) {
                let number = &numbers()[random.below(18)];
                seed(0, &[record as u8, 0, at], number);
            }
        }
    }
    seeds
}
