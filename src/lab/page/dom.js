// Making elements. The only module that creates nodes, and it never parses HTML: what comes from a store or from
// a recorded run becomes text or the value of an attribute, so that a key called "<script>" is just a strange key.

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

// Attributes that are properties of the element: set as such, or they would only be the initial value.
const AS_PROPERTY = new Set(["value", "checked", "disabled", "hidden", "tabIndex", "max", "min", "htmlFor"]);

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false && name !== "disabled") continue;
    if (typeof value === "function") node.addEventListener(name.replace(/^on/, ""), value);
    else if (AS_PROPERTY.has(name) && node.namespaceURI !== SVG_NAMESPACE) node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// el("button", {class: "big", onclick: f}, "Crash"): an element of HTML. Children are nodes or text.
export function el(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

// The same for a drawing.
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG_NAMESPACE, tag), props, children);
}

// Puts these children in place of what is in the node.
export function put(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

// A button with words, and what it does. A button of type "submit" would send a form.
export function button(words, onclick, props) {
  return el("button", { type: "button", onclick, ...props }, words);
}

// Whoever asked the system for less motion gets none.
export function motionWanted() {
  return !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

// Scrolls a box sideways, so that what lies from left to right in it can be seen, in its middle if possible.
export function scrollInto(box, left, right) {
  const middle = (left + right) / 2 - box.clientWidth / 2;
  if (left < box.scrollLeft + 30 || right > box.scrollLeft + box.clientWidth - 30) {
    box.scrollTo({ left: Math.max(0, middle), behavior: motionWanted() ? "smooth" : "auto" });
  }
}
