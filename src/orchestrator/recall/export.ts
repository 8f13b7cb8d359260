import * as z from "zod";
import { InvalidRequest } from "../api/errors.ts";
import type { ExportPage, MemoryEntry, MemoryFormat } from "../api/facade-recall.ts";
import { advice } from "../api/next-step.ts";
import { idOf } from "./entry.ts";
import { importExport, parseMarkdown, writeMarkdown } from "./markdown.ts";
import { parseJson } from "../util/parse-json.ts";
import { jsonText } from "../util/control-characters.ts";

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
  const nameOf = ({ project, key }: MemoryEntry): string => idOf(project, key);
  const from = after === undefined ? 0 : entries.findIndex((entry) => nameOf(entry) === after) + 1;
  if (after !== undefined && from === 0) {
    throw new InvalidRequest("the last entry of the previous page no longer exists", {
      next: advice("start the export again"),
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

/** The entries of an exported text, unchecked. Throws `InvalidRequest` for other texts. */
export function parseExport(text: string, format: MemoryFormat): readonly unknown[] {
  if (format === "markdown") return parseMarkdown(text);
  let json: unknown;
  try {
    json = parseJson(text);
  } catch (error) {
    throw new InvalidRequest(`the text is not JSON: ${error instanceof Error ? error.message : String(error)}`, {
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
