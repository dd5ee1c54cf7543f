//! `aries crash`.

mod counts;
mod failure;
mod merge;
mod sabotage;
mod tally;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use self::tally::Tally;
use super::output::{Output, print};
use super::progress::Waiting;
use super::{DONE, SOMETHING_WRONG, WrongUsage};
use crate::config::TornPageProtection;
use crate::crash;
use crate::crash::{
    Bounds, Coverage, Explorer, Failure, Kind, Level, MOST_PAGES, MOST_TRANSACTIONS, Plan,
    Vocabulary,
};
use crate::demo::{counted, grouped};
use crate::disk::SectorSize;
use crate::sync::{AtomicBool, Ordering};

const EXAMPLES: &str = "\
Examples:
  aries crash                                 a minute: all levels, longer and longer histories
  aries crash --steps 4 --seconds 0           every history of up to four steps, however long that takes
  aries crash --level L1 --protection page-images --depth 2 --steps 3 --seconds 0
  aries crash --steps 5 --seconds 0 --shard 0/8 --json > part-0.jsonl     one of eight jobs
  aries crash merge part-*.jsonl              adds the parts up, and says whether one is missing
  aries crash replay crash-failure.json       a failure once more, line by line

Exit code 0 if nothing is wrong, 1 if a crash loses something, 2 for wrong usage.
";

const SHAPE: &str = "\
With --json a line for each kind, level, protection, vocabulary and length that was explored, each an object (JSON Lines):
  version          of this shape: 1
  kind, level, protection, vocabulary, sector, steps, transactions, pages, depth
                   what was explored: histories of exactly so many steps
  kills            whether processes also died while the power stayed
  shard, shards    which part of it
  histories        histories run
  points           moments at which the power might fail, sampled_points of them with more than 12 changes
                   that were not durable: there not every subset was tried
  ways             subsets tried
  states           distinct states of the disk that were recovered and checked
  checked          the same, but counted once for each thing that must be there, and for each depth of crashes inside
  nested           of those checked, how many a crash inside a recovery left
  killed           of those checked, how many a process left which died while the power stayed
  faults           faults of the disk by kind: runs, of them harmless, noticed, and known limits, where nothing could tell
  recovered        distinct disks that came of it; on each, recovery was repeated and work went on
  finished         whether all histories were run, rather than the time was up
  complete         finished, with every subset at every point
  seconds          that it took
  failure          null, or what went wrong: as in the file that is saved";

/// Crashes a database at every point, in every way, and checks what recovery makes of it.
///
/// All short histories of transactions are run on a simulated disk. Before each I/O the power might fail: every state
/// that the disk may then be left in is recovered, and compared with what must be there. Crashes inside recovery, too.
/// What was covered is counted, and said to be complete only where nothing was left out.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_long_help = format!("{EXAMPLES}\n{SHAPE}"), after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    explore: Explore,
}

#[derive(Subcommand)]
enum Command {
    /// Adds up what jobs have explored, each one a shard
    Merge(merge::Arguments),
    /// Replays a failure that was saved, line by line
    Replay(failure::Arguments),
    /// Breaks rules of the engine on purpose, and finds the crashes that expose them
    Sabotage(sabotage::Arguments),
}

#[derive(Args)]
struct Explore {
    /// Most steps of a history
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(0..=12))]
    steps: u16,
    /// Stop after so many seconds; 0 is never
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Crashes inside recovery, one upon the other
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=3))]
    depth: u16,
    /// Most transactions of a history
    #[arg(long, default_value_t = MOST_TRANSACTIONS as u64,
          value_parser = clap::value_parser!(u64).range(1..=MOST_TRANSACTIONS as u64))]
    transactions: u64,
    /// Most pages of a history
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=MOST_PAGES as u64))]
    pages: u64,
    /// Which kind of exploration: crashes; faults (of the disk, each at each call, in histories one step shorter, at level L0
    /// if none is named); long (ten random histories of all steps, eight times as long). One after the other: each gets
    /// its share of the time
    #[arg(long, value_parser = |name: &str| named(name, Kind::ALL, Kind::name))]
    kind: Vec<Kind>,
    /// What the disk may do when the power fails: L0 sectors in any order, L1 and torn, L2 and garbage, L3 names and lengths in any order
    #[arg(long, value_parser = |name: &str| named(name, Level::ALL, Level::name))]
    level: Vec<Level>,
    /// How torn pages are made whole: double-write, page-images, none
    #[arg(long, value_parser = |name: &str| named(name, TornPageProtection::ALL, TornPageProtection::name))]
    protection: Vec<TornPageProtection>,
    /// Which steps: records, space (pages come and go), outcomes (deferred commits, transactions in doubt). Long histories
    /// have all of them, and are left out when some are named here
    #[arg(long, value_parser = |name: &str| named(name, Vocabulary::ENUMERATED, Vocabulary::name))]
    vocabulary: Vec<Vocabulary>,
    /// Only the power fails: processes do not die alone
    #[arg(long)]
    no_kill: bool,
    /// Bytes of a sector
    #[arg(long, default_value = "512", value_parser = sector)]
    sector: SectorSize,
    /// Threads; one for each processor by default
    #[arg(long)]
    threads: Option<usize>,
    /// Only this part of all histories, of so many: 0/8 is the first of eight
    #[arg(long, value_name = "I/N", default_value = "0/1", value_parser = shard)]
    shard: (u64, u64),
    /// Print a line of JSON for each part; --help says what it holds
    #[arg(long)]
    json: bool,
    /// Where a failure is saved
    #[arg(long, value_name = "FILE", default_value = "crash-failure.json")]
    save: PathBuf,
}

