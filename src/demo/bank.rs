//! The bank: a database whose records are accounts and the clients' counters.
//!
//! Every record is a line of text that says what it is, so that the bank needs no directory of its
//! own: whoever opens it reads all pages.
//!
//! ```text
//!   account 0017 holds +00000000987
//!   client 02 did 0000000341 transfers
//! ```
//!
//! Invariants:
//! - accounts and clients are numbered from 0, without a gap;
//! - all of a bank's records are inserted by one transaction: there is all of a bank or nothing;
//! - a record keeps its length, so its place.

use std::fmt;

use super::{Error, Transfer};
use crate::db::{Db, Transaction};
use crate::ids::{Lsn, PageId, SlotId};
use crate::page::{self, PageKind, PageState};

/// What each account holds at first.
pub const INITIAL_BALANCE: i64 = 1000;

/// Where a record is.
type Place = (PageId, SlotId);

/// Where the records of an open bank are.
#[derive(Clone, Debug)]
pub struct Bank {
    accounts: Vec<Place>,
    clients: Vec<Place>,
}

/// What all records of a bank say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// The balance of each account.
    pub balances: Vec<i64>,
    /// How many transfers each client did.
    pub counts: Vec<u64>,
}

/// A record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    Account { number: usize, balance: i64 },
    Client { number: usize, count: u64 },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account { number, balance } => {
                write!(f, "account {number:04} holds {balance:+012}")
            }
            Self::Client { number, count } => {
                write!(f, "client {number:02} did {count:010} transfers")
            }
        }
    }
}

impl Line {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let words: Vec<&str> = std::str::from_utf8(bytes).ok()?.split(' ').collect();
        match words[..] {
            ["account", number, "holds", balance] => {
                Some(Self::Account { number: number.parse().ok()?, balance: balance.parse().ok()? })
            }
            ["client", number, "did", count, "transfers"] => {
                Some(Self::Client { number: number.parse().ok()?, count: count.parse().ok()? })
            }
            _ => None,
        }
    }
}

impl Bank {
    /// Finds the bank in an open database, and makes one if there is no record at all.
    ///
    /// # Errors
    /// [`Error::Bank`] for records that are no bank's; those of the engine.
    pub fn find_or_make(db: &Db, accounts: usize, clients: usize) -> Result<Self, Error> {
        let bank = Self::find(db)?;
        if !bank.accounts.is_empty() {
            return Ok(bank);
        }
        let mut txn = db.begin()?;
        let mut lines = Vec::with_capacity(accounts + clients);
        lines
            .extend((0..accounts).map(|number| Line::Account { number, balance: INITIAL_BALANCE }));
        lines.extend((0..clients).map(|number| Line::Client { number, count: 0 }));
        insert_all(&mut txn, &lines)?;
        txn.commit()?;
        Self::find(db)
    }

    /// Finds the records in an open database.
    ///
    /// # Errors
    /// As [`Bank::find_or_make`].
    pub fn find(db: &Db) -> Result<Self, Error> {
        let (mut accounts, mut clients) = (Vec::new(), Vec::new());
        let mut txn = db.begin()?;
        for page in (0..db.stats().pages).map(PageId) {
            if !holds_records(db, page)? {
                continue;
            }
            for slot in txn.slots(page)? {
                match read(&mut txn, (page, slot))? {
                    Line::Account { number, .. } => accounts.push((number, (page, slot))),
                    Line::Client { number, .. } => clients.push((number, (page, slot))),
                }
            }
        }
        txn.commit()?;
        Ok(Self { accounts: in_order(accounts)?, clients: in_order(clients)? })
    }

    /// How many accounts there are.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// How many clients there are.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// What the record at this place is, in words.
    #[must_use]
    pub fn name_of(&self, page: PageId, slot: SlotId) -> Option<String> {
        let number = |places: &[Place]| places.iter().position(|place| *place == (page, slot));
        number(&self.accounts)
            .map(|number| format!("account {number}"))
            .or_else(|| number(&self.clients).map(|number| format!("counter of client {number}")))
    }

