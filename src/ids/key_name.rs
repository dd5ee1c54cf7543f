//! The name of a key: small, of one size, and the same in every run and on every machine.

use std::fmt;
use std::hash::{Hash, Hasher};

/// Bytes of a key that its name shows, from the first on.
const START: usize = 8;
/// The length of a key that its name does not show whole.
const LONGER: u8 = 9;

/// The name that a key is locked by: a hash of all its bytes, and its first bytes, for people.
///
/// Two keys that have one name (one hash and the same first bytes) merely share a lock. That is
/// harmless: who locks one of them keeps others from both, longer than need be.
///
/// Names stand in prepare records, so the hash is part of the format of the log. It is FNV-1a with 64
/// bits (Fowler, Noll, Vo), and then, because its upper bits depend little on the last bytes, the
/// last step of MurmurHash3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KeyName {
    /// The first bytes, then zeros. It stands first, so that names are sorted as people expect.
    start: [u8; START],
    /// The length of the key, or [`LONGER`].
    length: u8,
    /// Little-endian, so that the whole has no padding: a lock's name is half as large again otherwise.
    hash: [u8; 8],
}

impl KeyName {
    /// Bytes of a name in the log.
    pub const BYTES: usize = size_of::<Self>();

    /// The name of `key`.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let shown = key.len().min(START);
        let mut start = [0; START];
        start[..shown].copy_from_slice(&key[..shown]);
        let length = u8::try_from(key.len()).map_or(LONGER, |length| length.min(LONGER));
        Self { start, length, hash: hash_of(key).to_le_bytes() }
    }

    /// As it stands in the log: the hash, the first bytes and zeros, the length (9 if it is above 8).
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.hash);
        bytes[8..16].copy_from_slice(&self.start);
        bytes[16] = self.length;
        bytes
    }

    /// The name that stands in the log, or `None` if no key has it.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (mut hash, mut start) = ([0; 8], [0; START]);
        hash.copy_from_slice(&bytes[..8]);
        start.copy_from_slice(&bytes[8..16]);
        let name = Self { start, length: bytes[16], hash };
        let is_possible = match name.length {
            0..LONGER => name == Self::of(name.start()),
            LONGER => true,
            _ => false,
        };
        is_possible.then_some(name)
    }

    /// The first bytes of the key.
    fn start(&self) -> &[u8] {
        &self.start[..usize::from(self.length).min(START)]
    }
}

/// Only the hash: it has been mixed already, and whatever is equal has the same.
impl Hash for KeyName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from_le_bytes(self.hash));
    }
}

/// `alice`; `0x00ff` where there is something that cannot be printed; `…` behind what is longer.
impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.start();
        if start.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
            f.write_str(str::from_utf8(start).unwrap_or_default())?;
        } else {
            f.write_str("0x")?;
            start.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        f.write_str(if self.length == LONGER { "…" } else { "" })
    }
}

fn hash_of(key: &[u8]) -> u64 {
    mixed(fnv_1a(key))
}

fn fnv_1a(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_same_everywhere() {
        // The first three of FNV-1a alone are those that its authors publish.
        for (key, fnv, hash) in [
            (&b""[..], 0xcbf2_9ce4_8422_2325, 0xefd0_1f60_ba99_2926),
            (b"a", 0xaf63_dc4c_8601_ec8c, 0x82a2_a958_a9be_ce5b),
            (b"foobar", 0x8594_4171_f739_67e8, 0x2c22_1949_22d1_672b),
            (b"alice in wonderland", 0xcf93_eb11_ee85_f32c, 0x5ba0_b9a8_4e8b_de48),
            (&[0, 0xff], 0x0831_c907_b4ea_2b60, 0xacb6_4f88_d28b_68b8),
        ] {
            assert_eq!((fnv_1a(key), hash_of(key)), (fnv, hash), "{key:?}");
            assert_eq!(KeyName::of(key).to_bytes()[..8], hash.to_le_bytes(), "{key:?}");
        }
    }

    #[test]
    fn people_can_read_them() {
        for (key, shown) in [
            (&b"alice"[..], "alice"),
            (b"12345678", "12345678"),
            (b"123456789", "12345678…"),
            (b"it's \\", "it's \\"),
            (&[0, 0xff], "0x00ff"),
            (&[0, 0xff, 1, 1, 1, 1, 1, 1, 1], "0x00ff010101010101…"),
            ("Jürgen".as_bytes(), "0x4ac3bc7267656e"),
            (b"", ""),
        ] {
            assert_eq!(KeyName::of(key).to_string(), shown);
        }
    }

    #[test]
    fn every_name_comes_back_from_its_bytes() {
        for length in 0..12 {
            for byte in [0, b'x', 0xff] {
                let name = KeyName::of(&vec![byte; length]);
                assert_eq!(KeyName::from_bytes(&name.to_bytes()), Some(name));
            }
        }
    }

    #[test]
    fn bytes_that_no_name_has_are_refused() {
        let sound = KeyName::of(b"alice").to_bytes();
        for (at, byte, what) in [
            (0, 0xff, "another key's hash"),
            (8, b'A', "other first bytes than were hashed"),
            (13, 1, "bytes behind the end of the key"),
            (16, 4, "a length that leaves bytes over"),
            (16, 6, "a length beyond the bytes"),
            (16, 10, "no length"),
        ] {
            let mut bytes = sound;
            bytes[at] = byte;
            assert_eq!(KeyName::from_bytes(&bytes), None, "{what}");
        }
    }
}
