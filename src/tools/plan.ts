import * as z from "zod";
import type { LoadPlan } from "../orchestrator/types.ts";
import { formatBytes } from "../orchestrator/text/format-bytes.ts";
import { round } from "./render.ts";

/** A load plan as tools show it. */
export const planOutput = z.object({
  fits: z.boolean(),
  predicted_bytes: z.number().describe("What the model itself takes."),
  needed_bytes: z.number().describe("What must be free: prediction, process, margin and buffer."),
  free_bytes: z.number(),
  context_tokens: z.number().optional(),
  evict: z.array(z.object({ name: z.string(), bytes: z.number() })).describe("Models that make room."),
  steps: z.array(z.string()),
});

export function planData(plan: LoadPlan): z.input<typeof planOutput> {
  return {
    fits: plan.fits,
    predicted_bytes: plan.estimate.predictedBytes,
    needed_bytes: plan.neededBytes,
    free_bytes: plan.freeBytes,
    context_tokens: plan.contextTokens,
    evict: plan.evict.map(({ name, bytes }) => ({ name, bytes })),
    steps: [...plan.steps],
  };
}

/** How the figures came about; the margin is relative (0.02 = ±2 %). */
export function estimateData(plan: LoadPlan) {
  return { method: plan.estimate.method, margin: round(plan.estimate.margin, 3) };
}

export function renderPlan(model: string, plan: z.output<typeof planOutput>): string {
  // Needs nothing: loaded with enough context, or in the cloud, where even its size is not ours.
  if (plan.needed_bytes === 0) return plan.predicted_bytes > 0 ? `${model} is loaded already` : plan.steps.join("; ");
  const verdict = plan.fits ? "fits" : "does not fit";
  const room = `needs ${formatBytes(plan.needed_bytes)}, free ${formatBytes(plan.free_bytes)}`;
  const evicted = plan.evict.map(({ name }) => name).filter((name) => name !== model);
  // Its own smaller load goes too; that is no eviction to worry about.
  const anew = evicted.length < plan.evict.length ? ", loaded anew with more context" : "";
  return `${model} ${verdict}: ${room}${evicted.length === 0 ? "" : `, evicts ${evicted.join(", ")}`}${anew}`;
}
