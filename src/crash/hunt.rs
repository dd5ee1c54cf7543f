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

/// Hunts a broken rule: histories of up to so many steps, the shorter ones first, on each kind of disk.
///
/// # Errors
/// None but those of a broken engine.
#[cfg(feature = "sabotage")]
pub fn hunt(sabotage: Sabotage, steps: usize, threads: usize) -> crate::error::Result<Hunted> {
    use super::explore::Explorer;
    use super::history::{Bounds, MOST_TRANSACTIONS, Vocabulary};
    use super::plan::{Kind, Plan};
    use super::setting::{Level, Setting};
    use super::shrink::minimised;
    use crate::config::{Broken, TornPageProtection};
    use crate::disk::SectorSize;

    let bounds =
        Bounds { transactions: MOST_TRANSACTIONS, pages: 2, vocabulary: Vocabulary::Records };
    let mut explorers = Vec::new();
    for (level, protection) in [
        (Level::L0, TornPageProtection::DoubleWrite),
        (Level::L1, TornPageProtection::DoubleWrite),
        (Level::L1, TornPageProtection::PageImages),
        // Where no copy of a page stands elsewhere, faults in writing it show that else are healed.
        (Level::L0, TornPageProtection::None),
        (Level::L3, TornPageProtection::DoubleWrite),
    ] {
        let sound = level.setting(protection, SectorSize::Bytes512);
        let setting = Setting { broken: Broken::rule(sabotage), ..sound };
        let plan =
            Plan { setting, bounds, kind: Kind::Crashes, depth: 1, shard: 0, shards: 1, threads };
        // What the monitor sees without a crash is another question.
        let explorer = Explorer::new(plan)?.without_monitor();
        explorers.push((format!("{}, {}", level.name(), protection.name()), explorer));
    }
    let states = |explorers: &[(String, Explorer)]| {
        explorers.iter().map(|(_, explorer)| explorer.coverage().states).sum()
    };
    for length in 0..=steps {
        for (kind, explorer) in &explorers {
            if let Some(failure) = explorer.run(length..=length) {
                let failure = minimised(&failure)?;
                let place = match failure.crashes.len() {
                    0 => "before any crash",
                    1 => "a crash of the history",
                    _ => "a crash inside recovery",
                };
                let class = format!("{kind}, {place}");
                return Ok(Hunted {
                    sabotage,
                    failure: Some(failure),
                    class,
                    states: states(&explorers),
                });
            }
        }
    }
    Ok(Hunted { sabotage, failure: None, class: String::new(), states: states(&explorers) })
}
