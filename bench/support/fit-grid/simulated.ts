import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { type ChildSession, openChild } from "../../../src/orchestrator/engines/llama-cpp/child-session.ts";
import { batchTokens } from "../../../src/orchestrator/engines/llama-cpp/prepare-request.ts";
import type { AllocatorLoad } from "./allocator.ts";

/** The loads that the embedded engine itself makes, and so the ones that its estimate can be asked about. */
export const engineLoads: readonly AllocatorLoad[] = [4_096, 16_384].map((contextTokens) => ({
  contextTokens,
  batchTokens,
  parallel: 1,
  cacheType: "f16",
}));

export interface SimulatedTier {
  /** Weights and context as the engine's own child answers them; undefined when it can't. */
  predict(file: string, load: AllocatorLoad): Promise<number | undefined>;
  close(): Promise<void>;
}

/** Asks the child process that the program itself asks, by the same messages. */
export function createSimulatedTier(modulePath: string): SimulatedTier {
  const signal = AbortSignal.timeout(600_000);
  let session: ChildSession | undefined;
  const open = async (): Promise<ChildSession> =>
    session?.isAlive() === true
      ? session
      : (session = await openChild(
          {
            entry: fileURLToPath(new URL("../../../dist/engine-child.mjs", import.meta.url)),
            nodeExecutable: process.execPath,
            modulePath,
            threads: availableParallelism(),
          },
          () => undefined,
          signal,
        ));
  return {
    async predict(file, { contextTokens, parallel, batchTokens: batch, cacheType }) {
      const child = await open();
      const shape = { contextTokens, sequences: parallel, batchTokens: batch, cacheType, isEmbedding: false };
      const request = { type: "estimate", file, useMmap: false, ...shape, withVocabulary: false } as const;
      try {
        const done = await child.call(request, () => undefined, signal);
        return done.weightsBytes + done.contextBytes;
      } catch {
        // Its log holds the failure from now on, which it would take for one of the next file.
        await child.stop();
        return undefined;
      }
    },
    close: async () => await session?.stop(),
  };
}