/// The one of this name, in capitals or not.
fn named<T: Copy>(
    name: &str,
    all: impl IntoIterator<Item = T>,
    name_of: impl Fn(T) -> &'static str,
) -> Result<T, String> {
    let all: Vec<T> = all.into_iter().collect();
    let found = all.iter().find(|one| name_of(**one).eq_ignore_ascii_case(name));
    let names = || all.iter().map(|one| name_of(*one)).collect::<Vec<_>>().join(", ");
    found.copied().ok_or_else(|| format!("it is one of {}", names()))
}

fn sector(text: &str) -> Result<SectorSize, String> {
    match text {
        "512" => Ok(SectorSize::Bytes512),
        "4096" => Ok(SectorSize::Bytes4096),
        _ => Err("it is 512 or 4096".to_owned()),
    }
}

fn shard(text: &str) -> Result<(u64, u64), String> {
    let parsed =
        text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    let possible = parsed.filter(|(part, of)| part < of);
    possible.ok_or_else(|| "it is a part and how many there are, such as 0/8".to_owned())
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// Those of reading and writing files.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    match &arguments.command {
        Some(Command::Merge(arguments)) => merge::run(arguments),
        Some(Command::Replay(arguments)) => failure::run(arguments),
        Some(Command::Sabotage(arguments)) => sabotage::run(arguments),
        None => explore(&arguments.explore),
    }
}

/// One kind of exploration, one disk, one protection, one vocabulary: what is explored of it.
struct Part {
    level: Level,
    explorer: Explorer,
    plan: Plan,
}

/// What is named, or all there is.
fn or_all<T: Copy + PartialEq>(named: &[T], all: &[T]) -> Vec<T> {
    let mut wanted = Vec::new();
    for one in if named.is_empty() { all } else { named } {
        if !wanted.contains(one) {
            wanted.push(*one);
        }
    }
    wanted
}

impl Part {
    /// How long its histories are when those of crashes have so many steps. There are many faults to each step.
    fn length(&self, steps: usize) -> Option<usize> {
        match self.plan.kind {
            Kind::Crashes => Some(steps),
            Kind::Faults => steps.checked_sub(1),
            Kind::Long => Some(steps).filter(|steps| *steps > 0),
        }
    }
}

impl Explore {
    fn parts(&self) -> anyhow::Result<Vec<Part>> {
        let protections = [TornPageProtection::DoubleWrite, TornPageProtection::PageImages];
        let mut parts = Vec::new();
        for kind in self.kinds()? {
            let vocabularies = match kind {
                Kind::Long => vec![Vocabulary::Everything],
                _ => or_all(&self.vocabulary, &Vocabulary::ENUMERATED),
            };
            // What the power does matters less where something else goes wrong.
            let levels: &[Level] = if kind == Kind::Faults { &[Level::L0] } else { &Level::ALL };
            for level in or_all(&self.level, levels) {
                for protection in or_all(&self.protection, &protections) {
                    for vocabulary in &vocabularies {
                        parts.push(self.part(kind, level, protection, *vocabulary)?);
                    }
                }
            }
        }
        Ok(parts)
    }

    /// Long histories have steps of all vocabularies.
    fn kinds(&self) -> anyhow::Result<Vec<Kind>> {
        let mut kinds = or_all(&self.kind, &Kind::ALL);
        if !self.vocabulary.is_empty() {
            if self.kind.contains(&Kind::Long) {
                let reason = "long histories have steps of all vocabularies: --vocabulary is for the other kinds";
                return Err(WrongUsage(reason.to_owned()).into());
            }
            kinds.retain(|kind| *kind != Kind::Long);
        }
        Ok(kinds)
    }

    fn part(
        &self,
        kind: Kind,
        level: Level,
        protection: TornPageProtection,
        vocabulary: Vocabulary,
    ) -> anyhow::Result<Part> {
        let bounds = Bounds {
            transactions: usize::try_from(self.transactions)?,
            pages: usize::try_from(self.pages)?,
            vocabulary,
        };
        let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (shard, shards) = self.shard;
        let plan = Plan {
            setting: level.setting(protection, self.sector),
            bounds,
            kind,
            depth: self.depth.into(),
            kills: !self.no_kill,
            shard,
            shards,
            threads: self.threads.unwrap_or(processors),
        };
        Ok(Part { level, explorer: Explorer::new(plan)?, plan })
    }
}

