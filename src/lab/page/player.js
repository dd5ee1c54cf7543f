// The controls of a replay: forward, back, play and pause with a speed, a slider, and jumps to the phases. It knows how
// many steps there are, and nothing about what they mean.

import { button, el, put } from "./dom.js";

const SPEEDS = [["slow", 3000], ["normal", 1500], ["fast", 600], ["fastest", 150]];

// Makes a player that calls onStep(index) whenever the step changes. Keys work wherever `active()` is true; after one,
// afterKey() is called.
export function makePlayer(onStep, active, afterKey) {
  let [first, last, at, timer] = [0, 0, 0, null];
  const slider = el("input", { type: "range", "aria-label": "Step", oninput: () => go(Number(slider.value)) });
  const place = el("output", { class: "place" });
  const play = button("▶ Play", toggle, { class: "play", title: "Space" });
  const speed = el("select", { "aria-label": "Speed", title: "Speed", onchange: () => { if (timer) { stop(); start(); } } },
    SPEEDS.map(([name, wait]) => el("option", { value: wait }, name)));
  speed.value = "1500";
  const jumps = el("span", { class: "jumps" });
  const ribbon = el("div", { class: "ribbon", "aria-hidden": "true" });
  const root = el("div", { class: "player" },
    el("div", { class: "buttons" },
      button("|◀", () => go(first), { title: "First step (Home)", "aria-label": "First step" }),
      button("◀ Back", () => go(at - 1), { title: "Arrow left" }), play,
      button("Forward ▶", () => go(at + 1), { title: "Arrow right", class: "forward" }),
      button("▶|", () => go(last), { title: "Last step (End)", "aria-label": "Last step" }),
      speed, jumps),
    el("div", { class: "slide" }, slider, place), ribbon);

  function go(step) {
    at = Math.min(last, Math.max(first, step));
    slider.value = at;
    slider.setAttribute("aria-valuetext", `step ${at - first + 1} of ${last - first + 1}`);
    place.textContent = `step ${at - first + 1} of ${last - first + 1}`;
    if (at === last) stop();
    onStep(at);
  }

  function start() {
    if (at === last) go(first);
    timer = setInterval(() => go(at + 1), Number(speed.value));
    play.textContent = "❚❚ Pause";
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ Play";
  }

  function toggle() {
    if (timer) stop();
    else start();
  }

  document.addEventListener("keydown", (event) => {
    if (!active() || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest?.("input:not([type=range]), textarea, select, .hex")) return;
    if (event.key === " " && event.target.closest?.("button, a, summary, [role=button]")) return;
    const act = { ArrowRight: () => go(at + 1), ArrowLeft: () => go(at - 1), Home: () => go(first), End: () => go(last), " ": toggle }[event.key];
    if (event.target.closest?.("[role=tab]") || act === undefined) return;
    event.preventDefault();
    act();
    afterKey();
  });

  // A new run: steps from first to last, and its stretches { name, from, to } for the ribbon and the jumps.
  function load(from, to, stretches) {
    stop();
    [first, last] = [from, Math.max(from, to)];
    slider.min = first;
    slider.max = last;
    slider.disabled = first === last;
    put(ribbon, stretches.map(({ name, from: begin, to: end }) => {
      const part = el("span", { class: `stretch phase-${name}` }, name === "crash" ? "⚡" : name);
      part.style.flexGrow = String(end - begin + 1);
      return part;
    }));
    put(jumps, stretches.filter(({ name }) => name !== "running").map(({ name, from: begin }) =>
      button(name === "crash" ? "⚡ crash" : name, () => go(begin), { class: `jump phase-${name}` })));
  }

  return { root, load, go, stop };
}
