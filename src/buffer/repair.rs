//! Self-repair: a page that is damaged on disk is rebuilt from the retained log.
//!
//! ```text
//!   retained log:   … update | image of P | update of P | … | update of P | … durable end
//!                              ^ P begins anew  ^ applied        ^ applied: P as it must be
//! ```
//!
//! One scan rebuilds any number of pages. It begins at the oldest record that is still there: for a page
//! that is clean on disk, nothing tells where its last image stands.
//!
//! Invariants:
//! - a page begins with a record that makes it anew (`Format`, an image), or with the first change of its
//!   life, which is made on the page that the file grew by (`prev_page_lsn` nil);
//! - every other record is applied only to the version of the page that it was made on; where the chain
//!   breaks, the page is given up until a record makes it anew;
//! - what is rebuilt is the newest version: a page that is not in the pool has no change that is not durable in
//!   the log, and the log is read to its durable end;
//! - a page stamped at or beyond the end of the log is never rebuilt: it bears witness that the *log* has lost
//!   its end, and repair would hide that;
//! - a page that the log cannot rebuild is not tried again: nothing can log a beginning of it as long as it
//!   cannot be read;
//! - a rebuilt page is written in place at once, through the double-write file where that is in use, so
//!   it is clean: nothing needs the log that it was rebuilt from any more.
//!
//! Locks: the page that is read is latched, which is allowed to whoever takes the writer's mutex; the log's
//! `preparing` is taken and released before.
//!
//! Source: ARIES, section 8: media recovery of single pages, from a copy and the log.

use std::collections::BTreeMap;

use super::BufferPool;
use super::double_write::{BATCH_PAGES, Image};
use super::write::Copied;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::ids::{Lsn, PageId};
use crate::log::Log;
use crate::page;
use crate::record::PageChange;
use crate::sync::Ordering;

/// Pages that cannot be rebuilt, remembered at most.
const MOST_REMEMBERED: usize = 4096;
/// Memory that one scan may take for rebuilt pages (bytes).
const PORTION_BYTES: usize = 16 * 1024 * 1024;

/// A page as the log makes it.
struct Rebuilt {
    /// The record that it begins with.
    from: Lsn,
    bytes: Vec<u8>,
}

/// Pages that are being rebuilt; `None` as long as no record has made them anew.
type Pages = BTreeMap<PageId, Option<Rebuilt>>;

/// Rebuilds pages in one scan of the retained log. What is left `None` cannot be rebuilt.
fn rebuild(log: &Log, page_size: usize, wanted: &[PageId]) -> Result<Pages> {
    let mut pages: Pages = wanted.iter().map(|page| (*page, None)).collect();
    log.scan_retained(|lsn, record| {
        record.page_changes().for_each(|change| apply(&mut pages, page_size, lsn, &change));
    })?;
    Ok(pages)
}

fn apply(pages: &mut Pages, page_size: usize, lsn: Lsn, change: &PageChange<'_>) {
    let PageChange { page, prev_page_lsn, op } = *change;
    let Some(rebuilt) = pages.get_mut(&page) else { return };
    if op.starts_anew() || prev_page_lsn.is_none() {
        *rebuilt = Some(Rebuilt { from: lsn, bytes: page::initial(page, page_size) });
    } else if let Some(known) = rebuilt
        && page::page_lsn(&known.bytes) != prev_page_lsn
    {
        *rebuilt = None; // The chain breaks.
    }
    if let Some(Rebuilt { bytes, .. }) = rebuilt {
        match op.apply(bytes) {
            Ok(()) => page::set_page_lsn(bytes, lsn),
            Err(_) => *rebuilt = None,
        }
    }
}

impl BufferPool {
    /// From here on a page that is found damaged when it is read is rebuilt at once. Before, restart
    /// rebuilds those that it meets together ([`BufferPool::rebuild_pages`]).
    pub fn begin_repairs(&self) {
        self.repairs.store(true, Ordering::Release);
    }

