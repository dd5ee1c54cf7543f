//! What came of all rounds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::home::Home;
use super::{DiskKind, Ledger, Settings, Story, Verdict};
use crate::event::SkipReason;
use crate::recovery::RestartReport;

/// One kill, and what restart made of it.
#[derive(Clone, Debug)]
pub struct Round {
    /// Its number, from 1 for each disk.
    pub number: u32,
    /// What the child wrote to.
    pub disk: DiskKind,
    /// Transfers acknowledged by the child.
    pub acknowledged: u64,
    /// Deadlocks on the way.
    pub deadlocks: u64,
    /// How the bank compared with the ledger.
    pub verdict: Verdict,
    /// What restart found and did.
    pub restart: RestartReport,
    /// What an observer saw of it.
    pub story: Story,
}

/// All rounds.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Rounds asked for, over each disk.
    pub rounds_each: u32,
    /// Clients.
    pub clients: usize,
    /// Accounts.
    pub accounts: usize,
    /// What all transfers follow from.
    pub seed: u64,
    /// Where the database is, if it is still there.
    pub directory: Option<PathBuf>,
    /// Whether the last kill's work was not touched.
    pub is_crashed: bool,
    /// The rounds.
    pub rounds: Vec<Round>,
}

impl Outcome {
    pub(super) fn new(settings: &Settings, home: &Home, ledger: &Ledger) -> Self {
        Self {
            rounds_each: settings.rounds,
            clients: ledger.clients(),
            accounts: ledger.accounts(),
            seed: home.seed(),
            directory: None,
            is_crashed: false,
            rounds: Vec::new(),
        }
    }

    /// Sums over all rounds.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::of(self.rounds.iter())
    }

    /// Sums over the rounds with this disk.
    #[must_use]
    pub fn totals_over(&self, disk: DiskKind) -> Totals {
        Totals::of(self.rounds.iter().filter(|round| round.disk == disk))
    }

    /// The latest round whose restart had somebody to undo; the latest of all if there is none.
    #[must_use]
    pub fn most_telling(&self) -> Option<&Round> {
        let undid = |round: &&Round| !round.story.undone.is_empty();
        self.rounds.iter().rev().find(undid).or(self.rounds.last())
    }
}

/// Sums over rounds.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Rounds.
    pub kills: usize,
    /// Transfers acknowledged.
    pub acknowledged: u64,
    /// Of them, those that were not there after restart.
    pub lost: u64,
    /// Transfers that were there, but whose acknowledgement the kill had cut off.
    pub unheard: u64,
    /// Deadlocks.
    pub deadlocks: u64,
    /// Rounds after which the sum of all accounts was wrong.
    pub wrong_sums: usize,
    /// All that was wrong, in words.
    pub faults: Vec<String>,
    /// Rounds whose restart had somebody to undo.
    pub kills_with_losers: usize,
    /// Transactions undone.
    pub losers: usize,
    /// Compensation log records written.
    pub compensations: u64,
    /// Records applied again.
    pub redone: u64,
    /// Records not applied, by reason.
    pub skipped: BTreeMap<SkipReason, u64>,
    /// How long each restart took, in ascending order.
    pub durations: Vec<Duration>,
}

impl Totals {
    fn of<'r>(rounds: impl Iterator<Item = &'r Round>) -> Self {
        let mut totals = Self::default();
        rounds.for_each(|round| totals.add(round));
        totals.durations.sort_unstable();
        totals
    }

    fn add(&mut self, round: &Round) {
        let Round { verdict, restart, .. } = round;
        self.kills += 1;
        self.acknowledged += round.acknowledged;
        self.deadlocks += round.deadlocks;
        self.lost += verdict.lost;
        self.unheard += verdict.unheard;
        self.wrong_sums += usize::from(!verdict.sum_ok());
        self.faults.extend(verdict.faults.iter().cloned());
        self.kills_with_losers += usize::from(restart.undo.losers > 0);
        self.losers += restart.undo.losers;
        self.compensations += restart.undo.compensations;
        self.redone += restart.redo.redone;
        for (reason, count) in &restart.redo.skipped {
            *self.skipped.entry(*reason).or_default() += count;
        }
        self.durations.push(restart.duration);
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether the sum of all accounts was right every time.
    #[must_use]
    pub fn sum_ok(&self) -> bool {
        self.wrong_sums == 0
    }

    /// Shortest, median and longest restart.
    #[must_use]
    pub fn restart_times(&self) -> Option<[Duration; 3]> {
        let middle = self.durations.get(self.durations.len() / 2)?;
        Some([*self.durations.first()?, *middle, *self.durations.last()?])
    }
}
