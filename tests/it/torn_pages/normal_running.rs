//! Damage that is found in normal running.
