//! Arbitrary bytes into the decoder of log records: a record or a fault; and what decodes encodes to the
//! same bytes. What restart reads of a record without decoding all of it says the same.

use std::collections::BTreeSet;

use aries::ids::Lsn;
use aries::page::PageOp;
use aries::record::{self, EncodedRecord, LogRecord};

use crate::spoil::spoiled;
use crate::{databases, mend};

/// Where the record is said to stand: records of the databases that the seeds come from point backwards.
const LSN: u64 = 1 << 32;
const EPOCH: u64 = 7;
/// The bytes of a record that say the most about how the others are to be read.
const SPOILED: usize = 112;

pub fn run(bytes: &[u8]) {
    let lsn = Lsn::new(LSN).unwrap();
    look(bytes, lsn);
    let mut whole = bytes.to_vec();
    if let Some(length) = whole.get_mut(4..8) {
        length.copy_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
    }
    mend::record(&mut whole, LSN, EPOCH);
    look(&whole, lsn);
    assert_eq!(record::verify(&whole, lsn, EPOCH), whole.len() >= record::HEADER_BYTES);
    if let Ok((op, length)) = PageOp::decode(bytes) {
        let mut again = Vec::new();
        op.encode(&mut again);
        assert_eq!(again, bytes[..length]);
    }
}

/// Reads the bytes in all ways that there are.
fn look(bytes: &[u8], lsn: Lsn) {
    let outline = record::outline(bytes, lsn);
    let mut changes = Vec::new();
    record::changes_at(bytes, |at| changes.push((at.page, record::change(bytes, at).ok())));
    let stated = record::stated_length(bytes);
    assert!(record::peek_length(bytes).is_none_or(|length| Some(length) == stated));
    let decoded = match record::decode(bytes) {
        Err(fault) => return assert!(!fault.to_string().is_empty()),
        Ok(decoded) => decoded,
    };
    assert!(!decoded.to_string().is_empty());
    let expected = decoded.page_changes().map(|change| (change.page, Some(change)));
    assert_eq!(changes, expected.collect::<Vec<_>>());
    let points_back = decoded.points_back(lsn);
    let is_outlined =
        decoded.changes_pages() && !matches!(decoded, LogRecord::StructureChange(_));
    assert_eq!(outline.is_some(), is_outlined && points_back);
    assert!(outline.is_none_or(|outline| outline.link == decoded.link()));
    if let Some(kind) = record::peek_kind(bytes) {
        assert_eq!(record::bears_witness(kind), decoded.durable_lsn().is_some());
    }
    if stated == Some(bytes.len()) && decoded != LogRecord::Filler {
        let mut again = Vec::new();
        let encoded = EncodedRecord::new(&decoded);
        assert_eq!(encoded.len(), bytes.len());
        encoded.append_to(lsn, EPOCH, &mut again);
        assert_eq!(again[4..bytes.len()], bytes[4..], "{decoded:?}");
    }
}

/// Records of each kind and size that the engine writes, whole and spoiled.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seen = BTreeSet::new();
    let mut seeds = Vec::new();
    for (_, image) in databases::all() {
        for placed in databases::records(&image) {
            let bytes = &image[&placed.segment][placed.range];
            let op = bytes.get(44).copied().unwrap_or(0);
            if bytes.len() <= 1024 && seen.insert((bytes[8], op.min(9))) {
                // A few numbers of the kinds, and the fields behind them.
                seeds.extend(spoiled(bytes, 8..SPOILED));
                seeds.extend((0..15).map(|kind| [&bytes[..8], &[kind], &bytes[9..]].concat()));
            }
        }
    }
    seeds
}
