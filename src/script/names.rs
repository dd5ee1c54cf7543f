//! What transactions and log records are called in a script.
//!
//! - A transaction has the name it was begun under. One that the script did not begin is called by its number,
//!   told apart from every name: `txn12`.
//! - A log record behind the mark has a number, from 0: `#3`. Behind the last one stands what comes next. Other
//!   LSNs are shown as they are.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::ids::{Lsn, TxnId};
use crate::record::{self, Names as _};

/// The names there are.
#[derive(Clone, Default)]
pub struct Names {
    transactions: BTreeMap<TxnId, String>,
    /// LSNs of the numbered records, ascending.
    records: Vec<Lsn>,
    /// Where the next record will stand, as far as is known.
    end: Option<Lsn>,
}

impl Names {
    /// Names a transaction; whoever had the name before loses it.
    pub fn call(&mut self, txn: TxnId, name: &str) {
        self.transactions.retain(|_, other| other != name);
        self.transactions.insert(txn, name.to_owned());
    }

    /// A name for a transaction that was given none: `T` and the number after the highest that stands in such a
    /// name.
    pub fn next_name(&self) -> String {
        let numbers =
            self.transactions.values().filter_map(|name| name.strip_prefix('T')?.parse().ok());
        format!("T{}", numbers.max().unwrap_or(0_u64).saturating_add(1))
    }

    /// The transaction of this name.
    pub fn id(&self, name: &str) -> Option<TxnId> {
        let mut named = self.transactions.iter();
        named.find(|(_, other)| *other == name).map(|(txn, _)| *txn)
    }

    /// Numbers these records, with where they end, if that is known.
    pub fn number(&mut self, records: Vec<Lsn>, end: Option<Lsn>) {
        self.records = records;
        self.end = end.or(self.end);
    }

    /// Records from here on are lost.
    pub fn cut(&mut self, end: Lsn) {
        self.records.retain(|lsn| *lsn < end);
        self.end = Some(end);
    }

    /// A number more.
    pub fn number_next(&mut self, lsn: Lsn, end: Lsn) {
        self.records.push(lsn);
        self.end = Some(end);
    }

    /// How many records are numbered.
    pub fn count(&self) -> usize {
        self.records.len()
    }

    /// The numbered records.
    pub fn records(&self) -> &[Lsn] {
        &self.records
    }

    /// The record with this number.
    pub fn record(&self, number: usize) -> Option<Lsn> {
        self.records.get(number).copied()
    }

    /// What an error says, with these names. (Who calls a statement wrong has used them already.)
    pub fn told(&self, error: &Error) -> String {
        match error {
            Error::InvalidInput(_) | Error::NoSuchPrepared { .. } => error.to_string(),
            other => self.translate(&other.to_string()),
        }
    }

    /// A text in which the engine named transactions and LSNs its way, with these names.
    pub fn translate(&self, text: &str) -> String {
        text.split_inclusive(|c: char| !c.is_ascii_alphanumeric())
            .map(|piece| {
                let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                let rest = &piece[word.len()..];
                self.word(word).map_or_else(|| piece.to_owned(), |name| name + rest)
            })
            .collect()
    }

    fn word(&self, word: &str) -> Option<String> {
        let number = |digits: &str| {
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        match word.strip_prefix('T') {
            Some(digits) => Some(self.txn(TxnId::new(number(digits)?)?)),
            None if word.len() == LSN_DIGITS => Some(self.lsn(Lsn::new(number(word)?)?)),
            None => None,
        }
    }
}

impl record::Names for Names {
    fn lsn(&self, lsn: Lsn) -> String {
        match self.records.binary_search(&lsn) {
            Ok(number) => format!("#{number}"),
            Err(_) if Some(lsn) == self.end => format!("#{}", self.records.len()),
            Err(_) => lsn.to_string(),
        }
    }

    fn txn(&self, txn: TxnId) -> String {
        self.transactions.get(&txn).cloned().unwrap_or_else(|| format!("txn{}", txn.get()))
    }
}

/// LSNs are written with so many digits.
const LSN_DIGITS: usize = 12;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_s_names_are_replaced() {
        let lsn = |at| Lsn::new(at).unwrap();
        let mut names = Names::default();
        names.call(TxnId::new(7).unwrap(), "T1");
        names.number(vec![lsn(100), lsn(164)], Some(lsn(200)));
        let text = "T7: 000000000164 undone on P1, T8: 000000000200 (000000000101)";
        let translated = names.translate(text);
        assert_eq!(translated, "T1: #1 undone on P1, txn8: #2 (000000000101)");
        assert_eq!(names.id("T1"), TxnId::new(7));
        names.call(TxnId::new(9).unwrap(), "T1");
        assert_eq!(names.txn(TxnId::new(7).unwrap()), "txn7");
    }
}