    /// Reads a page; one that is damaged is rebuilt, if the log reaches back far enough. With the page
    /// latched exclusively.
    pub(super) fn read_or_repair(&self, page: PageId, bytes: &mut [u8]) -> Result<()> {
        match self.file.read(page, bytes) {
            Err(damage @ Error::Corrupt { .. })
                if self.repairs.load(Ordering::Acquire)
                    && page.0 < self.pages()
                    && !self.beyond_repair.lock().contains(&page)
                    && self.log.poison().check().is_ok() =>
            {
                self.repair(page, bytes, damage)
            }
            other => other,
        }
    }

    fn repair(&self, page: PageId, bytes: &mut [u8], damage: Error) -> Result<()> {
        let mut pages = match rebuild(&self.log, self.page_size(), &[page]) {
            Err(Error::Corrupt { .. }) => return Err(damage), // The log is of no help.
            pages => pages?,
        };
        self.write_back(&mut pages)?;
        match pages.remove(&page).flatten() {
            None => {
                let mut beyond_repair = self.beyond_repair.lock();
                if beyond_repair.len() < MOST_REMEMBERED {
                    beyond_repair.insert(page);
                }
                Err(damage)
            }
            Some(rebuilt) => {
                bytes.copy_from_slice(&rebuilt.bytes);
                Ok(())
            }
        }
    }

    /// Rebuilds pages that redo found damaged or too old, on disk and in the pool; gives those that
    /// the log cannot rebuild. Nobody else uses the pool yet.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the log is damaged; final errors.
    pub fn rebuild_pages(&self, pages: &[PageId]) -> Result<Vec<PageId>> {
        let mut left = Vec::new();
        for portion in pages.chunks(PORTION_BYTES / self.page_size()) {
            let (mut wanted, mut bytes) = (portion.to_vec(), vec![0; self.page_size()]);
            wanted.retain(|page| page.0 < self.pages() && !self.is_above_log(*page, &mut bytes));
            let mut rebuilt = rebuild(&self.log, self.page_size(), &wanted)?;
            self.write_back(&mut rebuilt)?;
            for page in portion {
                match rebuilt.remove(page).flatten() {
                    Some(rebuilt) => self.replace(*page, &rebuilt.bytes),
                    None => left.push(*page),
                }
            }
        }
        Ok(left)
    }

    /// Whether the page is whole and claims a record that the log does not have.
    fn is_above_log(&self, page: PageId, bytes: &mut [u8]) -> bool {
        self.file.read(page, bytes).is_ok() && page::page_lsn(bytes) >= Some(self.log.end_lsn())
    }

    /// Seals what was rebuilt and writes it in place; returns when it is durable there. What is no sound
    /// page after all is taken out.
    fn write_back(&self, pages: &mut Pages) -> Result<()> {
        for (page, slot) in pages.iter_mut() {
            if let Some(rebuilt) = slot {
                page::seal(&mut rebuilt.bytes);
                let sound = page::verify(&rebuilt.bytes, *page).is_ok()
                    && page::check_structure(&rebuilt.bytes).is_ok();
                slot.take_if(|_| !sound);
            }
        }
        let rebuilt: Vec<(PageId, &Rebuilt)> =
            pages.iter().filter_map(|(page, slot)| Some((*page, slot.as_ref()?))).collect();
        for batch in rebuilt.chunks(BATCH_PAGES) {
            let copy = |(page, rebuilt): &(PageId, &Rebuilt)| Copied {
                image: Image { page: *page, bytes: rebuilt.bytes.clone() },
                // The log may be truncated before the write is durable: nobody knows of it.
                imaged: false,
            };
            self.write_now(&batch.iter().map(copy).collect::<Vec<_>>())?;
            for (page, rebuilt) in batch {
                let (page, from, page_lsn) = (*page, rebuilt.from, page::page_lsn(&rebuilt.bytes));
                self.observers.emit(|| Event::PageRepaired { page, from, page_lsn });
            }
        }
        Ok(())
    }

    /// Writes at most a batch of pages that nobody else may be writing; returns when they are durable
    /// in place.
    pub(super) fn write_now(&self, copies: &[Copied]) -> Result<()> {
        let mut writer = self.writer.lock();
        self.log.poison().check()?;
        let durable = self.log.force_all()?;
        self.write_protected(&mut writer, copies, durable)
            .map_err(|error| self.log.poison().stop(error))
    }

