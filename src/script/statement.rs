//! What a line means.

use std::ops::RangeInclusive;

use super::arguments::Arguments;
use super::forged::Forged;
use super::syntax::{Line, SyntaxError, shown};
use super::tables::Range;
use super::vocabulary;
use crate::config::{LogBlock, TornPageProtection};
use crate::ids::{PageId, SlotId};

/// A statement with what stands around it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// Line, from 1.
    pub line: usize,
    /// Whether it prints nothing.
    pub silent: bool,
    /// Whether it must fail.
    pub fails: bool,
    /// Whose it is, as it is written.
    pub prefix: Option<String>,
    /// What is to be done.
    pub command: Command,
    /// As it is written.
    pub text: String,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// `options`.
    Options(Vec<Setting>),
    /// `fill`.
    Fill {
        /// Pages to allocate.
        pages: u64,
        /// Records on each.
        records: u16,
        /// Bytes of each.
        bytes: usize,
    },
    /// `mark`.
    Mark,
    /// `begin`.
    Begin,
    /// `use`.
    Use(String),
    /// What the transaction named before the colon, or the current one, does.
    Transaction(Action),
    /// `wait`.
    Wait,
    /// `decide`.
    Decide {
        /// Upon which.
        global_id: String,
        /// And how.
        commit: bool,
    },
    /// `checkpoint`.
    Checkpoint(Half),
    /// `flush`; all pages, or one.
    Flush(Option<PageId>),
    /// `evict`.
    Evict(PageId),
    /// `force`.
    Force,
    /// `step`.
    Step,
    /// `show`.
    Show(View),
    /// `crash`.
    Crash(Crash),
    /// `kill`.
    Kill,
    /// `close`.
    Close,
    /// `restart`.
    Restart {
        /// Whether each decision is told.
        explain: bool,
    },
    /// `trace`.
    Trace(bool),
    /// `fault`.
    Fault {
        /// What fails.
        kind: FaultKind,
        /// After so many other operations.
        after: u64,
        /// And so do all later ones.
        forever: bool,
    },
    /// `flip`.
    Flip {
        /// Where.
        place: Place,
        /// Byte of the page or record.
        byte: u64,
        /// Bit of the byte, 0 to 7.
        bit: u8,
    },
    /// `misplace`.
    Misplace {
        /// Whose bytes.
        page: PageId,
        /// Whose place.
        at: PageId,
    },
    /// `capacity`.
    Capacity(Option<u64>),
    /// `drop_cache`.
    DropCache,
    /// `log`.
    Log(Forged),
    /// `table`.
    MakeTable(String),
    /// `drop`.
    DropTable(String),
    /// `verify tables`.
    VerifyTables,
    /// `help`.
    Help(Option<String>),
}

/// What a transaction does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// `update`.
    Update(PageId),
    /// `read`.
    Read(PageId, SlotId),
    /// `write`.
    Write(PageId, SlotId, usize, String),
    /// `insert`.
    Insert(PageId, String),
    /// `delete`.
    Delete(PageId, SlotId),
    /// `put`.
    Put(String, String, String),
    /// `get`.
    Get(String, String),
    /// `delete` of a key.
    DeleteKey(String, String),
    /// `scan`.
    Scan(Range),
    /// `allocate`.
    Allocate,
    /// `free`.
    Free(PageId),
    /// `savepoint`.
    Savepoint(String),
    /// `rollback` to a savepoint.
    RollbackTo(String),
    /// `rollback`.
    Rollback,
    /// `nested begin`.
    NestedBegin,
    /// `nested end`.
    NestedEnd,
    /// `nested abandon`.
    NestedAbandon,
    /// `commit`.
    Commit {
        /// Whether it does not wait.
        deferred: bool,
    },
    /// `prepare`.
    Prepare(String),
}

impl Action {
    /// The table that it works on.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        match self {
            Self::Put(table, ..) | Self::Get(table, _) | Self::DeleteKey(table, _) => Some(table),
            Self::Scan(range) => Some(&range.table),
            _ => None,
        }
    }
}

/// A setting of `options`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    /// Bytes of a page.
    PageSize(usize),
    /// Bytes of a log segment.
    SegmentBytes(u64),
    /// Frames of the buffer pool.
    Frames(usize),
    /// What protects from torn pages.
    Protection(TornPageProtection),
    /// How blocks of the log are written.
    LogBlock(LogBlock),
    /// Threads of redo.
    RedoThreads(usize),
}

/// Halves of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// Both.
    Both,
    /// The begin record.
    Begin,
    /// The rest.
    End,
}

/// What is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum View {
    /// The log, from a record on.
    Log(usize),
    /// The dirty page table.
    Dirty,
    /// The transaction table.
    Transactions,
    /// The locks.
    Locks,
    /// The space map.
    Space,
    /// A page.
    Page(PageId),
    /// The control file.
    Control,
    /// How far the log is durable.
    Durable,
    /// The tables.
    Tables,
    /// The cells of a table.
    Table(String),
    /// The nodes of a table's tree.
    Tree(String),
}

