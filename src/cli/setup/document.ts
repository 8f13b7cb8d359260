import { isDeepStrictEqual } from "node:util";
import { advice } from "../../orchestrator/api/next-step.ts";
import { BrokenConfig } from "./config-file.ts";
import { readJson, removeJson, setJson } from "./json-edit.ts";
import type { EntryChange } from "./launch.ts";
import { addTomlEntry, readToml, removeTomlEntry, setTomlValue } from "./toml-edit.ts";

/** `json`: strict, since its client doesn't accept comments. */
export type ConfigFormat = "json" | "jsonc" | "toml";

/** The position of an entry in a file. */
export interface EntryLocation {
  readonly format: ConfigFormat;
  readonly container: string;
  readonly name: string;
}

type Values = Readonly<Record<string, unknown>>;

/** Returns the entry; undefined if there is none. Throws `BrokenConfig` for a text that can't be parsed. */
export function readEntry(text: string, { format, container, name }: EntryLocation): Values | undefined {
  const entries = tableAt(read(text, format), container, container);
  return entries === undefined ? undefined : tableAt(entries, name, `${container}.${name}`);
}

/** Whether the file has the object that contains entries, even if empty. */
export function hasContainer(text: string, { format, container }: EntryLocation): boolean {
  return tableAt(read(text, format), container, container) !== undefined;
}

/** Returns the text with a new entry. Throws `BrokenConfig` if the edit would change anything else. */
export function addEntry(text: string, location: EntryLocation, entry: Values): string {
  const { format, container, name } = location;
  const after =
    format === "toml"
      ? addTomlEntry(text, container, name, entry)
      : setJson(text, [container, name], entry, format === "json");
  return checked(text, after, location, entry);
}

/** Returns the text with some values of the entry changed. Throws like `addEntry`. */
export function changeEntry(text: string, location: EntryLocation, changes: readonly EntryChange[]): string {
  const { format, container, name } = location;
  let after = text;
  let entry = readEntry(text, location) ?? {};
  for (const { key, value } of changes) {
    if (format === "toml") after = setTomlValue(after, container, name, key, value, entry);
    else {
      const path = [container, name, key];
      const isStrict = format === "json";
      after = value === undefined ? removeJson(after, path, isStrict) : setJson(after, path, value, isStrict);
    }
    const { [key]: _old, ...others } = entry;
    entry = value === undefined ? others : { ...others, [key]: value };
  }
  return checked(text, after, location, entry);
}

/** Returns the text without the entry and, with `dropContainer`, without its container if that is empty then. */
export function removeEntry(text: string, location: EntryLocation, dropContainer: boolean): string {
  const { format, container, name } = location;
  if (format === "toml") return checked(text, removeTomlEntry(text, container, name), location, undefined);
  const isStrict = format === "json";
  const after = checked(text, removeJson(text, [container, name], isStrict), location, undefined);
  const rest = tableAt(readJson(after, isStrict), container, container);
  const isEmpty = rest !== undefined && Object.keys(rest).length === 0;
  return dropContainer && isEmpty ? removeJson(after, [container], isStrict) : after;
}

function read(text: string, format: ConfigFormat): unknown {
  return format === "toml" ? readToml(text) : readJson(text, format === "json");
}

function tableAt(document: unknown, key: string, name: string): Values | undefined {
  if (document === undefined) return undefined;
  if (!isTable(document)) throw new BrokenConfig("the document is not an object", { line: 1, column: 1 });
  const value = Object.hasOwn(document, key) ? document[key] : undefined;
  if (value === undefined) return undefined;
  if (!isTable(value)) throw new BrokenConfig(`"${name}" is not an object`, { line: 1, column: 1 });
  return value;
}

function isTable(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Returns `after`. Throws if it differs from `before` in more than the entry. */
function checked(before: string, after: string, location: EntryLocation, entry: Values | undefined): string {
  const { format, container, name } = location;
  const old = read(before, format) ?? {};
  const entries = tableAt(old, container, container) ?? {};
  const { [name]: _old, ...others } = entries;
  const wanted = { ...others, ...(entry !== undefined && { [name]: entry }) };
  const { [container]: _container, ...rest } = old as Values;
  const isContainerKept = entry !== undefined || hasContainer(after, location);
  const expected = { ...rest, ...(isContainerKept && { [container]: wanted }) };
  if (isDeepStrictEqual(plain(read(after, format)), plain(expected))) return after;
  throw new BrokenConfig(
    `"${container}.${name}" can't be changed there without changing something else`,
    { line: 1, column: 1 },
    advice("change it by hand"),
  );
}

/** Copies values into plain objects: parsers differ in the prototypes of their objects. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}
