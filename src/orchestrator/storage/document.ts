import * as z from "zod";
import { StoreFailed } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import { createMutex } from "../util/joined-work.ts";
import { messageOf } from "../util/values.ts";
import type { DocumentFiles } from "./document-files.ts";
import { type DocumentOptions, journalText, loadDocument } from "./load-document.ts";

/** A lowdb document with an fsynced journal, which is folded into it from time to time. */
export interface JournaledDocument<State extends object, Event, Result = void> {
  /** The state after the last acknowledged event. Read-only. */
  readonly state: State;
  /**
   * Writes an event to the journal, then applies it. Concurrent events share one fsync. Resolves with the result of
   * `apply`. Throws `StoreFailed`, and a plain error for an event that its schema refuses; the state is unchanged then.
   */
  append(event: Event): Promise<Result>;
  /** Files that were set aside, and why. */
  readonly problems: readonly string[];
  /** Folds the journal into the document and closes the files. */
  close(): Promise<void>;
}

/**
 * Reads document and journal. Sets an invalid file aside with a message; if that fails, the file is kept and nothing is
 * written. Throws `StoreFailed` when an existing file can't be read.
 */
export async function openDocument<State extends object, Event, Result = void>(
  options: DocumentOptions<State, Event, Result>,
): Promise<JournaledDocument<State, Event, Result>> {
  if (options.files === undefined) return inMemory(options);
  const loaded = await loadDocument(options, options.files);
  const writer = new DocumentWriter(options, options.files, loaded);
  return {
    state: loaded.state,
    problems: loaded.problems,
    append: (event) => writer.append(event),
    close: () => writer.close(),
  };
}

/** Opens a document at first use, and again after a failure. */
export function openedOnce<Document extends Pick<JournaledDocument<object, unknown>, "problems" | "close">>(
  open: () => Promise<Document>,
) {
  let pending: Promise<Document> | undefined;
  let document: Document | undefined;
  let failure: string | undefined;
  return {
    get(): Promise<Document> {
      pending ??= open().then(
        (found) => {
          failure = undefined;
          return (document = found);
        },
        (error: unknown) => {
          pending = undefined;
          failure = messageOf(error);
          throw error;
        },
      );
      return pending;
    },
    /** Files that were set aside, and why it could not be opened. */
    problems: (): readonly string[] => [...(document?.problems ?? []), ...(failure === undefined ? [] : [failure])],
    close: async () => (await pending?.catch(() => undefined))?.close(),
  };
}

function inMemory<State extends object, Event, Result>(
  options: DocumentOptions<State, Event, Result>,
): JournaledDocument<State, Event, Result> {
  const state = options.empty();
  return {
    state,
    problems: [],
    append: (event) => Promise.resolve(options.apply(state, event)),
    close: () => Promise.resolve(),
  };
}

interface Waiting<Event, Result> {
  readonly event: Event;
  resolve(result: Result): void;
  reject(error: unknown): void;
}

type Loaded<State extends object, Event, Result> = Awaited<ReturnType<typeof loadDocument<State, Event, Result>>>;

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
class DocumentWriter<State extends object, Event, Result> {
  readonly #options: DocumentOptions<State, Event, Result>;
  readonly #files: DocumentFiles;
  readonly #loaded: Loaded<State, Event, Result>;
  readonly #journalName: string;
  /** Serializes appends to the journal and its trimming. */
  readonly #journalMutex = createMutex();
  #waiting: Waiting<Event, Result>[] = [];
  #writing: Promise<void> | undefined;
  #folding: Promise<void> | undefined;
  #isClosed = false;
  #sequence: number;
  #journalChars: number;
  /** Lines written since the present fold started, which stay in the journal. */
  #linesSinceFold: string[] = [];
  /** After a failed fold: the size of the journal at which to try again. */
  #foldAtChars = 0;

  constructor(
    options: DocumentOptions<State, Event, Result>,
    files: DocumentFiles,
    loaded: Loaded<State, Event, Result>,
  ) {
    this.#options = options;
    this.#files = files;
    this.#loaded = loaded;
    this.#journalName = `${options.name}.journal`;
    this.#sequence = loaded.sequence;
    this.#journalChars = loaded.journalChars;
  }

