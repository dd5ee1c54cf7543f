//! Random histories of a few transactions over a few locks, in all modes. After each step the whole waits-for
//! graph is made anew, from the queues alone, and searched for cycles; and each refusal is held
//! against what would have become of the request.

use proptest::prelude::*;

use super::super::invariants::reaches;
use super::*;
use crate::error::Error;

/// Few, so that they often meet: the rarest ways into a deadlock take four transactions and two locks.
const TRANSACTIONS: u64 = 5;
const LOCKS: u16 = 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    Lock(u64, u16, Mode),
    TryLock(u64, u16, Mode),
    Withdraw(u64),
    ReleaseReads(u64),
    ReleaseAll(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let request = || (1..=TRANSACTIONS, 0..LOCKS, prop::sample::select(&Mode::ALL[..]));
    prop_oneof![
        24 => request().prop_map(|(txn, slot, mode)| Step::Lock(txn, slot, mode)),
        2 => request().prop_map(|(txn, slot, mode)| Step::TryLock(txn, slot, mode)),
        1 => (1..=TRANSACTIONS).prop_map(Step::Withdraw),
        1 => (1..=TRANSACTIONS).prop_map(Step::ReleaseReads),
        1 => (1..=TRANSACTIONS).prop_map(Step::ReleaseAll),
    ]
}

/// Requests, and sees that it is refused exactly if it would wait for ever.
fn request(table: &mut Table, txn: TxnId, name: LockName, mode: Mode) {
    let could = table.could_acquire(txn, name, mode);
    let before = table.clone();
    match table.request(txn, name, mode) {
        Ok(Reply::Granted(_)) => assert!(could && table.holds(txn, name, mode)),
        Ok(Reply::Wait(..)) => assert!(!could && table.is_waiting(txn)),
        Err(Error::Deadlock { .. }) => {
            assert!(!could);
            assert_eq!(table.snapshot(), before.snapshot(), "a refused request leaves no trace");
            let graph = table.graph_with(txn, name, mode);
            assert!(reaches(&graph, txn, txn), "refused without need: {graph:?}");
            // The same without any graph: whatever the others do, it would never be granted.
            let mut entered = before;
            let held = entered.lock(name).mode_of(txn);
            let _ = entered.enqueue(txn, name, held.map_or(mode, |held| held.supremum(mode)));
            assert!(entered.wait_for_ever().contains(&txn), "refused although it would go on");
        }
        Err(other) => panic!("{other}"),
    }
}

/// Takes one step, unless the transaction is waiting and so cannot.
fn take(table: &mut Table, step: Step) {
    let (Step::Lock(txn, ..)
    | Step::TryLock(txn, ..)
    | Step::Withdraw(txn)
    | Step::ReleaseReads(txn)
    | Step::ReleaseAll(txn)) = step;
    let txn = t(txn);
    if table.is_waiting(txn) != matches!(step, Step::Withdraw(_)) {
        return;
    }
    match step {
        Step::Lock(_, slot, mode) => request(table, txn, record(slot), mode),
        Step::TryLock(_, slot, mode) => {
            let could = table.could_acquire(txn, record(slot), mode);
            let before = table.snapshot();
            let granted = table.try_acquire(txn, record(slot), mode).is_some();
            assert_eq!(granted, could);
            assert_eq!(granted, table.holds(txn, record(slot), mode));
            assert!(granted || table.snapshot() == before);
        }
        Step::Withdraw(_) => {
            let held = table.held(txn);
            table.withdraw(txn);
            assert_eq!(table.held(txn), held);
        }
        Step::ReleaseReads(_) => table.release_some(txn, |_, mode| !mode.changes()),
        Step::ReleaseAll(_) => table.release_all(txn),
    }
    table.assert_consistent();
    assert_eq!(table.wait_for_ever().len(), 0, "somebody waits for ever, and nobody was refused");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8192, ..ProptestConfig::default() })]

    /// The checker looks for cycles after every step, so a deadlock that arises without a new
    /// request would be seen; and in the end everybody gets through.
    #[test]
    fn every_history_keeps_the_table_sound(steps in prop::collection::vec(step(), 1..40)) {
        let mut table = Table::default();
        for step in steps {
            take(&mut table, step);
        }
        while let Some(txn) = table.transactions.keys().copied().find(|txn| !table.is_waiting(*txn)) {
            table.release_all(txn);
            table.assert_consistent();
        }
        prop_assert!(table.locks.is_empty() && table.transactions.is_empty());
    }
}
