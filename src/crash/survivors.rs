//! Which of the changes that are not durable survive a power failure: every subset of few, many of more.
//!
//! - Changes that make no difference are left aside, so that they do not double the count.
//! - Up to [`COMPLETE`] changes: every subset.
//! - More: everything up to each moment; only one; all but one; only two and all but two (up to [`MOST_PAIRS`] of
//!   each); each file alone, and all but it; random ones. Sampling alone is not enough: some faults show only when
//!   exactly one of hundreds of sectors is kept.
//! - Where sectors may be torn: each one alone so, with all others kept, with none, and with all before it kept; and
//!   each two of them, with all others kept.
//! - Where metadata keeps its order, only what respects it.
//!
//! Invariant: what was already possible a moment before, with the same outcome expected, is not tried again: each
//! subset has at least one change that is new. So a subset is tried at the first moment at which it can be.

use std::collections::{BTreeMap, BTreeSet};

use crate::disk::{Metadata, Part, Pending, PendingKind, PowerFailure, Survivors, Torn};

/// Of so many changes every subset is tried.
pub const COMPLETE: usize = 12;
/// At most so many pairs are kept, and as many lost.
const MOST_PAIRS: usize = 200;
/// So many random subsets are tried where not all are.
const RANDOM: u64 = 32;

/// The ways to survive, at one moment.
pub struct Ways {
    /// What survives, in each of them.
    pub survivors: Vec<Survivors>,
    /// Whether these are all that there are (but for torn sectors).
    pub complete: bool,
}

/// Nothing survives.
pub const fn nothing() -> Survivors {
    Survivors::Parts(BTreeMap::new())
}

/// Everything survives.
pub fn everything(pending: &[Pending]) -> Survivors {
    Survivors::Parts(pending.iter().map(|pending| (pending.id, Part::Whole)).collect())
}

/// Why these cannot be what survives of `pending` changes; `None` if they can.
pub fn impossible(
    pending: &[Pending],
    power: PowerFailure,
    kept: &BTreeMap<u64, Part>,
) -> Option<String> {
    let mut lost_metadata = false;
    for Pending { id, kind, .. } in pending {
        let (part, is_sector) = (kept.get(id), matches!(kind, PendingKind::Sector { .. }));
        match part {
            Some(part) if is_sector && !power.allows(*part) => {
                return Some(format!("this disk never leaves {part:?} of a sector, as of {id}"));
            }
            Some(part) if !is_sector && *part != Part::Whole => {
                return Some(format!("change {id} is a name or a length, and has no parts"));
            }
            Some(_) if !is_sector && lost_metadata && power.metadata == Metadata::Ordered => {
                return Some(format!(
                    "change {id} survives, and a name or a length before it does not"
                ));
            }
            _ => lost_metadata |= !is_sector && part.is_none(),
        }
    }
    let unknown = kept.keys().find(|id| !pending.iter().any(|pending| pending.id == **id));
    unknown.map(|id| format!("no change {id} is pending then"))
}

/// The ways in which `pending` changes may survive, for a disk of such power failures. `is_new` says of a change
/// whether it was not there when this was asked last.
pub fn ways(pending: &[Pending], power: PowerFailure, is_new: impl Fn(u64) -> bool) -> Ways {
    let matters = |pending: &&Pending| !pending.changes_nothing || power.torn == Torn::Garbage;
    let pending: Vec<&Pending> = pending.iter().filter(matters).collect();
    let complete = pending.len() <= COMPLETE;
    let mut subsets = Subsets { pending: &pending, power, found: BTreeSet::new() };
    if complete {
        subsets.all();
    } else {
        subsets.many();
    }
    let news = |subset: &BTreeMap<u64, Part>| subset.keys().any(|id| is_new(*id));
    let mut whole = subsets.found;
    whole.retain(|subset| news(subset));
    let torn = torn(&pending, power).into_iter().filter(news);
    let survivors = whole.into_iter().chain(torn).map(Survivors::Parts).collect();
    Ways { survivors, complete }
}

struct Subsets<'p> {
    pending: &'p [&'p Pending],
    power: PowerFailure,
    found: BTreeSet<BTreeMap<u64, Part>>,
}

