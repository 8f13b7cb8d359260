import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { jsonText } from "../../orchestrator/util/control-characters.ts";
import { messageOf } from "../../orchestrator/util/message-of.ts";
import { parseJson } from "../../orchestrator/util/parse-json.ts";

/** Characters of one import: below the limit of 4 MiB a message, whatever their encoding. */
const importChars = 400_000;

interface ExportedJson {
  readonly entries: readonly unknown[];
}

/** Joins the pages of an export. */
export function joinPages(pages: readonly string[], isMarkdown: boolean): string {
  const [first = "", ...rest] = pages;
  if (rest.length === 0) return first;
  // Each page repeats the title before its first heading.
  if (isMarkdown) return [first, ...rest.map((page) => page.slice(page.indexOf("\n## ")))].join("");
  const read = pages.map((page) => JSON.parse(page) as ExportedJson);
  return `${jsonText({ ...read[0], entries: read.flatMap(({ entries }) => entries) }, 2)}\n`;
}

/** Splits an export into texts that are small enough to send. Throws `InvalidRequest` if a large text is not an export. */
export function splitExport(text: string, isMarkdown: boolean, maxChars = importChars): readonly string[] {
  if (text.length <= maxChars) return [text];
  const pieces = isMarkdown ? splitMarkdown(text, maxChars) : splitJson(text, maxChars);
  if (pieces.length === 0) throw notAnExport("the text contains no entries");
  return pieces;
}

function splitJson(text: string, maxChars: number): readonly string[] {
  let read: Partial<ExportedJson>;
  try {
    read = parseJson(text) as Partial<ExportedJson>;
  } catch (error) {
    throw notAnExport(`invalid JSON: ${messageOf(error)}`, error);
  }
  const { entries = [], ...rest } = read;
  const head = JSON.stringify({ ...rest, entries: [] }).slice(0, -"]}".length);
  const texts = Array.isArray(entries) ? entries.map((entry) => JSON.stringify(entry)) : [];
  return together(texts, maxChars).map((piece) => `${head}${piece.join(",")}]}`);
}

function splitMarkdown(text: string, maxChars: number): readonly string[] {
  const entries: string[] = [];
  let category = "";
  // Lines of values are quoted, so none begins like a heading.
  for (const block of text.split(/^(?=###? )/m)) {
    if (block.startsWith("### ")) entries.push(`${category}${block}`);
    else if (block.startsWith("## ")) category = block;
  }
  return together(entries, maxChars).map((piece) => piece.join(""));
}

function notAnExport(message: string, cause?: unknown): InvalidRequest {
  return new InvalidRequest(message, { next: advice("import a file that `ollm memory export` wrote"), cause });
}

/** Groups texts in order, up to `maxChars` a group; a longer text is a group of its own. */
function together(texts: readonly string[], maxChars: number): readonly (readonly string[])[] {
  const pieces: string[][] = [];
  let left = 0;
  for (const text of texts) {
    if (text.length > left) {
      pieces.push([]);
      left = maxChars;
    }
    pieces.at(-1)?.push(text);
    left -= text.length;
  }
  return pieces;
}
