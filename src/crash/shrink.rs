//! A failure made smaller: fewer steps, fewer crashes, less that is lost.

use super::explore::Explorer;
use super::history::History;
use super::plan::{Failure, Kind, Plan};
use super::replay::{Fate, Line, replay};
use super::violation::{Clause, Violation};
use crate::disk::{Metadata, Part, Survivors};
use crate::error::Result;

/// The same failure with fewer steps, as long as some crash of what is left fails.
///
/// # Errors
/// None but those of a broken engine.
pub fn shortened(failure: &Failure, depth: usize) -> Result<Failure> {
    let mut least = failure.clone();
    let mut pieces = 2;
    while pieces <= least.history.0.len() {
        let size = least.history.0.len().div_ceil(pieces);
        let starts = (0..least.history.0.len()).step_by(size);
        let fewer = starts.map(|start| {
            let steps = least.history.0.iter().enumerate();
            let kept = steps.filter(|(at, _)| !(start..start + size).contains(at));
            History(kept.map(|(_, step)| *step).collect())
        });
        let mut fewer = fewer.filter(History::is_possible);
        match fewer.find_map(|history| fails(failure, history, depth).transpose()) {
            Some(found) => {
                least = found?;
                pieces = 2;
            }
            None if size == 1 => break,
            None => pieces *= 2,
        }
    }
    Ok(least)
}

/// Whether some crash of a history fails.
fn fails(failure: &Failure, history: History, depth: usize) -> Result<Option<Failure>> {
    let Failure { setting, bounds, .. } = *failure;
    let (kind, shard, shards, threads) = (Kind::Long, 0, 1, 1);
    let plan = Plan { setting, bounds, kind, depth, kills: true, shard, shards, threads };
    let explorer = Explorer::new(plan)?;
    let explorer = match failure.violation.clause {
        Clause::Order => explorer,
        _ => explorer.without_monitor(),
    };
    Ok(explorer.explore(&history).err().map(|failure| *failure))
}

/// The same failure, with as little lost as will do: crashes inside recovery that need not be are left out, and what
/// need not be lost survives.
///
/// # Errors
/// Those of [`replay`].
pub fn minimised(failure: &Failure) -> Result<Failure> {
    let mut least = failure.clone();
    least.violation = still_fails(failure)?.unwrap_or_else(|| failure.violation.clone());
    // What two crashes show, one at another moment may show as well.
    let fewer = (0..failure.crashes.len().saturating_sub(1)).filter(|_| failure.harm.is_none());
    for depth in fewer {
        if let Some(found) = fails(failure, failure.history.clone(), depth)? {
            least = found;
            break;
        }
    }
    // What is not begun when it crashes is not needed.
    let begun = replay(&least)?.lines.iter().filter(|line| matches!(line, Line::Step(_))).count();
    least.history.0.truncate(begun);
    for nth in (1..least.crashes.len()).rev() {
        let mut shorter = least.clone();
        shorter.crashes.remove(nth);
        keep_if_it_fails(&mut least, shorter);
    }
    for nth in 0..least.crashes.len() {
        for id in not_whole(&least, nth)? {
            let mut kept = least.clone();
            if let Some(Survivors::Parts(parts)) = &mut kept.crashes[nth].survivors {
                parts.insert(id, Part::Whole);
            }
            keep_if_it_fails(&mut least, kept);
        }
    }
    Ok(least)
}

fn still_fails(failure: &Failure) -> Result<Option<Violation>> {
    Ok(replay(failure)?.violation)
}

/// (A crash that never comes in the changed history is no failure.)
fn keep_if_it_fails(least: &mut Failure, mut smaller: Failure) {
    if let Ok(Some(violation)) = still_fails(&smaller) {
        smaller.violation = violation;
        *least = smaller;
    }
}

/// What did not survive the crash whole, the latest first: what is lost last is needed least.
fn not_whole(failure: &Failure, nth: usize) -> Result<Vec<u64>> {
    let lines = replay(failure)?.lines;
    let crashes = lines.into_iter().filter_map(|line| match line {
        Line::Crash { pending, .. } => Some(pending),
        _ => None,
    });
    let pending = crashes.into_iter().nth(nth).unwrap_or_default().into_iter().rev();
    // Where metadata keeps its order, one that is lost takes all later ones along.
    let ordered = failure.setting.power.metadata == Metadata::Ordered;
    let lost =
        pending.filter(|pended| !matches!(pended.fate, Fate::Survived(Part::Whole) | Fate::Kept));
    Ok(lost.filter(|pended| !(ordered && pended.is_metadata)).map(|pended| pended.id).collect())
}
