//! Structure changes: several pages changed by one redo-only record.
//!
//! ```text
//!   latched exclusively:   parent      node        new page     space map
//!                            |           |            |             |
//!   one record:            insert      truncate     image        page is used
//! ```
//!
//! Because it is one record, it is in the log or it is not: no crash leaves half of it, and no undo ever meets a tree
//! that is not sound. It is not undone when its transaction rolls back, so others may rely on it at once.
//!
//! Source: ARIES, section 9 (nested top actions; here one of a single record needs no dummy compensation record).

use super::{Transaction, UndoNext};
use crate::buffer::PageWrite;
use crate::config::Sabotage;
use crate::error::Result;
use crate::ids::Lsn;
use crate::page::{self, PageKind, PageOp};
use crate::record::{
    LogRecord, MOST_CHANGES, PageChange, StructureChange, max_record_bytes, structure_change_bytes,
};
use crate::sync::Arc;

impl Transaction {
    /// Reserves log for a structure change, whatever it changes. Without a latch held.
    ///
    /// # Errors
    /// [`crate::Error::DiskFull`]; the transaction can go on, commit, or roll back.
    pub fn prepare_structure_change(&mut self) -> Result<()> {
        let log = Arc::clone(self.manager.log());
        self.reserve(log.price(max_record_bytes(self.manager.pool().page_size())))
    }

    /// Changes several pages, each of them once, in one record that is never undone.
    /// [`Transaction::prepare_structure_change`] comes first, before they are latched.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] when a page does not admit its change; final errors. Nothing is changed then.
    ///
    /// # Panics
    /// If a page is there twice, or the record would be too long.
    pub fn change_structure(
        &mut self,
        changes: &mut [(&mut PageWrite<'_>, PageOp<'_>)],
    ) -> Result<Lsn> {
        if let Some(first) = self.broken_in_two(changes) {
            let (first, second) = changes.split_at_mut(first);
            self.change_structure_at_once(first)?;
            return self.change_structure_at_once(second);
        }
        self.change_structure_at_once(changes)
    }

    /// How many of the changes go into a record of their own. Only a broken rule asks for it.
    fn broken_in_two(&self, changes: &mut [(&mut PageWrite<'_>, PageOp<'_>)]) -> Option<usize> {
        let is_map = |(page, _): &(&mut PageWrite<'_>, PageOp<'_>)| {
            page::kind(page.bytes()) == Some(PageKind::SpaceMap)
        };
        let log = self.manager.log();
        if log.breaks(Sabotage::AllocationOutsideSplit) {
            changes.sort_by_key(|change| !is_map(change));
            return changes.iter().position(|change| !is_map(change)).filter(|maps| *maps > 0);
        }
        (log.breaks(Sabotage::SplitInTwoRecords) && changes.len() > 1).then_some(1)
    }

    fn change_structure_at_once(
        &mut self,
        changes: &mut [(&mut PageWrite<'_>, PageOp<'_>)],
    ) -> Result<Lsn> {
        changes.sort_by_key(|(page, _)| page.page());
        for (page, op) in changes.iter_mut() {
            self.check_op(page, op)?;
            self.log_image(page, op)?;
        }
        let logged = changes.iter().map(|(page, op)| {
            let (page, prev_page_lsn) = (page.page(), page.page_lsn());
            PageChange { page, prev_page_lsn, op: *op }
        });
        let logged: Vec<PageChange<'_>> = logged.collect();
        let bytes: usize = logged.iter().map(|change| change.op.encoded_len()).sum();
        let most = max_record_bytes(self.manager.pool().page_size());
        assert!(logged.len() <= MOST_CHANGES, "few enough pages");
        assert!(structure_change_bytes(logged.len()) + bytes <= most, "a record that fits");
        let record = StructureChange { link: self.link(), changes: logged };
        self.encoded.set(&LogRecord::StructureChange(record));
        let bound = self.manager.log().end_lsn();
        changes.iter_mut().for_each(|(page, _)| page.publish_rec_lsn(bound));
        let lsn = self.append(UndoNext::ThisRecord, None)?;
        for (page, op) in changes.iter_mut() {
            page.redo(op, lsn).expect("checked before it was logged");
        }
        let first = changes.first().map(|(page, _)| page.page());
        self.told(lsn, "StructureChange", first);
        Ok(lsn)
    }
}
