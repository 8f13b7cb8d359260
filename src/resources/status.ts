import { defineResource } from "./definition.ts";
import { snaked } from "../orchestrator/util/defined.ts";
import type { Decision } from "../orchestrator/api/facade-status.ts";

export const ramStatus = defineResource({
  name: "ram-status",
  title: "Memory",
  description: "RAM, swap, GPU memory and the size of each loaded model, in bytes, measured now.",
  uri: "ollm://status/ram",
  watch: "memory",
  isTouchedBy: ({ kind }) => kind === "memory",
  async read(_variables, { orchestrator, caller, worded }) {
    const [ram, breaches] = await Promise.all([orchestrator.ramStatus(caller), orchestrator.metrics.breaches()]);
    return {
      total_bytes: ram.totalBytes,
      available_bytes: ram.availableBytes,
      loaded_bytes: ram.loaded.reduce((sum, { bytes }) => sum + bytes, 0),
      swap_total_bytes: ram.swapTotalBytes,
      swap_used_bytes: ram.swapUsedBytes,
      warning: ram.warning,
      // Thresholds that are missed now.
      warnings:
        breaches.length === 0
          ? undefined
          : await Promise.all(breaches.map(async ({ text, next }) => `${text}. ${await worded(next)}`)),
      gpus: ram.gpus.map(snaked),
      loaded: ram.loaded.map(snaked),
      sampled_at: ram.sampledAt,
    };
  },
});

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

function decisionData({ plan, ...decision }: Decision) {
  return {
    ...decision,
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
