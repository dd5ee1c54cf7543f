//! The words behind a statement's name, taken one by one; what is left over is an error.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::syntax::{Argument, Line, SyntaxError, Word, shown};
use crate::ids::{PageId, SlotId};

/// The arguments of one line that nobody has taken yet.
pub struct Arguments<'l> {
    line: &'l Line,
    left: Vec<&'l Argument>,
}

type Parsed<T> = Result<T, SyntaxError>;

impl<'l> Arguments<'l> {
    /// All of the line's.
    pub fn new(line: &'l Line) -> Self {
        Self { line, left: line.arguments.iter().collect() }
    }

    /// Nothing may be left.
    pub fn finish(&self) -> Parsed<()> {
        let Some(argument) = self.left.first() else { return Ok(()) };
        let (name, value) = (&self.line.name.text, &argument.value.text);
        let is_key = |other: &&Argument| other.key.is_some() && other.key == argument.key;
        let message = match &argument.key {
            Some(key) if self.line.arguments.iter().filter(is_key).count() > 1 => {
                format!("{}= stands there twice", shown(key))
            }
            Some(key) => format!("{name} takes no {}=", shown(key)),
            None => format!("{name} does not take {:?} here", shown(value)),
        };
        Err(self.line.error_at(argument.column, message))
    }

    fn wrong(&self, word: &Word, expected: impl Display) -> SyntaxError {
        self.line.error_at(word.column, format!("{:?} is not {expected}", shown(&word.text)))
    }

    fn missing(&self, what: impl Display) -> SyntaxError {
        let message = format!("{} needs {what} here", self.line.name.text);
        self.line.error_at(self.line.end, message)
    }

