import type { Low } from "lowdb";
import { setImmediate as nextTurn } from "node:timers/promises";
import * as z from "zod";
import { StoreFailed } from "../api/errors.ts";
import type { Log } from "../api/log.ts";
import { advice } from "../api/next-step.ts";
import { defined, jsonIn, messageOf, parseJson } from "../util/values.ts";
import type { DocumentFiles } from "./document-files.ts";

export interface DocumentOptions<State extends object, Event, Result = void> {
  /** Absent: the document is kept only in memory. */
  readonly files?: DocumentFiles;
  /** `memory`: the document is `memory.json`, its journal `memory.journal`. */
  readonly name: string;
  /** Version of the format; a file of a newer version is set aside. */
  readonly schemaVersion: number;
  readonly empty: () => State;
  /** Must not have the keys `schemaVersion` and `sequence`, which the file adds. */
  readonly state: z.ZodType<State>;
  readonly event: z.ZodType<Event>;
  /** Applies one event by changing `state`. Otherwise pure: replaying the journal gives the same state. */
  apply(state: State, event: Event): Result;
  /**
   * The JSON data to write, which `state` parses; it must not change afterwards. Its lists are serialized in slices, so
   * that large ones don't block other work. Absent: the state itself.
   */
  snapshot?(state: State): object;
  /** Removes obsolete data from the state; called before each fold. `apply` must not need that data. */
  prune?(state: State): void;
  /**
   * For a document of lists whose rows, like its events, don't depend on each other: the schema of a row by list. Those
   * that can be read are kept. Absent: a damaged document is lost, and of a journal what follows its first damaged line.
   */
  readonly rows?: Readonly<Record<string, z.ZodType>>;
  /** Notes in the state what was lost of `rows`, before it is written: as JSON, undefined where it was none. */
  noteLost?(state: State, lost: readonly unknown[]): void;
  readonly log: Log;
}

/**
 * Reads both files, ready to be written to; sets an invalid one aside after saving its valid part. With `refusal` nothing
 * may be written: it would overwrite a file that can't be read. Throws `StoreFailed`.
 */
export async function loadDocument<State extends object, Event, Result>(
  options: DocumentOptions<State, Event, Result>,
  files: DocumentFiles,
) {
  const { schemaVersion, log, rows } = options;
  const [documentName, journalName] = [`${options.name}.json`, `${options.name}.journal`];
  const adapter = documentAdapter(files, documentName, schemaVersion);
  const { Low } = await import("lowdb");
  const database = new Low<Stored>(adapter, { schemaVersion, sequence: 0, state: {} });
  const problems: string[] = [];
  let refusal: string | undefined;

  function note(problem: string): void {
    problems.push(problem);
    log.warn(problem);
  }

  /** Renames the file, or prevents writes if that fails. One that is replaced next is copied, so that a crash loses neither. */
  async function setAside(name: string, what: string, isReplaced = false): Promise<void> {
    try {
      note(`${what}; it was set aside as ${await files.setAside(name, isReplaced)}`);
    } catch (error) {
      refusal = `${what}, and it can't be set aside: ${messageOf(error)}`;
      note(refusal);
    }
  }

  const { state, damage, ...found } = await readDocument(options, database, documentName);
  let text: string | undefined;
  try {
    text = await files.read(journalName);
  } catch (error) {
    throw unreadable(journalName, error);
  }
  const journal = readJournal(text ?? "", options.event, schemaVersion, rows !== undefined);
  const sequence = replay(options, state, found.sequence, journal.lines);
  const lost = [...found.lost, ...journal.lost];
  if (lost.length > 0) options.noteLost?.(state, lost);
  if (damage !== undefined) await setAside(documentName, `${documentName} can't be read: ${damage}`, lost.length > 0);
  let journalChars = journal.intact.length;
  try {
    // Saves what was read first: it would be lost with its file.
    if (refusal === undefined && (lost.length > 0 || (journal.damage !== undefined && journal.lines.length > 0))) {
      database.data = { schemaVersion, sequence, state: options.snapshot?.(state) ?? state };
      await database.write();
    }
    if (journal.damage !== undefined) {
      const kept = rows === undefined ? "the lines before it were kept" : "the other lines were kept";
      await setAside(journalName, `${journalName} is damaged: ${journal.damage}; ${kept}`);
      journalChars = 0;
    } else if (journal.isTorn && refusal === undefined) {
      // The next line must not continue the incomplete one.
      await files.replace(journalName, journal.intact);
    }
  } catch (error) {
    refusal = `${journalName} has a damaged end that can't be removed: ${messageOf(error)}`;
    note(refusal);
  }
  return {
    database,
    state,
    /** Number of the last event in `state`. */
    sequence,
    /** Sizes on disk, in characters. */
    documentChars: adapter.sizeChars,
    journalChars,
    problems,
    ...defined({ refusal }),
  };
}

