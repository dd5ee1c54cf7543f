//! All integration tests, in one binary.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod smoke;
mod tidy;
