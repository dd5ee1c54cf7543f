//! Inputs that are nearly right: made of right ones, the same each time.

/// The generator xorshift64*.
pub struct Random(u64);

impl Random {
    /// One whose numbers follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`, or 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// `bytes`, and what becomes of them if they are cut, and if a byte of them is another.
pub fn spoiled(bytes: &[u8], bytes_to_spoil: impl Iterator<Item = usize>) -> Vec<Vec<u8>> {
    let cuts = [0, 1, bytes.len() / 2, bytes.len().saturating_sub(1), bytes.len()];
    let mut all: Vec<Vec<u8>> = cuts.iter().map(|cut| bytes[..*cut].to_vec()).collect();
    for at in bytes_to_spoil.take_while(|at| *at < bytes.len()) {
        for other in [0, bytes[at].wrapping_add(1), 0xFF] {
            let mut spoiled = bytes.to_vec();
            spoiled[at] = other;
            all.push(spoiled);
        }
    }
    all.sort();
    all.dedup();
    all
}
