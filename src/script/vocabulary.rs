//! Every statement of the language: how it is written, what it does, and an example. Help, completion and the
//! test of docs/script.md read it.

/// One statement, as help shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What may follow; `T:` before it if it is a transaction's.
    pub usage: &'static str,
    /// What it does, in a sentence or two.
    pub summary: &'static str,
    /// One that can be typed as it stands.
    pub example: &'static str,
}

impl Entry {
    /// Words that can stand behind the name, as far as the usage spells them out: for completion.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for part in self.usage.split_whitespace().map(|part| part.trim_matches(['[', ']'])) {
            let (key, values) = part.split_once('=').map_or(("", part), |(key, rest)| (key, rest));
            let is_spelt = |word: &&str| {
                !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            };
            let equals = if key.is_empty() { "" } else { "=" };
            let spelt: Vec<&str> = values.split('|').filter(is_spelt).collect();
            words.extend(spelt.iter().map(|value| format!("{key}{equals}{value}")));
            if spelt.is_empty() && !key.is_empty() {
                words.push(format!("{key}="));
            }
        }
        words.retain(|word| word != self.name);
        words
    }
}

const fn entry(
    name: &'static str,
    usage: &'static str,
    summary: &'static str,
    example: &'static str,
) -> Entry {
    Entry { name, usage, summary, example }
}

/// All statements, in the order in which one would learn them.
pub const VOCABULARY: &[Entry] = &[
    entry(
        "options",
        "options [page_size=N] [segment_bytes=N] [frames=N] [protection=double_write|images|none] \
         [log_block=rewritten|512|4096] [redo_threads=N]",
        "Sets what the next database is made with, and how the next restart opens it.",
        "options frames=16 protection=images",
    ),
    entry(
        "fill",
        "fill pages=N records=N [bytes=N]",
        "Sets the stage: allocates pages, each with so many records, commits, writes all pages and takes a \
         checkpoint. The next log record is number 0 then.",
        "fill pages=9 records=9",
    ),
    entry("mark", "mark", "Counts log records from here: the next one is number 0.", "mark"),
    entry(
        "begin",
        "[T:] begin",
        "Begins a transaction, under this name or the next free one. It is the current one: statements \
         without a name before the colon are its own.",
        "T1: begin",
    ),
    entry("use", "use T", "Makes another transaction the current one.", "use T1"),
    entry(
        "update",
        "[T:] update P",
        "Overwrites the transaction's own record on the page (T1 has slot 0, T2 slot 1, …) with a new value.",
        "T1: update P3",
    ),
    entry("read", "[T:] read P.S", "Reads a record.", "T1: read P3.2"),
    entry(
        "write",
        "[T:] write P.S OFFSET TEXT",
        "Overwrites bytes of a record, from an offset on.",
        "T1: write P3.2 0 abc",
    ),
    entry(
        "insert",
        "[T:] insert P TEXT",
        "Inserts a record into some slot.",
        "T1: insert P3 hello",
    ),
    entry(
        "delete",
        "[T:] delete P.S|TABLE KEY",
        "Deletes a record, or a key of a table with its value.",
        "T1: delete accounts alice",
    ),
    entry(
        "table",
        "table NAME",
        "Makes a table, if there is none of this name: keys with values, in the order of the keys. It is there at \
         once, whatever becomes of the transactions under way.",
        "table accounts",
    ),
    entry(
        "put",
        "[T:] put TABLE KEY VALUE",
        "Puts a value in a table: in place of the key's, if it has one.",
        "T1: put accounts alice 100",
    ),
    entry("get", "[T:] get TABLE KEY", "Reads the value of a key.", "T1: get accounts alice"),
    entry(
        "scan",
        "[T:] scan TABLE [from=KEY] [to=KEY] [backwards]",
        "Reads the keys of a table with their values, in order: from a key on, and to a key, which is not meant \
         any more; or the last one first.",
        "T1: scan accounts from=a to=m",
    ),
    entry(
        "drop",
        "drop TABLE",
        "Drops a table, unless a transaction is under way that has used it.",
        "drop accounts",
    ),
    entry("allocate", "[T:] allocate", "Allocates a page for records.", "T1: allocate"),
    entry("free", "[T:] free P", "Frees a page.", "T1: free P3"),
    entry(
        "savepoint",
        "[T:] savepoint NAME",
        "Marks this moment of the transaction.",
        "T1: savepoint s",
    ),
    entry(
        "rollback",
        "[T:] rollback [SAVEPOINT]",
        "Undoes everything since the savepoint; without one, all of it, and ends the transaction.",
        "T1: rollback s",
    ),
    entry(
        "nested",
        "[T:] nested begin|end|abandon",
        "Begins a nested top action; ends it, so that it stays whatever becomes of the transaction; or gives \
         it up.",
        "T1: nested begin",
    ),
    entry(
        "commit",
        "[T:] commit [deferred]",
        "Commits; returns when that is durable, or, deferred, at once.",
        "T1: commit",
    ),
    entry("wait", "wait", "Waits until every deferred commit is durable.", "wait"),
    entry(
        "prepare",
        "[T:] prepare ID",
        "Prepares the transaction: it is in doubt until it is decided upon.",
        "T1: prepare \"order 7\"",
    ),
    entry(
        "decide",
        "decide ID commit|rollback",
        "Decides upon a transaction in doubt.",
        "decide \"order 7\" commit",
    ),
    entry(
        "checkpoint",
        "checkpoint [begin|end]",
        "Takes a fuzzy checkpoint, or one half of it.",
        "checkpoint begin",
    ),
    entry("flush", "flush P|all", "Writes dirty pages in place.", "flush P3"),
    entry(
        "evict",
        "evict P",
        "Writes the page in place if it is dirty, and takes it out of the buffer pool.",
        "evict P3",
    ),
    entry("force", "force", "Forces the log to its end.", "force"),
    entry("step", "step", "Does one round of what the background threads do.", "step"),
    entry(
        "show",
        "show log|dirty|txns|locks|space|page P|control|durable|tables|table NAME|tree NAME [from=N]",
        "Shows the log (from record N on), the dirty page table, the transaction table, the locks, the space \
         map, a page, the control file, how far the log is durable, the tables, the cells of one, or the nodes of \
         its tree.",
        "show log from=0",
    ),
    entry(
        "verify",
        "verify tables",
        "Says what the tables take, and whether they are sound.",
        "verify tables",
    ),
    entry(
        "crash",
        "crash [keep=none|all|random|N,N,…] [seed=N] [lose=N] [torn=P:A-B]",
        "The power fails. Of what was written and not synced nothing reaches the disk, or all of it, or a \
         random part, or the sectors and names written after so many others, or all but the one written after N others. With `torn` it fails while the page is written in place: of its sectors only A to B \
         reach the disk.",
        "crash keep=none torn=P3:0-0",
    ),
    entry(
        "kill",
        "kill",
        "The process dies. What it had in memory is gone, what it wrote is in the page cache.",
        "kill",
    ),
    entry("close", "close", "Closes the database: nothing is to be recovered.", "close"),
    entry(
        "restart",
        "restart [explain]",
        "Opens the database again, recovering it if need be; tells each decision, or only the sums.",
        "restart explain",
    ),
    entry(
        "trace",
        "trace on|off",
        "Tells what the engine does from here on, event by event.",
        "trace on",
    ),
    entry(
        "fault",
        "fault power|eio|full [in=N] [forever]",
        "The disk operation after N others fails: the power goes, the device fails, or no space is left.",
        "fault eio in=3",
    ),
    entry(
        "flip",
        "flip P|record=N [byte=N] [bit=N]",
        "Flips a bit on the disk, of a page or of a log record.",
        "flip P3 byte=100 bit=0",
    ),
    entry(
        "misplace",
        "misplace P at=P",
        "Puts a page's bytes at another page's place on the disk too.",
        "misplace P7 at=P9",
    ),
    entry("capacity", "capacity BYTES|none", "Limits the room on the disk.", "capacity 100000"),
    entry(
        "drop_cache",
        "drop_cache",
        "The kernel forgets what a failed sync left in its cache.",
        "drop_cache",
    ),
    entry(
        "log",
        "log KIND [T] [P] [undo_next=N] [begin=N] [dirty=P:N,…] [txns=T:STATE:LAST:UNDO_NEXT,…]",
        "Writes a log record by hand, through the engine's own codec, where the engine cannot be brought to: \
         on a simulated disk, after a crash. KIND is update, clr, free, freed, commit, rollback, end, \
         begin_checkpoint or end_checkpoint.",
        "log clr T2 P1 undo_next=1",
    ),
    entry("help", "help [STATEMENT]", "Lists the statements, or tells of one.", "help crash"),
];

