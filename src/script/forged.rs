//! `log`: a record written by hand, as a line says it.

use super::arguments::{Arguments, page};
use super::syntax::SyntaxError;
use crate::ids::PageId;
use crate::tables::TransactionState;

/// A log record written by hand. Records are meant by number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forged {
    /// `update`: the transaction changes its own record on the page.
    Update(String, PageId),
    /// `clr`: the transaction's latest update that is not compensated is undone.
    Compensation(String, PageId, Option<usize>),
    /// `free`: the transaction frees a page.
    Free(String, PageId),
    /// `freed`: after its commit the page is free.
    Freed(String, PageId),
    /// `commit`.
    Commit(String),
    /// `rollback`.
    Rollback(String),
    /// `end`.
    End(String),
    /// `begin_checkpoint`.
    BeginCheckpoint,
    /// `end_checkpoint`: after which the master record points at the checkpoint.
    EndCheckpoint {
        /// Number of the begin record.
        begin: usize,
        /// The dirty page table.
        dirty: Vec<(PageId, usize)>,
        /// The transaction table: state, first, last and next record to undo.
        txns: Vec<ForgedEntry>,
    },
}

/// A line of a transaction table written by hand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForgedEntry {
    /// The transaction.
    pub txn: String,
    /// Where it stands.
    pub state: TransactionState,
    /// Number of its latest record.
    pub last: Option<usize>,
    /// Number of the next record to undo.
    pub undo_next: Option<usize>,
}

/// What kinds there are.
const KINDS: [&str; 9] = [
    "update",
    "clr",
    "free",
    "freed",
    "commit",
    "rollback",
    "end",
    "begin_checkpoint",
    "end_checkpoint",
];

/// Reads what stands behind `log`.
pub fn parse(rest: &mut Arguments<'_>) -> Result<Forged, SyntaxError> {
    let what = format!("a kind of record: {}", KINDS.join(", "));
    let kind = rest.choice(&what, &KINDS.map(|kind| (kind, kind)))?;
    if kind == "begin_checkpoint" {
        return Ok(Forged::BeginCheckpoint);
    }
    if kind == "end_checkpoint" {
        let begin = rest.number("begin")?;
        let dirty = rest.list("dirty", "a list such as P1:0,P2:4", |part| {
            let (at, number) = part.split_once(':')?;
            Some((page(at)?, number.parse().ok()?))
        })?;
        let txns = rest.list("txns", "a list such as T1:active:3:2,T2:committing:5:nil", entry)?;
        return Ok(Forged::EndCheckpoint { begin, dirty, txns });
    }
    let txn = rest.text("a transaction")?;
    Ok(match kind {
        "update" => Forged::Update(txn, rest.page()?),
        "clr" => Forged::Compensation(txn, rest.page()?, rest.optional_number("undo_next")?),
        "free" => Forged::Free(txn, rest.page()?),
        "freed" => Forged::Freed(txn, rest.page()?),
        "commit" => Forged::Commit(txn),
        "rollback" => Forged::Rollback(txn),
        _ => Forged::End(txn),
    })
}

/// `T1:active:3:2`: state, number of the latest record, of the next to undo; the last two may be left out.
fn entry(part: &str) -> Option<ForgedEntry> {
    let mut fields = part.split(':');
    let txn = fields.next()?.to_owned();
    let state = match fields.next()? {
        "active" => TransactionState::Active,
        "prepared" => TransactionState::Prepared,
        "rolling_back" => TransactionState::RollingBack,
        "committing" => TransactionState::Committing,
        _ => return None,
    };
    let mut number = || match fields.next() {
        None | Some("nil") => Some(None),
        Some(text) => text.parse().ok().map(Some),
    };
    let (last, undo_next) = (number()?, number()?);
    fields.next().is_none().then_some(ForgedEntry { txn, state, last, undo_next })
}