/// What survives when the power fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crash {
    /// Of what was written and not synced.
    pub keep: Keep,
    /// The page that is being written, and which of its sectors reach the disk.
    pub torn: Option<(PageId, RangeInclusive<u64>)>,
}

/// Of what was written and not synced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Nothing.
    None,
    /// All of it.
    All,
    /// All but one: the sector or name that was written, and not synced, after so many others.
    AllBut(usize),
    /// Exactly these sectors and names, each by how many others were written, and not synced, before it.
    Chosen(Vec<usize>),
    /// Each sector or name with probability 1/2.
    Random(u64),
}

/// How a disk operation fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// The power goes.
    Power,
    /// The device fails.
    InputOutput,
    /// No space is left.
    Full,
}

/// Where a bit is flipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In a page.
    Page(PageId),
    /// In a log record, by its number.
    Record(usize),
}

impl Statement {
    /// Reads one line; `None` if no statement stands there.
    ///
    /// # Errors
    /// When it is none that there is.
    pub fn parse_line(number: usize, text: &str) -> Result<Option<Self>, SyntaxError> {
        Line::parse(number, text)?.map(|line| Self::parse(&line, text)).transpose()
    }

    fn parse(line: &Line, text: &str) -> Result<Self, SyntaxError> {
        let mut arguments = Arguments::new(line);
        let command = command(line, &mut arguments)?;
        arguments.finish()?;
        let is_of_transaction = matches!(command, Command::Transaction(_) | Command::Begin);
        if let Some(prefix) = &line.prefix
            && !is_of_transaction
        {
            let message = format!("{} belongs to no transaction", line.name.text);
            return Err(line.error_at(prefix.column, message));
        }
        Ok(Self {
            line: line.number,
            silent: line.silent,
            fails: line.fails,
            prefix: line.prefix.as_ref().map(|word| word.text.clone()),
            command,
            text: text.trim().to_owned(),
        })
    }
}

fn command(line: &Line, rest: &mut Arguments<'_>) -> Result<Command, SyntaxError> {
    Ok(match line.name.text.as_str() {
        "options" => Command::Options(settings(rest)?),
        "fill" => Command::Fill {
            pages: rest.number("pages")?,
            records: rest.number("records")?,
            bytes: rest.optional_number("bytes")?.unwrap_or(4),
        },
        "mark" => Command::Mark,
        "begin" => Command::Begin,
        "use" => Command::Use(rest.text("a transaction")?),
        "wait" => Command::Wait,
        "decide" => Command::Decide {
            global_id: rest.text("a global id")?,
            commit: rest.choice("commit or rollback", &[("commit", true), ("rollback", false)])?,
        },
        "checkpoint" => {
            let halves = [("begin", Half::Begin), ("end", Half::End)];
            Command::Checkpoint(
                rest.optional_choice("begin or end", &halves)?.unwrap_or(Half::Both),
            )
        }
        "flush" => Command::Flush(rest.page_or_all()?),
        "evict" => Command::Evict(rest.page()?),
        "force" => Command::Force,
        "step" => Command::Step,
        "show" => Command::Show(view(rest)?),
        "crash" => Command::Crash(crash(rest)?),
        "kill" => Command::Kill,
        "close" => Command::Close,
        "restart" => Command::Restart {
            explain: rest.optional_choice("explain", &[("explain", ())])?.is_some(),
        },
        "trace" => Command::Trace(rest.choice("on or off", &[("on", true), ("off", false)])?),
        "fault" => Command::Fault {
            kind: rest.choice(
                "power, eio or full",
                &[
                    ("power", FaultKind::Power),
                    ("eio", FaultKind::InputOutput),
                    ("full", FaultKind::Full),
                ],
            )?,
            after: rest.optional_number("in")?.unwrap_or(0),
            forever: rest.optional_choice("forever", &[("forever", ())])?.is_some(),
        },
        "flip" => flip(rest)?,
        "misplace" => Command::Misplace { page: rest.page()?, at: rest.keyed_page("at")? },
        "capacity" => Command::Capacity(rest.bytes_or_none()?),
        "drop_cache" => Command::DropCache,
        "log" => Command::Log(super::forged::parse(rest)?),
        "table" => Command::MakeTable(rest.text("a name")?),
        "drop" => Command::DropTable(rest.text("a table")?),
        "verify" => rest.choice("tables", &[("tables", Command::VerifyTables)])?,
        "help" => Command::Help(rest.optional_text()),
        _ => Command::Transaction(action(line, rest)?),
    })
}

