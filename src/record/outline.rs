//! What a record that changes a page says besides the change itself.
//!
//! Analysis reads every record, and of nearly all of them it needs only this: whose, which page, and
//! where undo goes on. The operations are read by those who apply them, redo and undo.

use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U64;

use super::TransactionLink;
use super::layout::*;
use crate::ids::{Lsn, PageId, TxnId};

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
    let sound = link.is_none() == (header.kind == PAGE_IMAGE)
        && before(prev_lsn)
        && before(Lsn::new(page.prev_page_lsn.get()))
        && (header.kind == UPDATE || before(undo_next_lsn));
    sound.then_some(ChangeOutline { link, page: PageId(page.page.get()), undo_next_lsn })
}
