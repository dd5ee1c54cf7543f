// The buffer pool as a grid of pages, and beside it the two tables of the paper: the dirty page table and the
// transaction table. Given a state and the one before it, all three show what has changed.

import { el, put } from "./dom.js";
import { NO_NAMES, lsnText, namedTxn, pageText, stateText } from "./terms.js";

const MOST_PAGES = 48;

// Rows before and after, compared by key: each row of now with a mark, and rows that are gone at the end.
export function compareRows(before, now, keyOf) {
  const old = new Map((before ?? []).map((row) => [keyOf(row), row]));
  const rows = now.map((row) => {
    const was = old.get(keyOf(row));
    old.delete(keyOf(row));
    if (before === null || before === undefined) return { row, mark: "" };
    if (was === undefined) return { row, mark: "added" };
    return { row, was, mark: JSON.stringify(was) === JSON.stringify(row) ? "" : "changed" };
  });
  return [...rows, ...[...old.values()].map((row) => ({ row, mark: "removed" }))];
}

const SIGNS = { added: "+", changed: "≠", removed: "−", "": "" };

function makeTable(title, columns, emptyWords) {
  const body = el("tbody");
  const count = el("span", { class: "count" });
  const scroller = el("div", { class: "table-scroller" }, el("table", null,
    el("thead", null, el("tr", null, el("th", { class: "sign" }, el("span", { class: "hidden" }, "change")),
      columns.map((name) => el("th", { scope: "col" }, name)))),
    body));
  const root = el("section", { class: "table-box" }, el("h3", null, title, " ", count), scroller);

  // about(row) says whether this step is about the row: it is marked even if it has not changed.
  function show(compared, cellsOf, about = () => false) {
    count.textContent = String(compared.filter(({ mark }) => mark !== "removed").length);
    if (compared.length === 0) {
      put(body, el("tr", null, el("td"), el("td", { colspan: columns.length, class: "quiet" }, emptyWords)));
      return;
    }
    put(body, ...compared.map(({ row, was, mark }) => {
      const old = was && cellsOf(was);
      const marked = mark === "" && about(row);
      return el("tr", { class: marked ? "about" : mark }, el("td", { class: "sign" }, marked ? "▸" : SIGNS[mark]),
        cellsOf(row).map((cell, at) => el("td", null,
          mark === "changed" && old[at] !== cell && el("del", null, old[at]), " ", cell)));
    }));
    const change = body.querySelector(".added, .changed, .removed, .about");
    if (change) scroller.scrollTop = change.offsetTop - scroller.clientHeight / 2;
  }
  return { root, show };
}

// The dirty page table: rows are [page, recLSN].
export function makeDirtyPageTable() {
  const table = makeTable("Dirty page table", ["page", "recLSN"], "no page is dirty");
  return {
    root: table.root,
    show: (now, before, noted = new Set()) => table.show(compareRows(before, now, (row) => row[0]),
      ([page, recLsn]) => [pageText(page), lsnText(recLsn)], ([page]) => noted.has(page)),
  };
}

// The transaction table: rows are { txn, state, last_lsn, undo_next_lsn }.
export function makeTransactionTable() {
  const table = makeTable("Transaction table", ["transaction", "state", "lastLSN", "undoNextLSN"], "no transaction is under way");
  return {
    root: table.root,
    show: (now, before, noted = null, names = NO_NAMES) => table.show(compareRows(before, now, (row) => row.txn),
      ({ txn, state, last_lsn: last, undo_next_lsn: next }) => [namedTxn(txn, names), stateText(state), lsnText(last), lsnText(next)],
      ({ txn }) => noted !== null && txn === noted),
  };
}

// The grid. A page is { page, memory, in_pool, disk, rec_lsn, dirty, fixed }: memory and disk are pageLSNs.
export function makePageGrid() {
  const grid = el("div", { class: "page-grid" });
  const more = el("p", { class: "quiet" });
  const root = el("div", null, grid, more,
    el("p", { class: "legend" }, el("span", null, el("b", { class: "dirty-dot" }, "●"), " dirty: memory is ahead of the disk"),
      el("span", null, "○ clean"), el("span", null, "fixed 2: two threads are using the page now, so it must stay in memory")));

  function show(pages, before, noted = new Set()) {
    const first = pages.length <= MOST_PAGES ? pages
      : [...pages].sort((a, b) => rank(b, noted) - rank(a, noted)).slice(0, MOST_PAGES).sort((a, b) => a.page - b.page);
    const old = new Map((before ?? []).map((page) => [page.page, page]));
    put(grid, first.map((page) => drawPage(page, before ? old.get(page.page) : page, noted.has(page.page))));
    more.textContent = pages.length > first.length ? `and ${pages.length - first.length} more, clean ones last` : "";
    if (pages.length === 0) put(grid, el("p", { class: "quiet" }, "No page is in the pool."));
  }
  return { root, show };
}

// Which pages are shown where not all can be.
function rank(page, noted) {
  return (noted.has(page.page) ? 4 : 0) + (page.dirty ? 2 : 0) + (page.fixed > 0 ? 1 : 0);
}

function drawPage(page, was, noted) {
  const changed = (...names) => names.some((name) => was !== undefined && was[name] !== page[name]) ? "changed" : "";
  const classes = ["page", page.dirty && "dirty", !page.in_pool && "out", noted && "noted"].filter(Boolean).join(" ");
  const inMemory = page.in_pool ? lsnText(page.memory) : "not in pool";
  return el("div", { class: classes },
    el("div", { class: "page-head" }, el("b", null, pageText(page.page)),
      page.fixed > 0 && el("span", { class: "fixed", title: "so many threads are using it now: it must stay in memory" }, `fixed ${page.fixed}`),
      el("span", { class: page.dirty ? "dirty-dot" : "clean-dot" }, page.dirty ? "● dirty" : page.in_pool ? "○ clean" : "")),
    el("dl", null,
      el("div", { class: `memory ${changed("memory", "in_pool")}` }, el("dt", null, "memory"), el("dd", null, inMemory)),
      el("div", { class: `disk ${changed("disk", "damaged")}` }, el("dt", null, "disk"), el("dd", null, page.damaged ? "✗ damaged" : lsnText(page.disk))),
      el("div", { class: `rec ${changed("rec_lsn")}` }, el("dt", null, "recLSN"), el("dd", null, lsnOrDash(page.rec_lsn)))));
}

function lsnOrDash(lsn) {
  return lsn === null || lsn === undefined ? "–" : lsnText(lsn);
}
