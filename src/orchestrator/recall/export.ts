import * as z from "zod";
import { InvalidRequest } from "../errors.ts";
import type { ExportPage, MemoryEntry, MemoryFormat } from "../facade-recall.ts";
import { idOf } from "./entry.ts";
import { parseMarkdown, writeMarkdown } from "./markdown.ts";
import { parseJson } from "../text/parse-json.ts";
import { jsonText } from "../text/control-characters.ts";

/** Of the exported form. */
const version = 1;
/** Of an entry beside its texts: names and times. */
const otherChars = 400;
const exportSchema = z.object({ version: z.int().positive(), entries: z.array(z.unknown()) });

/** All of each entry, as one text; JSON has everything, Markdown all but previous values. */
export function exportEntries(entries: readonly MemoryEntry[], format: MemoryFormat, nowMs: number): string {
  const exportedAt = new Date(nowMs).toISOString();
  if (format === "markdown") return writeMarkdown(entries, exportedAt);
  return `${jsonText({ version, exportedAt, entries }, 2)}\n`;
}

/** Which of the entries stand on a page, and the name by which the next one is asked for. Throws `InvalidRequest`. */
export function pageOf(
  entries: readonly MemoryEntry[],
  { after, maxChars = Infinity }: ExportPage,
): { readonly from: number; readonly to: number; readonly next?: string } {
  const nameOf = ({ project, key }: MemoryEntry): string => idOf(project, key);
  const from = after === undefined ? 0 : entries.findIndex((entry) => nameOf(entry) === after) + 1;
  if (after !== undefined && from === 0) {
    throw new InvalidRequest("what the page before ended with is not remembered any more", {
      hint: "export from the beginning again",
    });
  }
  let to = from;
  for (let chars = 0; to < entries.length && chars < maxChars; to += 1) chars += lengthOf(entries[to]);
  const last = to < entries.length ? entries[to - 1] : undefined;
  return { from, to, ...(last === undefined ? {} : { next: nameOf(last) }) };
}

function lengthOf(entry: MemoryEntry | undefined): number {
  const { key = "", value = "", project = "", previous } = entry ?? {};
  return key.length + value.length + project.length + (previous?.value.length ?? 0) + otherChars;
}

/** What such a text holds, unchecked, one by one. Throws `InvalidRequest` when it is none. */
export function parseExport(text: string, format: MemoryFormat): readonly unknown[] {
  if (format === "markdown") return parseMarkdown(text);
  let json: unknown;
  try {
    json = parseJson(text);
  } catch (error) {
    throw new InvalidRequest(`that is no JSON: ${error instanceof Error ? error.message : String(error)}`, {
      hint: "import what ollm memory export wrote",
      cause: error,
    });
  }
  const read = exportSchema.safeParse(json);
  if (!read.success) {
    throw new InvalidRequest("that is JSON, but no exported memory: version and entries are missing", {
      hint: "import what ollm memory export wrote",
    });
  }
  if (read.data.version > version) {
    throw new InvalidRequest(`that was exported in version ${read.data.version}; this program knows ${version}`, {
      hint: "update ollm-mcp, or export as Markdown",
    });
  }
  return read.data.entries;
}
