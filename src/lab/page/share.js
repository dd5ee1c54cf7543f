// A scenario in a link: { script, crash_at, survivors }, as the server takes them, as JSON, deflated where the browser can, as base64url.
// The first letter says which: z deflated, p plain.

const MOST_BYTES = 200000;

function toBase64Url(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function fromBase64Url(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}

// All bytes of a stream, unless they are more than a script can be: a link may come from anywhere.
async function drain(stream) {
  const chunks = [];
  let size = 0;
  const reader = stream.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    size += part.value.length;
    if (size > MOST_BYTES) throw new Error("the script in the link is too long");
    chunks.push(part.value);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

export async function packScenario(scenario) {
  const bytes = new TextEncoder().encode(JSON.stringify(scenario));
  if (typeof CompressionStream === "undefined") return `p${toBase64Url(bytes)}`;
  return `z${toBase64Url(await drain(new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate-raw"))))}`;
}

export async function unpackScenario(text) {
  const bytes = fromBase64Url(text.slice(1));
  const plain = text[0] === "z" ? await drain(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))) : bytes;
  const { script, crash_at: crashAt, survivors } = JSON.parse(new TextDecoder().decode(plain));
  if (typeof script !== "string") throw new Error("the link holds no script");
  const place = Number.isInteger(crashAt) ? crashAt : Number.isInteger(crashAt?.io) ? { io: crashAt.io } : null;
  return { script, crash_at: place, survivors: typeof survivors === "string" ? survivors : null };
}
