import type { Low } from "lowdb";
import * as z from "zod";
import { StoreFailed } from "../errors.ts";
import type { DocumentOptions } from "./document.ts";
import type { DocumentFiles } from "./files.ts";
import { advice } from "../next-step.ts";
import { type JournalLine, readJournal } from "./journal.ts";
import { documentAdapter, type Stored, UnreadableDocument } from "./stored.ts";

/** What was found on disk, put in order: document and journal can be written on. */
export interface Loaded<State> {
  readonly database: Low<Stored>;
  readonly state: State;
  /** Of the last event that is in `state`. */
  readonly sequence: number;
  /** Sizes of what lies on disk, in characters. */
  readonly documentChars: () => number;
  readonly journalChars: number;
  readonly problems: readonly string[];
  /** Why nothing may be written: what can't be read would be overwritten. */
  readonly refusal?: string;
}

/** Reads both; sets aside what can't be read, after what could be read of it is safe. Throws `StoreFailed`. */
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

  /** Keeps the file under another name, or everybody from writing over it. */
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
        // First what was read of it: it would be gone with the journal.
        if (refusal === undefined && journal.lines.length > 0) {
          database.data = { schemaVersion, sequence, state: options.snapshot?.(state) ?? state };
          await database.write();
        }
        await setAside(journalName, `${journalName} is damaged: ${journal.damage}; what came before it is kept`);
        journalChars = 0;
      } else if (journal.isTorn && refusal === undefined) {
        // What is written next must not continue it.
        await files.replace(journalName, journal.intact);
      }
    } catch (error) {
      refusal = `${journalName} has a broken end that can't be mended: ${reasonOf(error)}`;
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

/** Applies what the document has not got yet; the answer is the number of the last event. */
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

/** The system's words without a stack. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
