//! A history on the engine: the stage it begins on, and its steps, each with what must be there if the power fails
//! in the middle of it.
//!
//! The stage is a database that was closed: pages P1, P2, … with a record for each transaction, filled with dots, and
//! another page that no history touches.

use super::history::{History, MOST_TRANSACTIONS, Step};
use super::model::{Change, State};
use crate::checkpoint::Begun;
use crate::config::{Broken, LogBlock, TornPageProtection};
use crate::db::{Db, Options, Transaction};
use crate::disk::{Disk, Metadata, PowerFailure, SectorSize, SimDisk, Survivors, Torn};
use crate::error::Result;
use crate::ids::{Lsn, PageId, SlotId};
use crate::sync::Arc;
use crate::txn::Savepoint;

/// Bytes of a log segment: the smallest there are.
const SEGMENT_BYTES: u64 = 65_536;
/// Frames of the buffer pool: the fewest there may be.
const FRAMES: usize = 16;

/// What disks and file systems may do when the power fails, from little to much. Each level is explored on its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// Sectors reach the disk in any order, each whole; names and lengths in the order of a journal.
    L0,
    /// A sector may also be torn: only its first or only its last bytes are new.
    L1,
    /// A torn sector may also be garbage. The log is padded, as it is made for such disks.
    L2,
    /// Sectors are whole; names and lengths survive each on their own until they are synced.
    L3,
}

impl Level {
    /// All levels.
    pub const ALL: [Self; 4] = [Self::L0, Self::L1, Self::L2, Self::L3];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L0 => "L0",
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
        }
    }

    /// What a power failure may do.
    #[must_use]
    pub fn power(self, sector: SectorSize) -> PowerFailure {
        let torn = match self {
            Self::L0 | Self::L3 => Torn::Never,
            Self::L1 => Torn::PrefixOrSuffix,
            Self::L2 => Torn::Garbage,
        };
        let metadata = if self == Self::L3 { Metadata::Independent } else { Metadata::Ordered };
        PowerFailure { sector, torn, metadata }
    }

    /// The setting for a database on such a disk.
    #[must_use]
    pub fn setting(self, protection: TornPageProtection, sector: SectorSize) -> Setting {
        let log_block = match self {
            Self::L2 => LogBlock::Padded(sector.bytes() as u64),
            _ => LogBlock::Rewritten,
        };
        Setting { protection, log_block, power: self.power(sector), broken: Broken::default() }
    }
}

/// How the database is opened, and what the power may do to its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Setting {
    /// How torn pages are made whole.
    pub protection: TornPageProtection,
    /// Whether a durable block of the log may be written again.
    pub log_block: LogBlock,
    /// What a power failure may do.
    pub power: PowerFailure,
    /// The rule that is broken on purpose, if one is.
    pub broken: Broken,
}

impl Setting {
    /// Options to open the database with: no threads, no clock, so that the same steps make the same I/Os and
    /// leave the same bytes.
    ///
    /// A page is a sector: on a disk that tears sectors smaller pages would be torn together with their neighbours,
    /// which nothing protects.
    pub fn options(&self) -> Options {
        let page_size = self.power.sector.bytes();
        Options::new()
            .page_size(page_size)
            .segment_bytes(SEGMENT_BYTES)
            .buffer_pool_bytes(FRAMES * page_size)
            .background(false)
            .database_id(1)
            .wall_clock(|| 0)
            .torn_page_protection(self.protection)
            .log_block(self.log_block)
            .broken_by(self.broken)
    }
}

/// What may be there after a crash: one of these states.
pub type Expected = Arc<[State]>;

/// Something that the engine has said is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Promise {
    /// The commit or prepare record at this LSN: whoever called has been told so.
    Record(Lsn),
    /// The page as it stands in place: its write is done.
    Page(PageId),
}

/// Somebody who is told of what goes on.
pub trait Watch {
    /// A step is about to be taken.
    fn step(&self, _step: Step) {}

    /// From now on this must be there after a crash.
    fn expect(&self, expected: Expected);

    /// The engine has promised that something is durable.
    fn promised(&self, _promise: Promise) {}