    /// Reads a page as it stands on disk, past the pool. One that is bad is read again while nobody
    /// writes: it may have been in the middle of that.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the page on disk is damaged; those of the disk.
    pub fn read_in_place(&self, page: PageId, bytes: &mut [u8]) -> Result<()> {
        if self.file.read(page, bytes).is_err() {
            let _writer = self.writer.lock();
            self.file.read(page, bytes)?;
        }
        self.log.check_page_lsn(page::page_lsn(bytes), || self.place(page))
    }

    /// Makes a page whole on disk that is bad there: writes what is in the pool, or rebuilds it from the
    /// log. Returns when it is durable.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the page cannot be rebuilt; [`Error::OutOfFrames`], final errors.
    pub fn mend(&self, page: PageId) -> Result<()> {
        self.flush_page(page)?;
        let guard = self.fix_read(page)?; // Rebuilt here, if it was not in the pool.
        let mut bytes = vec![0; self.page_size()];
        if self.read_in_place(page, &mut bytes).is_err() {
            bytes.copy_from_slice(guard.bytes());
            page::seal(&mut bytes);
            self.write_now(&[Copied { image: Image { page, bytes }, imaged: false }])?;
        }
        Ok(())
    }

    /// Replaces a page in the pool, if it is there.
    fn replace(&self, page: PageId, bytes: &[u8]) {
        let table = self.table.lock();
        let Some(&index) = table.frames.get(&page) else { return };
        let frame = &self.frames[index];
        frame.fix();
        drop(table);
        let mut contents = frame.latch.write();
        if contents.page == Some(page) {
            contents.bytes.copy_from_slice(bytes);
        }
        drop(contents);
        self.unfix(index);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ids::SlotId;
    use crate::page::{PageKind, PageOp};

    const PAGE: PageId = PageId(3);

    fn lsn(at: u64) -> Lsn {
        Lsn::new(at).unwrap()
    }

    /// Applies changes of page 3, each with its LSN and the page's LSN before; gives what it holds.
    fn rebuilt(changes: &[(u64, Option<u64>, PageOp<'_>)]) -> Option<Vec<u8>> {
        let mut pages: Pages = [(PAGE, None)].into();
        for (at, before, op) in changes {
            for page in [PageId(2), PAGE] {
                let change = PageChange { page, prev_page_lsn: before.map(lsn), op: *op };
                apply(&mut pages, 512, lsn(*at), &change);
            }
        }
        assert_eq!(pages.len(), 1, "other pages are not touched");
        let rebuilt = pages.remove(&PAGE).unwrap()?;
        page::record(&rebuilt.bytes, SlotId(0)).map(<[u8]>::to_vec)
    }

    #[test]
    fn a_page_begins_anew_and_every_other_change_must_follow_the_one_before() {
        let format = PageOp::Format { kind: PageKind::Slotted };
        let insert = |bytes| PageOp::InsertSlot { slot: SlotId(0), bytes };
        let patch = |bytes| PageOp::Patch { slot: SlotId(0), offset: 0, bytes };
        let made = (10, Some(5), format);
        let (a, b) = ((20, Some(10), insert(b"a")), (30, Some(20), patch(b"b")));
        assert_eq!(rebuilt(&[made, a, b]).unwrap(), b"b");
        assert_eq!(rebuilt(&[a, b]), None, "without a beginning");
        assert_eq!(rebuilt(&[made, a, (30, Some(19), patch(b"b"))]), None, "the chain breaks");
        assert_eq!(rebuilt(&[made, b]), None, "a change is missing");
        assert_eq!(rebuilt(&[(10, None, format), a]).unwrap(), b"a");
        let again = [(40, Some(30), format), (50, Some(40), insert(b"c"))];
        assert_eq!(rebuilt(&[b, again[0], again[1]]).unwrap(), b"c", "made anew behind the break");
        assert_eq!(rebuilt(&[made, a, (30, Some(20), insert(b"b"))]), None, "it does not apply");
    }
}
