//! Statements about tables: making and dropping them, and what of them is shown.
//!
//! ```text
//!   show table accounts        accounts alice="100"              the cells, in the order of their keys
//!   show tree accounts         level 1  P18: P19 m P20           the nodes, from the root down
//!                              level 0  P19: alice (bob)
//! ```
//!
//! - What is shown is read without locks: it is how things are, ghosts and what has not committed included.
//! - A transaction under way keeps nobody from making or dropping a table for longer than it takes: no statement of this
//!   file waits for one.
//! - However damaged the pages are, each is looked at once.

use std::collections::HashSet;

use super::arguments::Arguments;
use super::session::{Session, refused};
use super::syntax::SyntaxError;
use super::told;
use crate::btree::TreeReport;
use crate::db::{Db, Table};
use crate::error::{Error, Place, Result};
use crate::ids::PageId;
use crate::page::tree::{self, Node};

/// What `scan` goes through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// The table.
    pub table: String,
    /// The first key.
    pub from: Option<String>,
    /// The first key that is not meant any more.
    pub to: Option<String>,
    /// Whether the last key comes first.
    pub backwards: bool,
}

impl Range {
    /// Reads what stands behind `scan`.
    pub(super) fn parse(rest: &mut Arguments<'_>) -> std::result::Result<Self, SyntaxError> {
        Ok(Self {
            table: rest.text("a table")?,
            from: rest.keyed_text("from"),
            to: rest.keyed_text("to"),
            backwards: rest.optional_choice("backwards", &[("backwards", ())])?.is_some(),
        })
    }
}

impl Session {
    /// The table of this name.
    pub(super) fn table(&mut self, name: &str) -> Result<Table> {
        match self.db()?.open_table(name)? {
            Some(table) => Ok(table),
            None => {
                let shown = told::word(name.as_bytes());
                refused(format!("there is no table {shown}: `table {shown}` makes it"))
            }
        }
    }

    pub(super) fn make_table(&mut self, name: &str) -> Result<()> {
        self.db()?.table(name).map(drop)
    }

    pub(super) fn drop_table(&mut self, name: &str) -> Result<()> {
        self.table(name)?;
        self.db()?.drop_table(name)
    }

    pub(super) fn tables(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for name in self.db()?.tables()? {
            let root = self.table(&name)?.root();
            lines.push(format!("{} root={root}", told::word(name.as_bytes())));
        }
        Ok(lines)
    }

    /// All cells, leaf by leaf.
    pub(super) fn cells(&mut self, name: &str) -> Result<Vec<String>> {
        let table = self.table(name)?;
        let (db, name) = (self.db()?, told::word(name.as_bytes()));
        let mut lines = Vec::new();
        each_node(&db, &table, |page, _, bytes| {
            if !matches!(tree::node(bytes), Some(Node::Leaf { .. })) {
                return Ok(());
            }
            for slot in tree::FIRST_CELL..tree::slot_count(bytes) {
                let cell = tree::leaf(bytes, slot).ok_or_else(|| unsound(page))?;
                let (key, value) = (told::word(cell.key), told::value(&cell.value));
                let deleted = if cell.is_ghost { " deleted" } else { "" };
                lines.push(format!("{name} {key}={value}{deleted}"));
            }
            Ok(())
        })?;
        Ok(lines)
    }

    /// All nodes, level by level.
    pub(super) fn nodes(&mut self, name: &str) -> Result<Vec<String>> {
        let table = self.table(name)?;
        let db = self.db()?;
        let mut lines = Vec::new();
        each_node(&db, &table, |page, level, bytes| {
            let node = told::node(bytes).ok_or_else(|| unsound(page))?;
            lines.push(format!("level {level} {page}: {node}").trim_end().to_owned());
            Ok(())
        })?;
        Ok(lines)
    }

    pub(super) fn verify_tables(&mut self) -> Result<String> {
        let report = self.db()?.verify_tables()?;
        let mut lines = Vec::new();
        for (name, tree) in &report.tables {
            let name = told::word(name.as_bytes());
            lines.push(format!("{name}: {}", sums(tree)));
            lines.extend(faults(&name, tree));
        }
        lines.extend(report.catalog.iter().flat_map(|tree| faults("the catalog", tree)));
        let misplaced = report.misplaced.iter();
        lines.extend(misplaced.map(|(page, fault)| format!("WRONG: {page}: {fault}")));
        let orphans = report.orphans.iter().flatten();
        lines.extend(orphans.map(|page| format!("WRONG: {page} belongs to no table")));
        if report.orphans.is_none() {
            let why = "transactions are under way that have changed something";
            lines.push(format!("not judged: whether pages belong to no table, for {why}"));
        }
        lines.push(if report.is_sound() { "sound" } else { "not sound" }.to_owned());
        Ok(lines.into_iter().map(|line| line + "\n").collect())
    }
}

/// What a tree takes.
fn sums(tree: &TreeReport) -> String {
    let TreeReport { height, leaves, inner, overflow, cells, ghosts, .. } = tree;
    format!(
        "height={height} leaves={leaves} inner={inner} overflow={overflow} cells={cells} ghosts={ghosts}"
    )
}

fn faults(name: &str, tree: &TreeReport) -> Vec<String> {
    let told = tree.faults.iter().map(|(page, fault)| format!("WRONG: {name}, {page}: {fault}"));
    let more = (tree.untold > 0).then(|| format!("WRONG: {name}: {} more faults", tree.untold));
    told.chain(more).collect()
}

fn unsound(page: PageId) -> Error {
    let place = Place::Page { file: "pages".into(), page };
    Error::corrupt(place, "a node of a tree, met once", "something else")
}

/// Visits the nodes of a table's tree with their levels: the root, then those below it, each level from left to right.
fn each_node(
    db: &Db,
    table: &Table,
    mut visit: impl FnMut(PageId, u8, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut met = HashSet::from([table.root()]);
    let mut level = vec![table.root()];
    while !level.is_empty() {
        let mut below = Vec::new();
        for page in level {
            let guard = db.fix_page(page)?;
            let bytes = guard.bytes();
            let node = tree::node(bytes).ok_or_else(|| unsound(page))?;
            visit(page, node.level(), bytes)?;
            if let Node::Inner { first_child, .. } = node {
                let others = (tree::FIRST_CELL..tree::slot_count(bytes))
                    .map(|slot| tree::inner(bytes, slot).map(|(_, child)| child));
                for child in std::iter::once(Some(first_child)).chain(others) {
                    let child = child.ok_or_else(|| unsound(page))?;
                    if !met.insert(child) {
                        return Err(unsound(child));
                    }
                    below.push(child);
                }
            }
        }
        level = below;
    }
    Ok(())
}
