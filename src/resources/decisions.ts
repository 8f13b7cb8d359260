import type { Decision } from "../orchestrator/api/facade-status.ts";
import { defineResource } from "./definition.ts";

export const decisions = defineResource({
  name: "decisions",
  title: "Memory decisions",
  description: "Models loaded, evicted, unloaded or refused since the start, and why; the newest 200, newest first.",
  uri: "ollm://decisions",
  isTouchedBy: ({ kind }) => kind === "decisions",
  async read(_variables, { orchestrator, caller }) {
    return { decisions: orchestrator.decisions(caller).map(decisionData) };
  },
});

function decisionData({ at, kind, model, engine, steps, plan }: Decision) {
  return {
    at,
    kind,
    model,
    engine,
    steps,
    ...(plan === undefined
      ? {}
      : {
          needed_bytes: plan.neededBytes,
          free_bytes: plan.freeBytes,
          predicted_bytes: plan.estimate.predictedBytes,
          method: plan.estimate.method,
          margin: plan.estimate.margin,
          context_tokens: plan.contextTokens,
          evicted: plan.evict.map(({ name, bytes }) => ({ name, bytes })),
        }),
  };
}
