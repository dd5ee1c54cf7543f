//! What can happen in a history. Operands are numbers that choose among whatever is there when the
//! step comes up; a step for which nothing is there does nothing.

/// How many transactions can be open at a time.
pub const SESSIONS: usize = 4;

/// What a transaction does.
#[derive(Clone, Debug)]
pub enum Work {
    Allocate,
    Free {
        page: u8,
    },
    Insert {
        page: u8,
        length: u16,
        fill: u8,
    },
    Write {
        record: u16,
        offset: u16,
        length: u16,
        fill: u8,
    },
    /// Writes a whole record so often that the log moves on.
    Rewrite {
        record: u16,
        times: u8,
    },
    Delete {
        record: u16,
    },
    Read {
        record: u16,
    },
    Scan {
        page: u8,
    },
    Savepoint,
    RollbackTo {
        savepoint: u8,
    },
}

/// Which of the changes that are not durable survive a power failure.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    All,
    None,
    Random(u64),
    /// One alone.
    Only(u16),
    /// All but one.
    AllBut(u16),
}

/// A failure of the disk.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// The power goes off.
    Power(Fate),
    /// An I/O fails, once. The engine is opened anew, with its cached pages dropped or not.
    InputOutput { drop_cache: bool, marked: bool },
}

/// A failure, so many I/Os from now.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub after: u16,
    pub failure: Failure,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// A session begins a transaction when it has none.
    Work(usize, Work),
    /// A nested top action, ended or given up.
    Nested {
        session: usize,
        inside: Vec<Work>,
        end: bool,
    },
    Commit(usize),
    CommitDeferred(usize),
    Rollback(usize),
    /// The transaction is in doubt from now on.
    Prepare(usize),
    /// One of the transactions in doubt is committed, or else rolled back.
    Decide {
        which: u8,
        commit: bool,
    },
    /// The transaction is dropped.
    Drop(usize),
    /// Somebody waits for the oldest deferred commit.
    Wait,
    Checkpoint,
    BeginCheckpoint,
    CompleteCheckpoint,
    FlushPage(u8),
    FlushPages,
    ForceLog,
    Background,
    /// Everything is looked at.
    Audit,
    Fault(Fault),
    /// The database is closed and opened anew.
    Close,
    /// The process dies; each restart but the last fails.
    Kill(Vec<Fault>),
    /// The power fails, and again in restarts.
    PowerFailure(Fate, Vec<Fault>),
}
