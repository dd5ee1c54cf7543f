//! The model checker's locks, in the shape of parking_lot's.
//!
//! They work only inside [`check`], which runs a model again and again, each time with the threads
//! interleaved in another way, and with atomics giving any value that their ordering allows, until
//! all ways within its bounds were seen.
//!
//! Where loom's locks do not fit:
//! - its `try_read` and `try_write` wait when another thread takes the lock at the wrong moment; the engine's
//!   order of latches rests on their never waiting. So [`RwLock`] is made of a mutex and a condition
//!   variable here, and its every step is one that threads can be switched at;
//! - its `try_lock` has the same fault, and a model that comes across it is told of a deadlock that
//!   is none: the models are small enough not to;
//! - a wait with a timeout times out at once, after others had their turn: whoever relies on being
//!   woken in time is not excused.

#![allow(missing_docs)] // The methods are those of parking_lot and std.

use std::any::type_name;
use std::env;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
pub(crate) use loom::thread::spawn;

use super::Rule;

/// Names the rule to break.
pub(super) const BREAK_VARIABLE: &str = "ARIES_BREAK";

/// Steps of one run, at most: an endless loop is told from a long run.
const MOST_STEPS: usize = 10_000;
/// A model that takes longer fails: it has not seen all runs.
const LONGEST: Duration = Duration::from_secs(300);

/// The rule to break, if any.
pub(super) fn broken_rule() -> Option<Rule> {
    static BROKEN: OnceLock<Option<Rule>> = OnceLock::new();
    *BROKEN.get_or_init(|| {
        let name = env::var(BREAK_VARIABLE).ok()?;
        let named = Rule::ALL.iter().find(|(rule, ..)| format!("{rule:?}") == name);
        Some(named.unwrap_or_else(|| panic!("{BREAK_VARIABLE}: there is no rule {name:?}")).0)
    })
}

/// Runs a model in all interleavings with at most `preemptions` switches away from a thread that
/// could have gone on. (`LOOM_MAX_PREEMPTIONS` overrides the bound.)
///
/// # Panics
/// If the model does in one of them, if its threads wait for each other there, or if there are too
/// many to see them all.
pub(crate) fn check<M: Fn() + Sync + Send + 'static>(preemptions: usize, model: M) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = MOST_STEPS;
    let runs = super::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (began, count) = (Instant::now(), super::Arc::clone(&runs));
    builder.check(move || {
        count.fetch_add(1, super::Ordering::Relaxed);
        assert!(began.elapsed() < LONGEST, "not all runs of the model were seen in {LONGEST:?}");
        model();
    });
    let (name, runs) = (type_name::<M>(), runs.load(super::Ordering::Relaxed));
    eprintln!("{name}: {runs} runs in {:.1} s", began.elapsed().as_secs_f32());
}

/// What the checker neither sees nor orders: the state of the world around the engine. Threads are
/// never switched while it is looked at.
#[derive(Default)]
pub(crate) struct Unseen<T>(std::sync::Mutex<T>);

impl<T> Unseen<T> {
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut self.0.try_lock().expect("nobody else runs meanwhile"))
    }
}

/// As `parking_lot::Mutex`.
#[derive(Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        let held = self.0.lock().expect("loom's mutexes are not poisoned");
        MutexGuard { mutex: self, held: Some(held) }
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok().map(|held| MutexGuard { mutex: self, held: Some(held) })
    }
}

/// As `parking_lot::MutexGuard`. It is empty while its thread waits.
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    held: Option<loom::sync::MutexGuard<'a, T>>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("its thread runs")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("its thread runs")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::mem::forget(self.held.take()); // The model is over; the checker is not there any more.
        }
    }
}

/// As `parking_lot::Condvar`.
#[derive(Default)]
pub struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("its thread runs");
        guard.held = Some(self.0.wait(held).expect("loom's mutexes are not poisoned"));
    }

    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) {
        drop(guard.held.take());
        loom::thread::yield_now();
        guard.held = guard.mutex.lock().held.take();
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// As `parking_lot::RwLock`; see the module for why it is not loom's.
#[derive(Default)]
pub struct RwLock<T> {
    holders: Mutex<Holders>,
    released: Condvar,
    value: std::sync::RwLock<T>,
}

#[derive(Default)]
struct Holders {
    readers: usize,
    writer: bool,
    waiting: usize,
}

impl<T> RwLock<T> {
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let mut holders = self.holders.lock();
        while holders.writer {
            self.wait(&mut holders);
        }
        self.admit_reader(&mut holders)
    }

    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        let mut holders = self.holders.lock();
        (!holders.writer).then(|| self.admit_reader(&mut holders))
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let mut holders = self.holders.lock();
        while holders.writer || holders.readers > 0 {
            self.wait(&mut holders);
        }
        self.admit_writer(&mut holders)
    }

    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        let mut holders = self.holders.lock();
        let free = !holders.writer && holders.readers == 0;
        free.then(|| self.admit_writer(&mut holders))
    }

    fn wait(&self, holders: &mut MutexGuard<'_, Holders>) {
        holders.waiting += 1;
        self.released.wait(holders);
        holders.waiting -= 1;
    }

    fn admit_reader(&self, holders: &mut Holders) -> RwLockReadGuard<'_, T> {
        holders.readers += 1;
        let value = self.value.try_read().expect("no writer is in");
        RwLockReadGuard { lock: self, value: Some(value) }
    }

    fn admit_writer(&self, holders: &mut Holders) -> RwLockWriteGuard<'_, T> {
        holders.writer = true;
        let value = self.value.try_write().expect("nobody is in");
        RwLockWriteGuard { lock: self, value: Some(value) }
    }

    fn release(&self, leave: impl FnOnce(&mut Holders)) {
        if std::thread::panicking() {
            return; // The model is over; the checker is not there any more.
        }
        let mut holders = self.holders.lock();
        leave(&mut holders);
        if holders.waiting > 0 {
            self.released.notify_all();
        }
    }
}

/// As `parking_lot::RwLockReadGuard`.
pub struct RwLockReadGuard<'a, T> {
    lock: &'a RwLock<T>,
    value: Option<std::sync::RwLockReadGuard<'a, T>>,
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("there until it is dropped")
    }
}

impl<T> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        self.lock.release(|holders| holders.readers -= 1);
    }
}

/// As `parking_lot::RwLockWriteGuard`.
pub struct RwLockWriteGuard<'a, T> {
    lock: &'a RwLock<T>,
    value: Option<std::sync::RwLockWriteGuard<'a, T>>,
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("there until it is dropped")
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("there until it is dropped")
    }
}

impl<T> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        self.lock.release(|holders| holders.writer = false);
    }
}
