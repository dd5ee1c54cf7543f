//! The two halves of a record that changes a page: the change, and all the rest.
//!
//! Restart reads every record, each phase only what it needs. Analysis needs to know whose it is, which
//! page, and where undo goes on ([`outline`]); redo, what to do to the page ([`change`]); undo decodes
//! the whole record.

use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U64;

use super::decode::RecordFault;
use super::layout::*;
use super::{PageChange, TransactionLink};
use crate::ids::{Lsn, PageId, TxnId};
use crate::page::PageOp;

/// Of a record that changes a page, all but the change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChangeOutline {
    /// Whose it is; `None` for a page image.
    pub link: Option<TransactionLink>,
    /// The page.
    pub page: PageId,
    /// What undo of the transaction looks at next, were this its last record: an update itself, behind a
    /// compensation what that says.
    pub undo_next_lsn: Option<Lsn>,
}

/// The outline of the record at `lsn`, exactly its bytes, if it is one that changes a page. `None`
/// also for one that no engine would write; decoding it tells why.
#[must_use]
pub fn outline(bytes: &[u8], lsn: Lsn) -> Option<ChangeOutline> {
    let (header, body) = Header::ref_from_prefix(bytes).ok()?;
    let (page, rest) = PageBody::ref_from_prefix(body).ok()?;
    let undo_next_lsn = match header.kind {
        UPDATE => Some(lsn),
        COMPENSATION => Lsn::new(U64::ref_from_prefix(rest).ok()?.0.get()),
        PAGE_IMAGE => None,
        _ => return None,
    };
    let prev_lsn = Lsn::new(header.prev_lsn.get());
    let link = TxnId::new(header.txn.get()).map(|txn| TransactionLink { txn, prev_lsn });
    let before = |target: Option<Lsn>| target < Some(lsn);
    let sound = header.reserved == [0; 3]
        && link.is_none() == (header.kind == PAGE_IMAGE)
        && (link.is_some() || prev_lsn.is_none())
        && before(prev_lsn)
        && before(Lsn::new(page.prev_page_lsn.get()))
        && (header.kind == UPDATE || before(undo_next_lsn));
    sound.then_some(ChangeOutline { link, page: PageId(page.page.get()), undo_next_lsn })
}

/// The change that the record makes, exactly its bytes. What stands behind it, how to undo it, is not
/// looked at.
///
/// # Errors
/// A [`RecordFault`] for a record that changes no page, or says what no record can.
#[inline]
pub fn change(bytes: &[u8]) -> Result<PageChange<'_>, RecordFault> {
    let kind = Header::ref_from_prefix(bytes).ok().map(|(header, _)| header.kind);
    let before = match kind {
        Some(UPDATE | PAGE_IMAGE) => HEADER_BYTES + size_of::<PageBody>(),
        Some(COMPENSATION) => COMPENSATION_FIELDS_BYTES,
        _ => return Err(RecordFault::new("a record that changes no page")),
    };
    let Some((fields, op)) = bytes.split_at_checked(before) else {
        return Err(RecordFault::new("the record is too short for its kind"));
    };
    let (page, _) = PageBody::ref_from_prefix(&fields[HEADER_BYTES..]).expect("long enough");
    let (op, _) = PageOp::decode(op).map_err(RecordFault::new)?;
    let prev_page_lsn = Lsn::new(page.prev_page_lsn.get());
    Ok(PageChange { page: PageId(page.page.get()), prev_page_lsn, op })
}
