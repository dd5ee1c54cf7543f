//! **aries** is an ARIES-style, page-based recovery engine: a write-ahead log, a buffer pool that
//! writes pages whenever it suits (steal, no-force), fuzzy checkpoints, and a restart that repeats
//! history and then undoes what did not commit.
//!
//! It is made to be read beside the paper: C. Mohan et al., "ARIES: A Transaction Recovery Method
//! Supporting Fine-Granularity Locking and Partial Rollbacks Using Write-Ahead Logging", ACM TODS
//! 17(1), 1992. Each module opens with what it guarantees and the sections that it implements.
//!
//! Start with [`Db`]; then [`txn`] (how a change is made and undone), [`log`] (how it becomes durable),
//! [`buffer`] (how pages are kept and written), [`checkpoint`] and [`recovery`].
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! let db = aries::Db::open(dir.path().join("mydb"))?;
//! let accounts = db.table("accounts")?;
//! let mut txn = db.begin()?;
//! txn.put(&accounts, b"alice", b"100")?;
//! txn.commit()?; // durable on return
//! db.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A module uses only modules of lower floors; a test sees to it. From the ground up: [`ids`]; [`error`],
//! [`sync`]; [`config`]; [`disk`], [`page`], [`tables`]; [`record`]; [`event`]; [`log`], [`lock`];
//! [`buffer`]; [`txn`]; [`checkpoint`], [`space`]; [`recovery`], [`btree`]; [`db`]; [`script`]; [`crash`].

#[cfg(feature = "cli")]
pub mod bench;
pub mod btree;
pub mod buffer;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod child;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod crash;
pub mod db;
#[cfg(feature = "cli")]
pub mod demo;
pub mod disk;
pub mod error;
pub mod event;
pub mod ids;
#[cfg(feature = "lab")]
pub mod lab;
pub mod lock;
pub mod log;
pub mod page;
pub mod record;
pub mod recovery;
pub mod script;
pub mod space;
pub mod sync;
pub mod tables;
#[cfg(feature = "cli")]
pub mod times;
pub mod txn;

pub use db::{Db, NestedTopAction, Options, PreparedTransaction, Table, TableScan, Transaction};
pub use error::{Error, Result};
pub use txn::{CommitTicket, Savepoint};
