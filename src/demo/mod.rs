//! The demonstration: real processes, killed in mid-flight, and what restart makes of it.
//!
//! ```text
//!   parent (this process)                      child (the same program, hidden subcommand)
//!   --------------------------------------     --------------------------------------------------
//!   makes the bank, closes it
//!   starts the child ------------------------> opens the bank; one thread for each client:
//!   counts what is acknowledged <--- pipe ----   begin, withdraw, count, deposit, commit,
//!                                                 then, and only then: "client 2 did transfer 17"
//!   after a random time: SIGKILL ------------>  X
//!   reads the pipe to its end
//!   opens the bank: analysis, redo, undo
//!   checks every tree, and every account against the ledger
//! ```
//!
//! What a client does in its transfer number `n` is a pure function of seed, client and `n`
//! ([`Transfer::of`]). So the counters alone, one for each client, say what every balance
//! must be, and [`Ledger`] can tell a lost transfer, half a transfer, and one too many.
//!
//! What is shown, and what is not:
//! - SIGKILL takes the process and leaves the page cache: nothing that was written is lost, synced
//!   or not. An engine that never synced would pass;
//! - so everything is done twice, the second time over [`HeldBackDisk`], which keeps written bytes
//!   inside the child until they are synced: they die with it, as in a power failure.
//!
//! Invariants:
//! - an acknowledgement leaves the child only after `commit()` returned;
//! - the parent hears all acknowledgements that left the child: it reads the pipe to its end;
//! - the database is looked at only after the child is gone;
//! - a bank that belongs to somebody else is never opened, so never changed.

mod bank;
mod clients;
mod error;
mod examine;
mod home;
mod json;
mod ledger;
mod outcome;
mod picture;
mod text;
mod transfer;
mod worker;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use bank::{Bank, INITIAL_BALANCE, State};
pub use clients::serve;
pub use error::Error;
pub use examine::{Decision, Story, Undoing};
pub use json::{SHAPE, restart_json};
pub use ledger::{Ledger, Verdict};
pub use outcome::{Outcome, Round, Totals};
pub use text::{counted, grouped, milliseconds, wrapped};
pub use transfer::Transfer;

use crate::db::Options;
use crate::disk::{Disk, FileDisk, HeldBackDisk};
use crate::sync::Arc;
use home::Home;
use transfer::mix;

/// Accounts of a new bank.
pub const ACCOUNTS: usize = 1000;
/// Clients of a new bank, unless others are asked for.
pub const CLIENTS: usize = 4;
/// The most clients a bank can have.
pub const MOST_CLIENTS: usize = 64;

/// Over each disk at least this many transfers are acknowledged, however few the kills.
const LEAST_ACKNOWLEDGED: usize = 600;
/// No child is killed before it acknowledged this many, however many the kills.
const LEAST_ACKNOWLEDGED_EACH: usize = 10;
/// Then it lives for a random time up to this (milliseconds).
const LONGEST_PAUSE_MILLISECONDS: u64 = 120;

/// What the child's writes go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskKind {
    /// Plain files: what is written survives the process.
    Files,
    /// A disk that holds writes back in the process until they are synced.
    HeldBack,
}

impl DiskKind {
    /// Both, in the order in which they are shown.
    pub const BOTH: [Self; 2] = [Self::Files, Self::HeldBack];

    /// In one word, for JSON and the child's command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::HeldBack => "held-back",
        }
    }

    fn open(self, directory: &Path) -> Result<Arc<dyn Disk>, Error> {
        let files = Arc::new(FileDisk::open(directory)?);
        Ok(match self {
            Self::Files => files,
            Self::HeldBack => Arc::new(HeldBackDisk::new(files)),
        })
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Kills over each of the two disks.
    pub rounds: u32,
    /// Clients; `None` for those the bank has, or [`CLIENTS`] for a new one.
    pub clients: Option<usize>,
    /// Where the bank is or shall be; `None` for a directory that is removed at the end.
    pub directory: Option<PathBuf>,
    /// Leaves the database as the last kill left it.
    pub keep_crashed: bool,
    /// What transfers and kill times follow from; `None` for the bank's, or a random one.
    pub seed: Option<u64>,
    /// The program to start as the child: it is called as `demo-clients DIRECTORY DISK`.
    pub program: PathBuf,
}

