// What a store has acknowledged, as its client remembers it, and what a crash made of that. A store may lose what it did
// not acknowledge, and may keep it as well; what it acknowledged must come back exactly so.

// The memory of one client; values are compared as JSON.
export class Acknowledged {
  #values = new Map();
  #deleted = new Set();
  #unknown = new Set();

  // The store said that the key has this value: it acknowledged a put, or gave it when asked.
  put(key, value) {
    this.#values.set(key, JSON.stringify(value));
    this.#deleted.delete(key);
    this.#unknown.delete(key);
  }

  // The store acknowledged that the key is gone.
  remove(key) {
    this.#values.delete(key);
    this.#deleted.add(key);
    this.#unknown.delete(key);
  }

  // No answer came: whatever becomes of the key is right.
  unsure(key) {
    this.#unknown.add(key);
  }

  // The store acknowledged that it has no keys any more: all that are known were deleted.
  clear() {
    for (const key of this.keys()) this.remove(key);
  }

  keys() {
    return [...new Set([...this.#values.keys(), ...this.#unknown])];
  }

  get size() {
    return this.#values.size;
  }

  // What a restart made of it: lists of [key, value] that came back, were lost, or came back with another value, and
  // the keys that came back from the dead. `found` is a Map of all that the store has now.
  compare(found) {
    const result = { back: [], lost: [], changed: [], risen: [], unknown: this.#unknown.size };
    for (const [key, json] of this.#values) {
      if (this.#unknown.has(key)) continue;
      const now = found.has(key) ? JSON.stringify(found.get(key)) : undefined;
      const kind = now === undefined ? "lost" : now === json ? "back" : "changed";
      result[kind].push([key, JSON.parse(json)]);
    }
    for (const key of this.#deleted) {
      if (found.has(key) && !this.#unknown.has(key)) result.risen.push(key);
    }
    return result;
  }

  // From now on: just what the store has.
  adopt(found) {
    for (const memory of [this.#values, this.#deleted, this.#unknown]) memory.clear();
    for (const [key, value] of found) this.put(key, value);
  }
}
