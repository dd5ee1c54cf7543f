// A recorded run as a list of steps, with what was in the log at each: the part of the replay that draws nothing.
//
// A step is an event of the recording, or a crash between two events (a crash is no event of the engine: it just stops).
// Invariants: step(i).state is what was true after it, step(i).records the log as of then, and neither is ever changed.

import { eventName } from "./terms.js";

export const PHASES = ["analysis", "redo", "undo"];

// Statements that only set the stage.
const SETUP = /^\W*(fill|options|table|mark)\b/;
export const isSetup = (text) => SETUP.test(text);
const CRASH = /^\W*(crash|kill)\b/;

// Reads a recorded run; { steps, records, statements, setupEnd }, where setupEnd is the first step behind the setup.
export function readRun(run) {
  if (run?.version !== 1 || !Array.isArray(run.events) || !Array.isArray(run.states)) {
    throw new Error(`this is no recorded run of version 1, but ${run?.version === undefined ? "something else" : `version ${run.version}`}`);
  }
  const statements = run.statements ?? [];
  const steps = listSteps(run, statements);
  followLog(steps, run.records ?? []);
  nameAll(steps, statements);
  const firstShown = steps.findIndex(({ statement }) => statement >= 0 && !isSetup(statements[statement].text));
  const setupEnd = firstShown > 0 ? firstShown : 0;
  return { steps, statements, setupEnd, keptFrom: keptFrom(steps, setupEnd), error: run.error ?? null };
}

function listSteps(run, statements) {
  const steps = [];
  const after = crashesAfter(run, statements);
  const addCrash = (at) => {
    const next = run.states[at];
    const last = steps.at(-1)?.state ?? next;
    for (const statement of after.get(at) ?? []) {
      if (last) steps.push({ kind: "crash", event: null, statement, phase: null, state: afterCrash(last, next) });
    }
  };
  run.events.forEach((event, at) => {
    addCrash(at);
    const crashed = run.states[at]?.crashed === true && run.states[at - 1]?.crashed !== true;
    steps.push({ kind: "event", event, state: run.states[at], phase: event.phase ?? null, crashed,
      statement: statementAt(statements, at) });
  });
  addCrash(run.events.length);
  return steps.filter(({ state }) => state).map((step, index) => ({ ...step, index }));
}

// For each place between events, the statements that crashed there and whose crash no state tells.
function crashesAfter(run, statements) {
  const places = new Map();
  statements.forEach(({ text, first_event: first, events }, at) => {
    if (!CRASH.test(text.replace(/^\W*\w+:/, ""))) return;
    const end = first + events;
    const told = run.states.slice(first, end + 1).some(({ crashed }) => crashed);
    if (!told) places.set(end, [...(places.get(end) ?? []), at]);
  });
  return places;
}

function statementAt(statements, event) {
  return statements.findIndex(({ first_event: first, events }) => event >= first && event < first + events);
}

// What a crash leaves: the disk, and of the log what the next state has of it, or what was forced.
function afterCrash(last, next) {
  const end = next && next.end_lsn !== null && next.end_lsn <= last.end_lsn ? next.end_lsn : last.flushed_lsn ?? last.end_lsn;
  return {
    ...last, end_lsn: end, flushed_lsn: end, redo_lsn: null, crashed: true, dirty_page_table: [], transaction_table: [],
    pages: last.pages.map((page) => ({ ...page, memory: null, in_pool: false, rec_lsn: null })),
  };
}

// Gives each step the records of the log as of then. A log position may be used again after a crash, by another record:
// what is appended at an LSN takes the place of all that stood there or behind it.
function followLog(steps, records) {
  // A record by hand may stand where one was that a crash took.
  const identity = ({ lsn, kind, txn }) => `${lsn} ${kind} ${String(txn).replace(/^T/, "")}`;
  const appended = new Set(steps.filter(({ event }) => eventName(event) === "appended").map(({ event }) => identity(event)));
  let byHand = records.filter((record) => !appended.has(identity(record)));
  const versions = new Map();
  for (const record of records) versions.set(record.lsn, [...(versions.get(record.lsn) ?? []), record]);
  let log = [];
  for (const step of steps) {
    const { event, state } = step;
    const before = log;
    if (eventName(event) === "appended") {
      log = [...log.filter(({ lsn }) => lsn < event.lsn), recordOf(event, versions)];
    }
    const written = byHand.filter(({ lsn }) => lsn < state.end_lsn);
    if (written.length > 0) {
      log = [...log, ...written].sort((a, b) => a.lsn - b.lsn);
      byHand = byHand.filter((record) => !written.includes(record));
    }
    if (typeof state.end_lsn === "number" && log.some(({ lsn }) => lsn >= state.end_lsn)) {
      log = log.filter(({ lsn }) => lsn < state.end_lsn);
    }
    step.records = log;
    step.lost = log === before ? [] : before.filter((record) => !log.includes(record));
  }
}

