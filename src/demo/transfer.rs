//! Transfers: what each client does, known in advance.

/// The largest amount of one transfer.
const LARGEST_AMOUNT: usize = 100;

/// One transfer of money.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// The account that is charged.
    pub from: usize,
    /// The account that is credited: another one.
    pub to: usize,
    /// How much.
    pub amount: i64,
}

impl Transfer {
    /// What the client does in its transfer number `sequence` (from 1): always the same.
    ///
    /// Half of all transfers use a few accounts only, so that clients meet, wait for each other and
    /// run into deadlocks; the rest touch all pages of the bank, so that pages are stolen.
    ///
    /// # Panics
    /// With fewer than two accounts.
    #[must_use]
    pub fn of(seed: u64, client: usize, sequence: u64, accounts: usize) -> Self {
        assert!(accounts >= 2, "money goes from one account to another");
        let mut state = mix(seed ^ mix(client as u64 ^ mix(sequence)));
        let mut next = || {
            state = mix(state);
            state
        };
        let from = skewed(next(), next(), accounts);
        let step = 1 + below(next(), skewed_range(next(), accounts).max(2) - 1);
        let amount = 1 + below(next(), LARGEST_AMOUNT);
        let amount = i64::try_from(amount).expect("a small number");
        Self { from, to: (from + step) % accounts, amount }
    }
}

/// A number below `accounts`, small ones more often.
fn skewed(range: u64, random: u64, accounts: usize) -> usize {
    below(random, skewed_range(range, accounts))
}

fn skewed_range(random: u64, accounts: usize) -> usize {
    (accounts >> (random % 8)).max(1)
}

fn below(random: u64, range: usize) -> usize {
    usize::try_from(random % range as u64).expect("below a usize")
}

/// The finalizer of SplitMix64: every bit of the result depends on every bit of `number`.
#[must_use]
pub fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_transfer_is_a_function_of_seed_client_and_sequence() {
        assert_eq!(Transfer::of(1, 2, 3, 1000), Transfer::of(1, 2, 3, 1000));
        let others = [(2, 2, 3), (1, 1, 3), (1, 2, 4)];
        for (seed, client, sequence) in others {
            assert_ne!(Transfer::of(seed, client, sequence, 1000), Transfer::of(1, 2, 3, 1000));
        }
    }

    #[test]
    fn money_goes_from_one_account_to_another_all_over_the_bank() {
        let mut used = BTreeSet::new();
        for accounts in [2, 3, 1000] {
            used.clear();
            for sequence in 1..20_000 {
                let transfer = Transfer::of(7, 0, sequence, accounts);
                assert_ne!(transfer.from, transfer.to);
                assert!((1..=100).contains(&transfer.amount));
                used.extend([transfer.from, transfer.to]);
            }
            assert!(used.len() > accounts * 9 / 10, "{} of {accounts}", used.len());
            assert!(used.iter().all(|account| *account < accounts));
        }
    }
}
