// The last module of a lesson in one HTML file: shows the recorded run that the file carries, and nothing else.
// The lab itself does not load it: its page begins with app.js. See README-for-embedding.txt.

import { el } from "./dom.js";
import { makeReplay } from "./replay.js";

function startStandalone(source) {
  const main = el("main", { class: "standalone" });
  document.body.append(el("header", null, el("h1", null, "ARIES: a restart, step by step")), main);
  const fromHash = () => Number(/step=(\d+)/.exec(location.hash)?.[1] ?? 0);
  const replay = makeReplay(() => true, (step) => history.replaceState(null, "", `#step=${step}`));
  main.append(replay.root);
  window.addEventListener("hashchange", () => replay.go(fromHash()));
  try {
    replay.load(JSON.parse(source), fromHash());
  } catch (error) {
    main.append(el("p", { class: "error", role: "alert" }, `The recorded run cannot be read: ${error.message}`));
  }
}

const recordedRun = document.getElementById("recorded-run");
if (recordedRun !== null) startStandalone(recordedRun.textContent);
