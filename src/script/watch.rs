//! A session that is watched from outside: its calls to the disk, and what a failure of power met.

use super::crash::{Home, PowerFailed};
use super::gate::{Calls, Io};
use super::session::{Session, refused};
use crate::db::Db;
use crate::error::Result;
use crate::sync::{Arc, Mutex};

impl Session {
    /// From here on the engine's calls to its disk are counted, and power fails before the one with this number: then nothing
    /// reaches the disk any more, and statements fail, until `crash` says what is left. To be said before the first statement.
    pub fn watch_calls(&mut self, power_fails_before: Option<usize>) {
        let calls = Calls { power_fails_before, ..Calls::default() };
        self.calls = Some(Arc::new(Mutex::new(calls)));
    }

    /// A statement that fills pages fails as soon as the engine has told so many events.
    pub fn stop_after(&mut self, events: usize) {
        self.most_events = Some(events);
    }

    pub(super) fn check_events(&self) -> Result<()> {
        match self.most_events.filter(|most| self.events.lock().len() > *most) {
            Some(most) => refused(format!("more than {most} events")),
            None => Ok(()),
        }
    }

    /// The calls made so far, from this number on; none if nobody watches.
    #[must_use]
    pub fn calls_from(&self, first: usize) -> Vec<Io> {
        let calls = self.calls.as_ref().map(|calls| calls.lock());
        calls.and_then(|calls| calls.made.get(first..).map(<[Io]>::to_vec)).unwrap_or_default()
    }

    /// The call before which power failed, if it has come to that.
    #[must_use]
    pub fn call_not_made(&self) -> Option<Io> {
        self.calls.as_ref().and_then(|calls| calls.lock().not_made.clone())
    }

    /// What the latest failure of power met; nothing if nobody watches.
    #[must_use]
    pub fn power_failed(&self) -> Option<&PowerFailed> {
        self.power_failed.as_ref()
    }

    /// Looks at the database, if it is open. Whatever is read for that is no call of the script.
    pub fn look<T>(&self, at: impl FnOnce(&Db) -> T) -> Option<T> {
        let db = self.database()?;
        let set = |is_looking| {
            self.calls.iter().for_each(|calls| calls.lock().is_looking = is_looking);
        };
        set(true);
        let seen = at(db);
        set(false);
        Some(seen)
    }

    /// A file of a simulated disk, as whoever opens it next will see it.
    #[must_use]
    pub fn file_on_disk(&self, name: &str) -> Option<Vec<u8>> {
        match &self.home {
            Home::Simulated(disk) => disk.read_file(name),
            Home::Directory(_) => None,
        }
    }

    /// Bytes of a page and of a log segment, here or in the next database that is made.
    #[must_use]
    pub fn sizes(&self) -> (usize, u64) {
        match self.database().map(Db::master_record) {
            Some(master) => (master.page_size as usize, master.segment_bytes),
            None => (self.settings.page_size(), self.settings.segment_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::buffer::PAGES_FILE;
    use crate::disk::Pending;
    use crate::script::Statement;

    const LINES: &[&str] = &[
        "fill pages=2 records=2",
        "T1: begin",
        "T1: update P1",
        "T1: commit",
        "flush all",
        "checkpoint",
        "T2: begin",
        "T2: update P2",
        "force",
        "kill",
        "restart",
    ];

    fn watched(power_fails_before: Option<usize>) -> Session {
        let mut session = Session::simulated();
        session.watch_calls(power_fails_before);
        session
    }

    fn perform(session: &mut Session, line: &str) -> crate::script::Performed {
        session.perform(&Statement::parse_line(1, line).unwrap().unwrap())
    }

    /// What was not synced, and the file of pages after all of it was kept.
    fn left_by(mut session: Session) -> (Vec<Pending>, Option<Vec<u8>>) {
        perform(&mut session, "crash keep=all").unwrap();
        let unsynced = session.power_failed().unwrap().unsynced.clone();
        let pages = session.file_on_disk(PAGES_FILE);
        (unsynced.into_iter().map(|unsynced| unsynced.pending).collect(), pages)
    }

    /// Each call of the engine is an operation of the disk: power that fails at the disk leaves the same.
    #[test]
    fn power_fails_where_the_disk_would_let_it_fail() {
        let mut failures = 0;
        for (at, line) in LINES.iter().enumerate() {
            let mut whole = watched(None);
            LINES[..at].iter().for_each(|line| drop(perform(&mut whole, line).unwrap()));
            let first = whole.calls_from(0).len();
            perform(&mut whole, line).unwrap();
            for call in first..whole.calls_from(0).len() {
                let mut by_number = watched(Some(call));
                let mut by_disk = watched(None);
                for line in &LINES[..at] {
                    perform(&mut by_number, line).unwrap();
                    perform(&mut by_disk, line).unwrap();
                }
                perform(&mut by_disk, &format!("fault power in={}", call - first)).unwrap();
                perform(&mut by_number, line).unwrap_err();
                perform(&mut by_disk, line).unwrap_err();
                assert_eq!(by_number.calls_from(0), whole.calls_from(0)[..call]);
                assert_eq!(by_number.call_not_made().as_ref(), whole.calls_from(call).first());
                assert_eq!(left_by(by_number), left_by(by_disk), "{line}: call {call}");
                failures += 1;
            }
        }
        assert!(failures > 60, "{failures}");
    }

    #[test]
    fn whoever_only_looks_makes_no_call() {
        let mut session = watched(None);
        LINES[..5].iter().for_each(|line| drop(perform(&mut session, line).unwrap()));
        let calls = session.calls_from(0).len();
        let oldest = |db: &Db| db.read_log(db.stats().oldest_required_lsn).map(drop);
        session.look(oldest).unwrap().unwrap();
        assert_eq!(session.calls_from(0).len(), calls);
        oldest(session.database().unwrap()).unwrap();
        assert!(session.calls_from(0).len() > calls, "it does read the disk");
    }

    #[test]
    fn exactly_those_survive_that_were_chosen() {
        let before_sync = || {
            let mut session = watched(None);
            LINES[..4].iter().for_each(|line| drop(perform(&mut session, line).unwrap()));
            perform(&mut session, "fault power in=1").unwrap();
            perform(&mut session, "flush all").unwrap_err();
            session
        };
        let survivors = |keep: &str| {
            let mut session = before_sync();
            perform(&mut session, &format!("crash {keep}")).unwrap();
            let unsynced = &session.power_failed().unwrap().unsynced;
            unsynced.iter().map(|unsynced| unsynced.survived).collect::<Vec<_>>()
        };
        let all = survivors("keep=all");
        assert!(all.len() > 2 && all.iter().all(|survived| *survived), "{all:?}");
        let chosen = survivors("keep=0,2");
        let expected: Vec<bool> = (0..all.len()).map(|number| [0, 2].contains(&number)).collect();
        assert_eq!(chosen, expected);
        let random = survivors("keep=random seed=3");
        assert!(random.contains(&true) && random.contains(&false), "{random:?}");
        let error = perform(&mut before_sync(), "crash keep=0,99").unwrap_err();
        assert!(error.contains("keep=99: of what was not synced there are"), "{error}");
    }
}
