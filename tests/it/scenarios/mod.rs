//! The scenarios that every ARIES engine must get right, one test each (some with a second one that
//! enumerates). The expectations are written by hand from the paper (Mohan et al., "ARIES", TODS
//! 17(1), 1992), never recorded from the engine.
//!
//! `U(T1,P2)` is an update by T1 of its own record on page P2; numbers are record numbers, counted
//! from where the story begins; `CLR(3)->1` compensates record 3, and undo goes on at record 1; S
//! is the space map page.
//!
//! Scenario 32 is about trees, which this engine does not have.

mod analysis;
mod checkpoints;
mod checkpoints_and_commits;
mod crash_enumeration;
mod failures;
mod forged;
mod log_tail;
mod nested_top_actions;
mod normal_running;
mod pages_on_disk;
mod prepared;
mod prepared_limits;
mod restart;
mod rollback;
mod space;
