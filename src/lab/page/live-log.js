// What lies under the store with the log, live: the end of the log as a tape, the buffer pool with both tables, curves.

import { ask } from "./api.js";
import { makeCurves } from "./curves.js";
import { el } from "./dom.js";
import { makeDirtyPageTable, makePageGrid, makeTransactionTable } from "./pages.js";
import { makeRecordCard } from "./record-card.js";
import { makeTape } from "./tape.js";

const RECORDS = 60;

// Makes the panels; refresh(stats) reads log and pool of the store at this address.
export function makeLiveLog(url) {
  const tape = makeTape(select);
  const card = makeRecordCard();
  const grid = makePageGrid();
  const dirty = makeDirtyPageTable();
  const transactions = makeTransactionTable();
  const curves = makeCurves();
  const follow = el("input", { type: "checkbox", checked: true });
  const root = el("div", { class: "live" },
    el("section", { class: "card log-card" },
      el("h2", null, "The log ", el("label", { class: "follow" }, follow, " follow its end")), tape.legend, tape.root, card.root),
    el("div", { class: "pool-row" },
      el("section", { class: "card grow" }, el("h2", null, "Buffer pool"), grid.root),
      el("section", { class: "card" }, dirty.root, transactions.root)),
    el("section", { class: "card" }, el("h2", null, "The last two minutes"), curves.root));
  let [log, selected, puts, drawn, shownPool] = [null, null, null, "", null];

  async function refresh(stats) {
    if (stats === null) {
      puts = null;
      return curves.gap();
    }
    try {
      const [newLog, pool] = await Promise.all([ask(url, `/admin/log?limit=${RECORDS}`), ask(url, "/admin/pool")]);
      log = newLog;
      draw();
      showPool(pool);
      addSample(stats);
    } catch {
      curves.gap();
    }
    return undefined;
  }

  function draw() {
    const state = JSON.stringify([log, selected?.lsn]);
    if (log === null || state === drawn) return;
    drawn = state;
    const { flushed_lsn: flushed, checkpoint_lsn: master, redo_lsn: redo, oldest_required_lsn: oldest } = log.markers;
    tape.show({ records: log.records, markers: { flushed, master, redo, oldest }, selected: selected?.lsn ?? null });
    if (follow.checked) tape.revealEnd();
  }

  function showPool({ pages, transaction_table: table }) {
    const json = JSON.stringify([pages, table]);
    // Marks of the last change stay for one poll, not for ever.
    if (json === shownPool?.json && !shownPool.marked) return;
    const now = pages.map((page) => ({ ...page, memory: page.page_lsn, disk: page.disk_page_lsn, in_pool: true }))
      .sort((a, b) => a.page - b.page);
    const dirtyRows = now.filter((page) => page.dirty).map((page) => [page.page, page.rec_lsn]);
    grid.show(now, shownPool?.now);
    dirty.show(dirtyRows, shownPool?.dirtyRows);
    transactions.show(table, shownPool?.table);
    shownPool = { json, marked: json !== shownPool?.json, now, dirtyRows, table };
  }

  function addSample(stats) {
    const time = performance.now();
    const since = puts === null || stats.changes < puts.count ? null : (time - puts.time) / 1000;
    const rate = since === null ? null : (stats.changes - puts.count) / Math.max(0.2, since);
    puts = { count: stats.changes, time };
    const { redo_lsn: redo, checkpoint_lsn: master, end_lsn: end } = log.markers;
    const begin = Math.min(...[redo, master].filter((lsn) => typeof lsn === "number"));
    curves.add({ puts: rate, log: stats.wal_size_bytes, dirty: stats.dirty_pages, window: Number.isFinite(begin) ? end - begin : null });
  }

  async function select(record) {
    selected = record;
    card.openBytes();
    follow.checked = false;
    draw();
    card.show(record, null, "Reading its bytes …");
    try {
      const answer = await ask(url, `/admin/log/${record.lsn}`);
      if (selected === record) card.show(answer.record, answer.hex);
    } catch (reason) {
      if (selected === record) card.show(record, null, `Its bytes cannot be read: ${reason.message}`);
    }
  }

  return { root, refresh };
}
