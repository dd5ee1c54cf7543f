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
    use super::super::explore::Explorer;
    use super::super::history::{Bounds, MOST_TRANSACTIONS, Vocabulary};
    use super::super::plan::{Kind, Plan};
    use super::super::setting::{Level, Setting};
    use super::super::shrink::{minimised, shortened};
    use super::Hunted;
    use crate::config::{Broken, Sabotage, TornPageProtection};
    use crate::disk::SectorSize;
    use crate::error::Result;

    /// So many crashes inside recovery follow one upon the other.
    const DEPTH: usize = 1;

    /// Where a rule is hunted: an exploration, and how long its histories are at most.
    type Ground = (Kind, Level, TornPageProtection, Vocabulary, usize);

    /// One after the other, for each length. (Where no copy of a page stands elsewhere, faults in writing it show that
    /// else are healed.)
    const GROUNDS: [Ground; 11] = {
        use Kind::{Crashes, Faults, Long};
        use Level::{L0, L1, L3};
        use TornPageProtection::{DoubleWrite, None, PageImages};
        use Vocabulary::{Everything, Outcomes, Records, Space};
        [
            (Crashes, L0, DoubleWrite, Records, 9),
            (Crashes, L1, DoubleWrite, Records, 9),
            (Crashes, L1, PageImages, Records, 9),
            (Crashes, L0, None, Records, 9),
            (Crashes, L3, DoubleWrite, Records, 9),
            (Crashes, L0, DoubleWrite, Outcomes, 9),
            (Crashes, L0, DoubleWrite, Space, 9),
            (Crashes, L3, DoubleWrite, Space, 9),
            (Crashes, L1, DoubleWrite, Space, 2),
            (Long, L0, DoubleWrite, Everything, 1),
            (Faults, L0, DoubleWrite, Records, 1),
        ]
    };

    /// Hunts a broken rule: histories of up to so many steps, the shorter ones first, on each kind of disk.
    ///
    /// # Errors
    /// None but those of a broken engine.
    pub fn hunt(sabotage: Sabotage, steps: usize, threads: usize) -> Result<Hunted> {
        let explorers: Result<Vec<(Ground, Explorer)>> = GROUNDS
            .into_iter()
            .map(|ground| Ok((ground, explorer(sabotage, ground, threads)?)))
            .collect();
        let explorers = explorers?;
        let mut found = None;
        // Faults come last: where the power failing shows a rule broken, that is the plainer lesson.
        let (faults, crashes): (Vec<_>, Vec<_>) =
            explorers.iter().partition(|(ground, _)| ground.0 == Kind::Faults);
        'hunt: for grounds in [crashes, faults] {
            for length in 0..=steps {
                for (ground, explorer) in grounds.iter().filter(|(ground, _)| length <= ground.4) {
                    if let Some(failure) = explorer.run(length..=length) {
                        let failure = match ground.0 {
                            Kind::Long => shortened(&failure, DEPTH)?,
                            Kind::Crashes | Kind::Faults => failure,
                        };
                        let failure = minimised(&failure)?;
                        found = Some((class(ground, failure.crashes.len()), failure));
                        break 'hunt;
                    }
                }
            }
        }
        let states = explorers.iter().map(|(_, explorer)| explorer.coverage().states).sum();
        let (class, failure) = found.unzip();
        Ok(Hunted { sabotage, failure, class: class.unwrap_or_default(), states })
    }

    fn explorer(sabotage: Sabotage, ground: Ground, threads: usize) -> Result<Explorer> {
        let (kind, level, protection, vocabulary, _) = ground;
        let sound = level.setting(protection, SectorSize::Bytes512);
        let setting = Setting { broken: Broken::rule(sabotage), ..sound };
        let bounds = Bounds { transactions: MOST_TRANSACTIONS, pages: 2, vocabulary };
        let plan = Plan { setting, bounds, kind, depth: DEPTH, shard: 0, shards: 1, threads };
        // What the monitor sees without a crash is another question.
        Ok(Explorer::new(plan)?.without_monitor())
    }

    fn class(ground: &Ground, crashes: usize) -> String {
        let (kind, level, protection, vocabulary, _) = ground;
        let (level, protection) = (level.name(), protection.name());
        let place = match (kind, crashes) {
            (Kind::Faults, _) => "a fault of the disk",
            (Kind::Long, _) => "a long history",
            (_, 0) => "before any crash",
            (_, 1) => "a crash of the history",
            _ => "a crash inside recovery",
        };
        format!("{level}, {protection}, {}, {place}", vocabulary.name())
    }
}
