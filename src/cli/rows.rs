//! Keys and values as bytes, and how people and files write them.
//!
//! ```text
//!   on a terminal      alice              0x00ff                  text without control characters, or hexadecimal
//!   JSON               "alice"            { "hex": "00ff" }       text, or what is no text
//!   CSV                alice              the bytes themselves    two columns, key and value
//! ```
//!
//! Invariant: what JSON and CSV say is exact: read again it gives the same bytes.

use std::io::{self, BufRead, Write};

use clap::ValueEnum;
use serde::Deserialize;
use serde_json::{Value, json};

/// How rows stand in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// Two columns, key and value; bytes that are no text stand as they are
    Csv,
    /// An object a line, { "key": …, "value": … }; bytes that are no text as { "hex": "00ff" }
    Jsonl,
}

/// The first line of a file with columns.
const HEADER: [&str; 2] = ["key", "value"];

/// Bytes, for people: as text if they can read it.
pub fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("0x{}", to_hex(bytes)),
    }
}

/// Bytes as hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that hexadecimal digits stand for.
pub fn from_hex(digits: &str) -> Result<Vec<u8>, String> {
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
        _ => None,
    };
    let bytes = digits.as_bytes().chunks(2).map(byte).collect::<Option<_>>();
    bytes.ok_or_else(|| "expected hexadecimal digits, two for each byte".to_owned())
}

/// Bytes as JSON: a text, or an object with their hexadecimal digits.
pub fn to_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": to_hex(bytes) }),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Hex { hex: String },
}

impl Bytes {
    fn read(self) -> Result<Vec<u8>, String> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Hex { hex } => from_hex(&hex),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRow {
    key: Bytes,
    value: Bytes,
}

/// A row, and where it stands.
pub struct Row {
    /// Line, from 1.
    pub line: u64,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// What is wrong with a file of rows, and where.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct BadRow {
    /// Line, from 1.
    pub line: u64,
    /// In words.
    pub message: String,
}

/// Reads rows, one after the other.
pub enum Reader<R> {
    /// Of columns.
    Csv {
        /// Reads columns.
        reader: csv::Reader<R>,
        /// Whether the first line, which is still to be read, says what the columns are.
        header: bool,
    },
    /// Of objects.
    Jsonl {
        /// Reads bytes.
        reader: io::BufReader<R>,
        /// Lines read.
        lines: u64,
    },
}

impl<R: io::Read> Reader<R> {
    /// Begins.
    pub fn new(format: Format, header: bool, from: R) -> Self {
        match format {
            Format::Csv => {
                // How many columns there are is said here, with the line.
                let mut builder = csv::ReaderBuilder::new();
                let reader = builder.has_headers(false).flexible(true).from_reader(from);
                Self::Csv { reader, header }
            }
            Format::Jsonl => Self::Jsonl { reader: io::BufReader::new(from), lines: 0 },
        }
    }

    /// The next row; `None` behind the last.
    pub fn next(&mut self) -> Result<Option<Row>, BadRow> {
        match self {
            Self::Csv { reader, header } => {
                if std::mem::take(header) {
                    let first = columns(reader)?;
                    let is_header =
                        |row: &Row| [&row.key[..], &row.value[..]] == HEADER.map(str::as_bytes);
                    if !first.as_ref().is_some_and(is_header) {
                        let message = "expected the header key,value (--no-header: there is none)";
                        return Err(BadRow { line: 1, message: message.to_owned() });
                    }
                }
                columns(reader)
            }
            Self::Jsonl { reader, lines } => next_object(reader, lines),
        }
    }
}

/// The columns of the next line, and its number.
fn columns<R: io::Read>(reader: &mut csv::Reader<R>) -> Result<Option<Row>, BadRow> {
    let mut record = csv::ByteRecord::new();
    let line = reader.position().line();
    let read = reader.read_byte_record(&mut record);
    let line = record.position().map_or(line, csv::Position::line);
    match read {
        Ok(false) => return Ok(None),
        Ok(true) => {}
        Err(error) => return Err(BadRow { line, message: error.to_string() }),
    }
    let mut fields = record.iter();
    match (fields.next(), fields.next(), fields.next()) {
        (Some(key), Some(value), None) => {
            Ok(Some(Row { line, key: key.to_vec(), value: value.to_vec() }))
        }
        _ => {
            let message = format!("expected 2 columns, key and value, found {}", record.len());
            Err(BadRow { line, message })
        }
    }
}

/// The object in the next line that is not blank.
fn next_object(reader: &mut impl BufRead, lines: &mut u64) -> Result<Option<Row>, BadRow> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        *lines += 1;
        let line = *lines;
        let bad = |message: String| BadRow { line, message };
        match reader.read_until(b'\n', &mut bytes) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(bad(error.to_string())),
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let expected = r#"expected { "key": …, "value": … }, each a text or { "hex": "00ff" }"#;
        let row: JsonRow =
            serde_json::from_slice(&bytes).map_err(|error| bad(format!("{expected}: {error}")))?;
        let key = row.key.read().map_err(bad)?;
        let value = row.value.read().map_err(bad)?;
        return Ok(Some(Row { line, key, value }));
    }
}