fn action(line: &Line, rest: &mut Arguments<'_>) -> Result<Action, SyntaxError> {
    Ok(match line.name.text.as_str() {
        "update" => Action::Update(rest.page()?),
        "read" => {
            let (page, slot) = rest.record()?;
            Action::Read(page, slot)
        }
        "write" => {
            let (page, slot) = rest.record()?;
            Action::Write(page, slot, rest.positional_number("an offset")?, rest.text("a text")?)
        }
        "insert" => Action::Insert(rest.page()?, rest.text("a text")?),
        "put" => Action::Put(rest.text("a table")?, rest.text("a key")?, rest.text("a value")?),
        "get" => Action::Get(rest.text("a table")?, rest.text("a key")?),
        "scan" => Action::Scan(Range::parse(rest)?),
        // A record is one word, a table and a key are two.
        "delete" if rest.words() > 1 => {
            Action::DeleteKey(rest.text("a table")?, rest.text("a key")?)
        }
        "delete" => {
            let (page, slot) = rest.record()?;
            Action::Delete(page, slot)
        }
        "allocate" => Action::Allocate,
        "free" => Action::Free(rest.page()?),
        "savepoint" => Action::Savepoint(rest.text("a name")?),
        "rollback" => rest.optional_text().map_or(Action::Rollback, Action::RollbackTo),
        "nested" => rest.choice(
            "begin, end or abandon",
            &[
                ("begin", Action::NestedBegin),
                ("end", Action::NestedEnd),
                ("abandon", Action::NestedAbandon),
            ],
        )?,
        "commit" => Action::Commit {
            deferred: rest.optional_choice("deferred", &[("deferred", ())])?.is_some(),
        },
        "prepare" => Action::Prepare(rest.text("a global id")?),
        other => {
            let mut message = format!("there is no statement {:?}", shown(other));
            if let Some(entry) = vocabulary::most_like(other) {
                message += &format!("; did you mean {:?}?", entry.name);
            }
            return Err(line.error(message + " (`help` lists all)"));
        }
    })
}

fn settings(rest: &mut Arguments<'_>) -> Result<Vec<Setting>, SyntaxError> {
    let mut settings = Vec::new();
    settings.extend(rest.optional_number("page_size")?.map(Setting::PageSize));
    settings.extend(rest.optional_number("segment_bytes")?.map(Setting::SegmentBytes));
    settings.extend(rest.optional_number("frames")?.map(Setting::Frames));
    settings.extend(rest.optional_number("redo_threads")?.map(Setting::RedoThreads));
    let protections = [
        ("double_write", TornPageProtection::DoubleWrite),
        ("images", TornPageProtection::PageImages),
        ("none", TornPageProtection::None),
    ];
    settings.extend(rest.keyed_choice("protection", &protections)?.map(Setting::Protection));
    let blocks = [
        ("rewritten", LogBlock::Rewritten),
        ("512", LogBlock::Padded(512)),
        ("4096", LogBlock::Padded(4096)),
    ];
    settings.extend(rest.keyed_choice("log_block", &blocks)?.map(Setting::LogBlock));
    Ok(settings)
}

fn view(rest: &mut Arguments<'_>) -> Result<View, SyntaxError> {
    let views = [
        ("log", View::Log(0)),
        ("dirty", View::Dirty),
        ("txns", View::Transactions),
        ("locks", View::Locks),
        ("space", View::Space),
        ("page", View::Page(PageId(0))),
        ("control", View::Control),
        ("durable", View::Durable),
        ("tables", View::Tables),
        ("table", View::Table(String::new())),
        ("tree", View::Tree(String::new())),
    ];
    let what = "log, dirty, txns, locks, space, page, control, durable, tables, table or tree";
    Ok(match rest.choice(what, &views)? {
        View::Log(_) => View::Log(rest.optional_number("from")?.unwrap_or(0)),
        View::Page(_) => View::Page(rest.page()?),
        View::Table(_) => View::Table(rest.text("a table")?),
        View::Tree(_) => View::Tree(rest.text("a table")?),
        view => view,
    })
}

fn crash(rest: &mut Arguments<'_>) -> Result<Crash, SyntaxError> {
    let seed = rest.optional_number("seed")?.unwrap_or(0);
    let keep = [("none", Keep::None), ("all", Keep::All), ("random", Keep::Random(seed))];
    let keep = match rest.optional_number("lose")? {
        Some(number) => Keep::AllBut(number),
        None => match rest.keyed_numbers("keep")? {
            Some(numbers) => Keep::Chosen(numbers),
            None => rest.keyed_choice("keep", &keep)?.unwrap_or(Keep::None),
        },
    };
    Ok(Crash { keep, torn: rest.torn()? })
}

fn flip(rest: &mut Arguments<'_>) -> Result<Command, SyntaxError> {
    let place = match rest.optional_number("record")? {
        Some(number) => Place::Record(number),
        None => Place::Page(rest.page()?),
    };
    let byte = rest.optional_number("byte")?.unwrap_or(0);
    let bit = rest.optional_number("bit")?.unwrap_or(0);
    Ok(Command::Flip { place, byte, bit })
}
