//! All integration tests, in one binary.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod bad_disks;
mod bad_input;
#[cfg(feature = "cli")]
mod bench;
mod common;
mod crash_command;
mod crash_lab;
mod crash_monitor;
mod crash_points;
mod crash_sabotage;
#[cfg(feature = "cli")]
mod demo;
mod distrust;
mod file_disk;
mod full_logs;
mod fuzzed;
mod histories;
#[cfg(feature = "cli")]
mod kill;
mod lab;
mod log_ends;
mod padded_log;
mod parallel_redo;
#[cfg(feature = "sabotage")]
mod sabotage_switches;
mod scenarios;
mod script_commands;
mod script_tables;
mod scripts;
mod smoke;
mod tables;
mod thread_pages;
mod threads;
mod tidy;
#[cfg(feature = "cli")]
mod tools;
mod torn_after_failed_sync;
mod torn_pages;
mod unfinished;
mod verify;
#[cfg(feature = "cli")]
mod verify_command;
