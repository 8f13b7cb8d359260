import { isDeepStrictEqual } from "node:util";
import { type Node, type ParseError, createScanner, getNodeValue, parseTree, printParseErrorCode } from "jsonc-parser";
import { advice } from "../../orchestrator/api/next-step.ts";
import { BrokenConfig, linePosition, newlineOf } from "./config-file.ts";
import { readToml, setTomlValue } from "./toml-edit.ts";
import { isRecord } from "../../orchestrator/util/values.ts";
import { readYaml, setYaml } from "./yaml-edit.ts";

/** `json`: strict, since its client doesn't accept comments. */
type ConfigFormat = keyof typeof formats;

/** `read` returns undefined for a document of white space and comments. Both throw `BrokenConfig`. */
const formats = {
  json: { read: (text: string) => readJson(text, true), set: setJson },
  jsonc: { read: (text: string) => readJson(text, false), set: setJson },
  toml: { read: readToml, set: setTomlValue },
  yaml: { read: readYaml, set: setYaml },
} as const;

/** The position of an entry in a file. */
export interface EntryLocation {
  readonly format: ConfigFormat;
  readonly container: string;
  readonly name: string;
}

type Values = Readonly<Record<string, unknown>>;

/** Returns the entry; undefined if there is none. Throws `BrokenConfig` for a text that can't be parsed. */
export function readEntry(text: string, { format, container, name }: EntryLocation): Values | undefined {
  const entries = tableAt(formats[format].read(text), container, container);
  return entries === undefined ? undefined : tableAt(entries, name, `${container}.${name}`);
}

/** Whether the file has the object that contains entries, even if empty. */
export function hasContainer(text: string, { format, container }: EntryLocation): boolean {
  return tableAt(formats[format].read(text), container, container) !== undefined;
}

/** Returns the text with a new entry. Throws `BrokenConfig` if the edit would change anything else. */
export function addEntry(text: string, location: EntryLocation, entry: Values): string {
  const { format, container, name } = location;
  return checked(text, formats[format].set(text, [container, name], entry), location, entry);
}

/** Returns the text with some values of the entry changed. Throws like `addEntry`. */
export function changeEntry(text: string, location: EntryLocation, changes: Values): string {
  const { format, container, name } = location;
  let after = text;
  let entry = readEntry(text, location) ?? {};
  for (const [key, value] of Object.entries(changes)) {
    after = formats[format].set(after, [container, name, key], value);
    const { [key]: _old, ...others } = entry;
    entry = value === undefined ? others : { ...others, [key]: value };
  }
  return checked(text, after, location, entry);
}

/** Returns the text without the entry and, with `dropContainer`, without its container if that is empty then. */
export function removeEntry(text: string, location: EntryLocation, dropContainer: boolean): string {
  const { format, container, name } = location;
  const { read, set } = formats[format];
  const after = checked(text, set(text, [container, name], undefined), location, undefined);
  const rest = tableAt(read(after), container, container);
  const isEmpty = rest !== undefined && Object.keys(rest).length === 0;
  return isEmpty && dropContainer ? set(after, [container], undefined) : after;
}

function readJson(text: string, isStrict: boolean): unknown {
  const root = parse(text, isStrict);
  return root === undefined ? undefined : getNodeValue(root);
}

function tableAt(document: unknown, key: string, name: string): Values | undefined {
  if (document === undefined) return undefined;
  if (!isRecord(document)) throw new BrokenConfig("the document is not an object");
  const value = Object.hasOwn(document, key) ? document[key] : undefined;
  // YAML's `key:` is null.
  if (value === undefined || value === null) return undefined;
  if (!isRecord(value)) throw new BrokenConfig(`"${name}" is not an object`);
  return value;
}

/** Returns `after`. Throws if it differs from `before` in more than the entry. */
function checked(before: string, after: string, location: EntryLocation, entry: Values | undefined): string {
  const { format, container, name } = location;
  const { read } = formats[format];
  const old = read(before) ?? {};
  const entries = tableAt(old, container, container) ?? {};
  const { [name]: _old, ...others } = entries;
  const wanted = { ...others, ...(entry !== undefined && { [name]: entry }) };
  const { [container]: _container, ...rest } = old as Values;
  const isContainerKept = entry !== undefined || hasContainer(after, location);
  const expected = { ...rest, ...(isContainerKept && { [container]: wanted }) };
  if (isDeepStrictEqual(plain(read(after)), plain(expected))) return after;
  throw new BrokenConfig(
    `"${container}.${name}" can't be changed there without changing something else`,
    undefined,
    advice("change it by hand"),
  );
}