    fn next(&mut self) -> Option<&'l Word> {
        let at = self.left.iter().position(|argument| argument.key.is_none())?;
        Some(&self.left.remove(at).value)
    }

    fn keyed(&mut self, key: &str) -> Option<&'l Word> {
        let at = self.left.iter().position(|argument| argument.key.as_deref() == Some(key))?;
        Some(&self.left.remove(at).value)
    }

    fn needed(&mut self, what: &str) -> Parsed<&'l Word> {
        self.next().ok_or_else(|| self.missing(what))
    }

    fn parse<T: FromStr>(&self, word: &Word) -> Parsed<T> {
        word.text.parse().map_err(|_| self.wrong(word, "a number that can stand here"))
    }

    /// A word, whatever it is.
    pub fn text(&mut self, what: &str) -> Parsed<String> {
        self.needed(what).map(|word| word.text.clone())
    }

    /// The same, where none need be.
    pub fn optional_text(&mut self) -> Option<String> {
        self.next().map(|word| word.text.clone())
    }

    /// How many words without a key are left.
    pub fn words(&self) -> usize {
        self.left.iter().filter(|argument| argument.key.is_none()).count()
    }

    /// `key=WORD`, whatever it is, where none need be.
    pub fn keyed_text(&mut self, key: &str) -> Option<String> {
        self.keyed(key).map(|word| word.text.clone())
    }

    /// A number without a key.
    pub fn positional_number<T: FromStr>(&mut self, what: &str) -> Parsed<T> {
        let word = self.needed(what)?;
        self.parse(word)
    }

    /// `key=N`.
    pub fn number<T: FromStr>(&mut self, key: &str) -> Parsed<T> {
        self.optional_number(key)?.ok_or_else(|| self.missing(format!("{key}=N")))
    }

    /// The same, where none need be.
    pub fn optional_number<T: FromStr>(&mut self, key: &str) -> Parsed<Option<T>> {
        self.keyed(key).map(|word| self.parse(word)).transpose()
    }

    fn chosen<T: Clone>(&self, word: &Word, what: &str, among: &[(&str, T)]) -> Parsed<T> {
        let found = among.iter().find(|(name, _)| *name == word.text);
        found.map(|(_, value)| value.clone()).ok_or_else(|| self.wrong(word, what))
    }

    /// One of several words.
    pub fn choice<T: Clone>(&mut self, what: &str, among: &[(&str, T)]) -> Parsed<T> {
        let word = self.needed(what)?;
        self.chosen(word, what, among)
    }

    /// The same, where none need be.
    pub fn optional_choice<T: Clone>(
        &mut self,
        what: &str,
        among: &[(&str, T)],
    ) -> Parsed<Option<T>> {
        self.next().map(|word| self.chosen(word, what, among)).transpose()
    }

    /// `key=WORD`, one of several words, where none need be.
    pub fn keyed_choice<T: Clone>(&mut self, key: &str, among: &[(&str, T)]) -> Parsed<Option<T>> {
        let names: Vec<&str> = among.iter().map(|(name, _)| *name).collect();
        let what = format!("one of {}", names.join(", "));
        self.keyed(key).map(|word| self.chosen(word, &what, among)).transpose()
    }

    /// `key=0,2,5`: numbers between commas; none where something else stands there.
    pub fn keyed_numbers(&mut self, key: &str) -> Parsed<Option<Vec<usize>>> {
        let is_number = |argument: &&&Argument| {
            let value = &argument.value.text;
            argument.key.as_deref() == Some(key) && value.starts_with(|c: char| c.is_ascii_digit())
        };
        if !self.left.iter().any(|argument| is_number(&argument)) {
            return Ok(None);
        }
        self.list(key, "numbers, such as 0,2,5", |text| text.parse().ok()).map(Some)
    }

    fn page_of(&self, word: &Word) -> Parsed<PageId> {
        page(&word.text).ok_or_else(|| self.wrong(word, "a page, such as P3"))
    }

    /// A page.
    pub fn page(&mut self) -> Parsed<PageId> {
        let word = self.needed("a page, such as P3,")?;
        self.page_of(word)
    }

    /// `key=P3`.
    pub fn keyed_page(&mut self, key: &str) -> Parsed<PageId> {
        let word = self.keyed(key).ok_or_else(|| self.missing(format!("{key}=P…")))?;
        self.page_of(word)
    }

    /// A page, or `all`, which is none.
    pub fn page_or_all(&mut self) -> Parsed<Option<PageId>> {
        let word = self.needed("a page, such as P3, or all")?;
        if word.text == "all" { Ok(None) } else { self.page_of(word).map(Some) }
    }

    /// A record: page and slot.
    pub fn record(&mut self) -> Parsed<(PageId, SlotId)> {
        let word = self.needed("a record, such as P3.2,")?;
        let parts = word.text.split_once('.');
        let parts = parts.and_then(|(at, slot)| Some((page(at)?, SlotId(slot.parse().ok()?))));
        parts.ok_or_else(|| self.wrong(word, "a record, such as P3.2"))
    }

    /// `torn=P3:1-4`.
    pub fn torn(&mut self) -> Parsed<Option<(PageId, RangeInclusive<u64>)>> {
        let Some(word) = self.keyed("torn") else { return Ok(None) };
        let parsed = word.text.split_once(':').and_then(|(at, sectors)| {
            let (first, last) = sectors.split_once('-')?;
            Some((page(at)?, first.parse().ok()?..=last.parse().ok()?))
        });
        parsed.map(Some).ok_or_else(|| self.wrong(word, "a page and its sectors, such as P3:0-0"))
    }

    /// A number of bytes, or `none`.
    pub fn bytes_or_none(&mut self) -> Parsed<Option<u64>> {
        let word = self.needed("a number of bytes, or none,")?;
        if word.text == "none" { Ok(None) } else { self.parse(word).map(Some) }
    }

    /// `key=…`: parts between commas, each read by `part`; none where the key is missing.
    pub fn list<T>(
        &mut self,
        key: &str,
        what: &str,
        part: impl Fn(&str) -> Option<T>,
    ) -> Parsed<Vec<T>> {
        let Some(word) = self.keyed(key) else { return Ok(Vec::new()) };
        let parts = word.text.split(',').filter(|text| !text.is_empty()).map(part);
        parts.collect::<Option<_>>().ok_or_else(|| self.wrong(word, what))
    }
}

/// `P3`; `S` is the space map page of the first pages.
pub fn page(text: &str) -> Option<PageId> {
    let number = text.strip_prefix('P')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok().map(PageId))?
}
