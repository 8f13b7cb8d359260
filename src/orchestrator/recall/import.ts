import { isAbsolute } from "node:path";
import * as z from "zod";
import { createTurns } from "../util/turns.ts";
import { OrchestratorError } from "../api/errors.ts";
import type { MemoryEntry } from "../api/facade-recall.ts";
import { checkValue, entrySchema, idOf, isExpired, normaliseKey, normaliseTags } from "./entry.ts";
import { findSecret } from "./secrets.ts";
import type { MemoryId } from "./search.ts";

export interface ImportRules {
  readonly nowMs: number;
  /** Accepts values that look like secrets. */
  readonly isForced: boolean;
  /** Whether the caller may add entries to that project. */
  readonly takesProject: (folder: string) => boolean;
}

/** An imported entry: edited by hand, it may lack fields that have defaults. */
const givenSchema = entrySchema.partial().extend({ key: z.string(), value: z.string() });

/** The complete entries to import, and why others are rejected: one sentence each. */
export async function checkImport(
  given: readonly unknown[],
  rules: ImportRules,
): Promise<{ readonly entries: readonly MemoryEntry[]; readonly refused: readonly string[] }> {
  const entries = new Map<MemoryId, MemoryEntry>();
  const refused: string[] = [];
  const turn = createTurns();
  for (const [index, each] of given.entries()) {
    try {
      const entry = readEntry(each, rules);
      const id = idOf(entry.project, entry.key);
      if (entries.has(id)) throw new OrchestratorError("duplicate key");
      entries.set(id, entry);
    } catch (error) {
      if (!(error instanceof OrchestratorError)) throw error;
      refused.push(`${nameOf(each, index)}: ${error.message}`);
    }
    const others = turn();
    if (others !== undefined) await others;
  }
  return { entries: [...entries.values()], refused };
}

function readEntry(each: unknown, rules: ImportRules): MemoryEntry {
  const read = givenSchema.safeParse(each);
  if (!read.success) {
    throw new OrchestratorError(z.prettifyError(read.error).replaceAll(/\s+/g, " ").replace(/^✖ /, "").slice(0, 200));
  }
  const { project, scope, expiresAt, previous, ...given } = read.data;
  if (scope === "project" && project === undefined)
    throw new OrchestratorError("scope is project, but project is missing");
  if (project !== undefined) {
    if (!isAbsolute(project)) throw new OrchestratorError(`the project ${project} is not an absolute path`);
    if (!rules.takesProject(project)) throw new OrchestratorError(`belongs to another project, ${project}`);
  }
  const at = new Date(rules.nowMs).toISOString();
  const entry: MemoryEntry = {
    key: normaliseKey(given.key),
    value: checkValue(given.value),
    category: given.category ?? "fact",
    scope: project === undefined ? "global" : "project",
    ...(project === undefined ? {} : { project }),
    tags: normaliseTags(given.tags ?? []),
    isPinned: given.isPinned ?? false,
    source: "system",
    createdAt: given.createdAt ?? at,
    updatedAt: given.updatedAt ?? at,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    accessCount: given.accessCount ?? 0,
    ...(previous === undefined ? {} : { previous: { ...previous, value: checkValue(previous.value) } }),
  };
  if (isExpired(entry, rules.nowMs)) throw new OrchestratorError(`expired at ${entry.expiresAt}`);
  const secret = rules.isForced ? undefined : findSecret(`${entry.key}=${entry.value}\n${previous?.value ?? ""}`);
  if (secret !== undefined) throw new OrchestratorError(`looks like ${secret}`);
  return entry;
}

function nameOf(each: unknown, index: number): string {
  const key = typeof each === "object" && each !== null && "key" in each ? each.key : undefined;
  return typeof key === "string" && key.trim() !== "" ? `"${key.trim().slice(0, 60)}"` : `entry ${index + 1}`;
}
