import { InvalidRequest } from "../api/errors.ts";
import type { MemoryCategory, MemoryEntry } from "../api/facade-recall.ts";
import { advice } from "../api/next-step.ts";

/** What to do about a text that isn't an export. */
export const importExport = advice("import a text that an export of memories produced");

const headings: readonly (readonly [MemoryCategory, string])[] = [
  ["preference", "Preferences"],
  ["fact", "Facts"],
  ["context", "Context"],
];

/** Markdown for people and `parseMarkdown`: a heading per category and per key, the value as a quotation. */
export function writeMarkdown(entries: readonly MemoryEntry[], exportedAt: string): string {
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
export function parseMarkdown(text: string): readonly unknown[] {
  // A text that was edited on Windows has CRLF line ends.
  const lines = (/^[^\n]*\r\n/.test(text) ? text.replaceAll("\r\n", "\n") : text).split("\n");
  const entries: Draft[] = [];
  let category: MemoryCategory | undefined;
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
  readonly category: MemoryCategory | undefined;
  readonly value: string[];
  readonly facts: Map<string, string>;
}

function entryOf({ key, category, value, facts }: Draft): object {
  const project = facts.get("project");
  const tags = facts.get("tags");
  const used = facts.get("used");
  return {
    key,
    value: value.join("\n"),
    category: category ?? "fact",
    ...(project === undefined ? {} : { project, scope: "project" }),
    ...(tags === undefined ? {} : { tags: tags.split(",").map((tag) => tag.trim()) }),
    isPinned: facts.get("pinned") === "yes",
    ...named(facts, "created", "createdAt"),
    ...named(facts, "updated", "updatedAt"),
    ...named(facts, "expires", "expiresAt"),
    ...(used === undefined ? {} : { accessCount: Number(used) }),
  };
}

function named(facts: ReadonlyMap<string, string>, from: string, to: string): object {
  const value = facts.get(from);
  return value === undefined ? {} : { [to]: value };
}
