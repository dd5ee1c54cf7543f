//! The crash lab: crashes a database at every point, in every way, and checks what recovery makes of it.
//!
//! ```text
//!   history   what is done: all short histories, each step a crash point with all its I/Os
//!   stage     the database on which it is done, and `setting`, how it is opened and what its disk may do
//!   world     does it, on the engine; `model` knows at each moment what a crash must leave, and who `watch`es is told
//!   probe     watches the disk: at each I/O, all the states that it may be left in
//!   survivors which those are: every subset of the changes that are not durable
//!   monitor   watches the order of writes and syncs, whether or not a crash makes it visible
//!   oracle    recovers a state, and compares it with the model; `violation` says what must hold
//!   logged    what the surviving log must say
//!   check     crashes inside that recovery, too
//!   faults    each call fails, and `silent`: lies, or bits rot
//!   explore   all of it, on all processors, each state once
//!   replay    a failure once more, line by line; `shrink` makes it smaller before
//! ```
//!
//! It claims no more than it has tried: [`Coverage`] counts, and says whether that is complete within its bounds.
//! The disk is [`crate::disk::SimDisk`]; what a power failure may do to it is declared ([`crate::disk::PowerFailure`]).

mod check;
mod explore;
mod faults;
mod harm;
mod history;
mod hunt;
mod logged;
mod model;
mod monitor;
mod numbers;
mod oracle;
mod plan;
mod probe;
mod replay;
mod setting;
mod shrink;
mod silent;
mod stage;
mod survivors;
mod violation;
mod watch;
mod world;

pub use explore::Explorer;
pub use harm::{Harm, Struck};
pub use history::{
    Action, Bounds, History, MOST_PAGES, MOST_TRANSACTIONS, Page, Step, Vocabulary, all, random,
};
#[cfg(feature = "sabotage")]
pub use hunt::hunt;
pub use hunt::{Hunted, expectation};
pub use model::{Promise, State};
pub use monitor::{Begin, Monitor, OrderRule, OutOfOrder, out_of_order};
pub use plan::{Coverage, Crash, Failure, Kind, Plan};
pub use replay::{Fate, Line, Pended, Replayed, replay};
pub use setting::{Level, Setting};
pub use shrink::{minimised, shortened};
pub use violation::{Clause, Violation};
pub use watch::Claim;
