/** Flags with a value that clients start the server with; the daemon parses and validates them. */
const valueFlags: ReadonlySet<string> = new Set([
  "--root",
  "--model",
  "--provider",
  "--host",
  "--temperature",
  "--max-tokens",
  "--context-size",
  "--tools",
]);

/**
 * Whether a command line starts a client's stdio server through the daemon: it has only the server's own flags, and no
 * terminal is attached. Commands, `--standalone`, `--help` and invalid arguments are handled by the program.
 */
export function isServerCall(words: readonly string[], isTerminal: () => boolean): boolean {
  if (words.length === 0) return !isTerminal();
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? "";
    const equals = word.indexOf("=");
    if (!valueFlags.has(equals === -1 ? word : word.slice(0, equals))) return false;
    if (equals !== -1) continue;
    at += 1;
    const value = words[at];
    if (value === undefined || value.startsWith("-")) return false;
  }
  return true;
}
