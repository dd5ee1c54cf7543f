//! What transactions do, and how it is told.

use super::actor::{Actor, Outcome};
use super::session::{Session, refused};
use super::statement::Action;
use super::told::pair;
use crate::db::Db;
use crate::error::Result;
use crate::ids::{PageId, SlotId, TxnId};
use crate::record::Names as _;

/// Each has a thread, of which no system has any number.
const MOST_TRANSACTIONS: usize = 1000;

impl Session {
    pub(super) fn begin(&mut self, name: Option<&str>) -> Result<String> {
        let db = self.db()?;
        if let Some(name) = name
            && self.actor(name).is_some()
        {
            return refused(format!("{name} is under way already"));
        }
        let under_way = self.running.as_ref().map_or(0, |running| running.actors.len());
        if under_way >= MOST_TRANSACTIONS {
            return refused(format!(
                "{MOST_TRANSACTIONS} transactions are under way: no more at a time"
            ));
        }
        let actor = Actor::begin(&db)?;
        let name = name.map_or_else(|| self.names.next_name(), str::to_owned);
        self.names.call(actor.id(), &name);
        self.highest_txn = self.highest_txn.max(actor.id().get());
        if let Some(running) = &mut self.running {
            running.actors.insert(name.clone(), actor);
        }
        self.current = Some(name);
        Ok(String::new())
    }

    fn actor(&mut self, name: &str) -> Option<&mut Actor> {
        self.running.as_mut()?.actors.get_mut(name)
    }

    pub(super) fn use_transaction(&mut self, name: &str) -> Result<()> {
        if self.actor(name).is_none() {
            return refused(format!("{name} is not under way"));
        }
        self.current = Some(name.to_owned());
        Ok(())
    }

    pub(super) fn whose(&mut self, prefix: Option<&str>) -> Result<String> {
        let name = prefix.or(self.current.as_deref()).map(str::to_owned);
        match name {
            Some(name) if self.actor(&name).is_some() => Ok(name),
            Some(name) => refused(format!("{name} is not under way: `{name}: begin` begins it")),
            None => refused("no transaction is under way: `begin` begins one"),
        }
    }

    pub(super) fn act(&mut self, name: &str, action: &Action) -> Result<String> {
        let action = match action {
            Action::Update(page) => self.update(name, *page)?,
            other => other.clone(),
        };
        let db = self.db()?;
        let table = action.table().map(|name| self.table(name)).transpose()?;
        let Some(actor) = self.actor(name) else { return refused(format!("{name} is gone")) };
        if actor.is_waiting() {
            return refused(format!("{name} waits for a lock"));
        }
        if actor.is_nested() && matches!(action, Action::Commit { .. } | Action::Prepare(_)) {
            return refused("a nested top action is under way: `nested end` comes first");
        }
        actor.order(action.clone(), table);
        let id = actor.id();
        let Some(reply) = actor.settle(&db) else {
            return Ok(format!("waits for {}\n", self.holders(&db, id)));
        };
        let ends = matches!(action, Action::Commit { .. } | Action::Rollback | Action::Prepare(_));
        let output = reply.map(|outcome| self.outcome(name, outcome));
        if ends {
            self.gone(name);
        }
        output
    }

    fn gone(&mut self, name: &str) {
        if let Some(running) = &mut self.running {
            running.actors.remove(name);
        }
        if self.current.as_deref() == Some(name) {
            self.current = None;
        }
    }

    /// Who holds the lock that the transaction waits for.
    fn holders(&self, db: &Db, txn: TxnId) -> String {
        let locks = db.locks();
        let lock = locks.iter().find(|lock| lock.waiters.iter().any(|(waiter, _)| *waiter == txn));
        let Some(lock) = lock else { return "a lock".to_owned() };
        let others = lock.holders.iter().filter(|(holder, _)| *holder != txn);
        let others: Vec<String> = others.map(|(holder, _)| self.names.txn(*holder)).collect();
        format!("the lock on {}, which {} has", lock.name, others.join(" and "))
    }

    pub(super) fn outcome(&mut self, name: &str, outcome: Outcome) -> String {
        match outcome {
            Outcome::Done => String::new(),
            Outcome::Page(page) => format!("{page}\n"),
            Outcome::Record(page, slot) => format!("{page}.{slot}\n"),
            Outcome::Bytes(Some(bytes)) | Outcome::Value(Some(bytes)) => {
                format!("\"{}\"\n", bytes.escape_ascii())
            }
            Outcome::Bytes(None) => "no record\n".to_owned(),
            Outcome::Deleted(true) => String::new(),
            Outcome::Deleted(false) | Outcome::Value(None) => "no such key\n".to_owned(),
            Outcome::Pairs(pairs) if pairs.is_empty() => "no keys\n".to_owned(),
            Outcome::Pairs(pairs) => {
                let line = |(key, value): &(Vec<u8>, Vec<u8>)| pair(key, value) + "\n";
                pairs.iter().map(line).collect()
            }
            Outcome::Deferred(ticket) => {
                if let Some(running) = &mut self.running {
                    running.tickets.push(ticket);
                }
                self.gone(name);
                String::new()
            }
        }
    }

    /// The transaction's own record on the page: the one of its number's slot.
    fn update(&mut self, name: &str, page: PageId) -> Result<Action> {
        let slot = self.slot_of(name)?;
        let value = char::from(b'a' + self.value % 26).to_string().repeat(self.stage.1);
        self.value = self.value.wrapping_add(1);
        Ok(Action::Write(page, slot, 0, value))
    }

    /// The slot of the transaction's own record, on every page of the stage.
    pub(super) fn slot_of(&self, name: &str) -> Result<SlotId> {
        let number = name.strip_prefix('T').and_then(|digits| digits.parse::<u16>().ok());
        match number.and_then(|number| number.checked_sub(1)) {
            Some(slot) if self.stage.0 > 0 => Ok(SlotId(slot % self.stage.0)),
            Some(_) => refused("`update` needs the stage that `fill` sets; `write` needs none"),
            None => refused(format!("`update` is for T1, T2, …; {name} can `write`")),
        }
    }
}
