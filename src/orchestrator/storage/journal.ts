import * as z from "zod";
import { parseJson } from "../util/parse-json.ts";

/** One line of a journal. */
export interface JournalLine<Event> {
  /** Increases across folds, so that events that the document has already are skipped when reading the journal. */
  readonly sequence: number;
  readonly event: Event;
}

export interface ReadJournal<Event> {
  readonly lines: readonly JournalLine<Event>[];
  /** The text of `lines`. */
  readonly intact: string;
  /** The beginning of a line that was never acknowledged follows `intact`. */
  readonly isTorn: boolean;
  /** Why the text after `intact` is invalid. */
  readonly damage?: string;
}

export function journalText(schemaVersion: number, lines: readonly JournalLine<unknown>[]): string {
  return lines.map(({ sequence, event }) => `${JSON.stringify({ v: schemaVersion, n: sequence, event })}\n`).join("");
}

const lineSchema = z.object({ v: z.int().positive(), n: z.int().positive(), event: z.unknown() });

/**
 * Reads up to the first invalid line. A text after the last newline was being written when the process ended; it was
 * never acknowledged and doesn't count as damage.
 */
export function readJournal<Event>(text: string, schema: z.ZodType<Event>, schemaVersion: number): ReadJournal<Event> {
  const lines: JournalLine<Event>[] = [];
  const end = text.lastIndexOf("\n") + 1;
  const isTorn = end < text.length;
  let start = 0;
  let last: number | undefined;
  while (start < end) {
    const next = text.indexOf("\n", start) + 1;
    const read = readLine(text.slice(start, next - 1), schema, schemaVersion, last);
    if (typeof read === "string") {
      return { lines, intact: text.slice(0, start), isTorn, damage: `line ${lines.length + 1} ${read}` };
    }
    lines.push(read);
    last = read.sequence;
    start = next;
  }
  return { lines, intact: text.slice(0, end), isTorn };
}

/** The line, or what is wrong with it, as a text that follows its number. */
function readLine<Event>(
  text: string,
  schema: z.ZodType<Event>,
  schemaVersion: number,
  last: number | undefined,
): JournalLine<Event> | string {
  let json: unknown;
  try {
    json = parseJson(text);
  } catch {
    return "is not JSON";
  }
  const line = lineSchema.safeParse(json);
  if (!line.success) return "is not a journal entry";
  const { v: version, n: sequence } = line.data;
  if (version > schemaVersion) return `has version ${version}; this program reads up to ${schemaVersion}`;
  if (last !== undefined && sequence !== last + 1) return `has number ${sequence} after number ${last}`;
  const event = schema.safeParse(line.data.event);
  if (!event.success) return `has an unknown event (${z.prettifyError(event.error).split("\n")[0] ?? ""})`;
  return { sequence, event: event.data };
}
