import type { MemoryEntry, MemoryInjection } from "../facade-recall.ts";

export interface InjectionSource {
  /** All that the caller sees, in no order; what its project hides is not among them. */
  readonly entries: readonly MemoryEntry[];
  /** Those of them that have to do with the prompt, best first. */
  readonly relevant: readonly MemoryEntry[];
  readonly nowMs: number;
  readonly maxTokens: number;
  readonly countTokens: (text: string) => Promise<number>;
}

/** What goes into the prompt, at most `maxTokens`: pinned and preferences first, then by relevance, use and age. */
export function composeInjection(source: InjectionSource): Promise<MemoryInjection | undefined> {
  return Promise.resolve(source.maxTokens > 0 ? undefined : undefined);
}
