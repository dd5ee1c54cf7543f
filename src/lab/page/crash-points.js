// The places where power can fail in a script that was run: behind each statement, and, folded away under it, before each
// call of the engine to its disk (an I/O). A fold-out is filled when it is opened: a long script has thousands.
//
// A place is what the server takes for crash_at: the number of an event, or { io: number of a call }.

import { el, put } from "./dom.js";
import { isSetup } from "./run.js";
import { counted, plainWords } from "./terms.js";

export const samePlace = (a, b) => a === b || (typeof a?.io === "number" && a.io === b?.io);

// Makes the list; onChoose(place, words) is called when one is chosen.
export function makeCrashPoints(onChoose) {
  const root = el("div", { class: "crash-points", role: "radiogroup", "aria-label": "Where it crashes" });

  function say(words) {
    put(root, el("p", { class: "quiet" }, words));
  }

  // Lists the places of a run; the wanted one is chosen, if it is there.
  function show(recorded, wanted) {
    const [setup, places] = [[], []];
    for (const statement of recorded.statements) {
      const point = recorded.crash_points.find(({ event }) => event >= statement.first_event && event < statement.first_event + statement.events);
      if (point === undefined && !statement.ios) continue;
      const list = isSetup(statement.text) ? setup : places;
      list.push(drawStatement(recorded, statement, point, list === setup ? "" : list.length + 1, wanted));
    }
    if (setup.length + places.length === 0) say(recorded.error ? "The script has an error: it came to no place to crash." : "Nothing is written in this script: there is no place to crash.");
    else put(root, places, setup.length > 0 && el("details", { class: "setup-places", open: places.length === 0 || setup.some(isChosen) },
      el("summary", null, `${counted(setup.length, "statement")} of the setup`), setup));
  }

  function drawStatement(recorded, statement, point, number, wanted) {
    const head = point === undefined
      ? el("p", { class: "crash-point" }, el("span", { class: "number" }, String(number)), el("span", { class: "words" }, `in line ${statement.line}`),
        el("code", { class: "quiet" }, statement.text))
      : drawChoice(point.event, point.words, String(number), wanted);
    return el("div", null, head, statement.ios > 0 && drawCalls(recorded, statement, wanted));
  }

  // The calls that a statement made, filled in when somebody looks.
  function drawCalls({ ios }, { text, first_io: first, ios: count }, wanted) {
    const calls = ios.slice(first, first + count);
    const quiet = calls.filter(({ changes }) => !changes).length;
    const list = el("div", { class: "calls" });
    const all = el("input", { type: "checkbox", onchange: () => list.classList.toggle("with-reads", all.checked) });
    const fold = el("details", { class: "inside", ontoggle: () => { if (fold.open) fill(); } },
      el("summary", null, `inside it: before one of ${counted(count, "call")} to the disk`), list);

    function fill() {
      if (list.hasChildNodes()) return;
      put(list, quiet > 0 && el("label", { class: "reads-too" }, all, ` also the ${quiet} that only read`),
        calls.map(({ words, changes }, at) => {
          const choice = drawChoice({ io: first + at }, `before: ${words}`, String(first + at), wanted);
          choice.classList.add("call", changes ? "changes" : "reads");
          choice.title = `the same as \`fault power in=${at}\` in a line before ${text}`;
          return choice;
        }));
    }

    const wantedAt = typeof wanted?.io === "number" ? wanted.io - first : -1;
    if (wantedAt >= 0 && wantedAt < count) {
      all.checked = !calls[wantedAt].changes;
      list.classList.toggle("with-reads", all.checked);
      fill();
      fold.open = true;
    }
    return fold;
  }

  function drawChoice(place, words, number, wanted, ...more) {
    const choose = () => onChoose(place, words);
    const radio = el("input", { type: "radio", name: "crash-point", onchange: choose });
    radio.checked = wanted !== null && samePlace(place, wanted);
    if (radio.checked) choose();
    return el("label", { class: "crash-point" }, radio, el("span", { class: "number" }, number),
      el("span", { class: "words" }, plainWords(words)), ...more);
  }

  const isChosen = (node) => node.querySelector("input:checked") !== null;

  return { root, show, say };
}
