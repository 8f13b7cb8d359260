import * as z from "zod";
import { InvalidRequest } from "../api/errors.ts";
import { meantBy } from "../util/nearest.ts";
import type { Scope } from "./schema-models.ts";
import { isRecord, jsonIn } from "../util/values.ts";

/** One setting of the schema. */
export interface SettingPath {
  /** `model.routing.enabled` */
  readonly path: readonly string[];
  /** `OLLM_MODEL_ROUTING_ENABLED` */
  readonly environmentName: string;
  /** `list` is a list of folders, `commaList` a list of hosts or origins, `entryList` one of sections. */
  readonly type: "string" | "number" | "boolean" | "list" | "commaList" | "entryList" | "record";
  readonly scope: Scope;
}

/** A setting, a part of one that is a record, or a section of several settings. */
export interface FoundSetting extends Omit<SettingPath, "environmentName" | "type"> {
  readonly type: SettingPath["type"] | "section";
  /** What its own `.meta` says: a section or a record says nothing for its parts. */
  readonly free: z.GlobalMeta["free"];
}

/** Every setting of an object schema, depth first, in the order of the schema. */
export function settingPaths(schema: z.ZodObject, prefix: readonly string[] = []): readonly SettingPath[] {
  return Object.entries(schema.shape).flatMap(([key, value]) => {
    const path = [...prefix, key];
    const { inner, scope, separator } = unwrap(value as z.ZodType);
    if (inner instanceof z.ZodObject) return settingPaths(inner, path);
    const type = separator === "comma" ? "commaList" : typeOf(inner);
    return [{ path, environmentName: environmentName(path), type, scope: scope ?? "daemon" }];
  });
}

/**
 * The setting, part or section at a path; undefined where the schema has none. A record accepts any key, a list of
 * sections any index.
 */
export function findSetting(schema: z.ZodObject, path: readonly string[]): FoundSetting | undefined {
  let node: z.ZodType = schema;
  let scope: Scope | undefined;
  let separator: unknown;
  let free: z.GlobalMeta["free"];
  for (const key of path) {
    const own: z.ZodType | undefined =
      node instanceof z.ZodObject
        ? Object.hasOwn(node.shape, key)
          ? (node.shape[key] as z.ZodType)
          : undefined
        : node instanceof z.ZodRecord && key !== "" && key !== "__proto__"
          ? (node.valueType as z.ZodType)
          : isEntryList(node) && /^\d{1,3}$/.test(key)
            ? (node.element as z.ZodType)
            : undefined;
    if (own === undefined) return undefined;
    const unwrapped = unwrap(own);
    node = unwrapped.inner;
    scope = unwrapped.scope ?? scope;
    separator = unwrapped.separator;
    free = unwrapped.free;
  }
  const type = node instanceof z.ZodObject ? "section" : separator === "comma" ? "commaList" : typeOf(node);
  return { path, type, scope: scope ?? "daemon", free };
}

/** The paths below a record's key or an entry, including `[]`: for `models`, `options.temperature`, `contextTokens`, ... */
export function pathsInRecord(schema: z.ZodObject, path: readonly string[]): readonly (readonly string[])[] {
  const held = settingAt(schema, path);
  const value = unwrap(
    (held instanceof z.ZodRecord ? held.valueType : (held as z.ZodArray).element) as z.ZodType,
  ).inner;
  const below = (node: z.ZodType, prefix: readonly string[]): readonly (readonly string[])[] => [
    prefix,
    ...(node instanceof z.ZodObject
      ? Object.entries(node.shape).flatMap(([key, child]) => below(unwrap(child as z.ZodType).inner, [...prefix, key]))
      : []),
  ];
  return below(value, []);
}