fn explore(arguments: &Explore) -> anyhow::Result<u8> {
    if arguments.threads == Some(0) {
        return Err(WrongUsage("there is no exploring with 0 threads".to_owned()).into());
    }
    let parts = arguments.parts()?;
    if parts.iter().all(|part| part.length(arguments.steps.into()).is_none()) {
        let reason = "histories of faults and long ones need --steps 1 at least";
        return Err(WrongUsage(reason.to_owned()).into());
    }
    let kinds: Vec<&[Part]> = parts.chunk_by(|one, next| one.plan.kind == next.plan.kind).collect();
    let (began, mut tallies, mut failed) = (Instant::now(), Vec::new(), None);
    for (number, parts) in (1..).zip(&kinds) {
        // Each kind has its share of the time, and what those before have left of theirs.
        let share = Duration::from_secs(arguments.seconds) / u32::try_from(kinds.len())? * number;
        let deadline = began.checked_add(share).filter(|_| arguments.seconds > 0);
        failed = explore_kind(arguments, parts, deadline, &mut tallies);
        if failed.is_some() {
            break;
        }
    }
    if !arguments.json {
        print(&tally::table_of(&tallies));
    }
    let Some(failure) = failed else { return Ok(DONE) };
    if !arguments.json {
        print(&failure::text(&failure)?);
    }
    failure::save(&failure, &arguments.save)?;
    let file = arguments.save.display();
    eprintln!("aries: saved as {file}: `aries crash replay {file}` shows it again");
    Ok(SOMETHING_WRONG)
}

/// Explores longer and longer histories in one way, until the time is up or something is wrong.
fn explore_kind(
    arguments: &Explore,
    parts: &[Part],
    deadline: Option<Instant>,
    tallies: &mut Vec<Tally>,
) -> Option<Failure> {
    let mut output = Output::new();
    for steps in 0..=usize::from(arguments.steps) {
        for (part, length) in parts.iter().filter_map(|part| Some((part, part.length(steps)?))) {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            let (tally, failure) = explore_length(part, length, deadline);
            if arguments.json {
                let line = tally.to_json(failure.as_ref());
                output.print(&format!("{line}\n"));
                output.flush();
            }
            tallies.push(tally);
            if failure.is_some() {
                return failure;
            }
        }
    }
    None
}

/// Explores the histories of one length, until the time is up; gives what that covered.
fn explore_length(
    part: &Part,
    steps: usize,
    deadline: Option<Instant>,
) -> (Tally, Option<Failure>) {
    let before = part.explorer.coverage();
    let began = Instant::now();
    let failure = run_until(&part.explorer, steps..=steps, deadline, &|coverage| {
        let states = grouped(coverage.states - before.states);
        let (level, vocabulary) = (part.level.name(), part.plan.bounds.vocabulary.name());
        let (kind, protection) = (part.plan.kind.name(), part.plan.setting.protection.name());
        let steps = counted(part.plan.kind.steps(steps), "step");
        format!("{kind}, {level}, {protection}, {vocabulary}, {steps}: {states} states")
    });
    let failure = failure.map(|failure| smallest(part, failure));
    let coverage = part.explorer.coverage().since(&before);
    let Part { level, plan, .. } = part;
    (Tally { level: *level, plan: *plan, steps, coverage, took: began.elapsed() }, failure)
}

/// The failure with as little as will do; as it is, if it cannot be made smaller.
fn smallest(part: &Part, failure: Failure) -> Failure {
    let shorter = match part.plan.kind {
        Kind::Long => crash::shortened(&failure, part.plan.depth).unwrap_or(failure),
        Kind::Crashes | Kind::Faults => failure,
    };
    crash::minimised(&shorter).unwrap_or(shorter)
}

/// When nothing was checked for so long the engine hangs: a history takes milliseconds.
const HUNG: Duration = Duration::from_secs(60);

fn hung(under_way: &[crash::History]) -> String {
    let histories: Vec<String> = under_way.iter().map(crash::History::to_string).collect();
    let seconds = HUNG.as_secs();
    format!(
        "aries: nothing came back for {seconds} seconds: the engine hangs in one of these histories, or in a recovery after it:\n  {}",
        histories.join("\n  ")
    )
}

/// Explores, telling how far it is, and stops when the time is up.
fn run_until(
    explorer: &Explorer,
    lengths: RangeInclusive<usize>,
    deadline: Option<Instant>,
    told: &dyn Fn(&Coverage) -> String,
) -> Option<Failure> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            let failure = explorer.run(lengths);
            done.store(true, Ordering::Release);
            failure
        });
        let (mut waiting, mut last) = (Waiting::begin(), (explorer.progress(), Instant::now()));
        while !done.load(Ordering::Acquire) && !running.is_finished() {
            thread::sleep(Duration::from_millis(20));
            waiting.at(|| told(&explorer.coverage()));
            let progress = explorer.progress();
            if progress != last.0 {
                last = (progress, Instant::now());
            } else if last.1.elapsed() > HUNG {
                // Its threads wait for ever, so nobody can wait for them.
                drop(waiting);
                eprintln!("{}", hung(&explorer.under_way()));
                std::process::exit(SOMETHING_WRONG.into());
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                explorer.stop();
            }
        }
        running.join().expect("the explorer does not panic")
    })
}
