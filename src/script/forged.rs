//! `log`: a record written by hand, as a line says it.

use super::arguments::{Arguments, page};
use super::statement::{Forged, ForgedEntry};
use super::syntax::SyntaxError;
use crate::tables::TransactionState;

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
