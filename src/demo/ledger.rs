//! The ledger: what must be in the bank, by what was acknowledged and by what the counters say.

use super::{INITIAL_BALANCE, State, Transfer};

/// So many wrong balances are named one by one.
const MOST_BALANCES_NAMED: usize = 5;

/// What was acknowledged, kept outside the database and outside the process that was killed.
#[derive(Clone, Debug)]
pub struct Ledger {
    seed: u64,
    accounts: usize,
    /// The last transfer of each client that must be there.
    acknowledged: Vec<u64>,
    /// Acknowledgements that cannot be.
    strange: Vec<String>,
}

/// How a bank compares with the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Acknowledged transfers that are not in the bank.
    pub lost: u64,
    /// Transfers in the bank whose acknowledgement the kill cut off: at most one of each client.
    pub unheard: u64,
    /// Transfers in the bank that nobody can have done.
    pub unexplained: u64,
    /// Accounts whose balance is not what the counters say.
    pub wrong_balances: usize,
    /// What all accounts hold together.
    pub sum: i64,
    /// What they held at first.
    pub expected_sum: i64,
    /// All that is wrong, in words.
    pub faults: Vec<String>,
}

impl Verdict {
    /// Whether no money came or went.
    #[must_use]
    pub fn sum_ok(&self) -> bool {
        self.sum == self.expected_sum
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Ledger {
    /// A ledger that believes what is in the bank now: every transfer counted there must stay.
    #[must_use]
    pub fn new(seed: u64, state: &State) -> Self {
        Self {
            seed,
            accounts: state.balances.len(),
            acknowledged: state.counts.clone(),
            strange: Vec::new(),
        }
    }

    /// How many clients there are.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.acknowledged.len()
    }

    /// How many accounts there are.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.accounts
    }

    /// How many transfers must be there.
    #[must_use]
    pub fn transfers(&self) -> u64 {
        self.acknowledged.iter().sum()
    }

    /// The client says that this transfer is done.
    pub fn acknowledge(&mut self, client: usize, sequence: u64) {
        let Some(last) = self.acknowledged.get_mut(client) else {
            self.strange.push(format!("client {client}, which does not exist, did a transfer"));
            return;
        };
        if sequence != *last + 1 {
            let words = format!("client {client} did transfer {sequence} after transfer {last}");
            self.strange.push(words);
        }
        *last = sequence.max(*last);
    }

    /// Compares the bank with the ledger. From then on, what is in the bank must stay.
    pub fn check(&mut self, state: &State) -> Verdict {
        let mut verdict = Verdict {
            lost: 0,
            unheard: 0,
            unexplained: 0,
            wrong_balances: 0,
            sum: state.balances.iter().sum(),
            expected_sum: INITIAL_BALANCE * i64::try_from(self.accounts).expect("few accounts"),
            faults: std::mem::take(&mut self.strange),
        };
        self.check_counts(state, &mut verdict);
        self.check_balances(state, &mut verdict);
        if !verdict.sum_ok() {
            let (sum, expected) = (verdict.sum, verdict.expected_sum);
            verdict.faults.push(format!("all accounts hold {sum}, not {expected}"));
        }
        self.acknowledged.clone_from(&state.counts);
        verdict
    }

    fn check_counts(&self, state: &State, verdict: &mut Verdict) {
        if state.counts.len() != self.clients() || state.balances.len() != self.accounts {
            verdict.faults.push("the bank has other clients or accounts than before".into());
        }
        for (client, (acknowledged, count)) in
            self.acknowledged.iter().zip(&state.counts).enumerate()
        {
            let lost = acknowledged.saturating_sub(*count);
            let more = count.saturating_sub(*acknowledged);
            verdict.lost += lost;
            verdict.unheard += more.min(1);
            verdict.unexplained += more.saturating_sub(1);
            if lost > 0 || more > 1 {
                verdict.faults.push(format!(
                    "client {client} acknowledged transfer {acknowledged}, but the bank has {count}"
                ));
            }
        }
    }