/// The statement of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    VOCABULARY.iter().find(|entry| entry.name == name)
}

/// The statement whose name is most like this one, if one is.
#[must_use]
pub fn most_like(name: &str) -> Option<&'static Entry> {
    let distances = VOCABULARY.iter().map(|entry| (distance(name, entry.name), entry));
    let nearest = distances.min_by_key(|(distance, _)| *distance);
    nearest.filter(|(distance, entry)| *distance <= entry.name.len() / 2).map(|(_, entry)| entry)
}

/// How many letters have to be put in, taken out or changed (Levenshtein). Long words are like none.
fn distance(from: &str, to: &str) -> usize {
    if from.len() > 40 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (above, a) in from.chars().enumerate() {
        let mut corner = above;
        row[0] = above + 1;
        for (left, b) in to.chars().enumerate() {
            let changed = corner + usize::from(a != b);
            corner = row[left + 1];
            row[left + 1] = changed.min(corner + 1).min(row[left] + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Statement;
    use super::*;

    #[test]
    fn every_example_is_a_statement() {
        for entry in VOCABULARY {
            let parsed = Statement::parse_line(1, entry.example);
            assert!(matches!(parsed, Ok(Some(_))), "{}: {parsed:?}", entry.example);
            assert!(entry.example.contains(entry.name) && entry.usage.contains(entry.name));
        }
    }

    #[test]
    fn the_words_that_a_usage_spells_out() {
        let words = |name| find(name).unwrap().words().join(" ");
        assert_eq!(words("crash"), "keep=none keep=all keep=random seed= lose= torn=");
        assert_eq!(words("checkpoint"), "begin end");
        assert_eq!(words("commit"), "deferred");
        assert_eq!(words("update"), "");
    }

    #[test]
    fn a_misspelt_name_is_recognized() {
        assert_eq!(most_like("chekpoint").unwrap().name, "checkpoint");
        assert_eq!(most_like("comit").unwrap().name, "commit");
        assert_eq!(most_like("frobnicate"), None);
        assert_eq!(most_like(&"x".repeat(10_000)), None);
    }
}
