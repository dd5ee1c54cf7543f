//! Broken rules, hunted down: for each the lab explores until it finds a crash that exposes it.
//!
//! A lab that finds nothing proves nothing, unless it finds what is known to be there. So each rule that can be broken
//! ([`Sabotage`]) is broken once, and must be found; those that break nothing must raise no alarm.

use super::plan::Failure;
use crate::config::Sabotage;

/// What came of a hunt.
#[derive(Clone, PartialEq, Debug)]
pub struct Hunted {
    /// The rule that was broken.
    pub sabotage: Sabotage,
    /// The crash that exposes it, if one was found.
    pub failure: Option<Failure>,
    /// Where it was found: the level of the disk, and whether inside a recovery.
    pub class: String,
    /// States that were recovered and checked until then.
    pub states: u64,
}

/// Whether what was found is as it must be: a broken rule is found, what breaks none is not.
#[must_use]
pub fn expectation(hunted: &Hunted) -> bool {
    hunted.failure.is_some() != hunted.sabotage.is_neutral()
}

#[cfg(feature = "sabotage")]
pub use hunting::hunt;

#[cfg(feature = "sabotage")]
mod hunting {
    use std::ops::RangeInclusive;

    use super::super::explore::Explorer;
    use super::super::history::{Bounds, MOST_TRANSACTIONS, Vocabulary};
    use super::super::plan::{Kind, Plan};
    use super::super::setting::{Level, Setting};
    use super::super::shrink::{minimised, shortened};
    use super::{Failure, Hunted};
    use crate::config::{Broken, Sabotage, TornPageProtection};
    use crate::disk::SectorSize;
    use crate::error::Result;

    /// So many crashes inside recovery follow one upon the other.
    const DEPTH: usize = 1;

    /// Where a rule is hunted.
    struct Ground {
        kind: Kind,
        level: Level,
        protection: TornPageProtection,
        vocabulary: Vocabulary,
        kills: bool,
        /// How long histories are.
        steps: RangeInclusive<usize>,
    }

    /// All grounds, the plainest lessons first: the power fails, a process dies, faults of the disk; then what takes a step more,
    /// long histories, and last whatever takes many steps. (Where no copy of a page stands elsewhere, faults in writing it
    /// show that else are healed.)
    fn grounds() -> [Vec<Ground>; 7] {
        use Kind::{Crashes, Faults, Long};
        use Level::{L0, L1, L3};
        use TornPageProtection::{DoubleWrite, None, PageImages};
        use Vocabulary::{Everything, Outcomes, Records, Space, Trees};
        let of = |kind, level, protection, vocabulary, steps| Ground {
            kind,
            level,
            protection,
            vocabulary,
            kills: false,
            steps,
        };
        let killed = |ground| Ground { kills: true, ..ground };
        [
            vec![
                of(Crashes, L0, DoubleWrite, Records, 0..=2),
                of(Crashes, L1, DoubleWrite, Records, 0..=2),
                of(Crashes, L1, PageImages, Records, 0..=2),
                of(Crashes, L0, None, Records, 0..=2),
                of(Crashes, L3, DoubleWrite, Records, 0..=2),
                of(Crashes, L0, DoubleWrite, Outcomes, 0..=2),
                of(Crashes, L0, DoubleWrite, Space, 0..=2),
                of(Crashes, L3, DoubleWrite, Space, 0..=2),
                of(Crashes, L1, DoubleWrite, Space, 0..=2),
                of(Crashes, L0, DoubleWrite, Trees, 0..=2),
            ],
            vec![
                killed(of(Crashes, L0, DoubleWrite, Records, 0..=2)),
                killed(of(Crashes, L0, DoubleWrite, Outcomes, 0..=2)),
                killed(of(Crashes, L0, DoubleWrite, Space, 0..=2)),
            ],
            vec![of(Faults, L0, DoubleWrite, Records, 0..=1)],
            vec![of(Crashes, L0, DoubleWrite, Outcomes, 3..=4)],
            vec![of(Crashes, L0, DoubleWrite, Trees, 3..=3)],
            vec![killed(of(Long, L0, DoubleWrite, Everything, 0..=1))],
            vec![
                of(Crashes, L0, DoubleWrite, Space, 3..=3),
                of(Crashes, L1, DoubleWrite, Records, 3..=3),
                of(Crashes, L0, DoubleWrite, Records, 3..=6),
            ],
        ]
    }

    /// Hunts a broken rule: histories of up to so many steps, the shorter ones first, on each kind of disk.
    ///
    /// # Errors
    /// None but those of a broken engine.
    pub fn hunt(sabotage: Sabotage, steps: usize, threads: usize) -> Result<Hunted> {
        let mut states = 0;
        // One rule takes four steps, most none or one; where none is broken, nothing ends the search but its bound.
        let steps = if sabotage.is_neutral() { steps.min(1) } else { steps };
        for grounds in grounds() {
            let explorers: Result<Vec<(Explorer, Ground)>> = grounds
                .into_iter()
                .map(|ground| Ok((explorer(sabotage, &ground, threads)?, ground)))
                .collect();
            let explorers = explorers?;
            let found = find(&explorers, steps);
            states += explorers.iter().map(|(explorer, _)| explorer.coverage().states).sum::<u64>();
            if let Some((ground, failure)) = found {
                let failure = match ground.kind {
                    Kind::Long => shortened(&failure, DEPTH)?,
                    Kind::Crashes | Kind::Faults => failure,
                };
                let failure = minimised(&failure)?;
                let class = class(ground, &failure);
                return Ok(Hunted { sabotage, failure: Some(failure), class, states });
            }
        }
        Ok(Hunted { sabotage, failure: None, class: String::new(), states })
    }

    fn find(explorers: &[(Explorer, Ground)], steps: usize) -> Option<(&Ground, Failure)> {
        for length in 0..=steps {
            let wanted = explorers.iter().filter(|(_, ground)| ground.steps.contains(&length));
            for (explorer, ground) in wanted {
                if let Some(failure) = explorer.run(length..=length) {
                    return Some((ground, failure));
                }
            }
        }
        None
    }

    fn explorer(sabotage: Sabotage, ground: &Ground, threads: usize) -> Result<Explorer> {
        let Ground { kind, level, protection, vocabulary, kills, .. } = *ground;
        let sound = level.setting(protection, SectorSize::Bytes512);
        let setting = Setting { broken: Broken::rule(sabotage), ..sound };
        let bounds = Bounds { transactions: MOST_TRANSACTIONS, pages: 2, vocabulary };
        let plan =
            Plan { setting, bounds, kind, depth: DEPTH, kills, shard: 0, shards: 1, threads };
        // What the monitor sees without a crash is another question.
        Ok(Explorer::new(plan)?.without_monitor())
    }

    fn class(ground: &Ground, failure: &Failure) -> String {
        let Ground { kind, level, protection, vocabulary, .. } = ground;
        let (level, protection) = (level.name(), protection.name());
        let is_killed = failure.crashes.iter().any(|crash| crash.survivors.is_none());
        let place = match (kind, failure.crashes.len()) {
            (Kind::Faults, _) => "a fault of the disk",
            (Kind::Long, _) => "a long history",
            (Kind::Crashes, 0) => "before any crash",
            (Kind::Crashes, _) if is_killed => "a process that dies",
            (Kind::Crashes, 1) => "a crash of the history",
            (Kind::Crashes, _) => "a crash inside recovery",
        };
        format!("{level}, {protection}, {}, {place}", vocabulary.name())
    }
}
