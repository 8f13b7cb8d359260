import { StoreFailed } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import { createMutex } from "../util/mutex.ts";
import type { DocumentFiles } from "./document-files.ts";
import type { DocumentOptions } from "./document.ts";
import { type JournalLine, type Loaded, journalText, reasonOf } from "./load-document.ts";

export interface Writer<Event, Result> {
  append(event: Event): Promise<Result>;
  close(): Promise<void>;
}

interface Waiting<Event, Result> {
  readonly event: Event;
  resolve(result: Result): void;
  reject(error: unknown): void;
}

/** A journal is folded when it is as large as the document, so that each entry is rewritten about once. */
const smallestFoldChars = 256 * 1024;

/**
 * Writes events to the journal before applying them, waiting events together, and folds the journal into the document.
 *
 * | crash between                       | at the next start                                                     |
 * |-------------------------------------|-----------------------------------------------------------------------|
 * | writing and syncing the journal     | an incomplete line is dropped, a complete one applied; neither was acknowledged |
 * | replacing the document and trimming | lines that the document has already, by its sequence, are skipped     |
 *
 * If the journal is removed while the process runs, the state in memory is written to the document before the next event.
 */
export function createWriter<State extends object, Event, Result>(
  options: DocumentOptions<State, Event, Result>,
  files: DocumentFiles,
  loaded: Loaded<State>,
): Writer<Event, Result> {
  const { schemaVersion, log } = options;
  const { state, database } = loaded;
  const journalName = `${options.name}.journal`;
  /** Serializes appends to the journal and its trimming. */
  const journalMutex = createMutex();
  let waiting: Waiting<Event, Result>[] = [];
  let writing: Promise<void> | undefined;
  let folding: Promise<void> | undefined;
  let isClosed = false;
  let { sequence, journalChars } = loaded;
  /** Lines written since the present fold started, which stay in the journal. */
  let linesSinceFold: string[] = [];
  /** After a failed fold: the size of the journal at which to try again. */
  let foldAtChars = 0;

  function append(event: Event): Promise<Result> {
    if (isClosed) return Promise.reject(new StoreFailed(`${options.name} is closed`, { next: { step: "retry" } }));
    if (loaded.refusal !== undefined) {
      return Promise.reject(
        new StoreFailed(`${options.name} is not written: ${loaded.refusal}`, {
          next: { step: "restartDaemon", after: `move ${options.name}.json and ${journalName} out of the home folder` },
        }),
      );
    }
    return new Promise((resolve, reject) => {
      waiting.push({ event, resolve, reject });
      writing ??= writeAll();
    });
  }

  async function writeAll(): Promise<void> {
    // Lets concurrent events join this write; later ones share the next write.
    await Promise.resolve();
    while (waiting.length > 0) {
      const failure = await restoreJournal();
      const batch = waiting;
      waiting = [];
      if (failure !== undefined) for (const { reject } of batch) reject(failure);
      else await journalMutex(() => writeBatch(batch));
      considerFold();
    }
    // In the same turn as the check of `waiting`, so that the next event starts a new write.
    writing = undefined;
  }

  /** Writes the events of a removed journal to the document. Returns an error if that fails: later events are rejected. */
  async function restoreJournal(): Promise<StoreFailed | undefined> {
    // A running fold writes them anyway.
    if (journalChars === 0 || folding !== undefined) return undefined;
    try {
      if (await files.holds(journalName)) return undefined;
      log.warn(`documents: ${journalName} was removed or changed by another program; its events are written again`);
      await fold();
      return undefined;
    } catch (error) {
      return writeFailure(error);
    }
  }

  function writeFailure(error: unknown): StoreFailed {
    return new StoreFailed(`nothing was stored: ${options.name} can't be written: ${reasonOf(error)}`, {
      next: advice("free some disk space or make the home folder writable, then try again"),
      cause: error,
    });
  }

  async function writeBatch(batch: readonly Waiting<Event, Result>[]): Promise<void> {
    const lines = batch.map(({ event }, index): JournalLine<Event> => ({ sequence: sequence + 1 + index, event }));
    const text = journalText(schemaVersion, lines);
    try {
      await files.append(journalName, text);
    } catch (error) {
      const failure = writeFailure(error);
      for (const { reject } of batch) reject(failure);
      return;
    }
    sequence += batch.length;
    journalChars += text.length;
    if (folding !== undefined) linesSinceFold.push(text);
    for (const { event, resolve, reject } of batch) {
      try {
        resolve(options.apply(state, event));
      } catch (error) {
        // A defect of `apply`; the other events are on disk and must be acknowledged.
        reject(error);
      }
    }
  }

  function considerFold(): void {
    if (folding !== undefined || journalChars < Math.max(smallestFoldChars, loaded.documentChars(), foldAtChars))
      return;
    fold().catch((error: unknown) => log.warn(`documents: ${journalName} can't be folded: ${reasonOf(error)}`));
  }

  function fold(): Promise<void> {
    linesSinceFold = [];
    folding = foldNow().finally(() => {
      folding = undefined;
      linesSinceFold = [];
    });
    return folding;
  }

  async function foldNow(): Promise<void> {
    // In one turn, so that the data is the state after event `sequence`.
    options.prune?.(state);
    database.data = { schemaVersion, sequence, state: options.snapshot?.(state) ?? structuredClone(state) };
    try {
      await database.write();
      await journalMutex(async () => {
        const rest = linesSinceFold.join("");
        if (rest === "") await files.remove(journalName);
        else await files.replace(journalName, rest);
        journalChars = rest.length;
      });
      foldAtChars = 0;
    } catch (error) {
      foldAtChars = 2 * journalChars;
      throw error;
    }
  }

  return {
    append,
    async close() {
      isClosed = true;
      await writing;
      await folding?.catch(() => undefined);
      try {
        if (journalChars > 0 && loaded.refusal === undefined) await fold();
      } catch (error) {
        // The next start reads the journal.
        log.warn(`documents: ${journalName} can't be folded: ${reasonOf(error)}`);
      }
      await files.release(journalName);
    },
  };
}
