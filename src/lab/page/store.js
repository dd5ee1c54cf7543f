// One store of view A: its keys, what can be done to it, and after a crash the account of what was lost.

import { Acknowledged } from "./acknowledged.js";
import { allKeys, ask, NoAnswer, wait } from "./api.js";
import { button, el, put } from "./dom.js";
import { drawCrashReport } from "./crash-report.js";
import { counted, valueText } from "./terms.js";

const MOST_KEYS = 5000;
const SHOWN_KEYS = 200;

// Makes the panel of a store { name, url, log }. Its methods are called by view A: refresh() each second.
export function makeStore({ name, url, log }) {
  const memory = new Acknowledged();
  let [up, uptime, started, downSince, crashing, shown, loads, attempts] = [null, 0, null, null, false, "", 0, 0];
  const badge = el("span", { class: "badge" });
  const count = el("span", { class: "count" });
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const report = el("div", { class: "crash-report", "aria-live": "polite" });
  const list = el("ul", { class: "keys" });
  const key = el("input", { placeholder: "key", "aria-label": `Key, ${name}`, autocomplete: "off", required: true });
  const value = el("input", { placeholder: "value", "aria-label": `Value, ${name}`, autocomplete: "off" });
  const form = el("form", { class: "put", onsubmit: (event) => { event.preventDefault(); putKey(key.value, asValue(value.value)); } },
    key, value, el("button", { type: "submit" }, "Put"), button("Delete", () => key.value && deleteKey(key.value)));
  const crashButton = button("⚡ Crash", () => crash(), { class: "crash" });
  const tools = el("div", { class: "buttons" }, button("Load 20", () => load(20)),
    log ? button("Checkpoint", () => administer("checkpoint")) : button("Flush", () => administer("flush")),
    button("Clear", () => clearAll()), crashButton);
  const root = el("section", { class: `card store ${log ? "with-log" : "without-log"}` },
    el("h2", null, name, " ", count, badge), form, tools, error, report, list);

  // Does something that the store acknowledges; says so, if it does not.
  async function attempt(keys, act) {
    attempts += 1;
    try {
      await act();
      attempts += 1;
      error.hidden = true;
      await refresh();
    } catch (reason) {
      if (reason instanceof NoAnswer) keys.forEach((each) => memory.unsure(each));
      say(reason instanceof NoAnswer ? "No answer: whether it happened is not known." : reason.message);
    }
  }

  function say(words) {
    error.textContent = words;
    error.hidden = false;
  }

  const putKey = (newKey, newValue) => attempt([newKey], async () => {
    await ask(url, "/kv", { body: { key: newKey, value: newValue } });
    memory.put(newKey, newValue);
  });

  const deleteKey = (oldKey) => attempt([oldKey], async () => {
    await ask(url, `/kv/${encodeURIComponent(oldKey)}`, { method: "DELETE" });
    memory.remove(oldKey);
  });

  function load(many) {
    const operations = newItems(many, ++loads).map(([newKey, newValue]) => ({ op: "set", key: newKey, value: newValue }));
    return attempt(operations.map((operation) => operation.key), async () => {
      await ask(url, "/kv/batch", { body: { operations } });
      for (const operation of operations) memory.put(operation.key, operation.value);
    });
  }

  const clearAll = () => attempt(memory.keys(), async () => {
    await ask(url, "/admin/clear", { body: {} });
    memory.clear();
    put(report);
  });

  const administer = (what) => attempt([], () => ask(url, `/admin/${what}`, { body: {} }));

  async function crash() {
    [crashing, downSince] = [true, performance.now()];
    error.hidden = true;
    await ask(url, "/admin/crash", { body: {} }).catch(() => {});
    await downThenBack();
  }

  // The store is away, or has been unseen: waits until it is back, and compares what it has with what it had acknowledged.
  async function downThenBack(unseen = false) {
    crashing = true;
    downSince ??= performance.now();
    setUp(false);
    put(report, el("p", { class: "waiting" }, "The store is away …"));
    while (!unseen && !(await isBack())) await wait(150);
    try {
      await account(unseen ? null : performance.now() - downSince);
    } catch (reason) {
      put(report, el("p", { class: "error" }, `What came back cannot be read: ${reason.message}`));
    }
    [downSince, crashing, uptime, started] = [null, false, 0, null];
    await refresh();
  }

  // Whether it answers, and is not still the process that is about to die.
  async function isBack() {
    try {
      await ask(url, "/health", { patience: 1000 });
      const away = (performance.now() - downSince) / 1000;
      const running = (await ask(url, "/admin/stats", { patience: 1000 }).catch(() => ({}))).uptime_seconds ?? 0;
      return running < away + 0.5 || away > 5;
    } catch {
      return false;
    }
  }

  async function account(away) {
    const stats = await ask(url, "/admin/stats").catch(() => null);
    const found = await allKeys(url, MOST_KEYS);
    put(report, drawCrashReport({ away, ...memory.compare(found.items), restart: stats?.restart ?? null, log, complete: found.complete }));
    memory.adopt(found.items);
  }

  // Reads keys and stats; finds out by itself that the store has been away. Returns the stats, or null.
  async function refresh() {
    if (crashing) return null;
    const before = attempts;
    try {
      const page = await ask(url, `/kv?limit=${SHOWN_KEYS}`);
      const stats = await ask(url, "/admin/stats").catch((reason) => { if (reason instanceof NoAnswer) throw reason; return {}; });
      if (crashing) return null;
      const restarted = noteUptime(stats.uptime_seconds ?? 0);
      if (restarted) {
        downThenBack(true);
        return null;
      }
      setUp(true);
      // What was read before a change says nothing about what has been acknowledged since.
      if (attempts === before) showKeys(page);
      return stats;
    } catch (reason) {
      if (!(reason instanceof NoAnswer)) say(reason.message);
      else if (!crashing) downThenBack();
      return null;
    }
  }

  // Whether this is another process than the one last seen: it has run for less, or it began clearly later.
  function noteUptime(seconds) {
    const start = performance.now() / 1000 - seconds;
    const another = seconds < uptime || (started !== null && start > started + 2);
    [uptime, started] = [seconds, another || started === null ? start : Math.min(started, start)];
    return another;
  }

  function setUp(now) {
    if (now !== up) put(badge, now ? "● up" : "▲ away");
    badge.classList.toggle("away", !now);
    root.classList.toggle("is-away", !now);
    for (const control of root.querySelectorAll("button, form input")) control.disabled = !now;
    up = now;
  }

  function showKeys(page) {
    for (const item of page.items) memory.put(item.key, item.value);
    count.textContent = counted(page.count, "key");
    if (JSON.stringify(page) === shown) return;
    shown = JSON.stringify(page);
    put(list, page.items.map((item) => el("li", null, el("code", { class: "key" }, item.key), el("span", { class: "value" }, valueText(item.value)),
      button("✕", () => deleteKey(item.key), { class: "small", "aria-label": `Delete ${item.key}` }))),
      page.count > page.items.length && el("li", { class: "quiet" }, `and ${page.count - page.items.length} more`),
      page.count === 0 && el("li", { class: "quiet" }, "It is empty."));
  }

  return { root, refresh, url, log, putKey, deleteKey, load, crash, isUp: () => up === true };
}

// What is typed is JSON, if it can be read so, else text.
export function asValue(typed) {
  try {
    return JSON.parse(typed);
  } catch {
    return typed;
  }
}

const NAMES = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy"];

// Accounts with balances; each round adds other keys.
function newItems(many, round) {
  return Array.from({ length: many }, (_, at) => {
    const number = (round - 1) * many + at;
    const account = String(Math.floor(number / NAMES.length) + 1).padStart(2, "0");
    return [`${NAMES[number % NAMES.length]}-${account}`, { balance: 100 + (number * 37) % 900 }];
  });
}