  append(event: Event): Promise<Result> {
    if (this.#isClosed)
      return Promise.reject(new StoreFailed(`${this.#options.name} is closed`, { next: { step: "retry" } }));
    if (this.#loaded.refusal !== undefined) {
      return Promise.reject(
        new StoreFailed(`${this.#options.name} is not written: ${this.#loaded.refusal}`, {
          next: {
            step: "restartDaemon",
            after: `move ${this.#options.name}.json and ${this.#journalName} out of the home folder`,
          },
        }),
      );
    }
    // What a start could not read would take the journal's other events with it.
    const { success, error } = this.#options.event.safeParse(event);
    if (!success) {
      const [reason = ""] = z.prettifyError(error).split("\n");
      return Promise.reject(new Error(`${this.#options.name}: an event was not stored: ${reason}`, { cause: error }));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ event, resolve, reject });
      this.#writing ??= this.#writeAll();
    });
  }

  async #writeAll(): Promise<void> {
    // Lets concurrent events join this write; later ones share the next write.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const failure = await this.#restoreJournal();
      const batch = this.#waiting;
      this.#waiting = [];
      if (failure !== undefined) for (const { reject } of batch) reject(failure);
      else await this.#journalMutex(() => this.#writeBatch(batch));
      this.#considerFold();
    }
    // In the same turn as the check of `waiting`, so that the next event starts a new write.
    this.#writing = undefined;
  }

  /** Writes the events of a removed journal to the document. Returns an error if that fails: later events are rejected. */
  async #restoreJournal(): Promise<StoreFailed | undefined> {
    // A running fold writes them anyway.
    if (this.#journalChars === 0 || this.#folding !== undefined) return undefined;
    try {
      if (await this.#files.holds(this.#journalName)) return undefined;
      this.#options.log.warn(
        `documents: ${this.#journalName} was removed or changed by another program; its events are written again`,
      );
      await this.#fold();
      return undefined;
    } catch (error) {
      return this.#writeFailure(error);
    }
  }

  #writeFailure(error: unknown): StoreFailed {
    return new StoreFailed(`nothing was stored: ${this.#options.name} can't be written: ${messageOf(error)}`, {
      next: advice("free some disk space or make the home folder writable, then try again"),
      cause: error,
    });
  }

  async #writeBatch(batch: readonly Waiting<Event, Result>[]): Promise<void> {
    const lines = batch.map(({ event }, index) => ({
      sequence: this.#sequence + 1 + index,
      event,
    }));
    const text = journalText(this.#options.schemaVersion, lines);
    try {
      await this.#files.append(this.#journalName, text);
    } catch (error) {
      const failure = this.#writeFailure(error);
      for (const { reject } of batch) reject(failure);
      return;
    }
    this.#sequence += batch.length;
    this.#journalChars += text.length;
    if (this.#folding !== undefined) this.#linesSinceFold.push(text);
    for (const { event, resolve, reject } of batch) {
      try {
        resolve(this.#options.apply(this.#loaded.state, event));
      } catch (error) {
        // A defect of `apply`; the other events are on disk and must be acknowledged.
        reject(error);
      }
    }
  }

  #considerFold(): void {
    if (
      this.#folding !== undefined ||
      this.#journalChars < Math.max(smallestFoldChars, this.#loaded.documentChars(), this.#foldAtChars)
    )
      return;
    this.#fold().catch((error: unknown) =>
      this.#options.log.warn(`documents: ${this.#journalName} can't be folded: ${messageOf(error)}`),
    );
  }

  #fold(): Promise<void> {
    this.#linesSinceFold = [];
    this.#folding = this.#foldNow().finally(() => {
      this.#folding = undefined;
      this.#linesSinceFold = [];
    });
    return this.#folding;
  }

  async #foldNow(): Promise<void> {
    const { schemaVersion } = this.#options;
    const { state, database } = this.#loaded;
    // In one turn, so that the data is the state after event `sequence`.
    this.#options.prune?.(state);
    database.data = {
      schemaVersion,
      sequence: this.#sequence,
      state: this.#options.snapshot?.(state) ?? structuredClone(state),
    };
    try {
      await database.write();
      await this.#journalMutex(async () => {
        const rest = this.#linesSinceFold.join("");
        if (rest === "") await this.#files.remove(this.#journalName);
        else await this.#files.replace(this.#journalName, rest);
        this.#journalChars = rest.length;
      });
      this.#foldAtChars = 0;
    } catch (error) {
      this.#foldAtChars = 2 * this.#journalChars;
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#writing;
    await this.#folding?.catch(() => undefined);
    try {
      if (this.#journalChars > 0 && this.#loaded.refusal === undefined) await this.#fold();
    } catch (error) {
      // The next start reads the journal.
      this.#options.log.warn(`documents: ${this.#journalName} can't be folded: ${messageOf(error)}`);
    }
    await this.#files.release(this.#journalName);
  }
}
