// The comparison that decides an event, with the numbers of this very step. Each is { left, sign, right, verdict, tone },
// the sides being { name, value }, or null where words say enough. Why it decides so the engine says itself (event.why):
// a verdict does not repeat it.

import { eventName, lsnText, pageText, txnText } from "./terms.js";

// The explanation of a step, given the step before it.
export function explainStep(step, previous) {
  const event = step.event;
  switch (eventName(event)) {
    case "redone": return redone(event, previous);
    case "redo_skipped": return skipped(event, previous);
    case "page_written": return written(event, previous);
    case "page_dirty": return dirtied(event);
    case "rec_lsn_raised": return raised(event, previous);
    case "undone": return undone(event);
    case "undo_passed": return passed(event);
    case "transaction_noted": return noted(event);
    default: return null;
  }
}

const side = (name, value) => ({ name, value: lsnText(value) });

function pageBefore(page, previous) {
  return previous?.state.pages.find((candidate) => candidate.page === page);
}

// The pageLSN that redo compares: that of the page in the pool, if it is there, else on disk.
function pageLsnBefore(event, previous) {
  const page = pageBefore(event.page, previous);
  return page?.in_pool ? page.memory : page?.disk;
}

function redone(event, previous) {
  const pageLsn = pageLsnBefore(event, previous);
  return { left: side(`pageLSN of ${pageText(event.page)}`, pageLsn), sign: "<", right: side("LSN of the record", event.lsn),
    verdict: "REDO", tone: "do" };
}

function skipped(event, previous) {
  const recLsn = previous?.state.dirty_page_table.find(([page]) => page === event.page)?.[1];
  const record = side("LSN of the record", event.lsn);
  switch (event.reason) {
    case "page_not_dirty":
      return { left: { name: "dirty page table", value: `no ${pageText(event.page)}` }, sign: "→", right: record,
        verdict: "SKIP", tone: "skip" };
    case "below_rec_lsn":
      return { left: record, sign: "<", right: side(`recLSN of ${pageText(event.page)}`, recLsn),
        verdict: "SKIP", tone: "skip" };
    case "page_lsn_not_below":
      return { left: side(`pageLSN of ${pageText(event.page)}`, pageLsnBefore(event, previous)), sign: "≥", right: record,
        verdict: "SKIP", tone: "skip" };
    default:
      return { left: { name: pageText(event.page), value: "damaged" }, sign: "→", right: record,
        verdict: "SKIP: it will be rebuilt as a whole", tone: "skip" };
  }
}

function written(event, previous) {
  const flushed = previous?.state.flushed_lsn;
  if (typeof event.page_lsn !== "number" || typeof flushed !== "number") return null;
  const safe = event.page_lsn < flushed;
  return { left: side(`pageLSN of ${pageText(event.page)}`, event.page_lsn), sign: safe ? "<" : "≥", right: side("flushed LSN", flushed),
    verdict: safe ? "WRITE-AHEAD: its log reached the disk before the page does" : "the log of this change is not on the disk yet",
    tone: safe ? "do" : "skip" };
}

function dirtied(event) {
  const entry = { name: `recLSN of ${pageText(event.page)}`, value: lsnText(event.rec_lsn) };
  if (typeof event.replaced === "number" && event.replaced !== event.rec_lsn) {
    return { left: side("recLSN so far", event.replaced), sign: "→", right: entry,
      verdict: "the older one counts", tone: "note" };
  }
  const source = event.from_checkpoint ? { name: "the checkpoint", value: "has the page" }
    : { name: "the record", value: `changes ${pageText(event.page)}` };
  return { left: source, sign: "→", right: entry, verdict: "to the dirty page table", tone: "note" };
}

function raised(event, previous) {
  const recLsn = previous?.state.dirty_page_table.find(([page]) => page === event.page)?.[1];
  return { left: side(`recLSN of ${pageText(event.page)} so far`, recLsn), sign: "≤", right: side("its pageLSN on disk", event.page_lsn),
    verdict: "RAISED", tone: "note" };
}

function noted(event) {
  return { left: { name: "transaction", value: txnText(event.txn) }, sign: "→", right: side("undoNextLSN", event.undo_next_lsn),
    verdict: fateOf(event), tone: event.state === "committing" ? "do" : "note" };
}

// What analysis knows of a transaction so far; later records may tell more.
function fateOf({ state, undo_next_lsn: next }) {
  switch (state) {
    case "committing": return "committed";
    case "prepared": return "in doubt: it waits for its coordinator";
    case "rolling_back": return next === null ? "rolled back: only its end is missing so far" : "a loser: its rollback will go on there";
    default: return "a loser, unless its commit is still to come";
  }
}

function undone(event) {
  return { left: side("CLR", event.clr_lsn), sign: "→", right: side("undoNextLSN", event.undo_next_lsn),
    verdict: event.undo_next_lsn === null ? `UNDONE: nothing of ${txnText(event.txn)} is left to undo`
      : `UNDONE: record ${event.lsn}; after another crash undo would go on at ${lsnText(event.undo_next_lsn)}`, tone: "do" };
}

function passed(event) {
  return { left: side("record", event.lsn), sign: "→", right: side("undoNextLSN", event.undo_next_lsn),
    verdict: "PASSED OVER", tone: "skip" };
}
