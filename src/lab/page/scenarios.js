// View C, "Scenarios": a script is chosen or written, run on the server, and then crashed where one likes; the restart
// opens in view B. A scenario can be shared as a link, or taken home as one HTML file.

import { ask } from "./api.js";
import { button, el, put } from "./dom.js";
import { downloadOneFile } from "./one-file.js";
import { isSetup } from "./run.js";
import { packScenario } from "./share.js";
import { counted, plainWords } from "./terms.js";

const RUN_PATIENCE = 60000;

// Makes the view; onRun(run, asked) opens a recorded run in view B, asked being what the server was asked for.
export function makeScenarios(onRun) {
  const list = el("div", { class: "scenario-list", role: "list" });
  const script = el("textarea", { rows: 14, spellcheck: "false", "aria-label": "The script", oninput: forget,
    title: "Ctrl-Enter runs it", onkeydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(null, null); } });
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const outcome = el("div", { class: "outcome" });
  const points = el("div", { class: "crash-points", role: "radiogroup", "aria-label": "Where it crashes" });
  const survivors = drawSurvivors();
  const crashButton = button("⚡ Crash here and restart", () => run(crashAt, survivors.value()), { class: "crash", disabled: true });
  const shareBox = el("div", { class: "share", "aria-live": "polite" });
  const runButton = button("Run", () => run(null, null), { class: "primary" });
  const watch = button("Watch this run step by step", () => onRun(latest, asked), { disabled: true });
  const download = button("Download as one HTML file", save, { disabled: true });
  const root = el("div", { class: "scenarios" },
    el("section", { class: "card" }, el("h2", null, "1 Choose"), list),
    el("section", { class: "card" }, el("h2", null, "2 The script"), script,
      el("div", { class: "buttons" }, runButton, watch), error, outcome),
    el("section", { class: "card" }, el("h2", null, "3 Crash it"), points, survivors.root, crashButton),
    el("section", { class: "card" }, el("h2", null, "4 Share"),
      el("div", { class: "buttons" }, button("Link to this scenario", share), download), shareBox));
  let [latest, crashAt, ranScript, wanted, asked] = [null, null, "", null, {}];

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
    crashButton.disabled = true;
    put(points, el("p", { class: "quiet" }, "Run the script: then every place where power could fail is listed here."));
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
      if (at === null) listPoints(recorded, text);
      else if (recorded.events.length > 0) onRun(recorded, asked);
    } catch (reason) {
      put(outcome);
      say(reason.message);
    }
    runButton.disabled = false;
    crashButton.disabled = crashAt === null;
  }

  function say(words) {
    error.textContent = words;
    error.hidden = false;
  }

  function showOutcome(recorded) {
    if (recorded.error) say(recorded.error);
    const lines = recorded.statements.flatMap(({ text, output }) => [`> ${text}`, ...(output ?? []).map((line) => `  ${line}`)]);
    const counts = [["statements", "statement"], ["events", "event"], ["records", "log record"]];
    put(outcome, el("p", { class: "quiet" }, `${counts.map(([list, what]) => counted(recorded[list].length, what)).join(", ")}.`),
      el("details", null, el("summary", null, "What it printed"), el("pre", { class: "output" }, plainWords(lines.join("\n")))));
  }

  function listPoints(recorded, text) {
    ranScript = text;
    const setup = [];
    const places = [];
    recorded.crash_points.forEach((point, number) => {
      const statement = statementOf(recorded, point);
      const choice = drawPoint(point, number, statement);
      (statement !== undefined && isSetup(statement.text) ? setup : places).push(choice);
    });
    put(points, places, setup.length > 0 && el("details", { open: places.length === 0 },
      el("summary", null, `${counted(setup.length, "place")} in the setup`), setup));
    if (recorded.crash_points.length === 0) {
      put(points, el("p", { class: "quiet" }, "Nothing is written in this script: there is no place to crash."));
    }
  }

  function drawPoint(point, number, statement) {
    const radio = el("input", { type: "radio", name: "crash-point", onchange: () => {
      crashAt = crashNumber(point);
      crashButton.disabled = false;
    } });
    radio.checked = wanted !== null && wanted === crashNumber(point);
    if (radio.checked) radio.dispatchEvent(new Event("change"));
    return el("label", { class: "crash-point" }, radio, el("span", { class: "number" }, String(number + 1)),
      el("span", { class: "words" }, plainWords(point.words)), statement && el("code", { class: "quiet" }, statement.text));
  }

  async function share() {
    const sameScript = script.value === ranScript;
    const scenario = { script: script.value, crash_at: sameScript ? crashAt ?? asked.crash_at ?? null : null, survivors: survivors.value() };
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

// What crash_at is for the server: the number of the event at which it crashes.
function crashNumber(point) {
  return point.event;
}

function statementOf({ statements }, { event }) {
  return statements.find(({ first_event: first, events }) => event >= first && event < first + events);
}

// What of the unsynced writes is on the disk after the crash.
function drawSurvivors() {
  const seed = el("input", { type: "number", min: 0, value: 7, "aria-label": "Seed" });
  const choices = [["none", "nothing that was not synced"], ["all", "all of it"], ["random", "a random part, by this seed: "]];
  const radios = choices.map(([value, words]) => el("label", null,
    el("input", { type: "radio", name: "survivors", value, checked: value === "none" }), ` ${words}`));
  radios[2].append(seed);
  const root = el("fieldset", null, el("legend", null, "What survives on the disk of writes under way"), radios);
  return {
    root,
    value: () => {
      const chosen = root.querySelector("input[type=radio]:checked").value;
      return chosen === "random" ? `random:${Math.max(0, Math.trunc(Number(seed.value)) || 0)}` : chosen;
    },
    set: (survivors) => {
      const [kind, number] = survivors.split(":");
      for (const radio of root.querySelectorAll("input[type=radio]")) radio.checked = radio.value === kind;
      if (root.querySelector("input[type=radio]:checked") === null) root.querySelector("input[type=radio]").checked = true;
      if (number !== undefined) seed.value = number;
    },
  };
}
