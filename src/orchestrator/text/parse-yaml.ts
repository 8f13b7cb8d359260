import type { Document, LineCounter } from "yaml";

/** Deeper nesting than a person writes; the parser recurses, and at some thousand levels it takes the process down. */
const maxNesting = 64;
/** Far more than a person writes, and far fewer than a bomb. */
const maxAliases = 100;
const maxShown = 200;

/**
 * Most tokens of YAML that a stranger may have written, a project's file or template: several times what a person
 * writes. With 64 KiB of them every input is read or refused within 50 ms; what grows faster than its input, such as
 * thousands of tags on one node, needs many tokens.
 */
export const maxForeignTokens = 4_000;

export type ParsedYaml =
  | { readonly value: unknown; readonly document: Document.Parsed; readonly lines: LineCounter }
  /** Why it is no YAML that we read, in words that follow the file's name; `line` counts from 1. */
  | { readonly problem: string; readonly line?: number };

/**
 * The one way to read YAML that somebody else may have written: text of any kind becomes plain data (no cycles, no keys
 * that are collections, no dates or buffers) or a problem, never an exception. `merge` keys (`<<`) are plain keys.
 */
export async function parseYaml(
  text: string,
  maxBytes: number,
  maxTokens = Number.POSITIVE_INFINITY,
): Promise<ParsedYaml> {
  const bytes = Buffer.byteLength(text);
  if (bytes > maxBytes) return { problem: `is larger than ${maxBytes} bytes` };
  const deepLine = tooDeepAt(text);
  if (deepLine !== undefined) return { problem: `nests deeper than ${maxNesting} levels`, line: deepLine };
  const { parseDocument, Lexer, LineCounter: Lines, isMap, isScalar, visit } = await import("yaml");
  const lines = new Lines();
  let tokens = 0;
  for (const _token of new Lexer().lex(text)) {
    tokens += 1;
    if (tokens > maxTokens) return { problem: `has more than ${maxTokens} parts (keys, values, brackets, line ends)` };
  }
  try {
    // The parser compares each key with all before it: thousands of them would take it seconds.
    const document = parseDocument(text, {
      lineCounter: lines,
      merge: false,
      uniqueKeys: false,
      logLevel: "error",
      // It quotes the text for each error anew, and there may be thousands.
      prettyErrors: false,
    });
    const [error] = document.errors;
    if (error !== undefined) {
      return { problem: inOneLine(error), line: lines.linePos(error.pos[0]).line };
    }
    let wrong: { readonly problem: string; readonly at: number } | undefined;
    visit(document, {
      Map(_key, { items }) {
        const known = new Set<string>();
        for (const { key } of items) {
          if (!isScalar(key)) continue;
          const name = String(key.value);
          if (known.has(name)) {
            wrong = { problem: `has the key ${shown(name)} twice`, at: key.range?.[0] ?? 0 };
            return visit.BREAK;
          }
          known.add(name);
        }
        return undefined;
      },
      Pair(_key, pair) {
        if (isScalar(pair.key) && typeof pair.key.value !== "object" && pair.key.value !== "__proto__") return;
        const at = (pair.key as { readonly range?: readonly [number, number, number] } | null)?.range?.[0] ?? 0;
        wrong = { problem: "has a key that is no plain word", at };
        return visit.BREAK;
      },
      Node(_key, node) {
        if (node.tag === undefined || node.tag.startsWith("tag:yaml.org,2002:") || isMap(node)) {
          if (node.tag !== "tag:yaml.org,2002:binary") return;
        }
        wrong = { problem: `has the tag ${shown(node.tag)}, which means nothing here`, at: node.range?.[0] ?? 0 };
        return visit.BREAK;
      },
    });
    if (wrong !== undefined) return { problem: wrong.problem, line: lines.linePos(wrong.at).line };
    const value: unknown = document.toJS({ maxAliasCount: maxAliases });
    // Throws at cycles.
    JSON.stringify(value);
    return { value, document, lines };
  } catch (error) {
    return { problem: reasonOf(error) };
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof ReferenceError) return "has too many aliases (*name)";
  if (error instanceof TypeError) return "has an alias (*name) inside of what it stands for";
  return error instanceof Error ? inOneLine(error) : String(error);
}

function inOneLine({ message }: Error): string {
  const [first = "not valid YAML"] = message.split("\n");
  if (first.startsWith("Source contains multiple documents")) return "holds more than one document (---)";
  return cut(first.replace(/ at line \d+, column \d+:?$/, ""));
}

/** The parser quotes what it doesn't understand, and a name of somebody else's may be as long as the file. */
function cut(text: string): string {
  return text.length > maxShown ? `${text.slice(0, maxShown)}...` : text;
}

/** Quoted where it is no plain word. */
function shown(name: string): string {
  return /^[\w.,!/:-]{1,60}$/.test(name) ? name : JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}...` : name);
}

/** The line where brackets, or dashes in one line, nest too deep. Brackets in texts count too: who has 64 of them open? */
function tooDeepAt(text: string): number | undefined {
  let open = 0;
  for (let index = 0; index < text.length; index += 1) {
    const character = text[index];
    if (character === "[" || character === "{") open += 1;
    else if ((character === "]" || character === "}") && open > 0) open -= 1;
    if (open > maxNesting) return text.slice(0, index).split("\n").length;
  }
  const deep = text.split("\n").findIndex((line) => /^\s*(?:[-?:]\s+){64}/.test(line));
  return deep === -1 ? undefined : deep + 1;
}
