//! What tables take, and what is wrong with them, as `stats` and `verify` tell it.

use serde_json::{Value, json};

use super::output::{lines, table};
use super::rows::readable;
use crate::btree::TreeReport;
use crate::db::TablesReport;
use crate::ids::PageId;

/// The fields of a table in JSON, for `--help`.
pub const TREE_SHAPE: &str = "\
name, height (levels, that of the leaves included), leaves, inner, overflow (pages of each kind),
               cells, ghosts (deleted cells that are still there), used_bytes, leaf_bytes (what cells
               take of the leaves, and could take)";

/// How full the leaves are, in percent; 0 where there are none.
fn fill(tree: &TreeReport) -> u64 {
    tree.used_bytes.saturating_mul(100).checked_div(tree.leaf_bytes).unwrap_or_default()
}

/// What each table takes, a line each.
pub fn sizes(report: &TablesReport) -> String {
    let header = ["table", "height", "leaves", "inner", "overflow", "cells", "ghosts", "fill"];
    let mut rows = table(header);
    for (name, tree) in &report.tables {
        let numbers = [tree.leaves, tree.inner, tree.overflow, tree.cells, tree.ghosts];
        let [leaves, inner, overflow, cells, ghosts] = numbers.map(|number| number.to_string());
        let (name, height) = (readable(name.as_bytes()), tree.height.to_string());
        let fill = format!("{} %", fill(tree));
        rows.add_row([name, height, leaves, inner, overflow, cells, ghosts, fill]);
    }
    lines(&rows)
}

/// What a table takes, as JSON.
pub fn size(name: &str, tree: &TreeReport) -> Value {
    json!({
        "name": name,
        "height": tree.height,
        "leaves": tree.leaves,
        "inner": tree.inner,
        "overflow": tree.overflow,
        "cells": tree.cells,
        "ghosts": tree.ghosts,
        "used_bytes": tree.used_bytes,
        "leaf_bytes": tree.leaf_bytes,
    })
}

/// All that is wrong, each with its page if it has one.
pub fn faults(report: &TablesReport) -> Vec<(Option<PageId>, String)> {
    let catalog = report.catalog.iter().map(|tree| ("the catalog of tables".to_owned(), tree));
    let tables = report
        .tables
        .iter()
        .map(|(name, tree)| (format!("table {}", readable(name.as_bytes())), tree));
    let mut faults = Vec::new();
    for (name, tree) in catalog.chain(tables) {
        let told = tree.faults.iter();
        faults.extend(told.map(|(page, fault)| (Some(*page), format!("{name}: {fault}"))));
        let more = (tree.untold > 0).then(|| format!("{name}: {} more faults", tree.untold));
        faults.extend(more.map(|more| (None, more)));
    }
    faults.extend(report.misplaced.iter().map(|(page, fault)| (Some(*page), fault.clone())));
    let orphans = report.orphans.iter().flatten();
    faults.extend(
        orphans.map(|page| (Some(*page), "a page of a table that belongs to none".to_owned())),
    );
    faults
}

/// What the tables take, and what is wrong with them, as JSON.
pub fn to_json(report: &TablesReport) -> Value {
    let fault = |(page, fault): (Option<PageId>, String)| json!({ "page": page.map(|page| page.0), "fault": fault });
    json!({
        "sound": report.is_sound(),
        "tables": report.tables.iter().map(|(name, tree)| size(name, tree)).collect::<Vec<_>>(),
        "faults": faults(report).into_iter().map(fault).collect::<Vec<_>>(),
        "orphans_judged": report.orphans.is_some(),
    })
}
