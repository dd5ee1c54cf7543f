//! Undoing: total rollback, rollback to a savepoint, nested top actions.

use super::{NESTED_END_BYTES, Transaction, UndoNext, ending_price};
use crate::buffer::{BufferPool, PageWrite};
use crate::config::Sabotage;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::ids::{Lsn, PageId, SlotId, TxnId};
use crate::page::PageOp;
use crate::record::{KeyAction, LogRecord, NestedTopActionEnd, Rollback, Undo, Update};
use crate::sync::Arc;
use crate::tables::TransactionState;

/// How often undo tries to get a frame, each time waiting half a second, before the engine stops.
const UNDO_TRIES_FOR_A_FRAME: usize = 20;

/// A moment in a transaction to which it can be rolled back, any number of times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Savepoint {
    txn: TxnId,
    last_lsn: Option<Lsn>,
}

/// Where a nested top action began.
#[derive(Clone, Copy, Debug)]
pub(super) struct NestedStart {
    last_lsn: Option<Lsn>,
    undo_next_lsn: Option<Lsn>,
    owed: u64,
}

/// Records of a transaction behind which undo does not come to a stop any more: behind `after`, up to `to`. They
/// were rolled back, or are a nested top action that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    after: Option<Lsn>,
    to: Option<Lsn>,
}

/// Finds the cells of trees for undo: what was logged for one page may be in another by now. Whoever has trees
/// gives this to transactions and to restart, which know nothing of them.
pub trait LogicalUndo: Send + Sync {
    /// The page that holds the cell with this key, latched exclusively, and its slot there.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when there is none: it cannot have gone, for its transaction has not ended.
    /// [`Error::OutOfFrames`]; those of the pool.
    fn find<'p>(
        &self,
        pool: &'p BufferPool,
        tree: PageId,
        key: &[u8],
    ) -> Result<(PageWrite<'p>, SlotId)>;
}

/// What the undo does to the cell in this slot.
pub(super) const fn key_op<'a>(slot: SlotId, action: &KeyAction<'a>) -> PageOp<'a> {
    match *action {
        KeyAction::Remove => PageOp::MarkGhost { slot },
        KeyAction::Revive => PageOp::ClearGhost { slot },
        KeyAction::Patch { offset, bytes } => PageOp::Patch { slot, offset, bytes },
    }
}

/// Fixes a page for undo, which must not fail because others keep every frame for a moment.
fn patiently<T>(mut fix: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..UNDO_TRIES_FOR_A_FRAME {
        match fix() {
            Err(Error::OutOfFrames { .. }) => {}
            other => return other,
        }
    }
    fix()
}

