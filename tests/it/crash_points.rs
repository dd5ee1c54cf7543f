//! Short histories that are interrupted at every single I/O: by a power failure, with each choice
//! of what survives, or by a sync that fails.

use aries::Result;
use aries::disk::{Fault, FaultKind, SimDisk, Survivors};

use crate::histories::steps::{Fate, Step, Work};
use crate::histories::world::{World, survivors};

fn work(session: usize, work: Work) -> Step {
    Step::Work(session, work)
}

fn insert(session: usize, page: u8, length: u16) -> Step {
    work(session, Work::Insert { page, length, fill: page })
}

fn write(session: usize, record: u16, fill: u8) -> Step {
    work(session, Work::Write { record, offset: 3, length: 9, fill })
}

/// Three transactions on two pages: one commits, one rolls back, one is a loser; a checkpoint in
/// the middle of them, a page written early.
fn three_transactions() -> Vec<Step> {
    vec![
        work(0, Work::Allocate),
        work(0, Work::Allocate),
        insert(0, 0, 40),
        insert(0, 0, 20),
        insert(0, 1, 30),
        insert(0, 1, 50),
        Step::Commit(0),
        write(0, 0, 1),
        write(1, 1, 2),
        Step::BeginCheckpoint,
        write(2, 2, 3),
        Step::CompleteCheckpoint,
        insert(1, 1, 60),
        Step::FlushPage(1),
        Step::Rollback(1),
        work(2, Work::Delete { record: 2 }),
        Step::Commit(2),
        work(0, Work::Delete { record: 0 }),
        Step::FlushPages,
        write(1, 1, 4),
        Step::CommitDeferred(1),
        insert(0, 0, 10),
    ]
}

/// Pages are freed by a commit, by a deferred commit, by a rollback, and by a loser.
fn freed_pages() -> Vec<Step> {
    let mut steps = vec![work(0, Work::Allocate); 4];
    steps.extend((0..4).map(|page| insert(0, page, 30)));
    steps.extend([
        Step::Commit(0),
        work(0, Work::Free { page: 3 }),
        Step::Commit(0),
        work(1, Work::Free { page: 2 }),
        Step::CommitDeferred(1),
        work(0, Work::Free { page: 0 }),
        work(2, Work::Allocate),
        Step::FlushPages,
        Step::Rollback(0),
        insert(2, 2, 25),
        Step::Checkpoint,
        Step::Commit(2),
        work(3, Work::Free { page: 1 }),
        Step::ForceLog,
    ]);
    steps
}

/// More pages than frames, changed by a loser and by a winner.
fn evictions() -> Vec<Step> {
    let mut steps = Vec::new();
    for page in 0..20 {
        steps.extend([work(0, Work::Allocate), insert(0, page, 35), insert(0, page, 35)]);
    }
    steps.push(Step::Commit(0));
    for record in 0..20 {
        steps.extend([write(1, 2 * record, 1), write(2, record, 2)]);
    }
    steps.extend([Step::Commit(2), Step::Background]);
    steps
}

/// The log goes through several segments; a checkpoint truncates it, segments are recycled.
fn segments() -> Vec<Step> {
    let rewrite = |session, times| work(session, Work::Rewrite { record: 0, times });
    let mut steps = vec![work(0, Work::Allocate), insert(0, 0, 400), Step::Commit(0)];
    for _ in 0..3 {
        steps.extend([rewrite(0, 60), Step::Commit(0), Step::Background, Step::Background]);
    }
    steps.extend([rewrite(1, 15), Step::Rollback(1), rewrite(2, 15), Step::ForceLog]);
    steps
}

/// Nested top actions, ended and given up; savepoints.
fn nested_actions() -> Vec<Step> {
    let inside = |page, length| vec![Work::Allocate, Work::Insert { page, length, fill: 7 }];
    vec![
        work(0, Work::Allocate),
        insert(0, 0, 30),
        Step::Nested { session: 0, inside: inside(1, 33), end: true },
        write(0, 0, 5),
        work(1, Work::Savepoint),
        Step::Nested { session: 1, inside: inside(2, 44), end: false },
        Step::FlushPages,
        work(1, Work::RollbackTo { savepoint: 0 }),
        Step::Nested { session: 1, inside: inside(2, 55), end: true },
        Step::Rollback(1),
        Step::ForceLog,
    ]
}

