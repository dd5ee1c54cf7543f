//! Restart: from whatever a crash left to the state of all committed transactions.
//!
//! ```text
//!            oldest record needed   smallest rec_lsn     last checkpoint          end of log
//!   log  ----+----------------------+--------------------+------------------------+
//!                                                         analysis ------------->
//!                                    redo --------------------------------------->
//!             <-------------------------------------------------------------- undo
//! ```
//!
//! 1. **[`Analysis`]** reads from the last complete checkpoint to the end of the log and rebuilds both
//!    tables: which pages may be older on disk than in the log, and which transactions have no end.
//!    It changes nothing; if the log turns out to be damaged, opening ends here.
//!    (Before it, where that is due, what the page cache shows is dropped: [`distrust`].)
//! 2. **[`Redo`]** first makes certain that what was read is really on the disk (epoch, log tail,
//!    double-write batch, pages), then *repeats history*: applies every change, the losers' too, that
//!    a page does not have yet, as its pageLSN tells.
//! 3. **[`UndoLosers`]** begins the new run with a restart record and undoes all losers in one backward
//!    sweep, always the latest record first, writing compensation records. A checkpoint follows.
//!
//! A transaction *in doubt*, prepared and neither committed nor rolled back, is no loser. Redo repeats what
//! it did; its locks are held again before anybody else can begin; it waits for its decision.
//!
//! Each phase consumes the one before: none can be left out or run twice.
//!
//! Invariants:
//! - analysis writes nothing;
//! - before redo believes a pageLSN, the pages it reads are durable;
//! - redo applies a record only to the version of the page that the record was made for
//!   (`prev_page_lsn`), else the page or the log is damaged; a damaged page is rebuilt from the
//!   log as a whole, or restart ends there;
//! - undo asks no page: history was repeated, so what is undone is there;
//! - each undone update has exactly one compensation record in the log, however often restart was
//!   interrupted;
//! - what is in doubt stays so: no record is written for it.
//!
//! Source: ARIES, section 6 (restart), 6.1 analysis, 6.2 redo, 6.3 undo.

mod analysis;
mod damaged;
pub mod distrust;
mod held;
mod history;
mod in_doubt;
mod outside;
mod redo;
mod report;
mod tables;
mod undo;

use std::time::Instant;

pub use analysis::{Analysis, ToPages};
pub use outside::LogReader;
pub use redo::Redo;
pub use report::{AnalysisReport, RedoReport, RestartReport, UndoReport};
pub use undo::UndoLosers;

use crate::buffer::DoubleWrite;
use crate::checkpoint::Checkpointer;
use crate::config::Config;
use crate::disk::Disk;
use crate::error::Result;
use crate::event::{Event, Observers};
use crate::log::ControlFile;
use crate::space::{PendingFrees, SpaceMap, pending_frees};
use crate::sync::Arc;
use crate::txn::{LogicalUndo, TransactionManager};

/// The parts of a running engine.
pub struct Engine {
    /// Transactions, and through them log, pool and locks.
    pub transactions: Arc<TransactionManager>,
    /// The space map.
    pub space: SpaceMap,
    /// Checkpoints, and the control file.
    pub checkpointer: Checkpointer,
}

/// Recovers a database and opens it. Undo finds the cells of trees with `cells`.
///
/// # Errors
/// [`crate::Error::Corrupt`] when log or pages are damaged; those of the disk. It is always safe to
/// try again.
pub fn restart(
    disk: Arc<dyn Disk>,
    control: ControlFile,
    config: &Config,
    cells: Arc<dyn LogicalUndo>,
    observers: &Observers,
) -> Result<(Engine, RestartReport)> {
    let began = Instant::now();
    let reread =
        distrust::must_reread(&control, config) || DoubleWrite::may_hold_whole(disk.as_ref())?;
    let control = match reread {
        false => control,
        true => {
            distrust::distrust_cache(disk.as_ref(), false, observers)?;
            ControlFile::open(disk.as_ref())?
        }
    };
    let analysis = Analysis::run(disk, control, config, observers)?;
    let redo = analysis.make_durable()?;
    let undo = redo.run(cells)?;
    let (engine, mut report) = undo.run()?;
    engine.transactions.locks().set_timeout(config.lock_timeout);
    let log = engine.transactions.log();
    if log.is_short_of_room() {
        // On a full disk only truncating the log makes room, and dirty pages hold it back.
        engine.transactions.pool().flush_all()?;
    }
    let checkpoint = engine.checkpointer.checkpoint_after_restart()?;
    report.checkpoint_lsn = checkpoint.begin_lsn;
    reserve_for_decisions(&engine)?;
    report.duration = began.elapsed();
    observers.emit(|| Event::Opened);
    Ok((engine, report))
}

/// Reserves log for deciding upon what is in doubt, as it was before the crash. Behind the checkpoint,
/// which may have made room. On a full disk those it does not suffice for go without: the database
/// opens, and deciding asks for room itself.
fn reserve_for_decisions(engine: &Engine) -> Result<()> {
    let transactions = &engine.transactions;
    for prepared in transactions.prepared() {
        let mut deciding = transactions.decide(&prepared.global_id)?;
        let pages = pending_frees(transactions.log(), deciding.prepare_lsn())?;
        match deciding.reserve(&PendingFrees::new(&engine.space, &pages)) {
            Err(error) if !error.is_disk_full() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
