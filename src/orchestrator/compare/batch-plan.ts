import { InvalidRequest, OrchestratorError } from "../api/errors.ts";
import type { BatchRequest, PlannedStep } from "../api/facade-batches.ts";
import type { GenerateRequest, RoutePlan } from "../api/facade.ts";
import { advice } from "../api/next-step.ts";
import type { CallerContext } from "../api/types.ts";
import { type GenerationWorld, planGeneration } from "../generation/runner.ts";
import { defined } from "../util/defined.ts";
import { counted } from "../util/format-bytes.ts";
import { promptsOf, requestFor, sizeOf } from "./batch-run.ts";
import { noAnswer, sourcesOf, stepNow, withPrivacyOf } from "./batch-steps.ts";
import type { KeptStep } from "./batch-store.ts";

const maxPrompts = 10_000;

/** All prompts of a step. Throws `InvalidRequest` for none, and too many. */
export function checkedPrompts(step: KeptStep): ReturnType<typeof promptsOf> {
  const prompts = promptsOf(step);
  const { length } = prompts.flat();
  if (length === 0) throw new InvalidRequest("there is nothing to ask about", { next: advice("name other files") });
  if (length <= maxPrompts) return prompts;
  throw new InvalidRequest(`${counted(length, "prompt")} in one batch; at most ${maxPrompts} are asked`, {
    next: advice("limit it, or name fewer files"),
  });
}

/** Its steps as they are kept. Throws `InvalidRequest`. */
export function checkedSteps({ steps }: BatchRequest<GenerateRequest>): readonly KeptStep[] {
  const kept = steps.map(({ items, input, questions, ...step }): KeptStep => {
    if (step.request.continueId !== undefined) {
      throw new InvalidRequest("the answers of a batch are no conversation", {
        next: advice("leave out the conversation"),
      });
    }
    const lists = defined({ input: input && [...input], questions: questions && [...questions] });
    return { ...step, items: [...items], ...lists };
  });
  for (const step of kept) if (step.over === undefined) checkedPrompts(step);
  return withPrivacyOf(kept);
}

/** The longest prompt of a step, for which its model is chosen. */
function longestRequest(step: KeptStep): GenerateRequest {
  const [longest] = promptsOf(step)
    .flat()
    .toSorted((a, b) => sizeOf(b) - sizeOf(a));
  if (longest === undefined) throw new Error("a step without prompts");
  return requestFor(step, longest);
}

function expectedOf(step: KeptStep, assumed: KeptStep, plan: RoutePlan, isLoad: boolean): PlannedStep {
  const all = promptsOf(assumed).flat();
  const sizes = all.map((asked) => sizeOf(asked) + textsOf(requestFor(assumed, asked)));
  // The plan is that of the longest.
  const factor = sizes.reduce((sum, size) => sum + size, 0) / Math.max(1, ...sizes);
  const { model, engine, notes, promptTokens, route } = plan;
  const terms = route.considered.find((each) => each.model === model && each.engine === engine)?.terms;
  const seconds =
    terms && terms.promptSeconds * factor + terms.answerSeconds * all.length + (isLoad ? terms.loadSeconds : 0);
  return {
    step: step.name,
    model,
    engine,
    notes,
    isLoad,
    ...defined({
      prompts: step.over === undefined ? all.length : undefined,
      promptTokens: promptTokens && Math.round(promptTokens * factor),
      seconds: seconds && Math.ceil(seconds),
    }),
  };
}

function textsOf({ prompt, files = [] }: GenerateRequest): number {
  return prompt.length + files.reduce((sum, { text }) => sum + text.length, 0);
}

function ofStep({ name }: KeptStep, error: unknown): unknown {
  if (!(error instanceof OrchestratorError)) return error;
  return new InvalidRequest(`step ${name}: ${error.message}`, { next: error.next, cause: error });
}

/** The steps in the order that loads the fewest models, each with what it is expected to take. */
export async function plannedSteps(world: GenerationWorld, caller: CallerContext, steps: readonly KeptStep[]) {
  const plans: { readonly step: KeptStep; readonly assumed: KeptStep; readonly plan: RoutePlan }[] = [];
  for (const step of steps) {
    try {
      const assumed = stepAssumed(step);
      const plan = await planGeneration(world, caller, longestRequest(assumed));
      plans.push({ step, assumed, plan });
    } catch (error) {
      throw ofStep(step, error);
    }
  }
  const names = steps.map(({ name }) => name);
  const needs = steps.map((step) => sourcesOf(step).map((name) => names.indexOf(name)));
  const models = plans.map(({ plan }) => plan.model);
  const order = fewestChanges(models, needs);
  const loaded = new Set(plans.filter(({ plan: { plan } }) => plan.isLoaded).map(({ plan }) => plan.model));
  return order.flatMap((at) => {
    const found = plans[at];
    if (found === undefined) return [];
    const { step, assumed, plan } = found;
    const isLoad = !loaded.has(plan.model);
    if (isLoad) for (const { name } of plan.plan.evict) loaded.delete(name);
    loaded.add(plan.model);
    return [{ step, planned: expectedOf(step, assumed, plan, isLoad) }];
  });
}

/**
 * The order of steps with the fewest changes of the model, each after those that it needs; that in which they are written,
 * where several do. `models` and `needs` (places) by step. Looks at every order: for a dozen steps at most. Pure.
 */
export function fewestChanges(models: readonly string[], needs: readonly (readonly number[])[]): readonly number[] {
  const known = new Map<string, { readonly changes: number; readonly order: readonly number[] }>();
  const best = (done: number, last: string): { readonly changes: number; readonly order: readonly number[] } => {
    const key = `${done} ${last}`;
    const before = known.get(key);
    if (before !== undefined) return before;
    let found: ReturnType<typeof best> | undefined;
    for (const [at, model] of models.entries()) {
      const isReady = (done & (1 << at)) === 0 && (needs[at] ?? []).every((each) => (done & (1 << each)) !== 0);
      if (!isReady) continue;
      const rest = best(done | (1 << at), model);
      const changes = rest.changes + (model === last ? 0 : 1);
      if (found === undefined || changes < found.changes) found = { changes, order: [at, ...rest.order] };
    }
    found ??= { changes: 0, order: [] };
    known.set(key, found);
    return found;
  };
  return best(0, "").order;
}

/** A step that can be planned before the others have run: their texts are assumed to be short. Pure. */
function stepAssumed(step: KeptStep): KeptStep {
  const text = "Some words that an earlier step may give. ".repeat(40);
  const answer = { ...noAnswer, text };
  const now = stepNow({ ...step, ...(step.when !== undefined && { when: "now" }) }, () => [answer]);
  if ("skipped" in now) throw new Error(now.skipped);
  return step.over === undefined ? now : { ...now, items: now.items.slice(0, 1) };
}
