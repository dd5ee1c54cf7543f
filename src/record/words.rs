//! What a log record does, in words: told here once, for whoever shows a record to people.
//!
//! Log positions and transactions are named by a [`Names`]: plainly ([`PlainNames`]), or as the one who
//! shows them calls them.

use super::{
    BeginCheckpoint, Commit, CompensationLogRecord, EndCheckpoint, KeyChange, LogRecord, Prepare,
    Restart, StructureChange, ToldValue, Undo, Update,
};
use crate::ids::{Lsn, PageId, TxnId};
use crate::page::{PageOp, PageState};

/// How log positions and transactions are called.
pub trait Names {
    /// The name of a log position.
    fn lsn(&self, lsn: Lsn) -> String;

    /// The name of a transaction.
    fn txn(&self, txn: TxnId) -> String;

    /// The name of a log position that may be nil.
    fn lsn_or_nil(&self, lsn: Option<Lsn>) -> String {
        lsn.map_or_else(|| "nil".into(), |lsn| self.lsn(lsn))
    }
}

/// Log positions with leading zeros, transactions as `T7`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PlainNames;

impl Names for PlainNames {
    fn lsn(&self, lsn: Lsn) -> String {
        lsn.to_string()
    }

    fn txn(&self, txn: TxnId) -> String {
        txn.to_string()
    }
}

/// What a record does, in words: all that it says but its own LSN, its transaction, and `prev_lsn` and
/// `prev_page_lsn`.
#[must_use]
pub fn what_it_does(record: &LogRecord<'_>, names: &dyn Names) -> String {
    match record {
        LogRecord::Update(update) => update_words(update, names),
        LogRecord::Compensation(clr) => compensation_words(clr, names),
        LogRecord::Commit(Commit { frees_pages: true, .. }) => {
            "commit; the pages it freed are then made free".into()
        }
        LogRecord::Commit(_) => "commit".into(),
        LogRecord::Rollback(_) => "rollback begins".into(),
        LogRecord::End(_) => "end: nothing is left to do".into(),
        LogRecord::NestedTopActionEnd(end) => {
            format!("nested top action ends, undo next {}", names.lsn_or_nil(end.undo_next_lsn))
        }
        LogRecord::Prepare(prepare) => prepare_words(prepare),
        LogRecord::BeginCheckpoint(BeginCheckpoint { restart_lsn, .. }) => {
            format!("checkpoint begins, in the run from {}", names.lsn(*restart_lsn))
        }
        LogRecord::EndCheckpoint(end) => end_checkpoint_words(end, names),
        LogRecord::Restart(restart) => restart_words(restart, names),
        LogRecord::Filler => "fill the segment".into(),
        LogRecord::PageImage(image) => page_op_words(&image.op, image.page, names),
        LogRecord::StructureChange(record) => structure_change_words(record, names),
        LogRecord::KeyChange(record) => key_change_words(record),
    }
}

/// What an operation does to a page, in words.
#[must_use]
pub fn page_op_words(op: &PageOp<'_>, page: PageId, names: &dyn Names) -> String {
    match *op {
        PageOp::Patch { slot, offset, bytes } => {
            format!("write {} at {offset} of {page}.{slot}", counted(bytes.len(), "byte"))
        }
        PageOp::InsertSlot { slot, bytes } => {
            format!("insert {} as {page}.{slot}", counted(bytes.len(), "byte"))
        }
        PageOp::RemoveSlot { slot } => format!("remove {page}.{slot}"),
        PageOp::MarkGhost { slot } => format!("make {page}.{slot} a ghost"),
        PageOp::ClearGhost { slot } => format!("make ghost {page}.{slot} live again"),
        PageOp::SetState { entry, state } => {
            let told = PageId(page.0.saturating_add(entry.into()));
            let state = match state {
                PageState::FreePending(txn) => format!("being freed by {}", names.txn(txn)),
                PageState::Free | PageState::Used | PageState::Catalog(_) => state.to_string(),
            };
            format!("note in space map {page}: {told} is {state}")
        }
        PageOp::InsertAt { slot, bytes } => {
            format!("insert {} before {page}.{slot}", counted(bytes.len(), "byte"))
        }
        PageOp::RemoveAt { slot } => format!("take {page}.{slot} out"),
        PageOp::ReplaceAt { slot, bytes } => {
            format!("replace {page}.{slot} by {}", counted(bytes.len(), "byte"))
        }
        PageOp::TruncateAt { slot } => format!("take {page}.{slot} and all behind it out"),
        PageOp::Several { ops } => several_words(ops, page, names),
        PageOp::Format { kind } => format!("format {page} as {kind}"),
        PageOp::Image { head, tail } => {
            format!("image of {page}: {} and zeros", counted(head.len() + tail.len(), "byte"))
        }
    }
}