/** Copies values into plain objects: parsers differ in the prototypes of their objects. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

/**
 * Edits JSON and JSONC as text, so that everything else is kept byte for byte. `modify` of jsonc-parser can't: it reformats
 * the lines around an entry, separates a comment from the property before it, and removes the comments beside an entry.
 */

/** `SyntaxKind.LineCommentTrivia` and `EOF`; the enum does not exist at run time. */
const lineComment = 12;
const endOfFile = 17;

interface Style {
  readonly newline: string;
  readonly indent: string;
}

/**
 * Sets the value at `path`, creating missing objects, or removes it for undefined. Throws `BrokenConfig` if a part of `path`
 * is not an object. Whether comments are allowed is checked by reading the text before and after.
 */
function setJson(text: string, path: readonly string[], value: unknown): string {
  const root = parse(text, false);
  if (value === undefined) return root === undefined ? text : removeJson(text, root, path);
  const style = styleOf(text, root);
  if (root === undefined) {
    const kept = text.trimEnd();
    const made = render(nest(path, value), "", style);
    return kept === "" ? made + style.newline : kept + style.newline + made + style.newline;
  }
  const { node, property, depth } = find(text, root, path);
  if (depth === path.length) {
    const old = text.slice(node.offset, node.offset + node.length);
    const made = old.includes("\n")
      ? render(value, lineIndent(text, (property ?? node).offset), style)
      : renderInline(value);
    return splice(text, node.offset, node.offset + node.length, made);
  }
  return insertProperty(text, node, path[depth] ?? "", nest(path.slice(depth + 1), value), style);
}

/** Removes the value at `path`, if there is one. */
function removeJson(text: string, root: Node, path: readonly string[]): string {
  const { property, depth } = find(text, root, path);
  const object = property?.parent;
  if (depth < path.length || property === undefined || object === undefined) return text;
  const properties = object.children ?? [];
  const index = properties.indexOf(property);
  const end = property.offset + property.length;
  const start = startOfWhiteSpace(text, property.offset);
  if (properties.length === 1) {
    const comma = commaAfter(text, end);
    const open = object.offset + 1;
    const close = object.offset + object.length - 1;
    const rest = text.slice(open, start) + text.slice(comma === undefined ? end : comma + 1, close);
    if (rest.trim() === "") return splice(text, open, close, "");
    return cut(text, start, comma === undefined ? end : comma + 1, property.offset);
  }
  const comma = commaAfter(text, end);
  if (comma !== undefined) return cut(text, start, comma + 1, property.offset);
  // The last property: remove the comma before it, too.
  const previous = properties[index - 1];
  const before = previous === undefined ? undefined : commaAfter(text, previous.offset + previous.length);
  const without = cut(text, start, end, property.offset);
  return before === undefined ? without : splice(without, before, before + 1, "");
}

function parse(text: string, isStrict: boolean): Node | undefined {
  const errors: ParseError[] = [];
  const root = parseTree(text, errors, {
    disallowComments: isStrict,
    allowTrailingComma: !isStrict,
    allowEmptyContent: true,
  });
  const [error] = errors;
  if (error !== undefined) {
    const what = printParseErrorCode(error.error)
      .replaceAll(/(?<=[a-z])(?=[A-Z])/g, " ")
      .toLowerCase();
    throw new BrokenConfig(what, linePosition(text, error.offset));
  }
  return root;
}

/** Follows `path` as far as the document has it. */
function find(text: string, root: Node, path: readonly string[]) {
  let node = root;
  let property: Node | undefined;
  for (let depth = 0; depth < path.length; depth += 1) {
    if (node.type !== "object") {
      const what = depth === 0 ? "the document" : `"${path.slice(0, depth).join(".")}"`;
      throw new BrokenConfig(`${what} is not an object`, linePosition(text, node.offset));
    }
    const found = (node.children ?? []).filter((child) => child.children?.[0]?.value === path[depth]);
    const [first, second] = found;
    if (second !== undefined) {
      throw new BrokenConfig(`duplicate key "${path[depth] ?? ""}"`, linePosition(text, second.offset));
    }
    const value = first?.children?.[1];
    if (value === undefined) return { node, property: undefined, depth };
    node = value;
    property = first;
  }
  return { node, property, depth: path.length };
}