    /// Does a transfer and commits: when this returns, it is durable. Records are locked in the
    /// order of the transfer, so that clients do run into deadlocks; `think` is called between two
    /// changes.
    ///
    /// # Errors
    /// [`crate::error::Error::Deadlock`]: nothing happened, try again. Others are final.
    pub fn transfer(
        &self,
        db: &Db,
        (client, sequence): (usize, u64),
        transfer: &Transfer,
        think: impl Fn(),
    ) -> Result<Lsn, Error> {
        let mut txn = db.begin()?;
        let done = self
            .add(&mut txn, transfer.from, -transfer.amount)
            .inspect(|()| think())
            .and_then(|()| self.count(&mut txn, client, sequence))
            .inspect(|()| think())
            .and_then(|()| self.add(&mut txn, transfer.to, transfer.amount))
            .inspect(|()| think());
        match done {
            Ok(()) => Ok(txn.commit()?),
            Err(error) => {
                txn.rollback()?;
                Err(error)
            }
        }
    }

    fn add(&self, txn: &mut Transaction, account: usize, amount: i64) -> Result<(), Error> {
        let place = self.accounts[account];
        match read(txn, place)? {
            Line::Account { number, balance } if number == account => {
                write(txn, place, Line::Account { number, balance: balance + amount })
            }
            other => Err(Error::Bank(format!("{other:?} in place of account {account}"))),
        }
    }

    fn count(&self, txn: &mut Transaction, client: usize, count: u64) -> Result<(), Error> {
        write(txn, self.clients[client], Line::Client { number: client, count })
    }

    /// Reads all records.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn state(&self, db: &Db) -> Result<State, Error> {
        let mut state = State { balances: Vec::new(), counts: Vec::new() };
        let mut txn = db.begin()?;
        for place in self.accounts.iter().chain(&self.clients) {
            match read(&mut txn, *place)? {
                Line::Account { balance, .. } => state.balances.push(balance),
                Line::Client { count, .. } => state.counts.push(count),
            }
        }
        txn.commit()?;
        Ok(state)
    }
}

fn holds_records(db: &Db, page: PageId) -> Result<bool, Error> {
    if db.page_state(page)? != Some(PageState::Used) {
        return Ok(false);
    }
    Ok(page::kind(db.fix_page(page)?.bytes()) == Some(PageKind::Slotted))
}

fn insert_all(txn: &mut Transaction, lines: &[Line]) -> Result<(), Error> {
    let mut page = txn.allocate_page()?;
    for line in lines {
        let text = line.to_string();
        match txn.insert_record(page, text.as_bytes()) {
            Err(crate::error::Error::PageFull { .. }) => {
                page = txn.allocate_page()?;
                txn.insert_record(page, text.as_bytes())?;
            }
            inserted => drop(inserted?),
        }
    }
    Ok(())
}

fn read(txn: &mut Transaction, (page, slot): Place) -> Result<Line, Error> {
    let bytes = txn.read_record(page, slot)?.unwrap_or_default();
    Line::parse(&bytes).ok_or_else(|| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Error::Bank(format!("record {page}.{slot} says {text:?}"))
    })
}

fn write(txn: &mut Transaction, (page, slot): Place, line: Line) -> Result<(), Error> {
    Ok(txn.write_record(page, slot, 0, line.to_string().as_bytes())?)
}

/// The places of records numbered from 0 without a gap.
fn in_order(mut numbered: Vec<(usize, Place)>) -> Result<Vec<Place>, Error> {
    numbered.sort_unstable();
    match numbered.iter().enumerate().find(|(index, (number, _))| index != number) {
        None => Ok(numbered.into_iter().map(|(_, place)| place).collect()),
        Some((index, (number, _))) => {
            Err(Error::Bank(format!("record number {number} where {index} should be")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written_and_keep_their_length() {
        for balance in [0, -5, 1_000, -99_999_999, 99_999_999] {
            let line = Line::Account { number: 17, balance };
            assert_eq!(Line::parse(line.to_string().as_bytes()), Some(line));
            assert_eq!(line.to_string().len(), 31);
        }
        let line = Line::Client { number: 3, count: 42 };
        assert_eq!(line.to_string(), "client 03 did 0000000042 transfers");
        assert_eq!(Line::parse(line.to_string().as_bytes()), Some(line));
        for other in [&b"alice 100"[..], b"", b"account x holds 1", b"client 1 did 1", b"\xFF"] {
            assert_eq!(Line::parse(other), None);
        }
    }
}
