//! The crash lab: what it explores it covers, what the engine promises holds there, and what it does not promise
//! is found to be broken.

use std::collections::BTreeMap;

use aries::config::{LogBlock, TornPageProtection};
use aries::crash::{
    Bounds, Clause, Coverage, Crash, Explorer, Failure, Fate, Harm, Kind, Level, Line, Plan,
    Setting, Struck, Violation, Vocabulary, minimised, replay,
};
use aries::disk::{Fault, FaultKind, Metadata, Part, PowerFailure, SectorSize, Survivors, Torn};

fn plan(setting: Setting, depth: usize) -> Plan {
    let bounds = Bounds { transactions: 3, pages: 2, vocabulary: Vocabulary::Records };
    Plan {
        setting,
        bounds,
        kind: Kind::Crashes,
        depth,
        kills: true,
        shard: 0,
        shards: 1,
        threads: 2,
    }
}

fn explore(plan: Plan, steps: usize) -> (Option<Failure>, Coverage) {
    let explorer = Explorer::new(plan).unwrap();
    let failure = explorer.run(0..=steps);
    (failure, explorer.coverage())
}

fn setting(protection: TornPageProtection, block: LogBlock, power: PowerFailure) -> Setting {
    Setting { protection, log_block: block, power, ..Setting::default() }
}

/// All that the engine says it survives: each level of what a power failure may do, with each protection that is
/// made for it.
fn promised() -> Vec<Setting> {
    use TornPageProtection::{DoubleWrite, None, PageImages};
    let power = PowerFailure::default();
    let ordered = PowerFailure { metadata: Metadata::Ordered, ..power };
    let torn = PowerFailure { torn: Torn::PrefixOrSuffix, ..ordered };
    let garbage = PowerFailure { torn: Torn::Garbage, ..power };
    let large = PowerFailure { sector: SectorSize::Bytes4096, ..garbage };
    let mut settings = vec![setting(None, LogBlock::Rewritten, power)];
    for protection in [DoubleWrite, PageImages] {
        settings.extend([
            setting(protection, LogBlock::Rewritten, power),
            setting(protection, LogBlock::Rewritten, ordered),
            setting(protection, LogBlock::Rewritten, torn),
            setting(protection, LogBlock::Padded(512), garbage),
            setting(protection, LogBlock::Padded(4096), large),
        ]);
    }
    settings
}

/// Every history of two steps, every crash point, every state of the disk, and every crash inside every recovery.
/// (A batch in the double-write file was written again before it was used: `insert P1; flush P1`, the page torn,
/// and a crash in the recovery that garbles that batch lost the page.)
#[test]
fn short_histories_survive_every_crash_on_every_disk() {
    for setting in promised() {
        let (failure, coverage) = explore(plan(setting, 1), 2);
        assert_eq!(failure, None, "{setting:?}");
        assert!(coverage.is_complete() || setting.power.sector == SectorSize::Bytes4096);
        assert!(coverage.finished && coverage.histories == 92, "{coverage:?}");
        assert!(coverage.states >= 100 && coverage.nested > coverage.states / 2, "{coverage:?}");
    }
}

/// Pages that come and go, a log that goes on to its next segment, transactions in doubt, deferred commits; and
/// processes that die while the power stays.
#[test]
fn space_and_outcomes_survive_every_crash() {
    for vocabulary in [Vocabulary::Space, Vocabulary::Outcomes] {
        for level in [Level::L0, Level::L1, Level::L3] {
            let setting = level.setting(TornPageProtection::DoubleWrite, SectorSize::Bytes512);
            let mut plan = plan(setting, 1);
            plan.bounds.vocabulary = vocabulary;
            let (failure, coverage) = explore(plan, 2);
            assert_eq!(failure, None, "{}, {}", level.name(), vocabulary.name());
            assert!(coverage.is_complete(), "{coverage:?}");
            assert!(coverage.states > 150 && coverage.killed > 10, "{coverage:?}");
        }
    }
}

/// Each call fails, once and for ever after, or does only a part; writes are lost or land elsewhere; bits rot.
#[test]
fn faults_of_the_disk_are_survived_told_or_out_of_reach() {
    for protection in [TornPageProtection::DoubleWrite, TornPageProtection::PageImages] {
        let setting = Level::L0.setting(protection, SectorSize::Bytes512);
        let (failure, coverage) = explore(Plan { kind: Kind::Faults, ..plan(setting, 1) }, 1);
        assert_eq!(failure, None, "{}", protection.name());
        let struck = FaultKind::ALL.iter().zip(coverage.struck);
        for (kind, Struck { runs, harmless, noticed, limits }) in struck {
            assert_eq!(harmless + noticed + limits, runs, "{kind:?}");
            match kind {
                FaultKind::PowerOff => {
                    assert_eq!(runs, 0, "the power is what all the rest is about")
                }
                FaultKind::InputOutputError | FaultKind::DiskFull => {
                    assert!(noticed > 50 && limits == 0, "{kind:?}: {noticed}, {limits}");
                }
                FaultKind::ShortRead | FaultKind::ShortWrite => {
                    assert!(harmless > 20 && noticed + limits == 0, "{kind:?}: {harmless}");
                }
                FaultKind::StaleRead => assert!(runs > 20, "{runs}"),
                _ => assert!(
                    harmless > 20 && noticed > 10 && limits > 10,
                    "{kind:?}: {harmless}, {noticed}, {limits}"
                ),
            }
        }
    }
}

