//! What `show` shows, a line an entry.

use super::session::Session;
use super::statement::View;
use super::told::{self, PartOf};
use crate::db::Db;
use crate::error::Result;
use crate::event::Event;
use crate::ids::{Lsn, PageId, TxnId};
use crate::page::{self, PageKind, PageState, SlotState, space_map};
use crate::record::{EndCheckpoint, LogRecord, Names as _, Undo, Update};
use crate::tables::TransactionEntry;

impl Session {
    /// Numbers the records that were appended since this was last asked, and takes the numbers from those that
    /// a restart found to be lost.
    pub(super) fn renumber(&mut self) {
        let events = self.events.lock();
        let mark = self.mark;
        let mut records = self.names.records().to_vec();
        records.retain(|lsn| mark.is_none_or(|mark| *lsn >= mark));
        for event in events.iter().skip(self.events_seen) {
            match event {
                Event::Appended { lsn, txn, .. } if mark.is_none_or(|mark| *lsn >= mark) => {
                    records.push(*lsn);
                    self.highest_txn = self.highest_txn.max(txn.map_or(0, TxnId::get));
                }
                Event::LogEndFound { end, .. } => records.retain(|lsn| lsn < end),
                _ => {}
            }
        }
        self.events_seen = events.len();
        drop(events);
        // A restart that failed may have left records, too: where they end is known when the next one has found out.
        let end = self.running.as_ref().map(|running| running.db.stats().end_lsn);
        self.names.number(records, end);
    }

    /// What happened is of no interest any more, but for the records.
    pub(super) fn forget_events(&mut self) {
        self.renumber();
        self.events.lock().clear();
        self.events_seen = 0;
    }

    pub(super) fn show(&mut self, view: &View) -> Result<String> {
        self.renumber();
        let lines = match view {
            View::Control => return self.control(),
            View::Log(from) => self.log(*from)?,
            View::Space => self.space()?,
            View::Page(page) => self.page(*page)?,
            View::Tables => self.tables()?,
            View::Table(name) => self.cells(name)?,
            View::Tree(name) => self.nodes(name)?,
            View::Dirty | View::Transactions | View::Locks | View::Durable => {
                self.show_memory(view)?
            }
        };
        Ok(lines.into_iter().map(|line| line + "\n").collect())
    }

    /// What is in no file.
    fn show_memory(&mut self, view: &View) -> Result<Vec<String>> {
        let db = self.db()?;
        let names = &self.names;
        Ok(match view {
            View::Dirty => {
                let table = db.dirty_page_table();
                table
                    .iter()
                    .map(|(page, lsn)| format!("{page} rec_lsn={}", names.lsn(lsn)))
                    .collect()
            }
            View::Transactions => {
                let table = db.transaction_table();
                table.iter().map(|(txn, entry)| self.transaction(&names.txn(txn), entry)).collect()
            }
            View::Locks => {
                let list = |txns: &[(crate::ids::TxnId, crate::lock::Mode)]| {
                    let named =
                        txns.iter().map(|(txn, mode)| format!(" {} {mode}", names.txn(*txn)));
                    named.collect::<String>()
                };
                let line = |lock: &crate::lock::LockSnapshot| match lock.waiters.is_empty() {
                    true => format!("{}:{}", lock.name, list(&lock.holders)),
                    false => {
                        let waiters = list(&lock.waiters);
                        format!("{}:{}; waiting:{waiters}", lock.name, list(&lock.holders))
                    }
                };
                db.locks().iter().map(line).collect()
            }
            _ => {
                let (durable, end) = (db.stats().flushed_lsn, db.stats().end_lsn);
                vec![format!("durable before {} of {}", names.lsn(durable), names.lsn(end))]
            }
        })
    }

    fn transaction(&self, name: &str, entry: &TransactionEntry) -> String {
        let nil = |lsn| self.names.lsn_or_nil(lsn);
        let TransactionEntry { state, first_lsn, last_lsn, undo_next_lsn } = entry;
        format!(
            "{name} {state} first={} last={} undo_next={}",
            nil(*first_lsn),
            nil(*last_lsn),
            nil(*undo_next_lsn)
        )
    }

    fn control(&self) -> Result<String> {
        let master = self.master()?;
        let closed = match master.clean_end_lsn {
            Some(end) => format!("closed, its log ending at {}", self.names.lsn(end)),
            None => "not closed".to_owned(),
        };
        Ok(format!(
            "checkpoint={} oldest_required={} epoch={} pages={} {closed}\n",
            self.names.lsn(master.checkpoint_lsn),
            self.names.lsn(master.oldest_required_lsn),
            master.epoch,
            master.pages,
        ))
    }

    fn space(&mut self) -> Result<Vec<String>> {
        let db = self.db()?;
        let (pages, page_size) = (db.stats().pages, db.stats().page_size);
        let mut runs: Vec<(PageId, PageId, String)> = Vec::new();
        for page in (0..pages).map(PageId) {
            let state = match db.page_state(page)? {
                _ if space_map::is_map_page(page, page_size) => "space map".to_owned(),
                Some(PageState::FreePending(txn)) => {
                    format!("being freed by {}", self.names.txn(txn))
                }
                Some(PageState::Used | PageState::Catalog(_)) => "used".to_owned(),
                Some(PageState::Free) | None => "free".to_owned(),
            };
            match runs.last_mut() {
                Some((_, last, same)) if *same == state => *last = page,
                _ => runs.push((page, page, state)),
            }
        }
        let line = |(first, last, state): (PageId, PageId, String)| match first == last {
            true => format!("{first} {state}"),
            false => format!("{first}-{last} {state}"),
        };
        Ok(runs.into_iter().map(line).collect())
    }

