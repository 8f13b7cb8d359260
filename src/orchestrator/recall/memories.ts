import type { DocumentFiles } from "../documents/files.ts";
import type { Memories, MemoryInjection } from "../facade-recall.ts";
import type { Change } from "../facade.ts";
import type { Log } from "../log.ts";
import type { CallerContext } from "../types.ts";

export interface MemoryParts {
  readonly now: () => number;
  readonly log: Log;
  readonly publish: (change: Change) => void;
  readonly files?: DocumentFiles;
  /** One row per text, from an embedding model that is there now; undefined when there is none. */
  readonly embed: (
    texts: readonly string[],
    signal: AbortSignal,
  ) => Promise<{ readonly model: string; readonly vectors: readonly (readonly number[])[] } | undefined>;
}

export interface MemoriesWithInjection extends Memories {
  /** What of it goes into this prompt, at most so many tokens; undefined when nothing does. Counts as an access. */
  inject(
    caller: CallerContext,
    prompt: string,
    maxTokens: number,
    countTokens: (text: string) => Promise<number>,
  ): Promise<MemoryInjection | undefined>;
  /** What was set aside, and why. */
  problems(): readonly string[];
  close(): Promise<void>;
}

/** Opened with the first call. */
export function createMemories(parts: MemoryParts): MemoriesWithInjection {
  parts.log.debug("memories: not built yet");
  const unbuilt = () => Promise.reject(new Error("memories: not built yet"));
  return {
    remember: unbuilt,
    recall: unbuilt,
    matching: unbuilt,
    forget: unbuilt,
    export: unbuilt,
    import: unbuilt,
    inject: () => Promise.resolve(undefined),
    problems: () => [],
    close: () => Promise.resolve(),
  };
}
