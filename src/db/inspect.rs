//! Looking at a running database: for tools, tests, and whoever wants to see the paper's tables.

use super::{Db, Table};
use crate::btree::leaf_of;
use crate::buffer::{PageRead, PoolStatistics, ResidentPage};
use crate::error::Result;
use crate::ids::{Lsn, PageId};
use crate::lock::LockSnapshot;
use crate::log::{MasterRecord, RecordBytes};
use crate::page::PageState;
use crate::tables::{DirtyPageTable, TransactionTable};

/// Counts and positions at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statistics {
    /// The next record's LSN.
    pub end_lsn: Lsn,
    /// The log is durable up to here.
    pub flushed_lsn: Lsn,
    /// The log is kept from here on.
    pub oldest_required_lsn: Lsn,
    /// Bytes of a page.
    pub page_size: usize,
    /// Pages in the file.
    pub pages: u64,
    /// Pages in the dirty page table.
    pub dirty_pages: usize,
    /// Transactions that have not ended.
    pub transactions: usize,
    /// Of them, those in doubt that nobody just decides upon.
    pub prepared: usize,
    /// What the buffer pool did.
    pub pool: PoolStatistics,
}

impl Db {
    /// Counts and positions at this moment.
    #[must_use]
    pub fn stats(&self) -> Statistics {
        let engine = &self.shared.engine;
        let (log, pool) = (engine.transactions.log(), engine.transactions.pool());
        Statistics {
            end_lsn: log.end_lsn(),
            flushed_lsn: log.flushed_lsn(),
            oldest_required_lsn: engine.checkpointer.master().oldest_required_lsn,
            page_size: pool.page_size(),
            pages: pool.pages(),
            dirty_pages: pool.dirty_page_table().len(),
            transactions: engine.transactions.active(),
            prepared: engine.transactions.prepared().len(),
            pool: pool.statistics(),
        }
    }

    /// Visits all cells of all tables, whoever has locked them.
    pub(crate) fn each_cell(&self, visit: &mut dyn FnMut(&[u8], Vec<u8>)) -> Result<()> {
        self.shared.each_cell(visit)
    }

    /// The leaf where a key of a table is, or would be, at this moment.
    ///
    /// # Errors
    /// Those of reading.
    pub fn leaf_of(&self, table: &Table, key: &[u8]) -> Result<PageId> {
        table.check(&self.shared)?;
        leaf_of(self.shared.engine.transactions.pool(), table.root(), key)
    }

    /// Takes a leaf out of its tree that was noticed to hold nothing but ghosts; gives whether one was noticed.
    pub(crate) fn reclaim_step(&self) -> Result<bool> {
        self.shared.reclaim_step()
    }

    /// The dirty page table at this moment.
    #[must_use]
    pub fn dirty_page_table(&self) -> DirtyPageTable {
        self.shared.engine.transactions.pool().dirty_page_table()
    }

    /// The transaction table at this moment.
    #[must_use]
    pub fn transaction_table(&self) -> TransactionTable {
        self.shared.engine.transactions.transaction_table()
    }

    /// All locks, with holders and waiters.
    #[must_use]
    pub fn locks(&self) -> Vec<LockSnapshot> {
        self.shared.engine.transactions.locks().snapshot()
    }

    /// From now on no transaction waits for a lock, but gets an error: one thread does the work of all of them, and would
    /// wait for itself.
    pub(crate) fn never_wait(&self) {
        self.shared.engine.transactions.locks().stop("one thread would wait for itself");
    }

    /// The master record in the control file.
    #[must_use]
    pub fn master_record(&self) -> MasterRecord {
        self.shared.engine.checkpointer.master()
    }

    /// Fixes a page and latches it shared: to look at its bytes. Keep it briefly; whoever wants to
    /// change the page waits.
    ///
    /// # Errors
    /// [`crate::Error::NoSuchPage`] beyond the end of the file, [`crate::Error::Corrupt`],
    /// [`crate::Error::OutOfFrames`], [`crate::Error::Closed`].
    pub fn fix_page(&self, page: PageId) -> Result<PageRead<'_>> {
        self.shared.check_not_closed()?;
        let pool = self.shared.engine.transactions.pool();
        if page.0 >= pool.pages() {
            return Err(crate::error::Error::NoSuchPage { page });
        }
        pool.fix_read(page)
    }

    /// What the space map says of a page; `None` beyond the end of the file.
    ///
    /// # Errors
    /// As [`Db::fix_page`].
    pub fn page_state(&self, page: PageId) -> Result<Option<PageState>> {
        self.shared.check_not_closed()?;
        self.shared.engine.space.state(page)
    }

    /// The pages in the buffer pool, by number, looked at one after the other.
    ///
    /// # Errors
    /// As [`Db::fix_page`].
    pub fn resident_pages(&self) -> Result<Vec<ResidentPage>> {
        self.shared.check_not_closed()?;
        self.shared.engine.transactions.pool().resident_pages()
    }

    /// Frames of the buffer pool.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.shared.engine.transactions.pool().frames()
    }

    /// Whether the engine has not stopped, as it does after a failed write or sync.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.shared.check_open().is_ok()
    }

    /// Reads a log record.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] when none begins at `lsn`.
    pub fn read_log(&self, lsn: Lsn) -> Result<RecordBytes> {
        self.shared.engine.transactions.log().read(lsn)
    }

    /// Writes one page in place, if it is dirty; the log is forced up to its pageLSN before.
    ///
    /// # Errors
    /// [`crate::Error::Closed`], final errors.
    pub fn flush_page(&self, page: PageId) -> Result<()> {
        self.shared.check_open()?;
        self.shared.engine.transactions.pool().flush_page(page)
    }

    /// Takes a page out of the buffer pool, writing it in place before if it is dirty; gives whether it is
    /// gone. It is not while somebody has it fixed.
    ///
    /// # Errors
    /// [`crate::Error::Closed`], final errors.
    pub fn evict_page(&self, page: PageId) -> Result<bool> {
        self.shared.check_open()?;
        self.shared.engine.transactions.pool().evict_page(page)
    }

    /// Writes all dirty pages in place.
    ///
    /// # Errors
    /// [`crate::Error::Closed`], final errors.
    pub fn flush_pages(&self) -> Result<()> {
        self.shared.check_open()?;
        self.shared.engine.transactions.pool().flush_all()
    }

    /// Forces the log to its end; gives up to where it is durable.
    ///
    /// # Errors
    /// [`crate::Error::Closed`], final errors.
    pub fn force_log(&self) -> Result<Lsn> {
        self.shared.check_open()?;
        Ok(self.shared.engine.transactions.log().force_all()?.end())
    }
}
