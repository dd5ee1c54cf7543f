//! Images of whole pages, as the log keeps them: without the longest run of zeros.
//!
//! ```text
//!  0                 head.len()         page_size - tail.len()      page_size
//!  +-----------------+------------------+---------------------------+
//!  | head            | zeros, not kept  | tail                      |
//!  +-----------------+------------------+---------------------------+
//!    checksum, page id and LSN in it are not used
//! ```

use std::ops::Range;

use super::fault::{OpFault, PageFault};
use super::header::{HEADER_SIZE, check_size, header_mut, kind_in};

/// The longest run of zeros behind the header, the first one if there are several; it may be empty.
pub(super) fn longest_gap(page: &[u8]) -> Range<usize> {
    let (mut longest, mut from) = (HEADER_SIZE..HEADER_SIZE, HEADER_SIZE);
    // A run that begins at `from` or later and is longer has a zero there: the longer the longest so far, the more is skipped.
    while let Some(byte) = page.get(from + longest.len()) {
        let at = from + longest.len();
        if *byte != 0 {
            from = at + 1;
            continue;
        }
        let is_not_zero = |byte: &u8| *byte != 0;
        let before = page[from..at].iter().rposition(is_not_zero);
        let start = before.map_or(from, |before| from + before + 1);
        let end = page[at..].iter().position(is_not_zero).map_or(page.len(), |behind| at + behind);
        if end - start > longest.len() {
            longest = start..end;
        }
        from = end + 1;
    }
    longest
}

/// That the image is one of a page of this size: a header of some kind, and not too much behind it.
pub(super) fn check(page: &[u8], head: &[u8], tail: &[u8]) -> Result<(), OpFault> {
    check_size(page)?;
    let room = page.len();
    PageFault::unless(
        head.len() >= HEADER_SIZE && head.len() <= room && tail.len() <= room - head.len(),
        || format!("an image of at least {HEADER_SIZE} and at most {room} bytes"),
        || format!("{} bytes and {}", head.len(), tail.len()),
    )?;
    Ok(kind_in(head).map(drop)?)
}

/// Makes the page what the image says; only its id, its LSN and its old checksum stay.
pub(super) fn put(page: &mut [u8], head: &[u8], tail: &[u8]) {
    let identity = header_mut(page).identity();
    let tail_from = page.len() - tail.len();
    page[..head.len()].copy_from_slice(head);
    page[head.len()..tail_from].fill(0);
    page[tail_from..].copy_from_slice(tail);
    header_mut(page).set_identity(identity);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Byte by byte.
    fn slowly(page: &[u8]) -> Range<usize> {
        let mut longest = HEADER_SIZE..HEADER_SIZE;
        for start in HEADER_SIZE..page.len() {
            let run = page[start..].iter().take_while(|byte| **byte == 0).count();
            if run > longest.len() {
                longest = start..start + run;
            }
        }
        longest
    }

    proptest! {
        #[test]
        fn the_gap_is_the_first_of_the_longest(
            runs in prop::collection::vec((0..9_usize, 1..6_usize), 0..40), last in 0..9_usize,
        ) {
            let mut page = vec![0; HEADER_SIZE];
            for (zeros, others) in runs {
                page.extend(std::iter::repeat_n(0, zeros));
                page.extend(std::iter::repeat_n(7, others));
            }
            page.extend(std::iter::repeat_n(0, last));
            prop_assert_eq!(longest_gap(&page), slowly(&page));
        }
    }
}
