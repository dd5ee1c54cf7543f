//! Arbitrary bytes as the control file: a master record or an error; what is written then is read again, and
//! either slot may be lost.
//!
//! The first byte says how the others are laid out: as the whole file, or as two slots of 112 bytes;
//! and which slots get a right checksum.

use aries::disk::SimDisk;
use aries::log::{CONTROL_BLOCK, CONTROL_FILE, ControlFile, MasterRecord, SlotState, read_slot};
use aries::{Error, Result};

use crate::spoil::spoiled;
use crate::{databases, mend};

const SLOT_BYTES: usize = 112;
const COMPACT: u8 = 1;
const MEND: [u8; 2] = [2, 4];

fn layout(bytes: &[u8]) -> Vec<u8> {
    let Some((how, rest)) = bytes.split_first() else { return Vec::new() };
    let mut file = rest.to_vec();
    if how & COMPACT != 0 {
        file = vec![0; 2 * CONTROL_BLOCK];
        for (block, slot) in file.chunks_mut(CONTROL_BLOCK).zip(rest.chunks(SLOT_BYTES)) {
            block[..slot.len()].copy_from_slice(slot);
        }
    }
    for (slot, bit) in file.chunks_mut(CONTROL_BLOCK).zip(MEND) {
        if how & bit != 0 {
            mend::control_slot(slot);
        }
    }
    file
}

pub fn run(bytes: &[u8]) {
    let file = layout(bytes);
    let disk = SimDisk::new();
    disk.write_file(CONTROL_FILE, &file);
    let slots = [0, CONTROL_BLOCK].map(|at| read_slot(file.get(at..).unwrap_or_default()));
    let mut control = match ControlFile::open(&disk) {
        Ok(control) => control,
        Err(error) => {
            assert!(matches!(error, Error::Corrupt { .. } | Error::Mismatch { .. }), "{error}");
            assert!(!slots.iter().any(|slot| matches!(slot, SlotState::Valid(_))));
            return;
        }
    };
    let master = control.master();
    assert!(slots.contains(&SlotState::Valid(master)));
    assert!(control.highest_epoch() >= master.epoch);
    assert!(control.oldest_required_lsn() <= master.oldest_required_lsn);
    assert!(!control.ended_cleanly() || master.clean_end_lsn.is_some());
    if let Err(error) = control.update(|master| master.pages = 77) {
        assert!(error.to_string().contains("counters"), "{error}");
        return assert_eq!(disk.read_file(CONTROL_FILE).unwrap(), file, "refused, but changed");
    }
    let updated = reopened(&disk).unwrap();
    assert_eq!(MasterRecord { sequence: master.sequence + 1, pages: 77, ..master }, updated);
    // The slot that was just written is lost: what counted before counts again.
    let mut torn = disk.read_file(CONTROL_FILE).unwrap();
    let newest = usize::from(read_slot(&torn) != SlotState::Valid(updated));
    torn[newest * CONTROL_BLOCK + 50] ^= 1;
    disk.write_file(CONTROL_FILE, &torn);
    assert_eq!(reopened(&disk).unwrap(), master);
    match control.update_both(|master| master.epoch += 1) {
        Ok(()) => assert_eq!(reopened(&disk).unwrap(), control.master()),
        // One slot may have been written.
        Err(error) => assert!(reopened(&disk).is_ok(), "{error}"),
    }
}

fn reopened(disk: &SimDisk) -> Result<MasterRecord> {
    ControlFile::open(disk).map(|control| control.master())
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (_, image) in databases::all() {
        let Some(control) = image.get("control").filter(|file| file.len() == 2 * CONTROL_BLOCK) else {
            continue;
        };
        let slots = control.chunks(CONTROL_BLOCK).map(|block| &block[..SLOT_BYTES]);
        let compact: Vec<u8> = slots.flatten().copied().collect();
        for how in [COMPACT, COMPACT | MEND[0], COMPACT | MEND[0] | MEND[1]] {
            let seed = [&[how][..], &compact].concat();
            // Each field's lowest and highest byte.
            let fields = (0..SLOT_BYTES).filter(|byte| byte % 8 == 0 || byte % 8 == 7);
            seeds.extend(spoiled(&seed, fields.map(|byte| byte + 1)));
        }
        seeds.push([&[0][..], control].concat());
        // Another version, and counters without a next, in both slots.
        for (at, bytes) in [(8, 2_u64), (48, u64::MAX / 2), (56, u64::MAX / 2)] {
            let mut seed = [&[COMPACT | MEND[0] | MEND[1]][..], &compact].concat();
            for slot in seed[1..].chunks_mut(SLOT_BYTES) {
                slot[at..at + 8].copy_from_slice(&bytes.to_le_bytes());
            }
            seeds.push(seed);
        }
    }
    seeds.sort();
    seeds.dedup();
    seeds
}
