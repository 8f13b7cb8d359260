import { isAbsolute } from "node:path";
import * as z from "zod";
import { InvalidRequest, OrchestratorError } from "../api/errors.ts";
import { type ExportPage, type MemoryEntry, type MemoryFormat, memoryEntry } from "../api/facade-recall.ts";
import { advice } from "../api/next-step.ts";
import { jsonText } from "../util/control-characters.ts";
import { defined, messageOf, parseJson } from "../util/values.ts";
import { createTurns } from "../util/joined-work.ts";
import { checkValue, findSecret, idOf, isExpired, normaliseKey, normaliseTags } from "./entry.ts";
import type { MemoryId } from "./search.ts";

/** What to do about a text that isn't an export. */
const importExport = advice("import a text that an export of memories produced");

const headings: readonly (readonly [MemoryEntry["category"], string])[] = [
  ["preference", "Preferences"],
  ["fact", "Facts"],
  ["context", "Context"],
];

/** Markdown for people and `parseMarkdown`: a heading per category and per key, the value as a quotation. */
function writeMarkdown(entries: readonly MemoryEntry[], exportedAt: string): string {
  const sections = headings.flatMap(([category, heading]) => {
    const own = entries.filter((entry) => entry.category === category);
    return own.length === 0 ? [] : [`## ${heading}`, ...own.map(writeEntry)];
  });
  return `${[`# Memory\n\nExported ${exportedAt}.`, ...sections].join("\n\n")}\n`;
}

function writeEntry(entry: MemoryEntry): string {
  const facts: readonly (readonly [string, string | undefined])[] = [
    ["project", entry.project],
    ["tags", entry.tags.length === 0 ? undefined : entry.tags.join(", ")],
    ["pinned", entry.isPinned ? "yes" : undefined],
    ["source", entry.source],
    ["created", entry.createdAt],
    ["updated", entry.updatedAt],
    ["expires", entry.expiresAt],
    ["used", String(entry.accessCount)],
  ];
  return [
    `### ${entry.key}`,
    "",
    ...entry.value.split("\n").map((line) => (line === "" ? ">" : `> ${line}`)),
    "",
    ...facts.flatMap(([name, value]) => (value === undefined ? [] : [`- ${name}: ${value}`])),
  ].join("\n");
}

/** The entries of the text, unchecked; missing fields have their defaults. Throws `InvalidRequest` for other texts. */
function parseMarkdown(text: string): readonly unknown[] {
  // A text that was edited on Windows has CRLF line ends.
  const lines = (/^[^\n]*\r\n/.test(text) ? text.replaceAll("\r\n", "\n") : text).split("\n");
  const entries: Draft[] = [];
  let category: MemoryEntry["category"] | undefined;
  let draft: Draft | undefined;
  for (const line of lines) {
    const quoted = /^> ?/.exec(line);
    const fact = /^- ([a-z]+): (.*)$/s.exec(line);
    if (quoted !== null) draft?.value.push(line.slice(quoted[0].length));
    else if (line.startsWith("### ")) {
      draft = { key: line.slice(4), category, value: [], facts: new Map() };
      entries.push(draft);
    } else if (line.startsWith("## ")) {
      category = headings.find(([, heading]) => heading === line.slice(3).trim())?.[0];
      draft = undefined;
    } else if (fact !== null) draft?.facts.set(fact[1] ?? "", fact[2] ?? "");
  }
  if (entries.length === 0) {
    throw new InvalidRequest("the Markdown has no entries: each entry needs a heading, ### key", {
      next: importExport,
    });
  }
  return entries.map(entryOf);
}

interface Draft {
  readonly key: string;
  readonly category: MemoryEntry["category"] | undefined;
  readonly value: string[];
  readonly facts: Map<string, string>;
}

function entryOf({ key, category, value, facts }: Draft): object {
  const { project, tags, pinned, created, updated, expires, used } = Object.fromEntries(facts);
  return defined({
    key,
    value: value.join("\n"),
    category: category ?? "fact",
    project,
    scope: project === undefined ? undefined : "project",
    tags: tags?.split(",").map((tag) => tag.trim()),
    isPinned: pinned === "yes",
    createdAt: created,
    updatedAt: updated,
    expiresAt: expires,
    accessCount: used === undefined ? undefined : Number(used),
  });
}

/** Version of the export format. */
const version = 1;
/** Characters of an entry beside its texts: names and times. */
const otherChars = 400;
const exportSchema = z.object({ version: z.int().positive(), entries: z.array(z.unknown()) });

/** The entries as one text. JSON has all fields, Markdown all but previous values. */
export function exportEntries(entries: readonly MemoryEntry[], format: MemoryFormat, nowMs: number): string {
  const exportedAt = new Date(nowMs).toISOString();
  if (format === "markdown") return writeMarkdown(entries, exportedAt);
  return `${jsonText({ version, exportedAt, entries }, 2)}\n`;
}

