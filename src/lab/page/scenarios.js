// View C, "Scenarios": a script is chosen or written, run on the server, and then crashed where one likes; the restart
// opens in view B. A scenario can be shared as a link, or taken home as one HTML file.

import { ask, wait } from "./api.js";
import { makeCrashPoints, samePlace } from "./crash-points.js";
import { button, el, put } from "./dom.js";
import { downloadOneFile } from "./one-file.js";
import { packScenario } from "./share.js";
import { makeSurvivors } from "./survivors.js";
import { NAMES_HINT, counted, plainWords } from "./terms.js";

const RUN_PATIENCE = 60000;
// Somebody who goes through the places with the arrow keys has chosen where he rests.
const SETTLING = 150;

// Makes the view; onRun(run, asked) opens a recorded run in view B, asked being what the server was asked for.
export function makeScenarios(onRun) {
  const list = el("div", { class: "scenario-list", role: "list" });
  const script = el("textarea", { rows: 14, spellcheck: "false", "aria-label": "The script", oninput: forget,
    title: "Ctrl-Enter runs it", onkeydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(null, null); } });
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const outcome = el("div", { class: "outcome" });
  const points = makeCrashPoints(choosePlace);
  const survivors = makeSurvivors(askPending);
  const crashButton = button("⚡ Crash here and restart", () => run(crashAt, survivors.value()), { class: "crash", disabled: true });
  const crashHint = el("span", { class: "hint crash-hint" });
  const shareBox = el("div", { class: "share", "aria-live": "polite" });
  const runButton = button("Run", () => run(null, null), { class: "primary" });
  const watch = button("Watch this run step by step", () => onRun(latest, asked), { disabled: true });
  const download = button("Download as one HTML file", save, { disabled: true });
  const root = el("div", { class: "scenarios" },
    el("section", { class: "card" }, el("h2", null, "1 Choose"), list),
    el("section", { class: "card" }, el("h2", null, "2 The script"), script,
      el("div", { class: "buttons" }, runButton, watch), error, outcome),
    el("section", { class: "card" }, el("h2", null, "3 Crash it"), points.root, survivors.root,
      el("div", { class: "crash-row" }, crashButton, crashHint)),
    el("section", { class: "card" }, el("h2", null, "4 Share"),
      el("div", { class: "buttons" }, button("Link to this scenario", share), download), shareBox));
  let [latest, crashAt, crashWords, ranScript, wanted, asked, asking] = [null, null, "", "", null, {}, 0];

  forget();
  ask("", "/lab/scenarios").then((scenarios) => {
    put(list, scenarios.map(({ name, title, text }) => el("div", { role: "listitem" },
      button(title, () => choose(text, name), { class: "scenario", title: name, "data-name": name }))));
    if (script.value === "" && scenarios.length > 0) choose(scenarios[0].text, scenarios[0].name);
  }, (reason) => put(list, el("p", { class: "error" }, `No list of scenarios: ${reason.message}`)));

  function choose(text, name = null) {
    script.value = text;
    forget();
    for (const choice of list.querySelectorAll("button")) {
      if (choice.dataset.name === name) choice.setAttribute("aria-current", "true");
      else choice.removeAttribute("aria-current");
    }
  }

  // Another script: what is known of the last run is not true of it.
  function forget() {
    [crashAt, ranScript, wanted] = [null, "", null];
    asking += 1;
    allowCrash();
    put(shareBox);
    points.say("Run the script: then every place where power could fail is listed here.");
    survivors.clear();
  }

  async function run(at, kept) {
    const text = script.value;
    error.hidden = true;
    for (const control of [runButton, crashButton]) control.disabled = true;
    put(outcome, el("p", { class: "waiting" }, "It runs …"));
    try {
      const recorded = await askForRun({ script: text, crash_at: at, survivors: kept });
      latest = recorded;
      asked = { script: text, crash_at: at, survivors: kept };
      for (const control of [watch, download]) control.disabled = recorded.events.length === 0;
      showOutcome(recorded);
      if (typeof at?.io === "number" && !recorded.error && crashWords !== `before: ${recorded.crash?.words}`) {
        say(`Power failed elsewhere than was chosen: before: ${recorded.crash?.words}`);
      }
      if (at === null) {
        ranScript = text;
        points.show(recorded, crashAt ?? wanted);
      } else if (recorded.events.length > 0) onRun(recorded, asked);
    } catch (reason) {
      put(outcome);
      say(reason.message);
    }
    runButton.disabled = false;
    allowCrash();
  }

  // Only at a place that was chosen; beside the button stands what is missing.
  function allowCrash() {
    crashButton.disabled = crashAt === null;
    crashHint.textContent = crashAt !== null ? "" : ranScript === "" ? "Run the script first, then choose a place above."
      : points.root.querySelector("input") === null ? "There is no place to crash." : "Choose a place above first.";
  }

  function say(words) {
    error.textContent = words;
    error.hidden = false;
  }

  function showOutcome(recorded) {
    if (recorded.error) say(recorded.error);
    if (recorded.statements.length === 0) return put(outcome);
    const lines = recorded.statements.flatMap(({ text, output }) => [`> ${text}`, ...(output ?? []).map((line) => `  ${line}`)]);
    const counts = [["statements", "statement"], ["events", "event"], ["records", "log record"]];
    return put(outcome, el("p", { class: "quiet" }, `${recorded.error ? "Before the error: " : ""}${counts.map(([list, what]) => counted(recorded[list].length, what)).join(", ")}.`),
      el("details", null, el("summary", null, "What it printed"), el("p", { class: "hint" }, NAMES_HINT), el("pre", { class: "output" }, plainWords(lines.join("\n")))));
  }

  // A place is chosen: what was not synced there is asked for, before anything is crashed for good.
  function choosePlace(place, words) {
    if (crashAt !== null && samePlace(place, crashAt)) return;
    [crashAt, crashWords] = [place, words];
    allowCrash();
    survivors.forget("What was not synced there is looked up …");
    askPending();
  }

  async function askPending() {
    const number = ++asking;
    await wait(SETTLING);
    if (number !== asking || crashAt === null) return;
    const kept = survivors.isRandom() ? survivors.value() : "none";
    try {
      const recorded = await askForRun({ script: ranScript, crash_at: crashAt, survivors: kept });
      if (number !== asking) return;
      if (Array.isArray(recorded.pending)) survivors.show(recorded.pending);
      else survivors.forget(recorded.error ?? "Nothing is known of what was not synced there.");
    } catch (reason) {
      if (number === asking) survivors.forget(reason.message);
    }
  }

  async function share() {
    const sameScript = script.value === ranScript;
    const scenario = { script: script.value, crash_at: sameScript ? crashAt ?? asked.crash_at ?? null : wanted, survivors: survivors.value() };
    const link = `${location.href.split("#")[0]}#scenarios/${await packScenario(scenario)}`;
    const field = el("input", { readonly: true, value: link, "aria-label": "The link", class: "link", onfocus: () => field.select() });
    const copied = el("span", { class: "quiet" });
    put(shareBox, field, button("Copy", async () => {
      field.select();
      copied.textContent = await navigator.clipboard.writeText(link).then(() => "copied", () => "press Ctrl-C to copy it");
    }), copied);
  }

  async function save() {
    try {
      await downloadOneFile(latest, "aries-restart.html");
    } catch (reason) {
      say(`The file cannot be made: ${reason.message}`);
    }
  }

  // Opens a scenario that came in a link: it is run when somebody says so.
  function open(scenario) {
    choose(scenario.script);
    wanted = scenario.crash_at;
    if (scenario.survivors !== null) survivors.set(scenario.survivors);
    put(outcome, el("p", { class: "quiet" }, "This script came with the link. Run it",
      wanted === null ? "." : ": its place to crash will then be marked below."));
  }

  return { root, open };
}

// Lets the server run a script: a recorded run.
export function askForRun(scenario) {
  return ask("", "/lab/run", { body: scenario, patience: RUN_PATIENCE });
}