/// What kept a row from being written, as the writer below said it.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Writes rows, one after the other.
pub enum Writer<W: Write> {
    /// In columns.
    Csv(Box<csv::Writer<W>>),
    /// As objects.
    Jsonl(io::BufWriter<W>),
}

impl<W: Write> Writer<W> {
    /// Begins.
    pub fn new(format: Format, header: bool, to: W) -> io::Result<Self> {
        Ok(match format {
            Format::Csv => {
                // Without a header, quotes keep the first key from being taken for a byte order mark.
                let quotes = match header {
                    true => csv::QuoteStyle::Necessary,
                    false => csv::QuoteStyle::Always,
                };
                let mut writer = csv::WriterBuilder::new().quote_style(quotes).from_writer(to);
                if header {
                    writer.write_record(HEADER).map_err(io_error)?;
                }
                Self::Csv(Box::new(writer))
            }
            Format::Jsonl => Self::Jsonl(io::BufWriter::new(to)),
        })
    }

    /// Writes a row.
    pub fn write(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match self {
            Self::Csv(writer) => writer.write_record([key, value]).map_err(io_error),
            Self::Jsonl(writer) => {
                writeln!(writer, "{}", json!({ "key": to_json(key), "value": to_json(value) }))
            }
        }
    }

    /// Hands over what was written.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Csv(writer) => writer.flush(),
            Self::Jsonl(writer) => writer.flush(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Pair = (Vec<u8>, Vec<u8>);

    fn all(format: Format, header: bool, bytes: &[u8]) -> Result<Vec<Pair>, BadRow> {
        let mut reader = Reader::new(format, header, bytes);
        let mut rows = Vec::new();
        while let Some(row) = reader.next()? {
            rows.push((row.key, row.value));
        }
        Ok(rows)
    }

    /// Bytes that formats like to trip over, and any.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let awkward = ["", "\u{feff}a", "\"", "a,b", "\r", "\n", "\r\n", "key", " a ", "\\", "#"];
        let text = prop::sample::select(awkward.to_vec()).prop_map(|text| text.into());
        prop_oneof![text, prop::collection::vec(any::<u8>(), 0..9)]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            rows in prop::collection::vec((bytes(), bytes()), 0..6),
            header: bool,
        ) {
            for format in [Format::Csv, Format::Jsonl] {
                let mut written = Vec::new();
                let mut writer = Writer::new(format, header, &mut written).unwrap();
                for (key, value) in &rows {
                    writer.write(key, value).unwrap();
                }
                writer.flush().unwrap();
                drop(writer);
                prop_assert_eq!(&all(format, header, &written).unwrap(), &rows);
            }
        }

        #[test]
        fn any_bytes_are_rows_or_refused_with_their_line(
            read in prop::collection::vec(any::<u8>(), 0..60),
            header: bool,
        ) {
            for format in [Format::Csv, Format::Jsonl] {
                if let Err(bad) = all(format, header, &read) {
                    prop_assert!(bad.line >= 1);
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (format, read, told) in [
            (
                Format::Csv,
                "key,value\na,1\nb\n",
                "line 3: expected 2 columns, key and value, found 1",
            ),
            (Format::Csv, "a,1\n", "line 1: expected the header"),
            (Format::Csv, "", "line 1: expected the header"),
            (
                Format::Jsonl,
                "{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":1}\n",
                "line 3: expected {",
            ),
            (
                Format::Jsonl,
                "{\"key\":{\"hex\":\"0\"},\"value\":\"\"}",
                "line 1: expected hexadecimal",
            ),
        ] {
            let bad = all(format, true, read.as_bytes()).unwrap_err().to_string();
            assert!(bad.starts_with(told), "{read:?}: {bad}");
        }
    }

    #[test]
    fn what_people_can_read_is_text() {
        assert_eq!(readable("größe 1".as_bytes()), "größe 1");
        assert_eq!(readable(b"a\n"), "0x610a");
        assert_eq!(readable(&[0xff]), "0xff");
        assert_eq!(from_hex("0x00Ff"), Ok(vec![0, 255]));
        assert!(from_hex("0").is_err() && from_hex("+1").is_err() && from_hex("é").is_err());
    }
}
