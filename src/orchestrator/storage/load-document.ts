import type { Low } from "lowdb";
import * as z from "zod";
import { StoreFailed } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import { parseJson } from "../util/parse-json.ts";
import type { DocumentFiles } from "./document-files.ts";
import type { DocumentOptions } from "./document.ts";
import { type Stored, UnreadableDocument, documentAdapter } from "./stored-document.ts";

/** The loaded document and journal, ready to be written to. */
export interface Loaded<State> {
  readonly database: Low<Stored>;
  readonly state: State;
  /** Number of the last event in `state`. */
  readonly sequence: number;
  /** Sizes on disk, in characters. */
  readonly documentChars: () => number;
  readonly journalChars: number;
  readonly problems: readonly string[];
  /** Why nothing may be written: it would overwrite a file that can't be read. */
  readonly refusal?: string;
}

/** Reads both files; sets an invalid one aside after saving its valid part. Throws `StoreFailed`. */
export async function loadDocument<State extends object, Event, Result>(
  options: DocumentOptions<State, Event, Result>,
  files: DocumentFiles,
): Promise<Loaded<State>> {
  const { schemaVersion, log } = options;
  const [documentName, journalName] = [`${options.name}.json`, `${options.name}.journal`];
  const adapter = documentAdapter(files, documentName, schemaVersion);
  const { Low } = await import("lowdb");
  const nothing: Stored = { schemaVersion, sequence: 0, state: {} };
  const database = new Low<Stored>(adapter, nothing);
  const problems: string[] = [];
  let refusal: string | undefined;

  function note(problem: string): void {
    problems.push(problem);
    log.warn(problem);
  }

  /** Renames the file, or prevents writes if that fails. */
  async function setAside(name: string, what: string): Promise<void> {
    try {
      note(`${what}; it was set aside as ${await files.setAside(name)}`);
    } catch (error) {
      refusal = `${what}, and it can't be set aside: ${reasonOf(error)}`;
      note(refusal);
    }
  }

  let state = options.empty();
  let sequence = 0;
  try {
    await database.read();
    if (database.data !== nothing) {
      const read = options.state.safeParse(database.data.state);
      if (!read.success)
        throw new UnreadableDocument(z.prettifyError(read.error).replaceAll(/\s+/g, " ").slice(0, 300));
      state = read.data;
      sequence = database.data.sequence;
    }
  } catch (error) {
    if (!(error instanceof UnreadableDocument)) throw unreadable(documentName, error);
    await setAside(documentName, `${documentName} can't be read: ${error.message}`);
  }

  let text: string | undefined;
  try {
    text = await files.read(journalName);
  } catch (error) {
    throw unreadable(journalName, error);
  }
  let journalChars = 0;
  if (text !== undefined) {
    const journal = readJournal(text, options.event, schemaVersion);
    sequence = replay(options, state, sequence, journal.lines);
    journalChars = journal.intact.length;
    try {
      if (journal.damage !== undefined) {
        // Saves the events that were read first: they would be lost with the journal.
        if (refusal === undefined && journal.lines.length > 0) {
          database.data = { schemaVersion, sequence, state: options.snapshot?.(state) ?? state };
          await database.write();
        }
        await setAside(journalName, `${journalName} is damaged: ${journal.damage}; the lines before it were kept`);
        journalChars = 0;
      } else if (journal.isTorn && refusal === undefined) {
        // The next line must not continue the incomplete one.
        await files.replace(journalName, journal.intact);
      }
    } catch (error) {
      refusal = `${journalName} has a damaged end that can't be removed: ${reasonOf(error)}`;
      note(refusal);
    }
  }
  return {
    database,
    state,
    sequence,
    documentChars: adapter.sizeChars,
    journalChars,
    problems,
    ...(refusal === undefined ? {} : { refusal }),
  };
}

/** Applies the events that the document doesn't have yet; returns the number of the last event. */
function replay<State extends object, Event, Result>(
  options: DocumentOptions<State, Event, Result>,
  state: State,
  from: number,
  lines: readonly JournalLine<Event>[],
): number {
  let sequence = from;
  for (const line of lines) {
    if (line.sequence <= sequence) continue;
    options.apply(state, line.event);
    sequence = line.sequence;
  }
  return sequence;
}

function unreadable(name: string, error: unknown): StoreFailed {
  return new StoreFailed(`${name} can't be read: ${reasonOf(error)}`, {
    next: advice("make the files of the home folder readable, then try again"),
    cause: error,
  });
}

/** The message of an error. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** One line of a journal. */
export interface JournalLine<Event> {
  /** Increases across folds, so that events that the document has already are skipped when reading the journal. */
  readonly sequence: number;
  readonly event: Event;
}

interface ReadJournal<Event> {
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
function readJournal<Event>(text: string, schema: z.ZodType<Event>, schemaVersion: number): ReadJournal<Event> {
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
