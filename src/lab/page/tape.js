// The log as a tape: a box for each record, arcs above for prevLSN, dashed arcs below for undoNextLSN, and flags for
// the positions that matter. The same tape shows the live log and each step of a recorded run.
//
//        .--prevLSN--.
//       v            |
//    [UPD T1]     [CLR T1]  | [UPD T2]      dashed boxes: only in memory
//                     :.....|......>  undoNextLSN
//                           F flushed LSN

import { el, svg, put, scrollInto } from "./dom.js";
import { MARKERS, NO_NAMES, kindOf, namedLsn, namedTxn, pageText, plainWords } from "./terms.js";

const BOX_WIDTH = 90;
const BOX_HEIGHT = 66;
const STEP = BOX_WIDTH + 10;
const ARC_ROOM = 48;
const UNDO_ROOM = 44;
const FLAG_HEIGHT = 21;
const LEFT = 34;

// A long log is drawn in part: so many records, beginning at a multiple of WINDOW_STEP, so that it rarely shifts.
const MOST_RECORDS = 120;
const WINDOW_STEP = 40;

// Arcs over more records than this are drawn as stubs, unless the step is about them: many would be a thicket.
const LONGEST_ARC = 12 * STEP;

// Each tape has arrow heads of its own: heads in a hidden view would not be drawn.
let tapesMade = 0;

// Makes a tape; onSelect(record) is called when a record is clicked, or chosen with Enter.
export function makeTape(onSelect) {
  const scroller = el("div", { class: "tape-scroller", role: "group", "aria-label": "The log, a box for each record" });
  const root = el("div", { class: "tape" }, scroller);
  const heads = `tape-${++tapesMade}`;
  let records = [];

  scroller.addEventListener("keydown", (event) => {
    const box = event.target.closest?.(".record");
    if (!box) return;
    const boxes = [...scroller.querySelectorAll(".record")];
    const at = boxes.indexOf(box);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: boxes.length - 1 }[event.key];
    if (event.key === "Enter" || event.key === " ") onSelect(records[at]);
    else if (to === undefined) return;
    else boxes[Math.min(boxes.length - 1, Math.max(0, to))].focus();
    event.preventDefault();
    event.stopPropagation();
  });

  // Draws: records in the order of their LSNs; markers { flushed, master, redo, oldest }; the LSN that the step is
  // about; other LSNs with a word about each; the LSN whose details are shown; LSNs lost in a crash; names of a script.
  function show({ records: all, markers = {}, current = null, noted = new Map(), selected = null, lost = new Set(), names = NO_NAMES }) {
    const focused = scroller.contains(document.activeElement) ? document.activeElement.dataset.lsn : null;
    const about = all.findIndex((record) => record.lsn === current);
    const focus = about < 0 ? all.length - 1 : about;
    const start = Math.max(0, Math.floor((focus - MOST_RECORDS / 2) / WINDOW_STEP) * WINDOW_STEP);
    records = all.slice(start, start + MOST_RECORDS);
    const hidden = { before: start, behind: all.length - start - records.length };
    const places = new Map(records.map((record, at) => [record.lsn, LEFT + at * STEP]));
    // One record can be reached with Tab, the others from there with the arrow keys.
    const stop = [Number(focused ?? NaN), selected, current].find((lsn) => places.has(lsn)) ?? records.at(-1)?.lsn;
    put(scroller, drawTape({ records, places, markers, current, noted, selected, lost, names, onSelect, heads, stop, hidden }));
    if (focused !== null) scroller.querySelector(`.record[data-lsn="${CSS.escape(focused)}"]`)?.focus();
  }

  function reveal(lsn) {
    const at = records.findIndex((record) => record.lsn === lsn);
    if (at >= 0) scrollInto(scroller, LEFT + at * STEP, LEFT + at * STEP + BOX_WIDTH);
  }

  function revealEnd() {
    scroller.scrollLeft = scroller.scrollWidth;
  }

  return { root, legend: tapeLegend(), show, reveal, revealEnd };
}

