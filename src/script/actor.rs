//! A transaction under way, in a thread of its own: so that one which must wait for a lock keeps nobody else from
//! going on, and a nested top action can stand between any other statements.
//!
//! ```text
//!   session --- order ---> actor: does it on its transaction
//!           <-- reply ---         (or waits for a lock, which the session sees in the lock table)
//! ```
//!
//! - An actor does one order at a time, and replies once to each.
//! - Dropping it ends the thread; a transaction that has not ended is rolled back then, as far as the disk
//!   lets it. One that waits for a lock ends when it gets the lock, or when the engine is stopped: so all are
//!   told to end before one is waited for.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use super::statement::Action;
use crate::db::{Db, Table, Transaction};
use crate::error::{Error, Result};
use crate::ids::{PageId, SlotId, TxnId};
use crate::txn::{CommitTicket, Savepoint};

/// What came of an order.
pub enum Outcome {
    /// It is done, and there is nothing to tell.
    Done,
    /// A page was allocated.
    Page(PageId),
    /// A record was inserted.
    Record(PageId, SlotId),
    /// A record was read; `None` if there is none.
    Bytes(Option<Vec<u8>>),
    /// The value of a key was read; `None` if there is no such key.
    Value(Option<Vec<u8>>),
    /// A key was deleted, if it was there.
    Deleted(bool),
    /// Keys with their values.
    Pairs(Vec<(Vec<u8>, Vec<u8>)>),
    /// It has committed, and nobody waited for that.
    Deferred(CommitTicket),
}

type Reply = Result<Outcome>;
/// What is to be done, and the table that it is done to, if it is.
type Order = (Action, Option<Table>);

/// A transaction under way.
pub struct Actor {
    id: TxnId,
    orders: Option<Sender<Order>>,
    replies: Receiver<Reply>,
    thread: Option<JoinHandle<()>>,
    is_waiting: bool,
    /// The order under way, or the last one.
    order: Option<Action>,
    /// Nested top actions under way.
    nested: usize,
}

impl Actor {
    /// Begins a transaction.
    pub fn begin(db: &Db) -> Result<Self> {
        let txn = db.begin()?;
        let id = txn.id();
        let (orders, received) = channel();
        let (replying, replies) = channel();
        let body = move || run(txn, &received, &replying);
        let thread = thread::Builder::new()
            .name(format!("aries-{id}"))
            .spawn(body)
            .map_err(|error| Error::from_io("start a thread for", id.to_string(), error))?;
        let orders = Some(orders);
        let thread = Some(thread);
        Ok(Self { id, orders, replies, thread, is_waiting: false, order: None, nested: 0 })
    }

    /// The transaction's number.
    pub fn id(&self) -> TxnId {
        self.id
    }

    /// Whether it waits for a lock.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Whether a nested top action is under way.
    pub fn is_nested(&self) -> bool {
        self.nested > 0
    }