// The record that this event appended: of several at this LSN the first of its kind that was not told yet.
function recordOf(event, versions) {
  const here = versions.get(event.lsn) ?? [];
  const number = (txn) => String(txn).replace(/^T/, ""); // Events say 5, records T5.
  const at = here.findIndex(({ kind, txn }) => kind === event.kind && number(txn) === number(event.txn));
  if (at >= 0) return here.length > 1 ? here.splice(at, 1)[0] : here[at];
  return { lsn: event.lsn, txn: event.txn, kind: event.kind, pages: event.page === null ? [] : [event.page],
    prev_lsn: undefined, words: event.words, hex: null };
}

// A statement that may be the first to write for its transaction; others may only let somebody go on who waited.
const WRITES = /^\W*(\w+):\s*(?!begin\b|commit\b|rollback\b|read\b|scan\b)/;
const BEGINS = /^\W*(\w+):\s*begin\b/;
const MARKS = /^\W*(fill|mark)\b/;

// Gives each step the script's names as of then: a transaction's is known from its first record on, and records are
// numbered from the last `fill` or `mark` on.
function nameAll(steps, statements) {
  let [txn, mark, seen, numbered] = [new Map(), 0, 0, null];
  const begun = new Map();
  for (const [at, step] of steps.entries()) {
    for (; seen < step.statement; seen += 1) {
      const { text } = statements[seen];
      if (MARKS.test(text)) mark = steps[at - 1]?.state.end_lsn ?? 0;
      const name = BEGINS.exec(text)?.[1];
      if (name !== undefined) begun.delete(name);
    }
    const name = WRITES.exec(statements[step.statement]?.text ?? "")?.[1];
    const number = eventName(step.event) === "appended" ? step.event.txn : null;
    if (name !== undefined && typeof number === "number" && !begun.has(name) && ![...begun.values()].includes(number)) {
      begun.set(name, number);
      txn = new Map([...txn].filter(([, other]) => other !== name)).set(number, name);
    }
    if (step.records !== numbered?.records || mark !== numbered.mark) {
      const behind = step.records.filter(({ lsn }) => lsn >= mark);
      numbered = { records: step.records, mark, names: new Map(behind.map(({ lsn }, place) => [lsn, `#${place}`])) };
    }
    step.names = { txn, record: numbered.names };
  }
}

// Of the setup's records only its last checkpoint is worth looking at: analysis may begin there.
function keptFrom(steps, setupEnd) {
  if (setupEnd === 0) return 0;
  const { records, state } = steps[setupEnd - 1];
  const checkpoint = records.filter(({ kind }) => kind === "BeginCheckpoint").at(-1);
  return checkpoint?.lsn ?? state.end_lsn ?? 0;
}

// Which records a step is about: the one in focus, and others with a word about each.
export function recordsOf(step) {
  const event = step.event ?? {};
  const name = eventName(event);
  const noted = new Map();
  let current = typeof event.lsn === "number" ? event.lsn : null;
  if (name === "undone") {
    noted.set(event.lsn, "is undone");
    current = event.clr_lsn;
  }
  if (name === "undone" || name === "undo_passed") {
    if (typeof event.undo_next_lsn === "number") noted.set(event.undo_next_lsn, "next");
  }
  if (name === "transaction_noted" && !event.from_checkpoint || name === "transaction_advanced") current = event.last_lsn;
  if (name === "page_dirty") current = event.rec_lsn;
  if (name === "page_dirty" && event.from_checkpoint) noted.set(event.rec_lsn, "recLSN");
  if (name === "transaction_noted" && event.from_checkpoint && typeof event.last_lsn === "number") noted.set(event.last_lsn, "lastLSN");
  if (name === "analysis_began" || name === "redo_began") current = event.from;
  if (name === "checkpoint_began" || name === "checkpoint_ended") current = event.begin_lsn;
  if (name === "page_written" && typeof event.page_lsn === "number") noted.set(event.page_lsn, "pageLSN");
  return { current, noted };
}

// The pages that a step is about.
export function pagesOf(step) {
  return new Set([step.event?.page].filter((page) => typeof page === "number"));
}

// The pages of a state, as the grid shows them.
export function gridPages(state) {
  return state.pages.map((page) => ({ ...page, fixed: 0, dirty: page.in_pool && page.memory !== page.disk && page.memory !== null }));
}

// Stretches of steps that belong to one phase: { name, from, to }; before a restart the name is "running".
export function stretches(steps, from) {
  const list = [];
  for (const step of steps.slice(from)) {
    const name = step.kind === "crash" || step.crashed ? "crash" : step.phase ?? "running";
    if (list.at(-1)?.name === name) list.at(-1).to = step.index;
    else list.push({ name, from: step.index, to: step.index });
  }
  return list;
}
