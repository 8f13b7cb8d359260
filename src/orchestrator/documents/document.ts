import type { z } from "zod";
import type { Log } from "../log.ts";
import type { DocumentFiles } from "./files.ts";
import { loadDocument } from "./load.ts";
import { createWriter } from "./writer.ts";

export interface DocumentOptions<State extends object, Event, Result = void> {
  /** Absent: everything is kept in memory alone. */
  readonly files?: DocumentFiles;
  /** `memory`: the document is `memory.json`, its journal `memory.journal`. */
  readonly name: string;
  /** Of the format; a newer one is set aside, not understood. */
  readonly schemaVersion: number;
  readonly empty: () => State;
  /** Its own names are not `schemaVersion` and `sequence`, which stand beside them in the file. */
  readonly state: z.ZodType<State>;
  readonly event: z.ZodType<Event>;
  /** Applies one event, changing `state` itself. Pure otherwise: replayed from the journal, it gives the same. */
  apply(state: State, event: Event): Result;
  /**
   * What is written of the state: JSON data which nobody changes afterwards, read by `state` again. Its lists are
   * written a slice at a time, so that large ones hold up nobody. Absent: the state itself, in one go.
   */
  snapshot?(state: State): object;
  /** Drops from the state what need not be written any more; called before each fold. `apply` must not miss it. */
  prune?(state: State): void;
  readonly log: Log;
}

/** A lowdb document with an fsync'ed journal beside it, which is folded in now and then. */
export interface JournaledDocument<State extends object, Event, Result = void> {
  /** As of the last acknowledged event. Read only. */
  readonly state: State;
  /**
   * Writes the event to the journal, then applies it; concurrent ones share one fsync. Throws `StoreFailed`, and then
   * the state is as it was. The event must be valid. Resolves with what `apply` answered.
   */
  append(event: Event): Promise<Result>;
  /** What was set aside, and why; for `system_status` and the log. */
  readonly problems: readonly string[];
  /** Folds the journal in. */
  close(): Promise<void>;
}

/**
 * Reads document and journal; a file that does not parse is set aside with a message, and the rest works. What can't be
 * set aside is left as it is, and then nothing is written. Throws `StoreFailed` when one is there but can't be read.
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
