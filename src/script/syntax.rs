//! Lines and their words: what stands in a script before anybody asks what it means.
//!
//! ```text
//!   line       =  [ "(" ] [ NAME ":" ] [ "!" ] NAME { argument } [ ")" ] [ comment ]
//!   argument   =  word | NAME "=" [ word ]
//!   word       =  letters, digits and _ - . / @ : , +   |   "text"   |   'text'
//!   comment    =  "#" … | "//" …
//! ```
//!
//! In quoted text `\n \r \t \0 \\ \" \'` stand for one character, and so does `\x41`. A name before the colon
//! says whose statement it is. After `!` the statement must fail. In round brackets it prints nothing.

use std::fmt;

/// What is wrong with a script, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyntaxError {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What is wrong, in words.
    pub message: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for SyntaxError {}

/// What some editors leave at the begin of a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text without the byte order mark that it may begin with.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Bytes as text, of which the first line has this number. At the begin of a script a byte order mark is left out.
///
/// # Errors
/// Where the first byte stands that is no UTF-8.
pub fn text(number: usize, bytes: &[u8]) -> Result<&str, SyntaxError> {
    let mark = BYTE_ORDER_MARK.to_string();
    let bytes = bytes.strip_prefix(mark.as_bytes()).filter(|_| number == 1).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let last = before.rsplit('\n').next().unwrap_or_default();
        let (line, column) = (number + before.matches('\n').count(), last.chars().count() + 1);
        SyntaxError { line, column, message: "this is no UTF-8 text".to_owned() }
    })
}

/// Longer words are cut in messages.
const MOST_SHOWN: usize = 40;

/// A word as a message shows it.
pub(super) fn shown(word: &str) -> String {
    match word.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => word[..end].to_owned() + "…",
        None => word.to_owned(),
    }
}

/// A word, and where it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// Without quotes and escapes.
    pub text: String,
    /// Character in the line, from 1.
    pub column: usize,
}

/// What follows a statement's name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Argument {
    /// What stands before the equals sign, if there is one.
    pub key: Option<String>,
    /// The rest.
    pub value: Word,
    /// Where it begins: character in the line, from 1.
    pub column: usize,
}

/// One statement as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Line, from 1.
    pub number: usize,
    /// Whether it prints nothing.
    pub silent: bool,
    /// Whose statement it is.
    pub prefix: Option<Word>,
    /// Whether it must fail.
    pub fails: bool,
    /// What is to be done.
    pub name: Word,
    /// With what.
    pub arguments: Vec<Argument>,
    /// The column behind it, where something may be missing.
    pub end: usize,
}

impl Line {
    /// Reads one line; `None` if nothing stands there but a comment.
    ///
    /// # Errors
    /// When it is no statement.
    pub fn parse(number: usize, text: &str) -> Result<Option<Self>, SyntaxError> {
        let mut cursor = Cursor { number, rest: text, column: 1 };
        cursor.skip_space();
        if cursor.is_at_end() {
            return Ok(None);
        }
        let silent = cursor.take('(');
        cursor.skip_space();
        let mut name = cursor.name()?;
        let mut prefix = None;
        if cursor.take(':') {
            cursor.skip_space();
            prefix = Some(name);
            name = Word { text: String::new(), column: cursor.column };
        }
        let fails = name.text.is_empty() && cursor.take('!');
        if name.text.is_empty() {
            cursor.skip_space();
            name = cursor.name()?;
        }
        if name.text.is_empty() {
            return Err(cursor.error("a statement must stand here"));
        }
        let arguments = cursor.arguments(silent)?;
        Ok(Some(Self { number, silent, prefix, fails, name, arguments, end: cursor.column }))
    }

    /// An error at the begin of the statement's name.
    #[must_use]
    pub fn error(&self, message: impl Into<String>) -> SyntaxError {
        self.error_at(self.name.column, message)
    }