/// Transactions in doubt: one has freed and allocated pages, one has only read, one is decided upon
/// after another crash; some are committed, some rolled back, one is left.
fn in_doubt() -> Vec<Step> {
    let decide = |which, commit| Step::Decide { which, commit };
    let mut steps = vec![work(0, Work::Allocate); 4];
    steps.extend((0..4).map(|page| insert(0, page, 30)));
    steps.extend([
        Step::Commit(0),
        write(0, 0, 1),
        work(0, Work::Free { page: 1 }),
        work(0, Work::Allocate),
        insert(0, 3, 20),
        Step::Prepare(0),
        Step::BeginCheckpoint,
        write(1, 0, 2),
        Step::Prepare(1),
        Step::CompleteCheckpoint,
        work(2, Work::Read { record: 0 }),
        Step::Prepare(2),
        decide(0, true),
        work(3, Work::Delete { record: 0 }),
        Step::Prepare(3),
        Step::Kill(Vec::new()),
        decide(0, false),
        Step::FlushPages,
        work(0, Work::Allocate),
        Step::Prepare(0),
        Step::Checkpoint,
        decide(1, true),
        decide(0, true),
    ]);
    steps
}

/// Takes the steps, beginning with making the database; a process that dies is started again.
fn run(world: &mut World, steps: &[Step]) -> Result<()> {
    world.reopen()?;
    steps.iter().try_for_each(|step| match step {
        Step::Kill(_) => {
            world.kill();
            world.reopen()
        }
        step => world.try_step(step),
    })
}

/// Runs the steps and then, in the same way, `after`, with a fault at each I/O in turn.
fn at_each_io(steps: &[Step], kind: FaultKind, mut after: impl FnMut(World, u64)) -> u64 {
    for at in 0.. {
        let mut world = World::default();
        world.disk.inject(Fault { at, kind, forever: false });
        let interrupted = run(&mut world, steps).is_err();
        if world.disk.io_count() <= at {
            assert!(!interrupted, "nothing had failed");
            return at;
        }
        world.kill();
        after(world, at);
    }
    unreachable!("every history ends")
}

/// More pending changes are not taken one by one: then some are, others at other I/Os.
const MOST_CHANGES: usize = 6;

/// Each pending change alone, all but each one, all, none, and eight random choices.
fn all_fates(disk: &SimDisk, at: u64) -> impl Iterator<Item = Fate> + use<> {
    let pending = disk.pending().len();
    let stride = pending.div_ceil(MOST_CHANGES).max(1);
    (at as usize % stride..pending)
        .step_by(stride)
        .map(|number| number as u16)
        .flat_map(|number| [Fate::Only(number), Fate::AllBut(number)])
        .chain([Fate::All, Fate::None])
        .chain((0..8).map(move |seed| Fate::Random(8 * at + seed)))
}

/// The power fails at each I/O of the history, of a clean close or a kill, and of the restart
/// after it.
fn survives_power_failure_at_each_io(mut steps: Vec<Step>, last: Step) {
    steps.push(last);
    let count = at_each_io(&steps, FaultKind::PowerOff, |world, at| {
        for fate in all_fates(&world.disk, at) {
            let image = world.disk.crash(&survivors(&world.disk, fate));
            world.fork(image).reopen().unwrap();
        }
    });
    assert!(count > 100, "only {count} I/Os");
}

/// The power fails behind the history, then at each I/O of the restart.
fn survives_power_failure_in_restart(steps: &[Step]) {
    let mut world = World::default();
    run(&mut world, steps).unwrap();
    let running = world.disk.clone();
    let images: Vec<SimDisk> = [Fate::None, Fate::All, Fate::Random(1), Fate::Random(2)]
        .map(|fate| running.crash(&survivors(&running, fate)))
        .into();
    world.kill();
    for image in images {
        for at in 0.. {
            let mut first = world.fork(image.crash(&Survivors::All));
            first.disk.inject(Fault { at, kind: FaultKind::PowerOff, forever: false });
            if first.reopen().is_ok() {
                break;
            }
            for fate in [Fate::None, Fate::All].into_iter().chain((0..4).map(Fate::Random)) {
                let image = first.disk.crash(&survivors(&first.disk, fate));
                first.fork(image).reopen().unwrap();
            }
        }
    }
}

#[test]
fn three_transactions_survive_power_failure_at_each_io() {
    survives_power_failure_at_each_io(three_transactions(), Step::Kill(Vec::new()));
    survives_power_failure_in_restart(&three_transactions());
}

#[test]
fn freed_pages_survive_power_failure_at_each_io() {
    survives_power_failure_at_each_io(freed_pages(), Step::Kill(Vec::new()));
    survives_power_failure_in_restart(&freed_pages());
}

#[test]
fn evictions_survive_power_failure_at_each_io() {
    survives_power_failure_at_each_io(evictions(), Step::Kill(Vec::new()));
    survives_power_failure_in_restart(&evictions());
}

