//! Whether the tables are sound, and every page belongs to one of them, or is free, or holds records of its own.

use std::collections::{BTreeMap, HashSet};

use super::tables::Table;
use super::{Db, Shared};
use crate::btree::{TreeReport, check_tree, each_value};
use crate::error::Result;
use crate::ids::{BuildNumberHasher, PageId};
use crate::lock::{LockName, Mode};
use crate::page::{self, PageKind, PageState, space_map};

/// More pages are counted, not told.
const MOST_TOLD: usize = 100;

/// What the tables take, and what is wrong with them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TablesReport {
    /// The catalog, if there is one.
    pub catalog: Option<TreeReport>,
    /// Each table, by name.
    pub tables: BTreeMap<String, TreeReport>,
    /// Pages that belong to two tables, or to one although the space map calls them free.
    pub misplaced: Vec<(PageId, String)>,
    /// Pages of tables or of long values that belong to nothing; `None` where that could not be told, for
    /// transactions were under way.
    pub orphans: Option<Vec<PageId>>,
}

impl TablesReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let mut trees = self.catalog.iter().chain(self.tables.values());
        trees.all(|tree| tree.faults.is_empty())
            && self.misplaced.is_empty()
            && self.orphans.as_ref().is_none_or(Vec::is_empty)
    }
}

/// What was found of one table.
struct Checked {
    report: TreeReport,
    /// Its pages, and what the space map says of each.
    pages: Vec<(PageId, Option<PageState>)>,
}

type Owned = HashSet<PageId, BuildNumberHasher>;

impl TablesReport {
    /// Takes down what was found of a table, and of its pages.
    fn take(&mut self, checked: Checked, owned: &mut Owned) -> TreeReport {
        for (page, state) in checked.pages {
            let fault = match state {
                _ if !owned.insert(page) => "it belongs to two tables",
                Some(PageState::Free) => "it belongs to a table, and is free",
                None => "it belongs to a table, and is beyond the end of the file",
                Some(_) => continue,
            };
            if self.misplaced.len() < MOST_TOLD {
                self.misplaced.push((page, fault.to_owned()));
            }
        }
        checked.report
    }
}

impl Db {
    /// Looks at all tables, one after the other: whether each tree is sound, and each page belongs to one of them, or to
    /// none. Whoever has locked a table whole, to load it, say, is waited for.
    ///
    /// Structure changes of the one that is looked at wait meanwhile, and who would drop it; nobody else.
    ///
    /// # Errors
    /// [`Closed`](crate::Error::Closed), [`Poisoned`](crate::Error::Poisoned); those of reading. What is wrong is no error, but reported.
    pub fn verify_tables(&self) -> Result<TablesReport> {
        self.shared.check_open()?;
        let mut report = TablesReport::default();
        let before = self.shared.quiet_at();
        let mut owned = Owned::default();
        if let Some(catalog) = self.shared.catalog()? {
            let checked = self.shared.check_table(&catalog)?;
            report.catalog = Some(report.take(checked, &mut owned));
            for listed in self.shared.listed(&catalog)? {
                if let Some(checked) = self.check_named(listed.name())? {
                    let tree = report.take(checked, &mut owned);
                    report.tables.insert(listed.name().to_owned(), tree);
                }
            }
        }
        let orphans = self.shared.orphans(&owned)?;
        // Whoever allocates a page lets it belong to something a moment later.
        let is_quiet = before.is_some() && before == self.shared.quiet_at();
        report.orphans = is_quiet.then_some(orphans);
        Ok(report)
    }

    /// Looks at the table of this name, locked so that it stays; `None` if it has gone.
    fn check_named(&self, name: &str) -> Result<Option<Checked>> {
        self.transact(|txn| {
            let Some(table) = self.shared.look_up(txn, name)? else { return Ok(None) };
            txn.lock(LockName::Table(table.root()), Mode::IntentionShared)?;
            self.shared.check_table(&table).map(Some)
        })
    }
}

impl Shared {
    /// Visits all cells of all tables as they are at this moment, without locks.
    pub(super) fn each_cell(&self, visit: &mut dyn FnMut(&[u8], Vec<u8>)) -> Result<()> {
        let Some(catalog) = self.catalog()? else { return Ok(()) };
        let pool = self.engine.transactions.pool();
        self.listed(&catalog)?.iter().try_for_each(|table| each_value(pool, &table.0.tree, visit))
    }

    /// Where the log ends, if no transaction under way has logged anything.
    fn quiet_at(&self) -> Option<u64> {
        let end = self.engine.transactions.log().end_lsn().get();
        self.engine.transactions.logged().is_empty().then_some(end)
    }

    fn check_table(&self, table: &Table) -> Result<Checked> {
        let mut pages = Vec::new();
        let pool = self.engine.transactions.pool();
        let report = check_tree(pool, &table.0.tree, &mut |page| pages.push(page))?;
        let state = |page| Ok((page, self.engine.space.state(page)?));
        let pages = pages.into_iter().map(state).collect::<Result<_>>()?;
        Ok(Checked { report, pages })
    }

    /// Pages in use that look as if they belonged to a table, and do not.
    fn orphans(&self, owned: &Owned) -> Result<Vec<PageId>> {
        let pool = self.engine.transactions.pool();
        let mut orphans = Vec::new();
        for page in (0..pool.pages()).map(PageId) {
            let is_map = space_map::is_map_page(page, pool.page_size());
            if is_map || owned.contains(&page) || orphans.len() >= MOST_TOLD {
                continue;
            }
            if self.engine.space.state(page)? == Some(PageState::Used) {
                let guard = pool.fix_read(page)?;
                let kind = page::kind(guard.bytes());
                orphans.extend(
                    matches!(kind, Some(PageKind::Tree | PageKind::Overflow)).then_some(page),
                );
            }
        }
        Ok(orphans)
    }
}