function drawTape(tape) {
  const { records, places, markers, current, hidden } = tape;
  const flags = MARKERS.filter(({ key }) => typeof markers[key] === "number");
  const width = Math.max(340, LEFT + records.length * STEP + (hidden.behind > 0 ? 130 : 30));
  const height = ARC_ROOM + BOX_HEIGHT + UNDO_ROOM + flags.length * FLAG_HEIGHT + 8;
  const drawing = svg("svg", { class: "tape-drawing", width, height, viewBox: `0 0 ${width} ${height}` });
  drawing.append(arrowHeads(tape.heads));
  if (typeof markers.flushed === "number" && records.length > 0) {
    const from = placeOf(records, markers.flushed);
    drawing.append(svg("rect", { class: "only-memory", x: from, y: ARC_ROOM - 10,
      width: Math.max(0, LEFT + records.length * STEP - 8 - from), height: BOX_HEIGHT + 20, rx: 6 }));
  }
  const strong = [];
  for (const record of records) {
    for (const arc of [prevArc(record, tape), undoArc(record, tape)]) {
      if (arc === null) continue;
      if (record.lsn === current) {
        arc.classList.add("strong");
        strong.push(arc);
      } else drawing.append(arc);
    }
  }
  flags.forEach((flag, row) => drawing.append(drawFlag(flag, records, markers[flag.key], row, width)));
  for (const record of records) drawing.append(drawRecord(record, places.get(record.lsn), tape));
  drawing.append(...strong);
  if (hidden.before > 0) drawing.append(svg("text", { class: "empty", x: 6, y: 14 }, `← ${hidden.before} before these`));
  if (hidden.behind > 0) drawing.append(svg("text", { class: "empty", x: width - 128, y: ARC_ROOM + 38 }, `${hidden.behind} behind →`));
  if (records.length === 0) {
    drawing.append(svg("text", { class: "empty", x: LEFT, y: ARC_ROOM + 36 }, "The log holds no records here."));
  }
  return drawing;
}

function drawRecord(record, x, { current, noted, selected, lost, names, markers, onSelect, stop }) {
  const { code, family, meaning } = kindOf(record.kind);
  const unforced = typeof markers.flushed === "number" && record.lsn >= markers.flushed;
  const classes = ["record", `kind-${family}`, unforced && "unforced", lost.has(record.lsn) && "lost",
    record.lsn === current && "current", noted.has(record.lsn) && "noted", record.lsn === selected && "selected"];
  const who = [namedTxn(record.txn, names).replace(" ", ""), ...(record.pages ?? []).slice(0, 1).map(pageText)].filter(Boolean).join(" ")
    + ((record.pages?.length ?? 0) > 1 ? "+" : "");
  const label = [`record ${namedLsn(record.lsn, names)}, ${record.kind}`, namedTxn(record.txn, names), (record.pages ?? []).map(pageText).join(" "),
    unforced && "only in memory", lost.has(record.lsn) && "lost"].filter(Boolean).join(", ");
  const middle = x + BOX_WIDTH / 2;
  const word = lost.has(record.lsn) ? "lost" : noted.get(record.lsn);
  return svg("g", { class: classes.filter(Boolean).join(" "), tabindex: record.lsn === stop ? 0 : -1, role: "button", "aria-label": label,
    "data-lsn": record.lsn, onclick: () => onSelect(record) },
    svg("title", null, `${meaning}\n${plainWords(record.words)}`),
    svg("rect", { class: "box", x, y: ARC_ROOM, width: BOX_WIDTH, height: BOX_HEIGHT, rx: 7 }),
    svg("text", { class: "code", x: middle, y: ARC_ROOM + 23 }, code),
    svg("text", { class: "who", x: middle, y: ARC_ROOM + 41 }, who.length > 12 ? `${who.slice(0, 11)}…` : who),
    svg("text", { class: "lsn", x: middle, y: ARC_ROOM + 58 }, namedLsn(record.lsn, names).replace(" ", "")),
    lost.has(record.lsn) && svg("path", { class: "strike",
      d: `M${x + 4} ${ARC_ROOM + BOX_HEIGHT - 4}L${x + BOX_WIDTH - 4} ${ARC_ROOM + 4}` }),
    word && svg("text", { class: `word ${word.length < 6 ? "short" : ""}`, x: word.length < 6 ? x + 3 : middle,
      y: ARC_ROOM + BOX_HEIGHT + 16 }, word));
}

// From the top of the record to the top of the one before it of the same transaction.
function prevArc(record, { places, heads, current }) {
  if (typeof record.prev_lsn !== "number") return null;
  const from = places.get(record.lsn) + BOX_WIDTH / 2 - 12;
  const target = places.get(record.prev_lsn);
  const to = target === undefined ? 8 : target + BOX_WIDTH / 2 + 12;
  if (from - to > LONGEST_ARC && record.lsn !== current) return stub("prev", from, ARC_ROOM, -20);
  const height = ARC_ROOM - 8 - rise(from - to, ARC_ROOM - 18);
  return svg("path", { class: "arc prev", "marker-end": `url(#${heads}-prev)`,
    d: `M${from} ${ARC_ROOM}C${from} ${height} ${to} ${height} ${to} ${ARC_ROOM - 4}` });
}

