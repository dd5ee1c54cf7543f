// Talking to the lab's server and to the stores. Every answer is JSON; what goes wrong becomes an Error in words.

const PATIENCE = 5000;

// Thrown where no answer came: the store may be down, and what was asked of it may have happened or not.
export class NoAnswer extends Error {}

// Asks base + path; a body makes it a POST unless a method is given.
export async function ask(base, path, { method, body, patience = PATIENCE } = {}) {
  let response;
  let answer;
  try {
    response = await fetch(base + path, {
      method: method ?? (body === undefined ? "GET" : "POST"),
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(patience),
      cache: "no-store",
    });
    answer = await response.text();
  } catch {
    throw new NoAnswer("no answer");
  }
  let value;
  try {
    value = answer === "" ? null : JSON.parse(answer);
  } catch {
    throw new Error(`${path}: the answer is no JSON (status ${response.status})`);
  }
  if (!response.ok) throw new Error(value?.error ?? `${path}: status ${response.status}`);
  return value;
}

export const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// All keys of a store, up to so many: { items: Map, count, complete }.
export async function allKeys(base, most) {
  const items = new Map();
  let from = null;
  let count = 0;
  do {
    const limit = Math.min(500, most - items.size);
    const page = await ask(base, `/kv?limit=${limit}${from === null ? "" : `&from=${encodeURIComponent(from)}`}`);
    for (const { key, value } of page.items) items.set(key, value);
    count = page.count;
    from = page.next;
  } while (from !== null && from !== undefined && items.size < most);
  return { items, count, complete: from === null || from === undefined };
}
