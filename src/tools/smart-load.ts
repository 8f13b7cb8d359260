import * as z from "zod";
import { formatBytes, formatDuration } from "../orchestrator/util/format-bytes.ts";
import { parseKeepAlive } from "../orchestrator/util/ollama-host.ts";
import { defineTool } from "./definition.ts";
import { defined, snakedOnly } from "../orchestrator/util/values.ts";
import type { LoadPlan } from "../orchestrator/api/facade-status.ts";
import { round } from "./render.ts";

/** A load plan in the answers of tools. */
export const planOutput = z.object({
  fits: z.boolean(),
  predicted_bytes: z.number().describe("The model's own memory."),
  needed_bytes: z.number().describe("Must be free, with margin and buffer."),
  free_bytes: z.number(),
  context_tokens: z.number().optional(),
  evict: z.array(z.object({ name: z.string(), bytes: z.number() })),
  placement: z
    .object({
      ram_bytes: z.number(),
      vram_bytes: z.number(),
      cards: z.array(z.object({ name: z.string(), bytes: z.number() })),
    })
    .optional(),
  steps: z.array(z.string()),
  warnings: z.array(z.string()).optional(),
});

/** The parts of the predicted bytes. */
const partsOutput = z.object({
  weights: z.number(),
  cache: z.number(),
  state: z.number().optional(),
  compute: z.number(),
  other: z.number().optional(),
  process: z.number().optional(),
});

export function planData(plan: LoadPlan): z.input<typeof planOutput> {
  const { placement, warnings } = plan;
  return defined({
    ...snakedOnly(plan, ["fits", "neededBytes", "freeBytes", "contextTokens"]),
    predicted_bytes: plan.estimate.predictedBytes,
    evict: plan.evict.map(({ name, bytes }) => ({ name, bytes })),
    placement: placement && { ...snakedOnly(placement, ["ramBytes", "vramBytes"]), cards: [...placement.cards] },
    steps: [...plan.steps],
    warnings: warnings?.length ? [...warnings] : undefined,
  });
}

/** The method of an estimate and its relative margin (0.02: ±2 %). */
function estimateData(plan: LoadPlan) {
  return { method: plan.estimate.method, margin: round(plan.estimate.margin, 3) };
}

/** The parts in bytes without empty ones; undefined if the parts are unknown. */
function partsData({ estimate }: LoadPlan) {
  const { parts, processBytes } = estimate;
  if (parts === undefined) return undefined;
  return defined({
    weights: parts.weightsBytes,
    cache: parts.cacheBytes,
    state: parts.stateBytes,
    compute: parts.computeBytes,
    other: parts.otherBytes > 0 ? parts.otherBytes : undefined,
    process: processBytes > 0 ? processBytes : undefined,
  });
}

export function renderPlan(model: string, plan: z.output<typeof planOutput>): string {
  const nothing = needsNothing(model, plan);
  if (nothing !== undefined) return nothing;
  const verdict = plan.fits ? "fits" : "does not fit";
  const room = `needs ${formatBytes(plan.needed_bytes)}, free ${formatBytes(plan.free_bytes)}`;
  const evicted = plan.evict.map(({ name }) => name).filter((name) => name !== model);
  // A model that is reloaded is in `evict` itself.
  const reload = evicted.length < plan.evict.length ? ", reloaded with more context" : "";
  const evicts = evicted.length === 0 ? "" : `, evicts ${evicted.join(", ")}`;
  return `${model} ${verdict}: ${room}${evicts}${reload}${warningsOf(plan)}`;
}

/**
 * `qwen3:32b fits: available 18.0 GB, loaded qwen3:8b 5.7 GB, needed 22.8 GB → unload qwen3:8b (5.7 GB) → 23.7 GB free →
 * load qwen3:32b`; if only the size is known, with the rules of estimation.
 */