/** The state in the document; an empty one if it can't be read, or one of its readable rows. Throws `StoreFailed`. */
async function readDocument<State extends object, Event, Result>(
  options: DocumentOptions<State, Event, Result>,
  database: Low<Stored>,
  name: string,
) {
  const { rows } = options;
  const nothing = database.data;
  try {
    await database.read();
  } catch (error) {
    if (!(error instanceof UnreadableDocument)) throw unreadable(name, error);
    const lost = rows === undefined ? [] : [undefined];
    return { state: options.empty(), sequence: 0, damage: error.message, lost };
  }
  const { data } = database;
  if (data === nothing) return { state: options.empty(), sequence: 0, lost: [] };
  const read = options.state.safeParse(data.state);
  if (read.success) return { state: read.data, sequence: data.sequence, lost: [] };
  const damage = z.prettifyError(read.error).replaceAll(/\s+/g, " ").slice(0, 300);
  const { kept, lost } = rows === undefined ? { kept: undefined, lost: [] } : readableRows(rows, data.state);
  const again = kept === undefined ? undefined : options.state.safeParse(kept);
  return again?.success === true
    ? { state: again.data, sequence: data.sequence, damage: `${damage}; the other rows were kept`, lost }
    : { state: options.empty(), sequence: 0, damage, lost: rows === undefined ? [] : [undefined] };
}

/** The rows that fit the schemas of their lists, and the others. */
function readableRows(rows: Readonly<Record<string, z.ZodType>>, given: object) {
  const kept: Record<string, unknown> = {};
  const lost: unknown[] = [];
  for (const [name, schema] of Object.entries(rows)) {
    const list = (given as Readonly<Record<string, unknown>>)[name];
    const isReadable = (row: unknown): boolean => schema.safeParse(row).success;
    kept[name] = Array.isArray(list) ? list.filter(isReadable) : list;
    if (Array.isArray(list)) lost.push(...list.filter((row) => !isReadable(row)));
  }
  return { kept, lost };
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
  return new StoreFailed(`${name} can't be read: ${messageOf(error)}`, {
    next: advice("make the files of the home folder readable, then try again"),
    cause: error,
  });
}

/** One line of a journal. */
interface JournalLine<Event> {
  /** Increases across folds, so that events that the document has already are skipped when reading the journal. */
  readonly sequence: number;
  readonly event: Event;
}

export function journalText(schemaVersion: number, lines: readonly JournalLine<unknown>[]): string {
  return lines.map(({ sequence, event }) => `${JSON.stringify({ v: schemaVersion, n: sequence, event })}\n`).join("");
}

const lineSchema = z.object({ v: z.int().positive(), n: z.int().positive(), event: z.unknown() });

/**
 * Reads up to the first invalid line, or all others if their events don't depend on each other. A text after the last
 * newline was being written when the process ended; it was never acknowledged and doesn't count as damage (`isTorn`).
 * `intact` is the text of `lines`; `lost` has the events of invalid lines, if lines after them were read.
 */
function readJournal<Event>(text: string, schema: z.ZodType<Event>, schemaVersion: number, isByRow: boolean) {
  const lines: JournalLine<Event>[] = [];
  const lost: unknown[] = [];
  const end = text.lastIndexOf("\n") + 1;
  const isTorn = end < text.length;
  let damage: string | undefined;
  let start = 0;
  let last: number | undefined;
  while (start < end) {
    const next = text.indexOf("\n", start) + 1;
    const line = text.slice(start, next - 1);
    const read = readLine(line, schema, schemaVersion, last);
    if (typeof read === "string") {
      damage ??= `line ${lines.length + 1} ${read}`;
      if (!isByRow) return { lines, intact: text.slice(0, start), isTorn, damage, lost };
      // The event of an invalid line, as far as it is JSON.
      lost.push(lineSchema.partial().safeParse(jsonIn(line)).data?.event);
    } else lines.push(read);
    last = typeof read === "string" ? undefined : read.sequence;
    start = next;
  }
  return { lines, intact: text.slice(0, end), isTorn, ...defined({ damage }), lost };
}

