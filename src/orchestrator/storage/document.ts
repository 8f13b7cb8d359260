import type { z } from "zod";
import type { Log } from "../api/log.ts";
import type { DocumentFiles } from "./document-files.ts";
import { loadDocument } from "./load-document.ts";
import { createWriter } from "./document-writer.ts";

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
  readonly log: Log;
}

/** A lowdb document with an fsynced journal, which is folded into it from time to time. */
export interface JournaledDocument<State extends object, Event, Result = void> {
  /** The state after the last acknowledged event. Read-only. */
  readonly state: State;
  /**
   * Writes a valid event to the journal, then applies it. Concurrent events share one fsync. Resolves with the result of
   * `apply`. Throws `StoreFailed` and leaves the state unchanged.
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
  const writer = createWriter(options, options.files, loaded);
  return {
    state: loaded.state,
    problems: loaded.problems,
    append: writer.append,
    close: writer.close,
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
