//! The crash lab: crashes a database at every point, in every way, and checks what recovery makes of it.
//!
//! ```text
//!   history   what is done: all short histories, each step a crash point with all its I/Os
//!   world     does it, on the engine; knows at each moment what a crash must leave
//!   probe     watches the disk: at each I/O, all the states that it may be left in
//!   survivors which those are: every subset of the changes that are not durable
//!   monitor   watches the order of writes and syncs, whether or not a crash makes it visible
//!   oracle    recovers a state, and compares it with the model
//!   logged    what the surviving log must say
//!   explore   all of it, on all processors, each state once; crashes inside recovery, too
//! ```
//!
//! It claims no more than it has tried: [`Coverage`] counts, and says whether that is complete within its bounds.
//! The disk is [`crate::disk::SimDisk`]; what a power failure may do to it is declared ([`crate::disk::PowerFailure`]).

mod explore;
mod history;
mod hunt;
mod logged;
mod model;
mod monitor;
mod oracle;
mod probe;
mod replay;
mod survivors;
mod world;

pub use explore::{Coverage, Crash, Explorer, Failure, Plan};
pub use history::{Bounds, History, MOST_PAGES, MOST_TRANSACTIONS, Step, all};
#[cfg(feature = "sabotage")]
pub use hunt::hunt;
pub use hunt::{Hunted, expectation};
pub use model::State;
pub use monitor::{Begin, Monitor, OrderRule, OutOfOrder, out_of_order};
pub use oracle::{Clause, Violation};
pub use replay::{Fate, Line, Pended, Replayed, minimised, replay};
pub use world::{Level, Promise, Setting};
