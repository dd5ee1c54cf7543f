//! A history on the engine: its steps, each with what must be there if the power fails in the middle of it.

use super::history::{Action, MOST_TRANSACTIONS, Page, Step};
use super::model::{Change, Expected, Model, Outcome};
use super::watch::{Claim, Watch};
use crate::checkpoint::Begun;
use crate::db::{Db, Table, Transaction};
use crate::error::{Error, Result};
use crate::ids::{Lsn, PageId, SlotId};
use crate::txn::{CommitTicket, Savepoint};

/// The name of the table.
pub const TABLE: &str = "t";
/// Bytes of a value that needs a page of its own.
const LONG_VALUE: usize = 300;

/// A key of a transaction, as long as keys can be: two cells fill a leaf.
#[must_use]
pub fn key_of(number: usize, key: Page) -> Vec<u8> {
    let Page::Key(key) = key else { unreachable!("only keys are in the tree") };
    // The third stands behind the first, in its leaf; the fourth behind the second.
    let place = ["", "c", "g", "e", "i"][key];
    let mut bytes = vec![b'k'; 126];
    bytes.extend_from_slice(format!("{number}{place}").as_bytes());
    bytes
}

/// Told each time that something else must be there after a crash.
pub type Expect<'e> = &'e dyn Fn(Expected);

/// A database at work.
pub struct World {
    txns: [Actor; MOST_TRANSACTIONS],
    checkpoint: Option<Begun>,
    old_pages: Vec<PageId>,
    new_pages: Vec<PageId>,
    model: Model,
    /// The tree of histories on trees.
    table: Option<Table>,
    /// Made since they were told last.
    claims: Vec<Claim>,
    steps: u8,
    db: Db,
}

/// A transaction, by its number in the history.
#[derive(Default)]
enum Actor {
    #[default]
    NotBegun,
    Active(Box<Active>),
    Prepared(Vec<u8>),
    /// It has committed, and waits; so much has been done for good then.
    Deferred(CommitTicket, u64),
    Ended,
}

/// A transaction under way.
struct Active {
    txn: Transaction,
    changes: Vec<Change>,
    savepoint: Option<(Savepoint, usize)>,
    /// When it commits so much of what was done must be durable: it has read that.
    read: u64,
}

