import type { Document, LineCounter } from "yaml";

/** More than hand-written files need. The parser is recursive, and a few thousand levels crash the process. */
const maxNesting = 64;
/** Far more than hand-written files need, and far fewer than a "billion laughs" attack does. */
const maxAliases = 100;
const maxShown = 200;

/**
 * Limit of YAML tokens in untrusted files (of a project): several times what hand-written files have. With this limit,
 * every input of 64 KiB is parsed or refused within 50 ms; constructs with superlinear cost, such as thousands of tags on
 * one node, need many tokens.
 */
export const maxForeignTokens = 4_000;

type ParsedYaml =
  | { readonly value: unknown; readonly document: Document.Parsed; readonly lines: LineCounter }
  /** Why the text was refused, as a predicate for the file name; `line` counts from 1. */
  | { readonly problem: string; readonly line?: number };

/**
 * Parses untrusted YAML: any text yields plain data (no cycles, no collections as keys, no dates or buffers) or a problem,
 * never an exception. Merge keys (`<<`) are ordinary keys.
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
    // With `uniqueKeys` the parser compares each key with all before it: seconds for thousands of keys.
    const document = parseDocument(text, {
      lineCounter: lines,
      merge: false,
      uniqueKeys: false,
      logLevel: "error",
      // Quotes the text in every error, of which there may be thousands.
      prettyErrors: false,
    });
    const [error] = document.errors;
    if (error !== undefined) return { problem: inOneLine(error), line: lines.linePos(error.pos[0]).line };
    let wrong: { readonly problem: string; readonly at: number } | undefined;
    visit(document, {
      Map(_key, { items }) {
        const known = new Set<string>();
        for (const { key } of items) {
          if (!isScalar(key)) continue;
          const name = String(key.value);
          if (known.has(name)) {
            wrong = { problem: `has the duplicate key ${shown(name)}`, at: key.range?.[0] ?? 0 };
            return visit.BREAK;
          }
          known.add(name);
        }
        return undefined;
      },
      Pair(_key, pair) {
        if (isScalar(pair.key) && typeof pair.key.value !== "object" && pair.key.value !== "__proto__") return;
        const at = (pair.key as { readonly range?: readonly [number, number, number] } | null)?.range?.[0] ?? 0;
        wrong = { problem: "has a key that is not a scalar", at };
        return visit.BREAK;
      },
      Node(_key, node) {
        if (node.tag === undefined || node.tag.startsWith("tag:yaml.org,2002:") || isMap(node)) {
          if (node.tag !== "tag:yaml.org,2002:binary") return;
        }
        wrong = { problem: `has the unsupported tag ${shown(node.tag)}`, at: node.range?.[0] ?? 0 };
        return visit.BREAK;
      },
    });
    if (wrong !== undefined) return { problem: wrong.problem, line: lines.linePos(wrong.at).line };
    const value: unknown = document.toJS({ maxAliasCount: maxAliases });
    // Throws for cycles.
    JSON.stringify(value);
    return { value, document, lines };
  } catch (error) {
    return { problem: reasonOf(error) };
  }
}

/** The line, from 1, of the node at a path of parsed YAML, or of the nearest one around it. */
export async function lineAt(
  { document, lines }: Extract<ParsedYaml, { readonly value: unknown }>,
  path: readonly PropertyKey[],
): Promise<number | undefined> {
  const { isNode } = await import("yaml");
  for (let { length } = path; length > 0; length -= 1) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
  }
  return undefined;
}

/** A value as YAML, with its texts as literal blocks. Parsing it gives the same value. */
export async function yamlOf(value: object): Promise<string> {
  const { stringify } = await import("yaml");
  return stringify(value, { lineWidth: 0, blockQuote: "literal", aliasDuplicateObjects: false });
}

function reasonOf(error: unknown): string {
  if (error instanceof ReferenceError) return "has too many aliases (*name)";
  if (error instanceof TypeError) return "has an alias (*name) inside its own anchor";
  return error instanceof Error ? inOneLine(error) : String(error);
}

function inOneLine({ message }: Error): string {
  const [first = "not valid YAML"] = message.split("\n");
  if (first.startsWith("Source contains multiple documents")) return "contains more than one document (---)";
  const text = first.replace(/ at line \d+, column \d+:?$/, "");
  // The parser quotes the text, which may be as long as the file.
  return text.length > maxShown ? `${text.slice(0, maxShown)}...` : text;
}

/** The name, quoted if it has unusual characters. */
function shown(name: string): string {
  return /^[\w.,!/:-]{1,60}$/.test(name) ? name : JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}...` : name);
}

/** The line where brackets, or dashes in one line, nest too deep. Brackets in strings count too. */
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
