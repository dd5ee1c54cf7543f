// What of the writes under way is on the disk after the crash: nothing, all, a random part, or what is clicked. The list of what was not
// synced is the server's, for the chosen place; sectors of a page stand side by side, so that one tears a page by clicking.
//
// The value is what the server takes for survivors: none, all, random:SEED, or chosen:0,2,5, numbers in the list.

import { button, el, put } from "./dom.js";
import { counted, pageText, plainWords } from "./terms.js";

// Strips longer than this are folded away, and drawn when somebody looks.
const LONGEST_STRIP = 64;

// Makes the choice; onRandom() is called when a random part is wanted: show() then brings it.
export function makeSurvivors(onRandom) {
  const seed = el("input", { type: "number", min: 0, value: 7, "aria-label": "Seed", onchange: () => { if (kind() === "random") onRandom(); } });
  const kinds = [["none", "nothing that was not synced"], ["all", "all of it"], ["random", "a random part, by this seed: "], ["chosen", "what is ticked below"]];
  const radios = kinds.map(([value, words]) => el("label", null,
    el("input", { type: "radio", name: "survivors", value, checked: value === "none", onchange: () => follow(value) }), ` ${words}`));
  radios[2].append(seed);
  const told = el("p", { class: "quiet", "aria-live": "polite" });
  const about = el("p", { class: "about-sector" });
  const legend = el("p", { class: "legend", hidden: true }, el("span", null, "✓ on the disk"), el("span", null, el("s", null, "lost")),
    el("span", null, "dotted: the bytes are those that the disk has already"));
  const lists = el("div", { class: "pending" });
  const root = el("fieldset", { class: "survivors" }, el("legend", null, "What survives on the disk of writes under way"), radios, told, lists, about, legend);
  let [pending, kept, boxes, wanted] = [[], [], new Map(), null];

  const kind = () => root.querySelector("input[name=survivors]:checked").value;
  const tick = (value) => { for (const radio of root.querySelectorAll("input[name=survivors]")) radio.checked = radio.value === value; };

  function value() {
    if (kind() === "random") return `random:${Math.max(0, Math.trunc(Number(seed.value)) || 0)}`;
    if (kind() !== "chosen") return kind();
    const numbers = kept.flatMap((survives, number) => (survives ? [number] : []));
    return wanted !== null ? `chosen:${wanted.join(",")}` : `chosen:${numbers.join(",")}`;
  }

  // What a link says; numbers wait for the list that they are of.
  function set(survivors) {
    const [name, rest] = String(survivors).split(":");
    tick(kinds.some(([known]) => known === name) ? name : "none");
    if (name === "random" && rest !== undefined) seed.value = rest;
    wanted = name === "chosen" ? (rest ?? "").split(",").filter(Boolean).map(Number) : null;
  }

  // Another place: numbers of the list before mean nothing in its own.
  function forget(words = "") {
    if (kind() === "chosen" && wanted === null) tick("none");
    [pending, kept, boxes] = [[], [], new Map()];
    told.textContent = words;
    about.textContent = "";
    put(lists);
    legend.hidden = true;
  }

  // Another script.
  function clear() {
    wanted = null;
    forget();
  }

  // What was not synced at the chosen place, and what of it survived.
  function show(list) {
    pending = list;
    boxes = new Map();
    legend.hidden = list.length === 0;
    put(lists, byFile(list).map(([file, entries]) => drawFile(file, entries)));
    kept = list.map(({ survived }) => survived);
    if (kind() === "chosen") kept = list.map((_, number) => (wanted ?? []).includes(number));
    wanted = null;
    follow(kind(), false);
  }

  // Lets the ticks follow the choice.
  function follow(name, ask = true) {
    if (name === "none" || name === "all") kept = pending.map(() => name === "all");
    if (name === "random" && ask) onRandom();
    for (const [number, box] of boxes) box.checked = kept[number];
    count();
  }

  function count() {
    const survive = kept.filter(Boolean).length;
    told.textContent = pending.length === 0 ? "All that was written has been synced: there is nothing to lose."
      : `${counted(pending.length, "write")} not synced: ${survive} on the disk, ${pending.length - survive} lost.`;
  }

  function keep(number, survives) {
    kept[number] = survives;
    if (boxes.has(number)) boxes.get(number).checked = survives;
    tick("chosen");
    count();
  }

  function drawFile(file, entries) {
    const [sectors, others] = [entries.filter(({ kind: of }) => of === "sector"), entries.filter(({ kind: of }) => of !== "sector")];
    return el("section", { class: "pending-file" }, el("h3", null, el("code", null, file)),
      others.map((entry) => el("label", { class: "name-kept" }, drawBox(entry), ` ${entry.words}`)),
      byPage(sectors).map(([page, strip]) => drawStrip(page === null ? nameOf(strip, sectors) : pageText(page), file, strip)));
  }

  // Sectors of no page: before pages they are the header of the file.
  const nameOf = (strip, sectors) => (strip.length < sectors.length ? "header" : "sectors");

  // Sectors side by side; the name before them ticks all, or none.
  function drawStrip(name, file, strip) {
    const numbers = strip.map(({ number }) => number);
    const whole = button(name, () => {
      const survive = !numbers.every((number) => kept[number]);
      for (const number of numbers) keep(number, survive);
    }, { class: "strip-name", title: "all of them, or none", "aria-label": `${name} of ${file}: all sectors, or none` });
    const squares = el("div", { class: "strip" });
    const fill = () => {
      if (!squares.hasChildNodes()) put(squares, strip.map(drawSquare));
    };
    if (strip.length <= LONGEST_STRIP) fill();
    else {
      const fold = el("details", { ontoggle: () => { if (fold.open) fill(); } }, el("summary", null, counted(strip.length, "sector")), squares);
      return el("div", { class: "strip-row" }, whole, fold);
    }
    return el("div", { class: "strip-row" }, whole, squares);
  }

  function drawSquare(entry) {
    const words = plainWords(entry.words) + (entry.changes_nothing ? " (the bytes are those on the disk)" : "");
    const tell = () => { about.textContent = words; };
    return el("label", { class: entry.changes_nothing ? "sector same" : "sector", title: words, onmouseenter: tell, onfocusin: tell },
      drawBox(entry, words), el("span", { "aria-hidden": "true" }, String(entry.sector)));
  }

  function drawBox({ number }, label) {
    const box = el("input", { type: "checkbox", "aria-label": label, onchange: () => keep(number, box.checked) });
    box.checked = kept[number] === true;
    boxes.set(number, box);
    return box;
  }

  return { root, value, set, forget, clear, show, isRandom: () => kind() === "random" };
}

// The list by file, in the order in which files come in it; each entry with its number.
function byFile(pending) {
  return grouped(pending.map((entry, number) => ({ ...entry, number })), ({ file }) => file);
}

function byPage(sectors) {
  return grouped(sectors, ({ page }) => page);
}

function grouped(entries, keyOf) {
  const groups = new Map();
  for (const entry of entries) groups.set(keyOf(entry), [...(groups.get(keyOf(entry)) ?? []), entry]);
  return [...groups];
}
