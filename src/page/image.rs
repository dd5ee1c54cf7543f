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
    let mut longest = HEADER_SIZE..HEADER_SIZE;
    let mut start = HEADER_SIZE;
    for run in page[HEADER_SIZE..].split(|byte| *byte != 0) {
        if run.len() > longest.len() {
            longest = start..start + run.len();
        }
        start += run.len() + 1;
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
