import type { BatchItem, BatchUnit } from "../api/facade-batches.ts";
import { InvalidRequest } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import { estimateTokens } from "../routing/tokens.ts";
import { isRecord, jsonIn } from "../util/values.ts";
import { sheetOf } from "./rows-cells.ts";
import { splitTexts } from "./split-text.ts";

type TextFile = { readonly path: string; readonly text: string };

/** Small models find a fact among so many tokens, and miss it among more: a 1.5B found 17 of 20 among 500, 13 among 1,000. */
const partTokens = 500;
const frameTokens = 32;

const table = /\.(?:csv|tsv|tab|jsonl|ndjson|json)$/i;

/** Files as the texts of which each is asked about. Throws `InvalidRequest` for rows of a file that has none. */
export function itemsOf(files: readonly TextFile[], given?: BatchUnit): readonly BatchItem[] {
  const [only] = files;
  if (given === "file" || only === undefined || (given === undefined && files.length > 1))
    return files.map(({ path, text }) => ({ name: path, path, text }));
  const hasRows = given === "row" || (given === undefined && textsOfRows(only).length > 0);
  return files.flatMap(hasRows ? rowsOf : partsOf);
}

function partsOf(file: TextFile): readonly BatchItem[] {
  const parts = splitTexts([file], { maxTokens: partTokens, frameTokens, countTokens: (text) => estimateTokens(text) });
  return parts.flatMap(({ name, passages }) =>
    passages
      .filter(({ text }) => text.trim() !== "")
      .map(({ path, text, firstLine, header = "" }, at) => ({
        name: at === 0 ? name : `${name}, passage ${at + 1}`,
        path,
        text: `${header}${text}`,
        // A header above the text moves its lines.
        firstLine: firstLine - (header.split("\n").length - 1),
      })),
  );
}

function rowsOf(file: TextFile): readonly BatchItem[] {
  const { path } = file;
  const rows = textsOfRows(file);
  // Under a name that is no table's: no query is to be written for a row.
  const nameOf = (at: number): string => `${path}: row ${at + 1}`;
  if (rows.length > 0) return rows.map((text, at) => ({ name: nameOf(at), path: nameOf(at), text, isRow: true }));
  throw new InvalidRequest(`${path} has no rows; those of CSV, TSV, JSON lines and lists in JSON can be asked about`, {
    next: advice("ask about its parts, or about the whole file"),
  });
}

function textsOfRows({ path, text: given }: TextFile): readonly string[] {
  const text = given.replace(/^\uFEFF/, "");
  if (/\.json$/i.test(path)) {
    const list = jsonIn(text);
    return Array.isArray(list) ? list.map((row) => JSON.stringify(row)) : [];
  }
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  if (/\.(?:jsonl|ndjson)$/i.test(path)) return lines.every((line) => isRecord(jsonIn(line))) ? lines : [];
  if (!table.test(path)) return [];
  const { header, rows } = sheetOf(text, /\.(?:tsv|tab)$/i.test(path));
  return rows.map((cells) => cells.map((cell, at) => `${header?.cells[at] ?? `column ${at + 1}`}: ${cell}`).join("\n"));
}
