//! Whether the tables are sound, and every page belongs to one of them, or is free, or holds records of its own.

use std::collections::{BTreeMap, HashSet};

use super::Shared;
use super::tables::Table;
use crate::btree::{TreeReport, check_tree, each_value};
use crate::error::Result;
use crate::ids::{BuildNumberHasher, PageId};
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

impl Shared {
    /// Looks at all tables. Structure changes of the one that is looked at wait meanwhile, nobody else.
    pub(super) fn check_tables(&self) -> Result<TablesReport> {
        let mut report = TablesReport::default();
        let before = self.quiet_at();
        let mut owned: HashSet<PageId, BuildNumberHasher> = HashSet::default();
        if let Some(catalog) = self.catalog()? {
            report.catalog = Some(self.check_table(&catalog, &mut owned, &mut report.misplaced)?);
            for table in self.listed(&catalog)? {
                let tree = self.check_table(&table, &mut owned, &mut report.misplaced)?;
                report.tables.insert(table.name().to_owned(), tree);
            }
        }
        let orphans = self.orphans(&owned)?;
        // Whoever allocates a page lets it belong to something a moment later.
        report.orphans = (before.is_some() && before == self.quiet_at()).then_some(orphans);
        Ok(report)
    }

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

    fn check_table(
        &self,
        table: &Table,
        owned: &mut HashSet<PageId, BuildNumberHasher>,
        misplaced: &mut Vec<(PageId, String)>,
    ) -> Result<TreeReport> {
        let mut pages = Vec::new();
        let pool = self.engine.transactions.pool();
        let report = check_tree(pool, &table.0.tree, &mut |page| pages.push(page))?;
        for page in pages {
            let state = self.engine.space.state(page)?;
            let fault = match state {
                _ if !owned.insert(page) => Some("it belongs to two tables".to_owned()),
                Some(PageState::Free) => Some("it belongs to a table, and is free".to_owned()),
                None => Some("it belongs to a table, and is beyond the end of the file".to_owned()),
                Some(_) => None,
            };
            if misplaced.len() < MOST_TOLD {
                misplaced.extend(fault.map(|fault| (page, fault)));
            }
        }
        Ok(report)
    }

    /// Pages in use that look as if they belonged to a table, and do not.
    fn orphans(&self, owned: &HashSet<PageId, BuildNumberHasher>) -> Result<Vec<PageId>> {
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
