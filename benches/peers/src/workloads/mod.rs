//! The workloads, one file each. Each makes its stores, works on them in rounds, reads back what must be there, and removes them.

pub mod commits;
pub mod memory;
pub mod reopen;
pub mod transfers;
