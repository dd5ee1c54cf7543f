//! Random histories: several transactions at a time, checkpoints, evictions, full segments, closed
//! databases, dying processes, failing disks and power failures, also in the middle of recovery; transactions in doubt outlive all of that. After each the database is compared, page by page and record by record, with a [`model`] that knows
//! nothing of pages in memory, of the log's bytes or of recovery.
//!
//! `PROPTEST_CASES=10000 cargo test histories` runs more of them.

mod audit;
mod found;
mod journal;
mod locks;
mod model;
mod oracle;
pub mod steps;
pub mod world;

use proptest::prelude::*;
use proptest::strategy::Union;
use proptest::test_runner::{Config, FileFailurePersistence};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use aries::config::LogBlock;

use steps::{Failure, Fate, Fault, SESSIONS, Step, Work};
use world::World;

/// What makes a step worth while. (What it must come to, only the model beside the database knows:
/// which pages and slots there are, and what a crash left, the engine decides.)
#[derive(Clone, Debug, Default)]
struct Outline {
    open: [bool; SESSIONS],
    deferred: usize,
    /// Transactions in doubt, or more.
    in_doubt: usize,
    checkpointing: bool,
}

impl ReferenceStateMachine for Outline {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        let mut choices = vec![
            (
                40,
                (0..SESSIONS, work()).prop_map(|(session, work)| Step::Work(session, work)).boxed(),
            ),
            (5, nested().boxed()),
            (12, engine_step(state).boxed()),
            (3, failure().boxed()),
        ];
        let open: Vec<usize> = (0..SESSIONS).filter(|session| state.open[*session]).collect();
        if !open.is_empty() {
            choices.push((14, proptest::sample::select(open).prop_flat_map(end).boxed()));
        }
        if state.in_doubt > 0 {
            choices.push((4, decide().boxed()));
        }
        Union::new_weighted(choices).boxed()
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match step {
            Step::Commit(session)
            | Step::CommitDeferred(session)
            | Step::Rollback(session)
            | Step::Prepare(session)
            | Step::Drop(session) => state.open[*session],
            Step::Decide { .. } => state.in_doubt > 0,
            Step::Wait => state.deferred > 0,
            Step::CompleteCheckpoint => state.checkpointing,
            _ => true,
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        match step {
            Step::Work(session, _) | Step::Nested { session, .. } => state.open[*session] = true,
            Step::Commit(session) | Step::Rollback(session) | Step::Drop(session) => {
                state.open[*session] = false;
            }
            Step::CommitDeferred(session) => {
                state.open[*session] = false;
                state.deferred += 1;
            }
            Step::Prepare(session) => {
                state.open[*session] = false;
                state.in_doubt += 1;
            }
            Step::Decide { .. } => state.in_doubt -= 1,
            Step::Wait => state.deferred -= 1,
            Step::BeginCheckpoint => state.checkpointing = true,
            Step::CompleteCheckpoint => state.checkpointing = false,
            Step::Close if state.open.contains(&true) => {}
            Step::Close | Step::Kill(_) | Step::PowerFailure(..) => {
                return Self { in_doubt: state.in_doubt, ..Self::default() };
            }
            _ => {}
        }
        state
    }
}

fn work() -> impl Strategy<Value = Work> {
    let length = || prop_oneof![3 => 1_u16..40, 1 => 100_u16..900];
    prop_oneof![
        3 => Just(Work::Allocate),
        1 => any::<u8>().prop_map(|page| Work::Free { page }),
        6 => (any::<u8>(), length(), any::<u8>())
            .prop_map(|(page, length, fill)| Work::Insert { page, length, fill }),
        6 => (any::<u16>(), any::<u16>(), length(), any::<u8>())
            .prop_map(|(record, offset, length, fill)| {
                Work::Write { record, offset, length, fill }
            }),
        1 => (any::<u16>(), 2_u8..60).prop_map(|(record, times)| Work::Rewrite { record, times }),
        3 => any::<u16>().prop_map(|record| Work::Delete { record }),
        3 => any::<u16>().prop_map(|record| Work::Read { record }),
        1 => any::<u8>().prop_map(|page| Work::Scan { page }),
        2 => Just(Work::Savepoint),
        2 => any::<u8>().prop_map(|savepoint| Work::RollbackTo { savepoint }),
    ]
}

fn nested() -> impl Strategy<Value = Step> {
    let inside = proptest::collection::vec(work(), 1..5);
    (0..SESSIONS, inside, prop::bool::weighted(0.8))
        .prop_map(|(session, inside, end)| Step::Nested { session, inside, end })
}