fn several_words(ops: &[u8], page: PageId, names: &dyn Names) -> String {
    let words: Vec<_> = PageOp::each_of(ops).map(|op| page_op_words(&op, page, names)).collect();
    words.join(", ")
}

fn structure_change_words(record: &StructureChange<'_>, names: &dyn Names) -> String {
    let changes = record.changes.iter();
    let words: Vec<_> =
        changes.map(|change| page_op_words(&change.op, change.page, names)).collect();
    format!("all or nothing: {}", words.join("; "))
}

fn key_change_words(record: &KeyChange<'_>) -> String {
    let (table, key) = (record.table.escape_ascii(), record.key.escape_ascii());
    let value = |value: Option<ToldValue<'_>>| match value {
        None => "nothing".to_owned(),
        Some(ToldValue { length, bytes }) if (length as usize) > bytes.len() => {
            format!("\"{}\"… ({length} bytes)", bytes.escape_ascii())
        }
        Some(ToldValue { bytes, .. }) => format!("\"{}\"", bytes.escape_ascii()),
    };
    let whose = match record.table {
        [] => "catalog".to_owned(), // The table of all tables has no name.
        _ => format!("table {table}"),
    };
    format!("{whose}, key \"{key}\": {} -> {}", value(record.old), value(record.new))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn update_words(update: &Update<'_>, names: &dyn Names) -> String {
    let words = page_op_words(&update.op, update.page, names);
    match update.undo {
        Undo::RedoOnly => words + " (redo only)",
        Undo::Physical(_) => words,
        Undo::Key(undo) => {
            format!("{words}; key \"{}\" of {}", undo.key.escape_ascii(), undo.tree)
        }
    }
}

fn compensation_words(clr: &CompensationLogRecord<'_>, names: &dyn Names) -> String {
    // What it does tells what it undoes: an operation and its inverse go together.
    let undone = match clr.op {
        PageOp::Patch { .. } => "a write",
        PageOp::InsertSlot { .. } => "a removal",
        PageOp::RemoveSlot { .. } => "an insert",
        PageOp::ClearGhost { .. } => "a delete",
        PageOp::SetState { .. } => "a note",
        PageOp::MarkGhost { .. } => "an insert",
        PageOp::Format { .. }
        | PageOp::Image { .. }
        | PageOp::InsertAt { .. }
        | PageOp::RemoveAt { .. }
        | PageOp::ReplaceAt { .. }
        | PageOp::TruncateAt { .. }
        | PageOp::Several { .. } => "a change",
    };
    format!(
        "CLR: undoes {undone}: {}, undo next {}",
        page_op_words(&clr.op, clr.page, names),
        names.lsn_or_nil(clr.undo_next_lsn)
    )
}

/// Which part of several, if there are several.
fn part_words(part: u32, parts: u32) -> String {
    if parts == 1 { String::new() } else { format!(", part {} of {parts}", part + 1) }
}

fn prepare_words(prepare: &Prepare<'_>) -> String {
    format!(
        "prepare as \"{}\"{}, holding {}",
        prepare.global_id.escape_ascii(),
        part_words(prepare.part, prepare.parts),
        counted(prepare.locks.len(), "lock")
    )
}

