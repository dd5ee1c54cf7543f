//! A database that is open without a log: [`Durability::Off`](crate::config::Durability).
//!
//! The engine works as always, but on a disk in memory over the real one ([`OverlayDisk`]): its log, its control file and
//! the pages that it steals stay there, and roll back, deadlocks, savepoints are what they are otherwise. The real
//! database below is at rest: closed cleanly, at a checkpoint without a dirty page.
//!
//! ```text
//!   transactions → engine → log, pages in memory                          lost when the process ends
//!                              | flush: while no transaction is active
//!                              v
//!                  changed pages, stamped with the restart record's LSN → whole batch → in place
//! ```
//!
//! Invariants:
//! - below, nothing changes but in a flush, and that is one whole batch: a crash leaves the last flush, or the one before;
//! - no page lies above the log that is durable: what is flushed bears the LSN of the restart record with which
//!   the database below was opened;
//! - the control file says where the log becomes complete again, durably before the first flush: no page is ever rebuilt
//!   from older records, and none is said to lack them;
//! - no transaction is in doubt, neither below nor above: its log would have to survive.
//!
//! Source: not in the paper, which logs always.

use std::time::{Duration, Instant};

use super::write_everything;
use crate::btree::FindCells;
use crate::buffer::{Image, PAGES_FILE, PagesFile};
use crate::config::{Config, RestartMode, TornPageProtection};
use crate::disk::{BLOCK, Disk, OverlayDisk};
use crate::error::{Error, Result};
use crate::event::Observers;
use crate::ids::{Lsn, PageId};
use crate::log::ControlFile;
use crate::page;
use crate::recovery::{Engine, restart};
use crate::sync::{Arc, Condvar, Mutex};

/// How long a transaction lets a flush go first that waits for a moment without transactions. It goes on then: the
/// flush may be waiting for another one of the same thread.
const COURTESY: Duration = Duration::from_millis(50);

/// What a database without a log has beside its engine.
pub(super) struct Unlogged {
    /// The real database, at rest.
    below: Engine,
    /// The disk that it is on.
    real: Arc<dyn Disk>,
    /// What the engine above takes for its disk, over the real one.
    disk: Arc<OverlayDisk>,
    /// What flushed pages are stamped with.
    stamp: Lsn,
    gate: Arc<Gate>,
    /// How long a flush waits for transactions to end; `None` is for ever.
    patience: Option<Duration>,
}

impl Unlogged {
    /// Brings a database that has just been opened on `disk` to rest, and opens it again without a log.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when transactions are in doubt; those of opening.
    pub(super) fn over(
        disk: &Arc<dyn Disk>,
        below: Engine,
        config: &Config,
        observers: &Observers,
    ) -> Result<(Engine, Self)> {
        let in_doubt = below.transactions.prepared().len();
        if in_doubt > 0 {
            return Err(Error::InvalidInput(format!(
                "{in_doubt} transactions are in doubt: decide upon them before the log is turned off"
            )));
        }
        write_everything(&below)?;
        below.checkpointer.log_is_complete_from_here()?;
        below.transactions.pool().empty();
        let stamp = below.transactions.log().epochs().last().expect("a run has begun").lsn;
        let real = Arc::clone(disk);
        let disk = Arc::new(OverlayDisk::new(Arc::clone(disk)));
        let config = Config {
            // Memory does not tear pages, and the restart has nothing to redo.
            torn_page_protection: TornPageProtection::None,
            restart: RestartMode::Serial,
            ..config.clone()
        };
        let upper: Arc<dyn Disk> = Arc::<OverlayDisk>::clone(&disk);
        let control = ControlFile::open(upper.as_ref())?;
        let (engine, _) = restart(upper, control, &config, Arc::new(FindCells), observers)?;
        let (gate, patience) = (Arc::default(), config.lock_timeout);
        Ok((engine, Self { below, real, disk, stamp, gate, patience }))
    }

    /// Lets a transaction begin, and counts it until the result is dropped.
    pub(super) fn admit(&self) -> Admission {
        Gate::enter(&self.gate)
    }

    /// Writes all pages that changed since the last flush, all or none, while no transaction is active.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when transactions did not end within the lock timeout; [`Error::DiskFull`]: nothing is
    /// written then. Final ones.
    pub(super) fn flush(&self, engine: &Engine) -> Result<()> {
        let _closed = self.gate.close(self.patience)?;
        let log = engine.transactions.log();
        log.poison().check()?;
        let flushed = self.flush_at_rest(engine);
        flushed.map_err(|error| match error.is_disk_full() {
            true => error,
            false => log.poison().stop(error),
        })
    }