/// Who watches.
pub trait Audience {
    /// The bank is there.
    fn bank_is_ready(&mut self, directory: &Path, seed: u64, clients: usize);
    /// The rounds over this disk begin.
    fn disk_begins(&mut self, disk: DiskKind, rounds: u32);
    /// A child was killed, and the database examined.
    fn round_ended(&mut self, round: &Round);
    /// The rounds over this disk are done.
    fn disk_ended(&mut self, disk: DiskKind, totals: &Totals);
}

/// Pages and pool are so small, and checkpoints so frequent, that pages are stolen and every
/// restart has something to do.
pub(crate) fn options() -> Options {
    Options::new()
        .page_size(512)
        .segment_bytes(256 * 1024)
        .buffer_pool_bytes(32 * 512)
        .checkpoint_log_bytes(8 * 1024)
}

/// Runs the demonstration. It ends early if anything is wrong.
///
/// # Errors
/// [`Error::Unusable`] for a directory that is neither empty nor a bank; what keeps the child from
/// running or the database from being opened.
pub fn run(settings: &Settings, audience: &mut dyn Audience) -> Result<Outcome, Error> {
    let home = Home::prepare(settings.directory.as_deref(), settings.seed)?;
    let mut outcome = rounds(settings, &home, audience).map_err(|error| home.left_behind(error))?;
    // Where something is wrong, somebody will want to look.
    if home.is_temporary() && outcome.totals().is_ok() && !settings.keep_crashed {
        home.remove()?;
    } else {
        outcome.directory = Some(home.path().into());
    }
    Ok(outcome)
}

fn rounds(settings: &Settings, home: &Home, audience: &mut dyn Audience) -> Result<Outcome, Error> {
    let mut ledger = examine::first(home, settings.clients)?;
    audience.bank_is_ready(home.path(), home.seed(), ledger.clients());
    let mut outcome = Outcome::new(settings, home, &ledger);
    for disk in DiskKind::BOTH {
        audience.disk_begins(disk, settings.rounds);
        for number in 1..=settings.rounds {
            let is_last = disk == DiskKind::HeldBack && number == settings.rounds;
            let on_copy = is_last && settings.keep_crashed;
            outcome.is_crashed = on_copy;
            let round = round(settings, home, &mut ledger, (disk, number, on_copy))?;
            audience.round_ended(&round);
            let is_ok = round.verdict.is_ok();
            outcome.rounds.push(round);
            if !is_ok {
                return Ok(outcome);
            }
        }
        audience.disk_ended(disk, &outcome.totals_over(disk));
    }
    Ok(outcome)
}

/// Starts a child, kills it, and examines what it left.
fn round(
    settings: &Settings,
    home: &Home,
    ledger: &mut Ledger,
    (disk, number, on_copy): (DiskKind, u32, bool),
) -> Result<Round, Error> {
    let pause = mix(home.seed() ^ mix(ledger.transfers() + u64::from(number)))
        % (LONGEST_PAUSE_MILLISECONDS * 1000);
    let pause = Duration::from_micros(pause);
    let share = LEAST_ACKNOWLEDGED.div_ceil(settings.rounds as usize);
    let least_acknowledged = share.max(LEAST_ACKNOWLEDGED_EACH);
    let life = worker::Life { least_acknowledged, pause };
    let heard = worker::run_and_kill(&settings.program, home.path(), disk, life)?;
    for acknowledgement in &heard {
        ledger.acknowledge(acknowledgement.client, acknowledgement.sequence);
    }
    let examined = match on_copy {
        false => examine::after_kill(home.path(), ledger)?,
        true => examine::copy_after_kill(home, ledger)?,
    };
    Ok(Round {
        number,
        disk,
        acknowledged: heard.len() as u64,
        deadlocks: heard.iter().map(|acknowledgement| acknowledgement.deadlocks).sum(),
        verdict: examined.verdict,
        restart: examined.restart,
        story: examined.story,
    })
}
