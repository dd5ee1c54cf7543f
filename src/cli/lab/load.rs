//! `aries lab load`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::super::bench::seconds;
use super::super::output::print;
use super::super::progress::Progress;
use super::super::{DONE, SOMETHING_WRONG, WrongUsage};
use super::{measured, name};
use crate::bench::Place;
use crate::demo::grouped;
use crate::lab::load::{Plan, STEPS, SoFar, Stores, measure};
use crate::lab::{Kept, Lab};

const EXAMPLES: &str = "\
Examples:
  aries lab load                              both stores, 10 seconds each
  aries lab load --clients 64 --seconds 60 --crashes 12
                                              each is crashed twelve times meanwhile
  aries lab load --puts 0                     gets only
  aries lab load --port 8000                  the stores of the lab that runs there
  aries lab load --json | jq '.log_adds.puts'

Exit code 0, or 1 if the store with the log has lost a write that it had acknowledged, or if anything was there that was never put; 2 for \
wrong usage.
";

const SHAPE: &str = "\
The JSON object (times are microseconds; null where there is nothing to tell):
  version      of this shape: 1
  ok           whether all was there that had to be, and nothing else
  in_memory    whether the databases were in memory, where a force does nothing; null with --port
  clients, seconds, puts_per_cent, keys, value_bytes, crashes, seed
               as asked for
  stores       one object for each:
    log          whether it keeps one
    seconds      that the clients asked
    requests     that were answered
    rate         of them in a second in which the store was there
    puts, gets   each with count, rate, p50, p90, p99, p999, longest, and
      histogram  how many took how long: { up_to, count }, finer than 2 %
    away         how long it was away after each crash
    acknowledged writes that were answered, or found when their answer had not come
    in_doubt     writes whose answer did not come
    lost         acknowledged, and gone later
    strange      how often a value was found that nobody put, or that had been gone
  log_adds     in per cent of what the store without a log takes and does:
    puts, gets   each with rate, p50, p90, p99, p999
    rate";

/// Measures both stores under many clients: what the log costs, and whether crashes lose anything.
///
/// First the store with the log, then the one without, with the same requests. Each client has some of the keys for itself, and one request
/// under way. So it knows what its keys must hold, and checks that with each get, after each crash, and in the end.
#[derive(Args)]
#[command(after_long_help = format!("{EXAMPLES}\n{SHAPE}"), after_help = EXAMPLES)]
pub struct Arguments {
    /// Clients; each waits for its answer before it asks again
    #[arg(long, default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..=512))]
    clients: usize,
    /// How long each store is measured
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: Duration,
    /// How many of a hundred requests are puts, the others being gets: mostly puts, for it is they that a log costs
    #[arg(long, value_name = "PER CENT", default_value_t = 80, value_parser = clap::value_parser!(u32).range(0..=100))]
    puts: u32,
    /// Keys in all: as many for each client
    #[arg(long, default_value_t = 1000, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    keys: usize,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = RangedU64ValueParser::<usize>::new().range(32..=1_000_000))]
    value_bytes: usize,
    /// Crashes each store so often meanwhile, at random moments
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    crashes: u32,
    /// What the requests and the moments of the crashes follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A checkpoint comes by itself after so many entries of the log
    #[arg(long, value_name = "ENTRIES", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "port")]
    checkpoint_every: u64,
    /// Where a directory for the stores is made, and removed in the end [default: the current directory]
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "port")]
    dir: Option<PathBuf>,
    /// Tests the stores of the lab that runs with this --port: its own keys, which it removes in the end
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// What the admin calls of that lab need
    #[arg(long, requires = "port")]
    token: Option<String>,
    /// Print one JSON object; --help says what it holds
    #[arg(long)]
    json: bool,
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// What keeps the stores from being measured.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    if arguments.keys < arguments.clients {
        let message = "each client needs a key of its own: give as many --keys as --clients";
        return Err(WrongUsage(message.into()).into());
    }
    let plan = Plan {
        clients: arguments.clients,
        duration: arguments.seconds,
        puts_per_cent: arguments.puts,
        keys: arguments.keys,
        value_bytes: arguments.value_bytes,
        crashes: arguments.crashes,
        seed: arguments.seed,
    };
    let (stores, place) = match arguments.port {
        Some(port) => {
            let page = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            (Stores::Running { page, token: arguments.token.clone() }, None)
        }
        None => {
            let place = Place::make(arguments.dir.as_deref())?;
            (Stores::Own(own(arguments, place.path())?), Some(place))
        }
    };
    let progress = Progress::begin(u64::from(2 * STEPS));
    let all = measure(&plan, stores, &mut |so_far| progress.step(in_words(so_far)))?;
    drop(progress);
    let in_memory = place.map(|place| place.is_in_memory());
    print(&match arguments.json {
        true => format!("{:#}\n", measured::to_json(&plan, &all, in_memory)),
        false => measured::text(&plan, &all, in_memory),
    });
    Ok(if all.iter().all(|one| one.is_sound()) { DONE } else { SOMETHING_WRONG })
}

/// Both stores, in this directory, without the page.
fn own(arguments: &Arguments, directory: &Path) -> anyhow::Result<Lab> {
    let kept = |with_log, name| Kept {
        with_log,
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        directory: directory.join(name),
    };
    Ok(Lab {
        program: std::env::current_exe()?,
        arguments: vec!["--checkpoint-every".into(), arguments.checkpoint_every.to_string()],
        token: None,
        page: None,
        stores: vec![kept(true, "with-log"), kept(false, "without-log")],
    })
}

fn in_words(so_far: SoFar) -> String {
    let SoFar { with_log, elapsed, requests, crashes } = so_far;
    let crashed = match crashes {
        0 => String::new(),
        1 => ", crashed once".to_owned(),
        crashes => format!(", crashed {crashes} times"),
    };
    let (store, requests) = (name(with_log), grouped(requests));
    format!("{store}, {:.1} s: {requests} requests answered{crashed}", elapsed.as_secs_f64())
}
