//! A simulated disk that says what is about to be done to it.

use std::sync::Arc;

use aries::Result;
use aries::disk::{self, Call, SimDisk};

/// Passes every call on to a simulated disk, after telling `watch`, who may refuse it.
pub fn watched_disk(
    inner: &SimDisk,
    watch: impl Fn(&Call) -> Result<()> + Send + Sync + 'static,
) -> Arc<disk::WatchedDisk> {
    disk::WatchedDisk::new(Arc::new(inner.clone()), watch)
}
