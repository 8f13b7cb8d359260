import { isDeepStrictEqual } from "node:util";
import type * as yamlModule from "yaml";
import type { Document, Pair, YAMLMap } from "yaml";
import { InvalidConfig } from "../api/errors.ts";
import { parseYaml } from "../util/parse-yaml.ts";
import type { Tree } from "./paths.ts";
import { isRecord } from "../util/values.ts";

/** A change of one value of a YAML text that keeps every other byte: comments, order, quotes, line ends. */
interface Edit {
  readonly path: readonly string[];
  /** Plain data; absent: the key is removed. */
  readonly value?: unknown;
}

/**
 * The text after the edit. Where the value can't be spliced in (a parent that is an alias, keys after `?`), the YAML
 * library writes the whole document, which keeps comments and order but not every space. Throws `InvalidConfig` where
 * neither works.
 */
export async function editText(text: string, edit: Edit, maxBytes: number): Promise<string> {
  const yaml = await import("yaml");
  const before = await parseYaml(text, maxBytes);
  if ("problem" in before) throw new InvalidConfig(`the text can't be changed: it ${before.problem}`);
  const expected = withoutEmpty(changed(isRecord(before.value) ? before.value : {}, edit));
  const isExpected = async (candidate: string): Promise<boolean> => {
    const after = await parseYaml(candidate, maxBytes);
    return "value" in after && isDeepStrictEqual(withoutEmpty(after.value ?? {}), expected);
  };
  const spliced = new Splicer(text, yaml).apply(before.document, edit);
  if (spliced !== undefined && (await isExpected(spliced))) return spliced;
  const rewritten = rewrite(before.document, edit, yaml);
  if (rewritten !== undefined && (await isExpected(rewritten))) return rewritten;
  throw new InvalidConfig(`${edit.path.join(".")} can't be changed in a file written like this`, {
    next: { step: "editSettings" },
  });
}

type Yaml = typeof yamlModule;

interface MapEntry {
  readonly map: YAMLMap;
  readonly pair: Pair;
}

/** Splices one edit into a text; each method that changes it returns the new text, undefined where it can't. */
class Splicer {
  readonly #text: string;
  readonly #yaml: Yaml;
  readonly #lineEnd: string;

  constructor(text: string, yaml: Yaml) {
    this.#text = text;
    this.#yaml = yaml;
    this.#lineEnd = text.includes("\r\n") ? "\r\n" : "\n";
  }

  apply({ contents }: Document.Parsed, { path, value }: Edit): string | undefined {
    return value === undefined ? this.#remove(contents, path) : this.#set(contents, path, value);
  }