    /// An error at a column of this line.
    #[must_use]
    pub fn error_at(&self, column: usize, message: impl Into<String>) -> SyntaxError {
        SyntaxError { line: self.number, column, message: message.into() }
    }
}

/// Where reading a line has got to.
struct Cursor<'t> {
    number: usize,
    rest: &'t str,
    column: usize,
}

fn is_bare(character: char) -> bool {
    is_of_name(character) || matches!(character, '/' | '@' | ':' | ',' | '+' | '*')
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
}

impl Cursor<'_> {
    fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError { line: self.number, column: self.column, message: message.into() }
    }

    fn next(&mut self) -> Option<char> {
        let character = self.rest.chars().next()?;
        self.rest = &self.rest[character.len_utf8()..];
        self.column += 1;
        Some(character)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.rest.starts_with(wanted);
        if found {
            self.next();
        }
        found
    }

    fn skip_space(&mut self) {
        while self.rest.starts_with(|c: char| c.is_whitespace()) {
            self.next();
        }
    }

    fn is_at_end(&self) -> bool {
        self.rest.is_empty() || self.rest.starts_with('#') || self.rest.starts_with("//")
    }

    fn while_(&mut self, wanted: fn(char) -> bool) -> Word {
        let column = self.column;
        let length = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let text = self.rest[..length].to_owned();
        self.column += text.chars().count();
        self.rest = &self.rest[length..];
        Word { text, column }
    }

    /// A name; empty if another character stands here that may begin a statement.
    fn name(&mut self) -> Result<Word, SyntaxError> {
        let word = self.while_(is_of_name);
        match self.rest.chars().next() {
            Some(other) if word.text.is_empty() && other != '!' => {
                Err(self.error(format!("{other:?} begins no statement")))
            }
            _ => Ok(word),
        }
    }

    fn arguments(&mut self, silent: bool) -> Result<Vec<Argument>, SyntaxError> {
        let mut arguments = Vec::new();
        loop {
            let before = self.column;
            self.skip_space();
            if silent && self.take(')') {
                self.skip_space();
                if !self.is_at_end() {
                    return Err(self.error("nothing can stand behind the closing bracket"));
                }
                return Ok(arguments);
            }
            if self.is_at_end() && silent {
                return Err(self.error("the bracket is not closed: \")\" is missing"));
            }
            if self.is_at_end() {
                return Ok(arguments);
            }
            if before == self.column {
                return Err(self.error("a space is missing"));
            }
            arguments.push(self.argument()?);
        }
    }

    fn argument(&mut self) -> Result<Argument, SyntaxError> {
        let column = self.column;
        let value = self.word()?;
        if !self.take('=') {
            return Ok(Argument { key: None, value, column });
        }
        let at = self.column;
        let ends =
            self.is_at_end() || self.rest.starts_with(|c: char| c.is_whitespace() || c == ')');
        let word = if ends { Word { text: String::new(), column: at } } else { self.word()? };
        Ok(Argument { key: Some(value.text), value: word, column })
    }

    fn word(&mut self) -> Result<Word, SyntaxError> {
        match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            Some(character) if is_bare(character) => Ok(self.while_(is_bare)),
            Some(other) => Err(self.error(format!("{other:?} must stand in quotes"))),
            None => Err(self.error("a word is missing")),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Word, SyntaxError> {
        let (column, mut text) = (self.column, String::new());
        self.next();
        loop {
            match self.next() {
                None => {
                    return Err(self.error(format!("the text is not closed: {quote} is missing")));
                }
                Some('\\') => text.push(self.escaped()?),
                Some(character) if character == quote => return Ok(Word { text, column }),
                Some(character) => text.push(character),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, SyntaxError> {
        Ok(match self.next() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('0') => '\0',
            Some(same @ ('\\' | '"' | '\'')) => same,
            Some('x') => {
                let digits = self.rest.get(..2).filter(|digits| digits.is_ascii());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let byte = byte.filter(u8::is_ascii);
                let byte = byte.ok_or_else(|| self.error("\\x takes two digits, 00 to 7f"))?;
                self.next();
                self.next();
                char::from(byte)
            }
            _ => return Err(self.error("\\ begins none of \\n \\r \\t \\0 \\x \\\\ \\\" \\'")),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::statement::Statement;
    use super::*;

    fn parsed(text: &str) -> Line {
        Line::parse(1, text).unwrap().unwrap()
    }

    fn words(line: &Line) -> Vec<(Option<&str>, &str)> {
        line.arguments.iter().map(|a| (a.key.as_deref(), a.value.text.as_str())).collect()
    }

    #[test]
    fn a_line_is_cut_into_its_words() {
        let line = parsed("  T1: !write P3.2 0 \"a b\\n\\x41\" // why");
        assert_eq!(line.prefix.as_ref().unwrap().text, "T1");
        assert!(line.fails && !line.silent);
        assert_eq!((line.name.text.as_str(), line.name.column), ("write", 8));
        assert_eq!(words(&line), [(None, "P3.2"), (None, "0"), (None, "a b\nA")]);
        let line = parsed("(crash keep=none torn=P3:1-4 'x'= )");
        assert!(line.silent && !line.fails && line.prefix.is_none());
        assert_eq!(
            words(&line),
            [(Some("keep"), "none"), (Some("torn"), "P3:1-4"), (Some("x"), "")]
        );
        assert_eq!(Line::parse(1, "  # nothing"), Ok(None));
        assert_eq!(Line::parse(1, ""), Ok(None));
    }

    #[test]
    fn a_long_word_is_cut_in_messages() {
        let long = "ä".repeat(5_000_000);
        for line in
            ["{}", "update {}", "show {}", "crash {}=", "crash keep={}", "fill pages={} records=1"]
        {
            let line = line.replace("{}", &long.replace('ä', "x"));
            let message = Statement::parse_line(1, &line).unwrap_err().to_string();
            assert!(message.contains(&("x".repeat(MOST_SHOWN) + "…")), "{:.200}", message);
            assert!(message.len() < 200, "{:.200}", message);
        }
        let message = Statement::parse_line(1, &format!("show '{long}'")).unwrap_err().to_string();
        assert!(message.contains(&("ä".repeat(MOST_SHOWN) + "…\"")), "{:.200}", message);
    }

    #[test]
    fn what_is_no_text_is_told_with_its_place() {
        let place = |number, bytes: &[u8]| {
            let error = text(number, bytes).unwrap_err();
            (error.line, error.column)
        };
        assert_eq!(place(1, b"mark\n\xc3\xa4 \xff\n"), (2, 3));
        assert_eq!(place(7, b"\xff"), (7, 1));
        assert_eq!(place(1, b"\xef\xbb\xbf \xc3"), (1, 2));
        assert_eq!(text(1, b"\xef\xbb\xbfmark\n").unwrap(), "mark\n");
    }

    #[test]
    fn what_is_no_line_is_told_with_its_place() {
        let wrong = [
            ("=", 1, "begins no statement"),
            ("T1:", 4, "a statement must stand here"),
            ("T1: !", 6, "a statement must stand here"),
            ("write \"abc", 11, "not closed"),
            ("write \"\\q\"", 10, "begins none of"),
            ("write \"\\xff\"", 10, "two digits"),
            ("write \"a\"b", 10, "a space is missing"),
            ("write ä", 7, "must stand in quotes"),
            ("(write", 7, "not closed"),
            ("(write) x", 9, "behind the closing bracket"),
        ];
        for (text, column, message) in wrong {
            let error = Line::parse(3, text).unwrap_err();
            assert_eq!((error.line, error.column), (3, column), "{text}: {error}");
            assert!(error.message.contains(message), "{text}: {error}");
        }
    }
}
