//! The lab as its users have it: real processes, requests over TCP, SIGKILL.

mod client;
mod exercises;
mod one_file;
mod page;
mod requests;
mod under_fire;
