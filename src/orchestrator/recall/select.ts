import { InvalidRequest, UnknownMemory } from "../api/errors.ts";
import type { MemoryCategory, MemoryEntry, MemoryScope } from "../api/facade-recall.ts";
import { nearestNames } from "../util/nearest.ts";
import type { CallerContext } from "../api/types.ts";
import { idOf, normaliseKey } from "./entry.ts";
import type { MemoryId } from "./search.ts";

export interface Filter {
  readonly category?: MemoryCategory | undefined;
  readonly scope?: MemoryScope | undefined;
}

/** At most this many keys are compared for "did you mean"; more would be noticeably slow. */
const maxCompared = 2_000;

export function sees(caller: CallerContext, entry: MemoryEntry): boolean {
  return entry.project === undefined || entry.project === caller.project?.folder;
}

export function passes(entry: MemoryEntry, { category, scope }: Filter): boolean {
  return (category === undefined || entry.category === category) && (scope === undefined || entry.scope === scope);
}

/** The folder of the caller's project. Throws `InvalidRequest` when it has none. */
export function projectOf(caller: CallerContext): string {
  if (caller.project !== undefined) return caller.project.folder;
  throw new InvalidRequest("scope project needs a project, and this connection has none", {
    next: [{ step: "omitArgument", argument: "scope" }, { step: "openProject" }],
  });
}

/**
 * The entry under a key; an entry of the caller's project hides a global one, unless the filter has a scope. Throws
 * `InvalidRequest` for an invalid key, `UnknownMemory` when there is no entry.
 */
export function findByKey(
  caller: CallerContext,
  given: string,
  filter: Filter,
  store: { get(id: MemoryId): MemoryEntry | undefined; all(): readonly MemoryEntry[] },
): MemoryEntry {
  const key = normaliseKey(given);
  if (filter.scope === "project") projectOf(caller);
  const folder = caller.project?.folder;
  const candidates = folder === undefined ? [idOf(undefined, key)] : [idOf(folder, key), idOf(undefined, key)];
  for (const id of candidates) {
    const entry = store.get(id);
    if (entry !== undefined && passes(entry, filter)) return entry;
  }
  const known = store.all().filter((entry) => sees(caller, entry) && passes(entry, filter));
  const near = nearestNames(key, [...new Set(known.slice(-maxCompared).map((entry) => entry.key))], 3);
  const of = [filter.category, filter.scope].filter((each) => each !== undefined).join(", ");
  throw new UnknownMemory(`nothing is remembered under "${key}"${of === "" ? "" : ` (${of})`}`, {
    next: near.length > 0 ? { step: "didYouMean", names: near.map((each) => `"${each}"`) } : { step: "listMemories" },
  });
}

/** Pinned entries first, then the most recently changed. */
export function inOrder(entries: readonly MemoryEntry[]): readonly MemoryEntry[] {
  return entries.toSorted(
    (a, b) =>
      Number(b.isPinned) - Number(a.isPinned) ||
      (a.updatedAt < b.updatedAt ? 1 : 0) - (b.updatedAt < a.updatedAt ? 1 : 0) ||
      (a.key < b.key ? -1 : 1),
  );
}

/** Whether it is a global entry whose key an entry of the project has, too. */
export function isHidden(
  { scope, key }: MemoryEntry,
  folder: string | undefined,
  store: { get(id: MemoryId): MemoryEntry | undefined },
): boolean {
  return scope === "global" && folder !== undefined && store.get(idOf(folder, key)) !== undefined;
}
