//! The stage: the database on which histories begin.
//!
//! It was closed. It has pages P1, P2, … with a record for each transaction, filled with dots, and another page that
//! no history touches. For all histories but those of records the log is about to go on to its next segment. For those of
//! everything all pages are in use, too: the first allocation makes the file grow.

use super::history::{Bounds, History, MOST_TRANSACTIONS, Page, Vocabulary};
use super::model::{Model, SPARE, State};
use super::setting::{SEGMENT_BYTES, Setting};
use super::watch::Watch;
use super::world::{TABLE, World, key_of};
use crate::config::Broken;
use crate::db::Options;
use crate::disk::{Disk, SimDisk, Survivors};
use crate::error::Result;
use crate::ids::PageId;
use crate::sync::Arc;

/// Bytes that are left in the segment for the history, once the database is open.
const LEFT: u64 = 200;

/// Where histories begin.
#[derive(Clone)]
pub struct Stage {
    disk: SimDisk,
    state: State,
    pages: Vec<PageId>,
}

impl Stage {
    /// Makes it.
    ///
    /// # Errors
    /// None but those of a broken engine.
    pub fn set(setting: Setting, bounds: Bounds) -> Result<Self> {
        // By an engine that keeps all rules.
        let sound = Setting { broken: Broken::default(), ..setting };
        let is_full = bounds.vocabulary == Vocabulary::Everything;
        let more = match bounds.vocabulary {
            Vocabulary::Space | Vocabulary::Outcomes | Vocabulary::Everything => {
                Self::new(sound, bounds.pages, is_full, 0)?.room(sound)?
            }
            Vocabulary::Records => 0,
            Vocabulary::Trees => return Self::with_tree(sound),
        };
        Self::new(sound, bounds.pages, is_full, more)
    }

    /// Makes one whose file of pages may be full, and whose log has about so many bytes more than it needs.
    fn new(setting: Setting, pages: usize, is_full: bool, more: u64) -> Result<Self> {
        let disk = SimDisk::with_power_failure(setting.power);
        let db = setting.options().open_on(Arc::new(disk.clone()))?;
        let mut txn = db.begin()?;
        let mut made = Vec::new();
        for _ in 0..pages {
            let page = txn.allocate_page()?;
            for _ in 0..MOST_TRANSACTIONS {
                txn.insert_record(page, b"....")?;
            }
            made.push(page);
        }
        let spare = txn.allocate_page()?;
        while is_full && txn.allocate_page()?.0 + 1 < db.stats().pages {}
        txn.commit()?;
        db.flush_pages()?;
        // Written last, and alone: so the newest double-write batch has none of the others.
        let mut txn = db.begin()?;
        let slot = txn.insert_record(spare, SPARE)?;
        txn.commit()?;
        let end = db.stats().end_lsn.get() + more;
        let mut byte = 0;
        while db.stats().end_lsn.get() < end {
            let mut txn = db.begin()?;
            byte ^= 1;
            txn.write_record(spare, slot, 0, &[byte])?;
            txn.commit()?;
        }
        let state = State::of(&db)?;
        db.close()?;
        Ok(Self { disk: disk.crash(&Survivors::All), state, pages: made })
    }

    /// One without pages for records, but with a tree. Each transaction has its keys in it: the first behind another one in
    /// a full leaf, the second alone in a leaf. Inner nodes are full, or nearly so.
    fn with_tree(setting: Setting) -> Result<Self> {
        let stage = Self::new(setting, 0, false, 0)?;
        let disk = stage.disk();
        let db = setting.options().open_on(Arc::new(disk.clone()))?;
        let table = db.table(TABLE)?;
        let mut txn = db.begin()?;
        let owners = 1..=MOST_TRANSACTIONS;
        let mut keys: Vec<Vec<u8>> = owners
            .clone()
            .flat_map(|number| [Page::Key(1), Page::Key(2)].map(|key| key_of(number, key)))
            .collect();
        // Keys that ascend leave each but the last alone in its leaf; then those are filled that shall be full.
        keys.push(key_of(MOST_TRANSACTIONS + 1, Page::Key(1)));
        keys.push(key_of(MOST_TRANSACTIONS + 1, Page::Key(2)));
        keys.extend(owners.map(|number| {
            let mut filler = key_of(number, Page::Key(1));
            *filler.last_mut().expect("keys are long") = b'a';
            filler
        }));
        for key in keys {
            txn.put(&table, &key, b"............")?;
        }
        txn.commit()?;
        let state = State::of(&db)?;
        db.close()?;
        Ok(Self { disk: disk.crash(&Survivors::All), state, pages: Vec::new() })
    }

    /// Bytes of the log's segment that are left for more, when [`LEFT`] of them are to be left for the history.
    fn room(&self, setting: Setting) -> Result<u64> {
        let db = setting.options().open_on(Arc::new(self.disk()))?;
        let used = db.stats().end_lsn.get() % SEGMENT_BYTES;
        Ok(SEGMENT_BYTES.saturating_sub(used + LEFT))
    }

    /// A copy of the disk.
    #[must_use]
    pub fn disk(&self) -> SimDisk {
        self.disk.crash(&Survivors::All)
    }

    /// What is there.
    #[must_use]
    pub fn model(&self) -> Model {
        Model::new(self.state.clone())
    }

    /// Runs a history on a disk like the stage's, and says what must be there, from before the last step on (or, if
    /// there is none, or it is `whole`, before the database is opened), each time that changes.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn run(
        &self,
        history: &History,
        options: &Options,
        disk: Arc<dyn Disk>,
        watch: &dyn Watch,
        whole: bool,
    ) -> Result<()> {
        let Some((last, before)) = history.0.split_last() else {
            watch.expect(self.model().expected());
            drop(self.open(options, disk)?);
            watch.end();
            return Ok(());
        };
        if whole {
            watch.expect(self.model().expected());
        }
        let mut world = self.open(options, disk)?;
        for step in before {
            watch.step(*step);
            world.take(*step, &|expected| {
                if whole {
                    watch.expect(expected);
                }
            })?;
            world.tell_claims(watch);
        }
        watch.expect(world.expected());
        watch.step(*last);
        world.take(*last, &|expected| watch.expect(expected))?;
        world.tell_claims(watch);
        watch.end();
        Ok(())
    }

    /// Opens the database.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn open(&self, options: &Options, disk: Arc<dyn Disk>) -> Result<World> {
        World::new(options.open_on(disk)?, self.pages.clone(), self.model())
    }
}
