//! Locks, condition variables and atomics: the only module that names where they come from.
//!
//! Everything else imports them from here, so that a model checker can be put underneath without
//! touching the engine:
//!
//! ```text
//!                    Mutex RwLock Condvar   Atomic*             Arc
//! the engine         parking_lot            std                 std
//! the models         loom, in the shape     loom                std: counting references
//!                    of parking_lot                             is not what is checked
//! ```
//!
//! The models are the modules named `models`; they exist in the library's tests when they are built with
//! `--cfg loom`, and only there: whoever embeds the engine and checks models of their own with that
//! flag gets the real locks.
//!
//! A model that cannot fail proves nothing. So each rule that a model watches over has a name, a
//! `Rule`, and one line of the engine asks `broken` whether to break it. Only models ever hear
//! "yes"; for everybody else the question is a constant, and the line is compiled away.

#[cfg(all(test, loom))]
mod each_rule_broken;
#[cfg(all(test, loom))]
pub(crate) mod model;
mod rules;

#[cfg(all(test, loom))]
pub use model::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, RwLock,
    RwLockReadGuard, RwLockWriteGuard,
};
#[cfg(not(all(test, loom)))]
pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use std::sync::Arc;
pub use std::sync::atomic::Ordering;
#[cfg(not(all(test, loom)))]
pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};

pub(crate) use rules::{Rule, broken};
