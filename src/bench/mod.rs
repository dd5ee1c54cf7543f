//! Two experiments: what a force costs on this disk, and what a killed process loses.
//!
//! ```text
//!   force   how long the disk takes to make one block durable, in three ways
//!           how many transactions of one put the engine makes of that, by what a commit waits for
//!   loss    a process puts keys, with and without a log, flushed half-way or not, and is killed;
//!           what is left is counted by the one that killed it
//!           the same with a million puts: what the log costs, and what flushing does
//! ```
//!
//! Both print figures of this machine, in this minute. What carries over to another one are ratios within one run.
//!
//! Invariants:
//! - all that is written lies in a new directory ([`Place`]), which is removed in the end, whatever comes in between;
//! - that directory is on a disk, unless somebody names one in memory; then the report says so;
//! - what is counted is what happened: a force that fails, a key that was never put, or one that is missing although it
//!   had to be there, ends in an error or in a fault of the report, never in a figure.
//!
//! What cannot be seen from here: whether the disk keeps its word. One that says "durable" when it has a block in
//! a volatile cache only is fast in the first experiment, and no kill shows it in the second.

mod error;
pub mod force;
pub mod loss;
mod place;

pub use error::Error;
pub use place::Place;
