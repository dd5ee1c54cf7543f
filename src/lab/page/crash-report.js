// What a crash made of what had been acknowledged, told under the store: how long it was away, what came back, what is
// lost, and what restart did for it.

import { el } from "./dom.js";
import { counted, valueText } from "./terms.js";

// away is in milliseconds, or null where only the new process was seen; restart is what /admin/stats tells:
// { clean, analysis, redo, undo, seconds }, or null.
export function drawCrashReport({ away, back, lost, changed, risen, unknown, restart, log, complete }) {
  const bad = [
    lost.length > 0 && `${counted(lost.length, "acknowledged key")} lost`,
    changed.length > 0 && `${counted(changed.length, "acknowledged change")} lost`,
    risen.length > 0 && `${counted(risen.length, "acknowledged delete")} lost`,
  ].filter(Boolean).join(", ");
  const all = back.length + lost.length + changed.length;
  const howLong = away === null ? "away while nobody looked" : `away for ${(away / 1000).toFixed(1)} s`;
  return [
    el("p", { class: `verdict ${bad === "" ? "good" : "bad"}` },
      el("b", null, bad === "" ? "✓ nothing acknowledged is lost" : `✗ ${bad}`), " ",
      el("span", null, howLong, all > 0 && `; of ${counted(all, "acknowledged key")} ${back.length} came back`,
        risen.length > 0 && `; ${counted(risen.length, "deleted key")} came back`)),
    unknown > 0 && el("p", { class: "quiet" }, `${counted(unknown, "key")} got no answer before the crash: either outcome is right.`),
    lost.length > 0 && listLost("Lost", lost, "lost"),
    changed.length > 0 && listLost("Back with an older value", changed, "stale"),
    risen.length > 0 && listLost("Came back although the delete was acknowledged", risen.map((key) => [key, ""]), "back again"),
    back.length > 0 && el("details", null, el("summary", null, `${counted(back.length, "key")} came back`),
      el("ul", { class: "fates" }, back.slice(0, 200).map(([key, value]) =>
        el("li", null, el("code", null, key), " ", valueText(value), el("span", { class: "tag back" }, "✓ back"))))),
    !complete && el("p", { class: "quiet" }, "There are more keys than this page reads: some that it calls lost may be there."),
    log && restart && drawRestart(restart),
  ].filter(Boolean);
}

function listLost(title, entries, word) {
  return el("div", null, el("h4", null, `${title} (${entries.length})`),
    el("ul", { class: "fates" }, entries.slice(0, 200).map(([key, value]) =>
      el("li", null, el("del", null, el("code", null, key), " ", valueText(value)), el("span", { class: `tag ${word}` }, `✗ ${word}`)))));
}

function drawRestart({ clean, analysis, redo, undo, seconds }) {
  const part = (name, section, numbers) => el("div", { class: `restart-part phase-${name}` },
    el("h4", null, name, " ", el("small", null, section)), el("dl", null, numbersOf(numbers)));
  return el("div", { class: "restart" },
    el("p", null, clean ? "It had been closed cleanly: restart had nothing to do." : "Restart brought it back",
      !clean && typeof seconds === "number" && ` in ${(seconds * 1000).toFixed(1)} ms`, !clean && ":"),
    !clean && el("div", { class: "restart-parts" }, part("analysis", "6.1", analysis), part("redo", "6.2", redo), part("undo", "6.3", undo)));
}

// The numbers and lists of a part of the report, whatever they are called.
const FIRST = ["records", "end", "from"]; // The last of them stands first: JSON has no order to go by.
function numbersOf(part, prefix = "") {
  const entries = Object.entries(part ?? {}).sort(([a], [b]) => FIRST.indexOf(b) - FIRST.indexOf(a));
  return entries.flatMap(([name, value]) => {
    const words = (prefix + name).replaceAll("_", " ");
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return numbersOf(value, `${words} `);
    const shown = Array.isArray(value) ? value.join(" ") || "none" : value ?? "nil";
    return [el("div", null, el("dt", null, words), el("dd", null, String(shown)))];
  });
}