    /// Takes no more orders: it ends, as soon as it gets the lock that it may wait for.
    pub fn leave(&mut self) {
        self.orders = None;
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Gives an order; [`Actor::settle`] tells what comes of it.
    pub fn order(&mut self, action: Action, table: Option<Table>) {
        self.order = Some(action.clone());
        if let Some(orders) = &self.orders {
            // A thread that has ended has said why.
            let _ = orders.send((action, table));
        }
    }

    /// Returns when the order is done, with its outcome, or when the transaction waits for a lock.
    pub fn settle(&mut self, db: &Db) -> Option<Reply> {
        loop {
            match self.replies.try_recv() {
                Ok(reply) => {
                    self.is_waiting = false;
                    match (&self.order, &reply) {
                        (Some(Action::NestedBegin), Ok(_)) => self.nested += 1,
                        (Some(Action::NestedEnd | Action::NestedAbandon), Ok(_)) => {
                            self.nested -= 1
                        }
                        _ => {}
                    }
                    return Some(reply);
                }
                Err(TryRecvError::Disconnected) => {
                    let message = format!("{} has ended without a word", self.id);
                    return Some(Err(Error::InvalidInput(message)));
                }
                Err(TryRecvError::Empty) if self.waits_for_a_lock(db) => {
                    self.is_waiting = true;
                    return None;
                }
                Err(TryRecvError::Empty) => thread::yield_now(),
            }
        }
    }

    /// Whether it stands in the lock table as one who waits.
    pub fn waits_for_a_lock(&self, db: &Db) -> bool {
        db.locks().iter().any(|lock| lock.waiters.iter().any(|(txn, _)| *txn == self.id))
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The last order that was served.
enum Last {
    Commit {
        deferred: bool,
    },
    Rollback,
    Prepare(String),
    NestedEnd,
    NestedAbandon,
    /// Nobody gives orders any more.
    Alone,
}

fn run(mut txn: Transaction, orders: &Receiver<Order>, replies: &Sender<Reply>) {
    let mut savepoints = BTreeMap::new();
    let outcome = loop {
        match serve(&mut txn, &mut savepoints, orders, replies) {
            Last::Commit { deferred: false } => break txn.commit().map(|_| Outcome::Done),
            Last::Commit { deferred: true } => break txn.commit_deferred().map(Outcome::Deferred),
            Last::Rollback => break txn.rollback().map(|()| Outcome::Done),
            Last::Prepare(id) => break txn.prepare(id.as_bytes()).map(|_| Outcome::Done),
            Last::NestedEnd | Last::NestedAbandon => {
                let message = "no nested top action is under way".to_owned();
                let _ = replies.send(Err(Error::InvalidInput(message)));
            }
            Last::Alone => return,
        }
    };
    let _ = replies.send(outcome);
}

type Savepoints = BTreeMap<String, Savepoint>;

/// Does what it is told until that ends the transaction, or the nested top action.
fn serve(
    txn: &mut Transaction,
    savepoints: &mut Savepoints,
    orders: &Receiver<Order>,
    replies: &Sender<Reply>,
) -> Last {
    while let Ok((action, table)) = orders.recv() {
        let reply = match action {
            Action::Commit { deferred } => return Last::Commit { deferred },
            Action::Rollback => return Last::Rollback,
            Action::Prepare(id) => return Last::Prepare(id),
            Action::NestedEnd => return Last::NestedEnd,
            Action::NestedAbandon => return Last::NestedAbandon,
            Action::NestedBegin => match nested(txn, savepoints, orders, replies) {
                Ok(Some(end)) => return end,
                Ok(None) => continue,
                Err(error) => Err(error),
            },
            other => act(txn, savepoints, other, table.as_ref()),
        };
        if replies.send(reply).is_err() {
            break;
        }
    }
    Last::Alone
}

/// A nested top action: `None` when it has ended, or why the whole transaction does.
fn nested(
    txn: &mut Transaction,
    savepoints: &mut Savepoints,
    orders: &Receiver<Order>,
    replies: &Sender<Reply>,
) -> Result<Option<Last>> {
    let mut action = txn.nested_top_action()?;
    let _ = replies.send(Ok(Outcome::Done));
    let reply = match serve(&mut action, savepoints, orders, replies) {
        Last::NestedEnd => action.end(),
        Last::NestedAbandon => Ok(()),
        end => return Ok(Some(end)),
    };
    let _ = replies.send(reply.map(|()| Outcome::Done));
    Ok(None)
}

fn act(
    txn: &mut Transaction,
    savepoints: &mut Savepoints,
    action: Action,
    table: Option<&Table>,
) -> Reply {
    if let Some(table) = table {
        return act_on(txn, table, action);
    }
    Ok(match action {
        Action::Read(page, slot) => Outcome::Bytes(txn.read_record(page, slot)?),
        Action::Write(page, slot, offset, text) => {
            txn.write_record(page, slot, offset, text.as_bytes())?;
            Outcome::Done
        }
        Action::Insert(page, text) => {
            Outcome::Record(page, txn.insert_record(page, text.as_bytes())?)
        }
        Action::Delete(page, slot) => {
            txn.delete_record(page, slot)?;
            Outcome::Done
        }
        Action::Allocate => Outcome::Page(txn.allocate_page()?),
        Action::Free(page) => {
            txn.free_page(page)?;
            Outcome::Done
        }
        Action::Savepoint(name) => {
            savepoints.insert(name, txn.savepoint()?);
            Outcome::Done
        }
        Action::RollbackTo(name) => {
            let savepoint = savepoints.get(&name).copied();
            let missing = || Error::InvalidInput(format!("there is no savepoint {name:?}"));
            txn.rollback_to(savepoint.ok_or_else(missing)?)?;
            Outcome::Done
        }
        other => unreachable!("{other:?} is the session's or the caller's to do"),
    })
}

/// What is done to a table.
fn act_on(txn: &mut Transaction, table: &Table, action: Action) -> Reply {
    Ok(match action {
        Action::Put(_, key, value) => {
            txn.put(table, key.as_bytes(), value.as_bytes())?;
            Outcome::Done
        }
        Action::Get(_, key) => Outcome::Value(txn.get(table, key.as_bytes())?),
        Action::DeleteKey(_, key) => Outcome::Deleted(txn.delete(table, key.as_bytes())?),
        Action::Scan(range) => {
            let bound = |key: Option<String>, of: fn(Vec<u8>) -> Bound<Vec<u8>>| {
                key.map_or(Bound::Unbounded, |key| of(key.into_bytes()))
            };
            let keys = (bound(range.from, Bound::Included), bound(range.to, Bound::Excluded));
            let scan = txn.scan(table, keys)?;
            Outcome::Pairs(match range.backwards {
                true => scan.rev().collect::<Result<_>>()?,
                false => scan.collect::<Result<_>>()?,
            })
        }
        other => unreachable!("{other:?} is done to no table"),
    })
}
