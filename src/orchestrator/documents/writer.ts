import { createMutex } from "../async/mutex.ts";
import { StoreFailed } from "../errors.ts";
import { advice } from "../next-step.ts";
import type { DocumentOptions } from "./document.ts";
import type { DocumentFiles } from "./files.ts";
import { journalText, type JournalLine } from "./journal.ts";
import { type Loaded, reasonOf } from "./load.ts";

export interface Writer<Event, Result> {
  append(event: Event): Promise<Result>;
  close(): Promise<void>;
}

interface Waiting<Event, Result> {
  readonly event: Event;
  resolve(result: Result): void;
  reject(error: unknown): void;
}

/** A journal is folded in when it is as large as the document: each entry is rewritten about once, however many there are. */
const smallestFoldChars = 256 * 1024;

/**
 * Writes events down before they are applied, many at a time where many wait, and folds the journal into the document.
 *
 * | crash between                       | then at the next start                                             |
 * |-------------------------------------|--------------------------------------------------------------------|
 * | writing and syncing the journal     | a torn line is dropped, a whole one applied: nobody was answered    |
 * | replacing the document and trimming | the document's sequence says which lines it has; they are passed over |
 *
 * A journal that somebody removes under a running process is folded in before the next event is written: from memory.
 */
export function createWriter<State extends object, Event, Result>(
  options: DocumentOptions<State, Event, Result>,
  files: DocumentFiles,
  loaded: Loaded<State>,
): Writer<Event, Result> {
  const { schemaVersion, log } = options;
  const { state, database } = loaded;
  const journalName = `${options.name}.journal`;
  /** Of the journal: appends and trimming. */
  const journalMutex = createMutex();
  let waiting: Waiting<Event, Result>[] = [];
  let writing: Promise<void> | undefined;
  let folding: Promise<void> | undefined;
  let isClosed = false;
  let { sequence, journalChars } = loaded;
  /** Lines that the fold under way leaves in the journal. */
  let linesSinceFold: string[] = [];
  /** After a fold that failed: try again when so much is in the journal. */
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
    // One turn for those who ask at the same time; then whoever comes while the disk is busy shares the next write.
    await Promise.resolve();
    while (waiting.length > 0) {
      const failure = await restoreJournal();
      const batch = waiting;
      waiting = [];
      if (failure !== undefined) for (const { reject } of batch) reject(failure);
      else await journalMutex(() => writeBatch(batch));
      considerFold();
    }
    // In the same turn as the look at `waiting`: who comes next begins anew.
    writing = undefined;
  }

  /** Puts on disk what stood in a journal that is gone. What is wrong when it can't: nothing is acknowledged on top of it. */
  async function restoreJournal(): Promise<StoreFailed | undefined> {
    // A fold under way writes all of it down anyway.
    if (journalChars === 0 || folding !== undefined) return undefined;
    try {
      if (await files.holds(journalName)) return undefined;
      log.warn(`${journalName} was removed or changed by another program; what stood in it is written down anew`);
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
        // A defect of `apply`; the others are on disk, and must hear of it.
        reject(error);
      }
    }
  }

  function considerFold(): void {
    if (folding !== undefined || journalChars < Math.max(smallestFoldChars, loaded.documentChars(), foldAtChars))
      return;
    fold().catch((error: unknown) => log.warn(`${journalName} stays as it is: ${reasonOf(error)}`));
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
    // In one turn: the document is of this very event.
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
        // The journal holds it all; the next start reads it.
        log.warn(`${journalName} stays as it is: ${reasonOf(error)}`);
      }
      await files.release(journalName);
    },
  };
}