    /// All steps were taken; what comes now is no part of the history.
    fn end(&self);
}

/// Two who are told, the second of whom need not be there.
impl<A: Watch, B: Watch> Watch for (Arc<A>, Option<Arc<B>>) {
    fn step(&self, step: Step) {
        self.0.step(step);
        self.1.iter().for_each(|second| second.step(step));
    }

    fn expect(&self, expected: Expected) {
        self.1.iter().for_each(|second| second.expect(Arc::clone(&expected)));
        self.0.expect(expected);
    }

    fn promised(&self, promise: Promise) {
        self.0.promised(promise);
        self.1.iter().for_each(|second| second.promised(promise));
    }

    fn end(&self) {
        self.0.end();
        self.1.iter().for_each(|second| second.end());
    }
}

/// Where histories begin.
#[derive(Clone)]
pub struct Stage {
    disk: SimDisk,
    state: State,
    pages: Vec<PageId>,
}

impl Stage {
    /// Makes it: so many pages, and everything on the disk.
    ///
    /// # Errors
    /// None but those of a broken engine.
    pub fn set(setting: Setting, pages: usize) -> Result<Self> {
        let disk = SimDisk::with_power_failure(setting.power);
        // By an engine that keeps all rules.
        let sound = Setting { broken: Broken::default(), ..setting };
        let db = sound.options().open_on(Arc::new(disk.clone()))?;
        let mut txn = db.begin()?;
        let mut made = Vec::new();
        for _ in 0..pages {
            let page = txn.allocate_page()?;
            for _ in 0..MOST_TRANSACTIONS {
                txn.insert_record(page, b"....")?;
            }
            made.push(page);
        }
        // Written last, and alone: so the newest double-write batch has none of the others.
        let spare = txn.allocate_page()?;
        txn.commit()?;
        db.flush_pages()?;
        let mut txn = db.begin()?;
        txn.insert_record(spare, b"spare")?;
        txn.commit()?;
        let state = State::of(&db)?;
        db.close()?;
        Ok(Self { disk: disk.crash(&Survivors::All), state, pages: made })
    }

    /// A copy of the disk.
    #[must_use]
    pub fn disk(&self) -> SimDisk {
        self.disk.crash(&Survivors::All)
    }

    /// Runs a history on a copy of the stage's disk that somebody watches: says what must be there, from before the
    /// last step on (or, if there is none, before the database is opened), each time that changes.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn run(
        &self,
        history: &History,
        options: &Options,
        disk: Arc<dyn Disk>,
        watch: &dyn Watch,
    ) -> Result<()> {
        let Some((last, before)) = history.0.split_last() else {
            watch.expect(self.expected());
            drop(self.open(options, disk)?);
            return Ok(());
        };
        let mut world = self.open(options, disk)?;
        for step in before {
            watch.step(*step);
            world.take(*step, &|_| {})?;
            world.tell_promises(watch);
        }
        watch.expect(world.expected());
        watch.step(*last);
        world.take(*last, &|expected| watch.expect(expected))?;
        world.tell_promises(watch);
        watch.end();
        Ok(())
    }

    fn expected(&self) -> Expected {
        Arc::from([self.state.clone()])
    }

    fn open(&self, options: &Options, disk: Arc<dyn Disk>) -> Result<World<'_>> {
        let db = options.open_on(disk)?;
        Ok(World {
            stage: self,
            txns: Default::default(),
            begun: None,
            acknowledged: self.state.clone(),
            promises: Vec::new(),
            steps: 0,
            db,
        })
    }
}

/// A database at work.
struct World<'s> {
    stage: &'s Stage,
    txns: [Option<Actor>; MOST_TRANSACTIONS],
    begun: Option<Begun>,
    acknowledged: State,
    /// Made since they were told last.
    promises: Vec<Promise>,
    steps: u8,
    db: Db,
}

/// A transaction under way.
struct Actor {
    txn: Transaction,
    changes: Vec<Change>,
    savepoint: Option<(Savepoint, usize)>,
}

