// The lab's page: three tabs, each with its view, and the #hash that says which is seen:
//
//   #stores                 view A, two stores
//   #restart, #restart/12   view B, at the first step or at this one
//   #scenarios, #scenarios/zABC…   view C, with the scenario of a shared link

import { el } from "./dom.js";
import { makeReplay } from "./replay.js";
import { askForRun, makeScenarios } from "./scenarios.js";
import { unpackScenario } from "./share.js";
import { makeStoresView } from "./stores-view.js";

const VIEWS = ["stores", "restart", "scenarios"];
const tabs = VIEWS.map((name) => document.getElementById(`tab-${name}`));
const panels = VIEWS.map((name) => document.getElementById(`view-${name}`));
let seen = "";
// How far down each view was when it was left. A run that has just been loaded is seen from its top.
const depths = new Map();

const isSeen = (name) => () => seen === name;
const storesView = makeStoresView(isSeen("stores"));
const replay = makeReplay(isSeen("restart"), (step) => {
  if (seen === "restart") history.replaceState(null, "", `#restart/${step}`);
});
const scenarios = makeScenarios((run, asked) => {
  replay.load(run);
  depths.delete("restart");
  remember(asked);
  location.hash = "#restart";
});
panels[0].append(storesView.root);
panels[1].append(replay.root);
panels[2].append(scenarios.root);

// View B outlives a reload of the page: what was run is kept, and run again.
function remember(asked) {
  try {
    sessionStorage.setItem("asked", JSON.stringify(asked));
  } catch {
    // Then a reload shows an empty view.
  }
}

async function recall() {
  try {
    const asked = sessionStorage.getItem("asked");
    const [name, step] = location.hash.slice(1).split("/");
    if (asked !== null) replay.load(await askForRun(JSON.parse(asked)), name === "restart" ? Number(step) || 0 : 0);
  } catch {
    // Then the view stays empty, and says how to fill it.
  }
}

async function follow() {
  const [name, rest] = location.hash.slice(1).split("/");
  show(VIEWS.includes(name) ? name : "stores");
  if (seen === "restart" && rest !== undefined) replay.go(Number(rest) || 0);
  if (seen === "scenarios" && rest !== undefined) {
    try {
      scenarios.open(await unpackScenario(rest));
    } catch (reason) {
      document.getElementById("notice").replaceChildren(el("p", { class: "error", role: "alert" }, `This link holds no scenario: ${reason.message}`));
    }
  }
}

function show(name) {
  const another = seen !== name;
  if (another) depths.set(seen, window.scrollY);
  seen = name;
  VIEWS.forEach((each, at) => {
    tabs[at].setAttribute("aria-selected", String(each === name));
    tabs[at].tabIndex = each === name ? 0 : -1;
    panels[at].hidden = each !== name;
  });
  document.getElementById("notice").replaceChildren();
  if (name !== "restart") replay.stop();
  if (another) window.scrollTo(0, depths.get(name) ?? 0);
}

tabs.forEach((tab, at) => {
  tab.addEventListener("click", () => { location.hash = `#${VIEWS[at]}`; });
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: VIEWS.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = tabs[(to + VIEWS.length) % VIEWS.length];
    next.focus();
    next.click();
  });
});

// Light and dark: as the system says, until somebody chooses.
const THEMES = ["system", "light", "dark"];
const theme = document.getElementById("theme");
function setTheme(name) {
  document.documentElement.dataset.theme = name;
  theme.textContent = `◐ ${name}`;
  try {
    localStorage.setItem("theme", name);
  } catch {
    // Then it is chosen anew the next time.
  }
}
theme.addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]));
let storedTheme = null;
try {
  storedTheme = localStorage.getItem("theme");
} catch {
  storedTheme = null;
}
setTheme(THEMES.includes(storedTheme) ? storedTheme : "system");

window.addEventListener("hashchange", follow);
follow();
recall();
