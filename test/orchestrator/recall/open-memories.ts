import { createDocumentFiles, type DocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import type { Event } from "../../../src/orchestrator/api/events.ts";
import { StoredMemories } from "../../../src/orchestrator/recall/memories.ts";
import type { CallerContext } from "../../../src/orchestrator/api/types.ts";
import { plainSettings } from "../../support/caller-settings.ts";

export interface TestMemories {
  readonly memories: StoredMemories;
  readonly changes: Event[];
  readonly warnings: string[];
  /** Milliseconds since the epoch; set by tests. */
  readonly clock: { nowMs: number };
}

export const startMs = Date.UTC(2026, 10, 21);

/** Memories in `folder`, or only in memory; without an embedding model. */
export function openMemories(files?: DocumentFiles | string): TestMemories {
  const clock = { nowMs: startMs };
  const changes: Event[] = [];
  const warnings: string[] = [];
  const kept = typeof files === "string" ? createDocumentFiles(files) : files;
  const memories = new StoredMemories({
    now: () => clock.nowMs,
    log: { debug: () => undefined, info: () => undefined, warn: (message) => warnings.push(message) },
    emit: (event) => void changes.push(event),
    ...(kept === undefined ? {} : { files: kept }),
    embed: () => Promise.resolve(undefined),
  });
  return { memories, changes, warnings, clock };
}

/** A caller; in a project, when a folder is given. */
export function callerIn(folder?: string, client = "claude-code"): CallerContext {
  return {
    id: "caller-1",
    client,
    roots: [],
    settings: plainSettings,
    signal: new AbortController().signal,
    ...(folder === undefined ? {} : { project: { folder, evidence: [], isTrusted: false, settings: {}, notes: [] } }),
  };
}
