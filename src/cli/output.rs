//! What the commands print with.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::ids::{Lsn, TxnId};

/// Tables get no narrower: on a terminal of fewer columns they are easier to read folded by it.
const NARROWEST: usize = 40;

/// Standard output, written in large pieces, for reports that need not fit into memory.
///
/// Who closed it does not want to see more: then it says so, and the command may end. Any other failure
/// ends the program, for a report that is not written would look like none.
pub struct Output {
    out: BufWriter<Stdout>,
    open: bool,
}

impl Output {
    /// Standard output.
    pub fn new() -> Self {
        Self { out: BufWriter::with_capacity(64 * 1024, io::stdout()), open: true }
    }

    /// Prints; gives whether somebody may still be reading.
    pub fn print(&mut self, text: &str) -> bool {
        let printed = self.out.write_all(text.as_bytes());
        self.after(printed)
    }

    /// Hands over what was printed; gives whether somebody may still be reading.
    pub fn flush(&mut self) -> bool {
        let flushed = self.out.flush();
        self.after(flushed)
    }

    fn after(&mut self, done: io::Result<()>) -> bool {
        match done {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.open = false,
            Err(error) => {
                eprintln!("aries: cannot print the report: {error}");
                std::process::exit(1);
            }
        }
        self.open
    }
}

/// Prints a report that is in memory.
pub fn print(text: &str) {
    let mut output = Output::new();
    let _ = output.print(text) && output.flush();
}

/// One JSON object with a long list in it, printed item by item.
pub struct JsonList {
    empty: bool,
}

impl JsonList {
    /// Prints the beginning of the object: all of `head`, and the list's name.
    pub fn begin(output: &mut Output, head: &Value, list: &str) -> Self {
        let head = head.to_string();
        let head = head.strip_suffix('}').unwrap_or(&head);
        output.print(&format!("{head},\"{list}\":["));
        Self { empty: true }
    }

    /// Prints an item; gives whether somebody may still be reading.
    pub fn item(&mut self, output: &mut Output, item: &Value) -> bool {
        let between = if std::mem::take(&mut self.empty) { "\n" } else { ",\n" };
        output.print(&format!("{between}{item}"))
    }

    /// Prints the end of the object: all of `tail` behind the list.
    pub fn end(self, output: &mut Output, tail: &Value) {
        let tail = tail.to_string();
        let tail = tail.strip_prefix('{').unwrap_or(&tail);
        output.print(&format!("\n],{tail}\n"));
        output.flush();
    }
}

/// A table without lines, as wide as the terminal if there is one.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(width) = width() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width.max(NARROWEST)).unwrap_or(u16::MAX));
    }
    if !header.iter().all(|title| title.is_empty()) {
        table.set_header(header);
    }
    table
}

/// The lines of a table, each without blanks at its end.
pub fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Columns of the terminal that standard output is, if it is one and knows.
pub fn width() -> Option<usize> {
    Table::new().width().map(usize::from).filter(|width| *width > 0)
}

/// The line, cut to these columns if there are any.
pub fn cut(line: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if line.chars().count() > width => {
            line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
        }
        _ => line.to_owned(),
    }
}

/// In bold on a terminal that shows colours.
pub fn bold(text: &str) -> String {
    let wanted = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if wanted { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// A bar that is so many eighths of a column long.
pub fn bar(eighths: usize) -> String {
    const EIGHTHS: [char; 8] = ['█', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let rest = (!eighths.is_multiple_of(8)).then(|| EIGHTHS[eighths % 8]);
    std::iter::repeat_n(EIGHTHS[0], eighths / 8).chain(rest).collect()
}

/// A log position for a column; `nil` for none.
pub fn lsn(lsn: Option<Lsn>) -> String {
    lsn.map_or_else(|| "nil".into(), |lsn| lsn.to_string())
}

/// A path as JSON, in which bytes that are no text are replaced.
pub fn path(path: &Path) -> Value {
    path.to_string_lossy().into()
}

/// The numbers of transactions.
pub fn txns(txns: &[TxnId]) -> Vec<u64> {
    txns.iter().map(|txn| txn.get()).collect()
}