    fn flush_at_rest(&self, engine: &Engine) -> Result<()> {
        let (above, below) = (engine.transactions.pool(), self.below.transactions.pool());
        above.flush_all()?;
        engine.checkpointer.checkpoint()?;
        let blocks = self.disk.covered(PAGES_FILE)?;
        let pages = pages_in(&blocks, above.page_size() as u64, above.pages());
        let Some(last) = pages.last() else { return Ok(()) };
        below.grow_to_hold(*last)?;
        let pages = self.changed(pages, above.page_size())?;
        if pages.is_empty() {
            return Ok(());
        }
        let file = PagesFile::open(self.disk.as_ref(), above.page_size(), above.pages())?;
        below.replace_pages(&pages, |page| {
            let mut bytes = vec![0; file.page_size()];
            file.read(page, &mut bytes)?;
            if page::page_lsn(&bytes) > Some(self.stamp) {
                page::set_page_lsn(&mut bytes, self.stamp);
                page::seal(&mut bytes);
            }
            Ok(Image { page, bytes })
        })?;
        self.disk.uncover(PAGES_FILE, &blocks)
    }

    /// Of these pages those that are not as they are below. A block of small pages has some that nobody wrote; and one of them may
    /// be damaged, which is no reason to lose the others.
    fn changed(&self, pages: Vec<PageId>, page_size: usize) -> Result<Vec<PageId>> {
        if page_size >= BLOCK {
            return Ok(pages);
        }
        let (upper, lower) = (self.disk.open(PAGES_FILE)?, self.real.open(PAGES_FILE)?);
        let (mut above, mut below) = (vec![0; page_size], vec![0; page_size]);
        let mut changed = Vec::new();
        for page in pages {
            let at = page.0 * page_size as u64;
            upper.read_at(at, &mut above)?;
            lower.read_at(at, &mut below)?;
            if above != below {
                changed.push(page);
            }
        }
        Ok(changed)
    }
}

/// The pages that have bytes in these blocks, of a file with so many pages.
fn pages_in(blocks: &[u64], page_size: u64, pages: u64) -> Vec<PageId> {
    let in_block =
        |block: &u64| block / page_size..(block + BLOCK as u64).div_ceil(page_size).min(pages);
    let mut found: Vec<PageId> = blocks.iter().flat_map(in_block).map(PageId).collect();
    found.dedup(); // Ascending, so equal ones are neighbours.
    found
}

/// Counts transactions, and keeps new ones out while pages are flushed.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    /// Transactions that have not ended.
    inside: usize,
    /// Flushes that wait for them to end.
    waiting: usize,
    /// Whether a flush is under way.
    closed: bool,
}

impl Gate {
    fn enter(gate: &Arc<Self>) -> Admission {
        let mut state = gate.state.lock();
        let began = Instant::now();
        while state.closed || (state.waiting > 0 && began.elapsed() < COURTESY) {
            gate.changed.wait_for(&mut state, COURTESY);
        }
        state.inside += 1;
        Admission(Arc::clone(gate))
    }

    fn close(&self, patience: Option<Duration>) -> Result<Closed<'_>> {
        let mut state = self.state.lock();
        let began = Instant::now();
        state.waiting += 1;
        while state.closed || state.inside > 0 {
            if patience.is_some_and(|patience| began.elapsed() >= patience) {
                state.waiting -= 1;
                let inside = state.inside;
                let message =
                    format!("{inside} transactions are under way: a flush waits for their end");
                return Err(Error::InvalidInput(message));
            }
            self.changed.wait_for(&mut state, COURTESY);
        }
        state.waiting -= 1;
        state.closed = true;
        Ok(Closed(self))
    }
}

/// A transaction is counted as long as this lives.
pub(super) struct Admission(Arc<Gate>);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.state.lock().inside -= 1;
        self.0.changed.notify_all();
    }
}

/// No transaction begins as long as this lives.
struct Closed<'g>(&'g Gate);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.state.lock().closed = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_may_hold_several_pages_or_a_part_of_one() {
        let pages = |blocks: &[u64], size, count| -> Vec<u64> {
            pages_in(blocks, size, count).into_iter().map(|page| page.0).collect()
        };
        assert_eq!(pages(&[0, 8192], 512, 20), [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19]);
        assert_eq!(pages(&[4096, 8192, 12288], 8192, 4), [0, 1]);
        assert_eq!(pages(&[4096], 4096, 2), [1]);
        assert!(pages(&[], 4096, 2).is_empty());
    }
}