  #replace(start: number, end: number, by: string): string {
    return this.#text.slice(0, start) + by + this.#text.slice(end);
  }

  /** The start of the next line; `position` itself at the start of a line. */
  #nextLine(position: number): number {
    if (position === 0 || this.#text[position - 1] === "\n") return position;
    const end = this.#text.indexOf("\n", position);
    return end === -1 ? this.#text.length : end + 1;
  }

  #lineStart(position: number): number {
    return this.#text.lastIndexOf("\n", position - 1) + 1;
  }

  /** Inserts lines at the start of a line, or after a last line without a line end. */
  #insertLines(position: number, lines: string): string {
    const isOpen = position > 0 && this.#text[position - 1] !== "\n";
    return this.#replace(position, position, isOpen ? this.#lineEnd + lines : lines);
  }

  #keyRange({ key }: Pair): readonly [number, number] | undefined {
    return this.#yaml.isScalar(key) && key.range ? [key.range[0], key.range[1]] : undefined;
  }

  #colonOf(pair: Pair): number | undefined {
    const key = this.#keyRange(pair);
    const colon = key === undefined ? -1 : this.#text.indexOf(":", key[1]);
    return colon === -1 ? undefined : colon;
  }

  #endOf(pair: Pair): number | undefined {
    if (!this.#yaml.isNode(pair.value) || !pair.value.range) return undefined;
    const [start, end] = pair.value.range;
    return start === end ? (this.#colonOf(pair) ?? end) + 1 : end;
  }

  /** The spaces before a key; undefined when its line starts with anything else. */
  #indentOf(pair: Pair): string | undefined {
    const key = this.#keyRange(pair);
    const before = key === undefined ? undefined : this.#text.slice(this.#lineStart(key[0]), key[0]);
    return before !== undefined && /^ *$/.test(before) ? before : undefined;
  }

  #isEmpty(node: unknown): boolean {
    return node === null || (this.#yaml.isScalar(node) && node.value === null);
  }

  #find(map: YAMLMap, key: string): Pair | undefined {
    return map.items.find((pair) => this.#yaml.isScalar(pair.key) && String(pair.key.value) === key);
  }

  #replaceValue(pair: Pair, value: unknown): string | undefined {
    const colon = this.#colonOf(pair);
    const node = pair.value;
    if (colon === undefined || !this.#yaml.isNode(node) || !node.range) return undefined;
    const [start, end] = node.range;
    const line = inOneLine(value);
    if (start === end) return this.#replace(colon + 1, colon + 1, ` ${line}`);
    const isBlock = this.#text[end - 1] === "\n";
    if (!this.#yaml.isCollection(node) || node.flow === true)
      return this.#replace(start, end, isBlock ? line + this.#lineEnd : line);
    // Removes the value's lines; keeps a comment after the key.
    if (this.#nextLine(colon) > start) return undefined;
    return (
      this.#text.slice(0, colon + 1) +
      ` ${line}` +
      this.#text.slice(colon + 1, this.#lineStart(start)) +
      this.#text.slice(end)
    );
  }

  #insert(map: YAMLMap, path: readonly string[], value: unknown): string | undefined {
    const last = map.items.at(-1);
    if (map.flow === true) {
      if (!map.range) return undefined;
      const end = last === undefined ? map.range[0] + 1 : this.#endOf(last);
      if (end === undefined) return undefined;
      return this.#replace(end, end, `${last === undefined ? "" : ", "}${inFlow(path, value)}`);
    }
    const [first] = map.items;
    const indent = first && this.#indentOf(first);
    const end = last && this.#endOf(last);
    if (indent === undefined || end === undefined) return undefined;
    return this.#insertLines(this.#nextLine(end), inBlock(path, value, indent, this.#lineEnd));
  }

  #set(contents: unknown, path: readonly string[], value: unknown): string | undefined {
    if (this.#isEmpty(contents)) return this.#insertLines(this.#text.length, inBlock(path, value, "", this.#lineEnd));
    let map = contents;
    for (const [index, key] of path.entries()) {
      if (!this.#yaml.isMap(map)) return undefined;
      const pair = this.#find(map, key);
      if (pair === undefined) return this.#insert(map, path.slice(index), value);
      const rest = path.slice(index + 1);
      if (rest.length === 0) return this.#replaceValue(pair, value);
      if (this.#isEmpty(pair.value)) {
        const indent = map.flow === true ? undefined : this.#indentOf(pair);
        const colon = this.#colonOf(pair);
        if (indent === undefined || colon === undefined) return undefined;
        const lines = inBlock(rest, value, `${indent}  `, this.#lineEnd);
        const range = this.#yaml.isNode(pair.value) ? pair.value.range : undefined;
        if (!range || range[0] === range[1]) return this.#insertLines(this.#nextLine(colon + 1), lines);
        // `section: ~`
        const next = this.#nextLine(range[1]);
        return (
          this.#text.slice(0, colon + 1) +
          this.#text.slice(range[1], next) +
          (next === this.#text.length && this.#text.at(-1) !== "\n" ? this.#lineEnd : "") +
          lines +
          this.#text.slice(next)
        );
      }
      map = pair.value;
    }
    return undefined;
  }

  #remove(contents: unknown, path: readonly string[]): string | undefined {
    const ancestors: MapEntry[] = [];
    let node = contents;
    for (const key of path) {
      const pair = this.#yaml.isMap(node) ? this.#find(node, key) : undefined;
      if (pair === undefined || !this.#yaml.isMap(node)) return this.#text;
      ancestors.push({ map: node, pair });
      node = pair.value;
    }
    // Removes a section that is left empty, too, unless it has comments.
    let outermost = ancestors.pop();
    for (
      let outer = ancestors.pop();
      outer !== undefined && outermost?.map.items.length === 1;
      outer = ancestors.pop()
    ) {
      const range = this.#yaml.isNode(outer.pair.value) ? outer.pair.value.range : undefined;
      const start = this.#keyRange(outer.pair)?.[0];
      if (!range || start === undefined || this.#text.slice(start, this.#nextLine(range[1])).includes("#")) break;
      if (outer.map === contents && /^\s*#/.test(this.#text.slice(range[1], range[2]))) break;
      outermost = outer;
    }
    return outermost === undefined ? undefined : this.#cut(outermost);
  }

  #cut({ map, pair }: MapEntry): string | undefined {
    const key = this.#keyRange(pair);
    const end = this.#endOf(pair);
    if (key === undefined || end === undefined) return undefined;
    if (map.flow !== true) {
      return this.#indentOf(pair) === undefined
        ? undefined
        : this.#replace(this.#lineStart(key[0]), this.#nextLine(end), "");
    }
    const index = map.items.indexOf(pair);
    const before = map.items[index - 1];
    const after = map.items[index + 1];
    if (before !== undefined) return this.#replace(this.#endOf(before) ?? key[0], end, "");
    return this.#replace(key[0], (after && this.#keyRange(after)?.[0]) ?? end, "");
  }
}

function rewrite(document: Document.Parsed, { path, value }: Edit, yaml: Yaml): string | undefined {
  try {
    if (value === undefined) document.deleteIn(path);
    else {
      // A section without lines is null, which can't take keys.
      for (let length = 1; length < path.length; length += 1) {
        const section = document.getIn(path.slice(0, length), true);
        if (yaml.isScalar(section) && section.value === null) document.deleteIn(path.slice(0, length));
      }
      document.setIn(path, document.createNode(value));
    }
    return document.toString({ lineWidth: 0 });
  } catch {
    // Some part of the path is not a collection: the caller reports it.
    return undefined;
  }
}

/** The plain data after the edit. */
function changed(tree: Tree, { path, value }: Edit): Tree {
  const [key = "", ...rest] = path;
  const child = Object.hasOwn(tree, key) ? tree[key] : undefined;
  if (Array.isArray(child) && rest.length > 0) return { ...tree, [key]: changedList(child, rest, value) };
  if (rest.length > 0) {
    if (value === undefined && !isRecord(child)) return tree;
    return { ...tree, [key]: changed(isRecord(child) ? child : {}, { path: rest, value }) };
  }
  if (value !== undefined) return { ...tree, [key]: value };
  const { [key]: _removed, ...others } = tree;
  return others;
}

/** The list after an edit of one of its entries. */
function changedList(list: readonly unknown[], [index = "", ...rest]: readonly string[], value: unknown): unknown[] {
  const at = Number(index);
  const entry = list[at];
  if (rest.length > 0) return list.with(at, changed(isRecord(entry) ? entry : {}, { path: rest, value }));
  if (value !== undefined) return at < list.length ? list.with(at, value) : [...list, value];
  return list.toSpliced(at, 1);
}

/** The value without keys that have no value and sections that have no keys. */
function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutEmpty);
  if (!isRecord(value)) return value;
  const entries = Object.entries(value).map(([key, child]) => [key, withoutEmpty(child)] as const);
  return Object.fromEntries(
    entries.filter(([, child]) => child !== null && !(isRecord(child) && Object.keys(child).length === 0)),
  );
}

/** A value as one line of YAML, valid in block and flow style. */
function inOneLine(value: unknown): string {
  if (typeof value === "string") return isPlain(value) ? value : JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(inOneLine).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).filter(([, child]) => child !== undefined);
  return `{${entries.map(([key, child]) => `${inOneLine(key)}: ${inOneLine(child)}`).join(", ")}}`;
}

/** `a: {b: value}` for `[a, b]`. */
function inFlow(path: readonly string[], value: unknown): string {
  const [key = "", ...rest] = path;
  return `${inOneLine(key)}: ${rest.length === 0 ? inOneLine(value) : `{${inFlow(rest, value)}}`}`;
}

/** `a:` and `  b: value` as lines, each with `indent` before it and a line end after it. */
function inBlock(path: readonly string[], value: unknown, indent: string, lineEnd: string): string {
  const [key = "", ...rest] = path;
  if (rest.length === 0) return `${indent}${inOneLine(key)}: ${inOneLine(value)}${lineEnd}`;
  return `${indent}${inOneLine(key)}:${lineEnd}${inBlock(rest, value, `${indent}  `, lineEnd)}`;
}

/** Words, model names, paths and addresses need no quotes. */
function isPlain(text: string): boolean {
  if (/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(text)) return false;
  return /^[a-z_/][\w./@+-]*(?::[\w./@+-]+)*$/i.test(text);
}
