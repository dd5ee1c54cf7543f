//! The two halves of a record that changes a page: the change, and all the rest.
//!
//! Restart reads every record, each phase only what it needs. Analysis needs to know whose it is, which
//! page, and where undo goes on ([`outline`]); redo, what to do to the page ([`change`]); undo decodes
//! the whole record.

use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::{U16, U64};

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

/// Where in a record a change of a page stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChangeAt {
    /// The page.
    pub page: PageId,
    /// Where its fields begin, in bytes from the start of the record.
    fields: usize,
    /// How many bytes there are of them.
    before_op: usize,
}

/// Tells which pages the record changes, exactly its bytes, and where it says how. What no engine would write ends
/// it early; decoding it tells why.
#[inline]
pub fn changes_at(bytes: &[u8], mut tell: impl FnMut(ChangeAt)) {
    let Ok((header, body)) = Header::ref_from_prefix(bytes) else { return };
    let before_op = match header.kind {
        UPDATE | PAGE_IMAGE => size_of::<PageBody>(),
        COMPENSATION => COMPENSATION_FIELDS_BYTES - HEADER_BYTES,
        STRUCTURE_CHANGE => return several_at(body, tell),
        _ => return,
    };
    if let Ok((on, _)) = PageBody::ref_from_prefix(body) {
        let (page, fields) = (PageId(on.page.get()), HEADER_BYTES);
        tell(ChangeAt { page, fields, before_op });
    }
}

fn several_at(body: &[u8], mut tell: impl FnMut(ChangeAt)) {
    let Ok((count, mut rest)) = U16::ref_from_prefix(body) else { return };
    let mut fields = HEADER_BYTES + size_of::<U16>();
    for _ in 0..count.get() {
        let Ok((several, ops)) = SeveralBody::ref_from_prefix(rest) else { return };
        let op_bytes = several.op_bytes.get() as usize;
        let Some(behind) = ops.get(op_bytes..) else { return };
        let (page, before_op) = (PageId(several.on.page.get()), size_of::<SeveralBody>());
        tell(ChangeAt { page, fields, before_op });
        fields += size_of::<SeveralBody>() + op_bytes;
        rest = behind;
    }
}

/// The change that stands there in a record, exactly its bytes. What stands behind it, how to undo it, is not
/// looked at.
///
/// # Errors
/// A [`RecordFault`] for what no record can say.
#[inline]
pub fn change(bytes: &[u8], at: ChangeAt) -> Result<PageChange<'_>, RecordFault> {
    let too_short = || RecordFault::new("the record is too short for its kind");
    let fields = bytes.get(at.fields..).ok_or_else(too_short)?;
    let op = fields.get(at.before_op..).ok_or_else(too_short)?;
    let (on, _) = PageBody::ref_from_prefix(fields).map_err(|_| too_short())?;
    let (op, _) = PageOp::decode(op).map_err(RecordFault::new)?;
    let prev_page_lsn = Lsn::new(on.prev_page_lsn.get());
    Ok(PageChange { page: PageId(on.page.get()), prev_page_lsn, op })
}
