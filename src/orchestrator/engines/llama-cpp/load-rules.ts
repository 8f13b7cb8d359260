import type { LoadRules } from "../engine.ts";
import { batchTokens } from "./prepare-request.ts";

/** One process per file of weights and adapters, whatever the options. */
export const embeddedLoadRules: LoadRules = {
  loadShape: (_facts, contextTokens) => ({
    contextTokens,
    parallel: 1,
    batchTokens,
    cacheType: "f16",
    hasFlashAttention: true,
  }),
  processOf({ weightsDigest, attachedDigests = [] }) {
    if (weightsDigest === undefined) return undefined;
    const runner = JSON.stringify([weightsDigest, attachedDigests]);
    return { slot: runner, runner };
  },
};