#[test]
fn segments_survive_power_failure_at_each_io() {
    let mut world = World::default();
    run(&mut world, &segments()).unwrap();
    let truncated = world.db().master_record().oldest_required_lsn.get();
    assert!(truncated > 64 * 1024, "the log is kept from {truncated} on");
    survives_power_failure_at_each_io(segments(), Step::Kill(Vec::new()));
    survives_power_failure_in_restart(&segments());
}

#[test]
fn nested_actions_survive_power_failure_at_each_io() {
    survives_power_failure_at_each_io(nested_actions(), Step::Kill(Vec::new()));
    survives_power_failure_in_restart(&nested_actions());
}

#[test]
fn transactions_in_doubt_survive_power_failure_at_each_io() {
    let mut world = World::default();
    run(&mut world, &in_doubt()).unwrap();
    assert_eq!(world.db().prepared().len(), 1, "one is left");
    survives_power_failure_at_each_io(in_doubt(), Step::Kill(Vec::new()));
    survives_power_failure_at_each_io(in_doubt(), Step::Close);
    survives_power_failure_in_restart(&in_doubt());
}

#[test]
fn a_clean_close_survives_power_failure_at_each_io() {
    let mut steps = three_transactions();
    steps.push(Step::Commit(0));
    survives_power_failure_at_each_io(steps, Step::Close);
}

/// After a sync that failed nothing is acknowledged any more, and nothing that was is lost, even if the mark
/// of distrust could not be left (`marked` false): whether or not the cache goes on showing what never reached the disk, and also when the power fails
/// later. `from` is the first I/O that may fail.
fn survives_each_failing_sync(from: u64, marked: bool, steps: &[Step]) -> usize {
    let mut failed_syncs = 0;
    for drop_cache in [false, true] {
        for at in from.. {
            let mut world = World::default();
            world.disk.inject(Fault { at, kind: FaultKind::InputOutputError, forever: false });
            let outcome = run(&mut world, steps);
            if world.disk.io_count() <= at {
                break;
            }
            let Err(error) = outcome else { continue };
            if !error.to_string().contains("cannot sync") {
                continue;
            }
            failed_syncs += 1;
            if world.is_open() {
                nothing_is_acknowledged(&mut world);
            }
            world.kill();
            if !marked {
                world.disk.remove_file("distrust");
            }
            if drop_cache {
                world.disk.drop_cache();
            }
            world.reopen().unwrap();
            goes_on_and_loses_power(world);
        }
    }
    failed_syncs
}

fn ios_of_making_a_database() -> u64 {
    let mut world = World::default();
    world.reopen().unwrap();
    world.disk.io_count()
}

fn history_survives_each_failing_sync(mut steps: Vec<Step>) {
    steps.push(Step::Kill(Vec::new()));
    let failed = survives_each_failing_sync(ios_of_making_a_database(), false, &steps);
    assert!(failed > 20, "only {failed} syncs");
}

fn nothing_is_acknowledged(world: &mut World) {
    let before = world.acknowledged();
    for session in 0..4 {
        let end = if session % 2 == 0 { Step::Commit } else { Step::CommitDeferred };
        assert!(world.try_step(&end(session)).is_err());
    }
    assert!(world.try_step(&Step::Wait).is_err());
    for step in [work(0, Work::Allocate), Step::Checkpoint, Step::ForceLog, Step::FlushPages] {
        assert!(world.try_step(&step).is_err(), "{step:?}");
    }
    assert_eq!(world.acknowledged(), before);
}

/// New work on old and new pages, none of which is written; then a power failure.
fn goes_on_and_loses_power(mut world: World) {
    for _ in 0..4 {
        world.step(&work(0, Work::Allocate));
    }
    for page in 0..8 {
        world.step(&insert(0, page, 20));
    }
    world.step(&Step::Commit(0));
    world.power_failure(Fate::None);
    world.reopen().unwrap();
}

#[test]
fn three_transactions_survive_each_failing_sync() {
    history_survives_each_failing_sync(three_transactions());
}

#[test]
fn transactions_in_doubt_survive_each_failing_sync() {
    history_survives_each_failing_sync(in_doubt());
}

#[test]
fn freed_pages_survive_each_failing_sync() {
    history_survives_each_failing_sync(freed_pages());
}

#[test]
fn evictions_survive_each_failing_sync() {
    history_survives_each_failing_sync(evictions());
}

#[test]
fn segments_survive_each_failing_sync() {
    history_survives_each_failing_sync(segments());
}

/// Also in a database that is still being made. Where no mark could be left, from the I/O on that follows
/// the sync of the directory `log` itself: see `docs/design.md`.
#[test]
fn a_new_database_survives_each_failing_sync() {
    for (from, marked) in [(0, true), (10, false)] {
        let failed = survives_each_failing_sync(from, marked, &[]);
        assert!(failed > 20, "only {failed} syncs");
    }
}
