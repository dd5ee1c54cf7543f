// Makes one HTML file of a recorded run: the modules of view B in one script, the style sheet, and the run as JSON.
// `aries run --html` does the same in src/lab/one_file.rs, and a test compares the lists of modules.

// The order of concatenation; a module stands behind those that it imports. Names at the top level are unique.
export const ORDER = ["dom.js", "terms.js", "tape.js", "record-card.js", "pages.js", "run.js", "explain.js", "player.js",
  "replay.js", "standalone.js"];

// A module without its imports, and with nothing exported: ready to stand behind the others.
export function stripModule(source) {
  return source.split("\n").filter((line) => !line.startsWith("import ")).map((line) => line.replace(/^export /, "")).join("\n");
}

// JSON that can stand in a script element: no "<" is left in it that could end the element.
export function safeJson(value) {
  return JSON.stringify(value).replaceAll("<", "\\u003c").replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
}

// Puts the parts together. The policy forbids the file to talk to anybody.
export function assemble(modules, style, run) {
  const close = "</" + "script>";
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">
<title>ARIES: a restart, step by step</title>
<style>
${style}
</style>
</head>
<body>
<noscript>This lesson is a small program; it needs JavaScript.</noscript>
<script type="application/json" id="recorded-run">${safeJson(run)}${close}
<script type="module">
${modules.map(stripModule).join("\n")}
${close}
</body>
</html>
`;
}

// Fetches the parts from where this page came from, and lets the browser save the file.
export async function downloadOneFile(run, name) {
  const part = async (path) => {
    const response = await fetch(path);
    if (!response.ok) throw new Error(`${path}: status ${response.status}`);
    return response.text();
  };
  const [style, ...modules] = await Promise.all(["style.css", ...ORDER].map(part));
  const address = URL.createObjectURL(new Blob([assemble(modules, style, run)], { type: "text/html" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
