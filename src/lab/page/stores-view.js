// View A, "Two stores": the store with the log and the one without, side by side, and controls that do the same to both.

import { ask, wait } from "./api.js";
import { button, el, put } from "./dom.js";
import { makeLiveLog } from "./live-log.js";
import { asValue, makeStore } from "./store.js";

// Makes the view; active() says whether it is the one that is seen: only then are the stores asked each second.
export function makeStoresView(active) {
  const stores = [];
  const live = [];
  const root = el("div", null, el("p", { class: "quiet" }, "Looking for the stores …"));

  function build(config) {
    for (const description of config.stores) {
      const store = makeStore(description);
      stores.push(store);
      if (description.log) live.push({ store, panel: makeLiveLog(description.url) });
    }
    put(root, drawBoth(), el("div", { class: "two-stores" }, stores.map((store) => store.root)), live.map(({ panel }) => panel.root));
  }

  // The bar above: a put, a load, a crash in all stores at once, so that they differ by the log only.
  function drawBoth() {
    const key = el("input", { placeholder: "key", "aria-label": "Key, both stores", autocomplete: "off", required: true });
    const value = el("input", { placeholder: "value", "aria-label": "Value, both stores", autocomplete: "off" });
    const all = (act) => () => Promise.all(stores.filter((store) => store.isUp()).map(act));
    const submit = (event) => {
      event.preventDefault();
      all((store) => store.putKey(key.value, asValue(value.value)))();
    };
    return el("section", { class: "card both" }, el("h2", null, "In both stores"),
      el("form", { class: "put", onsubmit: submit }, key, value, el("button", { type: "submit" }, "Put")),
      el("div", { class: "buttons" }, button("Load 20", all((store) => store.load(20))),
        button("⚡ Crash both", all((store) => store.crash()), { class: "crash" })));
  }

  async function watch() {
    for (;;) {
      if (active() && document.visibilityState === "visible") await tick();
      await wait(1000);
    }
  }

  async function tick() {
    try {
      if (stores.length === 0) build(await ask("", "/lab/config"));
    } catch (reason) {
      put(root, el("p", { class: "error", role: "alert" }, `The lab's server does not say where the stores are: ${reason.message}`));
      return;
    }
    await Promise.all(stores.map(async (store) => {
      const stats = await store.refresh();
      for (const { store: owner, panel } of live) if (owner === store) await panel.refresh(stats);
    }));
  }

  watch();
  return { root };
}
