//! `aries lab`, the processes of its stores, and their load test.

mod load;
mod measured;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{DONE, WrongUsage};
use crate::lab::store_name as name;
use crate::lab::{
    Happened, Kept, Lab, Listening, Store, StoreOptions, TOKEN_VARIABLE, Tracing, serve, supervise,
    trace,
};

const EXAMPLES: &str = "\
Examples:
  aries lab                                   page at http://localhost:8000, stores at ports 8001 (with the log) and 8002
  aries lab --dir lesson                      keeps what they hold in ./lesson
  aries lab --port 9000                       ports 9000 to 9002
  aries lab --listen 0.0.0.0 --token SECRET   for others, too; the admin calls need the token
  aries lab load                              how much both can do, and what the log costs

Then, in another terminal:
  curl -X POST localhost:8001/kv -H 'content-type: application/json' -d '{\"key\": \"a\", \"value\": 1}'
  curl -X POST localhost:8001/admin/crash     the process is gone at once, and comes back
  curl localhost:8001/kv                      nothing is lost

docs/labs/ has the exercises. Ends with Ctrl-C. Exit code 0 then, 1 if a store cannot be kept running.
";

/// Runs two key-value stores over HTTP, one with the log and one without, and a page to watch and crash them.
#[derive(Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    instead: Option<Instead>,
    /// Keep the databases in this directory; without it in a new one, which is removed in the end
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// Port of the page; the stores have the next two. 0: any that are free
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// The address that the stores listen at; the page is for this machine
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// What the admin calls need, as `Authorization: Bearer TOKEN`; a must where others can reach the stores
    #[arg(long)]
    token: Option<String>,
    /// A checkpoint comes by itself after so many entries of the log
    #[arg(long, value_name = "ENTRIES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    #[command(flatten)]
    spans: Spans,
}

/// Where spans go.
#[derive(Args)]
struct Spans {
    /// Print what the stores do to standard error, with times: requests, transactions, log appends, forces, page writes, restart
    #[arg(long)]
    trace: bool,
    /// Send the same to a collector that speaks OTLP over HTTP, Jaeger say: `http://localhost:4318` (feature `otlp`)
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
}

impl Spans {
    fn tracing(&self, with_log: bool) -> Tracing {
        let service = if with_log { "aries-with-log" } else { "aries-without-log" };
        Tracing { print: self.trace, otlp: self.otlp.clone(), service: service.into() }
    }

    /// The same as arguments for the stores.
    fn arguments(&self) -> Vec<String> {
        let otlp = self.otlp.iter().flat_map(|url| ["--otlp".to_owned(), url.clone()]);
        otlp.chain(self.trace.then(|| "--trace".to_owned())).collect()
    }
}

#[derive(Subcommand)]
enum Instead {
    Load(load::Arguments),
}

/// The process of one store: started, and started again, by `aries lab`.
#[derive(Args)]
pub struct StoreArguments {
    directory: PathBuf,
    address: SocketAddr,
    #[arg(long)]
    no_log: bool,
    #[arg(long, default_value_t = 100)]
    checkpoint_every: u64,
    #[command(flatten)]
    spans: Spans,
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// When a store cannot be kept running.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    if let Some(Instead::Load(arguments)) = &arguments.instead {
        return load::run(arguments);
    }
    if arguments.token.is_none() && !arguments.listen.is_loopback() {
        let message = format!(
            "{} can be reached from elsewhere: give a --token, which the admin calls then need",
            arguments.listen
        );
        return Err(WrongUsage(message).into());
    }
    let tracing = arguments.spans.tracing(true);
    tracing.check().map_err(|error| WrongUsage(format!("--otlp: {error}")))?;
    let temporary = Temporary::unless(arguments.dir.as_deref())?;
    let directory = temporary.path();
    let kept = |with_log, name, port| Kept {
        with_log,
        address: SocketAddr::new(arguments.listen, port),
        directory: directory.join(name),
    };
    let port = |more| match arguments.port {
        0 => Ok(0),
        port => port
            .checked_add(more)
            .ok_or_else(|| WrongUsage("the stores need the next two ports".into())),
    };
    let mut for_stores =
        vec!["--checkpoint-every".to_owned(), arguments.checkpoint_every.to_string()];
    for_stores.extend(arguments.spans.arguments());
    let lab = Lab {
        program: std::env::current_exe()?,
        arguments: for_stores,
        token: arguments.token.clone(),
        page: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port))),
        stores: vec![kept(true, "with-log", port(1)?), kept(false, "without-log", port(2)?)],
    };
    supervise(lab, tell)?;
    Ok(DONE)
}

fn tell(happened: &Happened) {
    match happened {
        Happened::PageServed(address) => println!("page                 http://{address}"),
        Happened::Ready(store, words) => {
            println!("store {:<13}  http://{}  {words}", name(store.with_log), store.address);
        }
        Happened::Died(store, status) => {
            println!("store {:<13}  died ({status}); it is started again", name(store.with_log));
        }
    }
}

/// Runs one store; gives the exit code.
///
/// # Errors
/// Those of listening and of the database.
pub fn store(arguments: &StoreArguments) -> anyhow::Result<u8> {
    let options = StoreOptions {
        directory: arguments.directory.clone(),
        with_log: !arguments.no_log,
        checkpoint_every: arguments.checkpoint_every,
    };
    let listening = Listening {
        address: arguments.address,
        token: std::env::var(TOKEN_VARIABLE).ok(),
        until_input_ends: true,
    };
    let _sent_in_the_end = trace(&arguments.spans.tracing(options.with_log))?;
    // Whoever started this may be gone already.
    serve(options, &listening, |store| drop(writeln!(io::stdout(), "{}", found(store))))?;
    Ok(DONE)
}

/// What a store found when it was opened.
fn found(store: &Store) -> String {
    let report = store.db().restart_report();
    match (store.options().with_log, report.clean) {
        _ if store.is_new() => "it is new".into(),
        (false, _) => "what was flushed last is here".into(),
        (true, true) => "it had been closed".into(),
        (true, false) => format!(
            "recovered {} entries: {} log records redone, {} transactions undone",
            store.recovered_entries(),
            report.redo.redone,
            report.undo.losers
        ),
    }
}

/// A directory that is removed in the end, unless the user named one.
struct Temporary {
    path: PathBuf,
    is_own: bool,
}

impl Temporary {
    fn unless(named: Option<&std::path::Path>) -> anyhow::Result<Self> {
        if let Some(path) = named {
            let made = std::fs::create_dir_all(path);
            made.with_context(|| format!("making {}", path.display()))?;
            return Ok(Self { path: path.into(), is_own: false });
        }
        let path = std::env::temp_dir().join(format!("aries-lab-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self { path, is_own: true })
    }

    fn path(&self) -> &std::path::Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.is_own {
            let _ = std::fs::remove_dir_all(&self.path); // It is in the temporary directory, whoever cleans that removes it.
        }
    }
}