function renderPlanSteps(model: string, plan: z.output<typeof planOutput>, method: string): string {
  const nothing = needsNothing(model, plan);
  if (nothing !== undefined) return nothing;
  const rules = plan.steps.find((step) => step.startsWith("needed "));
  const [situation, ...then] = plan.steps.filter((step) => step !== rules);
  // Nothing was measured.
  if (then.length === 0) return `${model}: ${situation ?? ""}`;
  const needed = method === "size_rule" && rules !== undefined ? rules : `needed ${formatBytes(plan.needed_bytes)}`;
  const chain = [`${situation}, ${needed}`, ...then].join(" → ");
  return `${model} ${plan.fits ? "fits" : "does not fit"}: ${chain}${warningsOf(plan)}`;
}

function warningsOf({ warnings = [] }: z.output<typeof planOutput>): string {
  return warnings.map((warning) => `; ${warning}`).join("");
}

/** The text for a plan that needs no memory: loaded with enough context, or in the cloud. */
function needsNothing(model: string, plan: z.output<typeof planOutput>): string | undefined {
  if (plan.needed_bytes > 0) return undefined;
  return plan.predicted_bytes > 0 ? `${model} is already loaded` : plan.steps.join("; ");
}

/** The input `keep_alive`, parsed to seconds. */
export const keepAliveInput = z.union([z.number(), z.string()]).transform((value, context) => {
  const seconds = parseKeepAlive(value);
  if (seconds !== undefined) return seconds;
  context.issues.push({ code: "custom", message: 'must be seconds or a duration such as "10m"', input: value });
  return z.NEVER;
});

export const smartLoad = defineTool({
  name: "smart_load",
  title: "Load a model",
  description:
    "Load a model ahead of use, unloading idle ones if needed. dry_run: whether it fits, what it would unload. route_and_generate loads by itself.",
  effect: "write",
  isIdempotent: true,
  isOpenWorld: true,
  set: "needed",
  delegates: true,
  canBecomeJob: true,
  input: z.strictObject({
    model: z.string().min(1),
    context_tokens: z.number().int().min(1).optional().describe("Minimum window."),
    keep_alive: keepAliveInput.optional().describe('Seconds or "10m"; 0 unloads at once, -1 never.'),
    dry_run: z.boolean().optional(),
  }),
  output: z.object({
    model: z.string(),
    engine: z.string(),
    loaded: z.boolean(),
    load_ms: z.number().optional(),
    plan: planOutput.optional(),
    method: z.string(),
    margin: z.number(),
    parts: partsOutput.optional(),
  }),
  async run(input, { orchestrator, caller, follow }) {
    const request = defined({
      model: input.model,
      contextTokens: input.context_tokens,
      keepAliveSeconds: input.keep_alive,
    });
    if (input.dry_run === true) {
      const plan = await orchestrator.planLoad(caller, request);
      const { model, engine, isLoaded } = plan;
      const parts = partsData(plan);
      return { data: defined({ model, engine, loaded: isLoaded, plan: planData(plan), ...estimateData(plan), parts }) };
    }
    const { model, engine, loadMs, plan } = await follow(await orchestrator.loadModel(caller, request));
    return {
      data: defined({
        model,
        engine,
        loaded: true,
        load_ms: Math.round(loadMs),
        // The plan is long: returned only if models were unloaded.
        plan: plan.evict.length > 0 ? planData(plan) : undefined,
        ...estimateData(plan),
      }),
    };
  },
  // After a load, how it was estimated no longer matters.
  lean: ({ engine, method, margin, ...answered }) =>
    answered.load_ms === undefined ? { ...answered, engine, method, margin } : answered,
  render({ model, load_ms, plan, method }) {
    if (load_ms === undefined && plan !== undefined) return renderPlanSteps(model, plan, method);
    if (load_ms === undefined || load_ms === 0) return `${model} is already loaded`;
    const evicted = (plan?.evict ?? []).map(({ name }) => name).filter((name) => name !== model);
    // A model that evicts itself is reloaded with more context.
    const isReload = evicted.length < (plan?.evict.length ?? 0);
    const others = evicted.length === 0 ? "" : `, evicted ${evicted.join(", ")}`;
    return `${isReload ? "Reloaded" : "Loaded"} ${model}${isReload ? " with more context" : ""} in ${formatDuration(load_ms)}${others}`;
  },
});
