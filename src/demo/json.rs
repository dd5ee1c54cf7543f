//! The outcome as one JSON object.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Outcome, Round};
use crate::event::SkipReason;
use crate::ids::{Lsn, TxnId};
use crate::recovery::RestartReport;

/// What the object holds, for the help.
pub const SHAPE: &str = "\
The JSON object (LSNs are bytes of the log, durations microseconds, nil is null):
  rounds        rounds over each of the two disks, as asked for
  kills         children killed in all
  acknowledged  transfers acknowledged by all children
  lost          of them, those that were not there after restart: must be 0
  unheard       transfers there whose acknowledgement the kill had cut off
  sum_ok        whether all accounts together held the same every time
  ok            whether nothing at all was wrong
  faults        what was wrong, in words
  clients, accounts, seed, deadlocks
  directory     where the database is; null if it was removed
  restart       one object for each kill, in order:
    disk, round, acknowledged, lost, unheard, sum_ok,
    clean, epoch, tail_rewritten, pages_rewritten, pages_torn, checkpoint_lsn, duration,
    analysis { from, end, records, bytes, dirty_pages, losers, committed,
               in_doubt, duration }
    redo     { from, records, bytes, redone, skipped { page_not_dirty, below_rec_lsn,
               page_lsn_not_below, page_damaged }, pages_read, pages_repaired, duration }
    undo     { restart_lsn, losers, compensations, ended, back_to, duration }";

impl Outcome {
    /// The outcome as JSON; [`SHAPE`] says what it holds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let totals = self.totals();
        json!({
            "rounds": self.rounds_each,
            "kills": totals.kills,
            "acknowledged": totals.acknowledged,
            "lost": totals.lost,
            "unheard": totals.unheard,
            "sum_ok": totals.sum_ok(),
            "ok": totals.is_ok(),
            "faults": totals.faults,
            "clients": self.clients,
            "accounts": self.accounts,
            "seed": self.seed,
            "deadlocks": totals.deadlocks,
            "directory": self.directory.as_ref().map(|path| path.to_string_lossy()),
            "restart": self.rounds.iter().map(round).collect::<Vec<_>>(),
        })
    }
}

fn round(round: &Round) -> Value {
    let verdict = &round.verdict;
    let mut object = restart_json(&round.restart);
    object["disk"] = round.disk.name().into();
    object["round"] = round.number.into();
    object["acknowledged"] = round.acknowledged.into();
    object["lost"] = verdict.lost.into();
    object["unheard"] = verdict.unheard.into();
    object["sum_ok"] = verdict.sum_ok().into();
    object
}

/// What a restart found and did, as JSON.
#[must_use]
pub fn restart_json(restart: &RestartReport) -> Value {
    let RestartReport { analysis, redo, undo, .. } = restart;
    json!({
        "clean": restart.clean,
        "epoch": restart.epoch,
        "tail_rewritten": restart.tail_rewritten,
        "pages_rewritten": restart.pages_rewritten,
        "pages_torn": restart.pages_torn,
        "checkpoint_lsn": restart.checkpoint_lsn.get(),
        "duration": microseconds(restart.duration),
        "analysis": {
            "from": analysis.from.get(),
            "end": analysis.end.get(),
            "records": analysis.records,
            "bytes": analysis.bytes,
            "dirty_pages": analysis.dirty_pages,
            "losers": numbers(&analysis.losers),
            "committed": numbers(&analysis.committed),
            "in_doubt": numbers(&analysis.in_doubt),
            "duration": microseconds(analysis.duration),
        },
        "redo": {
            "from": redo.from.map(Lsn::get),
            "records": redo.records,
            "bytes": redo.bytes,
            "redone": redo.redone,
            "skipped": skipped(&redo.skipped),
            "pages_read": redo.pages_read,
            "pages_repaired": redo.pages_repaired,
            "duration": microseconds(redo.duration),
        },
        "undo": {
            "restart_lsn": undo.restart_lsn.get(),
            "losers": undo.losers,
            "compensations": undo.compensations,
            "ended": undo.ended,
            "back_to": undo.back_to.map(Lsn::get),
            "duration": microseconds(undo.duration),
        },
    })
}

fn skipped(skipped: &BTreeMap<SkipReason, u64>) -> Value {
    let count = |reason| skipped.get(&reason).copied().unwrap_or(0).into();
    let counts: Map<String, Value> = SkipReason::ALL
        .into_iter()
        .map(|reason| (reason.name().to_owned(), count(reason)))
        .collect();
    counts.into()
}

fn numbers(txns: &[TxnId]) -> Vec<u64> {
    txns.iter().map(|txn| txn.get()).collect()
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
