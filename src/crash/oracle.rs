//! Recovers a state of the disk, and says whether all is as it must be.
//!
//! 1. It opens: a power failure alone never makes a database that cannot be opened.
//! 2. What is there is one of the states that may be: every acknowledged commit, each other transaction wholly or
//!    not at all, and nothing else.
//! 3. Nothing is left of the transactions that were under way, and no page is ahead of the durable log.
//!    The log that survived tells each transaction to its end, and each undone update once.
//! 4. After another crash at once, and recovery, the same is there.
//! 5. Work goes on: another transaction commits, a checkpoint, a clean close; after reopening all of it is there,
//!    and every page is sound.
//!
//! What the disk durably holds once it is recovered decides all that follows. Many states recover to the same disk:
//! the last two are checked once for each of those.

use super::history::{KEYS, MOST_TRANSACTIONS, Page};
use super::logged::{Logged, check_closed};
use super::model::{Change, Expected, Promise, State};
use super::setting::Setting;
use super::violation::{Checked, Clause, fine, guarded, violated};
use super::world::{TABLE, key_of};
use crate::db::{Db, Options};
use crate::disk::{Disk, SimDisk, Survivors};
use crate::error::Result;
use crate::page::{self, PageState};
use crate::sync::Arc;
use crate::tables::TransactionState;

/// Recovers what is on `disk`; gives what is there, which is one of what is `expected`.
///
/// # Errors
/// What is wrong with it (clauses 1 to 3).
pub fn recover(options: &Options, disk: Arc<dyn Disk>, expected: &Expected) -> Checked<Promise> {
    guarded(|| opened(options, disk, expected).map(|(_, promise)| promise))
}

/// The same, and then works on: steals a page that nobody else has touched, and commits. Tells what must be there, each
/// time that changes; the recovery has been told of before.
///
/// # Errors
/// What is wrong with it.
pub fn live_on(
    options: &Options,
    disk: Arc<dyn Disk>,
    expected: &Expected,
    expect: &dyn Fn(Expected),
) -> Checked<()> {
    guarded(|| {
        let (db, promise) = opened(options, disk, expected)?;
        expect(Arc::from([promise.clone()]));
        let Some((page, slot)) = promise.state.spare_record() else { return Ok(()) };
        let mut bytes = promise.state.record(page, slot).unwrap_or_default().to_vec();
        bytes[0] = b'~';
        let worked = || {
            let mut txn = db.begin()?;
            txn.write_record(page, slot, 0, b"~")?;
            db.flush_page(page)?;
            let after = promise.clone().with(&Change::Record { page, slot, bytes: Some(bytes) });
            expect(Arc::from([promise, after.clone()]));
            txn.commit()?;
            expect(Arc::from([after]));
            Ok(())
        };
        fine(Clause::Afterwards, worked())
    })
}

fn opened(options: &Options, disk: Arc<dyn Disk>, expected: &Expected) -> Checked<(Db, Promise)> {
    let db = fine(Clause::Opens, options.open_on(disk))?;
    db.never_wait();
    let state = fine(Clause::State, State::of(&db))?;
    let Some(kept) = expected.iter().find(|promise| promise.state == state) else {
        let possible: Vec<String> =
            expected.iter().map(|promise| format!("[{}]", promise.state)).collect();
        return violated(Clause::State, format!("[{state}] instead of {}", possible.join(" or ")));
    };
    settled(&db)?;
    Ok((db, kept.clone()))
}

fn settled(db: &Db) -> Checked<()> {
    let under_way = |state| !matches!(state, TransactionState::Prepared);
    let table = db.transaction_table();
    if let Some((txn, entry)) = table.iter().find(|(_, entry)| under_way(entry.state)) {
        return violated(Clause::Settled, format!("{txn} is {}", entry.state));
    }
    let tables = fine(Clause::Settled, db.verify_tables())?;
    if !tables.is_sound() {
        return violated(Clause::Settled, format!("{tables:?}"));
    }
    let durable = db.stats().flushed_lsn;
    for number in 0..db.stats().pages {
        let page = crate::ids::PageId(number);
        if let Some(PageState::FreePending(txn)) = fine(Clause::Settled, db.page_state(page))?
            && table.get(txn).is_none()
        {
            return violated(Clause::Settled, format!("{page} is still being freed by {txn}"));
        }
        let guard = fine(Clause::Settled, db.fix_page(page))?;
        if let Some(page_lsn) = page::page_lsn(guard.bytes()).filter(|lsn| *lsn >= durable) {
            let found =
                format!("P{number} has pageLSN {page_lsn}, the log is durable to {durable}");
            return violated(Clause::Settled, found);
        }
    }
    Ok(())
}

