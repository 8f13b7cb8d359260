import * as z from "zod";
import { formatDuration } from "../orchestrator/util/format-bytes.ts";
import { defineTool } from "./definition.ts";
import { estimateData, keepAliveInput, partsData, partsOutput, planData, planOutput, renderPlanSteps } from "./plan.ts";
import { defined } from "../orchestrator/util/defined.ts";

export const smartLoad = defineTool({
  name: "smart_load",
  title: "Load a model",
  description:
    "Load a model ahead of use, unloading idle ones if needed. dry_run only returns whether it fits and what it would unload. route_and_generate loads by itself.",
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
