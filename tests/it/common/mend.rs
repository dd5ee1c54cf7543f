//! Right checksums over wrong bytes, so that readers go on to what stands behind them: see
//! `docs/format.md`. What is too short for a checksum stays as it is.

use std::ops::Range;

/// Bytes of a control slot that its checksum covers.
const CONTROL_SLOT_BYTES: usize = 112;
const SEGMENT_HEADER_BYTES: usize = 64;
const FIRST_RECORD: usize = 4096;
const RECORD_HEADER_BYTES: usize = 28;

/// The number that stands at `at`.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

/// Stores in `at` the checksum of the first `length` bytes, with itself taken for 0.
fn mend(bytes: &mut [u8], at: Range<usize>, length: usize) {
    let Some(covered) = bytes.get_mut(..length) else { return };
    covered[at.clone()].fill(0);
    let checksum = crc32fast::hash(covered);
    covered[at].copy_from_slice(&checksum.to_le_bytes());
}

/// Mends a slot of the control file.
pub fn control_slot(slot: &mut [u8]) {
    mend(slot, 12..16, CONTROL_SLOT_BYTES);
}

/// Mends the header of a log segment.
pub fn segment_header(segment: &mut [u8]) {
    mend(segment, 12..16, SEGMENT_HEADER_BYTES);
}

/// Mends a log record, exactly its bytes: the checksum covers its LSN and epoch, too.
pub fn record(record: &mut [u8], lsn: u64, epoch: u64) {
    if record.len() < RECORD_HEADER_BYTES {
        return;
    }
    let lsn = lsn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let epoch = epoch.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    let mixed = (lsn.wrapping_add(epoch) >> 32) as u32;
    let checksum = crc32fast::hash(&record[4..]) ^ mixed;
    record[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// Where the records of a segment lie in it, up to where no length leads on.
pub fn records(segment: &[u8]) -> Vec<Range<usize>> {
    let mut at = FIRST_RECORD;
    let mut found = Vec::new();
    while let Some(length) = number(segment, at + 4).filter(|length| *length >= RECORD_HEADER_BYTES)
        && at + length <= segment.len()
    {
        found.push(at..at + length);
        at += length.next_multiple_of(8);
    }
    found
}
