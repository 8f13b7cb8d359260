/** Remembers values for as long as they all fit. */
export interface BoundedMap<Value> {
  /** Makes it the one that was used last. */
  get(key: string): Value | undefined;
  /** Without counting as a use. */
  peek(key: string): Value | undefined;
  set(key: string, value: Value): void;
}

/**
 * Values of at most so many characters together, as JSON; what was used longest ago is forgotten first, and what is too
 * large by itself is not kept.
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
