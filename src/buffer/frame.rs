//! One frame of the pool: room for a page, its latch, and how dirty it is.

use crate::ids::{Lsn, PageId};
use crate::sync::{AtomicBool, AtomicU32, Mutex, Ordering, Rule, RwLock, broken};

/// What the latch guards.
#[derive(Default)]
pub struct Contents {
    /// The page that is here; `None` if reading it failed, or none ever was.
    pub page: Option<PageId>,
    /// Its bytes; empty until the frame is used.
    pub bytes: Box<[u8]>,
}

/// How a frame's page differs from its copy on disk.
///
/// ```text
///   clean --change--> dirty --copied for writing--> writing --change--> writing, changed again
///     ^                 ^                             |                   |
///     |                 +------- synced --------------|-------------------+  rec_lsn := next_rec_lsn
///     +---------------------------- synced -----------+                      rec_lsn := nil
/// ```
///
/// Invariants:
/// - `rec_lsn` is nil exactly when the page on disk has, durably, all its changes;
/// - `next_rec_lsn` is nil unless a write is under way;
/// - both are lower bounds from before the change's record has an LSN, so that no checkpoint can
///   miss the page;
/// - `imaged` says that the log holds, at or after `rec_lsn`, a record that makes the page anew;
///   `next_imaged` says the same of `next_rec_lsn`. Since the log is kept from `rec_lsn` on until the
///   page is durable in place, an imaged page may be torn by its write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dirty {
    /// The page these belong to.
    pub page: Option<PageId>,
    /// No record before this needs to be redone on the page.
    pub rec_lsn: Option<Lsn>,
    /// The same for what changed since the bytes were copied for the write under way.
    pub next_rec_lsn: Option<Lsn>,
    /// Whether the log can rebuild the page by itself from `rec_lsn` on.
    pub imaged: bool,
    /// The same from `next_rec_lsn` on.
    pub next_imaged: bool,
    /// Whether a write is under way.
    pub writing: bool,
}

impl Dirty {
    /// A change is about to be logged at `bound` or later.
    pub fn publish(&mut self, bound: Lsn) {
        self.rec_lsn.get_or_insert(bound);
        if self.writing {
            self.next_rec_lsn.get_or_insert(bound);
        }
        self.assert_invariants();
    }

    /// The change published with `bound` was logged at `lsn`.
    pub fn settle(&mut self, bound: Lsn, lsn: Lsn) {
        assert!(bound <= lsn, "what was published is a lower bound");
        for published in [&mut self.rec_lsn, &mut self.next_rec_lsn] {
            if *published == Some(bound) {
                *published = Some(lsn);
            }
        }
        self.assert_invariants();
    }

    /// A record that makes the page anew was published and logged.
    pub fn made_anew(&mut self) {
        self.imaged = true;
        self.next_imaged = self.writing;
        self.assert_invariants();
    }

    /// Whether the log could not rebuild the page as the next change would leave it.
    pub fn lacks_image(&self) -> bool {
        if self.writing { !self.next_imaged } else { !self.imaged }
    }

    /// The bytes are being copied for a write. Gives whether the log can rebuild them.
    pub fn begin_write(&mut self) -> bool {
        assert!(!self.writing, "one write of a page at a time");
        self.writing = true;
        self.next_rec_lsn = None;
        self.next_imaged = false;
        self.imaged
    }

    /// The write is durable: only what changed since the copy is dirty now.
    pub fn end_write(&mut self) {
        assert!(self.writing, "a write was under way");
        self.writing = false;
        if broken(Rule::NextRecLsnCounts) {
            (self.next_rec_lsn, self.next_imaged) = (None, false);
        }
        self.rec_lsn = self.next_rec_lsn.take();
        self.imaged = std::mem::take(&mut self.next_imaged);
        self.assert_invariants();
    }

    fn assert_invariants(&self) {
        assert!(self.writing || self.next_rec_lsn.is_none());
        assert!(self.next_rec_lsn.is_none() || self.rec_lsn <= self.next_rec_lsn);
        assert!(self.rec_lsn.is_some() || !self.imaged);
        assert!(self.next_rec_lsn.is_some() || !self.next_imaged);
    }
}

/// A frame.
#[derive(Default)]
pub struct Frame {
    /// How many have the page fixed. Raised only with the page table locked.
    fixes: AtomicU32,
    /// Whether the page was used since the clock's hand last passed.
    referenced: AtomicBool,
    /// The latch and what it guards. Whoever holds it has the page fixed.
    pub latch: RwLock<Contents>,
    /// How dirty the page is. Taken after the latch, never the other way round.
    pub dirty: Mutex<Dirty>,
}

impl Frame {
    /// Fixes the page: it stays in the frame. Only with the page table locked.
    pub fn fix(&self) {
        self.fixes.fetch_add(1, Ordering::Relaxed);
        if !self.referenced.load(Ordering::Relaxed) {
            self.referenced.store(true, Ordering::Relaxed);
        }
    }

    /// Takes one fix back.
    pub fn unfix(&self) {
        let before = self.fixes.fetch_sub(1, Ordering::Release);
        debug_assert!(before > 0, "fix and unfix come in pairs");
    }

    /// How many have the page fixed.
    pub fn fixes(&self) -> u32 {
        self.fixes.load(Ordering::Acquire)
    }

    /// The clock's hand passes: gives whether the page was used since it last did.
    pub fn take_reference(&self) -> bool {
        self.referenced.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lsn(at: u64) -> Lsn {
        Lsn::new(at).unwrap()
    }

    #[test]
    fn a_change_during_the_write_keeps_the_page_dirty_from_there() {
        let mut dirty = Dirty::default();
        dirty.publish(lsn(100));
        dirty.settle(lsn(100), lsn(120));
        assert_eq!(dirty.rec_lsn, Some(lsn(120)));
        dirty.begin_write();
        dirty.publish(lsn(200));
        assert_eq!(dirty.rec_lsn, Some(lsn(120)), "the write is not durable yet");
        dirty.end_write();
        assert_eq!(dirty.rec_lsn, Some(lsn(200)));
        dirty.settle(lsn(200), lsn(230));
        assert_eq!(dirty.rec_lsn, Some(lsn(230)));
        dirty.begin_write();
        dirty.end_write();
        assert_eq!(dirty.rec_lsn, None);
    }

    #[test]
    fn an_image_counts_from_its_rec_lsn_until_the_next_copy() {
        let mut dirty = Dirty::default();
        assert!(dirty.lacks_image());
        dirty.publish(lsn(110));
        dirty.made_anew();
        assert!(!dirty.lacks_image());
        assert!(dirty.begin_write());
        assert!(dirty.lacks_image(), "what changes now is not in the copy");
        dirty.publish(lsn(200));
        dirty.made_anew();
        assert!(!dirty.lacks_image());
        dirty.end_write();
        assert!(!dirty.lacks_image(), "an image stands at the new rec_lsn, 200");
        assert!(dirty.begin_write());
        dirty.publish(lsn(300));
        dirty.end_write();
        assert!(dirty.lacks_image(), "no image stands at 300");
        assert!(!dirty.begin_write());
        dirty.end_write();
        assert!(dirty.lacks_image());
    }
}
