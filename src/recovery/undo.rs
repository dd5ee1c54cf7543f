//! The third phase: undoes the losers, in one sweep backwards over all of them.

use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::in_doubt::InDoubt;
use super::redo::Redo;
use super::report::{RedoReport, RestartReport, UndoReport};
use super::{Engine, tables::Rebuilt};
use crate::buffer::BufferPool;
use crate::checkpoint::Checkpointer;
use crate::config::Sabotage;
use crate::error::Result;
use crate::event::{Event, Observers};
use crate::ids::Lsn;
use crate::record::{EncodedRecord, LogRecord, Restart};
use crate::space::{PendingFrees, SpaceMap, pending_frees};
use crate::sync::Arc;
use crate::tables::{TransactionEntry, TransactionState};
use crate::txn::{LogicalUndo, Transaction, TransactionManager};

/// What the third phase works on: history is repeated.
pub struct UndoLosers {
    transactions: Arc<TransactionManager>,
    space: SpaceMap,
    checkpointer: Checkpointer,
    tables: Rebuilt,
    in_doubt: Vec<InDoubt>,
    observers: Observers,
    report: RestartReport,
}

impl UndoLosers {
    /// Begins the new run: its restart record is the first of its epoch.
    pub(super) fn begin(
        redo: Redo,
        redo_report: RedoReport,
        cells: Arc<dyn LogicalUndo>,
    ) -> Result<Self> {
        let Redo {
            control, log, pool, tables, in_doubt, observers, end, analysis, durable, ..
        } = redo;
        let record = Restart {
            durable_lsn: end,
            epoch: log.epoch(),
            previous: log.epochs().last(),
            next_txn: tables.next_txn,
        };
        let encoded = EncodedRecord::new(&LogRecord::Restart(record));
        let restart_lsn = log.append(&encoded, 0, |_| {})?;
        log.began(restart_lsn, end);
        let (lsn, kind) = (restart_lsn, "Restart");
        observers.emit(|| Event::Appended { lsn, txn: None, kind, page: None });
        let report = RestartReport {
            clean: durable.clean,
            epoch: log.epoch(),
            tail_rewritten: durable.tail_rewritten,
            pages_rewritten: durable.pages_rewritten,
            pages_torn: durable.pages_torn,
            analysis,
            redo: redo_report,
            undo: UndoReport {
                restart_lsn,
                losers: 0,
                compensations: 0,
                ended: 0,
                back_to: None,
                duration: Duration::ZERO,
            },
            checkpoint_lsn: restart_lsn,
            duration: Duration::ZERO,
        };
        let (next, told) = (tables.next_txn, observers.clone());
        let space = SpaceMap::new(Arc::clone(&pool));
        let transactions = TransactionManager::new(Arc::clone(&log), pool, next, cells, told);
        let transactions = Arc::new(transactions);
        let checkpointer =
            Checkpointer::new(log, Arc::clone(&transactions), control, observers.clone());
        Ok(Self { transactions, space, checkpointer, tables, in_doubt, observers, report })
    }

    /// The pages, as redo left them.
    #[must_use]
    pub fn pool(&self) -> &BufferPool {
        self.transactions.pool()
    }

    /// What redo did.
    #[must_use]
    pub fn redo_report(&self) -> &RedoReport {
        &self.report.redo
    }

    /// Holds the locks of what is in doubt, ends what committed, undoes what did not, and opens the
    /// engine.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] when the log contradicts itself; those of the disk.
    pub fn run(mut self) -> Result<(Engine, RestartReport)> {
        let began = Instant::now();
        let (mut committed, mut losers) = (Vec::new(), Vec::new());
        for InDoubt { txn, entry, global_id, locks } in &self.in_doubt {
            if self.breaks(Sabotage::PreparedRolledBack) {
                losers.push(self.transactions.adopt(*txn, *entry));
                continue;
            }
            self.transactions.adopt_prepared(*txn, *entry, global_id, locks);
        }
        for (id, entry) in self.tables.transactions.iter() {
            match entry.state {
                TransactionState::Prepared => {}
                TransactionState::Committing if self.breaks(Sabotage::CommittedUndone) => {
                    losers.push(self.transactions.adopt(id, *entry));
                }
                TransactionState::Active if self.breaks(Sabotage::LosersLeft) => {
                    let forgotten = TransactionEntry { undo_next_lsn: None, ..*entry };
                    losers.push(self.transactions.adopt(id, forgotten));
                }
                TransactionState::Committing => committed.push(self.transactions.adopt(id, *entry)),
                TransactionState::Active | TransactionState::RollingBack => {
                    losers.push(self.transactions.adopt(id, *entry));
                }
            }
        }
        self.report.undo.ended = committed.len() + losers.len();
        self.report.undo.losers = losers.len();
        for transaction in committed {
            self.finish_committed(transaction)?;
        }
        self.undo(losers)?;
        self.report.undo.duration = began.elapsed();
        let Self { transactions, space, checkpointer, report, .. } = self;
        Ok((Engine { transactions, space, checkpointer }, report))
    }

    fn breaks(&self, rule: Sabotage) -> bool {
        self.transactions.log().breaks(rule)
    }

    fn finish_committed(&self, transaction: Transaction) -> Result<()> {
        let log = self.transactions.log();
        let pages = pending_frees(log, transaction.entry().last_lsn)
            .map_err(|error| log.poison().stop(error))?;
        transaction.finish_restarted(&PendingFrees::new(&self.space, &pages))
    }

    /// Always undoes the latest record of all losers, so that one pass over the log suffices.
    fn undo(&mut self, losers: Vec<Transaction>) -> Result<()> {
        let count = losers.len();
        self.observers.emit(|| Event::UndoBegan { losers: count });
        let (mut open, done): (Vec<_>, Vec<_>) =
            losers.into_iter().partition(|loser| loser.entry().undo_next_lsn.is_some());
        for transaction in done {
            transaction.end_undone()?;
        }
        let key = |index: usize, open: &[Option<Transaction>]| {
            open[index].as_ref().and_then(|loser| loser.entry().undo_next_lsn)
        };
        let mut open: Vec<Option<Transaction>> = open.drain(..).map(Some).collect();
        let mut sweep: BinaryHeap<(Option<Lsn>, usize)> =
            (0..open.len()).map(|index| (key(index, &open), index)).collect();
        while let Some((undo_next, index)) = sweep.pop() {
            let loser = open[index].as_mut().expect("in the sweep until it ends");
            self.report.undo.back_to = loser.entry().undo_next_lsn;
            let before = loser.entry().last_lsn;
            match self.breaks(Sabotage::UndoForwards) {
                true => loser.undo_oldest_first()?,
                false => loser.undo_step()?,
            }
            self.report.undo.compensations += u64::from(loser.entry().last_lsn != before);
            match loser.entry().undo_next_lsn {
                Some(_) if self.breaks(Sabotage::UndoneOneByOne) => sweep.push((undo_next, index)),
                Some(next) => sweep.push((Some(next), index)),
                None => open[index].take().expect("just there").end_undone()?,
            }
        }
        Ok(())
    }
}
