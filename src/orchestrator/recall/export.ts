import * as z from "zod";
import { InvalidRequest } from "../errors.ts";
import type { MemoryEntry, MemoryFormat } from "../facade-recall.ts";
import { parseMarkdown, writeMarkdown } from "./markdown.ts";

/** Of the exported form. */
const version = 1;
const exportSchema = z.object({ version: z.int().positive(), entries: z.array(z.unknown()) });

/** All of each entry, as one text; JSON has everything, Markdown all but previous values. */
export function exportEntries(entries: readonly MemoryEntry[], format: MemoryFormat, nowMs: number): string {
  const exportedAt = new Date(nowMs).toISOString();
  if (format === "markdown") return writeMarkdown(entries, exportedAt);
  return `${JSON.stringify({ version, exportedAt, entries }, undefined, 2)}\n`;
}

/** What such a text holds, unchecked, one by one. Throws `InvalidRequest` when it is none. */
export function parseExport(text: string, format: MemoryFormat): readonly unknown[] {
  if (format === "markdown") return parseMarkdown(text);
  let json: unknown;
  try {
    json = JSON.parse(text);
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
