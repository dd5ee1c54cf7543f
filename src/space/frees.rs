//! Pages that a transaction freed and that its commit is still to make free: after a crash, and
//! when the commit of a transaction in doubt is decided, only the log knows them.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::ids::{Lsn, PageId};
use crate::log::Log;
use crate::page::{PageOp, PageState};
use crate::record::LogRecord;

/// Follows a transaction's records backwards, from its commit or prepare record, and collects the
/// pages it freed, also those whose freeing it undid before: their state on the space map tells.
///
/// # Errors
/// [`crate::Error::Corrupt`] when a record is not where it should be; those of the disk.
pub fn pending_frees(log: &Log, last_lsn: Option<Lsn>) -> Result<Vec<PageId>> {
    let mut pages = BTreeSet::new();
    let mut next = last_lsn;
    while let Some(lsn) = next {
        let bytes = log.read(lsn)?;
        let record = bytes.record();
        next = record.link().and_then(|link| link.prev_lsn);
        match record {
            LogRecord::Commit(commit) if !commit.frees_pages => return Ok(Vec::new()),
            LogRecord::Prepare(prepare) if !prepare.frees_pages => return Ok(Vec::new()),
            LogRecord::Update(update) => {
                if let PageOp::SetState { entry, state: PageState::FreePending(_) } = update.op {
                    pages.extend(update.page.0.checked_add(entry.into()).map(PageId));
                }
            }
            _ => {}
        }
    }
    Ok(pages.into_iter().collect())
}
