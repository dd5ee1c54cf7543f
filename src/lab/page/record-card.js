// One log record in full: its words, its fields under the paper's names, and its bytes.

import { el, put } from "./dom.js";
import { NO_NAMES, hexLines, kindOf, lsnText, namedLsn, namedTxn, pageText, plainWords } from "./terms.js";

// A card that is empty until show(record, hex) is called; a hex of null says that the bytes are not known. The bytes are
// folded away unless openBytes() was called or somebody unfolded them.
export function makeRecordCard() {
  const root = el("div", { class: "record-card" });
  const dump = el("pre", { class: "hex", tabindex: 0, "aria-label": "Bytes of the record" });
  const bytes = el("details", { class: "bytes" }, el("summary", null, "its bytes"), dump);

  function show(record, hex, note, names = NO_NAMES) {
    if (!record) {
      put(root, el("p", { class: "quiet" }, "Click a record of the tape for its words and its bytes."));
      return;
    }
    const { code, family, meaning } = kindOf(record.kind);
    const fields = [["LSN", namedLsn(record.lsn, names)], ["transaction", namedTxn(record.txn, names) || "none"],
      ["prevLSN", lsnText(record.prev_lsn)],
      ["pages", (record.pages ?? []).map(pageText).join(" ") || "none"], ["length", `${record.bytes ?? "?"} bytes`]];
    if (family === "clr") fields.splice(3, 0, ["undoNextLSN", lsnText(record.undo_next_lsn)]);
    dump.textContent = hexLines(hex);
    put(root,
      el("h4", { class: `kind-${family}` }, el("b", { class: "code-chip" }, code), ` ${record.kind} `,
        el("small", null, meaning)),
      el("p", { class: "record-words" }, plainWords(record.words)),
      el("dl", { class: "fields" }, fields.map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value)))),
      hex ? bytes : el("p", { class: "quiet" }, note ?? "Its bytes are not in this recording."));
  }

  show(null);
  return { root, show, openBytes: () => { bytes.open = true; } };
}
