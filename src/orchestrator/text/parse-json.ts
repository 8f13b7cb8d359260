/**
 * Levels that JSON from outside may nest. Messages, manifests and stores have fewer than twenty, and a JSON Schema of
 * more could not be made a grammar of.
 */
export const maxJsonDepth = 128;

const quote = 0x22;
const backslash = 0x5c;

/**
 * Whether arrays and objects nest deeper than that, found by counting brackets: `[[[…` of 4 MB takes `JSON.parse`
 * 200 MB and a second, and what nests so deep overflows the stack of the code that walks it.
 */
export function isTooDeep(text: string, maxDepth: number = maxJsonDepth): boolean {
  if (text.length <= maxDepth) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      at = endOfString(text, at + 1);
      // JSON.parse refuses it, and what stands before is not too deep.
      if (at === -1) return false;
    }
    // [ and {, then ] and }: each pair differs by 0x20.
    else if ((code | 0x20) === 0x7b) {
      depth += 1;
      if (depth > maxDepth) return true;
    } else if ((code | 0x20) === 0x7d) depth -= 1;
  }
  return false;
}

/** Where the quote is that ends the string; -1 without one. */
function endOfString(text: string, from: number): number {
  for (let at = from; ; at += 1) {
    at = text.indexOf('"', at);
    if (at === -1) return -1;
    let escapes = 0;
    while (text.charCodeAt(at - 1 - escapes) === backslash && at - 1 - escapes >= from) escapes += 1;
    if (escapes % 2 === 0) return at;
  }
}

/** For every text that another program or person wrote. Throws `SyntaxError`, as `JSON.parse`, and for too many levels. */
export function parseJson(text: string): unknown {
  if (isTooDeep(text)) throw new SyntaxError(`it nests deeper than ${maxJsonDepth} levels`);
  return JSON.parse(text);
}