/// Checks that what was recovered stays so, and that work goes on (clauses 4 and 5). `disk` is what is durable after
/// the recovery, `promise` what was there then.
///
/// # Errors
/// What is wrong with it.
pub fn go_on(setting: &Setting, disk: &SimDisk, promise: &Promise) -> Checked<()> {
    guarded(|| gone_on(setting, disk, promise))
}

fn gone_on(setting: &Setting, disk: &SimDisk, promise: &Promise) -> Checked<()> {
    let logged = Logged::read(disk)?;
    if !promise.state.in_doubt().is_empty() {
        let disk = disk.crash(&Survivors::All);
        locked(setting, &disk, promise)?;
        let decide = |db: &Db, global_id: &[u8]| db.rollback_prepared(global_id);
        worked_on(setting, &disk, &logged, &promise.state, &promise.rolled_back, decide)?;
    }
    let decide = |db: &Db, global_id: &[u8]| db.commit_prepared(global_id).map(drop);
    let committed = promise.state.clone().without_doubt();
    let disk = disk.crash(&Survivors::All);
    worked_on(setting, &disk, &logged, &promise.state, &committed, decide)
}

/// Nobody may see what is in doubt: its locks are held again.
fn locked(setting: &Setting, disk: &SimDisk, promise: &Promise) -> Checked<()> {
    let disk = disk.crash(&Survivors::All);
    let db = fine(Clause::Again, setting.options().open_on(Arc::new(disk)))?;
    db.never_wait();
    for (page, slot) in promise.state.changed_since(&promise.rolled_back) {
        let mut txn = fine(Clause::Settled, db.begin())?;
        if let Ok(seen) = txn.read_record(page, slot) {
            let found = format!("{page}.{slot} is in doubt, and others see {seen:?}");
            return violated(Clause::Settled, found);
        }
        if txn.free_page(page).is_ok() {
            let found = format!("{page}.{slot} is in doubt, and others free {page}");
            return violated(Clause::Settled, found);
        }
    }
    Ok(())
}

/// Recovers again, decides upon all that is in doubt, and goes on working; `state` is there at first, `decided` then.
fn worked_on(
    setting: &Setting,
    disk: &SimDisk,
    logged: &Logged,
    state: &State,
    decided: &State,
    decide: impl Fn(&Db, &[u8]) -> Result<()>,
) -> Checked<()> {
    let open = || setting.options().open_on(Arc::new(disk.clone()));
    let db = fine(Clause::Again, open())?;
    db.never_wait();
    logged.check_redo(db.restart_report().redo.from)?;
    let again = fine(Clause::Again, State::of(&db))?;
    if again != *state {
        return violated(Clause::Again, format!("[{again}], and [{state}] before"));
    }
    if !state.in_doubt().is_empty() {
        fine(Clause::Afterwards, db.checkpoint())?;
    }
    for global_id in state.in_doubt() {
        fine(Clause::Afterwards, decide(&db, global_id))?;
    }
    let mut state = decided.clone();
    fine(Clause::Afterwards, work(&db, &mut state))?;
    fine(Clause::Afterwards, db.checkpoint())?;
    fine(Clause::Afterwards, db.close())?;
    check_closed(disk)?;
    let db = fine(Clause::Afterwards, open())?;
    let found = fine(Clause::Afterwards, State::of(&db))?;
    if found != state {
        return violated(Clause::Afterwards, format!("[{found}] instead of [{state}]"));
    }
    let verified = fine(Clause::Afterwards, db.verify())?;
    match verified.findings.first() {
        None if verified.is_sound() => Ok(()),
        None => violated(Clause::Afterwards, format!("{:?}", verified.tables)),
        Some(found) => violated(Clause::Afterwards, format!("{}: {}", found.page, found.fault)),
    }
}

/// A transaction that overwrites a record and inserts another one.
fn work(db: &Db, state: &mut State) -> Result<()> {
    let Some((page, slot)) = state.any_record() else { return Ok(()) };
    let mut txn = db.begin()?;
    txn.write_record(page, slot, 0, b"#")?;
    let mut bytes = state.record(page, slot).unwrap_or_default().to_vec();
    bytes[0] = b'#';
    let inserted = txn.insert_record(page, b"new")?;
    if let Some(table) = db.open_table(TABLE)? {
        for number in 1..=MOST_TRANSACTIONS {
            for key in (1..=KEYS).map(Page::Key) {
                let (key, value) = (key_of(number, key), b"new".to_vec());
                txn.put(&table, &key, &value)?;
                state.apply(&Change::Cell { key, value: Some(value) });
            }
        }
    }
    txn.commit()?;
    state.apply(&Change::Record { page, slot, bytes: Some(bytes) });
    state.apply(&Change::Record { page, slot: inserted, bytes: Some(b"new".to_vec()) });
    Ok(())
}