/// A write that is lost, whichever it is, is no failure when it is replayed either: what nothing could tell is known.
#[test]
fn a_known_limit_is_none_when_it_is_replayed() {
    let plan = plan(Setting::default(), 1);
    let replayed = |at: u64, io: u64| {
        let fault = Fault { at, kind: FaultKind::LostWrite, forever: false };
        let violation = Violation { clause: Clause::Noticed, found: String::new() };
        let survivors = Some(Survivors::Parts(BTreeMap::new()));
        replay(&Failure {
            setting: plan.setting,
            bounds: plan.bounds,
            history: "T1: update P1; T1: commit".parse().unwrap(),
            harm: Some(Harm::InHistory(fault)),
            crashes: vec![Crash { io, survivors }],
            violation,
        })
    };
    let end = (0..200).rfind(|io| replayed(0, *io).is_ok()).unwrap();
    for at in 0..end {
        assert_eq!(replayed(at, end).unwrap().violation, None, "I/O {at} of {end}");
    }
}

/// Random histories of all steps there are, on a log and in a file that are full, with each crash at each moment.
#[test]
fn long_histories_survive_their_crashes() {
    let setting = Level::L0.setting(TornPageProtection::DoubleWrite, SectorSize::Bytes512);
    let mut plan = Plan { kind: Kind::Long, shards: 5, ..plan(setting, 1) };
    plan.bounds.vocabulary = Vocabulary::Everything;
    let explorer = Explorer::new(plan).unwrap();
    assert_eq!(explorer.run(1..=2), None);
    let coverage = explorer.coverage();
    assert_eq!(coverage.histories, 4, "a fifth of ten of each length");
    assert!(coverage.states > 1_000, "{coverage:?}");
}

/// A page that is torn in place, with nothing to make it whole; a log whose durable block is written again, on a
/// disk that makes garbage of it.
#[test]
fn what_is_not_promised_is_found_broken() {
    let torn = PowerFailure { torn: Torn::PrefixOrSuffix, ..PowerFailure::default() };
    let garbage = PowerFailure { torn: Torn::Garbage, ..PowerFailure::default() };
    for setting in [
        setting(TornPageProtection::None, LogBlock::Rewritten, torn),
        setting(TornPageProtection::DoubleWrite, LogBlock::Rewritten, garbage),
    ] {
        let (failure, coverage) = explore(Plan { kills: false, ..plan(setting, 1) }, 3);
        let failure = failure.unwrap_or_else(|| panic!("nothing is found in {setting:?}"));
        assert_eq!(failure.violation.clause, Clause::Opens, "{failure:?}");
        assert!(failure.history.0.len() <= 2 && !failure.crashes.is_empty(), "{failure:?}");
        assert!(!coverage.finished, "it stops at what it found");
        let least = minimised(&failure).unwrap();
        assert!(least.history.0.len() <= failure.history.0.len(), "{least:?}");
        assert_eq!(least.violation.clause, Clause::Opens, "{least:?}");
        let replayed = replay(&least).unwrap();
        assert_eq!(replayed.violation, Some(least.violation));
        let crashes = replayed.lines.iter().filter_map(|line| match line {
            Line::Crash { pending, .. } => Some(pending),
            _ => None,
        });
        // A torn sector is all that it takes.
        let fates: Vec<Fate> = crashes.flatten().map(|pended| pended.fate).collect();
        let whole = fates.iter().filter(|fate| **fate == Fate::Survived(Part::Whole)).count();
        assert_eq!(fates.len() - whole, 1, "{fates:?}");
        let steps = replayed.lines.iter().filter(|line| matches!(line, Line::Step(_))).count();
        assert_eq!(steps, least.history.0.len());
    }
}

/// The recovery of each state that a history leaves is crashed, also if a recovery crashed before had left that state.
#[test]
fn no_recovery_is_left_out() {
    let flat = explore(plan(Setting::default(), 0), 3).1;
    let deep = explore(plan(Setting::default(), 1), 3).1;
    assert_eq!(deep.checked - deep.nested - deep.killed, flat.checked);
    assert!(deep.killed > 0 && flat.killed == 0);
}

/// Shards cover what the whole covers, and each history once.
#[test]
fn shards_add_up() {
    let whole = plan(Setting::default(), 0);
    let (_, coverage) = explore(whole, 3);
    let mut sum = Coverage { finished: true, ..Coverage::default() };
    for shard in 0..3 {
        let part = explore(Plan { shard, shards: 3, ..whole }, 3).1;
        assert!(part.histories.abs_diff(coverage.histories / 3) <= 1);
        sum.add(&part);
    }
    assert_eq!((sum.histories, sum.points), (coverage.histories, coverage.points));
    assert_eq!((sum.ways, sum.is_complete()), (coverage.ways, true));
    // States that two shards come to are counted by both.
    assert!(sum.states >= coverage.states);
}
