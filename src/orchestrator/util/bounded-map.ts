/**
 * A least-recently-used cache. Holds keys and values of at most `maxCharacters` in total, as JSON. Least recently used entries are removed first;
 * values above the limit are not stored.
 */
export function createBoundedMap<Value>(maxCharacters: number) {
  const entries = new Map<string, { readonly value: Value; readonly characters: number }>();
  let characters = 0;

  function remove(key: string): void {
    characters -= entries.get(key)?.characters ?? 0;
    entries.delete(key);
  }

  return {
    /** Marks the value as most recently used. */
    get(key: string): Value | undefined {
      const found = entries.get(key);
      if (found === undefined) return undefined;
      entries.delete(key);
      entries.set(key, found);
      return found.value;
    },
    /** Does not count as a use. */
    peek: (key: string): Value | undefined => entries.get(key)?.value,
    set(key: string, value: Value): void {
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