/** Every value of the schema with `*` for a record's key or an index: `options.maxTokens`, `models.*.options.maxTokens`. */
export function leafPaths(schema: z.ZodObject): readonly (readonly string[])[] {
  return settingPaths(schema).flatMap(({ path, type }) => {
    if (!hasParts(type)) return [path];
    const below = pathsInRecord(schema, path);
    const leaves = below.filter(
      (each) => !below.some((other) => other.length > each.length && startsWith(other, each)),
    );
    return leaves.map((leaf) => [...path, "*", ...leaf]);
  });
}

/** Whether a path is `beginning` or below it. */
export function startsWith(path: readonly string[], beginning: readonly string[]): boolean {
  return beginning.every((key, index) => path[index] === key);
}

function settingAt(schema: z.ZodObject, path: readonly string[]): z.ZodType {
  let node: z.ZodType = schema;
  for (const key of path) node = unwrap((node as z.ZodObject).shape[key] as z.ZodType).inner;
  return node;
}

/** Whether values of the type have paths of their own: `models["x"].system`, `providers.openai[0].kind`. */
export function hasParts(type: FoundSetting["type"]): boolean {
  return type === "record" || type === "entryList";
}

/**
 * `model.routing.enabled`, `providers.openai[0].id`, `models["qwen2.5*"].contextTokens`: brackets around indexes, patterns
 * and keys with other characters.
 */
export function formatPath(path: readonly string[]): string {
  return path.reduce((text, key, index) => {
    const isPattern = index === 1 && path[0] === "models";
    if (!isPattern && /^\d+$/.test(key)) return `${text}[${key}]`;
    if (isPattern || !/^[\p{L}_$][\p{L}\p{N}_$-]*$/u.test(key)) return `${text}[${JSON.stringify(key)}]`;
    return index === 0 ? key : `${text}.${key}`;
  }, "");
}

/**
 * Parses a path as users write it: `models["qwen*"].contextTokens`, `models[qwen*].contextTokens` (where a shell removed
 * the quotes) or `models.qwen2.5:7b.contextTokens`. Throws `InvalidRequest` with the nearest setting.
 */
export function parsePath(schema: z.ZodObject, text: string): FoundSetting {
  const written = split(text.trim());
  if (written !== undefined) {
    const found = findSetting(schema, written) ?? inRecord(schema, written);
    if (found !== undefined && written.length > 0) return found;
  }
  throw new InvalidRequest(`${JSON.stringify(text)} is not a setting${nearestTo(schema, text, written)}`, {
    next: { step: "listSettings" },
  });
}

/** The keys of a path; undefined for malformed brackets or dots. */
function split(text: string): readonly string[] | undefined {
  const keys: string[] = [];
  const part = /\.?([^.[\]]+)|\.?\[(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\]]*))\]/gy;
  let end = 0;
  for (let found = part.exec(text); found !== null; found = part.exec(text)) {
    const [whole, plain, quoted, single, bare] = found;
    const isFirst = end === 0;
    if (isFirst ? whole.startsWith(".") : plain !== undefined && !whole.startsWith(".")) return undefined;
    keys.push(plain ?? (quoted === undefined ? (single ?? bare ?? "") : unquoted(quoted)));
    end = part.lastIndex;
  }
  return end === text.length ? keys : undefined;
}

/** The text between quotes, unescaped as JSON where possible. */
function unquoted(text: string): string {
  return (jsonIn(`"${text}"`) as string | undefined) ?? text.replaceAll(/\\(.)/g, "$1");
}

/** `models.qwen2.5:7b.contextTokens`: a record's key may have dots; it ends before the longest known path. */
function inRecord(schema: z.ZodObject, written: readonly string[]): FoundSetting | undefined {
  const record = settingPaths(schema).find(
    ({ type, path }) => type === "record" && path.every((key, index) => written[index] === key),
  );
  if (record === undefined) return undefined;
  const rest = written.slice(record.path.length);
  const tail = pathsInRecord(schema, record.path)
    .filter(
      (below) => below.length < rest.length && below.join("\0") === rest.slice(rest.length - below.length).join("\0"),
    )
    .toSorted((a, b) => b.length - a.length)[0];
  // Without a known path, a key with dots looks like a misspelt path, unless nothing can follow the key.
  if (tail === undefined || (tail.length === 0 && pathsInRecord(schema, record.path).length > 1 && rest.length > 1))
    return undefined;
  const key = rest.slice(0, rest.length - tail.length).join(".");
  return findSetting(schema, [...record.path, key, ...tail]);
}