/** The range of entries on a page, and the name to request the next page with. Throws `InvalidRequest`. */
export function pageOf(
  entries: readonly MemoryEntry[],
  { after, maxChars = Infinity }: ExportPage,
): { readonly from: number; readonly to: number; readonly next?: string } {
  const idOfEntry = ({ project, key }: MemoryEntry): string => idOf(project, key);
  const from = after === undefined ? 0 : entries.findIndex((entry) => idOfEntry(entry) === after) + 1;
  if (after !== undefined && from === 0) {
    throw new InvalidRequest("the last entry of the previous page no longer exists", {
      next: advice("start the export again"),
    });
  }
  let to = from;
  for (let chars = 0; to < entries.length && chars < maxChars; to += 1) chars += lengthOf(entries[to]);
  const last = to < entries.length ? entries[to - 1] : undefined;
  return { from, to, ...(last === undefined ? {} : { next: idOfEntry(last) }) };
}

function lengthOf(entry: MemoryEntry | undefined): number {
  const { key = "", value = "", project = "", previous } = entry ?? {};
  return key.length + value.length + project.length + (previous?.value.length ?? 0) + otherChars;
}

/** The entries of an exported text, unchecked. Throws `InvalidRequest` for other texts. */
export function parseExport(text: string, format: MemoryFormat): readonly unknown[] {
  if (format === "markdown") return parseMarkdown(text);
  let json: unknown;
  try {
    json = parseJson(text);
  } catch (error) {
    throw new InvalidRequest(`the text is not JSON: ${messageOf(error)}`, {
      next: importExport,
      cause: error,
    });
  }
  const read = exportSchema.safeParse(json);
  if (!read.success) {
    throw new InvalidRequest("the JSON is not an export of memories: version or entries are missing", {
      next: importExport,
    });
  }
  if (read.data.version > version) {
    throw new InvalidRequest(`the export has version ${read.data.version}; this program reads up to ${version}`, {
      next: advice("update ollm-mcp, or export as Markdown"),
    });
  }
  return read.data.entries;
}

interface ImportRules {
  readonly nowMs: number;
  /** Accepts values that look like secrets. */
  readonly isForced: boolean;
  /** Whether the caller may add entries to that project. */
  readonly takesProject: (folder: string) => boolean;
}

/** An imported entry: edited by hand, it may lack fields that have defaults. */
const givenSchema = memoryEntry.partial().extend({ key: z.string(), value: z.string() });

/** The complete entries to import, and why others are rejected: one sentence each. */
export async function checkImport(
  given: readonly unknown[],
  rules: ImportRules,
): Promise<{ readonly entries: readonly MemoryEntry[]; readonly refused: readonly string[] }> {
  const entries = new Map<MemoryId, MemoryEntry>();
  const refused: string[] = [];
  const turn = createTurns();
  for (const [index, each] of given.entries()) {
    try {
      const entry = readEntry(each, rules);
      const id = idOf(entry.project, entry.key);
      if (entries.has(id)) throw new OrchestratorError("duplicate key");
      entries.set(id, entry);
    } catch (error) {
      if (!(error instanceof OrchestratorError)) throw error;
      refused.push(`${nameOf(each, index)}: ${error.message}`);
    }
    const others = turn();
    if (others !== undefined) await others;
  }
  return { entries: [...entries.values()], refused };
}

function readEntry(each: unknown, rules: ImportRules): MemoryEntry {
  const read = givenSchema.safeParse(each);
  if (!read.success) {
    throw new OrchestratorError(z.prettifyError(read.error).replaceAll(/\s+/g, " ").replace(/^✖ /, "").slice(0, 200));
  }
  const { project, scope, expiresAt, previous, ...given } = read.data;
  if (scope === "project" && project === undefined)
    throw new OrchestratorError("scope is project, but project is missing");
  if (project !== undefined) {
    if (!isAbsolute(project)) throw new OrchestratorError(`the project ${project} is not an absolute path`);
    if (!rules.takesProject(project)) throw new OrchestratorError(`belongs to another project, ${project}`);
  }
  const at = new Date(rules.nowMs).toISOString();
  const entry: MemoryEntry = {
    key: normaliseKey(given.key),
    value: checkValue(given.value),
    category: given.category ?? "fact",
    scope: project === undefined ? "global" : "project",
    ...defined({ project }),
    tags: normaliseTags(given.tags ?? []),
    isPinned: given.isPinned ?? false,
    source: "system",
    createdAt: given.createdAt ?? at,
    updatedAt: given.updatedAt ?? at,
    ...defined({ expiresAt }),
    accessCount: given.accessCount ?? 0,
    ...(previous === undefined ? {} : { previous: { ...previous, value: checkValue(previous.value) } }),
  };
  if (isExpired(entry, rules.nowMs)) throw new OrchestratorError(`expired at ${entry.expiresAt}`);
  const secret = rules.isForced ? undefined : findSecret(`${entry.key}=${entry.value}\n${previous?.value ?? ""}`);
  if (secret !== undefined) throw new OrchestratorError(`looks like ${secret}`);
  return entry;
}

function nameOf(each: unknown, index: number): string {
  const key = typeof each === "object" && each !== null && "key" in each ? each.key : undefined;
  return typeof key === "string" && key.trim() !== "" ? `"${key.trim().slice(0, 60)}"` : `entry ${index + 1}`;
}
