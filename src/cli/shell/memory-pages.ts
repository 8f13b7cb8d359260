import { InvalidRequest } from "../../orchestrator/errors.ts";
import { parseJson } from "../../orchestrator/text/parse-json.ts";
import { jsonText } from "../../orchestrator/text/control-characters.ts";

/** Characters of one import: well below the 4 MiB that a message may have, whatever they are. */
const importChars = 400_000;

interface ExportedJson {
  readonly entries: readonly unknown[];
}

/** Pages of one export as one text. */
export function joinPages(pages: readonly string[], isMarkdown: boolean): string {
  const [first = "", ...rest] = pages;
  if (rest.length === 0) return first;
  // Headings come again; what stands above the first one is the title.
  if (isMarkdown) return [first, ...rest.map((page) => page.slice(page.indexOf("\n## ")))].join("");
  const read = pages.map((page) => JSON.parse(page) as ExportedJson);
  return `${jsonText({ ...read[0], entries: read.flatMap(({ entries }) => entries) }, 2)}\n`;
}

/** The same entries as texts that are small enough to be sent. Throws `InvalidRequest` for a large one that is no export. */
export function splitExport(text: string, isMarkdown: boolean, maxChars = importChars): readonly string[] {
  if (text.length <= maxChars) return [text];
  const pieces = isMarkdown ? splitMarkdown(text, maxChars) : splitJson(text, maxChars);
  if (pieces.length === 0) throw noExport("no entries were found");
  return pieces;
}

function splitJson(text: string, maxChars: number): readonly string[] {
  let read: Partial<ExportedJson>;
  try {
    read = parseJson(text) as Partial<ExportedJson>;
  } catch (error) {
    throw noExport(`that is no JSON: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  const { entries = [], ...rest } = read;
  const head = JSON.stringify({ ...rest, entries: [] }).slice(0, -"]}".length);
  const texts = Array.isArray(entries) ? entries.map((entry) => JSON.stringify(entry)) : [];
  return together(texts, maxChars).map((piece) => `${head}${piece.join(",")}]}`);
}

function splitMarkdown(text: string, maxChars: number): readonly string[] {
  const entries: string[] = [];
  let category = "";
  // No line of a value begins like a heading: it is quoted.
  for (const block of text.split(/^(?=###? )/m)) {
    if (block.startsWith("### ")) entries.push(`${category}${block}`);
    else if (block.startsWith("## ")) category = block;
  }
  return together(entries, maxChars).map((piece) => piece.join(""));
}

function noExport(message: string, cause?: unknown): InvalidRequest {
  return new InvalidRequest(message, { hint: "import what ollm memory export wrote", cause });
}

/** In their order, as many in each as `maxChars` have room for; one that is larger stands alone. */
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
