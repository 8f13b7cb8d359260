/** Settings and sections under their old names. An old name is refused with the new one wherever a setting is given. */
export const renamedSettings: ReadonlyMap<string, string> = new Map([
  ["memory.injectTokens", "recall.injectTokens"],
  ["owner", "daemon"],
  ["owner.idleTimeout", "daemon.idleTimeout"],
]);

/** `memory.injectTokens is now recall.injectTokens`; undefined for a path that was not renamed. */
export function renamedText(path: readonly string[]): string | undefined {
  const old = path.join(".");
  const name = renamedSettings.get(old);
  return name === undefined ? undefined : `${old} is now ${name}`;
}

/** The old settings at or below a path: those of a section, or the section where it holds none of them. */
export function renamedBelow(
  path: readonly string[],
  isSet: (path: readonly string[]) => boolean,
): readonly (readonly string[])[] {
  const own = path.join(".");
  const below = [...renamedSettings.keys()].filter((old) => old.startsWith(`${own}.`)).map((old) => old.split("."));
  const given = below.filter(isSet);
  return given.length === 0 && renamedSettings.has(own) ? [path] : given;
}
