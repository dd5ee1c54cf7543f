// View B, "Restart, step by step": plays a recorded run. At each step the event in the engine's words, the decision
// behind it, the record in the tape, and what changes in pages and tables.

import { button, el, put } from "./dom.js";
import { explainStep } from "./explain.js";
import { makeDirtyPageTable, makePageGrid, makeTransactionTable } from "./pages.js";
import { makePlayer } from "./player.js";
import { makeRecordCard } from "./record-card.js";
import { gridPages, pagesOf, readRun, recordsOf, stretches } from "./run.js";
import { makeTape } from "./tape.js";
import { NAMES_HINT, counted, namedWords, plainWords, txnText } from "./terms.js";

const PURPOSES = {
  running: "normal processing",
  crash: "the power fails",
  opening: "makes certain that the disk has what the page cache shows",
  analysis: "reads the log from the last checkpoint: what was going on?",
  redo: "repeats history: every change that a page lacks, the losers' too",
  undo: "takes back, latest first, what transactions did that never committed",
};

// Makes the view; active() says whether it is the one that is seen, onMove(step) is told of each step.
export function makeReplay(active, onMove = () => {}) {
  const player = makePlayer(showStep, active, () => told.scrollIntoView({ block: "nearest" }));
  const told = el("div", { class: "told", "aria-live": "polite" });
  const script = el("ol", { class: "statements" });
  const scriptBox = el("details", { class: "card script-box", open: true }, el("summary", null, "The script"),
    el("p", { class: "hint" }, NAMES_HINT), script);
  const tape = makeTape(select);
  const card = makeRecordCard();
  const grid = makePageGrid();
  const dirty = makeDirtyPageTable();
  const transactions = makeTransactionTable();
  const setup = el("input", { type: "checkbox", onchange: () => run && present(0) });
  const setupLabel = el("label", { class: "setup" }, setup, " with the setup");
  const failed = el("p", { class: "error", role: "alert", hidden: true });
  const empty = el("div", { class: "card empty-view" }, el("p", null, "No run is loaded yet."),
    el("p", null, "Choose a script under ", el("a", { href: "#scenarios" }, "Scenarios"), " and let it crash."));
  const body = el("div", { class: "replay", hidden: true },
    el("div", { class: "step-row" },
      el("div", { class: "card step-card" }, player.root, told),
      el("section", { class: "card tables" }, dirty.root, transactions.root)),
    el("section", { class: "card log-card" }, el("h2", null, "The log"),
      el("p", { class: "hint names-hint" }, "‹T1› and ‹#0› are the script's names"), tape.root, card.root, tape.legend),
    el("div", { class: "pool-row" }, el("section", { class: "card grow" }, el("h2", null, "Pages"), grid.root), scriptBox),
    el("p", { class: "hint" }, "Keys: ← → a step, Home and End, space plays and pauses. ", setupLabel));
  const root = el("div", null, failed, empty, body);
  let [run, at, selected] = [null, 0, null];

  // Shows a recorded run, from its first step behind the setup, or from this one.
  function load(recorded, step) {
    try {
      run = readRun(recorded);
    } catch (error) {
      return fail(error.message);
    }
    failed.hidden = run.error === null;
    failed.textContent = run.error ?? "";
    if (run.steps.length === 0) return fail(run.error ?? "This run has no events.");
    setupLabel.hidden = run.setupEnd === 0;
    setup.checked = false;
    empty.hidden = true;
    body.hidden = false;
    put(script, run.statements.map(drawStatement));
    present(step ?? 0);
  }

  function fail(words) {
    failed.hidden = false;
    failed.textContent = words;
    body.hidden = true;
    run = null;
  }

  // A statement of the script; clicked, it leads to the first step of it, or of what comes next.
  function drawStatement({ text, output }, number) {
    const begin = () => {
      const step = run.steps.findIndex(({ statement }) => statement >= number);
      player.go(step < 0 ? run.steps.length - 1 : step);
    };
    return el("li", null, button(text, begin, { class: "statement" }),
      (output ?? []).length > 0 && el("pre", { class: "output", hidden: true }, plainWords(output.join("\n"))));
  }

  function firstStep() {
    return setup.checked ? 0 : run.setupEnd;
  }

  function present(step) {
    player.load(firstStep(), run.steps.length - 1, stretches(run.steps, firstStep()));
    player.go(step);
  }

  function showStep(index) {
    [at, selected] = [index, null];
    const step = run.steps[index];
    const previous = run.steps[index - 1];
    put(told, drawTold(step, previous, run.statements[step.statement]));
    markStatements(step);
    drawLog();
    const { current } = recordsOf(step);
    if (current !== null) tape.reveal(current);
    else if (step.lost.length > 0) tape.reveal(step.lost[0].lsn);
    grid.show(gridPages(step.state), previous && gridPages(previous.state), pagesOf(step));
    dirty.show(step.state.dirty_page_table, previous?.state.dirty_page_table, pagesOf(step));
    transactions.show(step.state.transaction_table, previous?.state.transaction_table, step.event?.txn ?? null, step.names);
    onMove(index);
  }

  function drawLog() {
    const step = run.steps[at];
    const { current, noted } = recordsOf(step);
    const shown = [...step.records, ...step.lost].filter(({ lsn }) => setup.checked || lsn >= run.keptFrom);
    const { flushed_lsn: flushed, master_lsn: master, redo_lsn: redo } = step.state;
    tape.show({ records: shown, markers: { flushed, master, redo }, current, noted, selected: selected?.lsn ?? null, names: step.names,
      lost: new Set(step.lost.map(({ lsn }) => lsn)) });
    const record = selected ?? step.records.find(({ lsn }) => lsn === current);
    card.show(record, record?.hex, undefined, step.names);
  }

  function select(record) {
    player.stop();
    selected = record;
    card.openBytes();
    drawLog();
  }

  function markStatements(step) {
    [...script.children].forEach((line, number) => {
      line.classList.toggle("now", number === step.statement);
      line.classList.toggle("past", number < step.statement);
      const output = line.querySelector(".output");
      const done = number < step.statement || run.steps[step.index + 1]?.statement !== number;
      if (output) output.hidden = number > step.statement || !done;
      if (number === step.statement) {
        line.setAttribute("aria-current", "step");
        script.scrollTop = line.offsetTop - 60;
      } else line.removeAttribute("aria-current");
    });
  }

  return { root, load, stop: player.stop, go: (step) => run && player.go(step) };
}