impl Transaction {
    /// Marks this moment.
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        Savepoint { txn: self.id, last_lsn: self.entry.last_lsn }
    }

    /// Undoes everything since the savepoint. Locks stay.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for another transaction's savepoint, for one from before the nested top
    /// action under way or from inside one that has ended, and for one that was itself rolled back. Any
    /// failure to undo is final.
    pub fn rollback_to(&mut self, savepoint: Savepoint) -> Result<()> {
        if savepoint.txn != self.id {
            return Err(Error::InvalidInput(format!(
                "a savepoint of {} is of no use to {}",
                savepoint.txn, self.id
            )));
        }
        if self.nested.last().is_some_and(|start| savepoint.last_lsn < start.last_lsn) {
            return Err(Error::InvalidInput(
                "a nested top action cannot roll back to before it began: end it first".into(),
            ));
        }
        let (after, to) = (savepoint.last_lsn, self.entry.last_lsn);
        if self.passed.iter().any(|passed| passed.after < after && after <= passed.to) {
            return Err(Error::InvalidInput(
                "the savepoint is gone: it was rolled back, or its nested top action has ended"
                    .into(),
            ));
        }
        while self.entry.undo_next_lsn > savepoint.last_lsn {
            self.undo_step()?;
        }
        if self.entry.last_lsn > to {
            self.pass(after, to);
        }
        Ok(())
    }

    /// Savepoints within are gone from now on.
    fn pass(&mut self, after: Option<Lsn>, to: Option<Lsn>) {
        self.passed.retain(|passed| passed.after < after);
        self.passed.push(Passed { after, to });
    }

    /// Rolls the transaction back whole: rollback record, compensations, end record. Then its locks
    /// are released.
    ///
    /// # Errors
    /// Any failure is final: restart rolls back then.
    pub fn rollback(mut self) -> Result<()> {
        self.roll_back()
    }

    /// A rollback that fails stops the engine: the locks must not be released over half of it.
    pub(super) fn roll_back(&mut self) -> Result<()> {
        let log = Arc::clone(self.manager.log());
        log.poison().check()?;
        self.roll_back_whole().map_err(|error| log.poison().stop(error))
    }

    fn roll_back_whole(&mut self) -> Result<()> {
        let log = Arc::clone(self.manager.log());
        if log.breaks(Sabotage::RollbackInTwoSteps) {
            log.force_all()?;
        }
        if self.reserved == 0 {
            let price = ending_price(&log);
            if log.try_reserve(price) {
                self.reserved = price;
            } else if self.entry.last_lsn.is_none() {
                return self.forgotten();
            }
        }
        if self.entry.state < TransactionState::RollingBack {
            self.encoded.set(&LogRecord::Rollback(Rollback { link: self.link() }));
            let lsn = self.append(UndoNext::Unchanged, Some(TransactionState::RollingBack))?;
            self.told(lsn, "Rollback", None);
        }
        while self.entry.undo_next_lsn.is_some() {
            self.undo_next()?;
        }
        self.end_in_place()
    }

    /// Ends a transaction that logged nothing, and for which the log has no room: without a trace.
    fn forgotten(&mut self) -> Result<()> {
        assert!(self.entry.last_lsn.is_none(), "whoever logged something has reserved its end");
        self.manager.remove(self.key);
        self.finished();
        Ok(())
    }

    /// Ends a transaction of an earlier run that has nothing left to undo.
    ///
    /// # Errors
    /// Any failure is final.
    pub fn end_undone(mut self) -> Result<()> {
        assert!(self.entry.undo_next_lsn.is_none(), "all is undone");
        self.end_in_place().map_err(|error| self.manager.log().poison().stop(error))
    }

    /// Takes one step back: undoes an update, or steps over what needs no undoing. Undo that fails cannot be
    /// given up: the locks must not be released over half of it.
    ///
    /// # Errors
    /// Any failure is final.
    pub fn undo_step(&mut self) -> Result<()> {
        self.undo_next().map_err(|error| self.manager.log().poison().stop(error))
    }

    /// Undoes all at once, what was done first first. Only a broken rule asks for it.
    ///
    /// # Errors
    /// Any failure is final.
    pub fn undo_oldest_first(&mut self) -> Result<()> {
        let log = Arc::clone(self.manager.log());
        let mut left = Vec::new();
        while let Some(lsn) = self.entry.undo_next_lsn {
            left.push(lsn);
            let passed = log.read(lsn).map_err(|error| log.poison().stop(error))?;
            self.entry.undo_next_lsn = passed.record().undo_goes_on_at();
        }
        while let Some(lsn) = left.pop() {
            self.entry.undo_next_lsn = Some(lsn);
            self.undo_step()?;
        }
        self.entry.undo_next_lsn = None;
        Ok(())
    }

    /// Takes one step back along `undo_next_lsn`: undoes an update, or steps over what was undone
    /// already or is never undone.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the log or a page contradicts itself; those of the disk.
    ///
    /// # Panics
    /// If nothing is left to undo.
    fn undo_next(&mut self) -> Result<()> {
        let lsn = self.entry.undo_next_lsn.expect("something is left to undo");
        let bytes = self.manager.log().read(lsn)?;
        let record = bytes.record();
        if record.link().map(|link| link.txn) != Some(self.id) {
            let expected = format!("a record of {}", self.id);
            let place = self.manager.log().segments().place(lsn);
            return Err(Error::corrupt(place, expected, record.to_string()));
        }
        match &record {
            LogRecord::Update(update) => self.undo_update(lsn, &record, update)?,
            LogRecord::StructureChange(passed) => self.step_back(&record, passed.link.prev_lsn),
            LogRecord::Compensation(passed) => self.step_back(&record, passed.undo_next_lsn),
            LogRecord::NestedTopActionEnd(passed) => self.step_back(&record, passed.undo_next_lsn),
            LogRecord::Rollback(passed) => self.step_back(&record, passed.link.prev_lsn),
            LogRecord::KeyChange(passed) => self.step_back(&record, passed.link.prev_lsn),
            LogRecord::Prepare(passed) => self.step_back(&record, passed.link.prev_lsn),
            other => {
                let place = self.manager.log().segments().place(lsn);
                let expected = "a record that can be undone or stepped over";
                return Err(Error::corrupt(place, expected, other.to_string()));
            }
        }
        Ok(())
    }

    fn undo_update(&mut self, lsn: Lsn, record: &LogRecord<'_>, update: &Update<'_>) -> Result<()> {
        let manager = Arc::clone(&self.manager);
        let (txn, undo_next_lsn) = (self.id, update.link.prev_lsn);
        let (mut page, op) = match update.undo {
            Undo::RedoOnly => {
                self.step_back(record, undo_next_lsn);
                return Ok(());
            }
            Undo::Physical(op) => (patiently(|| manager.pool().fix_write(update.page))?, op),
            Undo::Key(undo) if manager.log().breaks(Sabotage::UndoBySlot) => {
                let page = patiently(|| manager.pool().fix_write(update.page))?;
                let slot = update.op.slot().unwrap_or(SlotId(0));
                (page, key_op(slot, &undo.action))
            }
            Undo::Key(undo) => {
                let (page, slot) = patiently(|| manager.find_cell(&undo))?;
                (page, key_op(slot, &undo.action))
            }
        };
        if manager.log().breaks(Sabotage::NoCompensation) {
            page.change_without_log(&op);
            self.step_back(record, undo_next_lsn);
            return Ok(());
        }
        let clr_lsn = self.compensate(&mut page, op, undo_next_lsn)?;
        let page = page.page();
        manager.observers().emit(|| Event::Undone { txn, lsn, clr_lsn, page, undo_next_lsn });
        Ok(())
    }

    fn step_back(&mut self, passed: &LogRecord<'_>, undo_next_lsn: Option<Lsn>) {
        assert!(undo_next_lsn < self.entry.undo_next_lsn, "undo goes backwards");
        if let Some(lsn) = self.entry.undo_next_lsn {
            let (txn, kind) = (self.id, passed.name());
            self.manager.observers().emit(|| Event::UndoPassed { txn, lsn, kind, undo_next_lsn });
        }
        self.entry.undo_next_lsn = undo_next_lsn;
        self.manager.set_entry(self.key, self.entry);
    }

    /// Begins a nested top action: what follows, up to its end, stays even if the transaction
    /// rolls back.
    ///
    /// # Errors
    /// [`Error::DiskFull`]; nothing began then.
    pub fn begin_nested(&mut self) -> Result<()> {
        let price = self.manager.log().price(NESTED_END_BYTES);
        self.reserve(price)?;
        self.nested.push(NestedStart {
            last_lsn: self.entry.last_lsn,
            undo_next_lsn: self.entry.undo_next_lsn,
            owed: self.owed,
        });
        self.owed += price;
        Ok(())
    }

    /// Ends the innermost nested top action with the dummy compensation record, which leads undo
    /// around it. Nothing is written if the action did nothing.
    ///
    /// # Errors
    /// Final ones.
    ///
    /// # Panics
    /// If no nested top action is under way.
    pub fn end_nested(&mut self) -> Result<()> {
        let start = self.nested.pop().expect("a nested top action is under way");
        if self.entry.last_lsn != start.last_lsn {
            self.pass(start.last_lsn, self.entry.last_lsn);
            let undo_next_lsn = match self.manager.log().breaks(Sabotage::NestedTopActionUndone) {
                true => self.entry.undo_next_lsn,
                false => start.undo_next_lsn,
            };
            let record = NestedTopActionEnd { link: self.link(), undo_next_lsn };
            self.encoded.set(&LogRecord::NestedTopActionEnd(record));
            let lsn = self.append(UndoNext::At(undo_next_lsn), None)?;
            self.told(lsn, "NestedTopActionEnd", None);
        }
        self.owed = self.owed.min(start.owed);
        Ok(())
    }

    /// Whether a nested top action is under way.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        !self.nested.is_empty()
    }

    /// Gives the innermost nested top action up: what it did is an ordinary part of the
    /// transaction.
    pub fn abandon_nested(&mut self) {
        self.nested.pop();
    }
}
