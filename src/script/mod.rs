//! The command language: histories, crashes and restarts, told a statement a line.
//!
//! ```text
//!   fill pages=2 records=2
//!   T1: begin
//!   T1: update P1
//!   crash
//!   restart
//!   show log
//!   ---
//!   #0 T1 Update P1.0 prev=nil          what the statements above print,
//!   …                                   up to an empty line
//! ```
//!
//! One executor, [`Session`], runs it everywhere: the shell, scripts, tests. It works on a simulated disk, on which
//! power can fail in any way, or on a database in a directory, whose process can die.
//!
//! ```text
//!   text --- syntax ---> Line --- statement ---> Statement --- Session ---> what it prints
//!                                                                 |
//!                              one Actor (a thread) for each transaction under way
//! ```
//!
//! Invariants:
//! - the same script on a simulated disk prints the same, every time;
//! - a statement returns: one that must wait for a lock says so, and goes on when the lock is free;
//! - whatever is typed gives an output or an error, and leaves a session that can go on;
//! - the grammar is one that goldenscript reads too (but for `torn=P3:0-0` and `keep=0,2`, which it wants in quotes).
//!
//! Every statement is listed in [`VOCABULARY`], and told by example in docs/script.md.

mod actor;
mod arguments;
mod blocks;
mod crash;
mod forge;
mod forged;
mod gate;
mod names;
mod session;
mod settings;
mod show;
mod statement;
mod syntax;
mod tables;
mod told;
mod transactions;
mod vocabulary;
mod watch;

pub use blocks::{Block, Difference, Script, ScriptError, Verdict};
pub use crash::{PowerFailed, SECTOR, Unsynced};
pub use forged::{Forged, ForgedEntry};
pub use gate::Io;
pub use session::{Performed, Session};
pub use statement::{
    Action, Command, Crash, FaultKind, Half, Keep, Place, Setting, Statement, View,
};
pub use syntax::{SyntaxError, text};
pub use tables::Range;
pub use vocabulary::{Entry, VOCABULARY, find, most_like};
