// How things are called and written: log positions, pages, transactions, values, and the kinds of log records with
// their short codes. Terms are those of the paper (Mohan et al., ARIES, 1992).

// A log position: plain digits, "nil" where there is none, and a question mark where it was not told.
export function lsnText(lsn) {
  if (lsn === undefined) return "?";
  return lsn === null ? "nil" : String(lsn);
}

// Pages and transactions may be numbers or names already.
export function pageText(page) {
  return typeof page === "number" ? `P${page}` : String(page ?? "");
}

export function txnText(txn) {
  return typeof txn === "number" ? `T${txn}` : String(txn ?? "");
}

// Words of the engine write log positions with twelve digits, and rec_lsn: fewer digits are easier to compare on a
// projector, and the paper writes recLSN.
export function plainWords(words) {
  return String(words ?? "").replace(/\b0{3,}(\d+)\b/g, "$1").replaceAll("rec_lsn", "recLSN");
}

// A script has names of its own for transactions and records: { txn, record }, Maps from a number of the engine to the
// name. They are written in ‹ ›, so that nobody takes one for the engine's.
export const NO_NAMES = { txn: new Map(), record: new Map() };
export const NAMES_HINT = "T1 and #0 in a script are its own names: #0 is the first log record behind fill. The engine counts all "
  + "transactions, and fill was its T1; a record it calls by its LSN. Where both are known, the view shows T2 ‹T1› and 6176 ‹#0›.";

export function namedTxn(txn, names) {
  const name = names.txn.get(Number(String(txn ?? NaN).replace(/^T/, "")));
  return name === undefined ? txnText(txn) : `${txnText(txn)} ‹${name}›`;
}

export function namedLsn(lsn, names) {
  return names.record.has(lsn) ? `${lsnText(lsn)} ‹${names.record.get(lsn)}›` : lsnText(lsn);
}

// Words of the engine with the script's name behind each transaction; what stands in quotes is somebody's data.
export function namedWords(words, names) {
  return String(words).split(/("[^"]*")/).map((part, at) =>
    (at % 2 === 1 ? part : part.replace(/\bT\d+\b/g, (txn) => namedTxn(txn, names)))).join("");
}

// The name of an event, whether it is written PageDirty or page_dirty.
export function eventName(event) {
  return String(event?.event ?? "").replace(/([a-z])([A-Z])/g, "$1_$2").toLowerCase();
}

// Any JSON value in one line; text without its quotes.
export function valueText(value) {
  return typeof value === "string" ? value : JSON.stringify(value) ?? "";
}

export function counted(count, what) {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

export function bytesText(bytes) {
  if (bytes < 10000) return counted(bytes, "byte");
  return bytes < 1e7 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`;
}

const STATES = { active: "active", prepared: "in doubt", rolling_back: "rolling back", committing: "committing" };

export function stateText(state) {
  return STATES[state] ?? String(state ?? "");
}

// For each kind of record: a short code for the tape, the family that colours it, and what it is.
const KINDS = {
  Update: ["UPD", "update", "update: changes a page, can be redone and undone"],
  KeyChange: ["KEY", "update", "key change: one key of a table, can be redone and undone"],
  Compensation: ["CLR", "clr", "compensation log record: redo only, tells what an undo did"],
  Commit: ["COM", "commit", "commit: the transaction has won once this is durable"],
  End: ["END", "commit", "end: nothing is left to do for the transaction"],
  Prepare: ["PRE", "prepare", "prepare: in doubt until the coordinator decides"],
  Rollback: ["ROL", "rollback", "rollback: the transaction is being undone"],
  NestedTopActionEnd: ["NTA", "clr", "dummy CLR: undo passes by the nested top action"],
  BeginCheckpoint: ["BCK", "checkpoint", "begin_chkpt: the master record will point here"],
  EndCheckpoint: ["ECK", "checkpoint", "end_chkpt: holds the dirty page table and the transaction table"],
  Restart: ["RST", "restart", "restart: a new run begins"],
  StructureChange: ["SMO", "update", "structure change of a tree: all or nothing"],
  PageImage: ["IMG", "other", "image of a whole page"],
  Filler: ["···", "other", "filler: says nothing"],
};

// { code, family, meaning } of a kind of record, also of one that this page has not heard of.
export function kindOf(kind) {
  const [code, family, meaning] = KINDS[kind] ?? [String(kind ?? "?").slice(0, 3).toUpperCase(), "other", String(kind)];
  return { code, family, meaning };
}

// The markers of the tape, in the order of their rows. The letter stands beside the colour.
export const MARKERS = [
  { key: "flushed", glyph: "F", label: "flushed LSN", meaning: "all records to the left of it are on stable storage" },
  { key: "master", glyph: "M", label: "master record", meaning: "the last complete checkpoint: analysis begins here" },
  { key: "redo", glyph: "R", label: "redo LSN", meaning: "the smallest recLSN: redo would begin here" },
  { key: "oldest", glyph: "O", label: "oldest required", meaning: "nobody needs the log before it" },
];

// Bytes given as hexadecimal digits, sixteen in a line: offset, bytes, and the characters they might be.
export function hexLines(hex) {
  const bytes = String(hex ?? "").match(/[0-9a-fA-F]{2}/g) ?? [];
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = bytes.slice(at, at + 16);
    const shown = row.map((byte) => {
      const code = parseInt(byte, 16);
      return code >= 32 && code < 127 ? String.fromCharCode(code) : ".";
    });
    const halves = `${row.slice(0, 8).join(" ")}  ${row.slice(8).join(" ")}`;
    lines.push(`${at.toString(16).padStart(4, "0")}  ${halves.padEnd(49)} ${shown.join("")}`);
  }
  return lines.join("\n");
}