/** The line, or what is wrong with it, as a text that follows its number. */
function readLine<Event>(
  text: string,
  schema: z.ZodType<Event>,
  schemaVersion: number,
  last: number | undefined,
): JournalLine<Event> | string {
  const json = jsonIn(text);
  if (json === undefined) return "is not JSON";
  const line = lineSchema.safeParse(json);
  if (!line.success) return "is not a journal entry";
  const { v: version, n: sequence } = line.data;
  if (version > schemaVersion) return `has version ${version}; this program reads up to ${schemaVersion}`;
  if (last !== undefined && sequence !== last + 1) return `has number ${sequence} after number ${last}`;
  const event = schema.safeParse(line.data.event);
  if (!event.success) return `has an unknown event (${z.prettifyError(event.error).split("\n")[0] ?? ""})`;
  return { sequence, event: event.data };
}

/** A document as stored on disk. */
interface Stored {
  readonly schemaVersion: number;
  /** Number of the last event in it. */
  readonly sequence: number;
  readonly state: object;
}

/** The document is invalid; the message describes why. */
class UnreadableDocument extends Error {}

const storedSchema = z.looseObject({ schemaVersion: z.int().positive(), sequence: z.int().min(0) });

/**
 * The lowdb adapter. lowdb's own adapters neither check what they read nor sync what they write, and its presets store
 * nothing when NODE_ENV is "test". `read` throws `UnreadableDocument`.
 */
function documentAdapter(files: DocumentFiles, fileName: string, schemaVersion: number) {
  let sizeChars = 0;
  return {
    /** Size of the text that was last read or written. */
    sizeChars: () => sizeChars,
    async read(): Promise<Stored | null> {
      const text = await files.read(fileName);
      if (text === undefined) return null;
      sizeChars = text.length;
      const stored = storedSchema.safeParse(readJson(text));
      if (!stored.success) throw new UnreadableDocument("its schemaVersion or sequence is missing");
      const { schemaVersion: version, sequence, ...state } = stored.data;
      if (version > schemaVersion) {
        throw new UnreadableDocument(`it has version ${version}; this program reads up to ${schemaVersion}`);
      }
      return { schemaVersion: version, sequence, state };
    },
    async write({ schemaVersion: version, sequence, state }: Stored): Promise<void> {
      const text = await jsonInSlices({ schemaVersion: version, sequence, ...state });
      await files.replace(fileName, `${text}\n`);
      sizeChars = text.length;
    },
  };
}

function readJson(text: string): unknown {
  if (text.trim() === "") throw new UnreadableDocument("it is empty");
  try {
    return parseJson(text);
  } catch (error) {
    throw new UnreadableDocument("it is not valid JSON: it is incomplete, or another program wrote it", {
      cause: error,
    });
  }
}

/** Takes about a millisecond. */
const sliceLength = 1_000;

/**
 * `JSON.stringify` that yields between slices of the lists directly in `data`, which must not change meanwhile.
 * Serializing 100,000 entries at once would block all calls for a quarter of a second.
 */
async function jsonInSlices(data: object): Promise<string> {
  const members: string[] = [];
  for (const [name, value] of Object.entries(data) as [string, unknown][]) {
    const text = Array.isArray(value) ? await listInSlices(value) : JSON.stringify(value);
    // Omits undefined values, like JSON.stringify.
    if (text !== undefined) members.push(`${JSON.stringify(name)}:${text}`);
  }
  return `{${members.join(",")}}`;
}

async function listInSlices(list: readonly unknown[]): Promise<string> {
  const slices: string[] = [];
  for (let start = 0; start < list.length; start += sliceLength) {
    if (start > 0) await nextTurn();
    slices.push(JSON.stringify(list.slice(start, start + sliceLength)).slice(1, -1));
  }
  return `[${slices.join(",")}]`;
}