// From the bottom of a CLR to the record that undo goes on with; a stub that says nil where nothing is left.
function undoArc(record, { places, heads, current }) {
  if (record.undo_next_lsn === undefined || kindOf(record.kind).family !== "clr") return null;
  const bottom = ARC_ROOM + BOX_HEIGHT;
  const from = places.get(record.lsn) + BOX_WIDTH / 2 - 12;
  if (record.undo_next_lsn === null) {
    return svg("g", { class: "arc undo" },
      svg("path", { d: `M${from} ${bottom}V${bottom + 24}`, "marker-end": `url(#${heads}-undo)` }),
      svg("text", { x: from - 6, y: bottom + 42 }, "nil"));
  }
  const target = places.get(record.undo_next_lsn);
  const to = target === undefined ? 8 : target + BOX_WIDTH / 2 + 12;
  if (from - to > LONGEST_ARC && record.lsn !== current) return stub("undo", from, bottom, 20);
  const depth = bottom + 10 + rise(from - to, UNDO_ROOM - 6);
  return svg("path", { class: "arc undo", "marker-end": `url(#${heads}-undo)`,
    d: `M${from} ${bottom}C${from} ${depth} ${to} ${depth} ${to} ${bottom + 4}` });
}

// The beginning of an arc that leads far away, to the left.
function stub(kind, from, y, bend) {
  return svg("path", { class: `arc ${kind} stub`, d: `M${from} ${y}c0 ${bend} -6 ${bend} -34 ${bend}` });
}

// How far an arc bends: more for a longer way, but never out of its room.
function rise(distance, most) {
  return Math.min(most, 14 + Math.abs(distance) / 12);
}

// Where on the tape a position is: at the left of the first record that is not before it.
function placeOf(records, lsn) {
  const at = records.findIndex((record) => record.lsn >= lsn);
  return LEFT + (at < 0 ? records.length : at) * STEP - 8;
}

function drawFlag({ key, glyph, label, meaning }, records, lsn, row, width) {
  const x = placeOf(records, lsn);
  const y = ARC_ROOM + BOX_HEIGHT + UNDO_ROOM + row * FLAG_HEIGHT;
  const before = records.length > 0 && lsn < records[0].lsn;
  const words = `${label} ${lsn}${before ? " (before these)" : ""}`;
  const left = width - x < words.length * 8.4 + 20;
  return svg("g", { class: `flag flag-${key}` },
    svg("title", null, `${label}: ${meaning}`),
    svg("path", { class: "pole", d: `M${x} ${ARC_ROOM - 14}V${y + FLAG_HEIGHT - 4}` }),
    svg("rect", { class: "letter-box", x: x - 9, y: y + 2, width: 18, height: 18, rx: 3 }),
    svg("text", { class: "letter", x, y: y + 16 }, glyph),
    svg("text", { class: `flag-words ${left ? "at-left" : ""}`, x: left ? x - 14 : x + 14, y: y + 16 }, words));
}

function arrowHeads(heads) {
  const head = (name) => svg("marker", { id: `${heads}-${name}`, class: `head ${name}`, viewBox: "0 0 8 8", refX: 6, refY: 4,
    markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, svg("path", { d: "M0 0L8 4L0 8Z" }));
  return svg("defs", null, head("prev"), head("undo"));
}

function tapeLegend() {
  const line = (kind) => svg("svg", { class: "legend-line", width: 34, height: 10, viewBox: "0 0 34 10", "aria-hidden": "true" },
    svg("path", { class: `arc ${kind}`, d: "M2 5H32" }));
  const codes = ["Update", "KeyChange", "Compensation", "Commit", "End", "Rollback", "BeginCheckpoint", "EndCheckpoint", "Restart"];
  return el("div", { class: "legend" },
    el("span", null, line("prev"), " prevLSN"), el("span", null, line("undo"), " undoNextLSN"),
    el("span", null, el("i", { class: "dashed-box" }), " only in memory"),
    codes.map((kind) => el("span", { class: `kind-${kindOf(kind).family}`, title: kindOf(kind).meaning },
      el("b", { class: "code-chip" }, kindOf(kind).code), ` ${kind}`)));
}
