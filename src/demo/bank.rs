//! The bank: a database with two tables, of accounts and of the clients' counters.
//!
//! ```text
//!   accounts   "0017" → "+00000000987"
//!   clients    "02"   → "0000000341"        so many transfers
//! ```
//!
//! Invariants:
//! - accounts and clients are numbered from 0, without a gap;
//! - all that is in both tables is put by one transaction: there is all of a bank or nothing.

use super::{Error, Transfer};
use crate::db::{Db, Table, Transaction};
use crate::ids::{Lsn, PageId};

/// What each account holds at first.
pub const INITIAL_BALANCE: i64 = 1000;

/// An open bank.
#[derive(Clone, Debug)]
pub struct Bank {
    accounts: Table,
    clients: Table,
    /// How many there are of each.
    numbers: (usize, usize),
}

/// What both tables say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// The balance of each account.
    pub balances: Vec<i64>,
    /// How many transfers each client did.
    pub counts: Vec<u64>,
}

fn account_key(number: usize) -> String {
    format!("{number:04}")
}

fn client_key(number: usize) -> String {
    format!("{number:02}")
}

fn put_balance(
    txn: &mut Transaction,
    table: &Table,
    number: usize,
    balance: i64,
) -> Result<(), Error> {
    Ok(txn.put(table, account_key(number).as_bytes(), format!("{balance:+012}").as_bytes())?)
}

fn put_count(txn: &mut Transaction, table: &Table, number: usize, count: u64) -> Result<(), Error> {
    Ok(txn.put(table, client_key(number).as_bytes(), format!("{count:010}").as_bytes())?)
}

/// What stands for a number in a table.
fn number<N: std::str::FromStr>(table: &Table, key: &[u8], value: &[u8]) -> Result<N, Error> {
    let parsed = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| {
        let (key, value) = (key.escape_ascii(), value.escape_ascii());
        Error::Bank(format!("table {} has \"{value}\" for \"{key}\"", table.name()))
    })
}

impl Bank {
    /// Finds the bank in an open database, and makes one if there is none.
    ///
    /// # Errors
    /// [`Error::Bank`] for tables that are no bank's; those of the engine.
    pub fn find_or_make(db: &Db, accounts: usize, clients: usize) -> Result<Self, Error> {
        let bank = Self::find(db)?;
        if bank.accounts() > 0 {
            return Ok(bank);
        }
        let mut txn = db.begin()?;
        for number in 0..accounts {
            put_balance(&mut txn, &bank.accounts, number, INITIAL_BALANCE)?;
        }
        for number in 0..clients {
            put_count(&mut txn, &bank.clients, number, 0)?;
        }
        txn.commit()?;
        Self::find(db)
    }

    /// Finds the tables in an open database.
    ///
    /// # Errors
    /// As [`Bank::find_or_make`].
    pub fn find(db: &Db) -> Result<Self, Error> {
        let (accounts, clients) = (db.table("accounts")?, db.table("clients")?);
        let mut bank = Self { accounts, clients, numbers: (0, 0) };
        let state = bank.state(db)?;
        bank.numbers = (state.balances.len(), state.counts.len());
        Ok(bank)
    }

    /// How many accounts there are.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.numbers.0
    }

    /// How many clients there are.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.numbers.1
    }

    /// What this key of the tree with this root is, in words.
    #[must_use]
    pub fn name_of(&self, tree: PageId, key: &[u8]) -> Option<String> {
        let number: usize = std::str::from_utf8(key).ok()?.parse().ok()?;
        if tree == self.accounts.root() {
            Some(format!("account {number}"))
        } else {
            (tree == self.clients.root()).then(|| format!("counter of client {number}"))
        }
    }

    /// Does a transfer and commits: when this returns, it is durable. Keys are locked in the
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
            .and_then(|()| put_count(&mut txn, &self.clients, client, sequence))
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
        let key = account_key(account);
        let value = txn.get(&self.accounts, key.as_bytes())?.unwrap_or_default();
        let balance: i64 = number(&self.accounts, key.as_bytes(), &value)?;
        put_balance(txn, &self.accounts, account, balance + amount)
    }

    /// Reads both tables, in one transaction.
    ///
    /// # Errors
    /// Those of the engine; [`Error::Bank`] for what is no bank's.
    pub fn state(&self, db: &Db) -> Result<State, Error> {
        let mut txn = db.begin()?;
        let balances = read_all(&mut txn, &self.accounts, account_key)?;
        let counts = read_all(&mut txn, &self.clients, client_key)?;
        txn.commit()?;
        Ok(State { balances, counts })
    }
}

/// The values of a table whose keys are numbered from 0 without a gap.
fn read_all<N: std::str::FromStr>(
    txn: &mut Transaction,
    table: &Table,
    key_of: fn(usize) -> String,
) -> Result<Vec<N>, Error> {
    let mut values = Vec::new();
    for pair in txn.scan(table, ..)? {
        let (key, value) = pair?;
        let expected = key_of(values.len());
        if key != expected.as_bytes() {
            let (key, table) = (key.escape_ascii(), table.name());
            let message = format!("table {table} has \"{key}\" where \"{expected}\" should be");
            return Err(Error::Bank(message));
        }
        values.push(number(table, &key, &value)?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::db::Options;
    use crate::disk::SimDisk;
    use crate::sync::Arc;

    #[test]
    fn what_is_no_bank_is_refused() {
        let spoilt: [(&str, &[u8], &[u8]); 4] = [
            ("accounts", b"0001", b"many"),
            ("accounts", b"0099", b"+00000000001"),
            ("accounts", b"x", b"+00000000001"),
            ("clients", b"00", b"\xFF"),
        ];
        for (table, key, value) in spoilt {
            let options = Options::new().background(false);
            let db = options.open_on(Arc::new(SimDisk::new())).unwrap();
            let bank = Bank::find_or_make(&db, 3, 2).unwrap();
            assert_eq!((bank.accounts(), bank.clients()), (3, 2));
            let state = bank.state(&db).unwrap();
            assert_eq!((state.balances, state.counts), (vec![INITIAL_BALANCE; 3], vec![0; 2]));
            let table = db.table(table).unwrap();
            db.transact(|txn| txn.put(&table, key, value)).unwrap();
            assert!(matches!(Bank::find(&db), Err(Error::Bank(_))));
        }
    }

    #[test]
    fn keys_have_names() {
        let options = Options::new().background(false);
        let db = options.open_on(Arc::new(SimDisk::new())).unwrap();
        let bank = Bank::find_or_make(&db, 3, 2).unwrap();
        let named = |table: &Table, key: &[u8]| bank.name_of(table.root(), key);
        assert_eq!(named(&bank.accounts, b"0002").as_deref(), Some("account 2"));
        assert_eq!(named(&bank.clients, b"01").as_deref(), Some("counter of client 1"));
        assert_eq!(named(&bank.clients, b"x"), None);
        assert_eq!(bank.name_of(PageId(0), b"0002"), None);
    }
}