function insertProperty(text: string, object: Node, key: string, value: unknown, style: Style): string {
  const properties = object.children ?? [];
  const first = properties[0];
  const last = properties.at(-1);
  const close = object.offset + object.length - 1;
  const outer = lineIndent(text, object.offset);
  if (first === undefined || last === undefined) {
    const indent = outer + style.indent;
    const line = `${style.newline}${indent}${JSON.stringify(key)}: ${render(value, indent, style)}`;
    const inner = text.slice(object.offset + 1, close);
    const kept = inner.trimEnd();
    const tail = kept === "" ? "" : inner.slice(kept.length);
    const ending = tail.includes("\n") ? tail : style.newline + outer;
    return splice(text, object.offset + 1, close, kept + line + ending);
  }
  const lastEnd = last.offset + last.length;
  const trailingComma = commaAfter(text, lastEnd);
  const anchor = trailingComma === undefined ? lastEnd : trailingComma + 1;
  const comma = trailingComma === undefined ? "," : "";
  const ending = trailingComma === undefined ? "" : ",";
  const isOnOneLine = !text.slice(object.offset, first.offset).includes("\n");
  if (isOnOneLine) {
    return splice(text, anchor, anchor, `${comma} ${JSON.stringify(key)}: ${renderInline(value)}${ending}`);
  }
  const indent = startsItsLine(text, last.offset) ? lineIndent(text, last.offset) : outer + style.indent;
  const made = `${style.newline}${indent}${JSON.stringify(key)}: ${render(value, indent, style)}${ending}`;
  // A comment after the last property belongs to it.
  const at = endOfLineAfter(text, anchor);
  return text.slice(0, anchor) + comma + text.slice(anchor, at) + made + text.slice(at);
}

function styleOf(text: string, root: Node | undefined): Style {
  const newline = newlineOf(text);
  const property = root?.children?.[0];
  const found =
    property !== undefined && root?.type === "object" && startsItsLine(text, property.offset)
      ? lineIndent(text, property.offset)
      : "";
  return { newline, indent: found === "" ? "  " : found };
}

function nest(path: readonly string[], value: unknown): unknown {
  return path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
}

function render(value: unknown, indent: string, style: Style): string {
  return JSON.stringify(value, undefined, style.indent).replaceAll("\n", style.newline + indent);
}

function renderInline(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(renderInline).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const properties = Object.entries(value).map(([key, inner]) => `${JSON.stringify(key)}: ${renderInline(inner)}`);
  return `{ ${properties.join(", ")} }`;
}

function splice(text: string, start: number, end: number, replacement: string): string {
  return text.slice(0, start) + replacement + text.slice(end);
}

/** Removes `start..end`, but starts at `property` if the rest of the line would become part of a comment before it. */
function cut(text: string, start: number, end: number, property: number): string {
  const isNewlineNext = /^[ \t]*(\r?\n|$)/.test(text.slice(end));
  return splice(text, !isNewlineNext && isInLineComment(text, start) ? property : start, end, "");
}

/** Whether `offset` is in a `//` comment. */
function isInLineComment(text: string, offset: number): boolean {
  const scanner = createScanner(text);
  let token: number = scanner.scan();
  while (token !== endOfFile && scanner.getPosition() < offset) token = scanner.scan();
  return token === lineComment && scanner.getTokenOffset() < offset;
}

/** The start of the spaces before `offset`, and of one line break before them. */
function startOfWhiteSpace(text: string, offset: number): number {
  let at = offset;
  while (text[at - 1] === " " || text[at - 1] === "\t") at -= 1;
  if (text[at - 1] === "\n") at -= text[at - 2] === "\r" ? 2 : 1;
  return at;
}

function startsItsLine(text: string, offset: number): boolean {
  return text.slice(text.lastIndexOf("\n", offset - 1) + 1, offset).trim() === "";
}

/** The offset of the next comma, if only white space and comments precede it. */
function commaAfter(text: string, offset: number): number | undefined {
  const pattern = /(?:\s|\/\/[^\n\r]*|\/\*[^]*?\*\/)*,/y;
  pattern.lastIndex = offset;
  return pattern.test(text) ? pattern.lastIndex - 1 : undefined;
}

/** The end of the line if only spaces and comments follow `offset`, else `offset`. */
function endOfLineAfter(text: string, offset: number): number {
  const pattern = /(?:[ \t]|\/\*(?:(?!\*\/)[^\n\r])*\*\/)*(?:\/\/[^\n\r]*)?(?=\r?\n)/y;
  pattern.lastIndex = offset;
  return pattern.test(text) ? pattern.lastIndex : offset;
}

/** The indentation of the line at `offset`. */
function lineIndent(text: string, offset: number): string {
  return /^[ \t]*/.exec(text.slice(text.lastIndexOf("\n", offset - 1) + 1, offset))?.[0] ?? "";
}