impl Subsets<'_> {
    fn all(&mut self) {
        for mask in 0..1_u32 << self.pending.len() {
            self.keep(|index| mask >> index & 1 == 1);
        }
    }

    fn many(&mut self) {
        let count = self.pending.len();
        for at in 0..count {
            self.keep(|index| index <= at);
            self.keep(|index| index == at);
            self.keep(|index| index != at);
        }
        let pairs = (0..count).flat_map(|second| (0..second).map(move |first| (first, second)));
        for (first, second) in pairs.take(MOST_PAIRS) {
            self.keep(|index| index == first || index == second);
            self.keep(|index| index != first && index != second);
        }
        let names: BTreeSet<&str> =
            self.pending.iter().map(|pending| pending.name.as_str()).collect();
        for name in names {
            self.keep(|index| self.pending[index].name == name);
            self.keep(|index| self.pending[index].name != name);
        }
        for seed in 1..=RANDOM {
            let bits = |index: usize| (index as u64 + 1).wrapping_mul(seed.wrapping_mul(MIX)) >> 40;
            self.keep(|index| bits(index) & 1 == 1);
        }
    }

    /// Notes a subset, cut down to what the order of metadata allows.
    fn keep(&mut self, is_kept: impl Fn(usize) -> bool) {
        let mut lost_metadata = false;
        let mut subset = BTreeMap::new();
        for (index, pending) in self.pending.iter().enumerate() {
            let is_metadata = !matches!(pending.kind, PendingKind::Sector { .. });
            let follows = is_metadata && self.power.metadata == Metadata::Ordered && lost_metadata;
            if is_kept(index) && !follows {
                subset.insert(pending.id, Part::Whole);
            } else {
                lost_metadata |= is_metadata;
            }
        }
        self.found.insert(subset);
    }
}

/// An odd number without a pattern (the golden ratio's fraction).
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

/// Each sector torn in a few ways, with no other change, with all that are older, and with all others.
fn torn(pending: &[&Pending], power: PowerFailure) -> Vec<BTreeMap<u64, Part>> {
    let half = power.sector.bytes() / 2;
    let mut parts = Vec::new();
    if power.torn >= Torn::PrefixOrSuffix {
        // In the middle, and within the first and the last word: where headers end and records begin.
        parts.extend([Part::Prefix(half), Part::Suffix(half), Part::Suffix(8)]);
        parts.extend([Part::Prefix(8), Part::Prefix(12)]);
    }
    if power.torn >= Torn::Garbage {
        parts.push(Part::Garbage { seed: 1 });
    }
    let ordered = power.metadata == Metadata::Ordered;
    let mut found = two_torn(pending, parts.first().copied());
    for (at, sector) in pending.iter().enumerate() {
        if !matches!(sector.kind, PendingKind::Sector { .. }) {
            continue;
        }
        for part in &parts {
            let none: &[&Pending] = if ordered { &pending[..at] } else { &[] };
            for others in [none, &pending[..at], pending] {
                let mut survivors: BTreeMap<u64, Part> =
                    others.iter().map(|pending| (pending.id, Part::Whole)).collect();
                survivors.insert(sector.id, *part);
                found.push(survivors);
            }
        }
    }
    found
}

