import type { MemoryEntry } from "../../../src/orchestrator/api/facade-recall.ts";

/** A stored entry. */
export function entryOf(key: string, value: string, more: Partial<MemoryEntry> = {}): MemoryEntry {
  return {
    key,
    value,
    category: "fact",
    scope: "global",
    tags: [],
    isPinned: false,
    source: "llm",
    createdAt: "2026-11-01T00:00:00.000Z",
    updatedAt: "2026-11-01T00:00:00.000Z",
    accessCount: 0,
    ...more,
  };
}