    fn check_balances(&self, state: &State, verdict: &mut Verdict) {
        let expected = self.balances_after(&state.counts);
        for (account, (expected, found)) in expected.iter().zip(&state.balances).enumerate() {
            if expected == found {
                continue;
            }
            verdict.wrong_balances += 1;
            if verdict.wrong_balances <= MOST_BALANCES_NAMED {
                verdict.faults.push(format!(
                    "account {account} holds {found}; by the transfers done it must be {expected}"
                ));
            }
        }
        if let Some(more @ 1..) = verdict.wrong_balances.checked_sub(MOST_BALANCES_NAMED) {
            verdict.faults.push(format!("{more} more accounts hold what they must not"));
        }
    }

    /// What each account holds once every client did that many transfers.
    fn balances_after(&self, counts: &[u64]) -> Vec<i64> {
        let mut balances = vec![INITIAL_BALANCE; self.accounts];
        for (client, count) in counts.iter().enumerate() {
            for sequence in 1..=*count {
                let transfer = Transfer::of(self.seed, client, sequence, self.accounts);
                balances[transfer.from] -= transfer.amount;
                balances[transfer.to] += transfer.amount;
            }
        }
        balances
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 5;

    fn new_bank() -> State {
        State { balances: vec![INITIAL_BALANCE; 100], counts: vec![0; 3] }
    }

    /// The bank after its clients did so many transfers, and a ledger that heard of them all.
    fn bank_after(counts: [u64; 3]) -> (State, Ledger) {
        let mut ledger = Ledger::new(SEED, &new_bank());
        for (client, count) in counts.into_iter().enumerate() {
            (1..=count).for_each(|sequence| ledger.acknowledge(client, sequence));
        }
        let state = State { balances: ledger.balances_after(&counts), counts: counts.to_vec() };
        (state, ledger)
    }

    #[test]
    fn a_bank_with_all_acknowledged_transfers_is_fine() {
        let (state, mut ledger) = bank_after([40, 7, 0]);
        let verdict = ledger.check(&state);
        assert!(verdict.is_ok() && verdict.sum_ok(), "{verdict:?}");
        assert_eq!((verdict.lost, verdict.unheard, verdict.sum), (0, 0, 100_000));
    }

    #[test]
    fn one_transfer_may_be_in_the_bank_whose_acknowledgement_was_cut_off() {
        let (_, mut ledger) = bank_after([40, 7, 0]);
        let (state, _) = bank_after([41, 7, 1]);
        let verdict = ledger.check(&state);
        assert!(verdict.is_ok(), "{verdict:?}");
        assert_eq!(verdict.unheard, 2);
        let (before, _) = bank_after([40, 7, 1]);
        assert_eq!(ledger.check(&before).lost, 1, "once seen in the bank, it must stay");
    }

    #[test]
    fn a_lost_acknowledgement_is_found() {
        let (state, mut ledger) = bank_after([40, 7, 0]);
        ledger.acknowledge(1, 8);
        let verdict = ledger.check(&state);
        assert_eq!((verdict.lost, verdict.is_ok()), (1, false), "{verdict:?}");
        assert!(verdict.sum_ok(), "a whole transfer that is lost leaves the sum as it is");
    }

    #[test]
    fn transfers_out_of_nowhere_are_found() {
        let (_, mut ledger) = bank_after([40, 7, 0]);
        let (state, _) = bank_after([42, 7, 0]);
        let verdict = ledger.check(&state);
        assert_eq!((verdict.unexplained, verdict.is_ok()), (1, false));
    }

    #[test]
    fn half_a_transfer_is_found() {
        let (mut state, ledger) = bank_after([40, 7, 0]);
        state.balances[17] -= 1;
        let verdict = ledger.clone().check(&state);
        assert_eq!((verdict.wrong_balances, verdict.sum_ok()), (1, false));
        state.balances[18] += 1;
        let verdict = ledger.clone().check(&state);
        assert_eq!((verdict.wrong_balances, verdict.sum_ok()), (2, true));
        assert!(!verdict.is_ok());
    }

    #[test]
    fn acknowledgements_that_cannot_be_are_found() {
        for (client, sequence) in [(0, 42), (0, 40), (3, 1)] {
            let (state, mut ledger) = bank_after([40, 7, 0]);
            ledger.acknowledge(client, sequence);
            assert!(!ledger.check(&state).is_ok(), "client {client}, transfer {sequence}");
        }
    }
}