/// Each two sectors torn, with all other changes.
fn two_torn(pending: &[&Pending], part: Option<Part>) -> Vec<BTreeMap<u64, Part>> {
    let Some(part) = part else { return Vec::new() };
    let is_sector = |pending: &&&Pending| matches!(pending.kind, PendingKind::Sector { .. });
    let sectors: Vec<u64> = pending.iter().filter(is_sector).map(|sector| sector.id).collect();
    let pairs = sectors
        .iter()
        .enumerate()
        .flat_map(|(second, id)| sectors[..second].iter().map(move |first| (*first, *id)));
    let survivors = pairs.take(MOST_PAIRS).map(|(first, second)| {
        let whole = pending.iter().map(|pending| (pending.id, Part::Whole));
        whole.chain([(first, part), (second, part)]).collect()
    });
    survivors.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(id: u64) -> Pending {
        let kind = PendingKind::Sector { offset: id * 512, length: 512 };
        Pending { id, name: "pages".into(), kind, abandoned: false, changes_nothing: false }
    }

    fn subsets(pending: &[Pending], power: PowerFailure) -> BTreeSet<Vec<u64>> {
        let found = ways(pending, power, |_| true).survivors.into_iter();
        found
            .map(|survivors| match survivors {
                Survivors::Parts(parts) => parts.into_keys().collect(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn of_few_changes_every_subset_is_tried() {
        let pending: Vec<Pending> = (0..5).map(sector).collect();
        // All but the empty one, which is not new.
        assert_eq!(subsets(&pending, PowerFailure::default()).len(), 31);
        let is_last = |id| id == 4;
        let new = ways(&pending, PowerFailure::default(), is_last);
        assert_eq!((new.survivors.len(), new.complete), (16, true));
    }

    #[test]
    fn what_makes_no_difference_does_not_count() {
        let mut pending: Vec<Pending> = (0..5).map(sector).collect();
        pending[2].changes_nothing = true;
        assert_eq!(subsets(&pending, PowerFailure::default()).len(), 15);
        let garbage = PowerFailure { torn: Torn::Garbage, ..PowerFailure::default() };
        assert!(subsets(&pending, garbage).contains(&vec![2]), "as garbage it does");
    }

    #[test]
    fn of_many_each_alone_each_missing_and_each_moment_is_tried() {
        let pending: Vec<Pending> = (0..40).map(sector).collect();
        let ways = ways(&pending, PowerFailure::default(), |_| true);
        assert!(!ways.complete);
        let found = subsets(&pending, PowerFailure::default());
        for at in 0..40 {
            assert!(found.contains(&vec![at]));
            assert!(found.contains(&(0..40).filter(|id| *id != at).collect::<Vec<_>>()));
            assert!(found.contains(&(0..=at).collect::<Vec<_>>()));
        }
    }

    #[test]
    fn metadata_in_order_survives_up_to_a_moment() {
        let mut pending: Vec<Pending> = (0..3).map(sector).collect();
        pending[0].kind = PendingKind::Create;
        pending[2].kind = PendingKind::SetLength(5);
        let power = PowerFailure { metadata: Metadata::Ordered, ..PowerFailure::default() };
        let found = subsets(&pending, power);
        let expected = [vec![0], vec![1], vec![0, 1], vec![0, 2], vec![0, 1, 2]];
        assert_eq!(found, expected.into_iter().collect());
    }

    #[test]
    fn what_cannot_survive_is_told() {
        let mut pending: Vec<Pending> = (0..4).map(sector).collect();
        (pending[1].kind, pending[2].kind) = (PendingKind::Create, PendingKind::Remove);
        let ordered = PowerFailure { metadata: Metadata::Ordered, ..PowerFailure::default() };
        let torn = PowerFailure { torn: Torn::PrefixOrSuffix, ..ordered };
        for (power, kept, words) in [
            (ordered, vec![(0, Part::Whole), (1, Part::Whole)], None),
            (torn, vec![(0, Part::Prefix(512))], None),
            (ordered, vec![(0, Part::Prefix(5))], Some("never leaves Prefix(5)")),
            (torn, vec![(0, Part::Suffix(513))], Some("never leaves Suffix(513)")),
            (torn, vec![(0, Part::Garbage { seed: 1 })], Some("never leaves Garbage")),
            (torn, vec![(1, Part::Prefix(5))], Some("change 1 is a name")),
            (torn, vec![(2, Part::Whole)], Some("change 2 survives")),
            (PowerFailure::default(), vec![(2, Part::Whole)], None),
            (ordered, vec![(7, Part::Whole)], Some("no change 7 is pending")),
        ] {
            let found = impossible(&pending, power, &kept.into_iter().collect());
            let as_wanted = match (&found, words) {
                (Some(found), Some(words)) => found.contains(words),
                (found, words) => found.is_none() && words.is_none(),
            };
            assert!(as_wanted, "{found:?} instead of {words:?}");
        }
    }

    #[test]
    fn each_sector_is_torn_alone_and_among_others() {
        let pending: Vec<Pending> = (0..3).map(sector).collect();
        let power = PowerFailure { torn: Torn::Garbage, ..PowerFailure::default() };
        let found = ways(&pending, power, |_| true).survivors;
        let garbage = Part::Garbage { seed: 1 };
        for others in [vec![], vec![0], vec![0, 2]] {
            let mut parts: BTreeMap<u64, Part> =
                others.into_iter().map(|id| (id, Part::Whole)).collect();
            parts.insert(1, garbage);
            assert!(found.contains(&Survivors::Parts(parts.clone())), "{parts:?}");
        }
    }
}