fn end(session: usize) -> BoxedStrategy<Step> {
    prop_oneof![
        5 => Just(Step::Commit(session)),
        3 => Just(Step::CommitDeferred(session)),
        3 => Just(Step::Rollback(session)),
        3 => Just(Step::Prepare(session)),
        1 => Just(Step::Drop(session)),
    ]
    .boxed()
}

fn decide() -> impl Strategy<Value = Step> {
    (any::<u8>(), any::<bool>()).prop_map(|(which, commit)| Step::Decide { which, commit })
}

fn engine_step(state: &Outline) -> Union<BoxedStrategy<Step>> {
    let mut choices = vec![
        (2, Just(Step::Checkpoint).boxed()),
        (1, Just(Step::BeginCheckpoint).boxed()),
        (3, any::<u8>().prop_map(Step::FlushPage).boxed()),
        (1, Just(Step::FlushPages).boxed()),
        (1, Just(Step::ForceLog).boxed()),
        (4, Just(Step::Background).boxed()),
        (1, Just(Step::Audit).boxed()),
    ];
    if state.deferred > 0 {
        choices.push((2, Just(Step::Wait).boxed()));
    }
    if state.checkpointing {
        choices.push((3, Just(Step::CompleteCheckpoint).boxed()));
    }
    Union::new_weighted(choices)
}

fn failure() -> impl Strategy<Value = Step> {
    let again = || proptest::collection::vec(fault(60), 0..3);
    prop_oneof![
        1 => Just(Step::Close),
        2 => again().prop_map(Step::Kill),
        3 => (fate(), again()).prop_map(|(fate, again)| Step::PowerFailure(fate, again)),
        3 => fault(40).prop_map(Step::Fault),
    ]
}

fn fault(within: u16) -> impl Strategy<Value = Fault> {
    let failure = prop_oneof![
        3 => fate().prop_map(Failure::Power),
        1 => any::<(bool, bool)>()
            .prop_map(|(drop_cache, marked)| Failure::InputOutput { drop_cache, marked }),
    ];
    (0..within, failure).prop_map(|(after, failure)| Fault { after, failure })
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::None),
        Just(Fate::All),
        any::<u64>().prop_map(Fate::Random),
        any::<u16>().prop_map(Fate::Only),
        any::<u16>().prop_map(Fate::AllBut),
    ]
}

struct Histories;

impl StateMachineTest for Histories {
    type SystemUnderTest = World;
    type Reference = Outline;

    fn init_test(_: &Outline) -> World {
        let mut world = World::default();
        world.recover(&[]);
        world
    }

    fn apply(mut world: World, _: &Outline, step: Step) -> World {
        world.step(&step);
        world
    }

    fn teardown(mut world: World, _: Outline) {
        world.step(&Step::Kill(Vec::new()));
    }
}

/// The same, with a log that is padded in one run and not in the next.
struct PaddedHistories;

impl StateMachineTest for PaddedHistories {
    type SystemUnderTest = World;
    type Reference = Outline;

    fn init_test(_: &Outline) -> World {
        let mut world = World::new(&[
            LogBlock::Padded(512),
            LogBlock::Padded(4096),
            LogBlock::Rewritten,
            LogBlock::Padded(512),
        ]);
        world.recover(&[]);
        world
    }

    fn apply(world: World, outline: &Outline, step: Step) -> World {
        Histories::apply(world, outline, step)
    }

    fn teardown(world: World, outline: Outline) {
        Histories::teardown(world, outline);
    }
}

/// In milliseconds. (Each panic on the way may take a second, to name its callers.)
const LONGEST_SHRINKING: u32 = 120_000;

fn config(cases: u32) -> Config {
    let asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    let default = Config::default();
    Config {
        cases: if asked_for { default.cases } else { cases },
        max_shrink_iters: 20_000,
        max_shrink_time: LONGEST_SHRINKING,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/it/histories/regressions.txt",
        ))),
        ..default
    }
}

prop_state_machine! {
    #![proptest_config(config(1000))]

    /// Whatever happens, in whatever order: what was acknowledged is there, and nothing else.
    #[test]
    fn any_history_survives_any_crash(sequential 1..150 => Histories);
}

prop_state_machine! {
    #![proptest_config(config(300))]

    /// Also where no durable block of the log is written again, and with page images, and redo by several
    /// threads: another way at each open, whatever the run before did.
    #[test]
    fn any_history_survives_any_crash_with_padded_logs(sequential 1..150 => PaddedHistories);
}