/** `; did you mean model.default?`, or nothing. */
export function nearestTo(schema: z.ZodObject, text: string, path?: readonly string[]): string {
  const known = settingPaths(schema).map((setting) => setting.path);
  const names = new Set(
    known.flatMap((setting) => setting.map((_key, index) => setting.slice(0, index + 1).join("."))),
  );
  const held = settingPaths(schema).find((setting) => hasParts(setting.type) && startsWith(path ?? [], setting.path));
  const entry = held === undefined ? [] : (path ?? []).slice(0, held.path.length + 1);
  if (held !== undefined && (path ?? []).length > entry.length) {
    for (const below of pathsInRecord(schema, held.path)) names.add(formatPath([...entry, ...below]));
  }
  const written = path === undefined ? text : formatPath(path);
  names.delete(written);
  return meantBy(written, [...names]);
}

/** `memory.availableBytes` → `OLLM_MEMORY_AVAILABLE_BYTES`. */
function environmentName(path: readonly string[]): string {
  const words = path.map((key) => key.replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase());
  return ["OLLM", ...words].join("_");
}

function unwrap(schema: z.ZodType) {
  let inner = schema;
  let scope: Scope | undefined;
  let separator: unknown;
  let free: z.GlobalMeta["free"];
  for (;;) {
    // `.describe()` after `.meta()` keeps the scope; the innermost wrapper may be the one that carries it.
    const meta = inner.meta();
    scope ??= meta?.scope;
    separator ??= meta?.separator;
    free ??= meta?.free;
    if (inner instanceof z.ZodOptional || inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) {
      inner = inner.unwrap() as z.ZodType;
    } else return { inner, scope, separator, free };
  }
}

function typeOf(schema: z.ZodType): SettingPath["type"] {
  if (schema instanceof z.ZodNumber || schema instanceof z.ZodLiteral) return "number";
  if (schema instanceof z.ZodBoolean) return "boolean";
  if (isEntryList(schema)) return "entryList";
  if (schema instanceof z.ZodArray) return "list";
  if (schema instanceof z.ZodRecord) return "record";
  return "string";
}

function isEntryList(schema: z.ZodType): schema is z.ZodArray {
  return schema instanceof z.ZodArray && schema.element instanceof z.ZodObject;
}

/** Settings as written in a file, not yet checked by the schema. */
export type Tree = { [key: string]: unknown };
/**
 * Sources by `formatPath` of the value: `OLLM_MODEL`, `--host`, `/home/me/.ollm/config.yaml:3`. Defaults have none;
 * sections have their line.
 */
export type Sources = Map<string, string>;

/** Sets a value and its source, creating missing sections and dropping the sources of the old value's parts. */
export function put(tree: Tree, path: readonly string[], value: unknown, source: string, sources: Sources): void {
  let node = tree;
  for (const key of path.slice(0, -1)) {
    const next = Object.hasOwn(node, key) ? node[key] : undefined;
    if (isRecord(next)) node = next;
    else node = node[key] = {};
  }
  node[path.at(-1) ?? ""] = value;
  const name = formatPath(path);
  for (const key of sources.keys()) {
    if (key.startsWith(`${name}.`) || key.startsWith(`${name}[`)) sources.delete(key);
  }
  sources.set(name, source);
}

/** The value at a path (list items by index); undefined where there is none. */
export function at(tree: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((node, key) => {
    if (Array.isArray(node)) return (node as readonly unknown[])[Number(key)];
    return isRecord(node) && Object.hasOwn(node, key) ? node[key] : undefined;
  }, tree);
}