    fn page(&mut self, page: PageId) -> Result<Vec<String>> {
        let db = self.db()?;
        let guard = db.fix_page(page)?;
        let kind = page::kind(guard.bytes());
        let mut lines =
            vec![told::page_heading(page, guard.page_lsn(), guard.bytes(), &self.names)];
        if kind.is_some_and(PageKind::has_slots) {
            for (slot, state, bytes) in page::slots(guard.bytes()) {
                lines.push(match state {
                    SlotState::Free => format!("{page}.{slot} free"),
                    SlotState::Live => format!("{page}.{slot} \"{}\"", bytes.escape_ascii()),
                    SlotState::Ghost => {
                        format!("{page}.{slot} deleted \"{}\"", bytes.escape_ascii())
                    }
                });
            }
        }
        Ok(lines)
    }

    fn log(&mut self, from: usize) -> Result<Vec<String>> {
        let db = self.db()?;
        let mut lines = Vec::new();
        for number in from..self.names.count() {
            let Some(lsn) = self.names.record(number) else { break };
            let bytes = match db.read_log(lsn) {
                Ok(bytes) => bytes,
                Err(error) if lsn < db.stats().oldest_required_lsn => {
                    lines.push(format!("#{number} truncated ({error})"));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let record = bytes.record();
            let key = self.key_of(&db, &record);
            let line = self.record(&record, db.stats().page_size, key.as_deref());
            lines.push(format!("#{number} {line}"));
        }
        Ok(lines)
    }

    /// A record in a line, with the names of this script.
    fn record(&self, record: &LogRecord<'_>, page_size: usize, key: Option<&[u8]>) -> String {
        let nil = |lsn: Option<Lsn>| self.names.lsn_or_nil(lsn);
        let owner = record.link().map(|link| self.names.txn(link.txn) + " ").unwrap_or_default();
        let prev = record.link().map(|link| format!(" prev={}", nil(link.prev_lsn)));
        let prev = prev.unwrap_or_default();
        let part_of = match (record, key) {
            (LogRecord::StructureChange(_), _) => PartOf::Structure,
            (_, Some(key)) => PartOf::Cell(key),
            (_, None) => PartOf::Nothing,
        };
        let changes: Vec<_> = record
            .page_changes()
            .map(|change| told::change(&self.names, &change, page_size, part_of))
            .collect();
        let change = changes.join(", ");
        match record {
            LogRecord::Update(_) | LogRecord::StructureChange(_) => {
                format!("{owner}{} {change}{prev}", record.name())
            }
            LogRecord::Compensation(clr) => {
                format!("{owner}CLR {change}{prev} undo_next={}", nil(clr.undo_next_lsn))
            }
            LogRecord::NestedTopActionEnd(end) => {
                format!("{owner}NestedTopActionEnd{prev} undo_next={}", nil(end.undo_next_lsn))
            }
            LogRecord::Prepare(prepare) => {
                format!("{owner}Prepare \"{}\"{prev}", prepare.global_id.escape_ascii())
            }
            LogRecord::EndCheckpoint(end) => self.end_checkpoint(end),
            LogRecord::PageImage(_) => format!("PageImage {change}"),
            other => format!("{owner}{}{prev}", other.name()),
        }
    }

    fn end_checkpoint(&self, end: &EndCheckpoint) -> String {
        let dirty = end.dirty_pages.iter();
        let dirty: Vec<String> =
            dirty.map(|(page, lsn)| format!("{page}:{}", self.names.lsn(*lsn))).collect();
        let txns = end.transactions.iter();
        let txns: Vec<String> = txns
            .map(|(txn, entry)| {
                let last = self.names.lsn_or_nil(entry.last_lsn);
                format!("{} {} last={last}", self.names.txn(*txn), entry.state)
            })
            .collect();
        let begin = self.names.lsn(end.begin_lsn);
        format!(
            "EndCheckpoint begin={begin} dirty={{{}}} txns={{{}}}",
            dirty.join(" "),
            txns.join(", ")
        )
    }

    /// The key of the cell that a record changes, if it changes one. A compensation record does not say: the record
    /// that it undoes does.
    fn key_of(&self, db: &Db, record: &LogRecord<'_>) -> Option<Vec<u8>> {
        let key = |update: &Update<'_>| match update.undo {
            Undo::Key(undo) => Some(undo.key.to_vec()),
            Undo::RedoOnly | Undo::Physical(_) => None,
        };
        let clr = match record {
            LogRecord::Update(update) => return key(update),
            LogRecord::Compensation(clr) => clr,
            _ => return None,
        };
        let mut next = clr.link.prev_lsn;
        while let Some(lsn) = next {
            let bytes = db.read_log(lsn).ok()?;
            let before = bytes.record();
            match &before {
                LogRecord::Update(update)
                    if update.undo != Undo::RedoOnly
                        && update.link.prev_lsn == clr.undo_next_lsn =>
                {
                    return key(update);
                }
                _ => next = before.undo_goes_on_at(),
            }
        }
        None
    }
}