impl World<'_> {
    /// What must be there if the power fails now.
    fn expected(&self) -> Expected {
        Arc::from([self.acknowledged.clone()])
    }

    fn take(&mut self, step: Step, expect: &dyn Fn(Expected)) -> Result<()> {
        self.steps += 1;
        match step {
            Step::Update(txn, page) => self.update(txn, page),
            Step::Insert(txn, page) => self.insert(txn, page),
            Step::Delete(txn, page) => self.delete(txn, page),
            Step::Savepoint(txn) => {
                let actor = self.actor(txn)?;
                actor.savepoint = Some((actor.txn.savepoint()?, actor.changes.len()));
                Ok(())
            }
            Step::RollbackTo(txn) => {
                let actor = self.actor(txn)?;
                let (savepoint, changes) = actor.savepoint.expect("a history takes one before");
                actor.changes.truncate(changes);
                actor.txn.rollback_to(savepoint)
            }
            Step::Commit(txn) => self.commit(txn, expect),
            Step::Rollback(txn) => self.leave(txn).txn.rollback(),
            Step::Flush(page) => {
                let page = self.stage.pages[page - 1];
                self.db.flush_page(page)?;
                self.promises.push(Promise::Page(page));
                Ok(())
            }
            Step::CheckpointBegin => {
                self.begun = Some(self.db.begin_checkpoint()?);
                Ok(())
            }
            Step::CheckpointEnd => {
                let begun = self.begun.take().expect("a history begins it before");
                self.db.complete_checkpoint(begun).map(drop)
            }
        }
    }

    fn tell_promises(&mut self, watch: &dyn Watch) {
        self.promises.drain(..).for_each(|promise| watch.promised(promise));
    }

    /// The transaction; it begins now if it has not yet.
    fn actor(&mut self, txn: usize) -> Result<&mut Actor> {
        let place = &mut self.txns[txn - 1];
        if place.is_none() {
            *place = Some(Actor { txn: self.db.begin()?, changes: Vec::new(), savepoint: None });
        }
        Ok(place.as_mut().expect("just there"))
    }

    fn leave(&mut self, txn: usize) -> Actor {
        self.txns[txn - 1].take().expect("a history ends only what has begun")
    }

    /// Bytes that no other step writes.
    fn value(&self) -> Vec<u8> {
        vec![b'a' + self.steps % 26; 4]
    }

    fn own_record(&self, txn: usize, page: usize) -> (PageId, SlotId) {
        let slot = u16::try_from(txn - 1).expect("there are few transactions");
        (self.stage.pages[page - 1], SlotId(slot))
    }

    fn update(&mut self, txn: usize, page: usize) -> Result<()> {
        let ((page, slot), bytes) = (self.own_record(txn, page), self.value());
        let actor = self.actor(txn)?;
        actor.txn.write_record(page, slot, 0, &bytes)?;
        actor.changes.push(Change { page, slot, bytes: Some(bytes) });
        Ok(())
    }

    fn insert(&mut self, txn: usize, page: usize) -> Result<()> {
        let (page, bytes) = (self.stage.pages[page - 1], self.value());
        let actor = self.actor(txn)?;
        let slot = actor.txn.insert_record(page, &bytes)?;
        actor.changes.push(Change { page, slot, bytes: Some(bytes) });
        Ok(())
    }

    fn delete(&mut self, txn: usize, page: usize) -> Result<()> {
        let (page, slot) = self.own_record(txn, page);
        let actor = self.actor(txn)?;
        actor.txn.delete_record(page, slot)?;
        actor.changes.push(Change { page, slot, bytes: None });
        Ok(())
    }

    /// While the commit is called, it may be there or not; when it has returned, it must.
    fn commit(&mut self, txn: usize, expect: &dyn Fn(Expected)) -> Result<()> {
        let Actor { txn, changes, .. } = self.leave(txn);
        let before = self.acknowledged.clone();
        changes.iter().for_each(|change| self.acknowledged.apply(change));
        expect(Arc::from([before, self.acknowledged.clone()]));
        let lsn = txn.commit()?;
        self.promises.push(Promise::Record(lsn));
        expect(self.expected());
        Ok(())
    }
}