// The event of a step: phase, section, words, and the decision.
function drawTold(step, previous, statement) {
  const phase = step.kind === "crash" || step.crashed ? "crash" : step.phase ?? "running";
  const words = step.kind === "crash" ? `Crash: memory is gone, the disk stays.${lossOf(step, previous)}`
    : namedWords(plainWords(step.event.words), step.names) + lossOf(step, null);
  const decision = step.kind === "crash" ? null : explainStep(step, previous);
  return [
    el("p", { class: "where" }, el("b", { class: `phase phase-${phase}` }, phase === "crash" ? "⚡ crash" : phase), " ",
      step.event?.section && el("span", { class: "section" }, `paper, section ${step.event.section}`), " ",
      el("span", { class: "purpose" }, PURPOSES[phase] ?? ""),
      statement && el("span", { class: "statement-now" }, " in ", el("code", null, statement.text))),
    el("p", { class: "words" }, words),
    step.event?.why && el("p", { class: "why" }, plainWords(step.event.why)),
    decision ? drawDecision(decision, step.names) : el("div", { class: "decision none" }),
  ];
}

// What went with the memory, in words.
function lossOf({ lost }, previous) {
  const records = lost.length > 0 ? ` ${counted(lost.length, "log record")} had not been forced, and ${lost.length === 1 ? "is" : "are"} lost.` : "";
  const dirty = previous?.state.dirty_page_table.length ?? 0;
  const under = (previous?.state.transaction_table ?? []).map(({ txn }) => txnText(txn)).join(" ");
  return records + (dirty > 0 ? ` ${counted(dirty, "page")} had changes that were not on disk.` : "") + (under === "" ? "" : ` Under way: ${under}.`);
}

function drawDecision({ left, sign, right, verdict, tone }, names) {
  const half = ({ name, value }) => el("span", { class: "side" }, el("small", null, name), el("b", null, namedWords(value, names)));
  return el("div", { class: `decision ${tone}` }, half(left), el("span", { class: "compare" }, sign), half(right),
    el("span", { class: "verdict" }, namedWords(verdict, names)));
}
