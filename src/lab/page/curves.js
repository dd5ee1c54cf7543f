// Small curves of the last two minutes, drawn by hand: puts a second, log, dirty pages, recovery window.

import { el, put, svg } from "./dom.js";

const SECONDS = 120;
const [WIDTH, HEIGHT, TOP, BOTTOM] = [260, 84, 8, 70];

const CURVES = [
  { key: "puts", label: "puts a second", unit: "" },
  { key: "log", label: "log since all pages were written, bytes", unit: "" },
  { key: "dirty", label: "dirty pages", unit: "" },
  { key: "window", label: "recovery window, bytes: what a restart would read", unit: "" },
];

// The panel: add({ puts, log, dirty, window }) each second, gap() where the store was away.
export function makeCurves() {
  const samples = [];
  const figures = CURVES.map(({ key, label }) => {
    const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: `curve curve-${key}` });
    const now = el("b", null, "–");
    return { key, label, drawing, now, root: el("figure", null, el("figcaption", null, label, " ", now), drawing) };
  });
  const root = el("div", { class: "curves" }, figures.map((figure) => figure.root));

  function add(sample) {
    samples.push(sample);
    samples.splice(0, samples.length - SECONDS);
    for (const figure of figures) drawCurve(figure, samples);
  }

  return { root, add, gap: () => samples.at(-1)?.gap ? undefined : add({ gap: true }) };
}

function drawCurve({ key, label, drawing, now }, samples) {
  const values = samples.map((sample) => (typeof sample[key] === "number" ? sample[key] : null));
  const most = Math.max(1, ...values.filter((value) => value !== null));
  const x = (at) => WIDTH - ((samples.length - 1 - at) * WIDTH) / (SECONDS - 1);
  const y = (value) => BOTTOM - (value / most) * (BOTTOM - TOP);
  const last = values.at(-1);
  now.textContent = last === null ? "–" : String(Math.round(last * 10) / 10);
  drawing.setAttribute("aria-label", `${label}: now ${now.textContent}, at most ${Math.round(most)} in two minutes`);
  put(drawing,
    svg("path", { class: "axis", d: `M0 ${BOTTOM}H${WIDTH}M0 ${TOP}H${WIDTH}` }),
    svg("text", { class: "axis-words", x: 2, y: TOP + 11 }, String(Math.round(most))),
    svg("text", { class: "axis-words", x: 2, y: HEIGHT - 1 }, "2 minutes ago"),
    svg("text", { class: "axis-words end", x: WIDTH - 2, y: HEIGHT - 1 }, "now"),
    svg("path", { class: "line", d: pathOf(values, x, y) }),
    samples.map((sample, at) => sample.gap && svg("g", { class: "crash-line" },
      svg("path", { d: `M${x(at)} ${TOP}V${BOTTOM}` }), svg("text", { x: x(at) - 5, y: TOP + 12 }, "⚡"))));
}

// A line that is broken where there is no value.
function pathOf(values, x, y) {
  let path = "";
  values.forEach((value, at) => {
    if (value === null) return;
    const begins = at === 0 || values[at - 1] === null;
    path += `${begins ? "M" : "L"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
  });
  return path;
}
