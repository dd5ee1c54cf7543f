//! aries and its peers, one file each: how it is opened, how it is made durable, which of its ways is taken.

#[cfg(feature = "aries")]
mod aries;
mod fjall;
mod lmdb;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sqlite;

use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::store::{Setup, Store};

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    #[cfg(feature = "aries")]
    Aries,
    Sqlite,
    Redb,
    Fjall,
    #[cfg(feature = "rocksdb")]
    Rocksdb,
    Lmdb,
}

impl Kind {
    /// As its makers write it.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "aries")]
            Self::Aries => crate::report::SUBJECT,
            Self::Sqlite => "SQLite",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => "RocksDB",
            Self::Lmdb => crate::report::LMDB,
        }
    }

    /// Opens the store in the directory `dir`, or makes a new one there.
    pub fn open(self, dir: &Path, setup: Setup) -> Result<Box<dyn Store>> {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let opened: Result<Box<dyn Store>> = match self {
            #[cfg(feature = "aries")]
            Self::Aries => aries::open(dir, setup),
            Self::Sqlite => sqlite::open(dir, setup),
            Self::Redb => redb::open(dir, setup),
            Self::Fjall => fjall::open(dir, setup),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => rocksdb::open(dir, setup),
            Self::Lmdb => lmdb::open(dir, setup),
        };
        opened.with_context(|| format!("opening {} in {}", self.name(), dir.display()))
    }
}

#[cfg(test)]
mod tests;