fn end_checkpoint_words(end: &EndCheckpoint, names: &dyn Names) -> String {
    let pages = end.dirty_pages.iter();
    let pages: Vec<_> =
        pages.map(|(page, rec_lsn)| format!("{page}:{}", names.lsn(*rec_lsn))).collect();
    let transactions = end.transactions.iter();
    let transactions: Vec<_> =
        transactions.map(|(txn, entry)| format!("{} {}", names.txn(*txn), entry.state)).collect();
    format!(
        "checkpoint from {} ends{}: dirty pages {}, transactions {}",
        names.lsn(end.begin_lsn),
        part_words(end.part, end.parts),
        listed(&pages, " "),
        listed(&transactions, ", ")
    )
}

fn listed(items: &[String], between: &str) -> String {
    if items.is_empty() { "none".into() } else { items.join(between) }
}

fn restart_words(restart: &Restart, names: &dyn Names) -> String {
    let before = match restart.previous {
        Some(run) => format!("the run before began at {}", names.lsn(run.lsn)),
        None => "the first".into(),
    };
    format!("run of epoch {} begins; {before}", restart.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SlotId;
    use crate::ids::locks::{LockName, Mode};
    use crate::page::PageKind;
    use crate::record::{
        End, EpochStart, NestedTopActionEnd, PageImage, Rollback, TransactionLink,
    };
    use crate::tables::TransactionEntry;

    /// Calls everything by a name of its own.
    struct Nicknames;

    impl Names for Nicknames {
        fn lsn(&self, lsn: Lsn) -> String {
            format!("#{}", lsn.get())
        }

        fn txn(&self, txn: TxnId) -> String {
            format!("<{}>", txn.get())
        }
    }

    fn lsn(at: u64) -> Lsn {
        Lsn::new(at).expect("not 0")
    }

    fn txn(id: u64) -> TxnId {
        TxnId::new(id).expect("not 0")
    }

    const PAGE: PageId = PageId(3);
    const SLOT: SlotId = SlotId(2);
    const PATCH: PageOp<'static> = PageOp::Patch { slot: SLOT, offset: 8, bytes: b"abcd" };

    fn link() -> TransactionLink {
        TransactionLink { txn: txn(7), prev_lsn: Some(lsn(400)) }
    }

    fn end_checkpoint(part: u32, parts: u32) -> EndCheckpoint {
        EndCheckpoint {
            durable_lsn: lsn(500),
            begin_lsn: lsn(600),
            next_txn: txn(9),
            part,
            parts,
            dirty_pages: Vec::new(),
            transactions: Vec::new(),
        }
    }

    #[test]
    fn each_operation_on_a_page_is_told() {
        let pending = PageState::FreePending(txn(5));
        let told = [
            (PATCH, "write 4 bytes at 8 of P3.2"),
            (PageOp::InsertSlot { slot: SLOT, bytes: b"x" }, "insert 1 byte as P3.2"),
            (PageOp::RemoveSlot { slot: SLOT }, "remove P3.2"),
            (PageOp::MarkGhost { slot: SLOT }, "make P3.2 a ghost"),
            (PageOp::ClearGhost { slot: SLOT }, "make ghost P3.2 live again"),
            (
                PageOp::SetState { entry: 4, state: PageState::Used },
                "note in space map P3: P7 is used",
            ),
            (
                PageOp::SetState { entry: 4, state: pending },
                "note in space map P3: P7 is being freed by <5>",
            ),
            (PageOp::Format { kind: PageKind::Slotted }, "format P3 as a slotted page"),
            (PageOp::Image { head: &[1; 50], tail: &[2; 9] }, "image of P3: 59 bytes and zeros"),
        ];
        for (op, words) in told {
            assert_eq!(page_op_words(&op, PAGE, &Nicknames), words);
        }
    }

    fn update(undo: Undo<'static>) -> LogRecord<'static> {
        LogRecord::Update(Update { link: link(), page: PAGE, prev_page_lsn: None, op: PATCH, undo })
    }

    fn clr(op: PageOp<'static>, undo_next_lsn: Option<Lsn>) -> LogRecord<'static> {
        let prev_page_lsn = None;
        let record =
            CompensationLogRecord { link: link(), page: PAGE, prev_page_lsn, op, undo_next_lsn };
        LogRecord::Compensation(record)
    }

    #[test]
    fn what_a_transaction_does_is_told() {
        let lock = (LockName::PageExistence(PAGE), Mode::Exclusive);
        let prepare = Prepare {
            link: link(),
            durable_lsn: lsn(500),
            part: 0,
            parts: 1,
            global_id: b"order\0",
            frees_pages: false,
            locks: vec![lock],
        };
        let commit =
            Commit { link: link(), durable_lsn: lsn(500), wall_time_micros: 1, frees_pages: true };
        let nested = NestedTopActionEnd { link: link(), undo_next_lsn: Some(lsn(300)) };
        let told = [
            (update(Undo::Physical(PATCH)), "write 4 bytes at 8 of P3.2"),
            (update(Undo::RedoOnly), "write 4 bytes at 8 of P3.2 (redo only)"),
            (
                clr(PATCH, Some(lsn(300))),
                "CLR: undoes a write: write 4 bytes at 8 of P3.2, undo next #300",
            ),
            (
                clr(PageOp::RemoveSlot { slot: SLOT }, None),
                "CLR: undoes an insert: remove P3.2, undo next nil",
            ),
            (LogRecord::Commit(commit), "commit; the pages it freed are then made free"),
            (LogRecord::Commit(Commit { frees_pages: false, ..commit }), "commit"),
            (LogRecord::Rollback(Rollback { link: link() }), "rollback begins"),
            (
                LogRecord::End(End { link: link(), durable_lsn: lsn(500) }),
                "end: nothing is left to do",
            ),
            (LogRecord::NestedTopActionEnd(nested), "nested top action ends, undo next #300"),
            (LogRecord::Prepare(prepare), r#"prepare as "order\x00", holding 1 lock"#),
        ];
        for (record, words) in told {
            assert_eq!(what_it_does(&record, &Nicknames), words);
        }
    }

    #[test]
    fn what_no_transaction_does_is_told() {
        let mut full = end_checkpoint(1, 3);
        full.dirty_pages = vec![(PageId(1), lsn(100)), (PageId(4), lsn(200))];
        full.transactions =
            vec![(txn(7), TransactionEntry::new()), (txn(8), TransactionEntry::new())];
        let begin = BeginCheckpoint { durable_lsn: lsn(500), restart_lsn: lsn(90) };
        let restart = Restart {
            durable_lsn: lsn(500),
            epoch: 4,
            previous: Some(EpochStart { lsn: lsn(90), epoch: 3 }),
            next_txn: txn(9),
        };
        let first = Restart { previous: None, ..restart };
        let image = PageOp::Image { head: &[1; 50], tail: &[] };
        let image = PageImage { page: PAGE, prev_page_lsn: None, op: image };
        let told = [
            (LogRecord::BeginCheckpoint(begin), "checkpoint begins, in the run from #90"),
            (
                LogRecord::EndCheckpoint(end_checkpoint(0, 1)),
                "checkpoint from #600 ends: dirty pages none, transactions none",
            ),
            (
                LogRecord::EndCheckpoint(full),
                "checkpoint from #600 ends, part 2 of 3: dirty pages P1:#100 P4:#200, transactions \
                 <7> active, <8> active",
            ),
            (LogRecord::Restart(restart), "run of epoch 4 begins; the run before began at #90"),
            (LogRecord::Restart(first), "run of epoch 4 begins; the first"),
            (LogRecord::Filler, "fill the segment"),
            (LogRecord::PageImage(image), "image of P3: 50 bytes and zeros"),
        ];
        for (record, words) in told {
            assert_eq!(what_it_does(&record, &Nicknames), words);
        }
    }

    #[test]
    fn plain_names_have_leading_zeros() {
        let record = clr(PATCH, Some(lsn(300)));
        assert_eq!(
            what_it_does(&record, &PlainNames),
            "CLR: undoes a write: write 4 bytes at 8 of P3.2, undo next 000000000300"
        );
        assert_eq!(
            record.to_string(),
            format!("T7 Compensation: {}", what_it_does(&record, &PlainNames))
        );
        assert_eq!(LogRecord::Filler.to_string(), "Filler: fill the segment");
    }
}
