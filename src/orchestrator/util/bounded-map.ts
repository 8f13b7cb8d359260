/** A least-recently-used cache with a size limit. */
interface BoundedMap<Value> {
  /** Marks the value as most recently used. */
  get(key: string): Value | undefined;
  /** Does not count as a use. */
  peek(key: string): Value | undefined;
  set(key: string, value: Value): void;
}

/**
 * Holds keys and values of at most `maxCharacters` in total, as JSON. Least recently used entries are removed first;
 * values above the limit are not stored.
 */
export function createBoundedMap<Value>(maxCharacters: number): BoundedMap<Value> {
  const entries = new Map<string, { readonly value: Value; readonly characters: number }>();
  let characters = 0;

  function remove(key: string): void {
    characters -= entries.get(key)?.characters ?? 0;
    entries.delete(key);
  }

  return {
    get(key) {
      const found = entries.get(key);
      if (found === undefined) return undefined;
      entries.delete(key);
      entries.set(key, found);
      return found.value;
    },
    peek: (key) => entries.get(key)?.value,
    set(key, value) {
      remove(key);
      const entry = { value, characters: key.length + JSON.stringify(value).length };
      if (entry.characters > maxCharacters) return;
      entries.set(key, entry);
      characters += entry.characters;
      for (const oldest of entries.keys()) {
        if (characters <= maxCharacters) break;
        remove(oldest);
      }
    },
  };
}
