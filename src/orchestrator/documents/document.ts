import type { z } from "zod";
import type { Log } from "../log.ts";
import type { DocumentFiles } from "./files.ts";

export interface DocumentOptions<State extends object, Event> {
  /** Absent: everything is kept in memory alone. */
  readonly files?: DocumentFiles;
  /** `memory`: the document is `memory.json`, its journal `memory.journal`. */
  readonly name: string;
  /** Of the format; a newer one is set aside, not understood. */
  readonly schemaVersion: number;
  readonly empty: () => State;
  readonly state: z.ZodType<State>;
  readonly event: z.ZodType<Event>;
  /** Applies one event, changing `state` itself. Pure otherwise: replayed from the journal, it gives the same. */
  apply(state: State, event: Event): void;
  readonly log: Log;
}

/** A lowdb document with an fsync'ed journal beside it, which is folded in now and then. */
export interface JournaledDocument<State extends object, Event> {
  /** As of the last acknowledged event. Read only. */
  readonly state: State;
  /**
   * Writes the event to the journal, then applies it; concurrent ones share one fsync. Throws `StoreFailed`, and then
   * the state is as it was. The event must be valid.
   */
  append(event: Event): Promise<void>;
  /** What was set aside, and why; for `system_status` and the log. */
  readonly problems: readonly string[];
  /** Folds the journal in. */
  close(): Promise<void>;
}

/** Reads document and journal; a file that does not parse is set aside with a message, and the rest works. */
export function openDocument<State extends object, Event>(
  options: DocumentOptions<State, Event>,
): Promise<JournaledDocument<State, Event>> {
  throw new Error(`not built yet: ${options.name}`);
}
