//! The lab as its users have it: real processes, requests over TCP, SIGKILL.

mod client;
mod crash_points;
mod exercises;
mod lessons;
mod load;
mod one_file;
#[cfg(feature = "otlp")]
mod otlp;
mod page;
mod requests;
mod telemetry;
