//! What the fuzz targets do, as plain functions of bytes: called by libFuzzer through the files in
//! `fuzz_targets/`, and by the program `replay`, which needs no fuzzer. See `docs/fuzzing.md`.
//!
//! Each target is a module with two functions: `run` does with the bytes what is to be proved of them,
//! and panics if it does not hold; `seeds` gives inputs to begin with, the same ones each time.

#[path = "../../tests/it/common/images.rs"]
#[allow(dead_code)]
mod images;
#[path = "../../tests/it/common/mend.rs"]
#[allow(dead_code)]
mod mend;

mod databases;
mod opened;
mod spoil;

use std::alloc::System;

use cap::Cap;

/// Counts what is allocated: more than [`MOST_BYTES`] for one input, and an allocation fails, which
/// aborts the process.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Memory that one input may take, in bytes: a few segments, and the engine's own tables, two of
/// which take 16 MiB if pages with high numbers are met.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// A fuzz target.
pub struct Target {
    /// Its name: that of its module, of its file and of its corpus.
    pub name: &'static str,
    run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*
        /// All of them.
        pub const TARGETS: &[Target] = &[
            $(Target { name: stringify!($name), run: $name::run, seeds: $name::seeds }),*
        ];
    };
}

targets!(
    checkpoint_tables,
    control_file,
    log_record,
    log_scan,
    page,
    restart,
    restart_mutated,
    script,
);

/// Runs a target on one input.
///
/// # Panics
/// If what the target proves does not hold, and if there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target's name");
    MEMORY.set_limit(MEMORY.allocated() + MOST_BYTES).expect("a limit above what is allocated");
    (target.run)(bytes);
    MEMORY.set_limit(usize::MAX).expect("no limit");
}
