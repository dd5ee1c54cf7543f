//! Which pages are free: the layout of space map pages, without any policy.
//!
//! ```text
//!  K = (page_size - 40) / 8 entries           59 for pages of 512 bytes, 8187 for 65 536
//!
//!  page id:  0      1   2   …   K-1    K      K+1  …   2K-1    2K  …
//!            map    data pages         map    data pages       map
//!
//!  map page m:  header | entry 0 (m itself) | entry 1 (page m+1) | … | entry K-1 (page m+K-1)
//!
//!  entry, u64:  0 Free | 1 Used | 2 invalid | 2 + t: being freed by transaction t | 2^63 + p: see below
//! ```
//!
//! - A page's entry is found by arithmetic alone ([`locate`]), for any page id without overflow.
//! - Entry 0 is always [`Used`](PageState::Used), so the map is never allocated. Only that of page 0 becomes something else once
//!   there is a table: it says where the [catalog](PageState::Catalog) is.
//! - An entry is a word of its own. Undoing one never touches a neighbour, which another
//!   transaction may have changed meanwhile; with a bit map, undo by bytes would.
//! - Freeing has two steps: `FreePending` until the transaction has ended, so that a page it may
//!   still want back is not given to another; only `Free` pages are allocated.

use std::fmt;

use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use super::fault::{OpFault, PageFault};
use super::header::{HEADER_SIZE, PageKind, check_kind, kind, page_id};
use crate::ids::{PageId, TxnId};

const ENTRY_SIZE: usize = 8;
const FREE: u64 = 0;
const USED: u64 = 1;
/// A transaction's number is stored with this added.
const PENDING: u64 = 2;
/// The catalog's page is stored with this added.
const CATALOG: u64 = 1 << 63;

/// Whether a page is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageState {
    /// May be allocated.
    Free,
    /// Allocated.
    Used,
    /// Freed by a transaction that has not ended.
    FreePending(TxnId),
    /// Used, being page 0; and the root of the catalog of tables is this page.
    Catalog(PageId),
}

impl PageState {
    /// The number that stands for it; `None` for numbers of transactions and pages that are too large.
    #[must_use]
    pub const fn to_stored(self) -> Option<u64> {
        match self {
            Self::Free => Some(FREE),
            Self::Used => Some(USED),
            Self::FreePending(txn) if txn.get() < CATALOG - PENDING => Some(txn.get() + PENDING),
            Self::Catalog(page) if page.0 < CATALOG => Some(page.0 + CATALOG),
            Self::FreePending(_) | Self::Catalog(_) => None,
        }
    }

    /// The state a number stands for; 2 stands for none.
    #[must_use]
    pub const fn from_stored(number: u64) -> Option<Self> {
        match number {
            FREE => Some(Self::Free),
            USED => Some(Self::Used),
            CATALOG.. => Some(Self::Catalog(PageId(number - CATALOG))),
            _ => match TxnId::new(number - PENDING) {
                Some(txn) => Some(Self::FreePending(txn)),
                None => None,
            },
        }
    }
}

impl fmt::Display for PageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("free"),
            Self::Used => f.write_str("used"),
            Self::FreePending(txn) => write!(f, "being freed by {txn}"),
            Self::Catalog(page) => write!(f, "used, and the catalog is {page}"),
        }
    }
}

/// Entries of a space map page of `page_size` bytes: also the distance between two such pages.
///
/// # Panics
/// If `page_size` is not legal.
#[must_use]
pub fn entries_per_page(page_size: usize) -> u16 {
    assert!(super::is_legal_size(page_size), "a page of {page_size} bytes");
    let entries = (page_size - HEADER_SIZE) / ENTRY_SIZE;
    u16::try_from(entries).expect("a page has at most 65536 bytes")
}

/// The space map page that has the entry of `page`, and the entry's number in it.
#[must_use]
pub fn locate(page: PageId, page_size: usize) -> (PageId, u16) {
    let entry = page.0 % u64::from(entries_per_page(page_size));
    let map = PageId(page.0 - entry);
    (map, u16::try_from(entry).expect("less than the u16 it was divided by"))
}

/// Whether a space map page stands at `page`.
#[must_use]
pub fn is_map_page(page: PageId, page_size: usize) -> bool {
    locate(page, page_size).1 == 0
}

