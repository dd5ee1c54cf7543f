//! Locks, condition variables and atomics: the only module that names where they come from.
//!
//! Everything else imports them from here, so that a model checker can be put underneath without
//! touching the engine.

pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
