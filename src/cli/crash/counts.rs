//! What was covered, as JSON: each line of the explorer has it, and `merge` reads it again.

use std::collections::BTreeMap;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};

use crate::crash::{Coverage, Struck};
use crate::disk::FaultKind;

/// No job counts so far; sums of what is below it do not overflow.
const MOST: u64 = 1 << 48;

/// What is counted.
#[derive(Serialize, Deserialize)]
pub struct Counts {
    histories: u64,
    points: u64,
    sampled_points: u64,
    ways: u64,
    states: u64,
    checked: u64,
    nested: u64,
    killed: u64,
    recovered: u64,
    /// By the names of their kinds, those that were tried.
    faults: BTreeMap<String, Faults>,
}

#[derive(Serialize, Deserialize)]
struct Faults {
    runs: u64,
    harmless: u64,
    noticed: u64,
    known_limits: u64,
}

impl From<&Coverage> for Counts {
    fn from(coverage: &Coverage) -> Self {
        let Coverage { histories, points, sampled_points, ways, states, .. } = *coverage;
        let Coverage { checked, nested, killed, recovered, struck, .. } = *coverage;
        let tried = FaultKind::ALL.iter().zip(struck).filter(|(_, struck)| struck.runs > 0);
        let faults = tried.map(|(kind, struck)| {
            let Struck { runs, harmless, noticed, limits: known_limits } = struck;
            (kind.name().to_owned(), Faults { runs, harmless, noticed, known_limits })
        });
        let faults = faults.collect();
        Self {
            histories,
            points,
            sampled_points,
            ways,
            states,
            checked,
            nested,
            killed,
            recovered,
            faults,
        }
    }
}

impl Counts {
    /// What was covered; `finished` says whether all histories were run.
    ///
    /// # Errors
    /// When nobody can have counted that.
    pub fn coverage(&self, finished: bool) -> anyhow::Result<Coverage> {
        let Self { histories, points, sampled_points, ways, states, .. } = *self;
        let Self { checked, nested, killed, recovered, .. } = *self;
        let mut struck = [Struck::default(); FaultKind::ALL.len()];
        for (name, faults) in &self.faults {
            let at = FaultKind::ALL.iter().position(|kind| kind.name() == name);
            let at = at.ok_or_else(|| anyhow!("there is no fault {name:?}"))?;
            let Faults { runs, harmless, noticed, known_limits: limits } = *faults;
            struck[at] = Struck { runs, harmless, noticed, limits };
        }
        let counts = [histories, points, sampled_points, ways, states, checked, nested, killed];
        let of_faults = struck
            .iter()
            .flat_map(|struck| [struck.runs, struck.harmless, struck.noticed, struck.limits]);
        if counts.into_iter().chain([recovered]).chain(of_faults).any(|count| count >= MOST) {
            return Err(anyhow!("its numbers are too large"));
        }
        Ok(Coverage {
            histories,
            points,
            sampled_points,
            ways,
            checked,
            states,
            nested,
            killed,
            recovered,
            struck,
            finished,
        })
    }
}
