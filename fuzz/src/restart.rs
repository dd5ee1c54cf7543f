//! A whole directory of arbitrary bytes: it opens or is refused, and what opens can be worked with.
//!
//! The first byte says how it is opened. Then follow pieces of files: which file (1), where in it (3), how
//! many bytes (2), the bytes. A file is as long as one of the kind must be, or as its last piece
//! reaches; a piece at the highest offset cuts the file instead.

use arbitrary::Unstructured;

use crate::databases;
use crate::images::{Image, disk_of};
use crate::opened::survive;
use crate::spoil::Random;

/// The names, each with the length of such a file.
const FILES: [(&str, usize); 12] = [
    ("control", 8192),
    ("pages", 16 * 512),
    ("doublewrite", 4096 + 64 * 512),
    ("log/0000000000000001.seg", 65536),
    ("log/0000000000000002.seg", 65536),
    ("log/0000000000000003.seg", 65536),
    ("log/0000000000000004.seg", 65536),
    ("log/0000000000000005.seg", 65536),
    ("log/0000000000000006.seg", 65536),
    ("creating", 0),
    ("distrust", 0),
    ("stranger", 0),
];
/// Longer files are cut.
const MOST_BYTES: usize = 1 << 18;
const CUT: usize = (1 << 24) - 1;

fn put(image: &mut Image, u: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let (name, length) = FILES[usize::from(u.arbitrary::<u8>()?) % FILES.len()];
    let file = image.entry(name.to_owned()).or_insert_with(|| vec![0; length]);
    let [low, middle, high] = u.arbitrary::<[u8; 3]>()?;
    let at = u32::from_le_bytes([low, middle, high, 0]) as usize;
    let length = usize::from(u.arbitrary::<u16>()?);
    if at == CUT {
        file.truncate(length);
        return Ok(());
    }
    let bytes = u.bytes(length.min(u.len()))?;
    let at = at % MOST_BYTES;
    file.resize(file.len().max(at + bytes.len()), 0);
    file[at..at + bytes.len()].copy_from_slice(bytes);
    Ok(())
}

pub fn run(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let how = u.arbitrary().unwrap_or(0);
    let mut image = Image::new();
    while !u.is_empty() && put(&mut image, &mut u).is_ok() {}
    survive(&disk_of(&image), how);
}

/// The pieces of a directory that are not zeros.
fn pieces(how: u8, image: &Image) -> Option<Vec<u8>> {
    let mut pieces = vec![how];
    for (name, bytes) in image {
        let file = FILES.iter().position(|(other, _)| other == name)?;
        let head = |at: usize, length: usize| {
            let [low, middle, high, _] = u32::try_from(at).unwrap().to_le_bytes();
            let [short, long] = u16::try_from(length).unwrap().to_le_bytes();
            [file as u8, low, middle, high, short, long]
        };
        let mut at = 0;
        pieces.extend(head(0, 0));
        while let Some(from) = bytes[at..].iter().position(|byte| *byte != 0).map(|gap| at + gap) {
            // Up to where a longer run of zeros begins.
            let zeros = bytes[from..].windows(24).position(|window| window == [0; 24]);
            let to = zeros.map_or(bytes.len(), |zeros| from + zeros).min(from + 60_000);
            pieces.extend(head(from, to - from));
            pieces.extend(&bytes[from..to]);
            at = to;
        }
        if bytes.len() < FILES[file].1 {
            pieces.extend(head(CUT, bytes.len()));
        }
    }
    Some(pieces)
}

/// The databases, opened in all ways, and spoiled.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (_, image) in databases::all() {
        let Some(whole) = pieces(0, &image) else { continue };
        seeds.extend([1, 4, 6, 16, 24, 31].map(|how| [&[how], &whole[1..]].concat()));
        let mut random = Random::new(seeds.len() as u64);
        for missing in image.keys() {
            let mut image = image.clone();
            image.remove(missing);
            seeds.extend(pieces(0, &image));
        }
        for _ in 0..20 {
            let mut spoiled = whole.clone();
            let at = random.below(spoiled.len());
            spoiled[at] = random.next() as u8;
            seeds.push(spoiled);
        }
        seeds.push(whole);
    }
    seeds
}
