import { type Node, type Pair, isCollection, isMap, isNode, isPair, isScalar, parseDocument, stringify } from "yaml";
import { advice } from "../../orchestrator/api/next-step.ts";
import { messageOf } from "../../orchestrator/util/values.ts";
import { BrokenConfig, linePosition, newlineOf } from "./config-file.ts";

/**
 * Edits YAML as text, so that everything else is kept byte for byte: the library's own writing changes indents and blank
 * lines. The caller compares the values of the result with the wanted ones.
 */

type Entry = Pair<Node, Node | null>;

/** The values of a document; undefined if it is empty. Throws `BrokenConfig` that names line and column. */
export function readYaml(text: string): unknown {
  const document = parsed(text);
  try {
    return document.toJS() ?? undefined;
  } catch (error) {
    throw new BrokenConfig(messageOf(error));
  }
}

/**
 * Sets the value at `path`, creating what is missing, or removes it for undefined. Throws `BrokenConfig` if that is inside
 * `{ … }`.
 */
export function setYaml(text: string, path: readonly string[], value: unknown): string {
  let node = parsed(text).contents;
  let outer: Entry | undefined;
  let entry: Entry | undefined;
  let siblings: readonly Entry[] = [];
  for (const [depth, key] of path.entries()) {
    const items: readonly Entry[] = isMap<Node, Node | null>(node) ? node.items : [];
    if (isCollection(node) && node.flow === true && items.length > 0) throw inBraces(text, entry);
    const found = items.find(({ key: name }) => isScalar(name) && name.value === key);
    if (found === undefined && value === undefined) return text;
    if (found === undefined) {
      const values = path.slice(depth).reduceRight<unknown>((inner, name) => ({ [name]: inner }), value);
      return inserted(text, items.at(-1), entry, values);
    }
    [outer, entry, siblings, node] = [entry, found, items, found.value];
  }
  if (entry === undefined) return text;
  if (value !== undefined) {
    const lines = linesOf({ [path.at(-1) ?? ""]: value }, columnOf(text, entry), newlineOf(text));
    return text.slice(0, entry.key.range?.[0]) + lines.trimStart() + text.slice(endOf(entry));
  }
  const start = text.lastIndexOf("\n", entry.key.range?.[0] ?? 0) + 1;
  const end = lineEnd(text, endOf(entry));
  const isLast = end === text.length && !text.endsWith("\n");
  const before = isLast ? text.slice(0, start).replace(/\r?\n$/, "") : text.slice(0, start);
  const at = siblings.length === 1 && outer !== undefined ? colonEnd(text, outer) : undefined;
  return (at === undefined ? before : `${before.slice(0, at)} {}${before.slice(at)}`) + text.slice(end);
}

/** Texts stay on their line, and none is taken for a number or a date. */
function linesOf(values: unknown, indent: number, newline: string): string {
  const style = { lineWidth: 0, defaultStringType: "QUOTE_DOUBLE", defaultKeyType: "PLAIN" } as const;
  return stringify(values, style).trimEnd().replaceAll(/^/gm, " ".repeat(indent)).replaceAll("\n", newline);
}

/** Adds `values` after `last`, else below `outer`, which is empty, else to an empty document. */
function inserted(text: string, last: Entry | undefined, outer: Entry | undefined, values: unknown): string {
  const newline = newlineOf(text);
  const colon = outer === undefined ? text.length : colonEnd(text, outer);
  // `key: {}` becomes `key:`.
  const kept = last === undefined && outer !== undefined ? text.slice(0, colon) + text.slice(endOf(outer)) : text;
  const at = lineEnd(kept, last === undefined ? colon : endOf(last));
  const indent = last === undefined ? (outer === undefined ? 0 : columnOf(text, outer) + 2) : columnOf(text, last);
  const block = linesOf(values, indent, newline);
  const isOpen = at > 0 && kept[at - 1] !== "\n";
  return kept.slice(0, at) + (isOpen ? newline + block : block + newline) + kept.slice(at);
}

function parsed(text: string) {
  const document = parseDocument<Node>(text, { prettyErrors: false });
  const [error] = document.errors;
  if (error !== undefined) throw new BrokenConfig(error.message, linePosition(text, error.pos[0]));
  return document;
}

function inBraces(text: string, entry: Entry | undefined): BrokenConfig {
  const name = entry === undefined ? "the document" : String(entry.key);
  const position = linePosition(text, entry?.key.range?.[0] ?? 0);
  return new BrokenConfig(`${name} is written in braces`, position, advice("write each key on a line of its own"));
}

const colonEnd = (text: string, { key }: Entry): number => text.indexOf(":", key.range?.[1]) + 1;

/** The end of an entry's last value. */
function endOf({ key, value }: Entry): number {
  let node: Node = value ?? key;
  while (isCollection(node) && node.flow !== true) {
    const last: unknown = node.items.at(-1);
    if (isPair<Node, Node | null>(last)) node = last.value ?? last.key;
    else if (isNode(last)) node = last;
    else break;
  }
  return node.range?.[1] ?? 0;
}

/** The start of the next line; `offset` itself if it starts one. */
function lineEnd(text: string, offset: number): number {
  const newline = offset > 0 && text[offset - 1] === "\n" ? offset - 1 : text.indexOf("\n", offset);
  return newline === -1 ? text.length : newline + 1;
}

function columnOf(text: string, { key }: Entry): number {
  return linePosition(text, key.range?.[0] ?? 0).column - 1;
}