impl World {
    /// Nothing has been done yet.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn new(db: Db, old_pages: Vec<PageId>, model: Model) -> Result<Self> {
        db.never_wait();
        let table = if model.has_cells() { db.open_table(TABLE)? } else { None };
        let (txns, checkpoint, new_pages) = (Default::default(), None, Vec::new());
        let claims = Vec::new();
        Ok(Self { txns, checkpoint, old_pages, new_pages, model, table, claims, steps: 0, db })
    }

    /// What must be there if the power fails now.
    pub fn expected(&self) -> Expected {
        self.model.expected()
    }

    /// Takes a step.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn take(&mut self, step: Step, expect: Expect<'_>) -> Result<()> {
        self.steps = self.steps.wrapping_add(1);
        match step {
            Step::By(number, action) => self.act(number, action, expect),
            Step::Flush(page) => {
                let page = match page {
                    Page::Key(_) => self.leaf(page)?,
                    page => self.page(page),
                };
                self.db.flush_page(page)?;
                self.claims.push(Claim::Page(page));
                Ok(())
            }
            Step::FlushAll => self.db.flush_pages(),
            Step::Reclaim => {
                while self.db.reclaim_step()? {}
                Ok(())
            }
            Step::CheckpointBegin => {
                self.checkpoint = Some(self.db.begin_checkpoint()?);
                Ok(())
            }
            Step::CheckpointEnd => {
                let begun = self.checkpoint.take().expect("a history begins it before");
                self.db.complete_checkpoint(begun).map(drop)
            }
        }
    }

    /// Tells what the engine has said since to be durable.
    pub fn tell_claims(&mut self, watch: &dyn Watch) {
        self.claims.drain(..).for_each(|claim| watch.claimed(claim));
    }

    /// After a fault of the disk: leaves all that is under way, and tries another commit.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn carry_on(&mut self, expect: Expect<'_>) -> Result<()> {
        self.txns = Default::default();
        self.checkpoint = None;
        let mut txn = self.db.begin()?;
        let changes = allocate(&mut txn, b"on")?;
        self.settle(Outcome::Done(changes), expect, || txn.commit())
    }

    fn act(&mut self, number: usize, action: Action, expect: Expect<'_>) -> Result<()> {
        match action {
            Action::Update(page) => self.update(number, page),
            Action::Insert(page) => self.insert(number, page),
            Action::Delete(page) => self.delete(number, page),
            Action::Read(page) => self.read(number, page),
            Action::Put(key) => self.put(number, key, 12),
            Action::PutLong(key) => self.put(number, key, LONG_VALUE),
            Action::Remove(key) => self.remove(number, key),
            Action::Range => self.read_range(number),
            Action::Allocate(_) => self.allocate(number),
            Action::Free(page) => self.free(number, page),
            Action::NestedInsert(_) | Action::NestedAllocate(_) | Action::NestedFree(_) => {
                self.nested(number, action, expect)
            }
            Action::UndoneUpdate(_) | Action::UndoneAllocate(_) | Action::UndoneFree(_) => {
                self.undone(number, action)
            }
            Action::Savepoint => {
                let active = self.active(number)?;
                active.savepoint = Some((active.txn.savepoint()?, active.changes.len()));
                Ok(())
            }
            Action::RollbackTo => {
                let active = self.active(number)?;
                let (savepoint, changes) = active.savepoint.expect("a history takes one before");
                active.changes.truncate(changes);
                active.txn.rollback_to(savepoint)
            }
            Action::Commit => match self.leave(number) {
                Actor::Prepared(global_id) => self.decide(Outcome::Committed(global_id), expect),
                actor => self.commit(actor.active(), expect),
            },
            Action::CommitDeferred => self.commit_deferred(number, expect),
            Action::Wait => {
                let Actor::Deferred(ticket, done) = self.leave(number) else {
                    unreachable!("a history defers the commit before")
                };
                let lsn = ticket.wait()?;
                self.claims.push(Claim::Record(lsn));
                self.acknowledge(done, expect);
                Ok(())
            }
            Action::Prepare => self.prepare(number, expect),
            Action::Rollback => match self.leave(number) {
                Actor::Prepared(global_id) => self.decide(Outcome::RolledBack(global_id), expect),
                actor => actor.active().txn.rollback(),
            },
        }
    }

    /// The transaction; it begins now if it has not yet.
    fn active(&mut self, number: usize) -> Result<&mut Active> {
        let place = &mut self.txns[number - 1];
        if let Actor::NotBegun | Actor::Ended = place {
            let txn = self.db.begin()?;
            let active = Active { txn, changes: Vec::new(), savepoint: None, read: 0 };
            *place = Actor::Active(Box::new(active));
        }
        let Actor::Active(active) = place else { unreachable!("a history knows who is active") };
        Ok(active)
    }

    /// The transaction, which ends.
    fn leave(&mut self, number: usize) -> Actor {
        std::mem::replace(&mut self.txns[number - 1], Actor::Ended)
    }

    fn page(&self, page: Page) -> PageId {
        match page {
            Page::Map => PageId(0),
            Page::Old(number) => self.old_pages[number - 1],
            Page::New(number) => self.new_pages[number - 1],
            Page::Key(_) => unreachable!("a key is in the leaf where it is found"),
        }
    }

    /// The leaf that holds the first transaction's key.
    fn leaf(&self, key: Page) -> Result<PageId> {
        let table = self.table.as_ref().expect("the stage has a tree");
        self.db.leaf_of(table, &key_of(1, key))
    }

    fn put(&mut self, number: usize, key: Page, length: usize) -> Result<()> {
        let (key, value) = (key_of(number, key), vec![b'a' + self.steps % 26; length]);
        let table = self.table.clone().expect("the stage has a tree");
        let active = self.active(number)?;
        active.txn.put(&table, &key, &value)?;
        active.changes.push(Change::Cell { key, value: Some(value) });
        Ok(())
    }

    /// Reads the range of a transaction's keys, and sees that nobody can insert there.
    fn read_range(&mut self, number: usize) -> Result<()> {
        let (from, to) = (key_of(number, Page::Key(1)), key_of(number, Page::Key(4)));
        let table = self.table.clone().expect("the stage has a tree");
        let active = self.active(number)?;
        let range = active.txn.scan(&table, from.clone()..=to)?;
        range.collect::<Result<Vec<_>>>()?;
        let mut between = from;
        *between.last_mut().expect("keys are long") = b'f';
        let mut other = self.db.begin()?;
        match other.put(&table, &between, b"") {
            // Nobody waits here.
            Err(Error::Poisoned { .. }) => other.rollback(),
            Err(error) => Err(error),
            Ok(()) => {
                let message = "a key came between those that a transaction has read";
                Err(Error::InvalidInput(message.into()))
            }
        }
    }

    fn remove(&mut self, number: usize, key: Page) -> Result<()> {
        let key = key_of(number, key);
        let table = self.table.clone().expect("the stage has a tree");
        let active = self.active(number)?;
        assert!(active.txn.delete(&table, &key)?, "a history removes what is there");
        active.changes.push(Change::Cell { key, value: None });
        Ok(())
    }

    /// Bytes that no other step of a short history writes.
    fn value(&self) -> Vec<u8> {
        vec![b'a' + self.steps % 26; 4]
    }

    fn own_record(&self, number: usize, page: Page) -> (PageId, SlotId) {
        let slot = u16::try_from(number - 1).expect("there are few transactions");
        (self.page(page), SlotId(slot))
    }

    fn update(&mut self, number: usize, page: Page) -> Result<()> {
        let ((page, slot), bytes) = (self.own_record(number, page), self.value());
        let active = self.active(number)?;
        active.txn.write_record(page, slot, 0, &bytes)?;
        active.changes.push(Change::Record { page, slot, bytes: Some(bytes) });
        Ok(())
    }

    fn insert(&mut self, number: usize, page: Page) -> Result<()> {
        let (page, bytes) = (self.page(page), self.value());
        let active = self.active(number)?;
        let inserted = insert(&mut active.txn, page, &bytes)?;
        active.changes.push(inserted);
        Ok(())
    }

    fn delete(&mut self, number: usize, page: Page) -> Result<()> {
        let (page, slot) = self.own_record(number, page);
        let active = self.active(number)?;
        active.txn.delete_record(page, slot)?;
        active.changes.push(Change::Record { page, slot, bytes: None });
        Ok(())
    }

    fn allocate(&mut self, number: usize) -> Result<()> {
        let bytes = self.value();
        let changes = allocate(&mut self.active(number)?.txn, &bytes)?;
        self.new_pages.extend(changes[0].page());
        self.active(number)?.changes.extend(changes);
        Ok(())
    }

    fn free(&mut self, number: usize, page: Page) -> Result<()> {
        let page = self.page(page);
        let active = self.active(number)?;
        active.txn.free_page(page)?;
        active.changes.push(Change::Freed(page));
        Ok(())
    }

    /// Does something and rolls it back, to where it was before.
    fn undone(&mut self, number: usize, action: Action) -> Result<()> {
        let active = self.active(number)?;
        let (savepoint, changes) = (active.txn.savepoint()?, active.changes.len());
        match action {
            Action::UndoneUpdate(page) => self.update(number, page)?,
            Action::UndoneFree(page) => self.free(number, page)?,
            _ => self.allocate(number)?,
        }
        let active = self.active(number)?;
        active.changes.truncate(changes);
        active.txn.rollback_to(savepoint)
    }

    /// Reads the records of all that have ended: nobody holds a lock on them.
    fn read(&mut self, number: usize, page: Page) -> Result<()> {
        let has_ended = |actor: &Actor| matches!(actor, Actor::Ended | Actor::Deferred(..));
        let ended: Vec<usize> =
            (1..=MOST_TRANSACTIONS).filter(|at| has_ended(&self.txns[at - 1])).collect();
        let slots: Vec<SlotId> = ended.into_iter().map(|at| self.own_record(at, page).1).collect();
        let page = self.page(page);
        let seen = if slots.is_empty() { 0 } else { self.model.last_change_of(page) };
        let active = self.active(number)?;
        for slot in slots {
            active.txn.read_record(page, slot)?;
        }
        active.read = active.read.max(seen);
        Ok(())
    }

    /// What was done so far is durable.
    fn acknowledge(&mut self, done: u64, expect: Expect<'_>) {
        self.model.acknowledge(done);
        expect(self.expected());
    }

    /// Does something for good: while it is called, it may be there or not; when it has returned, it must, and all
    /// that was done before it.
    fn settle(
        &mut self,
        outcome: Outcome,
        expect: Expect<'_>,
        call: impl FnOnce() -> Result<Lsn>,
    ) -> Result<()> {
        let done = self.model.push(outcome);
        expect(self.expected());
        match call() {
            Ok(lsn) => {
                self.claims.push(Claim::Record(lsn));
                self.acknowledge(done, expect);
            }
            Err(unknown @ Error::OutcomeUnknown { .. }) => return Err(unknown),
            Err(refused) => {
                self.model.take_back();
                expect(self.expected());
                return Err(refused);
            }
        }
        Ok(())
    }

    fn commit(&mut self, active: Active, expect: Expect<'_>) -> Result<()> {
        let Active { txn, changes, read, .. } = active;
        if changes.is_empty() {
            txn.commit()?;
            self.acknowledge(read, expect);
            return Ok(());
        }
        self.settle(Outcome::Done(changes), expect, || txn.commit())
    }

    fn commit_deferred(&mut self, number: usize, expect: Expect<'_>) -> Result<()> {
        let Active { txn, changes, .. } = self.leave(number).active();
        let done = self.model.push(Outcome::Done(changes));
        expect(self.expected());
        let ticket = txn.commit_deferred()?;
        self.txns[number - 1] = Actor::Deferred(ticket, done);
        Ok(())
    }

    fn prepare(&mut self, number: usize, expect: Expect<'_>) -> Result<()> {
        let Active { txn, changes, .. } = self.leave(number).active();
        let global_id = format!("T{number}").into_bytes();
        let outcome = Outcome::Prepared(global_id.clone(), changes);
        self.settle(outcome, expect, || txn.prepare(&global_id))?;
        self.txns[number - 1] = Actor::Prepared(global_id);
        Ok(())
    }

    /// The coordinator has decided upon a transaction in doubt.
    fn decide(&mut self, decision: Outcome, expect: Expect<'_>) -> Result<()> {
        let done = self.model.push(decision.clone());
        expect(self.expected());
        match decision {
            Outcome::Committed(global_id) => self.db.commit_prepared(&global_id).map(drop)?,
            Outcome::RolledBack(global_id) => self.db.rollback_prepared(&global_id)?,
            Outcome::Done(_) | Outcome::Prepared(..) => unreachable!("it is a decision"),
        }
        self.acknowledge(done, expect);
        Ok(())
    }

    /// A nested top action, which forces the log before it ends: so a crash may find half of it there.
    fn nested(&mut self, number: usize, action: Action, expect: Expect<'_>) -> Result<()> {
        let bytes = self.value();
        let page = match action {
            Action::NestedInsert(page) | Action::NestedFree(page) => self.page(page),
            _ => PageId(0),
        };
        self.active(number)?;
        let Actor::Active(active) = &mut self.txns[number - 1] else { unreachable!("just begun") };
        let mut nested = active.txn.nested_top_action()?;
        let changes = match action {
            Action::NestedInsert(_) => vec![insert(&mut nested, page, &bytes)?],
            Action::NestedAllocate(_) => {
                let changes = allocate(&mut nested, &bytes)?;
                self.new_pages.extend(changes[0].page());
                changes
            }
            _ => {
                nested.free_page(page)?;
                vec![Change::Freed(page)]
            }
        };
        self.db.force_log()?;
        self.model.acknowledge(self.model.done());
        self.model.push(Outcome::Done(changes));
        expect(self.model.expected());
        nested.end()
    }
}

impl Actor {
    fn active(self) -> Active {
        let Self::Active(active) = self else { unreachable!("a history knows who is active") };
        *active
    }
}

fn insert(txn: &mut Transaction, page: PageId, bytes: &[u8]) -> Result<Change> {
    let slot = txn.insert_record(page, bytes)?;
    Ok(Change::Record { page, slot, bytes: Some(bytes.to_vec()) })
}

fn allocate(txn: &mut Transaction, bytes: &[u8]) -> Result<Vec<Change>> {
    let page = txn.allocate_page()?;
    Ok(vec![Change::Allocated(page), insert(txn, page, bytes)?])
}