/// The state in entry `entry`; `None` if the page is no space map page, has no such entry, or the
/// entry is damaged.
#[must_use]
pub fn state(page: &[u8], entry: u16) -> Option<PageState> {
    if kind(page) != Some(PageKind::SpaceMap) {
        return None;
    }
    let stored = page.get(offset(entry)..)?;
    let (stored, _) = U64::ref_from_prefix(stored).ok()?;
    PageState::from_stored(stored.get())
}

fn offset(entry: u16) -> usize {
    HEADER_SIZE + ENTRY_SIZE * usize::from(entry)
}

/// Whether the state can be that of this entry: entry 0 is the map itself, and that of page 0 may say where the catalog is.
pub(super) fn may_stand(page: &[u8], entry: u16, state: PageState) -> bool {
    match state {
        PageState::Used => true,
        PageState::Free | PageState::FreePending(_) => entry != 0,
        PageState::Catalog(_) => entry == 0 && page_id(page) == PageId(0),
    }
}

/// Whether entry `entry` can be set to `new`.
pub(super) fn check_set_state(page: &[u8], entry: u16, new: PageState) -> Result<(), OpFault> {
    check_kind(page, PageKind::SpaceMap)?;
    let entries = entries_per_page(page.len());
    if entry >= entries {
        return Err(OpFault::NoSuchEntry { entry, entries });
    }
    if !may_stand(page, entry, new) {
        return Err(OpFault::OwnEntry);
    }
    if let (PageState::FreePending(txn), None) = (new, new.to_stored()) {
        return Err(OpFault::TxnIdTooLarge(txn));
    }
    // Undo needs the old state.
    let old = state(page, entry);
    old.map(drop).ok_or_else(|| {
        PageFault::new(format!("a page state in entry {entry}"), "a number that is none").into()
    })
}

/// Sets an entry; [`check_set_state`] has passed, or the page is being made.
pub(super) fn set_state(page: &mut [u8], entry: u16, state: PageState) {
    let number = state.to_stored().expect("checked before the page is changed");
    let (stored, _) = U64::mut_from_prefix(&mut page[offset(entry)..])
        .expect("checked before the page is changed");
    stored.set(number);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_fill_the_page() {
        for (page_size, entries) in [(512, 59), (4096, 507), (8192, 1019), (65_536, 8187)] {
            assert_eq!(entries_per_page(page_size), entries);
            assert_eq!(offset(entries), page_size, "no byte is left over");
        }
    }

    #[test]
    fn map_pages_stand_at_multiples() {
        let maps: Vec<_> = (0..200).filter(|page| is_map_page(PageId(*page), 512)).collect();
        assert_eq!(maps, [0, 59, 118, 177]);
        assert_eq!(locate(PageId(58), 512), (PageId(0), 58));
        assert_eq!(locate(PageId(61), 512), (PageId(59), 2));
    }

    #[test]
    fn stored_states() {
        let t = |id| TxnId::new(id).unwrap();
        let states = [PageState::Free, PageState::Used, PageState::FreePending(t(1))];
        assert_eq!(states.map(PageState::to_stored), [Some(0), Some(1), Some(3)]);
        assert_eq!(PageState::from_stored(2), None);
        assert_eq!(PageState::FreePending(t(CATALOG - 2)).to_stored(), None);
        assert_eq!(PageState::FreePending(t(CATALOG - 3)).to_stored(), Some(CATALOG - 1));
        assert_eq!(PageState::from_stored(CATALOG + 7), Some(PageState::Catalog(PageId(7))));
        assert_eq!(PageState::Catalog(PageId(CATALOG)).to_stored(), None);
    }

    proptest! {
        #[test]
        fn every_page_has_one_entry(page in any::<u64>(), power in 9_u32..=16) {
            let page_size = 1_usize << power;
            let (map, entry) = locate(PageId(page), page_size);
            prop_assert_eq!(map.0 + u64::from(entry), page);
            prop_assert!(entry < entries_per_page(page_size));
            prop_assert!(is_map_page(map, page_size));
            prop_assert_eq!(is_map_page(PageId(page), page_size), entry == 0);
        }

        #[test]
        fn a_stored_state_reads_back(number in prop_oneof![0..10_u64, any::<u64>()]) {
            if let Some(state) = PageState::from_stored(number) {
                prop_assert_eq!(state.to_stored(), Some(number));
            } else {
                prop_assert_eq!(number, 2);
            }
        }
    }
}
